/* Workers: forks in which operations on whole trees run, as these may block. */
#ifndef SAMEBOX_WORKER_H
#define SAMEBOX_WORKER_H

#include "operation.h"
#include "request.h"

/* Opens a stream that passes on what the worker writes and hands it what it reads. */
void worker_open(uint32_t id, const struct operation *o, struct request *r);

#endif
