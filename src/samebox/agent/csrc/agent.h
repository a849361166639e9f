/* What the parts of the agent share: records, requests, failures and the file operations.
 * docs/protocol.md is the specification. */
#ifndef SAMEBOX_AGENT_H
#define SAMEBOX_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A growing byte buffer. buf_* end the process with a message when memory runs out, as there is nobody to tell. */
struct buf {
    uint8_t *data;
    size_t len, cap;
};
void buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *data, size_t len);
void buf_free(struct buf *b);

/* Zeroed memory; ends the process like buf_*. */
void *allocate(size_t size);

void put_u32(uint8_t *p, uint32_t value);
uint32_t get_u32(const uint8_t *p);

/* Records: fields of a u8 tag, a u32 length, the bytes (protocol.md, section 2). */
void rec_bytes(struct buf *b, int tag, const void *data, size_t len);
void rec_str(struct buf *b, int tag, const char *s);
void rec_num(struct buf *b, int tag, int64_t value);

enum op {
    OP_HELLO, OP_EXEC, OP_READ = 10, OP_WRITE, OP_STAT, OP_LIST, OP_MAKE_DIR, OP_REMOVE, OP_MOVE, OP_COPY, OP_CHMOD,
    OP_REALPATH, OP_SYMLINK, OP_READLINK, OP_WALK, OP_GREP, OP_PACK, OP_UNPACK, OP_CONNECT = 30
};

/* Field tags (protocol.md, section 2). */
enum tag {
    TAG_VERSION_MIN = 1, TAG_VERSION_MAX, TAG_VERSION, TAG_DIGEST, TAG_PID, TAG_UID, TAG_GID, TAG_WORKDIR, TAG_ENV,
    TAG_ARGV, TAG_CWD, TAG_TIMEOUT, TAG_GRACE, TAG_TTY, TAG_ROWS, TAG_COLUMNS, TAG_WINDOW, TAG_CLEAR_ENV, TAG_PATH = 20,
    TAG_ROOT, TAG_FLAGS, TAG_LIMIT, TAG_OFFSET, TAG_DESTINATION, TAG_PATTERN, TAG_ERRNO = 33, TAG_MESSAGE,
    TAG_EXIT_CODE, TAG_SIGNAL, TAG_REASON, TAG_KIND, TAG_SIZE, TAG_MODE, TAG_FILE_TYPE, TAG_MTIME, TAG_TARGET,
    TAG_INODE, TAG_LINKS, TAG_LINE, TAG_TEXT, TAG_COUNT, TAG_NAME, TAG_DEVICE, TAG_WANT_DIGEST, TAG_IGNORE_CASE,
    TAG_FIXED, TAG_HOST, TAG_PORT, TAG_DEPTH, TAG_INCLUDE
};

/* A decoded HELLO or OPEN frame. Strings are NUL-terminated copies owned by the request; NULL or -1 when the field
 * was absent. */
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

/* Why an operation failed: becomes an ERROR record. err == 0 means that it did not. */
struct failure {
    int err;
    const char *kind; /* a string constant, or NULL */
    char path[4096];  /* the path concerned, cut if it is longer */
    int64_t size;     /* -1: none */
    char message[256]; /* what to say instead of strerror(err); empty: nothing special */
};
/* Starts with *f all zero (or from an earlier failure, which it overwrites; message is emptied, size is set to -1). */
void fail(struct failure *f, int err, const char *kind, const char *path);
void rec_failure(struct buf *b, const struct failure *f);

/* The workdir as serve.c opened it (O_PATH|O_DIRECTORY); it and its ancestors are never removed. Set before any
 * operation. */
extern int workdir_fd;

/* --- files.c, resolve.c: what needs one or a few system calls, done inside the event loop --- */

/* STAT, MAKE_DIR, CHMOD, REALPATH, SYMLINK, READLINK, MOVE and REMOVE and COPY of what is not a tree. Adds the END
 * record to `out`. Returns false when the operation has to walk a tree and belongs in a worker; then nothing has
 * been done. */
bool file_op(const struct request *r, struct buf *out, struct failure *f);

/* READ: returns a descriptor positioned at the offset, or -1; adds the REPLY record; *remaining is how much may be
 * sent (INT64_MAX: up to the end of the file). The loop reads until EOF and fails with EFBIG past the limit (files
 * in /proc have no size). With a limit *remaining is the limit; when that much was sent and flag 1 is not set, one
 * more byte means EFBIG. The descriptor is O_NONBLOCK: EAGAIN is an error like others. */
int file_open_read(const struct request *r, struct buf *reply, int64_t *remaining, struct failure *f);

/* WRITE: opens the temporary file, or the target itself (append; in place). The loop writes to w->fd, then commits
 * or aborts. */
struct file_write {
    int fd;                  /* what is written to */
    int dir_fd;              /* directory of temporary file and target; -1 when written in place */
    char *temp_name, *name;  /* inside dir_fd */
    int64_t written;         /* counted by the caller */
    char *path;              /* as asked for, for failures */
    mode_t mode;             /* what the file at temp_name becomes */
    bool exclusive;          /* there must be nothing at `name` when it is committed */
};
/* commit and abort free everything, each whether it succeeds or not; call one of them once. */
bool file_open_write(const struct request *r, struct file_write *w, struct failure *f);
bool file_commit_write(struct file_write *w, struct failure *f);
void file_abort_write(struct file_write *w);

/* --- tree.c and others: whole trees, run in a forked child that may block --- */

/* LIST, WALK, GREP, PACK, UNPACK and recursive REMOVE, COPY, MOVE, CHMOD. Reads `in` (-1: none) and writes `out`
 * blocking; both are pipes or sockets. Adds the END record to `end`. The worker is ended with SIGTERM, on which it
 * removes the half-written file (tree_op installs the handler); SIGKILL works too, but leaves that. */
void tree_op(const struct request *r, int in, int out, struct buf *end, struct failure *f);

/* A full write on a blocking descriptor; false and errno on error. */
bool write_all(int fd, const void *data, size_t len);

/* sha256.c */
void sha256_file(int fd, uint8_t digest[32]);

#endif
