/* What a process does to itself: descriptors, signals, clocks. */
#include "process.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436 /* the same on every architecture */
#endif

void stdio_fill(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        /* The lowest free number is `fd` itself. An image may have no /dev/null; O_PATH on / at least keeps the
         * place. */
        if (open("/dev/null", O_RDWR) < 0 && open("/", O_PATH) < 0)
            _exit(71);
    }
}

static bool listed(const int *keep, int count, int fd)
{
    for (int i = 0; i < count; i++)
        if (keep[i] == fd)
            return true;
    return false;
}

static void close_one_by_one(const int *keep, int count)
{
    DIR *dir = opendir("/proc/self/fd");
    if (dir) {
        /* Closing while reading is safe: procfs goes on after the last number that it has shown. */
        for (struct dirent *entry; (entry = readdir(dir));) {
            int fd = entry->d_name[0] == '.' ? -1 : atoi(entry->d_name);
            if (fd >= 0 && fd != dirfd(dir) && !listed(keep, count, fd))
                close(fd);
        }
        closedir(dir);
        return;
    }
    struct rlimit limit;
    int last = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 65536 ? (int)limit.rlim_cur : 65536;
    for (int fd = 0; fd < last; fd++)
        if (!listed(keep, count, fd))
            close(fd);
}

void close_except(int *keep, int count)
{
    for (int i = 1; i < count; i++)
        for (int j = i; j > 0 && keep[j - 1] > keep[j]; j--) {
            int swap = keep[j];
            keep[j] = keep[j - 1];
            keep[j - 1] = swap;
        }
    unsigned first = 0;
    for (int i = 0; i < count; i++) {
        unsigned fd = (unsigned)keep[i];
        if (fd > first && syscall(SYS_close_range, first, fd - 1, 0) != 0) {
            close_one_by_one(keep, count);
            return;
        }
        first = fd + 1;
    }
    if (syscall(SYS_close_range, first, ~0U, 0) != 0)
        close_one_by_one(keep, count);
}

/* What ends or stops a process by default and can be ignored. A guest of the same user can still send SIGKILL. */
static const int ignored[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGPIPE, SIGALRM,   SIGTERM, SIGUSR1, SIGUSR2,
                              SIGTSTP, SIGTTIN, SIGTTOU, SIGVTALRM, SIGPROF, SIGIO,   SIGPWR,  SIGXCPU, SIGXFSZ};
#define IGNORED_COUNT (sizeof ignored / sizeof *ignored)

static void mask_only(int signal)
{
    sigset_t mask;
    sigemptyset(&mask);
    if (signal)
        sigaddset(&mask, signal);
    sigprocmask(SIG_SETMASK, &mask, NULL);
}

void signals_ignore(void)
{
    struct sigaction action;
    for (int signal = 1; signal < NSIG; signal++)
        if (sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
            sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    for (size_t i = 0; i < IGNORED_COUNT; i++)
        sigaction(ignored[i], &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    mask_only(SIGCHLD);
}

static void nothing(int signal)
{
    (void)signal;
}

void signals_catch(void)
{
    for (size_t i = 0; i < IGNORED_COUNT; i++)
        sigaction(ignored[i], &(struct sigaction){.sa_handler = nothing}, NULL);
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = nothing}, NULL);
}

void signals_unblock(void)
{
    mask_only(0);
}

int64_t now_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int link_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds);
}
