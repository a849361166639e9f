/* Reading the items of a tree stream. */
#ifndef SAMEBOX_ITEM_H
#define SAMEBOX_ITEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct input {
    int fd;
    size_t pos, len;
    uint8_t data[64 * 1024];
};
/* Exactly `len` bytes; false if there aren't that many. */
bool input_take(struct input *in, void *data, size_t len);

enum item_problem { ITEM_FINE, ITEM_MALFORMED, ITEM_CUT, ITEM_ESCAPES };
enum item_state { ITEM_READ, ITEM_LAST, ITEM_BROKEN };

struct item {
    char *name;   /* relative to the root: checked to have no empty, `.` or `..` component */
    char *target;
    char type;    /* f, d or l */
    bool no_mode, no_mtime;
    mode_t mode;  /* 0777 at most */
    struct timespec mtime;
    int64_t size;
    enum item_problem problem;
};
/* Fills *item in any case. */
enum item_state item_read(struct input *in, struct item *item);
void item_free(struct item *item);
const char *item_problem_text(enum item_problem problem);

#endif
