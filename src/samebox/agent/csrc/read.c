/* READ of one file, in the loop: files never make us wait for long. */
#include "read.h"

#include "buffer.h"
#include "connection.h"
#include "descriptor.h"
#include "failure.h"
#include "fileutil.h"
#include "protocol.h"
#include "record.h"
#include "regular.h"
#include "request.h"
#include "resolve.h"
#include "source.h"
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_CUT 1 /* flag: a longer file is cut at the limit, which is no error */

struct reading {
    struct stream stream;
    int fd;
    int64_t remaining, sent;
};

static void read_end(struct reading *d)
{
    struct buf record = {0};
    rec_num(&record, TAG_SIZE, d->sent);
    stream_end(&d->stream, &record);
    buf_free(&record);
}

static void read_fail(struct reading *d, int err, const char *kind)
{
    struct failure f;
    fail(&f, err, kind, d->stream.request.path);
    stream_fail(&d->stream, &f);
}

/* At the limit: anything more is an error. Asks for a block, as some files in /proc refuse to give a single byte. */
static void read_limit(struct reading *d)
{
    uint8_t more[4096];
    ssize_t n = d->stream.request.flags & READ_CUT ? 0 : read(d->fd, more, sizeof(more));
    if (n > 0)
        read_fail(d, EFBIG, "too-large");
    else if (n < 0)
        read_fail(d, errno, NULL);
    else
        read_end(d);
}

/* Sends one chunk; false when it has to wait or has come to its end. *most: whether the file gave less than it was
 * asked for, as it does before its end, which then need not wait for the next turn. */
static bool read_chunk(struct reading *d, bool *most)
{
    *most = false;
    struct source *output = &d->stream.output[0];
    if (d->remaining == 0) {
        read_limit(d);
        return false;
    }
    if (output->credit <= 0 || connection_congested())
        return false;
    int64_t room = output->credit < CHUNK ? output->credit : CHUNK;
    if (room > d->remaining)
        room = d->remaining;
    ssize_t n = read(d->fd, connection_data_begin((size_t)room), (size_t)room);
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0) {
        read_fail(d, errno, NULL);
        return false;
    }
    if (n == 0) {
        read_end(d);
        return false;
    }
    connection_data_end(d->stream.id, 1, (size_t)n);
    output->credit -= n;
    d->sent += n;
    if (d->remaining != INT64_MAX)
        d->remaining -= n;
    *most = n < room;
    return true;
}

static bool read_step(struct stream *s)
{
    struct reading *d = (struct reading *)s;
    bool most;
    return read_chunk(d, &most) && (!most || read_chunk(d, &most));
}

static void read_cancel(struct stream *s, int64_t grace)
{
    (void)grace;
    read_fail((struct reading *)s, ECANCELED, NULL);
}

static void read_release(struct stream *s)
{
    close(((struct reading *)s)->fd);
}

static const struct stream_type read_type = {.step = read_step, .cancel = read_cancel, .release = read_release};

/* Opens what is read, at the offset; adds the REPLY record. *remaining is how much may be sent (INT64_MAX: up to the
 * end of the file, as files in /proc have no size). -1 on failure. The descriptor is O_NONBLOCK: EAGAIN is an error
 * like others. */
static int file_open(const struct request *r, struct buf *reply, int64_t *remaining, struct failure *f)
{
    struct place p;
    struct stat st;
    if (!place_open(&p, r, f))
        return -1;
    int fd = open_existing(&p, r->path, O_RDONLY, &st, f);
    place_close(&p);
    if (fd < 0)
        return -1;
    int64_t offset = r->offset > 0 ? r->offset : 0;
    *remaining = r->limit >= 0 ? r->limit : INT64_MAX;
    if (!(r->flags & READ_CUT) && st.st_size > offset && st.st_size - offset > *remaining) {
        fail(f, EFBIG, "too-large", r->path);
        f->size = st.st_size;
    } else if (offset > 0 && lseek(fd, offset, SEEK_SET) < 0) {
        fail(f, errno, NULL, r->path);
    } else {
        rec_num(reply, TAG_SIZE, st.st_size);
        rec_num(reply, TAG_MODE, st.st_mode & 07777);
        rec_mtime(reply, &st);
        return fd;
    }
    close_fd(&fd);
    return -1;
}

static void read_open(uint32_t id, struct request *r)
{
    struct buf reply = {0};
    struct failure f = {0};
    int64_t remaining;
    int fd = file_open(r, &reply, &remaining, &f);
    if (fd < 0) {
        connection_send_failure(id, &f);
    } else {
        struct reading *d = allocate(sizeof *d);
        stream_register(&d->stream, id, &read_type, r);
        d->stream.output[0].credit = stream_credit(&d->stream);
        d->fd = fd;
        d->remaining = remaining;
        connection_send(FRAME_REPLY, id, reply.data, reply.len);
    }
    buf_free(&reply);
}

const struct operation read_operation = {
    .form = {.known = FIELD(PATH) | FIELD(ROOT) | FIELD(OFFSET) | FIELD(LIMIT) | FIELD(WINDOW) | FIELD(FLAGS),
             .needed = FIELD(PATH), .flags = READ_CUT},
    .open = read_open,
};
