/* The limit of open descriptors. */
#ifndef SAMEBOX_LIMIT_H
#define SAMEBOX_LIMIT_H

#include <sys/resource.h>

/* As the sandbox began: what commands get. */
extern struct rlimit limit_before;

/* Raises ours, as each stream takes some descriptors. */
void limit_raise(void);

#endif
