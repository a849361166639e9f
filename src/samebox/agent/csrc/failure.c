/* Failures and their records. */
#include "failure.h"

#include "protocol.h"
#include "record.h"

#include <string.h>

void fail(struct failure *f, int err, const char *kind, const char *path)
{
    f->err = err;
    f->kind = kind;
    f->size = -1;
    f->message[0] = 0;
    size_t len = path ? strnlen(path, sizeof f->path - 1) : 0;
    if (len)
        memcpy(f->path, path, len);
    f->path[len] = 0;
}

void rec_failure(struct buf *b, const struct failure *f)
{
    rec_num(b, TAG_ERRNO, f->err);
    rec_str(b, TAG_MESSAGE, f->message[0] ? f->message : strerror(f->err));
    if (f->path[0])
        rec_str(b, TAG_PATH, f->path);
    if (f->kind)
        rec_str(b, TAG_KIND, f->kind);
    if (f->size >= 0)
        rec_num(b, TAG_SIZE, f->size);
}
