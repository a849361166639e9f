/* WRITE of one file, in the loop: files never make us wait for long. */
#include "write.h"

#include "buffer.h"
#include "connection.h"
#include "descriptor.h"
#include "failure.h"
#include "filewrite.h"
#include "protocol.h"
#include "record.h"
#include "request.h"
#include "sink.h"
#include "stream.h"
#include "target.h"

#include <errno.h>
#include <stdlib.h>

struct writing {
    struct stream stream;
    struct file_write file;
    bool open;
};

static void write_input(struct stream *s, const uint8_t *data, size_t len)
{
    struct writing *w = (struct writing *)s;
    if (write_all(w->file.fd, data, len)) {
        w->file.written += (int64_t)len;
        sink_consumed(&s->input, len);
        return;
    }
    struct failure f;
    fail(&f, errno, NULL, s->request.path);
    stream_fail(s, &f);
}

static void write_input_end(struct stream *s)
{
    struct writing *w = (struct writing *)s;
    struct failure f = {0};
    struct buf record = {0};
    int64_t written = w->file.written;
    s->input.ended = true;
    w->open = false;
    if (file_commit_write(&w->file, &f)) {
        rec_num(&record, TAG_SIZE, written);
        stream_end(s, &record);
        buf_free(&record);
    } else {
        stream_fail(s, &f);
    }
}

static void write_cancel(struct stream *s, int64_t grace)
{
    (void)grace;
    struct failure f;
    fail(&f, ECANCELED, NULL, s->request.path);
    stream_fail(s, &f);
}

static void write_release(struct stream *s)
{
    struct writing *w = (struct writing *)s;
    if (w->open)
        file_abort_write(&w->file);
}

static const struct stream_type write_type = {
    .input = write_input, .input_end = write_input_end, .cancel = write_cancel, .release = write_release,
};

static void write_open(uint32_t id, struct request *r)
{
    struct failure f = {0};
    struct writing *w = allocate(sizeof *w);
    if (!file_open_write(r, &w->file, &f)) {
        connection_send_failure(id, &f);
        free(w);
        return;
    }
    w->open = true;
    stream_register(&w->stream, id, &write_type, r);
    w->stream.input.window = WINDOW;
}

const struct operation write_operation = {
    .form = {.known = FIELD(PATH) | FIELD(ROOT) | FIELD(MODE) | FIELD(FLAGS) | FIELD(SIZE),
             .needed = FIELD(PATH), .flags = WRITE_APPEND | WRITE_EXCLUSIVE | WRITE_NO_PARENTS},
    .open = write_open,
};
