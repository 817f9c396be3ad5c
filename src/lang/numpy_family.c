/* Recurrences in NumPy: one loop over the index computes the members of all families, in dictionaries `_o[i]`; then
 * the expression reads them. A member that a choice leaves out may not exist, so that choices are written as Python
 * takes them: what stands in a branch is computed in that branch only. */
#include "lang/numpy.h"

#include <stdlib.h>
#include <string.h>

/* ---- what there is ----------------------------------------------------------------------------- */

typedef struct names {
    py_families *f;
    cr_graph *g;
    bool ok;
} names;

static void reserve(void *user, dim_sym s)
{
    names *n = user;
    py_symbol_list *l = &n->f->reserved;
    if (strchr(name_text(n->g->dims, s), '#')) return; /* bound, or the index of a family: it has no name yet */
    for (size_t i = 0; i < l->n; i++)
        if (l->s[i] == s) return;
    if (!(n->ok = n->ok && VEC_RESERVE(l->s, l->cap, l->n + 1))) return;
    l->s[l->n++] = s;
}

static int by_sym(const void *a, const void *b)
{
    dim_sym x = *(const dim_sym *)a, y = *(const dim_sym *)b;
    return (x > y) - (x < y);
}

bool py_families_find(py_families *f, cr_graph *g, cr_ref root, size_t n_free, const lang_free_index *free_index)
{
    *f = (py_families){0};
    names name = {f, g, true};
    f->list = family_closure(g, 1, &root, &f->n);
    if (!f->list) return false;
    size_t roots = 1;
    for (size_t i = 0; i < f->n; i++) roots += g->family[f->list[i]].n_pieces;
    f->root = mem_alloc(roots * sizeof *f->root);
    f->name = mem_zalloc(f->n + 1, sizeof *f->name);
    name.ok = f->root && f->name;
    if (name.ok) f->root[f->n_roots++] = root;
    for (size_t i = 0; i < n_free && name.ok; i++) reserve(&name, free_index[i].name);
    for (size_t i = 0; i < f->n && name.ok; i++)
        for (size_t k = 0; k < g->family[f->list[i]].n_pieces; k++) {
            const family_piece *p = &g->family[f->list[i]].piece[k];
            dim_symbols(g->dims, p->lo, reserve, &name);
            dim_symbols(g->dims, p->hi, reserve, &name);
            f->root[f->n_roots++] = p->body;
        }
    size_t n = 0;
    cr_ref *cone = f->n && name.ok ? graph_cone(g, f->n_roots, f->root, &n) : NULL;
    for (size_t i = 0; i < n && name.ok; i++) graph_node_dims(g, cone[i], reserve, &name);
    mem_free(cone);
    if (f->reserved.n) qsort(f->reserved.s, f->reserved.n, sizeof *f->reserved.s, by_sym);
    if (!name.ok) graph_fail(g, CR_ENOMEM, "out of memory");
    return g->err.status == CR_OK;
}

void py_families_free(py_families *f)
{
    mem_free(f->list);
    mem_free(f->root);
    mem_free(f->name);
    mem_free(f->reserved.s);
}

/* _o for o, unless that is taken. */
static const char *private_name(py *w, const char *stem, size_t n_named)
{
    const py_families *f = w->families;
    const char *lead = !strncmp(stem, "fun_", 4) ? "_family_" : "_"; /* _fun_f is the function f */
    const char *name = py_format(w, "%s%s", lead, stem);
    for (bool free = false; !free && !pr_failed(&w->p);) {
        dim_sym s = name_intern(w->g->dims, name, strlen(name));
        free = s && !pr_is_used(&w->p, s) && !py_clashes(name);
        for (size_t i = 0; i < n_named && free; i++) free = strcmp(name, f->name[i]) != 0;
        if (!free) name = py_format(w, "%s_", name);
    }
    return name;
}

/* ---- ranges ------------------------------------------------------------------------------------ */

bool py_range_push(py *w, dim_sym s, cr_dim lo, cr_dim hi)
{
    if (!VEC_RESERVE(w->range, w->range_cap, w->n_range + 1)) return pr_fail(&w->p, CR_ENOMEM, "out of memory"), false;
    w->range[w->n_range++] = (py_range){s, lo, hi};
    return true;
}

typedef struct outside {
    const cr_graph *g;
    cr_dim size;
    bool any;
} outside;

static void see_outside(void *user, dim_sym s)
{
    outside *o = user;
    o->any = o->any || !dim_uses(o->g->dims, o->size, s);
}

bool py_surely(py *w, cr_dim d, cr_dim size)
{
    dim_table *t = w->g->dims;
    for (size_t i = w->n_range; i > 0 && d; i--) { /* innermost first: its bounds may name the others */
        const py_range *r = &w->range[i - 1];
        int64_t a;
        cr_dim rest;
        if (!dim_uses(t, d, r->s)) continue;
        if (!dim_linear_in(t, d, r->s, &a, &rest)) return false;
        d = dim_substitute(t, d, r->s, a > 0 ? r->lo : r->hi);
    }
    outside o = {w->g, size, false}; /* of other symbols it is not known that they are sizes */
    int64_t least;
    if (!d) return false;
    dim_symbols(t, d, see_outside, &o);
    return !o.any && family_least(w->g, d, &least) && least >= 0;
}

/* ---- members ----------------------------------------------------------------------------------- */

py_text py_member(py *w, cr_ref r)
{
    const py_families *f = w->families;
    cr_family of = attr_of(w->g, r, 0);
    unsigned prec;
    for (size_t i = 0; i < f->n; i++)
        if (f->list[i] == of)
            return py_make(py_format(w, "%s[%s]", f->name[i], py_dim(w, attr_of(w->g, r, 1), &prec)), PY_ATOM, true);
    pr_fail(&w->p, CR_EINTERNAL, "a recurrence that is not computed");
    return (py_text){0};
}

py_text py_pick(py *w, cr_ref r)
{
    cr_graph *g = w->g;
    cr_ref of = in_of(g, r, 0);
    cr_dim from_one = dim_add(g->dims, dim_sub(g->dims, attr_of(g, r, 0), family_first(g, of)), dim_const(g->dims, 1));
    if (!from_one) return (py_text){0};
    const char *at = py_at(w, from_one, shape_of(g, of)->dim[0]);
    return py_make(py_format(w, "%s[%s]", py_value(w, of).s, at), PY_ATOM, true);
}

/* ---- choices ----------------------------------------------------------------------------------- */

/* One value in all entries, so that its text is a scalar? */
static bool uniform(const py *w, cr_ref r)
{
    const cr_node *nd = node(w->g, r);
    if (shape_of(w->g, r)->rank == 0 || pr_is_broadcast(&w->p, r)) return true;
    switch ((cr_op)nd->op) {
    case CR_OP_LT: case CR_OP_LE: case CR_OP_EQ: case CR_OP_NE: case CR_OP_AND: case CR_OP_OR: case CR_OP_NOT:
        for (uint32_t i = 0; i < nd->n_in; i++)
            if (!uniform(w, nd->word[i])) return false;
        return true;
    default: return false;
    }
}

bool py_is_choice(const py *w, cr_ref r)
{
    return w->strict && op_of(w->g, r) == CR_OP_SELECT && uniform(w, in_of(w->g, r, 0));
}

bool *py_needed(py *w, cr_ref root)
{
    bool *needed = mem_zalloc((size_t)root + 1, sizeof *needed);
    if (!needed) return pr_fail(&w->p, CR_ENOMEM, "out of memory"), NULL;
    needed[root] = true;
    for (cr_ref r = root; r > 0; r--) {
        if (!needed[r]) continue;
        const cr_node *nd = node(w->g, r);
        uint32_t n = py_is_choice(w, r) ? 1 : nd->n_in; /* the condition alone */
        for (uint32_t i = 0; i < n; i++) needed[nd->word[i]] = true;
    }
    return needed;
}

typedef struct branch {
    strbuf lines;
    py_text value;
} branch;

/* Lines of their own; what they name is forgotten after them, for the other branch does not see it. */
static bool write_branch(py *w, cr_ref r, uint64_t scope, branch *b)
{
    size_t n, n_new = 0;
    cr_ref *cone = graph_cone(w->g, 1, &r, &n);
    if (!cone) return false;
    for (size_t i = 0; i < n; i++)
        if (!w->text[cone[i]].s) cone[n_new++] = cone[i];
    strbuf outer = w->lines;
    sb_init(&w->lines);
    w->indent++;
    if (py_block(w, r, scope)) b->value = py_value(w, r);
    w->indent--;
    b->lines = w->lines;
    w->lines = outer;
    for (size_t i = 0; i < n_new; i++) w->text[cone[i]].s = NULL;
    mem_free(cone);
    return !pr_failed(&w->p);
}

py_text py_choice(py *w, cr_ref r, uint64_t scope)
{
    cr_graph *g = w->g;
    const cr_shape *s = shape_of(g, r);
    py_text c = py_value(w, in_of(g, r, 0)), out = {0};
    branch a, b;
    sb_init(&a.lines);
    sb_init(&b.lines);
    if (c.s && write_branch(w, in_of(g, r, 1), scope, &a) && write_branch(w, in_of(g, r, 2), scope, &b)) {
        bool full = a.value.full || b.value.full;
        if (full) a.value = py_broadcast(w, a.value, s), b.value = py_broadcast(w, b.value, s);
        if (a.lines.n || b.lines.n) {
            const char *name = py_fresh(w, "t");
            py_line(w, "if %s:", c.s);
            sb_write(&w->lines, sb_str(&a.lines), a.lines.n);
            w->indent++;
            py_line(w, "%s = %s", name, a.value.s);
            w->indent--;
            py_line(w, "else:");
            sb_write(&w->lines, sb_str(&b.lines), b.lines.n);
            w->indent++;
            py_line(w, "%s = %s", name, b.value.s);
            w->indent--;
            out = py_make(name, PY_ATOM, full);
        } else {
            out = py_make(py_format(w, "%s if %s else %s", py_in(w, a.value, PY_COMPARE), py_in(w, c, PY_COMPARE),
                                    py_in(w, b.value, PY_COMPARE)),
                          PY_ANY, full);
        }
        if (a.lines.status || b.lines.status) pr_fail(&w->p, CR_ENOMEM, "out of memory");
    }
    sb_free(&a.lines);
    sb_free(&b.lines);
    return out;
}

/* ---- the loop ---------------------------------------------------------------------------------- */

/* The least lo, or the greatest hi, of all pieces. */
static const char *outermost(py *w, bool lowest)
{
    cr_dim *kept;
    size_t n;
    if (!lang_family_ends(w->g, w->families->n, w->families->list, lowest, &kept, &n)) return "";
    strbuf b;
    unsigned prec;
    sb_init(&b);
    for (size_t j = 0; j < n; j++) sb_printf(&b, "%s%s", j ? ", " : "", py_dim(w, kept[j], &prec));
    const char *s = n > 1 ? py_format(w, "%s(%s)", lowest ? "min" : "max", sb_str(&b)) : py_format(w, "%s", sb_str(&b));
    sb_free(&b);
    mem_free(kept);
    return s;
}

/* A definition; `first`: of its family. everywhere: it holds in the whole loop. */
static bool write_piece(py *w, const family_piece *p, const char *name, bool first, bool everywhere)
{
    cr_graph *g = w->g;
    py_families *f = w->families;
    const char *i = name_text(g->dims, f->index);
    unsigned prec;
    py u;
    bool ok = py_part(&u, w, p->body) && pr_reserve(&u.p, f->reserved.n, f->reserved.s);
    uint64_t scope = 0;
    for (size_t k = 0; k < u.p.n_bound && k < 64; k++) {
        if (u.p.bound[k].symbol != p->index) continue;
        u.p.bound[k].name = f->index;
        scope |= 1ull << k;
    }
    u.strict = true;
    u.families = f;
    u.indent = everywhere ? 1 : 2;
    for (size_t k = 0; k < w->n_range && ok; k++) /* the free indices */
        ok = py_range_push(&u, w->range[k].s, w->range[k].lo, w->range[k].hi);
    ok = ok && py_range_push(&u, p->index, p->lo, p->hi) && py_analyse(&u, p->body);
    if (ok && u.depends[p->body] & ~scope) {
        pr_fail(&u.p, CR_EUNSUPPORTED, "NumPy: a recurrence that is another one for each index of a sum");
        ok = false;
    }
    ok = ok && py_block(&u, p->body, scope);
    if (ok) {
        const char *lo = py_dim(w, p->lo, &prec), *hi = py_dim(w, p->hi, &prec);
        const char *word = first ? "if" : "elif";
        w->indent = 1;
        if (!everywhere && p->lo == p->hi) py_line(w, "%s %s == %s:", word, i, lo);
        else if (!everywhere) py_line(w, "%s %s <= %s <= %s:", word, lo, i, hi);
        sb_write(&w->lines, sb_str(&u.lines), u.lines.n);
        w->indent = u.indent;
        if (is_scalar(g, p->body)) py_line(w, "%s[%s] = np.float64(%s)", name, i, py_value(&u, p->body).s);
        else py_line(w, "%s[%s] = %s", name, i, py_whole(&u, p->body, PY_ANY));
        w->indent = 0;
        if (w->lines.n > PR_MAX_BYTES)
            pr_fail(&w->p, CR_ELIMIT, "the expression is too long to print: more than 1 MiB");
    }
    py_part_end(w, &u);
    return ok && !pr_failed(&w->p);
}

/* Members of equal index are computed in the order of the list, and ask for none of a later index. */
static bool write_loop(py *w, py_families *f)
{
    cr_graph *g = w->g;
    for (size_t i = 0; i < f->n; i++) {
        f->name[i] = private_name(w, name_text(g->dims, g->family[f->list[i]].name), i);
        py_line(w, "%s = {}", f->name[i]);
    }
    const char *index = private_name(w, "i", f->n), *lo = outermost(w, true), *hi = outermost(w, false);
    f->index = name_intern(g->dims, index, strlen(index));
    if (pr_failed(&w->p)) return false;
    py_line(w, "for %s in np.arange(%s, %s + 1):", index, lo, hi);
    bool ok = true;
    for (size_t i = 0; i < f->n && ok; i++) {
        size_t n = g->family[f->list[i]].n_pieces;
        for (size_t k = 0; k < n && ok; k++) {
            const family_piece p = g->family[f->list[i]].piece[k]; /* derivatives of functions may move the table */
            unsigned prec;
            bool everywhere = n == 1 && !strcmp(py_dim(w, p.lo, &prec), lo) && !strcmp(py_dim(w, p.hi, &prec), hi);
            ok = write_piece(w, &p, f->name[i], k == 0, everywhere);
        }
    }
    return ok;
}

static const char *f_string(py *w, cr_dim d)
{
    unsigned prec;
    const char *s = py_dim(w, d, &prec);
    return dim_value(w->g->dims, d, &(int64_t){0}) ? s : py_format(w, "{%s}", s);
}

bool py_families_write(py *w, size_t n_free, const lang_free_index *free_index)
{
    cr_graph *g = w->g;
    py_families *f = w->families;
    size_t n;
    cr_ref *cone = graph_cone(g, f->n_roots, f->root, &n);
    if (!cone) return false;
    for (size_t i = 0; i < n; i++)
        w->strict = w->strict || op_of(g, cone[i]) == CR_OP_PICK || op_of(g, cone[i]) == CR_OP_MEMBER;
    mem_free(cone);
    /* An index out of range would reach members from the wrong end. */
    for (size_t i = 0; i < n_free && w->strict; i++) {
        unsigned prec;
        const char *k = py_name(w, free_index[i].name), *lo = py_dim(w, free_index[i].from, &prec),
                   *hi = py_dim(w, free_index[i].to, &prec);
        py_line(w, "if not %s <= %s <= %s:", lo, k, hi);
        py_line(w, "    raise IndexError(f\"index %s = {%s} is out of range %s..%s\")", k, k,
                f_string(w, free_index[i].from), f_string(w, free_index[i].to));
        if (!py_range_push(w, free_index[i].name, free_index[i].from, free_index[i].to)) return false;
    }
    return f->n == 0 || write_loop(w, f);
}
