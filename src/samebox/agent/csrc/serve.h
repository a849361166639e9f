/* agent serve: the loop around one connection and its streams. */
#ifndef SAMEBOX_SERVE_H
#define SAMEBOX_SERVE_H

#include "request.h"

/* --- the operations that are streams --- */

void exec_open(uint32_t id, struct request *r);
void read_open(uint32_t id, struct request *r);
void write_open(uint32_t id, struct request *r);
void worker_open(uint32_t id, struct request *r);
void connect_open(uint32_t id, struct request *r);
/* READ goes on in each turn, as files are always readable: returns whether there is more to do. */
bool reads_continue(void);

/* agent serve, on descriptors that it takes over; returns the exit code. */
int serve(int in, int out);

#endif
