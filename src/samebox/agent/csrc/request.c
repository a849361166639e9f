/* The decoding of requests (protocol.md, section 2). */
#include "request.h"

#include "buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum field_type { NUMBER = 1, BOOLEAN, STRING, LIST };

struct field {
    enum field_type type;
    size_t offset; /* in struct request */
};

#define MEMBER(type, member) {type, offsetof(struct request, member)}
static const struct field fields[64] = {
    [TAG_VERSION_MIN] = MEMBER(NUMBER, version_min), [TAG_VERSION_MAX] = MEMBER(NUMBER, version_max),
    [TAG_WORKDIR] = MEMBER(STRING, workdir),         [TAG_ENV] = MEMBER(LIST, env),
    [TAG_ARGV] = MEMBER(LIST, argv),                 [TAG_CWD] = MEMBER(STRING, cwd),
    [TAG_TIMEOUT] = MEMBER(NUMBER, timeout),         [TAG_GRACE] = MEMBER(NUMBER, grace),
    [TAG_TTY] = MEMBER(BOOLEAN, tty),                [TAG_ROWS] = MEMBER(NUMBER, rows),
    [TAG_COLUMNS] = MEMBER(NUMBER, columns),         [TAG_WINDOW] = MEMBER(NUMBER, window),
    [TAG_CLEAR_ENV] = MEMBER(BOOLEAN, clear_env),    [TAG_PATH] = MEMBER(STRING, path),
    [TAG_ROOT] = MEMBER(STRING, root),               [TAG_FLAGS] = MEMBER(NUMBER, flags),
    [TAG_LIMIT] = MEMBER(NUMBER, limit),             [TAG_OFFSET] = MEMBER(NUMBER, offset),
    [TAG_DESTINATION] = MEMBER(STRING, destination), [TAG_PATTERN] = MEMBER(STRING, pattern),
    [TAG_SIZE] = MEMBER(NUMBER, size),               [TAG_MODE] = MEMBER(NUMBER, mode),
    [TAG_TARGET] = MEMBER(STRING, target),           [TAG_WANT_DIGEST] = MEMBER(BOOLEAN, want_digest),
    [TAG_IGNORE_CASE] = MEMBER(BOOLEAN, ignore_case), [TAG_FIXED] = MEMBER(BOOLEAN, fixed),
    [TAG_HOST] = MEMBER(STRING, host),               [TAG_PORT] = MEMBER(NUMBER, port),
    [TAG_DEPTH] = MEMBER(NUMBER, depth),             [TAG_INCLUDE] = MEMBER(LIST, include),
};

struct reader {
    const uint8_t *p;
    size_t left;
};

static void *member(struct request *q, const struct field *field)
{
    return (char *)q + field->offset;
}

/* 1: a field, 0: the end, -1: malformed. */
static int next_field(struct reader *r, int *tag, const uint8_t **data, size_t *len)
{
    if (r->left == 0)
        return 0;
    if (r->left < 5 || get_u32(r->p + 1) > r->left - 5)
        return -1;
    *tag = r->p[0];
    *len = get_u32(r->p + 1);
    *data = r->p + 5;
    r->p += 5 + *len;
    r->left -= 5 + *len;
    return 1;
}

static int set_number(struct request *q, const struct field *field, const uint8_t *data, size_t len)
{
    if (len != 8)
        return EPROTO;
    int64_t value = (int64_t)((uint64_t)get_u32(data) << 32 | get_u32(data + 4));
    if (value < 0 || (field->type == BOOLEAN && value > 1))
        return EINVAL;
    if (field->type == BOOLEAN)
        *(bool *)member(q, field) = value == 1;
    else
        *(int64_t *)member(q, field) = value;
    return 0;
}

static int set_string(struct request *q, const struct field *field, const uint8_t *data, size_t len, char **text)
{
    if (memchr(data, 0, len))
        return EINVAL;
    memcpy(*text, data, len);
    (*text)[len] = 0;
    if (field->type == LIST) {
        char ***list = member(q, field);
        *(*list)++ = *text;
    } else {
        *(char **)member(q, field) = *text;
    }
    *text += len + 1;
    return 0;
}

static int decode_fields(struct request *q, const struct form *form, struct reader r, char *text)
{
    uint64_t seen = 0;
    int tag, err = 0;
    const uint8_t *data;
    size_t len;
    while (!err && next_field(&r, &tag, &data, &len) > 0) {
        uint64_t bit = tag < 64 ? UINT64_C(1) << tag : 0;
        const struct field *field = &fields[tag & 63];
        if (!(form->known & bit) || ((seen & bit) && field->type != LIST))
            return EPROTO;
        seen |= bit;
        bool number = field->type == NUMBER || field->type == BOOLEAN;
        err = number ? set_number(q, field, data, len) : set_string(q, field, data, len, &text);
    }
    if (!err && (form->needed & ~seen))
        err = EPROTO;
    if (!err && (q->flags & ~form->flags))
        err = EINVAL;
    return err;
}

int request_decode(struct request *q, const struct form *form, const uint8_t *data, size_t len)
{
    size_t counts[3] = {0}; /* of argv, env and include */
    struct reader r = {data, len};
    const uint8_t *value;
    size_t value_len;
    int tag, more;
    *q = (struct request){.limit = -1, .offset = -1, .mode = -1, .size = -1, .depth = -1, .timeout = -1, .grace = -1,
                          .rows = -1, .columns = -1, .port = -1, .window = -1, .version_min = -1, .version_max = -1};
    while ((more = next_field(&r, &tag, &value, &value_len)) > 0)
        counts[0] += tag == TAG_ARGV, counts[1] += tag == TAG_ENV, counts[2] += tag == TAG_INCLUDE;
    /* The lists, then the text: no longer than the record, as each field has a head of five bytes. */
    q->memory = allocate((counts[0] + counts[1] + counts[2] + 3) * sizeof(char *) + len);
    q->argv = q->memory;
    q->env = q->argv + counts[0] + 1;
    q->include = q->env + counts[1] + 1;
    char **lists[] = {q->argv, q->env, q->include};
    int err = more < 0 ? -1 : EPROTO;
    if (more == 0 && form)
        err = decode_fields(q, form, (struct reader){data, len}, (char *)(q->include + counts[2] + 1));
    q->argv = lists[0]; /* decoding moved them along */
    q->env = lists[1];
    q->include = lists[2];
    return err;
}

void request_free(struct request *q)
{
    free(q->memory);
    q->memory = NULL;
}
