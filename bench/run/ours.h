/* Ours: the cases as expressions (ours_graph.c, ours_resnet.c, ours_formula.c) and their life as plans (ours.c). */
#ifndef BENCH_OURS_H
#define BENCH_OURS_H

#include <chainrule.h>

enum { OURS_INPUTS = 192, OURS_OUTPUTS = 192 };

typedef enum ours_values {
    OURS_UNIFORM, /* middle + scale * a stream of worker.h */
    OURS_BITS,    /* 1 where the stream is positive */
    OURS_LABELS,  /* row b is one-hot at (7 b + 3) mod columns */
    OURS_BELOW    /* 1 below the diagonal of a square matrix */
} ours_values;

typedef struct ours_input {
    char name[16];
    ours_values values;
    unsigned stream;
    double middle, scale;
    size_t columns; /* of labels and of the square */
} ours_input;

/* An expression and what it takes: output[0] is the value, the others its derivatives. */
typedef struct ours_network {
    cr_graph *g;
    cr_precision precision;
    bool unrolled; /* recurrences written out */
    unsigned n_inputs, n_outputs, streams;
    ours_input input[OURS_INPUTS];
    cr_ref output[OURS_OUTPUTS];
} ours_network;

/* A parameter; its numbers are those of the next stream, 1, 2, ... */
cr_ref ours_next(ours_network *n, unsigned rank, const int64_t *shape, double scale, double middle);
/* A parameter of a given stream or kind of values. */
cr_ref ours_data(ours_network *n, ours_values values, unsigned stream, unsigned rank, const int64_t *shape,
                 double scale, double middle);
/* value, and its derivatives by n_wrt parameters, as outputs; recurrences are written out first, where the network
 * says so. */
void ours_value(ours_network *n, cr_ref value);
void ours_gradient(ours_network *n, cr_ref value, unsigned n_wrt, const cr_ref *wrt);

/* a, whose axes are the last of a tensor of the given shape, repeated along the others */
cr_ref ours_repeat(ours_network *n, cr_ref a, unsigned rank, const int64_t *shape);
cr_ref ours_scale(ours_network *n, double by, cr_ref a);
/* x W + b over the last axis of x */
cr_ref ours_affine(ours_network *n, cr_ref x, cr_ref w, cr_ref b);
/* over the last axis of x */
cr_ref ours_layer_norm(ours_network *n, cr_ref x, cr_ref gain, cr_ref shift);

/* -mean log p(label) of rows of z, labels as README.md says */
cr_ref ours_cross_entropy(ours_network *n, cr_ref z, int64_t rows, int64_t classes);

typedef void ours_build(ours_network *n, int which);
ours_build ours_mlp, ours_deep, ours_chain, ours_transformer, ours_elementwise, ours_softmax, ours_layer_norm_rows;
ours_build ours_softmax_back, ours_layer_norm_back;
ours_build ours_gmm, ours_lstm;
ours_build ours_jacobian; /* outputs: what is differentiated, and the variable */
ours_build ours_resnet; /* 18, 20, 50; the last without derivatives */

#endif
