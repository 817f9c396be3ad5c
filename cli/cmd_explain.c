/* chainrule explain */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 96, PLOT_ROWS = 12, PLOT_COLUMNS = 60 };

/* What was explained so far. */
typedef struct shown {
    size_t n;
    cr_explanation **before;
} shown;

/* ---- for people ------------------------------------------------------------------------------- */

/* Sentences filled to the width of the page; the backquotes around formulas are taken away. */
static void fill(const char *text, const char *indent)
{
    size_t column = 0;
    while (*text) {
        size_t n = strcspn(text, " "), wide = 0;
        for (size_t i = 0; i < n; i++) wide += text[i] != '`' && ((unsigned char)text[i] & 0xC0) != 0x80;
        if (column && column + 1 + wide > WIDTH) {
            putchar('\n');
            column = 0;
        }
        if (column) putchar(' '), column++;
        else fputs(indent, stdout);
        for (size_t i = 0; i < n; i++)
            if (text[i] != '`') putchar(text[i]);
        column += wide;
        text += n;
        while (*text == ' ') text++;
    }
    putchar('\n');
}

static void print_table(const cr_block *b)
{
    if (*b->text) fill(b->text, "    ");
    size_t width[64] = {0};
    for (size_t i = 0; i < b->n_rows * b->n_columns; i++) {
        size_t n = strlen(b->cell[i]), c = i % b->n_columns;
        if (c < 64 && n > width[c]) width[c] = n;
    }
    for (size_t r = 0; r < b->n_rows; r++) {
        fputs("    ", stdout);
        for (size_t c = 0; c < b->n_columns; c++)
            term_printf(r ? INK_PLAIN : INK_LABEL, "  %*s", (int)(c < 64 ? width[c] : 0),
                        b->cell[r * b->n_columns + c]);
        putchar('\n');
    }
}

/* Points on a grid of characters: `*` the first series, `o` the second. Powers of ten upwards. */
static void print_plot(const cr_block *b)
{
    double left = INFINITY, right = -INFINITY, low = INFINITY, high = -INFINITY;
    for (size_t s = 0; s < b->n_series; s++)
        for (size_t i = 0; i < b->series[s].n; i++) {
            double x = b->series[s].x[i], y = b->series[s].y[i];
            if (!isfinite(y)) continue;
            left = fmin(left, x), right = fmax(right, x);
            low = fmin(low, y), high = fmax(high, y);
        }
    if (!(right > left)) return;
    if (high - low < 1) high += 0.5, low -= 0.5;
    char grid[PLOT_ROWS][PLOT_COLUMNS + 1];
    for (int r = 0; r < PLOT_ROWS; r++) {
        memset(grid[r], ' ', PLOT_COLUMNS);
        grid[r][PLOT_COLUMNS] = '\0';
    }
    for (size_t s = b->n_series; s-- > 0;)
        for (size_t i = 0; i + 1 < b->series[s].n; i++) { /* the points, joined by dots */
            const cr_series *q = &b->series[s];
            for (int t = 0; t <= 40; t++) {
                double f = t / 40.0, x = q->x[i] + f * (q->x[i + 1] - q->x[i]);
                double y = q->y[i] + f * (q->y[i + 1] - q->y[i]);
                if (!isfinite(y)) continue;
                int c = (int)((x - left) / (right - left) * (PLOT_COLUMNS - 1) + 0.5);
                int r = (int)((high - y) / (high - low) * (PLOT_ROWS - 1) + 0.5);
                bool point = t == 0 || t == 40;
                if (point || grid[r][c] == ' ') grid[r][c] = point ? (s ? 'o' : '*') : (s ? '\'' : '.');
            }
        }
    fputs("    ", stdout);
    fputs(b->text, stdout);
    for (size_t s = 0; s < b->n_series; s++) printf("%s%c %s", s ? ", " : ":  ", s ? 'o' : '*', b->series[s].name);
    putchar('\n');
    for (int r = 0; r < PLOT_ROWS; r++) {
        if (r == 0 || r == PLOT_ROWS - 1) printf("    %8.1f |", r ? low : high);
        else printf("    %8s |", "");
        size_t n = PLOT_COLUMNS;
        while (n && grid[r][n - 1] == ' ') n--;
        printf("%.*s\n", (int)n, grid[r]);
    }
    printf("    %8s +", "");
    for (int c = 0; c < PLOT_COLUMNS; c++) putchar('-');
    printf("\n    %8s  %-*.0f%.0f\n", "", PLOT_COLUMNS - 3, left, right);
}

static void print_formula(const cr_block *b, bool unicode)
{
    const char *f = unicode ? b->formula.unicode : b->formula.text;
    unsigned indent = *b->text ? 10 : 6;
    if (*b->text) fill(b->text, "      ");
    printf("%*s", (int)indent, "");
    term_cases(INK_RESULT, f, indent, WIDTH);
}

static bool same(const cr_block *a, const cr_block *b)
{
    if (a->kind != b->kind || strcmp(a->text, b->text)) return false;
    if (a->kind == CR_BLOCK_TEXT) return true;
    if (a->kind != CR_BLOCK_TABLE || a->n_rows != b->n_rows || a->n_columns != b->n_columns) return false;
    for (size_t i = 0; i < a->n_rows * a->n_columns; i++)
        if (strcmp(a->cell[i], b->cell[i])) return false;
    return true;
}

/* Was the block there in an explanation before? Words that lead up to a formula are said again. */
static bool said_before(const shown *s, const cr_explanation *e, size_t i)
{
    const cr_block *b = &e->block[i];
    if (b->kind != CR_BLOCK_TEXT && b->kind != CR_BLOCK_TABLE) return false;
    if (i + 1 < e->n_blocks && b[1].kind == CR_BLOCK_FORMULA) return false;
    for (size_t k = 0; k < s->n; k++)
        for (size_t j = 0; j < s->before[k]->n_blocks; j++)
            if (same(b, &s->before[k]->block[j])) return true;
    return false;
}

static void print_text(const shown *s, const cr_explanation *e, bool unicode)
{
    term_query(e->query, s->n == 0);
    bool skipped = false;
    for (size_t i = 0; i < e->n_blocks; i++) {
        const cr_block *b = &e->block[i];
        bool formula = b->kind == CR_BLOCK_FORMULA, said = said_before(s, e, i);
        if (said && !skipped) puts("\n    As above.");
        skipped = said;
        if (said) continue;
        if (!(formula && i && e->block[i - 1].kind == CR_BLOCK_FORMULA)) putchar('\n');
        switch (b->kind) {
        case CR_BLOCK_TITLE: printf("  "); term_put(INK_QUERY, b->text); putchar('\n'); break;
        case CR_BLOCK_TEXT: fill(b->text, "    "); break;
        case CR_BLOCK_FORMULA: print_formula(b, unicode); break;
        case CR_BLOCK_TABLE: print_table(b); break;
        case CR_BLOCK_PLOT: print_plot(b); break;
        }
    }
}

/* ---- LaTeX ------------------------------------------------------------------------------------- */

/* The length of a power of ten at t, like 10^-12.3; 0: there is none. */
static size_t power_at(const char *t)
{
    if (strncmp(t, "10^", 3)) return 0;
    size_t sign = 3 + (t[3] == '-'), n = sign + strspn(t + sign, "0123456789");
    if (n == sign) return 0;
    size_t point = t[n] == '.' ? strspn(t + n + 1, "0123456789") : 0;
    return point ? n + 1 + point : n;
}

/* Text with what is special in LaTeX escaped; formulas between backquotes as code. */
static void latex_text(const char *t)
{
    bool code = false;
    for (; *t; t++) {
        size_t n = code ? 0 : power_at(t);
        if (n) {
            printf("$10^{%.*s}$", (int)n - 3, t + 3);
            t += n - 1;
            continue;
        }
        if (!code && (*t == '<' || *t == '>')) {
            fputs(t[1] == '=' ? *t == '<' ? "$\\le$" : "$\\ge$" : *t == '<' ? "$<$" : "$>$", stdout);
            t += t[1] == '=';
            continue;
        }
        switch (*t) {
        case '`': fputs(code ? "}" : "\\texttt{", stdout); code = !code; break;
        case '_': case '%': case '&': case '#': case '$': case '{': case '}': putchar('\\'); putchar(*t); break;
        case '^': fputs("\\^{}", stdout); break;
        case '\\': fputs("\\textbackslash{}", stdout); break;
        case '~': fputs("\\~{}", stdout); break;
        case '<': fputs("\\textless{}", stdout); break;
        case '>': fputs("\\textgreater{}", stdout); break;
        case '|': fputs(code ? "\\textbar{}" : "$|$", stdout); break;
        default: putchar(*t);
        }
    }
}

static void latex_plot(const cr_block *b)
{
    fputs("% ", stdout);
    fputs(b->text, stdout);
    putchar('\n');
    for (size_t s = 0; s < b->n_series; s++) {
        printf("%% %s:", b->series[s].name);
        for (size_t i = 0; i < b->series[s].n; i++)
            if (isfinite(b->series[s].y[i])) printf(" (%g,%.4g)", b->series[s].x[i], b->series[s].y[i]);
        putchar('\n');
    }
}

static void print_latex(const cr_explanation *e)
{
    fputs("\\section*{\\texttt{", stdout);
    latex_text(e->query);
    puts("}}");
    for (size_t i = 0; i < e->n_blocks; i++) {
        const cr_block *b = &e->block[i];
        switch (b->kind) {
        case CR_BLOCK_TITLE:
            fputs("\\subsection*{", stdout);
            latex_text(b->text);
            puts("}");
            break;
        case CR_BLOCK_TEXT:
            latex_text(b->text);
            puts("\n");
            break;
        case CR_BLOCK_FORMULA:
            if (*b->text) {
                fputs("\\noindent ", stdout);
                latex_text(b->text);
                putchar('\n');
            }
            printf("\\[ %s \\]\n", b->formula.latex);
            break;
        case CR_BLOCK_TABLE:
            latex_text(b->text);
            fputs("\n\n{\\renewcommand{\\arraystretch}{1.2}\\begin{tabular}{", stdout);
            for (size_t c = 0; c < b->n_columns; c++) putchar('r');
            puts("}");
            for (size_t r = 0; r < b->n_rows; r++) {
                for (size_t c = 0; c < b->n_columns; c++) {
                    if (c) fputs(" & ", stdout);
                    latex_text(b->cell[r * b->n_columns + c]);
                }
                puts(r ? " \\\\" : " \\\\ \\hline");
            }
            puts("\\end{tabular}}\n");
            break;
        case CR_BLOCK_PLOT: latex_plot(b); break;
        }
    }
}

/* ---- JSON ------------------------------------------------------------------------------------- */

static json_t *formula_json(const cr_formula *f)
{
    return json_pack("{s:o, s:o, s:o}", "text", json_text(f->text), "unicode", json_text(f->unicode), "latex",
                     json_text(f->latex));
}

static json_t *numbers(size_t n, const double *v)
{
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(a, json_finite(v[i]));
    return a;
}

static json_t *block_json(const cr_block *b)
{
    static const char *const kind[] = {"title", "text", "formula", "table", "plot"};
    json_t *o = json_pack("{s:s, s:o}", "kind", kind[b->kind], "text", json_text(b->text));
    if (b->kind == CR_BLOCK_FORMULA) json_object_set_new(o, "formula", formula_json(&b->formula));
    if (b->kind == CR_BLOCK_TABLE) {
        json_t *rows = json_array();
        for (size_t r = 0; r < b->n_rows; r++) {
            json_t *row = json_array();
            for (size_t c = 0; c < b->n_columns; c++)
                json_array_append_new(row, json_text(b->cell[r * b->n_columns + c]));
            json_array_append_new(rows, row);
        }
        json_object_set_new(o, "rows", rows);
    }
    if (b->kind == CR_BLOCK_PLOT) {
        json_t *series = json_array();
        for (size_t s = 0; s < b->n_series; s++)
            json_array_append_new(series, json_pack("{s:o, s:o, s:o}", "name", json_text(b->series[s].name), "x",
                                                    numbers(b->series[s].n, b->series[s].x), "y",
                                                    numbers(b->series[s].n, b->series[s].y)));
        json_object_set_new(o, "series", series);
    }
    return o;
}

static json_t *explanation_json(const cr_explanation *e)
{
    json_t *r = json_pack("{s:o, s:o, s:o, s:o}", "query", json_text(e->query), "activation", json_text(e->activation),
                          "slope", json_pack("{s:o, s:o, s:o}", "min", json_finite(e->slope_min), "max",
                                             json_finite(e->slope_max), "at", json_finite(e->slope_at)),
                          "threshold", json_finite(e->threshold));
    json_t *depths = json_array(), *designs = json_array(), *blocks = json_array();
    for (size_t i = 0; i < e->n_depths; i++)
        json_array_append_new(depths, json_pack("{s:I, s:o, s:o}", "N", (json_int_t)e->depth[i], "log10_gradient",
                                                json_finite(e->log10_gradient[i]), "log10_bound",
                                                json_finite(e->log10_bound[i])));
    json_object_set_new(r, "magnitudes", depths);
    json_object_set_new(r, "log10_layers", numbers(e->n_layers, e->log10_layer));
    for (size_t i = 0; i < e->n_architectures; i++) {
        const cr_architecture *a = &e->architecture[i];
        json_array_append_new(designs, json_pack("{s:o, s:o, s:o, s:o}", "name", json_text(a->name), "rules",
                                                 json_text(a->rules), "gradient", formula_json(&a->gradient),
                                                 "log10_layers", numbers(e->n_layers, a->log10_layer)));
    }
    json_object_set_new(r, "architectures", designs);
    for (size_t i = 0; i < e->n_blocks; i++) json_array_append_new(blocks, block_json(&e->block[i]));
    json_object_set_new(r, "blocks", blocks);
    return r;
}

/* ---- the command ------------------------------------------------------------------------------ */

int cmd_explain(session *s)
{
    const options *o = s->o;
    bool human = !o->json || strcmp(o->json, "-");
    bool latex = o->n_formats && o->format[0] == CR_LATEX;
    bool unicode = o->n_formats ? o->format[0] == CR_UNICODE : human && term_unicode();
    json_t *results = json_array();
    if (s->doc) json_object_set(s->doc, "results", results);
    int status = EXIT_DONE;
    bool any = false;
    shown done = {0};
    for (size_t i = 0; i < s->n; i++) any |= cr_program_network(s->p, s->statement[i]) != 0;
    done.before = malloc((s->n + 1) * sizeof *done.before);
    if (!done.before) {
        fputs("chainrule: out of memory\n", stderr);
        status = EXIT_FAULT;
    }
    for (size_t i = 0; i < s->n && status == EXIT_DONE; i++) {
        cr_explanation *e = NULL;
        unsigned network = cr_program_network(s->p, s->statement[i]);
        bool again = any && !network; /* one explanation for each network */
        for (size_t k = 0; k < i && !again; k++) again = any && cr_program_network(s->p, s->statement[k]) == network;
        if (again) continue;
        bool last = true; /* architectures are compared once, at the end */
        for (size_t k = i + 1; k < s->n && last; k++) {
            unsigned later = cr_program_network(s->p, s->statement[k]);
            last = later == 0 || later == network;
        }
        if (cr_program_explain(s->p, s->statement[i], last, &e) != CR_OK) {
            status = session_fail(s);
            break;
        }
        if (s->doc) json_array_append_new(results, explanation_json(e));
        if (human && latex) print_latex(e);
        else if (human) print_text(&done, e, unicode);
        done.before[done.n++] = e;
    }
    for (size_t k = 0; k < done.n; k++) cr_explanation_free(done.before[k]);
    free(done.before);
    json_decref(results);
    return status;
}
