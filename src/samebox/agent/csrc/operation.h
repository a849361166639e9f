/* What there is to know of an operation. Each file of operations defines some of these; operations.c lists them all. */
#ifndef SAMEBOX_OPERATION_H
#define SAMEBOX_OPERATION_H

#include "buffer.h"
#include "failure.h"
#include "request.h"
#include "resolve.h"

struct job;

/* An operation is a stream, or it has one or both of `quick` and `tree`. */
struct operation {
    struct form form; /* of its requests */

    /* Opens the stream, which takes over the request, or answers why not. */
    void (*open)(uint32_t id, struct request *r);

    /* Does in the event loop what needs one or a few system calls. Adds the END record to `out`. Returns false when the
     * operation has to walk a tree; then nothing has been done. */
    bool (*quick)(const struct place *p, const struct request *r, struct buf *out, struct failure *f);

    /* Does the rest in a worker, which may block. */
    void (*tree)(struct job *j);
    bool tree_input; /* the worker reads channel 0 */

    bool workdir_stays; /* the request must not move or remove the workdir, which is looked up anew before it */
};

#endif
