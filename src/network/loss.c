#include "network/loss.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
    [CR_LOSS_AUTO] = "auto", [CR_LOSS_CE] = "ce", [CR_LOSS_MSE] = "mse",
    [CR_LOSS_BCE] = "bce",   [CR_LOSS_L1] = "l1", [CR_LOSS_NONE] = "none",
};
const char *net_loss_name(cr_loss kind) { return names[kind]; }

typedef struct maker {
    network *n;
    cr_graph *g;
    const net_loss_options *o;
    unsigned rank; /* of the label as it is used: without an axis of 1 that stands where the classes are */
    int64_t dim[CR_MAX_RANK];
    net_loss *loss;
    error *e;
} maker;

static bool fail(maker *m, cr_status status, const char *fmt, ...) CR_PRINTF(3, 4);
static bool fail(maker *m, cr_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(m->e, status, fmt, ap);
    va_end(ap);
    return false;
}

static int64_t size(cr_graph *g, cr_ref a, unsigned axis)
{
    int64_t v = 0;
    cr_dim_value(g, cr_size(g, a, axis), &v);
    return v;
}

/* ---- how a network ends ------------------------------------------------------------------------- */

static bool is_ending(cr_op op) { return op == CR_OP_SOFTMAX || op == CR_OP_LOGSOFTMAX || op == CR_OP_SIGMOID; }

/* The ending behind what does not change what it says: a reshape (before version 13, softmax is one on a matrix),
 * bounds that keep a probability from 0, and the logarithm of a softmax. a itself if there is none. */
static cr_ref ending_of(cr_graph *g, cr_ref a)
{
    cr_op op = op_of(g, a);
    if (op == CR_OP_LOG) {
        cr_ref inner = ending_of(g, in_of(g, a, 0));
        return op_of(g, inner) == CR_OP_SOFTMAX ? inner : a;
    }
    unsigned n = op == CR_OP_FENCE || op == CR_OP_RESHAPE ? 1 : op == CR_OP_MAX2 || op == CR_OP_MIN2 ? 2 : 0;
    for (unsigned i = 0; i < n; i++) {
        cr_ref inner = ending_of(g, in_of(g, a, i));
        if (is_ending(op_of(g, inner))) return inner;
    }
    return a;
}

cr_loss net_loss_ending(cr_graph *g, cr_ref output)
{
    cr_op op = op_of(g, ending_of(g, output));
    return op == CR_OP_SIGMOID ? CR_LOSS_BCE : is_ending(op) ? CR_LOSS_CE : CR_LOSS_AUTO;
}

/* What `ending` is applied to, in the shape of a; CR_NONE: a does not end so. */
static cr_ref undone(cr_graph *g, cr_ref a, cr_op ending)
{
    cr_ref e = ending_of(g, a);
    if (op_of(g, e) != ending) return CR_NONE;
    const cr_shape *s = shape_of(g, a);
    return same_shape(g, e, a) ? in_of(g, e, 0) : cr_reshape(g, in_of(g, e, 0), s->rank, s->dim);
}

static bool is_whole(cr_type t) { return t >= CR_TYPE_I8 && t < CR_TYPE_BOOL; }

/* Labels that are classes: whole numbers, of a shape that lacks one axis of y. */
static bool are_classes(const maker *m, cr_ref y)
{
    return m->o->label && is_whole(m->o->label->type) && m->rank + 1 == cr_rank(m->g, y);
}

/* The label's shape. Classes may come with an axis of their own, N x 1 beside an output of N x C: it is left out. */
static void take_label(maker *m, cr_ref y)
{
    const cr_tensor *t = m->o->label;
    unsigned rank = cr_rank(m->g, y);
    if (!t) return;
    m->rank = t->rank;
    memcpy(m->dim, t->dim, sizeof m->dim);
    if (t->rank != rank || rank < 2 || m->o->kind == CR_LOSS_MSE || m->o->kind == CR_LOSS_L1 ||
        m->o->kind == CR_LOSS_BCE) {
        return;
    }
    const unsigned axes[2] = {1, rank - 1};
    for (unsigned k = 0; k < 2; k++) {
        bool fits = t->dim[axes[k]] == 1 && size(m->g, y, axes[k]) > 1;
        for (unsigned i = 0; i < rank && fits; i++) fits = i == axes[k] || t->dim[i] == size(m->g, y, i);
        if (!fits) continue;
        memmove(m->dim + axes[k], m->dim + axes[k] + 1, (rank - axes[k] - 1) * sizeof *m->dim);
        m->rank--;
        return;
    }
}

/* What the loss is, and of what: decided by how the network ends, then by the labels. */
static bool choose(maker *m, cr_ref out, const char *name)
{
    static const struct {
        cr_op op;
        cr_loss loss;
        const char *said;
    } ending[] = {
        {CR_OP_SOFTMAX, CR_LOSS_CE, "cross-entropy, from the input of the softmax that `%s` ends in"},
        {CR_OP_LOGSOFTMAX, CR_LOSS_CE, "negative log-likelihood of the log-softmax `%s`"},
        {CR_OP_SIGMOID, CR_LOSS_BCE, "binary cross-entropy, from the input of the sigmoid that `%s` ends in"},
    };
    net_loss *l = m->loss;
    cr_loss kind = m->o->kind;
    l->kind = kind;
    l->y = out;
    for (size_t i = 0; i < sizeof ending / sizeof *ending; i++) {
        cr_ref inner = undone(m->g, out, ending[i].op);
        if (inner == CR_NONE || (kind != CR_LOSS_AUTO && kind != ending[i].loss)) continue;
        l->kind = ending[i].loss;
        l->y = inner;
        snprintf(l->said, sizeof l->said, ending[i].said, name);
        return true;
    }
    if (kind == CR_LOSS_AUTO) {
        size_t n = 1;
        for (unsigned i = 0; i < cr_rank(m->g, out); i++) n *= (size_t)size(m->g, out, i);
        if (n == 1 && !m->o->label) {
            l->kind = CR_LOSS_NONE;
        } else if (are_classes(m, out)) {
            l->kind = CR_LOSS_CE;
        } else if (m->o->label) {
            l->kind = CR_LOSS_MSE;
        } else {
            return fail(m, CR_EVALUE,
                        "no labels: the data have neither `y` nor `label` nor `target`, and `%s` is no "
                        "single number that could be the loss itself",
                        name);
        }
    }
    static const char *const said[] = {
        [CR_LOSS_CE] = "cross-entropy of the logits `%s`",
        [CR_LOSS_MSE] = "mean squared error of `%s`",
        [CR_LOSS_BCE] = "binary cross-entropy of the logits `%s`",
        [CR_LOSS_L1] = "mean absolute error of `%s`",
        [CR_LOSS_NONE] = "the output `%s` itself",
    };
    snprintf(l->said, sizeof l->said, said[l->kind], name);
    return true;
}

/* ---- the losses --------------------------------------------------------------------------------- */

static bool shapes_disagree(maker *m, cr_ref y, const char *what)
{
    strbuf b;
    sb_init(&b);
    data_shape(&b, m->o->label->rank, m->o->label->dim);
    fail(m, CR_ESHAPE, "%s of shape %s do not fit the output of shape %s", what, sb_str(&b), shape_text(m->g, y, 0));
    sb_free(&b);
    return false;
}

static bool label_leaf(maker *m)
{
    cr_tensor t = *m->o->label;
    t.data = NULL;
    m->loss->label = net_add_leaf(m->n, NET_LABEL, &t);
    return m->loss->label != CR_NONE;
}

static bool same_sizes(const maker *m, cr_ref y, int skipped)
{
    unsigned k = 0;
    if (m->rank + (skipped >= 0) != cr_rank(m->g, y)) return false;
    for (unsigned i = 0; i < cr_rank(m->g, y); i++) {
        if ((int)i != skipped && m->dim[k++] != size(m->g, y, i)) return false;
    }
    return true;
}

/* The axis of classes: 1, as PyTorch has it, if the labels fit, else the last. -1: labels fit neither. */
static int class_axis(const maker *m, cr_ref y)
{
    int rank = (int)cr_rank(m->g, y), last = rank - 1;
    if (rank == 1) return m->rank == 0 ? 0 : -1;
    if (same_sizes(m, y, 1)) return 1;
    return same_sizes(m, y, last) ? last : -1;
}

static cr_ref filled(cr_graph *g, double v, cr_ref like)
{
    return cr_full(g, cr_const(g, v), shape_of(g, like)->rank, shape_of(g, like)->dim);
}

/* a, which lacks `axis`, along that axis of y; labels 0..rank-1 are the axes of y */
static cr_ref spread(cr_graph *g, cr_ref a, cr_ref y, int axis)
{
    uint8_t label[CR_MAX_RANK];
    const cr_shape *s = shape_of(g, y);
    unsigned n = 0;
    for (unsigned i = 0; i < s->rank; i++) {
        if ((int)i != axis) label[n++] = (uint8_t)i;
    }
    return cr_einsum(g, 1, &a, label, s->rank, s->dim);
}

/* v, a vector, along one axis of y */
static cr_ref along(cr_graph *g, cr_ref v, cr_ref y, int axis)
{
    const cr_shape *s = shape_of(g, y);
    uint8_t label = (uint8_t)axis;
    return cr_einsum(g, 1, &v, &label, s->rank, s->dim);
}

/* -sum over samples of w[c] log p[c], c the label; by weights: of all samples that count. */
static bool cross_entropy(maker *m, cr_ref out)
{
    cr_graph *g = m->g;
    net_loss *l = m->loss;
    cr_ref y = l->y;
    bool whole = m->o->label && same_sizes(m, y, -1) && cr_rank(g, y) > 0;
    int axis = m->o->label ? class_axis(m, y) : -1;
    cr_ref ending = ending_of(g, out);
    cr_op op = op_of(g, ending);
    if (!m->o->label) return fail(m, CR_EVALUE, "cross-entropy needs labels: `y` or `label` in the data");
    if (op == CR_OP_SOFTMAX || op == CR_OP_LOGSOFTMAX) {
        int own = (int)attr_of(g, ending, 0);
        if (same_shape(g, ending, out) && (whole || same_sizes(m, y, own))) axis = own;
    }
    if (whole && axis < 0) axis = cr_rank(g, y) > 1 ? 1 : 0; /* one-hot, or probabilities */
    if (axis < 0) return shapes_disagree(m, y, "labels");
    if (op == CR_OP_SOFTMAX || op == CR_OP_LOGSOFTMAX) {
        int64_t together = size(g, ending, (unsigned)attr_of(g, ending, 0)), n = size(g, y, (unsigned)axis);
        if (together != n) {
            return fail(m, CR_ESHAPE,
                        "the network ends in a softmax over %" PRId64 " numbers together, and the labels choose among "
                        "%" PRId64 ": no cross-entropy fits (before opset 13, Softmax is over all axes but the first)",
                        together, n);
        }
    }
    if (!label_leaf(m)) return false;
    cr_dim own[CR_MAX_RANK];
    for (unsigned i = 0; i < m->rank; i++) own[i] = cr_dim_const(g, m->dim[i]);
    cr_ref logp = cr_logsoftmax(g, y, (unsigned)axis), hit, label = cr_reshape(g, l->label, m->rank, own);
    cr_dim classes = cr_size(g, y, (unsigned)axis);
    if (whole) {
        if (m->o->ignores) return fail(m, CR_EARG, "ignore_index is for labels that are classes, not probabilities");
        hit = label;
    } else {
        l->classes = size(g, y, (unsigned)axis);
        cr_ref index = cr_add(g, cr_iota(g, classes), cr_const(g, -1));
        cr_ref same = cr_map2(g, CR_OP_EQ, along(g, index, y, axis), spread(g, label, y, axis));
        hit = cr_select(g, same, filled(g, 1, y), filled(g, 0, y));
        if (m->o->ignores) {
            cr_ref skipped = filled(g, (double)m->o->ignore_index, label);
            cr_ref counts =
                cr_select(g, cr_map2(g, CR_OP_EQ, label, skipped), filled(g, 0, skipped), filled(g, 1, skipped));
            hit = cr_mul(g, spread(g, counts, y, axis), hit);
        }
    }
    if (m->o->weight) {
        const cr_tensor *w = m->o->weight;
        if (w->rank != 1 || w->dim[0] != size(g, y, (unsigned)axis)) {
            return fail(m, CR_ESHAPE, "class weights: %" PRId64 " numbers are needed, one for each class",
                        size(g, y, (unsigned)axis));
        }
        cr_ref leaf = net_add_leaf(m->n, NET_CONSTANT, w);
        hit = cr_mul(g, along(g, leaf, y, axis), hit);
    }
    /* Where a probability is 0 and its weight too, the product must not be NaN: choose, do not multiply. */
    cr_ref zero = filled(g, 0, y), taken = cr_map2(g, CR_OP_NE, hit, zero);
    l->sum = cr_neg(g, cr_sum(g, cr_select(g, taken, cr_mul(g, hit, logp), zero)));
    l->weight = whole && !m->o->weight ? CR_NONE : cr_sum(g, hit);
    if (l->weight == CR_NONE) { /* probabilities: by samples */
        double n = 1;
        for (unsigned i = 0; i < cr_rank(g, y); i++) {
            if ((int)i != axis) n *= (double)size(g, y, i);
        }
        l->weight = cr_const(g, n);
    }
    return true;
}

/* Over all entries: the mean of what `each` gives for y and the target. */
static bool elementwise(maker *m)
{
    cr_graph *g = m->g;
    net_loss *l = m->loss;
    const cr_tensor *t = m->o->label;
    if (!t) return fail(m, CR_EVALUE, "%s needs targets: `target`, `y` or `label` in the data", names[l->kind]);
    double n = 1;
    for (unsigned i = 0; i < cr_rank(g, l->y); i++) n *= (double)size(g, l->y, i);
    /* A column of outputs beside a vector of targets is the same thing. */
    size_t count = 1;
    for (unsigned i = 0; i < t->rank; i++) count *= (size_t)t->dim[i];
    bool column = (double)count == n && (t->rank + 1 == cr_rank(g, l->y) || t->rank == cr_rank(g, l->y) + 1) &&
                  (t->rank == 0 || cr_rank(g, l->y) == 0 || t->dim[0] == size(g, l->y, 0));
    if (!same_sizes(m, l->y, -1) && !column) return shapes_disagree(m, l->y, "targets");
    if (m->o->weight || m->o->ignores) return fail(m, CR_EARG, "class weights and ignore_index are for cross-entropy");
    if (!label_leaf(m)) return false;
    cr_ref y = l->y, target = cr_reshape(g, l->label, cr_rank(g, y), shape_of(g, y)->dim);
    cr_ref d = cr_sub(g, y, target);
    cr_ref each = l->kind == CR_LOSS_MSE  ? cr_mul(g, d, d)
                  : l->kind == CR_LOSS_L1 ? cr_map(g, CR_OP_ABS, d)
                                          : cr_sub(g, cr_map(g, CR_OP_SOFTPLUS, y), cr_mul(g, target, y));
    l->sum = cr_sum(g, each);
    l->weight = cr_const(g, n);
    return true;
}

static bool itself(maker *m, const char *name)
{
    cr_graph *g = m->g;
    for (unsigned i = 0; i < cr_rank(g, m->loss->y); i++) {
        if (size(g, m->loss->y, i) != 1) {
            return fail(m, CR_ESHAPE,
                        "`%s` is %s: only a single number can be the loss itself; --loss ce, mse, bce or l1 "
                        "make one of it, or --cotangent",
                        name, shape_text(g, m->loss->y, 0));
        }
    }
    m->loss->sum = cr_sum(g, m->loss->y);
    m->loss->weight = cr_const(g, 1);
    return true;
}

static const net_output *output_of(const network *n, const char *name)
{
    for (size_t i = 0; i < n->n_outputs; i++) {
        if (name ? strcmp(n->output[i].name, name) == 0 : n->output[i].type <= CR_TYPE_BF16) return &n->output[i];
    }
    return NULL;
}

cr_status net_loss_make(network *n, const net_loss_options *o, net_loss *loss, error *e)
{
    maker m = {.n = n, .g = n->g, .o = o, .loss = loss, .e = e};
    *loss = (net_loss){0};
    const net_output *out = output_of(n, o->output);
    if (!out) {
        fail(&m, CR_ENAME, o->output ? "the model has no output `%s`" : "the model has no output of floats", o->output);
        return CR_ENAME;
    }
    take_label(&m, out->ref);
    bool ok = choose(&m, out->ref, out->name);
    if (ok) {
        switch (loss->kind) {
        case CR_LOSS_CE:
            ok = cross_entropy(&m, out->ref);
            break;
        case CR_LOSS_NONE:
            ok = itself(&m, out->name);
            break;
        default:
            ok = elementwise(&m);
        }
    }
    if (ok && cr_graph_status(n->g) == CR_OK) return CR_OK;
    err_set(e, cr_graph_status(n->g), "%s", cr_graph_message(n->g));
    return e->status;
}

cr_status net_loss_check(const net_loss *loss, const net_loss_options *o, error *e)
{
    const cr_tensor *t = o->label;
    bool binary = loss->kind == CR_LOSS_BCE;
    double top = binary ? 1 : (double)loss->classes - 1;
    if (!t || !t->data || (!binary && loss->classes == 0)) return CR_OK;
    for (size_t i = 0; i < t->count; i++) {
        double v;
        data_to_f64(t->type, (const char *)t->data + i * cr_type_size(t->type), 1, &v);
        if (o->ignores && v == (double)o->ignore_index) continue;
        if (v >= 0 && v <= top && (binary || v == floor(v))) continue;
        if (isnan(v)) v = NAN; /* without a sign */
        if (binary)
            err_set(e, CR_EVALUE, "target %g (number %zu) is not from 0 to 1, as in a binary cross-entropy", v, i + 1);
        else
            err_set(e, CR_EVALUE,
                    "label %g (number %zu) is no class: the network has %" PRId64 " of them, 0 to %" PRId64, v, i + 1,
                    loss->classes, loss->classes - 1);
        return CR_EVALUE;
    }
    return CR_OK;
}
