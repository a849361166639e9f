/* What the frames of the host mean. */
#ifndef SAMEBOX_DISPATCH_H
#define SAMEBOX_DISPATCH_H

#include <stddef.h>
#include <stdint.h>

/* Does what a frame says. */
void dispatch_frame(int type, uint32_t id, const uint8_t *payload, size_t len);

#endif
