/* Path resolution on descriptors. Confined paths are left to openat2 where there is one. Where a kernel or a seccomp
 * filter refuses it, beneath.c walks the components itself. */
#include "resolve.h"

#include "beneath.h"
#include "descriptor.h"
#include "path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

struct open_how_v0 { /* struct open_how, which older headers lack */
    uint64_t flags, mode, resolve;
};
#define HOW_NO_MAGICLINKS 0x02
#define HOW_BENEATH 0x08

#define RENAME_RACE_TRIES 16
#define MADE_DIR_MODE 0755 /* 0777 less the umask */

bool place_open(struct place *p, const struct request *r, struct failure *f)
{
    p->confined = r->root != NULL;
    p->fd = AT_FDCWD;
    if (!p->confined)
        return true;
    p->fd = open(r->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (p->fd < 0)
        fail(f, errno, NULL, r->root);
    return p->fd >= 0;
}

void place_close(struct place *p)
{
    if (p->confined)
        close_fd(&p->fd);
}

bool fail_at(const struct place *p, struct failure *f, int err, const char *path)
{
    fail(f, err, p->confined && err == EXDEV ? "escape" : NULL, path);
    return false;
}

static int open_beneath(int root, const char *path, int flags)
{
    struct open_how_v0 how = {.flags = (uint64_t)flags, .resolve = HOW_BENEATH | HOW_NO_MAGICLINKS};
    for (int tries = 0; tries < RENAME_RACE_TRIES; tries++) {
        long fd = syscall(SYS_openat2, root, path, &how, sizeof how);
        if (fd >= 0)
            return (int)fd;
        /* EAGAIN: something was renamed, anywhere, while `..` was resolved. */
        if (errno != EAGAIN)
            break;
    }
    if (errno == ENOSYS || errno == EPERM || errno == EINVAL || errno == EAGAIN)
        return beneath_open(root, path, flags, NULL);
    return -1;
}

int resolve_open(const struct place *p, const char *path, int flags)
{
    flags |= O_CLOEXEC;
    if (!p->confined)
        return openat(p->fd, path, flags);
    if (path[0] == '/') {
        errno = EXDEV;
        return -1;
    }
    return open_beneath(p->fd, path, flags);
}

/* Opens a directory below an existing one, and makes what is missing. Every prefix is resolved from the start, so that
 * links and `..` in it mean what they mean to the kernel, and confinement holds for each. */
static int make_dirs(const struct place *p, char *path)
{
    int dir = resolve_open(p, path[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY);
    for (char *end = path; dir >= 0;) {
        char *start = end + strspn(end, "/");
        if (*start == '\0')
            break;
        end = start + strcspn(start, "/");
        char saved = *end;
        *end = '\0';
        int next = resolve_open(p, path, O_PATH | O_DIRECTORY);
        if (next < 0 && errno == ENOENT && (mkdirat(dir, start, MADE_DIR_MODE) == 0 || errno == EEXIST))
            next = resolve_open(p, path, O_PATH | O_DIRECTORY);
        *end = saved;
        close_fd(&dir);
        dir = next;
    }
    return dir;
}

static bool is_dots(const char *name, size_t len)
{
    return len == 0 || (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.');
}

bool resolve_spot(const struct place *p, const char *path, bool make_parents, struct spot *s, struct failure *f)
{
    size_t end = strlen(path), start;
    *s = (struct spot){.dir = -1};
    if (end == 0 || end >= PATH_MAX)
        return fail_at(p, f, end == 0 ? ENOENT : ENAMETOOLONG, path);
    while (end > 0 && path[end - 1] == '/')
        end--;
    s->slash = path[end] == '/';
    for (start = end; start > 0 && path[start - 1] != '/';)
        start--;

    char *parent;
    if (is_dots(path + start, end - start)) {
        parent = copy_string(path, strlen(path));
        s->name = copy_string(".", 1);
        make_parents = false;
    } else {
        parent = start > 0 ? copy_string(path, start) : copy_string(".", 1);
        s->name = copy_string(path + start, end - start);
    }
    s->dir = resolve_open(p, parent, O_PATH | O_DIRECTORY);
    if (s->dir < 0 && errno == ENOENT && make_parents)
        s->dir = make_dirs(p, parent);
    int err = errno;
    free(parent);
    if (s->dir >= 0)
        return true;
    spot_close(s);
    return fail_at(p, f, err, path);
}

void spot_close(struct spot *s)
{
    close_fd(&s->dir);
    free(s->name);
    s->name = NULL;
}

bool resolve_real(const struct place *p, const char *path, struct buf *out)
{
    if (p->confined) {
        AUTO_FD fd = path[0] == '/' ? (errno = EXDEV, -1) : beneath_open(p->fd, path, O_PATH | O_CLOEXEC, out);
        return fd >= 0;
    }
    char *real = realpath(path, NULL);
    if (!real)
        return false;
    buf_add(out, real, strlen(real) + 1);
    free(real);
    return true;
}
