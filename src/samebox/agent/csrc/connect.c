/* CONNECT: a TCP connection made from inside. */
#include "connect.h"

#include "buffer.h"
#include "connection.h"
#include "failure.h"
#include "loop.h"
#include "process.h"
#include "protocol.h"
#include "request.h"
#include "sink.h"
#include "source.h"
#include "stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct connecting {
    struct stream stream;
    struct watch attempt; /* while it is being connected */
    const char *addresses[2]; /* what is left to try */
};

static void connect_fail(struct connecting *c, int err)
{
    struct failure f;
    fail(&f, err, NULL, NULL);
    const struct request *r = &c->stream.request;
    snprintf(f.message, sizeof f.message, "%s:%d: %s", r->host, (int)r->port, strerror(err));
    stream_fail(&c->stream, &f);
}

static socklen_t parse_address(const char *host, int64_t port, struct sockaddr_storage *address)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        return sizeof *v4;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        return sizeof *v6;
    }
    return 0;
}

static void end_if_complete(struct stream *s)
{
    if (s->output[0].done && s->input.ended && s->input.watch.fd < 0)
        stream_end(s, &(struct buf){0});
}

static void connect_input_done(struct stream *s)
{
    if (s->input.watch.fd >= 0)
        shutdown(s->input.watch.fd, SHUT_WR);
    sink_close(&s->input);
    end_if_complete(s);
}

static void connected(struct connecting *c)
{
    struct stream *s = &c->stream;
    int fd = c->attempt.fd, on = 1, reader = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (reader < 0) {
        connect_fail(c, errno);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    s->deadline = -1;
    watch_set(&c->attempt, 0);
    c->attempt.fd = -1;
    connection_send(FRAME_REPLY, s->id, NULL, 0);
    /* Two descriptors of one socket, as each direction is watched for itself. */
    bool attached = sink_attach(&s->input, fd);
    if (!source_attach(&s->output[0], reader, stream_credit(s)) || !attached)
        connect_fail(c, errno);
    else if (s->input.ended)
        connect_input_done(s);
}

/* Begins an attempt; 0 or errno. */
static int attempt(struct connecting *c, const char *host)
{
    struct sockaddr_storage address;
    socklen_t len = parse_address(host, c->stream.request.port, &address);
    if (len == 0)
        return EINVAL;
    c->attempt.fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->attempt.fd < 0)
        return errno;
    if (connect(c->attempt.fd, (struct sockaddr *)&address, len) == 0 || errno == EINPROGRESS)
        return watch_set(&c->attempt, EPOLLOUT) ? 0 : errno; /* a connected one is writable at once */
    return errno;
}

static void next_attempt(struct connecting *c, int err)
{
    while (c->addresses[0]) {
        const char *host = c->addresses[0];
        c->addresses[0] = c->addresses[1];
        c->addresses[1] = NULL;
        watch_close(&c->attempt);
        int failed = attempt(c, host);
        if (!failed)
            return;
        /* Where there is no IPv6 at all, what IPv4 said is what matters. */
        if (!err || (failed != EAFNOSUPPORT && failed != EADDRNOTAVAIL))
            err = failed;
    }
    connect_fail(c, err);
}

static void attempt_ready(struct watch *w, uint32_t events)
{
    (void)events;
    int err = 0;
    socklen_t len = sizeof err;
    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        err = errno;
    if (err)
        next_attempt(w->owner, err);
    else
        connected(w->owner);
}

static void connect_output_end(struct stream *s, struct source *source, int err)
{
    if (err) {
        connect_fail((struct connecting *)s, err);
        return;
    }
    uint8_t channel = (uint8_t)source->channel;
    connection_send(FRAME_EOF, s->id, &channel, 1);
    end_if_complete(s);
}

static void connect_input(struct stream *s, const uint8_t *data, size_t len)
{
    sink_write(&s->input, data, len);
}

static void connect_input_end(struct stream *s)
{
    if (((struct connecting *)s)->attempt.fd >= 0)
        s->input.ended = true; /* half-closed as soon as it is connected */
    else
        sink_end(&s->input);
}

static void connect_cancel(struct stream *s, int64_t grace)
{
    (void)grace;
    connect_fail((struct connecting *)s, ECANCELED);
}

static void connect_expire(struct stream *s)
{
    connect_fail((struct connecting *)s, ETIMEDOUT);
}

static void connect_release(struct stream *s)
{
    watch_close(&((struct connecting *)s)->attempt);
}

static const struct stream_type connect_type = {
    .input = connect_input,
    .input_end = connect_input_end,
    .output_end = connect_output_end,
    .input_done = connect_input_done,
    .cancel = connect_cancel,
    .expire = connect_expire,
    .release = connect_release,
};

static void connect_open(uint32_t id, struct request *r)
{
    struct sockaddr_storage address;
    bool local = strcmp(r->host, "localhost") == 0;
    if (r->port < 1 || r->port > UINT16_MAX || (!local && parse_address(r->host, r->port, &address) == 0)) {
        struct failure f;
        fail(&f, EINVAL, NULL, NULL);
        snprintf(f.message, sizeof f.message, "host must be a numeric address or localhost, port 1 to 65535");
        connection_send_failure(id, &f);
        return;
    }
    struct connecting *c = allocate(sizeof *c);
    stream_register(&c->stream, id, &connect_type, r);
    c->attempt = (struct watch){.fd = -1, .ready = attempt_ready, .owner = c};
    c->addresses[0] = local ? "127.0.0.1" : c->stream.request.host;
    c->addresses[1] = local ? "::1" : NULL;
    if (c->stream.request.timeout >= 0)
        c->stream.deadline = now_ms(CLOCK_MONOTONIC) + c->stream.request.timeout;
    next_attempt(c, 0);
}

const struct operation connect_operation = {
    .form = {.known = FIELD(HOST) | FIELD(PORT) | FIELD(TIMEOUT) | FIELD(WINDOW), .needed = FIELD(HOST) | FIELD(PORT)},
    .open = connect_open,
};
