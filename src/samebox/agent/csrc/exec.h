/* EXEC: a command. */
#ifndef SAMEBOX_EXEC_H
#define SAMEBOX_EXEC_H

#include "operation.h"

extern const struct operation exec_operation;

#endif
