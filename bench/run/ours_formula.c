/* The objectives of ADBench as formulas; hand_gmm.c and hand_lstm.c state them. */
#include "ours.h"

#include <math.h>
#include <stdio.h>

typedef int64_t shape[4];

static const double pi = 3.14159265358979323846;

/* ---- GMM -------------------------------------------------------------------------------------------- */

/* log sum exp over the last axis, through the stable log-softmax: a[1] - logsoftmax(a)[1]; summed over the others */
static cr_ref log_sum_exp(cr_graph *g, cr_ref a)
{
    unsigned rank = cr_rank(g, a);
    cr_ref first = cr_onehot(g, cr_dim_const(g, 1), cr_size(g, a, rank - 1));
    cr_ref part = cr_sub(g, a, cr_logsoftmax(g, a, rank - 1));
    const uint8_t labels[] = {0, 1, 1};
    return cr_einsum(g, 2, (cr_ref[]){part, first}, rank == 1 ? labels + 1 : labels, 0, NULL);
}

void ours_gmm(ours_network *n, int gradient)
{
    enum { N = 1000, D = 32, K = 25, M = 2 };
    cr_graph *g = n->g;
    cr_ref alpha = ours_data(n, OURS_UNIFORM, 0, 1, (shape){K}, 1, 0);
    cr_ref mu = ours_data(n, OURS_UNIFORM, 1, 2, (shape){K, D}, 1, 0);
    cr_ref q = ours_data(n, OURS_UNIFORM, 2, 2, (shape){K, D}, 0.3, 0);
    cr_ref l = ours_data(n, OURS_UNIFORM, 3, 3, (shape){K, D, D}, 0.2, 0);
    cr_ref x = ours_data(n, OURS_UNIFORM, 4, 2, (shape){N, D}, 2, 0);
    cr_ref below = ours_data(n, OURS_BELOW, 0, 2, (shape){D, D}, 1, 0);
    cr_dim nd = cr_dim_const(g, N), k = cr_dim_const(g, K), d = cr_dim_const(g, D);

    cr_ref diagonal = cr_einsum(g, 2, (cr_ref[]){cr_map(g, CR_OP_EXP, q), cr_identity(g, d)}, (uint8_t[]){0, 1, 1, 2},
                                3, (cr_dim[]){k, d, d});
    cr_ref lower = cr_einsum(g, 2, (cr_ref[]){l, below}, (uint8_t[]){0, 1, 2, 1, 2}, 3, (cr_dim[]){k, d, d});
    cr_ref L = cr_add(g, lower, diagonal);
    cr_dim all[] = {nd, k, d};
    cr_ref centre = cr_einsum(g, 1, &mu, (uint8_t[]){1, 2}, 3, all);
    cr_ref c = cr_sub(g, cr_einsum(g, 1, &x, (uint8_t[]){0, 2}, 3, all), centre);
    cr_ref y = cr_einsum(g, 2, (cr_ref[]){L, c}, (uint8_t[]){1, 3, 2, 0, 1, 3}, 3, all);
    cr_ref square = cr_einsum(g, 2, (cr_ref[]){y, y}, (uint8_t[]){0, 1, 2, 0, 1, 2}, 2, all);
    cr_ref log_det = cr_einsum(g, 1, &q, (uint8_t[]){0, 1}, 1, &k);
    cr_ref offset = cr_add(g, alpha, log_det);
    cr_ref density = cr_sub(g, cr_einsum(g, 1, &offset, (uint8_t[]){1}, 2, all), ours_scale(n, 0.5, square));

    double nu = D + M + 1, log_gamma = D * (D - 1) / 4.0 * log(pi);
    for (int j = 0; j < D; j++) {
        log_gamma += lgamma((nu - j) / 2);
    }
    cr_ref term[] = {log_sum_exp(g, density), ours_scale(n, -N, log_sum_exp(g, alpha)), ours_scale(n, M, cr_sum(g, q)),
                     ours_scale(n, -0.5, cr_sum(g, cr_mul(g, L, L))),
                     cr_const(g, -N * D / 2.0 * log(2 * pi) - K * (nu * D * log(2) / 2 + log_gamma))};
    cr_ref value = cr_add_n(g, 5, term);
    if (gradient) {
        ours_gradient(n, value, 4, (cr_ref[]){alpha, mu, q, l});
    } else {
        ours_value(n, value);
    }
}

/* ---- LSTM ------------------------------------------------------------------------------------------- */

enum { LAYERS = 2, CELLS = 14, STEPS = 1023 };

/* Row k of a matrix of rows of CELLS, from 0 */
static cr_ref row(ours_network *n, cr_ref m, int64_t k)
{
    cr_graph *g = n->g;
    cr_dim cells = cr_dim_const(g, CELLS);
    cr_ref at = cr_onehot(g, cr_dim_const(g, k + 1), cr_size(g, m, 0));
    return cr_einsum(g, 2, (cr_ref[]){m, at}, (uint8_t[]){1, 0, 1}, 1, &cells);
}

/* gate k of layer j: W u + B, entry by entry */
static cr_ref gate(ours_network *n, cr_ref parameters, int64_t j, int64_t k, cr_ref u)
{
    cr_graph *g = n->g;
    return cr_add(g, cr_mul(g, u, row(n, parameters, 8 * j + k)), row(n, parameters, 8 * j + 4 + k));
}

/* Recurrences for the hidden state and the cell of each layer and for the running total; bits are a family of
 * parameters. */
void ours_lstm(ours_network *n, int gradient)
{
    cr_graph *g = n->g;
    cr_ref gates = ours_data(n, OURS_UNIFORM, 0, 2, (shape){8 * LAYERS, CELLS}, 1, 0);
    cr_ref extra = ours_data(n, OURS_UNIFORM, 1, 2, (shape){3, CELLS}, 1, 0);
    cr_ref state = ours_data(n, OURS_UNIFORM, 2, 2, (shape){2 * LAYERS, CELLS}, 1, 0);
    cr_dim one = cr_dim_const(g, 1), last = cr_dim_const(g, STEPS), cells = cr_dim_const(g, CELLS);
    cr_dim t = cr_dim_symbol(g, "t"), before = cr_dim_sub(g, t, one), zero = cr_dim_const(g, 0);
    n->input[n->n_inputs++] = (ours_input){"bit", OURS_BITS, 3, 0, 1, CELLS};
    cr_ref bits = cr_param_family(g, "bit", one, cr_dim_add(g, last, one), 1, &cells, 0);

    cr_ref u = cr_mul(g, cr_pick(g, bits, t), row(n, extra, 0));
    for (int64_t j = 0; j < LAYERS; j++) {
        cr_family h = cr_family_new(g, j ? "hb" : "ha", 1, &cells), c = cr_family_new(g, j ? "cb" : "ca", 1, &cells);
        cr_family_define(g, h, "t", zero, zero, row(n, state, 2 * j));
        cr_family_define(g, c, "t", zero, zero, row(n, state, 2 * j + 1));
        cr_ref hb = cr_member(g, h, before);
        cr_ref forget = cr_map(g, CR_OP_SIGMOID, gate(n, gates, j, 0, u));
        cr_ref in = cr_map(g, CR_OP_SIGMOID, gate(n, gates, j, 1, hb));
        cr_ref out = cr_map(g, CR_OP_SIGMOID, gate(n, gates, j, 2, u));
        cr_ref change = cr_map(g, CR_OP_TANH, gate(n, gates, j, 3, hb));
        cr_ref kept = cr_mul(g, cr_member(g, c, before), forget);
        cr_family_define(g, c, "t", one, last, cr_add(g, kept, cr_mul(g, in, change)));
        cr_family_define(g, h, "t", one, last, cr_mul(g, out, cr_map(g, CR_OP_TANH, cr_member(g, c, t))));
        u = cr_member(g, h, t);
    }
    cr_ref y = cr_add(g, cr_mul(g, u, row(n, extra, 1)), row(n, extra, 2));
    cr_ref now = cr_pick(g, bits, cr_dim_add(g, t, one));
    cr_ref norm = cr_map(g, CR_OP_LOG, cr_add(g, cr_const(g, 2), cr_sum(g, cr_map(g, CR_OP_EXP, y))));
    cr_ref gain = cr_sub(g, cr_sum(g, cr_mul(g, now, y)), cr_mul(g, cr_sum(g, now), norm));
    cr_family total = cr_family_new(g, "total", 0, NULL);
    cr_family_define(g, total, "t", zero, zero, cr_const(g, 0));
    cr_family_define(g, total, "t", one, last, cr_add(g, cr_member(g, total, before), gain));
    cr_ref value = ours_scale(n, -1.0 / (STEPS * CELLS), cr_member(g, total, last));
    if (!gradient) {
        ours_value(n, value);
    } else if (n->unrolled) {
        ours_gradient(n, value, 2, (cr_ref[]){gates, extra});
    } else {
        ours_value(n, value);
        n->output[n->n_outputs++] = cr_derivative(g, value, gates);
        n->output[n->n_outputs++] = cr_derivative(g, value, extra);
    }
}
