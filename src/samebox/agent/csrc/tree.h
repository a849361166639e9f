/* The operations on whole trees; each in a process of its own, which may block. */
#ifndef SAMEBOX_TREE_H
#define SAMEBOX_TREE_H

#include "buffer.h"
#include "failure.h"
#include "request.h"
#include "resolve.h"
#include "walk.h"

/* LIST, WALK, GREP, PACK, UNPACK and recursive REMOVE, COPY, MOVE, CHMOD. Reads `in` (-1: none) and writes `out`
 * blocking; both are pipes or sockets. Adds the END record to `end`. The worker is ended with SIGTERM, on which it
 * removes the half-written file (tree_op installs the handler); SIGKILL works too, but leaves that. */
void tree_op(const struct request *r, int in, int out, struct buf *end, struct failure *f);

/* What is under way, and where its answer goes. */
struct job {
    const struct request *r;
    struct place place;
    int in, out;
    struct buf pending; /* output that is not written yet */
    struct buf *end;
    struct failure *f;
};

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

void list_op(struct job *j);  /* LIST and WALK */
void grep_op(struct job *j);
void pack_op(struct job *j);
void unpack_op(struct job *j);
void copy_op(struct job *j);  /* COPY, and MOVE across file systems */

/* Removes what is in a directory: the walk's own descriptor. */
void remove_tree(struct job *j, int dir, const char *base);
/* An entry and all that is in it. */
void remove_entry(struct job *j, int dir, const char *name, const char *base);

#endif
