/* Streams: what is common to all operations that take more than one answer. */
#ifndef SAMEBOX_STREAM_H
#define SAMEBOX_STREAM_H

#include "buffer.h"
#include "failure.h"
#include "request.h"
#include "sink.h"
#include "source.h"

struct stream;

/* What a type of streams does when something happens to one of them. input_end, signal, resize and step may be NULL,
 * the others only where they can't be called. */
struct stream_type {
    /* The host may send input where the sink has a window. */
    void (*input)(struct stream *s, const uint8_t *data, size_t len);
    void (*input_end)(struct stream *s);
    /* The source has sent all; err is what reading ended with. */
    void (*output_end)(struct stream *s, struct source *source, int err);
    /* All queued input is written, and none will come: close, or half-close. */
    void (*input_done)(struct stream *s);
    void (*signal)(struct stream *s, int signal);
    void (*resize)(struct stream *s, int rows, int columns);
    void (*cancel)(struct stream *s, int64_t grace); /* ms; -1: the request's own */
    void (*expire)(struct stream *s);
    /* Called in each turn of the loop, for work that never waits: returns whether there is more to do. */
    bool (*step)(struct stream *s);
    void (*release)(struct stream *s); /* frees what the type added */
};

struct stream {
    uint32_t id;
    const struct stream_type *type;
    struct request request;
    struct source output[2]; /* channels 1 and 2 */
    struct sink input;
    int64_t deadline; /* CLOCK_MONOTONIC, ms; -1: none */
    int held;         /* closed once this turn's answers are sent; -1: none */
    struct stream *next_in_bucket, *previous, *next;
    struct stream *next_stepping; /* of those whose type has a step */
    bool closed;
};

/* The stream takes over the request. Types embed struct stream as their first member. */
void stream_register(struct stream *s, uint32_t id, const struct stream_type *type, struct request *r);
struct stream *stream_find(uint32_t id);
struct stream *stream_first(void);
size_t stream_count(void);
/* How much the host takes on each channel before it gives credit. */
int64_t stream_credit(const struct stream *s);
/* An answer that ends the stream. */
void stream_end(struct stream *s, const struct buf *record);
void stream_fail(struct stream *s, const struct failure *f);
/* Ends it without an answer. */
void stream_close(struct stream *s);
/* Frees what was closed in this turn of the loop. */
void streams_bury(void);
/* Deadlines that are over; returns how long until the next one, -1: none. */
int streams_expire(void);
/* Lets those go on that never wait; returns whether there is more to do. */
bool streams_step(void);
/* Looks again at what may be read, after congestion or once nobody listens any more. */
void streams_resume(void);

#endif
