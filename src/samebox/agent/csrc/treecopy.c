/* COPY of trees and large files, and MOVE across file systems. */
#include "treecopy.h"

#include "copydata.h"
#include "descriptor.h"
#include "failure.h"
#include "fileutil.h"
#include "pair.h"
#include "path.h"
#include "protocol.h"
#include "record.h"
#include "remove.h"
#include "request.h"
#include "resolve.h"
#include "trail.h"
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct copier {
    struct job *j;
    bool move; /* owners are kept where that is allowed, and special files are made anew */
    struct trail to;
    int64_t count;
};

/* A move keeps the owner, and with it setuid and setgid, if we may give files away. */
static void keep_owner(int dir, const char *name, const struct stat *st)
{
    struct stat now;
    struct place here = {.fd = dir};
    AUTO_FD fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &now) != 0 || (now.st_uid == st->st_uid && now.st_gid == st->st_gid))
        return;
    if (fchownat(fd, "", st->st_uid, st->st_gid, AT_EMPTY_PATH) == 0 && !S_ISLNK(st->st_mode))
        chmod_fd(fd, st->st_mode & 07777, &here, name);
}

/* FIFOs, sockets and devices. */
static bool make_special(const struct copying *c, const struct stat *st, struct failure *f)
{
    if (!c->exclusive)
        unlinkat(c->to_dir, c->to, 0);
    if (mknodat(c->to_dir, c->to, st->st_mode & (S_IFMT | 07777), st->st_rdev) == 0)
        return true;
    fail(f, errno, NULL, c->to_path);
    return false;
}

static bool is_special(const struct stat *st)
{
    return !S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode) && !S_ISLNK(st->st_mode);
}

static bool transfer(struct copier *k, const struct copying *c, const struct stat *st)
{
    struct failure *f = k->j->f;
    bool ok = k->move && is_special(st) ? make_special(c, st, f) : copy_entry(c, f);
    if (ok && k->move)
        keep_owner(c->to_dir, c->to, st);
    k->count += ok;
    return ok;
}

/* Goes to the destination's directory for the entry at hand. */
static bool go_to_parent(struct copier *k, const struct walk *w)
{
    const char *path = (char *)w->path.data;
    if (trail_go(&k->to, path, parent_len(path)))
        return true;
    job_fail(k->j, errno, k->j->r->destination, path);
    return false;
}

static bool copy_seen(struct copier *k, struct walk *w)
{
    const struct request *r = k->j->r;
    char *path = (char *)w->path.data;
    if (w->err) {
        job_fail(k->j, w->err, r->path, path);
        return false;
    }
    if (is_special(&w->st) && !k->move)
        return true;
    if (!go_to_parent(k, w))
        return false;
    if (S_ISDIR(w->st.st_mode)) {
        if (mkdirat(k->to.fd, w->name, S_IRWXU) != 0)
            job_fail(k->j, errno, r->destination, path);
        k->count++;
        return !k->j->f->err;
    }
    char *from_path = join_path(r->path, path), *to_path = join_path(r->destination, path);
    struct copying c = {.from_dir = w->dir, .from = w->name, .from_path = from_path, .to_dir = k->to.fd, .to = w->name,
                        .to_path = to_path, .exclusive = true};
    bool ok = transfer(k, &c, &w->st);
    if (!ok && has_vanished(k->j->f->err) && strcmp(k->j->f->path, from_path) == 0) {
        k->j->f->err = 0;
        ok = true;
    }
    free(from_path);
    free(to_path);
    return ok;
}

static void finish_dir(struct copier *k, int to_dir, const char *name, const struct stat *st)
{
    struct stat made;
    AUTO_FD fd = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &made) != 0)
        return;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st->st_mtim};
    if (k->move && fchown(fd, st->st_uid, st->st_gid) == 0)
        made = *st;
    futimens(fd, times);
    fchmod(fd, copied_mode(st, &made));
}

static bool copy_left(struct copier *k, const struct walk *w)
{
    struct stat st;
    if (w->err && !has_vanished(w->err)) {
        job_fail(k->j, w->err, k->j->r->path, (char *)w->path.data);
        return false;
    }
    if (!go_to_parent(k, w))
        return false;
    if (w->dir >= 0 && fstatat(w->dir, w->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        finish_dir(k, k->to.fd, w->name, &st);
    return true;
}

/* 0, ENOTEMPTY or what else is wrong with copying into it. */
static int check_empty(const struct spot *s)
{
    struct walk w = {0};
    int fd = open_dir(s->dir, s->name, false);
    if (fd < 0)
        return errno;
    walk_start(&w, fd);
    int err = walk_next(&w) == WALK_END ? w.err : ENOTEMPTY;
    walk_stop(&w);
    return err;
}

/* The directory that is copied into: made, or there and empty. *made tells which. */
static int open_destination(struct job *j, const struct pair *pair, bool *made)
{
    const struct spot *to = &pair->to;
    int err = mkdirat(to->dir, to->name, S_IRWXU) == 0 ? 0 : errno;
    *made = err == 0;
    if (err == EEXIST && S_ISDIR(pair->there.st_mode))
        err = check_empty(to);
    int fd = err ? -1 : openat(to->dir, to->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        job_fail(j, err ? err : errno, j->r->destination, "");
    return fd;
}

static bool copy_contents(struct copier *k, int from)
{
    struct walk w = {0};
    enum walk_event event = WALK_END;
    bool ok = true;
    walk_start(&w, from);
    while (ok && (event = walk_next(&w)) != WALK_END)
        ok = event == WALK_ENTRY ? copy_seen(k, &w) : copy_left(k, &w);
    if (ok && w.err) {
        job_fail(k->j, w.err, k->j->r->path, "");
        ok = false;
    }
    walk_stop(&w);
    return ok;
}

static bool copy_tree(struct copier *k, const struct pair *pair)
{
    bool made;
    struct job *j = k->j;
    int from = open_dir(pair->from.dir, pair->from.name, false);
    if (from < 0) {
        fail(j->f, errno, NULL, j->r->path);
        return false;
    }
    int to = open_destination(j, pair, &made);
    if (to < 0) {
        close_fd(&from);
        return false;
    }
    k->count++;
    trail_start(&k->to, to);
    bool ok = copy_contents(k, from);
    trail_end(&k->to);
    if (ok && (made || k->move))
        finish_dir(k, pair->to.dir, pair->to.name, &pair->st);
    if (!ok && made) /* nothing half-copied is left; j->f keeps what went wrong */
        remove_entry(j, pair->to.dir, pair->to.name, j->r->destination);
    return ok;
}

static void copy(struct job *j, bool move, bool replace)
{
    const struct request *r = j->r;
    struct copier k = {.j = j, .move = move};
    bool ok;
    struct pair pair;
    if (!pair_open(&j->place, r, replace, &pair, j->f))
        return;
    struct copying c = {.from_dir = pair.from.dir, .from = pair.from.name, .from_path = r->path, .to_dir = pair.to.dir,
                        .to = pair.to.name, .to_path = r->destination, .exclusive = !replace};
    ok = S_ISDIR(pair.st.st_mode) ? copy_tree(&k, &pair) : transfer(&k, &c, &pair.st);
    if (ok && k.move)
        remove_entry(j, pair.from.dir, pair.from.name, r->path);
    else if (ok)
        rec_num(j->end, TAG_COUNT, k.count);
    pair_close(&pair);
}

void tree_copy(struct job *j)
{
    copy(j, false, j->r->flags & COPY_REPLACE);
}

void tree_move(struct job *j)
{
    copy(j, true, j->r->flags & MOVE_REPLACE);
}
