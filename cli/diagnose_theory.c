/* What a diagnosis says of weights and theory, on the terminal and as JSON. */
#include "diagnose.h"

#include <math.h>
#include <string.h>

/* ---- JSON --------------------------------------------------------------------------------------- */

json_t *layer_theory_json(const cr_flow_layer *l)
{
    const cr_flow_theory *t = l->theory;
    if (!t) return json_null();
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "ln_gain", json_finite(t->ln_gain), "low",
                     json_finite(t->low), "high", json_finite(t->high), "weight_variance",
                     json_finite(t->weight_variance), "bias_variance", json_finite(t->bias_variance), "length",
                     json_finite(t->length), "chi", json_finite(t->chi), "activation", json_text(t->activation));
}

json_t *weights_json(const session *s, const cr_diagnosis *d)
{
    const cr_weights_state *w = &d->weights;
    json_t *evidence = json_array();
    (void)s;
    for (size_t i = 0; i < w->n_evidence; i++) {
        json_array_append_new(evidence, json_pack("{s:o,s:b}", "text", json_text(w->evidence[i].text),
                                                  "fits_initialisation", w->evidence[i].fits));
    }
    return json_pack("{s:s,s:b,s:o}", "state", w->state, "given", w->given, "evidence", evidence);
}

json_t *theory_json(const session *s, const cr_diagnosis *d)
{
    const cr_theory *t = &d->theory;
    json_t *critical = json_array();
    (void)s;
    for (size_t i = 0; i < t->n_critical; i++) {
        json_t *curve = json_array();
        for (size_t k = 0; k < t->critical[i].n; k++) {
            json_array_append_new(curve, json_pack("[o,o]", json_finite(t->critical[i].pair[k][0]),
                                                   json_finite(t->critical[i].pair[k][1])));
        }
        json_array_append_new(critical, json_pack("{s:o,s:o}", "activation", json_text(t->critical[i].activation),
                                                  "curve", curve));
    }
    json_t *scales = json_pack("{s:o,s:o,s:o}", "gradient", json_finite(t->gradient), "correlation",
                               json_finite(t->correlation), "length", json_finite(t->length));
    return json_pack("{s:b,s:o,s:o,s:o}", "applies", t->applies, "said", json_text(t->said), "depth_scales", scales,
                     "critical", critical);
}

json_t *shattering_json(const session *s, const cr_diagnosis *d)
{
    const cr_shattering *x = &d->shattering;
    (void)s;
    if (isnan(x->cosine)) return json_pack("{s:o,s:o}", "cosine", json_null(), "why", json_text(x->why));
    json_t *neighbours = json_pack("{s:o,s:o}", "cosine", json_finite(x->neighbours), "input_cosine",
                                   json_finite(x->neighbours_input));
    return json_pack("{s:o,s:o,s:o,s:o,s:I,s:o}", "cosine", json_finite(x->cosine), "input_cosine",
                     json_finite(x->input_cosine), "output_cosine", json_finite(x->output_cosine), "theory",
                     json_finite(x->theory), "pairs", (json_int_t)x->pairs, "neighbours", neighbours);
}

json_t *redraws_json(const session *s, const cr_diagnosis *d)
{
    (void)s;
    return json_integer((json_int_t)d->redraws);
}

json_t *cut_json(const session *s, const cr_diagnosis *d)
{
    json_t *list = json_array();
    (void)s;
    for (const char *at = d->skipped; *at;) {
        size_t n = strcspn(at, "\n");
        json_array_append_new(list, json_stringn(at, n));
        at += n + (at[n] == '\n');
    }
    return list;
}

/* ---- terminal ------------------------------------------------------------------------------------ */

/* As it is printed, but no -0.00. */
static double hundredths(double x) { return round(100 * x) / 100 + 0.0; }

/* The theory beside what was measured, in the layers between the first and the last: the mean gain of both. */
static void print_gains(const cr_diagnosis *d)
{
    double theory = 0, low = 0, high = 0, measured = 0;
    size_t n = 0;
    for (size_t i = 0; i < d->n_layers; i++) {
        const cr_flow_layer *l = &d->layer[i];
        if (!l->theory || !isfinite(l->ln_gain)) continue;
        theory += l->theory->ln_gain;
        low += l->theory->low;
        high += l->theory->high;
        measured += l->ln_gain;
        n++;
    }
    if (n == 0) return;
    double by = (double)n;
    printf("    theory: gain %.2f a layer (%.2f to %.2f at this width); measured %.2f, over %zu layer%s\n",
           hundredths(theory / by), hundredths(low / by), hundredths(high / by), hundredths(measured / by), n,
           n == 1 ? "" : "s");
    if (d->theory.gradient < 1000) printf("    theory: a factor of e every %.3g layers\n", d->theory.gradient);
}

void diagnosis_print_theory(const session *s, const cr_diagnosis *d)
{
    (void)s;
    if (isfinite(d->confidence)) {
        bool sure = d->confidence > 0.999;
        printf("    confidence %s%.1f %%, over samples", sure ? "above " : "", sure ? 99.9 : 100 * d->confidence);
        if (d->redraws) printf(" and %zu re-draw%s of the weights", d->redraws, d->redraws == 1 ? "" : "s");
        putchar('\n');
    }
    printf("    weights: %s%s\n", d->weights.state, d->weights.given ? ", as said" : "");
    if (d->theory.applies) print_gains(d);
    for (const char *at = d->skipped; *at;) {
        int n = (int)strcspn(at, "\n");
        printf("    left out: %.*s\n", n, at);
        at += n + (at[n] == '\n');
    }
}
