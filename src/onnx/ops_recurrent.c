/* RNN, LSTM and GRU. The sequence is as long as the data: steps are written out, over one product of all inputs with
 * the input weights. */
#include "onnx/ops.h"

#include <math.h>
#include <string.h>

typedef struct activation {
    const char *name;
    double alpha, beta;
} activation;

/* One direction of a layer. */
typedef struct layer {
    onnx_call *c;
    cr_graph *g;
    int64_t steps, batch, inputs, hidden, gates; /* T, N, I, H; rows of W and R are gates*H */
    cr_ref x;                                    /* T x N x I */
    cr_ref w, r, wb, rb, p;                      /* gates*H x I and x H; biases; peepholes. CR_NONE: none */
    cr_ref h, c0;                                /* N x H: initial states; c0 of LSTM only */
    cr_ref lengths;                              /* N; CR_NONE: all T */
    activation act[3];
    double clip; /* 0: none */
    bool couple; /* LSTM: input_forget; GRU: linear_before_reset */
    cr_ref inner; /* of the step: what a net_recurrence shows of it */
} layer;

static cr_ref constant_like(cr_graph *g, double v, cr_ref a) { return onnx_like(g, v, a); }

static cr_ref between(cr_graph *g, cr_ref a, double low, double high)
{
    return cr_map2(g, CR_OP_MAX2, constant_like(g, low, a), cr_map2(g, CR_OP_MIN2, constant_like(g, high, a), a));
}

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        if ((*a | 32) != (*b | 32)) return false;
    }
    return *a == *b;
}

static cr_ref activate(layer *l, const activation *f, cr_ref z)
{
    cr_graph *g = l->g;
    static const struct {
        const char *name;
        cr_op op;
    } plain[] = {{"Sigmoid", CR_OP_SIGMOID}, {"Tanh", CR_OP_TANH}, {"Relu", CR_OP_RELU}, {"Softplus", CR_OP_SOFTPLUS}};
    if (!valid(g, z)) return CR_NONE;
    if (l->clip > 0) z = between(g, z, -l->clip, l->clip);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (same_name(f->name, plain[i].name)) return cr_map(g, plain[i].op, z);
    }
    if (same_name(f->name, "Affine")) return onnx_add_number(g, onnx_times(g, z, f->alpha), f->beta);
    if (same_name(f->name, "LeakyRelu")) return cr_leaky_relu(g, z, f->alpha);
    if (same_name(f->name, "ThresholdedRelu")) {
        return cr_select(g, cr_map2(g, CR_OP_LE, constant_like(g, f->alpha, z), z), z, constant_like(g, 0, z));
    }
    if (same_name(f->name, "ScaledTanh")) {
        return onnx_times(g, cr_map(g, CR_OP_TANH, onnx_times(g, z, f->beta)), f->alpha);
    }
    if (same_name(f->name, "HardSigmoid"))
        return between(g, onnx_add_number(g, onnx_times(g, z, f->alpha), f->beta), 0, 1);
    if (same_name(f->name, "Softsign")) return cr_div(g, z, onnx_add_number(g, cr_map(g, CR_OP_ABS, z), 1));
    if (same_name(f->name, "Elu")) {
        cr_ref low = cr_map2(g, CR_OP_MIN2, z, constant_like(g, 0, z));
        cr_ref below = onnx_times(g, onnx_add_number(g, cr_map(g, CR_OP_EXP, low), -1), f->alpha);
        return cr_select(g, cr_map2(g, CR_OP_LT, constant_like(g, 0, z), z), z, below);
    }
    onnx_unsupported(l->c, "activation %s", f->name);
    return CR_NONE;
}

/* a (N x K) times rows first .. first + n - 1 of w (rows x K), transposed. */
static cr_ref times_rows(layer *l, cr_ref a, cr_ref w, int64_t first, int64_t n)
{
    cr_graph *g = l->g;
    cr_ref rows = onnx_cut(g, w, 0, first, 1, n);
    if (!valid(g, a) || !valid(g, rows)) return CR_NONE;
    return cr_einsum(g, 2, (cr_ref[]){a, rows}, (uint8_t[]){0, 2, 1, 2}, 2,
                     (cr_dim[]){cr_size(g, a, 0), cr_dim_const(g, n)});
}

/* A vector of H for each row of N x H: entries first*H .. of v. */
static cr_ref part_of(layer *l, cr_ref v, int64_t first)
{
    int64_t dim[2] = {l->batch, l->hidden};
    return onnx_stretch(l->g, onnx_cut(l->g, v, 0, first * l->hidden, 1, l->hidden), 2, dim);
}

static cr_ref gate(layer *l, cr_ref z, int64_t i) { return onnx_cut(l->g, z, 1, i * l->hidden, 1, l->hidden); }

static cr_ref plus(cr_graph *g, cr_ref a, cr_ref b) { return a == CR_NONE ? b : b == CR_NONE ? a : cr_add(g, a, b); }

static cr_ref peep(layer *l, cr_ref z, cr_ref cell, int64_t i)
{
    return l->p == CR_NONE ? z : cr_add(l->g, z, cr_mul(l->g, part_of(l, l->p, i), cell));
}

static cr_ref one_minus(cr_graph *g, cr_ref a) { return cr_sub(g, constant_like(g, 1, a), a); }

/* What a network shows of the step becomes an expression of its own. */
static bool show(layer *l, cr_ref *a)
{
    if (*a == CR_NONE || !onnx_keeps_states(l->c)) return *a != CR_NONE;
    bool ok = onnx_fence(l->c, a);
    l->inner = *a;
    return ok;
}

/* ---- a step of each kind: h and cell by z = W x + biases and the states before ---------------------- */

static bool step_rnn(layer *l, cr_ref z, cr_ref *h, cr_ref *cell)
{
    (void)cell;
    z = cr_add(l->g, z, times_rows(l, *h, l->r, 0, l->hidden));
    if (!show(l, &z)) return false;
    *h = activate(l, &l->act[0], z);
    return *h != CR_NONE;
}

/* Gates i, o, f, c. */
static bool step_lstm(layer *l, cr_ref z, cr_ref *h, cr_ref *cell)
{
    cr_graph *g = l->g;
    z = cr_add(g, z, times_rows(l, *h, l->r, 0, 4 * l->hidden));
    cr_ref i = activate(l, &l->act[0], peep(l, gate(l, z, 0), *cell, 0));
    cr_ref f = l->couple ? one_minus(g, i) : activate(l, &l->act[0], peep(l, gate(l, z, 2), *cell, 2));
    cr_ref c = activate(l, &l->act[1], gate(l, z, 3));
    if (i == CR_NONE || c == CR_NONE || !show(l, &f)) return false;
    *cell = cr_add(g, cr_mul(g, f, *cell), cr_mul(g, i, c));
    cr_ref o = activate(l, &l->act[0], peep(l, gate(l, z, 1), *cell, 1));
    layer plain = *l; /* the cell's own activation is not clipped: it clips the inputs of gates */
    cr_ref out = activate(&plain, &l->act[2], *cell);
    *h = cr_mul(g, o, out);
    return *h != CR_NONE;
}

/* Gates z, r, h. */
static bool step_gru(layer *l, cr_ref w, cr_ref *h, cr_ref *cell)
{
    cr_graph *g = l->g;
    (void)cell;
    cr_ref both = times_rows(l, *h, l->r, 0, 2 * l->hidden);
    cr_ref z = activate(l, &l->act[0], cr_add(g, gate(l, w, 0), gate(l, both, 0)));
    cr_ref r = activate(l, &l->act[0], cr_add(g, gate(l, w, 1), gate(l, both, 1))), n;
    if (r == CR_NONE || !show(l, &z)) return false;
    cr_ref bias = l->rb == CR_NONE ? CR_NONE : part_of(l, l->rb, 2);
    if (l->couple) {
        n = plus(g, times_rows(l, *h, l->r, 2 * l->hidden, l->hidden), bias);
        n = cr_mul(g, r, n);
    } else {
        n = plus(g, times_rows(l, cr_mul(g, r, *h), l->r, 2 * l->hidden, l->hidden), bias);
    }
    n = activate(l, &l->act[1], cr_add(g, gate(l, w, 2), n));
    if (n == CR_NONE) return false;
    *h = cr_add(g, cr_mul(g, one_minus(g, z), n), cr_mul(g, z, *h));
    return *h != CR_NONE;
}

typedef bool step_fn(layer *l, cr_ref z, cr_ref *h, cr_ref *cell);
typedef struct kind {
    int64_t gates;
    step_fn *step;
    const char *act[3];
    unsigned n_act;
    int64_t biased; /* gates whose recurrent bias is added with the input's */
    net_inner shown;
} kind;
static const kind kinds[] = {
    {1, step_rnn, {"Tanh"}, 1, 1, NET_INNER_ARGUMENT},
    {4, step_lstm, {"Sigmoid", "Tanh", "Tanh"}, 3, 4, NET_INNER_KEEP},
    {3, step_gru, {"Sigmoid", "Tanh"}, 2, 2, NET_INNER_KEEP},
};
enum { RNN, LSTM, GRU };

/* ---- a direction --------------------------------------------------------------------------------- */

/* Where t is below the lengths, as numbers of N x H. */
static cr_ref running(layer *l, int64_t t)
{
    cr_graph *g = l->g;
    uint8_t label = 0;
    cr_dim dim[2] = {cr_dim_const(g, l->batch), cr_dim_const(g, l->hidden)};
    cr_ref n = cr_einsum(g, 1, &l->lengths, &label, 2, dim);
    return cr_map2(g, CR_OP_LT, constant_like(g, (double)t, n), n);
}

/* y[t], N x H, for every step; the states at the end. */
static bool run_layer(layer *l, const kind *k, bool reverse, cr_ref *y, cr_ref *h_end, cr_ref *c_end)
{
    cr_graph *g = l->g;
    int64_t rows = l->gates * l->hidden;
    cr_dim t_dim = cr_dim_const(g, l->steps), n_dim = cr_dim_const(g, l->batch), r_dim = cr_dim_const(g, rows);
    cr_ref all =
        cr_einsum(g, 2, (cr_ref[]){l->x, l->w}, (uint8_t[]){0, 1, 3, 2, 3}, 3, (cr_dim[]){t_dim, n_dim, r_dim});
    cr_ref bias = l->wb;
    if (l->rb != CR_NONE) {
        int64_t with = k->biased * l->hidden;
        cr_ref r = onnx_cut(g, l->rb, 0, 0, 1, with);
        if (with < rows) r = cr_concat(g, 2, (cr_ref[]){r, onnx_full(g, 0, 1, (int64_t[]){rows - with})}, 0);
        bias = plus(g, bias, r);
    }
    if (bias != CR_NONE) all = cr_add(g, all, onnx_stretch(g, bias, 3, (int64_t[]){l->steps, l->batch, rows}));
    cr_ref h = l->h, cell = l->c0;
    unsigned n_states = cell == CR_NONE ? 1 : 2; /* h, and the cell of an LSTM: the last */
    net_recurrence carried = {.direction = reverse ? "reverse" : "forward",
                              .steps = (size_t)l->steps,
                              .n_states = n_states,
                              .state = onnx_alloc(l->c, (size_t)l->steps * n_states * sizeof(cr_ref)),
                              .what = k->shown,
                              .kept = n_states - 1,
                              .inner = onnx_alloc(l->c, (size_t)l->steps * sizeof(cr_ref))};
    if (!carried.state || !carried.inner) return false;
    for (int64_t i = 0; i < l->steps; i++) {
        int64_t t = reverse ? l->steps - 1 - i : i, two[2] = {l->batch, rows};
        cr_ref z = onnx_reshape(g, onnx_cut(g, all, 0, t, 1, 1), 2, two), h_new = h, c_new = cell;
        if (!valid(g, z) || !k->step(l, z, &h_new, &c_new)) return false;
        if (l->lengths != CR_NONE) { /* a sequence that has ended keeps its states, and puts out 0 */
            cr_ref on = running(l, t);
            h_new = cr_select(g, on, h_new, h);
            if (cell != CR_NONE) c_new = cr_select(g, on, c_new, cell);
        }
        if (onnx_keeps_states(l->c) && (!onnx_fence(l->c, &h_new) || (cell != CR_NONE && !onnx_fence(l->c, &c_new)))) {
            return false;
        }
        y[t] = h_new;
        if (l->lengths != CR_NONE) y[t] = cr_select(g, running(l, t), h_new, constant_like(g, 0, h_new));
        h = h_new;
        cell = c_new;
        carried.state[i * n_states] = h;
        if (cell != CR_NONE) carried.state[i * n_states + 1] = cell;
        carried.inner[i] = l->inner;
    }
    if (!onnx_carried(l->c, &carried)) return false;
    *h_end = h;
    *c_end = cell;
    return h != CR_NONE;
}

/* ---- the node ------------------------------------------------------------------------------------ */

/* Part d of the first axis (directions), which goes. */
static cr_ref direction_of(layer *l, unsigned i, int64_t d)
{
    cr_graph *g = l->g;
    if (!onnx_has(l->c, i)) return CR_NONE;
    cr_ref a = onnx_cut(g, onnx_real(l->c, i), 0, d, 1, 1);
    int64_t dim[CR_MAX_RANK];
    if (!valid(g, a)) return CR_NONE;
    onnx_shape(g, a, dim);
    return onnx_reshape(g, a, cr_rank(g, a) - 1, dim + 1);
}

static bool read_activations(layer *l, const kind *k, int64_t d)
{
    const Onnx__AttributeProto *names = onnx_attr(l->c, "activations"), *alpha = onnx_attr(l->c, "activation_alpha"),
                               *beta = onnx_attr(l->c, "activation_beta");
    size_t a = 0, b = 0;
    for (int64_t i = 0; i < (d + 1) * (int64_t)k->n_act; i++) {
        activation f = {k->act[i % k->n_act], 0, 0};
        if (names && (size_t)i < names->n_strings) {
            char *s = onnx_alloc(l->c, names->strings[i].len + 1);
            if (!s) return false;
            memcpy(s, names->strings[i].data, names->strings[i].len);
            s[names->strings[i].len] = '\0';
            f.name = s;
        }
        static const struct {
            const char *name;
            double alpha, beta;
            bool has_beta;
        } defaults[] = {{"LeakyRelu", 0.01, 0, false},   {"ThresholdedRelu", 1, 0, false}, {"Elu", 1, 0, false},
                        {"HardSigmoid", 0.2, 0.5, true}, {"Affine", 1, 0, true},           {"ScaledTanh", 1, 1, true}};
        for (size_t j = 0; j < sizeof defaults / sizeof *defaults; j++) {
            if (!same_name(f.name, defaults[j].name)) continue;
            f.alpha = alpha && a < alpha->n_floats ? (double)alpha->floats[a++] : defaults[j].alpha;
            f.beta = defaults[j].has_beta && beta && b < beta->n_floats ? (double)beta->floats[b++] : defaults[j].beta;
        }
        l->act[i % k->n_act] = f;
    }
    return true;
}

static bool fits(layer *l, cr_ref a, unsigned rank, const int64_t *dim, const char *what)
{
    if (a == CR_NONE) return cr_graph_status(l->g) == CR_OK;
    bool same = cr_rank(l->g, a) == rank;
    for (unsigned i = 0; i < rank && same; i++) same = onnx_size(l->g, a, i) == dim[i];
    return same || onnx_fail(l->c, "%s of a direction is %s", what, shape_text(l->g, a, 0));
}

static bool read_direction(layer *l, const kind *k, int64_t d)
{
    cr_graph *g = l->g;
    int64_t rows = l->gates * l->hidden;
    l->w = direction_of(l, 1, d);
    l->r = direction_of(l, 2, d);
    cr_ref both = direction_of(l, 3, d);
    l->wb = l->rb = CR_NONE;
    if (!fits(l, l->w, 2, (int64_t[]){rows, l->inputs}, "W") || !fits(l, l->r, 2, (int64_t[]){rows, l->hidden}, "R") ||
        !fits(l, both, 1, (int64_t[]){2 * rows}, "B") || l->w == CR_NONE || l->r == CR_NONE) {
        return cr_graph_status(g) != CR_OK ? false : onnx_fail(l->c, "W and R are needed");
    }
    if (both != CR_NONE) {
        l->wb = onnx_cut(g, both, 0, 0, 1, rows);
        l->rb = onnx_cut(g, both, 0, rows, 1, rows);
    }
    l->h = direction_of(l, 5, d);
    l->c0 = l->gates == 4 ? direction_of(l, 6, d) : CR_NONE;
    l->p = l->gates == 4 ? direction_of(l, 7, d) : CR_NONE;
    int64_t state[2] = {l->batch, l->hidden};
    if (!fits(l, l->h, 2, state, "initial_h") || !fits(l, l->c0, 2, state, "initial_c") ||
        !fits(l, l->p, 1, (int64_t[]){3 * l->hidden}, "P")) {
        return false;
    }
    if (l->h == CR_NONE) l->h = onnx_full(g, 0, 2, state);
    if (l->c0 == CR_NONE && l->gates == 4) l->c0 = onnx_full(g, 0, 2, state);
    return read_activations(l, k, d);
}

/* With layout 1, the batch is the first axis of inputs and outputs. */
static bool swap_inputs(onnx_call *c)
{
    static const unsigned at[] = {0, 5, 6};
    for (size_t i = 0; i < 3; i++) {
        if (!onnx_has(c, at[i])) continue;
        onnx_value *v =
            onnx_temporary(c, c->in[at[i]]->name, onnx_swap(c->g, onnx_real(c, at[i]), 0, 1), c->in[at[i]]->type);
        if (!v) return false;
        c->in[at[i]] = v;
    }
    return true;
}

static bool build_recurrent(onnx_call *c)
{
    cr_graph *g = c->g;
    const kind *k = &kinds[c->arg];
    bool batch_first = onnx_attr_int(c, "layout", 0) != 0;
    const char *direction = onnx_attr_string(c, "direction", "forward");
    int64_t directions = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    if (batch_first && !swap_inputs(c)) return false;
    layer l = {.c = c,
               .g = g,
               .gates = k->gates,
               .x = onnx_real(c, 0),
               .lengths = CR_NONE,
               .clip = onnx_attr_float(c, "clip", 0)};
    l.couple =
        c->arg == LSTM ? onnx_attr_int(c, "input_forget", 0) != 0 : onnx_attr_int(c, "linear_before_reset", 0) != 0;
    if (!valid(g, l.x) || !onnx_has(c, 2)) return onnx_has(c, 2) ? false : onnx_fail(c, "input 3 is missing");
    if (cr_rank(g, l.x) != 3 || c->in[2]->rank != 3) return onnx_fail(c, "an input of %s", shape_text(g, l.x, 0));
    l.steps = onnx_size(g, l.x, 0);
    l.batch = onnx_size(g, l.x, 1);
    l.inputs = onnx_size(g, l.x, 2);
    l.hidden = c->in[2]->dim[2];
    if (c->in[2]->dim[0] != directions || l.steps < 1 || l.hidden < 1) {
        return onnx_fail(c, "weights of %lld directions for %s", (long long)c->in[2]->dim[0], direction);
    }
    if (onnx_has(c, 4)) {
        l.lengths = onnx_real(c, 4);
        if (!fits(&l, l.lengths, 1, &l.batch, "sequence_lens")) return false;
    }
    cr_ref *y = onnx_alloc(c, (size_t)(directions * l.steps) * sizeof *y), h[2], cell[2];
    if (!y) return false;
    for (int64_t d = 0; d < directions; d++) {
        bool reverse = d == 1 || strcmp(direction, "reverse") == 0;
        if (!read_direction(&l, k, d) || !run_layer(&l, k, reverse, y + d * l.steps, &h[d], &cell[d])) return false;
    }
    cr_type type = c->in[0]->type;
    int64_t one[4] = {1, 1, l.batch, l.hidden}, state[3] = {1, l.batch, l.hidden};
    cr_ref *part = onnx_alloc(c, (size_t)l.steps * sizeof *part);
    if (!part) return false;
    if (c->n_out > 0 && c->out[0]) {
        for (int64_t t = 0; t < l.steps; t++) {
            cr_ref both[2];
            for (int64_t d = 0; d < directions; d++) both[d] = onnx_reshape(g, y[d * l.steps + t], 4, one);
            part[t] = directions == 1 ? both[0] : cr_concat(g, 2, both, 1);
        }
        cr_ref all = l.steps == 1 ? part[0] : cr_concat(g, (unsigned)l.steps, part, 0);
        if (batch_first) all = onnx_permute(g, all, (unsigned[]){2, 0, 1, 3});
        if (!onnx_out(c, 0, all, type)) return false;
    }
    for (unsigned i = 1; i < 3; i++) {
        cr_ref both[2];
        if (i >= c->n_out || !c->out[i]) continue;
        for (int64_t d = 0; d < directions; d++) both[d] = onnx_reshape(g, i == 1 ? h[d] : cell[d], 3, state);
        cr_ref all = directions == 1 ? both[0] : cr_concat(g, 2, both, 0);
        if (batch_first) all = onnx_swap(g, all, 0, 1);
        if (!onnx_out(c, i, all, type)) return false;
    }
    return true;
}

const onnx_op onnx_ops_recurrent[] = {
    OP_ARG("GRU", build_recurrent, GRU),
    OP_ARG("LSTM", build_recurrent, LSTM),
    OP_ARG("RNN", build_recurrent, RNN),
    OP(NULL, NULL),
};
