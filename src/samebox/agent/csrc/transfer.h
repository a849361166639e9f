/* READ and WRITE of one file. */
#ifndef SAMEBOX_TRANSFER_H
#define SAMEBOX_TRANSFER_H

#include "operation.h"

extern const struct operation read_operation;
extern const struct operation write_operation;

#endif
