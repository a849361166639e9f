/* UNPACK: makes a tree from a stream (protocol.md, section 7). */
#ifndef SAMEBOX_UNPACK_H
#define SAMEBOX_UNPACK_H

#include "operation.h"

extern const struct operation unpack_operation;

#endif
