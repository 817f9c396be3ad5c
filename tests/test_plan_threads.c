/* One plan run from several threads at a time, each with a slab of its own: the bits of a run alone. Under
 * ThreadSanitizer (./run sanitize) with plans of one thread: it does not know OpenMP's own synchronisation. */
#include "unit.h"

#include "plan_text.h"

#include <pthread.h>

enum { THREADS = 4, RUNS = 8 };

static const char *const texts[] = {
    "let W : R^{m x n}, x : R^n, b : R^m\nderive sum(relu(W*x + b).^2) wrt W",
    "let A, B : R^{n x n}\nderive sum((A*B).^2) wrt A",
    "let X : R^{m x n}\nderive sum(softmax(X).*logsoftmax(X)) wrt X",
    "let x : R, w[1..N] : R\ndef o[0] = x\ndef o[i] = tanh(w[i]*o[i-1]) for i in 1..N\nderive o[N] wrt w",
    "let u : R^m, w[1..N] : R\ndef e[0] = u\ndef e[i] = sigmoid(w[i]*e[i-1]) for i in 1..N\nderive sum(e[N]) wrt w",
    "let u : R^n, W : R^{n x n}\ndef h[0] = u\ndef h[i] = tanh(W*h[i-1]) for i in 1..N\nderive sum(h[N]) wrt W",
    "let A : R^{5 x 5}\nderive det(A) + sum(inv(A + 4*I(5))) + sum(A^4) wrt A",
    "let W : R^{m x n}, at : R^40\nderive sum(scatter(gather(W, at), at, size=7).^2) wrt W",
    "let X : R^{4 x 3 x 20}, K : R^{6 x 3 x 3}\nderive sum(relu(conv(X, K, pad=[1])).^2) wrt K",
    "let X : R^{2 x 3 x 60}\nderive sum(maxpool(X, 2)) + sum(avgpool(X, 3, pad=1)) wrt X",
    "fun phi : R -> R\nlet t : R, x : R^n\nderive sum(phi(t*x)) wrt x",
    "let w[1..N] : R\neval [k=1..N : sum(i=k..N, w[i]^2)*prod(i=1..k, 1 + w[i]/i)]",
};

typedef struct worker {
    pthread_t thread;
    const cr_plan *plan;
    const plan_arrays *want;
    plan_arrays mine;
    cr_slab *slab;
    bool same;
} worker;

/* No assertion in here: cmocka's jump out of the thread that it began in. */
static void *work(void *user)
{
    worker *w = user;
    w->same = true;
    for (unsigned i = 0; i < RUNS && w->same; i++) {
        w->same = plan_arrays_run(&w->mine, w->plan, w->slab) == CR_OK && plan_arrays_equal(&w->mine, w->want);
    }
    return NULL;
}

static void run_together(const char *text, cr_precision precision, unsigned threads)
{
    plan_text t;
    cr_plan *p;
    plan_arrays want;
    worker w[THREADS];
    cr_plan_options o = {.precision = precision, .threads = threads};
    plan_text_open(&t, text);
    if (plan_text_plan(&t, (int64_t[]){60, 45, 33}, &o, &p) != CR_OK) fail_msg("%s\n%s", text, cr_graph_message(t.g));
    plan_text_close(&t); /* a plan holds nothing of its graph */
    plan_arrays_init(&want, p, precision);
    cr_slab *alone = cr_slab_new(p);
    assert_non_null(alone);
    assert_int_equal(plan_arrays_run(&want, p, alone), CR_OK);
    for (unsigned i = 0; i < THREADS; i++) {
        w[i] = (worker){.plan = p, .want = &want, .slab = cr_slab_new(p)};
        assert_non_null(w[i].slab);
        plan_arrays_init(&w[i].mine, p, precision);
    }
    for (unsigned i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    for (unsigned i = 0; i < THREADS; i++) assert_int_equal(pthread_join(w[i].thread, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        if (!w[i].same) fail_msg("%s: thread %u got something else", text, i);
        plan_arrays_free(&w[i].mine);
        cr_slab_free(w[i].slab);
    }
    plan_arrays_free(&want);
    cr_slab_free(alone);
    cr_plan_free(p);
}

static void run_all(unsigned threads)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (unsigned k = 0; k < 2; k++) run_together(texts[i], k ? CR_F64 : CR_F32, threads);
    }
}

static void test_alone(void **state)
{
    (void)state;
    run_all(1);
}

#ifndef __SANITIZE_THREAD__
static void test_with_threads(void **state)
{
    (void)state;
    run_all(2);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),
#ifndef __SANITIZE_THREAD__
        cmocka_unit_test(test_with_threads),
#endif
    };
    return cmocka_run_group_tests_name("plan threads", tests, NULL, NULL);
}
