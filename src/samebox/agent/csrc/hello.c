/* HELLO: how a connection begins. */
#include "hello.h"

#include "buffer.h"
#include "connection.h"
#include "environment.h"
#include "failure.h"
#include "home.h"
#include "presence.h"
#include "protocol.h"
#include "record.h"
#include "request.h"
#include "sha256.h"
#include "workdir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

static const struct form form = {
    .known = FIELD(VERSION_MIN) | FIELD(VERSION_MAX) | FIELD(WORKDIR) | FIELD(ENV) | FIELD(WANT_DIGEST) |
             FIELD(CLEAR_ENV),
    .needed = FIELD(VERSION_MIN) | FIELD(VERSION_MAX),
};

bool hello_take(const uint8_t *payload, size_t len)
{
    static struct request r; /* the environment points into it, for good */
    bool greeted = false;
    int err = request_decode(&r, &form, payload, len);
    char *none[] = {NULL};
    if (err)
        connection_malformed("malformed HELLO");
    else if (r.version_min > PROTOCOL_VERSION || r.version_max < PROTOCOL_VERSION)
        refuse_version();
    else if (!environment_valid(r.env))
        connection_refuse(EINVAL, NULL, NULL, "env is not NAME=value");
    else if ((err = workdir_begin(r.workdir)))
        connection_refuse(err, "cwd", r.workdir, NULL);
    else {
        char **own = home_add(environment_merge(r.clear_env ? none : environ, none));
        environment_base = environment_merge(own, r.env);
        free(own);
        greeted = true;
        presence_count();
        welcome(&r);
    }
    if (!greeted)
        request_free(&r);
    return greeted;
}
