/* Sources: descriptors whose bytes go to the host as DATA. */
#ifndef SAMEBOX_SOURCE_H
#define SAMEBOX_SOURCE_H

#include "loop.h"

struct source {
    struct watch watch;
    uint32_t stream;
    int channel;
    int64_t credit;
    int64_t left;     /* how much more is to be sent at most; -1: all up to EOF */
    bool until_empty; /* stop when nothing is there to read */
    bool done;
    /* The source has sent all; err is what reading ended with. */
    void (*end)(struct source *source, int err);
    void *owner;
};

bool source_attach(struct source *source, int fd, int64_t credit);
/* Reads on, or pauses, as credit and congestion want. */
void source_update(struct source *source);
void source_credit(struct source *source, int64_t bytes);
/* Sends at once what is there, as far as it may. */
void source_drain(struct source *source);
/* The process behind the source has ended: what is there now is sent, no more. */
void source_settle(struct source *source, bool terminal);

#endif
