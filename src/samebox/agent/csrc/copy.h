/* MOVE and COPY. */
#ifndef SAMEBOX_COPY_H
#define SAMEBOX_COPY_H

#include "operation.h"

extern const struct operation move_operation;
extern const struct operation copy_operation;

#endif
