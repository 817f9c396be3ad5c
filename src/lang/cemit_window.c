/* Windows in C, and rows by their numbers. Of positions and taps (graph/window.h) one kind is looped over inside of the
 * other; the bounds of the inner loops leave out what meets no entry of x, and are the whole axis where that is known
 * never to happen. */
#include "graph/window.h"
#include "lang/cemit.h"

#include <stdio.h>
#include <string.h>

typedef struct window_loops {
    ce *w;
    cr_window v;
    cr_ref slot[3];
    cr_dim size[3][CR_MAX_RANK]; /* of each slot on the axes of the window */
    cr_dim at[3][CR_MAX_RANK];   /* where the loops stand: a tap, a position, the entry of x that they meet at */
} window_loops;

static void init(window_loops *k, ce *w, cr_ref r)
{
    cr_graph *g = w->g;
    cr_dim one = dim_const(g->dims, 1);
    *k = (window_loops){.w = w};
    window_read(g, r, &k->v);
    window_slots(g, r, k->slot);
    for (unsigned i = 0; i < k->v.axes; i++) {
        for (unsigned s = 0; s < 3; s++) k->size[s][i] = window_extent(g, &k->v, k->slot, (window_slot)s, i);
        cr_dim least[] = {dim_sub(g->dims, k->v.stride[i], one), dim_sub(g->dims, k->v.dilation[i], one),
                          k->size[SLOT_X][i], k->size[SLOT_W][i], k->size[SLOT_Y][i]};
        if (ce_check(w, false, sizeof least / sizeof *least, least))
            ce_fail(w, CR_EUNSUPPORTED, "C: a window whose size or stride may be out of range for some index of a sum");
    }
}

void ce_windows_check(ce *w)
{
    dim_table *t = w->g->dims;
    for (size_t i = 0; i < w->n_cone; i++) {
        cr_window v;
        if (!is_window(op_of(w->g, w->cone[i]))) continue;
        window_read(w->g, w->cone[i], &v);
        for (unsigned a = 0; a < v.axes; a++) {
            cr_dim least[] = {dim_sub(t, v.stride[a], dim_const(t, 1)), dim_sub(t, v.dilation[a], dim_const(t, 1))};
            for (unsigned k = 0; k < 2; k++)
                if (!ce_bits(w, least[k])) ce_check(w, false, 1, &least[k]);
        }
    }
}

/* The index of a loop takes part in dimensions, as a symbol that is bound until loops_close. */
static cr_dim loop_open(window_loops *k, window_slot s, unsigned i, const char *from, const char *to)
{
    ce *w = k->w;
    dim_table *t = w->g->dims;
    char name[24];
    int n = snprintf(name, sizeof name, "#%s%u", s == SLOT_W ? "tap" : "position", i);
    dim_sym index = name_intern(t, name, (size_t)n);
    if (w->n_bound == CE_BITS) return ce_fail(w, CR_ELIMIT, "C: more than 61 nested indices in one expression"), 0;
    if (!ce_range_push(w, index, dim_const(t, 0), dim_sub(t, k->size[s][i], dim_const(t, 1)))) return 0;
    w->bound[w->n_bound] = index;
    w->bound_name[w->n_bound++] = ce_loop(w, from, "<", to);
    return dim_symbol(t, index);
}

static void loops_close(window_loops *k, unsigned n)
{
    k->w->n_bound -= n;
    k->w->n_range -= n;
    ce_loops_end(k->w, n);
}

/* Loops over taps (w) or positions (y), none for an axis of size 1; how many they are. inside: of the loops over the
 * others, and only over what meets an entry of x. */
static unsigned loops_open(window_loops *k, window_slot s, bool inside)
{
    ce *w = k->w;
    dim_table *t = w->g->dims;
    cr_dim one = dim_const(t, 1);
    window_slot other = s == SLOT_W ? SLOT_Y : SLOT_W;
    const cr_dim *step = s == SLOT_W ? k->v.dilation : k->v.stride, *outer = s == SLOT_W ? k->v.stride : k->v.dilation;
    unsigned loops = 0;
    for (unsigned i = 0; i < k->v.axes && !ce_failed(w); i++) {
        cr_dim size = k->size[s][i], x = k->size[SLOT_X][i], first = 0;
        const char *from = "0", *to = ce_dim_in(w, size, CE_ADD);
        bool whole = true;
        if (inside) {
            first = dim_sub(t, dim_mul(t, outer[i], k->at[other][i]), k->v.low[i]);
            cr_dim last = dim_add(t, first, dim_mul(t, step[i], dim_sub(t, size, one)));
            whole = ce_surely(w, first) && ce_surely(w, dim_sub(t, dim_sub(t, x, one), last));
        }
        if (!whole) {
            const char *a = ce_dim_in(w, first, CE_ANY), *b = ce_dim_in(w, step[i], CE_ANY);
            from = ce_format(w, "%s(%s, %s)", ce_use(w, CEH_FROM), a, b);
            to = ce_format(w, "%s(%s, %s, %s, %s)", ce_use(w, CEH_UPTO), a, b, ce_dim_in(w, x, CE_ANY),
                           ce_dim_in(w, size, CE_ANY));
        }
        k->at[s][i] = whole && size == one ? dim_const(t, 0) : (loops++, loop_open(k, s, i, from, to));
        if (inside) k->at[SLOT_X][i] = dim_add(t, first, dim_mul(t, step[i], k->at[s][i]));
    }
    return loops;
}

/* The entry of slot s behind the `lead` leading indices, as places of an array. */
static void places(window_loops *k, window_slot s, unsigned lead, ce_text *index)
{
    for (unsigned i = 0; i < k->v.axes; i++) index[lead + i] = ce_dim(k->w, k->at[s][i]);
}

static const char *flat(ce *w, const cr_shape *s, const ce_text *index)
{
    return ce_in(w, ce_flat(w, s->rank, s->dim, index), CE_ANY);
}

static void store_zeros(ce *w, cr_ref r, const char *target)
{
    const cr_shape *s = shape_of(w->g, r);
    const char *i = ce_loop(w, "0", "<", ce_dim_in(w, dims_product(w->g, s->dim, s->rank), CE_ADD));
    ce_line(w, "%s[%s] = 0.0;", target, i);
    ce_loop_end(w);
}

/* ---- sums -------------------------------------------------------------------------------------- */

/* Any slot of the form, positions innermost: rows of x and y are read one after the other. */
static void store_conv(ce *w, cr_ref r, const char *target)
{
    cr_graph *g = w->g;
    window_loops k;
    init(&k, w, r);
    window_slot value = window_value(g, r);
    window_slot a = value == SLOT_X ? SLOT_Y : SLOT_X, b = value == SLOT_W ? SLOT_Y : SLOT_W; /* of the operands */
    const cr_dim *filter = shape_of(g, k.slot[SLOT_W])->dim;
    cr_dim size[4] = {shape_of(g, k.slot[SLOT_X])->dim[0], k.v.groups, dim_floordiv(g->dims, filter[0], k.v.groups),
                      filter[1]};
    ce_text at[4], index[3][CR_MAX_RANK];
    store_zeros(w, r, target);
    unsigned outer = ce_loops(w, 4, size, at), n = loops_open(&k, SLOT_W, false);
    n += loops_open(&k, SLOT_Y, true);
    ce_text in = ce_flat(w, 2, (cr_dim[]){size[1], size[3]}, (ce_text[]){at[1], at[3]});
    ce_text out = ce_flat(w, 2, (cr_dim[]){size[1], size[2]}, (ce_text[]){at[1], at[2]});
    index[SLOT_X][0] = index[SLOT_Y][0] = at[0];
    index[SLOT_X][1] = in;
    index[SLOT_W][0] = index[SLOT_Y][1] = out;
    index[SLOT_W][1] = at[3];
    for (unsigned s = 0; s < 3; s++) places(&k, (window_slot)s, 2, index[s]);
    ce_line(w, "%s[%s] += %s * %s;", target, flat(w, shape_of(g, r), index[value]),
            ce_in(w, ce_entry(w, in_of(g, r, 0), index[a]), CE_UNARY),
            ce_in(w, ce_entry(w, in_of(g, r, 1), index[b]), CE_UNARY));
    loops_close(&k, n);
    ce_loops_end(w, outer);
}

static void store_sums(ce *w, cr_ref r, const char *target)
{
    cr_graph *g = w->g;
    const cr_shape *s = shape_of(g, r);
    window_loops k;
    init(&k, w, r);
    window_slot value = window_value(g, r), from = value == SLOT_X ? SLOT_Y : SLOT_X;
    ce_text to[CR_MAX_RANK], of[CR_MAX_RANK];
    unsigned lead = s->rank - k.v.axes;
    store_zeros(w, r, target);
    unsigned outer = ce_loops(w, lead, s->dim, to), n = loops_open(&k, SLOT_W, false);
    n += loops_open(&k, SLOT_Y, true);
    memcpy(of, to, lead * sizeof *of);
    places(&k, value, lead, to);
    places(&k, from, lead, of);
    ce_line(w, "%s[%s] += %s;", target, flat(w, s, to), ce_in(w, ce_entry(w, in_of(g, r, 0), of), CE_ANY));
    loops_close(&k, n);
    ce_loops_end(w, outer);
}

/* ---- maxima ------------------------------------------------------------------------------------ */

/* The entry of x that the loops stand at; lead: its leading indices. */
static ce_text entry_of_x(window_loops *k, cr_ref x, unsigned lead, ce_text *index)
{
    places(k, SLOT_X, lead, index);
    return ce_entry(k->w, x, index);
}

/* A window at a time: its maximum, how many entries attain it, what they pick or are given. */
static void store_maxima(ce *w, cr_ref r, const char *target)
{
    cr_graph *g = w->g;
    cr_op op = op_of(g, r);
    cr_ref x = in_of(g, r, 0);
    const cr_shape *s = shape_of(g, r);
    window_loops k;
    init(&k, w, r);
    window_slot value = window_value(g, r), from = value == SLOT_X ? SLOT_Y : SLOT_X;
    unsigned lead = shape_of(g, x)->rank - k.v.axes, more = s->rank - k.v.axes - lead; /* the latter: of t, not of x */
    ce_text of[CR_MAX_RANK], to[CR_MAX_RANK], t[CR_MAX_RANK];
    if (op == CR_OP_MAXPICK) store_zeros(w, r, target);
    unsigned outer = ce_loops(w, lead, shape_of(g, x)->dim, of), windows = loops_open(&k, SLOT_Y, false);
    const char *top = ce_fresh(w, "top"), *ties = NULL;
    ce_line(w, "double %s = -INFINITY;", top);
    unsigned n = loops_open(&k, SLOT_W, true);
    ce_line(w, "%s = %s(%s, %s);", top, ce_use(w, CEH_MAX2), top, ce_in(w, entry_of_x(&k, x, lead, of), CE_ANY));
    loops_close(&k, n);
    if (op != CR_OP_MAXPOOL) {
        ties = ce_fresh(w, "ties");
        ce_line(w, "double %s = 0.0;", ties);
        n = loops_open(&k, SLOT_W, true);
        ce_line(w, "%s += %s == %s;", ties, ce_in(w, entry_of_x(&k, x, lead, of), CE_ADD), top);
        loops_close(&k, n);
    }
    unsigned inner = ce_loops(w, more, s->dim, to);
    n = op == CR_OP_MAXPICK ? loops_open(&k, SLOT_W, true) : 0;
    memcpy(to + more, of, lead * sizeof *to);
    memcpy(t, to, (more + lead) * sizeof *t);
    places(&k, value, more + lead, to);
    if (op == CR_OP_MAXPICK) {
        places(&k, from, more + lead, t);
        ce_line(w, "%s[%s] += (%s == %s ? %s : 0.0) / %s;", target, flat(w, s, to),
                ce_in(w, entry_of_x(&k, x, lead, of), CE_ADD), top, ce_in(w, ce_entry(w, in_of(g, r, 1), t), CE_ADD),
                ties);
    } else {
        ce_line(w, "%s[%s] = %s;", target, flat(w, s, to), ties ? ties : top);
    }
    loops_close(&k, n);
    ce_loops_end(w, inner);
    loops_close(&k, windows);
    ce_loops_end(w, outer);
}

void ce_window_store(ce *w, cr_ref r, const char *target)
{
    switch (op_of(w->g, r)) {
    case CR_OP_CONV: store_conv(w, r, target); break;
    case CR_OP_WINDOW: store_sums(w, r, target); break;
    default: store_maxima(w, r, target); break;
    }
}

/* ---- rows by their numbers ---------------------------------------------------------------------- */

/* The place of an entry on an axis of size n, by its number; status 2 if there is none. Unlike an index that is known
 * ahead of all values, it is none behind a choice either, as for `eval`. */
static ce_text row(ce *w, cr_ref number, const ce_text *index, cr_dim n)
{
    const char *name = ce_fresh(w, "row");
    w->fails = true;
    ce_line(w, "const ptrdiff_t %s = %s(%s, %s);", name, ce_use(w, CEH_ROW),
            ce_in(w, ce_entry(w, number, index), CE_ANY), ce_dim_in(w, n, CE_ANY));
    ce_open(w, "if (%s < 0)", name);
    ce_line(w, "status = 2;");
    ce_line(w, "goto end;");
    ce_close(w);
    return ce_make(name, CE_ATOM);
}

ce_text ce_gather_number(ce *w, cr_ref r)
{
    cr_ref a = in_of(w->g, r, 0);
    ce_text at = row(w, in_of(w->g, r, 1), NULL, shape_of(w->g, a)->dim[0]);
    return ce_entry(w, a, &at);
}

void ce_rows_store(ce *w, cr_ref r, const char *target)
{
    cr_graph *g = w->g;
    bool gather = op_of(g, r) == CR_OP_GATHER;
    cr_ref a = in_of(g, r, 0), number = in_of(g, r, 1);
    const cr_shape *rows = shape_of(g, number);
    const cr_shape *wide = shape_of(g, gather ? a : r), *narrow = shape_of(g, gather ? r : a);
    unsigned axis = attr_of(g, r, 0), rest = axis + rows->rank, behind = narrow->rank - rest;
    ce_text in_narrow[CR_MAX_RANK], in_wide[CR_MAX_RANK];
    if (!gather) store_zeros(w, r, target);
    unsigned n = ce_loops(w, rows->rank, rows->dim, in_narrow + axis);
    in_wide[axis] = row(w, number, in_narrow + axis, wide->dim[axis]);
    n += ce_loops(w, axis, narrow->dim, in_narrow);
    n += ce_loops(w, behind, narrow->dim + rest, in_narrow + rest);
    memcpy(in_wide, in_narrow, axis * sizeof *in_wide);
    memcpy(in_wide + axis + 1, in_narrow + rest, behind * sizeof *in_wide);
    ce_line(w, "%s[%s] %s %s;", target, flat(w, shape_of(g, r), gather ? in_narrow : in_wide), gather ? "=" : "+=",
            ce_in(w, ce_entry(w, a, gather ? in_wide : in_narrow), CE_ANY));
    ce_loops_end(w, n);
}
