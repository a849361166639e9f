/* What a process does to itself: descriptors, signals, names, clocks; and what it sees of others through /proc. */
#ifndef SAMEBOX_PROCESS_H
#define SAMEBOX_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>

/* --- process.c --- */

/* Descriptors 0-2 are open afterwards, so that nothing else can land on them. */
void stdio_fill(void);

/* Closes every descriptor but those in `keep`, which is sorted by this. */
void close_except(int *keep, int count);

/* Default dispositions for what was inherited as ignored, then ignores what others could annoy us with; SIGCHLD is
 * blocked. */
void signals_ignore(void);
/* After signals_ignore: catches what was ignored, and SIGCHLD, and does nothing. An execve undoes that by itself, so that
 * the start of a command needs no calls for it. */
void signals_catch(void);
/* What a command begins with. Safe after vfork. */
void signals_unblock(void);

int64_t now_ms(clockid_t clock);

/* One datagram of the same size each way; -1 and errno like socketpair. */
int link_pair(int fds[2]);

bool set_nonblocking(int fd);

/* --- proctree.c --- */

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
