/* Children that are about to end and have to be reaped. */
#ifndef SAMEBOX_CHILDREN_H
#define SAMEBOX_CHILDREN_H

#include <stdbool.h>

/* One more is about to end. */
void children_expect(void);
/* Reaps those that have ended; returns whether there are others. */
bool children_reap(void);

#endif
