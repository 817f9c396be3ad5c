#include "flow/verdict.h"

#include "flow/time.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {"non-finite", "dying",     "vanishing", "exploding",
                                    "saturated",  "shattered", "healthy"};
const char *flow_status_name(flow_status s) { return names[s]; }

/* Thresholds and where they are from: docs/flow.md. */
static const double dying_share = 0.75, saturated_share = 0.5;
enum { DYING_SAMPLES = 512 };
double flow_threshold(void) { return log(1000); }

flow_limits flow_rule_limits(void)
{
    return (flow_limits){flow_threshold(), dying_share, saturated_share, DYING_SAMPLES};
}

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

/* Does a normalisation stand right behind the affine operator? It takes the scale of the weights out again. */
static bool normalises_weights(const flow *f, const flow_block *b)
{
    for (size_t i = b->first_step; i < b->first_step + b->n_steps; i++) {
        const flow_step *st = &f->step[i];
        if (st->op->factor != FLOW_NORM) continue;
        size_t maker = f->tensor[f->edge[st->first_edge].tensor].maker;
        while (maker != FLOW_NONE && maker >= b->first_step && !f->step[maker].affine && f->step[maker].n_edges == 1 &&
               strcmp(f->n->node[f->step[maker].node].op, "Add") == 0) { /* a bias */
            maker = f->tensor[f->edge[f->step[maker].first_edge].tensor].maker;
        }
        if (maker != FLOW_NONE && maker >= b->first_step && f->step[maker].affine) return true;
    }
    return false;
}

/* The factor that takes (or gives) most over blocks first..last, and its share of what all of its sign do. Where the
 * scale of weights is normalised away, how the two factors part is an accident of that scale: together they are the
 * normalisation's. */
static flow_factor worst_factor(const flow *f, const flow_gain *gain, size_t first, size_t last, double sign,
                                double *share)
{
    double sum[FLOW_FACTORS] = {0}, all = 0;
    for (size_t i = first; i <= last; i++) {
        bool normed = normalises_weights(f, &f->block[i]);
        for (int k = 0; k < FLOW_FACTORS; k++) {
            int to = normed && k == FLOW_WEIGHT ? FLOW_NORM : k;
            if (isfinite(gain[i].factor[k])) sum[to] += sign * gain[i].factor[k];
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

/* Blocks first..last without those at its ends that do less than a tenth of what a block does in the mean. */
static void trim(const flow_gain *gain, double sign, size_t *first, size_t *last)
{
    double sum = 0;
    for (size_t i = *first; i <= *last; i++) sum += isfinite(gain[i].ln_gain) ? sign * gain[i].ln_gain : 0;
    double little = 0.1 * sum / (double)(*last - *first + 1);
    if (!(sum > 0)) return;
    while (*first < *last && !(sign * gain[*first].ln_gain >= little)) ++*first;
    while (*last > *first && !(sign * gain[*last].ln_gain >= little)) --*last;
}

static void say_flow(const flow *f, const flow_gain *gain, flow_finding *x, bool vanishing)
{
    /* From the block that is named up to the end, where Lambda is 0 by definition. */
    size_t first = x->block + 1 < f->n_blocks ? x->block + 1 : x->block, last = f->n_blocks - 1;
    double share;
    trim(gain, vanishing ? -1 : 1, &first, &last);
    flow_factor k = worst_factor(f, gain, first, last, vanishing ? -1 : 1, &share);
    double power = x->lambda / log(10);
    if (isinf(power)) {
        snprintf(x->text, sizeof x->text, "no gradient at all gets to the output of \"%s\" or further",
                 flow_block_name(f, &f->block[x->block]));
        return;
    }
    snprintf(
        x->text, sizeof x->text,
        "the gradient %s towards the input: at \"%s\" its effect on the loss is 10^%.1f of that at the output; %s do "
        "%.0f %% of it, from \"%s\" to \"%s\"",
        vanishing ? "vanishes" : "explodes", flow_block_name(f, &f->block[x->block]), power, in_words(k), 100 * share,
        flow_block_name(f, &f->block[first]), flow_block_name(f, &f->block[last]));
}

/* Does it only weigh another signal? A gate that is open or shut is at work, not saturated. */
bool flow_is_gate(const flow *f, const flow_step *st)
{
    for (size_t e = 0; e < f->n_edges; e++) {
        const flow_step *reader = &f->step[f->edge[e].step];
        if (f->edge[e].tensor != f->out[st->first_out]) continue;
        if (reader->n_edges < 2 || strcmp(f->n->node[reader->node].op, "Mul") != 0) return false;
    }
    return f->out[st->first_out] != f->y;
}

/* What lies behind closed gates only is not judged, and where no derivative leads, nothing can be. */
static bool is_judged(const flow_case *c, size_t tensor)
{
    flow_zero why = c->zeros->tensor[tensor];
    return tensor != c->f->y && (why == FLOW_NOT_ZERO || why == FLOW_DEAD);
}

/* The block that a finding names: the first whose Lambda is beyond the threshold and nearly the worst. Where layers
 * scale the signal as they scale the gradient (linear, or ReLUs), Lambda is the same at all of them up to noise, and
 * the worst may be any: what does it are all the blocks. */
static void name_block(const flow_case *c, double worst, flow_finding *x)
{
    x->lambda = worst;
    if (isinf(worst)) return;
    for (size_t i = 0; i < x->block; i++) {
        double l = flow_lambda(c->f, c->m, c->f->block[i].out, c->s_y);
        if (isnan(l) || !is_judged(c, c->f->block[i].out)) continue;
        if (l / worst < 0.75 || fabs(l) < flow_threshold()) continue;
        x->block = i;
        x->lambda = l;
        return;
    }
}

static void look_at_lambda(const flow_case *c, flow_verdict *v)
{
    const flow *f = c->f;
    double t = flow_threshold();
    v->low = INFINITY;
    v->high = -INFINITY;
    for (size_t i = 0; i + 1 < f->n_blocks; i++) {
        double l = flow_lambda(f, c->m, f->block[i].out, c->s_y);
        if (isnan(l) || !is_judged(c, f->block[i].out)) continue;
        if (l < v->low) {
            v->low = l;
            v->at_low = i;
        }
        if (l > v->high) {
            v->high = l;
            v->at_high = i;
        }
    }
    if (v->low > v->high) v->low = v->high = NAN; /* there is no boundary between */
    if (-v->low >= t && -v->low > v->high) {
        flow_finding *x = find(v, FLOW_VANISHING, v->low, -t, v->at_low);
        name_block(c, v->low, x);
        say_flow(f, c->gain, x, true);
    } else if (v->high >= t && v->high >= -v->low) {
        flow_finding *x = find(v, FLOW_EXPLODING, v->high, t, v->at_high);
        name_block(c, v->high, x);
        say_flow(f, c->gain, x, false);
    }
}

static size_t block_of(const flow *f, size_t step)
{
    size_t i = 0;
    while (i + 1 < f->n_blocks && f->block[i + 1].first_step <= step) i++;
    return i;
}

/* The last block behind which all cotangents are 0 because of dead units; FLOW_NONE. */
static size_t cut_off(const flow_case *c)
{
    for (size_t i = c->f->n_blocks; i-- > 0;) {
        const flow_block *b = &c->f->block[i];
        if (b->in != FLOW_NONE && c->zeros->tensor[b->in] == FLOW_DEAD && c->zeros->dying[b->in]) return i;
    }
    return FLOW_NONE;
}

static void look_at_units(const flow_case *c, flow_verdict *v)
{
    const flow *f = c->f;
    const flow_measured *m = c->m;
    size_t samples = c->samples, worst = FLOW_NONE, cut = cut_off(c);
    if (cut != FLOW_NONE) {
        flow_finding *x = find(v, FLOW_DYING, 1, dying_share, cut);
        snprintf(x->text, sizeof x->text,
                 "no gradient at all gets through \"%s\": its units are inactive on all of %zu samples",
                 flow_block_name(f, &f->block[cut]), samples);
        return;
    }
    for (size_t i = 0; i < f->n_steps; i++) {
        if (!(m->step[i].dead >= dying_share)) continue;
        if (worst == FLOW_NONE || m->step[i].dead > m->step[worst].dead) worst = i;
    }
    if (worst == FLOW_NONE || (samples < DYING_SAMPLES && m->step[worst].dead < 1)) return;
    flow_finding *x = find(v, FLOW_DYING, m->step[worst].dead, dying_share, block_of(f, worst));
    snprintf(x->text, sizeof x->text, "%.0f %% of the units of \"%s\" are inactive on all of %zu samples",
             100 * x->value, f->n->node[f->step[worst].node].name, samples);
}

static void look_at_saturation(const flow_case *c, flow_verdict *v)
{
    const flow *f = c->f;
    const flow_measured *m = c->m;
    size_t worst = FLOW_NONE;
    for (size_t i = 0; i < f->n_steps; i++) {
        if (!(m->step[i].saturated >= saturated_share) || flow_is_gate(f, &f->step[i])) continue;
        if (worst == FLOW_NONE || m->step[i].saturated > m->step[worst].saturated) worst = i;
    }
    if (worst == FLOW_NONE) return;
    flow_finding *x = find(v, FLOW_SATURATED, m->step[worst].saturated, saturated_share, block_of(f, worst));
    snprintf(x->text, sizeof x->text, "%.0f %% of the entries of \"%s\" have less than a tenth of its largest slope",
             100 * x->value, f->n->node[f->step[worst].node].name);
}

/* What the rule did not look at, and why; behind the sentence. */
static void say_gates(const flow_case *c, flow_verdict *v)
{
    size_t n = 0, at = strlen(v->sentence);
    for (size_t i = 0; i < c->f->n_blocks; i++) n += c->zeros->tensor[c->f->block[i].out] == FLOW_CLOSED_GATE;
    if (n == 0 || c->zeros->n_gates == 0) return;
    snprintf(v->sentence + at, sizeof v->sentence - at,
             " %zu layer%s behind `%s`%s, which %s 0 in every entry, %s not judged: no gradient gets there before the "
             "first step.",
             n, n == 1 ? "" : "s", c->f->n->leaf[c->zeros->gate[0]].name, c->zeros->n_gates > 1 ? " and others" : "",
             c->zeros->n_gates > 1 ? "are" : "is", n == 1 ? "is" : "are");
}

void flow_judge(const flow_case *c, flow_verdict *v)
{
    const flow_measured *m = c->m;
    double ln_y = m->tensor[c->f->y].ln_norm;
    *v = (flow_verdict){.status = FLOW_HEALTHY, .confidence = 1, .low = NAN, .high = NAN};
    if (!isfinite(m->loss) || isnan(ln_y)) {
        flow_finding *x = find(v, FLOW_NONFINITE, (double)m->nonfinite, 0, 0);
        snprintf(x->text, sizeof x->text, "the loss or its gradient is not finite");
    } else if (isfinite(ln_y)) {
        look_at_units(c, v);
        look_at_lambda(c, v);
        look_at_saturation(c, v);
        if (c->times) flow_times_judge(c->f, c->times, v);
    }
    char *s = v->sentence;
    size_t room = sizeof v->sentence;
    if (v->n_findings > 0) {
        v->status = v->finding[0].status;
        snprintf(s, room, "%s: %s.", names[v->status], v->finding[0].text);
        if (*s >= 'a' && *s <= 'z') *s = (char)(*s - 32);
    } else if (!isfinite(ln_y)) {
        snprintf(s, room, "Nothing to judge: the gradient at the network's output is exactly 0; the loss is fitted.");
    } else if (!isfinite(v->low)) {
        snprintf(s, room, "Healthy: there is no layer between the first one and the output%s.",
                 c->zeros->n_gates > 0 ? " that a gradient gets to" : "");
    } else {
        snprintf(s, room,
                 "Healthy: the effect of every layer on the loss lies between 10^%.1f and 10^%.1f times the output's.",
                 v->low / log(10), v->high / log(10));
    }
    if (isfinite(ln_y)) say_gates(c, v);
}
