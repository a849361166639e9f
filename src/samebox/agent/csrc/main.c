/* The agent's roles: init, serve, reach and version (protocol.md, section 8). */
#include "init.h"
#include "process.h"
#include "protocol.h"
#include "reach.h"
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int usage(void)
{
    static const char text[] = "usage: agent serve [FD]\n"
                               "       agent init [--idle-timeout MS] [--max-lifetime MS] [--control FD] [--serve FD]\n"
                               "       agent reach ADDRESS [TRIES]\n"
                               "       agent version\n";
    return write(2, text, sizeof text - 1) < 0 ? 65 : 64;
}

static bool parse_number(const char *text, int64_t most, int64_t *value)
{
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    *value = number;
    return !errno && end != text && !*end && number >= 0 && number <= most;
}

static bool parse_fd(const char *text, int *fd)
{
    int64_t value;
    if (!parse_number(text, INT_MAX, &value))
        return false;
    *fd = (int)value;
    return true;
}

static bool parse_init(char **argv, struct init_options *o)
{
    const int64_t most = INT64_C(1) << 50;
    for (; *argv; argv += 2) {
        bool good = false;
        if (!argv[1])
            return false;
        if (strcmp(*argv, "--idle-timeout") == 0)
            good = parse_number(argv[1], most, &o->idle_timeout);
        else if (strcmp(*argv, "--max-lifetime") == 0)
            good = parse_number(argv[1], most, &o->max_lifetime);
        else if (strcmp(*argv, "--control") == 0)
            good = parse_fd(argv[1], &o->control);
        else if (strcmp(*argv, "--serve") == 0)
            good = parse_fd(argv[1], &o->serve);
        if (!good)
            return false;
    }
    return true;
}

static int role_init(char **argv)
{
    struct init_options options = {-1, -1, -1, -1};
    return parse_init(argv, &options) ? init(&options) : usage();
}

/* Descriptors 0-2 stay for what they are for, so the connection moves up. */
static int move_up(int fd)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    close(fd);
    return moved;
}

static int role_serve(char **argv)
{
    int in = 0, out = 1;
    if (argv[0] && (argv[1] || !parse_fd(argv[0], &in)))
        return usage();
    if (argv[0]) {
        in = out = move_up(in);
    } else {
        in = move_up(0);
        out = move_up(1);
    }
    stdio_fill();
    return serve(in, out);
}

static int role_reach(char **argv)
{
    int64_t tries = 1;
    if (!argv[0] || (argv[1] && (argv[2] || !parse_number(argv[1], INT_MAX, &tries))))
        return usage();
    return reach(argv[0], tries);
}

static int role_version(void)
{
    char text[32];
    int len = snprintf(text, sizeof text, "samebox-agent %d\n", PROTOCOL_VERSION);
    return write(1, text, (size_t)len) == len ? 0 : 74;
}

int main(int argc, char **argv)
{
    stdio_fill();
    if (argc >= 2 && strcmp(argv[1], "init") == 0)
        return role_init(argv + 2);
    if (argc >= 2 && strcmp(argv[1], "serve") == 0)
        return role_serve(argv + 2);
    if (argc >= 2 && strcmp(argv[1], "reach") == 0)
        return role_reach(argv + 2);
    if (argc == 2 && strcmp(argv[1], "version") == 0)
        return role_version();
    return usage();
}
