/* What an operator asks of its node: inputs, attributes, outputs. */
#include "onnx/importer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define ALLOC_MAX ((size_t)1 << 30) /* bytes that one operator may want while importing */

static bool say(onnx_call *c, cr_status status, const char *fmt, va_list ap)
{
    strbuf b;
    sb_init(&b);
    sb_printf(&b, "%s \"%s\": ", c->node->op_type, onnx_node_name(c->node));
    sb_vprintf(&b, fmt, ap);
    graph_fail(c->g, status, "%s", sb_str(&b));
    sb_free(&b);
    return false;
}

bool onnx_fail(onnx_call *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(c, CR_EVALUE, fmt, ap);
    va_end(ap);
    return false;
}

bool onnx_unsupported(onnx_call *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(c, CR_EUNSUPPORTED, fmt, ap);
    va_end(ap);
    return false;
}

const char *onnx_node_name(const Onnx__NodeProto *n)
{
    return n->name && *n->name ? n->name : n->n_output ? n->output[0] : "";
}

bool onnx_is_float(cr_type t) { return t <= CR_TYPE_BF16; }
bool onnx_is_int(cr_type t) { return t > CR_TYPE_BF16 && t < CR_TYPE_BOOL; }

void *onnx_alloc(onnx_call *c, size_t n)
{
    if (n > ALLOC_MAX) {
        onnx_fail(c, "its tensors are too large to import: %zu bytes", n);
        return NULL;
    }
    void *p = arena_alloc(&c->im->mem, n ? n : 1);
    if (!p) graph_fail(c->g, CR_ENOMEM, "out of memory");
    return p;
}

/* ---- inputs ------------------------------------------------------------------------------------- */

bool onnx_has(const onnx_call *c, unsigned i) { return i < c->n_in && c->in[i]; }

cr_ref onnx_item(onnx_call *c, onnx_value *v) { return onnx_value_ref(c->im, v); }

cr_ref onnx_in(onnx_call *c, unsigned i)
{
    if (onnx_has(c, i) && c->in[i]->sequence) {
        onnx_fail(c, "input %u is a sequence, not a tensor", i + 1);
        return CR_NONE;
    }
    if (onnx_has(c, i)) return onnx_value_ref(c->im, c->in[i]);
    onnx_fail(c, "input %u is missing", i + 1);
    return CR_NONE;
}

cr_ref onnx_real(onnx_call *c, unsigned i) { return onnx_number(c->g, onnx_in(c, i)); }

cr_ref onnx_truth(onnx_call *c, unsigned i)
{
    cr_ref a = onnx_in(c, i);
    if (!valid(c->g, a) || cr_dtype_of(c->g, a) == CR_BOOL) return a;
    return cr_map2(c->g, CR_OP_NE, a, onnx_like(c->g, 0, a));
}

/* The numbers of input i, wherever they come from; false with a message. */
static bool numbers(onnx_call *c, unsigned i, bool parameters, const onnx_value **v)
{
    if (!onnx_has(c, i)) return onnx_fail(c, "input %u is missing", i + 1);
    *v = c->in[i];
    if ((*v)->sequence) return onnx_fail(c, "input %u is a sequence, not a tensor", i + 1);
    if (onnx_value_evaluate(c->im, c->in[i], parameters)) return true;
    if (cr_graph_status(c->g) != CR_OK) return false;
    return onnx_fail(c, "input %u, `%s`, has to be known before the data are: shapes come from shapes and constants",
                     i + 1, c->in[i]->name);
}

const int64_t *onnx_ints(onnx_call *c, unsigned i, size_t *n)
{
    const onnx_value *v;
    if (!numbers(c, i, false, &v)) return NULL;
    int64_t *to = onnx_alloc(c, v->count * sizeof *to);
    if (!to) return NULL;
    *n = v->count;
    if (data_to_i64(v->type, v->data, v->count, to) == v->count) return to;
    onnx_fail(c, "input %u, `%s`, has to be of integers", i + 1, v->name);
    return NULL;
}

const double *onnx_reals(onnx_call *c, unsigned i, size_t *n)
{
    const onnx_value *v;
    if (!numbers(c, i, true, &v)) return NULL;
    double *to = onnx_alloc(c, v->count * sizeof *to);
    if (!to) return NULL;
    *n = v->count;
    data_to_f64(v->type, v->data, v->count, to);
    return to;
}

/* ---- attributes --------------------------------------------------------------------------------- */

const Onnx__AttributeProto *onnx_attr(const onnx_call *c, const char *name)
{
    for (size_t i = 0; i < c->node->n_attribute; i++) {
        const Onnx__AttributeProto *a = c->node->attribute[i];
        if (a->name && strcmp(a->name, name) == 0) return onnx_attr_meant(c->im, a);
    }
    return NULL;
}

bool onnx_has_attr(const onnx_call *c, const char *name) { return onnx_attr(c, name) != NULL; }

int64_t onnx_attr_int(const onnx_call *c, const char *name, int64_t missing)
{
    const Onnx__AttributeProto *a = onnx_attr(c, name);
    return a ? a->i : missing;
}

double onnx_attr_float(const onnx_call *c, const char *name, double missing)
{
    const Onnx__AttributeProto *a = onnx_attr(c, name);
    double exact;
    if (a && a->has_s && a->s.len == sizeof exact) { /* of a node that was recognised: to the last bit */
        memcpy(&exact, a->s.data, sizeof exact);
        return exact;
    }
    return a ? (double)a->f : missing;
}

const char *onnx_attr_string(const onnx_call *c, const char *name, const char *missing)
{
    const Onnx__AttributeProto *a = onnx_attr(c, name);
    if (!a) return missing;
    char *s = onnx_alloc((onnx_call *)(uintptr_t)c, a->s.len + 1);
    if (!s) return missing;
    if (a->s.len) memcpy(s, a->s.data, a->s.len);
    s[a->s.len] = '\0';
    return s;
}

const int64_t *onnx_attr_ints(const onnx_call *c, const char *name, size_t *n)
{
    const Onnx__AttributeProto *a = onnx_attr(c, name);
    *n = a ? a->n_ints : 0;
    return a ? a->ints : NULL;
}

bool onnx_ints_of(onnx_call *c, const char *name, unsigned i, const int64_t **v, size_t *n)
{
    *v = onnx_attr_ints(c, name, n);
    if (*v || onnx_has_attr(c, name) || !onnx_has(c, i)) return true;
    *v = onnx_ints(c, i, n);
    return *v != NULL;
}

bool onnx_axis(onnx_call *c, int64_t axis, unsigned rank, unsigned *out)
{
    if (axis < -(int64_t)rank || axis >= (int64_t)rank) {
        return onnx_fail(c, "axis %" PRId64 " of a tensor of rank %u", axis, rank);
    }
    *out = (unsigned)(axis < 0 ? axis + (int64_t)rank : axis);
    return true;
}

bool onnx_axes(onnx_call *c, unsigned i, unsigned rank, uint32_t *set, size_t *n)
{
    const int64_t *v;
    *set = 0;
    if (!onnx_ints_of(c, "axes", i, &v, n)) return false;
    for (size_t k = 0; k < *n; k++) {
        unsigned axis = 0;
        if (!onnx_axis(c, v[k], rank, &axis)) return false;
        if (*set >> axis & 1) return onnx_fail(c, "axis %" PRId64 " is given twice", v[k]);
        *set |= 1u << axis;
    }
    return true;
}

bool onnx_tensor_of(onnx_call *c, const Onnx__TensorProto *t, cr_tensor *out)
{
    return onnx_model_tensor(c->im->m, t, out, &c->g->err) == CR_OK;
}

/* ---- outputs ------------------------------------------------------------------------------------ */

static void shape_of_ref(cr_graph *g, onnx_value *v)
{
    v->rank = cr_rank(g, v->ref);
    onnx_shape(g, v->ref, v->dim);
    v->count = onnx_count(g, v->ref);
}

bool onnx_out(onnx_call *c, unsigned i, cr_ref ref, cr_type type)
{
    if (!valid(c->g, ref)) return false;
    if (i >= c->n_out || !c->out[i]) return true;
    cr_dtype want = type == CR_TYPE_BOOL ? CR_BOOL : CR_REAL;
    if (cr_dtype_of(c->g, ref) != want) {
        ref = want == CR_REAL ? onnx_number(c->g, ref) : cr_map2(c->g, CR_OP_NE, ref, onnx_like(c->g, 0, ref));
        if (!valid(c->g, ref)) return false;
    }
    onnx_value *v = c->out[i];
    int64_t dim[CR_MAX_RANK];
    size_t count;
    onnx_shape(c->g, ref, dim);
    /* So nothing that is computed with sizes of values overflows. */
    if (!data_product(cr_rank(c->g, ref), dim, 1 << 16, &count)) return onnx_fail(c, "a result that is too large");
    v->type = type;
    v->ref = ref;
    shape_of_ref(c->g, v);
    return true;
}

bool onnx_out_like(onnx_call *c, cr_ref ref)
{
    if (!valid(c->g, ref)) return false;
    return onnx_has(c, 0) ? onnx_out(c, 0, ref, c->in[0]->type) : onnx_fail(c, "input 1 is missing");
}

bool onnx_out_ints(onnx_call *c, unsigned i, unsigned rank, const int64_t *dim, const int64_t *from)
{
    if (i >= c->n_out || !c->out[i]) return true;
    onnx_value *v = c->out[i];
    if (!data_product(rank, dim, sizeof *from, &v->count)) return onnx_fail(c, "a result that is too large");
    int64_t *data = onnx_alloc(c, v->count * sizeof *from);
    if (!data) return false;
    if (v->count) memcpy(data, from, v->count * sizeof *from);
    v->rank = rank;
    if (rank) memcpy(v->dim, dim, rank * sizeof *dim);
    v->type = CR_TYPE_I64;
    v->known = true;
    v->data = data;
    return true;
}

onnx_value *onnx_temporary(onnx_call *c, const char *name, cr_ref ref, cr_type type)
{
    onnx_value *v = onnx_alloc(c, sizeof *v);
    if (!v || !valid(c->g, ref)) return NULL;
    *v = (onnx_value){.name = name, .type = type, .ref = ref};
    shape_of_ref(c->g, v);
    return v;
}

onnx_value *onnx_known_int(onnx_call *c, const char *name, int64_t number)
{
    onnx_value *v = onnx_alloc(c, sizeof *v);
    int64_t *data = onnx_alloc(c, sizeof *data);
    if (!v || !data) return NULL;
    *data = number;
    *v = (onnx_value){.name = name, .type = CR_TYPE_I64, .count = 1, .known = true, .data = data};
    return v;
}

cr_ref onnx_constant(onnx_call *c, const cr_tensor *t) { return net_add_leaf(c->im->net, NET_CONSTANT, t); }

bool onnx_evaluate(onnx_call *c, onnx_value *v) { return onnx_value_evaluate(c->im, v, false); }
