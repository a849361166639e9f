/* The event loop, over epoll. */
#include "loop.h"

#include <unistd.h>

static int epoll = -1;

bool loop_start(void)
{
    epoll = epoll_create1(EPOLL_CLOEXEC);
    return epoll >= 0;
}

bool watch_set(struct watch *w, uint32_t events)
{
    if (w->fd < 0 || w->events == events)
        return true;
    struct epoll_event event = {.events = events, .data.ptr = w};
    /* Without events it is taken out altogether, because epoll would tell of a hang-up over and over. */
    int action = events == 0 ? EPOLL_CTL_DEL : w->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(epoll, action, w->fd, &event) < 0)
        return false;
    w->events = events;
    return true;
}

void watch_close(struct watch *w)
{
    if (w->fd < 0)
        return;
    watch_set(w, 0); /* a fork may share the description, and then closing alone would not take it out */
    close(w->fd);
    w->fd = -1;
    w->events = 0;
}

void loop_wait(int timeout)
{
    struct epoll_event events[64];
    int count = epoll_wait(epoll, events, sizeof events / sizeof *events, timeout);
    for (int i = 0; i < count; i++) {
        struct watch *w = events[i].data.ptr;
        if (w->events) /* else closed or paused by one before it */
            w->ready(w, events[i].events);
    }
}
