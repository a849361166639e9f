/* PACK: a tree as a stream (protocol.md, section 7). */
#ifndef SAMEBOX_PACK_H
#define SAMEBOX_PACK_H

#include "operation.h"

extern const struct operation pack_operation;

#endif
