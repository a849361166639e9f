/* One connection and its streams. */
#ifndef SAMEBOX_SERVE_H
#define SAMEBOX_SERVE_H

#include "buffer.h"
#include "failure.h"
#include "loop.h"
#include "protocol.h"
#include "request.h"

#include <sys/resource.h>

#define MAX_REQUEST (8 * 1024 * 1024)
#define CHUNK (64 * 1024)       /* bytes in a DATA frame at most, well below MAX_REPLY */
#define OUTPUT_LIMIT (1024 * 1024) /* queued output above which nothing more is read for it */
#define MAX_STREAMS 4096

/* --- connection.c: frames in, frames out --- */

/* Takes over the descriptors (which may be one and the same). */
bool connection_start(int in, int out);
bool connection_lost(void);
bool connection_refused(void);
/* After an ERROR on stream 0 the connection reads no more, and is lost when that is written. */
void connection_refuse_with(const struct buf *record);
void connection_refuse(int err, const char *kind, const char *path, const char *message);
void connection_send(enum frame type, uint32_t stream, const void *payload, size_t len);
/* Room for a DATA frame's bytes, then what of it was used (0: no frame after all). */
uint8_t *connection_data_begin(size_t room);
void connection_data_end(uint32_t stream, int channel, size_t len);
bool connection_congested(void);
/* Whether congestion has ended since this was asked last. */
bool connection_relieved(void);
void connection_flush(void);
/* Handed every frame of the host that is well-formed as such. */
void serve_frame(int type, uint32_t stream, const uint8_t *payload, size_t len);

/* --- stream.c, channel.c: what is common to all that takes more than one answer --- */

struct stream;

/* A descriptor whose bytes go to the host as DATA. */
struct source {
    struct watch watch;
    struct stream *stream;
    int channel;
    int64_t credit;
    int64_t left;    /* how much more is to be sent at most; -1: all up to EOF */
    bool until_empty; /* stop when nothing is there to read */
    bool done;
};

/* A descriptor that takes what the host sends on channel 0. */
struct sink {
    struct watch watch;
    struct stream *stream;
    struct buf queue;
    size_t head;    /* of queue: what is written already */
    int64_t window; /* what the host may still send */
    int64_t owed;   /* consumed, but credit not given yet */
    bool ended;     /* EOF has come from the host */
};

struct stream_type {
    void (*input)(struct stream *s, const uint8_t *data, size_t len);
    void (*input_end)(struct stream *s);
    /* The source has sent all; err is what reading ended with. */
    void (*output_end)(struct stream *s, struct source *source, int err);
    /* All queued input is written, and none will come: close, or half-close. */
    void (*input_done)(struct stream *s);
    void (*cancel)(struct stream *s, int64_t grace); /* ms; -1: the request's own */
    void (*expire)(struct stream *s);
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
    bool closed;
};

/* The stream takes over the request. Types embed struct stream as their first member. */
void stream_register(struct stream *s, uint32_t id, const struct stream_type *type, struct request *r);
struct stream *stream_find(uint32_t id);
struct stream *stream_first(void);
size_t stream_count(void);
/* An answer that ends the stream. */
void stream_end(struct stream *s, const struct buf *record);
void stream_fail(struct stream *s, const struct failure *f);
/* Ends it without an answer. */
void stream_close(struct stream *s);
/* Frees what was closed in this turn of the loop. */
void streams_bury(void);
/* Deadlines that are over; returns how long until the next one, -1: none. */
int streams_expire(void);
/* Looks again at what may be read, after congestion or once nobody listens any more. */
void streams_resume(void);

bool source_attach(struct stream *s, int channel, int fd);
void source_update(struct source *source);
void source_credit(struct source *source, int64_t bytes);
/* Sends at once what is there, as far as it may. */
void source_drain(struct source *source);
/* The process behind it has ended: what is there now is sent, no more. */
void source_settle(struct source *source, bool terminal);

bool sink_attach(struct stream *s, int fd);
void sink_write(struct sink *sink, const uint8_t *data, size_t len);
void sink_end(struct sink *sink);
void sink_close(struct sink *sink);
/* `len` bytes of channel 0 were consumed. */
void input_consumed(struct stream *s, size_t len);

/* Reads a pipe that a background process holds, for as long as it does, and drops what comes. */
void drain_adopt(int fd);
size_t drain_count(void);
void drains_bury(void);

/* --- the operations that are streams --- */

void exec_open(uint32_t id, struct request *r);
void read_open(uint32_t id, struct request *r);
void write_open(uint32_t id, struct request *r);
void worker_open(uint32_t id, struct request *r);
void connect_open(uint32_t id, struct request *r);
/* Resizes or signals a command; other streams don't care. */
void exec_signal(struct stream *s, int signal);
void exec_resize(struct stream *s, int rows, int columns);

/* READ goes on in each turn, as files are always readable: returns whether there is more to do. */
bool reads_continue(void);

/* --- environment.c --- */

/* NAME=value of both lists, a later one of a name replacing an earlier one. One block, freed by the caller. */
char **environment_merge(char *const *base, char *const *more);
bool environment_valid(char *const *env);

/* --- serve.c --- */

struct server {
    char **env;         /* what every command starts from; points into hello */
    struct request hello;
    struct rlimit files; /* as it was before we raised it */
    int exiting;        /* children that are about to end and have to be reaped */
};
extern struct server server;

/* An answer without a stream. */
void answer_failure(uint32_t stream, const struct failure *f);

/* agent serve, on descriptors that it takes over; returns the exit code. */
int serve(int in, int out);

#endif
