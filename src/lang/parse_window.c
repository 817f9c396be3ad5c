/* Calls with options by name: conv(x, w, stride=2, pad=[1, 0]). An option is one integer for all axes, or a list; so is
 * the window of a pool, and the first entry of a slice. */
#include "graph/window.h"
#include "lang/parse.h"

#include <string.h>

enum { STRIDE, DILATION, PAD, GROUPS, SIZE, AXIS, N_OPTIONS };

typedef struct window_call {
    const char *name;
    cr_op op;
    window_slot value;
    unsigned operands;
    bool list;        /* a list behind the operands */
    unsigned options; /* a set of bits */
} window_call;

#define POOL (1u << STRIDE | 1u << DILATION | 1u << PAD | 1u << SIZE)
static const window_call calls[] = {
    {"conv", CR_OP_CONV, SLOT_Y, 2, false, POOL | 1u << GROUPS},
    {"conv_x", CR_OP_CONV, SLOT_X, 2, false, POOL | 1u << GROUPS},
    {"conv_w", CR_OP_CONV, SLOT_W, 2, false, POOL | 1u << GROUPS},
    {"maxpool", CR_OP_MAXPOOL, SLOT_Y, 1, true, POOL},
    {"maxpool_ties", CR_OP_MAXTIES, SLOT_Y, 1, true, POOL},
    {"maxpool_y", CR_OP_MAXPICK, SLOT_Y, 2, true, POOL},
    {"maxpool_x", CR_OP_MAXPICK, SLOT_X, 2, true, POOL & ~(1u << SIZE)},
    {"sumpool", CR_OP_WINDOW, SLOT_Y, 1, true, POOL},
    {"sumpool_x", CR_OP_WINDOW, SLOT_X, 1, true, POOL},
    {"avgpool", CR_OP_DIV, SLOT_Y, 1, true, POOL},
    {"slice", CR_OP_WINDOW, SLOT_Y, 1, true, 1u << STRIDE | 1u << SIZE},
    {"place", CR_OP_WINDOW, SLOT_X, 1, true, 1u << STRIDE | 1u << SIZE},
    {"concat", CR_OP_ADD, SLOT_Y, MAX_ARGUMENTS, false, 1u << AXIS},
    {"gather", CR_OP_GATHER, SLOT_Y, 2, false, 1u << AXIS},
    {"scatter", CR_OP_SCATTER, SLOT_X, 2, false, 1u << AXIS | 1u << SIZE},
};

/* Integers as written; n == 0: not given. */
typedef struct option {
    const char *name, *what;
    cr_dim d[CR_MAX_RANK];
    unsigned n;
    bool list;
    text_place at;
} option;

static bool parse_value(parser *ps, option *o)
{
    token open = ps->tok;
    size_t start = open.start;
    o->list = accept(ps, TOK_LBRACKET);
    do {
        if (o->n == CR_MAX_RANK) {
            fail_token(ps, &open, CR_ELIMIT, "more than %d axes", CR_MAX_RANK);
            return false;
        }
        if (!(o->d[o->n++] = parse_integer(ps, o->what))) return false;
    } while (o->list && accept(ps, TOK_COMMA));
    if (o->list && !expect_close(ps, TOK_RBRACKET, &open)) return false;
    o->at = place(ps, start);
    return true;
}

static bool parse_option(parser *ps, const window_call *c, option *options)
{
    token name;
    if (!expect_name(ps, "an option, such as stride=2", &name)) return false;
    const char *s = name_text(ps->g->dims, name.name);
    unsigned i = 0;
    while (i < N_OPTIONS && (strcmp(options[i].name, s) || !(c->options >> i & 1))) i++;
    if (i == N_OPTIONS || !at(ps, TOK_ASSIGN)) {
        strbuf b;
        sb_init(&b);
        for (unsigned k = 0; k < N_OPTIONS; k++)
            if (c->options >> k & 1) sb_printf(&b, " %s=", options[k].name);
        fail_token(ps, &name, CR_EARG, "`%s` has no option `%s`; there are%s", c->name, s, sb_str(&b));
        sb_free(&b);
        return false;
    }
    if (options[i].n) {
        fail_token(ps, &name, CR_EARG, "`%s` is given twice", s);
        return false;
    }
    advance(ps);
    return parse_value(ps, &options[i]);
}

static bool at_option(parser *ps) { return at(ps, TOK_NAME) && peek(ps).kind == TOK_ASSIGN; }

/* (operands, list, options): the operands go onto the stack. */
static bool parse_parts(parser *ps, const window_call *c, unsigned *n, option *list, option *options)
{
    token open = ps->tok;
    advance(ps);
    *n = 0;
    do {
        bool more = *n < c->operands && !at_option(ps);
        if (more) {
            cr_ref a = parse_expression(ps);
            if (!a || !push(ps, a)) return false;
            ++*n;
        } else if (c->list && !list->n) {
            if (*n < c->operands || at_option(ps)) break;
            if (!parse_value(ps, list)) return false;
        } else if (!parse_option(ps, c, options)) {
            return false;
        }
    } while (accept(ps, TOK_COMMA));
    bool enough = c->op == CR_OP_ADD ? *n > 0 : *n == c->operands && (!c->list || list->n);
    if (enough) return expect_close(ps, TOK_RPAREN, &open);
    fail_token(ps, &ps->tok, CR_EARG, "`%s` takes %s%s", c->name,
               c->op == CR_OP_ADD ? "tensors" : c->operands == 1 ? "a tensor" : "two tensors",
               !c->list ? "" : list->what[2] == 'w' ? " and the size of its window" : " and the first entry");
    return false;
}

/* The option on each of n axes; those that are not given stay as they are. */
static bool spread(parser *ps, const option *o, unsigned n, cr_dim *to)
{
    if (o->list && o->n != n) {
        fail_at(ps, o->at, CR_ESHAPE, "%u value%s for %u ax%s", o->n, o->n == 1 ? "" : "s", n, n == 1 ? "is" : "es");
        return false;
    }
    for (unsigned i = 0; i < n && o->n; i++) to[i] = o->d[o->list ? i : 0];
    return true;
}

/* Those that have axes and no windows. */
static cr_ref build_along(parser *ps, const window_call *c, unsigned n, const cr_ref *a, const option *o)
{
    int64_t v = 1;
    if (o[AXIS].n && (!dim_value(ps->g->dims, o[AXIS].d[0], &v) || v < 1 || v > CR_MAX_RANK))
        return fail_at(ps, o[AXIS].at, CR_EARG, "an axis is a number from 1 on");
    unsigned axis = (unsigned)v - 1;
    if (c->op == CR_OP_ADD) return cr_concat(ps->g, n, a, axis);
    if (c->op == CR_OP_GATHER) return cr_gather(ps->g, a[0], a[1], axis);
    if (!o[SIZE].n) return graph_fail(ps->g, CR_EARG, "scatter needs size=, the number of entries of the result");
    return cr_scatter(ps->g, a[0], a[1], axis, o[SIZE].d[0]);
}

static cr_ref build(parser *ps, const window_call *c, const cr_ref *a, const cr_window *w)
{
    if (c->op == CR_OP_CONV) return window_conv(ps->g, c->value, a[0], a[1], w);
    if (c->op == CR_OP_DIV) return cr_pool(ps->g, CR_POOL_MEAN, a[0], w);
    return window_pool(ps->g, c->op, c->value, a, w);
}

cr_ref parse_window(parser *ps, const char *name, size_t start)
{
    option o[N_OPTIONS] = {{.name = "stride", .what = "a stride"}, {.name = "dilation", .what = "a dilation"},
                           {.name = "pad", .what = "a pad"}, {.name = "groups", .what = "a number of groups"},
                           {.name = "size", .what = "a size"}, {.name = "axis", .what = "an axis"}};
    const window_call *c = calls;
    while (strcmp(c->name, name)) c++;
    bool slice = c->list && !(c->options >> PAD & 1);
    option list = {.what = slice ? "a first entry" : "a window"};
    size_t base = ps->n_stack;
    unsigned n;
    if (!parse_parts(ps, c, &n, &list, o)) return CR_NONE;
    const cr_ref *a = ps->stack + base;
    if (c->options >> AXIS & 1) {
        cr_ref along = built(ps, build_along(ps, c, n, a, o), start);
        ps->n_stack = base;
        return along;
    }
    cr_window w = {.axes = list.list ? list.n : window_usual_axes(ps->g, a[0])};
    if (!spread(ps, &list, w.axes, slice ? w.low : w.size) || !spread(ps, &o[STRIDE], w.axes, w.stride) ||
        !spread(ps, &o[DILATION], w.axes, w.dilation) || !spread(ps, &o[PAD], w.axes, slice ? w.high : w.low) ||
        !spread(ps, &o[PAD], w.axes, w.high) || !spread(ps, &o[GROUPS], 1, &w.groups) ||
        !spread(ps, &o[SIZE], w.axes, w.result))
        return CR_NONE;
    for (unsigned i = 0; i < w.axes && slice; i++) {
        w.size[i] = cr_dim_const(ps->g, 1);
        w.low[i] = cr_dim_sub(ps->g, w.size[i], w.low[i]); /* counted from 1 */
        if (!w.low[i]) return built(ps, CR_NONE, start);
    }
    cr_ref r = built(ps, build(ps, c, a, &w), start);
    ps->n_stack = base;
    return r;
}
