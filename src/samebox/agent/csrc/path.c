/* Paths as text. */
#include "path.h"

#include "buffer.h"

#include <string.h>

char *copy_string(const char *s, size_t len)
{
    struct buf b = {0};
    buf_add(&b, s, len);
    buf_add(&b, "", 1);
    return (char *)b.data;
}

char *join_path(const char *base, const char *name)
{
    size_t len = strlen(base);
    struct buf b = {0};
    buf_add(&b, base, len);
    if (len > 0 && base[len - 1] != '/' && name[0] != '\0')
        buf_add(&b, "/", 1);
    buf_add(&b, name, strlen(name) + 1);
    return (char *)b.data;
}

char *path_through_link(const char *path, const char *target)
{
    const char *end = path + strlen(path);
    while (end > path && end[-1] == '/')
        end--;
    while (end > path && end[-1] != '/')
        end--;
    struct buf b = {0};
    if (target[0] != '/')
        buf_add(&b, path, (size_t)(end - path));
    buf_add(&b, target, strlen(target) + 1);
    return (char *)b.data;
}

size_t parent_len(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
