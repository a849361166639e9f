/* The connection to the host: frames in, frames out, and a bounded queue of what is to be sent. */
#ifndef SAMEBOX_CONNECTION_H
#define SAMEBOX_CONNECTION_H

#include "buffer.h"
#include "failure.h"
#include "protocol.h"

#include <stdbool.h>
#include <stdint.h>

#define CHUNK (64 * 1024) /* bytes in a DATA frame at most, well below what the host takes */

/* Takes over the descriptors (which may be one and the same). `take` is handed every frame of the host that is
 * well-formed as such. */
bool connection_start(int in, int out, void (*take)(int type, uint32_t stream, const uint8_t *payload, size_t len));
bool connection_lost(void);
bool connection_refused(void);
/* After an ERROR on stream 0 the connection reads no more, and is lost when that is written. */
void connection_refuse_with(const struct buf *record);
void connection_refuse(int err, const char *kind, const char *path, const char *message);
/* Refuses a frame. */
void connection_malformed(const char *message);
void connection_send(enum frame type, uint32_t stream, const void *payload, size_t len);
void connection_send_failure(uint32_t stream, const struct failure *f);
/* Room for a DATA frame's bytes, then what of it was used (0: no frame after all). */
uint8_t *connection_data_begin(size_t room);
void connection_data_end(uint32_t stream, int channel, size_t len);
/* When the host has said something last: CLOCK_MONOTONIC, ms. */
int64_t connection_heard(void);
bool connection_congested(void);
/* Whether congestion has ended since this was asked last. */
bool connection_relieved(void);
void connection_flush(void);

#endif
