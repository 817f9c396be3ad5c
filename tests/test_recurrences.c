/* Random recurrences: whatever is defined, a derivative through it is that of the same expression written out. */
#include "unit.h"

#include "depth_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A program being made up. */
typedef struct maker {
    uint64_t random;
    char text[3000], y[200];
    size_t n;
    bool vectors;
    unsigned lags, first; /* o[i] rests on up to o[i-lags]; its rule begins at `first` */
    bool has_s, has_q, odd;
} maker;

static unsigned below(maker *k, unsigned n) { return depth_below(&k->random, n); }

static void put(maker *k, const char *fmt, ...) CR_PRINTF(2, 3);
static void put(maker *k, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(k->text + k->n, sizeof k->text - k->n, fmt, ap);
    va_end(ap);
    k->n += (size_t)n;
    assert_true(k->n < sizeof k->text);
}

/* At index `at` ("i", "N", "2", ...), counted from least: what multiplies a member. */
static void weight(maker *k, const char *at, unsigned least)
{
    static const char *const shared[] = {"a", "0.7", "sin(a)", "a*u", "w[1]", "w[N]", "u^2", "w[N]*b[1]"};
    static const char *const vector[] = {"U", "W[1]", "W[N]", "U*U", "a*U", "diag(c[N])"};
    switch (below(k, 6)) {
    case 0: put(k, "%s", k->vectors ? vector[below(k, 6)] : shared[below(k, 8)]); break;
    case 1:
        if (k->vectors) put(k, "a*W[%s]", at);
        else put(k, "w[%s]*b[%s]", at, at);
        break;
    case 2:
        if (least > 1) put(k, k->vectors ? "W[%s-1]" : "w[%s-1]", at);
        else put(k, k->vectors ? "diag(c[%s])" : "g[%s]", at);
        break;
    default: put(k, k->vectors ? "W[%s]" : "w[%s]", at);
    }
}

/* An earlier member of o. fixed: o[1] and o[m] are earlier, too. */
static void earlier(maker *k, const char *at, bool fixed)
{
    switch (below(k, fixed ? 8 : 5)) {
    case 0: put(k, "o[0]"); break;
    case 1: put(k, "o[%s-%u]", at, k->lags); break;
    case 5: put(k, "o[1]"); break;
    case 6: put(k, "o[m]"); break;
    case 7: put(k, "sum(j=1..%s-1, o[j])", at); break;
    default: put(k, "o[%s-1]", at);
    }
}

/* Sums of sums, choices, products, what goes another way. */
static void odd_term(maker *k, const char *at)
{
    static const char *const number[] = {
        "sum(j=0..%s-1, o[j]*x)", "sum(j=0..%s-1, o[j]*o[0])", "sum(j=1..N, w[j])*o[%s-1]", "if(%s > 2, o[%s-1], x)",
        "w[N+1-%s]*o[%s-1]", "prod(j=0..%s-1, o[j])", "max(o[%s-1], 0.1)", "sum(j=1..%s, w[j])*o[%s-1]",
        "sum(j=0..%s-1, o[j]*sum(l=1..N, w[l]*b[j+1]))", "%s*o[%s-1]", "sum(j=1..%s, w[j]*o[j-1])",
        "sum(j=0..%s-1, sum(l=0..j, o[l]))", "min(o[%s-1], o[0])*w[1]", "if(a > 0, o[%s-1], w[%s])"};
    static const char *const vector[] = {
        "sum(j=0..%s-1, o[j] .* x)", "(x'*o[%s-1])*x", "W[%s]'*o[%s-1]", "o[%s-1] .* o[0]", "softmax(o[%s-1])",
        "o[%s-1]/norm2(o[%s-1])", "sum(j=1..N, W[j])*o[%s-1]", "max(o[%s-1], x)", "if(%s > 2, o[%s-1], x)",
        "sum(o[%s-1])*c[%s]", "W[N+1-%s]*o[%s-1]", "sum(j=1..%s, W[j]*o[j-1])", "w[%s]*b[%s]*o[0]",
        "prod(j=%s..1, W[j])*x"};
    const char *c = k->vectors ? vector[below(k, 14)] : number[below(k, 14)];
    for (; *c; c++) {
        if (*c == '%') put(k, "%s", at), c++;
        else put(k, "%c", *c);
    }
}

static void term(maker *k, const char *at, unsigned least, bool fixed)
{
    if (k->odd && below(k, 3) == 0) {
        odd_term(k, at);
        return;
    }
    switch (below(k, 9)) {
    case 0: put(k, k->vectors ? "c[%s]" : "b[%s]", at); break;
    case 1: put(k, "a*x"); break;
    case 2:
        if (k->has_q) put(k, k->vectors ? "q[%s-1]*x" : "u*q[%s-1]", at);
        else put(k, "x");
        break;
    case 3:
        if (fixed || least > 2) put(k, k->vectors ? "sum(j=1..%s-1, W[j]*o[j])" : "sum(j=1..%s-1, w[j]*o[j])", at);
        else put(k, k->vectors ? "U*o[%s-1]" : "u*o[%s-1]", at);
        break;
    case 4:
        earlier(k, at, fixed);
        break;
    default:
        weight(k, at, least);
        put(k, "*");
        earlier(k, at, fixed);
    }
}

static void terms(maker *k, const char *at, unsigned least, bool fixed)
{
    weight(k, at, least);
    put(k, "*o[%s-1]", at);
    for (unsigned n = below(k, 3); n; n--) {
        put(k, " + ");
        term(k, at, least, fixed);
    }
}

static void activated(maker *k, const char *at, unsigned least, bool fixed)
{
    static const char *const f[] = {"tanh", "sigmoid", "sigma", "sin", "softplus"};
    const char *times = k->vectors ? " .* " : "*";
    switch (below(k, 7)) {
    case 0: /* gated */
        put(k, k->vectors ? "sigmoid(c[%s])" : "sigmoid(g[%s])", at);
        put(k, "%stanh(", times);
        terms(k, at, least, fixed);
        put(k, ") + o[%s-1]", at);
        break;
    case 1: /* linear */
        terms(k, at, least, fixed);
        break;
    case 2: /* residual */
        put(k, "o[%s-%u] + %s(", at, k->lags, f[below(k, 5)]);
        terms(k, at, least, fixed);
        put(k, ")");
        break;
    default:
        put(k, "%s(", f[below(k, 5)]);
        if (k->has_s) put(k, "s[%s]", at);
        else terms(k, at, least, fixed);
        put(k, ")");
        if (below(k, 4) == 0) {
            put(k, " + ");
            term(k, at, least, fixed);
        }
    }
}

static void override(maker *k)
{
    static const char *const point[] = {"N", "N-1", "3", "2", "m", "4"};
    static const char *const range[] = {"2..3", "3..N", "2..N-1", "3..4", "N-2..N", "m..N", "m+1..N"};
    const char *where = point[below(k, 6)], *name = k->has_s && below(k, 2) ? "s" : "o", *at = where;
    if (below(k, 3) == 0) where = range[below(k, 7)], at = "i";
    unsigned least = strstr(where, "N-") == where ? 1 : 2; /* of the index, as far as small N go */
    put(k, "def %s[%s] = ", name, at);
    bool last = !strcmp(at, "N"); /* o[1] and o[m] are earlier than that */
    if (*name == 's') terms(k, at, least, last);
    else activated(k, at, least, last);
    if (where != at) put(k, " for i in %s", where);
    put(k, "\n");
}

static void query(maker *k)
{
    static const char *const number[] = {
        "o[N]", "o[N]", "o[N]", "o[N]^2 + a*o[1]", "sum(i=1..N, o[i])", "sum(i=2..N, w[i]*o[i-1])", "o[m]", "o[N-1]",
        "o[N]*o[m]", "sum(i=1..N, (o[i] - b[i])^2)", "w[N]*o[N-1] + w[1]", "sum(i=m..N, o[i]*w[1])",
        "sum(i=1..N, o[i]*o[1])", "sum(i=1..N, sum(j=1..i, o[j]))", "sum(i=1..N, o[i]*sum(j=1..i, w[j]))",
        "prod(i=1..N, o[i])", "max(o[N], o[1])", "if(a > 0, o[N], o[m])", "[i=1..N : o[i]]", "sum(i=0..N, o[i]*x)",
        "sum(i=1..N, o[i])*sum(i=1..N, o[i]*w[i])", "o[N]*sum(i=1..N, w[i])"};
    static const char *const vector[] = {
        "o[N]", "o[N]", "sum(o[N])", "x'*o[N]", "sum(i=1..N, o[i]'*o[i])", "o[m]", "W[N]*o[N-1]", "o[N][1] + o[1][2]",
        "sum(i=2..N, W[i]*o[i-1])", "o[N]*o[1]'",
        "sum(i=1..N, o[i]'*o[1])", "prod(j=N..1, W[j])*o[N]", "norm2(o[N] - x)", "sum(i=1..N, o[i]*x')",
        "sum(i=1..N, sum(j=1..i, o[j]))", "sum(i=1..N, o[i] .* sum(j=1..i, c[j]))"};
    snprintf(k->y, sizeof k->y, "%s", k->vectors ? vector[below(k, 16)] : number[below(k, 22)]);
}

static void make(maker *k)
{
    k->vectors = below(k, 4) == 0;
    k->lags = below(k, 3) ? 1 : 2 + below(k, 2);
    k->has_s = below(k, 2);
    k->odd = below(k, 2);
    k->has_q = below(k, 5) == 0;
    bool late = below(k, 3) == 0; /* starts at 0, 1, ..., instead of 0, -1, ... */
    k->first = late ? k->lags + below(k, 2) : 1;
    put(k, "let m : Z\nfun sigma(z) = z/(1 + z^2)\nlet x : R%s, a : R, u : R, w[1..N] : R, b[1..N] : R, g[1..N] : R\n",
        k->vectors ? "^d" : "");
    if (k->vectors) put(k, "let W[1..N] : R^{d x d}, U : R^{d x d}, c[1..N] : R^d\n");
    static const char *const start[] = {"x", "a*x", "sin(x)", "x", "2*x"};
    for (int i = late ? 0 : 1 - (int)k->lags; i < (int)k->first; i++)
        put(k, "def o[%d] = %s\n", i, start[below(k, 5)]);
    if (k->has_q) {
        put(k, "def q[0] = a\n");
        put(k, k->vectors ? "def q[i] = %s for i in 1..N\n" : "def q[i] = %s for i in 1..N\n",
            k->vectors ? (below(k, 2) ? "q[i-1]*u + sum(o[i-1])" : "u*q[i-1]")
                       : (below(k, 2) ? "tanh(q[i-1] + w[i]*o[i-1])" : "q[i-1] + b[i]"));
    }
    if (k->has_s) {
        put(k, "def s[i] = ");
        terms(k, "i", k->first, false);
        put(k, " for i in %u..N\n", k->first);
    }
    put(k, "def o[i] = ");
    activated(k, "i", k->first, false);
    put(k, " for i in %u..N\n", k->first);
    for (unsigned n = below(k, 3); n; n--) override(k);
    query(k);
}

typedef struct tally {
    unsigned cases, refused, closed, recursions, faults;
} tally;

/* The program of this seed, at a few depths. */
static void check(uint64_t seed, tally *t)
{
    static const char *const numbers[] = {"w[k]", "w",    "x", "a",    "b[k]", "w[1]",
                                          "w[N]", "w[2]", "u", "g[k]", "w[m]", "w[N-1]"};
    static const char *const vectors[] = {"W[k]", "x", "a", "c[k]",      "W[1]", "U",
                                          "W[N]", "W", "c", "W[k][1,2]", "u",    "c[m]"};
    static maker k;
    static depth_case c;
    memset(&k, 0, sizeof k);
    k.random = seed * 2654435761u + 17;
    depth_below(&k.random, 2);
    make(&k);
    t->cases++;
    bool ok = depth_open(&c, k.text, k.y, seed);
    if (!ok && cr_graph_status(c.g) == CR_EARG) { /* its definitions do not fit together */
        if (getenv("DEPTH_VERBOSE")) print_message("%s\n", c.fault);
        t->refused++;
        depth_close(&c);
        return;
    }
    for (int64_t n = k.first > 2 ? k.first : 2; n <= 6 && ok; n += 1 + (n > 3)) {
        ok = depth_size(&c, n);
        if (!ok || !depth_supposed(&c)) continue;
        ok = depth_at(&c, n);
        if (!ok && strstr(c.fault, "has no definition")) { /* a gap between two rules, found where sizes are known */
            t->refused++;
            depth_close(&c);
            return;
        }
        for (int i = 0; i < 3 && ok; i++)
            ok = depth_derivative(&c, k.vectors ? vectors[below(&k, 12)] : numbers[below(&k, 12)], 1, n, false);
    }
    if (!ok) {
        print_error("seed %d:\n%s\n\n", (int)seed, c.fault);
        t->faults++;
    }
    t->closed += c.closed;
    t->recursions += c.recursions;
    depth_close(&c);
}

#if defined(__SANITIZE_ADDRESS__)
enum { CASES = 500, MAX_FAULTS = 10 }; /* each takes several times as long */
#else
enum { CASES = 2000, MAX_FAULTS = 10 };
#endif

static void derivatives_are_those_of_the_unrolled_recurrence(void **state)
{
    (void)state;
    tally t = {0};
    const char *from = getenv("DEPTH_FROM"), *count = getenv("DEPTH_CASES"); /* for a longer search */
    uint64_t first = from ? strtoull(from, NULL, 10) : 1, n = count ? strtoull(count, NULL, 10) : CASES;
    for (uint64_t seed = first; seed < first + n && t.faults < MAX_FAULTS; seed++) check(seed, &t);
    print_message("%u recurrences, %u refused; %u closed forms, %u recursions\n", t.cases, t.refused, t.closed,
                  t.recursions);
    if (t.faults) fail_msg("%u faults", t.faults);
}

/* o[i] = w*o[i-1]: by w, a member is no constant; by v, which no member rests on, all is as ever. */
static void reverse_mode_is_no_constant_through_members(void **state)
{
    (void)state;
    cr_graph *g = cr_graph_new();
    cr_ref x = cr_param(g, "x", 0, NULL, 0), w = cr_param(g, "w", 0, NULL, 0), v = cr_param(g, "v", 0, NULL, 0);
    cr_family o = cr_family_new(g, "o", 0, NULL);
    cr_dim i = cr_dim_symbol(g, "i"), zero = cr_dim_const(g, 0), one = cr_dim_const(g, 1), n = cr_dim_const(g, 5);
    cr_family_define(g, o, "i", zero, zero, x);
    cr_family_define(g, o, "i", one, n, cr_mul(g, w, cr_member(g, o, cr_dim_sub(g, i, one))));
    cr_ref y = cr_mul(g, v, cr_member(g, o, n)), out = CR_NONE, c = cr_const(g, 1);
    assert_int_equal(cr_reverse(g, y, c, 1, &v, &out), CR_OK);
    assert_int_equal(out, cr_member(g, o, n));
    assert_int_equal(cr_reverse(g, y, c, 1, &w, &out), CR_EUNSUPPORTED);
    assert_non_null(strstr(cr_graph_message(g), "`w` through a recurrence"));
    cr_graph_clear_error(g);
    assert_int_equal(cr_forward(g, y, 1, &w, &c), CR_NONE);
    assert_int_equal(cr_graph_status(g), CR_EUNSUPPORTED);
    cr_graph_clear_error(g);
    assert_int_not_equal(cr_derivative(g, y, w), CR_NONE);
    assert_int_equal(cr_reverse(g, cr_unroll(g, y), c, 1, &w, &out), CR_OK);
    cr_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(derivatives_are_those_of_the_unrolled_recurrence),
                                       cmocka_unit_test(reverse_mode_is_no_constant_through_members)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
