/* The two ends of MOVE and COPY. */
#include "pair.h"

#include "fileutil.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static int look(const struct spot *s, struct stat *st)
{
    memset(st, 0, sizeof *st);
    return fstatat(s->dir, s->name, st, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
}

/* What rename(2) says of what is there. */
static int clash(const struct pair *pair)
{
    bool is_dir = S_ISDIR(pair->st.st_mode);
    if (same_file(&pair->st, &pair->there))
        return 0;
    if (S_ISDIR(pair->there.st_mode))
        return is_dir ? 0 : EISDIR;
    return is_dir ? ENOTDIR : 0;
}

static bool check_destination(const struct request *r, bool replace, struct pair *pair, struct failure *f)
{
    int err = look(&pair->to, &pair->there);
    if (err == 0)
        err = replace ? clash(pair) : EEXIST;
    else if (err == ENOENT)
        err = pair->to.slash && !S_ISDIR(pair->st.st_mode) ? ENOTDIR : 0;
    if (err)
        fail(f, err, NULL, r->destination);
    return err == 0;
}

bool pair_open(const struct place *p, const struct request *r, bool replace, struct pair *pair, struct failure *f)
{
    pair->to = (struct spot){.dir = -1};
    if (!resolve_spot(p, r->path, false, &pair->from, f))
        return false;
    int err = look(&pair->from, &pair->st);
    if (err == 0 && pair->from.slash && !S_ISDIR(pair->st.st_mode))
        err = ENOTDIR;
    if (err)
        fail(f, err, NULL, r->path);
    else if (resolve_spot(p, r->destination, true, &pair->to, f) && check_destination(r, replace, pair, f)) {
        if (!S_ISDIR(pair->st.st_mode) || !is_within(pair->to.dir, &pair->st))
            return true;
        fail(f, EINVAL, NULL, r->destination);
    }
    pair_close(pair);
    return false;
}

void pair_close(struct pair *pair)
{
    spot_close(&pair->from);
    spot_close(&pair->to);
}
