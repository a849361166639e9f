/* LIST and WALK. */
#include "entries.h"

#include "buffer.h"
#include "fileutil.h"
#include "glob.h"
#include "job.h"
#include "protocol.h"
#include "record.h"
#include "request.h"
#include "walk.h"

#include <sys/stat.h>

#define WALK_FILES 1 /* all but directories */
#define WALK_DIRECTORIES 2

static bool wanted(const struct request *r, const struct walk *w)
{
    bool is_dir = S_ISDIR(w->st.st_mode);
    if ((r->flags & WALK_FILES && is_dir) || (r->flags & WALK_DIRECTORIES && !is_dir))
        return false;
    return !r->pattern || glob_match(r->pattern, (char *)w->path.data);
}

static bool send_entry(struct job *j, const struct walk *w)
{
    struct buf record = {0};
    rec_str(&record, TAG_NAME, (char *)w->path.data);
    rec_stat(&record, &w->st, w->dir, w->name);
    bool ok = job_record(j, &record);
    buf_free(&record);
    return ok;
}

static void send_entries(struct job *j, const struct request *r)
{
    struct walk w = {0};
    int64_t count = 0;
    if (!job_walk(j, &w))
        return;
    enum walk_event event = WALK_ENTRY;
    while ((r->limit < 0 || count < r->limit) && (event = walk_next(&w)) != WALK_END) {
        if (event == WALK_LEAVE)
            continue; /* a directory that can't be read is told as an entry, and that's all */
        if (w.path.len > SENT_PATH_MAX) {
            walk_skip(&w);
            continue;
        }
        bool deep = r->depth >= 0 && (int64_t)w.depth >= r->depth;
        if (deep || (r->pattern && !glob_below(r->pattern, (char *)w.path.data)))
            walk_skip(&w);
        if ((r->depth < 0 || (int64_t)w.depth <= r->depth) && wanted(r, &w)) {
            count++;
            if (!send_entry(j, &w))
                break;
        }
    }
    if (event == WALK_END && w.err)
        job_fail(j, w.err, r->path, "");
    rec_num(j->end, TAG_COUNT, count);
    walk_stop(&w);
}

static void walk_op(struct job *j)
{
    send_entries(j, j->r);
}

static void list_op(struct job *j)
{
    struct request r = *j->r;
    r.depth = 1;
    send_entries(j, &r);
}

const struct operation list_operation = {
    .form = {.known = FIELD(PATH) | FIELD(ROOT) | FIELD(WINDOW), .needed = FIELD(PATH)},
    .tree = list_op,
};

const struct operation walk_operation = {
    .form = {.known = FIELD(PATH) | FIELD(ROOT) | FIELD(PATTERN) | FIELD(DEPTH) | FIELD(FLAGS) | FIELD(LIMIT) |
                      FIELD(WINDOW),
             .needed = FIELD(PATH), .flags = WALK_FILES | WALK_DIRECTORIES},
    .tree = walk_op,
};
