/* Paths to descriptors: from the workdir, or confined to a root. */
#ifndef SAMEBOX_RESOLVE_H
#define SAMEBOX_RESOLVE_H

#include "buffer.h"
#include "failure.h"
#include "request.h"

/* Where a request's paths start. */
struct place {
    int fd; /* AT_FDCWD, or the confinement's root */
    bool confined;
};
bool place_open(struct place *p, const struct request *r, struct failure *f);
void place_close(struct place *p);

/* fail(), with the kind `escape` where a confined path led out. Returns false. */
bool fail_at(const struct place *p, struct failure *f, int err, const char *path);

/* open(2) of an existing file: -1 and errno on failure, EXDEV where a confined path leads out. Never creates. */
int resolve_open(const struct place *p, const char *path, int flags);

/* A directory entry, for the calls that act on entries. A path that ends in `.`, `..` or is `/` has no entry that could
 * be acted on: `dir` is then the directory itself and `name` is ".", for which the kernel refuses to rename and to
 * remove. */
struct spot {
    int dir;    /* O_PATH */
    char *name; /* one component */
    bool slash; /* the path ended in a slash: it can only mean a directory */
};
bool resolve_spot(const struct place *p, const char *path, bool make_parents, struct spot *s, struct failure *f);
void spot_close(struct spot *s);

/* The path without links, `.` and `..`, NUL-terminated; confined: relative to the root. False and errno on failure. */
bool resolve_real(const struct place *p, const char *path, struct buf *out);

#endif
