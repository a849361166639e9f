/* Regular files. */
#include "regular.h"

#include "descriptor.h"

#include <errno.h>

int not_regular(const struct stat *st)
{
    if (S_ISREG(st->st_mode))
        return 0;
    return S_ISDIR(st->st_mode) ? EISDIR : EINVAL;
}

bool fail_not_regular(const struct stat *st, struct failure *f, const char *path)
{
    int err = not_regular(st);
    fail(f, err, err == EINVAL ? "special" : NULL, path);
    return false;
}

int open_regular(int dir, const char *name, struct stat *st)
{
    /* The type is looked at first: opening a device or a FIFO has effects of its own. */
    if (fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) != 0)
        return -1;
    int err = not_regular(st);
    int fd = err ? -1 : openat(dir, name, O_RDONLY | O_NOFOLLOW | NO_WAIT);
    if (err)
        errno = err;
    if (fd < 0)
        return -1;
    if (fstat(fd, st) == 0) {
        err = not_regular(st);
        if (!err)
            return fd;
        errno = err;
    }
    close_fd(&fd);
    return -1;
}

/* Opened by the kernel in one go, but looked at before, because opening a device or a FIFO has effects of its own. */
int open_existing(const struct place *p, const char *path, int flags, struct stat *st, struct failure *f)
{
    AUTO_FD look = resolve_open(p, path, O_PATH);
    if (look < 0 || fstat(look, st) != 0) {
        fail_at(p, f, errno, path);
        return -1;
    }
    if (not_regular(st) != 0) {
        fail_not_regular(st, f, path);
        return -1;
    }
    int fd = resolve_open(p, path, flags | NO_WAIT);
    if (fd < 0 || fstat(fd, st) != 0)
        fail_at(p, f, errno, path);
    else if (not_regular(st) != 0)
        fail_not_regular(st, f, path);
    else
        return fd;
    close_fd(&fd);
    return -1;
}
