/* READ of one file. */
#ifndef SAMEBOX_READ_H
#define SAMEBOX_READ_H

#include "operation.h"

extern const struct operation read_operation;

#endif
