/* EXEC: a command, as serve sees it. */
#include "exec.h"

#include "buffer.h"
#include "children.h"
#include "command.h"
#include "connection.h"
#include "drain.h"
#include "environment.h"
#include "failure.h"
#include "limit.h"
#include "loop.h"
#include "oom.h"
#include "plumbing.h"
#include "process.h"
#include "protocol.h"
#include "record.h"
#include "request.h"
#include "sink.h"
#include "source.h"
#include "spare.h"
#include "stream.h"
#include "workdir.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define FLAG_INPUT 1
#define FLAG_TELL_START 2
#define FLAG_MERGE 4
#define GRACE 1000
#define EOF_DELAY 5 /* ms: an EOF that comes with the exit needs no frame, which would wake the host for nothing */
#define LONGEST (INT64_C(1) << 40) /* ms: far beyond any use, far below any overflow */

struct exec {
    struct stream stream;
    struct watch link;
    const char *reason; /* why we are ending it; NULL: we are not */
    bool exited, ended; /* ended: by us */
    bool out_of_memory;
    int64_t oom_kills; /* at its begin */
    bool free;          /* its supervisor can run another command */
    int status, start_error;
    int64_t timeout;    /* when it is over, as the stream's deadline; -1: there is none */
    bool eof[2];        /* of the outputs, not told yet */
};

/* --- what the supervisor tells --- */

static void end(struct exec *e)
{
    struct buf record = {0};
    bool signalled = WIFSIGNALED(e->status);
    rec_num(&record, TAG_EXIT_CODE, signalled ? 128 + WTERMSIG(e->status) : WEXITSTATUS(e->status));
    if (signalled)
        rec_num(&record, TAG_SIGNAL, WTERMSIG(e->status));
    if (e->start_error)
        rec_num(&record, TAG_ERRNO, e->start_error);
    if (e->out_of_memory)
        rec_num(&record, TAG_OUT_OF_MEMORY, 1);
    if (e->ended && e->reason)
        rec_str(&record, TAG_REASON, e->reason);
    for (int i = 0; i < 2; i++) {
        struct watch *w = &e->stream.output[i].watch;
        if (w->fd < 0)
            continue;
        /* Closing it would kill a background process that goes on writing. */
        watch_set(w, 0);
        drain_adopt(w->fd);
        w->fd = -1;
    }
    stream_end(&e->stream, &record);
    buf_free(&record);
}

static void end_if_complete(struct exec *e)
{
    if (e->exited && !e->stream.closed && e->stream.output[0].done && e->stream.output[1].done)
        end(e);
}

static void tell_eofs(struct exec *e)
{
    for (uint8_t channel = 1; channel <= 2; channel++) {
        if (e->eof[channel - 1])
            connection_send(FRAME_EOF, e->stream.id, &channel, 1);
        e->eof[channel - 1] = false;
    }
    e->stream.deadline = e->timeout;
}

static void exited(struct exec *e, const struct report *r)
{
    e->status = r->value;
    e->ended = r->ended;
    e->start_error = r->start_error;
    /* A shell tells by 137 that its child died of SIGKILL. The counter alone may be about another command. */
    bool killed = r->killed || (WIFEXITED(r->value) && WEXITSTATUS(r->value) == 128 + SIGKILL);
    e->out_of_memory = killed && !r->ended && oom_kills() > e->oom_kills;
    e->free = r->free;
    sink_close(&e->stream.input);
    for (int i = 0; i < 2; i++)
        source_settle(&e->stream.output[i], e->stream.request.tty);
    e->exited = true;
    e->timeout = -1;
    end_if_complete(e);
    /* An output that waits for credit does not hold up the end of the other one. */
    if (!e->stream.closed)
        tell_eofs(e);
}

static void not_started(struct exec *e, int err, const char *kind, const char *path)
{
    struct failure f;
    fail(&f, err, kind, path);
    stream_fail(&e->stream, &f);
}

static void started(struct exec *e, pid_t pid)
{
    struct buf record = {0};
    rec_num(&record, TAG_PID, pid);
    connection_send(FRAME_REPLY, e->stream.id, record.data, record.len);
    buf_free(&record);
}

static void link_ready(struct watch *w, uint32_t events)
{
    (void)events;
    struct exec *e = w->owner;
    struct report r = {0};
    ssize_t n = recv(w->fd, &r, sizeof r, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    const struct request *q = &e->stream.request;
    if (n <= 0) {
        struct failure f;
        fail(&f, EIO, "spawn", NULL);
        snprintf(f.message, sizeof f.message, "the command's supervisor was killed");
        watch_set(w, 0);
        if (!e->exited)
            stream_fail(&e->stream, &f);
    } else if (r.type == REPORT_STARTED) {
        started(e, r.value);
    } else if (r.type == REPORT_EXITED) {
        exited(e, &r);
    } else if (r.type == REPORT_BAD_CWD) {
        not_started(e, r.value, "cwd", q->cwd);
    } else {
        not_started(e, r.value, "spawn", q->argv[0]);
    }
}

/* --- what the host asks --- */

static void order(struct exec *e, int type, int value)
{
    struct order o = {type, value};
    /* A failure means that the supervisor is gone, of which link_ready hears too. */
    if (send(e->link.fd, &o, sizeof o, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return;
}

/* May be asked for more than once: with less grace than before. */
static void ask_to_end(struct exec *e, const char *reason, int64_t grace)
{
    if (!e->reason)
        e->reason = reason;
    e->timeout = -1;
    tell_eofs(e);
    order(e, ORDER_END, grace > INT32_MAX ? INT32_MAX : (int)grace);
}

static void exec_cancel(struct stream *s, int64_t grace)
{
    struct exec *e = (struct exec *)s;
    if (!e->exited) {
        ask_to_end(e, "cancel", grace);
        return;
    }
    /* What is left of the output waits for credit, and nobody wants it any more. */
    s->output[0].done = s->output[1].done = true;
    end_if_complete(e);
}

static void exec_expire(struct stream *s)
{
    struct exec *e = (struct exec *)s;
    tell_eofs(e);
    if (e->timeout >= 0 && e->timeout <= now_ms(CLOCK_MONOTONIC))
        ask_to_end(e, "timeout", -1);
}

static void exec_input(struct stream *s, const uint8_t *data, size_t len)
{
    sink_write(&s->input, data, len);
}

static void exec_input_end(struct stream *s)
{
    sink_end(&s->input);
}

static void exec_input_done(struct stream *s)
{
    struct termios mode;
    int fd = s->input.watch.fd;
    if (s->request.tty && fd >= 0 && tcgetattr(fd, &mode) == 0 && write(fd, &mode.c_cc[VEOF], 1) == 1)
        return;
    sink_close(&s->input);
}

static void exec_output_end(struct stream *s, struct source *source, int err)
{
    (void)err; /* EIO is how a terminal ends */
    struct exec *e = (struct exec *)s;
    e->eof[source->channel - 1] = true;
    if (!e->exited) {
        int64_t soon = now_ms(CLOCK_MONOTONIC) + EOF_DELAY;
        if (s->deadline < 0 || s->deadline > soon)
            s->deadline = soon;
        return;
    }
    end_if_complete(e);
    if (!s->closed)
        tell_eofs(e);
}

static void exec_release(struct stream *s)
{
    struct exec *e = (struct exec *)s;
    watch_set(&e->link, 0);
    if (e->free && supervisor_keep(e->link.fd))
        return;
    s->held = e->link.fd; /* closing it releases the supervisor, whose end would be in the way of the answer */
    children_expect();
}

static void exec_signal(struct stream *s, int signal)
{
    struct exec *e = (struct exec *)s;
    if (!e->exited)
        order(e, ORDER_SIGNAL, signal);
}

static void exec_resize(struct stream *s, int rows, int columns)
{
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    if (s->request.tty && s->output[0].watch.fd >= 0)
        ioctl(s->output[0].watch.fd, TIOCSWINSZ, &size);
}

static const struct stream_type exec_type = {
    .input = exec_input,
    .input_end = exec_input_end,
    .output_end = exec_output_end,
    .input_done = exec_input_done,
    .signal = exec_signal,
    .resize = exec_resize,
    .cancel = exec_cancel,
    .expire = exec_expire,
    .release = exec_release,
};

/* --- starting --- */

/* The environment that a command gets; a terminal that nobody named is an xterm. Freed unless it is environment_base. */
static char **command_environment(const struct request *r)
{
    if (r->tty) {
        static char xterm[] = "TERM=xterm";
        char *terminal[] = {xterm, NULL};
        char **base = environment_merge(terminal, environment_base), **all = environment_merge(base, r->env);
        free(base);
        return all;
    }
    return r->env[0] ? environment_merge(environment_base, r->env) : environment_base;
}

/* Returns our end of the link to the supervisor, or -1 and errno. */
static int start(const struct plumbing *p, const struct request *r)
{
    struct command c = {
        .argv = r->argv, .env = command_environment(r),
        .cwd = r->cwd, .workdir = workdir_path, .stdio = {p->theirs[0], p->theirs[1], p->theirs[2]}, .tty = r->tty,
        .tell_start = r->flags & FLAG_TELL_START, .grace = r->grace < 0 ? GRACE : r->grace, .files = limit_before,
    };
    int link = supervisor_find(&c);
    int err = errno;
    if (c.env != environment_base)
        free(c.env);
    errno = err;
    return link;
}

/* Hands our ends over to a new stream; what can't be watched ends the command with an error. */
static void watch_command(uint32_t id, struct plumbing *p, int link, int64_t kills, struct request *r)
{
    struct exec *e = allocate(sizeof *e);
    stream_register(&e->stream, id, &exec_type, r);
    e->oom_kills = kills;
    e->link = (struct watch){.fd = link, .ready = link_ready, .owner = e};
    int64_t credit = stream_credit(&e->stream);
    bool watched = watch_set(&e->link, EPOLLIN);
    for (int channel = 1; channel <= 2; channel++)
        if (p->ours[channel] >= 0)
            watched &= source_attach(&e->stream.output[channel - 1], p->ours[channel], credit);
    if (p->ours[0] >= 0)
        watched &= sink_attach(&e->stream.input, p->ours[0]);
    p->ours[0] = p->ours[1] = p->ours[2] = -1;
    e->timeout = e->stream.request.timeout < 0 ? -1 : now_ms(CLOCK_MONOTONIC) + e->stream.request.timeout;
    e->stream.deadline = e->timeout;
    if (!watched)
        not_started(e, errno, "spawn", e->stream.request.argv[0]);
}

static bool valid(const struct request *r)
{
    bool sizes = r->rows <= UINT16_MAX && r->columns <= UINT16_MAX && r->timeout <= LONGEST && r->grace <= LONGEST;
    return sizes && environment_valid(r->env);
}

static void exec_open(uint32_t id, struct request *r)
{
    struct plumbing p = {{-1, -1, -1}, {-1, -1, -1}};
    int link = -1;
    int64_t kills = oom_kills();
    struct failure f = {0};
    if (!valid(r))
        fail(&f, EINVAL, NULL, NULL);
    else if (!plumbing_open(&p, r, r->flags & FLAG_INPUT, r->flags & FLAG_MERGE) || (link = start(&p, r)) < 0)
        fail(&f, errno, "spawn", r->argv[0]);
    if (f.err)
        connection_send_failure(id, &f);
    else
        watch_command(id, &p, link, kills, r);
    plumbing_close(&p);
}

const struct operation exec_operation = {
    .form = {.known = FIELD(ARGV) | FIELD(ENV) | FIELD(CWD) | FIELD(TIMEOUT) | FIELD(GRACE) | FIELD(TTY) |
                      FIELD(ROWS) | FIELD(COLUMNS) | FIELD(WINDOW) | FIELD(FLAGS),
             .needed = FIELD(ARGV), .flags = FLAG_INPUT | FLAG_TELL_START | FLAG_MERGE},
    .open = exec_open,
};
