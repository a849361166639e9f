/* Small things that several file operations need. */
#ifndef SAMEBOX_FILEUTIL_H
#define SAMEBOX_FILEUTIL_H

#include "buffer.h"
#include "resolve.h"

#include <sys/stat.h>

#define UMASK 022

/* The fields of STAT and of entries. `dir` and `name` are where a link's target is read from. */
void rec_stat(struct buf *b, const struct stat *st, int dir, const char *name);
void rec_mtime(struct buf *b, const struct stat *st);

bool same_file(const struct stat *a, const struct stat *b);

/* Whether the directory `fd` or one above it is `st`. */
bool is_within(int fd, const struct stat *st);

/* Whether `st` is the workdir, a directory above it, or the confinement's root. */
bool is_protected(const struct place *p, const struct stat *st);

/* chmod of what an O_PATH descriptor stands for. The path is where it was found, for systems without /proc. */
bool chmod_fd(int fd, mode_t mode, const struct place *p, const char *path);

/* rename that fails with EEXIST where something is there; by two steps on file systems that can't do it in one. */
bool rename_new(int from_dir, const char *from, int to_dir, const char *to);

/* A name for a temporary file. */
#define TEMP_NAME_SIZE 26
void temp_name(char name[TEMP_NAME_SIZE]);

/* Makes a link in place of a file or link. */
bool link_over(const char *target, int dir, const char *name);

/* malloced; NULL and errno if it isn't a link. */
char *read_link(int dir, const char *name);

#endif
