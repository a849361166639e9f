/* Drains: pipes that nobody wants any more, but that a background process still writes to. */
#ifndef SAMEBOX_DRAIN_H
#define SAMEBOX_DRAIN_H

#include <stddef.h>

/* Reads the pipe for as long as somebody holds it, and drops what comes. */
void drain_adopt(int fd);
size_t drain_count(void);
/* Frees those that have ended in this turn of the loop. */
void drains_bury(void);

#endif
