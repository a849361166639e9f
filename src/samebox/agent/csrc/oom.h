/* How often the kernel has killed a process of the sandbox for its memory limit. */
#ifndef SAMEBOX_OOM_H
#define SAMEBOX_OOM_H

#include <stdint.h>

/* The counter of the sandbox's control group, which only grows; 0 where none can be seen. */
int64_t oom_kills(void);

#endif
