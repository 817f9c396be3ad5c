/* Forward through the steps of a block goes what the theory knows of a tensor: mean and mean of squares over units and
 * weights, the variance over the samples of the batch, and the product of two inputs' tensors. Back goes the squared
 * cotangent: along an edge it is multiplied, where edges meet it adds up, because contributions through independent
 * random weights are orthogonal. So a tensor carries the set of the matrices that its parts came through last; what
 * meets, forward or backward, must have none in common.
 *
 * The band: a product with n normal columns leaves |W' u|^2 with a relative variance of 2/n; slopes leave
 * (3 E phi'^4 / (E phi'^2)^2 - 3)/n more for normal cotangents: together 5/n for ReLU, as in E[v^2]/E[v]^2 =
 * (1 + 5/n)^L. Two orthogonal contributions u, v add 4 u^2 v^2 / n. */
#include "flow/predict.h"

#include "graph/window.h"

#include <math.h>

/* Forward. */
typedef struct state {
    double mean, square;
    double spread; /* variance of a unit over the samples, in the mean; NaN: unknown */
    double cross;  /* mean product of the tensors of two inputs; NaN: unknown */
    bool known, normal;
    uint64_t through;
} state;

/* Backward: a squared cotangent, its relative variance, the product of those of two inputs. */
typedef struct back {
    double square, variance, cross;
    uint64_t through;
} back;

/* What a step does to a cotangent. */
typedef struct transfer {
    double square, variance, cross;
    uint64_t matrix; /* 0: none */
} transfer;

typedef struct predictor {
    const flow *f;
    const flow_measured *m;
    const flow_weights *w;
    state *state;
    back *back;
    transfer *transfer; /* by step */
    flow_prediction *p; /* of the block at hand */
    unsigned matrices, activations, others;
} predictor;

static const char *const branches = "two of its branches meet without weights of their own";

static bool fails(predictor *s, size_t step, const char *why)
{
    s->p->why = why;
    s->p->at = step;
    return false;
}

static const net_node *node_of(const flow *f, size_t step) { return &f->n->node[f->step[step].node]; }
static bool is(const flow *f, size_t step, const char *op) { return strcmp(node_of(f, step)->op, op) == 0; }
static size_t in_tensor(const flow *f, size_t step) { return f->edge[f->step[step].first_edge].tensor; }
static size_t out_tensor(const flow *f, size_t step) { return f->out[f->step[step].first_out]; }

static double size_of(const flow *f, size_t t, unsigned axis)
{
    int64_t d = 1;
    cr_ref r = f->tensor[t].ref;
    if (axis < cr_rank(f->n->g, r)) cr_dim_value(f->n->g, cr_size(f->n->g, r, axis), &d);
    return (double)d;
}

/* How many units a tensor has: channels of a picture, else the last axis. */
static double width_of(const flow *f, size_t t)
{
    unsigned rank = cr_rank(f->n->g, f->tensor[t].ref);
    return size_of(f, t, rank > 2 ? (rank > 3 ? 1 : 2) : rank ? rank - 1 : 0);
}

static double variance_of(const flow_weight *w) { return fmax(0, w->square - w->mean * w->mean); }

/* ---- steps: forward, and what they do to cotangents ----------------------------------------------- */

static void add_bias(predictor *s, const flow_weight *b, state *x)
{
    if (!b) return;
    s->p->sb2 = variance_of(b);
    x->square += b->square + 2 * b->mean * x->mean;
    x->cross += b->square + 2 * b->mean * x->mean;
    x->mean += b->mean;
}

static const flow_weight *bias_of(const predictor *s, size_t step)
{
    const net_node *node = node_of(s->f, step);
    for (size_t k = 0; k < node->n_operands; k++) {
        size_t leaf = flow_parameter_of(s->w, s->f->n, node, k);
        if (leaf != FLOW_NONE && !s->w->at[leaf].matrix) return &s->w->at[leaf];
    }
    return NULL;
}

/* With zeros around, some taps of a convolution meet nothing: the share that meets something. */
static double kept_by_padding(const flow *f, size_t step)
{
    cr_graph *g = f->n->g;
    cr_ref r = f->tensor[out_tensor(f, step)].ref;
    for (int i = 0; i < 4 && op_of(g, r) != CR_OP_CONV && node(g, r)->n_in > 0; i++) {
        cr_ref next = in_of(g, r, 0);
        for (uint32_t k = 0; k < node(g, r)->n_in; k++) {
            if (op_of(g, in_of(g, r, k)) == CR_OP_CONV) next = in_of(g, r, k);
        }
        r = next;
    }
    cr_window w;
    cr_ref slot[3];
    double kept = 1;
    if (op_of(g, r) != CR_OP_CONV) return 1;
    window_read(g, r, &w);
    window_slots(g, r, slot);
    for (unsigned i = 0; i < w.axes; i++) {
        int64_t stride = 1, dilation = 1, low = 0, size = 0, positions = 0, taps = 0, met = 0, all;
        cr_dim_value(g, w.stride[i], &stride);
        cr_dim_value(g, w.dilation[i], &dilation);
        cr_dim_value(g, w.low[i], &low);
        cr_dim_value(g, window_extent(g, &w, slot, SLOT_X, i), &size);
        cr_dim_value(g, window_extent(g, &w, slot, SLOT_W, i), &taps);
        cr_dim_value(g, window_extent(g, &w, slot, SLOT_Y, i), &positions);
        all = positions * taps;
        for (int64_t p = 0; p < positions; p++) {
            for (int64_t t = 0; t < taps; t++) {
                int64_t at = stride * p + dilation * t - low;
                met += at >= 0 && at < size;
            }
        }
        kept *= all > 0 ? (double)met / (double)all : 1;
    }
    return kept;
}

static bool through_matrix(predictor *s, size_t step, state *x, transfer *t)
{
    const flow *f = s->f;
    const net_node *node = node_of(f, step);
    const flow_weight *w = NULL;
    if (!is(f, step, "Gemm") && !is(f, step, "MatMul") && !is(f, step, "Conv"))
        return fails(s, step, "theory knows products with one matrix, and convolutions");
    for (size_t k = 0; k < node->n_operands; k++) {
        size_t leaf = flow_parameter_of(s->w, f->n, node, k);
        if (leaf == FLOW_NONE || !s->w->at[leaf].matrix) continue;
        if (w) return fails(s, step, "two matrices at once");
        w = &s->w->at[leaf];
    }
    if (!w || !(w->fan_in > 0)) return fails(s, step, "its weights are not a parameter as it stands in the file");
    if (s->matrices > 60) return fails(s, step, "too many matrices in one block");
    double v = variance_of(w), sw2 = w->fan_in * v * kept_by_padding(f, step);
    double off = w->mean * w->mean / v; /* more than sampling, and enough to matter */
    if (off * (double)w->count > 24 && off * w->fan_in > 0.1) return fails(s, step, "its weights have a mean");
    s->p->sw2 = sw2;
    uint64_t matrix = (uint64_t)2 << s->matrices;
    *t = (transfer){sw2, w->law == FLOW_LAW_ORTHOGONAL ? 0 : 2 / width_of(f, in_tensor(f, step)), sw2, matrix};
    *x = (state){0, sw2 * x->square, sw2 * x->spread, sw2 * x->cross, true, true, matrix};
    add_bias(s, bias_of(s, step), x);
    s->matrices++;
    return true;
}

static bool through_batch_norm(predictor *s, size_t step, state *x, transfer *t)
{
    const flow *f = s->f;
    const net_node *node = node_of(f, step);
    size_t scale = flow_parameter_of(s->w, f->n, node, 1), shift = flow_parameter_of(s->w, f->n, node, 2);
    bool stored = false;
    for (size_t k = 3; k < node->n_operands; k++) { /* what is read has a gradient; running statistics have none */
        size_t leaf = flow_parameter_of(s->w, f->n, node, k);
        stored |= leaf != FLOW_NONE && !isnan(s->m->leaf[leaf].ln_gradient);
    }
    if (scale == FLOW_NONE || shift == FLOW_NONE) return fails(s, step, "its scale is not a parameter");
    if (stored) return fails(s, step, "it divides by stored statistics");
    if (!(x->spread > 0) || !x->normal)
        return fails(s, step, "the variance over the batch is not known from theory at its input");
    const flow_weight *g = &s->w->at[scale], *b = &s->w->at[shift];
    double gain = g->square / x->spread;
    *t = (transfer){gain, 0, NAN, 0};
    *x = (state){b->mean, g->square + b->square, g->square + variance_of(b), NAN, true, true, x->through};
    return true;
}

static bool through_layer_norm(predictor *s, size_t step, state *x, transfer *t)
{
    const flow *f = s->f;
    const net_node *node = node_of(f, step);
    size_t scale = flow_parameter_of(s->w, f->n, node, 1), shift = flow_parameter_of(s->w, f->n, node, 2);
    bool centred = is(f, step, "LayerNormalization");
    double g2 = scale == FLOW_NONE ? 1 : s->w->at[scale].square, variance = x->square - centred * x->mean * x->mean;
    if (node->n_operands > 1 && scale == FLOW_NONE) return fails(s, step, "its scale is not a parameter");
    if (!x->normal) return fails(s, step, "what it normalises is not a sum of many terms");
    double by = g2 / variance;
    *t = (transfer){by, 0, by, 0};
    double cross = centred ? x->cross - x->mean * x->mean : x->cross, mean = centred ? 0 : x->mean * sqrt(by);
    *x = (state){mean, g2, NAN, by * cross, true, true, x->through};
    if (shift != FLOW_NONE) {
        x->square += s->w->at[shift].square;
        x->cross += s->w->at[shift].square;
        x->mean += s->w->at[shift].mean;
    }
    return true;
}

static bool keeps_entries(const flow *f, size_t step)
{
    static const char *const ops[] = {"Flatten", "Reshape", "Transpose", "Identity", "Squeeze", "Unsqueeze", "Cast"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (is(f, step, ops[i])) return true;
    }
    return false;
}

/* z -> shift + factor z */
static void through_line(state *x, transfer *t, double shift, double factor)
{
    double f2 = factor * factor, more = shift * shift + 2 * shift * factor * x->mean;
    *t = (transfer){f2, 0, f2, 0};
    x->mean = shift + factor * x->mean;
    x->square = f2 * x->square + more;
    x->spread *= f2;
    x->cross = f2 * x->cross + more;
}

/* A parameter that is one number. */
static const flow_weight *number_of(const predictor *s, size_t step)
{
    const net_node *node = node_of(s->f, step);
    for (size_t k = 0; k < node->n_operands; k++) {
        size_t leaf = flow_parameter_of(s->w, s->f->n, node, k);
        if (leaf != FLOW_NONE && s->w->at[leaf].count == 1) return &s->w->at[leaf];
    }
    return NULL;
}

static bool through_function(predictor *s, size_t step, state *x, transfer *t)
{
    const flow *f = s->f;
    flow_scalar phi;
    double shift, factor;
    if (!flow_scalar_read(f->n->g, f->tensor[out_tensor(f, step)].ref, f->tensor[in_tensor(f, step)].ref, &phi))
        return fails(s, step, "there is no mean-field theory of it");
    if (flow_scalar_linear(&phi, &shift, &factor)) {
        through_line(x, t, shift, factor);
        return true;
    }
    if (!x->normal) return fails(s, step, "what it is applied to is not a sum of many terms");
    double variance = x->square - x->mean * x->mean, product = NAN, slopes = NAN;
    mean_field m = mean_field_at(&phi, x->mean, variance);
    if (!(m.slope2 > 0)) return fails(s, step, "its slope is 0 in the mean");
    if (!isnan(x->cross)) mean_field_pair(&phi, x->mean, variance, x->cross - x->mean * x->mean, &product, &slopes);
    s->p->length = variance;
    s->p->activation = step;
    s->activations++;
    *t = (transfer){m.slope2, 3 * (m.slope4 / (m.slope2 * m.slope2) - 1) / width_of(f, in_tensor(f, step)), slopes,
                    0};
    /* Behind a batch norm, what a unit does over the batch is what the units do. */
    bool batch = x->spread > 0 && fabs(x->spread - variance) <= 1e-9 * variance;
    *x = (state){m.mean, m.square, batch ? m.square - m.mean * m.mean : NAN, product, true, false, x->through};
    return true;
}

static bool has_mean(const state *a) { return !a->normal && a->mean * a->mean > 0.1 * a->square; }

static bool through_sum(predictor *s, size_t step, const state *a, const state *b, state *out, transfer *t)
{
    if (node_of(s->f, step)->n_operands != 2) return fails(s, step, "there is no mean-field theory of it");
    if (a->through & b->through) return fails(s, step, branches);
    /* x + relu(W x): all units grow along one direction, which the slopes then depend on. */
    if (has_mean(a) || has_mean(b))
        return fails(s, step, "a branch that ends in an activation with a mean makes the stream drift");
    *out = (state){a->mean + b->mean,
                   a->square + b->square + 2 * a->mean * b->mean,
                   a->spread + b->spread,
                   a->cross + b->cross + 2 * a->mean * b->mean,
                   true,
                   a->normal && b->normal,
                   a->through | b->through};
    *t = (transfer){1, 0, 1, 0};
    return true;
}

static bool forward_step(predictor *s, size_t step)
{
    const flow *f = s->f;
    const flow_step *st = &f->step[step];
    transfer *t = &s->transfer[step];
    if (st->n_out != 1) return fails(s, step, "there is no mean-field theory of it");
    size_t in = in_tensor(f, step), out = out_tensor(f, step);
    state x = s->state[in];
    if (!x.known) return fails(s, step, "what it reads is not known to theory");
    bool ok = true, add = is(f, step, "Add");
    if (st->n_edges == 2 && add) {
        const state *b = &s->state[f->edge[st->first_edge + 1].tensor];
        if (!b->known) return fails(s, step, "what it reads is not known to theory");
        s->others++;
        ok = through_sum(s, step, &s->state[in], b, &x, t);
    } else if (st->n_edges != 1) {
        ok = fails(s, step, "there is no mean-field theory of it");
    } else if (st->affine && !is(f, step, "Mul")) {
        ok = through_matrix(s, step, &x, t);
    } else if (is(f, step, "BatchNormalization")) {
        s->others++;
        ok = through_batch_norm(s, step, &x, t);
    } else if (is(f, step, "LayerNormalization") || is(f, step, "RMSNormalization")) {
        s->others++;
        ok = through_layer_norm(s, step, &x, t);
    } else if (keeps_entries(f, step)) {
        *t = (transfer){1, 0, 1, 0};
    } else if (add && bias_of(s, step) && x.normal) {
        add_bias(s, bias_of(s, step), &x);
        *t = (transfer){1, 0, 1, 0};
    } else if (is(f, step, "Mul") && number_of(s, step)) {
        through_line(&x, t, 0, number_of(s, step)->mean);
    } else {
        ok = through_function(s, step, &x, t);
    }
    s->state[out] = x;
    return ok;
}

/* ---- blocks -------------------------------------------------------------------------------------- */

static bool backward(predictor *s, const flow_block *b)
{
    const flow *f = s->f;
    for (size_t i = b->first_step; i < b->first_step + b->n_steps; i++) s->back[out_tensor(f, i)] = (back){0};
    s->back[b->in] = (back){0};
    s->back[b->out] = (back){1, 0, 1, 1};
    for (size_t i = b->first_step + b->n_steps; i-- > b->first_step;) {
        const flow_step *st = &f->step[i];
        const back *from = &s->back[out_tensor(f, i)];
        const transfer *t = &s->transfer[i];
        for (size_t j = st->first_edge; j < st->first_edge + st->n_edges; j++) {
            back *to = &s->back[f->edge[j].tensor];
            double v = from->square * t->square, total = to->square + v, n = width_of(f, f->edge[j].tensor);
            if (!(total > 0)) continue;
            double own = from->variance + t->variance;
            to->variance =
                (to->variance * to->square * to->square + own * v * v + 4 * to->square * v / n) / (total * total);
            to->square = total;
            to->cross += from->cross * t->cross;
            uint64_t through = t->matrix ? t->matrix : from->through;
            if (to->through & through) return fails(s, i, branches);
            to->through |= through;
        }
    }
    return true;
}

static bool predict_block(predictor *s, size_t i)
{
    const flow *f = s->f;
    const flow_block *b = &f->block[i];
    s->matrices = s->activations = s->others = 0;
    if (b->in == FLOW_NONE) return fails(s, b->first_step, "the signal has several sources");
    for (size_t k = b->first_step; k < b->first_step + b->n_steps; k++) {
        if (!forward_step(s, k)) return false;
    }
    if (!backward(s, b)) return false;
    const back *g = &s->back[b->in];
    flow_prediction *p = s->p;
    if (s->matrices == 0) return fails(s, b->first_step, "there are no random weights in it");
    if (!(g->square > 0)) return fails(s, b->first_step, "its weights are 0");
    if (isnan(p->length)) p->length = s->state[b->out].square - pow(s->state[b->out].mean, 2);
    p->chi = g->square;
    p->cosine = g->cross / g->square;
    /* A log-normal variable of this mean and variance: ln |g|^2 has its mean lower, by half its variance. */
    double spread = log1p(g->variance), middle = 0.5 * (log(g->square) - 0.5 * spread);
    p->ln_gain = 0.5 * log(g->square);
    p->low = middle - 0.98 * sqrt(spread);
    p->high = middle + 0.98 * sqrt(spread);
    p->plain = s->matrices == 1 && s->activations == 1 && s->others == 0;
    return true;
}

/* What a block begins with where theory does not lead up to it: what was measured. */
static state measured(const predictor *s, size_t t, double cosine)
{
    const flow_at_tensor *a = &s->m->tensor[t];
    bool known = isfinite(a->square) && isfinite(a->mean);
    return (state){a->mean, a->square, a->square - a->mean * a->mean, cosine * a->square, known, false, 1};
}

cr_status flow_predict(const flow *f, const flow_measured *m, const flow_weights *w, double cosine,
                       flow_prediction *out, error *e)
{
    predictor s = {.f = f, .m = m, .w = w};
    s.state = mem_zalloc(f->n_tensors + 1, sizeof *s.state);
    s.back = mem_zalloc(f->n_tensors + 1, sizeof *s.back);
    s.transfer = mem_zalloc(f->n_steps + 1, sizeof *s.transfer);
    bool ok = s.state && s.back && s.transfer;
    if (!ok) err_set(e, CR_ENOMEM, "out of memory");
    for (size_t i = 0; i < f->n_blocks && ok; i++) {
        size_t in = f->block[i].in;
        s.p = &out[i];
        *s.p = (flow_prediction){NAN, NAN, NAN, NAN, 0, NAN, NAN, FLOW_NONE, false, NAN, NULL, FLOW_NONE};
        if (in != FLOW_NONE) s.state[in].through = 1;
        if (in != FLOW_NONE && !s.state[in].known) s.state[in] = measured(&s, in, i == 0 ? cosine : NAN);
        if (!predict_block(&s, i)) s.state[f->block[i].out].known = false;
    }
    mem_free(s.state);
    mem_free(s.back);
    mem_free(s.transfer);
    return ok ? CR_OK : CR_ENOMEM;
}

/* ---- layers of one kind -------------------------------------------------------------------------- */

bool flow_predict_scales(const flow *f, const flow_prediction *p, mean_field_scales *s, flow_prediction *typical)
{
    size_t best = FLOW_NONE, most = 0;
    for (size_t i = 0; i < f->n_blocks && i < 256; i++) { /* the kinds show in the first layers */
        size_t same = 0;
        for (size_t k = 0; p[i].plain && k < f->n_blocks; k++) {
            same += p[k].plain && strcmp(node_of(f, p[k].activation)->op, node_of(f, p[i].activation)->op) == 0;
        }
        if (same > most) {
            most = same;
            best = i;
        }
    }
    flow_scalar phi;
    if (best == FLOW_NONE) return false;
    size_t act = p[best].activation;
    if (!flow_scalar_read(f->n->g, f->tensor[out_tensor(f, act)].ref, f->tensor[in_tensor(f, act)].ref, &phi))
        return false;
    double sw2 = 0, sb2 = 0;
    for (size_t k = 0; k < f->n_blocks; k++) {
        if (!p[k].plain || strcmp(node_of(f, p[k].activation)->op, node_of(f, act)->op) != 0) continue;
        sw2 += log(p[k].sw2) / (double)most;
        sb2 += p[k].sb2 / (double)most;
    }
    *typical = p[best];
    typical->sw2 = exp(sw2);
    typical->sb2 = sb2;
    *s = mean_field_scales_of(&phi, typical->sw2, typical->sb2);
    return true;
}

size_t flow_critical_line(const flow *f, size_t activation, double (*pair)[2])
{
    flow_scalar phi;
    size_t n = 0;
    if (!flow_scalar_read(f->n->g, f->tensor[out_tensor(f, activation)].ref, f->tensor[in_tensor(f, activation)].ref,
                          &phi))
        return 0;
    for (int i = 0; i < FLOW_CRITICAL_POINTS; i++) {
        double q = pow(10, -4 + 5.0 * i / (FLOW_CRITICAL_POINTS - 1)), sw2, sb2;
        if (!mean_field_critical(&phi, q, &sw2, &sb2)) continue;
        if (n > 0 && sb2 <= pair[n - 1][0]) continue; /* ReLU: one point */
        pair[n][0] = sb2;
        pair[n++][1] = sw2;
    }
    return n;
}
