/* Attention (23, 24): softmax(cap(scale q k') + masks) v, head by head. */
#include "onnx/ops.h"

#include <math.h>
#include <string.h>

/* The sizes of it: `batch` samples with `heads` heads of q, `shared` of which use one head of k and v. */
typedef struct attention {
    int64_t batch, heads, shared, rows, columns, depth, width; /* width: of a row of v */
} attention;

/* N x L x (H D) to N x H x L x D, where the heads are still side by side. */
static cr_ref split_heads(onnx_call *c, cr_ref a, int64_t heads)
{
    cr_graph *g = c->g;
    if (!valid(g, a) || cr_rank(g, a) == 4) return a;
    int64_t d[3];
    if (cr_rank(g, a) != 3 || heads < 1 || onnx_size(g, a, 2) % heads) {
        onnx_fail(c, "%s does not split into %lld heads", shape_text(g, a, 0), (long long)heads);
        return CR_NONE;
    }
    onnx_shape(g, a, d);
    return onnx_swap(g, onnx_reshape(g, a, 4, (int64_t[]){d[0], d[1], heads, d[2] / heads}), 1, 2);
}

/* q, k and v with four axes, earlier keys and values in front. */
static bool read_operands(onnx_call *c, cr_ref *in, attention *a)
{
    cr_graph *g = c->g;
    int64_t kv = onnx_attr_int(c, "kv_num_heads", 0), heads = onnx_attr_int(c, "q_num_heads", 0), d[3][CR_MAX_RANK];
    for (unsigned i = 0; i < 3; i++) {
        in[i] = split_heads(c, onnx_real(c, i), i == 0 ? heads : kv);
        if (!valid(g, in[i])) return false;
        if (i > 0 && onnx_has(c, 3 + i)) in[i] = cr_concat(g, 2, (cr_ref[]){onnx_real(c, 3 + i), in[i]}, 2);
        if (!valid(g, in[i])) return false;
        if (cr_rank(g, in[i]) != 4) return onnx_fail(c, "input %u is %s", i + 1, shape_text(g, in[i], 0));
        onnx_shape(g, in[i], d[i]);
    }
    const int64_t *q = d[0], *k = d[1], *v = d[2];
    if (k[0] != q[0] || k[1] < 1 || q[1] % k[1] || k[3] != q[3]) {
        return onnx_fail(c, "queries of %s and keys of %s", shape_text(g, in[0], 0), shape_text(g, in[1], 1));
    }
    if (v[0] != k[0] || v[1] != k[1] || v[2] != k[2]) {
        return onnx_fail(c, "keys of %s and values of %s", shape_text(g, in[1], 0), shape_text(g, in[2], 1));
    }
    *a = (attention){q[0], q[1], q[1] / k[1], q[2], k[2], q[3], v[3]};
    return true;
}

/* The product, head by head, of what is q's with what is k's and v's, over the last axis of the first and axis `inner`
 * (2 or 3) of the second; `size` is its other one. Heads are not repeated: heads of q that share one are an axis. */
static cr_ref by_heads(cr_graph *g, const attention *a, cr_ref of_q, cr_ref of_kv, unsigned inner, int64_t size)
{
    const int64_t whole[4] = {a->batch, a->heads, a->rows, size};
    int64_t split[5] = {a->batch, a->heads / a->shared, a->shared, a->rows};
    if (!valid(g, of_q) || !valid(g, of_kv)) return CR_NONE;
    if (a->shared == 1) {
        cr_dim dim[4];
        for (unsigned i = 0; i < 4; i++) dim[i] = cr_dim_const(g, whole[i]);
        const uint8_t label[8] = {0, 1, 2, 4, 0, 1, inner == 2 ? 4 : 3, inner == 2 ? 3 : 4};
        return cr_einsum(g, 2, (cr_ref[]){of_q, of_kv}, label, 4, dim);
    }
    cr_dim dim[5];
    split[4] = onnx_size(g, of_q, 3);
    of_q = onnx_reshape(g, of_q, 5, split);
    split[4] = size;
    for (unsigned i = 0; i < 5; i++) dim[i] = cr_dim_const(g, split[i]);
    const uint8_t label[9] = {0, 1, 2, 3, 5, 0, 1, inner == 2 ? 5 : 4, inner == 2 ? 4 : 5};
    return onnx_reshape(g, cr_einsum(g, 2, (cr_ref[]){of_q, of_kv}, label, 5, dim), 4, whole);
}

/* The mask input at every score; its last axis may be too short: what is behind it is not seen. */
static bool add_mask(onnx_call *c, const attention *a, cr_ref *scores)
{
    cr_graph *g = c->g;
    cr_ref mask = onnx_in(c, 3);
    int64_t shape[4] = {a->batch, a->heads, a->rows, a->columns}, own[CR_MAX_RANK], both[CR_MAX_RANK];
    unsigned rank;
    if (!valid(g, mask)) return false;
    bool boolean = cr_dtype_of(g, mask) == CR_BOOL;
    unsigned of = cr_rank(g, mask), last = of - 1;
    onnx_shape(g, mask, own);
    if (of > 0 && own[last] != 1 && own[last] < a->columns) {
        own[last] = a->columns - own[last];
        cr_ref rest = onnx_full(g, boolean ? 0 : -INFINITY, of, own);
        mask = cr_concat(g, 2, (cr_ref[]){onnx_number(g, mask), rest}, last);
        if (boolean) mask = cr_map2(g, CR_OP_NE, mask, onnx_like(g, 0, mask));
        if (!valid(g, mask)) return false;
        own[last] = a->columns;
    }
    if (!onnx_common(of, own, 4, shape, &rank, both) || rank != 4 || memcmp(both, shape, sizeof shape) != 0) {
        return onnx_fail(c, "a mask of %s for scores of %s", shape_text(g, mask, 0), shape_text(g, *scores, 1));
    }
    mask = onnx_stretch(g, mask, 4, shape);
    *scores = boolean ? cr_select(g, mask, *scores, onnx_like(g, -INFINITY, *scores)) : cr_add(g, *scores, mask);
    return *scores != CR_NONE;
}

/* A vector along one axis of the scores. */
static cr_ref along(cr_graph *g, const attention *a, cr_ref v, unsigned axis)
{
    const int64_t size[4] = {a->batch, a->heads, a->rows, a->columns};
    uint8_t label = (uint8_t)axis;
    cr_dim dim[4];
    for (unsigned i = 0; i < 4; i++) dim[i] = cr_dim_const(g, size[i]);
    return cr_einsum(g, 1, &v, &label, 4, dim);
}

/* Where a row sees a column: up to its own, counted behind what came earlier, if that is asked for; and none of the
 * pads at the end of a sample, of which input 6 says how many columns there are without them. CR_NONE: everywhere. */
static bool visible(onnx_call *c, const attention *a, cr_ref *seen)
{
    cr_graph *g = c->g;
    bool causal = onnx_attr_int(c, "is_causal", 0) != 0, padded = onnx_has(c, 6);
    cr_ref column = along(g, a, cr_iota(g, cr_dim_const(g, a->columns)), 3), filled = CR_NONE;
    *seen = CR_NONE;
    if (padded) {
        filled = onnx_real(c, 6);
        if (!valid(g, filled)) return false;
        if (cr_rank(g, filled) != 1 || onnx_size(g, filled, 0) != a->batch) {
            return onnx_fail(c, "input 7 is %s, for %lld samples", shape_text(g, filled, 0), (long long)a->batch);
        }
        filled = along(g, a, filled, 0);
        *seen = cr_map2(g, CR_OP_LE, column, filled);
    }
    if (causal) {
        cr_ref row = along(g, a, cr_iota(g, cr_dim_const(g, a->rows)), 2);
        if (onnx_has(c, 4)) {
            row = onnx_add_number(g, row, (double)onnx_size(g, onnx_in(c, 4), 2));
        } else if (padded) {
            row = cr_add(g, row, onnx_add_number(g, filled, -(double)a->rows));
        }
        cr_ref before = cr_map2(g, CR_OP_LE, column, row);
        *seen = padded ? cr_map2(g, CR_OP_AND, *seen, before) : before;
    }
    return *seen != CR_NONE || (!causal && !padded);
}

static bool build_attention(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref in[3], seen, stage[4]; /* of the scores: raw, capped, masked, softmax */
    attention a = {0};
    /* What is seen comes first in the graph: between the scores and what is made of them, it would part a loop. */
    if (!read_operands(c, in, &a) || !visible(c, &a, &seen)) return false;
    double scale = onnx_attr_float(c, "scale", 1 / sqrt((double)a.depth)), cap = onnx_attr_float(c, "softcap", 0);
    int64_t mode = onnx_attr_int(c, "qk_matmul_output_mode", 0);
    if (mode < 0 || mode > 3) return onnx_fail(c, "qk_matmul_output_mode is %lld", (long long)mode);
    cr_ref s = onnx_times(g, by_heads(g, &a, in[0], in[1], 3, a.columns), scale);
    stage[0] = s;
    if (cap != 0) s = onnx_times(g, cr_map(g, CR_OP_TANH, onnx_times(g, s, 1 / cap)), cap);
    stage[1] = s;
    if (!valid(g, s) || (onnx_has(c, 3) && !add_mask(c, &a, &s))) return false;
    if (seen != CR_NONE) s = cr_select(g, seen, s, onnx_like(g, -INFINITY, s));
    stage[2] = s;
    stage[3] = cr_softmax(g, s, 3);
    cr_ref y = by_heads(g, &a, stage[3], in[2], 2, a.width);
    if (c->in[0]->rank == 3) {
        y = onnx_reshape(g, onnx_swap(g, y, 1, 2), 3, (int64_t[]){a.batch, a.rows, a.heads * a.width});
    }
    cr_type type = c->in[0]->type;
    return onnx_out(c, 0, y, type) && onnx_out(c, 1, in[1], type) && onnx_out(c, 2, in[2], type) &&
           onnx_out(c, 3, stage[mode], type);
}

const onnx_op onnx_ops_attention[] = {
    OP("Attention", build_attention),
    OP(NULL, NULL),
};
