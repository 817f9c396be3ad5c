/* What tests with graphs of their own share: a graph with values, and random numbers that are the same in every run. */
#ifndef CR_TESTS_FIXTURE_H
#define CR_TESTS_FIXTURE_H

#include "unit.h"

#include "exec/exec.h"

#include <stdio.h>

typedef struct fixture {
    cr_graph *g;
    exec_env *env;
    uint32_t random;
    unsigned n_params;
    cr_ref latest; /* parameter */
    char what[400]; /* for messages */
} fixture;

static inline fixture begin(uint32_t seed)
{
    fixture f = {.g = cr_graph_new(), .random = seed * 2654435761u + 1};
    f.env = exec_env_new(f.g);
    assert_non_null(f.env);
    return f;
}

static inline void end(fixture *f)
{
    exec_env_free(f->env);
    cr_graph_free(f->g);
}

static inline uint32_t roll(fixture *f, uint32_t n) /* 0..n-1, n up to 2^24 */
{
    f->random = f->random * 1664525u + 1013904223u;
    return (f->random >> 8) % n;
}

static inline cr_dim num(fixture *f, int64_t v) { return cr_dim_const(f->g, v); }

/* A new parameter, p0, p1, ... where `name` is NULL, and zeros of its sizes, which bind_values is to give it. */
static inline cr_ref new_param(fixture *f, const char *name, unsigned rank, const int64_t *size, exec_array *a)
{
    char number[20];
    cr_dim shape[CR_MAX_RANK];
    error e = {CR_OK, NULL};
    snprintf(number, sizeof number, "p%u", f->n_params++);
    for (unsigned i = 0; i < rank; i++) shape[i] = num(f, size[i]);
    assert_true(exec_array_init(a, rank, size, &e));
    return f->latest = cr_param(f->g, name ? name : number, rank, shape, 0);
}

static inline void bind_values(fixture *f, cr_ref r, exec_array *a) /* frees them */
{
    assert_int_equal(exec_bind(f->env, r, a), CR_OK);
    exec_array_free(a);
}

#endif
