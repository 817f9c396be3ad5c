/* Texts through plans, for tests that ask other things of a plan than its numbers. */
#ifndef CR_TESTS_PLAN_TEXT_H
#define CR_TESTS_PLAN_TEXT_H

#include "program/program.h"

/* The first statement of a text: its expression and, of a `derive`, the derivative by its first variable. */
typedef struct plan_text {
    cr_program *program;
    cr_graph *g;
    unsigned n;
    cr_ref root[2];
    cr_function_value phi; /* the value of a function `phi` without a body */
} plan_text;
void plan_text_open(plan_text *t, const char *text); /* fails the test if it cannot */
void plan_text_close(plan_text *t);

/* The plan for the sizes N, m and n; options->function is filled in. */
cr_status plan_text_plan(const plan_text *t, const int64_t size[3], cr_plan_options *options, cr_plan **plan);

/* Pointers of one run of a plan: values that depend on names and numbers only, positive and negative. Names that begin
 * with `at` have integers from 1 to 5. */
typedef struct plan_arrays {
    void **in, **out;
    unsigned n_in, n_out;
    size_t *bytes; /* of each output */
} plan_arrays;
void plan_arrays_init(plan_arrays *a, const cr_plan *p, cr_precision precision);
void plan_arrays_free(plan_arrays *a);
bool plan_arrays_equal(const plan_arrays *a, const plan_arrays *b); /* the same bits come out */
cr_status plan_arrays_run(const plan_arrays *a, const cr_plan *p, cr_slab *s);

#endif
