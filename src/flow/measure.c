#include "flow/measure.h"

#include "calculus/walk.h"

#include <math.h>
#include <string.h>

/* What is asked for: scalars of the plan, each once. */
typedef struct wants {
    cr_graph *g;
    cr_ref *ref;
    size_t n, cap;
    bool ok;
} wants;

static size_t want(wants *w, cr_ref r)
{
    if (r == CR_NONE || !w->ok) return FLOW_NONE;
    if (!VEC_RESERVE(w->ref, w->cap, w->n + 1)) {
        w->ok = false;
        return FLOW_NONE;
    }
    w->ref[w->n++] = r;
    return w->n - 1;
}

static cr_ref squares(cr_graph *g, cr_ref a) { return cr_sum(g, cr_mul(g, a, a)); }

/* The same for each sample, where the first axis counts them: the total is their sum. */
static cr_ref squares_by_sample(const flow *f, cr_ref a)
{
    cr_graph *g = f->n->g;
    unsigned rank = cr_rank(g, a);
    int64_t n = 0;
    uint8_t label[2 * CR_MAX_RANK];
    if (rank < 1 || !cr_dim_value(g, cr_size(g, a, 0), &n) || n < 2 || (size_t)n != f->samples) return squares(g, a);
    for (unsigned i = 0; i < 2 * rank; i++) label[i] = (uint8_t)(i % rank == 0 ? 0 : CR_MAX_RANK + i % rank);
    cr_dim size = cr_size(g, a, 0);
    return cr_einsum(g, 2, (cr_ref[]){a, a}, label, 1, &size);
}

static double entries(cr_graph *g, cr_ref a)
{
    double n = 1;
    for (unsigned i = 0; i < cr_rank(g, a); i++) {
        int64_t d = 0;
        cr_dim_value(g, cr_size(g, a, i), &d);
        n *= (double)d;
    }
    return n;
}

static cr_ref filled(cr_graph *g, double v, cr_ref like)
{
    return cr_full(g, cr_const(g, v), shape_of(g, like)->rank, shape_of(g, like)->dim);
}

/* ---- slopes -------------------------------------------------------------------------------------- */

typedef struct slope_wants {
    size_t square, saturated, dead;
} slope_wants;

/* Share of units whose slope is 0 everywhere: units are the channels of a picture, else the last axis. */
static cr_ref dead_units(cr_graph *g, cr_ref slope)
{
    unsigned rank = cr_rank(g, slope), unit = rank > 3 ? 1 : rank - 1;
    uint8_t label[CR_MAX_RANK];
    if (rank < 2) return CR_NONE;
    for (unsigned i = 0; i < rank; i++) label[i] = (uint8_t)(i == unit ? 0 : CR_MAX_RANK + i);
    cr_dim units = cr_size(g, slope, unit);
    cr_ref size = cr_map(g, CR_OP_ABS, slope), per = cr_einsum(g, 1, &size, label, 1, &units);
    cr_ref none = cr_map2(g, CR_OP_EQ, per, filled(g, 0, per));
    return cr_mean(g, cr_select(g, none, filled(g, 1, per), filled(g, 0, per)));
}

static slope_wants want_slopes(wants *w, const flow *f, const flow_step *st)
{
    slope_wants s = {FLOW_NONE, FLOW_NONE, FLOW_NONE};
    cr_graph *g = w->g;
    if (st->op->factor != FLOW_SLOPE || st->n_edges != 1 || st->n_out != 1) return s;
    cr_ref in = f->tensor[f->edge[st->first_edge].tensor].ref, out = f->tensor[f->out[st->first_out]].ref,
           slope = CR_NONE;
    if (!same_shape(g, in, out) || calc_reverse_local(g, out, filled(g, 1, out), 1, &in, &slope) != CR_OK) return s;
    if (slope == CR_NONE) return s;
    s.square = want(w, cr_mean(g, cr_mul(g, slope, slope)));
    if (st->op->slope > 0) {
        cr_ref flat = cr_map2(g, CR_OP_LT, cr_map(g, CR_OP_ABS, slope), filled(g, 0.1 * st->op->slope, slope));
        s.saturated = want(w, cr_mean(g, cr_select(g, flat, filled(g, 1, slope), filled(g, 0, slope))));
    }
    if (st->op->relu_like) s.dead = want(w, dead_units(g, slope));
    return s;
}

/* ---- running ------------------------------------------------------------------------------------- */

typedef struct layout {
    size_t *norm, *hg, *mean, *square, *edge, *gradient, *weight, *dot, *at, *scale, *sum, loss, loss_weight, of_y;
    slope_wants *slope;
} layout;

static bool layout_init(layout *l, const flow_backward *b)
{
    const flow *f = b->f;
    size_t **list[] = {&l->norm,     &l->hg,     &l->mean, &l->square, &l->edge,
                       &l->gradient, &l->weight, &l->dot,  &l->at,     &l->scale, &l->sum};
    size_t n[] = {f->n_tensors,   f->n_tensors,   f->n_tensors,   f->n_tensors,   f->n_edges,
                  f->n->n_leaves, f->n->n_leaves, f->n->n_leaves, f->n->n_leaves, b->n_scales, b->n_sums};
    bool ok = true;
    *l = (layout){0};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        *list[i] = mem_alloc((n[i] + 1) * sizeof **list[i]);
        ok = ok && *list[i];
        for (size_t k = 0; *list[i] && k <= n[i]; k++) (*list[i])[k] = FLOW_NONE;
    }
    l->slope = mem_zalloc(f->n_steps + 1, sizeof *l->slope);
    return ok && l->slope;
}

static void layout_free(layout *l)
{
    size_t *list[] = {l->norm, l->hg, l->mean, l->square, l->edge, l->gradient, l->weight, l->dot, l->at,
                      l->scale, l->sum};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) mem_free(list[i]);
    mem_free(l->slope);
}

static void ask(wants *w, layout *l, const flow_backward *b, const net_loss *loss)
{
    const flow *f = b->f;
    cr_graph *g = w->g;
    for (size_t t = 0; t < f->n_tensors; t++) {
        cr_ref h = f->tensor[t].ref, bar = b->tensor[t].ref;
        if (bar != CR_NONE) l->norm[t] = want(w, squares(g, bar));
        if (!f->tensor[t].boundary) continue;
        if (bar != CR_NONE) l->hg[t] = want(w, squares_by_sample(f, cr_mul(g, h, bar)));
        l->mean[t] = want(w, cr_mean(g, h));
        l->square[t] = want(w, cr_mean(g, cr_mul(g, h, h)));
    }
    for (size_t i = 0; i < f->n_edges; i++) {
        if (f->tensor[f->edge[i].tensor].readers > 1 && b->edge[i].ref != CR_NONE)
            l->edge[i] = want(w, squares(g, b->edge[i].ref));
    }
    for (size_t i = 0; i < f->n_steps; i++) l->slope[i] = want_slopes(w, f, &f->step[i]);
    for (size_t i = 0; i < f->n->n_leaves; i++) {
        cr_ref bar = b->leaf[i].ref, weight = f->n->leaf[i].ref;
        if (bar == CR_NONE) continue;
        l->gradient[i] = want(w, squares(g, bar));
        l->weight[i] = want(w, squares(g, weight));
        l->dot[i] = want(w, cr_sum(g, cr_mul(g, weight, bar)));
        l->at[i] = want(w, b->leaf[i].at);
    }
    for (size_t i = 0; i < b->n_scales; i++) l->scale[i] = want(w, b->scale[i]);
    for (size_t i = 0; i < b->n_sums; i++) l->sum[i] = want(w, b->sum[i]);
    l->of_y = want(w, squares_by_sample(f, b->tensor[f->y].ref));
    l->loss = want(w, loss->sum);
    l->loss_weight = want(w, loss->weight);
}

typedef struct values {
    const net_runner *r;
    size_t nonfinite;
} values;

static double value(values *v, size_t i)
{
    double x;
    if (i == FLOW_NONE) return NAN;
    data_to_f64(net_runner_type(v->r), net_runner_result(v->r, (unsigned)i), 1, &x);
    v->nonfinite += !isfinite(x);
    return x;
}

static double total(values *v, size_t i)
{
    size_t n = i == FLOW_NONE ? 1 : net_runner_count(v->r, (unsigned)i);
    if (n == 1) return value(v, i);
    cr_type type = net_runner_type(v->r);
    const char *at = net_runner_result(v->r, (unsigned)i);
    double sum = 0;
    for (size_t k = 0; k < n; k++) {
        double x;
        data_to_f64(type, at + k * cr_type_size(type), 1, &x);
        sum += x;
    }
    v->nonfinite += !isfinite(sum);
    return sum;
}

/* Lambda is half the logarithm of a ratio of two sums over samples, a and b. To first order its error is that of the
 * mean of a/sum(a) - b/sum(b); the jackknife's, too. */
static double sampling_error(const values *v, size_t i, size_t k)
{
    if (i == FLOW_NONE || k == FLOW_NONE) return NAN;
    size_t n = net_runner_count(v->r, (unsigned)i), size = cr_type_size(net_runner_type(v->r));
    if (n < 2 || n != net_runner_count(v->r, (unsigned)k)) return NAN;
    const char *a = net_runner_result(v->r, (unsigned)i), *b = net_runner_result(v->r, (unsigned)k);
    double sum[2] = {0, 0}, square = 0, x[2];
    for (int pass = 0; pass < 2; pass++) {
        for (size_t s = 0; s < n; s++) {
            data_to_f64(net_runner_type(v->r), a + s * size, 1, &x[0]);
            data_to_f64(net_runner_type(v->r), b + s * size, 1, &x[1]);
            for (int c = 0; c < 2 && pass == 0; c++) sum[c] += x[c];
            if (pass == 1) square += pow(x[0] / sum[0] - x[1] / sum[1], 2);
        }
    }
    return 0.5 * sqrt(square * (double)n / (double)(n - 1));
}

/* ln of the root of a sum of squares at a level; what was multiplied on is taken off again. */
static double ln_root(values *v, size_t i, const double *ln_scale, size_t level)
{
    double x = total(v, i);
    return isfinite(x) ? 0.5 * log(x) - ln_scale[level] : NAN;
}

static void read_all(values *v, const layout *l, const flow_backward *b, flow_measured *m)
{
    const flow *f = b->f;
    double *ln_scale = m->ln_scale;
    for (size_t i = 0; i < b->n_scales; i++) ln_scale[i + 1] = ln_scale[i] + log(value(v, l->scale[i]));
    for (size_t t = 0; t < f->n_tensors; t++) {
        flow_at_tensor *a = &m->tensor[t];
        size_t level = b->tensor[t].level;
        bool none = b->tensor[t].ref == CR_NONE;
        a->ln_norm = none ? -INFINITY : ln_root(v, l->norm[t], ln_scale, level);
        a->ln_hg = none ? -INFINITY : f->tensor[t].boundary ? ln_root(v, l->hg[t], ln_scale, level) : NAN;
        a->error = sampling_error(v, l->hg[t], l->of_y);
        a->mean = value(v, l->mean[t]);
        a->square = value(v, l->square[t]);
        a->entries = entries(b->g, f->tensor[t].ref);
    }
    for (size_t i = 0; i < f->n_edges; i++) {
        size_t t = f->edge[i].tensor;
        bool none = b->edge[i].ref == CR_NONE;
        m->ln_edge[i] = none                       ? -INFINITY
                        : f->tensor[t].readers > 1 ? ln_root(v, l->edge[i], ln_scale, b->edge[i].level)
                                                   : m->tensor[t].ln_norm;
    }
    for (size_t i = 0; i < f->n_steps; i++) {
        m->step[i] =
            (flow_at_step){value(v, l->slope[i].square), value(v, l->slope[i].saturated), value(v, l->slope[i].dead)};
    }
    for (size_t i = 0; i < f->n->n_leaves; i++) {
        flow_at_leaf *a = &m->leaf[i];
        *a = (flow_at_leaf){NAN, NAN, NAN};
        if (l->gradient[i] == FLOW_NONE) continue;
        double gradient = value(v, l->gradient[i]), weight = value(v, l->weight[i]), dot = value(v, l->dot[i]);
        double at = value(v, l->at[i]);
        a->ln_gradient = 0.5 * log(gradient) - ln_scale[isnan(at) ? b->leaf[i].level : (size_t)at];
        a->ln_weight = 0.5 * log(weight);
        a->dot = gradient > 0 && weight > 0 ? dot / sqrt(gradient) / sqrt(weight) : 0;
    }
    for (size_t i = 0; i < b->n_sums; i++) m->sum[i] = value(v, l->sum[i]);
    m->loss = value(v, l->loss) / value(v, l->loss_weight);
    m->loss_weight = value(v, l->loss_weight);
    m->nonfinite = v->nonfinite;
}

void flow_measured_free(flow_measured *m)
{
    mem_free(m->tensor);
    mem_free(m->ln_edge);
    mem_free(m->step);
    mem_free(m->leaf);
    mem_free(m->sum);
    mem_free(m->ln_scale);
    *m = (flow_measured){0};
}

cr_status flow_measure(const flow *f, const flow_backward *b, const net_loss *loss, const cr_plan_options *o,
                       flow_feeder *feed, void *user, flow_measured *out, error *e)
{
    layout l;
    wants w = {.g = f->n->g, .ok = true};
    net_runner *r = NULL;
    *out = (flow_measured){.tensor = mem_zalloc(f->n_tensors + 1, sizeof *out->tensor),
                           .ln_edge = mem_zalloc(f->n_edges + 1, sizeof *out->ln_edge),
                           .step = mem_zalloc(f->n_steps + 1, sizeof *out->step),
                           .leaf = mem_zalloc(f->n->n_leaves + 1, sizeof *out->leaf),
                           .sum = mem_zalloc(b->n_sums + 1, sizeof *out->sum),
                           .ln_scale = mem_zalloc(b->n_scales + 1, sizeof *out->ln_scale)};
    bool ok = layout_init(&l, b) && out->tensor && out->ln_edge && out->step && out->leaf && out->sum && out->ln_scale;
    if (ok) ask(&w, &l, b, loss);
    cr_status status = CR_OK;
    if (!ok || !w.ok) {
        err_set(e, CR_ENOMEM, "out of memory");
        status = CR_ENOMEM;
    } else if ((status = cr_graph_status(w.g)) != CR_OK) {
        err_set(e, status, "%s", cr_graph_message(w.g));
    }
    if (status == CR_OK) status = net_runner_new(f->n, (unsigned)w.n, w.ref, o, &r, e);
    if (status == CR_OK) status = feed(user, r, e);
    if (status == CR_OK) status = net_runner_run(r, e);
    values v = {r, 0};
    if (status == CR_OK) read_all(&v, &l, b, out);
    net_runner_free(r);
    layout_free(&l);
    mem_free(w.ref);
    return status;
}
