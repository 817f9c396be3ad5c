/* The graph of a diagnosis: steps of the signal's way as nodes, tensors as edges. Nodes are numbered: first the tensors
 * that no step makes, then the steps, then the loss. */
#include "model/diagnose.h"

#include <math.h>
#include <string.h>

static cr_flow_edge edge(diagnosing *w, size_t from, size_t to, size_t tensor, double ln)
{
    double scale = w->o->loss_scale > 0 ? w->o->loss_scale : 1;
    return (cr_flow_edge){from, to, diagnosis_text(w, w->f.tensor[tensor].name), ln - log(scale)};
}

bool diagnosis_graph(diagnosing *w, cr_flow_graph *out)
{
    const flow *f = &w->f;
    size_t n = 0, n_edges = 0;
    cr_flow_node *node = diagnosis_take(w, (f->n_tensors + f->n_steps + 1) * sizeof *node);
    cr_flow_edge *list = diagnosis_take(w, (f->n_edges + 1) * sizeof *list);
    size_t *source = diagnosis_take(w, (f->n_tensors + 1) * sizeof *source); /* by tensor: its node */
    if (!node || !list || !source) return false;
    for (size_t t = 0; t < f->n_tensors; t++) {
        if (f->tensor[t].maker != FLOW_NONE || f->tensor[t].readers == 0) continue;
        source[t] = n;
        node[n++] = (cr_flow_node){diagnosis_text(w, f->tensor[t].name), "Input", SIZE_MAX};
    }
    size_t first = n;
    for (size_t i = 0, block = 0; i < f->n_steps; i++) {
        const net_node *made = &w->net.node[f->step[i].node];
        while (block < f->n_blocks && i >= f->block[block].first_step + f->block[block].n_steps) block++;
        bool inside = block < f->n_blocks && i >= f->block[block].first_step;
        node[n++] = (cr_flow_node){diagnosis_text(w, made->name), diagnosis_text(w, made->op),
                                   inside ? block : SIZE_MAX};
    }
    for (size_t j = 0; j < f->n_edges; j++) {
        size_t t = f->edge[j].tensor, maker = f->tensor[t].maker;
        list[n_edges++] = edge(w, maker == FLOW_NONE ? source[t] : first + maker, first + f->edge[j].step, t,
                               w->measured.ln_edge[j]);
    }
    size_t maker = f->tensor[f->y].maker;
    if (maker != FLOW_NONE) list[n_edges++] = edge(w, first + maker, n, f->y, w->measured.tensor[f->y].ln_norm);
    node[n++] = (cr_flow_node){"loss", "Loss", SIZE_MAX};
    *out = (cr_flow_graph){n, n_edges, node, list};
    return w->m->err.status == CR_OK;
}
