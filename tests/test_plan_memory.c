/* Every allocation of planning made to fail, alone and with all after it: a clean CR_ENOMEM each time. Leaks and stray
 * accesses are found by the sanitizer run. */
#include "unit.h"

#include "plan_text.h"

#include <stdio.h>

#define CHAIN "let x : R, w[1..N], b[1..N] : R\ndef o[0] = x\n"
static const char *const texts[] = {
    "let W : R^{m x n}, x : R^n, b : R^m\nderive sum(relu(W*x + b).^2) wrt W",
    "let A, B : R^{n x n}\nderive tr(A*B*A'*B) wrt A",
    "let X : R^{m x n}\nderive sum(softmax(X).*logsoftmax(X)) wrt X",
    CHAIN "def o[i] = sigmoid(w[i]*o[i-1] + b[i]) for i in 1..N\nderive o[N] wrt w",
    CHAIN "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\ndef o[i] = tanh(s[i]) for i in 1..N\nderive (o[N] - 1)^2 wrt b",
    CHAIN "def o[1] = w[1]*x\ndef o[i] = sin(w[i]*o[i-1] + o[i-2]) for i in 2..N\nderive o[N] wrt w",
    "let u : R^m, W[1..N] : R^{m x m}\ndef h[0] = u\ndef h[i] = tanh(W[i]*h[i-1]) for i in 1..N\n"
    "derive sum(h[N]) wrt W",
    "let u : R^5, W : R^{5 x 5}\ndef h[0] = u\ndef h[i] = h[i-1] + gather(relu(W*h[i-1]), [2, 1, 2, 3, 1]) for i in "
    "1..N\nderive norm2(h[N])^2 wrt W",
    "let w[1..N] : R\neval [k=1..N : sum(i=1..N, prod(j=k..i, w[j]))]",
    "let w[1..N] : R\neval [k=1..N : prod(j=1..k-1, 1 + w[j]/j)*w[k]]",
    "let W[1..N] : R^{2 x 2}\neval prod(j=N..1, W[j])",
    "let x : R^n\neval [i=1..n : max(j=1..n, x[i]*x[j]) + x[mod(i*i, n) + 1]]",
    "let t : R, x : R^n\nderive vec([t, x[1]; 1, t^2]*[3, t; 1, 2]) wrt t",
    "fun phi : R -> R\nlet t : R, x : R^n\nderive sum(phi(t*x)) wrt x",
    "fun swish(z) = z*sigmoid(z)\nlet x : R^n\nderive sum(swish(swish(x))) wrt x",
    "let A : R^{n x n}\nderive det(A)*tr(inv(A)) wrt A",
    "let W : R^{m x n}, A : R^{n x n}\nderive tr(pinv(W)*W*adj(A)) wrt A",
    "let A : R^{n x n}, x : R^n\nderive sum(A^3*x) wrt A",
    "let B : R^{20 x 20}\nderive logdet(B) + sum(pinv(B)) + sum(B^5) wrt B",
    "let W : R^{m x n}, at : R^4\nderive sum(scatter(gather(W, at), at, size=7).^2) wrt W",
    "let X : R^{2 x 3 x 9}, K : R^{4 x 3 x 3}\nderive sum(relu(conv(X, K, stride=2, pad=[1])).^2) wrt K",
    "let X : R^{2 x 3 x 9}\nderive sum(maxpool(X, 2)) + sum(avgpool(X, 3, pad=1)) wrt X",
    "let x, p : R^n\nderive sum(concat(x, p).^2) + max(x)*prod(p) wrt x",
};
enum { N_TEXTS = sizeof texts / sizeof *texts, TRIED = 400 /* of a text, each way */ };

typedef struct gate {
    long count, limit; /* < 0: none */
    bool once;
} gate;

static bool allow(void *user)
{
    gate *g = user;
    long n = g->count++;
    return g->limit < 0 || (g->once ? n != g->limit : n < g->limit);
}

/* A new graph each time: what it has kept from an earlier plan needs no memory. */
static cr_status plan(const char *text, gate *g)
{
    plan_text t;
    cr_plan *p = NULL;
    cr_plan_options o = {.precision = CR_F64, .threads = 2};
    plan_text_open(&t, text);
    cr_mem_set_hook(allow, g);
    cr_status status = plan_text_plan(&t, (int64_t[]){6, 5, 3}, &o, &p);
    cr_slab *s = status == CR_OK ? cr_slab_new(p) : NULL;
    cr_mem_set_hook(NULL, NULL);
    if (status == CR_OK && !s) status = CR_ENOMEM;
    if (status != CR_OK && status != CR_ENOMEM) print_message("%s\n", cr_graph_message(t.g));
    cr_slab_free(s);
    cr_plan_free(p);
    plan_text_close(&t);
    return status;
}

static void test_each_allocation_fails(void **state)
{
    (void)state;
    long total = 0, tried = 0;
    for (size_t i = 0; i < N_TEXTS; i++) {
        gate all = {.limit = -1};
        if (plan(texts[i], &all) != CR_OK) fail_msg("%s", texts[i]);
        long step = 1 + all.count / TRIED;
        for (long at = (long)i % step; at < all.count; at += step) {
            for (int once = 0; once < 2; once++, tried++) {
                gate g = {.limit = at, .once = once};
                cr_status s = plan(texts[i], &g);
                if (s != CR_ENOMEM) {
                    fail_msg("%s: status %d with allocation %ld of %ld refused%s", texts[i], (int)s, at, all.count,
                             once ? " alone" : "");
                }
            }
        }
        total += all.count;
    }
    print_message("%ld allocations, %ld failures\n", total, tried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation_fails)};
    return cmocka_run_group_tests_name("plan memory", tests, NULL, NULL);
}
