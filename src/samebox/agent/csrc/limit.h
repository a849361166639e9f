/* The limit of open descriptors. */
#ifndef SAMEBOX_LIMIT_H
#define SAMEBOX_LIMIT_H

#include <sys/resource.h>

/* The limit that the sandbox began with: commands get it. */
extern struct rlimit limit_before;

/* Raises the agent's own limit, as each stream takes some descriptors. */
void limit_raise(void);

#endif
