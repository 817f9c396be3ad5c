/* Planning and running: how C is cut into blocks, among threads and within one.
 *
 * A thread has a rectangle of C, of some of the batch. It takes blocks of mc x nc entries, and sums kc terms at a time:
 * a panel of B, kc x a few vectors, stays in L2 while all rows of the block pass by, tile by tile; the tiles fetch the
 * next panel meanwhile. A is read as it lies, and B too if its rows are contiguous; else its panels are packed one by
 * one. A C that is not contiguous is summed beside, and put to its place when the last kc terms are in.
 *
 * kc is a function of the shape, and an entry's sum does not depend on the tile it is in: cuts among threads change
 * no bits. */
#include "kernel/gemm.h"

#include "kernel/gemm_kernel.h"

#ifdef _OPENMP
#include <omp.h>
#endif

static size_t min(size_t a, size_t b) { return a < b ? a : b; }
static size_t max(size_t a, size_t b) { return a > b ? a : b; }
static size_t up(size_t a, size_t unit) { return (a + unit - 1) / unit * unit; }
static size_t ratio_up(size_t a, size_t b) { return (a + b - 1) / b; }
/* Where part i of `parts` begins, of n things cut into parts as equal as units of them allow. */
static size_t cut(size_t n, size_t unit, size_t i, size_t parts)
{
    if (i == 0) return 0;
    if (i == parts) return n;
    size_t units = ratio_up(n, unit);
    return min(n, (units / parts * i + min(i, units % parts)) * unit);
}

/* ---- planning ----------------------------------------------------------------------------------- */

/* C' = B' A' */
static void transpose(gemm_shape *s)
{
    gemm_shape t = *s;
    s->m = t.n, s->n = t.m;
    s->a_batch = t.b_batch, s->a_m = t.b_n, s->a_k = t.b_k;
    s->b_batch = t.a_batch, s->b_n = t.a_m, s->b_k = t.a_k;
    s->c_m = t.c_n, s->c_n = t.c_m;
}

enum {
    DOTS_MOST_ROWS = 8,
    PANEL_BYTES = 64 << 10,  /* of B: in L2, beside */
    BLOCK_BYTES = 256 << 10, /* of A */
    COLUMNS_BYTES = 4 << 10, /* of a row of a block of C */
    PUT_BYTES = 1 << 10,     /* of a row that is put to its place: short enough to be in L2 */
};

static void choose_way(gemm_plan *p)
{
    const gemm_shape *s = &p->shape;
    bool b_in_columns = s->b_k == 1 && (s->b_n != 1 || s->n == 1), many_terms = s->k >= 2 * p->kernels->lanes;
    p->buffer_c = s->c_n != 1;
    p->way = GEMM_TILES;
    if (s->k > 0 && s->m == 1 && b_in_columns && (many_terms || s->n == 1)) {
        p->way = GEMM_DOTS;
        p->pack_a = s->a_k != 1;
    } else if (s->m <= DOTS_MOST_ROWS && b_in_columns && many_terms && s->a_k == 1) {
        p->way = GEMM_DOTS;
    } else if (s->k > 0 && s->m == 1 && s->b_n == 1) {
        p->way = GEMM_AXPY;
    } else {
        p->pack_b = s->b_n != 1;
    }
}

static void choose_blocks(gemm_plan *p)
{
    const gemm_shape *s = &p->shape;
    const gemm_kernels *kern = p->kernels;
    size_t size = kern_size(s->dtype), panel = kern->lanes * kern->vectors;
    p->mc = s->m;
    p->nc = p->buffer_c ? COLUMNS_BYTES / size : s->n;
    p->kc = s->k;
    if (p->way == GEMM_TILES) {
        size_t parts = max(1, ratio_up(s->k, PANEL_BYTES / (panel * size)));
        p->kc = max(1, ratio_up(s->k, parts));
        p->nc = up(COLUMNS_BYTES / size, panel);
        p->mc = max(kern->rows, BLOCK_BYTES / size / p->kc);
    } else if (p->way == GEMM_DOTS && s->m > kern->dot_rows) {
        p->nc = max(8, BLOCK_BYTES / size / s->k); /* of B, to be read again */
    }
    p->mc = min(p->mc, max(s->m, 1));
    p->nc = min(p->nc, max(s->n, 1));
    p->scratch_a = p->pack_a ? up(p->kc * size, 64) + 64 : 0;
    p->scratch_b = p->pack_b ? up(p->kc * panel * size, 64) : 0;
    p->scratch_each = p->scratch_a + p->scratch_b + (p->buffer_c ? up(p->mc * p->nc * size, 64) : 0);
}

/* Nanoseconds that one thread takes, roughly: by multiply-adds, and by what comes from memory. */
static double estimate(const gemm_plan *p)
{
    const gemm_shape *s = &p->shape;
    double m = (double)s->m, n = (double)s->n, k = (double)s->k, size = (double)kern_size(s->dtype);
    double sums = m * n * k / (3 * (double)p->kernels->lanes), bytes = size * (m * k + k * n + m * n);
    return (double)s->batch * (sums > bytes / 30 ? sums : bytes / 30);
}

static void choose_threads(gemm_plan *p, const gemm_options *o)
{
    const gemm_shape *s = &p->shape;
    const gemm_kernels *kern = p->kernels;
    double ns = estimate(p);
    size_t t = ns < 20e3 ? 1 : ns / 10e3 < o->threads ? (size_t)(ns / 10e3) : o->threads;
    size_t rows = kern->rows, columns = kern->lanes * kern->vectors;
    p->parts_batch = p->parts_m = p->parts_n = 1;
    if (s->batch >= 4 * t || (s->batch > 1 && s->batch % t == 0)) {
        p->parts_batch = t;
    } else {
        /* As many parts as can be, of those the squarest: what is read and packed grows with the edges. */
        size_t best = 0, least = 0;
        for (size_t i = 1; i <= t; i++) {
            size_t across = max(1, min(t / i, ratio_up(s->n, columns)));
            if (i > ratio_up(s->m, rows)) break;
            size_t edges = s->m / i + s->n / across;
            if (i * across > best || (i * across == best && edges < least)) {
                best = i * across, least = edges;
                p->parts_m = i, p->parts_n = across;
            }
        }
    }
    p->threads = (unsigned)(p->parts_batch * p->parts_m * p->parts_n);
}

void gemm_plan_init(gemm_plan *p, const gemm_shape *shape, const gemm_options *options)
{
    gemm_shape *s = &p->shape;
    *p = (gemm_plan){.shape = *shape, .kernels = gemm_kernels_of(shape->dtype, options->level)};
    p->transposed = (s->n == 1 && s->m != 1) || (s->n != 1 && s->c_n != 1 && s->c_m == 1);
    if (p->transposed) transpose(s);
    if (s->n == 1) s->b_n = s->c_n = 1;
    choose_way(p);
    choose_blocks(p);
    choose_threads(p, options);
    p->scratch = p->threads * p->scratch_each;
}

/* ---- running ------------------------------------------------------------------------------------ */

typedef struct rectangle { size_t m0, m1, n0, n1; } rectangle;

typedef struct job {
    const gemm_plan *p;
    const char *a, *b;
    char *c, *scratch;
} job;

/* What a thread is at: one matrix of the batch. */
typedef struct part {
    const gemm_plan *p;
    size_t size, batch;
    const char *a, *b; /* of this matrix */
    char *c;
    char *packed_a, *packed_b, *buffer_c;
} part;

static const char *at(const part *w, const char *base, size_t i, ptrdiff_t i_step, size_t j, ptrdiff_t j_step)
{
    return base + ((ptrdiff_t)i * i_step + (ptrdiff_t)j * j_step) * (ptrdiff_t)w->size;
}

/* Columns n0..n1-1 of C from the block r that was computed beside it. */
static void put(const part *w, const rectangle *r, size_t n0, size_t n1)
{
    const gemm_shape *s = &w->p->shape;
    size_t n = r->n1 - r->n0;
#define PUT(real) \
    for (size_t i = r->m0; i < r->m1; i++) { \
        const real *from = (const real *)w->buffer_c + (i - r->m0) * n - r->n0; \
        real *to = (real *)w->c + (ptrdiff_t)i * s->c_m + (ptrdiff_t)n0 * s->c_n; \
        for (size_t j = n0; j < n1; j++, to += s->c_n) *to = s->accumulate ? *to + from[j] : from[j]; \
    }
    if (s->dtype == KERN_F32) {
        PUT(float)
    } else {
        PUT(double)
    }
#undef PUT
}

/* Has the panel of B at `next` brought near by the tiles of this one: the i-th takes the i-th cache line of every row,
 * or of every column if these are contiguous. */
static void look_ahead(const part *w, gemm_tile *t, const char *next, size_t i)
{
    const gemm_shape *s = &w->p->shape;
    t->ahead = t->a;
    t->ahead_step = 0;
    if (next && 64 * i < (s->b_n == 1 ? t->n : t->k) * w->size) {
        t->ahead = next + 64 * i;
        t->ahead_step = (s->b_n == 1 ? s->b_k : s->b_n) * (ptrdiff_t)w->size;
    }
}

/* Adds terms p..p+k-1 to the block r of C, which is at t->c, and puts it to its place a few panels at a time if these
 * are the last. Panels of B are of nearly equal width, tiles of nearly equal height. */
static void tiles(const part *w, const rectangle *r, size_t p, size_t k, gemm_tile *t)
{
    const gemm_shape *s = &w->p->shape;
    const gemm_kernels *kern = w->p->kernels;
    size_t m = r->m1 - r->m0, heights = ratio_up(m, kern->rows), height = m / heights, higher = m % heights;
    size_t units = ratio_up(r->n1 - r->n0, kern->lanes), widths = ratio_up(units, kern->vectors);
    size_t width = units / widths, wider = units % widths, put_to = r->n0;
    bool last = p + k >= s->k, near = s->b_n == 1 || s->b_k == 1;
    ptrdiff_t size = (ptrdiff_t)w->size;
    char *c = t->c;
    t->k = k;
    t->a_m = s->a_m, t->a_k = s->a_k;
    for (size_t j = 0, n0 = r->n0, n1; j < widths; j++, n0 = n1) {
        size_t vectors = width + (j < wider);
        n1 = min(r->n1, n0 + vectors * kern->lanes);
        const char *next = !near ? NULL
                           : j + 1 < widths ? at(w, w->b, p, s->b_k, n1, s->b_n)
                           : last ? NULL : at(w, w->b, p + k, s->b_k, r->n0, s->b_n);
        t->n = n1 - n0;
        t->b = at(w, w->b, p, s->b_k, n0, s->b_n);
        t->b_k = s->b_k;
        if (w->p->pack_b) {
            kern->pack(k, t->n, vectors * kern->lanes, w->packed_b, t->b, s->b_k, s->b_n);
            t->b = w->packed_b;
            t->b_k = (ptrdiff_t)(vectors * kern->lanes);
        }
        t->a = at(w, w->a, r->m0, s->a_m, p, s->a_k);
        t->c = c + (n0 - r->n0) * w->size;
        for (size_t i = 0; i < heights; i++) {
            size_t rows = height + (i < higher);
            look_ahead(w, t, next, i);
            kern->tile[rows - 1][vectors - 1](t);
            t->a = (const char *)t->a + (ptrdiff_t)rows * t->a_m * size;
            t->c = (char *)t->c + (ptrdiff_t)rows * t->c_m * size;
        }
        if (last && w->p->buffer_c && (j + 1 == widths || (n1 - put_to) * w->size >= PUT_BYTES)) {
            put(w, r, put_to, n1);
            put_to = n1;
        }
    }
    t->c = c;
}

static void axpy(const part *w, const rectangle *r, gemm_tile *t)
{
    const gemm_shape *s = &w->p->shape;
    t->k = s->k, t->n = r->n1 - r->n0;
    t->a = w->a, t->a_k = s->a_k;
    t->b = at(w, w->b, 0, 0, r->n0, s->b_n), t->b_k = s->b_k;
    w->p->kernels->axpy(t);
    if (w->p->buffer_c) put(w, r, r->n0, r->n1);
}

static void dots(const part *w, const rectangle *r, gemm_tile *t)
{
    const gemm_shape *s = &w->p->shape;
    const gemm_kernels *kern = w->p->kernels;
    t->k = s->k, t->n = r->n1 - r->n0;
    t->a_m = s->a_m;
    t->b = at(w, w->b, 0, 0, r->n0, s->b_n), t->b_k = s->b_n;
    if (w->p->pack_a) kern->pack(s->k, 1, 1, w->packed_a, w->a, s->a_k, 0);
    for (size_t m0 = r->m0, rows; m0 < r->m1; m0 += rows) {
        rows = min(r->m1 - m0, kern->dot_rows);
        t->a = w->p->pack_a ? w->packed_a : at(w, w->a, m0, s->a_m, 0, 0);
        kern->dots[rows - 1](t);
        t->c = (char *)t->c + (ptrdiff_t)rows * t->c_m * (ptrdiff_t)w->size;
    }
    if (w->p->buffer_c) put(w, r, r->n0, r->n1);
}

static void block(const part *w, const rectangle *r)
{
    const gemm_plan *p = w->p;
    const gemm_shape *s = &p->shape;
    gemm_tile t = {.add = s->accumulate && !p->buffer_c, .c_m = s->c_m};
    if (p->buffer_c) {
        t.c = w->buffer_c;
        t.c_m = (ptrdiff_t)(r->n1 - r->n0);
    } else {
        t.c = w->c + ((ptrdiff_t)r->m0 * s->c_m + (ptrdiff_t)r->n0) * (ptrdiff_t)w->size;
    }
    if (p->way == GEMM_AXPY) {
        axpy(w, r, &t);
    } else if (p->way == GEMM_DOTS) {
        dots(w, r, &t);
    } else {
        tiles(w, r, 0, min(p->kc, s->k), &t); /* no terms: zeros */
        t.add = true;
        for (size_t k = p->kc; k < s->k; k += p->kc) tiles(w, r, k, min(p->kc, s->k - k), &t);
    }
}

static void run_part(const job *q, size_t index)
{
    const gemm_plan *p = q->p;
    const gemm_shape *s = &p->shape;
    size_t unit = p->kernels->lanes * p->kernels->vectors;
    size_t i = index % p->parts_m, j = index / p->parts_m % p->parts_n, k = index / p->parts_m / p->parts_n;
    rectangle all = {cut(s->m, 1, i, p->parts_m), cut(s->m, 1, i + 1, p->parts_m), cut(s->n, unit, j, p->parts_n),
                     cut(s->n, unit, j + 1, p->parts_n)};
    ptrdiff_t size = (ptrdiff_t)kern_size(s->dtype);
    part w = {.p = p, .size = (size_t)size, .batch = cut(s->batch, 1, k, p->parts_batch)};
    if (p->scratch > 0) {
        w.packed_a = q->scratch + index * p->scratch_each;
        w.packed_b = w.packed_a + p->scratch_a;
        w.buffer_c = w.packed_b + p->scratch_b;
    }
    for (size_t end = cut(s->batch, 1, k + 1, p->parts_batch); w.batch < end; w.batch++) {
        w.a = q->a + (ptrdiff_t)w.batch * s->a_batch * size;
        w.b = q->b + (ptrdiff_t)w.batch * s->b_batch * size;
        w.c = q->c + (ptrdiff_t)w.batch * s->c_batch * size;
        for (size_t n0 = all.n0; n0 < all.n1; n0 += p->nc) {
            for (size_t m0 = all.m0; m0 < all.m1; m0 += p->mc) {
                rectangle r = {m0, min(all.m1, m0 + p->mc), n0, min(all.n1, n0 + p->nc)};
                block(&w, &r);
            }
        }
    }
}

void gemm_run(const gemm_plan *p, const void *a, const void *b, void *c, void *scratch)
{
    job q = {p, p->transposed ? b : a, p->transposed ? a : b, c, scratch};
    if (p->threads <= 1) {
        if (p->shape.m > 0 && p->shape.n > 0) run_part(&q, 0);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel num_threads(p->threads)
    {
        /* A region may get fewer threads than it asked for. */
        for (size_t i = (size_t)omp_get_thread_num(); i < p->threads; i += (size_t)omp_get_num_threads()) {
            run_part(&q, i);
        }
    }
#else
    for (size_t i = 0; i < p->threads; i++) run_part(&q, i);
#endif
}
