/* A diagnosis as JSON: a function for each part of the document. */
#include "diagnose.h"

#include <math.h>
#include <string.h>

static const char *const factors[] = {"slope", "weight", "norm", "skip", "rest"};

static double log10_of(double ln) { return ln / log(10); }

/* <W, gradient>: null where it is beyond every number. */
static json_t *dot_json(const cr_flow_gradient *g)
{
    return json_finite(g->cosine == 0 ? 0 : g->cosine * exp(g->ln_norm + g->ln_weight_norm));
}

static json_t *layer_json(const cr_flow_layer *l)
{
    json_t *o = json_object(), *parameters = json_array(), *gradients = json_array(), *f = json_object();
    json_object_set_new(o, "name", json_text(l->name));
    json_object_set_new(o, "op", json_text(l->op));
    json_object_set_new(o, "lambda", json_finite(l->lambda));
    json_object_set_new(o, "log10_cotangent_in", json_finite(log10_of(l->ln_in)));
    json_object_set_new(o, "log10_cotangent_out", json_finite(log10_of(l->ln_out)));
    json_object_set_new(o, "ln_gain", json_finite(l->ln_gain));
    for (int k = 0; k < CR_FLOW_FACTORS; k++) json_object_set_new(f, factors[k], json_finite(l->factor[k]));
    json_object_set_new(o, "factors", f);
    json_object_set_new(o, "slope_mean_square", json_finite(l->slope_square));
    json_object_set_new(o, "saturated_fraction", json_finite(l->saturated));
    json_object_set_new(o, "dead_fraction", json_finite(l->dead));
    json_object_set_new(o, "activation",
                        json_pack("{s:o,s:o}", "mean", json_finite(l->mean), "std", json_finite(l->deviation)));
    for (size_t i = 0; i < l->n_gradients; i++) {
        const cr_flow_gradient *g = &l->gradient[i];
        json_array_append_new(parameters, json_text(g->parameter));
        json_array_append_new(gradients,
                              json_pack("{s:o,s:o,s:o,s:o}", "parameter", json_text(g->parameter), "log10_norm",
                                        json_finite(log10_of(g->ln_norm)), "log10_weight_norm",
                                        json_finite(log10_of(g->ln_weight_norm)), "cosine", json_finite(g->cosine)));
        json_object_set_new(json_array_get(gradients, i), "weight_dot_gradient", dot_json(g));
    }
    json_object_set_new(o, "theory", layer_theory_json(l));
    json_object_set_new(o, "no_theory", l->no_theory ? json_text(l->no_theory) : json_null());
    json_object_set_new(o, "lambda_error", json_pack("{s:o,s:o}", "samples", json_finite(l->sampling_error), "redraws",
                                                     json_finite(l->redraw_spread)));
    json_object_set_new(o, "parameters", parameters);
    json_object_set_new(o, "gradients", gradients);
    json_object_set_new(o, "children", children_json(l));
    if (l->spectrum) json_object_set_new(o, "spectrum", spectrum_of_json(l->spectrum));
    json_object_set_new(o, "zero_because", json_text(l->zero_because));
    if (l->after) json_object_set_new(o, "after_step", layer_json(l->after));
    return o;
}

static json_t *verdict_json(const session *s, const cr_diagnosis *d)
{
    (void)s;
    json_t *verdict = json_object(), *findings = json_array();
    for (size_t i = 0; i < d->n_findings; i++) {
        const cr_flow_finding *f = &d->finding[i];
        json_array_append_new(findings, json_pack("{s:s,s:o,s:o,s:o,s:o}", "status", f->status, "text",
                                                  json_text(f->text), "where", json_text(f->where), "value",
                                                  json_finite(f->value), "threshold", json_finite(f->threshold)));
    }
    json_object_set_new(verdict, "status", json_string(d->status));
    json_object_set_new(verdict, "sentence", json_text(d->sentence));
    json_object_set_new(verdict, "lambda_low", json_finite(d->low));
    json_object_set_new(verdict, "lambda_high", json_finite(d->high));
    json_object_set_new(verdict, "confidence", json_finite(d->confidence));
    json_object_set_new(verdict, "findings", findings);
    json_object_set_new(verdict, "evidence", evidence_json(d));
    return verdict;
}

const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static json_t *model_json(const session *s, const cr_diagnosis *d)
{
    return json_pack("{s:o,s:i,s:i,s:i}", "file", json_text(s->o->redact ? NULL : file_name(s->o->file)), "inputs",
                     (int)cr_model_count(s->m, CR_MODEL_INPUTS), "parameters",
                     (int)cr_model_count(s->m, CR_MODEL_PARAMETERS), "layers", (int)d->n_layers);
}

/* What may stand either way: NULL where the model has no such operator. */
static json_t *modes_json(const session *s, const cr_diagnosis *d)
{
    static const char *const norms[] = {NULL, "batch", "stored"};
    return json_pack("{s:o,s:o,s:f}", "batch_norm", json_text(norms[d->norms]), "dropout",
                     json_text(!d->has_dropout ? NULL : s->o->dropout ? "on" : "off"), "loss_scale",
                     s->o->loss_scale > 0 ? s->o->loss_scale : 1.0);
}

static json_t *gates_json(const session *s, const cr_diagnosis *d)
{
    json_t *gates = json_array();
    (void)s;
    for (size_t i = 0; i < d->n_gates; i++) json_array_append_new(gates, json_text(d->gate[i]));
    return gates;
}

static json_t *data_json(const session *s, const cr_diagnosis *d)
{
    return json_pack("{s:i,s:i,s:s}", "samples", (int)d->samples, "batch", (int)d->samples, "source",
                     strcmp(s->o->data, "random") ? "file" : "random");
}

static json_t *loss_json(const session *s, const cr_diagnosis *d)
{
    static const char *const loss[] = {"auto", "ce", "mse", "bce", "l1", "none"};
    (void)s;
    return json_pack("{s:s,s:o,s:o}", "kind", loss[d->kind], "value", json_finite(d->loss), "said", json_text(d->said));
}

static json_t *export_json(const session *s, const cr_diagnosis *d)
{
    json_t *export = json_array();
    (void)d;
    for (size_t i = 0; i < cr_model_notices(s->m); i++) {
        json_array_append_new(export, json_pack("{s:s,s:o}", "kind", cr_model_notice_kind(s->m, i), "text",
                                                json_text(s->o->redact ? NULL : cr_model_notice_text(s->m, i))));
    }
    return export;
}

static json_t *layers_json(const session *s, const cr_diagnosis *d)
{
    json_t *layers = json_array();
    (void)s;
    for (size_t i = 0; i < d->n_layers; i++) json_array_append_new(layers, layer_json(&d->layer[i]));
    return layers;
}

/* Recurrent layers. */
static json_t *time_json(const session *s, const cr_diagnosis *d)
{
    json_t *times = json_array();
    (void)s;
    for (size_t i = 0; i < d->n_times; i++) {
        const cr_flow_time *t = &d->time[i];
        json_t *curve = json_array();
        for (size_t k = 0; k < t->steps; k++) json_array_append_new(curve, json_finite(t->curve[k]));
        json_array_append_new(
            times, json_pack("{s:o,s:o,s:s,s:i,s:o,s:o,s:o,s:{s:o,s:o,s:o,s:o},s:o}", "name", json_text(t->name), "op",
                             json_text(t->op), "direction", t->direction, "steps", (int)t->steps, "ln_gain",
                             json_finite(t->ln_gain), "lambda_low", json_finite(t->low), "lambda_high",
                             json_finite(t->high), "factors", "slope", json_finite(t->slope), "weight",
                             json_finite(t->weight), "gate", json_finite(t->gate), "rest", json_finite(t->rest),
                             "curve", curve));
    }
    return times;
}

static json_t *graph_json(const session *s, const cr_diagnosis *d)
{
    json_t *nodes = json_array(), *edges = json_array();
    (void)s;
    for (size_t i = 0; i < d->graph.n_nodes; i++) {
        const cr_flow_node *n = &d->graph.node[i];
        json_t *layer = n->layer == SIZE_MAX ? json_null() : json_integer((json_int_t)n->layer);
        json_array_append_new(nodes, json_pack("{s:o,s:o,s:o}", "name", json_text(n->name), "op", json_text(n->op),
                                               "layer", layer));
    }
    for (size_t i = 0; i < d->graph.n_edges; i++) {
        const cr_flow_edge *e = &d->graph.edge[i];
        json_array_append_new(edges, json_pack("{s:I,s:I,s:o,s:o}", "from", (json_int_t)e->from, "to",
                                               (json_int_t)e->to, "tensor", json_text(e->tensor), "log10_cotangent",
                                               json_finite(log10_of(e->ln_cotangent))));
    }
    return json_pack("{s:o,s:o}", "nodes", nodes, "edges", edges);
}

/* The parts of the document. One that is NULL was not measured, and is null. */
static const struct part {
    const char *key;
    json_t *(*make)(const session *s, const cr_diagnosis *d);
} parts[] = {
    {"model", model_json}, {"verdict", verdict_json}, {"data", data_json}, {"loss", loss_json},
    {"modes", modes_json}, {"closed_gates", gates_json}, {"export", export_json}, {"layers", layers_json},
    {"time", time_json},
    {"weights_state", weights_json}, {"theory", theory_json}, {"shattering", shattering_json},
    {"redraws", redraws_json}, {"cut", cut_json},
    {"graph", graph_json},
    {"paths", paths_json}, {"spectrum", spectrum_json}, {"number_format", formats_json}, {"balance", balance_json},
    {"thresholds", thresholds_json},
};

void diagnosis_json(const session *s, const cr_diagnosis *d, json_t *doc)
{
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        json_t *part = parts[i].make(s, d);
        json_object_set_new(doc, parts[i].key, part ? part : json_null());
    }
}

json_t *history_json(const session *s, cr_diagnosis *const *d)
{
    json_t *history = json_array();
    for (size_t i = 0; i < s->o->weights.n; i++) {
        json_t *lambda = json_array();
        for (size_t k = 0; k < d[i]->n_layers; k++)
            json_array_append_new(lambda, json_finite(d[i]->layer[k].lambda));
        json_array_append_new(history, json_pack("{s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:o}", "checkpoint",
                                                 json_text(s->o->redact ? NULL : file_name(s->o->weights.item[i])),
                                                 "status", d[i]->status, "sentence", json_text(d[i]->sentence), "loss",
                                                 json_finite(d[i]->loss), "lambda_low", json_finite(d[i]->low),
                                                 "lambda_high", json_finite(d[i]->high), "kept",
                                                 json_text(*d[i]->kept ? d[i]->kept : NULL), "lambda", lambda));
    }
    return history;
}
