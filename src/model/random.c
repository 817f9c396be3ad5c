/* Data for a model of which there are none. */
#include "model/model.h"
#include "program/program.h"

#include <string.h>

enum { SAMPLES = 16 };

typedef enum fill { FILL_NORMAL, FILL_BITS, FILL_CLASSES } fill;

static cr_status add(cr_model *m, cr_data *data, random_gen *r, const char *name, cr_type type, unsigned rank,
                     const int64_t *dim, fill how, uint64_t classes)
{
    size_t n;
    if (!data_product(rank, dim, sizeof(double), &n)) return model_fail(m, CR_ELIMIT, "`%s` is too large", name);
    void *p = mem_alloc(n * cr_type_size(type) + 1);
    if (!p) return model_fail(m, CR_ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        if (how == FILL_NORMAL) {
            ((float *)p)[i] = (float)random_normal(r);
        } else {
            ((int64_t *)p)[i] = (int64_t)random_below(r, how == FILL_BITS ? 2 : classes);
        }
    }
    cr_status status = data_take(data, name, type, rank, dim, p);
    return status == CR_OK ? CR_OK : model_fail(m, status, "%s", cr_data_message(data));
}

static cr_status add_input(cr_model *m, size_t samples, random_gen *r, const Onnx__ValueInfoProto *input, cr_data *data)
{
    const Onnx__TypeProto__Tensor *type = onnx_tensor_type(input);
    if (!type || !type->shape || type->shape->n_dim > CR_MAX_RANK) {
        return model_fail(m, CR_EUNSUPPORTED, "input `%s` has no declared shape: random data cannot be made",
                          input->name);
    }
    int64_t dim[CR_MAX_RANK] = {0};
    cr_type t = CR_TYPE_F32;
    onnx_type_of(type->elem_type, &t);
    for (size_t i = 0; i < type->shape->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *d = type->shape->dim[i];
        bool number = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        dim[i] = number ? d->dim_value : (int64_t)samples;
    }
    bool floats = onnx_is_float(t);
    return add(m, data, r, input->name, floats ? CR_TYPE_F32 : CR_TYPE_I64, (unsigned)type->shape->n_dim, dim,
               floats ? FILL_NORMAL : FILL_BITS, 0);
}

/* Labels of the shape that the loss wants, which the network's output tells. */
static cr_status add_labels(cr_model *m, random_gen *r, cr_loss loss, cr_data *data)
{
    size_t n = cr_data_count(data);
    cr_tensor *in = mem_zalloc(n + 1, sizeof *in);
    network net = {0};
    error e = {CR_OK, NULL};
    if (!in) return model_fail(m, CR_ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) cr_data_at(data, i, &in[i]);
    onnx_import_options o = {.n_inputs = n, .input = in, .smooth = true};
    if (onnx_import(m->onnx, &o, &net, &e) == CR_OK) {
        const net_output *out = NULL;
        for (size_t i = 0; i < net.n_outputs && !out; i++) {
            if (onnx_is_float(net.output[i].type)) out = &net.output[i];
        }
        int64_t dim[CR_MAX_RANK], left[CR_MAX_RANK];
        unsigned rank = out ? cr_rank(net.g, out->ref) : 0, k = 0;
        if (out) onnx_shape(net.g, out->ref, dim);
        if (out && loss == CR_LOSS_AUTO) loss = net_loss_ending(net.g, out->ref);
        bool classes = (loss == CR_LOSS_CE || loss == CR_LOSS_AUTO) && rank >= 2 && dim[1] > 1;
        for (unsigned i = 0; i < rank; i++) {
            if (i != 1) left[k++] = dim[i];
        }
        if (out && classes) {
            add(m, data, r, "label", CR_TYPE_I64, k, left, FILL_CLASSES, (uint64_t)dim[1]);
        } else if (out && onnx_count(net.g, out->ref) > 1) {
            bool bits = loss == CR_LOSS_BCE;
            add(m, data, r, "target", bits ? CR_TYPE_I64 : CR_TYPE_F32, rank, dim, bits ? FILL_BITS : FILL_NORMAL, 0);
        }
    }
    net_free(&net);
    mem_free(in);
    return model_keep(m, &e);
}

cr_status cr_model_random(cr_model *m, size_t n, uint64_t seed, cr_loss loss, cr_data *data)
{
    random_gen r;
    if (!m->onnx) return model_fail(m, CR_EARG, "no model was read");
    const Onnx__GraphProto *g = m->onnx->proto->graph;
    random_seed(&r, seed);
    for (size_t i = 0; i < g->n_input; i++) {
        if (!onnx_is_fed(g, g->input[i])) continue;
        cr_status status = add_input(m, n ? n : SAMPLES, &r, g->input[i], data);
        if (status != CR_OK) return status;
    }
    return loss == CR_LOSS_NONE ? CR_OK : add_labels(m, &r, loss, data);
}
