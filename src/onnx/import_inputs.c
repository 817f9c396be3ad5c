/* The inputs of a model: what the data say, against what the file declares. */
#include "onnx/importer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const cr_tensor *fed(const onnx_import_options *o, const char *name)
{
    for (size_t i = 0; i < o->n_inputs; i++) {
        if (strcmp(o->input[i].name, name) == 0) return &o->input[i];
    }
    return NULL;
}

static bool shapes_differ(onnx_importer *im, const Onnx__ValueInfoProto *input, const cr_tensor *t, const char *why)
{
    strbuf b;
    sb_init(&b);
    sb_printf(&b, "input `%s` is ", input->name);
    onnx_print_shape(&b, input);
    sb_puts(&b, " in the model, and ");
    data_shape(&b, t->rank, t->dim);
    sb_printf(&b, " in the data%s", why);
    onnx_import_fail(im, CR_ESHAPE, "%s", sb_str(&b));
    sb_free(&b);
    return false;
}

/* Sizes of symbols, as the inputs so far have them. */
typedef struct sized {
    const char *symbol, *input;
    int64_t size;
} sized;
typedef struct sizes {
    sized *of;
    size_t n, cap;
} sizes;

static bool size_symbol(onnx_importer *im, sizes *s, const Onnx__ValueInfoProto *input, const char *symbol,
                        int64_t size, const cr_tensor *t)
{
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->of[i].symbol, symbol) != 0) continue;
        if (s->of[i].size == size) return true;
        char why[200];
        snprintf(why, sizeof why, ", but `%.60s` is %" PRId64 " in input `%.60s`", symbol, s->of[i].size,
                 s->of[i].input);
        return shapes_differ(im, input, t, why);
    }
    if (!VEC_RESERVE(s->of, s->cap, s->n + 1)) return onnx_no_memory(im);
    s->of[s->n++] = (sized){symbol, input->name, size};
    return true;
}

/* The sizes of an input from its data; symbols get values. */
static bool match(onnx_importer *im, sizes *s, const Onnx__ValueInfoProto *input, const cr_tensor *t)
{
    const Onnx__TypeProto__Tensor *type = onnx_tensor_type(input);
    if (!type || !type->shape) return true;
    const Onnx__TensorShapeProto *shape = type->shape;
    if (shape->n_dim != t->rank) return shapes_differ(im, input, t, "");
    for (unsigned i = 0; i < t->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = shape->dim[i];
        if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE) {
            if (d->dim_value != t->dim[i]) return shapes_differ(im, input, t, "");
        } else if (d->dim_param && *d->dim_param && !size_symbol(im, s, input, d->dim_param, t->dim[i], t)) {
            return false;
        }
    }
    return true;
}

/* What an input that is not fed looks like: symbols have the sizes that they have in others, or 1. */
static bool declared(onnx_importer *im, const sizes *s, const Onnx__ValueInfoProto *input, cr_tensor *t)
{
    const Onnx__TypeProto__Tensor *type = onnx_tensor_type(input);
    if (!type) return onnx_import_fail(im, CR_EUNSUPPORTED, "input `%s` is no tensor", input->name);
    *t = (cr_tensor){.name = input->name};
    if (!onnx_type_of(type->elem_type, &t->type)) {
        return onnx_import_fail(im, CR_EUNSUPPORTED, "input `%s` is of a type without numbers", input->name);
    }
    if (!type->shape)
        return onnx_import_fail(im, CR_EVALUE, "the model says no shape for its input `%s`: data are needed",
                                input->name);
    if (type->shape->n_dim > CR_MAX_RANK) {
        return onnx_import_fail(im, CR_ELIMIT, "input `%s` has more than %d axes", input->name, CR_MAX_RANK);
    }
    t->rank = (unsigned)type->shape->n_dim;
    for (unsigned i = 0; i < t->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = type->shape->dim[i];
        t->dim[i] = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE ? d->dim_value : 1;
        for (size_t k = 0; k < s->n; k++) {
            if (d->dim_param && strcmp(d->dim_param, s->of[k].symbol) == 0) t->dim[i] = s->of[k].size;
        }
    }
    if (!data_product(t->rank, t->dim, 8, &t->count))
        return onnx_import_fail(im, CR_ELIMIT, "input `%s` is too large", input->name);
    return true;
}

static bool define_inputs(onnx_importer *im, const Onnx__GraphProto *graph, const onnx_import_options *o, sizes *s)
{
    for (size_t i = 0; i < graph->n_input; i++) {
        const Onnx__ValueInfoProto *input = graph->input[i];
        const cr_tensor *t = onnx_is_fed(graph, input) ? fed(o, input->name) : NULL;
        if (t && !match(im, s, input, t)) return false;
    }
    for (size_t i = 0; i < graph->n_input; i++) {
        const Onnx__ValueInfoProto *input = graph->input[i];
        if (!onnx_is_fed(graph, input)) continue;
        const cr_tensor *t = fed(o, input->name);
        cr_tensor made;
        if (t) {
            made = *t;
        } else if (!declared(im, s, input, &made)) {
            return false;
        }
        /* The type is the model's: data of another one are converted on their way in. */
        const Onnx__TypeProto__Tensor *type = onnx_tensor_type(input);
        if (type && made.type != CR_TYPE_BOOL) {
            cr_type file;
            if (onnx_type_of(type->elem_type, &file) && !made.data) made.type = file;
        }
        made.name = input->name;
        onnx_value *v = onnx_new_value(im, input->name);
        if (!v) return false;
        onnx_take_shape(v, &made);
        v->ref = net_add_leaf(im->net, NET_INPUT, &made);
        if (v->ref == CR_NONE) return false;
        if (v->type == CR_TYPE_BOOL) v->ref = cr_map2(im->g, CR_OP_NE, v->ref, onnx_like(im->g, 0, v->ref));
        if (v->ref == CR_NONE || !onnx_define(im, input->name, v)) return false;
    }
    return true;
}

bool onnx_define_inputs(onnx_importer *im, const Onnx__GraphProto *graph, const onnx_import_options *o)
{
    sizes s = {0};
    bool ok = define_inputs(im, graph, o, &s);
    mem_free(s.of);
    return ok;
}
