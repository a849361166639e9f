/* PACK: a tree as a stream (protocol.md, section 7). */
#include "pack.h"

#include "buffer.h"
#include "descriptor.h"
#include "fileutil.h"
#include "job.h"
#include "protocol.h"
#include "record.h"
#include "regular.h"
#include "request.h"
#include "resolve.h"
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNSIZED_LIMIT (4 * 1024 * 1024) /* bytes of a file that has no size, which are read before they are sent */

struct packer {
    struct job *j;
    int64_t count;
};

/* `size` is that of a file; `target` of a link. */
static bool send_item(struct packer *k, const char *name, char type, const struct stat *st, const char *target)
{
    struct buf record = {0};
    rec_str(&record, TAG_NAME, name);
    rec_bytes(&record, TAG_FILE_TYPE, &type, 1);
    rec_num(&record, TAG_MODE, st->st_mode & 07777);
    rec_mtime(&record, st);
    if (type == 'f')
        rec_num(&record, TAG_SIZE, st->st_size);
    if (target)
        rec_str(&record, TAG_TARGET, target);
    bool ok = job_record(k->j, &record);
    buf_free(&record);
    k->count += ok;
    return ok;
}

/* Exactly as many bytes as were announced, whatever has become of the file since. */
static bool send_content(struct packer *k, int fd, int64_t size, const char *name)
{
    static char chunk[64 * 1024];
    while (size > 0) {
        size_t want = size < (int64_t)sizeof chunk ? (size_t)size : sizeof chunk;
        ssize_t n = read(fd, chunk, want);
        if (n < 0) {
            job_fail(k->j, errno, k->j->r->path, name);
            return false;
        }
        if (n == 0) {
            memset(chunk, 0, want);
            n = (ssize_t)want;
        }
        if (!job_write(k->j, chunk, (size_t)n))
            return false;
        size -= n;
    }
    return true;
}

/* The content of a file whose size is said to be 0, as those of /proc have content all the same. */
static bool read_unsized(struct packer *k, int fd, struct buf *content, const char *name)
{
    const size_t step = 64 * 1024;
    for (;;) {
        buf_reserve(content, step);
        ssize_t n = read(fd, content->data + content->len, step);
        if (n == 0 || (n < 0 && errno == EAGAIN))
            return true;
        if (n > 0)
            content->len += (size_t)n;
        if (n < 0 || content->len > UNSIZED_LIMIT) {
            job_fail(k->j, n < 0 ? errno : EFBIG, k->j->r->path, name);
            return false;
        }
    }
}

static bool send_open_file(struct packer *k, int fd, struct stat *st, const char *name)
{
    struct buf content = {0};
    bool ok = st->st_size > 0 || read_unsized(k, fd, &content, name);
    if (content.len > 0)
        st->st_size = (off_t)content.len;
    ok = ok && send_item(k, name, 'f', st, NULL);
    if (content.len > 0)
        ok = ok && job_write(k->j, content.data, content.len);
    else
        ok = ok && send_content(k, fd, st->st_size, name);
    buf_free(&content);
    return ok;
}

static bool send_file(struct packer *k, int dir, const char *base, const char *name)
{
    struct stat st;
    AUTO_FD fd = open_regular(dir, base, &st);
    if (fd >= 0)
        return send_open_file(k, fd, &st, name);
    if (has_vanished(errno) || errno == EINVAL || errno == EISDIR)
        return true; /* removed, or something else by now */
    job_fail(k->j, errno, k->j->r->path, name);
    return false;
}

static bool send_link(struct packer *k, const struct walk *w)
{
    char *target = read_link(w->dir, w->name);
    bool ok = !target || send_item(k, (char *)w->path.data, 'l', &w->st, target);
    free(target);
    return ok;
}

static bool pack_seen(struct packer *k, const struct walk *w)
{
    const char *name = (char *)w->path.data;
    int err = w->path.len > SENT_PATH_MAX ? ENAMETOOLONG : w->err;
    if (err) {
        job_fail(k->j, err, k->j->r->path, name);
        return false;
    }
    switch (w->st.st_mode & S_IFMT) {
    case S_IFREG: return send_file(k, w->dir, w->name, name);
    case S_IFDIR: return send_item(k, name, 'd', &w->st, NULL);
    case S_IFLNK: return send_link(k, w);
    default: return true;
    }
}

static bool pack_tree(struct packer *k)
{
    struct walk w = {0};
    struct stat st;
    if (!job_walk(k->j, &w))
        return false;
    bool ok = fstat(w.fd, &st) == 0 && send_item(k, "", 'd', &st, NULL);
    enum walk_event event = WALK_END;
    while (ok && (event = walk_next(&w)) != WALK_END) {
        if (event == WALK_ENTRY) {
            ok = pack_seen(k, &w);
        } else if (w.err && !has_vanished(w.err)) {
            job_fail(k->j, w.err, k->j->r->path, (char *)w.path.data);
            ok = false;
        }
    }
    if (ok && w.err) {
        job_fail(k->j, w.err, k->j->r->path, "");
        ok = false;
    }
    walk_stop(&w);
    return ok;
}

static bool pack_file(struct packer *k)
{
    struct stat st;
    struct job *j = k->j;
    AUTO_FD fd = resolve_open(&j->place, j->r->path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) != 0)
        return fail_at(&j->place, j->f, errno, j->r->path);
    if (not_regular(&st) != 0)
        return fail_not_regular(&st, j->f, j->r->path);
    return send_open_file(k, fd, &st, "");
}

static void pack_op(struct job *j)
{
    static const uint8_t end[4];
    struct packer k = {.j = j};
    struct stat st;
    AUTO_FD look = resolve_open(&j->place, j->r->path, O_PATH);
    if (look < 0 || fstat(look, &st) != 0) {
        fail_at(&j->place, j->f, errno, j->r->path);
        return;
    }
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        fail_not_regular(&st, j->f, j->r->path);
        return;
    }
    if (S_ISDIR(st.st_mode) ? pack_tree(&k) : pack_file(&k)) {
        job_write(j, end, sizeof end);
        rec_num(j->end, TAG_COUNT, k.count);
    }
}

const struct operation pack_operation = {
    .form = {.known = FIELD(PATH) | FIELD(ROOT) | FIELD(WINDOW), .needed = FIELD(PATH)},
    .tree = pack_op,
};
