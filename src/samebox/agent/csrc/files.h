/* The file operations that need a few system calls. */
#ifndef SAMEBOX_FILES_H
#define SAMEBOX_FILES_H

#include "buffer.h"
#include "failure.h"
#include "request.h"
#include "resolve.h"

/* STAT, MAKE_DIR, CHMOD, REALPATH, SYMLINK, READLINK, MOVE and REMOVE and COPY of what is not a tree. Adds the END
 * record to `out`. Returns false when the operation has to walk a tree and belongs in a worker; then nothing has
 * been done. */
bool file_op(const struct request *r, struct buf *out, struct failure *f);

#define REMOVE_RECURSIVE 1
#define REMOVE_MAY_BE_MISSING 2

/* Removes what is no tree, and refuses what must stay; with the flag `recursive` a directory that isn't empty is
 * REMOVAL_IS_TREE, and nothing is done yet. Otherwise *f tells how it went. */
enum removal { REMOVAL_DONE, REMOVAL_IS_TREE };
enum removal remove_one(const struct place *p, const struct request *r, const struct spot *s, struct failure *f);

#endif
