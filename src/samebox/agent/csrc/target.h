/* What WRITE writes to: found, checked and opened. */
#ifndef SAMEBOX_TARGET_H
#define SAMEBOX_TARGET_H

#include "failure.h"
#include "filewrite.h"
#include "request.h"

#define WRITE_APPEND 1
#define WRITE_EXCLUSIVE 2
#define WRITE_NO_PARENTS 4

/* Opens the temporary file, or the target itself (append; in place). The caller writes to w->fd, then commits or
 * aborts. */
bool file_open_write(const struct request *r, struct file_write *w, struct failure *f);

#endif
