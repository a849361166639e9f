/* Plumbing: the pipes between serve and a command, or its terminal. */
#ifndef SAMEBOX_PLUMBING_H
#define SAMEBOX_PLUMBING_H

#include "request.h"

/* ours[0] is written by us, ours[1] and ours[2] are read; -1 where there is none. */
struct plumbing {
    int ours[3], theirs[3];
};
/* Starts with all -1. `merge`: what is written on 2 comes on 1, in its order. False and errno on failure; then too plumbing_close closes what is open. */
bool plumbing_open(struct plumbing *p, const struct request *r, bool input, bool merge);
void plumbing_close(struct plumbing *p);

#endif
