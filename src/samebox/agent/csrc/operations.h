/* The list of all operations. */
#ifndef SAMEBOX_OPERATIONS_H
#define SAMEBOX_OPERATIONS_H

#include "operation.h"

/* By the number in an OPEN frame; NULL: there is no such operation. */
const struct operation *operation_find(uint8_t number);

#endif
