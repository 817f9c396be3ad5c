/* What mean-field theory says of each block, from the variances of its weights and biases and its activation: a
 * statement about random weights of these variances, right where the weights are at initialisation. */
#ifndef CR_FLOW_PREDICT_H
#define CR_FLOW_PREDICT_H

#include "flow/factors.h"
#include "flow/mean_field.h"
#include "flow/weights.h"

typedef struct flow_prediction {
    double ln_gain, low, high; /* NaN: no theory; the band holds 95 % of networks of this width, for one sample */
    double sw2, sb2;           /* fan-in times the variance of the weights; variance of the biases */
    double length, chi;        /* variance at the activation, or behind the product; squared gain */
    size_t activation;         /* step; FLOW_NONE: none */
    bool plain;                /* a product and an activation, no more: depth scales are of such layers */
    double cosine;             /* of the cotangents of two inputs at the block's input, over that at its output; NaN */
    const char *why;           /* there is no theory; `at`: the step that it fails at */
    size_t at;
} flow_prediction;

/* For each block. cosine: of two inputs of the network, for the last field; NaN: none is asked for. */
cr_status flow_predict(const flow *f, const flow_measured *m, const flow_weights *w, double cosine,
                       flow_prediction *out, error *e);

/* Layers of one kind, in the end: of the commonest kind among the plain ones. False: there is none. */
bool flow_predict_scales(const flow *f, const flow_prediction *p, mean_field_scales *s, flow_prediction *typical);

enum { FLOW_CRITICAL_POINTS = 40 };
/* The line of critical variances of an activation (a step): pairs sb2, sw2, by growing sb2. How many. */
size_t flow_critical_line(const flow *f, size_t activation, double (*pair)[2]);

#endif
