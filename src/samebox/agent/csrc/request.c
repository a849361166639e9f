/* The decoding of requests (protocol.md, section 2). */
#include "request.h"

#include "buffer.h"
#include "protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum field_type { NUMBER = 1, BOOLEAN, STRING, LIST };

struct field {
    enum field_type type;
    size_t offset; /* in struct request */
};

#define FIELD(type, member) {type, offsetof(struct request, member)}
static const struct field fields[64] = {
    [TAG_VERSION_MIN] = FIELD(NUMBER, version_min), [TAG_VERSION_MAX] = FIELD(NUMBER, version_max),
    [TAG_WORKDIR] = FIELD(STRING, workdir),         [TAG_ENV] = FIELD(LIST, env),
    [TAG_ARGV] = FIELD(LIST, argv),                 [TAG_CWD] = FIELD(STRING, cwd),
    [TAG_TIMEOUT] = FIELD(NUMBER, timeout),         [TAG_GRACE] = FIELD(NUMBER, grace),
    [TAG_TTY] = FIELD(BOOLEAN, tty),                [TAG_ROWS] = FIELD(NUMBER, rows),
    [TAG_COLUMNS] = FIELD(NUMBER, columns),         [TAG_WINDOW] = FIELD(NUMBER, window),
    [TAG_CLEAR_ENV] = FIELD(BOOLEAN, clear_env),    [TAG_PATH] = FIELD(STRING, path),
    [TAG_ROOT] = FIELD(STRING, root),               [TAG_FLAGS] = FIELD(NUMBER, flags),
    [TAG_LIMIT] = FIELD(NUMBER, limit),             [TAG_OFFSET] = FIELD(NUMBER, offset),
    [TAG_DESTINATION] = FIELD(STRING, destination), [TAG_PATTERN] = FIELD(STRING, pattern),
    [TAG_SIZE] = FIELD(NUMBER, size),               [TAG_MODE] = FIELD(NUMBER, mode),
    [TAG_TARGET] = FIELD(STRING, target),           [TAG_WANT_DIGEST] = FIELD(BOOLEAN, want_digest),
    [TAG_IGNORE_CASE] = FIELD(BOOLEAN, ignore_case), [TAG_FIXED] = FIELD(BOOLEAN, fixed),
    [TAG_HOST] = FIELD(STRING, host),               [TAG_PORT] = FIELD(NUMBER, port),
    [TAG_DEPTH] = FIELD(NUMBER, depth),             [TAG_INCLUDE] = FIELD(LIST, include),
};

#define T(tag) (UINT64_C(1) << TAG_##tag)
/* Which fields and flags an operation knows, and which fields it can't do without. */
static const struct {
    uint64_t known, needed;
    int64_t flags;
} operations[] = {
    [OP_HELLO] = {T(VERSION_MIN) | T(VERSION_MAX) | T(WORKDIR) | T(ENV) | T(WANT_DIGEST) | T(CLEAR_ENV),
                  T(VERSION_MIN) | T(VERSION_MAX), 0},
    [OP_EXEC] = {T(ARGV) | T(ENV) | T(CWD) | T(TIMEOUT) | T(GRACE) | T(TTY) | T(ROWS) | T(COLUMNS) | T(WINDOW) |
                     T(FLAGS),
                 T(ARGV), 3},
    [OP_READ] = {T(PATH) | T(ROOT) | T(OFFSET) | T(LIMIT) | T(WINDOW) | T(FLAGS), T(PATH), 1},
    [OP_WRITE] = {T(PATH) | T(ROOT) | T(MODE) | T(FLAGS) | T(SIZE), T(PATH), 7},
    [OP_STAT] = {T(PATH) | T(ROOT) | T(FLAGS), T(PATH), 1},
    [OP_LIST] = {T(PATH) | T(ROOT) | T(WINDOW), T(PATH), 0},
    [OP_MAKE_DIR] = {T(PATH) | T(ROOT) | T(MODE) | T(FLAGS), T(PATH), 3},
    [OP_REMOVE] = {T(PATH) | T(ROOT) | T(FLAGS), T(PATH), 3},
    [OP_MOVE] = {T(PATH) | T(DESTINATION) | T(ROOT) | T(FLAGS), T(PATH) | T(DESTINATION), 1},
    [OP_COPY] = {T(PATH) | T(DESTINATION) | T(ROOT) | T(FLAGS), T(PATH) | T(DESTINATION), 3},
    [OP_CHMOD] = {T(PATH) | T(ROOT) | T(MODE) | T(FLAGS), T(PATH) | T(MODE), 1},
    [OP_REALPATH] = {T(PATH) | T(ROOT), T(PATH), 0},
    [OP_SYMLINK] = {T(PATH) | T(TARGET) | T(ROOT) | T(FLAGS), T(PATH) | T(TARGET), 1},
    [OP_READLINK] = {T(PATH) | T(ROOT), T(PATH), 0},
    [OP_WALK] = {T(PATH) | T(ROOT) | T(PATTERN) | T(DEPTH) | T(FLAGS) | T(LIMIT) | T(WINDOW), T(PATH), 3},
    [OP_GREP] = {T(PATH) | T(ROOT) | T(PATTERN) | T(INCLUDE) | T(IGNORE_CASE) | T(FIXED) | T(LIMIT) | T(WINDOW),
                 T(PATH) | T(PATTERN), 0},
    [OP_PACK] = {T(PATH) | T(ROOT) | T(WINDOW), T(PATH), 0},
    [OP_UNPACK] = {T(PATH) | T(ROOT) | T(FLAGS), T(PATH), 1},
    [OP_CONNECT] = {T(HOST) | T(PORT) | T(TIMEOUT) | T(WINDOW), T(HOST) | T(PORT), 0},
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

static int decode_fields(struct request *q, struct reader r, char *text)
{
    uint64_t seen = 0;
    int tag, err = 0;
    const uint8_t *data;
    size_t len;
    while (!err && next_field(&r, &tag, &data, &len) > 0) {
        uint64_t bit = tag < 64 ? UINT64_C(1) << tag : 0;
        const struct field *field = &fields[tag & 63];
        if (!(operations[q->op].known & bit) || ((seen & bit) && field->type != LIST))
            return EPROTO;
        seen |= bit;
        bool number = field->type == NUMBER || field->type == BOOLEAN;
        err = number ? set_number(q, field, data, len) : set_string(q, field, data, len, &text);
    }
    if (!err && (operations[q->op].needed & ~seen))
        err = EPROTO;
    if (!err && (q->flags & ~operations[q->op].flags))
        err = EINVAL;
    return err;
}

int request_decode(struct request *q, int op, const uint8_t *data, size_t len)
{
    size_t counts[3] = {0}; /* of argv, env and include */
    struct reader r = {data, len};
    const uint8_t *value;
    size_t value_len;
    int tag, more;
    *q = (struct request){.op = op, .limit = -1, .offset = -1, .mode = -1, .size = -1, .depth = -1, .timeout = -1,
                          .grace = -1, .rows = -1, .columns = -1, .port = -1, .window = -1, .version_min = -1,
                          .version_max = -1};
    while ((more = next_field(&r, &tag, &value, &value_len)) > 0)
        counts[0] += tag == TAG_ARGV, counts[1] += tag == TAG_ENV, counts[2] += tag == TAG_INCLUDE;
    /* The lists, then the text: no longer than the record, as each field has a head of five bytes. */
    q->memory = allocate((counts[0] + counts[1] + counts[2] + 3) * sizeof(char *) + len);
    q->argv = q->memory;
    q->env = q->argv + counts[0] + 1;
    q->include = q->env + counts[1] + 1;
    char **lists[] = {q->argv, q->env, q->include};
    bool known = op >= 0 && op < (int)(sizeof operations / sizeof *operations) && operations[op].known;
    int err = more < 0 ? -1 : EPROTO;
    if (more == 0 && known)
        err = decode_fields(q, (struct reader){data, len}, (char *)(q->include + counts[2] + 1));
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
