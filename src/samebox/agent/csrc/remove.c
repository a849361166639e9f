/* REMOVE. */
#include "remove.h"

#include "buffer.h"
#include "failure.h"
#include "fileutil.h"
#include "request.h"
#include "resolve.h"
#include "walk.h"
#include "workdir.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define REMOVE_RECURSIVE 1
#define REMOVE_MAY_BE_MISSING 2

/* --- trees --- */

static void remove_failed(struct job *j, struct walk *w, int err, const char *base)
{
    if (err == ENOENT || err == 0)
        return;
    job_fail(j, err, base, (char *)w->path.data);
    w->restart = false; /* what stays would be met again for ever */
}

static int unlink_either(int dir, const char *name, bool is_dir)
{
    if (unlinkat(dir, name, is_dir ? AT_REMOVEDIR : 0) == 0)
        return 0;
    /* It may have become the other thing. */
    if (errno == (is_dir ? ENOTDIR : EISDIR) && unlinkat(dir, name, is_dir ? 0 : AT_REMOVEDIR) == 0)
        return 0;
    return errno;
}

static void remove_seen(struct job *j, struct walk *w, const char *base)
{
    if (!S_ISDIR(w->st.st_mode)) {
        remove_failed(j, w, unlink_either(w->dir, w->name, false), base);
        return;
    }
    struct stat workdir;
    if (fstat(workdir_fd, &workdir) == 0 && same_file(&workdir, &w->st)) { /* mounted, or just moved here */
        walk_skip(w);
        remove_failed(j, w, EBUSY, base);
    }
}

static void remove_left(struct job *j, struct walk *w, const char *base)
{
    if (w->dir < 0)
        return; /* moved out of the tree meanwhile */
    int err = unlink_either(w->dir, w->name, true);
    if (err && w->err && !has_vanished(w->err))
        err = w->err;
    remove_failed(j, w, err, base);
}

/* Goes on after a failure, to remove what can be removed; the first one is told. */
static void remove_tree(struct job *j, int dir, const char *base)
{
    struct walk w = {.force = true, .restart = true};
    walk_start(&w, dir);
    for (;;) {
        enum walk_event event = walk_next(&w);
        if (event == WALK_END)
            break;
        if (event == WALK_ENTRY)
            remove_seen(j, &w, base);
        else
            remove_left(j, &w, base);
    }
    if (w.err)
        job_fail(j, w.err, base, "");
    walk_stop(&w);
}

void remove_entry(struct job *j, int dir, const char *name, const char *base)
{
    int err = unlink_either(dir, name, false);
    if (err == EISDIR || err == ENOTEMPTY || err == EEXIST) {
        int fd = open_dir(dir, name, true);
        if (fd >= 0)
            remove_tree(j, fd, base);
        err = fd < 0 ? errno : unlink_either(dir, name, true);
    }
    if (err && err != ENOENT)
        job_fail(j, err == EEXIST ? ENOTEMPTY : err, base, "");
}

/* --- the operation --- */

/* Removes what is no tree, and refuses what must stay. Returns false when there is a tree to remove and the request
 * says `recursive`; then nothing is done yet. */
static bool remove_one(const struct place *p, const struct request *r, const struct spot *s, struct failure *f)
{
    struct stat st;
    int err;
    if (fstatat(s->dir, s->name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT || !(r->flags & REMOVE_MAY_BE_MISSING))
            fail(f, errno, NULL, r->path);
        return true;
    }
    if (S_ISDIR(st.st_mode) && is_protected(p, &st)) {
        fail(f, EBUSY, "protected", r->path);
        return true;
    }
    if (S_ISDIR(st.st_mode))
        err = unlinkat(s->dir, s->name, AT_REMOVEDIR) == 0 ? 0 : errno;
    else if (s->slash)
        err = ENOTDIR; /* `link/` would be the directory behind the link */
    else
        err = unlinkat(s->dir, s->name, 0) == 0 ? 0 : errno;
    if ((err == ENOTEMPTY || err == EEXIST) && (r->flags & REMOVE_RECURSIVE))
        return false;
    if (err == ENOENT && (r->flags & REMOVE_MAY_BE_MISSING))
        err = 0;
    if (err)
        fail(f, err == EEXIST ? ENOTEMPTY : err, NULL, r->path);
    return true;
}

static bool remove_quick(const struct place *p, const struct request *r, struct buf *out, struct failure *f)
{
    (void)out;
    struct spot s;
    if (!resolve_spot(p, r->path, false, &s, f)) {
        if (f->err == ENOENT && (r->flags & REMOVE_MAY_BE_MISSING))
            f->err = 0;
        return true;
    }
    bool done = remove_one(p, r, &s, f);
    spot_close(&s);
    return done;
}

static void remove_slowly(struct job *j)
{
    struct spot s;
    if (!resolve_spot(&j->place, j->r->path, false, &s, j->f)) {
        if (j->f->err == ENOENT && (j->r->flags & REMOVE_MAY_BE_MISSING))
            j->f->err = 0;
        return;
    }
    if (!remove_one(&j->place, j->r, &s, j->f))
        remove_entry(j, s.dir, s.name, j->r->path);
    spot_close(&s);
}

const struct operation remove_operation = {
    .form = {.known = FIELD(PATH) | FIELD(ROOT) | FIELD(FLAGS),
             .needed = FIELD(PATH), .flags = REMOVE_RECURSIVE | REMOVE_MAY_BE_MISSING},
    .quick = remove_quick,
    .tree = remove_slowly,
    .workdir_stays = true,
};
