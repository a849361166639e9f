/* The workdir: made, entered and held open. */
#include "workdir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *workdir_path;
int workdir_fd = -1;

/* Podman makes an image's / 0555: its own, but not writable for root without CAP_DAC_OVERRIDE. It may change that. */
static int make_in_own(const char *path, const char *parent)
{
    struct stat s;
    int err = EACCES, dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err;
    if (fstat(dir, &s) == 0 && s.st_uid == geteuid() && fchmod(dir, (s.st_mode & 07777) | S_IWUSR) == 0) {
        err = mkdir(path, 0777) == 0 || errno == EEXIST ? 0 : errno;
        fchmod(dir, s.st_mode & 07777);
    }
    close(dir);
    return err;
}

static int make_directory(char *path)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return 0;
    char *slash = strrchr(path, '/');
    if (errno != EACCES || !slash)
        return errno;
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%.*s", (int)(slash > path ? slash - path : 1), path);
    return make_in_own(path, parent);
}

static int make_directories(const char *path)
{
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return ENAMETOOLONG;
    for (char *slash = copy + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        make_directory(copy);
        *slash = '/';
    }
    return make_directory(copy);
}

/* The sandboxed code may have replaced the workdir since, so it is entered by name each time. */
int workdir_enter(void)
{
    if (workdir_path && chdir(workdir_path) < 0)
        return errno;
    return 0;
}

int workdir_open(void)
{
    int fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    if (workdir_fd >= 0)
        close(workdir_fd);
    workdir_fd = fd;
    return 0;
}

int workdir_begin(const char *path)
{
    if (path && chdir(path) < 0) {
        int err = make_directories(path);
        if (err || chdir(path) < 0)
            return err ? err : errno;
    }
    if (path && !(workdir_path = path[0] == '/' ? strdup(path) : getcwd(NULL, 0)))
        return errno;
    return workdir_open();
}
