/* Sinks: descriptors that take what the host sends on channel 0. */
#include "sink.h"

#include "connection.h"
#include "descriptor.h"
#include "protocol.h"

#include <errno.h>
#include <unistd.h>

#define CREDIT_STEP (WINDOW / 4) /* credit is given in steps of this, so that small input costs no frame */

void sink_consumed(struct sink *sink, size_t len)
{
    sink->owed += (int64_t)len;
    if (sink->owed < CREDIT_STEP || sink->ended)
        return;
    uint8_t payload[5] = {0};
    put_u32(payload + 1, (uint32_t)sink->owed);
    connection_send(FRAME_CREDIT, sink->stream, payload, sizeof payload);
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

void sink_abandon(struct sink *sink)
{
    watch_close(&sink->watch);
    buf_free(&sink->queue);
    sink->head = 0;
}

void sink_close(struct sink *sink)
{
    size_t dropped = sink->queue.len - sink->head;
    sink_abandon(sink);
    sink_consumed(sink, dropped);
}

static void sink_ready(struct watch *w, uint32_t events)
{
    (void)events;
    struct sink *sink = w->owner;
    size_t written;
    bool alive = sink_push(sink, sink->queue.data + sink->head, sink->queue.len - sink->head, &written);
    sink->head += written;
    sink_consumed(sink, written);
    if (!alive)
        sink_close(sink);
    else if (sink->head < sink->queue.len)
        return;
    buf_free(&sink->queue);
    sink->head = 0;
    watch_set(w, 0);
    if (sink->ended)
        sink->finish(sink);
}

bool sink_attach(struct sink *sink, int fd)
{
    sink->watch = (struct watch){.fd = fd, .ready = sink_ready, .owner = sink};
    sink->window = WINDOW;
    return set_nonblocking(fd);
}

void sink_write(struct sink *sink, const uint8_t *data, size_t len)
{
    size_t written = 0;
    bool alive = sink->watch.fd >= 0;
    if (alive && sink->queue.len == 0)
        alive = sink_push(sink, data, len, &written);
    if (!alive) {
        sink_consumed(sink, len);
        sink_close(sink);
        return;
    }
    sink_consumed(sink, written);
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
        sink->finish(sink);
}
