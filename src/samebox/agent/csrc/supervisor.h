/* A command's supervisor, in a fork of serve. */
#ifndef SAMEBOX_SUPERVISOR_H
#define SAMEBOX_SUPERVISOR_H

#include "command.h"

/* Runs the command, and then those that are handed over. */
_Noreturn void supervise(const struct command *c);

#endif
