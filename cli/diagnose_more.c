/* What stands beside the verdict: parts of the document, and lines on the terminal. */
#include "diagnose.h"

#include <math.h>
#include <string.h>

static double log10_of(double ln) { return ln / log(10); }
static const char *const factors[] = {"slope", "weight", "norm", "skip", "rest"};

static json_t *numbers(const double *x, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_finite(x[i]));
    return list;
}

json_t *paths_json(const session *s, const cr_diagnosis *d)
{
    const cr_flow_paths *p = &d->paths;
    (void)s;
    if (p->blocks == 0) return NULL;
    return json_pack("{s:I,s:I,s:b,s:o,s:o,s:[],s:o,s:o,s:o}", "blocks", (json_int_t)p->blocks, "samples",
                     (json_int_t)p->samples, "exact", p->exact, "share", numbers(p->share, p->n), "energy",
                     numbers(p->energy, p->n), "error", "remainder", json_finite(p->remainder), "effective_depth",
                     json_finite(p->effective_depth), "said", json_text(*p->said ? p->said : NULL));
}

json_t *spectrum_of_json(const cr_flow_spectrum *x)
{
    double q[CR_FLOW_QUANTILES];
    if (!x) return NULL;
    for (int i = 0; i < CR_FLOW_QUANTILES; i++) q[i] = log10_of(x->ln_quantile[i]);
    return json_pack("{s:I,s:I,s:o,s:o,s:o,s:b}", "rows", (json_int_t)x->rows, "columns", (json_int_t)x->columns,
                     "log10_largest", json_finite(log10_of(x->ln_largest)), "log10_smallest",
                     json_finite(log10_of(x->ln_smallest)), "quantiles", numbers(q, x->exact ? CR_FLOW_QUANTILES : 0),
                     "exact", x->exact);
}

json_t *spectrum_json(const session *s, const cr_diagnosis *d)
{
    (void)s;
    json_t *o = d->spectrum.rows ? spectrum_of_json(&d->spectrum) : json_object();
    if (!d->spectrum.rows) json_object_set_new(o, "log10_largest", json_null());
    json_object_set_new(o, "samples", json_integer((json_int_t)d->spectrum_samples));
    json_object_set_new(o, "said", json_text(*d->spectrum_said ? d->spectrum_said : NULL));
    return o;
}

json_t *children_json(const cr_flow_layer *l)
{
    json_t *list = json_array();
    for (size_t i = 0; i < l->n_children; i++) {
        const cr_flow_child *c = &l->child[i];
        json_t *f = json_object();
        for (int k = 0; k < CR_FLOW_FACTORS; k++) json_object_set_new(f, factors[k], json_finite(c->factor[k]));
        json_array_append_new(list, json_pack("{s:o,s:o,s:o}", "name", json_text(c->name), "op", json_text(c->op),
                                              "factors", f));
    }
    return list;
}

json_t *formats_json(const session *s, const cr_diagnosis *d)
{
    json_t *o = json_object();
    (void)s;
    for (int k = 0; k < CR_FLOW_FORMATS; k++) {
        const cr_flow_format *x = &d->format[k];
        json_t *f = json_pack("{s:o,s:o,s:o,s:o}", "log10_smallest_scale", json_finite(log10_of(x->ln_smallest)),
                              "log10_largest_scale", json_finite(log10_of(x->ln_largest)), "fails_at",
                              json_text(x->fails_at), "share_underflow", json_finite(x->underflow));
        if (!strcmp(x->name, "bfloat16")) {
            json_object_set_new(f, "updates_lost", json_finite(d->updates_lost));
            json_object_set_new(f, "learning_rate", json_finite(d->learning_rate));
        }
        json_object_set_new(o, x->name, f);
    }
    return o;
}

json_t *balance_json(const session *s, const cr_diagnosis *d)
{
    const cr_flow_balance *b = &d->balance;
    (void)s;
    if (!b->low) return NULL;
    return json_pack("{s:o,s:{s:o,s:o},s:{s:o,s:o}}", "spread", json_finite(b->ln_high - b->ln_low), "min", "parameter",
                     json_text(b->low), "ln_ratio", json_finite(b->ln_low), "max", "parameter", json_text(b->high),
                     "ln_ratio", json_finite(b->ln_high));
}

json_t *evidence_json(const cr_diagnosis *d)
{
    json_t *list = json_array();
    for (size_t i = 0; i < d->n_evidence; i++) {
        const cr_flow_evidence *x = &d->evidence[i];
        json_array_append_new(list, json_pack("{s:s,s:o,s:o,s:o,s:o,s:o}", "quantity", x->quantity, "value",
                                              json_finite(x->value), "threshold", json_finite(x->threshold), "source",
                                              json_text(x->source), "where", json_text(x->where), "text",
                                              json_text(x->text)));
    }
    return list;
}

json_t *thresholds_json(const session *s, const cr_diagnosis *d)
{
    json_t *list = json_array();
    (void)s;
    for (size_t i = 0; i < d->n_thresholds; i++) {
        const cr_flow_threshold *x = &d->threshold[i];
        json_array_append_new(list, json_pack("{s:s,s:f,s:s}", "name", x->name, "value", x->value, "source",
                                              x->source));
    }
    return list;
}

/* ---- terminal ------------------------------------------------------------------------------------ */

static void print_format(const cr_flow_format *x)
{
    double low = log10_of(x->ln_smallest), high = log10_of(x->ln_largest);
    if (!x->fails_at) return;
    printf("    %s fails at %s", x->name, x->fails_at);
    if (low <= high) {
        printf("; it holds the gradient with the loss times 10^%.1f to 10^%.1f\n", low, high);
    } else {
        printf(", at any scale of the loss\n");
    }
}

void diagnosis_print_more(const cr_diagnosis *d)
{
    const cr_flow_paths *p = &d->paths;
    if (isfinite(p->effective_depth) && p->n > 0) {
        printf("    the gradient comes through %.3g of %zu branches on average, %.0f %% of it through none\n",
               p->effective_depth, p->blocks, 100 * p->share[0]);
    }
    for (int k = 0; k < CR_FLOW_FORMATS; k++) print_format(&d->format[k]);
}
