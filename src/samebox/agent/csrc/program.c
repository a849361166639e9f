/* Finding a program and becoming it. After vfork nothing here may touch what is shared with the parent. */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" /* what container engines take */

static const char *search_path(char *const *env)
{
    for (; *env; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return DEFAULT_PATH;
}

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static bool missing(const char *path)
{
    struct stat st;
    return stat(path, &st) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

/* execve that tells a missing program from one that lacks its interpreter or lies where we may not look. */
static int attempt(const char *path, char *const *argv, char *const *env, char *found, size_t size)
{
    execve(path, argv, env);
    int err = errno;
    if ((err == ENOENT || err == EACCES) && exists(path))
        snprintf(found, size, "%s", path);
    return err;
}

static int search(char *const *argv, char *const *env, char *found, size_t size)
{
    char path[PATH_MAX];
    int result = ENOENT;
    const char *end, *start = search_path(env);
    for (;; start = end + 1) {
        end = strchrnul(start, ':');
        /* An empty element is the current directory. */
        int len = snprintf(path, sizeof path, "%.*s%s%s", (int)(end - start), start, end > start ? "/" : "", argv[0]);
        /* An execve that fails costs more than this, and a program is in one of the places only. */
        if (len > 0 && (size_t)len < sizeof path && !missing(path)) {
            bool before = found[0];
            int err = attempt(path, argv, env, found, size);
            if (err == EACCES && found[0] && !before)
                result = EACCES; /* a directory of PATH that may not be searched is passed over */
            else if (err != ENOENT && err != ENOTDIR && err != EACCES && err != ENAMETOOLONG && err != ELOOP)
                return err;
        }
        if (!*end)
            return result;
    }
}

int program_run(char *const *argv, char *const *env, char *found, size_t size)
{
    found[0] = 0;
    if (!argv[0][0])
        return ENOENT;
    if (strchr(argv[0], '/'))
        return attempt(argv[0], argv, env, found, size);
    return search(argv, env, found, size);
}

/* The file is there, but execve says ENOENT: it means what the file names as its interpreter. */
static void explain_missing(const char *found, char *reason, size_t size)
{
    char text[256];
    int fd = open(found, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[len > 0 ? len : 0] = 0;
    if (strncmp(text, "#!", 2) == 0) {
        char *name = text + 2 + strspn(text + 2, " \t");
        name[strcspn(name, " \t\r\n")] = 0;
        snprintf(reason, size, "its interpreter %s was not found", name);
    } else {
        snprintf(reason, size, "the dynamic loader that it needs was not found");
    }
}

int program_complain(const char *name, int err, const char *found)
{
    char reason[320], line[1024];
    if (err == ENOENT && found[0])
        explain_missing(found, reason, sizeof reason);
    else if (err == ENOENT && !strchr(name, '/'))
        snprintf(reason, sizeof reason, "command not found");
    else
        snprintf(reason, sizeof reason, "%s", strerror(err));
    int len = snprintf(line, sizeof line, "samebox: %.640s: %s\n", name, reason);
    if (write(2, line, (size_t)len) < 0) {
        /* stderr is closed or full: the exit code has to do */
    }
    return err == ENOENT || err == ENOTDIR ? 127 : 126;
}
