/* What init knows of the agents, and they of init, by process names (protocol.md, section 8). */
#ifndef SAMEBOX_PRESENCE_H
#define SAMEBOX_PRESENCE_H

#include <stdbool.h>
#include <stdint.h>

#define INIT_NAME "samebox-init"

/* Whether the first process is our init. */
bool presence_of_init(void);

/* An agent has one more request. */
void presence_count(void);
/* Shows in the agent's name how many requests there were and whether anything is being done. */
void presence_show(bool busy);
/* The agent ends. */
void presence_leave(void);
/* What a process name shows; false where that is no agent's. */
bool presence_read(const char *name, bool *busy, uint32_t *count);

#endif
