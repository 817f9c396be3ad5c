/* Losses, dropout. */
#include "onnx/importer.h"
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

/* -w[c] logp[c] of every sample, c its label; mean: by the sum of the weights. A label that is no class and is not to
 * be ignored makes it NaN: it must not pass for a sample without loss. */
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
    const char *reduction = onnx_attr_string(c, "reduction", "mean");
    bool sums = strcmp(reduction, "sum") == 0, means = strcmp(reduction, "mean") == 0;
    if (!sums && !means && strcmp(reduction, "none") != 0) return onnx_fail(c, "reduction `%s`", reduction);
    cr_ref least = onnx_like(g, 0, label), most = onnx_like(g, (double)onnx_size(g, logp, 1) - 1, label);
    cr_ref known = cr_map2(g, CR_OP_AND, cr_map2(g, CR_OP_LE, least, label), cr_map2(g, CR_OP_LE, label, most));
    cr_ref index = onnx_add_number(g, cr_iota(g, cr_size(g, logp, 1)), -1);
    cr_ref hit = onnx_number(g, cr_map2(g, CR_OP_EQ, by_class(g, index, logp), at_classes(g, label, logp)));
    if (onnx_has_attr(c, "ignore_index")) {
        double skipped = (double)onnx_attr_int(c, "ignore_index", 0);
        cr_ref counts = cr_map2(g, CR_OP_NE, label, onnx_like(g, skipped, label));
        hit = cr_mul(g, hit, at_classes(g, onnx_number(g, counts), logp));
        known = cr_map2(g, CR_OP_OR, known, cr_map(g, CR_OP_NOT, counts));
    }
    if (onnx_has(c, weight_at)) {
        cr_ref w = onnx_real(c, weight_at);
        if (!valid(g, w)) return false;
        if (onnx_count(g, w) != (size_t)onnx_size(g, logp, 1))
            return onnx_fail(c, "weights of %s for %s", shape_text(g, w, 0), shape_text(g, logp, 1));
        hit = cr_mul(g, hit, by_class(g, w, logp));
    }
    /* An entry that is not taken may be infinite: it is left out, not multiplied. */
    cr_ref zero = onnx_like(g, 0, logp),
           taken = cr_select(g, cr_map2(g, CR_OP_NE, hit, zero), cr_mul(g, hit, logp), zero);
    cr_ref each = cr_select(g, known, cr_neg(g, onnx_sum(g, taken, 2, false)), onnx_like(g, NAN, label));
    if (!sums && !means) return onnx_out_like(c, each);
    cr_ref sum = cr_sum(g, each);
    return onnx_out_like(c, sums ? sum : cr_div(g, sum, cr_sum(g, hit)));
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

/* The share that it drops, and whether it does as the model has it: from version 12 on, an input says whether it
 * trains; before 7, an attribute. */
static bool ratio_of(onnx_call *c, double *ratio, bool *trains)
{
    size_t n;
    const double *v;
    *ratio = onnx_attr_float(c, "ratio", 0.5);
    *trains = false;
    if (c->version >= 12 && onnx_has(c, 1)) {
        if (!(v = onnx_reals(c, 1, &n))) return false;
        if (n != 1) return onnx_fail(c, "its ratio is %zu numbers", n);
        *ratio = *v;
    }
    if (!(*ratio >= 0 && *ratio < 1)) return onnx_fail(c, "its ratio is %g", *ratio);
    if (c->version < 12 || !onnx_has(c, 2)) return true;
    if (!(v = onnx_reals(c, 2, &n))) return false;
    if (n != 1) return onnx_fail(c, "training_mode is %zu numbers", n);
    *trains = *v != 0;
    return true;
}

/* 0 for what is dropped, else 1: numbers of the importer's random generator. */
static cr_ref mask_of(onnx_call *c, cr_ref x, double ratio)
{
    cr_tensor t = {.name = onnx_node_name(c->node), .type = CR_TYPE_U8, .rank = cr_rank(c->g, x)};
    uint8_t *kept = onnx_alloc(c, onnx_count(c->g, x) + 1);
    if (!kept) return CR_NONE;
    onnx_shape(c->g, x, t.dim);
    t.count = onnx_count(c->g, x);
    t.data = kept;
    for (size_t i = 0; i < t.count; i++) kept[i] = random_unit(&c->im->random) >= ratio;
    return onnx_constant(c, &t);
}

/* The identity: in inference by definition, and in training because a gradient without noise is wanted; that is said.
 * Asked to drop, what is left is scaled up, so that the mean stays. */
static bool build_dropout(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_in(c, 0);
    double ratio;
    bool trains;
    if (!valid(g, x) || !ratio_of(c, &ratio, &trains)) return false;
    cr_type type = c->version < 10 ? c->in[0]->type : CR_TYPE_BOOL;
    if (!c->im->drops || ratio == 0) {
        if (trains && ratio > 0 && !onnx_note(c, "dropout \"%s\" is the identity", onnx_node_name(c->node)))
            return false;
        return onnx_out_like(c, x) && onnx_out(c, 1, onnx_like(g, 1, x), type);
    }
    cr_ref kept = mask_of(c, x, ratio);
    if (!valid(g, kept)) return false;
    cr_ref some = cr_map2(g, CR_OP_NE, kept, onnx_like(g, 0, kept)), zero = onnx_like(g, 0, x);
    /* Selected, not multiplied: an infinity that is dropped is gone. */
    return onnx_out_like(c, onnx_times(g, cr_select(g, some, x, zero), 1 / (1 - ratio))) && onnx_out(c, 1, kept, type);
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

const onnx_op onnx_ops_loss[] = {
    OP("Dropout", build_dropout),
    OP("NegativeLogLikelihoodLoss", build_nll),
    OP("Shrink", build_shrink),
    OP("SoftmaxCrossEntropyLoss", build_cross_entropy),
    OP(NULL, NULL),
};
