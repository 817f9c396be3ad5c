/* Every allocation made to fail in turn, through the public interface: programs that use every operator are read,
 * derived with conditions and steps, printed in every format, evaluated and checked. Each time the result is right or a
 * clean CR_ENOMEM; leaks and stray accesses are found by the sanitizer run. */
#include "unit.h"

#include "ops/ops.h"

#include <stdio.h>
#include <string.h>

static const char declarations[] =
    "fun phi : R -> R\n"
    "fun swish(z) = z*sigmoid(z)\n"
    "let t : R, x : R^n, p : R^n positive, W : R^{m x n}, b : R^m, A : R^{n x n}, S : R^{n x n} symmetric, k : Z\n"
    "let Q : R^{m x 1 x n}\n"
    "let w[1..N] : R, M[1..N] : R^{n x n}\n"
    "def o[0] = t\ndef o[i] = tanh(w[i]*o[i-1]) for i in 1..N\ndef o[N] = w[N]*(o[N-1] + o[1])\n"
    "def v[0] = x\ndef v[i] = tanh(M[i]*v[i-1]) for i in 1..N\n"
    "def p1[0] = t\ndef p1[i] = w[i]*p2[i-1] + p1[i-1] for i in 1..N\n"
    "def p2[0] = 1\ndef p2[i] = p1[i-1]*p2[i-1] for i in 1..N\n";
static const char values[] = "t = 0.5; x = [1,-2]; p = [2,3]; W = [1,2;3,4;5,6.5]; b = [1,-1,2]; A = [3,1;1,2]; "
                             "S = [2,1;1,3]; k = 2; w = [1,2,-1]; Q = [i=1..3, j=1..1, l=1..2 : i - l]; "
                             "M = [i=1..3, j=1..2, l=1..2 : i + 2*j - l*l]; N = 3";

/* Together they hold every operator (the test says so if one is missing). */
static const char *const statements[] = {
    "derive relu(W*x + b)[k] wrt x[j]",
    "derive phi(t*x)[1] + swish(t)^2 wrt t, t",
    "derive sum(fence(leaky_relu(x)) + elu(x) + selu(x) + gelu(x) + silu(x) + softplus(x) + sigmoid(x)) wrt x[2]",
    "derive sin(t)*cos(t)/tan(t) + sinh(t)*cosh(t) + tanh(t)*sigmoid(t) wrt t, t",
    "derive asin(t)*acos(t) - atan(t) + erf(exp(t)) - log(abs(t)) + sqrt(t)*sign(t)*step(t) wrt t",
    "derive [i=1..n : i*p[i]^x[i]/max(x[i], p[i])] - min(x, p) + mod(x, p) wrt x",
    "derive if(t < 1 and t <= 2 or not (t > 3) and t != k, x, 2*x) wrt x",
    "derive if(t == 1 or all(i=1..n, x[i] > 0) or any(i=1..n, x[i] < -1), norm1(x), norm2(x)*norm_inf(x)) wrt x",
    "derive max(x)*min(x)*prod(x) wrt x[j]",
    "derive softmax(W) wrt W[i,j]",
    "derive sum(logsoftmax(x).*p) wrt x",
    "derive vec([t, x[1]; 1, t^2]*[3, t; 1, 2]) wrt t",
    "derive det(A)*logdet(S) wrt A, S",
    "derive sum(relu(conv(reshape(W, 1, m, n), Q, stride=2, pad=[1], groups=m)).^2) wrt W, Q",
    "derive sum(scatter(gather(W, [2, 1, 2]), [1, 3, 1], size=3).^2) wrt W",
    "derive maxpool(concat(x, p), 2)[1] + sum(maxpool_ties(x, n)) + sum(avgpool(W, [1, 2], pad=1)) wrt x",
    "derive inv(A)*x + A^3*x + A^k*x wrt A[i,j]",
    "derive tr(pinv(W)*W*adj(A)) wrt A",
    "derive (A + t*I(n))*e(1,n) wrt t",
    "derive sum(i=2..n, x[i]*x[i-1]) wrt x",
    "derive prod(i=2..n, x[i] + p[i-1])*x'*S*x wrt x[j]",
    "eval n*x + softmax(x)",
    "eval kron(A, x)",
    "eval [A[1,1], t; 2, det(A)]*[t, 1; 0, x[2]]",
    "check tanh(W*x) wrt x",
    "check relu(W*x + b) wrt W, x",
    "check x'*S*x wrt S",
    "check sum(phi(x)) wrt x[1]",
    "derive o[N] wrt w[k]",
    "derive v[N] wrt M[1][1,2]",
    "derive p1[N] wrt w",
    "check o[N] wrt w",
    "check p1[N] wrt t",
};
enum { N_STATEMENTS = sizeof statements / sizeof *statements };

static const char *text;
static bool seen[CR_OP_COUNT];

static cr_status derive(cr_program *p)
{
    cr_derivation *d = NULL;
    static const cr_form forms[] = {CR_FORM_AUTO, CR_FORM_COMPONENT, CR_FORM_MATRIX};
    cr_status s = CR_OK;
    bool recurrence = strstr(text, "[N]"); /* not in NumPy yet */
    for (int i = 0; i < 3 && s == CR_OK; i++) {
        unsigned all = CR_UNICODE | CR_LATEX | CR_STEPS | CR_C | (recurrence ? 0u : CR_NUMPY);
        unsigned flags = CR_TEXT | (i == 0 ? all : i == 1 ? CR_GRADIENT : 0u);
        s = cr_program_derive(p, 0, flags, forms[i], &d);
        if (s == CR_OK) assert_true(d->text && *d->text);
        cr_derivation_free(d);
    }
    return s;
}

static cr_status eval(cr_program *p)
{
    cr_array a;
    cr_status s = cr_program_eval(p, 0, &a);
    if (s == CR_OK) assert_true(a.n > 0);
    cr_array_free(&a);
    return s;
}

static cr_status check(cr_program *p)
{
    cr_check *c;
    cr_status s = cr_program_check(p, 0, &(cr_check_options){.seed = 1, .points = 1}, &c);
    if (s == CR_OK) assert_int_equal(c->agrees, CR_YES);
    cr_check_free(c);
    return s;
}

/* The statement from its text to its results. CR_ENOMEM if no program could be made. */
static cr_status run(void)
{
    cr_program *p = cr_program_new();
    if (!p) return CR_ENOMEM;
    cr_status s = cr_program_parse(p, "declarations", declarations, strlen(declarations));
    if (s == CR_OK) s = cr_program_parse(p, "statement", text, strlen(text));
    if (s == CR_OK) s = cr_program_assign(p, values);
    if (s == CR_OK && strstr(text, "[j]")) s = cr_program_assign(p, "j = 1");
    if (s == CR_OK && strstr(text, "[i,j]")) s = cr_program_assign(p, "i = 2; j = 1");
    if (s == CR_OK && cr_program_kind(p, 0) == CR_QUERY_DERIVE) s = derive(p);
    if (s == CR_OK && cr_program_kind(p, 0) == CR_QUERY_CHECK) s = check(p);
    else if (s == CR_OK && !strstr(text, "phi")) s = eval(p); /* an unknown function has no value */
    if (s == CR_OK && cr_program_kind(p, 0) != CR_QUERY_EVAL) {
        cr_graph *g = cr_program_graph(p), *small;
        cr_ref r = cr_sum(g, cr_matmul(g, cr_const(g, 2), cr_iota(g, cr_dim_symbol(g, "n")))), moved;
        s = cr_graph_status(g);
        small = s == CR_OK ? cr_compact(g, 1, &r, &moved) : NULL;
        if (s == CR_OK && !small) s = CR_ENOMEM;
        cr_graph_free(small);
    }
    for (cr_ref r = 1; s == CR_OK && r < cr_program_graph(p)->n_nodes; r++) seen[op_of(cr_program_graph(p), r)] = true;
    if (s != CR_OK && s != CR_ENOMEM) print_error("%s\n  %s\n", text, cr_program_message(p));
    if (s == CR_ENOMEM && cr_program_status(p) == CR_ENOMEM) assert_true(*cr_program_message(p) != '\0');
    cr_program_free(p);
    return s;
}

/* Counts what is allowed; or refuses from number `limit` on, or that one only. */
typedef struct gate {
    long count, limit;
    bool once;
} gate;

static bool allow(void *user)
{
    gate *g = user;
    long n = g->count++;
    return g->limit < 0 || (g->once ? n != g->limit : n < g->limit);
}

static cr_status run_refusing(long limit, bool once, long *count)
{
    gate g = {0, limit, once};
    cr_mem_set_hook(allow, &g);
    cr_status s = run();
    cr_mem_set_hook(NULL, NULL);
    *count = g.count;
    return s;
}

/* How many allocations are made to fail, in the first statement and in each other one. */
enum { IN_FIRST = 2000, IN_OTHERS = 60 };

static void each_allocation_of_each_statement(void **state)
{
    (void)state;
    long total = 0, tried = 0;
    for (int i = 0; i < N_STATEMENTS; i++) {
        long n, used;
        text = statements[i];
        if (run_refusing(-1, false, &n) != CR_OK) fail_msg("%s", text);
        total += n;
        /* Every k-th; the statements begin at different places. Even runs refuse everything from there on, odd ones a
         * single allocation, after which the rest of the program must cope. */
        long step = 1 + n / (i == 0 ? IN_FIRST : IN_OTHERS);
        for (long at = i % step; at < n; at += step, tried++) {
            cr_status s = run_refusing(at, tried & 1, &used);
            if (s != CR_ENOMEM && !(s == CR_OK && (tried & 1)))
                fail_msg("%s: status %d with allocation %ld of %ld refused", text, (int)s, at, n);
        }
    }
    for (int op = 1; op < CR_OP_COUNT; op++)
        if (!seen[op]) fail_msg("no statement uses %s", op_get((cr_op)op)->name);
    print_message("%ld of %ld allocations made to fail\n", tried, total);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_allocation_of_each_statement)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
