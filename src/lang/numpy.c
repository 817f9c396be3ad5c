/* lang_print_numpy: the function derivative(...), its parameters, the sizes that it takes from its arguments, its
 * helpers (numpy_helpers.c). numpy_expr.c and numpy_einsum.c write the operators, numpy_family.c recurrences. */
#include "graph/window.h"
#include "lang/numpy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- pieces of text ---------------------------------------------------------------------------- */

static const char *keep(py *w, strbuf *b)
{
    char *s = NULL;
    if (b->status == CR_OK) s = arena_alloc(&w->p.mem, b->n + 1);
    if (s) memcpy(s, sb_str(b), b->n + 1);
    else graph_fail(w->g, b->status == CR_ELIMIT ? CR_ELIMIT : CR_ENOMEM, "%s",
                    b->status == CR_ELIMIT ? "the expression is too long to print: more than 1 MiB" : "out of memory");
    sb_free(b);
    return s;
}

const char *py_format(py *w, const char *fmt, ...)
{
    strbuf b;
    sb_init(&b);
    b.limit = PR_MAX_BYTES;
    if (pr_failed(&w->p)) return "";
    va_list ap;
    va_start(ap, fmt);
    sb_vprintf(&b, fmt, ap);
    va_end(ap);
    const char *s = keep(w, &b);
    return s ? s : "";
}

py_text py_make(const char *s, unsigned prec, bool full) { return (py_text){s, (uint8_t)prec, full}; }

const char *py_in(py *w, py_text t, unsigned prec)
{
    if (!t.s) return "";
    return t.prec < prec ? py_format(w, "(%s)", t.s) : t.s;
}

bool py_clashes(const char *s)
{
    static const char *const python[] = {
        "False", "None",     "True",  "and",    "as",   "assert", "async",  "await",    "break",
        "class", "continue", "def",   "del",    "elif", "else",   "except", "finally",  "for",
        "from",  "global",   "if",    "import", "in",   "is",     "lambda", "nonlocal", "not",
        "or",    "pass",     "raise", "return", "try",  "while",  "with",   "yield",    "np"};
    for (size_t i = 0; i < sizeof python / sizeof *python; i++)
        if (!strcmp(s, python[i])) return true;
    for (size_t i = 0; i < PY_HELPERS; i++)
        if (!strcmp(s, py_helpers[i].name)) return true;
    return false;
}

const char *py_name(py *w, dim_sym s)
{
    cr_graph *g = w->g;
    const char *name = name_text(g->dims, s);
    if (!py_clashes(name)) return name;
    for (;;) { /* lambda is lambda_, or lambda__ where there is a variable lambda_ */
        name = py_format(w, "%s_", name);
        dim_sym taken = name_intern(g->dims, name, strlen(name));
        if (pr_failed(&w->p) || taken >= g->param_cap || !g->param_by_name[taken]) return name;
    }
}

static const char *symbol_name(void *user, dim_sym s)
{
    py *w = user;
    for (size_t i = 0; i < w->p.n_bound; i++)
        if (w->p.bound[i].symbol == s) return name_text(w->g->dims, w->p.bound[i].name);
    py_symbol_list *l = w->symbols;
    size_t i = 0;
    while (i < l->n && l->s[i] != s) i++;
    if (i == l->n) {
        if (!VEC_RESERVE(l->s, l->cap, l->n + 1)) pr_fail(&w->p, CR_ENOMEM, "out of memory");
        else l->s[l->n++] = s;
    }
    return py_name(w, s);
}

/* floor(a/b) is (a//b), a power is **. */
const char *py_dim(py *w, cr_dim d, unsigned *prec)
{
    strbuf raw, b;
    int64_t v;
    *prec = PY_ATOM;
    if (!d) return ""; /* overflow: the error is set */
    if (dim_value(w->g->dims, d, &v)) {
        if (v < 0) *prec = PY_NEG;
        return py_format(w, "%lld", (long long)v);
    }
    if (!dim_is_symbol(w->g->dims, d, &(dim_sym){0})) *prec = dim_is_sum(w->g->dims, d) ? PY_ADD : PY_MUL;
    sb_init(&raw);
    sb_init(&b);
    dim_print(w->g->dims, d, &raw, symbol_name, w);
    for (const char *c = sb_str(&raw); *c; c++) {
        bool word = c > sb_str(&raw) && (c[-1] == '_' || (c[-1] >= 'a' && c[-1] <= 'z') ||
                                         (c[-1] >= 'A' && c[-1] <= 'Z') || (c[-1] >= '0' && c[-1] <= '9'));
        if (!strncmp(c, "floor(", 6) && !word) c += 4;
        else if (*c == '/') sb_puts(&b, "//");
        else if (*c == '^') sb_puts(&b, "**");
        else if (*c == '+' || (*c == '-' && c > sb_str(&raw) && c[-1] != '(')) sb_printf(&b, " %c ", *c);
        else if (*c == '*') sb_puts(&b, " * ");
        else sb_putc(&b, *c);
    }
    if (raw.status != CR_OK) b.status = raw.status;
    sb_free(&raw);
    const char *s = keep(w, &b);
    return s ? s : "";
}

const char *py_shape(py *w, unsigned rank, const cr_dim *dim)
{
    strbuf b;
    unsigned prec;
    sb_init(&b);
    sb_putc(&b, '(');
    for (unsigned k = 0; k < rank; k++) sb_printf(&b, "%s%s", k ? ", " : "", py_dim(w, dim[k], &prec));
    sb_puts(&b, rank == 1 ? ",)" : ")");
    const char *s = keep(w, &b);
    return s ? s : "";
}

const char *py_at(py *w, cr_dim index, cr_dim size)
{
    int64_t v;
    unsigned p1, p2;
    if (dim_value(w->g->dims, index, &v) && v >= 1)
        return py_format(w, "%lld", (long long)(v - 1)); /* NumPy checks it */
    cr_dim position = dim_sub(w->g->dims, index, dim_const(w->g->dims, 1));
    if (w->strict && position && py_surely(w, position, size)) return py_dim(w, position, &p1);
    const char *i = py_dim(w, index, &p1);
    return py_format(w, "%s(%s, %s)", py_use(w, PY_AT), i, py_dim(w, size, &p2));
}

const char *py_number(py *w, double v, unsigned *prec)
{
    strbuf b;
    *prec = signbit(v) && !isnan(v) ? PY_NEG : PY_ATOM;
    if (isnan(v)) return "np.nan";
    if (isinf(v)) return v < 0 ? "-np.inf" : "np.inf";
    sb_init(&b);
    sb_number(&b, v);
    const char *s = keep(w, &b);
    return s ? s : "";
}

const char *py_use(py *w, py_helper h)
{
    for (int i = (int)h; i >= 0; i = py_helpers[i].needs) w->helper[i] = true;
    return py_helpers[h].name;
}

const char *py_fresh(py *w, const char *stem)
{
    for (;;) {
        const char *s = py_format(w, "%s%u", stem, ++w->n_names);
        dim_sym t = name_intern(w->g->dims, s, strlen(s));
        if (!t || !pr_is_used(&w->p, t)) return s;
    }
}

py_text py_value(py *w, cr_ref r)
{
    if (!w->text[r].s && !pr_failed(&w->p))
        w->text[r] = py_expression(w, r, ~0ull); /* leaves that are written on demand */
    return w->text[r];
}

py_text py_broadcast(py *w, py_text t, const cr_shape *s)
{
    return t.full || s->rank == 0
               ? t
               : py_make(py_format(w, "np.broadcast_to(%s, %s)", t.s, py_shape(w, s->rank, s->dim)), PY_ATOM, true);
}

const char *py_whole(py *w, cr_ref r, unsigned prec)
{
    return py_in(w, py_broadcast(w, py_value(w, r), shape_of(w->g, r)), prec);
}

void py_line(py *w, const char *fmt, ...)
{
    va_list ap;
    for (unsigned i = 0; i <= w->indent; i++) sb_puts(&w->lines, "    ");
    va_start(ap, fmt);
    sb_vprintf(&w->lines, fmt, ap);
    va_end(ap);
    sb_putc(&w->lines, '\n');
}

/* ---- order of evaluation ----------------------------------------------------------------------- */

static bool on_demand(cr_op op) { return op == CR_OP_ONEHOT || op == CR_OP_IDENTITY || op == CR_OP_IOTA; }

static bool is_leaf(cr_op op) { return op_get(op)->kind == KIND_LEAF; }

typedef struct bound_scan {
    py *w;
    uint64_t set;
    bool symbolic; /* some symbol at all */
} bound_scan;

static void scan_symbol(void *user, dim_sym s)
{
    bound_scan *b = user;
    b->symbolic = true;
    for (size_t i = 0; i < b->w->p.n_bound; i++)
        if (b->w->p.bound[i].symbol == s) b->set |= 1ull << i;
}

uint64_t py_bits(py *w, cr_dim d)
{
    bound_scan b = {.w = w};
    dim_symbols(w->g->dims, d, scan_symbol, &b);
    return b.set;
}

/* What py_block must know of each node: uses, bound symbols, and whether it may not be evaluated ahead of a condition:
 * an entry taken inside a branch of `if` may not exist outside of it. */
bool py_analyse(py *w, cr_ref root)
{
    cr_graph *g = w->g;
    w->n = (size_t)root + 1;
    w->text = mem_zalloc(w->n, sizeof *w->text);
    w->uses = mem_zalloc(w->n, sizeof *w->uses);
    w->depends = mem_zalloc(w->n, sizeof *w->depends);
    w->lazy = mem_zalloc(w->n, sizeof *w->lazy);
    w->scan = mem_zalloc(w->n, sizeof *w->scan);
    size_t n;
    cr_ref *cone = graph_cone(g, 1, &root, &n);
    bool *branch = mem_zalloc(w->n, sizeof *branch);
    bool ok = w->text && w->uses && w->depends && w->lazy && w->scan && cone && branch;
    if (!ok) pr_fail(&w->p, CR_ENOMEM, "out of memory");
    if (w->p.n_bound > 64) ok = false, pr_fail(&w->p, CR_ELIMIT, "more than 64 nested indices in one expression");
    for (size_t i = 0; i < n && ok; i++) {
        cr_ref r = cone[i];
        const cr_node *nd = node(g, r);
        const uint32_t *attr = nd->word + nd->n_in;
        bound_scan b = {.w = w};
        for (uint32_t k = 0; k < nd->n_in; k++) {
            w->uses[nd->word[k]]++;
            w->depends[r] |= w->depends[nd->word[k]];
            w->lazy[r] = w->lazy[r] || w->lazy[nd->word[k]];
        }
        if (nd->op == CR_OP_BIND) {
            dim_symbols(g->dims, attr[1], scan_symbol, &b);
            w->depends[r] &= ~b.set;
            b.set = 0;
            dim_symbols(g->dims, attr[2], scan_symbol, &b);
            dim_symbols(g->dims, attr[3], scan_symbol, &b);
        }
        if (nd->op == CR_OP_INT || nd->op == CR_OP_ONEHOT || nd->op == CR_OP_MATPOW || nd->op == CR_OP_PICK)
            dim_symbols(g->dims, attr[0], scan_symbol, &b);
        if (nd->op == CR_OP_MEMBER) dim_symbols(g->dims, attr[1], scan_symbol, &b);
        for (uint32_t k = 1; is_window((cr_op)nd->op) && k < nd->n_attr; k++)
            dim_symbols(g->dims, attr[k], scan_symbol, &b);
        w->lazy[r] = w->lazy[r] || (nd->op == CR_OP_ONEHOT && b.symbolic);
        const cr_shape *s = shape_of(g, r);
        for (unsigned k = 0; k < s->rank; k++) dim_symbols(g->dims, s->dim[k], scan_symbol, &b);
        w->depends[r] |= b.set;
    }
    for (size_t i = n; i > 0 && ok; i--) {
        cr_ref r = cone[i - 1];
        const cr_node *nd = node(g, r);
        for (uint32_t k = 0; k < nd->n_in; k++)
            branch[nd->word[k]] =
                branch[nd->word[k]] || branch[r] || (nd->op == CR_OP_SELECT && k > 0 && shape_of(g, r)->rank == 0);
        w->lazy[r] = w->lazy[r] && branch[r] && !w->strict; /* py_choice keeps it in place then */
    }
    mem_free(branch);
    mem_free(cone);
    return ok;
}

bool py_block(py *w, cr_ref root, uint64_t scope)
{
    enum { INLINE = 72 }; /* longer expressions get a name */
    size_t n;
    cr_ref *cone = graph_cone(w->g, 1, &root, &n);
    bool *needed = w->strict ? py_needed(w, root) : NULL;
    for (size_t i = 0; i < n && !pr_failed(&w->p); i++) {
        cr_ref r = cone[i];
        cr_op op = op_of(w->g, r);
        if ((needed && !needed[r]) || w->text[r].s || (w->depends[r] & ~scope) || on_demand(op)) continue;
        py_text t = py_expression(w, r, scope);
        bool name = !is_leaf(op) && r != root && !w->lazy[r] && t.s && (w->uses[r] > 1 || strlen(t.s) > INLINE);
        if (op == CR_OP_BIND || (w->strict && op == CR_OP_SELECT && t.prec == PY_ATOM)) name = false; /* has one */
        if (op == CR_OP_PICK || op == CR_OP_MEMBER) name = false; /* is one */
        if (name) {
            const char *id = py_fresh(w, "t");
            py_line(w, "%s = %s", id, t.s);
            t = py_make(id, PY_ATOM, t.full);
        }
        w->text[r] = t;
        if (w->lines.n > PR_MAX_BYTES)
            pr_fail(&w->p, CR_ELIMIT, "the expression is too long to print: more than 1 MiB");
    }
    mem_free(needed);
    mem_free(cone);
    if (w->lines.status != CR_OK) pr_fail(&w->p, CR_ENOMEM, "out of memory");
    return !pr_failed(&w->p);
}

static void unit_free(py *w)
{
    mem_free(w->text);
    mem_free(w->uses);
    mem_free(w->depends);
    mem_free(w->lazy);
    mem_free(w->scan);
    sb_free(&w->lines);
    mem_free(w->unknown);
    mem_free(w->known);
    mem_free(w->range);
    pr_end(&w->p);
}

bool py_part(py *u, const py *w, cr_ref root)
{
    *u = (py){.g = w->g,
              .helper = w->helper,
              .symbols = w->symbols,
              .preamble = w->preamble,
              .unknown = w->unknown,
              .n_unknown = w->n_unknown,
              .unknown_cap = w->unknown_cap,
              .known = w->known,
              .n_known = w->n_known,
              .known_cap = w->known_cap};
    sb_init(&u->lines);
    bool ok = pr_begin(&u->p, w->g, root, LANG_AUTO);
    u->p.depth = w->p.depth + 1;
    return ok;
}

void py_part_end(py *w, py *u)
{
    w->unknown = u->unknown, w->n_unknown = u->n_unknown, w->unknown_cap = u->unknown_cap;
    w->known = u->known, w->n_known = u->n_known, w->known_cap = u->known_cap;
    u->unknown = NULL;
    u->known = NULL;
    unit_free(u);
}

/* ---- functions --------------------------------------------------------------------------------- */

static const char *function_name(py *w, const char *lead, cr_fun f, unsigned order)
{
    const char *name = name_text(w->g->dims, w->g->fun[f].name);
    if (order) return py_format(w, "%s%s_%u", lead, name, order);
    return py_clashes(name) && !*lead ? py_format(w, "%s_", name) : py_format(w, "%s%s", lead, name);
}

const char *py_unknown(py *w, cr_fun f, unsigned order)
{
    size_t i = 0;
    while (i < w->n_unknown && (w->unknown[i].f != f || w->unknown[i].order != order)) i++;
    if (i == w->n_unknown) {
        if (!VEC_RESERVE(w->unknown, w->unknown_cap, i + 1)) return pr_fail(&w->p, CR_ENOMEM, "out of memory"), NULL;
        w->unknown[w->n_unknown++] = (py_function){f, order};
    }
    return function_name(w, "", f, order);
}

/* Functions with a body are written once, before the derivative. */
const char *py_known(py *w, cr_fun f, unsigned order)
{
    const char *name = function_name(w, "_fun_", f, order);
    for (size_t i = 0; i < w->n_known; i++)
        if (w->known[i].f == f && w->known[i].order == order) return name;
    if (w->in_function && w->p.depth > 64)
        return pr_fail(&w->p, CR_ELIMIT, "functions that call functions, nested deeper than 64"), NULL;
    cr_ref body = w->g->fun[f].body, arg = w->g->fun[f].arg;
    for (unsigned k = 0; k < order && body; k++) body = cr_simplify(w->g, cr_derivative(w->g, body, arg));
    if (!body || !VEC_RESERVE(w->known, w->known_cap, w->n_known + 1))
        return pr_fail(&w->p, CR_ENOMEM, "out of memory"), NULL;
    py u;
    bool ok = py_part(&u, w, body);
    u.in_function = true;
    u.argument = arg;
    ok = ok && pr_use(&u.p, name_intern(w->g->dims, "z", 1)) && py_analyse(&u, body) && py_block(&u, body, 0);
    if (ok) {
        size_t n;
        cr_ref *cone = graph_cone(w->g, 1, &body, &n);
        bool uses = false;
        for (size_t i = 0; i < n; i++) uses = uses || cone[i] == arg;
        mem_free(cone);
        const char *value = py_value(&u, body).s;
        sb_printf(w->preamble, "def %s(z):\n%s", name, sb_str(&u.lines));
        sb_printf(w->preamble, uses ? "    return %s\n\n\n" : "    return np.full(np.shape(z), %s)\n\n\n",
                  value ? value : "");
    }
    py_part_end(w, &u);
    if (!ok || !VEC_RESERVE(w->known, w->known_cap, w->n_known + 1)) return NULL;
    w->known[w->n_known++] = (py_function){f, order};
    return name;
}

/* ---- parameters and sizes ---------------------------------------------------------------------- */

typedef struct header {
    cr_ref *param;
    size_t n_param;
    bool *known; /* of w->symbols */
    size_t n_known; /* entries of `known` */
} header;

static size_t position(const py *w, dim_sym s)
{
    size_t i = 0;
    while (i < w->symbols->n && w->symbols->s[i] != s) i++;
    return i;
}

/* Lines that take sizes from shapes: whole shapes first, then single axes, then what can be solved for. */
static void plain_sizes(py *w, header *h, strbuf *b)
{
    for (size_t i = 0; i < h->n_param; i++) {
        cr_ref r = h->param[i];
        const cr_shape *s = shape_of(w->g, r);
        const char *name = py_name(w, attr_of(w->g, r, 0));
        size_t at[CR_MAX_RANK];
        unsigned fresh = 0;
        for (unsigned k = 0; k < s->rank; k++) {
            dim_sym t;
            at[k] = dim_is_symbol(w->g->dims, s->dim[k], &t) ? position(w, t) : h->n_known;
            bool again = at[k] >= h->n_known || h->known[at[k]];
            for (unsigned j = 0; j < k && !again; j++) again = at[j] == at[k];
            if (again) at[k] = h->n_known;
            else fresh++;
        }
        if (!fresh) continue;
        bool all = fresh == s->rank && s->rank > 1;
        if (all) {
            sb_puts(b, "    ");
            for (unsigned k = 0; k < s->rank; k++)
                sb_printf(b, "%s%s", k ? ", " : "", py_name(w, w->symbols->s[at[k]]));
            sb_printf(b, " = %s.shape\n", name);
        }
        for (unsigned k = 0; k < s->rank; k++) {
            if (at[k] >= h->n_known) continue;
            h->known[at[k]] = true;
            if (!all) sb_printf(b, "    %s = %s.shape[%u]\n", py_name(w, w->symbols->s[at[k]]), name, k);
        }
    }
}

typedef struct known_scan {
    const py *w;
    const header *h;
    bool all;
} known_scan;

static void scan_known(void *user, dim_sym s)
{
    known_scan *k = user;
    size_t i = position(k->w, s);
    if (i >= k->h->n_known || !k->h->known[i]) k->all = false;
}

/* a*s + rest is the size of an axis. */
static bool solve_one(py *w, header *h, strbuf *b)
{
    for (size_t i = 0; i < h->n_known; i++)
        for (size_t j = 0; j < h->n_param && !h->known[i]; j++) {
            const cr_shape *s = shape_of(w->g, h->param[j]);
            for (unsigned k = 0; k < s->rank; k++) {
                int64_t a;
                cr_dim rest;
                known_scan scan = {w, h, true};
                unsigned prec;
                if (!dim_linear_in(w->g->dims, s->dim[k], w->symbols->s[i], &a, &rest)) continue;
                dim_symbols(w->g->dims, rest, scan_known, &scan);
                if (!scan.all) continue;
                const char *minus = py_dim(w, rest, &prec), *name = py_name(w, attr_of(w->g, h->param[j], 0));
                bool none = !strcmp(minus, "0");
                const char *top =
                    none ? py_format(w, "%s.shape[%u]", name, k)
                         : py_format(w, prec <= PY_NEG ? "%s.shape[%u] - (%s)" : "%s.shape[%u] - %s", name, k, minus);
                if (a == 1) sb_printf(b, "    %s = %s\n", py_name(w, w->symbols->s[i]), top);
                else
                    sb_printf(b, none ? "    %s = %s // %lld\n" : "    %s = (%s) // %lld\n",
                              py_name(w, w->symbols->s[i]), top, (long long)a);
                return h->known[i] = true;
            }
        }
    return false;
}

static int by_function(const py *w, py_function a, py_function b)
{
    (void)w;
    return a.f != b.f ? (a.f > b.f) - (a.f < b.f) : (a.order > b.order) - (a.order < b.order);
}

static bool write_function(py *w, cr_ref root, size_t n_free, const lang_free_index *free_index, strbuf *out)
{
    cr_graph *g = w->g;
    const cr_shape *s = shape_of(g, root);
    py_text value = py_broadcast(w, py_value(w, root), s);
    if (pr_failed(&w->p)) return false;
    size_t n;
    header h = {0};
    bool select = false;
    cr_ref *cone = graph_cone(g, w->families->n_roots, w->families->root, &n);
    h.param = cone;
    for (size_t i = 0; i < n; i++) {
        select = select || op_of(g, cone[i]) == CR_OP_SELECT;
        if (op_of(g, cone[i]) == CR_OP_PARAM) h.param[h.n_param++] = cone[i]; /* in place: it never overtakes i */
    }
    h.n_known = w->symbols->n;
    h.known = mem_zalloc(h.n_known ? h.n_known : 1, sizeof *h.known);
    strbuf sizes, arguments, doc;
    sb_init(&sizes);
    sb_init(&arguments);
    sb_init(&doc);
    if (cone && h.known) {
        for (size_t i = 0; i < n_free; i++) {
            size_t at = position(w, free_index[i].name);
            if (at < h.n_known) h.known[at] = true;
        }
        plain_sizes(w, &h, &sizes);
        while (solve_one(w, &h, &sizes)) {}
    } else {
        pr_fail(&w->p, CR_ENOMEM, "out of memory");
    }
#define ARGUMENT(...) (sb_puts(&arguments, arguments.n ? ", " : ""), sb_printf(&arguments, __VA_ARGS__))
    size_t n_symbols = w->symbols->n; /* the docstring below may add more that no code uses */
    for (size_t i = 0; i < h.n_param && h.known; i++) ARGUMENT("%s", py_name(w, attr_of(g, h.param[i], 0)));
    for (size_t i = 0; i < n_free; i++) ARGUMENT("%s", py_name(w, free_index[i].name));
    for (size_t i = 0; i < h.n_known && h.known; i++)
        if (!h.known[i]) ARGUMENT("%s", py_name(w, w->symbols->s[i]));
    for (size_t i = 1; i < w->n_unknown; i++) /* by name and order */
        for (size_t k = i; k > 0 && by_function(w, w->unknown[k - 1], w->unknown[k]) > 0; k--) {
            py_function swap = w->unknown[k];
            w->unknown[k] = w->unknown[k - 1];
            w->unknown[k - 1] = swap;
        }
    for (size_t i = 0; i < w->n_unknown; i++)
        ARGUMENT("%s", function_name(w, "", w->unknown[i].f, w->unknown[i].order));
#undef ARGUMENT
    for (size_t i = 0; i < h.n_param && h.known; i++) {
        const cr_shape *p = shape_of(g, h.param[i]);
        sb_printf(&doc, "    %s: ", py_name(w, attr_of(g, h.param[i], 0)));
        if (family_first(g, h.param[i])) {
            unsigned prec;
            const char *first = py_dim(w, family_first(g, h.param[i]), &prec);
            sb_printf(&doc, "a sequence, its members %s to %s", first, py_dim(w, family_last(g, h.param[i]), &prec));
            if (p->rank > 1) sb_printf(&doc, ", each of shape %s", py_shape(w, p->rank - 1u, p->dim + 1));
            sb_putc(&doc, '\n');
        } else if (p->rank == 0) sb_puts(&doc, "a number\n");
        else sb_printf(&doc, "array of shape %s\n", py_shape(w, p->rank, p->dim));
    }
    for (size_t i = 0; i < n_free; i++)
        sb_printf(&doc, "    %s: an index, counted from %s\n", py_name(w, free_index[i].name),
                  py_dim(w, free_index[i].from, &(unsigned){0}));
    for (size_t i = 0; i < h.n_known && h.known; i++)
        if (!h.known[i]) sb_printf(&doc, "    %s: an integer\n", py_name(w, w->symbols->s[i]));
    for (size_t i = 0; i < w->n_unknown; i++)
        sb_printf(&doc, "    %s: a function that works on arrays\n",
                  function_name(w, "", w->unknown[i].f, w->unknown[i].order));

    bool math = w->helper[PY_ERF] || w->helper[PY_GELU];
    sb_printf(out, "%simport numpy as np\n\n\n", math ? "import math\n\n" : "");
    for (unsigned i = 0; i < PY_HELPERS; i++)
        if (w->helper[i]) sb_printf(out, "%s\n\n", py_helpers[i].source);
    sb_puts(out, sb_str(w->preamble));
    if (select)
        sb_puts(out, "@np.errstate(divide=\"ignore\", invalid=\"ignore\", over=\"ignore\")  # of branches not taken\n");
    sb_printf(out, "def derivative(%s):\n", sb_str(&arguments));
    if (s->rank) sb_printf(out, "    \"\"\"Array of shape %s.\n", py_shape(w, s->rank, s->dim));
    else sb_puts(out, "    \"\"\"A number, as an array of shape ().\n");
    sb_printf(out, doc.n ? "\n%s    \"\"\"\n" : "%s    \"\"\"\n", sb_str(&doc));
    for (size_t i = 0; i < h.n_param && h.known; i++) {
        const char *name = py_name(w, attr_of(g, h.param[i], 0));
        sb_printf(out, "    %s = np.asarray(%s, dtype=np.float64)\n", name, name);
    }
    sb_puts(out, sb_str(&sizes));
    sb_puts(out, sb_str(&w->lines));
    sb_printf(out, "    return np.array(%s, dtype=np.float64)\n", value.s);
    w->symbols->n = n_symbols;
    if (sizes.status || arguments.status || doc.status || w->preamble->status)
        pr_fail(&w->p, CR_ENOMEM, "out of memory");
    if (out->status == CR_ELIMIT) pr_fail(&w->p, CR_ELIMIT, "the expression is too long to print: more than 1 MiB");
    else if (out->status) pr_fail(&w->p, CR_ENOMEM, "out of memory");
    sb_free(&sizes);
    sb_free(&arguments);
    sb_free(&doc);
    mem_free(h.known);
    mem_free(cone);
    return !pr_failed(&w->p);
}

cr_status lang_print_numpy(cr_graph *g, cr_ref a, size_t n_free, const lang_free_index *free_index, strbuf *b)
{
    if (g->err.status != CR_OK) return g->err.status;
    if (!valid(g, a)) return graph_fail(g, CR_EARG, "an invalid expression"), CR_EARG;
    bool helper[PY_HELPERS] = {false};
    py_symbol_list symbols = {0};
    strbuf preamble, out;
    sb_init(&preamble);
    sb_init(&out);
    out.limit = 2 * PR_MAX_BYTES;
    py_families families;
    py w = {.g = g, .families = &families, .helper = helper, .symbols = &symbols, .preamble = &preamble};
    sb_init(&w.lines);
    bool ok = py_families_find(&families, g, a, n_free, free_index) && pr_begin(&w.p, g, a, LANG_AUTO);
    ok = ok && pr_reserve(&w.p, families.reserved.n, families.reserved.s) &&
         py_families_write(&w, n_free, free_index) && py_analyse(&w, a) && py_block(&w, a, 0) &&
         write_function(&w, a, n_free, free_index, &out);
    if (ok) {
        sb_write(b, sb_str(&out), out.n);
        if (b->status != CR_OK) graph_fail(g, b->status, "out of memory");
    } else if (g->err.status == CR_OK) {
        graph_fail(g, CR_EINTERNAL, "the NumPy printer gave no text");
    }
    unit_free(&w);
    py_families_free(&families);
    sb_free(&preamble);
    sb_free(&out);
    mem_free(symbols.s);
    return g->err.status;
}
