/* Small things that several file operations need. */
#include "fileutil.h"

#include "descriptor.h"
#include "path.h"
#include "protocol.h"
#include "record.h"
#include "workdir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif
#define PROC_MAGIC 0x9fa0

static char type_letter(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return 'f';
    case S_IFDIR: return 'd';
    case S_IFLNK: return 'l';
    case S_IFIFO: return 'p';
    case S_IFSOCK: return 's';
    case S_IFCHR: return 'c';
    case S_IFBLK: return 'b';
    default: return '?';
    }
}

void rec_mtime(struct buf *b, const struct stat *st)
{
    rec_num(b, TAG_MTIME, (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec);
}

void rec_stat(struct buf *b, const struct stat *st, int dir, const char *name)
{
    char type = type_letter(st->st_mode);
    rec_bytes(b, TAG_FILE_TYPE, &type, 1);
    rec_num(b, TAG_SIZE, st->st_size);
    rec_num(b, TAG_MODE, st->st_mode & 07777);
    rec_mtime(b, st);
    rec_num(b, TAG_UID, st->st_uid);
    rec_num(b, TAG_GID, st->st_gid);
    rec_num(b, TAG_INODE, (int64_t)st->st_ino);
    rec_num(b, TAG_LINKS, (int64_t)st->st_nlink);
    char *target = type == 'l' ? read_link(dir, name) : NULL;
    if (target)
        rec_str(b, TAG_TARGET, target);
    free(target);
}

bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool is_within(int fd, const struct stat *st)
{
    AUTO_FD dir = openat(fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat here, above;
    if (dir < 0 || fstat(dir, &here) != 0)
        return false;
    for (;;) {
        if (same_file(&here, st))
            return true;
        int up = openat(dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        close_fd(&dir);
        dir = up;
        if (dir < 0 || fstat(dir, &above) != 0 || same_file(&above, &here))
            return false;
        here = above;
    }
}

bool is_protected(const struct place *p, const struct stat *st)
{
    struct stat root;
    if (p->confined && fstat(p->fd, &root) == 0 && same_file(&root, st))
        return true;
    return is_within(workdir_fd, st);
}

/* A descriptor of /proc/self/fd, if that is what it is; a hostile image may have a directory of that name. */
static int open_proc_fds(void)
{
    int fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct statfs fs;
    if (fd >= 0 && (fstatfs(fd, &fs) != 0 || fs.f_type != PROC_MAGIC))
        close_fd(&fd);
    return fd;
}

/* By opening the file itself, which needs the right to read it. */
static bool chmod_by_open(int fd, mode_t mode, const struct place *p, const char *path)
{
    struct stat want, got;
    if (fstat(fd, &want) != 0)
        return false;
    if (!S_ISREG(want.st_mode) && !S_ISDIR(want.st_mode)) {
        errno = EOPNOTSUPP;
        return false;
    }
    AUTO_FD file = resolve_open(p, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (file < 0 || fstat(file, &got) != 0)
        return false;
    if (!same_file(&want, &got)) {
        errno = ESTALE;
        return false;
    }
    return fchmod(file, mode) == 0;
}

bool chmod_fd(int fd, mode_t mode, const struct place *p, const char *path)
{
    if (syscall(SYS_fchmodat2, fd, "", mode, AT_EMPTY_PATH) == 0)
        return true;
    /* A seccomp filter that doesn't know the call says EPERM, as a file of someone else does. */
    if (errno != ENOSYS && errno != EPERM && errno != EINVAL)
        return false;
    AUTO_FD fds = open_proc_fds();
    if (fds < 0)
        return chmod_by_open(fd, mode, p, path);
    char number[16];
    snprintf(number, sizeof number, "%d", fd);
    return fchmodat(fds, number, mode, 0) == 0;
}

bool rename_new(int from_dir, const char *from, int to_dir, const char *to)
{
    if (syscall(SYS_renameat2, from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0)
        return true;
    if (errno != ENOSYS && errno != EINVAL && errno != EPERM)
        return false;
    /* A link never replaces anything, but directories have none and some file systems neither. */
    if (linkat(from_dir, from, to_dir, to, 0) == 0) {
        if (unlinkat(from_dir, from, 0) == 0)
            return true;
        int err = errno;
        unlinkat(to_dir, to, 0);
        errno = err;
        return false;
    }
    if (errno == EEXIST)
        return false;
    struct stat st;
    if (fstatat(to_dir, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
        errno = EEXIST;
    else if (errno == ENOENT)
        return renameat(from_dir, from, to_dir, to) == 0;
    return false;
}

void temp_name(char name[TEMP_NAME_SIZE])
{
    uint64_t r;
    static uint64_t count;
    if (getrandom(&r, sizeof r, GRND_NONBLOCK) != sizeof r) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        r = ((uint64_t)getpid() << 40) ^ (uint64_t)now.tv_nsec ^ (++count << 32);
    }
    snprintf(name, TEMP_NAME_SIZE, ".samebox-%016llx", (unsigned long long)r);
}

bool link_over(const char *target, int dir, const char *name)
{
    char temp[TEMP_NAME_SIZE];
    temp_name(temp);
    if (symlinkat(target, dir, temp) != 0)
        return false;
    if (renameat(dir, temp, dir, name) == 0)
        return true;
    int err = errno;
    unlinkat(dir, temp, 0);
    errno = err;
    return false;
}

char *read_link(int dir, const char *name)
{
    char target[PATH_MAX];
    ssize_t len = readlinkat(dir, name, target, sizeof target);
    return len < 0 ? NULL : copy_string(target, (size_t)len);
}
