/* The file operations that need a few system calls. What turns out to be a tree is left to a worker (tree.c). */
#include "files.h"

#include "copy.h"
#include "descriptor.h"
#include "fileutil.h"
#include "protocol.h"
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAT_FOLLOW 1
#define DIR_PARENTS 1
#define DIR_MAY_EXIST 2
#define CHMOD_RECURSIVE 1
#define SYMLINK_REPLACE 1

static bool ok_or_fail(bool ok, const struct place *p, const struct request *r, struct failure *f)
{
    return ok || fail_at(p, f, errno, r->path);
}

static void op_stat(const struct place *p, const struct request *r, struct buf *out, struct failure *f)
{
    struct stat st;
    AUTO_FD fd = resolve_open(p, r->path, O_PATH | (r->flags & STAT_FOLLOW ? 0 : O_NOFOLLOW));
    if (!ok_or_fail(fd >= 0 && fstat(fd, &st) == 0, p, r, f))
        return;
    rec_stat(out, &st, fd, "");
    rec_num(out, TAG_DEVICE, (int64_t)st.st_dev);
}

static void op_make_dir(const struct place *p, const struct request *r, struct failure *f)
{
    struct spot s;
    if (!resolve_spot(p, r->path, r->flags & DIR_PARENTS, &s, f))
        return;
    mode_t mode = (r->mode >= 0 ? (mode_t)r->mode & 07777 : 0777) & ~(mode_t)UMASK;
    int err = mkdirat(s.dir, s.name, mode) == 0 ? 0 : errno;
    if (err == EEXIST && (r->flags & DIR_MAY_EXIST)) {
        AUTO_FD dir = resolve_open(p, r->path, O_PATH | O_DIRECTORY);
        err = dir >= 0 ? 0 : errno == ENOTDIR || errno == ENOENT ? EEXIST : errno;
    }
    if (err)
        fail_at(p, f, err, r->path);
    spot_close(&s);
}

enum removal remove_one(const struct place *p, const struct request *r, const struct spot *s, struct failure *f)
{
    struct stat st;
    int err;
    if (fstatat(s->dir, s->name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT || !(r->flags & REMOVE_MAY_BE_MISSING))
            fail(f, errno, NULL, r->path);
        return REMOVAL_DONE;
    }
    if (S_ISDIR(st.st_mode) && is_protected(p, &st)) {
        fail(f, EBUSY, "protected", r->path);
        return REMOVAL_DONE;
    }
    if (S_ISDIR(st.st_mode))
        err = unlinkat(s->dir, s->name, AT_REMOVEDIR) == 0 ? 0 : errno;
    else if (s->slash)
        err = ENOTDIR; /* `link/` would be the directory behind the link */
    else
        err = unlinkat(s->dir, s->name, 0) == 0 ? 0 : errno;
    if ((err == ENOTEMPTY || err == EEXIST) && (r->flags & REMOVE_RECURSIVE))
        return REMOVAL_IS_TREE;
    if (err == ENOENT && (r->flags & REMOVE_MAY_BE_MISSING))
        err = 0;
    if (err)
        fail(f, err == EEXIST ? ENOTEMPTY : err, NULL, r->path);
    return REMOVAL_DONE;
}

/* Returns false when there is a tree to remove. */
static bool op_remove(const struct place *p, const struct request *r, struct failure *f)
{
    struct spot s;
    if (!resolve_spot(p, r->path, false, &s, f)) {
        if (f->err == ENOENT && (r->flags & REMOVE_MAY_BE_MISSING))
            f->err = 0;
        return true;
    }
    enum removal removal = remove_one(p, r, &s, f);
    spot_close(&s);
    return removal == REMOVAL_DONE;
}

static bool op_chmod(const struct place *p, const struct request *r, struct failure *f)
{
    struct stat st;
    AUTO_FD fd = resolve_open(p, r->path, O_PATH);
    if (!ok_or_fail(fd >= 0 && fstat(fd, &st) == 0, p, r, f))
        return true;
    if (S_ISDIR(st.st_mode) && (r->flags & CHMOD_RECURSIVE))
        return false;
    ok_or_fail(chmod_fd(fd, (mode_t)r->mode & 07777, p, r->path), p, r, f);
    return true;
}

static void op_realpath(const struct place *p, const struct request *r, struct buf *out, struct failure *f)
{
    struct buf real = {0};
    if (ok_or_fail(resolve_real(p, r->path, &real), p, r, f))
        rec_str(out, TAG_PATH, (char *)real.data);
    buf_free(&real);
}

static bool replace_link(const struct spot *s, const char *target)
{
    struct stat st;
    if (fstatat(s->dir, s->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    if (S_ISLNK(st.st_mode))
        return link_over(target, s->dir, s->name);
    errno = EEXIST;
    return false;
}

static void op_symlink(const struct place *p, const struct request *r, struct failure *f)
{
    struct spot s;
    if (!resolve_spot(p, r->path, true, &s, f))
        return;
    bool ok = false;
    if (s.slash)
        errno = ENOENT;
    else
        ok = symlinkat(r->target, s.dir, s.name) == 0;
    if (!ok && errno == EEXIST && (r->flags & SYMLINK_REPLACE))
        ok = replace_link(&s, r->target);
    ok_or_fail(ok, p, r, f);
    spot_close(&s);
}

static void op_readlink(const struct place *p, const struct request *r, struct buf *out, struct failure *f)
{
    struct stat st;
    AUTO_FD fd = resolve_open(p, r->path, O_PATH | O_NOFOLLOW);
    if (!ok_or_fail(fd >= 0 && fstat(fd, &st) == 0, p, r, f))
        return;
    char *target = NULL;
    if (S_ISLNK(st.st_mode))
        target = read_link(fd, "");
    else
        errno = EINVAL;
    if (ok_or_fail(target != NULL, p, r, f))
        rec_str(out, TAG_TARGET, target);
    free(target);
}

static bool dispatch(const struct place *p, const struct request *r, struct buf *out, struct failure *f)
{
    switch (r->op) {
    case OP_STAT: op_stat(p, r, out, f); return true;
    case OP_MAKE_DIR: op_make_dir(p, r, f); return true;
    case OP_REMOVE: return op_remove(p, r, f);
    case OP_MOVE: return move_one(p, r, f);
    case OP_COPY: return copy_one(p, r, out, f);
    case OP_CHMOD: return op_chmod(p, r, f);
    case OP_REALPATH: op_realpath(p, r, out, f); return true;
    case OP_SYMLINK: op_symlink(p, r, f); return true;
    case OP_READLINK: op_readlink(p, r, out, f); return true;
    default: return false;
    }
}

bool file_op(const struct request *r, struct buf *out, struct failure *f)
{
    struct place p;
    if (!place_open(&p, r, f))
        return true;
    bool done = dispatch(&p, r, out, f);
    place_close(&p);
    return done;
}
