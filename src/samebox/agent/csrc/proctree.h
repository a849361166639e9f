/* Other processes, as /proc shows them. */
#ifndef SAMEBOX_PROCTREE_H
#define SAMEBOX_PROCTREE_H

#include <stdbool.h>
#include <sys/types.h>

struct proc {
    pid_t pid, parent;
    char state;
    char name[16];
};
/* Parses the text of /proc/PID/stat. */
bool proc_parse(struct proc *p, const char *stat);
bool proc_read(struct proc *p, pid_t pid);

/* Calls `visit` for every process; false if /proc is not there or shows another PID namespace. */
bool proc_each(void (*visit)(const struct proc *p, void *context), void *context);

/* Sends the signals, in their order, to every descendant of `root`. Returns how many got them; -1 if /proc can't
 * tell. */
int proctree_signal(pid_t root, const int *signals, int count);

#endif
