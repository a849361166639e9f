/* The writing of records. */
#include "record.h"

#include <string.h>

void rec_bytes(struct buf *b, int tag, const void *data, size_t len)
{
    uint8_t head[5] = {(uint8_t)tag};
    put_u32(head + 1, (uint32_t)len);
    buf_add(b, head, sizeof head);
    buf_add(b, data, len);
}

void rec_str(struct buf *b, int tag, const char *s)
{
    rec_bytes(b, tag, s, strlen(s));
}

void rec_num(struct buf *b, int tag, int64_t value)
{
    uint8_t bytes[8];
    put_u32(bytes, (uint32_t)((uint64_t)value >> 32));
    put_u32(bytes + 4, (uint32_t)value);
    rec_bytes(b, tag, bytes, sizeof bytes);
}
