/* REACH: whether another sandbox's address answers, for an engine that looks at what its networks keep apart. */
#ifndef SAMEBOX_REACH_H
#define SAMEBOX_REACH_H

#include <stdint.h>

#define REACH_NO 3

/* Tries TCP connections to a numeric address, where nothing has to listen, and returns the program's exit code: 0 as
 * soon as the address answers, with a refusal too, REACH_NO if nothing has come back after so many tries. */
int reach(const char *address, int64_t tries);

#endif
