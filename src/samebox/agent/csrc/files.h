/* The operations on one entry of a directory. */
#ifndef SAMEBOX_FILES_H
#define SAMEBOX_FILES_H

#include "operation.h"

extern const struct operation stat_operation;
extern const struct operation make_dir_operation;
extern const struct operation realpath_operation;
extern const struct operation symlink_operation;
extern const struct operation readlink_operation;

#endif
