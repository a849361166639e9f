/* Writing a file: into a temporary file, which then takes the place of the target, or into the target itself. */
#ifndef SAMEBOX_FILEWRITE_H
#define SAMEBOX_FILEWRITE_H

#include "failure.h"

#include <stdbool.h>
#include <sys/types.h>

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
