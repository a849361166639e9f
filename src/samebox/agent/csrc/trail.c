/* Two descriptors, whatever the depth: the way up is `..`, and must lead where we came from. If it does not, because a
 * hostile process has moved something, we go down again from the root by names; what is a link by then is refused. */
#include "trail.h"

#include "descriptor.h"
#include "path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TRAIL_FLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

struct level { /* the directory above, and how long its path is */
    dev_t dev;
    ino_t ino;
    size_t path_len;
};

void trail_start(struct trail *t, int root)
{
    *t = (struct trail){.root = root, .fd = openat(root, ".", TRAIL_FLAGS)};
}

void trail_end(struct trail *t)
{
    close_fd(&t->fd);
    close_fd(&t->root);
    buf_free(&t->path);
    buf_free(&t->levels);
}

static bool down(struct trail *t, const char *name, size_t len)
{
    struct stat st;
    char *copy = copy_string(name, len);
    AUTO_FD next = openat(t->fd, copy, TRAIL_FLAGS);
    int err = errno;
    free(copy);
    if (next < 0 || fstat(t->fd, &st) != 0) {
        errno = next < 0 ? err : errno;
        return false;
    }
    struct level above = {st.st_dev, st.st_ino, t->path.len};
    buf_add(&t->levels, &above, sizeof above);
    if (t->path.len > 0)
        buf_add(&t->path, "/", 1);
    buf_add(&t->path, name, len);
    int left = t->fd;
    t->fd = next;
    next = left;
    return true;
}

static void back_to_root(struct trail *t)
{
    close_fd(&t->fd);
    t->fd = openat(t->root, ".", TRAIL_FLAGS);
    t->path.len = t->levels.len = 0;
}

static void up(struct trail *t)
{
    struct level above;
    struct stat st;
    t->levels.len -= sizeof above;
    memcpy(&above, t->levels.data + t->levels.len, sizeof above);
    int fd = openat(t->fd, "..", TRAIL_FLAGS);
    close_fd(&t->fd);
    t->fd = fd;
    t->path.len = above.path_len;
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_dev != above.dev || st.st_ino != above.ino)
        back_to_root(t);
}

/* Whether the current directory is on the way to `path`. */
static bool leads_to(const struct trail *t, const char *path, size_t len)
{
    size_t n = t->path.len;
    return n == 0 || (n <= len && memcmp(t->path.data, path, n) == 0 && (n == len || path[n] == '/'));
}

bool trail_go(struct trail *t, const char *path, size_t len)
{
    while (!leads_to(t, path, len))
        up(t);
    while (t->path.len < len) {
        size_t start = t->path.len + (t->path.len > 0);
        const char *slash = memchr(path + start, '/', len - start);
        if (!down(t, path + start, slash ? (size_t)(slash - path) - start : len - start))
            return false;
    }
    return true;
}
