/* What init knows of the agents, and they of init, by process names. */
#include "presence.h"

#include "proctree.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static uint32_t requests;

bool presence_of_init(void)
{
    struct proc first;
    return proc_read(&first, 1) && strcmp(first.name, INIT_NAME) == 0;
}

void presence_count(void)
{
    requests++;
}

/* init may belong to another user, and can read the name all the same. */
void presence_show(bool busy)
{
    static uint32_t shown = UINT32_MAX;
    static bool shown_busy;
    if (shown == requests && shown_busy == busy)
        return;
    char name[16];
    snprintf(name, sizeof name, "samebox%c%07x", busy ? '+' : '-', requests & 0xfffffff);
    prctl(PR_SET_NAME, name);
    shown = requests;
    shown_busy = busy;
}

/* An agent that comes and goes between two of init's looks has been there all the same. */
void presence_leave(void)
{
    if (presence_of_init())
        kill(1, SIGUSR1);
}

/* samebox-XXXXXXX or samebox+XXXXXXX. */
bool presence_read(const char *name, bool *busy, uint32_t *count)
{
    if (strncmp(name, "samebox", 7) != 0 || (name[7] != '-' && name[7] != '+'))
        return false;
    if (strspn(name + 8, "0123456789abcdef") != 7)
        return false;
    *busy = name[7] == '+';
    *count = (uint32_t)strtoul(name + 8, NULL, 16);
    return name[15] == 0;
}
