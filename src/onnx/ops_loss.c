/* Losses, dropout, attention. */
#include "onnx/ops.h"

#include <math.h>
#include <string.h>

/* ---- losses of classes --------------------------------------------------------------------------- */

/* a, of N x D.., at every class of N x C x D.. */
static cr_ref at_classes(cr_graph *g, cr_ref a, cr_ref like)
{
    uint8_t label[CR_MAX_RANK];
    cr_dim dim[CR_MAX_RANK];
    unsigned rank = cr_rank(g, like), n = 0;
    for (unsigned i = 0; i < rank; i++) {
        if (i != 1) label[n++] = (uint8_t)i;
        dim[i] = cr_size(g, like, i);
    }
    return cr_einsum(g, 1, &a, label, rank, dim);
}

static cr_ref by_class(cr_graph *g, cr_ref v, cr_ref like)
{
    cr_dim dim[CR_MAX_RANK];
    uint8_t label = 1;
    for (unsigned i = 0; i < cr_rank(g, like); i++) dim[i] = cr_size(g, like, i);
    return cr_einsum(g, 1, &v, &label, cr_rank(g, like), dim);
}

/* -w[c] logp[c] of every sample, c its label; mean: by the sum of the weights. */
static bool nll(onnx_call *c, cr_ref logp, unsigned weight_at)
{
    cr_graph *g = c->g;
    cr_ref label = onnx_real(c, 1);
    if (!valid(g, logp) || !valid(g, label)) return false;
    unsigned rank = cr_rank(g, logp);
    bool fits = rank >= 2 && cr_rank(g, label) + 1 == rank;
    for (unsigned i = 0, k = 0; i < rank && fits; i++) {
        if (i != 1) fits = onnx_size(g, logp, i) == onnx_size(g, label, k++);
    }
    if (!fits) return onnx_fail(c, "labels of %s for %s", shape_text(g, label, 0), shape_text(g, logp, 1));
    cr_ref index = onnx_add_number(g, cr_iota(g, cr_size(g, logp, 1)), -1);
    cr_ref hit = onnx_number(g, cr_map2(g, CR_OP_EQ, by_class(g, index, logp), at_classes(g, label, logp)));
    if (onnx_has_attr(c, "ignore_index")) {
        double skipped = (double)onnx_attr_int(c, "ignore_index", 0);
        cr_ref counts = onnx_number(g, cr_map2(g, CR_OP_NE, label, onnx_like(g, skipped, label)));
        hit = cr_mul(g, hit, at_classes(g, counts, logp));
    }
    if (onnx_has(c, weight_at)) {
        cr_ref w = onnx_real(c, weight_at);
        if (!valid(g, w)) return false;
        if (onnx_count(g, w) != (size_t)onnx_size(g, logp, 1))
            return onnx_fail(c, "weights of %s", shape_text(g, w, 0));
        hit = cr_mul(g, hit, by_class(g, w, logp));
    }
    /* An entry that is not taken may be infinite: it is left out, not multiplied. */
    cr_ref zero = onnx_like(g, 0, logp),
           taken = cr_select(g, cr_map2(g, CR_OP_NE, hit, zero), cr_mul(g, hit, logp), zero);
    cr_ref each = cr_neg(g, onnx_sum(g, taken, 2, false));
    const char *reduction = onnx_attr_string(c, "reduction", "mean");
    if (strcmp(reduction, "none") == 0) return onnx_out_like(c, each);
    cr_ref sum = cr_sum(g, each);
    return onnx_out_like(c, strcmp(reduction, "sum") == 0 ? sum : cr_div(g, sum, cr_sum(g, hit)));
}

static bool build_nll(onnx_call *c) { return nll(c, onnx_real(c, 0), 2); }

static bool build_cross_entropy(onnx_call *c)
{
    cr_ref x = onnx_real(c, 0);
    if (!valid(c->g, x)) return false;
    if (cr_rank(c->g, x) < 2) return onnx_fail(c, "scores of %s", shape_text(c->g, x, 0));
    cr_ref logp = cr_logsoftmax(c->g, x, 1);
    return onnx_out(c, 1, logp, c->in[0]->type) && nll(c, logp, 2);
}

/* ---- dropout ------------------------------------------------------------------------------------- */

/* Does it drop, as the model has it? From version 12 on, an input says whether it trains. */
static bool drops(onnx_call *c, bool *yes)
{
    size_t n;
    *yes = false;
    if (c->version < 12 || !onnx_has(c, 2)) return true;
    const double *trains = onnx_reals(c, 2, &n);
    if (!trains || n != 1 || *trains == 0) return trains != NULL;
    const double half = 0.5, *ratio = onnx_has(c, 1) ? onnx_reals(c, 1, &n) : &half;
    *yes = ratio && *ratio != 0;
    return ratio != NULL;
}

/* The identity: in inference by definition, and in training because a gradient without noise is wanted; that is said.
 */
static bool build_dropout(onnx_call *c)
{
    cr_ref x = onnx_in(c, 0);
    bool yes;
    if (!valid(c->g, x) || !drops(c, &yes)) return false;
    if (yes && !onnx_note(c, "dropout \"%s\" is the identity", c->node->name ? c->node->name : "")) return false;
    cr_ref kept = onnx_like(c->g, 1, x);
    cr_type mask = c->version < 10 ? c->in[0]->type : CR_TYPE_BOOL;
    return onnx_out_like(c, x) && onnx_out(c, 1, kept, mask);
}

/* lambd, bias: x + bias below -lambd, x - bias above lambd, else 0. */
static bool build_shrink(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    double limit = onnx_attr_float(c, "lambd", 0.5), bias = onnx_attr_float(c, "bias", 0);
    cr_ref below = cr_map2(g, CR_OP_LT, x, onnx_like(g, -limit, x));
    cr_ref above = cr_map2(g, CR_OP_LT, onnx_like(g, limit, x), x);
    cr_ref y = cr_select(g, above, onnx_add_number(g, x, -bias), onnx_like(g, 0, x));
    return onnx_out_like(c, cr_select(g, below, onnx_add_number(g, x, bias), y));
}

/* ---- attention (23) ------------------------------------------------------------------------------ */

/* N x L x (H D) to N x H x L x D, where the heads are still side by side. */
static cr_ref split_heads(onnx_call *c, cr_ref a, int64_t heads)
{
    cr_graph *g = c->g;
    if (!valid(g, a) || cr_rank(g, a) == 4) return a;
    int64_t d[3];
    if (cr_rank(g, a) != 3 || heads < 1 || onnx_size(g, a, 2) % heads) {
        onnx_fail(c, "%s does not split into %lld heads", valid(g, a) ? shape_text(g, a, 0) : "", (long long)heads);
        return CR_NONE;
    }
    onnx_shape(g, a, d);
    return onnx_swap(g, onnx_reshape(g, a, 4, (int64_t[]){d[0], d[1], heads, d[2] / heads}), 1, 2);
}

/* Each head of k and v serves several of q. */
static cr_ref repeat_heads(cr_graph *g, cr_ref a, int64_t heads)
{
    int64_t d[4];
    if (!valid(g, a)) return CR_NONE;
    onnx_shape(g, a, d);
    if (d[1] == heads) return a;
    int64_t times = heads / d[1];
    a = onnx_reshape(g, a, 5, (int64_t[]){d[0], d[1], 1, d[2], d[3]});
    a = onnx_stretch(g, a, 5, (int64_t[]){d[0], d[1], times, d[2], d[3]});
    return onnx_reshape(g, a, 4, (int64_t[]){d[0], heads, d[2], d[3]});
}

static bool build_attention(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref in[3];
    bool flat = onnx_has(c, 0) && c->in[0]->rank == 3;
    int64_t kv = onnx_attr_int(c, "kv_num_heads", 0), heads = onnx_attr_int(c, "q_num_heads", 0), d[4], dk[4];
    for (unsigned i = 0; i < 3; i++) {
        in[i] = split_heads(c, onnx_real(c, i), i == 0 ? heads : kv);
        if (!valid(g, in[i])) return false;
        /* Earlier keys and values come in front. */
        if (i > 0 && onnx_has(c, 3 + i)) in[i] = cr_concat(g, 2, (cr_ref[]){onnx_real(c, 3 + i), in[i]}, 2);
        if (!valid(g, in[i])) return false;
        if (cr_rank(g, in[i]) != 4) return onnx_fail(c, "input %u is %s", i + 1, shape_text(g, in[i], 0));
    }
    if (!onnx_out(c, 1, in[1], c->in[0]->type) || !onnx_out(c, 2, in[2], c->in[0]->type)) return false;
    onnx_shape(g, in[0], d);
    onnx_shape(g, in[1], dk);
    if (dk[1] < 1 || d[1] % dk[1] || d[3] != dk[3]) {
        return onnx_fail(c, "queries of %s and keys of %s", shape_text(g, in[0], 0), shape_text(g, in[1], 1));
    }
    cr_ref k = repeat_heads(g, in[1], d[1]), v = repeat_heads(g, in[2], d[1]);
    double scale = onnx_attr_float(c, "scale", 1 / sqrt((double)d[3])), cap = onnx_attr_float(c, "softcap", 0);
    cr_dim batch = cr_dim_const(g, d[0]), head = cr_dim_const(g, d[1]), from = cr_dim_const(g, d[2]),
           to = cr_dim_const(g, dk[2]);
    cr_ref s = cr_einsum(g, 2, (cr_ref[]){in[0], k}, (uint8_t[]){0, 1, 2, 4, 0, 1, 3, 4}, 4,
                         (cr_dim[]){batch, head, from, to});
    s = onnx_times(g, s, scale);
    int64_t shape[4] = {d[0], d[1], d[2], dk[2]}, mode = onnx_attr_int(c, "qk_matmul_output_mode", 0);
    cr_ref raw = s, masked, capped;
    if (onnx_has(c, 3)) {
        cr_ref mask = onnx_in(c, 3);
        int64_t own[CR_MAX_RANK], both[CR_MAX_RANK];
        unsigned rank;
        if (!valid(g, mask)) return false;
        onnx_shape(g, mask, own);
        if (!onnx_common(cr_rank(g, mask), own, 4, shape, &rank, both) || rank != 4)
            return onnx_fail(c, "a mask of %s", shape_text(g, mask, 0));
        mask = onnx_stretch(g, mask, 4, shape);
        s = cr_dtype_of(g, mask) == CR_BOOL ? cr_select(g, mask, s, onnx_like(g, -INFINITY, s)) : cr_add(g, s, mask);
    }
    if (onnx_attr_int(c, "is_causal", 0)) {
        cr_ref row = onnx_add_number(g, cr_iota(g, from), (double)(onnx_has(c, 4) ? dk[2] - d[2] : 0)),
               column = cr_iota(g, to);
        uint8_t at_row = 2, at_column = 3;
        cr_dim dim[4] = {batch, head, from, to};
        cr_ref sees =
            cr_map2(g, CR_OP_LE, cr_einsum(g, 1, &column, &at_column, 4, dim), cr_einsum(g, 1, &row, &at_row, 4, dim));
        s = cr_select(g, sees, s, onnx_like(g, -INFINITY, s));
    }
    masked = s;
    if (cap != 0) s = onnx_times(g, cr_map(g, CR_OP_TANH, onnx_times(g, s, 1 / cap)), cap);
    capped = s;
    cr_ref p = cr_softmax(g, s, 3);
    if (!onnx_out(c, 3, mode == 0 ? raw : mode == 1 ? masked : mode == 2 ? capped : p, c->in[0]->type)) return false;
    int64_t dv[4];
    if (!valid(g, v)) return false;
    onnx_shape(g, v, dv);
    cr_ref y = cr_einsum(g, 2, (cr_ref[]){p, v}, (uint8_t[]){0, 1, 2, 4, 0, 1, 4, 3}, 4,
                         (cr_dim[]){batch, head, from, cr_dim_const(g, dv[3])});
    if (flat) y = onnx_reshape(g, onnx_swap(g, y, 1, 2), 3, (int64_t[]){d[0], d[2], d[1] * dv[3]});
    return onnx_out_like(c, y);
}

const onnx_op onnx_ops_loss[] = {
    OP("Attention", build_attention),
    OP("Dropout", build_dropout),
    OP("NegativeLogLikelihoodLoss", build_nll),
    OP("Shrink", build_shrink),
    OP("SoftmaxCrossEntropyLoss", build_cross_entropy),
    OP(NULL, NULL),
};
