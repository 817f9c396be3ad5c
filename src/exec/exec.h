/* Room exec: numbers. The reference interpreter in plain C: doubles, doubles with an exponent of their own (for
 * products over many layers), complex numbers (for complex-step checks) and truncated power series t -> f(x + t v),
 * t > 0 (for one-sided derivatives). */
#ifndef CR_EXEC_H
#define CR_EXEC_H

#include "ops/ops.h"

typedef struct exec_array {
    unsigned rank;
    int64_t dim[CR_MAX_RANK];
    size_t n;      /* product of dim */
    double *value; /* row-major; booleans as 0 and 1 */
} exec_array;
/* Zeros; sizes are checked against overflow and 2^31 entries. */
bool exec_array_init(exec_array *a, unsigned rank, const int64_t *dim, error *e);
void exec_array_free(exec_array *a);

/* Values of parameters and integers for a graph. It keeps the memory of large tables of members from one evaluation to
 * the next. */
typedef struct exec_env exec_env;
exec_env *exec_env_new(cr_graph *g);
void exec_env_free(exec_env *env);
/* Copies a. The sizes in a bind the size symbols of the parameter's shape (solved for where linear in one unknown
 * symbol); a contradiction is CR_EVALUE with both named. */
cr_status exec_bind(exec_env *env, cr_ref param, const exec_array *a);
cr_status exec_bind_int(exec_env *env, dim_sym s, int64_t v);
bool exec_int(const exec_env *env, dim_sym s, int64_t *v);
const exec_array *exec_value(const exec_env *env, cr_ref param); /* NULL: not bound */
/* Unknown functions need one: k-th derivative of f at z. */
typedef double (*exec_fun)(void *user, unsigned order, double z);
cr_status exec_bind_fun(exec_env *env, cr_fun f, exec_fun fn, void *user);

/* Value of a. Missing values are named in the graph's error (CR_EVALUE). out is initialised by the call; free it. */
cr_status exec_eval(cr_graph *g, exec_env *env, cr_ref a, exec_array *out);
/* Values of n expressions: what families have in common is evaluated once. */
enum {
    EXEC_INTERPRET = 1, /* no loops (loop.h): the reference in all things */
    EXEC_REUSE = 2      /* out holds results of an earlier call (or zeros), whose memory is used again */
};
cr_status exec_eval_n(cr_graph *g, exec_env *env, unsigned flags, unsigned n, const cr_ref *a, exec_array *out);
/* Complex: parameter `param` gets imag[] added as imaginary part (n entries as in its value). re and im of the result.
 * Only for expressions without kinks and comparisons on their way (comparisons use the real part). */
cr_status exec_eval_complex(cr_graph *g, exec_env *env, cr_ref a, cr_ref param, const double *imag, exec_array *re,
                            exec_array *im);
/* The same in arithmetic whose exponents have no bounds: right where a double is 0, infinite or NaN on the way already.
 * Slower than exec_eval. Free it in any case. */
typedef struct exec_scaled {
    exec_array value;           /* as doubles: 0 or infinite where out of their range */
    exec_array sign, log10_abs; /* -1, 0, 1 (NaN: no number); -inf for 0 */
} exec_scaled;
cr_status exec_eval_scaled(cr_graph *g, exec_env *env, cr_ref a, exec_scaled *out);
void exec_scaled_free(exec_scaled *s);
/* One-sided derivative along v (n entries as in the value of param) at the bound point: d/dt f(x + t v) for t -> 0+,
 * from truncated series of order 4; the numbers bound are taken as exact. state[i]: 0 slope[i] is the derivative; 1
 * there is none (slope[i] is +-inf where f jumps or is infinitely steep, else NaN); 2 undecided, cannot tell.
 * near_kink > 0: the side taken at some kink rests on a rounding error, so the answer is not certain. */
typedef struct exec_ray {
    exec_array slope, value;
    exec_array error; /* bound of the rounding error of slope */
    unsigned char *state; /* per entry */
    size_t on_kink, near_kink; /* element-operators on, or within rounding of, a kink */
} exec_ray;
cr_status exec_one_sided(cr_graph *g, exec_env *env, cr_ref a, cr_ref param, const double *v, exec_ray *out);
void exec_ray_free(exec_ray *r);

#endif
