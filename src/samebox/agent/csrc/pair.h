/* The two ends of MOVE and COPY. */
#ifndef SAMEBOX_PAIR_H
#define SAMEBOX_PAIR_H

#include "failure.h"
#include "request.h"
#include "resolve.h"

#include <sys/stat.h>

#define MOVE_REPLACE 1
#define COPY_RECURSIVE 1
#define COPY_REPLACE 2

struct pair {
    struct spot from, to;
    struct stat st;      /* what is moved or copied */
    struct stat there;   /* what is at the destination; st_mode is 0 for nothing */
};

/* Opens both ends, and makes the destination's parents if the source exists. Refuses an existing destination unless
 * `replace`, one of another kind, and a directory's copy within itself. */
bool pair_open(const struct place *p, const struct request *r, bool replace, struct pair *pair, struct failure *f);
void pair_close(struct pair *pair);

#endif
