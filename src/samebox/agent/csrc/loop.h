/* The event loop: descriptors to watch, and who is told. */
#ifndef SAMEBOX_LOOP_H
#define SAMEBOX_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct watch {
    int fd;          /* -1: none */
    uint32_t events; /* 0: known to nobody, not even for a hang-up */
    void (*ready)(struct watch *w, uint32_t events);
    void *owner;
};

bool loop_start(void);
/* False (errno) if the kernel can't watch one more. Costs nothing when nothing changes. */
bool watch_set(struct watch *w, uint32_t events);
void watch_close(struct watch *w);
/* Waits for `timeout` ms at most (-1: for ever) and tells whom it concerns. A watch must outlive the call in which
 * it is closed. */
void loop_wait(int timeout);

#endif
