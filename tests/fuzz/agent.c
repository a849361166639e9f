/* What the agent's parsers make of any bytes: the frames and requests of the host, the items of a tree stream, and glob
 * patterns. For libFuzzer, with AddressSanitizer and UndefinedBehaviorSanitizer: `tox -e fuzz`. */
#include "glob.h"
#include "item.h"
#include "operations.h"
#include "request.h"

/* Its own, to give it bytes without a descriptor. */
#include "connection.c"

#include <stdlib.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t sink; /* so that what is read is really read */

static void check(bool held)
{
    if (!held)
        abort();
}

static void read_text(const char *text)
{
    if (text)
        sink += strlen(text);
}

static void read_list(char *const *list)
{
    check(list != NULL);
    for (; *list; list++)
        sink += strlen(*list);
}

static void take_request(const struct form *form, const uint8_t *data, size_t len)
{
    struct request r;
    int err = request_decode(&r, form, data, len);
    check(err == 0 || err == -1 || err == EPROTO || err == EINVAL);
    if (err == 0) {
        check(form != NULL && (r.flags & ~form->flags) == 0);
        read_list(r.argv);
        read_list(r.env);
        read_list(r.include);
        char *const texts[] = {r.path, r.root, r.destination, r.pattern, r.target, r.cwd, r.host, r.workdir};
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            read_text(texts[i]);
    }
    request_free(&r);
}

static void take_frame(int type, uint32_t stream, const uint8_t *payload, size_t len)
{
    sink += stream;
    for (size_t i = 0; i < len; i++)
        sink += payload[i];
    if (type == FRAME_OPEN && len > 0) {
        const struct operation *o = operation_find(payload[0]);
        take_request(o ? &o->form : NULL, payload + 1, len - 1);
    }
}

/* Frames that arrive in pieces of any length. */
static void fuzz_frames(const uint8_t *data, size_t size)
{
    peer.refused = peer.lost = false;
    peer.take = take_frame;
    while (size > 0 && !peer.refused) {
        size_t piece = 1 + data[0] % 64u;
        piece = piece < size ? piece : size;
        check(wanted() > 0);
        buf_add(&peer.input, data, piece);
        take_frames();
        reset_if_empty(&peer.input, &peer.input_head);
        data += piece;
        size -= piece;
    }
    lose();
}

static void fuzz_items(const uint8_t *data, size_t size)
{
    static struct input in;
    in = (struct input){.fd = memfd_create("items", MFD_CLOEXEC)};
    check(in.fd >= 0 && write(in.fd, data, size) == (ssize_t)size && lseek(in.fd, 0, SEEK_SET) == 0);
    struct item item;
    enum item_state state;
    do {
        state = item_read(&in, &item);
        if (state == ITEM_READ) {
            const char *name = item.name;
            check(name[0] != '/' && (item.mode & ~0777u) == 0 && item.size >= 0);
            check(item.mtime.tv_nsec >= 0 && item.mtime.tv_nsec < 1000000000);
            for (size_t len; *name; name += len + (name[len] == '/')) {
                len = strcspn(name, "/");
                check(len > 0 && !(len == 1 && name[0] == '.') && !(len == 2 && name[0] == '.' && name[1] == '.'));
            }
        }
        if (state == ITEM_BROKEN)
            read_text(item_problem_text(item.problem));
        item_free(&item);
    } while (state == ITEM_READ);
    close(in.fd);
}

/* A pattern, a NUL, a path. */
static void fuzz_glob(const uint8_t *data, size_t size)
{
    char *text = calloc(size + 2, 1);
    check(text != NULL);
    memcpy(text, data, size < 64 ? size : 64);
    const char *path = text + strlen(text) + 1;
    sink += glob_match(text, path);
    sink += glob_below(text, path);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const subjects[])(const uint8_t *, size_t) = {fuzz_frames, fuzz_items, fuzz_glob};
    if (size > 0)
        subjects[data[0] % 3](data + 1, size - 1);
    return 0;
}
