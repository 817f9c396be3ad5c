/* Parameters that an exporter made one because they were equal, taken apart: each place where one is read gets a leaf
 * of its own, and the nodes there read it by another name. The first place keeps the name of the file. One that is
 * read through an Identity has the name that the Identity gives it, which is what the user calls it; another is
 * NAME@NODE:K, by the node and its input. Tied weights are no such parameters (notices.c), and stay one. */
#include "onnx/importer.h"
#include "onnx/notices.h"

#include <stdio.h>
#include <string.h>

typedef struct untying {
    onnx_importer *im;
    const Onnx__GraphProto *graph;
    Onnx__NodeProto **node; /* those of the graph, or copies that read another name */
} untying;

/* The node reads `name` by input k, in a copy of it. */
static bool read_instead(untying *u, size_t node, size_t k, char *name)
{
    Onnx__NodeProto *was = u->node[node], *copy = arena_alloc(&u->im->mem, sizeof *copy);
    char **input = arena_alloc(&u->im->mem, was->n_input * sizeof *input);
    if (!copy || !input) return onnx_no_memory(u->im);
    memcpy(input, was->input, was->n_input * sizeof *input);
    *copy = *was;
    copy->input = input;
    input[k] = name;
    u->node[node] = copy;
    return true;
}

/* A leaf with the numbers of the tensor, by a name for its user, in sight by a name for nodes. */
static bool add_leaf(untying *u, const Onnx__TensorProto *t, const char *name, const char *key)
{
    cr_tensor own;
    if (onnx_model_tensor(u->im->m, t, &own, &u->im->g->err) != CR_OK) return false;
    onnx_value *v = onnx_new_value(u->im, name);
    if (!v) return false;
    own.name = name;
    if (u->im->weights && !onnx_replace(u->im, &own)) return false;
    onnx_take_shape(v, &own);
    v->ref = net_add_leaf(u->im->net, NET_PARAMETER, &own);
    return v->ref != CR_NONE && onnx_define(u->im, key, v);
}

static bool is_read(const untying *u, const char *name)
{
    for (size_t i = 0; i < u->graph->n_node; i++) {
        for (size_t k = 0; k < u->graph->node[i]->n_input; k++) {
            if (strcmp(u->graph->node[i]->input[k], name) == 0) return true;
        }
    }
    return false;
}

/* Every place but the first where the nodes read the tensor by its own name. */
static bool take_apart(void *user, const Onnx__TensorProto *t, const onnx_use *use, size_t n)
{
    untying *u = user;
    bool first = true;
    (void)use;
    (void)n;
    for (size_t i = 0; i < u->graph->n_node; i++) {
        const Onnx__NodeProto *node = u->graph->node[i];
        bool renames = strcmp(node->op_type, "Identity") == 0 && node->n_output == 1;
        for (size_t k = 0; k < node->n_input; k++) {
            if (strcmp(node->input[k], t->name) != 0 || (renames && !is_read(u, node->output[0]))) continue;
            if (first && !renames) {
                first = false;
                continue;
            }
            const char *by = onnx_node_name(node);
            size_t room = strlen(t->name) + strlen(by) + 24;
            char *key = arena_alloc(&u->im->mem, room);
            if (!key) return onnx_no_memory(u->im);
            snprintf(key, room, "%s@%s:%zu", t->name, by, k + 1);
            if (!add_leaf(u, t, renames ? node->output[0] : key, key) || !read_instead(u, i, k, key)) return false;
        }
    }
    return true;
}

Onnx__NodeProto **onnx_untie(onnx_importer *im, const Onnx__GraphProto *graph)
{
    error e = {CR_OK, NULL};
    untying u = {.im = im, .graph = graph};
    u.node = arena_alloc(&im->mem, (graph->n_node + 1) * sizeof *u.node);
    if (!u.node) {
        onnx_no_memory(im);
        return NULL;
    }
    if (graph->n_node) memcpy(u.node, graph->node, graph->n_node * sizeof *u.node);
    cr_status status = onnx_merged_find(im->m, take_apart, &u, &e);
    if (status != CR_OK) graph_fail(im->g, status, "%s", e.status != CR_OK ? err_message(&e) : "out of memory");
    err_clear(&e);
    return status == CR_OK ? u.node : NULL;
}
