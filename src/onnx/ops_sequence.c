/* Sequences of tensors, as exporters make of chunk and split: they exist while importing only. */
#include "onnx/ops.h"

#include <inttypes.h>

static bool put_sequence(onnx_call *c, size_t n, onnx_value **item)
{
    if (c->n_out == 0 || !c->out[0]) return true;
    c->out[0]->sequence = true;
    c->out[0]->n_items = n;
    c->out[0]->item = item;
    return true;
}

static onnx_value *sequence(onnx_call *c, unsigned i)
{
    if (onnx_has(c, i) && c->in[i]->sequence) return c->in[i];
    onnx_fail(c, "input %u has to be a sequence", i + 1);
    return NULL;
}

static bool build_construct(onnx_call *c)
{
    onnx_value **item = onnx_alloc(c, (c->n_in + 1) * sizeof *item);
    if (!item) return false;
    for (unsigned i = 0; i < c->n_in; i++) {
        if (!onnx_has(c, i)) return onnx_fail(c, "input %u is missing", i + 1);
        item[i] = c->in[i];
    }
    return put_sequence(c, c->n_in, item);
}

/* Parts of a given size (one number), of given sizes, or single entries, whose axis goes with keepdims 0. */
static bool build_split(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_in(c, 0);
    const int64_t *size = NULL;
    size_t n_sizes = 0;
    unsigned axis;
    if (!valid(g, x) || !onnx_axis(c, onnx_attr_int(c, "axis", 0), cr_rank(g, x), &axis)) return false;
    if (onnx_has(c, 1) && !(size = onnx_ints(c, 1, &n_sizes))) return false;
    bool single = !size, drop = single && onnx_attr_int(c, "keepdims", 1) == 0, one = size && c->in[1]->rank == 0;
    int64_t all = onnx_size(g, x, axis), first = 0, each = single ? 1 : one ? size[0] : 0, dim[CR_MAX_RANK];
    if ((single || one) && each < 1) return onnx_fail(c, "parts of %" PRId64 " entries", each);
    size_t n = single || one ? (size_t)((all + each - 1) / each) : n_sizes;
    onnx_value **item = onnx_alloc(c, (n + 1) * sizeof *item);
    if (!item) return false;
    for (size_t i = 0; i < n; i++) {
        int64_t part = single || one ? (all - first < each ? all - first : each) : size[i];
        if (part < 0 || first + part > all) return onnx_fail(c, "parts that are longer than axis %u", axis);
        cr_ref r = onnx_cut(g, x, axis, first, 1, part);
        first += part;
        if (drop && valid(g, r)) {
            unsigned rank = cr_rank(g, r), k = 0;
            for (unsigned a = 0; a < rank; a++) {
                if (a != axis) dim[k++] = onnx_size(g, r, a);
            }
            r = onnx_reshape(g, r, rank - 1, dim);
        }
        item[i] = onnx_temporary(c, c->in[0]->name, r, c->in[0]->type);
        if (!item[i]) return false;
    }
    return put_sequence(c, n, item);
}

static bool build_at(onnx_call *c)
{
    onnx_value *s = sequence(c, 0);
    size_t n;
    const int64_t *at = s ? onnx_ints(c, 1, &n) : NULL;
    if (!at) return false;
    if (n != 1) return onnx_fail(c, "its position is %zu numbers", n);
    int64_t i = *at < 0 ? *at + (int64_t)s->n_items : *at;
    if (i < 0 || (size_t)i >= s->n_items) return onnx_fail(c, "item %" PRId64 " of %zu", *at, s->n_items);
    const char *name = c->out[0]->name;
    *c->out[0] = *s->item[i];
    c->out[0]->name = name;
    return true;
}

static bool build_length(onnx_call *c)
{
    onnx_value *s = sequence(c, 0);
    int64_t n = s ? (int64_t)s->n_items : 0;
    return s && onnx_out_ints(c, 0, 0, NULL, &n);
}

/* Joined along an axis, or along a new one. */
static bool build_concat(onnx_call *c)
{
    cr_graph *g = c->g;
    onnx_value *s = sequence(c, 0);
    unsigned axis, fresh = onnx_attr_int(c, "new_axis", 0) != 0;
    if (!s) return false;
    if (s->n_items == 0) return onnx_fail(c, "a sequence of nothing");
    cr_ref *part = onnx_alloc(c, s->n_items * sizeof *part);
    if (!part || !onnx_axis(c, onnx_attr_int(c, "axis", 0), s->item[0]->rank + fresh, &axis)) return false;
    for (size_t i = 0; i < s->n_items; i++) {
        int64_t dim[CR_MAX_RANK + 1];
        part[i] = onnx_number(g, onnx_item(c, s->item[i]));
        if (!valid(g, part[i])) return false;
        for (unsigned k = 0, a = 0; k < s->item[i]->rank + fresh; k++) {
            dim[k] = fresh && k == axis ? 1 : s->item[i]->dim[a++];
        }
        part[i] = onnx_reshape(g, part[i], s->item[i]->rank + fresh, dim);
    }
    cr_ref all = s->n_items == 1 ? part[0] : cr_concat(g, (unsigned)s->n_items, part, axis);
    return onnx_out(c, 0, all, s->item[0]->type);
}

const onnx_op onnx_ops_sequence[] = {
    OP("ConcatFromSequence", build_concat),   OP("SequenceAt", build_at),
    OP("SequenceConstruct", build_construct), OP("SequenceLength", build_length),
    OP("SplitToSequence", build_split),       OP(NULL, NULL),
};
