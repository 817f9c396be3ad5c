/* Calls with options by name: conv(x, w, stride=2, pad=[1, 0]). An option is one integer for all axes, or a list. */
#include "graph/window.h"
#include "lang/parse.h"

#include <string.h>

typedef struct window_call {
    const char *name;
    window_slot value;
    unsigned operands;
} window_call;

static const window_call calls[] = {
    {"conv", SLOT_Y, 2},
    {"conv_x", SLOT_X, 2},
    {"conv_w", SLOT_W, 2},
};

/* The options as written; n == 0: not given, n == 1 without a list: the same on all axes. */
typedef struct option {
    const char *name, *what;
    cr_dim d[CR_MAX_RANK];
    unsigned n;
    bool list;
    text_place at;
} option;
enum { STRIDE, DILATION, PAD, GROUPS, SIZE, N_OPTIONS };

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

static bool parse_option(parser *ps, const char *call, option *options)
{
    token name;
    if (!expect_name(ps, "an option, such as stride=2", &name)) return false;
    const char *s = name_text(ps->g->dims, name.name);
    unsigned i = 0;
    while (i < N_OPTIONS && strcmp(options[i].name, s)) i++;
    if (i == N_OPTIONS || !at(ps, TOK_ASSIGN)) {
        fail_token(ps, &name, CR_EARG, "`%s` has no option `%s`; there are stride=, dilation=, pad=, groups=, size=",
                   call, s);
        return false;
    }
    if (options[i].n) {
        fail_token(ps, &name, CR_EARG, "`%s` is given twice", s);
        return false;
    }
    advance(ps);
    return parse_value(ps, &options[i]);
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

cr_ref parse_window(parser *ps, const char *name, size_t start)
{
    option o[N_OPTIONS] = {{.name = "stride", .what = "a stride"}, {.name = "dilation", .what = "a dilation"},
                           {.name = "pad", .what = "a pad"}, {.name = "groups", .what = "a number of groups"},
                           {.name = "size", .what = "a size"}};
    const window_call *c = calls;
    while (strcmp(c->name, name)) c++;
    token open = ps->tok;
    size_t base = ps->n_stack;
    advance(ps);
    for (unsigned i = 0; i < c->operands; i++) {
        if (i && !accept(ps, TOK_COMMA)) return unexpected(ps, "`,` and another operand");
        cr_ref a = parse_expression(ps);
        if (!a || !push(ps, a)) return CR_NONE;
    }
    while (accept(ps, TOK_COMMA))
        if (!parse_option(ps, name, o)) return CR_NONE;
    if (!expect_close(ps, TOK_RPAREN, &open)) return CR_NONE;
    const cr_ref *a = ps->stack + base;
    unsigned rank = cr_rank(ps->g, a[0]);
    cr_window w = {.axes = rank > 2 ? rank - 2 : 0};
    if (!spread(ps, &o[STRIDE], w.axes, w.stride) || !spread(ps, &o[DILATION], w.axes, w.dilation) ||
        !spread(ps, &o[PAD], w.axes, w.low) || !spread(ps, &o[PAD], w.axes, w.high) ||
        !spread(ps, &o[GROUPS], 1, &w.groups) || !spread(ps, &o[SIZE], w.axes, w.result))
        return CR_NONE;
    cr_ref r = built(ps, window_conv(ps->g, c->value, a[0], a[1], &w), start);
    ps->n_stack = base;
    return r;
}
