/* Families in the language: which rule a member has, and what is said about wrong ones, to the character. */
#include "unit.h"

#include "exec/exec.h"
#include "lang/lang.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char declarations[] = "let x : R^n, W : R^{m x n}\nlet b : R^m; let c : R # scalar\n";

typedef struct fixture {
    cr_graph *g;
    lang_program *p;
} fixture;

static fixture begin(void)
{
    fixture f = {cr_graph_new(), NULL};
    assert_non_null(f.g);
    f.p = lang_new(f.g);
    assert_non_null(f.p);
    assert_int_equal(lang_parse(f.p, "declarations", declarations, strlen(declarations)), CR_OK);
    return f;
}

static void end(fixture *f)
{
    lang_free(f->p);
    cr_graph_free(f->g);
}

/* ---- which rule ---------------------------------------------------------------------------------- */

static uint64_t random_state;

static unsigned below(unsigned n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % n;
}

static bool known(void *user, dim_sym s, int64_t *v) { return exec_int(user, s, v); }

static bool supposed(fixture *f, exec_env *env)
{
    for (cr_family h = 1; h < f->g->n_family; h++)
        for (size_t i = 0; i < f->g->family[h].n_assume; i++) {
            int64_t v;
            dim_sym missing;
            if (!dim_eval(f->g->dims, f->g->family[h].assume[i], known, env, &v, &missing) || v < 0) return false;
        }
    return true;
}

enum { MAX_RULES = 6 };
typedef struct bound { const char *text; int by_n, by_m, plus; } bound;
static const bound bounds[] = {{"1", 0, 0, 1},    {"2", 0, 0, 2},   {"3", 0, 0, 3},   {"4", 0, 0, 4},
                               {"N", 1, 0, 0},    {"N-1", 1, 0, -1}, {"m", 0, 1, 0},   {"m+1", 0, 1, 1},
                               {"N-2", 1, 0, -2}, {"m-1", 0, 1, -1}};
enum { N_BOUNDS = sizeof bounds / sizeof *bounds };

static int64_t at(const bound *b, int64_t n, int64_t m) { return b->by_n * n + b->by_m * m + b->plus; }

/* A member is what the last rule that names its index says, for all sizes that the rules suppose; false: refused. */
static bool check_rules(unsigned *tested)
{
    struct { const bound *lo, *hi; } rule[MAX_RULES];
    unsigned n_rules = 2 + below(MAX_RULES - 1);
    char text[1000] = "let m : Z\ndef o[i] = 0.5 for i in 1..N\n";
    rule[0].lo = &bounds[0], rule[0].hi = &bounds[4];
    for (unsigned i = 1; i < n_rules; i++) {
        size_t n = strlen(text);
        rule[i].lo = rule[i].hi = &bounds[below(N_BOUNDS)];
        if (below(2)) rule[i].hi = &bounds[below(N_BOUNDS)];
        const char *lo = rule[i].lo->text, *hi = rule[i].hi->text;
        if (lo == hi) snprintf(text + n, sizeof text - n, "def o[%s] = %u\n", lo, i);
        else snprintf(text + n, sizeof text - n, "def o[i] = %u for i in %s..%s\n", i, lo, hi);
    }
    fixture f = begin();
    lang_statement st = {0};
    bool ok = lang_parse(f.p, "rules", text, strlen(text)) == CR_OK && lang_expression(f.p, "y", "o[t]", &st) == CR_OK;
    for (int64_t n = 1; n <= 7 && ok; n++)
        for (int64_t m = 1; m <= n; m++) {
            exec_env *env = exec_env_new(f.g);
            assert_int_equal(exec_bind_int(env, name_intern(f.g->dims, "N", 1), n), CR_OK);
            assert_int_equal(exec_bind_int(env, name_intern(f.g->dims, "m", 1), m), CR_OK);
            for (int64_t t = 1; t <= n && supposed(&f, env); t++) {
                double want = 0.5;
                for (unsigned i = 1; i < n_rules; i++)
                    if (at(rule[i].lo, n, m) <= t && t <= at(rule[i].hi, n, m)) want = i;
                exec_array a;
                assert_int_equal(exec_bind_int(env, name_intern(f.g->dims, "t", 1), t), CR_OK);
                if (exec_eval(f.g, env, st.expr, &a) != CR_OK)
                    fail_msg("%s N = %d, m = %d, t = %d: %s", text, (int)n, (int)m, (int)t, cr_graph_message(f.g));
                if (a.value[0] != want)
                    fail_msg("%s N = %d, m = %d: o[%d] is %g, not %g", text, (int)n, (int)m, (int)t, a.value[0], want);
                exec_array_free(&a);
                ++*tested;
            }
            exec_env_free(env);
        }
    if (!ok && cr_graph_status(f.g) != CR_EARG) fail_msg("%s %s", text, cr_graph_message(f.g));
    end(&f);
    return ok;
}

static void the_last_rule_counts(void **state)
{
    (void)state;
    unsigned tested = 0, accepted = 0;
    random_state = 3;
    enum { CASES = 3000 };
    for (int i = 0; i < CASES; i++) accepted += check_rules(&tested);
    print_message("%u of %d sets of rules accepted, %u members\n", accepted, CASES, tested);
    assert_true(accepted > CASES / 10);
    assert_true(tested > 10000);
}

/* ---- errors -------------------------------------------------------------------------------------- */

#define LAYERS "let w[1..N] : R, V[1..N] : R^{d x d}\n"

static const struct { const char *text; cr_status status; const char *message; } wrong[] = {
    {LAYERS "def o[0] = c\ndef o[i] = o[i+1] for i in 1..N\neval o[N]", CR_EARG,
     "t.cr:3:12: the definition of `o[i]` refers to `o[i+1]`, which is not an earlier index; in \"o[i+1]\"\n"
     "    def o[i] = o[i+1] for i in 1..N\n"
     "               ^~~~~~"},
    {LAYERS "def o[0] = c\ndef o[i] = o[i]*w[i] for i in 1..N\neval o[N]", CR_EARG,
     "t.cr:3:12: the definition of `o[i]` refers to `o[i]`, which is not an earlier index; in \"o[i]*w[i]\"\n"
     "    def o[i] = o[i]*w[i] for i in 1..N\n"
     "               ^~~~~~~~~"},
    {LAYERS "def o[0] = c\ndef o[i] = o[2*i] for i in 1..N\neval o[N]", CR_EARG,
     "t.cr:3:12: the definition of `o[i]` refers to `o[2*i]`, which is not an earlier index: i-1, i-2, ..., a "
     "fixed one, or a sum over those; in \"o[2*i]\"\n"
     "    def o[i] = o[2*i] for i in 1..N\n"
     "               ^~~~~~"},
    {LAYERS "def o[i] = w[i]*o[i-1] for i in 1..N\neval o[N]", CR_EARG,
     "t.cr:2:17: `o` has no start value: each of its definitions refers to the family itself\n"
     "    def o[i] = w[i]*o[i-1] for i in 1..N\n"
     "                    ^"},
    {LAYERS "def o[1] = c\ndef o[i] = w[i]*o[i-2] for i in 2..N\neval o[N]", CR_EARG,
     "t.cr:3:12: the definition of `o[i]` refers to `o[i-2]`, but there is no start value `o[0]`; in \"w[i]*o[i-2]\"\n"
     "    def o[i] = w[i]*o[i-2] for i in 2..N\n"
     "               ^~~~~~~~~~~"},
    {LAYERS "def o[0] = c\ndef o[i] = sum(j=0..i, o[j]) for i in 1..N\neval o[N]", CR_EARG,
     "t.cr:3:12: the definition of `o[i]` refers to `o[j]`, which is not an earlier index; in \"sum(j=0..i, o[j])\"\n"
     "    def o[i] = sum(j=0..i, o[j]) for i in 1..N\n"
     "               ^~~~~~~~~~~~~~~~~"},
    {"def o[0] = c\ndef o[2] = c\ndef o[i] = o[i-1] + o[1] for i in 3..N\neval o[N]", CR_EARG,
     "t.cr:3:12: the definition of `o[i]` refers to `o[1]`, but there is no definition of `o[1]`; "
     "in \"o[i-1] + o[1]\"\n"
     "    def o[i] = o[i-1] + o[1] for i in 3..N\n"
     "               ^~~~~~~~~~~~~"},
    {"def p[0] = c\ndef o[0] = c\ndef p[i] = o[i] for i in 1..N\ndef o[i] = p[i] for i in 1..N\neval o[N]", CR_EARG,
     "t.cr:5:6: members of equal index rest on each other in the definition of `p`; in \"o[N]\"\n"
     "    eval o[N]\n"
     "         ^~~~"},
    {"def o[j] = c for j in 1..M\ndef o[j] = 2*c for j in K..N\neval o[N]", CR_EARG,
     "t.cr:2:12: it cannot be told how this range of `o` overlaps an earlier one; in \"2*c\"\n"
     "    def o[j] = 2*c for j in K..N\n"
     "               ^~~"},
    {LAYERS "def o[i] = w[i]", CR_ESYNTAX,
     "t.cr:2:16: `for i in ...` is missing: over what does the index `i` run?\n"
     "    def o[i] = w[i]\n"
     "                   ^"},
    {LAYERS "def o[i] = w[i] for i 1..N", CR_ESYNTAX,
     "t.cr:2:23: expected `in`, as in for i in 1..N, found `1`\n"
     "    def o[i] = w[i] for i 1..N\n"
     "                          ^"},
    {LAYERS "def o[j] = w[j] for i in 1..N", CR_ESYNTAX,
     "t.cr:2:7: with `for i` the left side is o[i]\n"
     "    def o[j] = w[j] for i in 1..N\n"
     "          ^"},
    {LAYERS "def o[i-1] = w[i] for i in 1..N", CR_ESYNTAX,
     "t.cr:2:7: with `for i` the left side is o[i]\n"
     "    def o[i-1] = w[i] for i in 1..N\n"
     "          ^"},
    {LAYERS "def o[i] = w[i] for i in 1", CR_ESYNTAX,
     "t.cr:2:27: expected `..`, as in 1..N, found the end of the text\n"
     "    def o[i] = w[i] for i in 1\n"
     "                              ^"},
    {LAYERS "def o[c] = w[c] for c in 1..N", CR_ENAME,
     "t.cr:2:21: `c` is in use; choose another name for the index\n"
     "    def o[c] = w[c] for c in 1..N\n"
     "                        ^"},
    {"def o[i] = c for i in N..N-1", CR_EARG,
     "t.cr:1:23: an empty range\n"
     "    def o[i] = c for i in N..N-1\n"
     "                          ^~~~~~"},
    {"let u[3..1] : R", CR_EARG,
     "t.cr:1:7: an empty range\n"
     "    let u[3..1] : R\n"
     "          ^~~~"},
    {"def o[1][2] = c", CR_EUNSUPPORTED,
     "t.cr:1:9: a definition gives a whole member; write its entries as [i=1..n : ...]\n"
     "    def o[1][2] = c\n"
     "            ^"},
    {"let u[1..N] : Z", CR_EUNSUPPORTED,
     "t.cr:1:5: a family of integers; the members of `u` must be real\n"
     "    let u[1..N] : Z\n"
     "        ^"},
    {LAYERS "eval V[1,2,2]", CR_ESYNTAX,
     "t.cr:2:9: a family takes one index; entries of a member come after it: V[k][i,j]\n"
     "    eval V[1,2,2]\n"
     "            ^"},
    {LAYERS "eval V[1][2]", CR_ESHAPE,
     "t.cr:2:6: \"V[1]\" is R^{d x d}; it takes 2 indices, not 1\n"
     "    eval V[1][2]\n"
     "         ^~~~~~"},
    {"def o[0] = c\neval o[1,2]", CR_ESYNTAX,
     "t.cr:2:9: a family takes one index; entries of a member come after it: o[k][i,j]\n"
     "    eval o[1,2]\n"
     "            ^"},
    {"def o[0] = c\neval o", CR_ESYNTAX,
     "t.cr:2:6: `o` is a family; it needs an index: o[...]\n"
     "    eval o\n"
     "         ^"},
    {LAYERS "eval w[N+1]", CR_EARG,
     "t.cr:2:8: index N+1 is out of range 1..N of axis 1 of \"w\"\n"
     "    eval w[N+1]\n"
     "           ^~~"},
    {LAYERS "def o[0] = c\ndef o[i] = w[i-1]*o[i-1] for i in 1..N\neval o[N]", CR_EARG,
     "t.cr:3:14: index i-1 reaches 0, out of range 1..N of axis 1 of \"w\"\n"
     "    def o[i] = w[i-1]*o[i-1] for i in 1..N\n"
     "                 ^~~"},
    {"def o[0] = c\nlet o : R", CR_ENAME,
     "t.cr:2:5: `o` is already a family, declared at t.cr:1\n"
     "    let o : R\n"
     "        ^"},
    {LAYERS "let w : R", CR_ENAME,
     "t.cr:2:5: `w` is already a variable, declared at t.cr:1\n"
     "    let w : R\n"
     "        ^"},
    {LAYERS "def w[1] = c", CR_ENAME,
     "t.cr:2:5: `w` is already a variable, declared at t.cr:1\n"
     "    def w[1] = c\n"
     "        ^"},
    {"def o[0] = c\ndef o = 3", CR_ENAME,
     "t.cr:2:5: `o` is already a family, declared at t.cr:1\n"
     "    def o = 3\n"
     "        ^"},
    {"def o = 3\ndef o[0] = c", CR_ENAME,
     "t.cr:2:5: `o` is already a definition, declared at t.cr:1\n"
     "    def o[0] = c\n"
     "        ^"},
    {"def o[0] = c\ndef o[1] = x\neval o[1]", CR_ESHAPE,
     "t.cr:2:12: the members of `o` are a scalar, this one is R^n\n"
     "    def o[1] = x\n"
     "               ^"},
    {"def o[0] = c\ndef o[i] = o[i-1] < 0 for i in 1..N\neval o[N]", CR_ESHAPE,
     "t.cr:2:12: a member of `o` must be a number, not a condition\n"
     "    def o[i] = o[i-1] < 0 for i in 1..N\n"
     "               ^~~~~~~~~~"},
    {"def o[0] = c\nderive c wrt o[0]", CR_EARG,
     "t.cr:2:14: `o` is a defined family; derivatives are with respect to variables declared by let\n"
     "    derive c wrt o[0]\n"
     "                 ^"},
    {"def o[i] = (c for i in 1..N", CR_ESYNTAX,
     "t.cr:1:12: `(` is never closed\n"
     "    def o[i] = (c for i in 1..N\n"
     "               ^"},
    {"def o[i] = c) for i in 1..N", CR_ESYNTAX,
     "t.cr:1:13: expected an operator, `for` or the end of the statement, found `)`\n"
     "    def o[i] = c) for i in 1..N\n"
     "                ^"},
    {"def o[0 = c", CR_ESYNTAX,
     "t.cr:1:6: `[` is never closed\n"
     "    def o[0 = c\n"
     "         ^"},
    {"def o[i] = for i in 1..N", CR_ESYNTAX,
     "t.cr:1:12: expected an expression, found `for`\n"
     "    def o[i] = for i in 1..N\n"
     "               ^~~"},
    {LAYERS "eval prod(i=N..-2..1, V[i])", CR_EUNSUPPORTED,
     "t.cr:2:16: an index goes by steps of 1, or of -1: i=N..-1..1\n"
     "    eval prod(i=N..-2..1, V[i])\n"
     "                   ^"},
};

static void errors_name_the_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        fixture f = begin();
        cr_status s = lang_parse(f.p, "t.cr", wrong[i].text, strlen(wrong[i].text));
        if (s != wrong[i].status || strcmp(cr_graph_message(f.g), wrong[i].message))
            fail_msg("for:\n%s\nexpected (%d):\n%s\ngot (%d):\n%s", wrong[i].text, wrong[i].status, wrong[i].message,
                     s, cr_graph_message(f.g));
        end(&f);
    }
}

/* ---- nonsense ------------------------------------------------------------------------------------ */

/* Words of the language in any order: a result or an error with a place, and a graph that is whole. */
static void nonsense(void **state)
{
    static const char *const word[] = {
        "def ", "def o[", "o[", "s[", "]", "i", "i-1", "0", "1", "N", "=", " = ", "*", "+", "(", ")", " for ", " in ",
        "..", "1..N", " for i in 1..N", "\n", "\n", "let w[1..N] : R", "w[i]", "sum(j=1..i-1, o[j])", "prod(i=N..1, ",
        "c", "x", "eval ", "derive ", " wrt ", "o[N]", "w[1]", "w", ",", "o[i-1]", "o[N] = ", "-", "m", "[", ";", "#",
        "def o[0] = c\n", "def o[i] = w[i]*o[i-1] for i in 1..N\n", "if(i > 1, o[i-2], c)", "\xCF\x83", "..-1..",
        "def s[i] = o[i] for i in 0..N\n", "derive o[N] wrt w[k]\n", "derive o[N] wrt w\n", "let m : Z\n",
        "M[1..m] : R^{2 x 2}"};
    (void)state;
    random_state = 11;
    unsigned good = 0;
    for (int i = 0; i < 20000; i++) {
        char text[600] = "let w[1..N] : R\n", message[256];
        size_t n = strlen(text);
        for (unsigned k = 3 + below(20); k; k--) {
            const char *w = word[below(sizeof word / sizeof *word)];
            if (n + strlen(w) + 1 > sizeof text) break;
            strcpy(text + n, w);
            n += strlen(w);
        }
        fixture f = begin();
        cr_status s = lang_parse(f.p, "t.cr", text, n);
        if (s == CR_EINTERNAL || s == CR_ENOMEM) fail_msg("%s\n%s", text, cr_graph_message(f.g));
        if (s != CR_OK && strncmp(cr_graph_message(f.g), "t.cr:", 5)) fail_msg("%s\n%s", text, cr_graph_message(f.g));
        cr_graph_clear_error(f.g);
        for (size_t k = 0; k < lang_n_statements(f.p); k++) {
            const lang_statement *st = lang_statement_at(f.p, k);
            calc_result r;
            if (st->n_wrt && calc_derive(f.g, st->expr, (unsigned)st->n_wrt, st->wrt, 0, &r) == CR_EINTERNAL)
                fail_msg("%s\n%s", text, cr_graph_message(f.g));
            if (st->n_wrt) calc_result_free(&r);
            cr_graph_clear_error(f.g);
            good++;
        }
        if (cr_verify(f.g, message, sizeof message) != CR_OK) fail_msg("%s\n%s", text, message);
        end(&f);
    }
    print_message("%u statements\n", good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_rule_counts),
        cmocka_unit_test(errors_name_the_place),
        cmocka_unit_test(nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
