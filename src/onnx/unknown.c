/* Operators that are not known: all of them at once, before anything is built; and versions of ONNX that are not. */
#include "onnx/importer.h"

#include <string.h>

enum { NODES_SHOWN = 3 };

/* Of an operator that is not known: how often, and some of its nodes. */
typedef struct unknown {
    const char *domain, *op;
    size_t n;
    const char *node[NODES_SHOWN];
} unknown;

typedef struct search {
    onnx_importer *im;
    unknown *found;
    size_t n, cap;
    unsigned depth;
} search;

static bool look_at_nodes(search *s, size_t n, Onnx__NodeProto *const *node);

static bool note(search *s, const Onnx__NodeProto *node)
{
    const char *domain = onnx_domain(node->domain);
    size_t i = 0;
    while (i < s->n && (strcmp(s->found[i].op, node->op_type) != 0 || strcmp(s->found[i].domain, domain) != 0)) i++;
    if (i == s->n) {
        if (!VEC_RESERVE(s->found, s->cap, s->n + 1)) return onnx_no_memory(s->im);
        s->found[s->n++] = (unknown){.domain = domain, .op = node->op_type};
    }
    unknown *u = &s->found[i];
    if (u->n < NODES_SHOWN) u->node[u->n] = onnx_node_name(node);
    u->n++;
    return true;
}

static bool look_at_node(search *s, const Onnx__NodeProto *node)
{
    const Onnx__FunctionProto *f = onnx_model_function(s->im->m, node->domain, node->op_type);
    if (f && s->depth < 100) {
        s->depth++;
        bool ok = look_at_nodes(s, f->n_node, f->node);
        s->depth--;
        if (!ok) return false;
    } else if (!f && !onnx_find_op(onnx_domain(node->domain), node->op_type) && !note(s, node)) {
        return false;
    }
    for (size_t i = 0; i < node->n_attribute; i++) {
        const Onnx__GraphProto *g = node->attribute[i]->g;
        if (g && !look_at_nodes(s, g->n_node, g->node)) return false;
    }
    return true;
}

static bool look_at_nodes(search *s, size_t n, Onnx__NodeProto *const *node)
{
    for (size_t i = 0; i < n; i++) {
        if (!look_at_node(s, node[i])) return false;
    }
    return true;
}

static void report(search *s)
{
    strbuf b;
    sb_init(&b);
    sb_printf(&b, "operator%s not known:", s->n > 1 ? "s" : "");
    for (size_t i = 0; i < s->n; i++) {
        const unknown *u = &s->found[i];
        sb_printf(&b, "%s %s", i ? ";" : "", u->op);
        if (*u->domain) sb_printf(&b, " of %s", u->domain);
        sb_puts(&b, " (");
        for (size_t k = 0; k < u->n && k < NODES_SHOWN; k++) sb_printf(&b, "%s`%s`", k ? ", " : "", u->node[k]);
        if (u->n > NODES_SHOWN) sb_printf(&b, " and %zu more", u->n - NODES_SHOWN);
        sb_puts(&b, ")");
    }
    onnx_import_fail(s->im, CR_EUNSUPPORTED, "%s", sb_str(&b));
    sb_free(&b);
}

/* Looks at all that the values `wanted` need. */
static bool look_at(search *s, size_t n_wanted, const char *const *wanted)
{
    const Onnx__GraphProto *g = s->im->m->proto->graph;
    size_t *order, n;
    if (onnx_order(g->n_node, g->node, n_wanted, wanted, &order, &n, &s->im->g->err) != CR_OK) return false;
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++) ok = look_at_node(s, g->node[order[i]]);
    mem_free(order);
    return ok;
}

bool onnx_check_operators(onnx_importer *im, size_t n_wanted, const char *const *wanted)
{
    search s = {.im = im};
    bool ok = look_at(&s, n_wanted, wanted);
    if (ok && s.n > 0) report(&s);
    ok = ok && s.n == 0;
    mem_free(s.found);
    return ok;
}

/* ---- versions ------------------------------------------------------------------------------------ */

bool onnx_say_version(onnx_importer *im)
{
    enum { OLDEST = 7, NEWEST = 24 };
    static const char *const taken = "its operators are taken as they are in opset";
    long long v = (long long)onnx_model_version(im->m, "");
    if (im->m->proto->graph->n_node == 0 || (v >= OLDEST && v <= NEWEST)) return true;
    if (v == 0) return onnx_say(im, "the model does not say its opset: %s %d", taken, OLDEST);
    if (v > NEWEST) return onnx_say(im, "the model is for opset %lld, and %s %d, the newest known", v, taken, NEWEST);
    return onnx_say(im, "the model is for opset %lld, and %s %d, the oldest known", v, taken, OLDEST);
}

/* ---- tails --------------------------------------------------------------------------------------- */

static bool knows(onnx_importer *im, const char *value, bool *known)
{
    search s = {.im = im};
    bool ok = look_at(&s, 1, &value);
    *known = s.n == 0;
    mem_free(s.found);
    return ok;
}

static const Onnx__NodeProto *maker(const Onnx__GraphProto *g, const char *value)
{
    for (size_t i = 0; i < g->n_node; i++) {
        for (size_t k = 0; k < g->node[i]->n_output; k++) {
            if (strcmp(g->node[i]->output[k], value) == 0) return g->node[i];
        }
    }
    return NULL;
}

/* Operators that turn the numbers of a classifier into classes and names: what exporters put behind the network. The
 * input that is the network's. */
static bool is_tail(const Onnx__NodeProto *n, size_t *input)
{
    static const struct {
        const char *op;
        size_t input;
    } tails[] = {
        {"ZipMap", 0},       {"ArrayFeatureExtractor", 1},
        {"LabelEncoder", 0}, {"ArgMax", 0},
        {"ArgMin", 0},       {"Cast", 0},
        {"Identity", 0},     {"Reshape", 0},
        {"Squeeze", 0},
    };
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        *input = tails[i].input;
        if (strcmp(n->op_type, tails[i].op) == 0 && n->n_input > *input) return true;
    }
    return false;
}

static bool is_choice(const Onnx__NodeProto *n)
{
    return strcmp(n->op_type, "ArgMax") == 0 || strcmp(n->op_type, "ArgMin") == 0;
}

/* Is it a class that an ArgMax chose, perhaps in another type or shape? */
static bool is_chosen(const Onnx__GraphProto *g, const char *value)
{
    const Onnx__NodeProto *node;
    size_t input, most = g->n_node; /* the graph may be a circle */
    while (most-- > 0 && (node = maker(g, value)) && is_tail(node, &input)) {
        if (is_choice(node)) return true;
        value = node->input[input];
    }
    return false;
}

bool onnx_choose_outputs(onnx_importer *im, const char **wanted, size_t *n)
{
    const Onnx__GraphProto *g = im->m->proto->graph;
    *n = 0;
    for (size_t i = 0; i < g->n_output; i++) {
        const char *name = g->output[i]->name ? g->output[i]->name : "", *value = name;
        const Onnx__NodeProto *node;
        size_t input;
        bool known, decided = false;
        if (!knows(im, value, &known)) return false;
        if (im->smooth && is_chosen(g, value)) known = false;
        /* Back to what is known, and behind what chooses a class: the last tensor of numbers that vary smoothly. */
        while (!known && (node = maker(g, value)) && is_tail(node, &input)) {
            decided |= is_choice(node);
            value = node->input[input];
            if (!knows(im, value, &known)) return false;
            if (im->smooth && is_chosen(g, value)) known = false;
        }
        while (known && value != name && !decided && (node = maker(g, value)) && is_tail(node, &input) &&
               strcmp(node->op_type, "Identity") != 0) {
            decided = is_choice(node);
            value = node->input[input];
        }
        if (!known) value = name; /* then it is an error, with all unknown operators */
        bool twice = false;
        for (size_t k = 0; k < *n; k++) twice |= strcmp(wanted[k], value) == 0;
        if (!twice) wanted[(*n)++] = value;
        if (value != name &&
            !onnx_say(im, "output `%s` is cut at `%s`: what is behind is not numbers to differentiate", name, value)) {
            return false;
        }
    }
    return true;
}
