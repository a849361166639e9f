/* agent serve: the loop around one connection and its streams. */
#include "serve.h"

#include "children.h"
#include "connection.h"
#include "dispatch.h"
#include "drain.h"
#include "limit.h"
#include "loop.h"
#include "presence.h"
#include "process.h"
#include "stream.h"

#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

#define SILENCE 15000 /* ms without a word of the host after which its commands keep the sandbox alive no longer */

static void cancel_all(void)
{
    for (struct stream *s = stream_first(), *next; s; s = next) {
        next = s->next;
        s->type->cancel(s, -1);
    }
    streams_resume();
}

static int at_most(int timeout, int limit)
{
    return timeout < 0 || timeout > limit ? limit : timeout;
}

/* Shows init whether somebody uses this agent, and returns how long that is so. A host that waits for an answer says
 * something every few seconds; one that was killed may leave its connection open and its commands waiting for ever. */
static int show_presence(int timeout)
{
    if (stream_count() == 0) {
        presence_show(false);
        return timeout;
    }
    int64_t left = connection_heard() + SILENCE - now_ms(CLOCK_MONOTONIC);
    presence_show(left > 0);
    return left > 0 ? at_most(timeout, (int)left) : timeout;
}

/* One round: waits for `timeout` ms at most, does what is due, and sends the answers; returns the next round's
 * timeout. */
static int turn(int timeout)
{
    loop_wait(show_presence(timeout));
    bool more = streams_step();
    timeout = streams_expire();
    connection_flush();
    if (connection_relieved()) {
        streams_resume();
        more = true;
    }
    streams_bury();
    drains_bury();
    if (children_reap() || connection_refused())
        timeout = at_most(timeout, 100);
    return more ? 0 : timeout;
}

int serve(int in, int out)
{
    signals_ignore();
    umask(022);
    /* Sandboxed code of the same user may neither trace us nor take our descriptors. What we look up in our own
     * /proc/self stays open to us, and to runtimes that enter a container, which have CAP_SYS_PTRACE over it. */
    prctl(PR_SET_DUMPABLE, 0);
    limit_raise();
    if (!loop_start() || !connection_start(in, out, dispatch_frame))
        return 71;
    for (int timeout = -1; !connection_lost();)
        timeout = turn(timeout);
    cancel_all();
    presence_leave();
    for (int timeout = 0; stream_count() || drain_count();)
        timeout = turn(timeout);
    return 0;
}
