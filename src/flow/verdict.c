#include "flow/verdict.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {"non-finite", "dying", "vanishing", "exploding", "saturated", "healthy"};
const char *flow_status_name(flow_status s) { return names[s]; }

/* Thresholds and where they are from: docs/flow.md. */
static const double dying_share = 0.75, saturated_share = 0.5;
enum { DYING_SAMPLES = 512 };
static double threshold(void) { return log(1000); }

double flow_lambda(const flow *f, const flow_measured *m, size_t tensor, double s_y)
{
    return m->tensor[tensor].ln_hg - log(s_y) - m->tensor[f->y].ln_norm;
}

const char *flow_block_name(const flow *f, const flow_block *b)
{
    size_t step = b->affine != FLOW_NONE ? b->affine : b->first_step;
    return f->n->node[f->step[step].node].name;
}

static flow_finding *find(flow_verdict *v, flow_status status, double value, double limit, size_t block)
{
    flow_finding *x = &v->finding[v->n_findings++];
    *x = (flow_finding){.status = status, .value = value, .threshold = limit, .block = block};
    return x;
}

/* The factor that takes (or gives) most over blocks first..last, and its share of what all of its sign do. */
static flow_factor worst_factor(const flow_gain *gain, size_t first, size_t last, double sign, double *share)
{
    double sum[FLOW_FACTORS] = {0}, all = 0;
    for (size_t i = first; i <= last; i++) {
        for (int k = 0; k < FLOW_FACTORS; k++) {
            if (isfinite(gain[i].factor[k])) sum[k] += sign * gain[i].factor[k];
        }
    }
    flow_factor worst = FLOW_SLOPE;
    for (int k = 0; k < FLOW_FACTORS; k++) {
        if (sum[k] > 0) all += sum[k];
        if (sum[k] > sum[worst]) worst = (flow_factor)k;
    }
    *share = all > 0 ? sum[worst] / all : 0;
    return worst;
}

static const char *in_words(flow_factor k)
{
    static const char *const words[] = {"the slopes of the activations", "the weights", "the normalisations",
                                        "the skip connections", "what is neither weight nor activation"};
    return words[k];
}

static void say_flow(const flow *f, const flow_gain *gain, flow_verdict *v, flow_finding *x, bool vanishing)
{
    /* From the block where Lambda is worst up to the end, where it is 0 by definition. */
    size_t first = x->block + 1 < f->n_blocks ? x->block + 1 : x->block, last = f->n_blocks - 1;
    double share;
    flow_factor k = worst_factor(gain, first, last, vanishing ? -1 : 1, &share);
    double power = (vanishing ? v->low : v->high) / log(10);
    snprintf(
        x->text, sizeof x->text,
        "the gradient %s towards the input: at \"%s\" its effect on the loss is 10^%.1f of that at the output; %s do "
        "%.0f %% of it, from \"%s\" to \"%s\"",
        vanishing ? "vanishes" : "explodes", flow_block_name(f, &f->block[x->block]), power, in_words(k), 100 * share,
        flow_block_name(f, &f->block[first]), flow_block_name(f, &f->block[last]));
}

static void look_at_lambda(const flow *f, const flow_measured *m, const flow_gain *gain, double s_y, flow_verdict *v)
{
    double t = threshold();
    v->low = INFINITY;
    v->high = -INFINITY;
    for (size_t i = 0; i + 1 < f->n_blocks; i++) {
        double l = flow_lambda(f, m, f->block[i].out, s_y);
        if (isnan(l) || f->block[i].out == f->y) continue;
        if (l < v->low) {
            v->low = l;
            v->at_low = i;
        }
        if (l > v->high) {
            v->high = l;
            v->at_high = i;
        }
    }
    if (-v->low >= t && -v->low > v->high) {
        say_flow(f, gain, v, find(v, FLOW_VANISHING, v->low, -t, v->at_low), true);
    } else if (v->high >= t && v->high >= -v->low) {
        say_flow(f, gain, v, find(v, FLOW_EXPLODING, v->high, t, v->at_high), false);
    }
}

static size_t block_of(const flow *f, size_t step)
{
    size_t i = 0;
    while (i + 1 < f->n_blocks && f->block[i + 1].first_step <= step) i++;
    return i;
}

static void look_at_units(const flow *f, const flow_measured *m, size_t samples, flow_verdict *v)
{
    size_t worst = FLOW_NONE;
    for (size_t i = 0; i < f->n_steps; i++) {
        if (!(m->step[i].dead >= dying_share)) continue;
        if (worst == FLOW_NONE || m->step[i].dead > m->step[worst].dead) worst = i;
    }
    if (worst == FLOW_NONE || (samples < DYING_SAMPLES && m->step[worst].dead < 1)) return;
    flow_finding *x = find(v, FLOW_DYING, m->step[worst].dead, dying_share, block_of(f, worst));
    snprintf(x->text, sizeof x->text, "%.0f %% of the units of \"%s\" are inactive on all of %zu samples",
             100 * x->value, f->n->node[f->step[worst].node].name, samples);
}

static void look_at_saturation(const flow *f, const flow_measured *m, flow_verdict *v)
{
    size_t worst = FLOW_NONE;
    for (size_t i = 0; i < f->n_steps; i++) {
        if (!(m->step[i].saturated >= saturated_share)) continue;
        if (worst == FLOW_NONE || m->step[i].saturated > m->step[worst].saturated) worst = i;
    }
    if (worst == FLOW_NONE) return;
    flow_finding *x = find(v, FLOW_SATURATED, m->step[worst].saturated, saturated_share, block_of(f, worst));
    snprintf(x->text, sizeof x->text, "%.0f %% of the entries of \"%s\" have less than a tenth of its largest slope",
             100 * x->value, f->n->node[f->step[worst].node].name);
}

void flow_judge(const flow *f, const flow_measured *m, const flow_gain *gain, double s_y, size_t samples,
                flow_verdict *v)
{
    *v = (flow_verdict){.status = FLOW_HEALTHY, .confidence = 1};
    bool bad = !isfinite(m->loss) || isnan(m->tensor[f->y].ln_norm);
    if (bad) {
        flow_finding *x = find(v, FLOW_NONFINITE, (double)m->nonfinite, 0, 0);
        snprintf(x->text, sizeof x->text, "the loss or its gradient is not finite");
    } else {
        look_at_units(f, m, samples, v);
        look_at_lambda(f, m, gain, s_y, v);
        look_at_saturation(f, m, v);
    }
    if (v->n_findings == 0 && !isfinite(m->tensor[f->y].ln_norm)) {
        snprintf(v->sentence, sizeof v->sentence,
                 "Nothing to judge: the gradient at the network's output is exactly 0; the loss is fitted.");
        return;
    }
    if (v->n_findings == 0 && !isfinite(v->low)) {
        snprintf(v->sentence, sizeof v->sentence, "Healthy: there is no layer between the first one and the output.");
        return;
    }
    if (v->n_findings == 0) {
        snprintf(v->sentence, sizeof v->sentence,
                 "Healthy: the effect of every layer on the loss lies between 10^%.1f and 10^%.1f times the output's.",
                 v->low / log(10), v->high / log(10));
        return;
    }
    v->status = v->finding[0].status;
    char *s = v->sentence;
    snprintf(s, sizeof v->sentence, "%s: %s.", names[v->status], v->finding[0].text);
    if (*s >= 'a' && *s <= 'z') *s = (char)(*s - 32);
}
