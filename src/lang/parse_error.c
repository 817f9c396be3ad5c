/* Errors with their place:
 *
 *     task1.cr:3:9: sizes disagree: R^{5 x 3} times R^4; in "W*x"
 *         def f = W*x + b
 *                 ^~~
 */
#include "lang/parse.h"

#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 200, EXCERPT_MAX = 60, CALLERS_SHOWN = 4 };

/* ---- places ------------------------------------------------------------------------------------ */

static bool continues_character(char c) { return ((unsigned char)c & 0xC0) == 0x80; }

static void line_and_column(text_place w, unsigned *line, unsigned *column, size_t *from, size_t *to)
{
    const char *s = w.src->text, *nl;
    *line = 1;
    *from = 0;
    while ((nl = memchr(s + *from, '\n', w.start - *from)) != NULL) {
        *from = (size_t)(nl - s) + 1;
        ++*line;
    }
    nl = memchr(s + w.start, '\n', w.src->n - w.start);
    *to = nl ? (size_t)(nl - s) : w.src->n;
    if (*to > w.start && s[*to - 1] == '\r') --*to;
    *column = (unsigned)utf8_columns(s + *from, w.start - *from) + 1;
}

static void put_visible(strbuf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool control = ((unsigned char)s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7F;
        sb_putc(b, control ? '?' : s[i]);
    }
}

/* The line, or the part around the place if it is long, and carets under the place. Tabs are kept, so that the caret
 * stands right however wide they are. */
static void put_caret(strbuf *b, text_place w, size_t from, size_t to)
{
    const char *s = w.src->text;
    bool cut_left = false, cut_right = false;
    if (to - from > LINE_MAX_BYTES) {
        if (w.start - from > LINE_MAX_BYTES / 2) {
            from = w.start - LINE_MAX_BYTES / 2;
            cut_left = true;
        }
        if (to - from > LINE_MAX_BYTES) {
            to = from + LINE_MAX_BYTES;
            cut_right = true;
        }
        while (from < w.start && continues_character(s[from])) from++;
        while (to > w.start && to < w.src->n && continues_character(s[to])) to--;
    }
    sb_puts(b, cut_left ? "\n    ..." : "\n    ");
    put_visible(b, s + from, to - from);
    sb_puts(b, cut_right ? "...\n    " : "\n    ");
    if (cut_left) sb_puts(b, "   ");
    for (size_t i = from; i < w.start; i++)
        if (!continues_character(s[i])) sb_putc(b, s[i] == '\t' ? '\t' : ' ');
    sb_putc(b, '^');
    size_t end = w.end < to ? w.end : to;
    if (end > w.start)
        for (size_t i = utf8_columns(s + w.start, end - w.start); i > 1; i--) sb_putc(b, '~');
}

static cr_ref fail_text(parser *ps, text_place w, cr_status status, const char *message)
{
    if (ps->g->err.status != CR_OK) return CR_NONE; /* the first error counts */
    unsigned line, column;
    size_t from, to;
    strbuf b;
    sb_init(&b);
    line_and_column(w, &line, &column, &from, &to);
    sb_printf(&b, "%s:%u:%u: %s", w.src->name, line, column, message);
    put_caret(&b, w, from, to);
    int shown = 0;
    for (const call_frame *f = ps->frame; f && f->call.src && shown < CALLERS_SHOWN; f = f->caller, shown++) {
        line_and_column(f->call, &line, &column, &from, &to);
        sb_printf(&b, "\nin `%s`, called at %s:%u:%u", name_text(ps->g->dims, f->function), f->call.src->name, line,
                  column);
    }
    if (b.status != CR_OK) graph_fail(ps->g, CR_ENOMEM, "out of memory");
    else graph_fail(ps->g, status, "%s", sb_str(&b));
    sb_free(&b);
    return CR_NONE;
}

static cr_ref fail_args(parser *ps, text_place w, cr_status status, const char *fmt, va_list ap)
{
    strbuf b;
    sb_init(&b);
    sb_vprintf(&b, fmt, ap);
    if (b.status != CR_OK) graph_fail(ps->g, CR_ENOMEM, "out of memory");
    else fail_text(ps, w, status, sb_str(&b));
    sb_free(&b);
    return CR_NONE;
}

cr_ref fail_at(parser *ps, text_place w, cr_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_args(ps, w, status, fmt, ap);
    va_end(ap);
    return CR_NONE;
}

cr_ref fail_token(parser *ps, const token *t, cr_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_args(ps, (text_place){ps->lx.src, t->start, t->end}, status, fmt, ap);
    va_end(ap);
    return CR_NONE;
}

text_place place(const parser *ps, size_t start)
{
    return (text_place){ps->lx.src, start, ps->prev_end > start ? ps->prev_end : start};
}

cr_ref built(parser *ps, cr_ref r, size_t start)
{
    if (r != CR_NONE) return r;
    text_place w = place(ps, start);
    cr_status status = ps->g->err.status;
    if (status == CR_ENOMEM) return CR_NONE;
    if (status == CR_OK) return fail_at(ps, w, CR_EINTERNAL, "no expression and no reason; in \"%s\"", excerpt(w, 0));
    error e = ps->g->err; /* taken over, to be set again with its place */
    ps->g->err = (error){0};
    fail_at(ps, w, status, "%s; in \"%s\"", err_message(&e), excerpt(w, 0));
    err_clear(&e);
    return CR_NONE;
}

/* ---- text in messages -------------------------------------------------------------------------- */

void fold_text(strbuf *b, text_place w, size_t limit)
{
    const char *s = w.src->text;
    size_t used = 0;
    bool blank = false;
    for (size_t i = w.start; i < w.end; i++) {
        if (s[i] == '#')
            while (i + 1 < w.end && s[i] != '\n') i++;
        if (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r' || s[i] == '#') {
            blank = used > 0;
            continue;
        }
        if (limit && used >= limit && !continues_character(s[i])) {
            sb_puts(b, "...");
            return;
        }
        if (blank) sb_putc(b, ' ');
        put_visible(b, s + i, 1);
        used += 1u + blank;
        blank = false;
    }
}

static const char *in_slot(strbuf *b, int slot)
{
    static _Thread_local char text[4][EXCERPT_MAX + 40];
    size_t n = b->n < sizeof text[0] ? b->n : sizeof text[0] - 1;
    memcpy(text[slot], sb_str(b), n);
    while (n < b->n && n > 0 && continues_character(sb_str(b)[n])) n--;
    text[slot][n] = '\0';
    sb_free(b);
    return text[slot];
}

const char *excerpt(text_place w, int slot)
{
    strbuf b;
    sb_init(&b);
    fold_text(&b, w, EXCERPT_MAX);
    return in_slot(&b, slot);
}

const char *size_text(cr_graph *g, cr_dim d, int slot)
{
    strbuf b;
    sb_init(&b);
    dim_print(g->dims, d, &b, NULL, NULL);
    return in_slot(&b, slot);
}

/* ---- what was expected -------------------------------------------------------------------------- */

cr_ref unexpected(parser *ps, const char *wanted)
{
    const token *t = &ps->tok;
    text_place w = {ps->lx.src, t->start, t->end};
    switch (t->kind) {
    case TOK_END: case TOK_NEWLINE:
        w.end = w.start;
        return fail_at(ps, w, CR_ESYNTAX, "expected %s, found %s", wanted, token_text(t->kind));
    case TOK_BAD:
        if (ps->g->err.status != CR_OK) return CR_NONE; /* out of memory in the table of names */
        if (t->why) return fail_at(ps, w, CR_ESYNTAX, "%s", t->why);
        return fail_at(ps, w, CR_ESYNTAX, "the character `%s` is not in the language", excerpt(w, 0));
    default:
        return fail_at(ps, w, CR_ESYNTAX, "expected %s, found `%s`", wanted, excerpt(w, 0));
    }
}

/* Restricted Damerau-Levenshtein distance, at most `limit` + 1, of names up to NEAR_MAX bytes. */
enum { NEAR_MAX = 32 };
static unsigned distance(const char *a, size_t n, const char *b, size_t m, unsigned limit)
{
    if (n > NEAR_MAX || m > NEAR_MAX || (n > m ? n - m : m - n) > limit) return limit + 1;
    unsigned row[3][NEAR_MAX + 1];
    for (size_t j = 0; j <= m; j++) row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *now = row[i % 3], *up = row[(i + 2) % 3], *upup = row[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned d = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < d) d = up[j] + 1;
            if (now[j - 1] + 1 < d) d = now[j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && upup[j - 2] + 1 < d) d = upup[j - 2] + 1;
            now[j] = d;
        }
    }
    return row[n % 3][m];
}

cr_ref unknown_name(parser *ps, const token *t, const char *what, bool function)
{
    const char *s = name_text(ps->g->dims, t->name), *best = NULL;
    size_t n = strlen(s);
    unsigned limit = n < 3 ? 0 : n < 6 ? 1 : 2; /* short names are near to everything */
    unsigned least = limit + 1;
    for (size_t i = 1; i < ps->p->global_cap && limit; i++) {
        const global_name *e = &ps->p->global[i];
        bool callable = e->builtin || e->kind == NAME_FUNCTION;
        if (function ? !callable : e->kind == NAME_NONE && !callable) continue;
        const char *c = name_text(ps->g->dims, (dim_sym)i);
        unsigned d = distance(s, n, c, strlen(c), limit);
        if (d < least) {
            least = d;
            best = c;
        }
    }
    if (best) return fail_token(ps, t, CR_ENAME, "unknown %s `%s`; did you mean `%s`?", what, s, best);
    return fail_token(ps, t, CR_ENAME, "unknown %s `%s`", what, s);
}
