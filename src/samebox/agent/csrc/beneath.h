/* Confined path resolution without openat2. */
#ifndef SAMEBOX_BENEATH_H
#define SAMEBOX_BENEATH_H

#include "buffer.h"

/* What openat2 does with RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS, without openat2: opens one component after the other
 * with O_NOFOLLOW, and reads links itself. If `real` is given it takes the path that was found, relative to root and
 * NUL-terminated. */
int beneath_open(int root, const char *path, int flags, struct buf *real);

#endif
