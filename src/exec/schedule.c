/* Which nodes are evaluated when: blocks (one for the expression, one for the body of each binder) and the number of
 * uses after which a value can go. Nodes of a binder's body that do not depend on its symbol are moved outwards. */
#include "exec/internal.h"

#include <stdlib.h>
#include <string.h>

/* While a schedule is made: for each node of the cone the set of bound symbols it depends on, a bit each; bit 63 is
 * shared by all from the 64th on, which can only move a node too far inwards. */
typedef struct builder {
    cr_graph *g;
    exec_schedule *s;
    uint64_t *depends; /* NULL: nothing is bound */
    uint32_t *stamp;   /* number of the block that collected the node last */
    uint32_t n_blocks;
    uint8_t *bit; /* by dim_sym: 1 + bit, 0 if not bound by any node here */
    size_t n_bit;
    cr_ref arg;    /* parameter that counts as bound, with bit 0 */
    dim_sym index; /* symbol that does, with bit 0 */
} builder;

#define SHARED_BIT 63u

uint32_t exec_position(const exec_schedule *s, cr_ref r)
{
    size_t lo = 0, hi = s->n;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->cone[mid] <= r) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return (uint32_t)lo;
}

bool exec_is_delta(const cr_graph *g, cr_ref r, uint32_t i)
{
    cr_op in = op_of(g, in_of(g, r, i));
    return op_of(g, r) == CR_OP_EINSUM && (in == CR_OP_ONEHOT || in == CR_OP_IDENTITY);
}

static bool no_memory(cr_graph *g)
{
    graph_fail(g, CR_ENOMEM, "out of memory");
    return false;
}

/* ---- dependence on bound symbols ---------------------------------------------------------------- */

typedef struct symbol_set {
    const builder *b;
    uint64_t set;
} symbol_set;

static void add_symbol(void *user, dim_sym s)
{
    symbol_set *u = user;
    if (s < u->b->n_bit && u->b->bit[s]) {
        u->set |= (uint64_t)1 << (u->b->bit[s] - 1);
    }
}

static dim_sym bound_symbol(const cr_graph *g, cr_ref bind)
{
    dim_sym s = 0;
    dim_is_symbol(g->dims, attr_of(g, bind, 1), &s);
    return s;
}

/* Bits for the symbols that binders of the cone bind; false: out of memory. */
static bool number_symbol(builder *b, dim_sym s, unsigned *n)
{
    if (s >= b->n_bit) {
        uint8_t *p = mem_realloc(b->bit, (size_t)s + 1);
        if (!p) {
            return no_memory(b->g);
        }
        memset(p + b->n_bit, 0, s + 1 - b->n_bit);
        b->bit = p;
        b->n_bit = (size_t)s + 1;
    }
    if (!b->bit[s]) {
        b->bit[s] = (uint8_t)(1 + (*n < SHARED_BIT ? (*n)++ : SHARED_BIT));
    }
    return true;
}

static bool number_symbols(builder *b, bool *any)
{
    unsigned n = b->arg != CR_NONE;
    *any = b->arg != CR_NONE || b->index;
    bool ok = !b->index || number_symbol(b, b->index, &n);
    for (size_t i = 0; ok && i < b->s->n; i++) {
        cr_ref r = b->s->cone[i];
        if (op_of(b->g, r) == CR_OP_BIND) {
            ok = number_symbol(b, bound_symbol(b->g, r), &n);
            *any = true;
        }
    }
    return ok;
}

static uint64_t dims_depend(const builder *b, const cr_dim *d, unsigned n)
{
    symbol_set u = {b, 0};
    for (unsigned i = 0; i < n; i++) {
        dim_symbols(b->g->dims, d[i], add_symbol, &u);
    }
    return u.set;
}

static bool find_dependence(builder *b)
{
    const cr_graph *g = b->g;
    b->depends = mem_zalloc(b->s->n, sizeof *b->depends);
    if (!b->depends) {
        return no_memory(b->g);
    }
    for (size_t i = 0; i < b->s->n; i++) {
        cr_ref r = b->s->cone[i];
        const cr_shape *shape = shape_of(g, r);
        uint64_t set = dims_depend(b, shape->dim, shape->rank);
        for (uint32_t k = 0; k < node(g, r)->n_in; k++) {
            set |= b->depends[exec_position(b->s, in_of(g, r, k))];
        }
        cr_op op = op_of(g, r);
        cr_dim d[2];
        if (op == CR_OP_INT || op == CR_OP_ONEHOT || op == CR_OP_MATPOW || op == CR_OP_PICK || op == CR_OP_MEMBER) {
            d[0] = attr_of(g, r, op == CR_OP_MEMBER);
            set |= dims_depend(b, d, 1);
            if (op == CR_OP_MEMBER && b->index && b->s->guarded[r]) {
                set |= (uint64_t)1 << (b->bit[b->index] - 1); /* if(i > m, o[m], 0): it may not be there yet */
            }
        } else if (op == CR_OP_CONV || op == CR_OP_WINDOW || op == CR_OP_MAXPOOL || op == CR_OP_MAXTIES ||
                   op == CR_OP_MAXPICK) { /* strides, pads and sizes; the first word is none of them */
            const cr_node *nd = node(g, r);
            set |= dims_depend(b, nd->word + nd->n_in + 1, nd->n_attr - 1u);
        } else if (op == CR_OP_BIND) {
            unsigned bit = b->bit[bound_symbol(g, r)] - 1u;
            if (bit != SHARED_BIT) {
                set &= ~((uint64_t)1 << bit);
            }
            d[0] = attr_of(g, r, 2);
            d[1] = attr_of(g, r, 3);
            set |= dims_depend(b, d, 2);
        } else if (r == b->arg) {
            set |= 1;
        }
        b->depends[i] = set;
    }
    return true;
}

/* ---- blocks ------------------------------------------------------------------------------------- */

static void block_free(exec_block *k)
{
    if (!k) {
        return;
    }
    for (size_t i = 0; i < k->n; i++) {
        block_free(k->item[i].child);
    }
    mem_free(k->item);
    mem_free(k->outer);
    mem_free(k);
}

static int by_node(const void *x, const void *y)
{
    uint32_t a = ((const exec_item *)x)->node, b = ((const exec_item *)y)->node;
    return (a > b) - (a < b);
}

static int by_value(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return (a > b) - (a < b);
}

static exec_item *find_item(const exec_block *k, uint32_t position)
{
    exec_item key = {.node = position};
    return k->n ? bsearch(&key, k->item, k->n, sizeof key, by_node) : NULL;
}

/* Puts a node into the block, or into its list of outer values if it does not depend on the block's symbol. */
static bool want(builder *b, exec_block *k, uint32_t id, uint64_t mask, uint32_t position)
{
    if (mask && !(b->depends[position] & mask)) {
        if (!VEC_RESERVE(k->outer, k->outer_cap, k->n_outer + 1)) {
            return no_memory(b->g);
        }
        k->outer[k->n_outer++] = position;
        return true;
    }
    if (b->stamp[position] == id) {
        return true;
    }
    b->stamp[position] = id;
    if (!VEC_RESERVE(k->item, k->cap, k->n + 1)) {
        return no_memory(b->g);
    }
    k->item[k->n++] = (exec_item){.node = position};
    return true;
}

/* See exec_anchor. */
static exec_anchor anchor_of(const builder *b, cr_ref r)
{
    const cr_graph *g = b->g;
    cr_bind_kind kind = (cr_bind_kind)attr_of(g, r, 0);
    unsigned bit = b->bit[bound_symbol(g, r)] - 1u;
    if ((kind != CR_BIND_SUM && kind != CR_BIND_PROD && kind != CR_BIND_CHAIN) || bit == SHARED_BIT ||
        b->depends[exec_position(b->s, in_of(g, r, 0))] & ~((uint64_t)1 << bit)) {
        return EXEC_ANCHOR_NONE;
    }
    cr_dim lo = attr_of(g, r, 2), hi = attr_of(g, r, 3);
    bool lo_moves = dims_depend(b, &lo, 1) != 0, hi_moves = dims_depend(b, &hi, 1) != 0;
    return lo_moves == hi_moves ? EXEC_ANCHOR_NONE : lo_moves ? EXEC_ANCHOR_HI : EXEC_ANCHOR_LO;
}

/* The block for the values `result`, restricted to what depends on a symbol of mask (0: everything). */
static exec_block *build(builder *b, const uint32_t *result, size_t n_result, uint64_t mask, unsigned nesting)
{
    const cr_graph *g = b->g;
    if (nesting > EXEC_MAX_NESTING) {
        graph_fail(b->g, CR_ELIMIT, "more than %d sums, products or functions within each other", EXEC_MAX_NESTING);
        return NULL;
    }
    exec_block *k = mem_zalloc(1, sizeof *k);
    if (!k) {
        no_memory(b->g);
        return NULL;
    }
    uint32_t id = ++b->n_blocks;
    bool ok = true;
    for (size_t i = 0; ok && i < n_result; i++) {
        ok = want(b, k, id, mask, result[i]);
    }
    for (size_t at = 0; ok && at < k->n; at++) {
        cr_ref r = b->s->cone[k->item[at].node];
        if (op_of(g, r) == CR_OP_BIND) {
            unsigned bit = b->bit[bound_symbol(g, r)] - 1u;
            uint32_t body = exec_position(b->s, in_of(g, r, 0));
            exec_block *child = build(b, &body, 1, (uint64_t)1 << bit, nesting + 1);
            k->item[at].child = child;
            k->item[at].anchor = anchor_of(b, r);
            ok = child != NULL;
            for (size_t i = 0; ok && i < child->n_outer; i++) {
                ok = want(b, k, id, mask, child->outer[i]);
            }
            continue;
        }
        for (uint32_t i = 0; ok && i < node(g, r)->n_in; i++) {
            ok = exec_is_delta(g, r, i) || want(b, k, id, mask, exec_position(b->s, in_of(g, r, i)));
        }
    }
    if (!ok) {
        block_free(k);
        return NULL;
    }
    if (k->n) {
        qsort(k->item, k->n, sizeof *k->item, by_node);
    }
    size_t n = 0;
    if (k->n_outer) {
        qsort(k->outer, k->n_outer, sizeof *k->outer, by_value);
    }
    for (size_t i = 0; i < k->n_outer; i++) {
        if (n == 0 || k->outer[n - 1] != k->outer[i]) {
            k->outer[n++] = k->outer[i];
        }
    }
    k->n_outer = n;
    for (size_t at = 0; at < k->n; at++) {
        cr_ref r = b->s->cone[k->item[at].node];
        const exec_block *child = k->item[at].child;
        size_t n_in = child ? child->n_outer : node(g, r)->n_in;
        for (size_t i = 0; i < n_in; i++) {
            exec_item *in = find_item(k, child ? child->outer[i] : exec_position(b->s, in_of(g, r, (uint32_t)i)));
            if (in && (child || !exec_is_delta(g, r, (uint32_t)i))) {
                in->uses++;
            }
        }
    }
    for (size_t i = 0; i < n_result; i++) {
        exec_item *own = find_item(k, result[i]);
        if (own) {
            own->uses++; /* the caller's */
        }
    }
    return k;
}

bool exec_schedule_init(exec_schedule *s, cr_graph *g, cr_ref expr, cr_ref arg, dim_sym index)
{
    memset(s, 0, sizeof *s);
    s->cone = graph_cone(g, 1, &expr, &s->n);
    s->guarded = s->cone ? graph_guarded(g, 1, &expr) : NULL;
    if (!s->guarded) {
        exec_schedule_free(s);
        return false;
    }
    builder b = {.g = g, .s = s, .arg = arg, .index = index};
    b.stamp = mem_zalloc(s->n, sizeof *b.stamp);
    bool any = false;
    bool ok = b.stamp ? number_symbols(&b, &any) : no_memory(g);
    ok = ok && (!any || find_dependence(&b));
    uint32_t result = (uint32_t)(s->n - 1);
    if (ok && arg == CR_NONE && !index) {
        s->root = build(&b, &result, 1, 0, 0);
    } else if (ok) {
        s->inner = build(&b, &result, 1, 1, 0);
        s->root = s->inner ? build(&b, s->inner->outer, s->inner->n_outer, 0, 0) : NULL;
    }
    ok = ok && s->root;
    mem_free(b.stamp);
    mem_free(b.bit);
    mem_free(b.depends);
    if (!ok) {
        exec_schedule_free(s);
    }
    return ok;
}

void exec_schedule_free(exec_schedule *s)
{
    block_free(s->root);
    block_free(s->inner);
    mem_free(s->cone);
    mem_free(s->guarded);
    memset(s, 0, sizeof *s);
}
