/* What serve and a command's supervisor tell each other. */
#ifndef SAMEBOX_COMMAND_H
#define SAMEBOX_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

struct command {
    char **argv, **env;
    const char *cwd;     /* NULL: where serve is, the workdir */
    int stdio[3];        /* above 2 */
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
};

/* To the supervisor. Closing the link releases it; as long as its command runs, that ends the command too. */
enum order_type { ORDER_SIGNAL = 1, ORDER_END }; /* the value: a signal; ms of grace, -1: as in the command */
struct order {
    int32_t type;
    int32_t value;
};

/* --- supervisor.c: in a fork of serve --- */
_Noreturn void supervise(const struct command *c);

/* --- program.c: safe after vfork --- */

/* Becomes the program, or returns errno. `found` says what was found where, for program_complain; it is cut to fit. */
int program_run(char *const *argv, char *const *env, char *found, size_t size);
/* Writes on stderr why it was not run, and returns the exit code for that. */
int program_complain(const char *name, int err, const char *found);

#endif
