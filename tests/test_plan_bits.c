/* Results do not hang on the order in which threads come: the same bits for every number of threads where a plan is to
 * be deterministic, and from run to run in any case. The cases are large enough for several threads. */
#include "unit.h"

#include "plan/region.h"
#include "plan_text.h"

#include <stdlib.h>

typedef struct bits_case {
    const char *text;
    int64_t size[3]; /* N, m, n */
    bool in_parts;   /* some region is dealt out */
} bits_case;

static const bits_case cases[] = {
    {"let x : R^n\neval sum(x.*x) + sum(sin(x))", {1, 1, 1000000}, true},
    {"let x : R^n\neval max(x) + norm1(x) + norm2(x) + prod(1 + x/n)", {1, 1, 1000000}, true},
    {"let X : R^{m x n}\neval [j=1..n : sum(i=1..m, X[i,j])]", {1, 3000, 400}, true},
    {"let X : R^{m x n}\neval [j=1..n : sum(i=1..m, exp(X[i,j]))]", {1, 40000, 9}, true},
    {"let X : R^{m x n}\neval [i=1..m : sum(j=1..n, X[i,j]^2)]", {1, 3000, 400}, true},
    {"let X : R^{m x n}\neval [i=1..m : sum(j=1..n, exp(X[i,j]))]", {1, 3, 300000}, true},
    {"let X : R^{m x n}\nderive sum(softmax(X).*logsoftmax(X)) wrt X", {1, 1500, 300}, true},
    {"let A, B : R^{n x n}\nderive sum((A*B).^2) wrt A", {1, 1, 300}, false},
    {"let X : R^{2000 x 50}, W : R^{50 x 60}, b : R^60\n"
     "derive sum([i=1..2000, k=1..60 : tanh(sum(j=1..50, X[i,j]*W[j,k])"
     " + b[k])].^2) wrt b", {1, 1, 1}, true},
    {"let u : R^m, w[1..N] : R\ndef e[0] = u\ndef e[i] = sigmoid(w[i]*e[i-1]) for i in 1..N\neval sum(e[N])",
     {20, 100000, 1}, true},
    {"let u : R^m, w[1..N] : R\ndef e[0] = u\ndef e[i] = sigmoid(w[i]*e[i-1]) for i in 1..N\nderive sum(e[N]) wrt w",
     {40, 90, 1}, false},
    {"let x : R, w[1..N] : R\ndef o[0] = x\ndef o[i] = tanh(w[i]*o[i-1]) for i in 1..N\nderive o[N] wrt w",
     {200000, 1, 1}, false},
    {"let u : R^n, W[1..N] : R^{n x n}\ndef h[0] = u\ndef h[i] = tanh(W[i]*h[i-1]) for i in 1..N\n"
     "derive sum(h[N]) wrt W",
     {30, 1, 150}, false},
    {"let W : R^{m x n}, at : R^20000\nderive sum(scatter(gather(W, at), at, size=9).^2) wrt W", {1, 900, 40}, false},
    {"let A : R^{n x n}\nderive logdet(A*A' + n*I(n)) + sum(inv(A + 9*I(n))) wrt A", {1, 1, 120}, false},
    {"let X : R^{8 x 6 x 20 x 20}, K : R^{12 x 6 x 3 x 3}, L : R^{10 x 12 x 3 x 3}\n"
     "derive sum(maxpool(relu(conv(relu(conv(X, K, pad=[1, 1])), L, pad=[1, 1])), [2, 2]).^2) wrt K", {1, 1, 1}, false},
};

static bool has_parts(const plan_body *b)
{
    for (size_t i = 0; i < b->n_step; i++) {
        const plan_step *s = &b->step[i];
        if (s->region ? s->region->parts > 1 : s->kind == PLAN_LOOP && has_parts(s->op->u.loop)) return true;
    }
    return false;
}

/* Runs a plan twice; both have the same bits, which are added to *all. */
static void run(const bits_case *c, const cr_plan_options *options, plan_arrays *all)
{
    plan_text t;
    cr_plan *p;
    cr_plan_options o = *options;
    plan_arrays again;
    plan_text_open(&t, c->text);
    if (plan_text_plan(&t, c->size, &o, &p) != CR_OK) fail_msg("%s\n%s", c->text, cr_graph_message(t.g));
    plan_text_close(&t);
    if (c->in_parts && o.threads > 1 && !has_parts(&p->body)) fail_msg("%s: nothing is dealt out", c->text);
    cr_slab *s = cr_slab_new(p);
    assert_non_null(s);
    plan_arrays_init(all, p, o.precision);
    plan_arrays_init(&again, p, o.precision);
    assert_int_equal(plan_arrays_run(all, p, s), CR_OK);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(plan_arrays_run(&again, p, s), CR_OK);
        if (!plan_arrays_equal(all, &again)) fail_msg("%s: other bits in run %u", c->text, i + 2);
    }
    plan_arrays_free(&again);
    cr_slab_free(s);
    cr_plan_free(p);
}

static void test_every_number_of_threads(void **state)
{
    (void)state;
    static const unsigned threads[] = {2, 3, 5};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        plan_arrays one, many;
        cr_plan_options o = {.precision = i & 1 ? CR_F64 : CR_F32, .deterministic = true, .threads = 1};
        run(&cases[i], &o, &one);
        for (size_t k = 0; k < sizeof threads / sizeof *threads; k++) {
            o.threads = threads[k];
            run(&cases[i], &o, &many);
            if (!plan_arrays_equal(&one, &many)) fail_msg("%s: %u threads give other bits", cases[i].text, o.threads);
            plan_arrays_free(&many);
        }
        plan_arrays_free(&one);
    }
}

static void test_every_run(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        plan_arrays all;
        run(&cases[i], &(cr_plan_options){.precision = i & 1 ? CR_F32 : CR_F64, .threads = 2 + i % 3}, &all);
        plan_arrays_free(&all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_number_of_threads),
                                       cmocka_unit_test(test_every_run)};
    return cmocka_run_group_tests_name("plan bits", tests, NULL, NULL);
}
