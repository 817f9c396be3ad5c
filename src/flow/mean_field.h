/* Mean-field theory of wide networks with random weights (Schoenholz et al. 2017, "Deep Information Propagation";
 * docs/flow.md has the formulas). A layer is h = phi(z), z = W h' + b with Var W = sw2/fan-in, Var b = sb2; z is normal
 * with variance q, its length. Expectations are sums over Gauss-Legendre panels that begin at the kink of the argument:
 * Gauss-Hermite points converge like 1/n across a kink, these do not notice it. */
#ifndef CR_FLOW_MEAN_FIELD_H
#define CR_FLOW_MEAN_FIELD_H

#include "flow/scalar.h"

/* Of phi(z), z normal. */
typedef struct mean_field {
    double mean, square;   /* E phi, E phi^2 */
    double slope2, slope4; /* E phi'^2, E phi'^4 */
    double stretch;        /* d E[phi^2] / d variance = E[phi phi'' + phi'^2] */
} mean_field;
mean_field mean_field_at(const flow_scalar *phi, double mean, double variance);

/* Of two arguments with that mean and variance and a covariance: E[phi phi], E[phi' phi']. */
void mean_field_pair(const flow_scalar *phi, double mean, double variance, double covariance, double *product,
                     double *slopes);

/* The length to which layers of one kind converge, without a mean. 0: they shrink for ever; INFINITY: they grow. NaN:
 * every length stays as it is (ReLU with He's variance). */
double mean_field_length(const flow_scalar *phi, double sw2, double sb2);

/* What layers of one kind do in the end. NaN: there is no such number; INFINITY: at the critical point. */
typedef struct mean_field_scales {
    double q, chi;      /* length; squared gain of the gradient a layer */
    double correlation; /* of two inputs, to which all converge */
    double xi_gradient, xi_correlation, xi_length; /* layers, by a factor of e each: 1/|ln chi| and its kin */
} mean_field_scales;
mean_field_scales mean_field_scales_of(const flow_scalar *phi, double sw2, double sb2);

/* The variances at which chi is 1 at length q, and q is a fixed point. False: there are none. */
bool mean_field_critical(const flow_scalar *phi, double q, double *sw2, double *sb2);
/* The same for given sb2. */
bool mean_field_critical_weight(const flow_scalar *phi, double sb2, double *sw2, double *q);

/* Squared gain of a layer between two batch norms: E phi'^2 / Var phi. */
double mean_field_batch_norm(const flow_scalar *phi);

/* Wide ReLU layers with He's variance and two inputs with cosine c: how much of the cosine of the gradients a layer
 * leaves, and the cosine behind it (Cho and Saul 2009, arc-cosine kernels of order 0 and 1). */
double kappa0(double c);
double kappa1(double c);

#endif
