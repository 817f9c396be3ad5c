/* The printers: golden strings, every operator, limits, and allocation failure. Text must read back. */
#include "unit.h"

#include "lang/lang.h"

#include <math.h>
#include <string.h>

static const char declarations[] =
    "x : R^n, y : R^n, W : R^{m x n}, b : R^m, a : R^m, A : R^{n x n}, B : R^{n x n}, t : R, s : R, alpha : R, "
    "w_out : R^n, W1 : R^{n x n}, T : R^{n x m x d}, w[1..N] : R, M[0..N] : R^{n x n}";
static const char functions[] = "fun f : R -> R\nfun swish(z) = z*sigmoid(z)\n"
                                "def o[0] = t\ndef o[i] = f(w[i]*o[i-1]) for i in 1..N\n";

typedef struct fixture {
    cr_graph *g;
    lang_program *p;
} fixture;

static fixture begin(void)
{
    fixture f;
    f.g = cr_graph_new();
    assert_non_null(f.g);
    f.p = lang_new(f.g);
    assert_non_null(f.p);
    assert_int_equal(lang_declare(f.p, "let", declarations), CR_OK);
    assert_int_equal(lang_parse(f.p, "functions", functions, strlen(functions)), CR_OK);
    return f;
}

static void end(fixture *f)
{
    lang_free(f->p);
    cr_graph_free(f->g);
}

static cr_ref parse(fixture *f, const char *text)
{
    lang_statement st = {0};
    if (lang_expression(f->p, "test", text, &st) != CR_OK) fail_msg("%s: %s", text, cr_graph_message(f->g));
    return st.expr;
}

static char *print(fixture *f, cr_ref r, lang_format format, lang_form form)
{
    strbuf b;
    sb_init(&b);
    if (lang_print(f->g, r, format, form, &b) != CR_OK) fail_msg("%s", cr_graph_message(f->g));
    return sb_take(&b);
}

static void expect(fixture *f, cr_ref r, lang_format format, lang_form form, const char *wanted)
{
    char *s = print(f, r, format, form);
    assert_string_equal(s, wanted);
    mem_free(s);
}

/* ---- golden strings ---------------------------------------------------------------------------- */

/* expression | text | Unicode | LaTeX; NULL: not looked at. An empty text: as written. */
static const struct { const char *in, *text, *unicode, *latex; } golden[] = {
    {"W*x + b", "", "W·x + b", "W x + b"},
    {"(W*x + b)[1]", "", "(W·x + b)₁", "(W x + b)_{1}"},
    {"a'*relu(W*x + b)", "", "aᵀ·relu(W·x + b)", "a^{\\top} \\, \\operatorname{relu}(W x + b)"},
    {"step((W*x + b)[1])*W[1,j]", "", "step((W·x + b)₁)·W₁ⱼ", "\\operatorname{step}((W x + b)_{1}) \\, W_{1,j}"},
    {"relu(W*x + b)[1]", "relu((W*x + b)[1])", NULL, NULL},
    {"W'*(a .* step(W*x + b))", "", "Wᵀ·(a ⊙ step(W·x + b))", "W^{\\top} \\, (a \\odot \\operatorname{step}(W x + b))"},
    {"sum(i=1..m, a[i]*step((W*x + b)[i])*W[i,j])", "", "Σ_{i=1}^{m} aᵢ·step((W·x + b)ᵢ)·Wᵢⱼ",
     "\\sum_{i=1}^{m} a_{i} \\, \\operatorname{step}((W x + b)_{i}) \\, W_{i,j}"},
    {"(W*x + b)[1] != 0 or W[1,j] == 0", "", "(W·x + b)₁ ≠ 0 ∨ W₁ⱼ = 0", "(W x + b)_{1} \\ne 0 \\lor W_{1,j} = 0"},
    {"all(i=1..m, (W*x + b)[i] > 0)", "", "∀i=1..m: (W·x + b)ᵢ > 0", "\\forall i=1,\\dots,m:\\; (W x + b)_{i} > 0"},
    {"any(i=1..n, x[i] == 0)", "", NULL, NULL},
    {"not (t > 0)", "", "¬(t > 0)", "\\lnot (t > 0)"},
    {"0 < t and t <= 1 or s == 0", "t > 0 and t <= 1 or s == 0", NULL, NULL},
    {"sum(if(W*x + b == 0, a .* abs(W*e(j, n)), 0)) == 0",
     "sum(i=1..m, if((W*x + b)[i] == 0, a[i]*abs(W[i,j]), 0)) == 0", NULL, NULL},

    {"x'*A*y", "", "xᵀ·A·y", "x^{\\top} A y"},
    {"2*x'*A*y", "", NULL, "2 x^{\\top} A y"},
    {"y'*A'*x", "x'*A*y", NULL, NULL},
    {"x'*x/2", "", "xᵀ·x/2", "\\frac{x^{\\top} x}{2}"},
    {"(A + A')*x", "", "(A + Aᵀ)·x", "(A + A^{\\top}) \\, x"},
    {"(A*B)'", "B'*A'", NULL, NULL},
    {"(x'*A)'", "A'*x", NULL, NULL},
    {"tr(A*B)", "", "tr(A·B)", "\\operatorname{tr}(A B)"},
    {"tr(A'*B)", "", NULL, NULL},
    {"sum(i=1..n, A[i,i])", "tr(A)", NULL, NULL},
    {"sum(x)", "", NULL, NULL},
    {"sum(A)", "", NULL, NULL},
    {"A*ones(n)", "", NULL, "A \\, \\mathbf{1}_{n}"},
    {"ones(n)", "", NULL, "\\mathbf{1}_{n}"},
    {"zeros(n, n)", "", NULL, "\\mathbf{0}_{n \\times n}"},
    {"t*ones(m, n)", "", NULL, NULL},
    {"x*ones(m)'", "", NULL, NULL},
    {"x*y'", "", "x·yᵀ", "x y^{\\top}"},
    {"x'", "", "xᵀ", "x^{\\top}"},
    {"diag(x)*A", "", NULL, "\\operatorname{diag}(x) \\, A"},
    {"A*diag(x)", "", NULL, NULL},
    {"diag(A)", "", NULL, NULL},
    {"diag(x)", "", NULL, NULL},
    {"I(n)", "", "Iₙ", "I_{n}"},
    {"e(2, n)", "", NULL, "e_{2}"},
    {"A .* B", "", "A ⊙ B", "A \\odot B"},
    {"A .* I(n)", "", NULL, NULL},
    {"x ./ y", "", "x ⊘ y", "x \\oslash y"},
    {"x.^2", "", "x²", "x^{\\odot 2}"},
    {"1 ./ x", "", NULL, NULL},
    {"kron(A, B)", "", "A ⊗ B", "A \\otimes B"},
    {"vec(A)", "", NULL, NULL},
    {"reshape(A, n*n, 1)", "reshape(A, n^2, 1)", NULL, NULL},

    {"1 - x", "", NULL, NULL},
    {"-x + y", "y - x", NULL, NULL},
    {"-(W*x + b)", "", NULL, "-(W x + b)"},
    {"x - (y - t*x)", "x - y + t*x", NULL, NULL},
    {"2*(A + B)", "", NULL, "2 \\, (A + B)"},
    {"alpha*t*x", "", "α·t·x", "\\alpha t x"},
    {"x/2", "", NULL, "\\frac{x}{2}"},
    {"0.1*t", "", NULL, "0.1 t"},
    {"0.75*t", "3*t/4", NULL, "\\frac{3 t}{4}"},
    {"1e-7*t", "1e-07*t", NULL, "10^{-7} t"},
    {"1/t^2", "", "1/t²", "\\frac{1}{t^{2}}"},
    {"t^(-2)", "1/t^2", NULL, NULL},
    {"(t + 1)/(2*s)", "", NULL, "\\frac{t + 1}{2 s}"},
    {"exp(-t^2)", "", "exp(-t²)", "\\exp(-t^{2})"},
    {"exp(t/2)", "", NULL, "\\exp\\left(\\frac{t}{2}\\right)"},
    {"pi*t", "", "π·t", "\\pi t"},
    {"(n-1)*t", "", NULL, "(n-1) t"},
    {"x/norm2(x)", "", "x/‖x‖₂", "\\frac{x}{\\left\\lVert x \\right\\rVert_{2}}"},
    {"abs(t)", "", "|t|", "\\left\\lvert t \\right\\rvert"},
    {"sqrt(t)", "", "√t", "\\sqrt{t}"},
    {"inv(A)", "", "A⁻¹", "A^{-1}"},
    {"inv(A)'", "", "(A⁻¹)ᵀ", "(A^{-1})^{\\top}"},
    {"A^3", "", "A³", "A^{3}"},
    {"(A + B)^2", "", NULL, "(A + B)^{2}"},
    {"det(A)", "", NULL, "\\det(A)"},
    {"sigmoid(t)", "", "σ(t)", "\\sigma(t)"},
    {"sigmoid'(t)", "sigmoid(t)*(1 - sigmoid(t))", "σ(t)·(1 - σ(t))", "\\sigma(t) \\, (1 - \\sigma(t))"},
    {"sigmoid'(x)", "sigmoid(x) .* (1 - sigmoid(x))", NULL, NULL},
    {"tanh'(t)", "1 - tanh(t)^2", NULL, "1 - \\tanh(t)^{2}"},
    {"f'(t)", "", "f′(t)", "f'(t)"},
    {"f''''(t)", "", "f^(4)(t)", "f^{(4)}(t)"},
    {"swish(x)", "", NULL, "\\mathit{swish}(x)"},
    {"softmax(x) - y", "", NULL, "\\operatorname{softmax}(x) - y"},
    {"softmax(A)", "", NULL, NULL},
    {"max(t, 0)", "", NULL, "\\max(t, 0)"},
    {"max(x)", "", NULL, NULL},
    {"leaky_relu(x)", "", NULL, NULL},
    {"leaky_relu(x, 0.3)", "", NULL, NULL},
    {"mod(t, 3)", "", NULL, NULL},
    {"if(t > 0, t, 0)", "", NULL, "\\begin{cases} t & \\text{if } t > 0 \\\\ 0 & \\text{otherwise} \\end{cases}"},
    {"if(x > 0, x, 0)", "", NULL, NULL},
    {"w_out[2]", "", NULL, "(w_{\\mathrm{out}})_{2}"},
    {"W1[1,j]", "", "W1₁ⱼ", "(W_{1})_{1,j}"},
    {"W[1,12]", "", "W[1,12]", "W_{1,12}"},
    {"T[1,2,3]", "", "T₁₂₃", "T_{1,2,3}"},
    {"2*T", "[i=1..n, j=1..m, k=1..d : 2*T[i,j,k]]", NULL,
     "\\left[ 2 T_{i,j,k} \\right]_{i=1,\\dots,n;\\, j=1,\\dots,m;\\, k=1,\\dots,d}"},
    {"sum(i=2..n, x[i])", "", "Σ_{i=2}^{n} xᵢ", "\\sum_{i=2}^{n} x_{i}"},
    {"prod(i=2..5, alpha^i)", "", NULL, "\\prod_{i=2}^{5} \\alpha^{i}"},
    {"2*sum(i=2..n, x[i])*t", "2*sum(i=2..n, x[i])*t", NULL, "2 \\, \\left(\\sum_{i=2}^{n} x_{i}\\right) \\, t"},
    {"delta(i, j)*x[i]", "", "δᵢⱼ·xᵢ", "\\delta_{i j} \\, x_{i}"},
    {"[1, 2; 3, 4]", "", NULL, "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}"},
    {"[alpha, t, 3]", "", "[α, t, 3]", "\\begin{pmatrix} \\alpha \\\\ t \\\\ 3 \\end{pmatrix}"},
    {"[1, 2]'", "", NULL, NULL},
    {"if(t > 0, f(t)*ones(n), zeros(n))", "if(t > 0, f(t)*ones(n), 0)", NULL, NULL},
    {"if(t > 0, f(t)*ones(n), y)", "if(t > 0, f(t), y)", NULL, NULL},
    {"o[N]", "", NULL, "o_{N}"},
    {"w[1]*o[N-1]", "", NULL, "w_{1} o_{N-1}"},
    {"M[N][1,n]", "", NULL, NULL},
    {"prod(i=N..1, M[i])*x", "", NULL, NULL},
};

static void golden_strings(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        fixture f = begin();
        cr_ref r = parse(&f, golden[i].in);
        const char *text = *golden[i].text ? golden[i].text : golden[i].in;
        expect(&f, r, LANG_TEXT, LANG_AUTO, text);
        if (golden[i].unicode) expect(&f, r, LANG_UNICODE, LANG_AUTO, golden[i].unicode);
        if (golden[i].latex) expect(&f, r, LANG_LATEX, LANG_AUTO, golden[i].latex);
        cr_ref back = parse(&f, text);
        if (back != r && cr_simplify(f.g, back) != cr_simplify(f.g, r)) fail_msg("%s does not read back", text);
        end(&f);
    }
}

static void component_form(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"W*x + b", "[i=1..m : sum(j=1..n, W[i,j]*x[j]) + b[i]]"},
        {"relu(W*x + b)", "[i=1..m : relu((W*x + b)[i])]"},
        {"x'*A*y", "sum(i=1..n, j=1..n, x[i]*A[i,j]*y[j])"},
        {"diag(x)", "[i=1..n, j=1..n : delta(i, j)*x[i]]"},
        {"tr(A*B)", "sum(i=1..n, j=1..n, A[i,j]*B[j,i])"},
        {"exp(x) .* y", "[i=1..n : exp(x[i])*y[i]]"},
        {"A'", "[i=1..n, j=1..n : A[j,i]]"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        fixture f = begin();
        expect(&f, cr_simplify(f.g, parse(&f, table[i][0])), LANG_TEXT, LANG_COMPONENT, table[i][1]);
        end(&f);
    }
}

static void matrix_form(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"(W'*a)[j]", "a'*W*e(j, n)"},
        {"x[1]*y", "x[1]*y"},
        {"sum(i=1..n, x[i]*y[i])", "x'*y"},
        {"[i=1..n, j=1..n : x[i]*A[i,j]]", "diag(x)*A"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        fixture f = begin();
        expect(&f, cr_simplify(f.g, parse(&f, table[i][0])), LANG_TEXT, LANG_MATRIX, table[i][1]);
        end(&f);
    }
}

/* A name that the user gave is not taken for an index, and sigmoid is not called sigma beside one. */
static void names(void **state)
{
    (void)state;
    fixture f = begin();
    assert_int_equal(lang_declare(f.p, "let", "i : R, j : R^n, sigma : R"), CR_OK);
    expect(&f, parse(&f, "2*T"), LANG_TEXT, LANG_AUTO, "[k=1..n, l=1..m, p=1..d : 2*T[k,l,p]]");
    expect(&f, parse(&f, "sigmoid(sigma)"), LANG_LATEX, LANG_AUTO, "\\operatorname{sigmoid}(\\sigma)");
    end(&f);
}

/* ---- every operator ---------------------------------------------------------------------------- */

typedef struct samples {
    cr_ref r[10];
    unsigned n;
} samples;

static void put(samples *s, cr_ref r)
{
    s->r[s->n++] = r;
}

/* Expressions whose root (or, where a rewrite takes it, whose cone) has the operator; scalar and tensor. */
static samples samples_of(fixture *f, cr_op op)
{
    cr_graph *g = f->g;
    samples s = {.n = 0};
    cr_ref x = parse(f, "x"), y = parse(f, "y"), A = parse(f, "A"), t = parse(f, "t"), u = parse(f, "s");
    cr_ref positive = parse(f, "x > 0"), both = parse(f, "A > 0");
    cr_dim n = cr_dim_symbol(g, "n"), i = cr_dim_symbol(g, "q");
    switch (op) {
    case CR_OP_PARAM: put(&s, x); break;
    case CR_OP_CONST: put(&s, cr_const(g, -0.5)); put(&s, cr_bool(g, true)); break;
    case CR_OP_INT: put(&s, cr_int(g, n)); break;
    case CR_OP_ONEHOT: put(&s, cr_onehot(g, i, n)); break;
    case CR_OP_IDENTITY: put(&s, cr_identity(g, n)); break;
    case CR_OP_IOTA: put(&s, cr_iota(g, n)); break;
    case CR_OP_MEMBER: put(&s, parse(f, "o[N]")); put(&s, parse(f, "sum(q=1..N, o[q-1])")); break;
    case CR_OP_PICK:
        put(&s, parse(f, "w[N]"));
        put(&s, parse(f, "M[0]"));
        put(&s, parse(f, "M[N-1][1,n]"));
        break;
    case CR_OP_EINSUM: put(&s, cr_matmul(g, A, x)); put(&s, cr_sum(g, A)); break;
    case CR_OP_ADD: put(&s, cr_add(g, t, u)); put(&s, cr_add(g, x, y)); break;
    case CR_OP_SELECT: put(&s, parse(f, "if(t > 0, t, s)")); put(&s, cr_select(g, positive, x, y)); break;
    case CR_OP_NOT: put(&s, cr_map(g, op, positive)); break;
    case CR_OP_AND: case CR_OP_OR: put(&s, cr_map2(g, op, positive, parse(f, "y > 0"))); break;
    case CR_OP_SOFTMAX:
        put(&s, cr_softmax(g, x, 0));
        put(&s, cr_softmax(g, A, 1));
        put(&s, cr_softmax(g, parse(f, "T"), 1));
        break;
    case CR_OP_LOGSOFTMAX: put(&s, cr_logsoftmax(g, x, 0)); put(&s, cr_logsoftmax(g, A, 1)); break;
    case CR_OP_RESHAPE:
        put(&s, cr_vec(g, A));
        put(&s, cr_kron(g, A, A));
        put(&s, cr_reshape(g, A, 1, (cr_dim[]){cr_dim_mul(g, n, n)}));
        break;
    case CR_OP_CONV:
        put(&s, parse(f, "conv(T, T)"));
        put(&s, parse(f, "conv(T, ones(m, 1, n), stride=2, pad=[n], groups=m, size=n)"));
        put(&s, parse(f, "conv_x(reshape(A, n, 1, n), reshape(A, 1, n, n), dilation=n)"));
        put(&s, parse(f, "conv_w(T, T, stride=m)"));
        break;
    case CR_OP_WINDOW:
        put(&s, parse(f, "sumpool(T, d, pad=1, stride=n)"));
        put(&s, parse(f, "sumpool_x(T, [n, 2], dilation=2)"));
        put(&s, parse(f, "slice(x, 2)"));
        put(&s, parse(f, "place(A, [n, 0], stride=[1, 2], size=n*n)"));
        put(&s, parse(f, "place(T, [n-1, 3, 5])"));
        break;
    case CR_OP_GATHER: put(&s, parse(f, "gather(x, [1, 2])")); put(&s, parse(f, "gather(T, y, axis=3)")); break;
    case CR_OP_SCATTER:
        put(&s, parse(f, "scatter(A, y, size=m+1)"));
        put(&s, parse(f, "scatter(A, x, size=3, axis=2)"));
        break;
    case CR_OP_MAXPOOL: put(&s, parse(f, "maxpool(x, 3, pad=1)")); put(&s, parse(f, "maxpool(A, [2])")); break;
    case CR_OP_MAXTIES: put(&s, parse(f, "maxpool_ties(A, [2, n], pad=[1, 0])")); break;
    case CR_OP_MAXPICK:
        put(&s, parse(f, "maxpool_y(x, A, [2], stride=2)"));
        put(&s, parse(f, "maxpool_x(x, reshape(T, n, m*d), [2], stride=2)"));
        put(&s, parse(f, "maxpool_y(T, T, d, size=1)"));
        break;
    case CR_OP_STACK: put(&s, parse(f, "[t, 1, s]")); put(&s, parse(f, "[t, 1; s, 2]")); break;
    case CR_OP_MATPOW: put(&s, cr_matpow(g, A, cr_dim_const(g, 3))); put(&s, cr_matpow(g, A, n)); break;
    case CR_OP_CALL: put(&s, parse(f, "f''(t)")); put(&s, parse(f, "swish(x)")); break;
    case CR_OP_BIND:
        put(&s, parse(f, "sum(q=2..n, x[q]*x[q-1])"));
        put(&s, parse(f, "[q=2..n : x[q]/x[q-1]]"));
        put(&s, parse(f, "prod(q=2..n, x[q])"));
        put(&s, parse(f, "max(q=2..n, x[q])"));
        put(&s, parse(f, "min(q=2..n, x[q])"));
        put(&s, parse(f, "prod(q=N..1, M[q])"));
        put(&s, parse(f, "if(all(q=2..n, x[q] > 0), 1, 2)"));
        put(&s, parse(f, "if(any(q=2..n, x[q] > 0), 1, 2)"));
        break;
    default:
        switch (op_get(op)->kind) {
        case KIND_MAP1: put(&s, cr_map(g, op, t)); put(&s, cr_map(g, op, x)); break;
        case KIND_MAP2:
        case KIND_CMP:
            put(&s, cr_map2(g, op, t, u));
            put(&s, cr_map2(g, op, x, y));
            put(&s, cr_map2(g, op, x, t));
            break;
        case KIND_LINALG: put(&s, cr_linalg(g, op, A)); break;
        case KIND_REDUCE: {
            bool boolean = op == CR_OP_ALLR || op == CR_OP_ANYR;
            put(&s, cr_reduce(g, op, boolean ? positive : x, 0));
            put(&s, cr_reduce(g, op, boolean ? both : A, 0));
            put(&s, cr_reduce(g, op, boolean ? both : A, 1));
            break;
        }
        default: break;
        }
    }
    return s;
}

/* Braces and \left, \right pair up. */
static void check_latex(const char *s)
{
    int depth = 0, left = 0;
    for (const char *c = s; *c; c++) {
        depth += *c == '{';
        depth -= *c == '}';
        assert_true(depth >= 0);
        left += !strncmp(c, "\\left", 5) && strncmp(c, "\\leftarrow", 10);
        left -= !strncmp(c, "\\right", 6);
    }
    assert_int_equal(depth, 0);
    assert_int_equal(left, 0);
}

static bool holds_family(fixture *f, cr_ref r)
{
    size_t n;
    bool found = false;
    cr_ref *cone = graph_cone(f->g, 1, &r, &n);
    assert_non_null(cone);
    for (size_t i = 0; i < n; i++) found |= op_of(f->g, cone[i]) == CR_OP_MEMBER || op_of(f->g, cone[i]) == CR_OP_PICK;
    mem_free(cone);
    return found;
}

static void every_operator(void **state)
{
    (void)state;
    for (int op = 1; op < CR_OP_COUNT; op++) {
        fixture f = begin();
        samples s = samples_of(&f, (cr_op)op);
        if (s.n == 0) fail_msg("operator %s has no sample", op_get((cr_op)op)->name);
        for (unsigned k = 0; k < s.n; k++) {
            if (!s.r[k]) fail_msg("%s: %s", op_get((cr_op)op)->name, cr_graph_message(f.g));
            for (lang_form form = LANG_AUTO; form <= LANG_MATRIX; form++) {
                char *text = print(&f, s.r[k], LANG_TEXT, form), *unicode = print(&f, s.r[k], LANG_UNICODE, form);
                char *latex = print(&f, s.r[k], LANG_LATEX, form);
                assert_true(*text && *unicode && *latex);
                check_latex(latex);
                /* q alone has no range; the softmax of a line of a tensor is read as one over a transposed tensor */
                bool other = op == CR_OP_ONEHOT || (op == CR_OP_SOFTMAX && cr_rank(f.g, s.r[k]) > 2);
                if (!other) {
                    cr_ref back = parse(&f, text);
                    if (back != s.r[k] && cr_simplify(f.g, back) != cr_simplify(f.g, s.r[k]))
                        fail_msg("%s: %s does not read back", op_get((cr_op)op)->name, text);
                }
                mem_free(text);
                mem_free(unicode);
                mem_free(latex);
            }
            if (holds_family(&f, s.r[k])) continue; /* the NumPy printer does not know them yet */
            strbuf b;
            sb_init(&b);
            if (lang_print_numpy(f.g, s.r[k], 0, NULL, &b) != CR_OK)
                fail_msg("%s: %s", op_get((cr_op)op)->name, cr_graph_message(f.g));
            assert_non_null(strstr(sb_str(&b), "def derivative("));
            sb_free(&b);
        }
        end(&f);
    }
}

/* ---- limits and failures ----------------------------------------------------------------------- */

static void expect_limit(fixture *f, cr_ref r)
{
    for (lang_format format = LANG_TEXT; format <= LANG_LATEX; format++) {
        strbuf b;
        sb_init(&b);
        assert_int_equal(lang_print(f->g, r, format, LANG_AUTO, &b), CR_ELIMIT);
        assert_int_equal(b.n, 0);
        assert_non_null(strstr(cr_graph_message(f->g), "too"));
        cr_graph_clear_error(f->g);
        sb_free(&b);
    }
}

static void limits(void **state)
{
    (void)state;
    fixture f = begin();
    cr_ref deep = parse(&f, "t"), wide = deep;
    for (int i = 0; i < 100000; i++) deep = cr_map(f.g, CR_OP_EXP, deep);
    expect_limit(&f, deep);
    for (int i = 0; i < 100; i++) wide = cr_div(f.g, cr_map(f.g, CR_OP_EXP, wide), cr_map(f.g, CR_OP_LOG, wide));
    expect_limit(&f, wide);
    strbuf b; /* what is shared is one variable in Python */
    sb_init(&b);
    assert_int_equal(lang_print_numpy(f.g, wide, 0, NULL, &b), CR_OK);
    assert_true(b.n < 20000);
    sb_free(&b);
    end(&f);
}

static void refused(const bool *no_memory)
{
    cr_graph *g = cr_graph_new();
    if (!g) return;
    cr_dim n = cr_dim_symbol(g, "n"), m = cr_dim_symbol(g, "m");
    cr_ref W = cr_param(g, "W", 2, (cr_dim[]){m, n}, 0), x = cr_param(g, "x", 1, &n, 0);
    cr_ref z = cr_map(g, CR_OP_TANH, cr_matmul(g, W, x));
    cr_ref r = cr_add(g, cr_sum(g, z), cr_index(g, z, 1, (cr_dim[]){cr_dim_symbol(g, "k")}));
    for (lang_format format = LANG_TEXT; format <= LANG_LATEX; format++) {
        strbuf b;
        sb_init(&b);
        cr_status s = lang_print(g, r, format, format == LANG_TEXT ? LANG_COMPONENT : LANG_AUTO, &b);
        assert_true(s == CR_OK || (*no_memory && s == CR_ENOMEM));
        sb_free(&b);
    }
    strbuf b;
    sb_init(&b);
    cr_status s = lang_print_numpy(g, r, 0, NULL, &b);
    assert_true(s == CR_OK || (*no_memory && s == CR_ENOMEM));
    sb_free(&b);
    cr_graph_free(g);
}

static void allocation_failure(void **state)
{
    (void)state;
    each_allocation_fails(refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_strings), cmocka_unit_test(component_form), cmocka_unit_test(matrix_form),
        cmocka_unit_test(names),          cmocka_unit_test(every_operator), cmocka_unit_test(limits),
        cmocka_unit_test(allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
