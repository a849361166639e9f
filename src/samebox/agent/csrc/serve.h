/* One connection and its streams. */
#ifndef SAMEBOX_SERVE_H
#define SAMEBOX_SERVE_H

#include "request.h"

#include <sys/resource.h>

/* --- the operations that are streams --- */

void exec_open(uint32_t id, struct request *r);
void read_open(uint32_t id, struct request *r);
void write_open(uint32_t id, struct request *r);
void worker_open(uint32_t id, struct request *r);
void connect_open(uint32_t id, struct request *r);
/* READ goes on in each turn, as files are always readable: returns whether there is more to do. */
bool reads_continue(void);

/* --- environment.c --- */

/* NAME=value of both lists, a later one of a name replacing an earlier one. One block, freed by the caller. */
char **environment_merge(char *const *base, char *const *more);
bool environment_valid(char *const *env);

/* --- serve.c --- */

struct server {
    char **env;         /* what every command starts from; points into hello */
    struct request hello;
    struct rlimit files; /* as it was before we raised it */
    int exiting;        /* children that are about to end and have to be reaped */
};
extern struct server server;

/* agent serve, on descriptors that it takes over; returns the exit code. */
int serve(int in, int out);

#endif
