/* HELLO: how a connection begins. */
#ifndef SAMEBOX_HELLO_H
#define SAMEBOX_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Answers HELLO; false when the connection is refused. */
bool hello_take(const uint8_t *payload, size_t len);

#endif
