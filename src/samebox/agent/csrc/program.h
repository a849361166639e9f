/* Finding a program and becoming it; safe after vfork. */
#ifndef SAMEBOX_PROGRAM_H
#define SAMEBOX_PROGRAM_H

#include <stddef.h>

/* Becomes the program, or returns errno. `found` says what was found where, for program_complain; it is cut to fit. */
int program_run(char *const *argv, char *const *env, char *found, size_t size);
/* Writes on stderr why it was not run, and returns the exit code for that. */
int program_complain(const char *name, int err, const char *found);

#endif
