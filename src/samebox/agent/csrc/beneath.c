/* Confined path resolution for kernels without openat2, and for REALPATH, which needs the names on the way.
 *
 * No system call ever sees more than one component and none follows a link, so nothing that is swapped meanwhile can
 * lead out. `..` goes up by the kernel's own entry, and only to the directory that the walk came from (by device and
 * inode): a directory that was moved out of the root in the meantime takes nobody along. Two descriptors are open at a
 * time, whatever the depth. */
#include "beneath.h"

#include "descriptor.h"
#include "path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PROC_MAGIC 0x9fa0

struct level { /* a directory on the way, and how long `real` was before its name */
    dev_t dev;
    ino_t ino;
    size_t real_len;
};

struct walk {
    int fd;             /* the current directory, O_PATH */
    struct buf levels;  /* struct level: the directories above it */
    struct buf real;
    struct buf todo;    /* what is left of the path, NUL-terminated, from `pos` */
    size_t pos;
    int links;
};

static bool set_errno(int err)
{
    errno = err;
    return false;
}

static bool go_down(struct walk *w, int fd, const char *name)
{
    struct stat st;
    if (fstat(w->fd, &st) != 0)
        return false;
    struct level here = {st.st_dev, st.st_ino, w->real.len};
    buf_add(&w->levels, &here, sizeof here);
    if (w->real.len > 0)
        buf_add(&w->real, "/", 1);
    buf_add(&w->real, name, strlen(name));
    close_fd(&w->fd);
    w->fd = fd;
    return true;
}

static bool go_up(struct walk *w)
{
    struct level above;
    if (w->levels.len == 0)
        return set_errno(EXDEV);
    w->levels.len -= sizeof above;
    memcpy(&above, w->levels.data + w->levels.len, sizeof above);
    int fd = openat(w->fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    close_fd(&w->fd);
    w->fd = fd;
    w->real.len = above.real_len;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return false;
    return (st.st_dev == above.dev && st.st_ino == above.ino) || set_errno(EXDEV);
}

/* Puts a link's target in front of what is left of the path. */
static bool take_link(struct walk *w, int link)
{
    char target[PATH_MAX];
    struct statfs fs;
    ssize_t len = readlinkat(link, "", target, sizeof target);
    if (len < 0 || fstatfs(link, &fs) != 0)
        return false;
    if (++w->links > MAX_LINKS || fs.f_type == PROC_MAGIC)
        return set_errno(ELOOP); /* proc's links lead anywhere, whatever their text says */
    if (len == 0)
        return set_errno(ENOENT);
    if (target[0] == '/')
        return set_errno(EXDEV);
    struct buf todo = {0};
    buf_add(&todo, target, (size_t)len);
    /* What follows begins with a slash or is empty. */
    buf_add(&todo, w->todo.data + w->pos, w->todo.len - w->pos);
    buf_free(&w->todo);
    w->todo = todo;
    w->pos = 0;
    return true;
}

/* The next component; NULL at the end. *last: nothing follows it, not even a slash. */
static char *next_name(struct walk *w, bool *last)
{
    char *rest = (char *)w->todo.data + w->pos;
    char *start = rest + strspn(rest, "/");
    size_t len = strcspn(start, "/");
    char *name = len ? copy_string(start, len) : NULL;
    *last = start[len] == '\0';
    w->pos = (size_t)(start + len - (char *)w->todo.data);
    return name;
}

/* Takes one step. Returns a descriptor when the path is at its end, -1 on failure, -2 to go on. */
static int step(struct walk *w, const char *name, bool last, int flags)
{
    if (strcmp(name, ".") == 0)
        return -2;
    if (strcmp(name, "..") == 0)
        return go_up(w) ? -2 : -1;
    AUTO_FD fd = openat(w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return -1;
    if (S_ISLNK(st.st_mode) && !(last && (flags & O_NOFOLLOW)))
        return take_link(w, fd) ? -2 : -1;
    if (S_ISDIR(st.st_mode)) {
        int dir = fd;
        fd = -1;
        if (go_down(w, dir, name))
            return -2;
        close_fd(&dir);
        return -1;
    }
    if (!last) {
        errno = ENOTDIR;
        return -1;
    }
    if (w->real.len > 0)
        buf_add(&w->real, "/", 1);
    buf_add(&w->real, name, strlen(name));
    return openat(w->fd, name, flags | O_NOFOLLOW);
}

static int run(struct walk *w, int flags)
{
    for (;;) {
        bool last;
        char *name = next_name(w, &last);
        if (!name)
            return openat(w->fd, ".", flags);
        int fd = step(w, name, last, flags);
        free(name);
        if (fd != -2)
            return fd;
    }
}

int beneath_open(int root, const char *path, int flags, struct buf *real)
{
    size_t len = strlen(path);
    if (len == 0 || len >= PATH_MAX || path[0] == '/') {
        errno = len == 0 ? ENOENT : len >= PATH_MAX ? ENAMETOOLONG : EXDEV;
        return -1;
    }
    struct walk w = {.fd = openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (w.fd < 0)
        return -1;
    buf_add(&w.todo, path, len + 1);
    int fd = run(&w, flags);
    int err = errno;
    if (fd >= 0 && real) {
        if (w.real.len == 0)
            buf_add(&w.real, ".", 1);
        buf_add(real, w.real.data, w.real.len);
        buf_add(real, "", 1);
    }
    close_fd(&w.fd);
    buf_free(&w.levels);
    buf_free(&w.real);
    buf_free(&w.todo);
    errno = err;
    return fd;
}
