/* Regular files: what else there is in a file system is neither read nor written. */
#ifndef SAMEBOX_REGULAR_H
#define SAMEBOX_REGULAR_H

#include "failure.h"
#include "resolve.h"

#include <fcntl.h>
#include <sys/stat.h>

/* How a file is opened that may turn out to be special. */
#define NO_WAIT (O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

/* What is wrong with reading or writing a file: 0 for a regular one, EISDIR, or EINVAL (then the kind is `special`). */
int not_regular(const struct stat *st);
bool fail_not_regular(const struct stat *st, struct failure *f, const char *path);

/* Opens a regular file for reading below `dir`, never following a link and never waiting. -1 and errno, EINVAL if it is
 * special. */
int open_regular(int dir, const char *name, struct stat *st);

/* Opens the regular file that a path leads to, links followed; *st tells of it. -1 on failure. */
int open_existing(const struct place *p, const char *path, int flags, struct stat *st, struct failure *f);

#endif
