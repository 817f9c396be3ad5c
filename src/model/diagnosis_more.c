/* What stands beside the verdict, copied for the user. */
#include "model/diagnose.h"

#include <math.h>
#include <string.h>

/* NULL stays NULL. */
static const char *text(diagnosing *w, const char *s) { return s ? diagnosis_text(w, s) : NULL; }

static const char *or_empty(diagnosing *w, const char *s) { return text(w, s ? s : ""); }

static bool put_paths(diagnosing *w, cr_flow_paths *out)
{
    const flow_paths *p = &w->paths;
    double *share = diagnosis_take(w, p->n * sizeof *share), *energy = diagnosis_take(w, p->n * sizeof *energy);
    if (!share || !energy) return false;
    if (p->n > 0) memcpy(share, p->share, p->n * sizeof *share);
    if (p->n > 0) memcpy(energy, p->energy, p->n * sizeof *energy);
    *out = (cr_flow_paths){p->blocks, w->path_samples,    p->n, share, energy, p->remainder, p->effective_depth,
                           p->n == p->blocks + 1, or_empty(w, w->no_paths)};
    return true;
}

static cr_flow_spectrum spectrum(const flow_spectrum *x)
{
    cr_flow_spectrum s = {x->rows, x->columns, x->ln_largest, x->ln_smallest, {0}, x->exact};
    memcpy(s.ln_quantile, x->ln_quantile, sizeof s.ln_quantile);
    return s;
}

static bool put_spectra(diagnosing *w, cr_diagnosis *d, cr_flow_layer *layer)
{
    d->spectrum_said = or_empty(w, w->no_spectra);
    if (!w->has_spectra) return true;
    d->spectrum_samples = w->spectra.samples;
    if (!isnan(w->spectra.whole.ln_largest)) d->spectrum = spectrum(&w->spectra.whole);
    for (size_t i = 0; i < w->f.n_blocks; i++) {
        if (isnan(w->spectra.block[i].ln_largest)) continue;
        cr_flow_spectrum *s = diagnosis_take(w, sizeof *s);
        if (!s) return false;
        *s = spectrum(&w->spectra.block[i]);
        layer[i].spectrum = s;
    }
    return true;
}

static bool put_children(diagnosing *w, cr_flow_layer *layer)
{
    const flow *f = &w->f;
    for (size_t i = 0; i < f->n_blocks; i++) {
        const flow_block *b = &f->block[i];
        if (!b->region || isnan(w->gain[i].ln_gain)) continue;
        cr_flow_child *child = diagnosis_take(w, b->n_steps * sizeof *child);
        double(*by_step)[FLOW_FACTORS] = diagnosis_take(w, b->n_steps * sizeof *by_step);
        if (!child || !by_step) return false;
        flow_block_gain(f, &w->measured, b, w->weight, by_step);
        for (size_t k = 0; k < b->n_steps; k++) {
            const net_node *node = &w->net.node[f->step[b->first_step + k].node];
            child[k] = (cr_flow_child){.name = text(w, node->name), .op = text(w, node->op)};
            memcpy(child[k].factor, by_step[k], sizeof child[k].factor);
        }
        layer[i].n_children = b->n_steps;
        layer[i].child = child;
    }
    return true;
}

static void put_formats(diagnosing *w, cr_diagnosis *d)
{
    for (int k = 0; k < FLOW_FORMATS; k++) {
        const flow_format_fit *x = &w->formats.of[k];
        const char *at = x->fails_at == FLOW_NONE ? NULL : flow_block_name(&w->f, &w->f.block[x->fails_at]);
        d->format[k] = (cr_flow_format){flow_format_name((flow_format)k), x->ln_smallest, x->ln_largest, x->underflow,
                                        text(w, at)};
    }
    d->updates_lost = w->formats.updates_lost;
    d->learning_rate = FLOW_LEARNING_RATE;
    const flow_balance *b = &w->balance;
    d->balance = (cr_flow_balance){.ln_low = b->low, .ln_high = b->high};
    if (isnan(b->low)) return;
    d->balance.low = text(w, w->net.leaf[b->at_low].name);
    d->balance.high = text(w, w->net.leaf[b->at_high].name);
}

static bool put_evidence(diagnosing *w, cr_diagnosis *d)
{
    const flow_bound *list;
    size_t n = flow_thresholds(&list);
    cr_flow_evidence *evidence = diagnosis_take(w, w->n_evidence * sizeof *evidence);
    cr_flow_threshold *threshold = diagnosis_take(w, n * sizeof *threshold);
    if (!evidence || !threshold) return false;
    for (size_t i = 0; i < w->n_evidence; i++) {
        const flow_evidence *x = &w->evidence[i];
        evidence[i] = (cr_flow_evidence){x->quantity, x->source, text(w, x->where), text(w, x->text), x->value,
                                         x->threshold};
    }
    for (size_t i = 0; i < n; i++) threshold[i] = (cr_flow_threshold){list[i].name, list[i].source, list[i].value};
    d->n_evidence = w->n_evidence;
    d->evidence = evidence;
    d->n_thresholds = n;
    d->threshold = threshold;
    return true;
}

bool diagnosis_put_more(diagnosing *w, cr_diagnosis *d, cr_flow_layer *layer)
{
    put_formats(w, d);
    return put_paths(w, &d->paths) && put_spectra(w, d, layer) && put_children(w, layer) && put_evidence(w, d);
}
