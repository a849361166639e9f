/* A place in a tree that is being written: moved by relative paths, never through a link. */
#ifndef SAMEBOX_TRAIL_H
#define SAMEBOX_TRAIL_H

#include "buffer.h"

#include <stdbool.h>

struct trail {
    int fd; /* the current directory, O_PATH */
    int root;
    struct buf path;   /* of the current directory, relative to the root; not NUL-terminated */
    struct buf levels; /* one for each component of it */
};

/* Takes over an O_PATH descriptor. */
void trail_start(struct trail *t, int root);
/* Goes to the directory that the first `len` bytes of `path` name. */
bool trail_go(struct trail *t, const char *path, size_t len);
void trail_end(struct trail *t);

#endif
