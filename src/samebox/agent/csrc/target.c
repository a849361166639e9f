/* What WRITE writes to: found, checked and opened. */
#include "target.h"

#include "descriptor.h"
#include "fileutil.h"
#include "path.h"
#include "regular.h"
#include "resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RESERVED (64 * 1024)

static bool keep_owner(const struct file_write *w, const struct stat *old)
{
    struct stat st;
    if (fstat(w->fd, &st) != 0)
        return false;
    return (st.st_uid == old->st_uid && st.st_gid == old->st_gid) || fchown(w->fd, old->st_uid, old->st_gid) == 0;
}

/* What write(2) leaves of the mode of a file that it changes. */
static mode_t written_mode(mode_t mode)
{
    mode &= 07777 & ~(mode_t)S_ISUID;
    return mode & S_IXGRP ? mode & ~(mode_t)S_ISGID : mode;
}

/* Writes into the file itself. Opening truncates it: what it held is lost even if nothing more comes. */
static bool begin_in_place(struct file_write *w, const struct place *p, const char *path, struct failure *f)
{
    struct stat st;
    *w = (struct file_write){.dir_fd = -1, .fd = open_existing(p, path, O_WRONLY | O_TRUNC, &st, f)};
    if (w->fd >= 0)
        w->path = copy_string(path, strlen(path));
    return w->fd >= 0;
}

static bool begin_append(struct file_write *w, const struct request *r, const struct spot *s, mode_t mode,
                         struct failure *f)
{
    int flags = O_WRONLY | O_APPEND | O_NOFOLLOW | NO_WAIT, fd;
    *w = (struct file_write){.fd = -1, .dir_fd = -1};
    do {
        fd = r->flags & WRITE_EXCLUSIVE ? (errno = ENOENT, -1) : openat(s->dir, s->name, flags);
        if (fd < 0 && errno == ENOENT) {
            fd = openat(s->dir, s->name, flags | O_CREAT | O_EXCL, 0600);
            if (fd >= 0)
                fchmod(fd, mode);
        }
    } while (fd < 0 && errno == EEXIST && !(r->flags & WRITE_EXCLUSIVE));
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        fail(f, errno, NULL, r->path);
    else if (not_regular(&st) != 0)
        fail_not_regular(&st, f, r->path);
    else {
        w->fd = fd;
        w->path = copy_string(r->path, strlen(r->path));
        return true;
    }
    close_fd(&fd);
    return false;
}

enum found { FOUND_ERROR, FOUND_LINK, FOUND_END };

/* st->st_mode is left 0 where nothing is there yet. */
static enum found look_at(const struct spot *s, struct stat *st)
{
    memset(st, 0, sizeof *st);
    if (fstatat(s->dir, s->name, st, AT_SYMLINK_NOFOLLOW) == 0)
        return S_ISLNK(st->st_mode) ? FOUND_LINK : FOUND_END;
    if (errno == ENOENT && s->slash)
        errno = EISDIR;
    return errno == ENOENT ? FOUND_END : FOUND_ERROR;
}

/* Finds the directory and the name of what is to be written, through links, as open(2) with O_CREAT does. Parents are
 * made only for the path itself. */
static bool find_target(const struct place *p, const struct request *r, struct spot *s, struct stat *st,
                        struct failure *f)
{
    char *path = copy_string(r->path, strlen(r->path));
    enum found found = FOUND_LINK;
    int err = ELOOP;
    for (int links = 0; found == FOUND_LINK && links <= MAX_LINKS; links++) {
        if (!resolve_spot(p, path, links == 0 && !(r->flags & WRITE_NO_PARENTS), s, f)) {
            err = f->err;
            break;
        }
        found = look_at(s, st);
        if (found == FOUND_END)
            break;
        if (found == FOUND_ERROR)
            err = errno;
        if (found == FOUND_LINK && (r->flags & WRITE_EXCLUSIVE)) {
            found = FOUND_ERROR;
            err = EEXIST;
        }
        char *target = found == FOUND_LINK ? read_link(s->dir, s->name) : NULL;
        if (target) { /* else it is no link any more, and looked at again */
            char *next = path_through_link(path, target);
            free(target);
            free(path);
            path = next;
        }
        spot_close(s);
    }
    free(path);
    return found == FOUND_END || fail_at(p, f, err, r->path);
}

/* What the kernel says of an existing target: its type, links that may not be followed, loops. *look is left -1 where
 * nothing is there. */
static bool check_existing(const struct place *p, const struct request *r, int *look, struct stat *st,
                           struct failure *f)
{
    *look = resolve_open(p, r->path, O_PATH);
    if (*look < 0)
        return errno == ENOENT || fail_at(p, f, errno, r->path);
    if (fstat(*look, st) != 0)
        return fail_at(p, f, errno, r->path);
    if (not_regular(st) != 0)
        return fail_not_regular(st, f, r->path);
    if (r->flags & WRITE_EXCLUSIVE)
        return fail_at(p, f, EEXIST, r->path);
    return true;
}

static bool may_write(const struct spot *s)
{
    if (faccessat(s->dir, s->name, W_OK, AT_EACCESS) == 0)
        return true;
    /* EPERM is an immutable file, or an old seccomp filter that refuses the call which takes flags. */
    return (errno == EPERM || errno == ENOSYS) && syscall(SYS_faccessat, s->dir, s->name, W_OK) == 0;
}

static bool begin_replace(struct file_write *w, const struct place *p, const struct request *r, const struct spot *s,
                          const struct stat *old, struct failure *f)
{
    if (write_begin(w, s->dir, s->name, written_mode(old->st_mode), false, r->path, f)) {
        /* ext4 begins to write at once what is renamed over another file, unless it has its blocks already: a small
         * file would take twice as long. Nothing depends on it. */
        if (r->size > 0 && r->size <= RESERVED)
            fallocate(w->fd, FALLOC_FL_KEEP_SIZE, 0, r->size);
        if (keep_owner(w, old))
            return true;
        file_abort_write(w);
    } else if (f->err != EACCES && f->err != EPERM && f->err != EROFS) {
        return false;
    }
    f->err = 0;
    return begin_in_place(w, p, r->path, f);
}

static bool begin_at(struct file_write *w, const struct place *p, const struct request *r, const struct spot *s,
                     const struct stat *st, struct failure *f)
{
    mode_t mode = (r->mode >= 0 ? (mode_t)r->mode & 07777 : 0666) & ~(mode_t)UMASK;
    bool exclusive = r->flags & WRITE_EXCLUSIVE, exists = st->st_mode != 0;
    if (exists && exclusive)
        return fail_at(p, f, EEXIST, r->path);
    if (exists && not_regular(st) != 0)
        return fail_not_regular(st, f, r->path);
    if (exists && s->slash)
        return fail_at(p, f, ENOTDIR, r->path);
    if (exists && !may_write(s)) {
        fail(f, errno, NULL, r->path);
        return false;
    }
    if (r->flags & WRITE_APPEND)
        return begin_append(w, r, s, mode, f);
    return exists ? begin_replace(w, p, r, s, st, f) : write_begin(w, s->dir, s->name, mode, exclusive, r->path, f);
}

bool file_open_write(const struct request *r, struct file_write *w, struct failure *f)
{
    struct place p;
    struct spot s;
    struct stat by_kernel, st;
    AUTO_FD look = -1;
    bool ok = false;
    *w = (struct file_write){.fd = -1, .dir_fd = -1};
    if (!place_open(&p, r, f))
        return false;
    if (check_existing(&p, r, &look, &by_kernel, f) && find_target(&p, r, &s, &st, f)) {
        /* A link of /proc says where it leads, but not by a name that works. */
        if (look >= 0 && !same_file(&by_kernel, &st) && !(r->flags & WRITE_APPEND))
            ok = begin_in_place(w, &p, r->path, f);
        else
            ok = begin_at(w, &p, r, &s, &st, f);
        spot_close(&s);
    }
    place_close(&p);
    return ok;
}
