#ifndef SAMEBOX_COPY_H
#define SAMEBOX_COPY_H

#include "fileutil.h"

/* MOVE and COPY. Return false when a tree or a large file has to be copied; then nothing has been copied yet. */
bool move_one(const struct place *p, const struct request *r, struct failure *f);
bool copy_one(const struct place *p, const struct request *r, struct buf *out, struct failure *f);

#endif
