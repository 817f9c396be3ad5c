/* Recurrences in checkpoints: the same bits as whole ones, in less memory. */
#include "unit.h"

#include "plan/plan.h"
#include "program/program.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sample {
    const char *text;
    size_t tables; /* entries of its tables, as multiples of N m; 0: checkpoints are not possible */
    bool reader;   /* a derivative goes back through them */
} sample;

#define CHAIN "let x : R, w[1..N], b[1..N] : R\ndef o[0] = x\n"
#define BATCH "let x : R^m, w[1..N], b[1..N] : R\ndef o[0] = x\n"
static const sample samples[] = {
    {CHAIN "def o[i] = sigmoid(w[i]*o[i-1] + b[i]) for i in 1..N\nderive o[N] wrt w", 1, true},
    {CHAIN "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\ndef o[i] = tanh(s[i]) for i in 1..N\n"
           "derive (o[N] - 1)^2 wrt w", 2, true},
    {CHAIN "def o[i] = o[i-1] + tanh(w[i]*o[i-1])*b[i]/i for i in 1..N\nderive o[N]^2/2 + o[0] wrt w", 1, true},
    {CHAIN "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\ndef o[i] = sin(s[i]) for i in 1..N\n"
           "derive o[N]*x wrt b", 2, true},
    {BATCH "def o[i] = sigmoid(w[i]*o[i-1]) for i in 1..N\nderive sum(o[N]) wrt w", 1, true},
    {BATCH "def o[i] = tanh(w[i]*o[i-1] + b[i]) for i in 1..N\nderive sum(o[N] .* o[N])/2 + b[1] wrt w", 1, true},
    {BATCH "def s[i] = w[i]*o[i-1] for i in 1..N\ndef o[i] = sin(s[i]) + o[i-1]/2 for i in 1..N\n"
           "derive norm2(o[N])^2 + sum(x) wrt w", 2, true},
    /* Nothing goes back through them. */
    {CHAIN "def o[i] = sin(w[i]*o[i-1]) for i in 1..N\ndef o[N] = w[N]*o[N-1] + o[0]\neval o[N]*o[N-2]", 1, false},
    {CHAIN "def o[1] = w[1]*x\ndef o[i] = sin(w[i]*o[i-1] + o[i-2]) for i in 2..N\neval o[N] + o[2]*b[1]", 1, false},
    {BATCH "def o[i] = tanh(w[i]*o[i-1]) + o[i-1]/2 for i in 1..N\neval sum(o[N] .* o[1]) + b[2]", 1, false},
    {"let x : R^m, w[1..N] : R^{m x m}\ndef o[0] = x\ndef o[i] = tanh(w[i]*o[i-1]) for i in 1..N\n"
     "eval o[N] + w[1]*o[N-1]", 1, false},
    /* These stay whole: it is not one pass backward that goes through them. */
    {CHAIN "def o[i] = sin(w[i]*o[i-1]) for i in 1..N\nderive o[N] wrt x", 0, false},
    {CHAIN "def o[i] = sin(w[i]*o[i-1]) for i in 1..N\nderive o[N] + o[3] wrt w", 0, false},
    {CHAIN "def o[i] = sin(w[i]*o[i-1]) for i in 1..N\ndef o[N] = w[N]*o[N-1] + o[1]\nderive o[N] wrt w", 0, false},
    {CHAIN "def o[1] = w[1]*x\ndef o[i] = sin(w[i]*o[i-1] + o[i-2]) for i in 2..N\nderive o[N] wrt w", 0, false},
    {CHAIN "def o[i] = sum(j=0..i-1, o[j])*w[i]/i for i in 1..N\neval o[N]", 0, false},
    {CHAIN "def o[i] = sin(w[i]*o[i-1]) for i in 1..N\neval sum(j=1..N, o[j]*b[j])", 0, false},
};

typedef struct text {
    cr_program *p;
    unsigned n;
    cr_ref root[2];
} text;

static text text_open(const char *s)
{
    text t = {.p = cr_program_new(), .n = 1};
    assert_non_null(t.p);
    if (cr_program_parse(t.p, "sample", s, strlen(s)) != CR_OK) fail_msg("%s\n%s", s, cr_program_message(t.p));
    const lang_statement *st = prog_statement(t.p, 0);
    t.root[0] = st->expr;
    if (st->n_wrt) t.root[t.n++] = cr_derivative(t.p->g, st->expr, st->wrt[0].var);
    if (!t.root[t.n - 1]) fail_msg("%s\n%s", s, cr_graph_message(t.p->g));
    return t;
}

static cr_status try_plan(const text *t, int64_t n, int64_t m, const cr_plan_options *o, cr_plan **p)
{
    return cr_plan_new(t->p->g, t->n, t->root, 2, (cr_size_value[]){{"N", n}, {"m", m}}, o, p);
}

static cr_plan *new_plan(const text *t, int64_t n, int64_t m, const cr_plan_options *o)
{
    cr_plan *p;
    if (try_plan(t, n, m, o, &p) != CR_OK) fail_msg("N=%d m=%d: %s", (int)n, (int)m, cr_graph_message(t->p->g));
    if (!plan_verify(p)) fail_msg("%s", err_message(&p->err));
    return p;
}

/* The outputs of two runs with one slab, one after the other. */
static char *outputs(const cr_plan *p, size_t *bytes)
{
    size_t size = kern_size(p->dtype), n = 0;
    void *in[4], *out[2];
    cr_slab *slab = cr_slab_new(p);
    assert_non_null(slab);
    assert_true(cr_plan_inputs(p) <= 4 && cr_plan_outputs(p) <= 2);
    for (unsigned i = 0; i < cr_plan_inputs(p); i++) {
        size_t count = cr_plan_input_count(p, i);
        in[i] = malloc(count * size + 1);
        assert_non_null(in[i]);
        for (size_t k = 0; k < count; k++) {
            double v = 0.9 + 0.6 * sin(1.7 * (double)k + (double)i);
            if (size == 8) ((double *)in[i])[k] = v;
            else ((float *)in[i])[k] = (float)v;
        }
    }
    for (unsigned i = 0; i < cr_plan_outputs(p); i++) n += cr_plan_output_count(p, i) * size;
    char *all = calloc(2 * n + 1, 1), *at = all;
    assert_non_null(all);
    for (unsigned k = 0; k < 2; k++) {
        for (unsigned i = 0; i < cr_plan_outputs(p); i++) {
            out[i] = at;
            at += cr_plan_output_count(p, i) * size;
        }
        assert_int_equal(cr_run(p, slab, (const void *const *)in, out), CR_OK);
    }
    for (unsigned i = 0; i < cr_plan_inputs(p); i++) free(in[i]);
    cr_slab_free(slab);
    *bytes = 2 * n;
    return all;
}

/* Frees p. */
static void same_outputs(const char *what, const char *want, size_t n_want, cr_plan *p)
{
    size_t n;
    char *got = outputs(p, &n);
    assert_int_equal(n, n_want);
    if (memcmp(got, want, n) != 0) fail_msg("%s: other bits with checkpoints", what);
    free(got);
    cr_plan_free(p);
}

/* ---- bits --------------------------------------------------------------------------------------- */

static void test_bits(void **state)
{
    (void)state;
    static const int64_t depth[] = {3, 4, 16, 17, 50, 5001}, wide[] = {1, 5, 700};
    size_t compared = 0;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        text t = text_open(samples[i].text);
        bool batch = strstr(samples[i].text, "R^m") != NULL;
        for (unsigned k = 0; k < 6 * (batch ? 3 : 1); k++) {
            int64_t n = depth[k % 6], m = wide[batch ? k / 6 : 0];
            bool matrices = strstr(samples[i].text, "m x m") != NULL;
            if (n * m * (matrices ? m : 1) > 500000) continue;
            cr_plan_options o = {.precision = k & 1 ? CR_F64 : CR_F32, .threads = 1 + k % 3 % 2};
            cr_plan *whole = new_plan(&t, n, m, &o);
            size_t bytes;
            char *want = outputs(whole, &bytes);
            o.checkpoints = CR_CHECKPOINT_SQRT;
            cr_plan *p = new_plan(&t, n, m, &o);
            if ((samples[i].tables == 0 || n >= 5001) && p->n_checkpoint != (samples[i].tables != 0)) {
                fail_msg("%s: %zu loops with checkpoints", samples[i].text, p->n_checkpoint);
            }
            compared += p->n_checkpoint;
            same_outputs(samples[i].text, want, bytes, p);
            free(want);
            cr_plan_free(whole);
        }
        cr_program_free(t.p);
    }
    print_message("%zu plans with checkpoints\n", compared);
    assert_true(compared >= 60);
}

/* Every length of segments that a limit may ask for. */
static void test_lengths(void **state)
{
    (void)state;
    static const int64_t depth[] = {4, 12, 13};
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        text t = text_open(samples[i].text);
        int64_t m = 300; /* a row a block */
        for (unsigned k = 0; samples[i].tables && strstr(samples[i].text, "R^m") && k < 3; k++) {
            int64_t n = depth[k], lengths = 0, last = 0;
            cr_plan_options o = {.threads = 1 + k % 2, .checkpoints = CR_CHECKPOINT_BYTES};
            size_t bytes, all = (samples[i].tables * (size_t)n + 1) * (size_t)m * 4;
            o.checkpoint_bytes = all;
            cr_plan *whole = new_plan(&t, n, m, &o), *p;
            assert_int_equal(whole->n_checkpoint, 0);
            char *want = outputs(whole, &bytes);
            for (o.checkpoint_bytes = all - 1;; o.checkpoint_bytes -= (size_t)m * 4) {
                if (try_plan(&t, n, m, &o, &p) != CR_OK) break;
                if (p->n_checkpoint != 1) fail_msg("%s: whole with %zu bytes", samples[i].text, o.checkpoint_bytes);
                lengths += p->checkpoint[0]->length != last;
                last = p->checkpoint[0]->length;
                same_outputs(samples[i].text, want, bytes, p);
            }
            assert_int_equal(cr_graph_status(t.p->g), CR_ELIMIT);
            cr_graph_clear_error(t.p->g);
            if (n > 4 && (lengths < 2 || (!samples[i].reader && last != 1))) {
                fail_msg("%s: %d lengths, %d the last", samples[i].text, (int)lengths, (int)last);
            }
            free(want);
            cr_plan_free(whole);
        }
        cr_program_free(t.p);
    }
}

/* ---- memory ------------------------------------------------------------------------------------- */

static size_t bytes_with(const text *t, int64_t n, int64_t m, cr_checkpoints which)
{
    cr_plan_options o = {.threads = 2, .checkpoints = which};
    cr_plan *p = new_plan(t, n, m, &o);
    size_t bytes = cr_plan_bytes(p);
    cr_plan_free(p);
    return bytes;
}

static void test_memory(void **state)
{
    (void)state;
    text t = text_open(BATCH "def o[i] = sigmoid(w[i]*o[i-1] + b[i]) for i in 1..N\nderive sum(o[N]) wrt w");
    assert_true(bytes_with(&t, 50000, 1024, CR_STORE_ALL) > 200000000);
    /* two times sqrt(N) members, and sums of each of four parts over the columns: N numbers */
    assert_true(bytes_with(&t, 50000, 1024, CR_CHECKPOINT_SQRT) < 2 * 224 * 4096 + 4 * 50000 * 4 + 300000);
    cr_program_free(t.p);
    t = text_open(CHAIN "def o[i] = sigmoid(w[i]*o[i-1] + b[i]) for i in 1..N\nderive o[N] wrt w");
    assert_true(bytes_with(&t, 1000000, 1, CR_STORE_ALL) > 4000000);
    assert_true(bytes_with(&t, 1000000, 1, CR_CHECKPOINT_SQRT) < 60000);
    cr_program_free(t.p);
    t = text_open(BATCH "def o[i] = sigmoid(w[i]*o[i-1] + b[i]) for i in 1..N\neval o[N]");
    assert_true(bytes_with(&t, 50000, 1024, CR_CHECKPOINT_SQRT) < 225 * 4096 + 30000);
    cr_program_free(t.p);
}

/* A chain as deep as that is computed, too. */
static void test_deep(void **state)
{
    (void)state;
    text t = text_open(CHAIN "def o[i] = sin(w[i]*o[i-1] + b[i]) for i in 1..N\nderive o[N] wrt w");
    cr_plan_options o = {.precision = CR_F64, .threads = 1};
    size_t bytes;
    cr_plan *whole = new_plan(&t, 1000000, 1, &o);
    char *want = outputs(whole, &bytes);
    o.checkpoints = CR_CHECKPOINT_SQRT;
    same_outputs("10^6 layers", want, bytes, new_plan(&t, 1000000, 1, &o));
    free(want);
    cr_plan_free(whole);
    cr_program_free(t.p);
}

/* ---- errors ------------------------------------------------------------------------------------- */

static void test_limits(void **state)
{
    (void)state;
    cr_plan *p;
    cr_plan_options o = {.threads = 1, .checkpoints = CR_CHECKPOINT_BYTES, .checkpoint_bytes = 100000};
    text t = text_open(BATCH "def o[i] = sigmoid(w[i]*o[i-1]) for i in 1..N\nderive sum(o[N]) wrt w");
    assert_int_equal(try_plan(&t, 1000, 1000, &o, &p), CR_ELIMIT);
    const char *message = cr_graph_message(t.p->g), *least = strstr(message, "need ");
    assert_non_null(least);
    assert_non_null(strstr(message, "the members of o need "));
    assert_non_null(strstr(message, "100000 are allowed"));
    o.checkpoint_bytes = strtoul(least + 5, NULL, 10);
    cr_graph_clear_error(t.p->g);
    assert_true(o.checkpoint_bytes > 200000 && o.checkpoint_bytes < 300000); /* about 2 sqrt(1000) members */
    assert_int_equal(try_plan(&t, 1000, 1000, &o, &p), CR_OK); /* what it says is enough */
    cr_plan_free(p);
    o.checkpoint_bytes--;
    assert_int_equal(try_plan(&t, 1000, 1000, &o, &p), CR_ELIMIT); /* and needed */
    cr_program_free(t.p);
    t = text_open(CHAIN "def q[i] = sin(w[i]*q[i-1]) for i in 1..N\ndef q[0] = x\nderive q[N] wrt x");
    o.checkpoint_bytes = 400;
    assert_int_equal(try_plan(&t, 1000, 1, &o, &p), CR_ELIMIT);
    message = cr_graph_message(t.p->g);
    assert_non_null(strstr(message, "the members of q need 4004 bytes and cannot have checkpoints; 400 are allowed"));
    cr_program_free(t.p);
}

static text refused;

static void plan_refused(const bool *no_memory)
{
    cr_plan *p;
    cr_plan_options o = {.threads = 2, .checkpoints = CR_CHECKPOINT_SQRT};
    cr_status status = try_plan(&refused, 40, 300, &o, &p);
    assert_int_equal(status, *no_memory ? CR_ENOMEM : CR_OK);
    if (status == CR_OK) assert_int_equal(p->n_checkpoint, 1);
    if (status == CR_OK) cr_plan_free(p);
    cr_graph_clear_error(refused.p->g);
}

static void test_memory_fails(void **state)
{
    (void)state;
    refused = text_open(BATCH "def o[i] = tanh(w[i]*o[i-1]) for i in 1..N\nderive sum(o[N] .* o[N]) wrt w");
    each_allocation_fails(plan_refused);
    cr_program_free(refused.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_deep),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_memory_fails),
    };
    return cmocka_run_group_tests_name("plan_checkpoint", tests, NULL, NULL);
}
