/* Room kernel, products of matrices: against sums in long double, for random shapes, strides, levels and numbers of
 * threads; what is written and what is not; the same bits whenever they are promised. */
#include "unit.h"

#include "kernel/gemm.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed;

static uint64_t draw(uint64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
}

/* ---- operands ----------------------------------------------------------------------------------- */

/* A tensor [batch, rows, columns] somewhere in memory that is just as large as it needs. */
typedef struct operand {
    kern_dtype dtype;
    size_t count; /* numbers in memory */
    ptrdiff_t origin, step[3];
    void *memory;
} operand;

static double get(const operand *o, ptrdiff_t at)
{
    return o->dtype == KERN_F32 ? (double)((const float *)o->memory)[at] : ((const double *)o->memory)[at];
}

static void put(const operand *o, ptrdiff_t at, double v)
{
    if (o->dtype == KERN_F32) {
        ((float *)o->memory)[at] = (float)v;
    } else {
        ((double *)o->memory)[at] = v;
    }
}

static void *first(const operand *o)
{
    return (char *)o->memory + o->origin * (ptrdiff_t)kern_size(o->dtype);
}

static ptrdiff_t place(const operand *o, size_t b, size_t i, size_t j)
{
    return o->origin + (ptrdiff_t)b * o->step[0] + (ptrdiff_t)i * o->step[1] + (ptrdiff_t)j * o->step[2];
}

static void operand_fill(operand *o)
{
    for (size_t i = 0; i < o->count; i++) put(o, (ptrdiff_t)i, (double)draw(2001) / 1000 - 1);
}

/* Axes in any order, with gaps, backwards; of what is only read, some repeated (step 0). */
static operand operand_new(kern_dtype t, const size_t size[3], bool repeats, bool simple)
{
    operand o = {.dtype = t};
    unsigned order[3] = {2, 1, 0};
    ptrdiff_t unit = simple || draw(4) > 0 ? 1 : 3, low = 0, high = 0;
    if (draw(2)) order[0] = 1, order[1] = 2;
    if (!simple && draw(5) == 0) order[2] = order[0], order[0] = 0;
    for (unsigned i = 0; i < 3; i++) {
        unsigned axis = order[i];
        ptrdiff_t n = (ptrdiff_t)size[axis], step = unit;
        if (!simple && draw(8) == 0) step = -step;
        if (repeats && !simple && draw(8) == 0) {
            step = 0;
        } else {
            unit *= n > 0 ? n : 1;
            if (!simple && draw(3) == 0) unit += (ptrdiff_t)draw(20);
        }
        o.step[axis] = step;
        if (n > 0) *(step < 0 ? &low : &high) += step * (n - 1);
    }
    o.origin = -low;
    o.count = (size_t)(high - low) + 1;
    o.memory = malloc(o.count * kern_size(t));
    assert_non_null(o.memory);
    operand_fill(&o);
    return o;
}

typedef struct product {
    gemm_shape shape;
    operand a, b, c;
} product;

static product product_new(kern_dtype t, size_t batch, size_t m, size_t n, size_t k, bool simple)
{
    product p = {.shape = {.dtype = t, .batch = batch, .m = m, .n = n, .k = k, .accumulate = draw(2)}};
    gemm_shape *s = &p.shape;
    p.a = operand_new(t, (size_t[]){batch, m, k}, true, simple);
    p.b = operand_new(t, (size_t[]){batch, k, n}, true, simple);
    p.c = operand_new(t, (size_t[]){batch, m, n}, false, simple);
    s->a_batch = p.a.step[0], s->a_m = p.a.step[1], s->a_k = p.a.step[2];
    s->b_batch = p.b.step[0], s->b_k = p.b.step[1], s->b_n = p.b.step[2];
    s->c_batch = p.c.step[0], s->c_m = p.c.step[1], s->c_n = p.c.step[2];
    return p;
}

static void product_free(product *p)
{
    free(p->a.memory);
    free(p->b.memory);
    free(p->c.memory);
}

static void print_product(const product *p, const gemm_options *o)
{
    const gemm_shape *s = &p->shape;
    print_message("f%d level %d threads %u: %zu of %zu x %zu x %zu, A %td %td %td, B %td %td %td, C %td %td %td, "
                  "add %d\n",
                  s->dtype == KERN_F32 ? 32 : 64, o->level, o->threads, s->batch, s->m, s->n, s->k, s->a_batch, s->a_m,
                  s->a_k, s->b_batch, s->b_k, s->b_n, s->c_batch, s->c_m, s->c_n, s->accumulate);
}

/* ---- runs --------------------------------------------------------------------------------------- */

enum { GUARD = 256 };

/* Scratch full of NaN, between guards. */
typedef struct guarded {
    unsigned char *memory, *scratch;
    size_t n;
} guarded;

static guarded guarded_new(size_t n)
{
    guarded g = {.n = n, .memory = malloc(n + 2 * GUARD + 64)};
    assert_non_null(g.memory);
    g.scratch = g.memory + GUARD + (64 - (uintptr_t)(g.memory + GUARD) % 64) % 64;
    memset(g.scratch - GUARD, 0xff, n + 2 * GUARD);
    return g;
}

static void guarded_check(guarded *g)
{
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(g->scratch[(ptrdiff_t)i - GUARD], 0xff);
        assert_int_equal(g->scratch[g->n + i], 0xff);
    }
    free(g->memory);
}

static void run(const product *p, const gemm_options *o)
{
    gemm_plan plan;
    gemm_plan_init(&plan, &p->shape, o);
    assert_in_range(plan.threads, 1, o->threads);
    guarded g = guarded_new(plan.scratch);
    gemm_run(&plan, first(&p->a), first(&p->b), first(&p->c), plan.scratch > 0 ? g.scratch : NULL);
    guarded_check(&g);
}

static void check(product *p, const gemm_options *o)
{
    const gemm_shape *s = &p->shape;
    size_t bytes = p->c.count * kern_size(s->dtype);
    operand before = p->c;
    before.memory = malloc(bytes);
    memcpy(before.memory, p->c.memory, bytes);
    bool *entry = calloc(p->c.count, sizeof *entry); /* of C's memory: what is one of C's */
    run(p, o);
    double eps = s->dtype == KERN_F32 ? 0x1p-24 : 0x1p-53;
    for (size_t b = 0; b < s->batch; b++) {
        for (size_t i = 0; i < s->m; i++) {
            for (size_t j = 0; j < s->n; j++) {
                ptrdiff_t at = place(&p->c, b, i, j);
                long double sum = s->accumulate ? get(&before, at) : 0, size = fabsl(sum);
                for (size_t q = 0; q < s->k; q++) {
                    long double term = get(&p->a, place(&p->a, b, i, q));
                    term *= get(&p->b, place(&p->b, b, q, j));
                    sum += term;
                    size += fabsl(term);
                }
                double got = get(&p->c, at);
                if (!(fabsl(got - sum) <= eps * ((double)s->k + 2) * size)) {
                    print_product(p, o);
                    fail_msg("C[%zu, %zu, %zu] is %.9g, not %.9Lg", b, i, j, got, sum);
                }
                entry[at] = true;
            }
        }
    }
    for (size_t i = 0; i < p->c.count; i++) {
        assert_true(entry[i] || get(&p->c, (ptrdiff_t)i) == get(&before, (ptrdiff_t)i));
    }
    free(before.memory);
    free(entry);
}

/* ---- tests -------------------------------------------------------------------------------------- */

static size_t some_size(void)
{
    switch (draw(8)) {
    case 0: return draw(2);
    case 1:
    case 2: return 1 + draw(8);
    case 3:
    case 4:
    case 5: return 1 + draw(40);
    case 6: return 16 * (1 + draw(6));
    default: return 1 + draw(150);
    }
}

static void random_shapes(bool simple, int count)
{
    for (int i = 0; i < count; i++) {
        gemm_options o = {.level = (kern_level)draw(kern_best() + 1), .threads = 1 + (unsigned)draw(4)};
        product p = product_new(draw(2) ? KERN_F32 : KERN_F64, draw(3) ? 1 : draw(5), some_size(), some_size(),
                                some_size(), simple);
        check(&p, &o);
        product_free(&p);
    }
}

static void test_dense(void **state)
{
    (void)state;
    seed = 1;
    random_shapes(true, 400);
}

static void test_strides(void **state)
{
    (void)state;
    seed = 2;
    random_shapes(false, 800);
}

/* Every way at every level, over several blocks of m, n and k, by several threads. */
static void test_large(void **state)
{
    static const size_t size[][3] = {
        {130, 1100, 20}, {700, 70, 40}, {31, 33, 1500}, {1, 3000, 700}, {1, 700, 3000}, {2000, 1, 300}, {3, 2100, 90},
        {300, 3, 700}, {1, 1, 100000}, {150, 600, 40},
    };
    (void)state;
    seed = 3;
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        for (unsigned level = 0; level <= kern_best(); level++) {
            for (unsigned t = 0; t < 2; t++) {
                gemm_options o = {(kern_level)level, 1 + (unsigned)draw(5)};
                product p = product_new((kern_dtype)t, 1, size[i][0], size[i][1], size[i][2], draw(2));
                check(&p, &o);
                product_free(&p);
            }
        }
    }
}

/* Infinities and NaN stay in their row: what fills panels up takes no part. */
static void test_not_finite(void **state)
{
    static const size_t size[][3] = {{5, 7, 9}, {40, 70, 30}, {1, 37, 9}, {29, 1, 50}};
    (void)state;
    seed = 4;
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        for (unsigned level = 0; level <= kern_best(); level++) {
            gemm_options o = {(kern_level)level, 1};
            product p = product_new(KERN_F32, 1, size[i][0], size[i][1], size[i][2], true);
            p.shape.accumulate = false;
            size_t row = p.shape.m - 1;
            put(&p.a, place(&p.a, 0, row, 2), INFINITY);
            put(&p.a, place(&p.a, 0, row, 3), NAN);
            for (size_t j = 0; j < p.shape.n; j++) put(&p.c, place(&p.c, 0, row, j), 0);
            run(&p, &o);
            for (size_t r = 0; r <= row; r++) {
                for (size_t j = 0; j < p.shape.n; j++) {
                    assert_int_equal(isfinite(get(&p.c, place(&p.c, 0, r, j))) != 0, r != row);
                }
            }
            product_free(&p);
        }
    }
}

static void test_same_bits(void **state)
{
    static const size_t size[][4] = {
        {1, 128, 512, 600}, {1, 600, 128, 130}, {1, 1, 2048, 1024}, {1, 2048, 1, 1024}, {40, 64, 48, 32},
        {3, 100, 300, 200}, {1, 8, 900, 500}, {1, 10, 10, 60000},
    };
    (void)state;
    seed = 5;
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        for (unsigned level = 0; level <= kern_best(); level++) {
            product p = product_new((kern_dtype)draw(2), size[i][0], size[i][1], size[i][2], size[i][3], true);
            p.shape.accumulate = false;
            size_t bytes = p.c.count * kern_size(p.shape.dtype);
            void *one = malloc(bytes), *several[2] = {malloc(bytes), malloc(bytes)};
            for (unsigned threads = 1; threads <= 7; threads++) {
                gemm_options o = {(kern_level)level, threads};
                run(&p, &o);
                if (threads == 1) memcpy(one, p.c.memory, bytes);
                assert_memory_equal(one, p.c.memory, bytes);
            }
            for (unsigned round = 0; round < 2; round++) {
                gemm_options o = {(kern_level)level, 4};
                run(&p, &o);
                memcpy(several[round], p.c.memory, bytes);
            }
            assert_memory_equal(several[0], several[1], bytes);
            free(one);
            free(several[0]);
            free(several[1]);
            product_free(&p);
        }
    }
}

/* ---- one plan, several threads ------------------------------------------------------------------- */

typedef struct caller {
    const gemm_plan *plan;
    const product *p;
    void *c;
} caller;

static void *call(void *user)
{
    caller *q = user;
    void *scratch = aligned_alloc(64, q->plan->scratch + 64 - q->plan->scratch % 64);
    for (int i = 0; i < 20; i++) gemm_run(q->plan, first(&q->p->a), first(&q->p->b), q->c, scratch);
    free(scratch);
    return NULL;
}

static void test_concurrent(void **state)
{
    enum { CALLERS = 4 };
    (void)state;
    seed = 6;
    for (unsigned threads = 1; threads <= 2; threads++) {
        product p = product_new(KERN_F32, 1, 128, 128, 256, true);
        gemm_options o = {kern_best(), threads};
        gemm_plan plan;
        pthread_t id[CALLERS];
        caller q[CALLERS];
        size_t bytes = p.c.count * sizeof(float);
        p.shape.accumulate = false;
        gemm_plan_init(&plan, &p.shape, &o);
        run(&p, &o);
        for (int i = 0; i < CALLERS; i++) {
            q[i] = (caller){&plan, &p, malloc(bytes)};
            assert_int_equal(pthread_create(&id[i], NULL, call, &q[i]), 0);
        }
        for (int i = 0; i < CALLERS; i++) {
            pthread_join(id[i], NULL);
            assert_memory_equal(q[i].c, p.c.memory, bytes);
            free(q[i].c);
        }
        product_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dense),     cmocka_unit_test(test_strides),   cmocka_unit_test(test_large),
        cmocka_unit_test(test_not_finite), cmocka_unit_test(test_same_bits), cmocka_unit_test(test_concurrent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
