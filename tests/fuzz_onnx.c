/* Any bytes as a model of ONNX: a network or a clean error. Its tensors are read, it is imported with the sizes that it
 * declares, and differentiated by its parameters. */
#include "network/loss.h"
#include "onnx/import.h"
#include "onnx/notices.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_NODES = 20000, MAX_WRT = 64 };

static void differentiate(network *n)
{
    cr_ref wrt[MAX_WRT], out[MAX_WRT];
    unsigned k = 0;
    for (size_t i = 0; i < n->n_leaves && k < MAX_WRT; i++) {
        if (n->leaf[i].role != NET_CONSTANT) wrt[k++] = n->leaf[i].ref;
    }
    for (size_t i = 0; i < n->n_outputs && k > 0; i++) {
        if (n->output[i].type > CR_TYPE_BF16) continue;
        cr_reverse(n->g, n->output[i].ref, onnx_like(n->g, 1, n->output[i].ref), k, wrt, out);
        break;
    }
    if (cr_graph_status(n->g) == CR_EINTERNAL) {
        fprintf(stderr, "%s\n", cr_graph_message(n->g));
        abort();
    }
    char message[256];
    if (cr_verify(n->g, message, sizeof message) != CR_OK) {
        fprintf(stderr, "verify: %s\n", message);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    error e = {CR_OK, NULL};
    onnx_model *m;
    if (onnx_model_of_bytes("fuzz.onnx", data, size, &m, &e) == CR_OK) {
        onnx_notices notices = {0};
        network n = {0};
        onnx_import_options o = {.max_nodes = MAX_NODES};
        onnx_notices_find(m, &notices, &e);
        onnx_notices_free(&notices);
        err_clear(&e);
        cr_status status = onnx_import(m, &o, &n, &e);
        if (status == CR_OK) differentiate(&n);
        if (status == CR_EINTERNAL || (status != CR_OK && !*err_message(&e))) {
            fprintf(stderr, "status %d: %s\n", (int)status, err_message(&e));
            abort();
        }
        net_free(&n);
        onnx_model_free(m);
    } else if (!*err_message(&e)) {
        abort();
    }
    err_clear(&e);
    return 0;
}
