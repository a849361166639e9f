/* File descriptors. */
#ifndef SAMEBOX_DESCRIPTOR_H
#define SAMEBOX_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>

/* Closes *fd if it is open, and leaves errno alone: for __attribute__((cleanup)). */
void close_fd(int *fd);
#define AUTO_FD __attribute__((cleanup(close_fd))) int

bool set_nonblocking(int fd);

/* A full write on a blocking descriptor; false and errno on error. */
bool write_all(int fd, const void *data, size_t len);

#endif
