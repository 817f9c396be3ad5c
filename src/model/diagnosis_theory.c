/* The parts of a diagnosis that are about weights and theory, copied for the user. */
#include "model/diagnose.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static flow_weights_state state_of(const diagnosing *w)
{
    if (w->o->state == CR_WEIGHTS_INITIAL) return FLOW_INITIALISATION;
    return w->o->state == CR_WEIGHTS_TRAINED ? FLOW_TRAINED : w->weights.state;
}

bool diagnosis_layer_theory(diagnosing *w, size_t block, cr_flow_layer *out)
{
    const flow_prediction *p = &w->prediction[block];
    out->sampling_error = w->measured.tensor[w->f.block[block].out].error;
    out->redraw_spread = w->spread[block];
    if (p->why) {
        const net_node *node = &w->net.node[w->f.step[p->at].node];
        char text[256];
        snprintf(text, sizeof text, "%.40s \"%.80s\": %s", node->op, node->name, p->why);
        out->no_theory = diagnosis_text(w, text);
        return true;
    }
    cr_flow_theory *t = diagnosis_take(w, sizeof *t);
    if (!t) return false;
    *t = (cr_flow_theory){.ln_gain = p->ln_gain,
                          .low = p->low,
                          .high = p->high,
                          .weight_variance = p->sw2,
                          .bias_variance = p->sb2,
                          .length = p->length,
                          .chi = p->chi};
    if (p->activation != FLOW_NONE)
        t->activation = diagnosis_text(w, w->net.node[w->f.step[p->activation].node].op);
    out->theory = t;
    return true;
}

static bool put_weights(diagnosing *w, cr_weights_state *out)
{
    flow_weights_sign *found = mem_alloc(FLOW_EVIDENCE_MOST * sizeof *found);
    if (!found) {
        model_fail(w->m, CR_ENOMEM, "out of memory");
        return false;
    }
    size_t n = flow_weights_evidence(&w->weights, &w->net, found);
    cr_weights_evidence *list = diagnosis_take(w, n * sizeof *list);
    for (size_t i = 0; i < n && list; i++)
        list[i] = (cr_weights_evidence){diagnosis_text(w, found[i].text), found[i].fits};
    mem_free(found);
    *out = (cr_weights_state){flow_weights_state_name(state_of(w)), w->o->state != CR_WEIGHTS_TESTED, n, list};
    return list != NULL;
}

/* A line for each activation of a plain layer. */
static bool put_critical(diagnosing *w, cr_theory *t)
{
    enum { MOST = 8 };
    cr_critical_line *line = diagnosis_take(w, MOST * sizeof *line);
    t->critical = line;
    for (size_t i = 0; i < w->f.n_blocks && line && t->n_critical < MOST; i++) {
        const flow_prediction *p = &w->prediction[i];
        if (p->why || p->activation == FLOW_NONE) continue;
        const char *op = w->net.node[w->f.step[p->activation].node].op;
        bool again = false;
        for (size_t k = 0; k < t->n_critical && !again; k++) again = strcmp(line[k].activation, op) == 0;
        if (again) continue;
        double(*pair)[2] = diagnosis_take(w, FLOW_CRITICAL_POINTS * sizeof *pair);
        if (!pair) return false;
        size_t n = flow_critical_line(&w->f, p->activation, pair);
        line[t->n_critical++] = (cr_critical_line){diagnosis_text(w, op), n, (const double(*)[2])pair};
    }
    return line != NULL;
}

static bool put_theory(diagnosing *w, cr_theory *t)
{
    size_t with = 0;
    char said[320];
    mean_field_scales s;
    flow_prediction typical;
    for (size_t i = 0; i < w->f.n_blocks; i++) with += !w->prediction[i].why;
    flow_weights_state state = state_of(w);
    *t = (cr_theory){.applies = with > 0 && state == FLOW_INITIALISATION,
                     .gradient = NAN,
                     .correlation = NAN,
                     .length = NAN};
    if (with == 0) {
        snprintf(said, sizeof said, "no layer has a mean-field theory");
    } else if (t->applies) {
        snprintf(said, sizeof said,
                 "%zu of %zu layers have a mean-field theory; the weights are as they were drawn, so it predicts them",
                 with, w->f.n_blocks);
    } else {
        snprintf(said, sizeof said,
                 "the weights are %s: what theory says of %zu of %zu layers is what random weights of the same "
                 "variances would do, not a prediction for these",
                 state == FLOW_TRAINED ? "trained" : "not surely as they were drawn", with, w->f.n_blocks);
    }
    t->said = diagnosis_text(w, said);
    if (flow_predict_scales(&w->f, w->prediction, &s, &typical)) {
        t->gradient = s.xi_gradient;
        t->correlation = s.xi_correlation;
        t->length = s.xi_length;
    }
    return put_critical(w, t);
}

bool diagnosis_theory(diagnosing *w, cr_diagnosis *d)
{
    const flow_shattering *s = &w->shattering;
    d->confidence = w->verdict.confidence;
    d->redraws = w->redraws;
    d->skipped = diagnosis_text(w, sb_str(&w->cut));
    d->shattering = (cr_shattering){.cosine = s->cosine,
                                    .input_cosine = s->input_cosine,
                                    .output_cosine = s->seed_cosine,
                                    .theory = s->theory,
                                    .neighbours = s->neighbours,
                                    .neighbours_input = s->neighbours_input,
                                    .pairs = s->pairs,
                                    .why = s->why ? diagnosis_text(w, s->why) : NULL};
    return put_weights(w, &d->weights) && put_theory(w, &d->theory);
}
