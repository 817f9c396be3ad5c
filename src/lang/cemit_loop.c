/* Binders and recurrences in C. A sum or product inside of another binder, of which one end moves with that binder's
 * index while the other end and the body do not, is computed once for all its ranges, from the end that stays: the
 * derivative by each weight of a recurrence of N members then takes N steps. */
#include "lang/cemit.h"

#include <string.h>

static const struct {
    const char *start;
    int helper; /* total = helper(total, body), or -1: total = total `sign` body */
    const char *sign;
} folds[] = {
    [CR_BIND_SUM] = {"0.0", -1, "+"},        [CR_BIND_PROD] = {"1.0", -1, "*"}, [CR_BIND_STACK] = {"0.0", -1, "+"},
    [CR_BIND_ALL] = {"1", -1, "&&"},         [CR_BIND_ANY] = {"0", -1, "||"},
    [CR_BIND_MAX] = {"-INFINITY", CEH_MAX2, NULL}, [CR_BIND_MIN] = {"INFINITY", CEH_MIN2, NULL},
    [CR_BIND_CHAIN] = {"0.0", -1, "*"},
};

typedef struct binder {
    cr_bind_kind kind;
    dim_sym s;
    uint64_t bit;
    cr_dim lo, hi;
    cr_ref body;
} binder;

static binder binder_of(const ce *w, cr_ref r)
{
    binder b = {(cr_bind_kind)attr_of(w->g, r, 0), 0, 0, attr_of(w->g, r, 2), attr_of(w->g, r, 3), in_of(w->g, r, 0)};
    dim_is_symbol(w->g->dims, attr_of(w->g, r, 1), &b.s);
    b.bit = ce_bit(w, b.s);
    return b;
}

static void set_name(ce *w, dim_sym s, const char *name)
{
    for (unsigned i = 0; i < w->n_bound; i++)
        if (w->bound[i] == s) w->bound_name[i] = name;
}

/* `total` with the body joined to it, as an expression. */
static ce_text joined(ce *w, cr_bind_kind kind, ce_text total, ce_text body)
{
    if (folds[kind].helper >= 0)
        return ce_make(ce_format(w, "%s(%s, %s)", ce_use(w, (ce_helper)folds[kind].helper), ce_in(w, total, CE_ANY),
                                 ce_in(w, body, CE_ANY)),
                       CE_ATOM);
    bool logic = kind == CR_BIND_ALL || kind == CR_BIND_ANY;
    unsigned inner = logic ? CE_COMPARE : kind == CR_BIND_SUM ? CE_MUL : CE_UNARY;
    return ce_make(ce_format(w, "%s %s %s", ce_in(w, total, inner), folds[kind].sign, ce_in(w, body, inner)),
                   logic ? CE_LOGIC : kind == CR_BIND_SUM ? CE_ADD : CE_MUL);
}

/* to = a b (d x d); to is neither. */
static void matrix_product(ce *w, const char *a, const char *b, const char *to, cr_dim d)
{
    const char *n = ce_dim_in(w, d, CE_ANY);
    ce_line(w, "%s(%s, %s, %s, %s, %s, %s);", ce_use(w, CEH_MATMUL), a, b, to, n, n, n);
}

/* ---- ranges that share an end ------------------------------------------------------------------- */

/* Rows `from + 0`, ... of a table, each of the shape of r: a row of neutral values, then what is joined to it. */
static void fill_row(ce *w, cr_ref r, const binder *b, const char *row, const char *before)
{
    const cr_shape *s = shape_of(w->g, r);
    ce_text index[CR_MAX_RANK];
    if (b->kind == CR_BIND_CHAIN && before) return;
    unsigned loops = ce_loops(w, s->rank, s->dim, index);
    const char *at = s->rank ? ce_format(w, " + %s", ce_in(w, ce_flat(w, s->rank, s->dim, index), CE_ADD)) : "";
    ce_text value;
    if (before)
        value = joined(w, b->kind, ce_make(ce_format(w, "%s%s]", before, at), CE_ATOM),
                       s->rank ? ce_entry(w, b->body, index) : ce_scalar(w, b->body));
    else if (b->kind == CR_BIND_CHAIN)
        value = ce_make(ce_format(w, "%s == %s ? 1.0 : 0.0", index[0].s, index[1].s), CE_ANY);
    else value = ce_make(folds[b->kind].start, CE_UNARY);
    ce_line(w, "%s%s] = %s;", row, at, value.s);
    ce_loops_end(w, loops);
}

/* The row of a position in a table whose first row is that of `base`: a variable `low`, if that is not NULL. */
static const char *row_at(ce *w, cr_dim position, cr_dim base, const char *low, const char *size)
{
    ce_text row = low ? ce_make(ce_format(w, "%s - %s", ce_dim_in(w, position, CE_ADD), low), CE_ADD)
                      : ce_dim(w, dim_sub(w->g->dims, position, base));
    return *size ? ce_format(w, "%s * %s", ce_in(w, row, CE_MUL), size) : ce_in(w, row, CE_ADD);
}

/* Writes the table of r, whose end `moving` moves with an index over `lo..hi`. up: the lower end stays. */
static void write_scan(ce *w, cr_ref r, const binder *b, bool up, uint64_t scope)
{
    cr_graph *g = w->g;
    dim_table *t = g->dims;
    const cr_shape *s = shape_of(g, r);
    cr_dim one = dim_const(t, 1), moving = up ? b->hi : b->lo;
    cr_dim past = up ? dim_sub(t, b->lo, one) : dim_add(t, b->hi, one); /* where the range is empty */
    /* the furthest position: the most that hi gets, or the least that lo gets */
    cr_dim minus = dim_sub(t, dim_const(t, 0), moving), far = ce_most(w, up ? moving : minus);
    if (!up) far = dim_sub(t, dim_const(t, 0), far);
    if (ce_failed(w) || !far) return;
    cr_dim rows = dim_add(t, up ? dim_sub(t, far, past) : dim_sub(t, past, far), one);
    bool some = ce_surely(w, dim_sub(t, rows, one));
    cr_dim most = ce_most(w, rows), size = dims_product(g, s->dim, s->rank);
    int64_t n;
    const char *name = ce_fresh(w, "t"), *of_row = s->rank ? ce_dim_in(w, size, CE_UNARY) : "";
    const char *text = ce_dim_in(w, most, CE_ADD);
    if (!some) text = ce_format(w, "(%s > 1 ? %s : 1)", text, text);
    if (some && dim_value(t, dim_mul(t, most, size), &n)) ce_scratch_add(w, name, text, n);
    else if (!s->rank) ce_scratch_add(w, name, text, -1);
    else ce_scratch_add(w, name, ce_format(w, "(%s) * %s", text, of_row), -1);
    /* rows are counted from base: from `past` upwards, or from the furthest position */
    const char *low = NULL;
    cr_dim base = up ? past : far;
    if (!up && !some) {
        low = ce_fresh(w, "low");
        const char *p = ce_dim_in(w, past, CE_ADD), *f = ce_dim_in(w, far, CE_ADD);
        ce_line(w, "const ptrdiff_t %s = %s < %s ? %s : %s;", low, f, p, f, p);
    }
    const char *first = up ? "0" : row_at(w, past, base, low, of_row);
    fill_row(w, r, b, ce_format(w, "%s[%s", name, first), NULL);
    const char *i;
    if (up) {
        i = ce_loop(w, ce_dim_in(w, b->lo, CE_ANY), "<=", ce_dim_in(w, far, CE_ADD));
    } else { /* downwards: the index is counted from the end that stays */
        const char *c = ce_loop(w, "0", "<=", row_at(w, b->hi, base, low, ""));
        i = ce_fresh(w, "at");
        ce_line(w, "const ptrdiff_t %s = %s - %s;", i, ce_dim_in(w, b->hi, CE_ADD), c);
    }
    set_name(w, b->s, i);
    cr_dim at = dim_symbol(t, b->s), from = up ? dim_sub(t, at, one) : dim_add(t, at, one);
    if (!ce_range_push(w, b->s, up ? b->lo : far, up ? far : b->hi)) return;
    ce_block(w, b->body, scope | b->bit);
    const char *here = row_at(w, at, base, low, of_row), *before = row_at(w, from, base, low, of_row);
    if (b->kind == CR_BIND_CHAIN) {
        const char *body = ce_array(w, b->body), *done = ce_format(w, "%s + %s", name, before);
        matrix_product(w, up ? body : done, up ? done : body, ce_format(w, "%s + %s", name, here), s->dim[0]);
    } else {
        fill_row(w, r, b, ce_format(w, "%s[%s", name, here), ce_format(w, "%s[%s", name, before));
    }
    w->n_range--;
    ce_loop_end(w);
    ce_forget(w, ~b->bit);
    bool within = ce_surely(w, up ? dim_sub(t, moving, past) : dim_sub(t, past, moving));
    w->scan[r] = (ce_scan){name, low, base, moving, past, up, !within};
}

bool ce_scanned(ce *w, cr_ref r)
{
    const ce_scan *s = &w->scan[r];
    const cr_shape *shape = shape_of(w->g, r);
    if (!s->table) return false;
    const char *size = shape->rank ? ce_dim_in(w, dims_product(w->g, shape->dim, shape->rank), CE_UNARY) : "";
    const char *row = row_at(w, s->moving, s->base, s->low, size);
    if (s->clip)
        row = ce_format(w, "(%s %s %s ? %s : %s)", ce_dim_in(w, s->moving, CE_ADD), s->up ? "<" : ">",
                        ce_dim_in(w, s->past, CE_ADD), row_at(w, s->past, s->base, s->low, size), row);
    if (shape->rank) w->v[r].array = ce_format(w, "(%s + %s)", s->table, row);
    else w->v[r].text = ce_make(ce_format(w, "%s[%s]", s->table, row), CE_ATOM);
    return true;
}

/* Tables for the binders inside of b that have one end in common over all of b. Called in front of its loop, with the
 * range of its index known. */
static void write_scans(ce *w, const binder *b, uint64_t scope)
{
    cr_graph *g = w->g;
    size_t n;
    cr_ref *cone = graph_cone(g, 1, &b->body, &n);
    for (size_t i = 0; cone && i < n && !ce_failed(w); i++) {
        cr_ref r = cone[i];
        if (op_of(g, r) != CR_OP_BIND || !(w->depends[r] & b->bit) || w->scan[r].table) continue;
        binder in = binder_of(w, r);
        if (in.kind == CR_BIND_STACK || in.bit == b->bit || (w->depends[in.body] & ~(scope | in.bit))) continue;
        uint64_t lo = ce_bits(w, in.lo), hi = ce_bits(w, in.hi);
        bool up = hi & b->bit;
        uint64_t moving = up ? hi : lo, still = up ? lo : hi;
        int64_t a;
        cr_dim rest;
        if ((lo & hi & b->bit) || still & ~scope || moving & ~(scope | b->bit)) continue;
        if (!dim_linear_in(g->dims, up ? in.hi : in.lo, b->s, &a, &rest) || (a != 1 && a != -1)) continue;
        write_scan(w, r, &in, up, scope);
    }
    mem_free(cone);
}

/* ---- loops ------------------------------------------------------------------------------------- */

static bool loop_begin(ce *w, const binder *b, uint64_t scope)
{
    if (!ce_range_push(w, b->s, b->lo, b->hi)) return false;
    write_scans(w, b, scope);
    set_name(w, b->s, ce_loop(w, ce_dim_in(w, b->lo, CE_ANY), "<=", ce_dim_in(w, b->hi, CE_ADD)));
    ce_block(w, b->body, scope | b->bit);
    return !ce_failed(w);
}

static void loop_end(ce *w, const binder *b, uint64_t scope)
{
    ce_loop_end(w);
    w->n_range--;
    ce_forget(w, scope);
    for (size_t i = 0; i < w->n_cone; i++)
        if (w->depends[w->cone[i]] & b->bit) w->scan[w->cone[i]].table = NULL;
}

ce_text ce_bind_scalar(ce *w, cr_ref r, uint64_t scope)
{
    binder b = binder_of(w, r);
    const char *name = ce_fresh(w, "t");
    ce_text total = ce_make(name, CE_ATOM);
    ce_line(w, "%s %s = %s;", shape_of(w->g, r)->dtype == CR_BOOL ? "int" : "double", name, folds[b.kind].start);
    if (!loop_begin(w, &b, scope)) return total;
    ce_text body = ce_scalar(w, b.body);
    if (folds[b.kind].helper < 0 && strlen(folds[b.kind].sign) == 1)
        ce_line(w, "%s %s= %s;", name, folds[b.kind].sign, ce_in(w, body, CE_ANY));
    else ce_line(w, "%s = %s;", name, joined(w, b.kind, total, body).s);
    loop_end(w, &b, scope);
    return total;
}

/* Of each index the entries of the body, one block after the other. */
static void store_stack(ce *w, const binder *b, const char *target, uint64_t scope)
{
    const cr_shape *s = shape_of(w->g, b->body);
    ce_text index[CR_MAX_RANK + 1];
    cr_dim size[CR_MAX_RANK + 1] = {dim_const(w->g->dims, 1)};
    if (!loop_begin(w, b, scope)) return;
    index[0] = ce_dim(w, dim_sub(w->g->dims, dim_symbol(w->g->dims, b->s), b->lo));
    for (unsigned a = 0; a < s->rank; a++) size[a + 1] = s->dim[a];
    unsigned loops = ce_loops(w, s->rank, s->dim, index + 1);
    ce_text value = s->rank ? ce_entry(w, b->body, index + 1) : ce_scalar(w, b->body);
    ce_line(w, "%s[%s] = %s;", target, ce_in(w, ce_flat(w, s->rank + 1u, size, index), CE_ANY), value.s);
    ce_loops_end(w, loops);
    loop_end(w, b, scope);
}

void ce_bind_store(ce *w, cr_ref r, const char *target, uint64_t scope)
{
    binder b = binder_of(w, r);
    const cr_shape *s = shape_of(w->g, r);
    ce_text index[CR_MAX_RANK];
    if (b.kind == CR_BIND_STACK) {
        store_stack(w, &b, target, scope);
        return;
    }
    const char *start = ce_format(w, "%s[0", target), *swap = "";
    if (b.kind == CR_BIND_CHAIN) swap = ce_scratch_new(w, dims_product(w->g, s->dim, s->rank));
    fill_row(w, r, &b, start, NULL);
    if (!loop_begin(w, &b, scope)) return;
    if (b.kind == CR_BIND_CHAIN) { /* the factor of the highest index is leftmost */
        matrix_product(w, ce_array(w, b.body), target, swap, s->dim[0]);
        ce_line(w, "memcpy(%s, %s, (size_t)(%s) * sizeof *%s);", target, swap,
                ce_dim_in(w, dims_product(w->g, s->dim, s->rank), CE_ANY), swap);
    } else {
        unsigned loops = ce_loops(w, s->rank, s->dim, index);
        const char *at = ce_format(w, "%s[%s]", target, ce_flat(w, s->rank, s->dim, index).s);
        ce_line(w, "%s = %s;", at, joined(w, b.kind, ce_make(at, CE_ATOM), ce_entry(w, b.body, index)).s);
        ce_loops_end(w, loops);
    }
    loop_end(w, &b, scope);
}

/* ---- members ----------------------------------------------------------------------------------- */

/* Row `row` of an array of members. */
static ce_text member_entry(ce *w, const char *array, const char *row, const cr_shape *s, const ce_text *index,
                            const char *check)
{
    const char *at = row;
    if (s->rank) {
        const char *flat = ce_in(w, ce_flat(w, s->rank, s->dim, index), CE_ADD);
        at = ce_format(w, "(%s) * %s + %s", row, ce_dim_in(w, dims_product(w->g, s->dim, s->rank), CE_UNARY), flat);
    }
    at = ce_format(w, "%s[%s]", array, at);
    return check ? ce_make(ce_format(w, "%s ? %s : NAN", check, at), CE_ANY) : ce_make(at, CE_ATOM);
}

/* The first and the last index of the tables: variables where they are the least and the greatest of several. */
static const char *first_index(ce *w) { return w->n_lo == 1 ? ce_dim_in(w, w->lo[0], CE_UNARY) : "first"; }
static const char *last_index(ce *w) { return w->n_hi == 1 ? ce_dim_in(w, w->hi[0], CE_ADD) : "last"; }

static const char *row_of(ce *w, cr_dim at)
{
    if (w->n_lo == 1) return ce_dim_in(w, dim_sub(w->g->dims, at, w->lo[0]), CE_ADD);
    return ce_format(w, "%s - first", ce_dim_in(w, at, CE_ADD));
}

/* Entries of a table of members. */
static const char *table_size(ce *w, const cr_shape *s, int64_t *n)
{
    dim_table *t = w->g->dims;
    cr_dim size = dims_product(w->g, s->dim, s->rank);
    *n = -1;
    if (w->n_lo == 1 && w->n_hi == 1) {
        cr_dim all = dim_mul(t, size, dim_add(t, dim_sub(t, w->hi[0], w->lo[0]), dim_const(t, 1)));
        if (!dim_value(t, all, n)) *n = -1;
        return ce_dim_in(w, all, CE_ADD);
    }
    const char *rows = ce_format(w, "(%s - %s + 1)", last_index(w), first_index(w));
    return s->rank ? ce_format(w, "%s * %s", rows, ce_dim_in(w, size, CE_UNARY)) : rows;
}

ce_text ce_member(ce *w, cr_ref r, const ce_text *index)
{
    cr_graph *g = w->g;
    cr_dim at = attr_of(g, r, 1);
    const char *row = row_of(w, at), *table = NULL;
    bool above = false, below = false;
    for (size_t i = 0; i < w->n_families; i++)
        if (w->family[i] == attr_of(g, r, 0)) table = w->table[i];
    for (size_t i = 0; i < w->n_lo; i++) above = above || ce_surely(w, dim_sub(g->dims, at, w->lo[i]));
    for (size_t i = 0; i < w->n_hi; i++) below = below || ce_surely(w, dim_sub(g->dims, w->hi[i], at));
    if (!table) return ce_fail(w, CR_EINTERNAL, "a recurrence that is not computed"), ce_make("", CE_ATOM);
    const char *d = ce_dim_in(w, at, CE_ADD), *check = NULL; /* a member that there is not is NaN, as one undefined */
    if (!above) check = ce_format(w, "%s >= %s", d, first_index(w));
    if (!below) check = ce_format(w, "%s%s%s <= %s", above ? "" : check, above ? "" : " && ", d, last_index(w));
    return member_entry(w, table, row, shape_of(g, r), index, check);
}

ce_text ce_pick(ce *w, cr_ref r, const ce_text *index)
{
    cr_graph *g = w->g;
    cr_ref of = in_of(g, r, 0);
    cr_dim row = dim_sub(g->dims, attr_of(g, r, 0), family_first(g, of));
    cr_dim room[2] = {row, dim_sub(g->dims, family_last(g, of), attr_of(g, r, 0))};
    if (!row) return ce_make("", CE_ATOM);
    const char *array = ce_array(w, of);
    if (!array) return ce_fail(w, CR_EUNSUPPORTED, "C: a member of what is no variable"), ce_make("", CE_ATOM);
    const char *check = ce_check(w, w->guarded[r], 2, room);
    return member_entry(w, array, ce_dim(w, row).s, shape_of(g, r), index, check);
}

/* ---- recurrences ------------------------------------------------------------------------------- */

static void write_piece(ce *w, size_t of, const family_piece *p, const char *i)
{
    cr_graph *g = w->g;
    const uint64_t scope = 1ull << CE_DEFINITION | 1ull << CE_MEMBERS;
    const cr_shape *s = shape_of(g, p->body);
    ce_text index[CR_MAX_RANK];
    w->bound[CE_DEFINITION] = p->index;
    w->bound_name[CE_DEFINITION] = i;
    const char *lo = ce_dim_in(w, p->lo, CE_ADD), *hi = ce_dim_in(w, p->hi, CE_ADD);
    bool all_above = w->n_lo == 1 && p->lo == w->lo[0], all_below = w->n_hi == 1 && p->hi == w->hi[0];
    bool everywhere = all_above && all_below;
    if (!everywhere && p->lo == p->hi) ce_open(w, "if (%s == %s)", i, lo);
    else if (!everywhere && all_above) ce_open(w, "if (%s <= %s)", i, hi);
    else if (!everywhere && all_below) ce_open(w, "if (%s >= %s)", i, lo);
    else if (!everywhere) ce_open(w, "if (%s >= %s && %s <= %s)", i, lo, i, hi);
    if (!ce_range_push(w, p->index, p->lo, p->hi)) return;
    if (w->depends[p->body] & ~scope)
        ce_fail(w, CR_EUNSUPPORTED, "C: a recurrence that is another one for each index of a sum");
    ce_block(w, p->body, scope);
    unsigned loops = ce_loops(w, s->rank, s->dim, index);
    ce_text value = s->rank ? ce_entry(w, p->body, index) : ce_scalar(w, p->body);
    const char *row = row_of(w, dim_symbol(g->dims, p->index));
    ce_line(w, "%s = %s;", member_entry(w, w->table[of], row, s, index, NULL).s, value.s ? value.s : "");
    ce_loops_end(w, loops);
    w->n_range--;
    ce_forget(w, 0);
    if (!everywhere) ce_close(w);
}

/* first and last: the least and the greatest of several. */
static void write_end(ce *w, const char *name, size_t n, const cr_dim *d, const char *compare)
{
    if (n == 1) return;
    ce_line(w, "ptrdiff_t %s = %s;", name, ce_dim_in(w, d[0], CE_ANY));
    for (size_t i = 1; i < n; i++) {
        const char *t = ce_dim_in(w, d[i], CE_ADD);
        ce_line(w, "if (%s %s %s) %s = %s;", t, compare, name, name, t);
    }
}

/* Has every row of its table a definition? */
static bool complete(ce *w, const family *f)
{
    dim_table *t = w->g->dims;
    if (w->n_lo > 1 || w->n_hi > 1 || !f->n_pieces) return false;
    bool all = f->piece[0].lo == w->lo[0] && f->piece[f->n_pieces - 1].hi == w->hi[0];
    for (size_t k = 1; k < f->n_pieces; k++)
        all = all && dim_sub(t, f->piece[k].lo, f->piece[k - 1].hi) == dim_const(t, 1);
    return all;
}

bool ce_families_write(ce *w, strbuf *ends)
{
    cr_graph *g = w->g;
    if (w->n_families == 0) return true;
    w->table = arena_alloc(&w->mem, w->n_families * sizeof *w->table);
    if (!w->table) return ce_fail(w, CR_ENOMEM, "out of memory"), false;
    if (!lang_family_ends(g, w->n_families, w->family, true, &w->lo, &w->n_lo) ||
        !lang_family_ends(g, w->n_families, w->family, false, &w->hi, &w->n_hi))
        return false;
    strbuf lines = w->lines;
    sb_init(&w->lines);
    write_end(w, "first", w->n_lo, w->lo, "<");
    write_end(w, "last", w->n_hi, w->hi, ">");
    cr_dim length = dim_sub(g->dims, w->hi[0], w->lo[0]);
    if (w->n_lo == 1 && w->n_hi == 1) ce_check(w, false, 1, &length);
    else ce_line(w, "if (%s < %s) return 2;", last_index(w), first_index(w));
    sb_puts(ends, sb_str(&w->lines));
    sb_free(&w->lines);
    w->lines = lines;
    for (size_t i = 0; i < w->n_families; i++) {
        const family f = g->family[w->family[i]];
        for (size_t k = 0; k < f.n_assume; k++) ce_check(w, false, 1, &f.assume[k]);
        int64_t n;
        const char *size = table_size(w, g->type[f.type], &n);
        w->table[i] = ce_fresh(w, "t");
        ce_scratch_add(w, w->table[i], size, n);
        for (size_t k = 0; k < f.n_pieces; k++) {
            w->bound[CE_DEFINITION] = f.piece[k].index;
            ce_block(w, f.piece[k].body, 0); /* what no index needs */
        }
    }
    for (size_t i = 0; i < w->n_families; i++) { /* a member without a definition */
        int64_t n;
        if (complete(w, &g->family[w->family[i]])) continue;
        const char *k = ce_loop(w, "0", "<", table_size(w, g->type[g->family[w->family[i]].type], &n));
        ce_line(w, "%s[%s] = NAN;", w->table[i], k);
        ce_loop_end(w);
    }
    const char *i = ce_loop(w, first_index(w), "<=", last_index(w));
    for (size_t f = 0; f < w->n_families && !ce_failed(w); f++)
        for (size_t k = 0; k < g->family[w->family[f]].n_pieces; k++) {
            const family_piece p = g->family[w->family[f]].piece[k];
            write_piece(w, f, &p, i);
        }
    ce_loop_end(w);
    return !ce_failed(w);
}
