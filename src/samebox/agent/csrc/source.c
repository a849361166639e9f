/* Sources: descriptors whose bytes go to the host as DATA. */
#include "source.h"

#include "connection.h"
#include "descriptor.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TERMINAL_LEFT (256 * 1024) /* more than a terminal can hold */

static void source_finish(struct source *source, int err)
{
    source->done = true;
    watch_set(&source->watch, 0);
    source->end(source, err);
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
    connection_data_end(source->stream, source->channel, (size_t)n);
    source->credit -= n;
    if (source->left >= 0 && (source->left -= n) == 0)
        source_finish(source, 0);
    else
        source_update(source);
}

bool source_attach(struct source *source, int fd, int64_t credit)
{
    source->watch = (struct watch){.fd = fd, .ready = source_ready, .owner = source};
    source->credit = credit;
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
