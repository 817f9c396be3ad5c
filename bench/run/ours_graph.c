/* The networks. Definitions are those of README.md; a network is built as a user would write it down. */
#include "ours.h"

#include <math.h>
#include <stdio.h>

/* ---- pieces ----------------------------------------------------------------------------------------- */

static cr_ref constant(ours_network *n, double v) { return cr_const(n->g, v); }

static void sizes(ours_network *n, unsigned rank, const int64_t *shape, cr_dim *to)
{
    for (unsigned i = 0; i < rank; i++) {
        to[i] = cr_dim_const(n->g, shape[i]);
    }
}

cr_ref ours_data(ours_network *n, ours_values values, unsigned stream, unsigned rank, const int64_t *shape,
                 double scale, double middle)
{
    if (n->n_inputs == OURS_INPUTS) {
        return CR_NONE; /* the next builder fails on it */
    }
    ours_input *in = &n->input[n->n_inputs++];
    *in = (ours_input){.values = values, .stream = stream, .middle = middle, .scale = scale,
                       .columns = rank ? (size_t)shape[rank - 1] : 1};
    snprintf(in->name, sizeof in->name, "p%u", n->n_inputs);
    cr_dim dim[CR_MAX_RANK];
    sizes(n, rank, shape, dim);
    return cr_param(n->g, in->name, rank, dim, 0);
}

cr_ref ours_next(ours_network *n, unsigned rank, const int64_t *shape, double scale, double middle)
{
    return ours_data(n, OURS_UNIFORM, ++n->streams, rank, shape, scale, middle);
}

void ours_value(ours_network *n, cr_ref value)
{
    n->output[n->n_outputs++] = n->unrolled ? cr_unroll(n->g, value) : value;
}

void ours_gradient(ours_network *n, cr_ref value, unsigned n_wrt, const cr_ref *wrt)
{
    ours_value(n, value);
    cr_reverse(n->g, n->output[0], constant(n, 1), n_wrt, wrt, n->output + n->n_outputs);
    n->n_outputs += n_wrt;
}

cr_ref ours_scale(ours_network *n, double by, cr_ref a) { return cr_mul(n->g, constant(n, by), a); }

cr_ref ours_repeat(ours_network *n, cr_ref a, unsigned rank, const int64_t *shape)
{
    unsigned own = cr_rank(n->g, a);
    uint8_t label[CR_MAX_RANK];
    cr_dim dim[CR_MAX_RANK];
    for (unsigned i = 0; i < own; i++) {
        label[i] = (uint8_t)(rank - own + i);
    }
    sizes(n, rank, shape, dim);
    return cr_einsum(n->g, 1, &a, label, rank, dim);
}

/* The shape of x with its last axis of size `last`; 0: without it */
static unsigned shape_like(ours_network *n, cr_ref x, cr_dim last, cr_dim *shape)
{
    unsigned rank = cr_rank(n->g, x);
    for (unsigned i = 0; i < rank; i++) {
        shape[i] = cr_size(n->g, x, i);
    }
    shape[rank - 1] = last;
    return last ? rank : rank - 1;
}

cr_ref ours_affine(ours_network *n, cr_ref x, cr_ref w, cr_ref b)
{
    cr_dim shape[CR_MAX_RANK];
    unsigned rank = shape_like(n, x, cr_size(n->g, w, 1), shape);
    uint8_t label[CR_MAX_RANK + 2], last = (uint8_t)(rank - 1);
    for (uint8_t i = 0; i < last; i++) {
        label[i] = i;
    }
    label[last] = label[rank] = (uint8_t)rank;
    label[rank + 1] = last;
    cr_ref product = cr_einsum(n->g, 2, (cr_ref[]){x, w}, label, rank, shape);
    return cr_add(n->g, product, cr_einsum(n->g, 1, &b, &last, rank, shape));
}

/* Sum over the last axis of a b; what every layer norm and score begins with */
static cr_ref dot_last(ours_network *n, unsigned count, const cr_ref *in)
{
    cr_dim shape[CR_MAX_RANK];
    unsigned rank = shape_like(n, in[0], 0, shape);
    uint8_t label[2 * CR_MAX_RANK];
    for (unsigned i = 0; i < count * (rank + 1); i++) {
        label[i] = (uint8_t)(i % (rank + 1));
    }
    return cr_einsum(n->g, count, in, label, rank, shape);
}

cr_ref ours_layer_norm(ours_network *n, cr_ref x, cr_ref gain, cr_ref shift)
{
    cr_graph *g = n->g;
    unsigned rank = cr_rank(g, x);
    cr_dim shape[CR_MAX_RANK], d = cr_size(g, x, rank - 1);
    shape_like(n, x, d, shape);
    int64_t entries = 1;
    cr_dim_value(g, d, &entries);
    uint8_t row[CR_MAX_RANK], label[2 * CR_MAX_RANK + 1], last = (uint8_t)(rank - 1);
    for (unsigned i = 0; i < rank; i++) {
        row[i] = (uint8_t)i;
    }
    cr_ref mean = ours_scale(n, 1.0 / (double)entries, dot_last(n, 1, &x));
    cr_ref c = cr_sub(g, x, cr_einsum(g, 1, &mean, row, rank, shape));
    cr_ref variance = ours_scale(n, 1.0 / (double)entries, dot_last(n, 2, (cr_ref[]){c, c}));
    cr_ref by = cr_div(g, constant(n, 1), cr_map(g, CR_OP_SQRT, cr_add(g, variance, constant(n, 1e-5))));
    for (unsigned i = 0; i < 2 * rank - 1; i++) {
        label[i] = (uint8_t)(i < rank ? i : i - rank);
    }
    label[2 * rank - 1] = last;
    cr_ref y = cr_einsum(g, 3, (cr_ref[]){c, by, gain}, label, rank, shape);
    return cr_add(g, y, cr_einsum(g, 1, &shift, &last, rank, shape));
}

typedef int64_t shape[4];

cr_ref ours_cross_entropy(ours_network *n, cr_ref z, int64_t rows, int64_t classes)
{
    cr_ref labels = ours_data(n, OURS_LABELS, 0, 2, (shape){rows, classes}, 1, 0);
    return ours_scale(n, -1.0 / (double)rows, cr_sum(n->g, cr_mul(n->g, labels, cr_logsoftmax(n->g, z, 1))));
}

/* ---- dense ------------------------------------------------------------------------------------------ */

void ours_mlp(ours_network *n, int which)
{
    (void)which;
    static const int64_t size[] = {784, 1024, 1024, 10};
    cr_ref wrt[6], h = ours_data(n, OURS_UNIFORM, 0, 2, (shape){128, size[0]}, 1, 0);
    for (unsigned i = 0; i < 3; i++) {
        wrt[2 * i] = ours_next(n, 2, (shape){size[i], size[i + 1]}, sqrt(6.0 / (double)size[i]), 0);
        wrt[2 * i + 1] = ours_next(n, 1, (shape){size[i + 1]}, 0.1, 0);
        h = ours_affine(n, i ? cr_map(n->g, CR_OP_RELU, h) : h, wrt[2 * i], wrt[2 * i + 1]);
    }
    ours_gradient(n, ours_cross_entropy(n, h, 128, 10), 6, wrt);
}

void ours_deep(ours_network *n, int which)
{
    (void)which;
    cr_ref wrt[100], h = ours_data(n, OURS_UNIFORM, 0, 2, (shape){128, 256}, 1, 0);
    for (unsigned i = 0; i < 100; i += 2) {
        wrt[i] = ours_next(n, 2, (shape){256, 256}, sqrt(3.0 / 256), 0);
        wrt[i + 1] = ours_next(n, 1, (shape){256}, 0.1, 0);
        h = cr_map(n->g, CR_OP_TANH, ours_affine(n, h, wrt[i], wrt[i + 1]));
    }
    ours_gradient(n, ours_scale(n, 1.0 / 128, cr_sum(n->g, cr_mul(n->g, h, h))), 100, wrt);
}

void ours_jacobian(ours_network *n, int which)
{
    (void)which;
    cr_ref x = ours_data(n, OURS_UNIFORM, 0, 2, (shape){1, 256}, 1, 0), h = x;
    for (unsigned i = 0; i < 50; i++) {
        cr_ref w = ours_next(n, 2, (shape){256, 256}, sqrt(3.0 / 256), 0);
        h = cr_map(n->g, CR_OP_TANH, ours_affine(n, h, w, ours_next(n, 1, (shape){256}, 0.1, 0)));
    }
    n->output[0] = h;
    n->output[1] = x;
    n->n_outputs = 2;
}

/* As a recurrence: o[0] = x, o[i] = sigmoid(w[i] o[i-1] + b[i]); its derivative is the closed form. Written out, it is
 * a graph of a thousand layers like any other. */
void ours_chain(ours_network *n, int batch)
{
    cr_graph *g = n->g;
    cr_dim zero = cr_dim_const(g, 0), one = cr_dim_const(g, 1), depth = cr_dim_const(g, 1000);
    cr_dim m = cr_dim_const(g, batch);
    unsigned rank = batch == 1 ? 0 : 1;
    cr_ref x = ours_data(n, OURS_UNIFORM, 0, rank, (shape){batch}, 1, 0);
    n->input[n->n_inputs++] = (ours_input){"w", OURS_UNIFORM, 1, 4, 0.08, 1};
    n->input[n->n_inputs++] = (ours_input){"b", OURS_UNIFORM, 2, -2, 0.04, 1};
    cr_ref wrt[] = {cr_param_family(g, "w", one, depth, 0, NULL, 0), cr_param_family(g, "b", one, depth, 0, NULL, 0)};
    cr_family o = cr_family_new(g, "o", rank, &m);
    cr_dim i = cr_dim_symbol(g, "i");
    cr_ref b = cr_pick(g, wrt[1], i);
    cr_ref s = cr_mul(g, cr_pick(g, wrt[0], i), cr_member(g, o, cr_dim_sub(g, i, one)));
    cr_family_define(g, o, "i", zero, zero, x);
    cr_family_define(g, o, "i", one, depth, cr_map(g, CR_OP_SIGMOID, cr_add(g, s, b)));
    cr_ref value = cr_sum(g, cr_member(g, o, depth));
    if (n->unrolled) {
        ours_gradient(n, value, 2, wrt);
        return;
    }
    ours_value(n, value);
    for (unsigned k = 0; k < 2; k++) {
        n->output[n->n_outputs++] = cr_derivative(g, value, wrt[k]);
    }
}

/* ---- transformer block ------------------------------------------------------------------------------ */

void ours_transformer(ours_network *n, int which)
{
    (void)which;
    enum { B = 16, T = 128, D = 256, H = 8, C = D / H, HIDDEN = 1024 };
    cr_graph *g = n->g;
    cr_ref p[16];
    cr_ref x = ours_data(n, OURS_UNIFORM, 0, 3, (shape){B, T, D}, 1, 0);
    for (unsigned i = 0; i < 16; i += 2) { /* norm, query, key, value, out, norm, up, down */
        bool norm = i == 0 || i == 10;
        int64_t rows = i == 14 ? HIDDEN : D, columns = i == 12 ? HIDDEN : D;
        p[i] = norm ? ours_next(n, 1, (shape){D}, 0.1, 1)
                    : ours_next(n, 2, (shape){rows, columns}, sqrt(3.0 / (double)rows), 0);
        p[i + 1] = ours_next(n, 1, (shape){columns}, 0.1, 0);
    }
    cr_dim heads[4], flat[3], scores[4];
    sizes(n, 4, (shape){B, T, H, C}, heads);
    sizes(n, 3, (shape){B, T, D}, flat);
    sizes(n, 4, (shape){B, H, T, T}, scores);
    cr_ref u = ours_layer_norm(n, x, p[0], p[1]), qkv[3];
    for (unsigned i = 0; i < 3; i++) {
        qkv[i] = cr_reshape(g, ours_affine(n, u, p[2 + 2 * i], p[3 + 2 * i]), 4, heads);
    }
    cr_ref score = cr_einsum(g, 2, qkv, (uint8_t[]){0, 2, 1, 4, 0, 3, 1, 4}, 4, scores);
    cr_ref share = cr_softmax(g, ours_scale(n, 1 / sqrt((double)C), score), 3);
    cr_ref mixed = cr_einsum(g, 2, (cr_ref[]){share, qkv[2]}, (uint8_t[]){0, 2, 1, 4, 0, 4, 2, 3}, 4, heads);
    cr_ref y = cr_add(g, x, ours_affine(n, cr_reshape(g, mixed, 3, flat), p[8], p[9]));
    cr_ref up = ours_affine(n, ours_layer_norm(n, y, p[10], p[11]), p[12], p[13]);
    cr_ref z = cr_add(g, y, ours_affine(n, cr_map(g, CR_OP_GELU, up), p[14], p[15]));
    ours_gradient(n, ours_scale(n, 1.0 / (B * T), cr_sum(g, cr_mul(g, z, z))), 16, p);
}

/* ---- rows ------------------------------------------------------------------------------------------- */

enum { ENTRIES = 1 << 24 };

void ours_elementwise(ours_network *n, int which)
{
    (void)which;
    cr_ref in[4];
    for (unsigned i = 0; i < 4; i++) {
        in[i] = ours_data(n, OURS_UNIFORM, i, 1, (shape){ENTRIES}, 3, 0);
    }
    cr_ref gate = cr_map(n->g, CR_OP_SIGMOID, cr_add(n->g, cr_mul(n->g, in[0], in[1]), in[2]));
    ours_value(n, cr_mul(n->g, gate, cr_map(n->g, CR_OP_TANH, in[3])));
}

static cr_ref rows_of(ours_network *n, unsigned stream, int row)
{
    return ours_data(n, OURS_UNIFORM, stream, 2, (shape){ENTRIES / row, row}, 3, 0);
}

/* sum of u y, and its derivatives: u is the cotangent of y */
static void back(ours_network *n, int row, cr_ref y, unsigned n_wrt, const cr_ref *wrt)
{
    ours_gradient(n, cr_sum(n->g, cr_mul(n->g, rows_of(n, 3, row), y)), n_wrt, wrt);
}

void ours_softmax(ours_network *n, int row) { ours_value(n, cr_softmax(n->g, rows_of(n, 0, row), 1)); }

void ours_softmax_back(ours_network *n, int row)
{
    cr_ref x = rows_of(n, 0, row);
    back(n, row, cr_softmax(n->g, x, 1), 1, &x);
}

/* of x, gain, shift */
static cr_ref normalised_rows(ours_network *n, int row, cr_ref *p)
{
    p[0] = rows_of(n, 0, row);
    p[1] = ours_next(n, 1, (shape){row}, 0.1, 1);
    p[2] = ours_next(n, 1, (shape){row}, 0.1, 0);
    return ours_layer_norm(n, p[0], p[1], p[2]);
}

void ours_layer_norm_rows(ours_network *n, int row)
{
    cr_ref p[3];
    ours_value(n, normalised_rows(n, row, p));
}

void ours_layer_norm_back(ours_network *n, int row)
{
    cr_ref p[3], y = normalised_rows(n, row, p);
    back(n, row, y, 3, p);
}
