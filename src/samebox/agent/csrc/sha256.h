/* SHA-256 of a file. */
#ifndef SAMEBOX_SHA256_H
#define SAMEBOX_SHA256_H

#include <stdint.h>

void sha256_file(int fd, uint8_t digest[32]);

#endif
