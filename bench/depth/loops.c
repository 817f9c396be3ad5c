/* A recurrence of depth N beside the same written by hand:
 *
 *     o[0] = x, s[i] = w[i]*o[i-1] + b[i], o[i] = sigmoid(s[i]);     o[N] and its derivatives by w[1..N]
 *     e[0] = u in R^m, e[i] = sigmoid(w[i]*e[i-1]);                  sum(e[N]) and its derivatives by w[1..N]
 *
 *     depth_loops DEPTH BATCH ROUNDS     one JSON object on standard output; batch 1 is the first network
 *
 * Ours is one exec_eval_n of value and derivatives: making the code is in its time. By hand there are two: one that
 * allocates its tables and results in the call, and one that is handed tables which have been touched before. Ours
 * keeps its tables in the environment and uses its results again; its first call is told apart. They take turns;
 * seconds are medians. Deriving is timed at symbolic N, graph and parser made anew each time; only the derivation is
 * in the time. */
#include "program/program.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_size);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static void fail(const char *what)
{
    fprintf(stderr, "depth_loops: %s\n", what);
    exit(1);
}

/* ---- by hand ------------------------------------------------------------------------------------ */

/* w, b and dw are of 1..n, at [0..n-1]; o is of 0..n */
static double by_hand(size_t n, double x, const double *w, const double *b, double *o, double *dw)
{
    o[0] = x;
    for (size_t i = 1; i <= n; i++) {
        o[i] = 1 / (1 + exp(-(w[i - 1] * o[i - 1] + b[i - 1])));
    }
    double g = 1;
    for (size_t k = n; k > 0; k--) {
        double d = g * o[k] * (1 - o[k]);
        dw[k - 1] = d * o[k - 1];
        g = d * w[k - 1];
    }
    return o[n];
}

static double batch_by_hand(size_t n, size_t m, const double *u, const double *w, double *e, double *g, double *dw)
{
    double value = 0;
    memcpy(e, u, m * sizeof *e);
    for (size_t i = 1; i <= n; i++) {
        const double *before = e + (i - 1) * m;
        double *to = e + i * m;
        for (size_t k = 0; k < m; k++) {
            to[k] = 1 / (1 + exp(-(w[i - 1] * before[k])));
        }
    }
    for (size_t k = 0; k < m; k++) {
        value += e[n * m + k];
        g[k] = 1;
    }
    for (size_t i = n; i > 0; i--) {
        const double *here = e + i * m, *before = e + (i - 1) * m;
        double sum = 0;
        for (size_t k = 0; k < m; k++) {
            double d = g[k] * here[k] * (1 - here[k]);
            sum += d * before[k];
            g[k] = d * w[i - 1];
        }
        dw[i - 1] = sum;
    }
    return value;
}

typedef struct problem {
    size_t n, m;
    double *start, *w, *b; /* x or u */
    double *states, *g, *dw; /* of the one by hand that keeps its tables */
} problem;

static double hand(const problem *p, bool keep, double *dw)
{
    double *states = keep ? p->states : malloc((p->n + 1) * p->m * sizeof *states);
    double *to = keep ? p->dw : malloc(p->n * sizeof *to);
    if (!states || !to) {
        fail("out of memory");
    }
    double value = p->m == 1 ? by_hand(p->n, *p->start, p->w, p->b, states, to)
                             : batch_by_hand(p->n, p->m, p->start, p->w, states, p->g, to);
    if (dw) {
        memcpy(dw, to, p->n * sizeof *dw);
    }
    if (!keep) {
        free(states);
        free(to);
    }
    return value;
}

/* ---- ours --------------------------------------------------------------------------------------- */

static const char scalar_text[] = "let x : R, w[1..N], b[1..N] : R\n"
                                  "def o[0] = x\n"
                                  "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\n"
                                  "def o[i] = sigmoid(s[i]) for i in 1..N\n"
                                  "derive o[N] wrt w\n";
static const char batch_text[] = "let u : R^m, w[1..N] : R\n"
                                 "def e[0] = u\n"
                                 "def e[i] = sigmoid(w[i]*e[i-1]) for i in 1..N\n"
                                 "derive sum(e[N]) wrt w\n";

static cr_program *network(size_t m)
{
    cr_program *p = cr_program_new();
    const char *text = m == 1 ? scalar_text : batch_text;
    if (!p || cr_program_parse(p, "depth", text, strlen(text)) != CR_OK) {
        fail(p ? cr_program_message(p) : "out of memory");
    }
    return p;
}

static double derive_once(size_t m)
{
    cr_program *p = network(m);
    const lang_statement *st = prog_statement(p, 0);
    double t = now();
    cr_ref d = prog_exact(p, st, st->n_wrt, 0);
    t = now() - t;
    if (!d) {
        fail(cr_program_message(p));
    }
    cr_program_free(p);
    return t;
}

static void bind(cr_program *p, exec_env *env, const char *name, unsigned rank, size_t n, double *value)
{
    cr_ref param = p->g->param_by_name[name_intern(p->g->dims, name, strlen(name))];
    exec_array a = {.rank = rank, .dim = {(int64_t)n}, .n = n, .value = value};
    if (exec_bind(env, param, &a) != CR_OK) {
        fail(cr_program_message(p));
    }
}

int main(int argc, char **argv)
{
    size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 0, m = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    size_t rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    if (!n || !m || !rounds || rounds > 999) {
        fail("DEPTH BATCH ROUNDS");
    }
    problem p = {.n = n, .m = m};
    p.start = malloc(m * sizeof *p.start);
    p.w = malloc(n * sizeof *p.w);
    p.b = malloc(n * sizeof *p.b);
    p.states = calloc((n + 1) * m, sizeof *p.states);
    p.g = calloc(m, sizeof *p.g);
    p.dw = calloc(n, sizeof *p.dw);
    double *want = malloc(n * sizeof *want);
    if (!p.start || !p.w || !p.b || !p.states || !p.g || !p.dw || !want) {
        fail("out of memory");
    }
    for (size_t i = 0; i < m; i++) {
        p.start[i] = sin((double)i + 1);
    }
    for (size_t i = 0; i < n; i++) { /* gradients that do not vanish at once: |w sigma'| near 1 */
        p.w[i] = 4 + 0.5 * sin((double)i);
        p.b[i] = -2 + 0.3 * cos(3.0 * (double)i);
    }
    memset(p.states, 1, (n + 1) * m * sizeof *p.states); /* so that its pages are there */

    cr_program *prog = network(m);
    const lang_statement *st = prog_statement(prog, 0);
    cr_ref root[2] = {st->expr, prog_exact(prog, st, st->n_wrt, 0)};
    exec_env *env = exec_env_new(prog->g);
    bind(prog, env, m == 1 ? "x" : "u", m > 1, m, p.start);
    bind(prog, env, "w", 1, n, p.w);
    if (m == 1) {
        bind(prog, env, "b", 1, n, p.b);
    }
    exec_array out[2] = {{0}};
    double seconds[4][999], first = 0, worst = 0, scale = 0;
    for (size_t k = 0; k < rounds; k++) {
        double t = now();
        double value = hand(&p, false, NULL);
        seconds[0][k] = now() - t;
        t = now();
        value = hand(&p, true, NULL);
        seconds[1][k] = now() - t;
        t = now();
        cr_status s = exec_eval_n(prog->g, env, EXEC_REUSE, 2, root, out);
        seconds[2][k] = now() - t;
        first = k ? first : seconds[2][k];
        if (s != CR_OK) {
            fail(cr_program_message(prog));
        }
        worst = fmax(worst, fabs(out[0].value[0] - value) / fabs(value));
        for (size_t i = 0; i < n; i++) {
            scale = fmax(scale, fabs(p.dw[i]));
        }
        for (size_t i = 0; i < n; i++) {
            worst = fmax(worst, fabs(out[1].value[i] - p.dw[i]) / scale);
        }
        seconds[3][k] = derive_once(m);
    }
    double s[4];
    for (int i = 0; i < 4; i++) {
        s[i] = median(seconds[i], rounds);
    }
    printf("{\"depth\": %zu, \"batch\": %zu, \"rounds\": %zu, \"seconds_hand\": %.9g, \"seconds_hand_kept\": %.9g, "
           "\"seconds_ours\": %.9g, \"seconds_first\": %.9g, \"seconds_derive\": %.9g, \"difference\": %.3g}\n",
           n, m, rounds, s[0], s[1], s[2], first, s[3], worst);
    exec_array_free(&out[0]);
    exec_array_free(&out[1]);
    exec_env_free(env);
    cr_program_free(prog);
    free(p.start), free(p.w), free(p.b), free(p.states), free(p.g), free(p.dw), free(want);
    return 0;
}
