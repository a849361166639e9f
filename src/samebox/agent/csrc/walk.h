/* Going through a tree of any depth with four descriptors, never following a link. */
#ifndef SAMEBOX_WALK_H
#define SAMEBOX_WALK_H

#include "buffer.h"

#include <stdbool.h>
#include <sys/stat.h>

enum walk_event {
    WALK_ENTRY, /* something in a directory; a directory is entered next, unless walk_skip() says not to */
    WALK_LEAVE, /* the end of a directory that was an entry and not skipped: one for each, read or not */
    WALK_END    /* the end of the directory that the walk began with */
};

struct walk {
    /* What the last event is about. */
    struct buf path;  /* relative to the start, NUL-terminated */
    const char *name; /* the last component of it */
    size_t depth;     /* how many components it has */
    int dir;          /* the directory that holds it; -1 if that was moved away while we were below it */
    int err;          /* ENTRY: why only its type is known. LEAVE, END: why it was not read to its end. Or 0 */
    struct stat st;   /* ENTRY: of the entry itself */

    /* To be set before the first step. */
    bool force;   /* give ourselves all rights to directories that are ours */
    bool restart; /* entries are removed as we go: positions in large directories shift, so begin them anew */

    /* The walk's own. */
    int start, fd;
    bool enter;
    struct buf levels;
    size_t held;
};

/* Takes over the descriptor of a directory, opened for reading. */
void walk_start(struct walk *w, int fd);
enum walk_event walk_next(struct walk *w);
void walk_skip(struct walk *w);
void walk_stop(struct walk *w);

/* Opens a directory for reading, never following a link. `force`: as in struct walk. */
int open_dir(int dir, const char *name, bool force);

/* Whether an error means that an entry was removed, or became something else, since it was seen. */
bool has_vanished(int err);

#endif
