/* MOVE and COPY. What is no tree is done here. */
#include "copy.h"

#include "buffer.h"
#include "copydata.h"
#include "failure.h"
#include "fileutil.h"
#include "pair.h"
#include "protocol.h"
#include "record.h"
#include "request.h"
#include "resolve.h"
#include "treecopy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than this would hold up the other streams. */
#define SMALL_FILE (1024 * 1024)

/* rename(2) does nothing where both names are links to one file, and says that it did. */
static bool drop_other_link(const struct pair *pair)
{
    struct stat from_dir, to_dir;
    if (!same_file(&pair->st, &pair->there) || pair->st.st_nlink < 2 || S_ISDIR(pair->st.st_mode))
        return true;
    if (fstat(pair->from.dir, &from_dir) != 0 || fstat(pair->to.dir, &to_dir) != 0)
        return false;
    if (same_file(&from_dir, &to_dir) && strcmp(pair->from.name, pair->to.name) == 0)
        return true;
    return unlinkat(pair->from.dir, pair->from.name, 0) == 0;
}

static bool rename_pair(const struct pair *pair, bool replace)
{
    if (!replace)
        return rename_new(pair->from.dir, pair->from.name, pair->to.dir, pair->to.name);
    return renameat(pair->from.dir, pair->from.name, pair->to.dir, pair->to.name) == 0 && drop_other_link(pair);
}

static bool protected_end(const struct place *p, const struct request *r, const struct pair *pair, struct failure *f)
{
    if (S_ISDIR(pair->st.st_mode) && is_protected(p, &pair->st))
        fail(f, EBUSY, "protected", r->path);
    else if (S_ISDIR(pair->there.st_mode) && is_protected(p, &pair->there))
        fail(f, EBUSY, "protected", r->destination);
    return f->err != 0;
}

static bool move_quick(const struct place *p, const struct request *r, struct buf *out, struct failure *f)
{
    (void)out;
    struct pair pair;
    bool replace = r->flags & MOVE_REPLACE, done = true;
    if (!pair_open(p, r, replace, &pair, f))
        return true;
    if (!protected_end(p, r, &pair, f) && !rename_pair(&pair, replace)) {
        int err = errno == EEXIST && replace ? ENOTEMPTY : errno;
        if (err == EXDEV)
            done = false;
        else
            fail(f, err, NULL, err == EEXIST || err == ENOTEMPTY ? r->destination : r->path);
    }
    pair_close(&pair);
    return done;
}

static bool copy_quick(const struct place *p, const struct request *r, struct buf *out, struct failure *f)
{
    struct pair pair;
    bool done = true, replace = r->flags & COPY_REPLACE;
    if (!pair_open(p, r, replace, &pair, f))
        return true;
    struct copying c = {.from_dir = pair.from.dir, .from = pair.from.name, .from_path = r->path, .to_dir = pair.to.dir,
                        .to = pair.to.name, .to_path = r->destination, .exclusive = !replace};
    if (S_ISDIR(pair.st.st_mode) && !(r->flags & COPY_RECURSIVE))
        fail(f, EISDIR, NULL, r->path);
    else if (S_ISDIR(pair.st.st_mode) || (S_ISREG(pair.st.st_mode) && pair.st.st_size > SMALL_FILE))
        done = false;
    else if (copy_entry(&c, f))
        rec_num(out, TAG_COUNT, 1);
    pair_close(&pair);
    return done;
}

const struct operation move_operation = {
    .form = {.known = FIELD(PATH) | FIELD(DESTINATION) | FIELD(ROOT) | FIELD(FLAGS),
             .needed = FIELD(PATH) | FIELD(DESTINATION), .flags = MOVE_REPLACE},
    .quick = move_quick,
    .tree = tree_move,
    .workdir_stays = true,
};

const struct operation copy_operation = {
    .form = {.known = FIELD(PATH) | FIELD(DESTINATION) | FIELD(ROOT) | FIELD(FLAGS),
             .needed = FIELD(PATH) | FIELD(DESTINATION), .flags = COPY_RECURSIVE | COPY_REPLACE},
    .quick = copy_quick,
    .tree = tree_copy,
};
