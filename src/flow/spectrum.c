/* Whole: the cotangent at the far end is an identity, one row for each of its entries, for all samples together; what
 * arrives is the Jacobian of every sample. LAPACK has its values. From products only: J' u is one backward pass for a
 * block of vectors, and as it is linear in u, J v is the backward pass of that by u. Along the whole network the
 * scales of the gradient's pass are multiplied on, and taken off the logarithms: products of many small blocks are no
 * zeros. All in doubles: the smallest values of a Jacobian are below the rounding of its largest in singles. */
#include "flow/spectrum.h"

#include "calculus/walk.h"
#include "flow/paths.h"
#include "kernel/lanczos.h"
#include "plan/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const double flow_quantile[FLOW_QUANTILES] = {0.05, 0.25, 0.5, 0.75, 0.95};

/* The smaller side of a Jacobian that is computed whole; rows of it; values that are found from products, their
 * vectors at once, and steps. */
enum { SIDE = 512, ROWS = 1024, FOUND = 8, VECTORS = 8, STEPS = 16 };
/* Multiplications for all that is FLOW_CHEAP; numbers of whole Jacobians at most. */
static const double cheap = 1e8, numbers = 1 << 25;

void flow_spectra_free(flow_spectra *s)
{
    mem_free(s->block);
    *s = (flow_spectra){0};
}

/* One of the Jacobians. */
typedef struct piece {
    flow_spectrum *to;
    size_t in, out, first_step, n_steps;
    bool scaled;
    unsigned result; /* of the runner */
    double ln_scale; /* the values have been multiplied with it */
} piece;

typedef struct finder {
    const flow_backward *b;
    const flow *f;
    cr_graph *g;
    size_t samples;
    cr_plan_options o;
    flow_feeder *feed;
    void *user;
    error *e;
    cr_ref *at; /* room: by tensor */
} finder;

static cr_status no_memory(finder *s)
{
    err_set(s->e, CR_ENOMEM, "out of memory");
    return CR_ENOMEM;
}

static cr_status graph_failed(finder *s)
{
    cr_status status = cr_graph_status(s->g);
    if (status == CR_OK) return no_memory(s);
    err_set(s->e, status, "%s", cr_graph_message(s->g));
    return status;
}

/* Entries of a tensor for each sample; 0: it has no axis of samples. */
static size_t of_a_sample(const finder *s, size_t tensor)
{
    cr_ref a = s->f->tensor[tensor].ref;
    size_t n = 1;
    for (unsigned i = 0; i < cr_rank(s->g, a); i++) {
        int64_t d = 0;
        cr_dim_value(s->g, cr_size(s->g, a, i), &d);
        if (i == 0 && d != (int64_t)s->samples) return 0;
        if (i > 0) n *= (size_t)d;
    }
    return cr_rank(s->g, a) > 0 ? n : 0;
}

static flow_many range(const finder *s, const piece *p)
{
    return (flow_many){.f = s->f, .b = p->scaled ? s->b : NULL, .first_step = p->first_step, .n_steps = p->n_steps};
}

/* The cotangent at p->in for one at p->out. */
static cr_ref back(finder *s, const piece *p, cr_ref seed)
{
    flow_many m = range(s, p);
    if (seed == CR_NONE) return CR_NONE;
    memset(s->at, 0, (s->f->n_tensors + 1) * sizeof *s->at);
    s->at[p->out] = seed;
    return flow_many_back(&m, s->at) ? s->at[p->in] : CR_NONE;
}

/* ---- whole --------------------------------------------------------------------------------------- */

/* rows x shape of the tensor: one in each row, for all samples. */
static cr_ref identity(finder *s, size_t tensor, size_t rows)
{
    cr_graph *g = s->g;
    cr_ref a = s->f->tensor[tensor].ref, one = cr_identity(g, cr_dim_const(g, (int64_t)rows));
    unsigned rank = cr_rank(g, a);
    cr_dim dim[CR_MAX_RANK], all[CR_MAX_RANK];
    uint8_t label[CR_MAX_RANK];
    if (rank == CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a derivative of more than %d axes", CR_MAX_RANK);
    dim[0] = all[0] = cr_dim_const(g, (int64_t)rows);
    label[0] = 0;
    for (unsigned i = 0; i < rank; i++) {
        all[i + 1] = cr_size(g, a, i);
        if (i == 0) continue;
        dim[i] = all[i + 1];
        label[i] = (uint8_t)(i + 1);
    }
    one = cr_reshape(g, one, rank, dim);
    return cr_einsum(g, 1, &one, label, rank + 1, all);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double ln_at(const double *ascending_values, size_t n, double share)
{
    double x = share * (double)(n - 1);
    size_t i = (size_t)x;
    double low = log(ascending_values[i]), high = log(ascending_values[i + 1 < n ? i + 1 : i]);
    return x == (double)i ? low : low + (x - (double)i) * (high - low);
}

/* J: rows x samples x columns, of doubles. */
static cr_status decompose(finder *s, const piece *p, const double *j)
{
    flow_spectrum *x = p->to;
    size_t rank = x->rows < x->columns ? x->rows : x->columns, all = rank * s->samples;
    lapack_plan plan = {0};
    cr_status status = lapack_plan_init(&plan, LAPACK_VALUES, KERN_F64, x->rows, x->columns, 0, 1, s->e);
    if (status != CR_OK) return status;
    double *a = mem_alloc(x->rows * x->columns * sizeof *a), *value = mem_alloc(all * sizeof *value);
    char *scratch = mem_alloc(plan.scratch + 64);
    if (!a || !value || !scratch) status = no_memory(s);
    for (size_t k = 0; k < s->samples && status == CR_OK; k++) {
        for (size_t r = 0; r < x->rows; r++)
            memcpy(a + r * x->columns, j + (r * s->samples + k) * x->columns, x->columns * sizeof *a);
        void *aligned = scratch + (64 - (uintptr_t)scratch % 64) % 64;
        if (lapack_values(&plan, a, value + k * rank, aligned) != LAPACK_DONE) all = 0; /* it is not finite */
    }
    if (status == CR_OK && all > 0) {
        qsort(value, all, sizeof *value, ascending);
        x->exact = true;
        x->ln_smallest = log(value[0]) - p->ln_scale;
        x->ln_largest = log(value[all - 1]) - p->ln_scale;
        for (int i = 0; i < FLOW_QUANTILES; i++) x->ln_quantile[i] = ln_at(value, all, flow_quantile[i]) - p->ln_scale;
    }
    mem_free(a);
    mem_free(value);
    mem_free(scratch);
    return status;
}

static double number(const net_runner *r, unsigned i)
{
    double x;
    data_to_f64(net_runner_type(r), net_runner_result(r, i), 1, &x);
    return x;
}

/* All of them in one run. */
static cr_status find_whole(finder *s, piece *list, size_t n)
{
    size_t level = s->b->n_scales;
    unsigned count = 0;
    cr_ref *want = mem_alloc((n + level + 1) * sizeof *want);
    net_runner *r = NULL;
    cr_status status = want ? CR_OK : no_memory(s);
    bool any = false;
    for (size_t i = 0; i < n && status == CR_OK; i++) {
        cr_ref j = back(s, &list[i], identity(s, list[i].out, list[i].to->rows));
        if (cr_graph_status(s->g) != CR_OK) status = graph_failed(s);
        list[i].result = j == CR_NONE ? UINT32_MAX : count; /* nothing leads there: all values are 0 */
        if (j != CR_NONE) want[count++] = j;
        any |= j != CR_NONE;
    }
    unsigned scales = count;
    for (size_t i = 0; i < level && status == CR_OK; i++) want[count++] = s->b->scale[i];
    if (status == CR_OK && any) status = net_runner_new(s->f->n, count, want, &s->o, &r, s->e);
    if (status == CR_OK && any) status = s->feed(s->user, r, s->e);
    if (status == CR_OK && any) status = net_runner_run(r, s->e);
    for (size_t i = 0; i < n && status == CR_OK; i++) {
        piece *p = &list[i];
        flow_spectrum *x = p->to;
        if (p->result == UINT32_MAX) {
            x->exact = true;
            x->ln_largest = x->ln_smallest = -INFINITY;
            for (int k = 0; k < FLOW_QUANTILES; k++) x->ln_quantile[k] = -INFINITY;
            continue;
        }
        for (size_t k = 0; p->scaled && k < s->b->tensor[p->in].level; k++)
            p->ln_scale += log(number(r, scales + (unsigned)k));
        status = decompose(s, p, net_runner_result(r, p->result));
    }
    net_runner_free(r);
    mem_free(want);
    return status;
}

/* ---- from products ------------------------------------------------------------------------------- */

typedef struct products {
    finder *s;
    net_runner *r[2]; /* J v; J' u */
    cr_ref ref[2];
    cr_status status;
} products;

/* The vectors of a step are of one sample: the first. */
static void multiply(void *user, bool transposed, const double *in, double *out)
{
    products *p = user;
    net_runner *r = p->r[transposed];
    cr_tensor t = net_find_leaf(p->s->f->n, p->ref[transposed])->tensor;
    size_t n = net_runner_count(r, 0);
    t.data = (void *)(uintptr_t)in;
    if (p->status == CR_OK) p->status = net_runner_feed(r, net_find_leaf(p->s->f->n, p->ref[transposed]), &t, p->s->e);
    if (p->status == CR_OK) p->status = net_runner_run(r, p->s->e);
    if (p->status == CR_OK) memcpy(out, net_runner_result(r, 0), n * sizeof *out);
    else memset(out, 0, n * sizeof *out);
}

/* A block of vectors of the shape of a tensor. */
static cr_ref vectors(finder *s, const char *name, size_t tensor, size_t block)
{
    cr_ref a = s->f->tensor[tensor].ref;
    cr_tensor t = {.name = name, .type = CR_TYPE_F64, .rank = cr_rank(s->g, a) + 1, .count = block};
    if (t.rank > CR_MAX_RANK) return graph_fail(s->g, CR_ELIMIT, "a derivative of more than %d axes", CR_MAX_RANK);
    t.dim[0] = (int64_t)block;
    for (unsigned i = 1; i < t.rank; i++) {
        cr_dim_value(s->g, cr_size(s->g, a, i - 1), &t.dim[i]);
        t.count *= (size_t)t.dim[i];
    }
    return net_add_leaf(s->f->n, NET_INPUT, &t);
}

static cr_status plan_products(finder *s, const piece *p, size_t block, products *x)
{
    x->ref[1] = vectors(s, "vectors u", p->out, block);
    x->ref[0] = vectors(s, "vectors v", p->in, block);
    cr_ref ju = back(s, p, x->ref[1]), jv = CR_NONE;
    if (ju == CR_NONE || x->ref[0] == CR_NONE) return graph_failed(s);
    if (calc_reverse_local(s->g, ju, x->ref[0], 1, &x->ref[1], &jv) != CR_OK || jv == CR_NONE) return graph_failed(s);
    size_t level = p->scaled ? s->b->tensor[p->in].level : 0;
    cr_ref *want = mem_alloc((level + 1) * sizeof *want);
    cr_status status = want ? CR_OK : no_memory(s);
    for (int i = 0; i < 2 && status == CR_OK; i++) {
        want[0] = i == 0 ? jv : ju;
        memcpy(want + 1, s->b->scale, level * sizeof *want);
        status = net_runner_new(s->f->n, 1 + (unsigned)(i == 0 ? 0 : level), want, &s->o, &x->r[i], s->e);
        if (status == CR_OK) status = s->feed(s->user, x->r[i], s->e);
    }
    mem_free(want);
    return status;
}

static cr_status find_largest(finder *s, piece *p)
{
    flow_spectrum *x = p->to;
    size_t rank = x->rows < x->columns ? x->rows : x->columns, block = rank < VECTORS ? rank : VECTORS;
    double value[FOUND], bound[FOUND];
    products v = {.s = s};
    lanczos z = {0};
    cr_status status = plan_products(s, p, block, &v);
    lanczos_shape shape = {.m = x->rows, .n = x->columns, .k = rank < FOUND ? rank : FOUND, .block = block,
                           .steps = STEPS, .tolerance = 1e-4, .seed = 1};
    if (shape.steps * block > rank) shape.steps = (rank + block - 1) / block;
    if (status == CR_OK) {
        const cr_plan *plan = net_runner_plan(v.r[0]);
        shape.gemm = (gemm_options){.level = plan->level, .threads = plan->threads};
    }
    if (status == CR_OK) status = lanczos_init(&z, &shape, s->e);
    char *scratch = status == CR_OK ? mem_alloc(z.scratch + 64) : NULL;
    if (status == CR_OK && !scratch) status = no_memory(s);
    if (status == CR_OK) {
        cr_status found = lanczos_run(&z, multiply, &v, value, bound, scratch + (64 - (uintptr_t)scratch % 64) % 64);
        status = v.status;
        for (unsigned i = 0; status == CR_OK && p->scaled && i < s->b->tensor[p->in].level; i++)
            p->ln_scale += log(number(v.r[1], 1 + i));
        if (status == CR_OK && found == CR_OK) x->ln_largest = log(value[0]) - p->ln_scale;
    }
    mem_free(scratch);
    lanczos_free(&z);
    for (int i = 0; i < 2; i++) net_runner_free(v.r[i]);
    return status;
}

/* ---- which --------------------------------------------------------------------------------------- */

static bool measured_whole(const flow_spectrum *x)
{
    size_t rank = x->rows < x->columns ? x->rows : x->columns;
    return rank <= SIDE && x->rows <= ROWS;
}

/* Multiplications of a backward pass through steps, for a sample. */
static double work(const finder *s, const piece *p)
{
    double n = 0;
    for (size_t i = p->first_step; i < p->first_step + p->n_steps; i++) n += flow_step_work(s->f, i);
    return n / (double)s->samples;
}

static double whole_work(const finder *s, const piece *p)
{
    double r = (double)p->to->rows, c = (double)p->to->columns;
    return (double)s->samples * (r * work(s, p) + 8 * r * c * fmin(r, c));
}

static void empty(flow_spectrum *x)
{
    *x = (flow_spectrum){.ln_largest = NAN, .ln_smallest = NAN};
    for (int k = 0; k < FLOW_QUANTILES; k++) x->ln_quantile[k] = NAN;
}

static cr_status find(finder *s, flow_effort effort, flow_spectra *out)
{
    const flow *f = s->f;
    piece *whole = mem_alloc((f->n_blocks + 1) * sizeof *whole);
    double spent = 0, room = 0;
    size_t n = 0, front = f->block[0].in != FLOW_NONE ? f->block[0].in : f->block[0].out;
    cr_status status = whole ? CR_OK : no_memory(s);
    for (size_t i = 0; i <= f->n_blocks && status == CR_OK; i++) { /* the network's first: it is what is asked for */
        const flow_block *b = i > 0 ? &f->block[i - 1] : NULL;
        piece p = {.to = b ? &out->block[i - 1] : &out->whole, .in = b ? b->in : front, .out = b ? b->out : f->y,
                   .first_step = b ? b->first_step : 0, .n_steps = b ? b->n_steps : f->n_steps, .scaled = !b};
        empty(p.to);
        if (p.in == FLOW_NONE || p.in == p.out || s->b->tensor[p.in].ref == CR_NONE) continue;
        p.to->rows = of_a_sample(s, p.out);
        p.to->columns = of_a_sample(s, p.in);
        if (p.to->rows == 0 || p.to->columns == 0) continue;
        double size = (double)p.to->rows * (double)p.to->columns * (double)s->samples, takes = whole_work(s, &p);
        bool fits = measured_whole(p.to) && room + size <= numbers;
        if (!fits) takes = 2 * VECTORS * STEPS * work(s, &p);
        if (effort == FLOW_CHEAP && (spent + takes > cheap || !fits)) {
            out->left_out = b ? "those of some layers take long here: --spectrum on"
                              : "it takes long here: --spectrum on";
            continue;
        }
        spent += takes;
        if (fits) {
            room += size;
            whole[n++] = p;
        } else if (s->samples == 1) {
            status = find_largest(s, &p);
        } else {
            out->left_out = "large Jacobians are computed of one sample only, and the model takes more";
        }
    }
    if (status == CR_OK && n > 0) status = find_whole(s, whole, n);
    mem_free(whole);
    return status;
}

cr_status flow_spectra_find(const flow_backward *b, size_t samples, flow_effort effort, const cr_plan_options *o,
                            flow_feeder *feed, void *user, flow_spectra *out, error *e)
{
    finder s = {.b = b, .f = b->f, .g = b->g, .samples = samples, .feed = feed, .user = user, .e = e};
    if (o) s.o = *o;
    s.o.precision = CR_F64;
    *out = (flow_spectra){.block = mem_zalloc(b->f->n_blocks + 1, sizeof *out->block), .samples = samples};
    s.at = mem_alloc((b->f->n_tensors + 1) * sizeof *s.at);
    cr_status status = out->block && s.at ? find(&s, effort, out) : no_memory(&s);
    mem_free(s.at);
    return status;
}
