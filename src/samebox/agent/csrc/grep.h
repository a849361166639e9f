/* GREP: lines of a tree's text files. */
#ifndef SAMEBOX_GREP_H
#define SAMEBOX_GREP_H

#include "operation.h"

extern const struct operation grep_operation;

#endif
