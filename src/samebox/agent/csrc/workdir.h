/* The workdir: where the paths of commands and file operations start. */
#ifndef SAMEBOX_WORKDIR_H
#define SAMEBOX_WORKDIR_H

/* The path as it was asked for, made absolute; NULL: none was. */
extern char *workdir_path;
/* O_PATH|O_DIRECTORY; the workdir and its ancestors are never removed. Set before any operation. */
extern int workdir_fd;

/* The functions return 0 or an errno. */

/* Makes the workdir with its parents if it is missing, enters and opens it. NULL: the workdir is the current
 * directory. */
int workdir_begin(const char *path);
/* Goes to where the path leads now. */
int workdir_enter(void);
/* Opens the directory that was entered. */
int workdir_open(void);

#endif
