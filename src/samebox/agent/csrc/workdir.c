/* The workdir: made, entered and held open. */
#include "workdir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GUEST_PATH "/.samebox/agent"

char *workdir_path;
int workdir_fd = -1;

/* Podman makes an image's / 0555: root's own, but not writable for root without CAP_DAC_OVERRIDE. On every engine root
 * may write there. Where the agent has another path, / is the host's. */
static void open_up_root(void)
{
    char program[sizeof GUEST_PATH + 1];
    struct stat s;
    ssize_t len = readlink("/proc/self/exe", program, sizeof program);
    if (len == sizeof GUEST_PATH - 1 && memcmp(program, GUEST_PATH, sizeof GUEST_PATH - 1) == 0 &&
        stat("/", &s) == 0 && s.st_uid == geteuid() && !(s.st_mode & S_IWUSR))
        chmod("/", (s.st_mode & 07777) | S_IWUSR);
}

static int make_directory(const char *path)
{
    return mkdir(path, 0777) == 0 || errno == EEXIST ? 0 : errno;
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
    open_up_root();
    if (path && chdir(path) < 0) {
        int err = make_directories(path);
        if (err || chdir(path) < 0)
            return err ? err : errno;
    }
    if (path && !(workdir_path = path[0] == '/' ? strdup(path) : getcwd(NULL, 0)))
        return errno;
    return workdir_open();
}
