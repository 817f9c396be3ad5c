/* Windows in print: conv(x, w, stride=2, pad=[1, 0], size=[n, n]). What has its default is left out. */
#include "graph/window.h"
#include "lang/print.h"

/* name=d, or name=[d1, d2] where the axes differ; NULL, with ok unchanged, if all are `usual`. */
static tree *option(pr *p, const char *name, unsigned n, const cr_dim *d, const cr_dim *usual)
{
    tree *kid[CR_MAX_RANK];
    bool same = true, said = usual == NULL;
    for (unsigned i = 0; i < n; i++) {
        same = same && d[i] == d[0];
        said = said || d[i] != usual[i];
        kid[i] = tree_dim(p, d[i]);
    }
    if (!said) return NULL;
    tree *t = tree_new(p, T_OPTION, same ? 1 : n, kid);
    if (t) t->name = name;
    return t;
}

/* The sizes that the node would have if none were said: pads behind are those in front. */
static bool usual_sizes(pr *p, cr_ref r, cr_window *w, cr_dim *size)
{
    cr_ref slot[3];
    cr_graph *g = p->g;
    window_slots(g, r, slot);
    for (unsigned i = 0; i < w->axes; i++) {
        cr_dim d[3];
        for (unsigned k = 0; k < 3; k++) d[k] = shape_of(g, slot[k])->dim[shape_of(g, slot[k])->rank - w->axes + i];
        w->high[i] = w->low[i];
        size[i] = window_size(g, window_value(g, r), w, i, d[SLOT_X], d[SLOT_W], d[SLOT_Y]);
        if (!size[i]) return false; /* the error is set */
    }
    return true;
}

tree *pr_window(pr *p, cr_ref r, const cr_dim *index)
{
    static const char *const name[] = {"conv_x", "conv_w", "conv"};
    cr_graph *g = p->g;
    cr_window w;
    cr_dim ones[CR_MAX_RANK], zeros[CR_MAX_RANK], size[CR_MAX_RANK];
    window_read(g, r, &w);
    if (!usual_sizes(p, r, &w, size)) return NULL;
    for (unsigned i = 0; i < w.axes; i++) {
        ones[i] = dim_const(g->dims, 1);
        zeros[i] = dim_const(g->dims, 0);
    }
    const struct { const char *name; unsigned n; const cr_dim *d, *usual; } part[] = {
        {"stride", w.axes, w.stride, ones}, {"dilation", w.axes, w.dilation, ones}, {"pad", w.axes, w.low, zeros},
        {"groups", 1, &w.groups, ones}, {"size", w.axes, w.result, size}};
    tree *arg[2 + sizeof part / sizeof *part];
    unsigned n = 0;
    for (uint32_t i = 0; i < node(g, r)->n_in; i++) arg[n++] = pr_whole(p, in_of(g, r, i));
    for (unsigned i = 0; i < sizeof part / sizeof *part; i++) {
        tree *t = option(p, part[i].name, part[i].n, part[i].d, part[i].usual);
        if (t) arg[n++] = t;
    }
    if (pr_failed(p)) return NULL;
    tree *t = tree_call(p, name[window_value(g, r)], n, arg);
    return index ? tree_index(p, t, shape_of(g, r)->rank, index) : t;
}
