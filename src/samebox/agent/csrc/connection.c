/* The connection: bytes in, frames out, and a bounded queue of what is to be sent. */
#include "connection.h"

#include "descriptor.h"
#include "loop.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_REQUEST (8 * 1024 * 1024)
#define OUTPUT_LIMIT (1024 * 1024)    /* queued output above which nothing more is read for it */
#define HEAD 9                        /* length, stream, type */
#define INPUT_STOP (8 * OUTPUT_LIMIT) /* answers to a host that asks and asks but does not read */
#define KEEP (3 * 1024 * 1024)        /* a buffer larger than this is given back when it is empty */
#define PATIENCE 2000                 /* ms for the host to read why it is refused */

static struct {
    struct watch in, out;
    void (*take)(int type, uint32_t stream, const uint8_t *payload, size_t len);
    struct buf input, output;
    size_t input_head, output_head;
    bool refused, lost;
    int64_t heard;   /* when the host has said something last */
    bool relieved;   /* was congested, and is not any more */
    int64_t give_up; /* when the refusal has not been read by then */
} peer;

static size_t queued(void)
{
    return peer.output.len - peer.output_head;
}

bool connection_lost(void)
{
    return peer.lost;
}

bool connection_refused(void)
{
    return peer.refused;
}

int64_t connection_heard(void)
{
    return peer.heard;
}

bool connection_congested(void)
{
    return queued() > OUTPUT_LIMIT;
}

static void lose(void)
{
    peer.lost = true;
    watch_close(&peer.in);
    watch_close(&peer.out);
    buf_free(&peer.input);
    buf_free(&peer.output);
    peer.input_head = peer.output_head = 0;
}

/* --- out --- */

static void reset_if_empty(struct buf *b, size_t *head)
{
    if (*head == b->len) {
        b->len = *head = 0;
        if (b->cap > KEEP)
            buf_free(b);
    } else if (*head > b->len / 2) {
        memmove(b->data, b->data + *head, b->len - *head);
        b->len -= *head;
        *head = 0;
    }
}

bool connection_relieved(void)
{
    bool relieved = peer.relieved;
    peer.relieved = false;
    return relieved;
}

void connection_flush(void)
{
    bool congested = connection_congested();
    while (!peer.lost && queued() > 0) {
        ssize_t n = write(peer.out.fd, peer.output.data + peer.output_head, queued());
        if (n >= 0)
            peer.output_head += (size_t)n;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR) {
            lose();
            return;
        }
    }
    peer.relieved |= congested && !connection_congested();
    reset_if_empty(&peer.output, &peer.output_head);
    if (peer.refused && (queued() == 0 || now_ms(CLOCK_MONOTONIC) >= peer.give_up))
        lose();
    if (!peer.lost) {
        watch_set(&peer.out, queued() ? EPOLLOUT : 0);
        watch_set(&peer.in, queued() < INPUT_STOP && !peer.refused ? EPOLLIN : 0);
    }
}

static void put_head(uint8_t *p, size_t len, uint32_t stream, int type)
{
    put_u32(p, (uint32_t)len);
    put_u32(p + 4, stream);
    p[8] = (uint8_t)type;
}

void connection_send(enum frame type, uint32_t stream, const void *payload, size_t len)
{
    if (peer.lost || peer.refused)
        return;
    uint8_t head[HEAD];
    put_head(head, len, stream, (int)type);
    buf_add(&peer.output, head, HEAD);
    buf_add(&peer.output, payload, len);
}

void connection_send_failure(uint32_t stream, const struct failure *f)
{
    struct buf record = {0};
    rec_failure(&record, f);
    connection_send(FRAME_ERROR, stream, record.data, record.len);
    buf_free(&record);
}

uint8_t *connection_data_begin(size_t room)
{
    buf_reserve(&peer.output, HEAD + 1 + room);
    return peer.output.data + peer.output.len + HEAD + 1;
}

void connection_data_end(uint32_t stream, int channel, size_t len)
{
    if (len == 0 || peer.lost || peer.refused)
        return;
    uint8_t *p = peer.output.data + peer.output.len;
    put_head(p, len + 1, stream, FRAME_DATA);
    p[HEAD] = (uint8_t)channel;
    peer.output.len += HEAD + 1 + len;
}

void connection_refuse_with(const struct buf *record)
{
    connection_send(FRAME_ERROR, 0, record->data, record->len);
    peer.refused = true;
    peer.give_up = now_ms(CLOCK_MONOTONIC) + PATIENCE;
}

void connection_refuse(int err, const char *kind, const char *path, const char *message)
{
    struct failure f;
    struct buf record = {0};
    fail(&f, err, kind, path);
    if (message)
        snprintf(f.message, sizeof f.message, "%s", message);
    rec_failure(&record, &f);
    connection_refuse_with(&record);
    buf_free(&record);
}

void connection_malformed(const char *message)
{
    connection_refuse(EPROTO, NULL, NULL, message);
}

/* --- in --- */

/* Hands on the frames that are complete; what remains is the beginning of one. */
static void take_frames(void)
{
    while (!peer.lost && !peer.refused) {
        const uint8_t *p = peer.input.data + peer.input_head;
        size_t have = peer.input.len - peer.input_head;
        if (have < HEAD)
            break;
        size_t len = get_u32(p);
        if (len > MAX_REQUEST) {
            connection_malformed("the frame is too long");
            break;
        }
        if (have - HEAD < len)
            break;
        peer.input_head += HEAD + len;
        peer.take(p[8], get_u32(p + 4), p + HEAD, len);
    }
}

/* How much to ask for: the rest of a long frame at once. */
static size_t wanted(void)
{
    size_t have = peer.input.len - peer.input_head;
    if (have < HEAD)
        return CHUNK;
    size_t frame = HEAD + get_u32(peer.input.data + peer.input_head);
    return frame > have + CHUNK ? frame - have : CHUNK;
}

static void input_ready(struct watch *w, uint32_t events)
{
    (void)events;
    size_t want = wanted();
    buf_reserve(&peer.input, want);
    ssize_t n = read(w->fd, peer.input.data + peer.input.len, want);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lose();
        return;
    }
    peer.input.len += (size_t)n;
    peer.heard = now_ms(CLOCK_MONOTONIC);
    take_frames();
    if (!peer.lost)
        reset_if_empty(&peer.input, &peer.input_head);
}

static void output_ready(struct watch *w, uint32_t events)
{
    (void)w;
    (void)events;
    connection_flush();
}

bool connection_start(int in, int out, void (*take)(int type, uint32_t stream, const uint8_t *payload, size_t len))
{
    /* One description can be watched through two descriptors of it. */
    if (in == out && (out = fcntl(in, F_DUPFD_CLOEXEC, 3)) < 0)
        return false;
    peer.take = take;
    peer.in = (struct watch){.fd = in, .ready = input_ready};
    peer.out = (struct watch){.fd = out, .ready = output_ready};
    return set_nonblocking(in) && set_nonblocking(out) && watch_set(&peer.in, EPOLLIN);
}
