/* The names in a directory, sorted. */
#include "names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct dirent_v0 { /* struct linux_dirent64 */
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

size_t names_size(const struct names *n)
{
    return n->text.len + n->count * sizeof *n->sorted;
}

void names_drop(struct names *n)
{
    buf_free(&n->text);
    free(n->sorted);
    n->sorted = NULL;
    n->count = n->next = 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a + 1, *(char *const *)b + 1);
}

static void sort_names(struct names *n)
{
    struct buf pointers = {0};
    char *name = (char *)n->text.data;
    buf_reserve(&pointers, n->count * sizeof name);
    for (size_t i = 0; i < n->count; i++) {
        buf_add(&pointers, &name, sizeof name);
        name += strlen(name + 1) + 2;
    }
    n->sorted = (char **)(void *)pointers.data;
    qsort(n->sorted, n->count, sizeof name, compare_names);
}

/* Adds the names of one buffer of getdents up to the limit. */
static void take_names(struct names *n, const char *data, long len, size_t limit)
{
    while (len > 0) {
        const struct dirent_v0 *d = (const struct dirent_v0 *)(const void *)data;
        bool dots = strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0;
        size_t size = dots ? 0 : strlen(d->name) + 2;
        if (n->count > 0 && n->text.len + size + (n->count + 1) * sizeof(char *) > limit) {
            n->more = true;
            return;
        }
        if (!dots) {
            buf_add(&n->text, &d->type, 1);
            buf_add(&n->text, d->name, size - 1);
            n->count++;
        }
        n->position = d->off;
        data += d->reclen;
        len -= d->reclen;
    }
}

int names_read(struct names *n, int fd, size_t limit, bool restart)
{
    static _Alignas(8) char data[32 * 1024];
    int err = 0;
    names_drop(n);
    if (n->more && lseek(fd, restart ? 0 : n->position, SEEK_SET) < 0)
        err = errno;
    n->more = false;
    while (!n->more && !err) {
        long len = syscall(SYS_getdents64, fd, data, sizeof data);
        if (len == 0)
            break;
        if (len < 0) {
            err = errno == ENOENT ? 0 : errno; /* ENOENT: the directory was removed */
            break;
        }
        take_names(n, data, len, limit);
    }
    if (n->count > 0)
        sort_names(n);
    return err;
}
