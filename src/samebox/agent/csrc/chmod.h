/* CHMOD. */
#ifndef SAMEBOX_CHMOD_H
#define SAMEBOX_CHMOD_H

#include "operation.h"

extern const struct operation chmod_operation;

#endif
