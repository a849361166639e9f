/* The workdir: where the paths of commands and file operations start. */
#ifndef SAMEBOX_WORKDIR_H
#define SAMEBOX_WORKDIR_H

/* Its path; NULL: none was asked for. */
extern char *workdir_path;
/* O_PATH|O_DIRECTORY; the workdir and its ancestors are never removed. Set before any operation. */
extern int workdir_fd;

/* Each returns 0 or an errno. */

/* Makes the workdir with its parents if it is not there, enters it and opens it. NULL: the current directory is it. */
int workdir_begin(const char *path);
/* Goes to where the path leads now. */
int workdir_enter(void);
/* Opens anew what was entered. */
int workdir_open(void);

#endif
