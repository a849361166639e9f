#ifndef SAMEBOX_READWRITE_H
#define SAMEBOX_READWRITE_H

#include "agent.h"

/* Begins an atomic write of NAME in the directory `dir`, replacing what is there, a link too (exclusive: nothing may
 * be). */
bool write_begin(struct file_write *w, int dir, const char *name, mode_t mode, bool exclusive, const char *path,
                 struct failure *f);

/* For a worker, which has one write at a time: SIGTERM, which may be blocked until then, ends the process, but
 * removes its temporary file. */
void write_guard(void);

#endif
