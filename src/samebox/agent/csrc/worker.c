/* Workers: forks in which operations on whole trees run, as these may block. */
#include "worker.h"

#include "buffer.h"
#include "children.h"
#include "connection.h"
#include "descriptor.h"
#include "failure.h"
#include "job.h"
#include "loop.h"
#include "process.h"
#include "protocol.h"
#include "sink.h"
#include "source.h"
#include "stream.h"
#include "workdir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 2000 /* ms for a cancelled worker to clean up */

struct worker {
    struct stream stream;
    struct watch status;
    struct buf result; /* a frame type, then the record */
    pid_t pid;
    bool cancelled;
};

static void finish(struct worker *w)
{
    if (w->status.fd >= 0 || !w->stream.output[0].done || w->stream.closed)
        return;
    struct failure f;
    if (w->result.len > 0 && w->result.data[0] == FRAME_END) {
        stream_end(&w->stream, &(struct buf){.data = w->result.data + 1, .len = w->result.len - 1});
    } else if (w->result.len > 0 && !w->cancelled) {
        connection_send(FRAME_ERROR, w->stream.id, w->result.data + 1, w->result.len - 1);
        stream_close(&w->stream);
    } else {
        fail(&f, w->cancelled ? ECANCELED : EIO, NULL, w->stream.request.path);
        stream_fail(&w->stream, &f);
    }
}

/* Its last words; the pipe ends with the worker. */
static void status_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    struct worker *w = watch->owner;
    buf_reserve(&w->result, 1024);
    ssize_t n = read(watch->fd, w->result.data + w->result.len, 1024);
    if (n > 0) {
        w->result.len += (size_t)n;
        return;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    watch_close(watch);
    finish(w);
}

static void worker_output_end(struct stream *s, struct source *source, int err)
{
    (void)source;
    (void)err;
    finish((struct worker *)s);
}

static void worker_input(struct stream *s, const uint8_t *data, size_t len)
{
    sink_write(&s->input, data, len);
}

static void worker_input_end(struct stream *s)
{
    sink_end(&s->input);
}

static void worker_input_done(struct stream *s)
{
    sink_close(&s->input);
}

static void worker_cancel(struct stream *s, int64_t grace)
{
    (void)grace;
    struct worker *w = (struct worker *)s;
    if (w->status.fd < 0) {
        s->output[0].done = true; /* only its output was left, which waits for credit */
        finish(w);
    } else if (!w->cancelled) {
        w->cancelled = true;
        kill(w->pid, SIGTERM); /* it removes what is half-written */
        s->deadline = now_ms(CLOCK_MONOTONIC) + PATIENCE;
        s->output[0].done = true;
        watch_close(&s->output[0].watch);
    }
}

static void worker_expire(struct stream *s)
{
    kill(((struct worker *)s)->pid, SIGKILL);
}

static void worker_release(struct stream *s)
{
    struct worker *w = (struct worker *)s;
    watch_close(&w->status);
    buf_free(&w->result);
    children_expect();
}

static const struct stream_type worker_type = {
    .input = worker_input,
    .input_end = worker_input_end,
    .output_end = worker_output_end,
    .input_done = worker_input_done,
    .cancel = worker_cancel,
    .expire = worker_expire,
    .release = worker_release,
};

static _Noreturn void work(const struct operation *o, const struct request *r, int in, int out, int status,
                           pid_t parent)
{
    struct buf result = {0};
    struct failure f = {0};
    uint8_t type = FRAME_END;
    int keep[] = {0, 1, 2, workdir_fd, out, status, in};
    close_except(keep, in >= 0 ? 7 : 6);
    prctl(PR_SET_NAME, "samebox-work");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    buf_add(&result, &type, 1);
    job_run(o->tree, r, in, out, &result, &f);
    if (f.err) {
        result.data[0] = FRAME_ERROR;
        result.len = 1;
        rec_failure(&result, &f);
    }
    close(out);
    write_all(status, result.data, result.len);
    _exit(0);
}

/* A CANCEL may come before the worker has its handler for SIGTERM, which it inherits as ignored: blocked, the signal
 * waits for it. */
static pid_t fork_worker(void)
{
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigprocmask(SIG_BLOCK, &end, NULL);
    pid_t pid = fork();
    if (pid != 0)
        sigprocmask(SIG_UNBLOCK, &end, NULL);
    return pid;
}

static void close_all(int *fds, int count)
{
    for (int i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

void worker_open(uint32_t id, const struct operation *o, struct request *r)
{
    /* Readers and writers of output, status and input, in this order. */
    int fds[6] = {-1, -1, -1, -1, -1, -1};
    pid_t pid = -1, parent = getpid();
    if (pipe2(fds, O_CLOEXEC) == 0 && pipe2(fds + 2, O_CLOEXEC) == 0 &&
        (!o->tree_input || pipe2(fds + 4, O_CLOEXEC) == 0))
        pid = fork_worker();
    if (pid == 0)
        work(o, r, fds[4], fds[1], fds[3], parent);
    if (pid < 0) {
        struct failure f;
        fail(&f, errno, "spawn", r->path);
        connection_send_failure(id, &f);
        close_all(fds, 6);
        return;
    }
    close_all((int[]){fds[1], fds[3], fds[4]}, 3);
    struct worker *w = allocate(sizeof *w);
    stream_register(&w->stream, id, &worker_type, r);
    w->pid = pid;
    w->status = (struct watch){.fd = fds[2], .ready = status_ready, .owner = w};
    bool watched = set_nonblocking(fds[2]) && watch_set(&w->status, EPOLLIN) &&
                   source_attach(&w->stream.output[0], fds[0], stream_credit(&w->stream));
    if (o->tree_input)
        watched &= sink_attach(&w->stream.input, fds[5]);
    if (!watched) {
        struct failure f;
        fail(&f, errno, "spawn", w->stream.request.path);
        kill(pid, SIGKILL);
        stream_fail(&w->stream, &f);
    }
}
