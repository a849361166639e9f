/* Handing the next command to a supervisor that has done with its last one: a fork less for each command. */
#include "handover.h"

#include "buffer.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#define MESSAGE_MAX (32 * 1024) /* a larger command gets a supervisor of its own */
#define STRINGS_MAX 510

struct run_order {
    struct order order; /* ORDER_RUN */
    bool tty, tell_start, cwd;
    int64_t grace;
    uint32_t argc, envc;
};
union stdio_message {
    struct cmsghdr head;
    char space[CMSG_SPACE(3 * sizeof(int))];
};

static uint32_t add_strings(struct buf *b, char *const *strings)
{
    uint32_t count = 0;
    for (; strings[count]; count++)
        buf_add(b, strings[count], strlen(strings[count]) + 1);
    return count;
}

static bool send_with_stdio(int link, const struct buf *b, const int stdio[3])
{
    union stdio_message control = {0};
    struct iovec data = {b->data, b->len};
    struct msghdr m = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    *CMSG_FIRSTHDR(&m) = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(3 * sizeof(int))};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), stdio, 3 * sizeof(int));
    return sendmsg(link, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)b->len;
}

bool command_hand_over(const struct command *c, int link)
{
    struct buf b = {0};
    struct run_order run = {.order = {.type = ORDER_RUN}, .tty = c->tty, .tell_start = c->tell_start,
                            .cwd = c->cwd != NULL, .grace = c->grace};
    buf_add(&b, &run, sizeof run);
    if (c->cwd)
        buf_add(&b, c->cwd, strlen(c->cwd) + 1);
    run.argc = add_strings(&b, c->argv);
    run.envc = add_strings(&b, c->env);
    memcpy(b.data, &run, sizeof run);
    bool sent = b.len <= MESSAGE_MAX && run.argc + run.envc <= STRINGS_MAX && send_with_stdio(link, &b, c->stdio);
    buf_free(&b);
    return sent;
}

static char **take_strings(char ***place, char **from, uint32_t count)
{
    char **list = *place;
    for (uint32_t i = 0; i < count; i++) {
        list[i] = *from;
        *from += strlen(*from) + 1;
    }
    list[count] = NULL;
    *place += count + 1;
    return list;
}

static bool take_stdio(struct msghdr *m, int stdio[3])
{
    struct cmsghdr *head = CMSG_FIRSTHDR(m);
    if (!head || head->cmsg_type != SCM_RIGHTS || head->cmsg_len != CMSG_LEN(3 * sizeof(int)))
        return false;
    memcpy(stdio, CMSG_DATA(head), 3 * sizeof(int));
    return true;
}

bool command_take_over(struct command *c)
{
    static union {
        struct run_order run;
        char bytes[MESSAGE_MAX];
    } message;
    static char *strings[STRINGS_MAX + 2];
    union stdio_message control;
    struct iovec data = {&message, sizeof message};
    ssize_t n;
    struct msghdr m;
    do {
        /* Another order was for the command that had ended before it came. */
        m = (struct msghdr){.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
                            .msg_controllen = sizeof control};
        n = recvmsg(c->link, &m, 0);
    } while ((n < 0 && errno == EINTR) || (n > 0 && message.run.order.type != ORDER_RUN));
    if (n <= 0 || !take_stdio(&m, c->stdio))
        return false;
    const struct run_order *run = &message.run;
    char *from = message.bytes + sizeof *run, **place = strings;
    c->cwd = run->cwd ? from : NULL;
    if (run->cwd)
        from += strlen(from) + 1;
    c->argv = take_strings(&place, &from, run->argc);
    c->env = take_strings(&place, &from, run->envc);
    c->tty = run->tty;
    c->tell_start = run->tell_start;
    c->grace = run->grace;
    return true;
}
