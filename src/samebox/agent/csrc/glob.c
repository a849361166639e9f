/* The matcher never recurses. A failure goes back to the last `*`, or if that can't take more, to the last `**`:
 * earlier ones need no second try, since whatever they could take more, the later one can take as well. So the time is
 * bounded by the pattern's length times the path's length times the length of one name. */
#include "glob.h"

#include <stddef.h>
#include <string.h>

struct cursor {
    const char *pattern, *path;
};

/* A character of UTF-8, or a byte that isn't part of one (above all characters, so that it equals only itself). */
static unsigned next_char(const char **s)
{
    const unsigned char *p = (const unsigned char *)*s;
    unsigned c = *p, more = c >= 0xf0 && c < 0xf5 ? 3 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xc2 && c < 0xe0 ? 1 : 0;
    unsigned value = more ? c & (0x3fu >> more) : c;
    for (unsigned i = 1; i <= more; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            more = 0;
            break;
        }
        value = value << 6 | (p[i] & 0x3fu);
    }
    *s += more + 1;
    return more || c < 0x80 ? value : 0x110000 + c;
}

/* The end of the set that begins after `[`, at its `]`; NULL if there is none, then `[` is a character as others. */
static const char *set_end(const char *p)
{
    if (*p == '!' || *p == '^')
        p++;
    if (*p == ']')
        p++;
    p += strcspn(p, "]/");
    return *p == ']' ? p : NULL;
}

static bool in_set(const char *p, const char *end, unsigned c)
{
    bool negated = *p == '!' || *p == '^', found = false;
    if (negated)
        p++;
    while (p < end) {
        unsigned first = next_char(&p), last = first;
        if (*p == '-' && p + 1 < end) {
            p++;
            last = next_char(&p);
        }
        found |= c >= first && c <= last;
    }
    return found != negated;
}

/* One character of the path, other than a slash against a wildcard. Moves both on if it matches. */
static bool match_char(struct cursor *at)
{
    if (*at->path == '\0' || *at->pattern == '\0')
        return false;
    struct cursor next = *at;
    unsigned c = next_char(&next.path), want = next_char(&next.pattern);
    const char *end = want == '[' ? set_end(next.pattern) : NULL;
    if (want == '?' || end) {
        if (c == '/' || (end && !in_set(next.pattern, end, c)))
            return false;
        if (end)
            next.pattern = end + 1;
    } else if (c != want) {
        return false;
    }
    *at = next;
    return true;
}

/* Lets the `**` at `star` take more: a whole component if it stands for directories, otherwise a character. */
static bool take_more(struct cursor *star, bool whole)
{
    if (whole)
        star->path += strcspn(star->path, "/");
    if (*star->path == '\0')
        return false;
    next_char(&star->path);
    return true;
}

bool glob_match(const char *pattern, const char *path)
{
    struct cursor at = {pattern, path}, star = {NULL, NULL}, deep = {NULL, NULL};
    bool whole = false;
    for (;;) {
        if (at.pattern[0] == '*' && at.pattern[1] == '*') {
            bool begins = at.pattern == pattern || at.pattern[-1] == '/';
            at.pattern += strspn(at.pattern, "*");
            whole = begins && *at.pattern == '/';
            at.pattern += whole;
            deep = at;
            star.pattern = NULL;
        } else if (*at.pattern == '*') {
            at.pattern++;
            star = at;
        } else if (*at.pattern == '\0' && *at.path == '\0') {
            return true;
        } else if (match_char(&at)) {
            continue;
        } else if (star.pattern && *star.path != '\0' && *star.path != '/') {
            next_char(&star.path);
            at = star;
        } else if (deep.pattern && take_more(&deep, whole)) {
            star.pattern = NULL;
            at = deep;
        } else {
            return false;
        }
    }
}

/* Matches one component of a pattern, given by its end, with one of a path. */
static bool match_component(const char *pattern, size_t pattern_len, const char *name, size_t name_len)
{
    char p[512], n[512];
    if (pattern_len >= sizeof p || name_len >= sizeof n)
        return true; /* can't tell here, so look */
    memcpy(p, pattern, pattern_len);
    p[pattern_len] = '\0';
    memcpy(n, name, name_len);
    n[name_len] = '\0';
    return glob_match(p, n);
}

bool glob_below(const char *pattern, const char *path)
{
    for (;;) {
        size_t pattern_len = strcspn(pattern, "/"), name_len = strcspn(path, "/");
        for (size_t i = 0; i + 1 < pattern_len; i++)
            if (pattern[i] == '*' && pattern[i + 1] == '*')
                return true;
        if (!match_component(pattern, pattern_len, path, name_len) || pattern[pattern_len] == '\0')
            return false;
        pattern += pattern_len + 1;
        path += name_len;
        if (*path == '\0')
            return true;
        path++;
    }
}
