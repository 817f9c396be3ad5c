/* Derivatives through networks of symbolic depth: each architecture, at several depths and with several activations, by
 * everything it has, against the same network written out, and against complex steps. */
#include "unit.h"

#include "depth_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct architecture {
    const char *name;
    bool closed;    /* there is a closed form */
    int64_t least;  /* N it needs */
    const char *y;
    const char *wrt; /* separated by `;`; with k: at all of 1..N, or as `k=2..N` says */
    const char *text;
} architecture;

#define LAYERS "let x : R, w[1..N] : R, b[1..N] : R\ndef o[0] = x\n"

static const architecture architectures[] = {
    {"chain", true, 1, "o[N]", "w[1]; w[k]; w; x; b[1]; b[k]",
     LAYERS "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\ndef o[i] = sigma(s[i]) for i in 1..N\n"},
    {"skip into layer N", true, 3, "o[N]", "w[1]; w[k]; w[N]; w; x; b[k]",
     LAYERS "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\ndef o[i] = sigma(s[i]) for i in 1..N\n"
            "def s[N] = w[N]*(o[N-1] + o[1]) + b[N]\n"},
    {"skip onto layer N", true, 3, "o[N]", "w[1]; w[k]; w; x; b[k]",
     LAYERS "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\ndef o[i] = sigma(s[i]) for i in 1..N\n"
            "def o[N] = sigma(s[N]) + o[1]\n"},
    {"residual", true, 1, "o[N]", "w[1]; w[k]; w; x; b[k]",
     LAYERS "def o[i] = o[i-1] + sigma(w[i]*o[i-1] + b[i]) for i in 1..N\n"},
    {"a skip every two layers", true, 2, "o[N]", "w[1]; w[k]; w; x; b[k]",
     LAYERS "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\ndef o[1] = sigma(s[1])\n"
            "def o[i] = sigma(s[i]) + o[i-2] for i in 2..N\n"},
    {"blocks of two weights", false, 1, "o[N]", "v[1]; v[2]; v[2*N]; x; v",
     "let x : R, v[1..2*N] : R\ndef o[0] = x\n"
     "def o[j] = o[j-1] + v[2*j]*sigma(v[2*j-1]*o[j-1]) for j in 1..N\n"},
    {"skips from every layer to the last", true, 3, "o[N]", "w[1]; w[k]; w; x; b[k]",
     LAYERS "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\ndef o[i] = sigma(s[i]) for i in 1..N\n"
            "def s[N] = w[N]*sum(j=1..N-1, o[j]) + b[N]\n"},
    {"weighted skip", true, 3, "o[N]", "w[1]; w[k]; w; x; a",
     "let a : R\n" LAYERS "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\ndef o[i] = sigma(s[i]) for i in 1..N\n"
            "def s[N] = w[N]*(o[N-1] + a*o[1]) + b[N]\n"},
    {"gated skip", true, 1, "o[N]", "w[1]; w[k]; g[1]; g[k]; w; x; b[k]",
     "let g[1..N] : R\n" LAYERS
     "def o[i] = sigmoid(g[i])*sigma(w[i]*o[i-1] + b[i]) + (1 - sigmoid(g[i]))*o[i-1] for i in 1..N\n"},
    {"highway", true, 1, "o[N]", "w[1]; w[k]; g[k]; w; x",
     "let g[1..N] : R\n" LAYERS "def t[i] = sigmoid(g[i]*o[i-1]) for i in 1..N\n"
     "def o[i] = t[i]*sigma(w[i]*o[i-1] + b[i]) + (1 - t[i])*o[i-1] for i in 1..N\n"},
    {"dense through a running sum", false, 1, "o[N]", "w[1]; w[k]; w; x",
     "let x : R, w[1..N] : R\ndef o[0] = x\ndef c[0] = x\n"
     "def o[i] = sigma(w[i]*c[i-1]) for i in 1..N\ndef c[i] = c[i-1] + o[i] for i in 1..N\n"},
    {"dense", false, 2, "o[N]", "w[1]; w[k]; w; x",
     "let x : R, w[1..N] : R\ndef o[0] = x\ndef o[1] = sigma(w[1]*x)\n"
     "def o[i] = sigma(w[i]*sum(j=1..i-1, o[j])) for i in 2..N\n"},
    {"vectors", true, 1, "o[N]", "W[1]; W[k]; x; c[1]; c[k]; W; c",
     "let x : R^d, W[1..N] : R^{d x d}, c[1..N] : R^d\ndef o[0] = x\n"
     "def s[i] = W[i]*o[i-1] + c[i] for i in 1..N\ndef o[i] = sigma(s[i]) for i in 1..N\n"},
    {"vectors, a number of the last", true, 1, "sum(o[N])", "W[1]; W[k]; W[k][1,2]; x; c[k]; W",
     "let x : R^d, W[1..N] : R^{d x d}, c[1..N] : R^d\ndef o[0] = x\n"
     "def s[i] = W[i]*o[i-1] + c[i] for i in 1..N\ndef o[i] = sigma(s[i]) for i in 1..N\n"},
    {"vectors with a skip", true, 3, "o[N]", "W[1]; W[k]; x; c[k]",
     "let x : R^d, W[1..N] : R^{d x d}, c[1..N] : R^d\ndef o[0] = x\n"
     "def s[i] = W[i]*o[i-1] + c[i] for i in 1..N\ndef o[i] = sigma(s[i]) for i in 1..N\n"
     "def s[N] = W[N]*(o[N-1] + o[1]) + c[N]\n"},
    {"vectors, residual", true, 1, "o[N]", "W[1]; W[k]; x",
     "let x : R^d, W[1..N] : R^{d x d}\ndef o[0] = x\ndef o[i] = o[i-1] + sigma(W[i]*o[i-1]) for i in 1..N\n"},
    {"vectors entry by entry", true, 1, "o[N]", "x; c[1]; c[k]; c",
     "let x : R^d, c[1..N] : R^d\ndef o[0] = x\ndef o[i] = sigma(c[i] .* o[i-1]) for i in 1..N\n"},
    {"recurrent", true, 1, "o[N]", "w; u; z[1]; z[k]; x; z",
     "let x : R, w : R, u : R, z[1..N] : R\ndef o[0] = x\ndef o[i] = sigma(w*o[i-1] + u*z[i]) for i in 1..N\n"},
    {"recurrent vectors", true, 1, "o[N]", "W; U; z[k]; x",
     "let x : R^d, W : R^{d x d}, U : R^{d x d}, z[1..N] : R^d\ndef o[0] = x\n"
     "def o[i] = sigma(W*o[i-1] + U*z[i]) for i in 1..N\n"},
    {"two lags", true, 1, "o[N]", "w[1]; w[k]; a; x; w",
     "let a : R\n" LAYERS "def o[-1] = 0.3\ndef o[i] = sigma(w[i]*o[i-1] + a*o[i-2]) for i in 1..N\n"},
    {"three lags", true, 1, "o[N]", "w[1]; w[k]; a; x",
     "let a : R\n" LAYERS "def o[-1] = x^2\ndef o[-2] = 0.5\n"
     "def o[i] = sigma(w[i]*o[i-1] + a*o[i-2] + b[i]*o[i-3]) for i in 1..N\n"},
    {"skip from the middle", true, 5, "o[N]", "w[1]; w[k]; x; b[k]",
     "let m : Z\n" LAYERS "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\ndef o[i] = sigma(s[i]) for i in 1..N\n"
     "def s[N] = w[N]*(o[N-1] + o[m]) + b[N]\n"},
    {"loss over all layers", true, 1, "sum(i=1..N, (o[i] - y[i])^2)", "w[1]; w[k]; w; x; y[k]",
     "let y[1..N] : R\n" LAYERS "def o[i] = sigma(w[i]*o[i-1] + b[i]) for i in 1..N\n"},
    {"loss with weights of its own", true, 1, "w[1]*sum(i=1..N, w[i]*o[i]) + w[N]", "w[1]; w[k]; w; x",
     LAYERS "def o[i] = sigma(w[i]*o[i-1] + b[i]) for i in 1..N\n"},
    {"every layer adds the input", true, 1, "o[N]", "w[1]; w[k]; x; w",
     LAYERS "def o[i] = sigma(w[i]*o[i-1] + b[i]) + x for i in 1..N\n"},
    {"every layer adds the first", true, 2, "o[N]", "w[1]; w[k]; x; w",
     LAYERS "def o[1] = sigma(w[1]*x)\ndef o[i] = sigma(w[i]*o[i-1] + b[i]) + o[1] for i in 2..N\n"},
    {"every layer has the last weight", true, 1, "o[N]", "w[1]; w[k]; w[N]; x; w",
     LAYERS "def o[i] = sigma(w[i]*o[i-1] + w[N]*b[i]) for i in 1..N\n"},
    {"two coupled states", false, 1, "p[N]", "w[1]; w[k]; a; x; w",
     "let x : R, a : R, w[1..N] : R\ndef p[0] = x\ndef q[0] = 1\n"
     "def p[i] = sigma(w[i]*q[i-1] + a*p[i-1]) for i in 1..N\ndef q[i] = sigma(p[i-1]*q[i-1] + w[i]) for i in 1..N\n"},
    {"an earlier layer", true, 2, "o[m]", "w[1]; w[k]; w; x",
     "let m : Z\n" LAYERS "def o[i] = sigma(w[i]*o[i-1] + b[i]) for i in 1..N\n"},
};
enum { N_ARCHITECTURES = sizeof architectures / sizeof *architectures };

static const char *const activations[] = {"sigmoid(z)", "tanh(z)", "relu(z)", "softplus(z)"};

/* All derivatives of one architecture with one activation. */
static bool check(depth_case *c, const architecture *a, const char *activation)
{
    static const int64_t depths[] = {2, 3, 5, 50};
    static char text[2000];
    snprintf(text, sizeof text, "fun sigma(z) = %s\n%s", activation, a->text);
    if (!depth_open(c, text, a->y, 7)) return false;
    for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
        int64_t n = depths[i];
        if (n < a->least) continue;
        if (!depth_at(c, n)) return false;
        char list[200], *next = list;
        snprintf(list, sizeof list, "%s", a->wrt);
        while (next) {
            char *wrt = next;
            next = strchr(wrt, ';');
            if (next) *next++ = '\0';
            while (*wrt == ' ') wrt++;
            if (!depth_derivative(c, wrt, 1, n, n > 5)) return false;
        }
    }
    if (a->closed && c->recursions) return depth_fault(c, "%u derivatives have no closed form", c->recursions);
    return true;
}

static void closed_forms_are_the_unrolled_network(void **state)
{
    (void)state;
    unsigned faults = 0, closed = 0, recursions = 0;
    const char *only = getenv("DEPTH_ONLY");
    for (int i = 0; i < N_ARCHITECTURES; i++)
        for (size_t k = 0; k < sizeof activations / sizeof *activations; k++) {
            depth_case c;
            if (only && strcmp(only, architectures[i].name)) continue;
            if (!check(&c, &architectures[i], activations[k])) {
                print_error("%s:\n%s\n\n", architectures[i].name, c.fault);
                faults++;
                k = 4;
            }
            closed += c.closed;
            recursions += c.recursions;
            depth_close(&c);
        }
    print_message("%u closed forms, %u recursions\n", closed, recursions);
    if (faults) fail_msg("%u faults", faults);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(closed_forms_are_the_unrolled_network)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
