/* LIST and WALK. */
#ifndef SAMEBOX_ENTRIES_H
#define SAMEBOX_ENTRIES_H

#include "operation.h"

extern const struct operation list_operation;
extern const struct operation walk_operation;

#endif
