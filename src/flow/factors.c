/* Start with weight 1 at the block's input. At a tensor, the weight parts among the edges that read it by the squares
 * of their contributions, q = |b|^2 / sum |b|^2; along an edge to a step it arrives at the step's output. Each edge
 * adds weight*q*ln(|b| / |g at the step's output|) to its factor, each tensor weight*q*ln(|g| / |b|) to the skip. Every
 * path telescopes to ln(|g_in| / |g_out|), and the weights of paths add up to 1: so do the factors add up to the gain.
 *
 * Several outputs of a step count as one, their concatenation; from there the weight parts among them by their squares.
 */
#include "flow/factors.h"

#include <math.h>
#include <string.h>

/* ln of the root of the sum of squares of what a step's outputs have as cotangents. */
static double ln_outputs(const flow *f, const flow_measured *m, const flow_step *st)
{
    double most = -INFINITY, sum = 0;
    for (size_t k = 0; k < st->n_out; k++) most = fmax(most, m->tensor[f->out[st->first_out + k]].ln_norm);
    if (!isfinite(most)) return most;
    for (size_t k = 0; k < st->n_out; k++) sum += exp(2 * (m->tensor[f->out[st->first_out + k]].ln_norm - most));
    return most + 0.5 * log(sum);
}

/* weight: room for a number of each tensor. */
flow_gain flow_block_gain(const flow *f, const flow_measured *m, const flow_block *b, double *weight,
                          double (*by_step)[FLOW_FACTORS])
{
    flow_gain gain = {NAN, {NAN, NAN, NAN, NAN, NAN}};
    double in = b->in == FLOW_NONE ? NAN : m->tensor[b->in].ln_norm, out = m->tensor[b->out].ln_norm;
    if (!isfinite(in) || !isfinite(out)) return gain;
    gain.ln_gain = in - out;
    memset(gain.factor, 0, sizeof gain.factor);
    for (size_t i = b->first_step; i < b->first_step + b->n_steps; i++) {
        const flow_step *st = &f->step[i];
        for (size_t k = 0; k < st->n_out; k++) weight[f->out[st->first_out + k]] = 0;
    }
    weight[b->in] = 1;
    for (size_t i = b->first_step; i < b->first_step + b->n_steps; i++) {
        const flow_step *st = &f->step[i];
        double made = ln_outputs(f, m, st), arrives = 0;
        const flow_gain before = gain;
        for (size_t j = st->first_edge; j < st->first_edge + st->n_edges; j++) {
            size_t t = f->edge[j].tensor;
            double w = weight[t], own = m->ln_edge[j], sum = 0;
            if (!(w > 0) || !isfinite(own) || !isfinite(made)) continue;
            /* q by the contributions of all edges that read the tensor */
            size_t last = b->first_step + b->n_steps - 1, end = f->step[last].first_edge + f->step[last].n_edges;
            for (size_t e = f->step[b->first_step].first_edge; e < end && f->tensor[t].readers > 1; e++) {
                if (f->edge[e].tensor == t && isfinite(m->ln_edge[e])) sum += exp(2 * (m->ln_edge[e] - own));
            }
            double q = sum > 0 ? 1 / sum : 1;
            gain.factor[f->edge[j].factor] += w * q * (own - made);
            gain.factor[FLOW_SKIP] += w * q * (m->tensor[t].ln_norm - own);
            arrives += w * q;
        }
        for (size_t k = 0; k < st->n_out; k++) {
            size_t t = f->out[st->first_out + k];
            double own = m->tensor[t].ln_norm;
            if (!isfinite(own)) continue;
            double q = exp(2 * (own - made));
            weight[t] += arrives * q;
            gain.factor[FLOW_SKIP] += arrives * q * (made - own);
        }
        for (int k = 0; by_step && k < FLOW_FACTORS; k++)
            by_step[i - b->first_step][k] = gain.factor[k] - before.factor[k];
    }
    return gain;
}
