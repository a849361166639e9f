/* Other processes, as /proc shows them. */
#include "proctree.h"

#include "buffer.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool proc_parse(struct proc *p, const char *stat)
{
    /* PID (NAME) STATE PPID ...: a name may hold spaces and parentheses, so it ends at the last ")". */
    const char *open = strchr(stat, '('), *close = strrchr(stat, ')');
    if (!open || !close || close < open)
        return false;
    size_t len = (size_t)(close - open - 1);
    if (len >= sizeof p->name)
        len = sizeof p->name - 1;
    memcpy(p->name, open + 1, len);
    p->name[len] = 0;
    p->pid = (pid_t)strtol(stat, NULL, 10);
    int parent;
    if (sscanf(close + 1, " %c %d", &p->state, &parent) != 2)
        return false;
    p->parent = parent;
    return true;
}

bool proc_read(struct proc *p, pid_t pid)
{
    char path[32], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    if (len <= 0)
        return false;
    text[len] = 0;
    return proc_parse(p, text);
}

/* A /proc of another PID namespace numbers processes differently; what it says must not be used. */
static bool proc_is_ours(void)
{
    char target[16];
    ssize_t len = readlink("/proc/self", target, sizeof target - 1);
    if (len <= 0)
        return false;
    target[len] = 0;
    return strtol(target, NULL, 10) == getpid();
}

bool proc_each(void (*visit)(const struct proc *p, void *context), void *context)
{
    DIR *dir = proc_is_ours() ? opendir("/proc") : NULL;
    if (!dir)
        return false;
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct proc p;
        if (isdigit((unsigned char)entry->d_name[0]) && proc_read(&p, (pid_t)strtol(entry->d_name, NULL, 10)))
            visit(&p, context);
    }
    closedir(dir);
    return true;
}

struct member {
    pid_t pid, parent;
    bool inside;
};

static void collect(const struct proc *p, void *context)
{
    buf_add(context, &(struct member){p->pid, p->parent, false}, sizeof(struct member));
}

static int by_pid(const void *a, const void *b)
{
    pid_t left = ((const struct member *)a)->pid, right = ((const struct member *)b)->pid;
    return (left > right) - (left < right);
}

static void mark_descendants(struct member *members, size_t count, pid_t root)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < count; i++) {
            struct member *m = &members[i];
            if (m->inside)
                continue;
            const struct member key = {.pid = m->parent};
            const struct member *parent = bsearch(&key, members, count, sizeof *members, by_pid);
            m->inside = m->parent == root || (parent && parent->inside);
            changed |= m->inside;
        }
    }
}

/* Zombies get it too: a leader that is one may have threads that run on. A number could be reused between the look
 * and the kill only if the kernel handed out all the others in that millisecond. */
int proctree_signal(pid_t root, const int *signals, int count)
{
    struct buf all = {0};
    if (!proc_each(collect, &all)) {
        buf_free(&all);
        return -1;
    }
    struct member *members = (struct member *)(void *)all.data;
    size_t total = all.len / sizeof *members;
    if (total)
        qsort(members, total, sizeof *members, by_pid);
    mark_descendants(members, total, root);
    int reached = 0;
    for (size_t i = 0; i < total; i++) {
        if (!members[i].inside)
            continue;
        bool sent = true;
        for (int s = 0; s < count; s++)
            sent &= kill(members[i].pid, signals[s]) == 0;
        reached += sent;
    }
    buf_free(&all);
    return reached;
}
