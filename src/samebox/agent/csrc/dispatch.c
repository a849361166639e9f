/* What the frames of the host mean. */
#include "dispatch.h"

#include "buffer.h"
#include "connection.h"
#include "failure.h"
#include "hello.h"
#include "operation.h"
#include "operations.h"
#include "presence.h"
#include "protocol.h"
#include "request.h"
#include "resolve.h"
#include "source.h"
#include "stream.h"
#include "workdir.h"
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#define MAX_STREAMS 4096

static bool greeted;

/* --- OPEN --- */

static bool relative(const char *path)
{
    return path && path[0] != '/';
}

/* Where the operation depends on the workdir, it must be there. An operation that takes a cwd begins
 * in the workdir unless a cwd is given. */
static bool needs_workdir(const struct operation *o, const struct request *r)
{
    if (o->form.known & FIELD(CWD))
        return !r->cwd || relative(r->cwd);
    return relative(r->path) || relative(r->root) || relative(r->destination);
}

static int check_request(const struct operation *o, const struct request *r)
{
    if (r->window >= 0 && (r->window < 1024 || r->window > 16 * 1024 * 1024))
        return EINVAL;
    if (stream_count() >= MAX_STREAMS)
        return EAGAIN;
    int err = workdir_enter();
    if (err && needs_workdir(o, r))
        return err;
    if (!err && o->workdir_stays)
        workdir_open();
    return 0;
}

/* Returns false when the operation belongs in a worker. */
static bool do_quickly(const struct operation *o, const struct request *r, struct buf *out, struct failure *f)
{
    struct place p;
    if (!place_open(&p, r, f))
        return true;
    bool done = o->quick && o->quick(&p, r, out, f);
    place_close(&p);
    return done;
}

static void run(uint32_t id, const struct operation *o, struct request *r)
{
    struct buf record = {0};
    struct failure f = {0};
    if (o->open)
        o->open(id, r);
    else if (!do_quickly(o, r, &record, &f))
        worker_open(id, o, r);
    else if (f.err)
        connection_send_failure(id, &f);
    else
        connection_send(FRAME_END, id, record.data, record.len);
    buf_free(&record);
}

static void frame_open(uint32_t id, const uint8_t *payload, size_t len)
{
    if (id == 0 || len < 1 || stream_find(id)) {
        connection_malformed("malformed OPEN");
        return;
    }
    struct request r = {0};
    const struct operation *o = operation_find(payload[0]);
    int err = payload[0] == OP_HELLO ? EPROTO : request_decode(&r, o ? &o->form : NULL, payload + 1, len - 1);
    presence_count();
    struct failure f;
    if (err < 0) {
        connection_malformed("malformed record");
    } else if (err) {
        bool known = err != EPROTO;
        fail(&f, err, NULL, NULL);
        snprintf(f.message, sizeof f.message, "operation %d: %s", payload[0],
                 known ? "a value that is not valid" : "it or a field is not known, or a field is lacking");
        connection_send_failure(id, &f);
    } else if ((err = check_request(o, &r))) {
        bool workdir = err != EINVAL && err != EAGAIN;
        fail(&f, err, workdir ? "cwd" : NULL, workdir ? workdir_path : NULL);
        connection_send_failure(id, &f);
    } else {
        run(id, o, &r);
    }
    request_free(&r);
}

/* --- the other frames --- */

static void frame_data(struct stream *s, const uint8_t *payload, size_t len)
{
    if (len < 2 || payload[0] != 0) {
        connection_malformed("malformed DATA");
        return;
    }
    if (!s)
        return;
    if (s->input.ended || (int64_t)(len - 1) > s->input.window) {
        connection_malformed("DATA beyond the window");
        return;
    }
    s->input.window -= (int64_t)(len - 1);
    s->type->input(s, payload + 1, len - 1);
}

static void frame_eof(struct stream *s, const uint8_t *payload, size_t len)
{
    if (len != 1 || payload[0] != 0)
        connection_malformed("malformed EOF");
    else if (s && s->type->input_end && !s->input.ended)
        s->type->input_end(s);
}

static void frame_credit(struct stream *s, const uint8_t *payload, size_t len)
{
    if (len != 5 || payload[0] < 1 || payload[0] > 2)
        connection_malformed("malformed CREDIT");
    else if (s)
        source_credit(&s->output[payload[0] - 1], get_u32(payload + 1));
}

static void frame_signal(struct stream *s, const uint8_t *payload, size_t len)
{
    uint32_t number = len == 4 ? get_u32(payload) : 0;
    if (number < 1 || number >= NSIG)
        connection_malformed("malformed SIGNAL");
    else if (s && s->type->signal)
        s->type->signal(s, (int)number);
}

static void frame_resize(struct stream *s, const uint8_t *payload, size_t len)
{
    if (len != 4)
        connection_malformed("malformed RESIZE");
    else if (s && s->type->resize)
        s->type->resize(s, payload[0] << 8 | payload[1], payload[2] << 8 | payload[3]);
}

static void frame_cancel(struct stream *s, const uint8_t *payload, size_t len)
{
    if (len != 0 && len != 4)
        connection_malformed("malformed CANCEL");
    else if (s)
        s->type->cancel(s, len ? (int64_t)get_u32(payload) : -1);
}

void dispatch_frame(int type, uint32_t id, const uint8_t *payload, size_t len)
{
    if (greeted == (type == FRAME_HELLO) || (id == 0) != (type == FRAME_HELLO || type == FRAME_PING)) {
        connection_malformed(greeted ? "unexpected frame" : "the first frame is not HELLO");
        return;
    }
    struct stream *s = stream_find(id);
    switch (type) {
    case FRAME_HELLO: greeted = hello_take(payload, len); break;
    case FRAME_OPEN: frame_open(id, payload, len); break;
    case FRAME_DATA: frame_data(s, payload, len); break;
    case FRAME_EOF: frame_eof(s, payload, len); break;
    case FRAME_CREDIT: frame_credit(s, payload, len); break;
    case FRAME_SIGNAL: frame_signal(s, payload, len); break;
    case FRAME_RESIZE: frame_resize(s, payload, len); break;
    case FRAME_CANCEL: frame_cancel(s, payload, len); break;
    case FRAME_PING:
        if (len <= 64)
            connection_send(FRAME_PONG, 0, payload, len);
        else
            connection_malformed("malformed PING");
        break;
    default: connection_malformed("unknown frame"); break;
    }
}
