/* What the tests of plans share: expressions through a plan, at every set of instructions and in both precisions,
 * against the reference interpreter. Programs with it are linked with `plan_wrap` (meson.build). */
#ifndef CR_TESTS_PLAN_CHECK_H
#define CR_TESTS_PLAN_CHECK_H

#include "exec/exec.h"

typedef struct plan_check {
    unsigned level;      /* of cr_plan_options */
    unsigned threads;
    bool deterministic;
    cr_precision precision;
    double tolerance;    /* of an entry, relative to the greatest in size ... */
    double magnitude;    /* ... and to this: what rounding errors on the way are relative to */
} plan_check;

/* Is what a plan of root[0..n-1] gives what exec_eval gives, run after run, without asking for memory? The values and
 * functions are those bound in env; `fault` gets what is wrong. Where the interpreter has no value, the plan or its run
 * has to say so. */
bool plan_agrees(cr_graph *g, exec_env *env, unsigned n, const cr_ref *root, const plan_check *how, char *fault,
                 size_t size);

#endif
