/* Tables of numbers as text: cells between commas, semicolons or tabs (whichever the first line has), quoted or not,
 * with or without a header. The header is a first row of which a cell is no number. */
#include "data/stream.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 40 }; /* bytes of a cell in a message */

/* p..end is a piece of text with a NUL at end, so that a look at *p is always allowed. */
typedef struct table {
    stream *s;
    const char *p, *end;
    char separator;
    size_t line; /* of p, from 1 */
    size_t header_line, first_line;
    char **name; /* of the columns, if there is a header */
    size_t n_names, name_cap;
    size_t columns, rows;
    size_t label; /* its column; == columns: none */
    double *x, *y;
    size_t x_cap, y_cap;
} table;

/* ---- numbers ---------------------------------------------------------------------------------- */

static bool digit(char c) { return c >= '0' && c <= '9'; }

static bool word_is(const char *p, size_t n, const char *word)
{
    if (strlen(word) != n) return false;
    for (size_t i = 0; i < n; i++)
        if ((p[i] | 32) != word[i]) return false;
    return true;
}

/* The number at p; gives what follows it, NULL if there is none. Up to 15 digits and 22 powers of ten it is exact in
 * doubles, rounded once; the rest is the C library's, in the locale C. */
static const char *number(const char *p, double *v)
{
    static const double power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *start = p;
    bool minus = *p == '-';
    if (*p == '-' || *p == '+') p++;
    uint64_t m = 0;
    int digits = 0; /* of m; beyond 18 m is not kept */
    int64_t exponent = 0;
    bool any = false;
    for (bool point = false; digit(*p) || (*p == '.' && !point); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        any = true;
        exponent -= point;
        if (digits > 18) continue;
        m = 10 * m + (uint64_t)(*p - '0');
        digits += m != 0;
    }
    if (!any) {
        if (*p == '.' || (p > start && p[-1] == '.')) return NULL;
        const char *q = p;
        while ((*q | 32) >= 'a' && (*q | 32) <= 'z') q++;
        bool nan = word_is(p, (size_t)(q - p), "nan");
        if (!nan && !word_is(p, (size_t)(q - p), "inf") && !word_is(p, (size_t)(q - p), "infinity")) return NULL;
        *v = nan ? NAN : minus ? -INFINITY : INFINITY;
        return q;
    }
    if ((*p | 32) == 'e') {
        const char *q = p + 1;
        bool down = *q == '-';
        if (*q == '-' || *q == '+') q++;
        if (!digit(*q)) return NULL;
        int64_t e = 0;
        for (; digit(*q); q++) e = e < 100000 ? 10 * e + (*q - '0') : e;
        exponent += down ? -e : e;
        p = q;
    }
    if (digits <= 15 && exponent >= -22 && exponent <= 22) {
        double d = exponent < 0 ? (double)m / power[-exponent] : (double)m * power[exponent];
        *v = minus ? -d : d;
        return p;
    }
    *v = strtod(start, NULL);
    return p;
}

/* ---- cells ------------------------------------------------------------------------------------ */

static bool ends_cell(const table *t, const char *p)
{
    return *p == t->separator || *p == '\n' || *p == '\r' || p == t->end;
}

static const char *skip_blanks(const table *t, const char *p)
{
    while (*p == ' ' || (*p == '\t' && t->separator != '\t')) p++;
    return p;
}

/* The text of the cell at t->p, without quotes and the blanks around it, into b; t->p moves to what ends it. */
static bool cell_text(table *t, strbuf *b)
{
    b->n = 0;
    t->p = skip_blanks(t, t->p);
    if (*t->p != '"') {
        const char *from = t->p;
        while (!ends_cell(t, t->p)) t->p++;
        const char *to = t->p;
        while (to > from && (to[-1] == ' ' || to[-1] == '\t')) to--;
        sb_write(b, from, (size_t)(to - from));
    } else {
        size_t line = t->line;
        bool closed = false;
        for (t->p++; t->p < t->end && !closed; t->p++) {
            if (*t->p == '"' && t->p[1] != '"') {
                closed = true;
                continue;
            }
            t->p += *t->p == '"'; /* a doubled quote is one */
            t->line += *t->p == '\n';
            sb_putc(b, *t->p);
        }
        if (!closed) return stream_fail(t->s, CR_EVALUE, "line %zu: a quote that does not end", line);
        t->p = skip_blanks(t, t->p);
        if (!ends_cell(t, t->p)) return stream_fail(t->s, CR_EVALUE, "line %zu: text behind a quoted cell", t->line);
    }
    return b->status == CR_OK || source_oom(t->s->from);
}

/* Over the end of a row, and lines that are empty. */
static void next_line(table *t)
{
    for (;;) {
        const char *p = skip_blanks(t, t->p);
        if (*p == '\r') p++;
        if (*p != '\n' && p != t->end) return;
        t->line += *p == '\n';
        t->p = p + (*p == '\n');
        if (p == t->end) return;
    }
}

static bool bad_cell(table *t, size_t column, const char *text)
{
    strbuf b;
    sb_init(&b);
    sb_printf(&b, "line %zu, column %zu", t->line, column + 1);
    if (column < t->n_names) sb_printf(&b, " (`%.*s`)", SHOWN, t->name[column]);
    if (*text)
        stream_fail(t->s, CR_EVALUE, "%s: `%.*s` is not a number", sb_str(&b), SHOWN, text);
    else
        stream_fail(t->s, CR_EVALUE, "%s: an empty cell, and every cell must be a number", sb_str(&b));
    sb_free(&b);
    return false;
}

/* The number in the cell at t->p, which moves to what ends it. */
static bool cell_number(table *t, size_t column, double *v)
{
    const char *p = number(skip_blanks(t, t->p), v); /* nearly every cell */
    if (p && ends_cell(t, p = skip_blanks(t, p))) {
        t->p = p;
        return true;
    }
    strbuf b;
    sb_init(&b);
    bool ok = cell_text(t, &b);
    if (ok) {
        p = number(sb_str(&b), v);
        ok = (p && *p == '\0' && p != sb_str(&b)) || bad_cell(t, column, sb_str(&b));
    }
    sb_free(&b);
    return ok;
}

/* ---- rows ------------------------------------------------------------------------------------- */

static char sniff(const table *t)
{
    char found = ',';
    bool quoted = false;
    for (const char *p = t->p; p < t->end && (quoted || (*p != '\n' && *p != '\r')); p++) {
        quoted ^= *p == '"';
        if (!quoted && *p == '\t') return '\t';
        if (!quoted && *p == ';') found = ';';
    }
    return found;
}

/* The first row: how many columns there are, and their names if it is a header; t stands behind it then. */
static bool read_header(table *t)
{
    table start = *t;
    strbuf b;
    sb_init(&b);
    bool header = false, ok = true;
    for (;;) {
        double v;
        ok = cell_text(t, &b);
        char *name = ok ? mem_strdup(sb_str(&b)) : NULL;
        if (ok && (!name || !VEC_RESERVE(t->name, t->name_cap, t->n_names + 1))) ok = source_oom(t->s->from);
        if (!ok) {
            mem_free(name);
            break;
        }
        t->name[t->n_names++] = name;
        const char *p = number(name, &v);
        header |= *name && !(p && *p == '\0');
        if (*t->p != t->separator || t->p == t->end) break;
        t->p++;
    }
    sb_free(&b);
    t->columns = t->n_names;
    if (header || !ok) {
        t->header_line = start.line;
        return ok;
    }
    for (size_t i = 0; i < t->n_names; i++) mem_free(t->name[i]);
    t->n_names = 0;
    t->p = start.p;
    t->line = start.line;
    return true;
}

static bool find_label(table *t, const char *label)
{
    t->label = t->columns;
    if (!label) return true;
    if (t->columns < 2) return stream_fail(t->s, CR_EVALUE, "one column only, and it cannot be the label");
    for (size_t i = 0; i < t->n_names; i++)
        if (strcmp(t->name[i], label) == 0) {
            t->label = i;
            return true;
        }
    if (strcmp(label, "last") == 0) {
        t->label = t->columns - 1;
        return true;
    }
    char *end;
    unsigned long n = digit(*label) ? strtoul(label, &end, 10) : 0;
    if (n >= 1 && n <= t->columns && *end == '\0') {
        t->label = n - 1;
        return true;
    }
    strbuf b;
    sb_init(&b);
    for (size_t i = 0; i < t->n_names && i < 10; i++) sb_printf(&b, "%s`%.*s`", i ? ", " : ": ", SHOWN, t->name[i]);
    stream_fail(t->s, CR_EVALUE, "no column `%.*s` for the label; there are %zu%s%s", SHOWN, label, t->columns,
                t->n_names ? "" : ", without a header", sb_str(&b));
    sb_free(&b);
    return false;
}

static bool wrong_width(table *t, size_t found, bool more)
{
    return stream_fail(t->s, CR_EVALUE, "line %zu has %s%zu cells, and line %zu has %zu", t->line,
                       more ? "more than " : "", found, t->header_line ? t->header_line : t->first_line, t->columns);
}

static bool read_row(table *t)
{
    bool split = t->label < t->columns;
    size_t width = t->columns - split;
    if (!VEC_RESERVE(t->x, t->x_cap, (t->rows + 1) * width) || (split && !VEC_RESERVE(t->y, t->y_cap, t->rows + 1)))
        return source_oom(t->s->from);
    double *x = t->x + t->rows * width;
    for (size_t i = 0; i < t->columns; i++) {
        if (!cell_number(t, i, i == t->label ? &t->y[t->rows] : x++)) return false;
        bool more = *t->p == t->separator && t->p < t->end;
        if (i + 1 == t->columns && more) return wrong_width(t, t->columns, true);
        if (i + 1 < t->columns && !more) return wrong_width(t, i + 1, false);
        t->p += more;
    }
    t->rows++;
    return true;
}

/* ---- the table -------------------------------------------------------------------------------- */

/* Gives back what a list has grown beyond n numbers. */
static double *trimmed(double *list, size_t n)
{
    double *less = mem_realloc(list, n * sizeof *list);
    return less ? less : list;
}

static bool take(table *t, cr_data *d)
{
    bool split = t->label < t->columns;
    int64_t dim[2] = {(int64_t)t->rows, (int64_t)(t->columns - split)};
    double *x = trimmed(t->x, t->rows * (size_t)dim[1]), *y = t->y;
    t->x = t->y = NULL;
    bool ok = data_take(d, "x", CR_TYPE_F64, 2, dim, x) == CR_OK;
    if (!split || !ok) {
        mem_free(y);
        return ok || source_oom(t->s->from);
    }
    cr_type type = CR_TYPE_F64;
    int64_t v;
    size_t whole = 0;
    while (whole < t->rows && data_to_i64(CR_TYPE_F64, &y[whole], 1, &v) == 1) whole++;
    if (whole == t->rows) { /* the same memory: an int64 takes the place of its double */
        type = CR_TYPE_I64;
        for (size_t i = 0; i < t->rows; i++) {
            data_to_i64(CR_TYPE_F64, &y[i], 1, &v);
            memcpy(&y[i], &v, sizeof v);
        }
    }
    return data_take(d, "label", type, 1, dim, y) == CR_OK || source_oom(t->s->from);
}

static bool read_table(table *t, cr_data *d, const char *label)
{
    next_line(t);
    if (t->p == t->end) return stream_fail(t->s, CR_EVALUE, "holds no numbers; it is empty");
    t->separator = sniff(t);
    if (!read_header(t) || !find_label(t, label)) return false;
    next_line(t);
    t->first_line = t->line;
    while (t->p < t->end) {
        if (!read_row(t)) return false;
        next_line(t);
    }
    if (t->rows == 0) return stream_fail(t->s, CR_EVALUE, "has a header and no rows");
    return take(t, d);
}

static bool read_text(stream *s, cr_data *d, const char *label)
{
    char *text;
    size_t n, mark = 0;
    if (!stream_all(s, &text, &n)) return false;
    if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) mark = 3;
    table t = {.s = s, .p = text + mark, .end = text + n, .line = 1, .separator = ','};
    bool ok = memchr(text, 0, n) ? stream_fail(s, CR_EVALUE, "not a file of text") : read_table(&t, d, label);
    for (size_t i = 0; i < t.n_names; i++) mem_free(t.name[i]);
    mem_free(t.name);
    mem_free(t.x);
    mem_free(t.y);
    mem_free(text);
    return ok;
}

/* In the locale C, for this thread and this time: the point of a number is a point. */
bool csv_read(stream *s, cr_data *d, const cr_data_options *o)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c) return source_oom(s->from);
    locale_t before = uselocale(c);
    bool ok = read_text(s, d, o->label);
    uselocale(before);
    freelocale(c);
    return ok;
}

/* ---- writing ---------------------------------------------------------------------------------- */

static size_t width_of(const cr_tensor *t) { return t->rank == 2 ? (size_t)t->dim[1] : 1; }

static void put_quoted(strbuf *b, const char *text)
{
    bool quote = strpbrk(text, ",;\t\"\r\n") != NULL;
    if (quote) sb_putc(b, '"');
    for (; *text; text++) {
        if (*text == '"') sb_putc(b, '"');
        sb_putc(b, *text);
    }
    if (quote) sb_putc(b, '"');
}

/* The names, of a matrix with the number of the column. One of them must be no number, or the header would be read as a
 * row. */
static bool put_header(sink *k, const cr_data *d, strbuf *b)
{
    bool tells = false;
    strbuf name;
    sb_init(&name);
    for (size_t i = 0; i < d->n; i++) {
        const cr_tensor *t = &d->tensor[i];
        for (size_t c = 0; c < width_of(t); c++) {
            double v;
            name.n = 0;
            sb_puts(&name, t->name);
            if (t->rank == 2) sb_printf(&name, "%zu", c + 1);
            const char *text = sb_str(&name), *p = number(text, &v);
            tells |= *text && !(p && *p == '\0');
            if (i || c) sb_putc(b, ',');
            put_quoted(b, text);
        }
    }
    sb_putc(b, '\n');
    if (name.status != CR_OK) b->status = name.status;
    sb_free(&name);
    return tells || b->status != CR_OK ||
           sink_fail(k, CR_EUNSUPPORTED, "a column called `%s` would be read as numbers, not as a header",
                     d->tensor[0].name);
}

static void put_number(strbuf *b, const cr_tensor *t, size_t i)
{
    int64_t whole;
    double v;
    if (cr_tensor_i64(t, i, 1, &whole) && t->type != CR_TYPE_F64 && t->type != CR_TYPE_F32) {
        sb_printf(b, "%lld", (long long)whole);
    } else if (t->type == CR_TYPE_U64) {
        uint64_t u;
        memcpy(&u, (const char *)t->data + i * sizeof u, sizeof u);
        sb_printf(b, "%llu", (unsigned long long)u);
    } else {
        cr_tensor_f64(t, i, 1, &v);
        sb_number(b, v);
    }
}

static bool fits(sink *k, const cr_data *d)
{
    if (d->n < 1 || d->n > 2)
        return sink_fail(k, CR_EARG, "a CSV file holds one or two arrays side by side, not %zu; .npz holds more", d->n);
    for (size_t i = 0; i < d->n; i++) {
        const cr_tensor *t = &d->tensor[i];
        if (t->rank < 1 || t->rank > 2 || t->count == 0 || t->dim[0] != d->tensor[0].dim[0]) {
            strbuf b;
            sb_init(&b);
            data_shape(&b, t->rank, t->dim);
            sink_fail(k, CR_EUNSUPPORTED, "`%s` (%s) does not fit into the rows of a CSV file; .npz holds it", t->name,
                      sb_str(&b));
            sb_free(&b);
            return false;
        }
    }
    return true;
}

bool csv_write(sink *k, const cr_data *d)
{
    if (!fits(k, d)) return false;
    strbuf b;
    sb_init(&b);
    size_t rows = (size_t)d->tensor[0].dim[0];
    bool ok = put_header(k, d, &b);
    for (size_t row = 0; ok && row < rows; row++) {
        for (size_t i = 0; i < d->n; i++) {
            const cr_tensor *t = &d->tensor[i];
            for (size_t c = 0, width = width_of(t); c < width; c++) {
                if (i || c) sb_putc(&b, ',');
                put_number(&b, t, row * width + c);
            }
        }
        sb_putc(&b, '\n');
        if (b.status != CR_OK) break;
        sink_put(k, sb_str(&b), b.n);
        ok = k->err->status == CR_OK;
        b.n = 0;
    }
    if (b.status != CR_OK) sink_fail(k, CR_ENOMEM, "out of memory");
    sb_free(&b);
    return k->err->status == CR_OK;
}
