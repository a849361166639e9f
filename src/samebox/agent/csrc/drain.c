/* Drains: pipes that nobody wants any more, but that a background process still writes to. */
#include "drain.h"

#include "buffer.h"
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct drain {
    struct watch watch;
    struct drain *next;
};
static struct drain *ended_drains; /* ended in this turn */
static size_t drains; /* still read */

/* False at the end of the pipe. */
static bool drain_read(int fd)
{
    static uint8_t waste[64 * 1024];
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
