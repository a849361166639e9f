/* A command's supervisor: parent, in the end, of everything that the command starts, so that all of it can be ended. */
#include "supervisor.h"

#include "handover.h"
#include "process.h"
#include "proctree.h"
#include "program.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PASS 2        /* ms between two looks for what is still to be killed */
#define GIVE_UP 10000 /* ms of SIGKILL after which what is left can't be killed: another user's, or stuck in a call */

enum state { RUNNING, TERMINATING, KILLING, REPORTED };

struct supervisor {
    const struct command *command;
    enum state state;
    pid_t child;
    bool child_gone, killed;
    int status, start_error;
    int link;          /* -1: serve is gone */
    int64_t deadline;  /* of TERMINATING and KILLING */
    int64_t next_pass; /* of KILLING */
};

static void report(const struct command *c, const struct report *r)
{
    while (write(c->link, r, sizeof *r) < 0 && errno == EINTR)
        ;
}

/* --- the child --- */

/* In the vfork child: memory is the supervisor's. */
static _Noreturn void become(const struct command *c, volatile int *spawn_error, volatile int *start_error)
{
    char found[512];
    if (c->tty) {
        setsid();
        ioctl(0, TIOCSCTTY, 0);
    } else {
        setpgid(0, 0);
    }
    /* A guest that kills the supervisor does not keep its command. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_NOFILE, &c->files);
    signals_unblock();
    int err = program_run(c->argv, c->env, found, sizeof found);
    if (err == E2BIG || err == ENOMEM || err == EAGAIN) {
        *spawn_error = err;
        _exit(126);
    }
    *start_error = err;
    _exit(program_complain(c->argv[0], err, found));
}

static pid_t start(const struct command *c, int *err, int *not_run)
{
    volatile int spawn_error = 0, start_error = 0;
    pid_t pid = vfork();
    if (pid == 0)
        become(c, &spawn_error, &start_error);
    *err = pid < 0 ? errno : spawn_error;
    *not_run = start_error;
    return pid;
}

/* --- ending --- */

static void send_to_all(const struct supervisor *s, const int *signals, int count)
{
    if (proctree_signal(getpid(), signals, count) >= 0)
        return;
    /* No /proc: the process group is what we know. */
    for (int i = 0; i < count && !s->child_gone; i++)
        kill(-s->child, signals[i]);
}

/* Again with less grace: an earlier end. Without any it is SIGKILL at once. */
static void terminate(struct supervisor *s, int64_t grace)
{
    static const int signals[] = {SIGTERM, SIGCONT};
    int64_t deadline = now_ms(CLOCK_MONOTONIC) + grace;
    if (s->state == RUNNING) {
        s->state = TERMINATING;
        s->deadline = deadline;
        if (grace > 0)
            send_to_all(s, signals, 2);
    } else if (s->state == TERMINATING && deadline < s->deadline) {
        s->deadline = deadline;
    }
}

static void kill_all(const struct supervisor *s)
{
    static const int signals[] = {SIGKILL};
    send_to_all(s, signals, 1);
}

/* Reaps; false when there is no child left. As a subreaper without a child we have no descendant either. */
static bool reap(struct supervisor *s)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
        if (s->state == RUNNING && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
            s->killed = true;
        if (pid == s->child) {
            s->child_gone = true;
            s->status = status;
        }
    }
    return pid == 0;
}

static void finish(struct supervisor *s, bool children)
{
    report(s->command, &(struct report){.type = REPORT_EXITED, .value = s->status, .ended = s->state != RUNNING,
                                        .killed = s->killed, .free = !children,
                                        .start_error = s->start_error});
    if (s->link < 0)
        _exit(0);
    s->state = REPORTED;
}

/* --- the loop --- */

static void take_order(struct supervisor *s)
{
    struct order order = {0};
    ssize_t n = recv(s->link, &order, sizeof order, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) { /* released, or serve is gone */
        if (s->state == REPORTED)
            _exit(0);
        s->link = -1;
    }
    if (order.type == ORDER_SIGNAL && !s->child_gone)
        kill(s->command->tty ? -s->child : s->child, order.value);
    else if (n <= 0 || order.type == ORDER_END)
        terminate(s, n <= 0 || order.value < 0 ? s->command->grace : order.value);
}

/* Moves on to what is due; returns how many ms there are until the next thing is, -1: none. */
static int64_t advance(struct supervisor *s, bool children)
{
    if (s->state == RUNNING && s->child_gone)
        finish(s, children);
    if (s->state == RUNNING || s->state == REPORTED)
        return -1;
    int64_t now = now_ms(CLOCK_MONOTONIC);
    if (s->state == TERMINATING && children) {
        if (now < s->deadline)
            return s->deadline - now;
        s->state = KILLING;
        s->deadline = now + GIVE_UP;
    }
    if (!children || now >= s->deadline) {
        finish(s, children);
        return -1;
    }
    if (now >= s->next_pass) {
        kill_all(s);
        s->next_pass = now_ms(CLOCK_MONOTONIC) + PASS;
    }
    return PASS;
}

static void take_stdio(const struct command *c)
{
    for (int fd = 0; fd <= 2; fd++)
        if (c->stdio[fd] != fd)
            dup2(c->stdio[fd], fd);
    close_except((int[]){0, 1, 2, c->link}, 4);
}

static int enter(const struct command *c)
{
    bool absolute = c->cwd && c->cwd[0] == '/';
    if (c->workdir && !absolute && chdir(c->workdir) < 0)
        return errno;
    return c->cwd && chdir(c->cwd) < 0 ? errno : 0;
}

/* Runs one command; returns when nothing of it is left and serve has heard of its end. */
static void run(const struct command *c)
{
    struct supervisor s = {.command = c, .link = c->link, .status = SIGKILL};
    sigset_t none;
    int err;
    take_stdio(c);
    if ((err = enter(c))) {
        report(c, &(struct report){.type = REPORT_BAD_CWD, .value = err});
        _exit(0);
    }
    s.child = start(c, &err, &s.start_error);
    if (err) {
        report(c, &(struct report){.type = REPORT_NOT_SPAWNED, .value = err});
        _exit(0);
    }
    for (int fd = 0; fd <= 2; fd++)
        close(fd); /* the command's end of the pipes is the command's alone */
    if (c->tell_start)
        report(c, &(struct report){.type = REPORT_STARTED, .value = s.child});
    sigemptyset(&none);
    for (;;) {
        bool children = reap(&s);
        int64_t wait = advance(&s, children);
        if (s.state == REPORTED && !children)
            return;
        struct timespec timeout = {wait / 1000, wait % 1000 * 1000000};
        struct pollfd order = {.fd = s.link, .events = POLLIN};
        if (ppoll(&order, 1, wait < 0 ? NULL : &timeout, &none) > 0)
            take_order(&s);
    }
}

_Noreturn void supervise(const struct command *first)
{
    struct command c = *first;
    prctl(PR_SET_NAME, "samebox-run");
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* where it is lacking, orphans are init's */
    signals_catch(); /* SIGCHLD is blocked but in ppoll, which it has to interrupt */
    do
        run(&c);
    while (command_take_over(&c));
    _exit(0);
}
