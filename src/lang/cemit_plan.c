/* How each node is written, and in which order. */
#include "graph/window.h"
#include "lang/cemit.h"

#include <string.h>

uint64_t ce_bit(const ce *w, dim_sym s)
{
    for (unsigned i = 0; i < w->n_bound; i++)
        if (w->bound[i] == s) return 1ull << i;
    return 0;
}

typedef struct bit_scan {
    ce *w;
    uint64_t set;
} bit_scan;

static void scan_bit(void *user, dim_sym s)
{
    bit_scan *b = user;
    b->set |= ce_bit(b->w, s);
}

uint64_t ce_bits(ce *w, cr_dim d)
{
    bit_scan b = {w, 0};
    dim_symbols(w->g->dims, d, scan_bit, &b);
    return b.set;
}

/* ---- roots and names --------------------------------------------------------------------------- */

static bool add_root(ce *w, cr_ref r)
{
    if (!r) return false;
    if (!VEC_RESERVE(w->root, w->root_cap, w->n_roots + 1u)) return ce_fail(w, CR_ENOMEM, "out of memory"), false;
    w->root[w->n_roots++] = r;
    return true;
}

/* Bodies of the functions that are called, each before those that call it. */
static bool add_functions(ce *w)
{
    cr_graph *g = w->g;
    for (unsigned at = 0; at < w->n_roots; at++) {
        size_t n;
        cr_ref *cone = graph_cone(g, 1, &w->root[at], &n);
        for (size_t i = 0; cone && i < n; i++) {
            if (op_of(g, cone[i]) != CR_OP_CALL) continue;
            cr_fun f = attr_of(g, cone[i], 0);
            unsigned order = attr_of(g, cone[i], 1);
            cr_ref body = g->fun[f].body, arg = g->fun[f].arg;
            size_t k = 0;
            while (k < w->n_functions && (w->function[k].f != f || w->function[k].order != order)) k++;
            if (!body || k < w->n_functions) continue;
            for (unsigned o = 0; o < order && body; o++) body = calc_simplify_stable(g, cr_derivative(g, body, arg));
            if (!body || !VEC_RESERVE(w->function, w->function_cap, k + 1)) {
                ce_fail(w, CR_ENOMEM, "out of memory");
                break;
            }
            w->function[w->n_functions++] = (ce_function){f, order, body, NULL};
            if (!add_root(w, body)) break;
        }
        mem_free(cone);
        if (ce_failed(w)) return false;
    }
    return true;
}

static bool add_roots(ce *w)
{
    cr_graph *g = w->g;
    w->family = family_closure(g, w->n_outputs, w->root, &w->n_families);
    if (!w->family) return false;
    for (size_t i = 0; i < w->n_families; i++)
        for (size_t k = 0; k < g->family[w->family[i]].n_pieces; k++)
            if (!add_root(w, g->family[w->family[i]].piece[k].body)) return false;
    return add_functions(w);
}

static bool bind_symbol(ce *w, dim_sym s)
{
    if (ce_bit(w, s)) return true;
    if (w->n_bound == CE_BITS) return ce_fail(w, CR_ELIMIT, "C: more than 61 nested indices in one expression"), false;
    w->bound[w->n_bound++] = s;
    return true;
}

static void name_symbol(void *user, dim_sym s)
{
    ce *w = user;
    if (!ce_bit(w, s)) ce_name_add(w, s, false);
}

static void name_size(void *user, dim_sym s)
{
    ce *w = user;
    if (!ce_bit(w, s)) ce_name_add(w, s, true);
}

/* All definitions have one index, so they are made to have one bit: their own symbols stand for it one at a time. */
static bool add_names(ce *w)
{
    cr_graph *g = w->g;
    w->n_bound = CE_BOUND;
    for (size_t i = 0; i < w->n_cone; i++) {
        dim_sym s;
        if (op_of(g, w->cone[i]) == CR_OP_BIND && dim_is_symbol(g->dims, attr_of(g, w->cone[i], 1), &s) &&
            !bind_symbol(w, s))
            return false;
    }
    for (size_t i = 0; i < w->n_cone; i++) {
        cr_ref r = w->cone[i];
        bool argument = false;
        for (size_t k = 0; k < w->n_functions; k++) argument = argument || g->fun[w->function[k].f].arg == r;
        if (op_of(g, r) == CR_OP_PARAM && !argument) {
            if (!ce_name_add(w, attr_of(g, r, 0), false)) return false;
            for (unsigned a = 0; a < shape_of(g, r)->rank; a++)
                dim_symbols(g->dims, shape_of(g, r)->dim[a], name_size, w);
        } else if (op_of(g, r) == CR_OP_CALL) {
            ce_name_add(w, g->fun[attr_of(g, r, 0)].name, false);
        }
    }
    for (size_t i = 0; i < w->n_families; i++)
        for (size_t k = 0; k < g->family[w->family[i]].n_pieces; k++) {
            const family_piece p = g->family[w->family[i]].piece[k];
            dim_symbols(g->dims, p.lo, name_size, w);
            dim_symbols(g->dims, p.hi, name_size, w);
            w->bound[CE_DEFINITION] = p.index;
            for (size_t c = 0; c < w->n_cone; c++)
                if (graph_node_uses(g, w->cone[c], p.index)) w->depends[w->cone[c]] |= 1ull << CE_DEFINITION;
        }
    return !ce_failed(w);
}

static bool is_definition_index(const ce *w, dim_sym s)
{
    for (size_t i = 0; i < w->n_families; i++)
        for (size_t k = 0; k < w->g->family[w->family[i]].n_pieces; k++)
            if (w->g->family[w->family[i]].piece[k].index == s) return true;
    return false;
}

static void name_other(void *user, dim_sym s)
{
    ce *w = user;
    if (!is_definition_index(w, s)) name_symbol(w, s);
}

/* ---- what each node depends on ------------------------------------------------------------------ */

static void find_depends(ce *w)
{
    cr_graph *g = w->g;
    for (size_t i = 0; i < w->n_cone; i++) {
        cr_ref r = w->cone[i];
        const cr_node *nd = node(g, r);
        const uint32_t *attr = nd->word + nd->n_in;
        uint64_t set = w->depends[r], own = 0;
        for (uint32_t k = 0; k < nd->n_in; k++) set |= w->depends[nd->word[k]];
        if (nd->op == CR_OP_BIND) {
            set &= ~ce_bits(w, attr[1]);
            own = ce_bits(w, attr[2]) | ce_bits(w, attr[3]);
        }
        if (nd->op == CR_OP_INT || nd->op == CR_OP_ONEHOT || nd->op == CR_OP_MATPOW || nd->op == CR_OP_PICK)
            own = ce_bits(w, attr[0]);
        if (nd->op == CR_OP_MEMBER) own = ce_bits(w, attr[1]) | 1ull << CE_MEMBERS;
        for (uint32_t k = 1; is_window((cr_op)nd->op) && k < nd->n_attr; k++) own |= ce_bits(w, attr[k]);
        for (size_t k = 0; k < w->n_functions; k++)
            if (g->fun[w->function[k].f].arg == r) own |= 1ull << CE_ARGUMENT;
        const cr_shape *s = shape_of(g, r);
        for (unsigned k = 0; k < s->rank; k++) own |= ce_bits(w, s->dim[k]);
        w->depends[r] = set | own;
    }
}

enum { WANT_ARRAY = 1, WANT_HOIST = 2, WANT_MANY = 4 };

static bool takes_arrays(cr_op op)
{
    const op_info *o = op_get(op);
    return o->kind == KIND_REDUCE || o->kind == KIND_LINALG || op == CR_OP_SOFTMAX || op == CR_OP_LOGSOFTMAX ||
           op == CR_OP_RESHAPE || op == CR_OP_MATPOW;
}

/* WANT_HOIST: some user runs in a loop that r does not need. WANT_MANY: each entry is asked for more than once. */
static void find_wants(ce *w)
{
    cr_graph *g = w->g;
    for (size_t i = 0; i < w->n_cone; i++) {
        cr_ref r = w->cone[i];
        const cr_node *nd = node(g, r);
        uint64_t inside = w->depends[r];
        if (nd->op == CR_OP_BIND) inside |= ce_bits(w, attr_of(g, r, 1));
        unsigned loops = nd->op == CR_OP_EINSUM ? ce_einsum_loops(w, r) : shape_of(g, r)->rank;
        for (uint32_t k = 0; k < nd->n_in; k++) {
            cr_ref a = nd->word[k];
            w->uses[a]++;
            if (takes_arrays((cr_op)nd->op)) w->want[a] |= WANT_ARRAY;
            if (nd->op == CR_OP_BIND && attr_of(g, r, 0) == CR_BIND_CHAIN) w->want[a] |= WANT_ARRAY;
            if (inside & ~w->depends[a]) w->want[a] |= WANT_HOIST;
            bool spreads = nd->op == CR_OP_EINSUM || shape_of(g, a)->rank == 0;
            bool often = is_window((cr_op)nd->op) || nd->op == CR_OP_GATHER || nd->op == CR_OP_SCATTER;
            if (often || (spreads && loops > shape_of(g, a)->rank)) w->want[a] |= WANT_MANY;
        }
    }
}

static bool is_map(cr_op op)
{
    const op_info *o = op_get(op);
    return o->kind == KIND_MAP1 || o->kind == KIND_MAP2 || o->kind == KIND_CMP || op == CR_OP_ADD || op == CR_OP_POW ||
           op == CR_OP_SELECT || op == CR_OP_CALL || op == CR_OP_EINSUM;
}

static void find_places(ce *w)
{
    enum { DEEPEST = 12 }; /* of expressions in one another */
    cr_graph *g = w->g;
    uint8_t *depth = mem_zalloc(w->n, 1);
    if (!depth) {
        ce_fail(w, CR_ENOMEM, "out of memory");
        return;
    }
    for (size_t i = 0; i < w->n_cone; i++) {
        cr_ref r = w->cone[i], only = 0;
        const cr_node *nd = node(g, r);
        cr_op op = (cr_op)nd->op;
        const cr_shape *s = shape_of(g, r);
        for (uint32_t k = 0; k < nd->n_in; k++)
            if (w->place[nd->word[k]] == CE_INLINE && depth[nd->word[k]] > depth[r]) depth[r] = depth[nd->word[k]];
        depth[r]++;
        if (s->rank == 0) {
            bool leaf = op_get(op)->kind == KIND_LEAF || op == CR_OP_PICK;
            if (!leaf && (w->uses[r] > 1 || w->want[r] || depth[r] > DEEPEST)) w->place[r] = CE_NAMED;
            continue;
        }
        if (op == CR_OP_PARAM || op == CR_OP_RESHAPE) continue;
        if (op_get(op)->kind == KIND_LEAF || op == CR_OP_PICK) {
            if (w->want[r] & WANT_ARRAY) w->place[r] = CE_STORED;
            continue;
        }
        bool sums = op == CR_OP_EINSUM && ce_einsum_sums(w, r);
        bool fuses = sums && w->uses[r] == 1 && !w->want[r] && ce_einsum_fuses(w, r);
        if (!is_map(op) || (sums && !fuses) || w->want[r] & WANT_ARRAY ||
            depth[r] > DEEPEST) {
            w->place[r] = CE_STORED;
            continue;
        }
        if (fuses) continue;
        unsigned arrays = op == CR_OP_EINSUM ? ce_einsum_arrays(w, r, &only) : 2;
        bool cheap = arrays == 0 || (arrays == 1 && (w->place[only] == CE_STORED ||
                                                     op_get(op_of(g, only))->kind == KIND_LEAF));
        if (!cheap && (w->uses[r] > 1 || w->want[r])) w->place[r] = CE_STORED;
    }
    mem_free(depth);
}

bool ce_plan(ce *w)
{
    cr_graph *g = w->g;
    if (!add_roots(w)) return false;
    w->cone = graph_cone(g, w->n_roots, w->root, &w->n_cone);
    if (!w->cone) return false;
    w->n = (size_t)w->cone[w->n_cone - 1] + 1;
    w->v = mem_zalloc(w->n, sizeof *w->v);
    w->scan = mem_zalloc(w->n, sizeof *w->scan);
    w->uses = mem_zalloc(w->n, sizeof *w->uses);
    w->depends = mem_zalloc(w->n, sizeof *w->depends);
    w->place = mem_zalloc(w->n, 1);
    w->want = mem_zalloc(w->n, 1);
    w->guarded = graph_guarded(g, w->n_roots, w->root);
    if (!w->v || !w->scan || !w->uses || !w->depends || !w->place || !w->want || !w->guarded)
        return ce_fail(w, CR_ENOMEM, "out of memory"), false;
    if (!add_names(w)) return false;
    for (size_t i = 0; i < w->n_cone && !ce_failed(w); i++) graph_node_dims(g, w->cone[i], name_other, w);
    find_depends(w);
    find_wants(w);
    find_places(w);
    return !ce_failed(w);
}

/* ---- order ------------------------------------------------------------------------------------- */

void ce_forget(ce *w, uint64_t scope)
{
    for (size_t i = 0; i < w->n_cone; i++)
        if (w->depends[w->cone[i]] & ~scope) w->v[w->cone[i]] = (ce_value){0};
}

static void write_number(ce *w, cr_ref r, bool root, uint64_t scope)
{
    enum { LONGEST = 72 };
    cr_op op = op_of(w->g, r);
    bool named = false;
    ce_text t;
    if (ce_scanned(w, r)) return;
    if (op == CR_OP_BIND) t = ce_bind_scalar(w, r, scope), named = true;
    else if (ce_is_statement(w, r)) t = ce_compute(w, r), named = t.prec == CE_ATOM;
    else t = ce_scalar(w, r);
    if (!named && t.s && (w->place[r] == CE_NAMED || (strlen(t.s) > LONGEST && !root))) {
        const char *name = ce_fresh(w, "t");
        ce_line(w, "const %s %s = %s;", shape_of(w->g, r)->dtype == CR_BOOL ? "int" : "double", name, t.s);
        t = ce_make(name, CE_ATOM);
    }
    w->v[r].text = t;
}

void ce_block(ce *w, cr_ref root, uint64_t scope)
{
    size_t n;
    cr_ref *cone = graph_cone(w->g, 1, &root, &n);
    for (size_t i = 0; cone && i < n && !ce_failed(w); i++) {
        cr_ref r = cone[i];
        cr_op op = op_of(w->g, r);
        if (w->v[r].text.s || w->v[r].array || (w->depends[r] & ~scope) || (w->only && !w->only[r])) continue;
        if (shape_of(w->g, r)->rank == 0) {
            if (op_get(op)->kind != KIND_LEAF) write_number(w, r, r == root, scope);
        } else if (w->place[r] == CE_STORED && !ce_scanned(w, r)) {
            const cr_shape *s = shape_of(w->g, r);
            const char *name = r == w->target ? w->target_name
                                              : ce_scratch_new(w, dims_product(w->g, s->dim, s->rank));
            if (op == CR_OP_BIND) ce_bind_store(w, r, name, scope);
            else ce_store(w, r, name);
            w->v[r].array = name;
        }
    }
    mem_free(cone);
}
