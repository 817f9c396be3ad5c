/* Reads a model and writes it, for test_onnx_files.py:
 *
 *     onnx_edit copy IN OUT      unchanged
 *     onnx_edit scale IN OUT     with a node Mul by an initialiser of its own (2) in front of the first output, and the
 *                                numbers of the first initialiser halved
 *     onnx_edit read IN          its tensors only: prints how many
 *     onnx_edit nodes IN [as-written]   the operators that its outputs rest on, once it is imported */
#include "onnx/import.h"

#include <stdio.h>
#include <string.h>

static int fail(error *e)
{
    fprintf(stderr, "%s\n", err_message(e));
    err_clear(e);
    return 3;
}

/* The maker of the first output now makes "NAME:unscaled", which the new node doubles. */
static cr_status scale(onnx_model *m, onnx_edit *d, float *halved, error *e)
{
    const Onnx__GraphProto *g = m->proto->graph;
    const char *out = g->output[0]->name;
    char inner[300], *inputs[2] = {inner, "two:factor"}, *outputs[1] = {(char *)(uintptr_t)out};
    size_t k = 0, i = 0;
    while (k < g->n_node && strcmp(g->node[k]->output[0], out) != 0) k++;
    while (i < g->n_initializer && g->initializer[i]->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT) i++;
    snprintf(inner, sizeof inner, "%s:unscaled", out);
    Onnx__NodeProto maker = *g->node[k], node = ONNX__NODE_PROTO__INIT;
    char *made[16];
    for (size_t t = 0; t < maker.n_output && t < 16; t++) made[t] = t == 0 ? inner : maker.output[t];
    maker.output = made;
    node.op_type = "Mul";
    node.name = "scale";
    node.n_input = 2;
    node.input = inputs;
    node.n_output = 1;
    node.output = outputs;
    float two = 2;
    Onnx__TensorProto t = ONNX__TENSOR_PROTO__INIT;
    t.name = "two:factor";
    t.has_data_type = 1;
    t.data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    t.has_raw_data = 1;
    t.raw_data.data = (uint8_t *)&two;
    t.raw_data.len = sizeof two;
    cr_tensor first;
    cr_status s = onnx_model_tensor(m, g->initializer[i], &first, e);
    for (size_t x = 0; s == CR_OK && x < first.count; x++) halved[x] = ((const float *)first.data)[x] / 2;
    if (s == CR_OK) s = onnx_edit_replace(d, ONNX_GRAPH, "node", k, &maker, e);
    if (s == CR_OK) s = onnx_edit_insert(d, ONNX_GRAPH, "node", k + 1, &node, e);
    if (s == CR_OK) s = onnx_edit_insert(d, ONNX_GRAPH, "initializer", g->n_initializer, &t, e);
    if (s == CR_OK) s = onnx_edit_numbers(d, i, halved, first.count * sizeof *halved, e);
    return s;
}

static cr_status nodes(onnx_model *m, bool as_written, error *e)
{
    network n = {0};
    onnx_import_options o = {.as_written = as_written};
    cr_status s = onnx_import(m, &o, &n, e);
    size_t n_cone = 0;
    cr_ref out[64], *cone = NULL;
    unsigned k = 0;
    for (; s == CR_OK && k < n.n_outputs && k < 64; k++) out[k] = n.output[k].ref;
    if (s == CR_OK) cone = graph_cone(n.g, k, out, &n_cone);
    for (size_t i = 0; i < n.n_values && s == CR_OK; i++) {
        for (size_t t = 0; t < n_cone; t++) {
            const net_node *node = &n.node[n.value[i].node];
            if (cone[t] == n.value[i].ref && !node->absorbed) printf("%s\n", node->op);
        }
    }
    mem_free(cone);
    net_free(&n);
    return s;
}

int main(int argc, char **argv)
{
    error e = {CR_OK, NULL};
    onnx_model *m;
    static float halved[1 << 20];
    if (argc < 3) return 2;
    if (onnx_model_open(argv[2], NULL, &m, &e) != CR_OK) return fail(&e);
    cr_status s = CR_OK;
    if (strcmp(argv[1], "read") == 0) {
        const Onnx__GraphProto *g = m->proto->graph;
        cr_tensor t;
        for (size_t i = 0; i < g->n_initializer && s == CR_OK; i++) s = onnx_model_tensor(m, g->initializer[i], &t, &e);
        if (s == CR_OK) printf("%zu\n", g->n_initializer);
    } else if (strcmp(argv[1], "nodes") == 0) {
        s = nodes(m, argc == 4, &e);
    } else if (argc == 4) {
        onnx_edit *d = onnx_edit_new(m->file, &e);
        s = d ? CR_OK : CR_ENOMEM;
        if (s == CR_OK && strcmp(argv[1], "scale") == 0) s = scale(m, d, halved, &e);
        if (s == CR_OK) s = onnx_edit_write(d, argv[3], &e);
        onnx_edit_free(d);
    }
    onnx_model_free(m);
    return s == CR_OK ? 0 : fail(&e);
}
