/* What a statement needs before it has a number, and what it silently supposes. */
#include "program/program.h"

#include <string.h>

bool needs_is_bound(const cr_graph *g, dim_sym s)
{
    return strchr(name_text(g->dims, s), '#') != NULL;
}

void needs_free(prog_needs *n)
{
    mem_free(n->param);
    mem_free(n->symbol);
    mem_free(n->is_size);
    mem_free(n->unknown);
    mem_free(n->order);
    mem_free(n->entry);
    mem_free(n->fact);
    *n = (prog_needs){0};
}

/* ---- collecting ------------------------------------------------------------------------------- */

typedef struct collector {
    cr_program *p;
    const lang_statement *st;
    prog_needs *n;
    bool size; /* the symbols met now are those of a parameter's shape */
    bool failed;
    cr_fun *known; /* functions whose bodies are still to be walked, and were */
    size_t n_known, known_cap;
} collector;

static void add_symbol(void *user, dim_sym s)
{
    collector *c = user;
    prog_needs *n = c->n;
    if (needs_is_bound(c->p->g, s)) return;
    for (size_t i = 0; i < c->st->n_free; i++)
        if (c->st->free_index[i].name == s) return;
    for (size_t i = 0; i < n->n_symbols; i++) {
        if (n->symbol[i] != s) continue;
        n->is_size[i] |= c->size;
        return;
    }
    if (!VEC_RESERVE(n->is_size, n->is_size_cap, n->n_symbols + 1)) {
        c->failed = true;
        return;
    }
    n->is_size[n->n_symbols] = c->size;
    if (!LIST_PUSH(n->symbol, n->n_symbols, n->symbol_cap, s)) c->failed = true;
}

static void add_symbols(collector *c, cr_dim d, bool size)
{
    c->size = size;
    dim_symbols(c->p->g->dims, d, add_symbol, c);
}

static void seen_bound(void *user, dim_sym s)
{
    collector *c = user;
    c->size |= needs_is_bound(c->p->g, s);
}

static void add_entry(collector *c, cr_dim index, cr_dim size)
{
    c->size = false;
    dim_symbols(c->p->g->dims, index, seen_bound, c);
    if (c->size) return; /* its binder keeps it in range */
    prog_needs *n = c->n;
    for (size_t i = 0; i < n->n_entries; i++)
        if (n->entry[i].index == index && n->entry[i].size == size) return;
    if (!LIST_PUSH(n->entry, n->n_entries, n->entry_cap, ((need_entry){index, size}))) c->failed = true;
}

static void add_call(collector *c, cr_fun f, unsigned order)
{
    prog_needs *n = c->n;
    if (c->p->g->fun[f].body) {
        for (size_t i = 0; i < c->n_known; i++)
            if (c->known[i] == f) return;
        if (!LIST_PUSH(c->known, c->n_known, c->known_cap, f)) c->failed = true;
        return;
    }
    for (size_t i = 0; i < n->n_unknown; i++) {
        if (n->unknown[i] != f) continue;
        if (n->order[i] < order) n->order[i] = order;
        return;
    }
    if (!VEC_RESERVE(n->order, n->order_cap, n->n_unknown + 1)) {
        c->failed = true;
        return;
    }
    n->order[n->n_unknown] = order;
    if (!LIST_PUSH(n->unknown, n->n_unknown, n->unknown_cap, f)) c->failed = true;
}

static void add_param(collector *c, cr_ref r)
{
    prog_needs *n = c->n;
    for (size_t i = n->n_params; i > 0; i--)
        if (n->param[i - 1] == r) return;
    const cr_shape *s = shape_of(c->p->g, r);
    for (unsigned a = 0; a < s->rank; a++) add_symbols(c, s->dim[a], true);
    if (!LIST_PUSH(n->param, n->n_params, n->param_cap, r)) c->failed = true;
}

static void add_fact(collector *c, cr_dim d)
{
    prog_needs *n = c->n;
    for (size_t i = 0; i < n->n_facts; i++)
        if (n->fact[i] == d) return;
    if (!d || !LIST_PUSH(n->fact, n->n_facts, n->fact_cap, d)) c->failed = true;
}

static void add_member(collector *c, cr_ref r, bool guarded)
{
    cr_graph *g = c->p->g;
    cr_dim index = attr_of(g, r, 1);
    const family *f = &g->family[attr_of(g, r, 0)];
    add_symbols(c, index, false);
    c->size = false;
    dim_symbols(g->dims, index, seen_bound, c);
    if (c->size || guarded || f->n_pieces == 0) return; /* its binder, or a choice, keeps it in range */
    add_fact(c, dim_sub(g->dims, index, f->piece[0].lo));
    add_fact(c, dim_sub(g->dims, f->piece[f->n_pieces - 1].hi, index));
}

static void add_cone(collector *c, unsigned n_roots, const cr_ref *roots, cr_ref except)
{
    cr_graph *g = c->p->g;
    size_t n = 0;
    cr_ref *cone = graph_cone(g, n_roots, roots, &n);
    bool *guarded = cone ? graph_guarded(g, n_roots, roots) : NULL;
    if (!guarded) {
        mem_free(cone);
        c->failed = true;
        return;
    }
    node_type last = 0;
    for (size_t i = 0; i < n && !c->failed; i++) {
        cr_ref r = cone[i];
        if (r == except) continue;
        const cr_node *v = node(g, r);
        if (v->type != last) {
            const cr_shape *s = shape_of(g, r);
            for (unsigned a = 0; a < s->rank; a++) add_symbols(c, s->dim[a], false);
            last = v->type;
        }
        switch ((cr_op)v->op) {
        case CR_OP_PARAM:
            add_param(c, r);
            break;
        case CR_OP_INT:
        case CR_OP_MATPOW:
            add_symbols(c, attr_of(g, r, 0), false);
            break;
        case CR_OP_ONEHOT:
            add_symbols(c, attr_of(g, r, 0), false);
            add_entry(c, attr_of(g, r, 0), shape_of(g, r)->dim[0]);
            break;
        case CR_OP_BIND:
            add_symbols(c, attr_of(g, r, 2), false);
            add_symbols(c, attr_of(g, r, 3), false);
            break;
        case CR_OP_PICK: {
            cr_ref w = in_of(g, r, 0);
            add_symbols(c, attr_of(g, r, 0), false);
            cr_dim position = dim_sub(g->dims, attr_of(g, r, 0), family_first(g, w));
            if (!guarded[r]) add_entry(c, dim_add(g->dims, position, dim_const(g->dims, 1)), shape_of(g, w)->dim[0]);
            break;
        }
        case CR_OP_MEMBER:
            add_member(c, r, guarded[r]);
            break;
        case CR_OP_CALL:
            add_call(c, attr_of(g, r, 0), attr_of(g, r, 1));
            break;
        default:
            break;
        }
    }
    mem_free(guarded);
    mem_free(cone);
}

/* An integer in the indices of a recurrence is taken to be at least 1, as a size is (calculus/depth_cells.c). */
static void add_integer(void *user, dim_sym s)
{
    collector *c = user;
    dim_table *t = c->p->g->dims;
    prog_needs *n = c->n;
    if (needs_is_bound(c->p->g, s)) return;
    for (size_t i = 0; i < c->st->n_free; i++)
        if (c->st->free_index[i].name == s) return;
    for (size_t i = 0; i < n->n_symbols; i++)
        if (n->symbol[i] == s && n->is_size[i]) return;
    add_fact(c, dim_sub(t, dim_symbol(t, s), dim_const(t, 1)));
}

/* What the recurrences need that the roots rest on. */
static void add_families(collector *c, unsigned n_roots, const cr_ref *roots)
{
    cr_graph *g = c->p->g;
    size_t n = 0;
    cr_family *list = family_closure(g, n_roots, roots, &n);
    if (!list) c->failed = true;
    if (n) c->n->recurrent = true;
    for (size_t i = 0; i < n && !c->failed; i++) {
        for (size_t k = 0; k < g->family[list[i]].n_assume; k++) add_fact(c, g->family[list[i]].assume[k]);
        for (size_t k = 0; k < g->family[list[i]].n_pieces && !c->failed; k++) {
            const family_piece p = g->family[list[i]].piece[k];
            add_symbols(c, p.lo, true);
            add_symbols(c, p.hi, true);
            add_cone(c, 1, &p.body, CR_NONE);
        }
    }
    for (size_t i = 0; i < n && !c->failed; i++) /* now it is known which symbols are sizes */
        for (size_t k = 0; k < g->family[list[i]].n_assume; k++)
            dim_symbols(g->dims, g->family[list[i]].assume[k], add_integer, c);
    mem_free(list);
}

cr_status needs_collect(cr_program *p, const lang_statement *st, unsigned n_roots, const cr_ref *roots, prog_needs *out)
{
    collector c = {.p = p, .st = st, .n = out};
    *out = (prog_needs){0};
    add_cone(&c, n_roots, roots, CR_NONE);
    if (!c.failed) add_families(&c, n_roots, roots);
    for (size_t i = 0; i < st->n_wrt && !c.failed; i++) {
        const calc_wrt *w = &st->wrt[i];
        for (unsigned k = 0; k < w->n_index; k++) {
            add_symbols(&c, w->index[k], false);
            add_entry(&c, w->index[k], shape_of(p->g, w->var)->dim[k]);
        }
    }
    for (size_t i = 0; i < st->n_free && !c.failed; i++) {
        add_symbols(&c, st->free_index[i].from, false);
        add_symbols(&c, st->free_index[i].to, false);
    }
    for (size_t i = 0; i < c.n_known && !c.failed; i++) { /* grows while it is walked */
        const cr_function *f = &p->g->fun[c.known[i]];
        add_cone(&c, 1, &f->body, f->arg);
    }
    mem_free(c.known);
    if (!c.failed) return CR_OK;
    return cr_graph_status(p->g) == CR_OK ? prog_oom(p) : cr_graph_status(p->g);
}

/* ---- assumptions ------------------------------------------------------------------------------ */

typedef struct prover {
    cr_program *p;
    const lang_statement *st;
    const prog_needs *n;
} prover;

static bool least(void *user, dim_sym s, int64_t *v)
{
    const prover *q = user;
    for (size_t i = 0; i < q->n->n_symbols; i++) {
        if (q->n->symbol[i] != s || !q->n->is_size[i]) continue;
        *v = 1;
        return true;
    }
    return false;
}

/* d >= 0 for all sizes >= 1 and all free indices in range? A free index in which d is linear is tried at both ends. */
static bool provable(prover *q, cr_dim d, size_t from)
{
    dim_table *t = q->p->g->dims;
    for (size_t i = from; i < q->st->n_free; i++) {
        const lang_free_index *f = &q->st->free_index[i];
        if (!dim_uses(t, d, f->name)) continue;
        int64_t a;
        cr_dim rest;
        if (!dim_linear_in(t, d, f->name, &a, &rest)) return false;
        return provable(q, dim_substitute(t, d, f->name, f->from), i + 1) &&
               provable(q, dim_substitute(t, d, f->name, f->to), i + 1);
    }
    int64_t low;
    return dim_lower_bound(t, d, least, q, &low) && low >= 0;
}

/* Does d >= 0 follow from one of the facts, its own (number `self`) and equal later ones aside? */
static bool follows(prover *q, cr_dim d, size_t self)
{
    dim_table *t = q->p->g->dims;
    for (size_t i = 0; i < q->n->n_facts; i++) {
        cr_dim f = q->n->fact[i];
        if (i == self || (f == d && i > self)) continue;
        if (f == d || provable(q, dim_sub(t, d, f), 0)) return true;
    }
    return false;
}

static void entry_sentence(prover *q, const need_entry *e, strbuf *b)
{
    dim_table *t = q->p->g->dims;
    cr_dim above = dim_sub(t, e->index, dim_const(t, 1)), below = dim_sub(t, e->size, e->index);
    bool low = provable(q, above, 0) || follows(q, above, SIZE_MAX), high = provable(q, below, 0) ||
               follows(q, below, SIZE_MAX);
    int64_t v;
    if (low && high) return;
    if (low && dim_value(t, e->index, &v)) { /* n >= 5 reads better than 5 <= n */
        dim_print(t, e->size, b, NULL, NULL);
        sb_printf(b, " >= %lld", (long long)v);
        return;
    }
    if (!low && !high) sb_puts(b, "1 <= ");
    dim_print(t, e->index, b, NULL, NULL);
    if (high) {
        sb_puts(b, " >= 1");
    } else {
        sb_puts(b, " <= ");
        dim_print(t, e->size, b, NULL, NULL);
    }
}

/* N - 2 >= 0 is N >= 2, N - j - 1 >= 0 is j <= N-1. */
void needs_fact_text(cr_program *p, const lang_statement *st, const prog_needs *n, cr_dim d, strbuf *b)
{
    dim_table *t = p->g->dims;
    for (size_t i = 0; i < n->n_symbols; i++) {
        int64_t a;
        cr_dim more;
        if (n->is_size[i] || !dim_linear_in(t, d, n->symbol[i], &a, &more) || a != -1) continue;
        dim_print(t, dim_symbol(t, n->symbol[i]), b, NULL, NULL);
        sb_puts(b, " <= ");
        dim_print(t, more, b, NULL, NULL);
        return;
    }
    int64_t at_zero;
    cr_dim zero = dim_const(t, 0), rest = d;
    for (size_t i = 0; i < n->n_symbols + st->n_free; i++) {
        dim_sym s = i < n->n_symbols ? n->symbol[i] : st->free_index[i - n->n_symbols].name;
        rest = dim_substitute(t, rest, s, zero);
    }
    if (!dim_value(t, rest, &at_zero)) return;
    cr_dim moving = dim_sub(t, d, rest);
    if (at_zero > 0) { /* 5 - N >= 0 */
        dim_print(t, dim_sub(t, zero, moving), b, NULL, NULL);
        sb_printf(b, " <= %lld", (long long)at_zero);
    } else {
        dim_print(t, moving, b, NULL, NULL);
        sb_printf(b, " >= %lld", (long long)-at_zero);
    }
}

/* What follows from the sizes, the ranges of the indices and the other facts is not said. */
static void fact_sentence(prover *q, size_t number, strbuf *b)
{
    cr_dim d = q->n->fact[number];
    if (!provable(q, d, 0) && !follows(q, d, number)) needs_fact_text(q->p, q->st, q->n, d, b);
}

static void function_sentence(const prover *q, size_t i, strbuf *b)
{
    unsigned k = q->n->order[i];
    if (k == 0) return;
    sb_puts(b, name_text(q->p->g->dims, q->p->g->fun[q->n->unknown[i]].name));
    if (k == 1)
        sb_puts(b, " is differentiable");
    else if (k == 2)
        sb_puts(b, " is twice differentiable");
    else
        sb_printf(b, " is %u times differentiable", k);
}

cr_status needs_assumptions(cr_program *p, const lang_statement *st, const prog_needs *n, arena *mem, size_t *count,
                            const char *const **out)
{
    prover q = {p, st, n};
    size_t n_sizes = n->n_facts + n->n_entries, total = n_sizes + n->n_unknown;
    const char **list = arena_alloc(mem, total * sizeof *list + 1);
    if (!list) return prog_oom(p);
    *count = 0;
    *out = list;
    for (size_t i = 0; i < total; i++) {
        strbuf b;
        sb_init(&b);
        if (i < n->n_facts)
            fact_sentence(&q, i, &b);
        else if (i < n_sizes)
            entry_sentence(&q, &n->entry[i - n->n_facts], &b);
        else
            function_sentence(&q, i - n_sizes, &b);
        bool said = b.n == 0;
        for (size_t k = 0; k < *count && !said; k++) said = !strcmp(list[k], sb_str(&b));
        if (said && b.status == CR_OK) {
            sb_free(&b);
        } else if (!(list[*count] = result_buffer(mem, &b))) {
            return prog_oom(p);
        } else {
            ++*count;
        }
    }
    return CR_OK;
}
