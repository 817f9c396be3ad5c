/* Builders of convolution; see window.h for the one relation behind them. */
#include "graph/window.h"

#include <string.h>

/* ---- reading and packing ------------------------------------------------------------------------ */

void window_read(const cr_graph *g, cr_ref r, cr_window *w)
{
    const cr_node *n = node(g, r);
    const cr_shape *s = shape_of(g, r);
    const uint32_t *word = n->word + n->n_in + 1;
    *w = (cr_window){.axes = s->rank - 2u, .groups = *word++};
    cr_dim *const part[] = {w->stride, w->dilation, w->low};
    for (unsigned k = 0; k < 3; k++, word += w->axes) memcpy(part[k], word, w->axes * sizeof *word);
    memcpy(w->result, s->dim + s->rank - w->axes, w->axes * sizeof *word);
}

void window_slots(const cr_graph *g, cr_ref r, cr_ref slot[3])
{
    window_slot value = window_value(g, r);
    slot[SLOT_X] = in_of(g, r, 0);
    slot[SLOT_W] = slot[SLOT_Y] = in_of(g, r, 1);
    if (value == SLOT_X) slot[SLOT_Y] = in_of(g, r, 0), slot[SLOT_W] = in_of(g, r, 1);
    slot[value] = r;
}

/* The node; its parts are all there. */
static cr_ref pack(cr_graph *g, cr_op op, window_slot value, uint32_t n_in, const cr_ref *in, const cr_window *w,
                   unsigned rank, const cr_dim *shape)
{
    uint32_t word[2 + 3 * CR_MAX_RANK], n = 0;
    word[n++] = value;
    word[n++] = w->groups;
    const cr_dim *const part[] = {w->stride, w->dilation, w->low};
    for (unsigned k = 0; k < 3; k++)
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

cr_ref window_remake(cr_graph *g, cr_ref r, const cr_ref *in, const cr_window *w)
{
    return window_conv(g, window_value(g, r), in[0], in[1], w);
}
