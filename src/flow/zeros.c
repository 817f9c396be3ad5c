/* Steps are taken from the output back. A tensor whose cotangent is 0 has it from its readers: from one whose own
 * output has none, it takes over the reason; one whose output has a cotangent makes the zero, and is asked why. A
 * closed gate opens with the first step of training, so it counts before what is dead. */
#include "flow/zeros.h"

#include <math.h>

const char *flow_zero_name(flow_zero z)
{
    static const char *const names[] = {NULL, "no_path", "loss_fitted", "dead", "closed_gate"};
    return names[z];
}

size_t *flow_leaves(const flow *f, const flow_measured *m, cr_ref n_refs)
{
    const network *n = f->n;
    size_t *leaf_of = mem_zalloc(n_refs, sizeof *leaf_of);
    if (!leaf_of) return NULL;
    for (size_t i = 0; i < n->n_leaves; i++) {
        if (n->leaf[i].ref < n_refs && !isnan(m->leaf[i].ln_gradient)) leaf_of[n->leaf[i].ref] = i + 1;
    }
    for (size_t i = 0; i < n->n_nodes; i++) {
        const net_node *node = &n->node[i];
        for (size_t k = 0; k < node->n_operands; k++) {
            size_t leaf = leaf_of[n->operand[node->first_operand + k].ref];
            for (size_t v = 0; leaf && v < node->n_values; v++) {
                cr_ref ref = n->value[node->first_value + v].ref;
                if (flow_tensor_of(f, ref) == FLOW_NONE && !leaf_of[ref]) leaf_of[ref] = leaf;
            }
        }
    }
    return leaf_of;
}

typedef struct zero_finder {
    const flow_backward *b;
    const flow *f;
    const flow_measured *m;
    const size_t *leaf_of;
    flow_zeros *z;
    bool ok;
} zero_finder;

static bool is_zero(const zero_finder *s, size_t tensor)
{
    return s->b->tensor[tensor].ref == CR_NONE || s->m->tensor[tensor].ln_norm == -INFINITY;
}

/* The parameter that a step multiplies with, if it is a closed gate; FLOW_NONE. What it adds closes nothing: operands
 * behind the second are biases. */
static size_t closed_gate(const zero_finder *s, const flow_step *st)
{
    const network *n = s->f->n;
    const net_node *node = &n->node[st->node];
    for (size_t k = 0; k < node->n_operands && k < 2; k++) {
        size_t leaf = s->leaf_of[n->operand[node->first_operand + k].ref];
        if (leaf && s->m->leaf[leaf - 1].ln_weight == -INFINITY && isfinite(s->m->leaf[leaf - 1].ln_gradient))
            return leaf - 1;
    }
    return FLOW_NONE;
}

static void add_gate(zero_finder *s, size_t leaf)
{
    flow_zeros *z = s->z;
    for (size_t i = 0; i < z->n_gates; i++) {
        if (z->gate[i] == leaf) return;
    }
    s->ok = VEC_RESERVE(z->gate, z->gate_cap, z->n_gates + 1);
    if (s->ok) z->gate[z->n_gates++] = leaf;
}

/* What the step at the far end of edge e says about the zero of the tensor that it reads. */
static flow_zero reason(zero_finder *s, size_t e, bool *dying)
{
    const flow_step *st = &s->f->step[s->f->edge[e].step];
    flow_zero why = FLOW_NO_PATH;
    bool all = true;
    for (size_t k = 0; k < st->n_out; k++) {
        size_t out = s->f->out[st->first_out + k];
        if (!is_zero(s, out)) {
            all = false;
        } else if (s->z->tensor[out] > why) {
            why = s->z->tensor[out];
            *dying = s->z->dying[out];
        }
    }
    if (all) return why;
    size_t gate = closed_gate(s, st);
    if (gate != FLOW_NONE) {
        add_gate(s, gate);
        return FLOW_CLOSED_GATE;
    }
    *dying = st->op->relu_like;
    return s->b->edge[e].ref == CR_NONE ? FLOW_NO_PATH : FLOW_DEAD;
}

cr_status flow_zeros_find(const flow_backward *b, const flow_measured *m, const size_t *leaf_of, flow_zeros *z)
{
    const flow *f = b->f;
    *z = (flow_zeros){.tensor = mem_zalloc(f->n_tensors + 1, sizeof *z->tensor),
                      .dying = mem_zalloc(f->n_tensors + 1, sizeof *z->dying)};
    zero_finder s = {.b = b, .f = f, .m = m, .leaf_of = leaf_of, .z = z, .ok = z->tensor && z->dying};
    if (s.ok && is_zero(&s, f->y)) z->tensor[f->y] = FLOW_LOSS_FITTED;
    for (size_t e = f->n_edges; s.ok && e-- > 0;) { /* readers of a tensor come after its maker */
        size_t t = f->edge[e].tensor;
        if (t == f->y || !is_zero(&s, t)) continue;
        bool dying = false;
        flow_zero why = reason(&s, e, &dying);
        if (why > z->tensor[t]) {
            z->tensor[t] = why;
            z->dying[t] = dying;
        }
    }
    return s.ok ? CR_OK : CR_ENOMEM;
}

void flow_zeros_free(flow_zeros *z)
{
    mem_free(z->tensor);
    mem_free(z->dying);
    mem_free(z->gate);
    *z = (flow_zeros){0};
}

flow_zero flow_block_zero(const flow_zeros *z, const flow_block *b)
{
    flow_zero out = z->tensor[b->out];
    return out != FLOW_NOT_ZERO || b->in == FLOW_NONE ? out : z->tensor[b->in];
}
