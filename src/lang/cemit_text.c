/* Pieces of C: expressions, names, integers, loops, and what can be proved of an index. */
#include "lang/cemit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = 1 << 20, DIM_NESTING = 128 };

bool ce_failed(const ce *w) { return w->g->err.status != CR_OK; }

void ce_fail(ce *w, cr_status status, const char *message)
{
    if (!ce_failed(w)) graph_fail(w->g, status, "%s", message);
}

static const char *keep(ce *w, strbuf *b)
{
    char *s = b->status == CR_OK ? arena_alloc(&w->mem, b->n + 1) : NULL;
    if (s) memcpy(s, sb_str(b), b->n + 1);
    else if (b->status == CR_ELIMIT) ce_fail(w, CR_ELIMIT, "the expression is too long to print: more than 1 MiB");
    else ce_fail(w, CR_ENOMEM, "out of memory");
    sb_free(b);
    return s ? s : "";
}

const char *ce_format(ce *w, const char *fmt, ...)
{
    strbuf b;
    if (ce_failed(w)) return "";
    sb_init(&b);
    b.limit = MAX_BYTES;
    va_list ap;
    va_start(ap, fmt);
    sb_vprintf(&b, fmt, ap);
    va_end(ap);
    return keep(w, &b);
}

ce_text ce_make(const char *s, unsigned prec) { return (ce_text){s, (uint8_t)prec}; }

const char *ce_in(ce *w, ce_text t, unsigned prec)
{
    if (!t.s) return "";
    return t.prec < prec ? ce_format(w, "(%s)", t.s) : t.s;
}

static void put_line(ce *w, const char *fmt, va_list ap, const char *end)
{
    for (unsigned i = 0; i <= w->indent; i++) sb_puts(&w->lines, "    ");
    sb_vprintf(&w->lines, fmt, ap);
    sb_puts(&w->lines, end);
    if (w->lines.status == CR_ENOMEM) ce_fail(w, CR_ENOMEM, "out of memory");
    if (w->lines.n > MAX_BYTES) ce_fail(w, CR_ELIMIT, "the expression is too long to print: more than 1 MiB");
}

void ce_line(ce *w, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put_line(w, fmt, ap, "\n");
    va_end(ap);
}

void ce_open(ce *w, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put_line(w, fmt, ap, " {\n");
    va_end(ap);
    w->indent++;
}

void ce_close(ce *w)
{
    w->indent--;
    ce_line(w, "}");
}

/* ---- numbers ----------------------------------------------------------------------------------- */

ce_text ce_number(ce *w, double v)
{
    unsigned prec = signbit(v) && !isnan(v) ? CE_UNARY : CE_ATOM;
    if (isnan(v)) return ce_make("NAN", CE_ATOM);
    if (isinf(v)) return ce_make(v < 0 ? "-INFINITY" : "INFINITY", prec);
    strbuf b;
    sb_init(&b);
    sb_number(&b, v);
    if (!strpbrk(sb_str(&b), ".e")) sb_puts(&b, ".0");
    return ce_make(keep(w, &b), prec);
}

static const char *symbol_text(void *user, dim_sym s)
{
    ce *w = user;
    for (unsigned i = 0; i < w->n_bound; i++)
        if (w->bound[i] == s) return w->bound_name[i] ? w->bound_name[i] : "";
    ce_name *n = ce_name_of(w, s);
    if (!n) return ce_fail(w, CR_EINTERNAL, "C: an index without a name"), "";
    n->used = true;
    return n->c;
}

/* From the text of the language: floor(a/b) is cr_floor(a, b), n^3 is n*n*n. */
ce_text ce_dim(ce *w, cr_dim d)
{
    strbuf raw, b;
    int64_t v;
    if (!d) return ce_make("", CE_ATOM); /* overflow: the error is set */
    if (dim_value(w->g->dims, d, &v)) return ce_make(ce_format(w, "%lld", (long long)v), v < 0 ? CE_UNARY : CE_ATOM);
    unsigned prec = dim_is_symbol(w->g->dims, d, &(dim_sym){0}) ? CE_ATOM
                    : dim_is_sum(w->g->dims, d)                 ? CE_ADD
                                                                : CE_MUL;
    sb_init(&raw);
    sb_init(&b);
    b.limit = MAX_BYTES;
    dim_print(w->g->dims, d, &raw, symbol_text, w);
    size_t open[DIM_NESTING], depth = 0, atom = 0; /* where brackets and the last atom begin in b */
    bool ok = raw.status == CR_OK, word = false;
    for (const char *c = sb_str(&raw); *c && ok; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_';
        if (letter && !word) atom = b.n;
        if (!strncmp(c, "floor(", 6) && !word) {
            sb_puts(&b, ce_use(w, CEH_FLOOR));
            c += 4;
        } else if (*c == '(') {
            ok = depth < DIM_NESTING;
            if (ok) open[depth++] = word || (b.n && sb_str(&b)[b.n - 1] == 'r') ? atom : b.n;
            sb_putc(&b, '(');
        } else if (*c == ')') {
            ok = depth > 0;
            if (ok) atom = open[--depth];
            sb_putc(&b, ')');
        } else if (*c == '/') {
            sb_puts(&b, ", ");
        } else if (*c == '^') {
            char *end;
            unsigned long power = strtoul(c + 1, &end, 10);
            const char *again = ce_format(w, "%s", sb_str(&b) + atom);
            for (unsigned long k = 1; k < power && b.status == CR_OK; k++) sb_printf(&b, " * %s", again);
            c = end - 1;
        } else if (*c == '*') {
            sb_puts(&b, " * ");
        } else if (*c == '+' || (*c == '-' && b.n && sb_str(&b)[b.n - 1] != '(' && sb_str(&b)[b.n - 1] != ' ')) {
            sb_printf(&b, " %c ", *c);
        } else {
            sb_putc(&b, *c);
        }
        word = letter;
    }
    if (!ok && raw.status == CR_OK) ce_fail(w, CR_ELIMIT, "a size too deep to print");
    if (raw.status != CR_OK) b.status = raw.status;
    sb_free(&raw);
    return ce_make(keep(w, &b), prec);
}

const char *ce_dim_in(ce *w, cr_dim d, unsigned prec) { return ce_in(w, ce_dim(w, d), prec); }

/* ---- names ------------------------------------------------------------------------------------- */

static const char *const reserved[] = {
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
    "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
    "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "asm", "bool", "true",
    "false", "complex", "I", "exp", "expm1", "log", "log1p", "sqrt", "fabs", "fmax", "fmod", "pow", "sin", "cos", "tan",
    "sinh", "cosh", "tanh", "asin", "acos", "atan", "erf", "erfc", "hypot", "ldexp", "ilogb", "copysign", "isnan",
    "floor",
    "malloc", "calloc", "free", "memcpy", "size_t", "ptrdiff_t", "NULL", "NAN", "INFINITY", "status", "work", "end",
    "order", "z", "first", "last",
    "class", "new", "delete", "this", "template", "typename", "namespace", "operator", "private", "public", "using",
};

static bool taken(const ce *w, const char *s)
{
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (!strcmp(s, reserved[i])) return true;
    for (int h = 0; h < CE_HELPERS; h++)
        if (!strcmp(s, ce_helper_name((ce_helper)h))) return true;
    for (size_t i = 0; i < w->n_name; i++)
        if (!strcmp(s, w->name[i].c)) return true;
    for (unsigned i = 0; i < w->n_outputs; i++)
        if (!strcmp(s, w->what->name[i])) return true;
    return !strcmp(s, w->what->function);
}

ce_name *ce_name_of(ce *w, dim_sym s)
{
    for (size_t i = 0; i < w->n_name; i++)
        if (w->name[i].s == s) return &w->name[i];
    return NULL;
}

/* ASCII alone: what is not has its code point in it, alpha is u03b1. */
bool ce_name_add(ce *w, dim_sym s, bool size)
{
    ce_name *known = ce_name_of(w, s);
    if (known) return known->size = known->size || size, true;
    strbuf b;
    sb_init(&b);
    for (const unsigned char *c = (const unsigned char *)name_text(w->g->dims, s); *c;) {
        unsigned code = *c++;
        if (code < 0x80) {
            sb_putc(&b, (char)code);
            continue;
        }
        unsigned more = code >= 0xf0 ? 3 : code >= 0xe0 ? 2 : 1;
        code &= 0x3fu >> more;
        for (; more && *c; more--) code = code << 6 | (*c++ & 0x3fu);
        sb_printf(&b, "u%04x", code);
    }
    const char *c = keep(w, &b);
    while (!ce_failed(w) && taken(w, c)) c = ce_format(w, "%s_", c);
    if (!VEC_RESERVE(w->name, w->name_cap, w->n_name + 1)) ce_fail(w, CR_ENOMEM, "out of memory");
    else w->name[w->n_name++] = (ce_name){.s = s, .c = c, .size = size};
    return !ce_failed(w);
}

const char *ce_fresh(ce *w, const char *stem)
{
    for (;;) {
        const char *s = ce_format(w, "%s%u", stem, ++w->n_names);
        if (ce_failed(w) || !taken(w, s)) return s;
    }
}

/* ---- loops ------------------------------------------------------------------------------------- */

/* The name of an index is that of its depth, so that loops which are one inside of the other differ. */
const char *ce_loop(ce *w, const char *lo, const char *compare, const char *hi)
{
    static const char *const first[] = {"i", "j", "k", "l", "p", "q", "r", "s"};
    const unsigned n_first = sizeof first / sizeof *first;
    const char *name = "";
    for (unsigned n = 0, left = w->n_loops + 1; left && !ce_failed(w); n++) {
        name = n < n_first ? first[n] : ce_format(w, "i%u", n - n_first + 1);
        if (!taken(w, name)) left--;
    }
    w->n_loops++;
    ce_open(w, "for (ptrdiff_t %s = %s; %s %s %s; %s++)", name, lo, name, compare, hi, name);
    return name;
}

void ce_loop_end(ce *w)
{
    w->n_loops--;
    ce_close(w);
}

unsigned ce_loops(ce *w, unsigned rank, const cr_dim *size, ce_text *index)
{
    unsigned loops = 0;
    for (unsigned k = 0; k < rank; k++) {
        int64_t n;
        bool one = dim_value(w->g->dims, size[k], &n) && n == 1;
        index[k] = ce_make(one ? "0" : ce_loop(w, "0", "<", ce_dim_in(w, size[k], CE_ADD)), CE_ATOM);
        loops += !one;
    }
    return loops;
}

void ce_loops_end(ce *w, unsigned loops)
{
    while (loops--) ce_loop_end(w);
}

ce_text ce_flat(ce *w, unsigned rank, const cr_dim *size, const ce_text *index)
{
    if (rank == 0) return ce_make("0", CE_ATOM);
    ce_text at = index[0];
    for (unsigned k = 1; k < rank; k++) {
        const char *i = ce_in(w, index[k], CE_ADD), *last = strcmp(i, "0") ? ce_format(w, " + %s", i) : "";
        int64_t n;
        bool one = dim_value(w->g->dims, size[k], &n) && n == 1;
        if (!strcmp(at.s ? at.s : "", "0")) at = index[k];
        else if (one && !*last) continue;
        else if (one) at = ce_make(ce_format(w, "%s%s", ce_in(w, at, CE_ADD), last), CE_ADD);
        else
            at = ce_make(ce_format(w, "%s * %s%s", ce_in(w, at, CE_MUL), ce_dim_in(w, size[k], CE_UNARY), last),
                         *last ? CE_ADD : CE_MUL);
    }
    return at;
}

/* ---- helpers ----------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int needs;
    const char *source;
} helpers[CE_HELPERS] = {
#define CE_HELPER(id, name, needs, source) [CEH_##id] = {name, needs, source},
#include "lang/cemit_helpers.def"
#undef CE_HELPER
};

const char *ce_helper_name(ce_helper h) { return helpers[h].name; }

const char *ce_use(ce *w, ce_helper h)
{
    for (int i = (int)h; i >= 0; i = helpers[i].needs) w->helper[i] = true;
    return helpers[h].name;
}

/* Sources of several derivatives may be put into one file: what they share is taken once. */
void ce_helpers_write(const ce *w, strbuf *out)
{
    for (int h = 0; h < CE_HELPERS; h++)
        if (w->helper[h])
            sb_printf(out, "#ifndef HAVE_%s\n#define HAVE_%s\n%s#endif\n\n", helpers[h].name, helpers[h].name,
                      helpers[h].source);
}

/* ---- ranges ------------------------------------------------------------------------------------ */

bool ce_range_push(ce *w, dim_sym s, cr_dim lo, cr_dim hi)
{
    if (!VEC_RESERVE(w->range, w->range_cap, w->n_range + 1)) return ce_fail(w, CR_ENOMEM, "out of memory"), false;
    w->range[w->n_range++] = (ce_range){s, lo, hi};
    return true;
}

/* d where the indices in it are at one end of their ranges; 0 where that cannot be told. */
static cr_dim extreme(ce *w, cr_dim d, bool most)
{
    for (size_t i = w->n_range; i > 0 && d; i--) { /* innermost first: its bounds may name the others */
        const ce_range *r = &w->range[i - 1];
        int64_t a;
        cr_dim rest;
        if (!dim_uses(w->g->dims, d, r->s)) continue;
        if (!dim_linear_in(w->g->dims, d, r->s, &a, &rest)) return 0;
        d = dim_substitute(w->g->dims, d, r->s, (a > 0) == most ? r->hi : r->lo);
    }
    return d;
}

static void note_size(void *user, dim_sym s)
{
    ce_name *n = ce_name_of(user, s);
    if (n) n->supposed = true;
}

typedef struct size_scan {
    ce *w;
    bool all;
} size_scan;

static void all_sizes(void *user, dim_sym s)
{
    size_scan *k = user;
    ce_name *n = ce_name_of(k->w, s);
    k->all = k->all && n && n->size;
}

bool ce_surely(ce *w, cr_dim d)
{
    int64_t least;
    size_scan scan = {w, true};
    d = extreme(w, d, false);
    if (!d) return false;
    dim_symbols(w->g->dims, d, all_sizes, &scan);
    if (!scan.all || !family_least(w->g, d, &least) || least < 0) return false;
    dim_symbols(w->g->dims, d, note_size, w);
    return true;
}

cr_dim ce_most(ce *w, cr_dim d)
{
    cr_dim most = extreme(w, d, true);
    if (!most) ce_fail(w, CR_EUNSUPPORTED, "C: an array whose size is no linear function of an index");
    return most;
}

const char *ce_check(ce *w, bool guarded, unsigned n, const cr_dim *d)
{
    strbuf b;
    sb_init(&b);
    for (unsigned i = 0; i < n && !ce_failed(w); i++) {
        if (!d[i] || ce_surely(w, d[i])) continue;
        const char *c = ce_format(w, "%s >= 0", ce_dim_in(w, d[i], CE_ADD));
        if (!guarded && !ce_bits(w, d[i])) {
            const char *line = ce_format(w, "    if (!(%s)) return 2;\n", c);
            if (!strstr(sb_str(&w->checks), line)) sb_puts(&w->checks, line);
        } else {
            sb_printf(&b, "%s%s", b.n ? " && " : "", c);
        }
    }
    const char *s = b.n ? keep(w, &b) : NULL;
    sb_free(&b);
    return s;
}

/* ---- arrays ------------------------------------------------------------------------------------ */

bool ce_scratch_add(ce *w, const char *name, const char *size, int64_t n)
{
    if (!VEC_RESERVE(w->scratch, w->scratch_cap, w->n_scratch + 1))
        return ce_fail(w, CR_ENOMEM, "out of memory"), false;
    w->scratch[w->n_scratch++] = (ce_scratch){name, size, n};
    return true;
}

const char *ce_scratch_new(ce *w, cr_dim size)
{
    int64_t n = -1;
    const char *name = ce_fresh(w, "t");
    size = ce_most(w, size);
    ce_check(w, false, 1, &size);
    if (!dim_value(w->g->dims, size, &n)) n = -1;
    ce_scratch_add(w, name, ce_dim_in(w, size, CE_ADD), n);
    return name;
}
