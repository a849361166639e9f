/* What serve and a command's supervisor tell each other. */
#ifndef SAMEBOX_COMMAND_H
#define SAMEBOX_COMMAND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

struct command {
    char **argv, **env;
    const char *cwd;     /* NULL: the workdir */
    const char *workdir; /* NULL: where serve is */
    int stdio[3];        /* above 2, or each in its place */
    int link;            /* the supervisor's end */
    bool tty, tell_start;
    int64_t grace;       /* ms between SIGTERM and SIGKILL */
    struct rlimit files; /* the command's limit of descriptors */
};

/* From the supervisor. */
enum report_type { REPORT_STARTED = 1, REPORT_EXITED, REPORT_BAD_CWD, REPORT_NOT_SPAWNED };
struct report {
    int32_t type;
    int32_t value; /* pid, wait status or errno */
    int32_t ended; /* EXITED: we ended it, and everything that it had started */
    int32_t killed; /* EXITED: it, or a descendant that became ours, died of a SIGKILL that we did not send */
    int32_t free;  /* EXITED: it has left nothing behind, so that the supervisor can run another command */
    int32_t start_error; /* EXITED: the errno for which the program was not run, and 126 or 127 is ours; 0: it was */
};

/* To the supervisor. Closing the link releases it; as long as its command runs, that ends the command too. */
enum order_type { ORDER_SIGNAL = 1, ORDER_END, ORDER_RUN };
struct order {
    int32_t type;
    int32_t value; /* a signal; ms of grace, -1: as in the command */
};

#endif
