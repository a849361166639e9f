/* The channels of a stream: descriptors that feed it or that it feeds, and pipes that nobody wants any more. */
#include "buffer.h"
#include "descriptor.h"
#include "loop.h"
#include "protocol.h"
#include "serve.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CREDIT_STEP (WINDOW / 4) /* credit is given in steps of this, so that small input costs no frame */
#define TERMINAL_LEFT (256 * 1024) /* more than a terminal can hold */

/* --- sources --- */

static void source_finish(struct source *source, int err)
{
    source->done = true;
    watch_set(&source->watch, 0);
    source->stream->type->output_end(source->stream, source, err);
}

void source_update(struct source *source)
{
    if (source->done)
        return;
    bool wanted = connection_lost() || (source->credit > 0 && !connection_congested());
    if (!watch_set(&source->watch, wanted ? EPOLLIN : 0))
        source_finish(source, errno);
}

static void source_ready(struct watch *w, uint32_t events)
{
    (void)events;
    struct source *source = w->owner;
    int64_t room = connection_lost() ? CHUNK : connection_congested() ? 0 : source->credit;
    if (source->left >= 0 && room > source->left)
        room = source->left;
    if (room > CHUNK)
        room = CHUNK;
    if (room == 0) {
        source_update(source);
        return;
    }
    ssize_t n = read(w->fd, connection_data_begin((size_t)room), (size_t)room);
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0) {
        int err = n < 0 ? errno : 0;
        bool nothing_yet = err == EAGAIN;
        if (!nothing_yet)
            watch_close(w);
        if (!nothing_yet || source->until_empty)
            source_finish(source, nothing_yet ? 0 : err);
        return;
    }
    connection_data_end(source->stream->id, source->channel, (size_t)n);
    source->credit -= n;
    if (source->left >= 0 && (source->left -= n) == 0)
        source_finish(source, 0);
    else
        source_update(source);
}

bool source_attach(struct stream *s, int channel, int fd)
{
    struct source *source = &s->output[channel - 1];
    source->watch = (struct watch){.fd = fd, .ready = source_ready, .owner = source};
    source->credit = s->request.window > 0 ? s->request.window : WINDOW;
    source->left = -1;
    source->done = false;
    return set_nonblocking(fd) && watch_set(&source->watch, EPOLLIN);
}

void source_credit(struct source *source, int64_t bytes)
{
    source->credit += bytes;
    source_update(source);
}

void source_settle(struct source *source, bool terminal)
{
    int waiting = 0;
    if (source->done)
        return;
    if (terminal) {
        /* What a terminal has in flight is not counted by FIONREAD, but reading fetches it. */
        source->until_empty = true;
        source->left = TERMINAL_LEFT;
    } else if (ioctl(source->watch.fd, FIONREAD, &waiting) == 0) {
        source->left = waiting;
    }
    if (source->left == 0)
        source_finish(source, 0);
    else
        source_drain(source);
}

void source_drain(struct source *source)
{
    while (!source->done && source->watch.events)
        source_ready(&source->watch, 0);
}

/* --- sinks --- */

void input_consumed(struct stream *s, size_t len)
{
    struct sink *sink = &s->input;
    sink->owed += (int64_t)len;
    if (sink->owed < CREDIT_STEP || sink->ended)
        return;
    uint8_t payload[5] = {0};
    put_u32(payload + 1, (uint32_t)sink->owed);
    connection_send(FRAME_CREDIT, s->id, payload, sizeof payload);
    sink->window += sink->owed;
    sink->owed = 0;
}

/* Writes what it can; false if nobody will ever take the rest. */
static bool sink_push(struct sink *sink, const uint8_t *data, size_t len, size_t *written)
{
    *written = 0;
    while (*written < len) {
        ssize_t n = write(sink->watch.fd, data + *written, len - *written);
        if (n >= 0)
            *written += (size_t)n;
        else if (errno == EAGAIN)
            return true;
        else if (errno != EINTR)
            return false;
    }
    return true;
}

/* What was queued, and all that will come, is consumed at once from now on. */
void sink_close(struct sink *sink)
{
    watch_close(&sink->watch);
    size_t dropped = sink->queue.len - sink->head;
    buf_free(&sink->queue);
    sink->head = 0;
    if (!sink->stream->closed)
        input_consumed(sink->stream, dropped);
}

static void sink_finish(struct sink *sink)
{
    sink->stream->type->input_done(sink->stream);
}

static void sink_ready(struct watch *w, uint32_t events)
{
    (void)events;
    struct sink *sink = w->owner;
    size_t written;
    bool alive = sink_push(sink, sink->queue.data + sink->head, sink->queue.len - sink->head, &written);
    sink->head += written;
    input_consumed(sink->stream, written);
    if (!alive)
        sink_close(sink);
    else if (sink->head < sink->queue.len)
        return;
    buf_free(&sink->queue);
    sink->head = 0;
    watch_set(w, 0);
    if (sink->ended)
        sink_finish(sink);
}

bool sink_attach(struct stream *s, int fd)
{
    s->input.watch = (struct watch){.fd = fd, .ready = sink_ready, .owner = &s->input};
    s->input.window = WINDOW;
    return set_nonblocking(fd);
}

void sink_write(struct sink *sink, const uint8_t *data, size_t len)
{
    size_t written = 0;
    bool alive = sink->watch.fd >= 0;
    if (alive && sink->queue.len == 0)
        alive = sink_push(sink, data, len, &written);
    if (!alive) {
        input_consumed(sink->stream, len);
        sink_close(sink);
        return;
    }
    input_consumed(sink->stream, written);
    if (written == len)
        return;
    buf_add(&sink->queue, data + written, len - written);
    if (!watch_set(&sink->watch, EPOLLOUT))
        sink_close(sink);
}

void sink_end(struct sink *sink)
{
    sink->ended = true;
    if (sink->queue.len == 0)
        sink_finish(sink);
}

/* --- drains --- */

struct drain {
    struct watch watch;
    struct drain *next;
};
static struct drain *ended_drains; /* ended in this turn */
static size_t drains;

/* False at the end of the pipe. */
static bool drain_read(int fd)
{
    static uint8_t waste[CHUNK];
    ssize_t n = read(fd, waste, sizeof waste);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void drain_ready(struct watch *w, uint32_t events)
{
    (void)events;
    if (drain_read(w->fd))
        return;
    struct drain *d = w->owner;
    watch_close(w);
    d->next = ended_drains;
    ended_drains = d;
    drains--;
}

void drain_adopt(int fd)
{
    if (!drain_read(fd)) {
        close(fd);
        return;
    }
    struct drain *d = allocate(sizeof *d);
    d->watch = (struct watch){.fd = fd, .ready = drain_ready, .owner = d};
    if (watch_set(&d->watch, EPOLLIN)) {
        drains++;
        return;
    }
    close(fd);
    free(d);
}

size_t drain_count(void)
{
    return drains;
}

void drains_bury(void)
{
    while (ended_drains) {
        struct drain *d = ended_drains;
        ended_drains = d->next;
        free(d);
    }
}
