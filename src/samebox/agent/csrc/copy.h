/* MOVE and COPY of what is no tree. */
#ifndef SAMEBOX_COPY_H
#define SAMEBOX_COPY_H

#include "buffer.h"
#include "failure.h"
#include "request.h"
#include "resolve.h"

/* MOVE and COPY. Return false when a tree or a large file has to be copied; then nothing has been copied yet. */
bool move_one(const struct place *p, const struct request *r, struct failure *f);
bool copy_one(const struct place *p, const struct request *r, struct buf *out, struct failure *f);

#endif
