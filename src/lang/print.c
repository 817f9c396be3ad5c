/* From layout trees to text: one style table per format, one small renderer for all. */
#include "lang/print.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* How tightly a piece of text binds. A part is bracketed where its place asks for more. */
enum { P_ANY, P_OR, P_AND, P_NOT, P_COMPARE, P_ADD, P_NEG, P_MUL, P_HADAMARD, P_POW, P_POSTFIX, P_ATOM };

typedef struct rule {
    uint8_t prec, first, rest; /* of the result; what the first part and the others must have */
    const char *open, *sep, *close;
} rule;

typedef struct call_rule { /* a function that is not written name(arguments) */
    uint16_t op;
    uint8_t prec, arg;
    const char *open, *close;
} call_rule;

typedef struct spelling {
    const char *word, *text;
} spelling;

typedef struct style {
    rule rule[T_KINDS];
    const char *compare[6];  /* < <= == != > >= */
    const char *big[8];      /* by cr_bind_kind */
    const call_rule *call;   /* ends with op == 0 */
    const spelling *word;    /* functions and constants; ends with NULL */
} style;

static const call_rule text_calls[] = {{0}};
static const spelling text_words[] = {{0}};

static const call_rule unicode_calls[] = {
    {CR_OP_ABS, P_ATOM, P_ANY, "|", "|"},         {CR_OP_SQRT, P_POSTFIX, P_ATOM, "√", ""},
    {CR_OP_NORM1, P_ATOM, P_ANY, "‖", "‖₁"},      {CR_OP_NORM2, P_ATOM, P_ANY, "‖", "‖₂"},
    {CR_OP_NORM_INF, P_ATOM, P_ANY, "‖", "‖∞"},   {CR_OP_INV, P_POW, P_ATOM, "", "⁻¹"},
    {CR_OP_PINV, P_POW, P_ATOM, "", "⁺"},         {0}};
static const spelling unicode_words[] = {{"pi", "π"}, {"sigmoid", "σ"}, {"delta", "δ"}, {0}};

static const call_rule latex_calls[] = {
    {CR_OP_ABS, P_ATOM, P_ANY, "\\left\\lvert ", " \\right\\rvert"},
    {CR_OP_SQRT, P_ATOM, P_ANY, "\\sqrt{", "}"},
    {CR_OP_NORM1, P_ATOM, P_ANY, "\\left\\lVert ", " \\right\\rVert_{1}"},
    {CR_OP_NORM2, P_ATOM, P_ANY, "\\left\\lVert ", " \\right\\rVert_{2}"},
    {CR_OP_NORM_INF, P_ATOM, P_ANY, "\\left\\lVert ", " \\right\\rVert_{\\infty}"},
    {CR_OP_INV, P_POW, P_ATOM, "", "^{-1}"},
    {CR_OP_PINV, P_POW, P_ATOM, "", "^{+}"},
    {0}};
static const spelling latex_words[] = {
    {"pi", "\\pi"}, {"sigmoid", "\\sigma"}, {"exp", "\\exp"}, {"log", "\\log"}, {"sin", "\\sin"}, {"cos", "\\cos"},
    {"tan", "\\tan"}, {"sinh", "\\sinh"}, {"cosh", "\\cosh"}, {"tanh", "\\tanh"}, {"asin", "\\arcsin"},
    {"acos", "\\arccos"}, {"atan", "\\arctan"}, {"max", "\\max"}, {"min", "\\min"}, {"det", "\\det"},
    {"logdet", "\\log\\det"}, {"true", "\\text{true}"}, {"false", "\\text{false}"}, {"e", "e"}, {"I", "I"},
    {"delta", "\\delta"}, {"ones", "\\mathbf{1}"}, {"zeros", "\\mathbf{0}"}, {0}};

static const style styles[] = {
    [LANG_TEXT] = {
        .rule = {
            [T_ADD] = {P_ADD, P_MUL, P_MUL, "", NULL, ""},
            [T_NEG] = {P_NEG, P_MUL, 0, "-", NULL, ""},
            [T_MUL] = {P_MUL, P_POW, P_POW, "", "*", ""},
            [T_HADAMARD] = {P_HADAMARD, P_POW, P_POW, "", " .* ", ""},
            [T_DIV] = {P_MUL, P_MUL, P_POW, "", "/", ""},
            [T_HDIV] = {P_HADAMARD, P_HADAMARD, P_POW, "", " ./ ", ""},
            [T_POW] = {P_POW, P_POSTFIX, P_POSTFIX, "", "^", ""},
            [T_HPOW] = {P_POW, P_POSTFIX, P_POSTFIX, "", ".^", ""},
            [T_TRANSPOSE] = {P_POSTFIX, P_POSTFIX, 0, "", NULL, "'"},
            [T_KRON] = {P_ATOM, P_ANY, P_ANY, "kron(", ", ", ")"},
            [T_INDEX] = {P_POSTFIX, P_ATOM, P_ANY, "[", ",", "]"},
            [T_BIG] = {P_ATOM, P_ANY, P_ANY, "", "", ""},
            [T_BUILDER] = {P_ATOM, P_ANY, P_ANY, "[", " : ", "]"},
            [T_IF] = {P_ATOM, P_ANY, P_ANY, "if(", ", ", ")"},
            [T_COMPARE] = {P_COMPARE, P_ADD, P_ADD, "", NULL, ""},
            [T_AND] = {P_AND, P_NOT, P_NOT, "", " and ", ""},
            [T_OR] = {P_OR, P_AND, P_AND, "", " or ", ""},
            [T_NOT] = {P_NOT, P_ATOM, 0, "not ", NULL, ""},
            [T_VECTOR] = {P_ATOM, P_ANY, P_ANY, "[", ", ", "]"},
            [T_MATRIX] = {P_ATOM, P_ANY, P_ANY, "[", ", ", "]"},
            [T_OPTION] = {P_ATOM, P_ANY, P_ANY, "[", ", ", "]"},
        },
        .compare = {" < ", " <= ", " == ", " != ", " > ", " >= "},
        .big = {"sum", "prod", "", "all", "any", "max", "min", "prod"},
        .call = text_calls,
        .word = text_words,
    },
    [LANG_UNICODE] = {
        .rule = {
            [T_ADD] = {P_ADD, P_MUL, P_MUL, "", NULL, ""},
            [T_NEG] = {P_NEG, P_MUL, 0, "-", NULL, ""},
            [T_MUL] = {P_MUL, P_POW, P_POW, "", "·", ""},
            [T_HADAMARD] = {P_HADAMARD, P_POW, P_POW, "", " ⊙ ", ""},
            [T_DIV] = {P_MUL, P_MUL, P_POW, "", "/", ""},
            [T_HDIV] = {P_HADAMARD, P_HADAMARD, P_POW, "", " ⊘ ", ""},
            [T_POW] = {P_POW, P_POSTFIX, P_POSTFIX, "", "^", ""},
            [T_HPOW] = {P_POW, P_POSTFIX, P_POSTFIX, "", ".^", ""},
            [T_TRANSPOSE] = {P_POSTFIX, P_POSTFIX, 0, "", NULL, "ᵀ"},
            [T_KRON] = {P_HADAMARD, P_POW, P_POW, "", " ⊗ ", ""},
            [T_INDEX] = {P_POSTFIX, P_ATOM, P_ANY, "[", ",", "]"},
            [T_BIG] = {P_MUL, P_ANY, P_MUL, "", "", ""},
            [T_BUILDER] = {P_ATOM, P_ANY, P_ANY, "[", " : ", "]"},
            [T_IF] = {P_ATOM, P_ANY, P_ANY, "if(", ", ", ")"},
            [T_COMPARE] = {P_COMPARE, P_ADD, P_ADD, "", NULL, ""},
            [T_AND] = {P_AND, P_NOT, P_NOT, "", " ∧ ", ""},
            [T_OR] = {P_OR, P_AND, P_AND, "", " ∨ ", ""},
            [T_NOT] = {P_NOT, P_ATOM, 0, "¬", NULL, ""},
            [T_VECTOR] = {P_ATOM, P_ANY, P_ANY, "[", ", ", "]"},
            [T_MATRIX] = {P_ATOM, P_ANY, P_ANY, "[", ", ", "]"},
            [T_OPTION] = {P_ATOM, P_ANY, P_ANY, "[", ", ", "]"},
        },
        .compare = {" < ", " ≤ ", " = ", " ≠ ", " > ", " ≥ "},
        .big = {"Σ", "∏", "", "∀", "∃", "max", "min", "∏"},
        .call = unicode_calls,
        .word = unicode_words,
    },
    [LANG_LATEX] = {
        .rule = {
            [T_ADD] = {P_ADD, P_MUL, P_MUL, "", NULL, ""},
            [T_NEG] = {P_NEG, P_MUL, 0, "-", NULL, ""},
            [T_MUL] = {P_MUL, P_POW, P_POW, "", " ", ""},
            [T_HADAMARD] = {P_HADAMARD, P_POW, P_POW, "", " \\odot ", ""},
            [T_DIV] = {P_POW, P_ANY, P_ANY, "\\frac{", "}{", "}"},
            [T_HDIV] = {P_HADAMARD, P_HADAMARD, P_POW, "", " \\oslash ", ""},
            [T_POW] = {P_POW, P_POSTFIX, P_ANY, "", "^{", "}"},
            [T_HPOW] = {P_POW, P_POSTFIX, P_ANY, "", "^{\\odot ", "}"},
            [T_TRANSPOSE] = {P_POW, P_ATOM, 0, "", NULL, "^{\\top}"},
            [T_KRON] = {P_HADAMARD, P_POW, P_POW, "", " \\otimes ", ""},
            [T_INDEX] = {P_POSTFIX, P_ATOM, P_ANY, "_{", ",", "}"},
            [T_BIG] = {P_MUL, P_ANY, P_MUL, "", "", ""},
            [T_BUILDER] = {P_ATOM, P_ANY, P_ANY, "\\left[ ", "", " \\right]"},
            [T_IF] = {P_ANY, P_ANY, P_ANY, "\\begin{cases} ", " \\\\ ", " \\end{cases}"},
            [T_COMPARE] = {P_COMPARE, P_ADD, P_ADD, "", NULL, ""},
            [T_AND] = {P_AND, P_NOT, P_NOT, "", " \\land ", ""},
            [T_OR] = {P_OR, P_AND, P_AND, "", " \\lor ", ""},
            [T_NOT] = {P_NOT, P_ATOM, 0, "\\lnot ", NULL, ""},
            [T_VECTOR] = {P_ATOM, P_ANY, P_ANY, "\\begin{pmatrix} ", " \\\\ ", " \\end{pmatrix}"},
            [T_MATRIX] = {P_ATOM, P_ANY, P_ANY, "\\begin{pmatrix} ", " & ", " \\end{pmatrix}"},
            [T_OPTION] = {P_ATOM, P_ANY, P_ANY, "[", ", ", "]"},
        },
        .compare = {" < ", " \\le ", " = ", " \\ne ", " > ", " \\ge "},
        .big = {"\\sum", "\\prod", "", "\\forall", "\\exists", "\\max", "\\min", "\\prod"},
        .call = latex_calls,
        .word = latex_words,
    },
};

typedef struct renderer {
    pr *p;
    lang_format format;
    const style *s;
    strbuf *b;
} renderer;

static void render(renderer *w, const tree *t, unsigned place);

/* ---- names ------------------------------------------------------------------------------------- */

static const spelling greek[] = {
    {"alpha", "α"}, {"beta", "β"}, {"gamma", "γ"}, {"delta", "δ"}, {"epsilon", "ε"}, {"zeta", "ζ"}, {"eta", "η"},
    {"theta", "θ"}, {"iota", "ι"}, {"kappa", "κ"}, {"lambda", "λ"}, {"mu", "μ"}, {"nu", "ν"}, {"xi", "ξ"}, {"pi", "π"},
    {"rho", "ρ"}, {"sigma", "σ"}, {"tau", "τ"}, {"upsilon", "υ"}, {"phi", "φ"}, {"chi", "χ"}, {"psi", "ψ"},
    {"omega", "ω"}, {"Gamma", "Γ"}, {"Delta", "Δ"}, {"Theta", "Θ"}, {"Lambda", "Λ"}, {"Xi", "Ξ"}, {"Pi", "Π"},
    {"Sigma", "Σ"}, {"Phi", "Φ"}, {"Psi", "Ψ"}, {"Omega", "Ω"}, {0}};

static const char *look_up(const spelling *table, const char *s, size_t n)
{
    for (; table->word; table++)
        if (strlen(table->word) == n && !memcmp(table->word, s, n)) return table->text;
    return NULL;
}

static void put_word(strbuf *b, const char *s, size_t n, const char *face)
{
    bool plain = n == 1;
    if (!plain) sb_printf(b, "%s{", face);
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '_') sb_putc(b, '\\');
        sb_putc(b, s[i]);
    }
    if (!plain) sb_putc(b, '}');
}

/* w -> w, alpha -> \alpha, loss -> \mathit{loss}, w_out -> w_{\mathrm{out}}, W1 -> W_{1}. True: it has a subscript. */
static bool put_latex_name(strbuf *b, const char *s)
{
    size_t n = strlen(s), cut = n;
    const char *bar = strchr(s, '_');
    if (bar && bar > s && bar[1]) {
        cut = (size_t)(bar - s);
    } else {
        while (cut > 1 && isdigit((unsigned char)s[cut - 1])) cut--;
    }
    if (look_up(greek, s, cut)) sb_printf(b, "\\%.*s", (int)cut, s);
    else put_word(b, s, cut, "\\mathit");
    if (cut == n) return false;
    const char *sub = s + cut + (s[cut] == '_');
    sb_puts(b, "_{");
    if (isdigit((unsigned char)*sub)) sb_puts(b, sub);
    else if (look_up(greek, sub, strlen(sub))) sb_printf(b, "\\%s", sub);
    else put_word(b, sub, strlen(sub), "\\mathrm");
    sb_putc(b, '}');
    return true;
}

static bool user_has(const renderer *w, const char *name)
{
    cr_graph *g = w->p->g;
    dim_sym s = name_intern(g->dims, name, strlen(name));
    if (s < g->param_cap && g->param_by_name[s]) return true;
    for (size_t i = 1; i < g->n_fun; i++)
        if (g->fun[i].name == s) return true;
    return false;
}

static const spelling subscript[] = {
    {"0", "₀"}, {"1", "₁"}, {"2", "₂"}, {"3", "₃"}, {"4", "₄"}, {"5", "₅"}, {"6", "₆"}, {"7", "₇"}, {"8", "₈"},
    {"9", "₉"}, {"+", "₊"}, {"-", "₋"}, {"a", "ₐ"}, {"e", "ₑ"}, {"h", "ₕ"}, {"i", "ᵢ"}, {"j", "ⱼ"}, {"k", "ₖ"},
    {"l", "ₗ"}, {"m", "ₘ"}, {"n", "ₙ"}, {"o", "ₒ"}, {"p", "ₚ"}, {"r", "ᵣ"}, {"s", "ₛ"}, {"t", "ₜ"}, {"u", "ᵤ"},
    {"v", "ᵥ"}, {"x", "ₓ"}, {0}};
static const spelling superscript[] = {
    {"0", "⁰"}, {"1", "¹"}, {"2", "²"}, {"3", "³"}, {"4", "⁴"}, {"5", "⁵"}, {"6", "⁶"}, {"7", "⁷"}, {"8", "⁸"},
    {"9", "⁹"}, {"+", "⁺"}, {"-", "⁻"}, {"i", "ⁱ"}, {"k", "ᵏ"}, {"m", "ᵐ"}, {"n", "ⁿ"}, {0}};

/* s in small letters; false (and nothing written) if Unicode lacks one. */
static bool put_script(strbuf *b, const spelling *table, const char *s)
{
    for (const char *c = s; *c; c++)
        if (!look_up(table, c, 1)) return false;
    for (const char *c = s; *c; c++) sb_puts(b, look_up(table, c, 1));
    return true;
}

static bool put_name(renderer *w, const char *s)
{
    if (!strncmp(s, CALC_D, strlen(CALC_D))) { /* derivative of a name, in a derivation */
        sb_puts(w->b, w->format == LANG_LATEX ? "\\mathrm{d}" : "d");
        s += strlen(CALC_D);
    }
    if (w->format == LANG_LATEX) return put_latex_name(w->b, s);
    const char *letter = w->format == LANG_UNICODE ? look_up(greek, s, strlen(s)) : NULL;
    size_t stem = strcspn(s, "0123456789");
    if (w->format == LANG_UNICODE && !letter && stem && s[stem] && !user_has(w, s)) { /* u1 of a derivation: u₁ */
        sb_write(w->b, s, stem);
        if (put_script(w->b, subscript, s + stem)) return false;
        s += stem;
    }
    sb_puts(w->b, letter ? letter : s);
    return false;
}

/* Name of a symbol for dim_print, in LaTeX: interned, so that it outlives the call. */
static const char *latex_symbol(void *user, dim_sym s)
{
    pr *p = user;
    strbuf b;
    sb_init(&b);
    put_latex_name(&b, pr_symbol_name(p, s));
    dim_sym t = name_intern(p->g->dims, sb_str(&b), b.n);
    sb_free(&b);
    return t ? name_text(p->g->dims, t) : "";
}

static const char *unicode_symbol(void *user, dim_sym s)
{
    const char *name = pr_symbol_name(user, s), *letter = look_up(greek, name, strlen(name));
    return letter ? letter : name;
}

static void put_dim(renderer *w, cr_dim d)
{
    if (w->format == LANG_LATEX) dim_print_latex(w->p->g->dims, d, w->b, latex_symbol, w->p);
    else dim_print(w->p->g->dims, d, w->b, w->format == LANG_UNICODE ? unicode_symbol : pr_symbol_name, w->p);
}

/* A built-in function or constant. */
static void put_builtin(renderer *w, const char *name)
{
    const char *t = look_up(w->s->word, name, strlen(name));
    if (t && !strcmp(name, "sigmoid") && user_has(w, "sigma")) t = NULL;
    if (t) sb_puts(w->b, t);
    else if (w->format == LANG_LATEX) put_word(w->b, name, strlen(name), "\\operatorname");
    else sb_puts(w->b, name);
}

/* ---- scripts ----------------------------------------------------------------------------------- */

/* The parts from..n of t as scripts. Several indices must have one letter each: W₁ⱼ. */
static bool unicode_script(renderer *w, const tree *t, uint32_t from, const spelling *table)
{
    strbuf all;
    renderer inner = *w;
    bool ok = true;
    sb_init(&all);
    inner.b = &all;
    inner.format = LANG_TEXT;
    inner.s = &styles[LANG_TEXT];
    for (uint32_t i = from; i < t->n && ok; i++) {
        size_t start = all.n;
        const tree *k = t->kid[i];
        ok = k->kind == T_DIM || k->kind == T_NUMBER || (k->kind == T_NEG && k->kid[0]->kind == T_NUMBER);
        if (ok) render(&inner, k, P_ANY);
        ok = ok && (t->n == from + 1 || all.n == start + 1);
    }
    ok = ok && all.n && all.n <= 8 && put_script(w->b, table, sb_str(&all));
    sb_free(&all);
    return ok;
}

/* ---- brackets ---------------------------------------------------------------------------------- */

static bool is_tall(const char *s)
{
    return strstr(s, "\\frac") || strstr(s, "\\sum") || strstr(s, "\\prod") || strstr(s, "\\begin") ||
           strstr(s, "\\left");
}

/* Text from `start` on, which begins with a round bracket, gets its closing one; in LaTeX both as tall as what is
 * inside. */
static void close_bracket(renderer *w, size_t start)
{
    if (w->b->status != CR_OK) return;
    if (w->format == LANG_LATEX && is_tall(w->b->s + start)) {
        sb_insert(w->b, start, "\\left");
        sb_puts(w->b, "\\right)");
    } else {
        sb_putc(w->b, ')');
    }
}

static void arguments(renderer *w, const tree *t)
{
    size_t start = w->b->n;
    sb_putc(w->b, '(');
    for (uint32_t i = 0; i < t->n; i++) {
        if (i) sb_puts(w->b, ", ");
        render(w, t->kid[i], P_ANY);
    }
    close_bracket(w, start);
}

/* ---- kinds ------------------------------------------------------------------------------------- */

static void number(renderer *w, double v)
{
    size_t start = w->b->n;
    sb_number(w->b, v);
    char *e = w->b->status == CR_OK && w->format == LANG_LATEX ? strchr(w->b->s + start, 'e') : NULL;
    if (!e) return;
    long exponent = strtol(e + 1, NULL, 10);
    w->b->n = (size_t)(e - w->b->s);
    *e = '\0';
    if (w->b->n == start + 1 && w->b->s[start] == '1') w->b->n = start;
    sb_printf(w->b, w->b->n > start ? " \\cdot 10^{%ld}" : "10^{%ld}", exponent);
}

static void primes(renderer *w, unsigned order)
{
    static const char *const mark[] = {"", "′", "″", "‴"};
    if (w->format == LANG_UNICODE && order <= 3) sb_puts(w->b, mark[order]);
    else if (w->format == LANG_TEXT || order <= 3)
        while (order-- > 0) sb_putc(w->b, '\'');
    else sb_printf(w->b, w->format == LANG_LATEX ? "^{(%u)}" : "^(%u)", order);
}

static const call_rule *call_rule_of(const renderer *w, const tree *t)
{
    const call_rule *c = w->s->call;
    while (c->op && c->op != t->op) c++;
    return c->op && t->n == 1 ? c : NULL;
}

static void call(renderer *w, const tree *t)
{
    const call_rule *c = call_rule_of(w, t);
    bool user = t->op == CR_OP_CALL;
    if (c) {
        sb_puts(w->b, c->open);
        render(w, t->kid[0], c->arg);
        sb_puts(w->b, c->close);
        return;
    }
    if (user) put_name(w, t->name);
    else put_builtin(w, t->name);
    primes(w, t->order);
    bool delta = !user && !strcmp(t->name, "delta"), unit = !user && !strcmp(t->name, "e");
    bool sized = !user && (t->op == CR_OP_IDENTITY || !strcmp(t->name, "ones") || !strcmp(t->name, "zeros"));
    if (w->format == LANG_LATEX && (delta || unit || sized)) {
        sb_puts(w->b, "_{");
        for (uint32_t i = 0; i < (unit ? 1 : t->n); i++) {
            if (i) sb_puts(w->b, sized ? " \\times " : " ");
            render(w, t->kid[i], P_ANY);
        }
        sb_putc(w->b, '}');
    } else if (!(w->format == LANG_UNICODE && (delta || t->op == CR_OP_IDENTITY) &&
                 unicode_script(w, t, 0, subscript))) {
        arguments(w, t);
    }
}

static void sum(renderer *w, const tree *t)
{
    for (uint32_t i = 0; i < t->n; i++) {
        if (i) sb_puts(w->b, t->minus[i] ? " - " : " + ");
        else if (t->minus[i]) sb_putc(w->b, '-');
        render(w, t->kid[i], P_MUL);
    }
}

static bool is_short(const tree *t)
{
    while ((t->kind == T_INDEX || t->kind == T_TRANSPOSE) && t->kid[0]->kind != T_CALL) t = t->kid[0];
    return t->kind == T_NAME || t->kind == T_NUMBER || t->kind == T_DIM || t->kind == T_DIV;
}

static void factors(renderer *w, const tree *t, const rule *r)
{
    for (uint32_t i = 0; i < t->n; i++) {
        const tree *k = t->kid[i];
        unsigned place = r->rest;
        if (i + 1 == t->n && k->kind == T_BIG) place = P_MUL; /* a sum may end a product */
        size_t start = w->b->n;
        render(w, k, place);
        if (i == 0 || w->b->status != CR_OK) continue;
        const char *sep = r->sep;
        if (w->format == LANG_LATEX && t->kind == T_MUL) {
            if (isdigit((unsigned char)w->b->s[start]) || (k->kind == T_DIV && t->kid[i - 1]->kind == T_NUMBER))
                sep = " \\cdot ";
            else if (!is_short(k) || !is_short(t->kid[i - 1])) sep = " \\, ";
        }
        sb_insert(w->b, start, sep);
    }
}

static void index_of(renderer *w, const tree *t, const rule *r)
{
    const tree *base = t->kid[0];
    size_t start = w->b->n;
    bool subscripted = false;
    if (base->kind == T_NAME) subscripted = put_name(w, base->name);
    else render(w, base, base->kind == T_INDEX && w->format != LANG_LATEX ? P_POSTFIX : r->first); /* o[k][i] */
    if (subscripted) {
        sb_insert(w->b, start, "(");
        sb_putc(w->b, ')');
    }
    if (w->format == LANG_UNICODE && base->kind != T_INDEX && unicode_script(w, t, 1, subscript)) return;
    sb_puts(w->b, r->open);
    for (uint32_t i = 1; i < t->n; i++) {
        if (i > 1) sb_puts(w->b, r->sep);
        render(w, t->kid[i], r->rest);
    }
    sb_puts(w->b, r->close);
}

static void range(renderer *w, tree *const *k, const char *dots)
{
    render(w, k[0], P_ANY);
    sb_putc(w->b, '=');
    render(w, k[1], P_ADD);
    sb_puts(w->b, dots);
    render(w, k[2], P_ADD);
}

static void big(renderer *w, const tree *t, const rule *r)
{
    const tree *body = t->kid[t->n - 1];
    const char *name = w->s->big[t->op];
    uint32_t n = t->n / 3;
    bool quantifier = t->op == CR_BIND_ALL || t->op == CR_BIND_ANY;
    if (w->format == LANG_TEXT) {
        sb_printf(w->b, "%s(", name);
        for (uint32_t i = 0; i < n; i++) {
            range(w, t->kid + 3 * i, t->dim ? "..-1.." : "..");
            sb_puts(w->b, ", ");
        }
        render(w, body, P_ANY);
        sb_putc(w->b, ')');
        return;
    }
    bool latex = w->format == LANG_LATEX;
    /* The sum of (c ? a : 0) runs over the indices with c. */
    const tree *only = NULL;
    if (t->op == CR_BIND_SUM && body->kind == T_IF && body->kid[2]->kind == T_NUMBER && body->kid[2]->number == 0) {
        only = body->kid[0];
        body = body->kid[1];
    }
    for (uint32_t i = 0; i < n; i++) {
        tree *const *k = t->kid + 3 * i;
        bool restricted = only && i + 1 == n;
        sb_puts(w->b, name);
        if (quantifier) {
            sb_puts(w->b, latex ? " " : "");
            range(w, k, latex ? ",\\dots," : "..");
            sb_puts(w->b, latex ? ":\\; " : ": ");
        } else {
            sb_puts(w->b, restricted && latex ? "_{\\substack{" : "_{");
            render(w, k[0], P_ANY);
            sb_putc(w->b, '=');
            render(w, k[1], P_ANY);
            if (restricted) {
                sb_puts(w->b, latex ? " \\\\ " : ", ");
                render(w, only, P_ANY);
            }
            sb_puts(w->b, restricted && latex ? "}}^{" : "}^{");
            render(w, k[2], P_ANY);
            sb_puts(w->b, "} ");
        }
    }
    render(w, body, quantifier ? P_ANY : r->rest);
}

static void builder(renderer *w, const tree *t, const rule *r)
{
    bool latex = w->format == LANG_LATEX;
    sb_puts(w->b, r->open);
    if (latex) {
        render(w, t->kid[t->n - 1], P_ANY);
        sb_puts(w->b, r->close);
        sb_puts(w->b, "_{");
    }
    for (uint32_t i = 0; i + 1 < t->n; i += 3) {
        if (i) sb_puts(w->b, latex ? ";\\, " : ", ");
        range(w, t->kid + i, latex ? ",\\dots," : "..");
    }
    if (latex) {
        sb_putc(w->b, '}');
        return;
    }
    sb_puts(w->b, r->sep);
    render(w, t->kid[t->n - 1], P_ANY);
    sb_puts(w->b, r->close);
}

static void cases(renderer *w, const tree *t, const rule *r)
{
    sb_puts(w->b, r->open);
    for (; t->kind == T_IF; t = t->kid[2]) {
        render(w, t->kid[1], P_ANY);
        sb_puts(w->b, " & \\text{if } ");
        render(w, t->kid[0], P_ANY);
        sb_puts(w->b, r->sep);
    }
    render(w, t, P_ANY);
    sb_puts(w->b, " & \\text{otherwise}");
    sb_puts(w->b, r->close);
}

static void matrix(renderer *w, const tree *t, const rule *r)
{
    sb_puts(w->b, r->open);
    for (uint32_t i = 0; i < t->n; i++) {
        if (i) sb_puts(w->b, i % t->order ? r->sep : w->format == LANG_LATEX ? " \\\\ " : "; ");
        render(w, t->kid[i], P_ANY);
    }
    sb_puts(w->b, r->close);
}

static void parts(renderer *w, const tree *t, const rule *r)
{
    sb_puts(w->b, r->open);
    for (uint32_t i = 0; i < t->n; i++) {
        if (i) sb_puts(w->b, r->sep);
        render(w, t->kid[i], i ? r->rest : r->first);
    }
    sb_puts(w->b, r->close);
}

static unsigned binds(const renderer *w, const tree *t)
{
    const dim_table *d = w->p->g->dims;
    switch (t->kind) {
    case T_NUMBER: case T_NAME: return P_ATOM;
    case T_DIM: return dim_is_symbol(d, t->dim, &(dim_sym){0}) ? P_ATOM : dim_is_sum(d, t->dim) ? P_ADD : P_MUL;
    case T_CALL: {
        const call_rule *c = call_rule_of(w, t);
        return c ? c->prec : P_ATOM;
    }
    case T_BIG:
        if (w->format != LANG_TEXT && (t->op == CR_BIND_ALL || t->op == CR_BIND_ANY)) return P_ANY;
        break;
    default: break;
    }
    return w->s->rule[t->kind].prec;
}

static void render(renderer *w, const tree *t, unsigned place)
{
    if (w->b->status != CR_OK) return;
    const rule *r = &w->s->rule[t->kind];
    bool brackets = binds(w, t) < place;
    size_t start = w->b->n;
    if (brackets) sb_putc(w->b, '(');
    switch (t->kind) {
    case T_NUMBER: number(w, t->number); break;
    case T_NAME:
        if (!strcmp(t->name, "true") || !strcmp(t->name, "false") || !strcmp(t->name, "pi")) put_builtin(w, t->name);
        else put_name(w, t->name);
        break;
    case T_DIM: put_dim(w, t->dim); break;
    case T_CALL: call(w, t); break;
    case T_ADD: sum(w, t); break;
    case T_MUL: case T_HADAMARD: factors(w, t, r); break;
    case T_INDEX: index_of(w, t, r); break;
    case T_BIG: big(w, t, r); break;
    case T_BUILDER: builder(w, t, r); break;
    case T_MATRIX: matrix(w, t, r); break;
    case T_OPTION:
        if (*t->name) {
            put_builtin(w, t->name);
            sb_putc(w->b, '=');
        }
        if (!t->order) render(w, t->kid[0], P_ANY);
        else parts(w, t, r);
        break;
    case T_COMPARE: {
        static const uint8_t token[] = {
            [CR_OP_LT] = 0, [CR_OP_LE] = 1, [CR_OP_EQ] = 2, [CR_OP_NE] = 3, [GREATER] = 4, [GREATER_EQUAL] = 5};
        render(w, t->kid[0], r->first);
        sb_puts(w->b, w->s->compare[token[t->op]]);
        render(w, t->kid[1], r->rest);
        break;
    }
    case T_POW: case T_HPOW:
        if (w->format == LANG_UNICODE) {
            render(w, t->kid[0], r->first);
            if (unicode_script(w, t, 1, superscript)) break;
            sb_puts(w->b, r->sep);
            render(w, t->kid[1], r->rest);
            break;
        }
        parts(w, t, r);
        break;
    case T_IF:
        if (w->format == LANG_LATEX) {
            cases(w, t, r);
            break;
        }
        parts(w, t, r);
        break;
    default: parts(w, t, r); break;
    }
    if (brackets) close_bracket(w, start);
}

/* Renders a tree, or the failure to make it, and ends the printing. */
static cr_status finish(pr *p, tree *t, lang_format format, strbuf *b)
{
    cr_graph *g = p->g;
    strbuf out;
    sb_init(&out);
    out.limit = PR_MAX_BYTES;
    if (t) {
        renderer w = {p, format, &styles[format], &out};
        render(&w, t, P_ANY);
        if (out.status == CR_ELIMIT) graph_fail(g, CR_ELIMIT, "the expression is too long to print: more than 1 MiB");
        else if (out.status != CR_OK) graph_fail(g, out.status, "out of memory");
        else sb_write(b, sb_str(&out), out.n);
        if (out.status == CR_OK && b->status != CR_OK)
            graph_fail(g, b->status, b->status == CR_ENOMEM ? "out of memory" : "the text is too long");
    } else if (g->err.status == CR_OK) {
        graph_fail(g, CR_EINTERNAL, "the printer gave no text");
    }
    sb_free(&out);
    pr_end(p);
    return g->err.status;
}

cr_status lang_print(cr_graph *g, cr_ref a, lang_format format, lang_form form, strbuf *b)
{
    if (g->err.status != CR_OK) return g->err.status;
    if (!valid(g, a)) return graph_fail(g, CR_EARG, "an invalid expression"), CR_EARG;
    pr p;
    tree *t = pr_begin(&p, g, a, form) ? pr_root(&p, a) : NULL;
    return finish(&p, t, format, b);
}
