/* The environment of a command. */
#include "buffer.h"
#include "environment.h"

#include <stdlib.h>
#include <string.h>

char **environment_base;

struct variable {
    char *text;
    size_t name_len, place;
};

/* By name; among equals the later one first. */
static int compare(const void *a, const void *b)
{
    const struct variable *x = a, *y = b;
    size_t shorter = x->name_len < y->name_len ? x->name_len : y->name_len;
    int order = memcmp(x->text, y->text, shorter);
    if (order)
        return order;
    if (x->name_len != y->name_len)
        return x->name_len < y->name_len ? -1 : 1;
    return x->place > y->place ? -1 : 1;
}

static bool same_name(const struct variable *x, const struct variable *y)
{
    return x->name_len == y->name_len && memcmp(x->text, y->text, x->name_len) == 0;
}

static size_t length(char *const *list)
{
    size_t n = 0;
    while (list[n])
        n++;
    return n;
}

char **environment_merge(char *const *base, char *const *more)
{
    size_t base_len = length(base), count = base_len + length(more), kept = 0;
    char **result = allocate((count + 1) * sizeof *result);
    struct variable *all = allocate(count * sizeof *all);
    for (size_t i = 0; i < count; i++) {
        char *text = i < base_len ? base[i] : more[i - base_len];
        all[i] = (struct variable){text, strcspn(text, "="), i};
    }
    if (count)
        qsort(all, count, sizeof *all, compare);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || !same_name(&all[i - 1], &all[i]))
            result[kept++] = all[i].text;
    free(all);
    return result;
}

bool environment_valid(char *const *env)
{
    for (; *env; env++)
        if ((*env)[0] == '=' || !strchr(*env, '='))
            return false;
    return true;
}
