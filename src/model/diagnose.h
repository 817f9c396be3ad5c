/* A diagnosis in the making: diagnose.c measures, diagnosis.c copies what was found for the user. */
#ifndef CR_MODEL_DIAGNOSE_H
#define CR_MODEL_DIAGNOSE_H

#include "flow/time.h"
#include "flow/budget.h"
#include "flow/predict.h"
#include "flow/probe.h"
#include "flow/shatter.h"
#include "flow/evidence.h"
#include "flow/paths.h"
#include "flow/spectrum.h"
#include "model/model.h"

typedef struct diagnosing {
    cr_model *m;
    const cr_diagnose_options *o;
    const cr_model_run_options *run;
    model_feed feed;
    size_t batch;
    network net;
    net_loss loss;
    strbuf kept; /* parameters that a checkpoint does not have */
    flow f;
    flow_backward b;
    flow_times times;
    flow_measured measured;
    flow_gain *gain;
    double *weight, s_y;
    size_t *input_of; /* by leaf: the input of the feed that it is + 1 */
    size_t n_input_of;
    size_t *leaf_of;  /* of flow_leaves */
    flow_zeros zeros;
    flow_measured after; /* one small step on the closed gates; tensor NULL: none is closed */
    flow_gain *gain_after;
    bool drops, norms; /* the model has dropout, batch norms */
    flow_verdict verdict;
    flow_weights weights;
    flow_prediction *prediction; /* by block */
    flow_shattering shattering;
    double *spread; /* by block: of Lambda over re-draws; NaN */
    size_t redraws;
    flow_budget budget;
    strbuf cut; /* what there was no time for */
    flow_tails tails;
    flow_formats formats;
    flow_balance balance;
    flow_evidence evidence[FLOW_EVIDENCE];
    size_t n_evidence;
    flow_paths paths;
    size_t path_samples;
    const char *no_paths; /* why they are cut or left out; NULL: they are not */
    flow_spectra spectra;
    bool has_spectra;
    const char *no_spectra;
    arena *mem; /* the result's */
    error e;
} diagnosing;

/* The network of `batch` samples with its loss, in net and loss; and its data for a runner (user: the diagnosing). */
cr_status diagnosing_network(diagnosing *w);
cr_status diagnosing_feed(void *user, net_runner *r, error *e);
/* Behind the verdict: shattered gradients, re-drawn weights, confidence (probing.c). */
cr_status diagnosing_probe(diagnosing *w);

/* Parts of the result (diagnosis_theory.c). False: out of memory, noted in the model. */
void *diagnosis_take(diagnosing *w, size_t n);
const char *diagnosis_text(diagnosing *w, const char *s);
bool diagnosis_theory(diagnosing *w, cr_diagnosis *d);
bool diagnosis_layer_theory(diagnosing *w, size_t block, cr_flow_layer *out);

/* The result, with memory of its own. Errors are the model's. */
cr_status diagnosis_make(diagnosing *w, cr_diagnosis **d);

/* The graph of the result, in w->mem. False: out of memory; the model has the error. */
bool diagnosis_graph(diagnosing *w, cr_flow_graph *out);

/* Beside the verdict: number formats, balance, evidence; paths through skips and spectra, on a few samples. */
cr_status diagnosing_ask(diagnosing *w); /* before the pass is measured */
cr_status diagnosing_more(diagnosing *w, const flow_case *c);
void diagnosing_more_free(diagnosing *w);
/* Of it in the result. false: out of memory. */
bool diagnosis_put_more(diagnosing *w, cr_diagnosis *d, cr_flow_layer *layer);

#endif
