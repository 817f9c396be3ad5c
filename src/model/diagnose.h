/* A diagnosis in the making: diagnose.c measures, diagnosis.c copies what was found for the user. */
#ifndef CR_MODEL_DIAGNOSE_H
#define CR_MODEL_DIAGNOSE_H

#include "flow/verdict.h"
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
    arena *mem; /* the result's */
    error e;
} diagnosing;

/* The result, with memory of its own. Errors are the model's. */
cr_status diagnosis_make(diagnosing *w, cr_diagnosis **d);

/* The graph of the result, in w->mem. False: out of memory; the model has the error. */
bool diagnosis_graph(diagnosing *w, cr_flow_graph *out);

#endif
