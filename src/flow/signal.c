/* What lies on the way from the data to the loss.
 *
 * A tensor carries the signal if it varies with the data along a path of floats: from an input of floats on, or from
 * what an embedding picks by an input of integers. (Without either, from where integers are made floats.) Parameters
 * and constants begin no path. Of these tensors, those count that y depends on.
 *
 * Boundaries: go through the steps in order and keep the tensors that are made and still to be read. When it is one
 * tensor, every path passes through it; and each such tensor is found, because all steps are before it or behind it. */
#include "flow/flow.h"

#include <string.h>

typedef struct finder {
    flow *f;
    network *n;
    cr_graph *g;
    error *e;
    bool *varies; /* by ref: with the data, in any way */
    bool *signal; /* by ref */
    bool *live;   /* by ref: y depends on it, by floats */
    size_t *leaf; /* by ref: leaf of the network + 1 */
    cr_ref n_refs;
} finder;

static bool no_memory(finder *s)
{
    err_set(s->e, CR_ENOMEM, "out of memory");
    return false;
}

void flow_free(flow *f)
{
    mem_free(f->tensor);
    mem_free(f->step);
    mem_free(f->edge);
    mem_free(f->out);
    mem_free(f->block);
    mem_free(f->at);
    *f = (flow){0};
}

size_t flow_tensor_of(const flow *f, cr_ref ref) { return ref < f->at_cap && f->at[ref] ? f->at[ref] - 1 : FLOW_NONE; }

/* ---- which tensors carry the signal --------------------------------------------------------------- */

static bool is_float(cr_type t) { return t <= CR_TYPE_BF16; }

static const net_operand *operand(const network *n, const net_node *node, size_t k)
{
    return &n->operand[node->first_operand + k];
}

/* Picks rows of a table of parameters by data: what it makes is where a signal begins. */
static bool is_embedding(const finder *s, const net_node *node)
{
    if (strcmp(node->op, "Gather") != 0 || node->n_operands != 2) return false;
    return !s->varies[operand(s->n, node, 0)->ref] && s->varies[operand(s->n, node, 1)->ref];
}

static void mark_sources(finder *s, bool *signal)
{
    for (size_t i = 0; i < s->n->n_leaves; i++) {
        const net_leaf *l = &s->n->leaf[i];
        if (l->role != NET_INPUT || l->ref >= s->n_refs) continue;
        s->varies[l->ref] = true;
        signal[l->ref] = is_float(l->tensor.type);
    }
}

/* Marks what varies and what carries the signal; casts: a cast of integers to floats begins a signal, too. */
static void mark_signal(finder *s, bool casts)
{
    memset(s->signal, 0, s->n_refs * sizeof *s->signal);
    mark_sources(s, s->signal);
    for (size_t i = 0; i < s->n->n_nodes; i++) {
        const net_node *node = &s->n->node[i];
        if (node->absorbed) continue;
        bool varies = false, signal = false;
        for (size_t k = 0; k < node->n_operands; k++) {
            varies |= s->varies[operand(s->n, node, k)->ref];
            signal |= s->signal[operand(s->n, node, k)->ref];
        }
        bool begins = is_embedding(s, node) || (casts && varies && strcmp(node->op, "Cast") == 0);
        for (size_t k = 0; k < node->n_values; k++) {
            const net_value *v = &s->n->value[node->first_value + k];
            s->varies[v->ref] |= varies;
            s->signal[v->ref] |= (signal || begins) && is_float(v->type);
        }
    }
}

static void mark_live(finder *s, cr_ref y)
{
    s->live[y] = s->signal[y];
    for (size_t i = s->n->n_nodes; i-- > 0;) {
        const net_node *node = &s->n->node[i];
        bool live = false;
        for (size_t k = 0; k < node->n_values && !node->absorbed; k++) {
            live |= s->live[s->n->value[node->first_value + k].ref];
        }
        for (size_t k = 0; k < node->n_operands && live; k++) {
            cr_ref in = operand(s->n, node, k)->ref;
            s->live[in] |= s->signal[in] && cr_dtype_of(s->g, in) == CR_REAL;
        }
    }
}

/* ---- tensors, steps, edges ------------------------------------------------------------------------ */

static size_t add_tensor(finder *s, cr_ref ref, const char *name, size_t maker)
{
    flow *f = s->f;
    size_t had = flow_tensor_of(f, ref), old = f->at_cap;
    if (had != FLOW_NONE) return had;
    if (!VEC_RESERVE(f->tensor, f->tensor_cap, f->n_tensors + 1) || !VEC_RESERVE(f->at, f->at_cap, (size_t)ref + 1)) {
        no_memory(s);
        return FLOW_NONE;
    }
    if (f->at_cap > old) memset(f->at + old, 0, (f->at_cap - old) * sizeof *f->at);
    f->tensor[f->n_tensors] = (flow_tensor){.ref = ref, .name = name, .maker = maker};
    f->at[ref] = ++f->n_tensors;
    return f->n_tensors - 1;
}

/* By a parameter, or by what follows from parameters alone? single: by one number. */
static bool by_parameters(const finder *s, const net_node *node, bool *single)
{
    *single = false;
    for (size_t k = 0; k < node->n_operands; k++) {
        cr_ref in = operand(s->n, node, k)->ref;
        if (s->varies[in]) continue;
        const net_leaf *leaf = s->leaf[in] ? &s->n->leaf[s->leaf[in] - 1] : NULL;
        if (leaf && leaf->role == NET_PARAMETER) {
            *single = leaf->tensor.count == 1;
            return true;
        }
        if (op_of(s->g, in) != CR_OP_PARAM && cr_rank(s->g, in) > 0 && op_of(s->g, in) != CR_OP_CONST) return true;
    }
    return false;
}

static flow_factor factor_of(const flow_op *op, bool by_parameter)
{
    return op->factor == FLOW_WEIGHT && !by_parameter ? FLOW_REST : op->factor;
}

static bool add_step(finder *s, size_t i)
{
    flow *f = s->f;
    const net_node *node = &s->n->node[i];
    flow_step step = {.node = i, .op = flow_op_of(node->op), .first_edge = f->n_edges, .first_out = f->n_out};
    bool single, by_parameter = by_parameters(s, node, &single), mul = strcmp(node->op, "Mul") == 0;
    for (size_t k = 0; k < node->n_operands; k++) {
        cr_ref in = operand(s->n, node, k)->ref;
        if (!s->live[in]) continue;
        size_t t = flow_tensor_of(f, in);
        bool again = t == FLOW_NONE; /* behind y, or what no step makes: an expression of the user's */
        for (size_t j = step.first_edge; j < f->n_edges && !again; j++) again = f->edge[j].tensor == t;
        if (again) continue;
        if (!VEC_RESERVE(f->edge, f->edge_cap, f->n_edges + 1)) return no_memory(s);
        f->edge[f->n_edges++] = (flow_edge){f->n_steps, t, factor_of(step.op, by_parameter)};
        f->tensor[t].readers++;
    }
    step.n_edges = f->n_edges - step.first_edge;
    step.affine = step.op->affine && by_parameter && (!mul || single); /* the scales of a norm are its own */
    for (size_t k = 0; k < node->n_values; k++) {
        const net_value *v = &s->n->value[node->first_value + k];
        if (!s->live[v->ref] || flow_tensor_of(f, v->ref) != FLOW_NONE) continue;
        size_t t = add_tensor(s, v->ref, v->name, step.n_edges ? f->n_steps : FLOW_NONE);
        if (t == FLOW_NONE || !VEC_RESERVE(f->out, f->out_cap, f->n_out + 1)) return no_memory(s);
        f->out[f->n_out++] = t;
        step.n_out++;
    }
    /* An embedding makes a source. What only renames its input makes nothing: same expression, same tensor. */
    if (step.n_edges == 0 || step.n_out == 0) {
        for (size_t j = step.first_edge; j < f->n_edges; j++) f->tensor[f->edge[j].tensor].readers--;
        f->n_edges = step.first_edge;
        f->n_out = step.first_out;
        return true;
    }
    if (!VEC_RESERVE(f->step, f->step_cap, f->n_steps + 1)) return no_memory(s);
    f->step[f->n_steps++] = step;
    return true;
}

static bool collect(finder *s)
{
    for (size_t i = 0; i < s->n->n_leaves; i++) {
        const net_leaf *l = &s->n->leaf[i];
        if (l->ref < s->n_refs && s->live[l->ref] && add_tensor(s, l->ref, l->name, FLOW_NONE) == FLOW_NONE)
            return false;
    }
    for (size_t i = 0; i < s->n->n_nodes; i++) {
        const net_node *node = &s->n->node[i];
        bool live = false;
        for (size_t k = 0; k < node->n_values && !node->absorbed; k++) {
            live |= s->live[s->n->value[node->first_value + k].ref];
        }
        if (live && !add_step(s, i)) return false;
    }
    return true;
}

/* ---- boundaries and blocks ------------------------------------------------------------------------ */

static bool add_block(finder *s, flow_block b)
{
    if (!VEC_RESERVE(s->f->block, s->f->block_cap, s->f->n_blocks + 1)) return no_memory(s);
    s->f->block[s->f->n_blocks++] = b;
    return true;
}

/* The steps first..end-1 lead from one boundary to the next. They begin a block, or belong to the one before. */
static bool add_segment(finder *s, size_t first, size_t end, size_t in, size_t out)
{
    flow *f = s->f;
    size_t affine = FLOW_NONE, n_affine = 0;
    for (size_t i = first; i < end; i++) {
        if (!f->step[i].affine) continue;
        if (affine == FLOW_NONE) affine = i;
        n_affine++;
    }
    flow_block *last = f->n_blocks ? &f->block[f->n_blocks - 1] : NULL;
    bool region = end - first > 1;
    bool joins = last && (n_affine == 0 || last->affine == FLOW_NONE);
    if (!joins) return add_block(s, (flow_block){in, out, first, end - first, affine, region});
    /* What stands in front of the first affine operator is its block's. */
    if (last->affine == FLOW_NONE) last->affine = affine;
    last->region |= region;
    last->out = out;
    last->n_steps += end - first;
    return true;
}

static bool find_blocks(finder *s)
{
    flow *f = s->f;
    size_t open = 0, in = FLOW_NONE, first = 0;
    size_t *left = mem_zalloc(f->n_tensors + 1, sizeof *left);
    if (!left) return no_memory(s);
    for (size_t t = 0; t < f->n_tensors; t++) {
        left[t] = f->tensor[t].readers + (t == f->y);
        if (f->tensor[t].maker == FLOW_NONE && left[t]) {
            open++;
            in = t;
        }
    }
    if (open == 1) f->tensor[in].boundary = true;
    if (open != 1) in = FLOW_NONE;
    bool ok = true;
    for (size_t i = 0; i < f->n_steps && ok; i++) {
        const flow_step *step = &f->step[i];
        for (size_t j = 0; j < step->n_edges; j++) {
            if (--left[f->edge[step->first_edge + j].tensor] == 0) open--;
        }
        for (size_t k = 0; k < step->n_out; k++) open += left[f->out[step->first_out + k]] > 0;
        if (open != 1 || step->n_out == 0) continue;
        size_t out = FLOW_NONE;
        for (size_t k = 0; k < step->n_out; k++) {
            if (left[f->out[step->first_out + k]] > 0) out = f->out[step->first_out + k];
        }
        if (out == FLOW_NONE) continue;
        f->tensor[out].boundary = true;
        ok = add_segment(s, first, i + 1, in, out);
        in = out;
        first = i + 1;
        if (out == f->y) break;
    }
    mem_free(left);
    return ok;
}

cr_status flow_find(network *n, cr_ref y, flow *f, error *e)
{
    *f = (flow){.n = n};
    finder s = {.f = f, .n = n, .g = n->g, .e = e, .n_refs = n->g->n_nodes};
    s.varies = mem_zalloc(s.n_refs, sizeof *s.varies);
    s.signal = mem_zalloc(s.n_refs, sizeof *s.signal);
    s.live = mem_zalloc(s.n_refs, sizeof *s.live);
    s.leaf = mem_zalloc(s.n_refs, sizeof *s.leaf);
    bool ok = (s.varies && s.signal && s.live && s.leaf) || no_memory(&s);
    if (ok) {
        for (size_t i = n->n_leaves; i-- > 0;) {
            if (n->leaf[i].ref < s.n_refs) s.leaf[n->leaf[i].ref] = i + 1;
        }
        mark_signal(&s, false);
        if (!s.signal[y]) mark_signal(&s, true);
        mark_live(&s, y);
        ok = collect(&s);
        f->y = flow_tensor_of(f, y);
    }
    if (ok && (f->y == FLOW_NONE || f->n_steps == 0)) {
        err_set(e, CR_EVALUE, "no path of floats leads from an input to the loss: there is no gradient to follow");
        ok = false;
    }
    ok = ok && find_blocks(&s);
    if (ok && f->n_blocks == 0) {
        err_set(e, CR_EVALUE, "the network has no block: nothing lies between its inputs and the loss");
        ok = false;
    }
    mem_free(s.varies);
    mem_free(s.signal);
    mem_free(s.live);
    mem_free(s.leaf);
    return ok ? CR_OK : e->status;
}
