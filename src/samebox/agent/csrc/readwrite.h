/* READ and WRITE: opening what they read and write, and putting what was written in its place. */
#ifndef SAMEBOX_READWRITE_H
#define SAMEBOX_READWRITE_H

#include "buffer.h"
#include "failure.h"
#include "request.h"

#include <sys/types.h>

/* READ: returns a descriptor positioned at the offset, or -1; adds the REPLY record; *remaining is how much may be
 * sent (INT64_MAX: up to the end of the file). The loop reads until EOF and fails with EFBIG past the limit (files
 * in /proc have no size). With a limit *remaining is the limit; when that much was sent and flag 1 is not set, one
 * more byte means EFBIG. The descriptor is O_NONBLOCK: EAGAIN is an error like others. */
int file_open_read(const struct request *r, struct buf *reply, int64_t *remaining, struct failure *f);

#define WRITE_APPEND 1
#define WRITE_EXCLUSIVE 2
#define WRITE_NO_PARENTS 4

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

/* Begins an atomic write of NAME in the directory `dir`, replacing what is there, a link too (exclusive: nothing may
 * be). */
bool write_begin(struct file_write *w, int dir, const char *name, mode_t mode, bool exclusive, const char *path,
                 struct failure *f);

/* For a worker, which has one write at a time: SIGTERM, which may be blocked until then, ends the process, but
 * removes its temporary file. */
void write_guard(void);

#endif
