/* Builders of convolution, pooling, slices; see window.h for the one relation behind them. */
#include "graph/window.h"

#include <string.h>

/* ---- reading and packing ------------------------------------------------------------------------ */

void window_read(const cr_graph *g, cr_ref r, cr_window *w)
{
    const cr_node *n = node(g, r);
    const cr_shape *s = shape_of(g, r);
    const uint32_t *word = n->word + n->n_in + 1;
    unsigned parts = n->op == CR_OP_CONV ? 3 : 4;
    *w = (cr_window){.axes = (n->n_attr - 2u) / parts, .groups = *word++};
    cr_dim *const part[] = {w->stride, w->dilation, w->low, w->size};
    for (unsigned k = 0; k < parts; k++, word += w->axes) memcpy(part[k], word, w->axes * sizeof *word);
    memcpy(w->result, s->dim + s->rank - w->axes, w->axes * sizeof *word);
}

void window_slots(const cr_graph *g, cr_ref r, cr_ref slot[3])
{
    window_slot value = window_value(g, r);
    slot[SLOT_X] = in_of(g, r, 0);
    if (op_of(g, r) != CR_OP_CONV) {
        slot[SLOT_W] = CR_NONE;
        slot[SLOT_Y] = op_of(g, r) == CR_OP_MAXPICK ? in_of(g, r, 1) : slot[SLOT_X];
        slot[value] = r;
        return;
    }
    slot[SLOT_W] = slot[SLOT_Y] = in_of(g, r, 1);
    if (value == SLOT_X) slot[SLOT_Y] = in_of(g, r, 0), slot[SLOT_W] = in_of(g, r, 1);
    slot[value] = r;
}

unsigned window_usual_axes(const cr_graph *g, cr_ref x)
{
    unsigned rank = cr_rank(g, x);
    return rank > 2 ? rank - 2 : rank;
}

cr_dim window_extent(const cr_graph *g, const cr_window *w, const cr_ref slot[3], window_slot of, unsigned i)
{
    if (!slot[of]) return w->size[i];
    const cr_shape *s = shape_of(g, slot[of]);
    return s->dim[s->rank - w->axes + i];
}

bool window_is_slice(cr_graph *g, cr_ref r, const cr_window *w)
{
    for (unsigned i = 0; i < w->axes; i++)
        if (w->size[i] != dim_const(g->dims, 1)) return false;
    return op_of(g, r) == CR_OP_WINDOW;
}

/* The node; its parts are all there. */
static cr_ref pack(cr_graph *g, cr_op op, window_slot value, uint32_t n_in, const cr_ref *in, const cr_window *w,
                   unsigned rank, const cr_dim *shape)
{
    uint32_t word[2 + 4 * CR_MAX_RANK], n = 0;
    word[n++] = value;
    word[n++] = w->groups;
    const cr_dim *const part[] = {w->stride, w->dilation, w->low, w->size};
    for (unsigned k = 0; k < (op == CR_OP_CONV ? 3 : 4); k++)
        for (unsigned i = 0; i < w->axes; i++) word[n++] = part[k][i];
    for (uint32_t i = 0; i < n; i++)
        if (i && !word[i]) return CR_NONE; /* too large a number: the error is set */
    return graph_node(g, op, graph_type(g, CR_REAL, rank, shape), n_in, in, n, word);
}

/* ---- sizes --------------------------------------------------------------------------------------- */

static cr_dim plus(cr_graph *g, cr_dim a, int64_t c) { return dim_add(g->dims, a, dim_const(g->dims, c)); }

cr_dim window_size(cr_graph *g, window_slot of, const cr_window *w, unsigned i, cr_dim x, cr_dim tap, cr_dim y)
{
    dim_table *t = g->dims;
    cr_dim pads = dim_add(t, w->low[i], w->high[i]);
    /* what a window, and what all positions of a point take up */
    cr_dim width = of == SLOT_W ? 0 : plus(g, dim_mul(t, w->dilation[i], plus(g, tap, -1)), 1);
    cr_dim reach = of == SLOT_Y ? 0 : plus(g, dim_mul(t, w->stride[i], plus(g, y, -1)), 1);
    switch (of) {
    case SLOT_Y: return plus(g, dim_floordiv(t, dim_sub(t, dim_add(t, x, pads), width), w->stride[i]), 1);
    case SLOT_W: return plus(g, dim_floordiv(t, dim_sub(t, dim_add(t, x, pads), reach), w->dilation[i]), 1);
    default: return dim_sub(t, plus(g, dim_add(t, reach, width), -1), pads);
    }
}

/* A copy of w whose defaults are filled in, but for the sizes of the result. False: an error is set. */
static bool complete(cr_graph *g, const cr_window *given, unsigned axes, cr_window *w)
{
    static const cr_window none;
    const struct { cr_dim *part; int64_t other; bool positive; const char *name; } part[] = {
        {w->stride, 1, true, "stride"},
        {w->dilation, 1, true, "dilation"},
        {w->low, 0, false, "pad"},
        {w->high, 0, false, "pad"}};
    *w = given ? *given : none;
    w->axes = axes;
    if (!w->groups) w->groups = dim_const(g->dims, 1);
    for (unsigned k = 0; k < 4; k++)
        for (unsigned i = 0; i < axes; i++) {
            int64_t v;
            cr_dim *d = &part[k].part[i];
            if (!*d) *d = dim_const(g->dims, part[k].other);
            if (!*d) return false;
            if (part[k].positive && dim_value(g->dims, *d, &v) && v < 1) {
                graph_fail(g, CR_EARG, "a %s must be at least 1, not %lld", part[k].name, (long long)v);
                return false;
            }
        }
    int64_t v;
    if (!dim_value(g->dims, w->groups, &v) || v >= 1) return w->groups != 0;
    graph_fail(g, CR_EARG, "there must be at least 1 group, not %lld", (long long)v);
    return false;
}

/* ---- convolution --------------------------------------------------------------------------------- */

/* d/groups, or 0 with an error if groups does not divide d. */
static cr_dim per_group(cr_graph *g, cr_dim d, cr_dim groups, const char *what)
{
    cr_dim q = dim_floordiv(g->dims, d, groups);
    if (!q || dim_mul(g->dims, q, groups) == d) return q;
    strbuf b;
    sb_init(&b);
    dim_print(g->dims, groups, &b, NULL, NULL);
    sb_puts(&b, " groups do not divide ");
    dim_print(g->dims, d, &b, NULL, NULL);
    sb_printf(&b, " %s channels", what);
    graph_fail(g, CR_ESHAPE, "%s", sb_str(&b));
    sb_free(&b);
    return 0;
}

cr_ref window_conv(cr_graph *g, window_slot value, cr_ref a, cr_ref b, const cr_window *given)
{
    static const char *const name[] = {"conv_x", "conv_w", "conv"};
    if (!valid(g, a) || !valid(g, b)) return CR_NONE;
    const cr_shape *p = shape_of(g, a), *q = shape_of(g, b);
    if (p->dtype != CR_REAL || q->dtype != CR_REAL || p->rank < 3 || p->rank != q->rank)
        return graph_fail(g, CR_ESHAPE, "%s takes two tensors of equally many axes, two for channels and one or more "
                          "for windows, not %s and %s", name[value], shape_text(g, a, 0), shape_text(g, b, 1));
    cr_window w;
    if (!complete(g, given, p->rank - 2u, &w)) return CR_NONE;
    const cr_shape *x = value == SLOT_X ? NULL : p, *k = value == SLOT_W ? NULL : q;
    const cr_shape *y = value == SLOT_X ? p : value == SLOT_W ? q : NULL;
    cr_dim out = y ? y->dim[1] : k->dim[0], in = x ? x->dim[1] : dim_mul(g->dims, w.groups, k->dim[1]);
    cr_dim part = per_group(g, in, w.groups, "input");
    if (!part || !per_group(g, out, w.groups, "output")) return CR_NONE;
    if ((k && part != k->dim[1]) || (k && out != k->dim[0]) || (x && y && x->dim[0] != y->dim[0]))
        return graph_fail(g, CR_ESHAPE, "the channels of %s and %s do not fit together in %s", shape_text(g, a, 0),
                          shape_text(g, b, 1), name[value]);
    cr_dim shape[CR_MAX_RANK];
    shape[0] = value == SLOT_W ? out : p->dim[0];
    shape[1] = value == SLOT_X ? in : value == SLOT_W ? part : out;
    for (unsigned i = 0; i < w.axes; i++) {
        int64_t v;
        if (!w.result[i])
            w.result[i] = window_size(g, value, &w, i, x ? x->dim[i + 2] : 0, k ? k->dim[i + 2] : 0,
                                      y ? y->dim[i + 2] : 0);
        if (w.result[i] && dim_value(g->dims, w.result[i], &v) && v < 0)
            return graph_fail(g, CR_ESHAPE, "no window fits: %s of %s and %s would have size %lld on axis %u",
                              name[value], shape_text(g, a, 0), shape_text(g, b, 1), (long long)v, i + 3);
        shape[i + 2] = w.result[i];
    }
    return pack(g, CR_OP_CONV, value, 2, (cr_ref[]){a, b}, &w, p->rank, shape);
}

cr_ref cr_conv(cr_graph *g, cr_ref x, cr_ref w, const cr_window *window)
{
    return window_conv(g, SLOT_Y, x, w, window);
}
cr_ref cr_conv_transpose(cr_graph *g, cr_ref y, cr_ref w, const cr_window *window)
{
    return window_conv(g, SLOT_X, y, w, window);
}
cr_ref cr_conv_weights(cr_graph *g, cr_ref x, cr_ref y, const cr_window *window)
{
    return window_conv(g, SLOT_W, x, y, window);
}

/* ---- pooling ------------------------------------------------------------------------------------- */

/* Does each window hold just the entry of x at its own position? */
static bool changes_nothing(cr_graph *g, const cr_window *w, const cr_dim *x)
{
    cr_dim one = dim_const(g->dims, 1), zero = dim_const(g->dims, 0);
    for (unsigned i = 0; i < w->axes; i++)
        if (w->size[i] != one || w->stride[i] != one || w->low[i] != zero || w->result[i] != x[i]) return false;
    return true;
}

/* Is t what the maxima of x may pick from (value y) or be given (value x)? Leading axes of its own are left alone. */
static bool picks_from(cr_graph *g, window_slot value, cr_ref x, cr_ref t, unsigned axes)
{
    const cr_shape *s = shape_of(g, x), *u = shape_of(g, t);
    unsigned same = value == SLOT_Y ? s->rank : s->rank - axes;
    if (u->dtype == CR_REAL && u->rank >= s->rank && !memcmp(u->dim + u->rank - s->rank, s->dim, same * sizeof *s->dim))
        return true;
    graph_fail(g, CR_ESHAPE, "%s does not fit the windows of %s", shape_text(g, t, 0), shape_text(g, x, 1));
    return false;
}

cr_ref window_pool(cr_graph *g, cr_op op, window_slot value, const cr_ref *in, const cr_window *given)
{
    cr_window w;
    cr_ref t = op == CR_OP_MAXPICK ? in[1] : in[0]; /* what the result is like, but for the axes of the window */
    if (!valid(g, in[0]) || !valid(g, t)) return CR_NONE;
    const cr_shape *s = shape_of(g, in[0]), *u = shape_of(g, t);
    unsigned axes = given->axes ? given->axes : window_usual_axes(g, in[0]);
    if (s->dtype != CR_REAL) return graph_fail(g, CR_ESHAPE, "a window takes numbers, not conditions");
    if (axes == 0 || axes > s->rank)
        return graph_fail(g, CR_ESHAPE, "windows over %u ax%s of %s", axes, axes == 1 ? "is" : "es",
                          shape_text(g, in[0], 0));
    if (!complete(g, given, axes, &w) || (op == CR_OP_MAXPICK && !picks_from(g, value, in[0], t, axes))) return CR_NONE;
    const cr_dim *own = s->dim + s->rank - axes, one = dim_const(g->dims, 1);
    cr_dim shape[CR_MAX_RANK];
    memcpy(shape, u->dim, u->rank * sizeof *shape);
    for (unsigned i = 0; i < axes; i++) {
        int64_t v;
        if (!w.size[i]) return graph_fail(g, CR_EARG, "the size of the window is missing on axis %u", i + 1);
        if (dim_value(g->dims, w.size[i], &v) && v < 1)
            return graph_fail(g, CR_EARG, "a window must have at least 1 entry, not %lld", (long long)v);
        if (w.size[i] == one) w.dilation[i] = one; /* one entry: nothing to spread */
        if (op == CR_OP_MAXPICK && value == SLOT_X) w.result[i] = own[i];
        if (!w.result[i])
            w.result[i] = window_size(g, value, &w, i, value == SLOT_Y ? own[i] : 0, w.size[i],
                                      value == SLOT_X ? own[i] : 0);
        if (w.result[i] && dim_value(g->dims, w.result[i], &v) && v < 0)
            return graph_fail(g, CR_ESHAPE, "no window fits: on %s the result would have size %lld on axis %u",
                              shape_text(g, in[0], 0), (long long)v, s->rank - axes + i + 1);
        shape[u->rank - axes + i] = w.result[i];
    }
    if ((op == CR_OP_WINDOW || op == CR_OP_MAXPOOL) && changes_nothing(g, &w, own)) return in[0];
    w.groups = one;
    return pack(g, op, value, op == CR_OP_MAXPICK ? 2 : 1, in, &w, u->rank, shape);
}

/* Are there no pads, so that every window is full? */
static bool is_full(cr_graph *g, const cr_window *w)
{
    for (unsigned i = 0; i < CR_MAX_RANK; i++)
        if ((w->low[i] && w->low[i] != dim_const(g->dims, 0)) || (w->high[i] && w->high[i] != dim_const(g->dims, 0)) ||
            w->result[i])
            return false;
    return true;
}

cr_ref cr_pool(cr_graph *g, cr_pool_kind kind, cr_ref x, const cr_window *window)
{
    if (!window) return graph_fail(g, CR_EARG, "pooling needs a window");
    if (kind == CR_POOL_MAX) return window_pool(g, CR_OP_MAXPOOL, SLOT_Y, &x, window);
    cr_ref sum = window_pool(g, CR_OP_WINDOW, SLOT_Y, &x, window);
    if (kind == CR_POOL_SUM || !sum) return sum;
    if (kind != CR_POOL_MEAN && kind != CR_POOL_MEAN_PADDED) return graph_fail(g, CR_EARG, "there is no such pooling");
    const cr_shape *s = shape_of(g, x);
    unsigned axes = window->axes ? window->axes : window_usual_axes(g, x);
    if (kind == CR_POOL_MEAN_PADDED || is_full(g, window))
        return cr_div(g, sum, cr_int(g, dims_product(g, window->size, axes)));
    cr_window w = *window;
    w.axes = axes;
    cr_ref ones = cr_full(g, cr_const(g, 1), axes, s->dim + s->rank - axes);
    cr_ref count = window_pool(g, CR_OP_WINDOW, SLOT_Y, &ones, &w);
    return count ? cr_div(g, sum, graph_tile(g, count, s->rank - axes, s->dim)) : CR_NONE;
}

/* ---- slices -------------------------------------------------------------------------------------- */

static cr_ref slice(cr_graph *g, window_slot value, cr_ref a, const cr_dim *first, const cr_dim *step,
                    const cr_dim *size)
{
    if (!valid(g, a)) return CR_NONE;
    cr_window w = {.axes = shape_of(g, a)->rank};
    if (w.axes == 0) return a;
    for (unsigned i = 0; i < w.axes; i++) {
        if (!first[i] || !size[i]) return CR_NONE;
        w.low[i] = dim_sub(g->dims, dim_const(g->dims, 0), first[i]);
        if (step) w.stride[i] = step[i];
        w.size[i] = dim_const(g->dims, 1);
        w.result[i] = size[i];
    }
    return window_pool(g, CR_OP_WINDOW, value, &a, &w);
}

cr_ref cr_slice(cr_graph *g, cr_ref a, const cr_dim *first, const cr_dim *step, const cr_dim *size)
{
    return slice(g, SLOT_Y, a, first, step, size);
}
cr_ref cr_place(cr_graph *g, cr_ref a, const cr_dim *first, const cr_dim *step, const cr_dim *size)
{
    return slice(g, SLOT_X, a, first, step, size);
}

/* Each part placed among zeros; no two meet, so that the sum is their concatenation. */
cr_ref cr_concat(cr_graph *g, unsigned n, const cr_ref *parts, unsigned axis)
{
    cr_dim at[CR_MAX_RANK], size[CR_MAX_RANK];
    if (n == 0) return graph_fail(g, CR_EARG, "nothing to concatenate");
    for (unsigned i = 0; i < n; i++)
        if (!valid(g, parts[i])) return CR_NONE;
    const cr_shape *s = shape_of(g, parts[0]);
    if (axis >= s->rank) return graph_fail(g, CR_EARG, "%s has no axis %u", shape_text(g, parts[0], 0), axis + 1);
    for (unsigned k = 0; k < s->rank; k++) at[k] = dim_const(g->dims, 0);
    memcpy(size, s->dim, s->rank * sizeof *size);
    for (unsigned i = 1; i < n; i++) {
        const cr_shape *t = shape_of(g, parts[i]);
        bool fits = t->rank == s->rank && t->dtype == s->dtype;
        for (unsigned k = 0; k < s->rank && fits; k++) fits = k == axis || t->dim[k] == s->dim[k];
        if (!fits)
            return graph_fail(g, CR_ESHAPE, "%s and %s cannot be put one behind the other along axis %u",
                              shape_text(g, parts[0], 0), shape_text(g, parts[i], 1), axis + 1);
        size[axis] = dim_add(g->dims, size[axis], t->dim[axis]);
    }
    cr_ref *placed = mem_alloc(n * sizeof *placed);
    if (!placed) return graph_fail(g, CR_ENOMEM, "out of memory");
    for (unsigned i = 0; i < n; i++) {
        placed[i] = cr_place(g, parts[i], at, NULL, size);
        at[axis] = dim_add(g->dims, at[axis], shape_of(g, parts[i])->dim[axis]);
    }
    cr_ref sum = cr_add_n(g, n, placed);
    mem_free(placed);
    return sum;
}

/* ---- all of them --------------------------------------------------------------------------------- */

cr_ref window_remake(cr_graph *g, cr_ref r, const cr_ref *in, const cr_window *w)
{
    if (op_of(g, r) != CR_OP_CONV) return window_pool(g, op_of(g, r), window_value(g, r), in, w);
    return window_conv(g, window_value(g, r), in[0], in[1], w);
}
