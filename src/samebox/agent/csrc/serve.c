/* agent serve: what the frames of the host mean, and the loop around it. */
#include "serve.h"

#include "buffer.h"
#include "connection.h"
#include "drain.h"
#include "failure.h"
#include "files.h"
#include "loop.h"
#include "process.h"
#include "proctree.h"
#include "protocol.h"
#include "record.h"
#include "sha256.h"
#include "source.h"
#include "stream.h"
#include "workdir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct server server;

#define MAX_STREAMS 4096

static bool greeted;
static uint32_t requests;

static void malformed(const char *message)
{
    connection_refuse(EPROTO, NULL, NULL, message);
}

/* --- HELLO --- */

static void add_digest(struct buf *record)
{
    uint8_t digest[32];
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    sha256_file(fd, digest);
    close(fd);
    rec_bytes(record, TAG_DIGEST, digest, sizeof digest);
}

static void welcome(const struct request *r)
{
    struct buf record = {0};
    rec_num(&record, TAG_VERSION, PROTOCOL_VERSION);
    rec_num(&record, TAG_PID, getpid());
    rec_num(&record, TAG_UID, (int64_t)geteuid());
    rec_num(&record, TAG_GID, (int64_t)getegid());
    if (r->want_digest)
        add_digest(&record);
    connection_send(FRAME_WELCOME, 0, record.data, record.len);
    buf_free(&record);
}

static void refuse_version(void)
{
    struct buf record = {0};
    struct failure f;
    fail(&f, EPROTO, NULL, NULL);
    snprintf(f.message, sizeof f.message, "no protocol version in common");
    rec_num(&record, TAG_VERSION_MIN, PROTOCOL_VERSION);
    rec_num(&record, TAG_VERSION_MAX, PROTOCOL_VERSION);
    rec_failure(&record, &f);
    connection_refuse_with(&record);
    buf_free(&record);
}

static void hello(const uint8_t *payload, size_t len)
{
    struct request r;
    int err = request_decode(&r, OP_HELLO, payload, len);
    char *none[] = {NULL};
    if (err)
        malformed("malformed HELLO");
    else if (r.version_min > PROTOCOL_VERSION || r.version_max < PROTOCOL_VERSION)
        refuse_version();
    else if (!environment_valid(r.env))
        connection_refuse(EINVAL, NULL, NULL, "env is not NAME=value");
    else if ((err = workdir_begin(r.workdir)))
        connection_refuse(err, "cwd", r.workdir, NULL);
    else {
        server.env = environment_merge(r.clear_env ? none : environ, r.env);
        greeted = true;
        requests++;
        welcome(&r);
    }
    if (!greeted)
        request_free(&r); /* else server.env points into it, for good */
    else
        server.hello = r;
}

/* --- OPEN --- */

static bool relative(const char *path)
{
    return path && path[0] != '/';
}

/* Where the operation depends on the workdir, it must be there. */
static bool needs_workdir(const struct request *r)
{
    if (r->op == OP_EXEC)
        return !r->cwd || relative(r->cwd);
    return relative(r->path) || relative(r->root) || relative(r->destination);
}

static int check_request(const struct request *r)
{
    if (r->window >= 0 && (r->window < 1024 || r->window > 16 * 1024 * 1024))
        return EINVAL;
    if (stream_count() >= MAX_STREAMS)
        return EAGAIN;
    int err = workdir_enter();
    if (err && needs_workdir(r))
        return err;
    if (!err && (r->op == OP_REMOVE || r->op == OP_MOVE))
        workdir_open(); /* it is what they must not remove */
    return 0;
}

static void do_file_op(uint32_t id, struct request *r)
{
    struct buf record = {0};
    struct failure f = {0};
    if (!file_op(r, &record, &f))
        worker_open(id, r);
    else if (f.err)
        connection_send_failure(id, &f);
    else
        connection_send(FRAME_END, id, record.data, record.len);
    buf_free(&record);
}

static void open_stream(uint32_t id, struct request *r)
{
    switch (r->op) {
    case OP_EXEC: exec_open(id, r); break;
    case OP_READ: read_open(id, r); break;
    case OP_WRITE: write_open(id, r); break;
    case OP_CONNECT: connect_open(id, r); break;
    default: do_file_op(id, r); break;
    }
}

static void frame_open(uint32_t id, const uint8_t *payload, size_t len)
{
    if (id == 0 || len < 1 || stream_find(id)) {
        malformed("malformed OPEN");
        return;
    }
    struct request r = {0};
    int err = payload[0] == OP_HELLO ? EPROTO : request_decode(&r, payload[0], payload + 1, len - 1);
    requests++;
    struct failure f;
    if (err < 0) {
        malformed("malformed record");
    } else if (err) {
        bool known = err != EPROTO;
        fail(&f, err, NULL, NULL);
        snprintf(f.message, sizeof f.message, "operation %d: %s", payload[0],
                 known ? "a value that is not valid" : "it or a field is not known, or a field is lacking");
        connection_send_failure(id, &f);
    } else if ((err = check_request(&r))) {
        bool workdir = err != EINVAL && err != EAGAIN;
        fail(&f, err, workdir ? "cwd" : NULL, workdir ? workdir_path : NULL);
        connection_send_failure(id, &f);
    } else {
        open_stream(id, &r);
    }
    request_free(&r);
}

/* --- the other frames --- */

static void frame_data(struct stream *s, const uint8_t *payload, size_t len)
{
    if (len < 2 || payload[0] != 0) {
        malformed("malformed DATA");
        return;
    }
    if (!s)
        return;
    if (s->input.ended || (int64_t)(len - 1) > s->input.window) {
        malformed("DATA beyond the window");
        return;
    }
    s->input.window -= (int64_t)(len - 1);
    s->type->input(s, payload + 1, len - 1);
}

static void frame_eof(struct stream *s, const uint8_t *payload, size_t len)
{
    if (len != 1 || payload[0] != 0)
        malformed("malformed EOF");
    else if (s && s->type->input_end && !s->input.ended)
        s->type->input_end(s);
}

static void frame_credit(struct stream *s, const uint8_t *payload, size_t len)
{
    if (len != 5 || payload[0] < 1 || payload[0] > 2)
        malformed("malformed CREDIT");
    else if (s)
        source_credit(&s->output[payload[0] - 1], get_u32(payload + 1));
}

static void frame_signal(struct stream *s, const uint8_t *payload, size_t len)
{
    uint32_t number = len == 4 ? get_u32(payload) : 0;
    if (number < 1 || number >= NSIG)
        malformed("malformed SIGNAL");
    else if (s && s->type->signal)
        s->type->signal(s, (int)number);
}

static void frame_resize(struct stream *s, const uint8_t *payload, size_t len)
{
    if (len != 4)
        malformed("malformed RESIZE");
    else if (s && s->type->resize)
        s->type->resize(s, payload[0] << 8 | payload[1], payload[2] << 8 | payload[3]);
}

static void frame_cancel(struct stream *s, const uint8_t *payload, size_t len)
{
    if (len != 0 && len != 4)
        malformed("malformed CANCEL");
    else if (s)
        s->type->cancel(s, len ? (int64_t)get_u32(payload) : -1);
}

static void take_frame(int type, uint32_t id, const uint8_t *payload, size_t len)
{
    if (greeted == (type == FRAME_HELLO) || (id == 0) != (type == FRAME_HELLO || type == FRAME_PING)) {
        malformed(greeted ? "unexpected frame" : "the first frame is not HELLO");
        return;
    }
    struct stream *s = stream_find(id);
    switch (type) {
    case FRAME_HELLO: hello(payload, len); break;
    case FRAME_OPEN: frame_open(id, payload, len); break;
    case FRAME_DATA: frame_data(s, payload, len); break;
    case FRAME_EOF: frame_eof(s, payload, len); break;
    case FRAME_CREDIT: frame_credit(s, payload, len); break;
    case FRAME_SIGNAL: frame_signal(s, payload, len); break;
    case FRAME_RESIZE: frame_resize(s, payload, len); break;
    case FRAME_CANCEL: frame_cancel(s, payload, len); break;
    case FRAME_PING:
        if (len <= 64)
            connection_send(FRAME_PONG, 0, payload, len);
        else
            malformed("malformed PING");
        break;
    default: malformed("unknown frame"); break;
    }
}

/* --- the loop --- */

/* init, which may belong to another user, reads in the process name whether anything is being done (protocol.md,
 * section 8). */
static void publish(void)
{
    static uint32_t shown = UINT32_MAX;
    static bool shown_busy;
    bool busy = stream_count() > 0;
    if (shown == requests && shown_busy == busy)
        return;
    char name[16];
    snprintf(name, sizeof name, "samebox%c%07x", busy ? '+' : '-', requests & 0xfffffff);
    prctl(PR_SET_NAME, name);
    shown = requests;
    shown_busy = busy;
}

static void reap(void)
{
    while (server.exiting > 0 && waitpid(-1, NULL, WNOHANG) > 0)
        server.exiting--;
}

static void cancel_all(void)
{
    for (struct stream *s = stream_first(), *next; s; s = next) {
        next = s->next;
        s->type->cancel(s, -1);
    }
    streams_resume();
}

static int at_most(int timeout, int limit)
{
    return timeout < 0 || timeout > limit ? limit : timeout;
}

/* One round: waits for `timeout` ms at most, does what is due, and sends the answers; returns the next round's
 * timeout. */
static int turn(int timeout)
{
    publish();
    loop_wait(timeout);
    bool more = reads_continue();
    timeout = streams_expire();
    connection_flush();
    if (connection_relieved()) {
        streams_resume();
        more = true;
    }
    streams_bury();
    drains_bury();
    reap();
    if (server.exiting > 0 || connection_refused())
        timeout = at_most(timeout, 100);
    return more ? 0 : timeout;
}

/* An agent that comes and goes between two of init's looks has been there all the same. */
static void tell_init(void)
{
    struct proc first;
    if (proc_read(&first, 1) && strcmp(first.name, "samebox-init") == 0)
        kill(1, SIGUSR1);
}

/* An exec by runc before 1.1.13 sometimes has its soft limit raised by Go, up to the hard one; what was asked for is
 * init's. https://github.com/opencontainers/runc/issues/4195 */
static void take_inits_limit(struct rlimit *limit)
{
    struct proc first;
    char text[2048], *line, *end;
    if (!proc_read(&first, 1) || strcmp(first.name, "samebox-init") != 0)
        return;
    int fd = open("/proc/1/limits", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[len > 0 ? len : 0] = 0;
    if (!(line = strstr(text, "Max open files")))
        return;
    rlim_t soft = strtoul(line + strlen("Max open files"), &end, 10);
    if (soft > 0 && soft < limit->rlim_cur && strtoul(end, NULL, 10) == limit->rlim_max)
        limit->rlim_cur = soft;
}

/* Each stream takes some descriptors; commands get back the limit that the sandbox began with. */
static void raise_limit(void)
{
    if (getrlimit(RLIMIT_NOFILE, &server.files) == 0) {
        take_inits_limit(&server.files);
        struct rlimit more = server.files;
        more.rlim_cur = more.rlim_max < 65536 ? more.rlim_max : 65536;
        if (more.rlim_cur > server.files.rlim_cur)
            setrlimit(RLIMIT_NOFILE, &more);
    }
}

int serve(int in, int out)
{
    signals_ignore();
    umask(022);
    /* Sandboxed code of the same user may neither trace us nor take our descriptors. What we look up in our own
     * /proc/self stays open to us, and to runtimes that enter a container, which have CAP_SYS_PTRACE over it. */
    prctl(PR_SET_DUMPABLE, 0);
    raise_limit();
    if (!loop_start() || !connection_start(in, out, take_frame))
        return 71;
    for (int timeout = -1; !connection_lost();)
        timeout = turn(timeout);
    cancel_all();
    tell_init();
    for (int timeout = 0; stream_count() || drain_count();)
        timeout = turn(timeout);
    return 0;
}
