/* Handing the next command to a supervisor that has done with its last one. */
#ifndef SAMEBOX_HANDOVER_H
#define SAMEBOX_HANDOVER_H

#include "command.h"

/* Gives a free supervisor its next command; false if that is too large, or the supervisor is gone. */
bool command_hand_over(const struct command *c, int link);
/* In the supervisor: waits for the next one, which changes what differs in *c, until the next call; false: there is
 * none. */
bool command_take_over(struct command *c);

#endif
