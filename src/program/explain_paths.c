/* Architectures that give layers short paths to the output, compared. Each is a text of the language and nothing else:
 * one more is one more entry of the table. */
#include "program/explain.h"

#include <math.h>
#include <string.h>

enum { LAYERS = 10 };

typedef struct design {
    const char *name, *idea;
    const char *rules; /* f: the activation */
    bool inner;        /* j is a layer before the last; the last one is as in the design before this */
} design;

#define INPUT "def o[0] = x\n"
#define LAYER "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\n"
#define OUTPUT "def o[i] = f(s[i]) for i in 1..N\n"

static const design designs[] = {
    {"plain chain", "one path only: N - j factors for layer j", INPUT LAYER OUTPUT, false},
    {"skip over layers 2..N-1", "a path of two layers for layer 1, and for no other",
     INPUT LAYER OUTPUT "def s[N] = w[N]*(o[N-1] + o[1]) + b[N]\n", false},
    {"a skip from layer j as well", "the same for one more layer j: two layers to the output",
     INPUT LAYER OUTPUT "def s[N] = w[N]*(o[N-1] + o[1] + o[j]) + b[N]\n", true},
    {"skips from every layer to the last", "every layer is at most two layers from the output",
     INPUT LAYER OUTPUT "def s[N] = w[N]*sum(i=1..N-1, o[i]) + b[N]\n", false},
    {"residual layers", "each factor becomes 1 + w f', so that one path has no factor at all",
     INPUT LAYER "def o[i] = o[i-1] + f(s[i]) for i in 1..N\n", false},
    {"a skip every two layers", "half as many factors on the shortest path",
     INPUT "def s[1] = w[1]*x + b[1]\ndef o[1] = f(s[1])\n"
           "def s[i] = w[i]*o[i-1] + b[i] for i in 2..N\ndef o[i] = o[i-2] + f(s[i]) for i in 2..N\n", false},
    {"dense: each layer sees the sum of all before it", "every layer reaches the output through one layer",
     "def c[0] = x\ndef s[i] = w[i]*c[i-1] + b[i] for i in 1..N\n" OUTPUT
     "def c[i] = c[i-1] + o[i] for i in 1..N\n", false},
};
enum { DESIGNS = sizeof designs / sizeof designs[0] };

/* The activation as text: `fun f : R -> R`, or `fun f(z) = body`. */
static bool activation_text(explain_subject *s, const char *name, strbuf *b)
{
    cr_graph *g = s->g;
    if (s->op == CR_OP_NONE || (s->op == CR_OP_CALL && !g->fun[s->fun].body)) {
        sb_printf(b, "fun %s : R -> R\n", name);
        return true;
    }
    cr_ref z = cr_param(g, "z#explain", 0, NULL, 0), body;
    strbuf text;
    sb_init(&text);
    if (s->op == CR_OP_CALL) body = graph_inline(g, g->fun[s->fun].body, g->fun[s->fun].arg, z);
    else body = cr_map(g, s->op, z);
    bool ok = body && lang_print(g, body, LANG_TEXT, LANG_AUTO, &text) == CR_OK;
    sb_printf(b, "fun %s(z) = ", name);
    for (const char *t = sb_str(&text); ok && *t;) { /* z under its own name */
        size_t skip = !strncmp(t, "z#explain", 9) ? 9 : 0;
        sb_putc(b, skip ? 'z' : *t);
        t += skip ? skip : 1;
    }
    sb_putc(b, '\n');
    sb_free(&text);
    return ok;
}

/* f in the rules by the activation's own name. */
static void put_rules(strbuf *b, const char *rules, const char *name)
{
    for (const char *t = rules; *t; t++) {
        if (!strncmp(t, "f(", 2)) sb_puts(b, name);
        else sb_putc(b, *t);
    }
}

/* One design, in a program of its own. */
static cr_status measure(explain_subject *s, explanation *x, const design *d, const char *name, double weight,
                         double *size, cr_architecture *out)
{
    cr_program *p = cr_program_new();
    strbuf text, rules;
    sb_init(&text);
    sb_init(&rules);
    cr_status status = p ? CR_OK : CR_ENOMEM;
    put_rules(&rules, d->rules, name);
    sb_puts(&text, "let x : R, w[1..N] : R, b[1..N] : R, j : Z\n");
    if (status == CR_OK && !activation_text(s, name, &text)) status = cr_graph_status(s->g);
    sb_printf(&text, "%sderive o[N] wrt w[j]\nderive o[N] wrt w\n", sb_str(&rules));
    if (status == CR_OK && text.status != CR_OK) status = CR_ENOMEM;
    if (status == CR_OK) status = cr_program_parse(p, d->name, sb_str(&text), text.n);
    if (status == CR_OK) {
        const lang_statement *by_j = prog_statement(p, 0), *all = prog_statement(p, 1);
        explain_subject own = {.p = p, .g = p->g, .st = by_j, .y = by_j->expr, .var = by_j->wrt->var};
        own.depth = name_intern(p->g->dims, "N", 1);
        cr_ref one = prog_exact(p, by_j, 1, 0), every = prog_exact(p, all, 1, 0);
        status = one && every && put_formula(x, &own, cr_simplify(p->g, one), &out->gradient) ? CR_OK
                                                                                       : cr_graph_status(p->g);
        dim_sym j = name_intern(p->g->dims, "j", 1);
        out->worst = INFINITY;
        for (int64_t k = 1; status == CR_OK && k <= LAYERS - d->inner; k++) { /* the design that favours k */
            cr_ref root = graph_subst_symbol(p->g, one, j, dim_const(p->g->dims, k));
            status = root ? log_sizes(&own, root, (explain_point){weight, LAYERS}, 1, &size[k - 1])
                          : cr_graph_status(p->g);
            if (size[k - 1] < out->worst) out->worst = size[k - 1];
        }
        if (status != CR_OK) graph_fail(s->g, status, "%s", cr_program_message(p));
    } else if (p) {
        graph_fail(s->g, status, "%s", *cr_program_message(p) ? cr_program_message(p) : "out of memory");
    }
    out->name = d->name;
    out->rules = result_text(&x->mem, sb_str(&rules));
    out->log10_layer = size;
    sb_free(&rules);
    sb_free(&text);
    cr_program_free(p);
    return status;
}

static double most(const cr_architecture *a)
{
    double v = -INFINITY;
    for (size_t k = 0; k < LAYERS; k++) v = fmax(v, a->log10_layer[k]);
    return v;
}

/* How many powers of ten a gradient is away from 1, at most. */
static double farthest(const cr_architecture *a) { return fmax(fabs(a->worst), fabs(most(a))); }

cr_status compare_architectures(explain_subject *s, explanation *x)
{
    const double weight = 1;
    const char *name = s->name && strcmp(s->name, "f") ? s->name : "sigma";
    if (s->op != CR_OP_CALL) name = "f"; /* a built-in function cannot be declared again */
    cr_architecture *a = arena_alloc(&x->mem, DESIGNS * sizeof *a);
    if (!a) return prog_oom(s->p);
    cr_status status = CR_OK;
    memset(a, 0, DESIGNS * sizeof *a);
    for (size_t d = 0; d < DESIGNS && status == CR_OK; d++) {
        double *size = arena_alloc(&x->mem, LAYERS * sizeof *size);
        status = size ? measure(s, x, &designs[d], name, weight, size, &a[d]) : prog_oom(s->p);
        if (status == CR_OK && designs[d].inner) size[LAYERS - 1] = a[d - 1].log10_layer[LAYERS - 1];
    }
    if (status != CR_OK) return status;
    bool unknown = s->op == CR_OP_NONE || (s->op == CR_OP_CALL && !s->g->fun[s->fun].body);
    bool ok = say(x, CR_BLOCK_TITLE, "Short paths for every layer");
    ok = ok && say(x, CR_BLOCK_TEXT,
                   "A layer j gets a useful gradient if it has a path to the output with few factors. Architectures "
                   "that give it one, each with the gradient of layer j in closed form%s%s%s:",
                   s->op == CR_OP_CALL || s->op == CR_OP_NONE ? "" : " (f is ",
                   s->op == CR_OP_CALL || s->op == CR_OP_NONE ? "" : s->name,
                   s->op == CR_OP_CALL || s->op == CR_OP_NONE ? "" : ")");
    for (size_t d = 0; ok && d < DESIGNS; d++) {
        ok = say(x, CR_BLOCK_FORMULA, "%s: %s", designs[d].name, designs[d].idea);
        if (ok) x->block[x->out.n_blocks - 1].formula = a[d].gradient;
    }
    const char **cell = arena_alloc(&x->mem, (LAYERS + 2) * (DESIGNS + 1) * sizeof *cell);
    if (!ok || !cell) return prog_oom(s->p);
    size_t at = 0;
    cell[at++] = "j";
    for (size_t d = 0; d < DESIGNS; d++) cell[at++] = cell_text(x, "(%zu)", d + 1);
    for (size_t k = 0; k < LAYERS; k++) {
        cell[at++] = cell_text(x, "%zu", k + 1);
        for (size_t d = 0; d < DESIGNS; d++) cell[at++] = power_of_ten(x, a[d].log10_layer[k]);
    }
    cell[at++] = "least";
    for (size_t d = 0; d < DESIGNS; d++) cell[at++] = power_of_ten(x, a[d].worst);
    strbuf legend;
    sb_init(&legend);
    for (size_t d = 0; d < DESIGNS; d++) sb_printf(&legend, "%s(%zu) %s", d ? ", " : "", d + 1, designs[d].name);
    ok = tabulate(x, LAYERS + 2, DESIGNS + 1, cell,
                  "|d o[N] / d w[j]| for every layer j at N = %d, all w = 1, b = 0, x = 1/2%s; in (3) each j has a "
                  "network of its own. %s:", LAYERS,
                  unknown ? ", with the sigmoid for the activation" : "", sb_str(&legend));
    sb_free(&legend);
    size_t best = 0;
    for (size_t d = 1; d < DESIGNS; d++) /* of (3) there are as many as layers */
        if (!designs[d].inner && farthest(&a[d]) < farthest(&a[best])) best = d;
    if (best)
        ok = ok && say(x, CR_BLOCK_TEXT, "In the plain chain the layers get from %s to %s, with \"%s\" from %s to %s.",
                       power_of_ten(x, a[0].worst), power_of_ten(x, most(&a[0])), designs[best].name,
                       power_of_ten(x, a[best].worst), power_of_ten(x, most(&a[best])));
    else
        ok = ok && say(x, CR_BLOCK_TEXT, "At these values the plain chain does no worse than the others.");
    ok = ok && say(x, CR_BLOCK_TEXT,
                   "A path with few factors saves a gradient from vanishing on the way. What is small all the same is "
                   "so because of the last factors: where outputs add up arguments grow, and a saturated activation "
                   "has a small slope. That gradients do not explode either, small weights, or a factor like 1/N on "
                   "each branch, must see to.");
    x->out.n_architectures = DESIGNS;
    x->out.architecture = a;
    return ok ? CR_OK : prog_oom(s->p);
}
