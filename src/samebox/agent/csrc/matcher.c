/* A regular expression is compiled twice: once for lines that are UTF-8, where `.` is a character and upper and lower
 * case are known of all letters, and once for lines that are not, which a UTF-8 expression never matches. */
#include "matcher.h"

#include "buffer.h"

#include <stdlib.h>
#include <string.h>

static bool is_utf8(const unsigned char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        unsigned c = s[i++];
        unsigned more = c >= 0xf0 && c < 0xf5 ? 3 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xc2 && c < 0xe0 ? 1 : 0;
        if (c >= 0x80 && !more)
            return false;
        for (unsigned n = 0; n < more; n++, i++) {
            unsigned low = n == 0 && c == 0xe0 ? 0xa0 : n == 0 && c == 0xf0 ? 0x90 : 0x80;
            unsigned high = n == 0 && c == 0xed ? 0x9f : n == 0 && c == 0xf4 ? 0x8f : 0xbf;
            if (i >= len || s[i] < low || s[i] > high)
                return false;
        }
    }
    return true;
}

/* An expression that means the text itself. */
static char *escape(const char *text)
{
    struct buf b = {0};
    for (; *text; text++) {
        if (strchr("\\^$.[]|()*+?{}", *text))
            buf_add(&b, "\\", 1);
        buf_add(&b, text, 1);
    }
    buf_add(&b, "", 1);
    return (char *)b.data;
}

static bool compile(regex_t *regex, const char *pattern, bool ignore_case, char error[REGEX_ERROR_SIZE])
{
    int err = regcomp(regex, pattern, REG_EXTENDED | REG_NOSUB | (ignore_case ? REG_ICASE : 0));
    if (err)
        regerror(err, regex, error, REGEX_ERROR_SIZE);
    return err == 0;
}

static bool compile_both(struct matcher *m, const char *pattern, bool ignore_case, char error[REGEX_ERROR_SIZE])
{
    if (!compile(&m->bytes, pattern, ignore_case, error))
        return false;
    m->utf8_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    if (!m->utf8_locale)
        return true;
    locale_t before = uselocale(m->utf8_locale);
    bool ok = compile(&m->utf8, pattern, ignore_case, error);
    uselocale(before);
    if (!ok)
        regfree(&m->bytes);
    return ok;
}

bool matcher_init(struct matcher *m, const char *pattern, bool fixed, bool ignore_case, char error[REGEX_ERROR_SIZE])
{
    *m = (struct matcher){.utf8_locale = (locale_t)0};
    if (fixed && !ignore_case) {
        m->literal = pattern;
        m->literal_len = strlen(pattern);
        return true;
    }
    char *escaped = fixed ? escape(pattern) : NULL;
    bool ok = compile_both(m, fixed ? escaped : pattern, ignore_case, error);
    free(escaped);
    return ok;
}

bool matcher_matches(struct matcher *m, const char *line, size_t len)
{
    if (m->literal)
        return memmem(line, len, m->literal, m->literal_len) != NULL;
    if (!m->utf8_locale || !is_utf8((const unsigned char *)line, len))
        return regexec(&m->bytes, line, 0, NULL, 0) == 0;
    locale_t before = uselocale(m->utf8_locale);
    bool matches = regexec(&m->utf8, line, 0, NULL, 0) == 0;
    uselocale(before);
    return matches;
}

void matcher_free(struct matcher *m)
{
    if (m->literal)
        return;
    regfree(&m->bytes);
    if (m->utf8_locale) {
        regfree(&m->utf8);
        freelocale(m->utf8_locale);
    }
}
