/* agent init: reaps, starts agents on request, and ends the sandbox when nobody uses it any more. */
#include "init.h"

#include "presence.h"
#include "process.h"
#include "proctree.h"
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_IDLE 90
#define EXIT_LIFETIME 91
#define LOOK_LEAST 250    /* ms between two looks at what the agents do */
#define LOOK_MOST 30000
#define KILL_LIMIT 10000  /* ms after which what can't be killed is left */

static volatile sig_atomic_t terminated, called;

static void on_signal(int signal)
{
    if (signal == SIGTERM)
        terminated = 1;
    else if (signal == SIGUSR1)
        called = 1; /* an agent is leaving: it was there, even if we never saw it */
}

struct init {
    const struct init_options *options;
    int control;
    int64_t born, active, next_look; /* CLOCK_BOOTTIME, as a sandbox ages while its machine sleeps */
    uint64_t seen;                   /* a sum over what all agents published */
    pid_t attached;                  /* the agent on init's own stdin and stdout; 0: none */
};

/* --- what the agents do --- */

struct look {
    uint64_t sum;
    bool busy;
};

static void look_at(const struct proc *p, void *context)
{
    struct look *look = context;
    bool busy;
    uint32_t requests;
    /* PID 1 has a sandbox to itself. Elsewhere others may have agents, and those of this sandbox are our children. */
    if (!presence_read(p->name, &busy, &requests) || (getpid() != 1 && p->parent != getpid()))
        return;
    look->busy |= busy;
    look->sum += ((uint64_t)p->pid << 32 | requests) * UINT64_C(0x9e3779b97f4a7c15);
}

static int64_t look_interval(const struct init *i)
{
    int64_t interval = i->options->idle_timeout / 8;
    return interval < LOOK_LEAST ? LOOK_LEAST : interval > LOOK_MOST ? LOOK_MOST : interval;
}

static bool idle_too_long(struct init *i, int64_t now)
{
    if (i->options->idle_timeout < 0)
        return false;
    if (now >= i->next_look) {
        struct look look = {0};
        /* Where /proc says nothing we would end a sandbox in use, so then nothing is too long. */
        bool known = proc_each(look_at, &look);
        if (!known || look.busy || look.sum != i->seen || called)
            i->active = now;
        called = 0;
        i->seen = look.sum;
        i->next_look = now + look_interval(i);
    }
    return now - i->active >= i->options->idle_timeout;
}

/* --- agents --- */

static void start_agent(struct init *i, int fd)
{
    pid_t pid = fork();
    if (pid == 0) {
        close_except((int[]){0, 1, 2, fd}, 4);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* so that a killed init leaves nothing that runs */
        _exit(serve(fd, fd));
    }
    close(fd);
    i->active = now_ms(CLOCK_BOOTTIME);
}

/* The agent on stdin and stdout, which are two pipes: where a container engine attaches to its first process. */
static void start_attached(struct init *i)
{
    i->attached = fork();
    if (i->attached == 0) {
        close_except((int[]){0, 1, 2}, 3);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int in = fcntl(0, F_DUPFD_CLOEXEC, 3), out = fcntl(1, F_DUPFD_CLOEXEC, 3);
        close(0);
        close(1);
        stdio_fill();
        _exit(serve(in, out));
    }
    close(0);
    close(1);
    stdio_fill();
    i->active = now_ms(CLOCK_BOOTTIME);
}

/* The one descriptor that came with the message, or -1. */
static int passed_descriptor(struct msghdr *message)
{
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    int fd;
    if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
        return -1;
    if (head->cmsg_len < CMSG_LEN(sizeof fd))
        return -1;
    memcpy(&fd, CMSG_DATA(head), sizeof fd);
    return fd;
}

/* False when the peer has closed. */
static bool take_control(struct init *i)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(i->control, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    int fd = passed_descriptor(&message);
    if (fd >= 0)
        start_agent(i, fd);
    return n > 0;
}

/* --- the end --- */

/* As PID 1 our exit ends everything. Elsewhere we are a subreaper: no child left means no descendant left. */
static void kill_descendants(void)
{
    static const int signals[] = {SIGKILL};
    int64_t limit = now_ms(CLOCK_MONOTONIC) + KILL_LIMIT;
    pid_t pid = 0;
    if (getpid() == 1)
        return;
    while (pid >= 0 && now_ms(CLOCK_MONOTONIC) < limit) {
        proctree_signal(getpid(), signals, 1);
        while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
            ;
        if (pid == 0)
            poll(NULL, 0, 2);
    }
}

static void reap(const struct init *i)
{
    /* What is attached to a container's first process learns of the end of the container only, not of a pipe's. */
    static const char text[] = "samebox: the agent has ended\n";
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
        if (pid == i->attached && write(2, text, sizeof text - 1) < 0)
            continue; /* nobody is there to be told */
}

static void prepare(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL); /* delivered in ppoll only */
    signals_ignore();
    sigprocmask(SIG_SETMASK, &all, NULL);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGCHLD, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    prctl(PR_SET_NAME, INIT_NAME);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_DUMPABLE, 0); /* nobody but root looks into it, or takes its descriptors */
}

static int64_t next_wait(const struct init *i, int64_t now)
{
    int64_t next = now + LOOK_MOST; /* poll's clock stands still in a suspended machine, so never wait long */
    if (i->options->idle_timeout >= 0) {
        int64_t end = i->active + i->options->idle_timeout;
        int64_t due = i->next_look < end ? i->next_look : end;
        next = due < next ? due : next;
    }
    if (i->options->max_lifetime >= 0 && i->born + i->options->max_lifetime < next)
        next = i->born + i->options->max_lifetime;
    return next > now ? next - now : 0;
}

/* Runs until there is a reason to end: the exit code. */
static int run(struct init *i)
{
    sigset_t none;
    sigemptyset(&none);
    for (;;) {
        reap(i);
        int64_t now = now_ms(CLOCK_BOOTTIME);
        if (terminated)
            return 0;
        if (i->options->max_lifetime >= 0 && now - i->born >= i->options->max_lifetime)
            return EXIT_LIFETIME;
        if (idle_too_long(i, now))
            return EXIT_IDLE;
        int64_t wait = next_wait(i, now);
        struct timespec timeout = {wait / 1000, wait % 1000 * 1000000};
        struct pollfd control = {.fd = i->control, .events = POLLIN};
        if (ppoll(&control, 1, &timeout, &none) > 0 && !take_control(i))
            return 0;
    }
}

int init(const struct init_options *options)
{
    struct init i = {.options = options, .control = options->control};
    prepare();
    i.born = i.active = now_ms(CLOCK_BOOTTIME);
    i.next_look = i.born + look_interval(&i);
    if (i.control >= 0)
        fcntl(i.control, F_SETFD, FD_CLOEXEC);
    if (options->serve == 0)
        start_attached(&i);
    else if (options->serve > 0)
        start_agent(&i, options->serve);
    int code = run(&i);
    kill_descendants();
    return code;
}
