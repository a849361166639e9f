/* What the host asks for: a decoded HELLO or OPEN frame. */
#ifndef SAMEBOX_REQUEST_H
#define SAMEBOX_REQUEST_H

#include "protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Strings are NUL-terminated copies owned by the request; NULL or -1 when the field was absent. */
struct request {
    char *path, *root, *destination, *pattern, *target, *cwd, *host, *workdir;
    char **argv, **env, **include; /* NULL-terminated, never NULL */
    int64_t flags;                 /* 0 when absent */
    int64_t limit, offset, mode, size, depth, timeout, grace, rows, columns, port, window, version_min, version_max;
    bool tty, ignore_case, fixed, want_digest, clear_env;
    void *memory; /* what the pointers above point into */
};

/* What the requests of one operation may hold. */
struct form {
    uint64_t known, needed; /* fields; the operation can't do without the latter */
    int64_t flags;          /* bits */
};
#define FIELD(tag) (UINT64_C(1) << TAG_##tag)

/* 0, or why the request is refused (EPROTO, EINVAL); -1: not a record at all. A form of NULL: there is no such
 * operation. Frees nothing that the caller has to: request_free always. */
int request_decode(struct request *q, const struct form *form, const uint8_t *data, size_t len);
void request_free(struct request *q);

#endif
