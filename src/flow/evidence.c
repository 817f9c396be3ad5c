#include "flow/evidence.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

static const char of_lambda[] = "own experiment: plain gradient descent trains at Lambda -5.6 and +6.2, stalls at -7.6 "
                                "and is impaired at +8.1 (docs/flow.md)",
                  of_dying[] = "own choice: correlated samples alone leave about 50 % of the units of a layer inactive",
                  of_saturated[] = "own choice: half of the entries with less than a tenth of the largest slope",
                  of_formats[] = "IEEE 754: what is at most half of the smallest subnormal number is rounded to 0";

size_t flow_thresholds(const flow_bound **list)
{
    static const flow_bound all[] = {
        {"lambda", of_lambda, 6.907755278982137},
        {"dying_share", of_dying, 0.75},
        {"dying_samples", "own choice: fewer samples show too few inputs to call a unit dead", 512},
        {"saturated_share", of_saturated, 0.5},
        {"saturated_slope", "own choice: a tenth of the largest slope; thresholds on the input would hide it", 0.1},
        {"underflow_share", "own choice: a thousandth of the non-zero cotangents", 0.001},
        {"float32_log10_flushed", of_formats, -45.154499349597179},
        {"float16_log10_flushed", of_formats, -7.5257498915995302},
        {"bfloat16_log10_flushed", of_formats, -40.338019418973484},
        {"float32_log10_largest", "IEEE 754", 38.531839419103626},
        {"float16_log10_largest", "IEEE 754", 4.8162678209824},
        {"bfloat16_log10_largest", "the exponents of float32, 8 bits of precision", 38.5301396601117},
        {"adam_ln_epsilon", "Kingma and Ba 2015: epsilon 1e-8, beside which a smaller gradient is nothing",
         -18.420680743952367},
    };
    *list = all;
    return sizeof all / sizeof *all;
}

typedef struct collector {
    const flow_case *c;
    flow_evidence *list;
    size_t n;
} collector;

static void put(collector *s, const char *quantity, double value, double threshold, const char *source,
                const char *where, const char *format, ...) CR_PRINTF(7, 8);
static void put(collector *s, const char *quantity, double value, double threshold, const char *source,
                const char *where, const char *format, ...)
{
    flow_evidence *x = &s->list[s->n++];
    va_list v;
    *x = (flow_evidence){.quantity = quantity, .value = value, .threshold = threshold, .source = source,
                         .where = where};
    va_start(v, format);
    vsnprintf(x->text, sizeof x->text, format, v);
    va_end(v);
}

static const char *block_name(const flow_case *c, size_t i) { return flow_block_name(c->f, &c->f->block[i]); }

static void put_lambda(collector *s, const flow_verdict *v)
{
    double t = flow_rule_limits().lambda;
    if (!isnan(v->low)) {
        put(s, "lambda_low", v->low, -t, of_lambda, block_name(s->c, v->at_low),
            "the smallest effect on the loss is 10^%.1f of the output's", v->low / log(10));
    }
    if (!isnan(v->high)) {
        put(s, "lambda_high", v->high, t, of_lambda, block_name(s->c, v->at_high),
            "the largest effect on the loss is 10^%.1f of the output's", v->high / log(10));
    }
}

static const char *step_name(const flow_case *c, size_t step) { return c->f->n->node[c->f->step[step].node].name; }

static void put_units(collector *s)
{
    const flow_case *c = s->c;
    flow_limits limits = flow_rule_limits();
    size_t dead = FLOW_NONE, flat = FLOW_NONE;
    for (size_t i = 0; i < c->f->n_steps; i++) {
        const flow_at_step *a = c->m->step;
        if (!isnan(a[i].dead) && (dead == FLOW_NONE || a[i].dead > a[dead].dead)) dead = i;
        if (isnan(a[i].saturated) || flow_is_gate(c->f, &c->f->step[i])) continue;
        if (flat == FLOW_NONE || a[i].saturated > a[flat].saturated) flat = i;
    }
    if (dead != FLOW_NONE) {
        put(s, "dying_share", c->m->step[dead].dead, limits.dying, of_dying, step_name(c, dead),
            "%.1f %% of the units are inactive on all of %zu samples%s", 100 * c->m->step[dead].dead, c->samples,
            (double)c->samples < limits.samples ? ", too few to judge by" : "");
    }
    if (flat != FLOW_NONE) {
        put(s, "saturated_share", c->m->step[flat].saturated, limits.saturated, of_saturated, step_name(c, flat),
            "%.1f %% of the entries have less than a tenth of the largest slope", 100 * c->m->step[flat].saturated);
    }
}

static void put_gains(collector *s)
{
    const flow_case *c = s->c;
    size_t low = FLOW_NONE, high = FLOW_NONE;
    for (size_t i = 0; i < c->f->n_blocks; i++) {
        double x = c->gain[i].ln_gain;
        if (isnan(x)) continue;
        if (low == FLOW_NONE || x < c->gain[low].ln_gain) low = i;
        if (high == FLOW_NONE || x > c->gain[high].ln_gain) high = i;
    }
    if (low == FLOW_NONE) return;
    put(s, "ln_gain_low", c->gain[low].ln_gain, NAN, NULL, block_name(c, low),
        "the layer that takes most of the gradient; it moves when layers are rescaled, so no rule rests on it");
    put(s, "ln_gain_high", c->gain[high].ln_gain, NAN, NULL, block_name(c, high),
        "the layer that adds most to the gradient; no rule rests on it");
}

static void put_formats(collector *s, const flow_formats *x)
{
    static const char *const quantity[] = {"float32_underflow", "float16_underflow", "bfloat16_underflow"};
    for (int k = 0; k < FLOW_FORMATS; k++) {
        const flow_format_fit *f = &x->of[k];
        if (isnan(f->underflow)) continue;
        put(s, quantity[k], f->underflow, 0.001, of_formats,
            f->fails_at == FLOW_NONE ? NULL : block_name(s->c, f->fails_at),
            f->ln_smallest > f->ln_largest ? "no scale of the loss keeps %s from losing a thousandth of the gradient"
                                           : "the share of the non-zero cotangents that %s makes 0 without scaling",
            flow_format_name((flow_format)k));
    }
    if (!isnan(x->updates_lost)) {
        put(s, "bfloat16_updates_lost", x->updates_lost, NAN, NULL, NULL,
            "updates by plain gradient descent at learning rate %g that do not move a weight in bfloat16",
            FLOW_LEARNING_RATE);
    }
}

static void put_weights(collector *s, const flow_balance *b)
{
    const flow_case *c = s->c;
    size_t most = FLOW_NONE;
    if (isnan(b->low)) return;
    put(s, "balance", b->high - b->low, NAN, NULL, c->f->n->leaf[b->at_low].name,
        "spread of ln(|gradient|/|weight|) over the parameters: one learning rate is not the same for all");
    for (size_t i = 0; i < c->f->n->n_leaves; i++) {
        double x = fabs(c->m->leaf[i].dot);
        if (!isnan(x) && (most == FLOW_NONE || x > fabs(c->m->leaf[most].dot))) most = i;
    }
    if (most == FLOW_NONE) return;
    put(s, "weight_dot_gradient", c->m->leaf[most].dot, NAN, NULL, c->f->n->leaf[most].name,
        "the largest cosine of a weight and its gradient; it is 0 in front of a batch norm");
}

size_t flow_evidence_find(const flow_case *c, const flow_verdict *v, const flow_formats *formats,
                          const flow_balance *balance, flow_evidence *list)
{
    collector s = {c, list, 0};
    put(&s, "nonfinite", (double)c->m->nonfinite, 0, "any number that is not finite", NULL,
        "measured numbers that were not finite");
    put_lambda(&s, v);
    put_units(&s);
    put_formats(&s, formats);
    put_gains(&s);
    put_weights(&s, balance);
    return s.n;
}
