/* Writing a file: temporary files, and putting them in their place. */
#include "filewrite.h"

#include "descriptor.h"
#include "fileutil.h"
#include "path.h"
#include "regular.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a worker that is ended leaves half written. */
static struct file_write *volatile half_written;
static bool guarded;

static void on_end(int signal)
{
    struct file_write *w = half_written;
    if (w && w->temp_name)
        unlinkat(w->dir_fd, w->temp_name, 0);
    _exit(128 + signal);
}

/* The end waits while what is half written and what is known of it differ. */
static void hold_end(bool hold)
{
    sigset_t end;
    if (!guarded)
        return;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    int err = errno;
    sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &end, NULL);
    errno = err;
}

void write_guard(void)
{
    guarded = true;
    struct sigaction sa = {.sa_handler = on_end};
    sigaction(SIGTERM, &sa, NULL);
    hold_end(false);
}

static void free_write(struct file_write *w)
{
    half_written = NULL;
    close_fd(&w->fd);
    close_fd(&w->dir_fd);
    free(w->temp_name);
    free(w->name);
    free(w->path);
    w->temp_name = w->name = w->path = NULL;
}

static bool open_temp(struct file_write *w)
{
    char name[TEMP_NAME_SIZE];
    do {
        temp_name(name);
        w->fd = openat(w->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    } while (w->fd < 0 && errno == EEXIST);
    if (w->fd >= 0)
        w->temp_name = copy_string(name, strlen(name));
    return w->fd >= 0;
}

static void drop_temp(struct file_write *w)
{
    if (w->temp_name)
        unlinkat(w->dir_fd, w->temp_name, 0);
    free(w->temp_name);
    w->temp_name = NULL;
    close_fd(&w->fd);
}

bool write_begin(struct file_write *w, int dir, const char *name, mode_t mode, bool exclusive, const char *path,
                 struct failure *f)
{
    *w = (struct file_write){.fd = -1, .dir_fd = fcntl(dir, F_DUPFD_CLOEXEC, 0), .mode = mode, .exclusive = exclusive};
    w->name = copy_string(name, strlen(name));
    w->path = copy_string(path, strlen(path));
    hold_end(true);
    bool begun = w->dir_fd >= 0 && open_temp(w);
    if (begun && guarded)
        half_written = w;
    hold_end(false);
    if (begun)
        return true;
    fail(f, errno, NULL, path);
    free_write(w);
    return false;
}

/* Where the target can't be replaced (it is a mount point; the directory is sticky): its content is. */
static bool copy_over(struct file_write *w)
{
    static char chunk[65536];
    struct stat st;
    AUTO_FD out = openat(w->dir_fd, w->name, O_WRONLY | O_NOFOLLOW | NO_WAIT);
    if (out < 0 || fstat(out, &st) != 0)
        return false;
    if (not_regular(&st) != 0) {
        errno = not_regular(&st);
        return false;
    }
    if (ftruncate(out, 0) != 0 || lseek(w->fd, 0, SEEK_SET) != 0)
        return false;
    for (;;) {
        ssize_t n = read(w->fd, chunk, sizeof chunk);
        if (n <= 0)
            return n == 0;
        if (!write_all(out, chunk, (size_t)n))
            return false;
    }
}

/* Leaves no temporary file when it succeeds. */
static bool put_in_place(struct file_write *w)
{
    fchmod(w->fd, w->mode); /* may be refused by file systems that have no modes */
    if (w->exclusive)
        return rename_new(w->dir_fd, w->temp_name, w->dir_fd, w->name);
    if (renameat(w->dir_fd, w->temp_name, w->dir_fd, w->name) == 0)
        return true;
    int err = errno;
    bool in_place = err == EBUSY || err == EXDEV || err == EPERM || err == EACCES;
    if (in_place && copy_over(w)) {
        unlinkat(w->dir_fd, w->temp_name, 0);
        return true;
    }
    errno = in_place && errno != ENOENT ? errno : err;
    return false;
}

bool file_commit_write(struct file_write *w, struct failure *f)
{
    int err = 0;
    if (w->temp_name && !put_in_place(w)) {
        err = errno;
        unlinkat(w->dir_fd, w->temp_name, 0);
    }
    /* Network file systems tell of a full disk only here. */
    if (close(w->fd) != 0 && err == 0)
        err = errno;
    w->fd = -1;
    if (err)
        fail(f, err, NULL, w->path);
    free_write(w);
    return err == 0;
}

void file_abort_write(struct file_write *w)
{
    hold_end(true);
    drop_temp(w);
    free_write(w);
    hold_end(false);
}
