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
    flow f;
    flow_backward b;
    flow_measured measured;
    flow_gain *gain;
    double *weight, s_y;
    size_t *leaf_of; /* by ref: the parameter that it is, or is made of, + 1 */
    flow_verdict verdict;
    arena *mem; /* the result's */
    error e;
} diagnosing;

/* The result, with memory of its own. Errors are the model's. */
cr_status diagnosis_make(diagnosing *w, cr_diagnosis **d);

#endif
