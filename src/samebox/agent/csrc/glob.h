/* Glob patterns over paths: `*` and `?` don't cross a slash, `**` does, `[...]` and `[!...]` are sets. */
#ifndef SAMEBOX_GLOB_H
#define SAMEBOX_GLOB_H

#include <stdbool.h>

bool glob_match(const char *pattern, const char *path);

/* Whether something below the directory `path` could match. */
bool glob_below(const char *pattern, const char *path);

#endif
