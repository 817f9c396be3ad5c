#include "kernel/lanczos.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- planning ----------------------------------------------------------------------------------- */

static size_t room(lanczos *z, size_t n)
{
    size_t at = z->scratch;
    z->scratch += (n * sizeof(double) + 63) / 64 * 64;
    return at;
}

static size_t longest(const lanczos_shape *s) { return s->m > s->n ? s->m : s->n; }

/* sums[u,i] = <q_u, w_i> over r rows of q; only the short side is packed. */
static void plan_sums(const lanczos_shape *s, size_t r, size_t n, gemm_plan *p)
{
    ptrdiff_t b = (ptrdiff_t)s->block, row = (ptrdiff_t)n;
    gemm_shape shape = {.dtype = KERN_F64, .batch = 1, .m = r, .n = s->block, .k = n, .a_m = row, .a_k = 1,
                        .b_k = 1, .b_n = row, .c_m = b, .c_n = 1};
    gemm_plan_init(p, &shape, &s->gemm);
}

/* w_i += sum over u of sums[u,i] q_u */
static void plan_update(const lanczos_shape *s, size_t r, size_t n, gemm_plan *p)
{
    ptrdiff_t b = (ptrdiff_t)s->block, row = (ptrdiff_t)n;
    gemm_shape shape = {.dtype = KERN_F64, .batch = 1, .m = s->block, .n = n, .k = r, .a_m = 1, .a_k = b,
                        .b_k = row, .b_n = 1, .c_m = row, .c_n = 1, .accumulate = true};
    gemm_plan_init(p, &shape, &s->gemm);
}

static size_t most_work(const lanczos *z)
{
    const lanczos_shape *s = &z->shape;
    size_t most = 0;
    gemm_plan p;
    for (size_t j = 0; j < s->steps; j++) {
        most = z->svd[j].scratch > most ? z->svd[j].scratch : most;
        for (unsigned i = 0; i < 4; i++) {
            (i < 2 ? plan_sums : plan_update)(s, (j + 1) * s->block, i % 2 ? s->m : s->n, &p);
            most = p.scratch > most ? p.scratch : most;
        }
    }
    return most;
}

cr_status lanczos_init(lanczos *z, const lanczos_shape *shape, error *e)
{
    const lanczos_shape *s = &z->shape;
    *z = (lanczos){.shape = *shape};
    size_t b = s->block, d, vectors;
    cr_status status = CR_OK;
    if (__builtin_mul_overflow(b, s->steps, &d) || __builtin_mul_overflow(d + b, longest(s), &vectors) ||
        vectors > PTRDIFF_MAX / 32 || d > PTRDIFF_MAX / 64 / (d + 1)) {
        err_set(e, CR_ELIMIT, "%zu steps with %zu vectors of %zu entries are too many", s->steps, b, longest(s));
        return CR_ELIMIT;
    }
    z->svd = mem_zalloc(s->steps, sizeof *z->svd);
    if (!z->svd) {
        err_set(e, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    for (size_t j = 0; status == CR_OK && j < s->steps; j++) {
        status = lapack_plan_init(&z->svd[j], LAPACK_SVD, KERN_F64, (j + 1) * b, (j + 1) * b, 0, 1, e);
    }
    if (status != CR_OK) {
        lanczos_free(z);
        return status;
    }
    z->at_v = room(z, (d + b) * s->n);
    z->at_u = room(z, d * s->m);
    z->at_t = room(z, d * d);
    z->at_l = room(z, 3 * b * b);
    z->at_sums = room(z, d * b);
    z->at_block = room(z, b * longest(s));
    z->at_svd = room(z, 3 * d * d + d);
    z->at_work = room(z, most_work(z) / sizeof(double) + 1);
    return CR_OK;
}

void lanczos_free(lanczos *z)
{
    mem_free(z->svd);
    z->svd = NULL;
}

/* ---- running ------------------------------------------------------------------------------------ */

typedef struct run {
    const lanczos *z;
    const kern_table *kern;
    lanczos_product *product;
    void *user;
    double *v, *u, *t, *l, *sums, *svd;
    double *triangle[2]; /* of the two passes of orthonormalise */
    void *work;
    double largest;  /* norm of the longest product so far: at most that of A */
    uint64_t random; /* numbers drawn */
} run;

/* Uniform in [-1, 1) times `scale`. */
static void draw(run *x, size_t n, double scale, double *to)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t k = x->z->shape.seed * 0xD1342543DE82EF95u + ++x->random * 0x9E3779B97F4A7C15u;
        k = (k ^ k >> 30) * 0xBF58476D1CE4E5B9u;
        k = (k ^ k >> 27) * 0x94D049BB133111EBu;
        to[i] = scale * ((double)((k ^ k >> 31) >> 11) * 0x1p-52 - 1);
    }
}

static double inner(const run *x, size_t n, const double *a, const double *b)
{
    double sum = 0;
    x->kern->dot(n, &sum, a, b);
    return sum;
}

static void scale(const run *x, size_t n, double by, double *a)
{
    x->kern->map[KERN_SCALE][0](n, a, a, NULL, NULL, by);
}

/* w -= its part in the first r rows of q, with the coefficients left in sums, negative. */
static void project(run *x, size_t n, const double *q, size_t r, double *w)
{
    const lanczos_shape *s = &x->z->shape;
    gemm_plan p;
    if (r == 0) return;
    plan_sums(s, r, n, &p);
    gemm_run(&p, q, w, x->sums, x->work);
    scale(x, r * s->block, -1, x->sums);
    plan_update(s, r, n, &p);
    gemm_run(&p, x->sums, q, w, x->work);
}

/* w_i = sum over k <= i of r[i,k] w_k with w orthonormal; what is left of a row below `limit` is dropped, which leaves
 * a row of zeros. */
static void within(const run *x, size_t n, double limit, double *w, double *r)
{
    size_t b = x->z->shape.block;
    memset(r, 0, b * b * sizeof *r);
    for (size_t i = 0; i < b; i++) {
        double *row = w + i * n;
        for (size_t k = 0; k < i; k++) {
            double part = inner(x, n, row, w + k * n), minus = -part;
            x->kern->map[KERN_MULADD][KERN_A_ONE](n, row, &minus, w + k * n, row, 0);
            r[i * b + k] = part;
        }
        double norm = sqrt(inner(x, n, row, row));
        if (norm > limit) {
            scale(x, n, 1 / norm, row);
            r[i * b + i] = norm;
        } else {
            memset(row, 0, n * sizeof *row);
        }
    }
}

/* w = c q + triangle w with w orthonormal, to the first r rows of q too, by two passes of Gram and Schmidt; c (NULL:
 * not wanted) has rows of `row` entries. refill: what depends on the rest gives way to random vectors, with
 * coefficients 0, as long as there is room for more. Returns how many vectors w has. */
static size_t orthonormalise(run *x, size_t n, const double *q, size_t r, double limit, bool refill, double *w,
                             double *c, size_t row, double *triangle)
{
    static const double lost = 1e-4; /* of a unit vector; so w is orthogonal to 12 digits */
    size_t b = x->z->shape.block, count = 0;
    double *first = x->triangle[0], *second = x->triangle[1];
    project(x, n, q, r, w);
    for (size_t i = 0; c && i < b; i++) {
        for (size_t k = 0; k < r; k++) c[i * row + k] = -x->sums[k * b + i];
    }
    within(x, n, limit, w, first);
    for (size_t i = 0; refill && i < b; i++) {
        if (first[i * b + i] == 0) draw(x, n, sqrt(3 / (double)n), w + i * n);
    }
    project(x, n, q, r, w);
    for (size_t i = 0; c && i < b; i++) {
        for (size_t l = 0; l <= i; l++) {
            for (size_t k = 0; k < r; k++) c[i * row + k] -= first[i * b + l] * x->sums[k * b + l];
        }
    }
    within(x, n, lost, w, second);
    for (size_t i = 0; i < b; i++) {
        count += second[i * b + i] > 0;
        for (size_t k = 0; k < b; k++) {
            double sum = 0;
            for (size_t l = k; l <= i; l++) sum += first[i * b + l] * second[l * b + k];
            triangle[i * b + k] = sum;
        }
    }
    return count;
}

/* The product of the rows at `in`, times a power of two by which its entries are about 1; false: it is not finite. */
static bool multiply(run *x, bool transposed, const double *in, double *out, int *exponent)
{
    const lanczos_shape *s = &x->z->shape;
    size_t n = transposed ? s->n : s->m;
    double high = kern_neutral(KERN_FOLD_MAX), low = kern_neutral(KERN_FOLD_MIN);
    x->product(x->user, transposed, in, out);
    x->kern->fold[KERN_FOLD_MAX](s->block * n, &high, out);
    x->kern->fold[KERN_FOLD_MIN](s->block * n, &low, out);
    if (!(high < INFINITY && low > -INFINITY)) return false;
    double most = fmax(high, -low);
    *exponent = most > 0 ? ilogb(most) : 0;
    *exponent = *exponent < -1000 ? -1000 : *exponent;
    scale(x, s->block * n, ldexp(1, -*exponent), out);
    for (size_t i = 0; i < s->block; i++) {
        double norm = ldexp(sqrt(inner(x, n, out + i * n, out + i * n)), *exponent);
        x->largest = fmax(x->largest, norm);
    }
    return true;
}

/* Singular values of T after d/block steps, and what they leave; false: LAPACK did not converge. */
static bool decompose(run *x, size_t d, double *value, double *residual)
{
    const lanczos_shape *s = &x->z->shape;
    size_t b = s->block, all = b * s->steps;
    double *a = x->svd, *p = a + d * d, *right = p + d * d, *values = right + d * d;
    for (size_t i = 0; i < d; i++) memcpy(a + i * d, x->t + i * all, d * sizeof *a);
    if (lapack_svd(&x->z->svd[d / b - 1], a, p, values, right, x->work) != LAPACK_DONE) return false;
    for (size_t i = 0; i < s->k && i < d; i++) {
        const double *last = right + i * d + d - b;
        double norm = 0;
        for (size_t k = 0; k < b; k++) {
            double sum = 0;
            for (size_t l = 0; l < b; l++) sum += last[l] * x->l[l * b + k];
            norm = hypot(norm, sum);
        }
        value[i] = values[i];
        residual[i] = norm;
    }
    return true;
}

static bool within_tolerance(const lanczos_shape *s, const double *value, const double *residual)
{
    for (size_t i = 0; i < s->k; i++) {
        if (!(residual[i] <= s->tolerance * value[0])) return false;
    }
    return true;
}

/* Step j; *left: the vectors of V_{j+1}. */
static cr_status step(run *x, size_t j, size_t *left)
{
    const lanczos_shape *s = &x->z->shape;
    size_t b = s->block, all = b * s->steps, r = j * b;
    double *v = x->v + r * s->n, *u = x->u + r * s->m, *t = x->t + r * all;
    int exponent;
    if (!multiply(x, false, v, u, &exponent)) return CR_EVALUE;
    double limit = 4 * DBL_EPSILON * ldexp(x->largest, -exponent);
    orthonormalise(x, s->m, x->u, r, limit, false, u, t, all, x->l);
    for (size_t i = 0; i < b; i++) {
        memcpy(t + i * all + r, x->l + i * b, b * sizeof *t);
        for (size_t k = 0; k < r + b; k++) t[i * all + k] = ldexp(t[i * all + k], exponent);
    }
    if (!multiply(x, true, u, v + b * s->n, &exponent)) return CR_EVALUE;
    limit = 4 * DBL_EPSILON * ldexp(x->largest, -exponent);
    *left = orthonormalise(x, s->n, x->v, r + b, limit, true, v + b * s->n, NULL, 0, x->l);
    for (size_t i = 0; i < b * b; i++) x->l[i] = ldexp(x->l[i], exponent);
    return CR_OK;
}

cr_status lanczos_run(const lanczos *z, lanczos_product *product, void *user, double *value, double *residual,
                      void *scratch)
{
    enum { EVERY = 2 }; /* steps from one look at T to the next */
    const lanczos_shape *s = &z->shape;
    char *memory = scratch;
    run x = {.z = z, .kern = kern_table_of(KERN_F64, s->gemm.level), .product = product, .user = user};
    x.v = (double *)(void *)(memory + z->at_v);
    x.u = (double *)(void *)(memory + z->at_u);
    x.t = (double *)(void *)(memory + z->at_t);
    x.l = (double *)(void *)(memory + z->at_l);
    x.triangle[0] = x.l + s->block * s->block;
    x.triangle[1] = x.triangle[0] + s->block * s->block;
    x.sums = (double *)(void *)(memory + z->at_sums);
    x.svd = (double *)(void *)(memory + z->at_svd);
    x.work = memory + z->at_work;
    memset(value, 0, s->k * sizeof *value);
    memset(residual, 0, s->k * sizeof *residual);
    memset(x.t, 0, s->block * s->steps * s->block * s->steps * sizeof *x.t);
    draw(&x, s->block * s->n, sqrt(3 / (double)s->n), x.v);
    size_t left = orthonormalise(&x, s->n, x.v, 0, 0, false, x.v, NULL, 0, x.l);
    for (size_t j = 0; left > 0; j++) {
        size_t d = (j + 1) * s->block;
        cr_status status = step(&x, j, &left);
        if (status != CR_OK) return status;
        bool last = j + 1 == s->steps || left == 0;
        if (!last && (d < s->k || (j + 1) % EVERY)) continue;
        if (!decompose(&x, d, value, residual)) return CR_EINTERNAL;
        if (last || within_tolerance(s, value, residual)) break;
    }
    return CR_OK;
}
