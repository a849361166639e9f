/* UNPACK: makes a tree from a stream (protocol.md, section 7). */
#include "unpack.h"

#include "buffer.h"
#include "descriptor.h"
#include "failure.h"
#include "fileutil.h"
#include "filewrite.h"
#include "item.h"
#include "job.h"
#include "path.h"
#include "protocol.h"
#include "record.h"
#include "request.h"
#include "resolve.h"
#include "target.h"
#include "trail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNPACK_REPLACE 1

/* A directory that we made. Its mode and mtime are set at the end, as writing into it needs the one and changes the
 * other. */
struct made_dir {
    mode_t mode;
    struct timespec mtime;
    char *path;
};

struct unpacker {
    struct job *j;
    struct input in;
    struct trail at;
    struct buf made; /* struct made_dir */
    bool replace;
    int64_t count;
};

static bool unpack_failed(struct unpacker *u, int err, const char *path)
{
    job_fail(u->j, err, u->j->r->path, path);
    return false;
}

static bool broken(struct unpacker *u, const struct item *item)
{
    bool escape = item->problem == ITEM_ESCAPES;
    if (u->j->f->err == 0) {
        fail(u->j->f, escape ? EINVAL : EPROTO, escape ? "escape" : NULL, item->name ? item->name : u->j->r->path);
        snprintf(u->j->f->message, sizeof u->j->f->message, "%s", item_problem_text(item->problem));
    }
    return false;
}

static bool receive_content(struct unpacker *u, const struct item *item, int fd, const char *path)
{
    static char chunk[64 * 1024];
    for (int64_t left = item->size; left > 0;) {
        size_t n = left < (int64_t)sizeof chunk ? (size_t)left : sizeof chunk;
        if (!input_take(&u->in, chunk, n)) {
            struct item cut = {.problem = ITEM_CUT};
            return broken(u, &cut);
        }
        if (!write_all(fd, chunk, n))
            return unpack_failed(u, errno, path);
        left -= (int64_t)n;
    }
    return true;
}

static bool finish_file(struct unpacker *u, const struct item *item, struct file_write *w, const char *path)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, item->mtime};
    if (receive_content(u, item, w->fd, path)) {
        w->mode = item->mode;
        if (!item->no_mtime)
            futimens(w->fd, times);
        return file_commit_write(w, u->j->f);
    }
    file_abort_write(w);
    return false;
}

/* --- what is below the root --- */

static bool make_file(struct unpacker *u, const struct item *item)
{
    struct stat st;
    struct file_write w;
    const char *base = base_name(item->name);
    bool exists = fstatat(u->at.fd, base, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (exists && (S_ISDIR(st.st_mode) || !u->replace)) /* said before the content is taken */
        return unpack_failed(u, u->replace ? EISDIR : EEXIST, item->name);
    char *path = join_path(u->j->r->path, item->name);
    bool ok = write_begin(&w, u->at.fd, base, item->mode, !u->replace, path, u->j->f);
    ok = ok && finish_file(u, item, &w, item->name);
    free(path);
    return ok;
}

static bool make_link(struct unpacker *u, int dir, const char *name, const struct item *item)
{
    struct stat st;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, item->mtime};
    bool ok = symlinkat(item->target, dir, name) == 0;
    if (!ok && errno == EEXIST && u->replace) {
        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
            errno = EISDIR;
        else
            ok = link_over(item->target, dir, name);
    }
    if (!ok)
        return unpack_failed(u, errno, item->name);
    if (!item->no_mtime)
        utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW);
    return true;
}

static void remember(struct unpacker *u, const struct item *item)
{
    char *path = copy_string(item->name, strlen(item->name));
    struct made_dir made = {.mode = item->mode, .mtime = item->mtime, .path = path};
    if (item->no_mtime)
        made.mtime.tv_nsec = UTIME_OMIT;
    buf_add(&u->made, &made, sizeof made);
}

static bool make_directory(struct unpacker *u, const struct item *item)
{
    struct stat st;
    const char *base = base_name(item->name);
    if (mkdirat(u->at.fd, base, S_IRWXU) == 0) {
        remember(u, item);
        return true;
    }
    int err = errno;
    if (err == EEXIST && fstatat(u->at.fd, base, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        return true; /* merged; it keeps its mode */
    return unpack_failed(u, err, item->name);
}

static bool make_item(struct unpacker *u, const struct item *item)
{
    if (!trail_go(&u->at, item->name, parent_len(item->name)))
        return unpack_failed(u, errno == ELOOP ? ENOTDIR : errno, item->name);
    switch (item->type) {
    case 'f': return make_file(u, item);
    case 'd': return make_directory(u, item);
    default: return make_link(u, u->at.fd, base_name(item->name), item);
    }
}

/* --- the root --- */

static bool make_root_file(struct unpacker *u, const struct item *item)
{
    struct request r = *u->j->r;
    struct file_write w;
    r.flags = u->replace ? 0 : WRITE_EXCLUSIVE;
    r.mode = item->mode;
    return file_open_write(&r, &w, u->j->f) && finish_file(u, item, &w, "");
}

static bool make_root_link(struct unpacker *u, const struct item *item)
{
    struct spot s;
    if (!resolve_spot(&u->j->place, u->j->r->path, true, &s, u->j->f))
        return false;
    bool ok = make_link(u, s.dir, s.name, item);
    spot_close(&s);
    return ok;
}

static bool make_root_directory(struct unpacker *u, const struct item *item)
{
    struct spot s;
    const char *path = u->j->r->path;
    if (!resolve_spot(&u->j->place, path, true, &s, u->j->f))
        return false;
    int err = mkdirat(s.dir, s.name, S_IRWXU) == 0 ? 0 : errno, root = -1;
    if (err == 0) {
        root = openat(s.dir, s.name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        err = root < 0 ? errno : 0;
        remember(u, item);
    } else if (err == EEXIST) {
        root = resolve_open(&u->j->place, path, O_PATH | O_DIRECTORY);
        err = root >= 0 ? 0 : errno == ENOTDIR || errno == ENOENT ? EEXIST : errno;
    }
    spot_close(&s);
    if (err)
        return fail_at(&u->j->place, u->j->f, err, path);
    trail_start(&u->at, root);
    return true;
}

static bool make_root(struct unpacker *u, const struct item *item)
{
    switch (item->type) {
    case 'f': return make_root_file(u, item);
    case 'd': return make_root_directory(u, item);
    default: return make_root_link(u, item);
    }
}

/* --- the stream --- */

static void finish_dir(struct unpacker *u, const struct made_dir *made)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, made->mtime};
    if (!trail_go(&u->at, made->path, parent_len(made->path)))
        return;
    const char *base = made->path[0] ? base_name(made->path) : ".";
    AUTO_FD fd = openat(u->at.fd, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return; /* removed or moved away meanwhile */
    futimens(fd, times);
    if (fchmod(fd, made->mode) != 0)
        unpack_failed(u, errno, made->path);
}

/* Those below come after those above, and are done first. */
static void finish_dirs(struct unpacker *u)
{
    while (u->made.len > 0) {
        struct made_dir made;
        u->made.len -= sizeof made;
        memcpy(&made, u->made.data + u->made.len, sizeof made);
        finish_dir(u, &made);
        free(made.path);
    }
    buf_free(&u->made);
}

static bool unpack_all(struct unpacker *u)
{
    bool is_dir = false;
    for (;;) {
        struct item item;
        enum item_state state = item_read(&u->in, &item);
        bool ok = state == ITEM_READ;
        if (ok && u->count > 0 && !is_dir)
            item.problem = ITEM_MALFORMED;
        if (ok && (item.name[0] == '\0') != (u->count == 0))
            item.problem = item.name[0] ? ITEM_MALFORMED : ITEM_ESCAPES;
        if (item.problem || (state == ITEM_LAST && u->count == 0))
            ok = broken(u, &item);
        else if (ok)
            ok = u->count == 0 ? make_root(u, &item) : make_item(u, &item);
        if (ok && u->count++ == 0)
            is_dir = item.type == 'd';
        item_free(&item);
        if (!ok)
            return state == ITEM_LAST && !u->j->f->err;
    }
}

static void unpack_op(struct job *j)
{
    struct unpacker u = {.j = j, .in = {.fd = j->in}, .at = {.fd = -1, .root = -1}};
    u.replace = j->r->flags & UNPACK_REPLACE;
    bool ok = unpack_all(&u);
    finish_dirs(&u);
    trail_end(&u.at);
    if (ok && !j->f->err)
        rec_num(j->end, TAG_COUNT, u.count);
}

const struct operation unpack_operation = {
    .form = {.known = FIELD(PATH) | FIELD(ROOT) | FIELD(FLAGS), .needed = FIELD(PATH), .flags = UNPACK_REPLACE},
    .tree = unpack_op,
    .tree_input = true,
};
