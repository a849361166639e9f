/* The limit of open descriptors. */
#include "limit.h"

#include "presence.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rlimit limit_before;

/* An exec by runc before 1.1.13 sometimes has its soft limit raised by Go, up to the hard one; what was asked for is
 * init's. https://github.com/opencontainers/runc/issues/4195 */
static void take_inits_limit(struct rlimit *limit)
{
    char text[2048], *line, *end;
    if (!presence_of_init())
        return;
    int fd = open("/proc/1/limits", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[len > 0 ? len : 0] = 0;
    if (!(line = strstr(text, "Max open files")))
        return;
    rlim_t soft = strtoul(line + strlen("Max open files"), &end, 10);
    if (soft > 0 && soft < limit->rlim_cur && strtoul(end, NULL, 10) == limit->rlim_max)
        limit->rlim_cur = soft;
}

void limit_raise(void)
{
    if (getrlimit(RLIMIT_NOFILE, &limit_before) == 0) {
        take_inits_limit(&limit_before);
        struct rlimit more = limit_before;
        more.rlim_cur = more.rlim_max < 65536 ? more.rlim_max : 65536;
        if (more.rlim_cur > limit_before.rlim_cur)
            setrlimit(RLIMIT_NOFILE, &more);
    }
}
