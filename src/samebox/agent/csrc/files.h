#ifndef SAMEBOX_FILES_H
#define SAMEBOX_FILES_H

#include "fileutil.h"

#define REMOVE_RECURSIVE 1
#define REMOVE_MAY_BE_MISSING 2

/* Removes what is no tree, and refuses what must stay; with the flag `recursive` a directory that isn't empty is
 * REMOVAL_IS_TREE, and nothing is done yet. Otherwise *f tells how it went. */
enum removal { REMOVAL_DONE, REMOVAL_IS_TREE };
enum removal remove_one(const struct place *p, const struct request *r, const struct spot *s, struct failure *f);

#endif
