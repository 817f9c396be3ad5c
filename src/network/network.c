#include "network/network.h"

#include <string.h>

bool net_init(network *n)
{
    *n = (network){.g = cr_graph_new()};
    sb_init(&n->said);
    return n->g != NULL;
}

void net_free(network *n)
{
    cr_graph_free(n->g);
    arena_free(&n->names);
    sb_free(&n->said);
    mem_free(n->leaf);
    mem_free(n->node);
    mem_free(n->value);
    mem_free(n->operand);
    mem_free(n->output);
    mem_free(n->recurrence);
    mem_free(n->index);
    *n = (network){0};
}

const char *net_key(const network *n, cr_ref leaf) { return name_text(n->g->dims, attr_of(n->g, leaf, 0)); }

cr_ref net_add_leaf(network *n, net_role role, const cr_tensor *t)
{
    cr_dim dim[CR_MAX_RANK];
    for (unsigned i = 0; i < t->rank; i++) dim[i] = cr_dim_const(n->g, t->dim[i]);
    if (!VEC_RESERVE(n->leaf, n->leaf_cap, n->n_leaves + 1)) return graph_fail(n->g, CR_ENOMEM, "out of memory");
    dim_sym name = name_intern(n->g->dims, t->name, strlen(t->name));
    if (name && name < n->g->param_cap && n->g->param_by_name[name]) name = fresh_symbol(n->g, t->name);
    if (!name) return CR_NONE;
    cr_ref ref = cr_param(n->g, name_text(n->g->dims, name), t->rank, dim, 0);
    if (ref != CR_NONE) n->leaf[n->n_leaves++] = (net_leaf){.name = t->name, .ref = ref, .role = role, .tensor = *t};
    return ref;
}

/* Every leaf is a new node of the graph: they stand in the order of their numbers. */
net_leaf *net_find_leaf(const network *n, cr_ref ref)
{
    size_t first = 0, end = n->n_leaves;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if (n->leaf[middle].ref == ref) return &n->leaf[middle];
        if (n->leaf[middle].ref < ref) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    return NULL;
}

static const char *numbered(network *n, const char *what, size_t i)
{
    char *s = arena_alloc(&n->names, strlen(what) + 24);
    if (s) snprintf(s, strlen(what) + 24, "%s %zu", what, i + 1);
    return s;
}

cr_status net_redact(network *n)
{
    static const char *const role[] = {"input", "parameter", "constant", "label", "cotangent"};
    size_t count[sizeof role / sizeof *role] = {0};
    bool ok = true;
    for (size_t i = 0; i < n->n_leaves && ok; i++) {
        net_leaf *l = &n->leaf[i];
        ok = (l->name = numbered(n, role[l->role], count[l->role]++)) != NULL;
    }
    for (size_t i = 0; i < n->n_nodes && ok; i++) ok = (n->node[i].name = numbered(n, n->node[i].op, i)) != NULL;
    for (size_t i = 0; i < n->n_values && ok; i++) ok = (n->value[i].name = numbered(n, "tensor", i)) != NULL;
    for (size_t i = 0; i < n->n_outputs && ok; i++) ok = (n->output[i].name = numbered(n, "output", i)) != NULL;
    for (size_t i = 0; i < n->n_operands && ok; i++) n->operand[i].name = "";
    for (size_t i = 0; i < n->n_nodes; i++) n->node[i].within = NULL;
    for (size_t i = 0; i < n->n_indices; i++) n->index[i].node = n->index[i].name = n->index[i].within = NULL;
    return ok ? CR_OK : CR_ENOMEM;
}

void net_put_node(strbuf *b, const char *op, const char *name, const char *within)
{
    sb_puts(b, op);
    if (name) sb_printf(b, " \"%s\"", name);
    if (within) sb_printf(b, " in %s", within);
}
