/* What all tree operations need, recursive REMOVE and CHMOD. */
#include "tree.h"

#include "descriptor.h"
#include "files.h"
#include "fileutil.h"
#include "path.h"
#include "protocol.h"
#include "readwrite.h"
#include "workdir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define OUTPUT_CHUNK (64 * 1024)

bool job_flush(struct job *j)
{
    bool ok = write_all(j->out, j->pending.data, j->pending.len);
    j->pending.len = 0;
    if (!ok)
        job_fail(j, errno, j->r->path, "");
    return ok;
}

bool job_write(struct job *j, const void *data, size_t len)
{
    buf_add(&j->pending, data, len);
    return j->pending.len < OUTPUT_CHUNK || job_flush(j);
}

bool job_record(struct job *j, const struct buf *record)
{
    uint8_t len[4];
    put_u32(len, (uint32_t)record->len);
    buf_add(&j->pending, len, sizeof len);
    return job_write(j, record->data, record->len);
}

void job_fail(struct job *j, int err, const char *base, const char *path)
{
    if (j->f->err)
        return;
    char *full = join_path(base, path);
    fail(j->f, err, NULL, full);
    free(full);
}

bool job_walk(struct job *j, struct walk *w)
{
    int fd = resolve_open(&j->place, j->r->path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
    if (fd < 0)
        return fail_at(&j->place, j->f, errno, j->r->path);
    walk_start(w, fd);
    return true;
}

/* --- REMOVE --- */

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
void remove_tree(struct job *j, int dir, const char *base)
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

static void remove_op(struct job *j)
{
    struct spot s;
    if (!resolve_spot(&j->place, j->r->path, false, &s, j->f)) {
        if (j->f->err == ENOENT && (j->r->flags & REMOVE_MAY_BE_MISSING))
            j->f->err = 0;
        return;
    }
    if (remove_one(&j->place, j->r, &s, j->f) == REMOVAL_IS_TREE)
        remove_entry(j, s.dir, s.name, j->r->path);
    spot_close(&s);
}

/* --- CHMOD --- */

static void chmod_entry(struct job *j, const struct walk *w)
{
    struct place here = {.fd = w->dir};
    AUTO_FD fd = openat(w->dir, w->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    int err = 0;
    if (fd < 0 || fstat(fd, &st) != 0)
        err = errno;
    else if (!S_ISLNK(st.st_mode) && !chmod_fd(fd, (mode_t)j->r->mode & 07777, &here, w->name))
        err = errno;
    if (err && !has_vanished(err))
        job_fail(j, err, j->r->path, (char *)w->path.data);
}

/* Directories get their mode when we leave them: it may take away the right to enter. */
static void chmod_tree(struct job *j, int dir)
{
    struct walk w = {.force = true};
    enum walk_event event;
    walk_start(&w, dir);
    while ((event = walk_next(&w)) != WALK_END) {
        if (event == WALK_LEAVE && w.err && !has_vanished(w.err))
            job_fail(j, w.err, j->r->path, (char *)w.path.data);
        if (w.dir >= 0 && (event == WALK_LEAVE || !S_ISDIR(w.st.st_mode)))
            chmod_entry(j, &w);
    }
    if (w.err)
        job_fail(j, w.err, j->r->path, "");
    walk_stop(&w);
}

/* Opens the directory that `look` stands for, with the right to read it if it is ours. */
static int open_start(struct job *j, int look)
{
    struct stat st;
    int flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK;
    int dir = resolve_open(&j->place, j->r->path, flags);
    if (dir >= 0 || errno != EACCES || fstat(look, &st) != 0 || st.st_uid != geteuid())
        return dir;
    if (!chmod_fd(look, (st.st_mode & 07777) | S_IRWXU, &j->place, j->r->path))
        return -1;
    return resolve_open(&j->place, j->r->path, flags);
}

static void chmod_op(struct job *j)
{
    const char *path = j->r->path;
    AUTO_FD look = resolve_open(&j->place, path, O_PATH | O_DIRECTORY);
    int dir = -1;
    if (look >= 0)
        dir = open_start(j, look);
    if (dir < 0) {
        fail_at(&j->place, j->f, errno, path);
        return;
    }
    chmod_tree(j, dir);
    if (!chmod_fd(look, (mode_t)j->r->mode & 07777, &j->place, path))
        job_fail(j, errno, path, "");
}

/* --- */

void tree_op(const struct request *r, int in, int out, struct buf *end, struct failure *f)
{
    struct job j = {.r = r, .in = in, .out = out, .end = end, .f = f};
    write_guard();
    if (!place_open(&j.place, r, f))
        return;
    switch (r->op) {
    case OP_LIST:
    case OP_WALK: list_op(&j); break;
    case OP_GREP: grep_op(&j); break;
    case OP_PACK: pack_op(&j); break;
    case OP_UNPACK: unpack_op(&j); break;
    case OP_REMOVE: remove_op(&j); break;
    case OP_COPY:
    case OP_MOVE: copy_op(&j); break;
    case OP_CHMOD: chmod_op(&j); break;
    default: fail(f, ENOSYS, NULL, r->path);
    }
    if (j.pending.len > 0 && f->err != EPIPE)
        job_flush(&j);
    buf_free(&j.pending);
    place_close(&j.place);
}
