/* Which outputs are cut into batches, and put together again. */
#include "model/model.h"

#include <string.h>

/* An output of n samples, or of another number of them. */
static cr_status sizes_with(cr_model *m, const model_feed *f, size_t n, int64_t *first, size_t room, error *e)
{
    network net = {0};
    cr_tensor *in = mem_zalloc(f->n_inputs + 1, sizeof *in);
    if (!in) {
        err_set(e, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    for (size_t i = 0; i < f->n_inputs; i++) in[i] = model_rows(&f->input[i], 0, n);
    onnx_import_options o = {.n_inputs = f->n_inputs, .input = in};
    cr_status status = onnx_import(m->onnx, &o, &net, e);
    for (size_t i = 0; i < net.n_outputs && i < room && status == CR_OK; i++) {
        cr_ref out = net.output[i].ref;
        first[i] = cr_rank(net.g, out) > 0 ? onnx_size(net.g, out, 0) : 0;
    }
    net_free(&net);
    mem_free(in);
    return status;
}

cr_status model_growing(cr_model *m, const model_feed *f, size_t batch, bool *grows, size_t room, bool *known)
{
    size_t other = batch > 1 ? batch - 1 : 2;
    *known = false;
    if (f->batch || !f->samples_first || other > f->samples) return CR_OK;
    error e = {CR_OK, NULL};
    int64_t *size = mem_zalloc(2 * room + 1, sizeof *size);
    if (!size) return model_fail(m, CR_ENOMEM, "out of memory");
    cr_status status = sizes_with(m, f, batch, size, room, &e);
    if (status == CR_OK) status = sizes_with(m, f, other, size + room, room, &e);
    for (size_t i = 0; i < room; i++) grows[i] = size[i] == (int64_t)batch && size[room + i] == (int64_t)other;
    *known = status == CR_OK;
    mem_free(size);
    /* A model that takes no other number of samples has said why: nothing is known of it then. */
    bool memory = e.status == CR_ENOMEM;
    err_clear(&e);
    return memory ? model_fail(m, CR_ENOMEM, "out of memory") : CR_OK;
}
