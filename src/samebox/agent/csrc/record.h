/* Records: fields of a u8 tag, a u32 length, the bytes (protocol.md, section 2). */
#ifndef SAMEBOX_RECORD_H
#define SAMEBOX_RECORD_H

#include "buffer.h"

void rec_bytes(struct buf *b, int tag, const void *data, size_t len);
void rec_str(struct buf *b, int tag, const char *s);
void rec_num(struct buf *b, int tag, int64_t value);

#endif
