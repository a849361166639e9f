/* Why an operation failed: becomes an ERROR record. */
#ifndef SAMEBOX_FAILURE_H
#define SAMEBOX_FAILURE_H

#include "buffer.h"

struct failure {
    int err;          /* 0: there is no failure */
    const char *kind; /* a string constant, or NULL */
    char path[4096];  /* the path concerned, cut if it is longer */
    int64_t size;     /* -1: none */
    char message[256]; /* what to say instead of strerror(err); empty: nothing special */
};
/* Starts with *f all zero (or from an earlier failure, which it overwrites; message is emptied, size is set to -1). */
void fail(struct failure *f, int err, const char *kind, const char *path);
void rec_failure(struct buf *b, const struct failure *f);

#endif
