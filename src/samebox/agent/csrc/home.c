/* The home of a user that the image does not know. */
#include "home.h"

#include "buffer.h"
#include "environment.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PASSWD "/etc/passwd"
#define LARGEST (1 << 20) /* the file is the image's, and may be anything */

static const char *value(char *const *env, const char *name)
{
    size_t len = strlen(name);
    for (; *env; env++)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return *env + len + 1;
    return NULL;
}

/* name:password:UID:... */
static bool line_has(const char *line, const char *uid)
{
    for (int fields = 0; fields < 2; fields++) {
        line += strcspn(line, ":\n");
        if (*line++ != ':')
            return false;
    }
    size_t len = strlen(uid);
    return strncmp(line, uid, len) == 0 && line[len] == ':';
}

static bool known(const char *uid)
{
    struct stat s;
    bool found = false;
    int fd = open(PASSWD, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t len = 0;
    char *text = allocate(LARGEST + 1);
    ssize_t n = fstat(fd, &s) == 0 && S_ISREG(s.st_mode) ? 1 : 0;
    while (n > 0 && (n = read(fd, text + len, LARGEST - len)) > 0)
        len += (size_t)n;
    close(fd);
    text[len] = 0;
    for (const char *line = text; line && !found; line = (line = strchr(line, '\n')) ? line + 1 : NULL)
        found = line_has(line, uid);
    free(text);
    return found;
}

/* Nobody else's: what another user has put there is passed over. */
static bool make_own(const char *path)
{
    struct stat s;
    if (mkdir(path, 0700) == 0)
        return true;
    return errno == EEXIST && lstat(path, &s) == 0 && S_ISDIR(s.st_mode) && s.st_uid == geteuid();
}

static char *entry(const char *name, const char *text)
{
    size_t size = strlen(name) + strlen(text) + 2;
    char *made = allocate(size);
    snprintf(made, size, "%s=%s", name, text);
    return made;
}

char **home_add(char **env)
{
    char uid[16], own[32], here[PATH_MAX];
    const char *home = value(env, "HOME"), *place = here;
    if (geteuid() == 0 || (home && strcmp(home, "/") != 0))
        return env;
    snprintf(uid, sizeof uid, "%u", (unsigned)geteuid());
    if (known(uid) || !getcwd(here, sizeof here))
        return env;
    snprintf(own, sizeof own, "/tmp/home-%s", uid);
    if (access(here, W_OK) != 0 && make_own(own))
        place = own;
    char *more[] = {entry("HOME", place), value(env, "USER") ? NULL : entry("USER", uid), NULL};
    char **merged = environment_merge(env, more);
    free(env);
    return merged;
}
