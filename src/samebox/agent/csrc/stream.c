/* Streams: their table, their beginnings and ends. */
#include "stream.h"

#include "connection.h"
#include "loop.h"
#include "process.h"
#include "protocol.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS 256

static struct stream *buckets[BUCKETS];
static struct stream *first, *stepping, *graves;
static size_t total;

/* --- the table --- */

struct stream *stream_find(uint32_t id)
{
    struct stream *s = buckets[id % BUCKETS];
    while (s && s->id != id)
        s = s->next_in_bucket;
    return s;
}

struct stream *stream_first(void)
{
    return first;
}

size_t stream_count(void)
{
    return total;
}

static void output_end(struct source *source, int err)
{
    struct stream *s = source->owner;
    s->type->output_end(s, source, err);
}

static void input_done(struct sink *sink)
{
    struct stream *s = sink->owner;
    s->type->input_done(s);
}

void stream_register(struct stream *s, uint32_t id, const struct stream_type *type, struct request *r)
{
    s->id = id;
    s->type = type;
    s->request = *r;
    r->memory = NULL;
    s->deadline = s->held = -1;
    for (int i = 0; i < 2; i++)
        s->output[i] = (struct source){
            .watch.fd = -1, .done = true, .stream = id, .channel = i + 1, .end = output_end, .owner = s};
    s->input = (struct sink){.watch.fd = -1, .stream = id, .finish = input_done, .owner = s};
    s->next_in_bucket = buckets[id % BUCKETS];
    buckets[id % BUCKETS] = s;
    s->next = first;
    if (first)
        first->previous = s;
    first = s;
    if (type->step) {
        s->next_stepping = stepping;
        stepping = s;
    }
    total++;
}

int64_t stream_credit(const struct stream *s)
{
    return s->request.window > 0 ? s->request.window : WINDOW;
}

void stream_close(struct stream *s)
{
    struct stream **place = &buckets[s->id % BUCKETS];
    while (*place != s)
        place = &(*place)->next_in_bucket;
    *place = s->next_in_bucket;
    if (s->previous)
        s->previous->next = s->next;
    else
        first = s->next;
    if (s->next)
        s->next->previous = s->previous;
    if (s->type->step) {
        for (place = &stepping; *place != s;)
            place = &(*place)->next_stepping;
        *place = s->next_stepping;
    }
    total--;
    s->closed = true;
    s->type->release(s);
    for (int i = 0; i < 2; i++)
        watch_close(&s->output[i].watch);
    sink_abandon(&s->input);
    /* Events of this turn may still point to it. */
    s->next = graves;
    graves = s;
}

void streams_bury(void)
{
    while (graves) {
        struct stream *s = graves;
        graves = s->next;
        if (s->held >= 0)
            close(s->held);
        request_free(&s->request);
        free(s);
    }
}

void stream_end(struct stream *s, const struct buf *record)
{
    connection_send(FRAME_END, s->id, record->data, record->len);
    stream_close(s);
}

void stream_fail(struct stream *s, const struct failure *f)
{
    connection_send_failure(s->id, f);
    stream_close(s);
}

int streams_expire(void)
{
    int64_t now = -1, nearest = -1;
    for (struct stream *s = first, *next; s; s = next) {
        next = s->next;
        if (s->deadline < 0)
            continue;
        if (now < 0)
            now = now_ms(CLOCK_MONOTONIC);
        if (s->deadline <= now) {
            s->deadline = -1;
            s->type->expire(s); /* which may set another one */
        }
        if (!s->closed && s->deadline >= 0 && (nearest < 0 || s->deadline < nearest))
            nearest = s->deadline;
    }
    if (nearest < 0)
        return -1;
    if (nearest <= now)
        return 0;
    return nearest - now > 60000 ? 60000 : (int)(nearest - now);
}

bool streams_step(void)
{
    bool more = false;
    for (struct stream *s = stepping, *next; s; s = next) {
        next = s->next_stepping;
        more |= s->type->step(s);
    }
    return more;
}

void streams_resume(void)
{
    for (struct stream *s = first, *next; s; s = next) {
        next = s->next; /* an output that can't be watched may end the stream */
        for (int i = 0; i < 2; i++)
            source_update(&s->output[i]);
    }
}
