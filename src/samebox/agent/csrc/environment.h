/* The environment of commands. */
#ifndef SAMEBOX_ENVIRONMENT_H
#define SAMEBOX_ENVIRONMENT_H

#include <stdbool.h>

/* What every command starts from; set before any operation. */
extern char **environment_base;

/* NAME=value of both lists, a later one of a name replacing an earlier one. One block, freed by the caller. */
char **environment_merge(char *const *base, char *const *more);
bool environment_valid(char *const *env);

#endif
