/* The formula language: what texts mean, given by the same expression made with the builders, and what is said about
 * wrong ones, to the character. */
#include "unit.h"

#include "lang/lang.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    cr_graph *g;
    lang_program *p;
    cr_dim m, n;
    cr_ref W, x, b, c;
} fixture;

static const char declarations[] = "let x : R^n, W : R^{m x n}\nlet b : R^m; let c : R # scalar\n";

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    *state = f;
    f->g = cr_graph_new();
    f->p = lang_new(f->g);
    assert_int_equal(lang_parse(f->p, "t.cr", declarations, strlen(declarations)), CR_OK);
    f->m = cr_dim_symbol(f->g, "m");
    f->n = cr_dim_symbol(f->g, "n");
    f->x = cr_param(f->g, "x", 1, &f->n, 0);
    f->W = cr_param(f->g, "W", 2, (cr_dim[]){f->m, f->n}, 0);
    f->b = cr_param(f->g, "b", 1, &f->m, 0);
    f->c = cr_param(f->g, "c", 0, NULL, 0);
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    lang_free(f->p);
    cr_graph_free(f->g);
    free(f);
    return 0;
}

static void run(fixture *f, const char *text)
{
    if (lang_parse(f->p, "t.cr", text, strlen(text)) != CR_OK) fail_msg("%s", cr_graph_message(f->g));
}

static cr_ref expr(fixture *f, const char *text)
{
    lang_statement st = {0};
    if (lang_expression(f->p, "e", text, &st) != CR_OK) fail_msg("%s: %s", text, cr_graph_message(f->g));
    return st.expr;
}

static void same(fixture *f, const char *a, const char *b)
{
    if (expr(f, a) != expr(f, b)) fail_msg("`%s` is not `%s`", a, b);
}

/* ---- meaning ----------------------------------------------------------------------------------- */

static void expressions_are_what_the_builders_make(void **state)
{
    fixture *f = *state;
    cr_graph *g = f->g;
    cr_ref z = cr_add(g, cr_matmul(g, f->W, f->x), f->b), one = cr_const(g, 1), two = cr_const(g, 2);
    assert_int_equal(expr(f, "W*x + b"), z);
    assert_int_equal(expr(f, "relu(W*x + b)"), cr_map(g, CR_OP_RELU, z));
    assert_int_equal(expr(f, "x'*x"), cr_matmul(g, cr_transpose(g, f->x), f->x));
    assert_int_equal(expr(f, "x .* x ./ c"), cr_div(g, cr_mul(g, f->x, f->x), f->c));
    assert_int_equal(expr(f, "W'"), cr_transpose(g, f->W));
    assert_int_equal(expr(f, "W[2,1]"), cr_index(g, f->W, 2, (cr_dim[]){cr_dim_const(g, 2), cr_dim_const(g, 1)}));
    assert_int_equal(expr(f, "c > 1"), cr_map2(g, CR_OP_LT, one, f->c));
    assert_int_equal(expr(f, "if(c <= 2, c, 1)"), cr_select(g, cr_map2(g, CR_OP_LE, f->c, two), f->c, one));
    assert_int_equal(expr(f, "max(c, 1, 2)"), cr_map2(g, CR_OP_MAX2, cr_map2(g, CR_OP_MAX2, f->c, one), two));
    assert_int_equal(expr(f, "max(x)"), cr_reduce(g, CR_OP_MAXR, f->x, 0));
    assert_int_equal(expr(f, "leaky_relu(x, 0.2)"), cr_leaky_relu(g, f->x, 0.2));
    assert_int_equal(expr(f, "softmax(W)"), cr_softmax(g, f->W, 0));
    assert_int_equal(expr(f, "kron(W, I(2))"), cr_kron(g, f->W, cr_identity(g, cr_dim_const(g, 2))));
    assert_int_equal(expr(f, "n"), cr_int(g, f->n));
    assert_int_equal(expr(f, "ones(m, n)"), cr_full(g, one, 2, (cr_dim[]){f->m, f->n}));
    assert_int_equal(expr(f, "[1,2;3,4]"),
                     cr_stack(g, 4, (cr_ref[]){one, two, cr_const(g, 3), cr_const(g, 4)}, 2,
                              (cr_dim[]){cr_dim_const(g, 2), cr_dim_const(g, 2)}));
}

static void precedence_is_that_of_octave(void **state)
{
    fixture *f = *state;
    same(f, "-c^2", "-(c^2)");
    same(f, "2^-1*c", "(2^(-1))*c");
    same(f, "c^2^3", "(c^2)^3");
    same(f, "-c*c", "(-c)*c");
    same(f, "c - c - 1", "c + (-c) + (-1)");
    same(f, "c - (c - 1)", "c + -(c + (-1))");
    same(f, "c/c*c", "(c/c)*c");
    same(f, "c + 1 < c*2 and not c == 3 or true and c != 1",
         "((c + 1 < c*2) and (not (c == 3))) or (true and (c ~= 1))");
    same(f, "W*x .* b", "(W*x) .* b");
    same(f, "x'*W'", "(x')*(W')");
    same(f, "- -c", "c");
    same(f, "2.*x", "2 .* x");
    same(f, "1e1 + .5 + 2.", "10 + 0.5 + 2");
}

static void spellings(void **state)
{
    fixture *f = *state;
    same(f, "[[1,2],[3,4]]", "[1,2;3,4]");
    same(f, "tr(W*W')", "trace(W*transpose(W))");
    same(f, "sum(i=1..n, x[i])", "sum(x)");
    same(f, "sum(i=1..m, j=1..n, W[i,j])", "sum(i=1..m, sum(k=1..n, W[i,k]))");
    same(f, "[i=1..m, j=1..n : W[i,j]]", "W");
    same(f, "[k=1..n : x[k]*2]", "[i=1..n : x[i]*2]");
    same(f, "(\n W * # a comment\n x)", "W*x");
    same(f, "delta(n,n)", "1");
    same(f, "delta(n,n+1)", "0");
    same(f, "floor(2*n/2)", "n");
    assert_int_equal(op_of(f->g, expr(f, "sigmoid'(x)")), CR_OP_DSIGMOID);
    assert_int_equal(op_of(f->g, expr(f, "tanh'(3)")), CR_OP_DTANH);
    same(f, "exp''(x)", "exp(x)");
    same(f, "sin'(x)", "cos(x)");
}

static void functions(void **state)
{
    fixture *f = *state;
    run(f, "fun sigma : R -> R\n"
           "fun swish(z) = z*sigmoid(z)\n"
           "fun scaled(z) = c*z*sigmoid(z)\n"
           "fun q(v, A) = v'*A*v\n"
           "fun total(v) = sum(i=1..n, v[i])\n"
           "fun affine(x) = W*x + b\n");
    assert_int_equal(op_of(f->g, expr(f, "sigma(x)")), CR_OP_CALL);
    assert_int_equal(op_of(f->g, expr(f, "sigma''(x)")), CR_OP_CALL);
    assert_int_equal(op_of(f->g, expr(f, "swish(x)")), CR_OP_CALL);
    same(f, "scaled(x)", "c.*x.*sigmoid(x)"); /* not closed, yet element by element */
    same(f, "q(x, W'*W)", "x'*(W'*W)*x");
    same(f, "total(2*x)", "sum(2*x)");
    same(f, "sum(i=1..n, total(x[i]*x))", "sum(k=1..n, sum(x[k]*x))"); /* no capture of i */
    same(f, "affine(2*x)", "W*(2*x) + b");
}

static void statements(void **state)
{
    fixture *f = *state;
    run(f, "def f = W*x + b\n\n"
           "derive f[1]   wrt\tW[i,j]\n"
           "derive c*(f[1] # first\n + 1) wrt x,\n  c; eval i*b[i]\n"
           "check delta(i,k)*x[i+1] wrt x[k]\n");
    assert_int_equal(lang_n_statements(f->p), 4);
    const lang_statement *s = lang_statement_at(f->p, 0);
    assert_string_equal(s->query, "derive f[1] wrt W[i,j]");
    assert_int_equal(s->line, 3);
    assert_int_equal(s->n_wrt, 1);
    assert_int_equal(s->wrt[0].n_index, 2);
    assert_int_equal(s->n_free, 2);
    assert_string_equal(name_text(f->g->dims, s->free_index[0].name), "i");
    assert_int_equal(s->free_index[0].to, f->m);
    assert_int_equal(s->free_index[1].to, f->n);
    s = lang_statement_at(f->p, 1);
    assert_string_equal(s->query, "derive c*(f[1] + 1) wrt x, c");
    assert_int_equal(s->n_wrt, 2);
    s = lang_statement_at(f->p, 2);
    assert_int_equal(s->kind, LANG_EVAL);
    assert_int_equal(s->line, 6);
    assert_int_equal(s->free_index[0].to, f->m);
    s = lang_statement_at(f->p, 3);
    assert_int_equal(s->kind, LANG_CHECK);
    assert_int_equal(s->free_index[0].to, cr_dim_sub(f->g, f->n, cr_dim_const(f->g, 1))); /* i + 1 <= n */
}

static void declarations_and_values(void **state)
{
    fixture *f = *state;
    run(f, "let A : R^{2*k+1 x 2*k+1} positive definite, k : Z, v : R^2 = [1, 2],\n"
           "  y, z : R^3 positive\nlet h = 0.5; let N = 3\nlet c = 2\n");
    cr_ref A = cr_param(f->g, "A", 2, (cr_dim[]){0, 0}, 0);
    assert_int_equal(A, CR_NONE);
    const char *const name[] = {"n", "x", "m", "W", "b", "c", "k", "A", "v", "y", "z", "h", "N"};
    assert_int_equal(lang_n_variables(f->p), sizeof name / sizeof name[0]);
    for (size_t i = 0; i < lang_n_variables(f->p); i++) {
        const lang_variable *v = lang_variable_at(f->p, i);
        assert_string_equal(name_text(f->g->dims, v->name), name[i]);
        assert_int_equal(v->param == CR_NONE, strchr("nmkN", name[i][0]) != NULL);
        assert_int_equal(v->has_value, strchr("cvhN", name[i][0]) != NULL);
    }
    assert_int_equal(attr_of(f->g, lang_variable_at(f->p, 7)->param, 1), CR_DEFINITE | CR_SYMMETRIC | CR_INVERTIBLE);
    assert_int_equal(attr_of(f->g, lang_variable_at(f->p, 9)->param, 1), CR_POSITIVE);
    assert_int_equal(lang_declare(f->p, "--let", "t : R, T : R^{n x m}"), CR_OK);
    assert_int_equal(lang_query(f->p, LANG_DERIVE, "T[i,j]*t", "T[i,j], t"), CR_OK);
    assert_string_equal(lang_statement_at(f->p, 0)->query, "derive T[i,j]*t wrt T[i,j], t");
    assert_int_equal(lang_assign(f->p, "--at", "t = 3; v = [3,4]\nn = 2, i = 1", false), CR_OK);
}

static void printed_ranges_come_back(void **state)
{
    fixture *f = *state;
    lang_free_index i[2] = {{name_intern(f->g->dims, "i", 1), cr_dim_const(f->g, 1), f->n},
                            {name_intern(f->g->dims, "j", 1), cr_dim_const(f->g, 1), f->n}};
    lang_statement st = {.free_index = i, .n_free = 2};
    assert_int_equal(lang_expression(f->p, "e", "delta(i,j)", &st), CR_OK);
    cr_dim di = cr_dim_symbol(f->g, "i"), dj = cr_dim_symbol(f->g, "j");
    cr_ref e[2] = {cr_onehot(f->g, di, f->n), cr_onehot(f->g, dj, f->n)};
    assert_int_equal(st.expr, cr_einsum(f->g, 2, e, (uint8_t[]){0, 0}, 0, NULL));
    assert_int_equal(st.n_free, 2);
    assert_int_equal(st.free_index[1].to, f->n);
}

/* ---- errors ------------------------------------------------------------------------------------ */

static const struct { const char *text; cr_status status; const char *message; } wrong[] = {
    {"def f = x'*W*x", CR_ESHAPE,
     "t.cr:1:9: x' is 1 x n but W has m rows; in \"x'*W\"\n"
     "    def f = x'*W*x\n"
     "            ^~~~"},
    {"def f = W*b", CR_ESHAPE, "t.cr:1:9: W is m x n but b has m rows; in \"W*b\"\n    def f = W*b\n            ^~~"},
    {"\tderive (x + b)[1] wrt x", CR_ESHAPE,
     "t.cr:1:10: x is R^n but b is R^m; in \"x + b\"\n"
     "    \tderive (x + b)[1] wrt x\n"
     "    \t        ^~~~~"},
    {"eval sigmod(x)", CR_ENAME,
     "t.cr:1:6: unknown function `sigmod`; did you mean `sigmoid`?\n"
     "    eval sigmod(x)\n"
     "         ^~~~~~"},
    {"eval x + yy", CR_ENAME, "t.cr:1:10: unknown name `yy`\n    eval x + yy\n             ^~"},
    {"eval x[0]", CR_EARG, "t.cr:1:8: index 0 is out of range 1..n of axis 1 of \"x\"\n    eval x[0]\n           ^"},
    {"eval x[n+1]", CR_EARG,
     "t.cr:1:8: index n+1 is out of range 1..n of axis 1 of \"x\"\n"
     "    eval x[n+1]\n"
     "           ^~~"},
    {"eval sum(i=1..n, x[i+1])", CR_EARG,
     "t.cr:1:20: index i+1 reaches n+1, out of range 1..n of axis 1 of \"x\"\n"
     "    eval sum(i=1..n, x[i+1])\n"
     "                       ^~~"},
    {"eval x[i]*b[i]", CR_ESHAPE,
     "t.cr:1:13: index `i` runs over axis 1 of \"x\", of size n, and over axis 1 of \"b\", of size m\n"
     "    eval x[i]*b[i]\n"
     "                ^"},
    {"eval W[1]", CR_ESHAPE, "t.cr:1:6: \"W\" is R^{m x n}; it takes 2 indices, not 1\n    eval W[1]\n         ^~~"},
    {"let x : R", CR_ENAME, "t.cr:1:5: `x` is already a variable, declared at t.cr:1\n    let x : R\n        ^"},
    {"let n : R", CR_ENAME, "t.cr:1:5: `n` is already a size, declared at t.cr:1\n    let n : R\n        ^"},
    {"let y : R^x", CR_ENAME,
     "t.cr:1:11: `x` is a variable, declared at t.cr:1; it cannot be a size\n"
     "    let y : R^x\n"
     "              ^"},
    {"def f = (1 + 2\ndef g = 3", CR_ESYNTAX, "t.cr:1:9: `(` is never closed\n    def f = (1 + 2\n            ^"},
    {"def f = 1 +", CR_ESYNTAX,
     "t.cr:1:12: expected an expression, found the end of the text\n"
     "    def f = 1 +\n"
     "               ^"},
    {"def \xCF\x83 = 1 @ 2", CR_ESYNTAX,
     "t.cr:1:11: the character `@` is not in the language\n"
     "    def \xCF\x83 = 1 @ 2\n"
     "              ^"},
    {"eval x/x", CR_ESHAPE,
     "t.cr:1:6: `/` divides by a scalar, not by R^n; element by element is `./`, for a matrix use inv; in \"x/x\"\n"
     "    eval x/x\n"
     "         ^~~"},
    {"eval x^2", CR_ESHAPE,
     "t.cr:1:6: `^` takes a scalar or a square matrix, not R^n; element by element is `.^`; in \"x^2\"\n"
     "    eval x^2\n"
     "         ^~~"},
    {"eval 1 < 2 < 3", CR_ESYNTAX,
     "t.cr:1:12: comparisons do not chain; write a < b and b < c\n"
     "    eval 1 < 2 < 3\n"
     "               ^"},
    {"eval [1,2;3]", CR_ESHAPE,
     "t.cr:1:11: row 2 of the matrix has 1 entry, the rows before it 2\n"
     "    eval [1,2;3]\n"
     "              ^"},
    {"eval 1e999", CR_ESYNTAX, "t.cr:1:6: the number is too large for a double\n    eval 1e999\n         ^~~~~"},
    {"derive x", CR_ESYNTAX,
     "t.cr:1:9: expected an operator or `wrt`, found the end of the text\n"
     "    derive x\n"
     "            ^"},
    {"def f = x[j]", CR_ENAME,
     "t.cr:1:11: unknown index `j`; free indices stand in derive, eval and check only\n"
     "    def f = x[j]\n"
     "              ^"},
    {"eval delta(i,j)", CR_ENAME,
     "t.cr:1:12: the range of index `i` is not known; it must be an index by itself once, as in x[i]\n"
     "    eval delta(i,j)\n"
     "               ^"},
    {"fun bad(v, w) = v.*w\neval bad(x, b)", CR_ESHAPE,
     "t.cr:1:17: v is R^n but w is R^m; in \"v.*w\"\n"
     "    fun bad(v, w) = v.*w\n"
     "                    ^~~~\nin `bad`, called at t.cr:2:6"},
    {"derive c wrt n", CR_EARG,
     "t.cr:1:14: `n` is an integer; derivatives are with respect to real variables, `let n : R`\n"
     "    derive c wrt n\n"
     "                 ^"},
    {"derive c wrt c\xff", CR_ESYNTAX,
     "t.cr:1:15: the byte 0xFF is not UTF-8 text\n"
     "    derive c wrt c\n"
     "                  ^"},
    {"let n = 2.5", CR_EVALUE, "t.cr:1:9: `n` is an integer; \"2.5\" is not\n    let n = 2.5\n            ^~~"},
    {"eval c\xC2\xB7" "c", CR_ESYNTAX,
     "t.cr:1:7: a product is written `*`, element by element `.*`\n"
     "    eval c\xC2\xB7" "c\n"
     "          ^"},
};

static void errors_name_the_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        void *own = NULL;
        setup(&own);
        fixture *f = own;
        cr_status s = lang_parse(f->p, "t.cr", wrong[i].text, strlen(wrong[i].text));
        if (s != wrong[i].status || strcmp(cr_graph_message(f->g), wrong[i].message))
            fail_msg("for:\n%s\nexpected (%d):\n%s\ngot (%d):\n%s", wrong[i].text, wrong[i].status, wrong[i].message, s,
                     cr_graph_message(f->g));
        teardown(&own);
    }
}

static void repeated(fixture *f, const char *head, const char *piece, size_t times, cr_status status)
{
    size_t n = strlen(head), len = strlen(piece);
    char *text = malloc(n + len * times);
    memcpy(text, head, n);
    for (size_t i = 0; i < times; i++) memcpy(text + n + i * len, piece, len);
    cr_status s = lang_parse(f->p, "t.cr", text, n + len * times);
    if (s != status) fail_msg("%zu times %s: %d %.200s", times, piece, s, cr_graph_message(f->g));
    assert_true(strlen(cr_graph_message(f->g)) < 1000);
    cr_graph_clear_error(f->g);
    free(text);
}

static void nesting_is_limited_not_the_stack(void **state)
{
    fixture *f = *state;
    repeated(f, "", "(", 100000000, CR_ELIMIT); /* a text of more than 16 MiB */
    repeated(f, "eval ", "(", 1000000, CR_ELIMIT);
    repeated(f, "eval ", "[", 1000000, CR_ELIMIT);
    repeated(f, "eval ", "if(", 1000000, CR_ELIMIT);
    repeated(f, "eval ", "exp(", 1000000, CR_ELIMIT);
    repeated(f, "eval ", "[i=1..", 100000, CR_ELIMIT);
    repeated(f, "eval e(1,", "floor(", 100000, CR_ELIMIT);
    repeated(f, "eval ", "-", 1000000, CR_ESYNTAX);
    repeated(f, "eval c", "'", 100000, CR_OK);
    repeated(f, "eval c == 1 or ", "not ", 100000, CR_ESYNTAX);
    repeated(f, "eval c", "+c", 100000, CR_OK);
    repeated(f, "fun f(x, y) = f(y, x) + ", "f(", 1000, CR_ESYNTAX);
    cr_graph_clear_error(f->g);
}

static void calls_of_functions_are_limited(void **state)
{
    fixture *f = *state;
    strbuf b;
    sb_init(&b);
    sb_puts(&b, "fun f0(x, y) = c*x + y\n");
    for (int i = 1; i < 40; i++) sb_printf(&b, "fun f%d(x, y) = f%d(f%d(x, y), f%d(y, x))\n", i, i - 1, i - 1, i - 1);
    sb_puts(&b, "eval f39(c, 2)");
    assert_int_equal(lang_parse(f->p, "t.cr", sb_str(&b), b.n), CR_ELIMIT);
    cr_graph_clear_error(f->g);
    sb_free(&b);
    const char *text = "fun loop(x, y) = loop(y, x)\neval loop(1, 2)";
    assert_int_equal(lang_parse(f->p, "t.cr", text, strlen(text)), CR_ELIMIT);
}

static void control_characters_and_nul(void **state)
{
    fixture *f = *state;
    assert_int_equal(lang_parse(f->p, "t.cr", "let y : R\0", 10), CR_ESYNTAX);
    assert_string_equal(cr_graph_message(f->g),
                        "t.cr:1:10: a NUL byte; is this a text file?\n    let y : R\n             ^");
    cr_graph_clear_error(f->g);
    run(f, "\xEF\xBB\xBFlet y : R\r\nlet u : R\r\n"); /* byte order mark and CR LF */
    assert_int_equal(lang_parse(f->p, "t.cr", "eval \x1b[31m", 10), CR_ESYNTAX);
    assert_null(strchr(cr_graph_message(f->g), '\x1b')); /* nothing that a terminal obeys */
}

static void parse_with_little_memory(const bool *refused)
{
    static const char text[] = "let x : R^n, W : R^{m x n}\nfun s : R -> R\n"
                               "fun f(z) = z*s(z)\nfun g(a, b) = a'*b\n"
                               "def h = f(W*x)\nderive g(h, h) + sum(i=1..n, x[i]) + [1,2][1] wrt x[j]\n"
                               "derive delta(i,j)*x[i] wrt W\n";
    cr_graph *g = cr_graph_new();
    lang_program *p = g ? lang_new(g) : NULL;
    cr_status s = p ? lang_parse(p, "t.cr", text, sizeof text - 1) : CR_ENOMEM;
    if (*refused) assert_true(s == CR_ENOMEM || s == CR_OK); /* OK: the builders may do without */
    else assert_int_equal(s, CR_OK);
    lang_free(p);
    cr_graph_free(g);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    each_allocation_fails(parse_with_little_memory);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(expressions_are_what_the_builders_make),
        T(precedence_is_that_of_octave),
        T(spellings),
        T(functions),
        T(statements),
        T(declarations_and_values),
        T(printed_ranges_come_back),
        cmocka_unit_test(errors_name_the_place),
        T(nesting_is_limited_not_the_stack),
        T(calls_of_functions_are_limited),
        T(control_characters_and_nul),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
