/* Memory, growing buffers and numbers as bytes. When memory runs out the process ends with a message, as there is
 * nobody to tell. */
#ifndef SAMEBOX_BUFFER_H
#define SAMEBOX_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;
    size_t len, cap;
};
void buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *data, size_t len);
void buf_free(struct buf *b);

/* Zeroed memory. */
void *allocate(size_t size);

/* Big-endian, as all numbers of the protocol. */
void put_u32(uint8_t *p, uint32_t value);
uint32_t get_u32(const uint8_t *p);

#endif
