/* What GREP compares lines with. */
#ifndef SAMEBOX_MATCHER_H
#define SAMEBOX_MATCHER_H

#include <locale.h>
#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

struct matcher {
    const char *literal; /* compared byte by byte; otherwise one of the expressions is used */
    size_t literal_len;
    regex_t utf8, bytes;
    locale_t utf8_locale; /* (locale_t)0: there is none */
};
#define REGEX_ERROR_SIZE 256
/* False for an expression that is wrong; `error` says why. */
bool matcher_init(struct matcher *m, const char *pattern, bool fixed, bool ignore_case, char error[REGEX_ERROR_SIZE]);
bool matcher_matches(struct matcher *m, const char *line, size_t len);
void matcher_free(struct matcher *m);

#endif
