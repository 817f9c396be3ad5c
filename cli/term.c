/* Text for people: colour on a terminal only, labels in one column. */
#include "cli.h"

#include <float.h>
#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const ink_code[] = {"", "\033[1m", "\033[36m", "\033[2m", "\033[32m", "\033[31m", "\033[33m"};

bool term_colour(FILE *f)
{
    const char *no = getenv("NO_COLOR"), *kind = getenv("TERM");
    return (!no || !*no) && kind && strcmp(kind, "dumb") && isatty(fileno(f));
}

bool term_unicode(void)
{
    if (!isatty(STDOUT_FILENO)) return false;
    setlocale(LC_CTYPE, "");
    return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

static bool coloured(void)
{
    static int known = -1; /* of standard output, which does not change */
    if (known < 0) known = term_colour(stdout);
    return known;
}

void term_put(ink colour, const char *s)
{
    bool c = colour != INK_PLAIN && coloured();
    if (c) fputs(ink_code[colour], stdout);
    fputs(s, stdout);
    if (c) fputs("\033[0m", stdout);
}

void term_printf(ink colour, const char *fmt, ...)
{
    bool c = colour != INK_PLAIN && coloured();
    va_list ap;
    va_start(ap, fmt);
    if (c) fputs(ink_code[colour], stdout);
    vprintf(fmt, ap);
    if (c) fputs("\033[0m", stdout);
    va_end(ap);
}

void term_query(const char *query, bool first)
{
    if (!first) putchar('\n');
    term_put(INK_QUERY, query);
    putchar('\n');
}

void term_label(const char *label)
{
    char s[32];
    snprintf(s, sizeof s, "    %-9s", label);
    term_put(INK_LABEL, s);
}

void term_lines(ink colour, const char *text, unsigned indent)
{
    for (;;) {
        size_t n = strcspn(text, "\n");
        term_printf(colour, "%.*s", (int)n, text);
        putchar('\n');
        text += n;
        if (!*text || !text[1]) return;
        text++;
        if (*text != '\n') printf("%*s", (int)indent, "");
    }
}

/* The end of what stands before the next comma of this level, or before the bracket that ends the level. */
static size_t argument(const char *s)
{
    int level = 0;
    size_t n = 0;
    for (; s[n]; n++) {
        if (strchr("([", s[n])) level++;
        if (strchr(")]", s[n]) && level-- == 0) break;
        if (s[n] == ',' && level == 0) break;
    }
    return n;
}

void term_cases(ink colour, const char *text, unsigned indent, unsigned width)
{
    if (strlen(text) + indent > width && !strchr(text, '\n'))
        while (!strncmp(text, "if(", 3)) {
            size_t n = 3 + argument(text + 3);
            if (text[n] != ',') break;
            n++;
            n += argument(text + n);
            if (text[n] != ',' || text[n + 1] != ' ') break;
            term_printf(colour, "%.*s", (int)n + 1, text);
            printf("\n%*s", (int)indent, "");
            text += n + 2;
        }
    term_lines(colour, text, indent);
}

/* ---- numbers ---------------------------------------------------------------------------------- */

double plain(double v) { return isnan(v) ? (double)NAN : v + 0.0; }

void number_text(double v, char out[32])
{
    if (isnan(v)) {
        strcpy(out, "nan");
        return;
    }
    /* 15 digits are never more than needed for a normal number; a subnormal one has fewer significant bits. */
    for (int digits = fabs(v) < DBL_MIN ? 1 : DBL_DIG; digits <= 17; digits++) {
        snprintf(out, 32, "%.*g", digits, v);
        if (isinf(v) || strtod(out, NULL) == v) return;
    }
}

/* The shortest that reads back as the same float. */
static void float_text(float v, char out[32])
{
    for (int digits = fabsf(v) < FLT_MIN ? 1 : FLT_DIG; digits <= 9; digits++) {
        snprintf(out, 32, "%.*g", digits, (double)v);
        if (strtof(out, NULL) == v) return;
    }
}

/* Entry i. Beyond the range of a double: 1.23e-2301, from its sign and logarithm, to as many digits as that has. */
static void entry_text(const cr_array *a, size_t i, char s[32])
{
    double v = a->value[i];
    if (a->f32 && isfinite(v)) float_text((float)v, s);
    else number_text(v, s);
    if (!a->log10_abs || isnormal(v) || !isfinite(a->log10_abs[i])) return;
    double whole = floor(a->log10_abs[i]);
    snprintf(s, 32, "%s%.*fe%+.0f", a->sign[i] < 0 ? "-" : "", fabs(whole) < 1e4 ? 10 : fabs(whole) < 1e7 ? 7 : 3,
             pow(10, a->log10_abs[i] - whole), whole);
}

static void put_entry(const cr_array *a, size_t i, int width)
{
    char s[32];
    double v = a->value[i];
    entry_text(a, i, s);
    const char *t = !a->boolean ? s : v != 0 ? "true" : "false";
    printf("%*s", width, t);
}

/* Vectors on one line, matrices row by row, further axes as lists of matrices: as the language writes them. */
static void put_axes(const cr_array *a, unsigned axis, const double **at, unsigned indent, int width)
{
    if (axis == a->rank) {
        put_entry(a, (size_t)((*at)++ - a->value), 0);
        return;
    }
    putchar('[');
    int64_t n = a->dim[axis];
    for (int64_t i = 0; i < n; i++) {
        if (axis + 2 == a->rank) { /* rows of a matrix */
            for (int64_t j = 0; j < a->dim[axis + 1]; j++) {
                if (j) fputs(", ", stdout);
                put_entry(a, (size_t)((*at)++ - a->value), width);
            }
            if (i + 1 < n) printf(";\n%*s", (int)indent + 1, "");
        } else {
            put_axes(a, axis + 1, at, indent + 1, width);
            if (i + 1 < n) {
                if (axis + 1 == a->rank)
                    fputs(", ", stdout);
                else
                    printf(",\n%*s", (int)indent + 1, "");
            }
        }
    }
    putchar(']');
}

void term_array(const cr_array *a, unsigned indent)
{
    int width = 0;
    for (size_t i = 0; i < a->n && a->rank > 1; i++) {
        char s[32];
        entry_text(a, i, s);
        if (a->boolean) strcpy(s, a->value[i] != 0 ? "true" : "false");
        if ((int)strlen(s) > width) width = (int)strlen(s);
    }
    const double *at = a->value;
    put_axes(a, 0, &at, indent, width);
    putchar('\n');
}
