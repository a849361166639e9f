/* What the host asks for: a decoded HELLO or OPEN frame. */
#ifndef SAMEBOX_REQUEST_H
#define SAMEBOX_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Strings are NUL-terminated copies owned by the request; NULL or -1 when the field was absent. */
struct request {
    int op;
    char *path, *root, *destination, *pattern, *target, *cwd, *host, *workdir;
    char **argv, **env, **include; /* NULL-terminated, never NULL */
    int64_t flags;                 /* 0 when absent */
    int64_t limit, offset, mode, size, depth, timeout, grace, rows, columns, port, window, version_min, version_max;
    bool tty, ignore_case, fixed, want_digest, clear_env;
    void *memory; /* what the pointers above point into */
};
/* 0, or why the request is refused (EPROTO, EINVAL); -1: not a record at all. Frees nothing that the caller has to:
 * request_free always. */
int request_decode(struct request *q, int op, const uint8_t *data, size_t len);
void request_free(struct request *q);

#endif
