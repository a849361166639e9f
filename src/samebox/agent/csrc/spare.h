/* The spare supervisor: one that has done with its last command and waits for the next. */
#ifndef SAMEBOX_SPARE_H
#define SAMEBOX_SPARE_H

#include "command.h"

/* Has the spare supervisor run the command, or a new one, for which the command's link is set. Returns our end of the
 * supervisor's link, or -1 and errno. */
int supervisor_find(struct command *c);

/* Takes over our end of the link to a free supervisor; false if there is a spare one already, or this
 * one would be of no use. */
bool supervisor_keep(int link);

#endif
