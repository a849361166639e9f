/* Copying one file or link. */
#ifndef SAMEBOX_COPYDATA_H
#define SAMEBOX_COPYDATA_H

#include "failure.h"

#include <stdbool.h>
#include <sys/stat.h>

/* The content of a regular file, holes left out where the file system tells of them. Both at their beginning; false and
 * errno on failure. */
bool copy_data(int in, int out, const struct stat *st);

/* One entry and what it becomes; the paths are for failures. */
struct copying {
    int from_dir, to_dir;
    const char *from, *to, *from_path, *to_path;
    bool exclusive; /* nothing may be at the destination, otherwise a file or link there is replaced */
};

/* One regular file or link, with mode and mtime; files appear whole. Anything else is EINVAL, kind `special`. */
bool copy_entry(const struct copying *c, struct failure *f);

/* The bits of a mode that a copy by this user keeps: setuid and setgid mean something else with another owner. */
mode_t copied_mode(const struct stat *from, const struct stat *to);

#endif
