/* REMOVE. */
#ifndef SAMEBOX_REMOVE_H
#define SAMEBOX_REMOVE_H

#include "job.h"
#include "operation.h"

extern const struct operation remove_operation;

/* Removes an entry and all that is in it; `base` is its path, for failures. */
void remove_entry(struct job *j, int dir, const char *name, const char *base);

#endif
