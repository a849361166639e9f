/* Plumbing: the pipes between serve and a command, or its terminal. */
#include "plumbing.h"

#include "descriptor.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool open_pipe(int *reader, int *writer)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return false;
    *reader = fds[0];
    *writer = fds[1];
    return true;
}

static bool open_pipes(struct plumbing *p, bool input, bool merge)
{
    if (input) {
        if (!open_pipe(&p->theirs[0], &p->ours[0]))
            return false;
    } else if ((p->theirs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0) {
        /* An image without /dev/null: an empty pipe is at EOF as well. */
        int writer;
        if (!open_pipe(&p->theirs[0], &writer))
            return false;
        close(writer);
    }
    if (!open_pipe(&p->ours[1], &p->theirs[1]))
        return false;
    if (merge)
        return (p->theirs[2] = fcntl(p->theirs[1], F_DUPFD_CLOEXEC, 3)) >= 0;
    return open_pipe(&p->ours[2], &p->theirs[2]);
}

static int open_slave(int master)
{
    char path[32];
    if (unlockpt(master) < 0)
        return -1;
#ifdef TIOCGPTPEER
    /* Right also where /dev/pts is another instance than the master's. */
    int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
#endif
    if (ptsname_r(master, path, sizeof path) != 0)
        return -1;
    return open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static bool open_terminal(struct plumbing *p, const struct request *r, bool input)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    if (r->rows > 0)
        size.ws_row = (unsigned short)r->rows;
    if (r->columns > 0)
        size.ws_col = (unsigned short)r->columns;
    p->ours[1] = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (p->ours[1] < 0)
        p->ours[1] = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (p->ours[1] < 0 || (p->theirs[0] = open_slave(p->ours[1])) < 0)
        return false;
    ioctl(p->ours[1], TIOCSWINSZ, &size);
    p->theirs[1] = fcntl(p->theirs[0], F_DUPFD_CLOEXEC, 3);
    p->theirs[2] = fcntl(p->theirs[0], F_DUPFD_CLOEXEC, 3);
    if (input && (p->ours[0] = fcntl(p->ours[1], F_DUPFD_CLOEXEC, 3)) < 0)
        return false;
    return p->theirs[1] >= 0 && p->theirs[2] >= 0;
}

bool plumbing_open(struct plumbing *p, const struct request *r, bool input, bool merge)
{
    return r->tty ? open_terminal(p, r, input) : open_pipes(p, input, merge);
}

void plumbing_close(struct plumbing *p)
{
    for (int i = 0; i < 3; i++) {
        close_fd(&p->ours[i]);
        close_fd(&p->theirs[i]);
    }
}
