/* The names in a directory, sorted; those of a large directory in batches. */
#ifndef SAMEBOX_NAMES_H
#define SAMEBOX_NAMES_H

#include "buffer.h"

#include <stdbool.h>

struct names {
    struct buf text; /* a type byte and a NUL-terminated string each */
    char **sorted;
    size_t count, next;
    int64_t position; /* of the next batch in the directory */
    bool more;        /* there is a next batch */
};

/* Reads the next batch of at most `limit` bytes, one name at least, and drops the last one. `restart`: from the
 * directory's beginning. 0 or an errno, which comes with the names before it. */
int names_read(struct names *n, int fd, size_t limit, bool restart);
void names_drop(struct names *n);
/* How much memory they take. */
size_t names_size(const struct names *n);

#endif
