/* The operator table, and the rules that are the same for every operator. */
#include "ops/ops.h"

#include <string.h>
#include <threads.h>

static op_info table[CR_OP_COUNT] = {
#define CR_OP(id, text, n, group) [CR_OP_##id] = {.name = #id, .spelling = text, .arity = n, .kind = KIND_##group},
#include "chainrule_ops.def"
#undef CR_OP
};

/* Blocks are joined into the table on first use. */
static once_flag joined = ONCE_FLAG_INIT;

static void join(const op_block *b)
{
    for (; b->op != CR_OP_NONE; b++) {
        op_info full = b->info;
        full.name = table[b->op].name;
        full.spelling = table[b->op].spelling;
        full.arity = table[b->op].arity;
        full.kind = table[b->op].kind;
        table[b->op] = full;
    }
}

static void join_all(void)
{
    join(ops_elementwise);
    join(ops_arithmetic);
    join(ops_reduce);
    join(ops_linalg);
    join(ops_layout);
    join(ops_windows);
}

op_info *op_edit(cr_op op)
{
    call_once(&joined, join_all);
    return &table[op];
}

const op_info *op_get(cr_op op) { return op_edit(op); }

cr_op op_by_spelling(const char *s, size_t n, int arity)
{
    for (int op = 1; op < CR_OP_COUNT; op++)
        if (table[op].arity == arity && strlen(table[op].spelling) == n && n && !memcmp(table[op].spelling, s, n))
            return (cr_op)op;
    return CR_OP_NONE;
}

/* t[K, S] .* f[S], written in the order of the chain rule: a cotangent comes before the local derivative, a tangent
 * behind. */
static cr_ref scale(cr_graph *g, cr_ref t, cr_ref f, unsigned k, bool tangent)
{
    double zero;
    if (!valid(g, t) || !valid(g, f)) return CR_NONE;
    const cr_shape *s = shape_of(g, t);
    if (op_of(g, t) == CR_OP_SELECT) /* the branch not taken is not multiplied: its factor may be infinite */
        for (uint32_t i = 1; i <= 2; i++) {
            if (!is_const(g, in_of(g, t, i), &zero) || zero != 0) continue;
            cr_ref taken = scale(g, in_of(g, t, 3 - i), f, k, tangent), none = in_of(g, t, i);
            return i == 1 ? cr_select(g, in_of(g, t, 0), none, taken) : cr_select(g, in_of(g, t, 0), taken, none);
        }
    uint8_t label[2 * CR_MAX_RANK];
    unsigned n = 0;
    for (unsigned i = tangent ? k : 0; i < s->rank; i++) label[n++] = (uint8_t)i;
    for (unsigned i = tangent ? 0 : k; i < s->rank; i++) label[n++] = (uint8_t)i;
    return cr_einsum(g, 2, tangent ? (cr_ref[]){f, t} : (cr_ref[]){t, f}, label, s->rank, s->dim);
}

cr_ref op_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    const op_info *op = op_get(op_of(g, y));
    if (op->vjp) return op->vjp(g, y, i, ybar, k);
    if (!op->partial) return CR_NONE;
    cr_ref d = op->partial(g, y, i);
    return d ? scale(g, ybar, d, k, false) : CR_NONE;
}

cr_ref op_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    const op_info *op = op_get(op_of(g, y));
    if (op->jvp) return op->jvp(g, y, xdot, k);
    if (!op->partial) return CR_NONE;
    cr_ref sum = CR_NONE;
    for (uint32_t i = 0; i < node(g, y)->n_in; i++) {
        cr_ref d = xdot[i] ? op->partial(g, y, i) : CR_NONE;
        if (!d) continue;
        cr_ref term = scale(g, xdot[i], d, k, true);
        sum = sum ? cr_add(g, sum, term) : term;
    }
    return sum;
}
