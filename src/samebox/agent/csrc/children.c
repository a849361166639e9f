/* Children that are about to end and have to be reaped. */
#include "children.h"

#include <stddef.h>
#include <sys/wait.h>

static int exiting;

void children_expect(void)
{
    exiting++;
}

bool children_reap(void)
{
    while (exiting > 0 && waitpid(-1, NULL, WNOHANG) > 0)
        exiting--;
    return exiting > 0;
}
