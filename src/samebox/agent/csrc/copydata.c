/* Copying one file. */
#include "copydata.h"

#include "descriptor.h"
#include "fileutil.h"
#include "filewrite.h"
#include "regular.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COPY_STEP (64 << 20)
#define HALF_BLOCK 512

mode_t copied_mode(const struct stat *from, const struct stat *to)
{
    bool same_owner = from->st_uid == to->st_uid && from->st_gid == to->st_gid;
    return from->st_mode & (same_owner ? 07777 : 01777);
}

/* Up to `len` bytes or EOF. */
static bool copy_by_hand(int in, int out, int64_t len)
{
    static char chunk[128 * 1024];
    while (len > 0) {
        ssize_t n = read(in, chunk, len < (int64_t)sizeof chunk ? (size_t)len : sizeof chunk);
        if (n == 0)
            return true;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || !write_all(out, chunk, (size_t)n))
            return false;
        len -= n;
    }
    return true;
}

static bool copy_span(int in, int out, int64_t len)
{
    while (len > 0) {
        long n = syscall(SYS_copy_file_range, in, NULL, out, NULL, (size_t)(len < COPY_STEP ? len : COPY_STEP), 0);
        /* Refused across file systems, by filters, by files of /proc; some kernels say 0 for files without a size.
         * Reading tells. */
        if (n <= 0)
            return copy_by_hand(in, out, len);
        len -= n;
    }
    return true;
}

static bool copy_sparse(int in, int out, int64_t size)
{
    int64_t end = 0;
    while (end < size) {
        int64_t data = lseek(in, end, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break; /* only a hole is left */
        int64_t hole = data < 0 ? -1 : lseek(in, data, SEEK_HOLE);
        if (data < 0 || hole < 0) {
            data = end;
            hole = size;
        }
        if (lseek(in, data, SEEK_SET) < 0 || lseek(out, data, SEEK_SET) < 0 || !copy_span(in, out, hole - data))
            return false;
        end = hole;
    }
    struct stat st;
    return fstat(out, &st) == 0 && (st.st_size >= size || ftruncate(out, size) == 0);
}

bool copy_data(int in, int out, const struct stat *st)
{
    if ((int64_t)st->st_blocks * HALF_BLOCK < st->st_size)
        return copy_sparse(in, out, st->st_size);
    return copy_span(in, out, INT64_MAX);
}

static bool copy_file(const struct copying *c, struct failure *f)
{
    struct stat st, made;
    struct file_write w;
    AUTO_FD in = open_regular(c->from_dir, c->from, &st);
    if (in < 0) {
        fail(f, errno, NULL, c->from_path);
        return false;
    }
    if (!write_begin(&w, c->to_dir, c->to, 0600, c->exclusive, c->to_path, f))
        return false;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st.st_mtim};
    if (fstat(w.fd, &made) == 0 && copy_data(in, w.fd, &st)) {
        w.mode = copied_mode(&st, &made);
        futimens(w.fd, times);
        return file_commit_write(&w, f);
    }
    fail(f, errno, NULL, c->to_path);
    file_abort_write(&w);
    return false;
}

static bool copy_link(const struct copying *c, const struct stat *st)
{
    char *target = read_link(c->from_dir, c->from);
    if (!target)
        return false;
    bool ok = symlinkat(target, c->to_dir, c->to) == 0;
    if (!ok && errno == EEXIST && !c->exclusive)
        ok = link_over(target, c->to_dir, c->to);
    free(target);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st->st_mtim};
    if (ok)
        utimensat(c->to_dir, c->to, times, AT_SYMLINK_NOFOLLOW);
    return ok;
}

bool copy_entry(const struct copying *c, struct failure *f)
{
    struct stat st;
    if (fstatat(c->from_dir, c->from, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        fail(f, errno, NULL, c->from_path);
        return false;
    }
    if (S_ISREG(st.st_mode))
        return copy_file(c, f);
    if (!S_ISLNK(st.st_mode))
        return fail_not_regular(&st, f, c->from_path);
    if (copy_link(c, &st))
        return true;
    fail(f, errno, NULL, c->to_path);
    return false;
}
