/* The evidence of the weights' state, in words. */
#include "flow/weights.h"

#include <math.h>
#include <stdio.h>

static const char *kind_of(const flow_weight *w, bool many)
{
    if (w->norm) return many ? "parameters of normalisations" : "parameter of a normalisation";
    if (w->matrix) return many ? "matrices" : "matrix";
    return many ? "vectors" : "vector";
}

static bool alike(const flow_weight *a, const flow_weight *b)
{
    if (a->law != b->law || a->norm != b->norm || a->matrix != b->matrix || a->name != b->name) return false;
    return a->law != FLOW_LAW_CONSTANT || a->mean == b->mean;
}

static void say_law(const flow_weight *w, char *out, size_t size)
{
    static const char *const words[] = {"too few entries to tell",
                                        "constant",
                                        "independent, uniform within",
                                        "independent, normal of deviation",
                                        "independent, normal within two deviations of",
                                        "orthogonal, of length",
                                        "not as weights are drawn: neither independent and uniform or normal, nor "
                                        "orthogonal, nor constant"};
    if (w->law == FLOW_LAW_CONSTANT) {
        snprintf(out, size, "constant %.6g", w->mean);
    } else if (w->law == FLOW_LAW_NONE || w->law == FLOW_LAW_OTHER) {
        bool moved = w->law == FLOW_LAW_OTHER && w->norm;
        snprintf(out, size, "%s", moved ? "not the constants 1 and 0 of initialisation" : words[w->law]);
    } else if (w->name) {
        snprintf(out, size, "%s %s", words[w->law], w->name);
    } else {
        snprintf(out, size, "%s %.4g", words[w->law], w->scale);
    }
}

size_t flow_weights_evidence(const flow_weights *w, const network *n, flow_weights_sign out[FLOW_EVIDENCE_MOST])
{
    size_t count = 0, room = FLOW_EVIDENCE_MOST - 1;
    for (size_t i = 0; i < w->n; i++) {
        const flow_weight *x = &w->at[i];
        if (x->count == 0) continue;
        size_t k = 0;
        while (k < count && !alike(&w->at[out[k].first], x)) k++;
        if (k < count) {
            out[k].count++;
        } else if (count < room) {
            out[count++] = (flow_weights_sign){.count = 1, .first = i, .fits = x->law != FLOW_LAW_OTHER};
        }
    }
    for (size_t k = 0; k < count; k++) {
        const flow_weight *x = &w->at[out[k].first];
        char law[160];
        say_law(x, law, sizeof law);
        bool many = out[k].count > 1;
        snprintf(out[k].text, sizeof out[k].text, "%zu %s (%s`%.60s`): %s", out[k].count, kind_of(x, many),
                 many ? "the first is " : "", n->leaf[out[k].first].name, law);
    }
    if (w->n_spectra > 0) {
        flow_weights_sign *e = &out[count++];
        *e = (flow_weights_sign){.count = w->n_spectra, .first = FLOW_NONE, .fits = w->outlier <= 1};
        snprintf(e->text, sizeof e->text,
                 "singular values of %zu matri%s: the largest is %.2f of what the laws of Marchenko and Pastur, and of "
                 "Tracy and Widom, let independent entries have",
                 w->n_spectra, w->n_spectra > 1 ? "ces" : "x", w->outlier);
    }
    return count;
}
