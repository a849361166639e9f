/* A job: an operation on a whole tree that is under way. */
#include "job.h"

#include "descriptor.h"
#include "filewrite.h"
#include "path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define OUTPUT_CHUNK (64 * 1024)

bool job_flush(struct job *j)
{
    bool ok = write_all(j->out, j->pending.data, j->pending.len);
    j->pending.len = 0;
    if (!ok)
        job_fail(j, errno, j->r->path, "");
    return ok;
}

bool job_write(struct job *j, const void *data, size_t len)
{
    buf_add(&j->pending, data, len);
    return j->pending.len < OUTPUT_CHUNK || job_flush(j);
}

bool job_record(struct job *j, const struct buf *record)
{
    uint8_t len[4];
    put_u32(len, (uint32_t)record->len);
    buf_add(&j->pending, len, sizeof len);
    return job_write(j, record->data, record->len);
}

void job_fail(struct job *j, int err, const char *base, const char *path)
{
    if (j->f->err)
        return;
    char *full = join_path(base, path);
    fail(j->f, err, NULL, full);
    free(full);
}

bool job_walk(struct job *j, struct walk *w)
{
    int fd = resolve_open(&j->place, j->r->path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
    if (fd < 0)
        return fail_at(&j->place, j->f, errno, j->r->path);
    walk_start(w, fd);
    return true;
}

void job_run(void (*tree)(struct job *j), const struct request *r, int in, int out, struct buf *end, struct failure *f)
{
    struct job j = {.r = r, .in = in, .out = out, .end = end, .f = f};
    write_guard();
    if (!place_open(&j.place, r, f))
        return;
    tree(&j);
    if (j.pending.len > 0 && f->err != EPIPE)
        job_flush(&j);
    buf_free(&j.pending);
    place_close(&j.place);
}
