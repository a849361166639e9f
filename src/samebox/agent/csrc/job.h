/* A job: an operation on a whole tree that is under way, in a process of its own, which may block. */
#ifndef SAMEBOX_JOB_H
#define SAMEBOX_JOB_H

#include "buffer.h"
#include "failure.h"
#include "request.h"
#include "resolve.h"
#include "walk.h"

struct job {
    const struct request *r;
    struct place place;
    int in, out;
    struct buf pending; /* output that is not written yet */
    struct buf *end;
    struct failure *f;
};

/* Does the operation. Reads `in` (-1: none) and writes `out` blocking; both are pipes or sockets. Adds the END record
 * to `end`. The process is ended with SIGTERM, on which it removes the half-written file; SIGKILL works too, but leaves
 * that file. */
void job_run(void (*tree)(struct job *j), const struct request *r, int in, int out, struct buf *end, struct failure *f);

/* Output; false when nobody reads it any more. */
bool job_write(struct job *j, const void *data, size_t len);
bool job_record(struct job *j, const struct buf *record); /* with its length before it */
bool job_flush(struct job *j);

/* A failure at `path` below `base` (a path of the request), unless there was one before. */
void job_fail(struct job *j, int err, const char *base, const char *path);

/* Items have at most 128 KiB. What has a longer path can't be told, nor could the host do anything with it: paths of
 * more than 4 KiB mean nothing to system calls. */
#define SENT_PATH_MAX (96 * 1024)

/* Opens the directory of the request for a walk; links on the way and at the end are followed. */
bool job_walk(struct job *j, struct walk *w);

#endif
