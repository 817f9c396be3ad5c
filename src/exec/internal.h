/* Shared by the files of room exec: the environment, the schedule and the einsum plan. None of it depends on the scalar
 * type; what does is in the .inc files, which each of f64.c, complex.c and ray.c includes once. */
#ifndef CR_EXEC_INTERNAL_H
#define CR_EXEC_INTERNAL_H

#include "exec/exec.h"
#include "graph/window.h"

#define EXEC_MAX_ENTRIES ((int64_t)1 << 31)
#define EXEC_MAX_NESTING 100 /* binders within binders, functions within functions */

/* ---- environment (env.c) ----------------------------------------------------------------------- */

typedef struct exec_name { /* by dim_sym: names of integers and of parameters are in one table */
    bool known;      /* as an integer */
    int64_t v;
    cr_ref by;       /* the parameter whose shape told, CR_NONE if it was given directly */
    unsigned axis;
    bool bound;      /* as a parameter */
    exec_array array;
} exec_name;

typedef struct exec_callback { /* by cr_fun */
    exec_fun fn;
    void *user;
    cr_ref *body; /* derivatives of a known function's body by order; CR_NONE: not asked for yet */
    size_t n_body;
} exec_callback;

#define EXEC_SPARES 16
typedef struct exec_spare {
    void *p;
    size_t bytes;
} exec_spare;

struct exec_env {
    cr_graph *g;
    exec_name *name;
    size_t n_name, name_cap;
    exec_callback *fun;
    size_t n_fun, fun_cap;
    exec_spare spare[EXEC_SPARES];
    size_t member_loops, bind_loops; /* that have run (loop.h): for tests */
};

/* Memory for a table of an evaluation, at least `bytes`: of an earlier one if there is, since fresh memory costs more
 * than what is then written to it. exec_give returns it, mem_free ends it. NULL: out of memory. */
void *exec_take(exec_env *env, size_t bytes);
void exec_give(exec_env *env, void *p, size_t bytes);

/* Value of d; false with the graph's error set, naming the symbol that has none and `what` it was needed for. */
bool exec_dim(exec_env *env, cr_dim d, const char *what, int64_t *v);
/* The same for an index into 1..n. */
bool exec_index(exec_env *env, cr_dim d, int64_t n, int64_t *v);
/* Do the values of sizes fit what these families suppose? An error of the graph if not. */
bool exec_families_fit(exec_env *env, const cr_family *list, size_t n);
/* Sizes of r and their product, checked against EXEC_MAX_ENTRIES. */
bool exec_shape(exec_env *env, cr_ref r, int64_t *dim, size_t *n);
/* The entry of s, made if new; NULL: out of memory. Pointers live until the next call. */
exec_name *exec_name_of(exec_env *env, dim_sym s);
exec_callback *exec_callback_of(exec_env *env, cr_fun f);
/* order-th derivative of the body of known function f; CR_NONE with the graph's error set. */
cr_ref exec_function_body(exec_env *env, cr_fun f, unsigned order);
/* Array of a parameter, its shape checked; NULL with the graph's error set. */
const exec_array *exec_parameter(exec_env *env, cr_ref r);

/* ---- schedule (schedule.c) ---------------------------------------------------------------------- */

/* Nodes that are evaluated together, in ascending order: those of the expression itself, or those of the body of a
 * binder that depend on its symbol. The rest of a body belongs to an enclosing block, so it is computed once. */
typedef struct exec_block exec_block;
/* A sum or product over a range of which one end depends on enclosing binders (and the index of a definition) while the
 * other, the anchor, and the body do not: its values for all places of the other end build on each other. */
typedef enum exec_anchor { EXEC_ANCHOR_NONE, EXEC_ANCHOR_LO, EXEC_ANCHOR_HI } exec_anchor;
typedef struct exec_item {
    uint32_t node;     /* position in the cone */
    uint32_t uses;     /* by items of the same block; the value dies with the last */
    exec_block *child; /* of a BIND */
    exec_anchor anchor;
} exec_item;
struct exec_block {
    exec_item *item;
    size_t n, cap;
    uint32_t *outer; /* values that come from enclosing blocks, ascending */
    size_t n_outer, outer_cap;
};
typedef struct exec_schedule {
    cr_ref *cone; /* ascending */
    size_t n;
    bool *guarded; /* by ref, see graph_guarded */
    exec_block *root;
    exec_block *inner; /* of a function or a definition: what depends on its argument or index; root is then the rest of
                          what it needs */
} exec_schedule;

/* Schedule of expr; arg is the parameter that is a function's argument, or CR_NONE; index is the symbol of a family's
 * definition, or 0. The result is the last of the cone. */
bool exec_schedule_init(exec_schedule *s, cr_graph *g, cr_ref expr, cr_ref arg, dim_sym index);
void exec_schedule_free(exec_schedule *s);
uint32_t exec_position(const exec_schedule *s, cr_ref r);
/* Input i of r is looked at only through its type: deltas inside an einsum select and are never made. */
bool exec_is_delta(const cr_graph *g, cr_ref r, uint32_t i);

/* ---- einsum (einsum.c) -------------------------------------------------------------------------- */

/* Labels joined by deltas (IDENTITY) form one class; a class that a ONEHOT fixes is gone: it has become an offset. */
typedef struct ein_operand {
    uint32_t input; /* of the node; EIN_FACTOR: the number ein_plan.factor */
    uint64_t has;   /* classes, a bit set */
    int64_t offset;
    int64_t stride[EINSUM_MAX_LABELS]; /* by class; 0 where it has none. Repeated labels add up: a diagonal. */
} ein_operand;
#define EIN_FACTOR UINT32_MAX
typedef struct ein_loop {
    int64_t size, a, b, out;
} ein_loop;
typedef struct ein_step {
    uint32_t a, b; /* operands; b == EIN_FACTOR: none, a is summed and copied */
    bool sum;      /* several terms reach one entry */
    bool last;     /* writes the result */
    size_t n;      /* entries of the intermediate result */
    unsigned n_loops;
    ein_loop loop[EINSUM_MAX_LABELS]; /* outermost first */
    int64_t out_offset;
} ein_step;
typedef struct ein_plan {
    ein_operand *operand; /* n_in of them, then one for each step */
    size_t n_in, n_steps;
    ein_step *step;
    double factor;
    bool zero;    /* deltas contradict each other, or an empty sum: the result is 0 */
    bool scatter; /* not every entry of the result is written */
} ein_plan;
bool ein_plan_init(ein_plan *p, exec_env *env, cr_ref r);
bool ein_indices_in(exec_env *env, cr_ref r, bool *in); /* are the indices of its ONEHOTs in range? */
void ein_plan_free(ein_plan *p);

/* ---- windows (window.c) ------------------------------------------------------------------------- */

/* Entries of x, of the window and of y that meet, by window_slot: ascending in y, then in the window. */
typedef struct exec_meet {
    uint32_t at[3];
} exec_meet;
typedef struct exec_window {
    int64_t groups;
    size_t n[3]; /* entries of each slot on the axes of the window: a plane of it */
    size_t n_meet;
    exec_meet *meet;
} exec_window;
/* The sizes of each slot on the axes of the window, and how it moves, as numbers. */
typedef struct window_numbers {
    int64_t size[3][CR_MAX_RANK], stride[CR_MAX_RANK], dilation[CR_MAX_RANK], low[CR_MAX_RANK];
} window_numbers;
bool exec_window_numbers(exec_env *env, cr_ref r, const cr_window *w, window_numbers *n); /* false: as below */
bool exec_window_init(exec_window *v, exec_env *env, cr_ref r); /* false: the graph's error is set */
void exec_window_free(exec_window *v);

/* ---- the real kernels, for the value at t = 0 of a series (f64.c) -------------------------------- */
double exec_map1_f64(cr_op op, double z, const double *attr);
/* scratch: exec_linalg_room_f64(op, rows, cols) numbers */
size_t exec_linalg_room_f64(cr_op op, size_t rows, size_t cols);
void exec_linalg_f64(cr_op op, int64_t exponent, const double *a, size_t rows, size_t cols, double *out,
                     double *scratch);
/* PINV of a matrix whose entries are known to a relative eps. */
void exec_pinv_f64(const double *a, size_t rows, size_t cols, double eps, double *out, double *scratch);

#endif
