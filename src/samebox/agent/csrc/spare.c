/* The spare supervisor: one that has done with its last command and waits for the next. */
#include "spare.h"

#include "children.h"
#include "descriptor.h"
#include "handover.h"
#include "loop.h"
#include "process.h"
#include "supervisor.h"
#include "workdir.h"

#include <unistd.h>

/* Our end of the link to the spare supervisor; fd -1: there is none. */
static struct watch idle = {.fd = -1};

static void lose_idle(void)
{
    watch_close(&idle);
    children_expect();
}

/* The spare supervisor has nothing to say, so it was killed. */
static void idle_ready(struct watch *w, uint32_t events)
{
    (void)w;
    (void)events;
    lose_idle();
}

/* The supervisor may have left where serve is, and finds back only to a workdir. */
bool supervisor_keep(int link)
{
    if (idle.fd >= 0 || !workdir_path)
        return false;
    idle = (struct watch){.fd = link, .ready = idle_ready};
    if (!watch_set(&idle, EPOLLIN))
        lose_idle();
    return true;
}

static int fork_supervisor(struct command *c)
{
    int link[2];
    if (link_pair(link) < 0)
        return -1;
    c->link = link[1];
    pid_t pid = fork();
    if (pid == 0)
        supervise(c);
    close_fd(&link[1]);
    if (pid < 0)
        close_fd(&link[0]);
    return link[0];
}

int supervisor_find(struct command *c)
{
    if (idle.fd < 0 || !command_hand_over(c, idle.fd))
        return fork_supervisor(c);
    int link = idle.fd;
    watch_set(&idle, 0);
    idle.fd = -1;
    return link;
}
