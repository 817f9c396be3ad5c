/* Operators that pick entries by indices, which may be data. ONNX counts from 0, and from behind if negative; the graph
 * counts from 1. */
#include "onnx/importer.h"
#include "onnx/index.h"
#include "onnx/ops.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Indices 1 .. n from indices of ONNX. */
static cr_ref from_one(cr_graph *g, cr_ref index, int64_t n)
{
    if (!valid(g, index)) return CR_NONE;
    cr_ref below = cr_map2(g, CR_OP_LT, index, onnx_like(g, 0, index));
    return cr_select(g, below, onnx_add_number(g, index, (double)(n + 1)), onnx_add_number(g, index, 1));
}

/* Known indices that are a, a+s, a+2s, ... make a slice. */
static bool as_slice(const onnx_call *c, unsigned i, int64_t n, int64_t *first, int64_t *step)
{
    const onnx_value *v = c->in[i];
    if (!v->known || v->rank != 1 || v->count == 0) return false;
    for (size_t k = 0; k < v->count; k++) {
        int64_t at;
        if (data_to_i64(v->type, (const char *)v->data + k * cr_type_size(v->type), 1, &at) != 1) return false;
        if (at < -n || at >= n) return false;
        if (at < 0) at += n;
        if (k == 0) *first = at;
        if (k == 1) *step = at - *first;
        if (v->count == 1) *step = 1;
        if (k > 0 && at != *first + (int64_t)k * *step) return false;
    }
    return *step > 0;
}

bool onnx_check_indices(onnx_call *c, unsigned i, unsigned depth, const int64_t *dim)
{
    const onnx_value *v = c->in[i];
    for (size_t k = 0; v->known && k < v->count; k++) {
        double at, n = (double)dim[k % depth];
        data_to_f64(v->type, (const char *)v->data + k * cr_type_size(v->type), 1, &at);
        if (at < -n || at >= n) return onnx_fail(c, "index %g of an axis of size %g", at, n);
    }
    if (v->known) return true;
    network *n = c->im->net;
    if (!VEC_RESERVE(n->index, n->index_cap, n->n_indices + 1)) return onnx_no_memory(c->im);
    net_index *to = &n->index[n->n_indices++];
    *to = (net_index){.node = onnx_node_name(c->node), .op = c->node->op_type, .within = c->im->within, .name = v->name,
                      .ref = onnx_real(c, i), .depth = depth};
    memcpy(to->size, dim, depth * sizeof *dim);
    return to->ref != CR_NONE;
}

static bool exact(onnx_call *c, int64_t entries)
{
    if (entries <= INDEX_MAX) return true;
    return onnx_unsupported(c, "indices into %" PRId64 " entries: above %d not all of them are floats", entries,
                            INDEX_MAX);
}

cr_ref onnx_places(onnx_call *c, unsigned rank, size_t rows, size_t columns, double *v)
{
    cr_tensor t = {.name = "places", .type = CR_TYPE_F64, .rank = rank, .dim = {(int64_t)rows, (int64_t)columns},
                   .count = rows * columns, .data = v};
    return onnx_constant(c, &t);
}

static bool build_gather(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_in(c, 0), index = onnx_real(c, 1);
    unsigned axis;
    int64_t first = 0, step = 0;
    if (!valid(g, x) || !valid(g, index)) return false;
    if (!onnx_axis(c, onnx_attr_int(c, "axis", 0), cr_rank(g, x), &axis)) return false;
    int64_t n = onnx_size(g, x, axis);
    if (!onnx_check_indices(c, 1, 1, &n)) return false;
    if (as_slice(c, 1, n, &first, &step)) {
        return onnx_out_like(c, onnx_cut(g, x, axis, first, step, onnx_size(g, index, 0)));
    }
    if (c->in[1]->known && cr_rank(g, index) == 0) {
        double at;
        int64_t dim[CR_MAX_RANK];
        data_to_f64(c->in[1]->type, c->in[1]->data, 1, &at);
        cr_ref part = onnx_cut(g, x, axis, (int64_t)at + (at < 0 ? n : 0), 1, 1);
        if (!valid(g, part)) return false;
        onnx_shape(g, part, dim);
        memmove(dim + axis, dim + axis + 1, (cr_rank(g, x) - axis - 1) * sizeof *dim);
        return onnx_out_like(c, onnx_reshape(g, part, cr_rank(g, x) - 1, dim));
    }
    return exact(c, n) && onnx_out_like(c, cr_gather(g, onnx_number(g, x), from_one(g, index, n), axis));
}

/* ---- one index for each entry -------------------------------------------------------------------- */

/* Places 0 .. n-1; any other is NaN, which is no place whatever is made of it: added to those on other axes it would be
 * another entry. */
static cr_ref in_range(cr_graph *g, cr_ref place, int64_t n)
{
    if (!valid(g, place)) return CR_NONE;
    cr_ref in = cr_map2(g, CR_OP_AND, cr_map2(g, CR_OP_LE, onnx_like(g, 0, place), place),
                        cr_map2(g, CR_OP_LT, place, onnx_like(g, (double)n, place)));
    return cr_select(g, in, place, onnx_like(g, NAN, place));
}

/* Places from indices of input 1. */
static cr_ref checked(onnx_call *c, cr_ref index, int64_t n)
{
    cr_ref place = onnx_add_number(c->g, from_one(c->g, index, n), -1);
    return c->in[1]->known ? place : in_range(c->g, place, n);
}

/* 0, 1, 2, ... along an axis of a shape */
static cr_ref counted(cr_graph *g, unsigned rank, const int64_t *size, unsigned axis)
{
    cr_dim dim[CR_MAX_RANK];
    uint8_t label = (uint8_t)axis;
    for (unsigned i = 0; i < rank; i++) dim[i] = cr_dim_const(g, size[i]);
    cr_ref k = onnx_add_number(g, cr_iota(g, dim[axis]), -1);
    return cr_einsum(g, 1, &k, &label, rank, dim);
}

bool onnx_flat_places(onnx_call *c, cr_ref index, unsigned rank, const int64_t *dim, unsigned axis, cr_ref *flat)
{
    cr_graph *g = c->g;
    int64_t own[CR_MAX_RANK], stride = 1;
    if (!valid(g, index)) return false;
    if (cr_rank(g, index) != rank)
        return onnx_fail(c, "indices of %s for a tensor of rank %u", shape_text(g, index, 0), rank);
    onnx_shape(g, index, own);
    cr_ref at = checked(c, index, dim[axis]), sum = onnx_like(g, 1, index);
    for (unsigned i = rank; i-- > 0;) {
        if (i != axis && own[i] > dim[i])
            return onnx_fail(c, "indices of %s reach beyond the tensor", shape_text(g, index, 0));
        cr_ref k = i == axis ? at : counted(g, rank, own, i);
        sum = cr_add(g, sum, onnx_times(g, k, (double)stride));
        stride *= dim[i];
    }
    *flat = sum;
    return exact(c, stride) && sum != CR_NONE;
}

static bool build_gather_elements(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0), index = onnx_real(c, 1), flat;
    unsigned axis;
    int64_t dim[CR_MAX_RANK];
    if (!valid(g, x) || !valid(g, index)) return false;
    unsigned rank = cr_rank(g, x);
    if (!onnx_axis(c, onnx_attr_int(c, "axis", 0), rank, &axis)) return false;
    onnx_shape(g, x, dim);
    if (!onnx_check_indices(c, 1, 1, &dim[axis]) || !onnx_flat_places(c, index, rank, dim, axis, &flat)) return false;
    int64_t all = (int64_t)onnx_count(g, x);
    return onnx_out_like(c, cr_gather(g, onnx_reshape(g, x, 1, &all), flat, 0));
}

bool onnx_part_places(onnx_call *c, cr_ref index, unsigned batch, unsigned rank, const int64_t *dim, unsigned *depth,
                        cr_ref *flat)
{
    cr_graph *g = c->g;
    unsigned of = cr_rank(g, index);
    if (of < 1 || of <= batch) return onnx_fail(c, "indices of %s", shape_text(g, index, 0));
    *depth = (unsigned)onnx_size(g, index, of - 1);
    if (*depth < 1 || batch + *depth > rank)
        return onnx_fail(c, "indices of %s into a tensor of rank %u", shape_text(g, index, 0), rank);
    if (!onnx_check_indices(c, 1, *depth, dim + batch)) return false;
    int64_t own[CR_MAX_RANK], stride = 1;
    onnx_shape(g, index, own);
    for (unsigned i = 0; i < batch; i++) {
        if (own[i] != dim[i]) return onnx_fail(c, "indices of %s, whose batch is another", shape_text(g, index, 0));
    }
    cr_ref sum = CR_NONE;
    for (unsigned i = batch + *depth; i-- > 0;) {
        cr_ref k;
        if (i >= batch) {
            cr_ref one = onnx_sum(g, onnx_cut(g, index, of - 1, (int64_t)(i - batch), 1, 1), 1u << (of - 1), false);
            k = checked(c, one, dim[i]);
        } else {
            k = counted(g, of - 1, own, i);
        }
        k = onnx_times(g, k, (double)stride);
        sum = sum == CR_NONE ? k : cr_add(g, sum, k);
        stride *= dim[i];
    }
    *flat = onnx_add_number(g, sum, 1);
    return exact(c, stride) && *flat != CR_NONE;
}

static bool build_gather_nd(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0), index = onnx_real(c, 1), flat;
    int64_t dim[CR_MAX_RANK], parts[CR_MAX_RANK] = {1};
    int64_t batch_dims = onnx_attr_int(c, "batch_dims", 0);
    if (!valid(g, x) || !valid(g, index)) return false;
    unsigned rank = cr_rank(g, x), depth, batch = (unsigned)batch_dims;
    if (batch_dims < 0 || batch_dims >= (int64_t)rank) {
        return onnx_fail(c, "%" PRId64 " batch_dims of a tensor of rank %u", batch_dims, rank);
    }
    onnx_shape(g, x, dim);
    if (!onnx_part_places(c, index, batch, rank, dim, &depth, &flat)) return false;
    for (unsigned i = 0; i < batch + depth; i++) parts[0] *= dim[i];
    unsigned rest = rank - batch - depth;
    memcpy(parts + 1, dim + batch + depth, rest * sizeof *dim);
    return onnx_out_like(c, cr_gather(g, onnx_reshape(g, x, 1 + rest, parts), flat, 0));
}

/* The entries of an axis at which the condition holds: its numbers have to be known. */
static bool build_compress(onnx_call *c)
{
    cr_graph *g = c->g;
    size_t n, kept = 0;
    const int64_t *condition = onnx_ints(c, 1, &n);
    cr_ref x = onnx_in(c, 0);
    unsigned axis = 0;
    if (!condition || !valid(g, x)) return false;
    if (onnx_has_attr(c, "axis")) {
        if (!onnx_axis(c, onnx_attr_int(c, "axis", 0), cr_rank(g, x), &axis)) return false;
    } else {
        int64_t all = (int64_t)onnx_count(g, x);
        x = onnx_reshape(g, x, 1, &all);
    }
    int64_t size = onnx_size(g, x, axis);
    double *index = onnx_alloc(c, n * sizeof *index);
    if (!index || !exact(c, size)) return false;
    for (size_t i = 0; i < n && (int64_t)i < size; i++) {
        if (condition[i]) index[kept++] = (double)i + 1;
    }
    if (kept == 0) return onnx_out_like(c, onnx_cut(g, x, axis, 0, 1, 0));
    return onnx_out_like(c, cr_gather(g, onnx_number(g, x), onnx_places(c, 1, kept, 1, index), axis));
}

/* Places that are not 0, of known numbers. */
static bool build_non_zero(onnx_call *c)
{
    size_t n, found = 0;
    const double *x = onnx_reals(c, 0, &n);
    if (!x) return false;
    const onnx_value *v = c->in[0];
    unsigned rank = v->rank ? v->rank : 1;
    for (size_t i = 0; i < n; i++) found += x[i] != 0;
    int64_t dim[2] = {rank, (int64_t)found}, *at = onnx_alloc(c, (rank * found + 1) * sizeof *at);
    if (!at) return false;
    for (size_t i = 0, k = 0; i < n; i++) {
        if (x[i] == 0) continue;
        size_t left = i;
        for (unsigned a = rank; a-- > 0;) {
            size_t size = v->rank ? (size_t)v->dim[a] : 1;
            at[a * found + k] = (int64_t)(left % size);
            left /= size;
        }
        k++;
    }
    return onnx_out_ints(c, 0, 2, dim, at);
}

/* The first sequence_lens[b] steps of sequence b in reverse order. */
static bool build_reverse_sequence(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0), length = onnx_real(c, 1);
    int64_t batch = onnx_attr_int(c, "batch_axis", 1), time = onnx_attr_int(c, "time_axis", 0);
    if (!valid(g, x) || !valid(g, length)) return false;
    if (cr_rank(g, x) < 2 || (batch != 0 && batch != 1) || time != 1 - batch)
        return onnx_fail(c, "batch_axis and time_axis are 0 and 1");
    if (time == 1) x = onnx_swap(g, x, 0, 1);
    int64_t dim[CR_MAX_RANK], flat[CR_MAX_RANK], two[2];
    onnx_shape(g, x, dim);
    unsigned rank = cr_rank(g, x);
    memcpy(two, dim, sizeof two);
    if (cr_rank(g, length) != 1 || onnx_size(g, length, 0) != two[1])
        return onnx_fail(c, "lengths of %s for %" PRId64 " sequences", shape_text(g, length, 0), two[1]);
    if (!exact(c, two[0] * two[1])) return false;
    length = in_range(g, length, two[0] + 1);
    uint8_t label = 1;
    cr_dim size[2] = {cr_dim_const(g, two[0]), cr_dim_const(g, two[1])};
    cr_ref t = counted(g, 2, two, 0), b = counted(g, 2, two, 1), n = cr_einsum(g, 1, &length, &label, 2, size);
    cr_ref from = cr_select(g, cr_map2(g, CR_OP_LE, n, t), t, cr_sub(g, onnx_add_number(g, n, -1), t));
    cr_ref place = onnx_add_number(g, cr_add(g, onnx_times(g, from, (double)two[1]), b), 1);
    flat[0] = two[0] * two[1];
    memcpy(flat + 1, dim + 2, (rank - 2) * sizeof *dim);
    cr_ref y = onnx_reshape(g, cr_gather(g, onnx_reshape(g, x, rank - 1, flat), place, 0), rank, dim);
    return onnx_out_like(c, time == 1 ? onnx_swap(g, y, 0, 1) : y);
}

const onnx_op onnx_ops_index[] = {
    OP("Compress", build_compress),
    OP("Gather", build_gather),
    OP("GatherElements", build_gather_elements),
    OP("GatherND", build_gather_nd),
    OP("NonZero", build_non_zero),
    OP("ReverseSequence", build_reverse_sequence),
    OP(NULL, NULL),
};
