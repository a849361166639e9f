/* What a process does to itself: descriptors, signals, clocks. */
#ifndef SAMEBOX_PROCESS_H
#define SAMEBOX_PROCESS_H

#include <stdint.h>
#include <time.h>

/* Descriptors 0-2 are open afterwards, so that nothing else can land on them. */
void stdio_fill(void);

/* Closes every descriptor but those in `keep`, which is sorted by this. */
void close_except(int *keep, int count);

/* Default dispositions for what was inherited as ignored, then ignores what others could annoy us with; SIGCHLD is
 * blocked. */
void signals_ignore(void);
/* After signals_ignore: catches what was ignored, and SIGCHLD, and does nothing. An execve undoes that by itself, so
 * that the start of a command needs no calls for it. */
void signals_catch(void);
/* What a command begins with. Safe after vfork. */
void signals_unblock(void);

int64_t now_ms(clockid_t clock);

/* One datagram of the same size each way; -1 and errno like socketpair. */
int link_pair(int fds[2]);

#endif
