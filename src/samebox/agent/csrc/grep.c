/* GREP: lines of a tree's text files. */
#include "grep.h"

#include "buffer.h"
#include "descriptor.h"
#include "failure.h"
#include "glob.h"
#include "job.h"
#include "matcher.h"
#include "protocol.h"
#include "record.h"
#include "regular.h"
#include "request.h"
#include "resolve.h"
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROBE 8192                 /* a NUL in the first so many bytes makes a file binary */
#define TEXT_MAX 4096              /* what is sent of a line */
#define LINE_MAX_BYTES (1024 * 1024) /* what is looked at of a line */

struct searcher {
    struct job *j;
    struct matcher *matcher;
    const char *name; /* of the file */
    int64_t count;
    bool enough;      /* the limit is reached, or nobody reads on */
};

/* A file read line by line. */
struct lines {
    int fd;
    size_t start, end; /* what is not handed out yet, of `buffer` */
    bool eof, cutting; /* cutting: the rest of a line that was too long is passed over */
    char *buffer;      /* LINE_MAX_BYTES and a NUL */
};

static bool send_match(struct searcher *s, int64_t number, const char *line, size_t len)
{
    struct buf record = {0};
    rec_str(&record, TAG_NAME, s->name);
    rec_num(&record, TAG_LINE, number);
    rec_bytes(&record, TAG_TEXT, line, len < TEXT_MAX ? len : TEXT_MAX);
    bool ok = job_record(s->j, &record);
    buf_free(&record);
    return ok;
}

/* Reads on behind what is there; the line that is not complete yet moves to the front. */
static void fill(struct lines *l)
{
    memmove(l->buffer, l->buffer + l->start, l->end - l->start);
    l->end -= l->start;
    l->start = 0;
    size_t room = LINE_MAX_BYTES - l->end;
    ssize_t n = read(l->fd, l->buffer + l->end, room < 65536 ? room : 65536);
    if (n <= 0)
        l->eof = true;
    else
        l->end += (size_t)n;
}

/* The next line, without its end, NUL-terminated. NULL at the end of the file. */
static char *next_line(struct lines *l, size_t *len)
{
    size_t seen = 0;
    for (;;) {
        char *line = l->buffer + l->start;
        size_t have = l->end - l->start;
        char *nl = memchr(line + seen, '\n', have - seen);
        if (!nl && !l->eof && have < LINE_MAX_BYTES) {
            seen = have;
            fill(l);
            continue;
        }
        if (!nl && have == 0)
            return NULL;
        *len = nl ? (size_t)(nl - line) : have;
        l->start += *len + (nl != NULL);
        line[*len] = '\0';
        bool rest = l->cutting;
        l->cutting = !nl && !l->eof;
        if (!rest)
            return line;
        seen = 0;
    }
}

static bool is_binary(struct lines *l)
{
    while (!l->eof && l->end < PROBE)
        fill(l);
    return memchr(l->buffer, '\0', l->end < PROBE ? l->end : PROBE) != NULL;
}

static void search_file(struct searcher *s, int fd, const char *name)
{
    static char buffer[LINE_MAX_BYTES + 1];
    struct lines lines = {.fd = fd, .buffer = buffer};
    const struct request *r = s->j->r;
    int64_t number = 0;
    size_t len;
    s->name = name;
    if (is_binary(&lines))
        return;
    for (char *line; !s->enough && (line = next_line(&lines, &len)) != NULL;) {
        number++;
        if (!matcher_matches(s->matcher, line, len))
            continue;
        s->enough = !send_match(s, number, line, len) || ++s->count == r->limit;
    }
}

static bool included(const struct request *r, const struct walk *w)
{
    if (!r->include[0])
        return true;
    for (char **glob = r->include; *glob; glob++)
        if (glob_match(*glob, strchr(*glob, '/') ? (char *)w->path.data : w->name))
            return true;
    return false;
}

/* What can't be read is passed over. */
static void search_entry(struct searcher *s, const struct walk *w)
{
    struct stat st;
    AUTO_FD fd = open_regular(w->dir, w->name, &st);
    if (fd >= 0)
        search_file(s, fd, (char *)w->path.data);
}

static void search_tree(struct searcher *s)
{
    struct walk w = {0};
    enum walk_event event = WALK_ENTRY;
    if (!job_walk(s->j, &w))
        return;
    while (!s->enough && (event = walk_next(&w)) != WALK_END) {
        if (w.path.len > SENT_PATH_MAX)
            walk_skip(&w);
        else if (event == WALK_ENTRY && S_ISREG(w.st.st_mode) && !w.err && included(s->j->r, &w))
            search_entry(s, &w);
    }
    if (event == WALK_END && w.err)
        job_fail(s->j, w.err, s->j->r->path, "");
    walk_stop(&w);
}

static void search_one(struct searcher *s)
{
    struct job *j = s->j;
    struct stat st;
    AUTO_FD fd = resolve_open(&j->place, j->r->path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) != 0)
        fail_at(&j->place, j->f, errno, j->r->path);
    else if (not_regular(&st) != 0)
        fail_not_regular(&st, j->f, j->r->path);
    else
        search_file(s, fd, "");
}

static void search(struct searcher *s)
{
    struct job *j = s->j;
    struct stat st;
    AUTO_FD look = resolve_open(&j->place, j->r->path, O_PATH);
    if (look < 0 || fstat(look, &st) != 0)
        fail_at(&j->place, j->f, errno, j->r->path);
    else if (S_ISDIR(st.st_mode))
        search_tree(s);
    else if (S_ISREG(st.st_mode))
        search_one(s);
    else
        fail_not_regular(&st, j->f, j->r->path);
}

static void grep_op(struct job *j)
{
    const struct request *r = j->r;
    struct matcher matcher;
    struct searcher s = {.j = j, .matcher = &matcher, .enough = r->limit == 0};
    char error[REGEX_ERROR_SIZE];
    if (!matcher_init(&matcher, r->pattern, r->fixed, r->ignore_case, error)) {
        fail(j->f, EINVAL, "pattern", r->path);
        snprintf(j->f->message, sizeof j->f->message, "%s", error);
        return;
    }
    search(&s);
    rec_num(j->end, TAG_COUNT, s.count);
    matcher_free(&matcher);
}

const struct operation grep_operation = {
    .form = {.known = FIELD(PATH) | FIELD(ROOT) | FIELD(PATTERN) | FIELD(INCLUDE) | FIELD(IGNORE_CASE) | FIELD(FIXED) |
                      FIELD(LIMIT) | FIELD(WINDOW),
             .needed = FIELD(PATH) | FIELD(PATTERN)},
    .tree = grep_op,
};
