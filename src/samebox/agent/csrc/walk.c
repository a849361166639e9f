/* Going through a tree.
 *
 * Only the current directory is open, and the start. The way up is `..`, checked by device and inode: if a hostile
 * process has moved a directory away while we were in it, we go down again from the start to where we were, or as far
 * as that still exists.
 *
 * The names of a directory are read and sorted before anything is done with them, in batches where they are more than
 * fit into memory. */
#include "walk.h"

#include "descriptor.h"
#include "fileutil.h"
#include "names.h"
#include "resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define HELD_MAX ((size_t)64 << 20) /* bytes of names, of all directories on the way together */
#define BATCH_MIN ((size_t)4096)    /* but every directory may have this much */
#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

struct level { /* a directory that we are in */
    dev_t dev;
    ino_t ino;
    size_t path_len; /* of its own path */
    struct names names;
    bool lost;
    int err;
};

static struct level *level_at(struct walk *w, size_t i)
{
    return (struct level *)(void *)w->levels.data + i;
}

static size_t level_count(const struct walk *w)
{
    return w->levels.len / sizeof(struct level);
}

static struct level *top(struct walk *w)
{
    return level_at(w, level_count(w) - 1);
}

bool has_vanished(int err)
{
    return err == ENOENT || err == ENOTDIR || err == ELOOP || err == ESTALE;
}

int open_dir(int dir, const char *name, bool force)
{
    struct stat st;
    int fd = openat(dir, name, DIR_FLAGS);
    if (!force || (fd < 0 && errno != EACCES))
        return fd;
    if (fd >= 0) {
        /* Without these rights its entries can't be looked at or removed. */
        if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & S_IRWXU) != S_IRWXU)
            fchmod(fd, (st.st_mode & 07777) | S_IRWXU);
        return fd;
    }
    struct place here = {.fd = dir};
    AUTO_FD look = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (look < 0 || fstat(look, &st) != 0)
        return -1;
    if (st.st_uid != geteuid() || !chmod_fd(look, (st.st_mode & 07777) | S_IRWXU, &here, name)) {
        errno = EACCES;
        return -1;
    }
    return openat(dir, name, DIR_FLAGS);
}

static void drop_names(struct walk *w, struct level *l)
{
    w->held -= names_size(&l->names);
    names_drop(&l->names);
}

static void read_names(struct walk *w, struct level *l)
{
    drop_names(w, l);
    size_t limit = w->held + BATCH_MIN < HELD_MAX ? HELD_MAX - w->held : BATCH_MIN;
    l->err = names_read(&l->names, w->fd, limit, w->restart);
    w->held += names_size(&l->names);
}

/* --- down and up --- */

static void set_path(struct walk *w, size_t len, const char *name)
{
    w->path.len = len;
    if (len > 0 && name)
        buf_add(&w->path, "/", 1);
    if (name)
        buf_add(&w->path, name, strlen(name));
    buf_add(&w->path, "", 1);
}

/* The event is about what is in the directory of the topmost level. */
static void set_event(struct walk *w, int err)
{
    size_t above = top(w)->path_len;
    w->name = (char *)w->path.data + above + (above > 0);
    w->depth = level_count(w);
    w->dir = w->fd;
    w->err = err;
}

/* If it can't be looked at it is never found again either, which is then noticed. */
static void push(struct walk *w, int fd)
{
    struct stat st = {0};
    fstat(fd, &st);
    struct level l = {.dev = st.st_dev, .ino = st.st_ino, .path_len = strlen((char *)w->path.data)};
    buf_add(&w->levels, &l, sizeof l);
    w->fd = fd;
    read_names(w, top(w));
}

static bool descend(struct walk *w)
{
    AUTO_FD above = w->fd;
    int fd = open_dir(above, w->name, w->force);
    if (fd < 0) {
        above = -1;
        return false;
    }
    push(w, fd);
    return true;
}

static bool is_level(const struct level *l, int fd)
{
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino;
}

static int open_level(struct walk *w, int fd, size_t i)
{
    size_t above = level_at(w, i - 1)->path_len, end = level_at(w, i)->path_len;
    uint8_t saved = w->path.data[end];
    w->path.data[end] = '\0';
    int next = openat(fd, (char *)w->path.data + above + (above > 0), DIR_FLAGS);
    w->path.data[end] = saved;
    if (!is_level(level_at(w, i), next))
        close_fd(&next);
    return next;
}

/* From the start down to the topmost level. Levels that aren't there any more are marked as lost. */
static int reach_top(struct walk *w)
{
    int fd = openat(w->start, ".", DIR_FLAGS);
    size_t count = level_count(w);
    for (size_t i = 1; i < count; i++) {
        int next = fd < 0 ? -1 : open_level(w, fd, i);
        close_fd(&fd);
        fd = next;
        level_at(w, i)->lost = fd < 0;
    }
    return fd;
}

/* Leaves the topmost directory; the event is then about it. */
static void ascend(struct walk *w)
{
    struct level *done = top(w);
    int err = done->err;
    set_path(w, done->path_len, NULL);
    drop_names(w, done);
    w->levels.len -= sizeof *done;

    struct level *l = top(w);
    int up = w->fd < 0 ? -1 : openat(w->fd, "..", DIR_FLAGS);
    if (!is_level(l, up)) {
        close_fd(&up);
        if (!l->lost)
            up = reach_top(w);
    }
    close_fd(&w->fd);
    w->fd = up;
    if (up < 0) {
        drop_names(w, l);
        l->names.more = false;
        l->err = ESTALE;
    }
    set_event(w, err);
}

/* --- steps --- */

void walk_start(struct walk *w, int fd)
{
    w->start = openat(fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    set_path(w, 0, NULL);
    w->enter = false;
    push(w, fd);
}

/* The next name of the topmost directory; false if what it names has vanished. */
static bool take_entry(struct walk *w)
{
    struct level *l = top(w);
    const char *name = l->names.sorted[l->names.next++];
    int err = 0;
    set_path(w, l->path_len, name + 1);
    if (fstatat(w->fd, name + 1, &w->st, AT_SYMLINK_NOFOLLOW) != 0) {
        err = errno;
        w->st = (struct stat){.st_mode = (mode_t)((uint8_t)name[0]) << 12};
    }
    set_event(w, err);
    w->enter = S_ISDIR(w->st.st_mode) && err == 0;
    return err != ENOENT;
}

enum walk_event walk_next(struct walk *w)
{
    if (w->enter) {
        w->enter = false;
        if (!descend(w)) {
            w->err = errno;
            return WALK_LEAVE;
        }
    }
    for (;;) {
        struct level *l = top(w);
        if (l->names.next < l->names.count) {
            if (take_entry(w))
                return WALK_ENTRY;
            w->enter = false;
        } else if (l->names.more) {
            read_names(w, l);
        } else if (level_count(w) > 1) {
            ascend(w);
            return WALK_LEAVE;
        } else {
            w->err = l->err;
            return WALK_END;
        }
    }
}

void walk_skip(struct walk *w)
{
    w->enter = false;
}

void walk_stop(struct walk *w)
{
    while (level_count(w) > 0) {
        drop_names(w, top(w));
        w->levels.len -= sizeof(struct level);
    }
    close_fd(&w->fd);
    close_fd(&w->start);
    buf_free(&w->path);
    buf_free(&w->levels);
}
