/* Operators that are not known: all of them at once, before anything is built. */
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

bool onnx_check_operators(onnx_importer *im, size_t n_wanted, const char *const *wanted)
{
    const Onnx__GraphProto *g = im->m->proto->graph;
    search s = {.im = im};
    size_t *order, n;
    if (onnx_order(g->n_node, g->node, n_wanted, wanted, &order, &n, &im->g->err) != CR_OK) return false;
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++) ok = look_at_node(&s, g->node[order[i]]);
    if (ok && s.n > 0) report(&s);
    ok = ok && s.n == 0;
    mem_free(order);
    mem_free(s.found);
    return ok;
}
