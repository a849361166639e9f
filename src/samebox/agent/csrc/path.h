/* Paths as text. The strings returned are malloced. */
#ifndef SAMEBOX_PATH_H
#define SAMEBOX_PATH_H

#include <stddef.h>

#define MAX_LINKS 40 /* on the way of a path, as the kernel */

/* A NUL-terminated copy. */
char *copy_string(const char *s, size_t len);

/* "BASE/NAME". */
char *join_path(const char *base, const char *name);

/* DIR/NAME of a link that points to `target`: what the target means from where `path` starts. */
char *path_through_link(const char *path, const char *target);

/* How much of a path is its parent's, and the last component. */
size_t parent_len(const char *path);
const char *base_name(const char *path);

#endif
