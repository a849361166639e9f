/* The operations on one entry of a directory: STAT, MAKE_DIR, REALPATH, SYMLINK and READLINK. */
#include "files.h"

#include "buffer.h"
#include "descriptor.h"
#include "failure.h"
#include "fileutil.h"
#include "protocol.h"
#include "record.h"
#include "request.h"
#include "resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAT_FOLLOW 1
#define DIR_PARENTS 1
#define DIR_MAY_EXIST 2
#define SYMLINK_REPLACE 1

static bool ok_or_fail(bool ok, const struct place *p, const struct request *r, struct failure *f)
{
    return ok || fail_at(p, f, errno, r->path);
}

static bool stat_op(const struct place *p, const struct request *r, struct buf *out, struct failure *f)
{
    struct stat st;
    AUTO_FD fd = resolve_open(p, r->path, O_PATH | (r->flags & STAT_FOLLOW ? 0 : O_NOFOLLOW));
    if (!ok_or_fail(fd >= 0 && fstat(fd, &st) == 0, p, r, f))
        return true;
    rec_stat(out, &st, fd, "");
    rec_num(out, TAG_DEVICE, (int64_t)st.st_dev);
    return true;
}

const struct operation stat_operation = {
    .form = {.known = FIELD(PATH) | FIELD(ROOT) | FIELD(FLAGS), .needed = FIELD(PATH), .flags = STAT_FOLLOW},
    .quick = stat_op,
};

static bool make_dir_op(const struct place *p, const struct request *r, struct buf *out, struct failure *f)
{
    (void)out;
    struct spot s;
    if (!resolve_spot(p, r->path, r->flags & DIR_PARENTS, &s, f))
        return true;
    mode_t mode = (r->mode >= 0 ? (mode_t)r->mode & 07777 : 0777) & ~(mode_t)UMASK;
    int err = mkdirat(s.dir, s.name, mode) == 0 ? 0 : errno;
    if (err == EEXIST && (r->flags & DIR_MAY_EXIST)) {
        AUTO_FD dir = resolve_open(p, r->path, O_PATH | O_DIRECTORY);
        err = dir >= 0 ? 0 : errno == ENOTDIR || errno == ENOENT ? EEXIST : errno;
    }
    if (err)
        fail_at(p, f, err, r->path);
    spot_close(&s);
    return true;
}

const struct operation make_dir_operation = {
    .form = {.known = FIELD(PATH) | FIELD(ROOT) | FIELD(MODE) | FIELD(FLAGS),
             .needed = FIELD(PATH), .flags = DIR_PARENTS | DIR_MAY_EXIST},
    .quick = make_dir_op,
};

static bool realpath_op(const struct place *p, const struct request *r, struct buf *out, struct failure *f)
{
    struct buf real = {0};
    if (ok_or_fail(resolve_real(p, r->path, &real), p, r, f))
        rec_str(out, TAG_PATH, (char *)real.data);
    buf_free(&real);
    return true;
}

const struct operation realpath_operation = {
    .form = {.known = FIELD(PATH) | FIELD(ROOT), .needed = FIELD(PATH)},
    .quick = realpath_op,
};

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

static bool symlink_op(const struct place *p, const struct request *r, struct buf *out, struct failure *f)
{
    (void)out;
    struct spot s;
    if (!resolve_spot(p, r->path, true, &s, f))
        return true;
    bool ok = false;
    if (s.slash)
        errno = ENOENT;
    else
        ok = symlinkat(r->target, s.dir, s.name) == 0;
    if (!ok && errno == EEXIST && (r->flags & SYMLINK_REPLACE))
        ok = replace_link(&s, r->target);
    ok_or_fail(ok, p, r, f);
    spot_close(&s);
    return true;
}

const struct operation symlink_operation = {
    .form = {.known = FIELD(PATH) | FIELD(TARGET) | FIELD(ROOT) | FIELD(FLAGS),
             .needed = FIELD(PATH) | FIELD(TARGET), .flags = SYMLINK_REPLACE},
    .quick = symlink_op,
};

static bool readlink_op(const struct place *p, const struct request *r, struct buf *out, struct failure *f)
{
    struct stat st;
    AUTO_FD fd = resolve_open(p, r->path, O_PATH | O_NOFOLLOW);
    if (!ok_or_fail(fd >= 0 && fstat(fd, &st) == 0, p, r, f))
        return true;
    char *target = NULL;
    if (S_ISLNK(st.st_mode))
        target = read_link(fd, "");
    else
        errno = EINVAL;
    if (ok_or_fail(target != NULL, p, r, f))
        rec_str(out, TAG_TARGET, target);
    free(target);
    return true;
}

const struct operation readlink_operation = {
    .form = {.known = FIELD(PATH) | FIELD(ROOT), .needed = FIELD(PATH)},
    .quick = readlink_op,
};
