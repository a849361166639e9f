/* CONNECT: a TCP connection made from inside. */
#ifndef SAMEBOX_CONNECT_H
#define SAMEBOX_CONNECT_H

#include "operation.h"

extern const struct operation connect_operation;

#endif
