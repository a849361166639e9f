/* CHMOD. */
#include "chmod.h"

#include "buffer.h"
#include "descriptor.h"
#include "failure.h"
#include "fileutil.h"
#include "job.h"
#include "request.h"
#include "resolve.h"
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHMOD_RECURSIVE 1

static bool chmod_quick(const struct place *p, const struct request *r, struct buf *out, struct failure *f)
{
    (void)out;
    struct stat st;
    AUTO_FD fd = resolve_open(p, r->path, O_PATH);
    bool found = fd >= 0 && fstat(fd, &st) == 0;
    if (found && S_ISDIR(st.st_mode) && (r->flags & CHMOD_RECURSIVE))
        return false;
    if (!found || !chmod_fd(fd, (mode_t)r->mode & 07777, p, r->path))
        fail_at(p, f, errno, r->path);
    return true;
}

static void chmod_entry(struct job *j, const struct walk *w)
{
    struct place here = {.fd = w->dir};
    AUTO_FD fd = openat(w->dir, w->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    int err = 0;
    if (fd < 0 || fstat(fd, &st) != 0)
        err = errno;
    else if (!S_ISLNK(st.st_mode) && !chmod_fd(fd, (mode_t)j->r->mode & 07777, &here, w->name))
        err = errno;
    if (err && !has_vanished(err))
        job_fail(j, err, j->r->path, (char *)w->path.data);
}

/* Directories get their mode when we leave them: it may take away the right to enter. */
static void chmod_tree(struct job *j, int dir)
{
    struct walk w = {.force = true};
    enum walk_event event;
    walk_start(&w, dir);
    while ((event = walk_next(&w)) != WALK_END) {
        if (event == WALK_LEAVE && w.err && !has_vanished(w.err))
            job_fail(j, w.err, j->r->path, (char *)w.path.data);
        if (w.dir >= 0 && (event == WALK_LEAVE || !S_ISDIR(w.st.st_mode)))
            chmod_entry(j, &w);
    }
    if (w.err)
        job_fail(j, w.err, j->r->path, "");
    walk_stop(&w);
}

/* Opens the directory that `look` stands for, with the right to read it if it is ours. */
static int open_start(struct job *j, int look)
{
    struct stat st;
    int flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK;
    int dir = resolve_open(&j->place, j->r->path, flags);
    if (dir >= 0 || errno != EACCES || fstat(look, &st) != 0 || st.st_uid != geteuid())
        return dir;
    if (!chmod_fd(look, (st.st_mode & 07777) | S_IRWXU, &j->place, j->r->path))
        return -1;
    return resolve_open(&j->place, j->r->path, flags);
}

static void chmod_slowly(struct job *j)
{
    const char *path = j->r->path;
    AUTO_FD look = resolve_open(&j->place, path, O_PATH | O_DIRECTORY);
    int dir = -1;
    if (look >= 0)
        dir = open_start(j, look);
    if (dir < 0) {
        fail_at(&j->place, j->f, errno, path);
        return;
    }
    chmod_tree(j, dir);
    if (!chmod_fd(look, (mode_t)j->r->mode & 07777, &j->place, path))
        job_fail(j, errno, path, "");
}

const struct operation chmod_operation = {
    .form = {.known = FIELD(PATH) | FIELD(ROOT) | FIELD(MODE) | FIELD(FLAGS),
             .needed = FIELD(PATH) | FIELD(MODE), .flags = CHMOD_RECURSIVE},
    .quick = chmod_quick,
    .tree = chmod_slowly,
};
