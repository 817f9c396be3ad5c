/* The lexer. */
#include "lang/lexer.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_MAX = 500 }; /* characters of one number */

static const char *const spelling[TOK_COUNT] = {
#define X(name, text) [TOK_##name] = text,
    TOKENS(X)
#undef X
};

const char *token_text(token_kind kind) { return spelling[kind]; }

/* ---- characters ------------------------------------------------------------------------------- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static uint32_t code_point(const char *s, size_t *len)
{
    const unsigned char *u = (const unsigned char *)s;
    *len = u[0] < 0x80 ? 1 : u[0] < 0xE0 ? 2 : u[0] < 0xF0 ? 3 : 4;
    switch (*len) {
    case 1: return u[0];
    case 2: return (u[0] & 0x1Fu) << 6 | (u[1] & 0x3Fu);
    case 3: return (u[0] & 0x0Fu) << 12 | (u[1] & 0x3Fu) << 6 | (u[2] & 0x3Fu);
    default: return (u[0] & 0x07u) << 18 | (u[1] & 0x3Fu) << 12 | (u[2] & 0x3Fu) << 6 | (u[3] & 0x3Fu);
    }
}

/* Letters outside ASCII that may stand in a name: the scripts, subscripts and mathematical alphabets, but neither the
 * operators and punctuation between them nor superscripts, which read as powers. */
static bool is_letter_beyond_ascii(uint32_t c)
{
    static const struct { uint32_t from, to; } range[] = {
        {0xC0, 0xD6}, {0xD8, 0xF6}, {0xF8, 0x37D}, {0x37F, 0x386}, {0x388, 0x1FFF}, {0x2080, 0x208E}, {0x2090, 0x209C},
        {0x2102, 0x2138}, {0x3041, 0xD7FF}, {0xF900, 0xFD3D}, {0x10000, 0x1CFFF}, {0x1D400, 0x1D7FF},
        {0x20000, 0x3FFFF},
    };
    for (size_t i = 0; i < sizeof range / sizeof range[0]; i++)
        if (c >= range[i].from && c <= range[i].to) return true;
    return false;
}

/* Length of the character at s if it may continue a name (or start one: digits may not), else 0. */
static size_t name_char(const char *s, bool first)
{
    char c = *s;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_') return 1;
    if (is_digit(c)) return first ? 0 : 1;
    if (!((unsigned char)c & 0x80)) return 0;
    size_t len;
    return is_letter_beyond_ascii(code_point(s, &len)) ? len : 0;
}

/* Characters that look like something in the language. */
static const char *advice(uint32_t c)
{
    switch (c) {
    case 0xB7: case 0xD7: case 0x2217: case 0x22C5: case 0x2219:
        return "a product is written `*`, element by element `.*`";
    case 0x2212: case 0x2013: case 0x2014: return "a minus sign is written `-`";
    case 0x2018: case 0x2019: case 0x2032: case 0x1D40: case 0x22A4: return "a transpose or derivative is written `'`";
    case 0x2264: return "less or equal is written `<=`";
    case 0x2265: return "greater or equal is written `>=`";
    case 0x2260: return "not equal is written `!=`";
    case 0x2192: return "an arrow is written `->`";
    case 0xB2: case 0xB3: case 0xB9: return "a power is written `^`";
    case 0xA0: return "this is a no-break space; a plain space is needed";
    case '&': return "the boolean operator is written `and`";
    case '|': return "the boolean operator is written `or`, the absolute value abs(x)";
    case '!': case '~': return "negation is written `not`, inequality `!=`";
    case '"': return "there are no strings in formulas";
    default: return NULL;
    }
}

/* ---- tokens ----------------------------------------------------------------------------------- */

static token_kind keyword(const char *s, size_t n)
{
    if (n < 2 || n > 6) return TOK_NAME;
    for (int k = TOK_LET; k < TOK_COUNT; k++)
        if (spelling[k][0] == s[0] && !strncmp(spelling[k], s, n) && spelling[k][n] == '\0') return (token_kind)k;
    return TOK_NAME;
}

/* strtod follows the locale of the program that uses the library, so it gets that locale's decimal point. */
static void read_number(const char *s, size_t n, token *t)
{
    if (n <= 15) { /* plain integers are exact, and most numbers are such */
        double v = 0;
        size_t i = 0;
        while (i < n && is_digit(s[i])) v = v * 10 + (s[i++] - '0');
        if (i == n) {
            t->number = v;
            return;
        }
    }
    if (n > NUMBER_MAX) {
        t->kind = TOK_BAD;
        t->why = "a number of more than 500 characters";
        return;
    }
    char text[NUMBER_MAX + 16];
    const char *point = localeconv()->decimal_point;
    size_t k = 0, wide = strlen(point);
    bool nonzero = false, mantissa = true;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == 'e' || s[i] == 'E') mantissa = false;
        if (mantissa && s[i] >= '1' && s[i] <= '9') nonzero = true;
        if (s[i] == '.' && wide <= 8) {
            memcpy(text + k, point, wide);
            k += wide;
        } else {
            text[k++] = s[i];
        }
    }
    text[k] = '\0';
    t->number = strtod(text, NULL);
    bool zero = t->number == 0;
    if ((zero && nonzero) || !isfinite(t->number)) {
        t->kind = TOK_BAD;
        t->why = zero ? "the number is too small for a double" : "the number is too large for a double";
    }
}

/* Digits with at most one point and an exponent. A point that starts `..` or an element-wise operator is not part of
 * the number: 1..n, 2.*x. */
static size_t number_end(const char *s, size_t i, size_t n)
{
    while (i < n && is_digit(s[i])) i++;
    if (i < n && s[i] == '.' && !(i + 1 < n && s[i + 1] && strchr(".*/^", s[i + 1]))) {
        i++;
        while (i < n && is_digit(s[i])) i++;
    }
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        size_t k = i + 1;
        if (k < n && (s[k] == '+' || s[k] == '-')) k++;
        if (k < n && is_digit(s[k])) {
            while (k < n && is_digit(s[k])) k++;
            i = k;
        }
    }
    return i;
}

static token_kind punctuation(const char *s, size_t n, size_t *len)
{
    static const struct { char text[3]; uint8_t kind; } two[] = {
        {"..", TOK_DOTDOT}, {"->", TOK_ARROW}, {".*", TOK_DOT_STAR}, {"./", TOK_DOT_SLASH}, {".^", TOK_DOT_CARET},
        {"==", TOK_EQ}, {"!=", TOK_NE}, {"~=", TOK_NE}, {"<=", TOK_LE}, {">=", TOK_GE},
    };
    *len = 2;
    for (size_t i = 0; n >= 2 && i < sizeof two / sizeof two[0]; i++)
        if (s[0] == two[i].text[0] && s[1] == two[i].text[1]) return (token_kind)two[i].kind;
    *len = 1;
    for (int k = TOK_LPAREN; k < TOK_LET; k++)
        if (spelling[k][0] == s[0] && spelling[k][1] == '\0') return (token_kind)k;
    return TOK_BAD;
}

/* Moves over white space and comments. False: a line ended that ends a statement. */
static bool skip_blank(lexer *lx)
{
    const char *s = lx->src->text;
    for (size_t n = lx->src->n; lx->at < n; lx->at++) {
        char c = s[lx->at];
        if (c == '#') {
            const char *end = memchr(s + lx->at, '\n', n - lx->at);
            lx->at = end ? (size_t)(end - s) : n;
            if (!end) return true;
            c = '\n';
        }
        if (c == '\n' && lx->nest == 0) return false;
        if (c == '\n') lx->line++;
        else if (c != ' ' && c != '\t' && c != '\r') return true;
    }
    return true;
}

void lex_next(lexer *lx, dim_table *names, token *t)
{
    bool blank = skip_blank(lx);
    const char *s = lx->src->text;
    size_t n = lx->src->n, at = lx->at, len = 0;
    *t = (token){.kind = TOK_END, .start = at, .end = at, .line = lx->line};
    if (at == n) return;
    if (!blank) {
        t->kind = TOK_NEWLINE;
        len = 1;
        lx->line++;
    } else if (is_digit(s[at]) || (s[at] == '.' && at + 1 < n && is_digit(s[at + 1]))) {
        t->kind = TOK_NUMBER;
        len = number_end(s, at, n) - at;
        read_number(s + at, len, t);
    } else if ((len = name_char(s + at, true)) != 0) {
        for (size_t k; at + len < n && (k = name_char(s + at + len, false)) != 0;) len += k;
        t->kind = keyword(s + at, len);
        if (t->kind == TOK_NAME && len > 1000) {
            t->kind = TOK_BAD;
            t->why = "a name of more than 1000 bytes";
        } else if (t->kind == TOK_NAME && !(t->name = name_intern(names, s + at, len))) {
            t->kind = TOK_BAD;
            t->why = "out of memory";
        }
    } else {
        t->kind = punctuation(s + at, n - at, &len);
        if (t->kind == TOK_BAD) t->why = advice(code_point(s + at, &len));
        if (t->kind == TOK_LPAREN || t->kind == TOK_LBRACKET || t->kind == TOK_LBRACE) lx->nest++;
        if ((t->kind == TOK_RPAREN || t->kind == TOK_RBRACKET || t->kind == TOK_RBRACE) && lx->nest) lx->nest--;
    }
    lx->at = at + len;
    t->end = lx->at;
}
