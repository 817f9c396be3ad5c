#include "flow/backward.h"

#include "calculus/walk.h"

#include <math.h>
#include <string.h>

/* A sum of contributions. rho: the scales up to `level`, over those of the sum; at least 1. */
struct flow_sum {
    cr_ref ref;
    size_t level;
    cr_ref rho, at;
};

typedef struct builder {
    flow_backward *b;
    const flow *f;
    network *n;
    cr_graph *g;
    bool *parameters;    /* by ref: depends on a parameter, by floats, and on no data */
    cr_ref last_norm;    /* sum of squares of the last boundary's cotangent, scaled */
    cr_ref *list, *part; /* room for the operands of a node */
    size_t list_cap, part_cap;
    error *e;
} builder;

void flow_backward_free(flow_backward *b)
{
    mem_free(b->tensor);
    mem_free(b->edge);
    mem_free(b->scale);
    mem_free(b->leaf);
    mem_free(b->at);
    mem_free(b->sum);
    *b = (flow_backward){0};
}

size_t flow_backward_ask(flow_backward *b, cr_ref scalar)
{
    if (scalar == CR_NONE || !VEC_RESERVE(b->sum, b->sum_cap, b->n_sums + 1)) return FLOW_NONE;
    b->sum[b->n_sums] = scalar;
    return b->n_sums++;
}

static bool failed(builder *s)
{
    if (s->e->status == CR_OK) {
        cr_status status = cr_graph_status(s->g);
        err_set(s->e, status == CR_OK ? CR_ENOMEM : status, "%s",
                status == CR_OK ? "out of memory" : cr_graph_message(s->g));
    }
    return false;
}

/* ---- scales -------------------------------------------------------------------------------------- */

/* The power of two that brings a cotangent whose squares add up to `norm` to about 1; 1 where there is none. */
static cr_ref power_for(cr_graph *g, cr_ref norm)
{
    cr_ref zero = cr_const(g, 0), some = cr_map2(g, CR_OP_LT, zero, norm);
    cr_ref k = cr_mul(g, cr_const(g, 0.5 / log(2)), cr_map(g, CR_OP_LOG, cr_select(g, some, norm, cr_const(g, 1))));
    cr_ref whole = cr_sub(g, k, cr_map2(g, CR_OP_MOD, k, cr_const(g, 1)));
    return cr_pow(g, cr_const(g, 2), cr_neg(g, whole));
}

static cr_ref squares(cr_graph *g, cr_ref a) { return cr_sum(g, cr_mul(g, a, a)); }

static bool add_scale(builder *s, cr_ref scale)
{
    flow_backward *b = s->b;
    if (!VEC_RESERVE(b->scale, b->scale_cap, b->n_scales + 1)) return failed(s);
    b->scale[b->n_scales++] = scale;
    return scale != CR_NONE || failed(s);
}

/* A boundary's cotangent, scaled. By the norm of the boundary behind it, which is known before this one's is: its own
 * would have to be waited for. So what is left is the gain of one block. */
static bool scale_boundary(builder *s, flow_cotangent *c)
{
    cr_graph *g = s->g;
    cr_ref own = squares(g, c->ref), by = power_for(g, s->last_norm == CR_NONE ? own : s->last_norm);
    if (!add_scale(s, by)) return false;
    s->last_norm = cr_mul(g, own, cr_mul(g, by, by));
    c->ref = cr_mul(g, by, c->ref);
    c->level = s->b->n_scales;
    return c->ref != CR_NONE || failed(s);
}

/* ---- sums ---------------------------------------------------------------------------------------- */

/* What the scales from level `from` to `to` multiply with. */
static cr_ref ratio(const builder *s, size_t from, size_t to)
{
    cr_ref r = cr_const(s->g, 1);
    for (size_t i = from; i < to; i++) r = cr_mul(s->g, r, s->b->scale[i]);
    return r;
}

static cr_ref at_most_one(cr_graph *g, cr_ref a) { return cr_map2(g, CR_OP_MIN2, cr_const(g, 1), a); }

/* total += part. Levels only grow on the way back. At different ones (parameters that several blocks share), the sum
 * has the scale of the larger: the other may vanish beside it, as it should. Which it is, is known when the pass runs.
 */
static bool add(builder *s, struct flow_sum *total, cr_ref part, size_t level)
{
    cr_graph *g = s->g;
    if (part == CR_NONE) return cr_graph_status(g) == CR_OK || failed(s);
    if (total->ref == CR_NONE) {
        *total = (struct flow_sum){part, level, CR_NONE, CR_NONE};
        return true;
    }
    if (total->level != level || total->rho != CR_NONE) {
        cr_ref one = cr_const(g, 1), before = total->rho != CR_NONE ? total->rho : one;
        cr_ref rho = cr_mul(g, before, ratio(s, total->level, level));
        cr_ref at = total->at != CR_NONE ? total->at : cr_const(g, (double)total->level);
        total->at = cr_select(g, cr_map2(g, CR_OP_LE, one, rho), at, cr_const(g, (double)level));
        total->ref = cr_mul(g, at_most_one(g, rho), total->ref);
        part = cr_mul(g, at_most_one(g, cr_div(g, one, rho)), part);
        total->rho = cr_map2(g, CR_OP_MAX2, one, rho);
        total->level = level;
    }
    total->ref = cr_add(g, total->ref, part);
    return total->ref != CR_NONE || failed(s);
}

/* ---- the pass ------------------------------------------------------------------------------------ */

/* What depends on parameters and carries no signal: products of weights, transposed ones. */
static void mark_parameters(builder *s)
{
    for (size_t i = 0; i < s->n->n_leaves; i++) {
        const net_leaf *l = &s->n->leaf[i];
        if (l->ref < s->b->n_refs) s->parameters[l->ref] = l->role == NET_PARAMETER;
    }
    for (size_t i = 0; i < s->n->n_nodes; i++) {
        const net_node *node = &s->n->node[i];
        bool any = false;
        for (size_t k = 0; k < node->n_operands; k++) any |= s->parameters[s->n->operand[node->first_operand + k].ref];
        for (size_t k = 0; k < node->n_values; k++) {
            const net_value *v = &s->n->value[node->first_value + k];
            if (v->type <= CR_TYPE_BF16) s->parameters[v->ref] |= any;
        }
    }
}

static bool reads(const net_node *node, const network *n, cr_ref ref)
{
    for (size_t k = 0; k < node->n_operands; k++) {
        if (n->operand[node->first_operand + k].ref == ref) return true;
    }
    return false;
}

/* The edge of a step that reads a tensor. */
static size_t edge_of(const flow *f, size_t step, size_t tensor)
{
    const flow_step *st = &f->step[step];
    for (size_t j = 0; j < st->n_edges; j++) {
        if (f->edge[st->first_edge + j].tensor == tensor) return st->first_edge + j;
    }
    return FLOW_NONE;
}

/* From what a node makes to what it reads. step: FLOW_NONE if it is not on the signal's way. */
static bool back_through(builder *s, const net_node *node, size_t step)
{
    flow_backward *b = s->b;
    cr_graph *g = s->g;
    unsigned n = 0;
    if (!VEC_RESERVE(s->list, s->list_cap, node->n_operands + 1) ||
        !VEC_RESERVE(s->part, s->part_cap, node->n_operands + 1)) {
        return failed(s);
    }
    for (size_t k = 0; k < node->n_operands; k++) {
        cr_ref in = s->n->operand[node->first_operand + k].ref;
        bool again = cr_dtype_of(g, in) != CR_REAL;
        for (unsigned i = 0; i < n && !again; i++) again = s->list[i] == in;
        if (!again) s->list[n++] = in;
    }
    for (size_t k = 0; k < node->n_values && n > 0; k++) {
        cr_ref out = s->n->value[node->first_value + k].ref;
        size_t t = flow_tensor_of(s->f, out);
        if (b->at[out].ref == CR_NONE || reads(node, s->n, out)) continue;
        flow_cotangent bar = {b->at[out].ref, b->at[out].level, CR_NONE};
        if (t != FLOW_NONE && s->f->tensor[t].boundary && t != s->f->y && !scale_boundary(s, &bar)) return false;
        memset(s->part, 0, n * sizeof *s->part);
        if (calc_reverse_local(g, out, bar.ref, n, s->list, s->part) != CR_OK) return failed(s);
        for (unsigned i = 0; i < n; i++) {
            size_t in = flow_tensor_of(s->f, s->list[i]);
            size_t e = step != FLOW_NONE && in != FLOW_NONE ? edge_of(s->f, step, in) : FLOW_NONE;
            if (s->part[i] == CR_NONE) continue;
            if (e != FLOW_NONE) {
                struct flow_sum sum = {b->edge[e].ref, b->edge[e].level, CR_NONE, CR_NONE};
                if (!add(s, &sum, s->part[i], bar.level)) return false;
                b->edge[e] = (flow_cotangent){sum.ref, sum.level, sum.at};
            }
            if (e == FLOW_NONE && !s->parameters[s->list[i]]) continue;
            if (!add(s, &b->at[s->list[i]], s->part[i], bar.level)) return false;
        }
    }
    return true;
}

static bool pass(builder *s, cr_ref loss)
{
    flow_backward *b = s->b;
    cr_ref y = s->f->tensor[s->f->y].ref, bar = CR_NONE;
    if (calc_reverse_local(s->g, loss, cr_const(s->g, 1), 1, &y, &bar) != CR_OK) return failed(s);
    if (bar == CR_NONE) {
        err_set(s->e, CR_EVALUE, "the loss has no gradient by the network's output");
        return false;
    }
    flow_cotangent seed = {bar, 0, CR_NONE};
    b->tensor[s->f->y] = seed;
    if (!scale_boundary(s, &seed)) return false;
    b->at[y] = (struct flow_sum){seed.ref, seed.level, CR_NONE, CR_NONE};
    size_t step = s->f->n_steps;
    for (size_t i = s->n->n_nodes; i-- > 0;) {
        const net_node *node = &s->n->node[i];
        while (step > 0 && s->f->step[step - 1].node > i) step--;
        bool on_way = step > 0 && s->f->step[step - 1].node == i;
        if (!node->absorbed && !back_through(s, node, on_way ? step - 1 : FLOW_NONE)) return false;
    }
    for (size_t t = 0; t < s->f->n_tensors; t++) {
        cr_ref ref = s->f->tensor[t].ref;
        if (t != s->f->y) b->tensor[t] = (flow_cotangent){b->at[ref].ref, b->at[ref].level, b->at[ref].at};
    }
    for (size_t i = 0; i < s->n->n_leaves; i++) {
        const net_leaf *l = &s->n->leaf[i];
        if (l->role == NET_PARAMETER && l->ref < b->n_refs)
            b->leaf[i] = (flow_cotangent){b->at[l->ref].ref, b->at[l->ref].level, b->at[l->ref].at};
    }
    return true;
}

cr_status flow_backward_build(const flow *f, cr_ref loss, flow_backward *b, error *e)
{
    *b = (flow_backward){.f = f, .g = f->n->g, .n_refs = f->n->g->n_nodes};
    builder s = {.b = b, .f = f, .n = f->n, .g = f->n->g, .e = e};
    b->tensor = mem_zalloc(f->n_tensors + 1, sizeof *b->tensor);
    b->edge = mem_zalloc(f->n_edges + 1, sizeof *b->edge);
    b->leaf = mem_zalloc(f->n->n_leaves + 1, sizeof *b->leaf);
    b->at = mem_zalloc(b->n_refs, sizeof *b->at);
    s.parameters = mem_zalloc(b->n_refs, sizeof *s.parameters);
    bool ok = b->tensor && b->edge && b->leaf && b->at && s.parameters;
    if (ok) {
        mark_parameters(&s);
        ok = pass(&s, loss);
    } else {
        failed(&s);
    }
    mem_free(s.parameters);
    mem_free(s.list);
    mem_free(s.part);
    return ok ? CR_OK : e->status;
}
