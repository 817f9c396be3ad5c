/* Binders in NumPy: loops. A sum or product inside of another binder, of which one end moves with that binder's index
 * while the other end and the body do not, leaves its values in a list, by how many indices they cover, that grows from
 * the end that stays as far as is asked for: the derivative by each weight of a recurrence of N members then takes N
 * steps. Nothing is divided, so zeros do no harm. */
#include "lang/numpy.h"

typedef struct fold {
    const char *start, *step; /* total = step(total, body) */
    bool product;
} fold;

static const fold folds[] = {
    [CR_BIND_SUM] = {"0.0", "+", false},
    [CR_BIND_PROD] = {"1.0", "*", true},
    [CR_BIND_STACK] = {"[]", NULL, false},
    [CR_BIND_ALL] = {"True", "np.logical_and", false},
    [CR_BIND_ANY] = {"False", "np.logical_or", false},
    [CR_BIND_MAX] = {"-np.inf", "np.maximum", false},
    [CR_BIND_MIN] = {"np.inf", "np.minimum", false},
    [CR_BIND_CHAIN] = {NULL, "@", true},
};

typedef struct binder {
    cr_bind_kind kind;
    dim_sym s;
    uint64_t bit;
    cr_dim lo, hi;
    cr_ref body;
} binder;

static binder binder_of(py *w, cr_ref r)
{
    binder b = {(cr_bind_kind)attr_of(w->g, r, 0), 0, 0, attr_of(w->g, r, 2), attr_of(w->g, r, 3), in_of(w->g, r, 0)};
    dim_is_symbol(w->g->dims, attr_of(w->g, r, 1), &b.s);
    b.bit = py_bits(w, attr_of(w->g, r, 1));
    return b;
}

static const char *start_of(py *w, const binder *b)
{
    unsigned prec;
    if (b->kind != CR_BIND_CHAIN) return folds[b->kind].start;
    return py_format(w, "np.eye(%s)", py_dim(w, shape_of(w->g, b->body)->dim[0], &prec));
}

/* total with the body joined to it; of a chain the factor of the highest index is leftmost. */
static const char *joined(py *w, const binder *b, const char *total, bool upwards)
{
    const fold *f = &folds[b->kind];
    if (b->kind == CR_BIND_CHAIN) {
        const char *body = py_whole(w, b->body, PY_NEG);
        return py_format(w, "%s @ %s", upwards ? body : total, upwards ? total : body);
    }
    py_text body = py_value(w, b->body);
    if (f->step[1]) return py_format(w, "%s(%s, %s)", f->step, total, py_in(w, body, PY_ANY));
    return py_format(w, "%s %s %s", total, f->step, py_in(w, body, f->product ? PY_NEG : PY_MUL));
}

/* What stands in a loop over the index of b; nodes that depend on it are written inside. */
static bool loop_body(py *w, const binder *b, uint64_t scope)
{
    w->indent++;
    return py_range_push(w, b->s, b->lo, b->hi) && py_block(w, b->body, scope | b->bit);
}

static void loop_end(py *w, const binder *b, uint64_t scope)
{
    w->indent--;
    w->n_range--;
    for (cr_ref i = 1; i <= b->body; i++) {
        if (w->depends[i] & ~scope) w->text[i].s = NULL; /* another loop with this index writes them again */
        if (w->depends[i] & b->bit) w->scan[i].list = NULL;
    }
}

/* The lists that the loop over b is to fill. */
static void begin_scans(py *w, const binder *b, uint64_t scope)
{
    cr_graph *g = w->g;
    size_t n;
    cr_ref *cone = graph_cone(g, 1, &b->body, &n);
    for (size_t i = 0; cone && i < n && !pr_failed(&w->p); i++) {
        cr_ref r = cone[i];
        if (op_of(g, r) != CR_OP_BIND || w->scan[r].list) continue;
        binder in = binder_of(w, r);
        uint64_t lo = py_bits(w, in.lo), hi = py_bits(w, in.hi);
        bool upwards = hi & b->bit;
        if (in.kind == CR_BIND_STACK || in.bit == b->bit || !((lo | hi) & b->bit)) continue;
        if ((upwards ? lo : hi) & ~scope || w->depends[in.body] & ~(scope | in.bit)) continue;
        const char *list = py_fresh(w, in.kind == CR_BIND_SUM ? "totals" : "results");
        py_line(w, "%s = [%s]", list, start_of(w, &in));
        w->scan[r] = (py_scan){list, upwards};
    }
    mem_free(cone);
}

/* The value from the list, which grows first. */
static const char *scanned(py *w, const binder *b, py_scan scan, uint64_t scope)
{
    dim_table *t = w->g->dims;
    unsigned prec;
    cr_dim one = dim_const(t, 1), count = dim_add(t, dim_sub(t, b->hi, b->lo), one);
    const char *i = pr_symbol_name(&w->p, b->s), *last = py_format(w, "%s[-1]", scan.list);
    const char *below = py_dim(w, dim_sub(t, b->lo, one), &prec), *above = py_dim(w, dim_add(t, b->hi, one), &prec);
    if (!scan.upwards) py_line(w, "for %s in np.arange(%s - len(%s), %s, -1):", i, above, scan.list, below);
    else if (b->lo == one) py_line(w, "for %s in np.arange(len(%s), %s):", i, scan.list, above);
    else py_line(w, "for %s in np.arange(%s + len(%s), %s):", i, below, scan.list, above);
    if (!loop_body(w, b, scope)) return "";
    py_line(w, "%s.append(%s)", scan.list, joined(w, b, last, scan.upwards));
    loop_end(w, b, scope);
    const char *at = py_dim(w, count, &prec);
    return py_format(w, py_surely(w, count, one) ? "%s[%s]" : "%s[max(%s, 0)]", scan.list, at);
}

/* The name of what the loop leaves. */
py_text py_bind(py *w, cr_ref r, uint64_t scope)
{
    binder b = binder_of(w, r);
    unsigned prec;
    /* an empty loop leaves a scalar, or the identity */
    bool full = shape_of(w->g, r)->rank == 0 || b.kind == CR_BIND_CHAIN;
    if (w->scan[r].list) return py_make(scanned(w, &b, w->scan[r], scope), PY_ATOM, full);
    const char *stem = b.kind == CR_BIND_STACK ? "entries" : b.kind == CR_BIND_SUM ? "total" : "result";
    const char *total = py_fresh(w, stem), *lo = py_dim(w, b.lo, &prec);
    py_line(w, "%s = %s", total, start_of(w, &b));
    begin_scans(w, &b, scope);
    py_line(w, "for %s in np.arange(%s, %s):", pr_symbol_name(&w->p, b.s), lo,
            py_dim(w, dim_add(w->g->dims, b.hi, dim_const(w->g->dims, 1)), &prec));
    if (!loop_body(w, &b, scope)) return (py_text){0};
    if (b.kind == CR_BIND_STACK) py_line(w, "%s.append(%s)", total, py_whole(w, b.body, PY_ANY));
    else py_line(w, "%s = %s", total, joined(w, &b, total, true));
    loop_end(w, &b, scope);
    if (b.kind == CR_BIND_STACK) return py_make(py_format(w, "np.stack(%s)", total), PY_ATOM, true);
    return py_make(total, PY_ATOM, full);
}
