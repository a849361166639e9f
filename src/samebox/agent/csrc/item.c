/* Reading the items of a tree stream. */
#include "item.h"

#include "buffer.h"
#include "protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD_MAX (1024 * 1024) /* a name, a target and some numbers */
#define NANOSECONDS 1000000000

bool input_take(struct input *in, void *data, size_t len)
{
    uint8_t *to = data;
    while (len > 0) {
        if (in->pos == in->len) {
            ssize_t n = read(in->fd, in->data, sizeof in->data);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return false;
            in->pos = 0;
            in->len = (size_t)n;
        }
        size_t n = in->len - in->pos < len ? in->len - in->pos : len;
        memcpy(to, in->data + in->pos, n);
        in->pos += n;
        to += n;
        len -= n;
    }
    return true;
}

static uint64_t get_number(const uint8_t *p, size_t len)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value = value << 8 | p[i];
    return value;
}

static bool set_string(char **field, const uint8_t *p, size_t len)
{
    if (*field || memchr(p, 0, len))
        return false;
    *field = allocate(len + 1);
    memcpy(*field, p, len);
    return true;
}

static bool set_number(struct item *item, int tag, int64_t value)
{
    switch (tag) {
    case TAG_SIZE:
        item->size = value;
        return value >= 0;
    case TAG_MODE:
        item->mode = (mode_t)value & 0777;
        item->no_mode = false;
        return true;
    case TAG_MTIME:
        item->no_mtime = false;
        item->mtime.tv_sec = value / NANOSECONDS;
        item->mtime.tv_nsec = value % NANOSECONDS;
        if (item->mtime.tv_nsec < 0) {
            item->mtime.tv_sec--;
            item->mtime.tv_nsec += NANOSECONDS;
        }
        return true;
    default:
        return false;
    }
}

static bool set_field(struct item *item, int tag, const uint8_t *p, size_t len)
{
    switch (tag) {
    case TAG_NAME:
        return set_string(&item->name, p, len);
    case TAG_TARGET:
        return set_string(&item->target, p, len);
    case TAG_FILE_TYPE:
        item->type = len == 1 ? (char)p[0] : '\0';
        return true;
    default:
        return len == 8 && set_number(item, tag, (int64_t)get_number(p, len));
    }
}

static bool parse(struct item *item, const uint8_t *p, size_t len)
{
    while (len > 0) {
        if (len < 5 || get_number(p + 1, 4) > len - 5)
            return false;
        size_t size = (size_t)get_number(p + 1, 4);
        if (!set_field(item, p[0], p + 5, size))
            return false;
        p += 5 + size;
        len -= 5 + size;
    }
    if (!item->name || (item->type != 'f' && item->type != 'd' && item->type != 'l'))
        return false;
    if (item->no_mode)
        item->mode = item->type == 'd' ? 0755 : 0644;
    return item->type != 'l' || item->target;
}

static bool is_safe(const char *name)
{
    if (*name == '\0')
        return true; /* the root */
    for (;;) {
        size_t len = strcspn(name, "/");
        if (len == 0 || (len <= 2 && strspn(name, ".") >= len))
            return false;
        if (name[len] == '\0')
            return true;
        name += len + 1;
    }
}

enum item_state item_read(struct input *in, struct item *item)
{
    uint8_t head[4];
    *item = (struct item){.no_mode = true, .no_mtime = true};
    if (!input_take(in, head, sizeof head)) {
        item->problem = ITEM_CUT;
        return ITEM_BROKEN;
    }
    size_t len = (size_t)get_number(head, sizeof head);
    if (len == 0)
        return ITEM_LAST;
    if (len > RECORD_MAX) {
        item->problem = ITEM_MALFORMED;
        return ITEM_BROKEN;
    }
    uint8_t *record = allocate(len);
    if (!input_take(in, record, len))
        item->problem = ITEM_CUT;
    else if (!parse(item, record, len))
        item->problem = ITEM_MALFORMED;
    else if (!is_safe(item->name))
        item->problem = ITEM_ESCAPES;
    free(record);
    return item->problem ? ITEM_BROKEN : ITEM_READ;
}

void item_free(struct item *item)
{
    free(item->name);
    free(item->target);
}

const char *item_problem_text(enum item_problem problem)
{
    switch (problem) {
    case ITEM_CUT: return "the tree stream ends early";
    case ITEM_ESCAPES: return "a name in the tree stream leads out of it";
    default: return "the tree stream is malformed";
    }
}
