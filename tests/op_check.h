/* What the tests of the operator table share: a sample of every operator, a point of its domain, and the test of its
 * derivative rules. The loop over the table (test_ops.c) and the sabotage of it (test_sabotage.c) run the same test. */
#ifndef CR_TESTS_OP_CHECK_H
#define CR_TESTS_OP_CHECK_H

#include "exec/exec.h"
#include "lang/lang.h"

/* An expression in which an operator occurs, in the variables of op_variables, whose ranges are its domain. */
typedef struct op_sample {
    cr_op op;
    const char *text;
} op_sample;
extern const op_sample op_samples[]; /* end: CR_OP_NONE */

/* A point at which an operator is not smooth: the one-sided derivatives there along v and along -v, entry by entry of
 * the expression, are d/dt f(x + t v) and d/dt f(x - t v) for t -> 0+. The convention is what the formula gives. */
typedef struct op_kink {
    cr_op op;
    const char *text;  /* in x : R^3 */
    double at[3], v[3];
    double right, left; /* may be infinite; NaN: there is none */
    double convention;  /* derivative along v by the rules; NaN: not defined there */
} op_kink;
extern const op_kink op_kinks[]; /* end: CR_OP_NONE */

enum { CASE_MAX_VARS = 4 };

/* A sample made into a graph, at one point. */
typedef struct op_case {
    const char *text;
    cr_graph *g;
    lang_program *lang;
    exec_env *env;
    cr_ref y;
    unsigned n_vars;
    cr_ref var[CASE_MAX_VARS]; /* what y depends on */
    uint32_t random;
    char fault[1000]; /* what is wrong, "" if nothing */
} op_case;

bool case_open(op_case *c, const char *text); /* false: c->fault says why; close it in any case */
void case_close(op_case *c);
bool case_fault(op_case *c, const char *fmt, ...) CR_PRINTF(2, 3); /* keeps the first fault; false */
/* Another point of the domain: entries apart from each other and from 0, so off every kink. */
bool case_draw(op_case *c);
bool case_give(op_case *c, cr_ref param, const exec_array *a);
bool case_value(op_case *c, cr_ref a, exec_array *out); /* free out if true */
bool case_uses(op_case *c, cr_op op);
bool case_is_real(const op_case *c);
/* A parameter of shape K x shape(like) with random entries; its k leading sizes are 2, 3, ... */
cr_ref case_random_param(op_case *c, const char *name, cr_ref like, unsigned k);
/* Entries of a against b: |a - b| <= tolerance * (|b| + scale); NaN equals NaN. */
bool case_same(op_case *c, const char *what, const exec_array *a, const exec_array *b, double tolerance, double scale);

/* The derivative rules against numbers: reverse and forward against signed central differences (complex step where y is
 * analytic), and <u, J v> = <J' u, v>. */
bool check_gradient(op_case *c);

#endif
