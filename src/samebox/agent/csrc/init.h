/* agent init: the sandbox's first process. */
#ifndef SAMEBOX_INIT_H
#define SAMEBOX_INIT_H

#include <stdint.h>

struct init_options {
    int64_t idle_timeout, max_lifetime; /* ms; -1: none */
    int control, serve;                 /* descriptors; -1: none; serve 0: stdin and stdout */
};
/* Returns the exit code. */
int init(const struct init_options *options);

#endif
