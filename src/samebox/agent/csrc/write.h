/* WRITE of one file. */
#ifndef SAMEBOX_WRITE_H
#define SAMEBOX_WRITE_H

#include "operation.h"

extern const struct operation write_operation;

#endif
