/* Windows in print: conv(x, w, stride=2, pad=[1, 0], size=[n, n]). What has its default is left out. */
#include "graph/window.h"
#include "lang/print.h"

/* name=d, or name=[d1, d2] where the axes differ or `list` says so; without a name: d or [d1, d2]. NULL, with no error
 * set, if all are `usual`. */
static tree *option(pr *p, const char *name, bool list, unsigned n, const cr_dim *d, const cr_dim *usual)
{
    tree *kid[CR_MAX_RANK];
    bool same = !list, said = usual == NULL;
    for (unsigned i = 0; i < n; i++) {
        same = same && d[i] == d[0];
        said = said || d[i] != usual[i];
        kid[i] = tree_dim(p, d[i]);
    }
    if (!said) return NULL;
    tree *t = tree_new(p, T_OPTION, same ? 1 : n, kid);
    if (!t) return NULL;
    t->name = name;
    t->order = !same;
    return t;
}

static const char *name_of(cr_graph *g, cr_ref r, bool slice)
{
    bool y = window_value(g, r) == SLOT_Y;
    switch (op_of(g, r)) {
    case CR_OP_CONV: return y ? "conv" : window_value(g, r) == SLOT_X ? "conv_x" : "conv_w";
    case CR_OP_WINDOW: return slice ? (y ? "slice" : "place") : y ? "sumpool" : "sumpool_x";
    case CR_OP_MAXPOOL: return "maxpool";
    case CR_OP_MAXTIES: return "maxpool_ties";
    default: return y ? "maxpool_y" : "maxpool_x";
    }
}

tree *pr_window(pr *p, cr_ref r, const cr_dim *index)
{
    cr_graph *g = p->g;
    cr_ref slot[3], x = in_of(g, r, 0);
    cr_window w;
    cr_dim one = dim_const(g->dims, 1), zero = dim_const(g->dims, 0);
    cr_dim ones[CR_MAX_RANK], zeros[CR_MAX_RANK], size[CR_MAX_RANK], first[CR_MAX_RANK];
    window_read(g, r, &w);
    window_slots(g, r, slot);
    window_slot value = window_value(g, r);
    bool conv = op_of(g, r) == CR_OP_CONV, slice = window_is_slice(g, r, &w);
    for (unsigned i = 0; i < w.axes; i++) {
        cr_dim d[3];
        for (unsigned k = 0; k < 3; k++) d[k] = window_extent(g, &w, slot, (window_slot)k, i);
        ones[i] = one;
        zeros[i] = zero;
        first[i] = dim_sub(g->dims, one, w.low[i]); /* counted from 1 */
        w.high[i] = slice ? zero : w.low[i];
        size[i] = window_size(g, value, &w, i, d[SLOT_X], d[SLOT_W], d[SLOT_Y]);
        if (op_of(g, r) == CR_OP_MAXPICK && value == SLOT_X) size[i] = w.result[i]; /* those of x */
        if (!size[i]) return NULL; /* the error is set */
    }
    const struct { const char *name; unsigned n; const cr_dim *d, *usual; } part[] = {
        {"stride", w.axes, w.stride, ones}, {"dilation", w.axes, w.dilation, ones},
        {"pad", slice ? 0 : w.axes, w.low, zeros}, {"groups", 1, &w.groups, ones}, {"size", w.axes, w.result, size}};
    tree *arg[3 + sizeof part / sizeof *part];
    unsigned n = 0;
    for (uint32_t i = 0; i < node(g, r)->n_in; i++) arg[n++] = pr_whole(p, in_of(g, r, i));
    if (!conv)
        arg[n++] = option(p, "", w.axes != window_usual_axes(g, x), w.axes, slice ? first : w.size, NULL);
    for (unsigned i = 0; i < sizeof part / sizeof *part; i++) {
        tree *t = option(p, part[i].name, false, part[i].n, part[i].d, part[i].usual);
        if (t) arg[n++] = t;
    }
    if (pr_failed(p)) return NULL;
    tree *t = tree_call(p, name_of(g, r, slice), n, arg);
    return index ? tree_index(p, t, shape_of(g, r)->rank, index) : t;
}
