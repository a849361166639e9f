/* Sinks: descriptors that take what the host sends on channel 0. */
#ifndef SAMEBOX_SINK_H
#define SAMEBOX_SINK_H

#include "buffer.h"
#include "loop.h"

struct sink {
    struct watch watch;
    uint32_t stream;
    struct buf queue;
    size_t head;    /* of queue: what is written already */
    int64_t window; /* what the host may still send */
    int64_t owed;   /* consumed, but credit not given yet */
    bool ended;     /* EOF has come from the host */
    /* All that was queued is written, and nothing will come. */
    void (*finish)(struct sink *sink);
    void *owner;
};

bool sink_attach(struct sink *sink, int fd);
void sink_write(struct sink *sink, const uint8_t *data, size_t len);
void sink_end(struct sink *sink);
/* What was queued, and all that will come, is consumed at once from now on. */
void sink_close(struct sink *sink);
/* Closes the sink without a word to the host, for which the stream is over. */
void sink_abandon(struct sink *sink);
/* `len` bytes of channel 0 were consumed. */
void sink_consumed(struct sink *sink, size_t len);

#endif
