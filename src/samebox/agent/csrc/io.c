/* A full write. */
#include "agent.h"

#include <errno.h>
#include <unistd.h>

bool write_all(int fd, const void *data, size_t len)
{
    const uint8_t *from = data;
    while (len > 0) {
        ssize_t n = write(fd, from, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        from += n;
        len -= (size_t)n;
    }
    return true;
}
