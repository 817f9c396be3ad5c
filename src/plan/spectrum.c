/* Singular values of a Jacobian: expressions for it or for products with it, their plans, and what is done with their
 * results (kernel/lapack.h, kernel/lanczos.h). */
#include "calculus/depth.h"
#include "calculus/walk.h"
#include "exec/internal.h"
#include "kernel/lanczos.h"
#include "plan/plan.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { WHOLE = 512, BLOCK = 8, STEPS = 16, SPACE_FOR_EACH = 8 };
#define TOLERANCE 1e-6
#define SEED UINT32_MAX /* an input that is not the caller's */

/* J itself, or a product with a block of vectors. */
typedef struct product {
    cr_plan *plan;  /* NULL: structurally zero */
    uint32_t *from; /* by input of the plan: the spectrum's, or SEED */
} product;

struct cr_spectrum {
    size_t rows, columns, count;
    bool whole;
    bool zero; /* structurally: there is nothing to run */
    bool wide; /* what steps are made with is the transpose of J */
    kern_dtype dtype;
    product product[2]; /* J; or J v and J' u */
    const plan_port **input; /* of one of the plans */
    size_t n_inputs;
    lapack_plan values;
    lanczos lanczos;
    size_t slab; /* bytes: the slab of the plans, then what lies at ... */
    size_t at_in, at_bound, at_matrix, at_more, at_scratch;
};

/* ---- expressions -------------------------------------------------------------------------------- */

static bool sizes(cr_graph *g, cr_ref y, cr_ref x, unsigned n_sizes, const cr_size_value *size, cr_spectrum *s)
{
    int64_t dim[CR_MAX_RANK];
    exec_env *env = exec_env_new(g);
    bool ok = env && plan_bind_sizes(g, env, n_sizes, size) && exec_shape(env, y, dim, &s->rows) &&
              exec_shape(env, x, dim, &s->columns);
    if (!env) graph_fail(g, CR_ENOMEM, "out of memory");
    exec_env_free(env);
    return ok;
}

/* J in the mode that has fewer vectors, with rows and columns, or their transpose. */
static cr_ref whole_matrix(cr_graph *g, cr_ref y, cr_ref x, const cr_spectrum *s)
{
    cr_ref seed, j = CR_NONE;
    if (depth_rests_on(g, y, x)) return depth_partial(g, y, &(calc_wrt){.var = x});
    if (s->rows <= s->columns) {
        cr_reverse(g, y, calc_identity(g, y), 1, &x, &j);
        return j;
    }
    seed = calc_identity(g, x);
    return cr_forward(g, y, 1, &x, &seed);
}

/* A block of vectors of the shape of a. */
static cr_ref vectors(cr_graph *g, cr_ref a, size_t block)
{
    cr_dim dim[CR_MAX_RANK];
    const cr_shape *s = shape_of(g, a);
    dim_sym name = fresh_symbol(g, "v");
    if (!name) return graph_fail(g, CR_ENOMEM, "out of memory");
    if (s->rank == CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a derivative of more than %d axes", CR_MAX_RANK);
    dim[0] = cr_dim_const(g, (int64_t)block);
    memcpy(dim + 1, s->dim, s->rank * sizeof *dim);
    return cr_param(g, name_text(g->dims, name), s->rank + 1u, dim, 0);
}

/* ---- making ------------------------------------------------------------------------------------- */

static uint32_t input_of(cr_spectrum *s, const plan_port *port)
{
    for (size_t i = 0; i < s->n_inputs; i++) {
        if (!strcmp(s->input[i]->name, port->name)) return (uint32_t)i;
    }
    s->input[s->n_inputs] = port;
    return (uint32_t)s->n_inputs++;
}

static bool make_plan(cr_graph *g, cr_spectrum *s, product *p, cr_ref root, cr_ref seed, unsigned n_sizes,
                      const cr_size_value *size, const cr_plan_options *options)
{
    if (cr_graph_status(g) != CR_OK) return false;
    if (!root) return true;
    if (cr_plan_new(g, 1, &root, n_sizes, size, options, &p->plan) != CR_OK) return false;
    size_t n = p->plan->n_input;
    p->from = mem_alloc((n + 1) * sizeof *p->from);
    const plan_port **input = mem_realloc(s->input, (s->n_inputs + n + 1) * sizeof *input);
    if (input) s->input = input;
    if (!p->from || !input) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const plan_port *port = &p->plan->input[i];
        p->from[i] = port->ref == seed ? SEED : input_of(s, port);
    }
    s->dtype = p->plan->dtype;
    return true;
}

static size_t room(cr_spectrum *s, size_t bytes)
{
    size_t at = s->slab;
    s->slab += (bytes + 63) / 64 * 64;
    return at;
}

/* The slab: those of the plans, which run one at a time; pointers to the inputs of one; and what follows. */
static void begin_slab(cr_spectrum *s)
{
    size_t n = 0;
    for (unsigned i = 0; i < 2; i++) {
        const cr_plan *p = s->product[i].plan;
        s->slab = p && p->slab > s->slab ? p->slab : s->slab;
        n = p && p->n_input > n ? p->n_input : n;
    }
    s->slab = (s->slab + 63) / 64 * 64;
    s->at_in = room(s, n * sizeof(void *));
    s->at_bound = room(s, s->count * sizeof(double));
}

static bool make_whole(cr_graph *g, cr_spectrum *s, cr_ref y, cr_ref x, unsigned n_sizes, const cr_size_value *size,
                       const cr_plan_options *options)
{
    error e = {CR_OK, NULL};
    cr_ref j = whole_matrix(g, y, x, s);
    if (!make_plan(g, s, &s->product[0], j, CR_NONE, n_sizes, size, options)) return false;
    begin_slab(s);
    s->zero = !j;
    if (s->zero) return true;
    bool transposed = s->rows > s->columns && !depth_rests_on(g, y, x);
    size_t m = transposed ? s->columns : s->rows, n = transposed ? s->rows : s->columns;
    /* One thread: two are no faster below some hundred rows, and many times slower on a machine with other work. */
    if (lapack_plan_init(&s->values, LAPACK_VALUES, s->dtype, m, n, 0, 1, &e) != CR_OK) {
        graph_fail(g, e.status, "%s", err_message(&e));
        err_clear(&e);
        return false;
    }
    s->at_matrix = room(s, m * n * kern_size(s->dtype));
    s->at_more = room(s, (m < n ? m : n) * kern_size(s->dtype));
    s->at_scratch = room(s, s->values.scratch);
    return true;
}

static bool make_steps(cr_graph *g, cr_spectrum *s, cr_ref y, cr_ref x, unsigned n_sizes, const cr_size_value *size,
                       const cr_spectrum_options *o)
{
    size_t rank = s->rows < s->columns ? s->rows : s->columns;
    size_t block = o->block ? o->block : BLOCK, steps = o->steps;
    block = block < rank ? block : rank;
    if (steps == 0) {
        steps = (SPACE_FOR_EACH * s->count + block - 1) / block;
        steps = steps > STEPS ? steps : STEPS;
    }
    if (steps > (rank + block - 1) / block) steps = (rank + block - 1) / block;
    if (block * steps < s->count) {
        graph_fail(g, CR_EARG, "%zu steps of %zu vectors give no %zu singular values", steps, block, s->count);
        return false;
    }
    if (depth_rests_on(g, y, x)) {
        graph_fail(g, CR_EUNSUPPORTED, "products with the derivative of a recurrence need it written out (cr_unroll)");
        return false;
    }
    s->wide = s->columns > s->rows;
    cr_ref v = vectors(g, x, block), u = vectors(g, y, block), jv = CR_NONE, ju = CR_NONE;
    if (v && u) jv = cr_forward(g, y, 1, &x, &v);
    if (v && u && cr_graph_status(g) == CR_OK) cr_reverse(g, y, u, 1, &x, &ju);
    if (!make_plan(g, s, &s->product[0], jv, v, n_sizes, size, o->plan) ||
        !make_plan(g, s, &s->product[1], ju, u, n_sizes, size, o->plan)) {
        return false;
    }
    begin_slab(s);
    s->zero = !jv || !ju;
    if (s->zero) return true;
    const cr_plan *p = s->product[0].plan;
    lanczos_shape shape = {.m = s->wide ? s->columns : s->rows, .n = s->wide ? s->rows : s->columns, .k = s->count,
                           .block = block, .steps = steps, .tolerance = o->tolerance > 0 ? o->tolerance : TOLERANCE,
                           .seed = o->seed,
                           .gemm = {.level = p->level, .threads = p->threads}};
    error e = {CR_OK, NULL};
    if (lanczos_init(&s->lanczos, &shape, &e) != CR_OK) {
        graph_fail(g, e.status, "%s", err_message(&e));
        err_clear(&e);
        return false;
    }
    size_t narrow = s->dtype == KERN_F32 ? block * sizeof(float) : 0; /* vectors, in and out */
    s->at_matrix = room(s, narrow * s->rows);
    s->at_more = room(s, narrow * s->columns);
    s->at_scratch = room(s, s->lanczos.scratch);
    return true;
}

static cr_status check(cr_graph *g, cr_ref y, cr_ref x)
{
    if (cr_graph_status(g) != CR_OK) return cr_graph_status(g);
    if (!valid(g, y) || !valid(g, x)) {
        graph_fail(g, CR_EARG, "there is no such expression");
    } else if (op_of(g, x) != CR_OP_PARAM) {
        graph_fail(g, CR_EARG, "a derivative is taken with respect to a variable");
    } else if (shape_of(g, y)->dtype != CR_REAL) {
        graph_fail(g, CR_ESHAPE, "a condition has no derivative");
    }
    return cr_graph_status(g);
}

cr_status cr_spectrum_new(cr_graph *g, cr_ref y, cr_ref x, unsigned n_sizes, const cr_size_value *size,
                          const cr_spectrum_options *options, cr_spectrum **out)
{
    const cr_spectrum_options o = options ? *options : (cr_spectrum_options){0};
    *out = NULL;
    cr_status status = check(g, y, x);
    if (status != CR_OK) return status;
    cr_spectrum *s = mem_zalloc(1, sizeof *s);
    if (!s) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    bool ok = sizes(g, y, x, n_sizes, size, s);
    size_t rank = s->rows < s->columns ? s->rows : s->columns;
    size_t small = o.whole ? o.whole : o.k < WHOLE / 4 ? WHOLE : 4 * (size_t)o.k;
    s->count = o.k && o.k < rank ? o.k : rank;
    s->whole = s->count == rank || rank <= small;
    s->zero = rank == 0;
    if (ok && rank > 0) {
        ok = s->whole ? make_whole(g, s, y, x, n_sizes, size, o.plan) : make_steps(g, s, y, x, n_sizes, size, &o);
    }
    size_t limit = o.plan ? o.plan->max_bytes : 0;
    if (ok && limit && s->slab > limit) {
        graph_fail(g, CR_ELIMIT, "the spectrum needs %zu bytes of memory; %zu are allowed", s->slab, limit);
    }
    status = cr_graph_status(g);
    if (status == CR_OK && !ok) status = CR_EINTERNAL;
    if (status == CR_OK) *out = s;
    else cr_spectrum_free(s);
    return status;
}

void cr_spectrum_free(cr_spectrum *s)
{
    if (!s) return;
    for (unsigned i = 0; i < 2; i++) {
        cr_plan_free(s->product[i].plan);
        mem_free(s->product[i].from);
    }
    lanczos_free(&s->lanczos);
    mem_free(s->input);
    mem_free(s);
}

/* ---- asking ------------------------------------------------------------------------------------- */

size_t cr_spectrum_rows(const cr_spectrum *s) { return s->rows; }
size_t cr_spectrum_columns(const cr_spectrum *s) { return s->columns; }
size_t cr_spectrum_count(const cr_spectrum *s) { return s->count; }
bool cr_spectrum_whole(const cr_spectrum *s) { return s->whole; }
unsigned cr_spectrum_inputs(const cr_spectrum *s) { return (unsigned)s->n_inputs; }
const char *cr_spectrum_input_name(const cr_spectrum *s, unsigned i)
{
    return i < s->n_inputs ? s->input[i]->name : NULL;
}
size_t cr_spectrum_input_count(const cr_spectrum *s, unsigned i) { return i < s->n_inputs ? s->input[i]->n : 0; }

int cr_spectrum_input(const cr_spectrum *s, const char *name)
{
    for (size_t i = 0; i < s->n_inputs; i++) {
        if (!strcmp(s->input[i]->name, name)) return (int)i;
    }
    return -1;
}

cr_slab *cr_spectrum_slab(const cr_spectrum *s) { return plan_slab_new(s->slab); }

/* ---- running ------------------------------------------------------------------------------------ */

typedef struct run {
    const cr_spectrum *s;
    char *slab;
    const void *const *in;
    cr_status *status; /* CR_EVALUE: an index among the inputs is out of range */
} run;

static void run_product(const run *r, const product *p, const void *seed, void *out)
{
    const void **in = (const void **)(void *)(r->slab + r->s->at_in);
    for (size_t i = 0; i < p->plan->n_input; i++) in[i] = p->from[i] == SEED ? seed : r->in[p->from[i]];
    plan_run_all(&(plan_run){.plan = p->plan, .slab = r->slab, .in = in, .out = &out, .status = r->status});
}

static bool is_finite(kern_dtype t, kern_level level, size_t n, const void *a)
{
    const kern_table *kern = kern_table_of(t, level);
    union { float f32; double f64; } high, low; /* NaN if there is one */
    kern->fill(1, &high, kern_neutral(KERN_FOLD_MAX));
    kern->fill(1, &low, kern_neutral(KERN_FOLD_MIN));
    kern->fold[KERN_FOLD_MAX](n, &high, a);
    kern->fold[KERN_FOLD_MIN](n, &low, a);
    return t == KERN_F32 ? high.f32 < INFINITY && low.f32 > -INFINITY : high.f64 < INFINITY && low.f64 > -INFINITY;
}

static cr_status run_whole(const run *r, double *value)
{
    const cr_spectrum *s = r->s;
    void *matrix = r->slab + s->at_matrix, *found = r->slab + s->at_more;
    run_product(r, &s->product[0], NULL, matrix);
    if (!is_finite(s->dtype, s->product[0].plan->level, s->rows * s->columns, matrix)) return CR_EVALUE;
    if (lapack_values(&s->values, matrix, found, r->slab + s->at_scratch) != LAPACK_DONE) return CR_EINTERNAL;
    for (size_t i = 0; i < s->count; i++) {
        value[i] = s->dtype == KERN_F32 ? (double)((float *)found)[i] : ((double *)found)[i];
    }
    return CR_OK;
}

static void multiply(void *user, bool transposed, const double *in, double *out)
{
    const run *r = user;
    const cr_spectrum *s = r->s;
    const product *p = &s->product[transposed != s->wide];
    if (s->dtype == KERN_F64) {
        run_product(r, p, in, out);
        return;
    }
    bool forward = p == &s->product[0];
    size_t block = s->lanczos.shape.block, n = block * (forward ? s->columns : s->rows);
    float *on_rows = (float *)(void *)(r->slab + s->at_matrix), *on_columns = (float *)(void *)(r->slab + s->at_more);
    float *from = forward ? on_columns : on_rows, *to = forward ? on_rows : on_columns;
    for (size_t i = 0; i < n; i++) from[i] = (float)in[i];
    run_product(r, p, from, to);
    n = block * (forward ? s->rows : s->columns);
    for (size_t i = 0; i < n; i++) out[i] = to[i];
}

cr_status cr_spectrum_run(const cr_spectrum *s, cr_slab *slab, const void *const *in, double *value, double *bound)
{
    cr_status status = CR_OK, index = CR_OK;
    run r = {s, slab->start, in, &index};
    if (slab->bytes < s->slab) return CR_EARG;
    if (!bound) bound = (double *)(void *)(r.slab + s->at_bound);
    for (size_t i = 0; i < s->count; i++) value[i] = bound[i] = 0;
    if (s->zero) return CR_OK;
    status = s->whole ? run_whole(&r, value)
                      : lanczos_run(&s->lanczos, multiply, &r, value, bound, r.slab + s->at_scratch);
    if (status == CR_OK) status = index;
    double unit = s->dtype == KERN_F32 ? FLT_EPSILON : DBL_EPSILON;
    for (size_t i = 0; i < s->count; i++) {
        if (status != CR_OK) value[i] = NAN;
        bound[i] = status == CR_OK ? bound[i] + unit * value[0] : NAN;
    }
    return status;
}
