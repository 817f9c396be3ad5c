/* A test rejects a law by mistake once in a million times: over a hundred parameters and four tests each, initialised
 * weights pass with 99.96 %. Tests by moments see all entries, the others a part of at most a few thousand. */
#include "flow/weights.h"

#include "kernel/lapack.h"

#include <math.h>

enum { SAMPLE = 1 << 16, BINS = 256, ENOUGH = 32, ROWS = 64, COLUMNS = 256, SPECTRUM = 128, SPECTRA = 4, LAWS = 3 };
#define REACH 4.0
static const double deviations = 4.9;   /* of a normal number, two-sided: 1e-6 */
static const double kolmogorov = 2.69;  /* sqrt(n) times the largest distance of the distributions: 1e-6 */
static const double chi_deviations = 6; /* of a sum of squares with its longer tail */
static const double tracy_widom = 7.5;  /* of its distribution for real matrices: 1e-6 */

static const char *const states[] = {"initialisation", "trained", "unknown"};
const char *flow_weights_state_name(flow_weights_state s) { return states[s]; }

void flow_weights_free(flow_weights *w)
{
    mem_free(w->at);
    mem_free(w->leaf_of);
    *w = (flow_weights){0};
}

/* ---- what reads a parameter ---------------------------------------------------------------------- */

static bool changes_form(const char *op)
{
    static const char *const names[] = {"Transpose", "Reshape", "Identity",  "Cast",
                                        "Flatten",   "Squeeze", "Unsqueeze", "Dropout"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(op, names[i]) == 0) return true;
    }
    return false;
}

static void map_leaves(const network *n, flow_weights *w)
{
    for (size_t i = 0; i < n->n_leaves; i++) {
        if (n->leaf[i].role == NET_PARAMETER && n->leaf[i].ref < w->n_refs) w->leaf_of[n->leaf[i].ref] = i + 1;
    }
    for (size_t i = 0; i < n->n_nodes; i++) {
        const net_node *node = &n->node[i];
        if (node->n_operands == 0 || !changes_form(node->op)) continue;
        size_t leaf = w->leaf_of[n->operand[node->first_operand].ref];
        for (size_t v = 0; leaf && v < node->n_values; v++) {
            cr_ref ref = n->value[node->first_value + v].ref;
            if (!w->leaf_of[ref]) w->leaf_of[ref] = leaf;
        }
    }
}

size_t flow_parameter_of(const flow_weights *w, const network *n, const net_node *node, size_t k)
{
    if (k >= node->n_operands) return FLOW_NONE;
    cr_ref ref = n->operand[node->first_operand + k].ref;
    return ref < w->n_refs && w->leaf_of[ref] ? w->leaf_of[ref] - 1 : FLOW_NONE;
}

/* Entries that a number of the output, and of the input, is connected to. */
static void find_fans(const net_leaf *l, const net_node *node, flow_weight *w)
{
    const int64_t *dim = l->tensor.dim;
    double count = (double)l->tensor.count, field = 1;
    for (unsigned i = 2; i < l->tensor.rank; i++) field *= (double)dim[i];
    w->fan_out = (double)dim[0] * field;
    w->fan_in = count / (double)dim[0];
    bool turned = strcmp(node->op, "ConvTranspose") == 0;
    if (turned) {
        w->fan_in = (double)dim[0] * field;
        w->fan_out = count / (double)dim[0];
    }
}

static void look_at_reader(const flow *f, const flow_step *st, flow_weights *w)
{
    const network *n = f->n;
    const net_node *node = &n->node[st->node];
    flow_weight *weight = NULL;
    for (size_t k = 0; k < node->n_operands; k++) {
        size_t leaf = flow_parameter_of(w, n, node, k);
        if (leaf == FLOW_NONE) continue;
        flow_weight *own = &w->at[leaf];
        const net_leaf *l = &n->leaf[leaf];
        if (st->op->factor == FLOW_NORM) own->norm = true;
        if (l->tensor.rank < 2 || !st->affine) continue;
        if (own->fan_in == 0 && strcmp(st->op->name, "MatMul") != 0 && node->n_operands > 2 && l->tensor.rank == 3 &&
            cr_rank(n->g, n->operand[node->first_operand + 2].ref) == 3) {
            int64_t hidden = 0; /* RNN, LSTM, GRU: what is carried over time */
            cr_dim_value(n->g, cr_size(n->g, n->operand[node->first_operand + 2].ref, 2), &hidden);
            own->fan_in = own->fan_out = (double)hidden;
        }
        if (own->fan_in == 0) {
            find_fans(l, node, own);
            /* The output's last axis says which axis of a matrix is which. */
            cr_ref out = f->tensor[f->out[st->first_out]].ref;
            int64_t last = 0;
            if (cr_rank(n->g, out) > 0) cr_dim_value(n->g, cr_size(n->g, out, cr_rank(n->g, out) - 1), &last);
            bool product = strcmp(node->op, "Gemm") == 0 || strcmp(node->op, "MatMul") == 0;
            if (product && l->tensor.rank == 2 && k > 0 && last > 0) {
                own->fan_in = (double)(l->tensor.count) / (double)last;
                own->fan_out = (double)last;
            } else if (product && l->tensor.rank == 2) { /* from the left */
                own->fan_in = (double)l->tensor.dim[1];
                own->fan_out = (double)l->tensor.dim[0];
            }
        }
        if (!weight) weight = own;
    }
    for (size_t k = 0; k < node->n_operands && weight; k++) {
        size_t leaf = flow_parameter_of(w, n, node, k);
        if (leaf == FLOW_NONE || w->at[leaf].fan_in > 0) continue;
        w->at[leaf].fan_in = weight->fan_in;
        w->at[leaf].fan_out = weight->fan_out;
    }
}

/* The bias of a MatMul is added by the next operator. */
static void look_at_biases(const flow *f, flow_weights *w)
{
    for (size_t i = 1; i < f->n_steps; i++) {
        const flow_step *st = &f->step[i];
        const net_node *node = &f->n->node[st->node];
        if (st->n_edges != 1 || strcmp(node->op, "Add") != 0) continue;
        size_t maker = f->tensor[f->edge[st->first_edge].tensor].maker;
        if (maker == FLOW_NONE || !f->step[maker].affine) continue;
        const net_node *product = &f->n->node[f->step[maker].node];
        for (size_t k = 0; k < node->n_operands; k++) {
            size_t bias = flow_parameter_of(w, f->n, node, k);
            if (bias == FLOW_NONE || w->at[bias].fan_in > 0) continue;
            for (size_t j = 0; j < product->n_operands; j++) {
                size_t leaf = flow_parameter_of(w, f->n, product, j);
                if (leaf != FLOW_NONE && w->at[leaf].fan_in > 0) w->at[bias].fan_in = w->at[leaf].fan_in;
            }
        }
    }
}

/* ---- tests --------------------------------------------------------------------------------------- */

typedef struct moments {
    double n, mean, square, fourth, most, low, high;
} moments;

static moments moments_of(const cr_tensor *t)
{
    enum { PIECE = 1024 };
    double x[PIECE], s1 = 0, s2 = 0, s4 = 0;
    moments m = {.n = (double)t->count, .low = INFINITY, .high = -INFINITY};
    size_t size = cr_type_size(t->type);
    for (size_t i = 0; i < t->count; i += PIECE) {
        size_t n = t->count - i < PIECE ? t->count - i : PIECE;
        double a1 = 0, a2 = 0, a4 = 0;
        data_to_f64(t->type, (const char *)t->data + i * size, n, x);
        for (size_t k = 0; k < n; k++) {
            double q = x[k] * x[k];
            a1 += x[k];
            a2 += q;
            a4 += q * q;
            m.low = x[k] < m.low ? x[k] : m.low;
            m.high = x[k] > m.high ? x[k] : m.high;
        }
        s1 += a1;
        s2 += a2;
        s4 += a4;
    }
    m.mean = s1 / m.n;
    m.square = s2 / m.n;
    m.fourth = s4 / m.n;
    m.most = fmax(fabs(m.low), fabs(m.high));
    return m;
}

/* A law of mean 0 and variance 1: its moments 4, 6, 8 and its distribution function. */
typedef struct distribution {
    flow_law kind;
    double m4, m6, m8;
    double at_bound[BINS]; /* its distribution function, at the bounds of the bins */
} distribution;

static const double cut = FLOW_TRUNCATED_AT, cut_deviation = 0.87962566103423978; /* of a normal number within +-2 */

static double uniform_below(double x) { return fmin(1, fmax(0, 0.5 + x / sqrt(12))); }
static double normal_below(double x) { return 0.5 * erfc(-x / sqrt(2)); }
static double truncated_below(double x)
{
    double lost = normal_below(-cut);
    x *= cut_deviation;
    return fmin(1, fmax(0, (normal_below(x) - lost) / (1 - 2 * lost)));
}

/* The upper one of a bin, in deviations. */
static double bound_of(size_t bin) { return REACH * (2 * (double)(bin + 1) / BINS - 1); }

static void set_bounds(distribution *l, double (*below)(double x))
{
    for (size_t i = 0; i < BINS; i++) l->at_bound[i] = below(bound_of(i));
}

static void set_laws(distribution law[LAWS])
{
    double edge = 0.39894228040143268 * exp(-0.5 * cut * cut) / (1 - 2 * normal_below(-cut)), m[5] = {1};
    for (int k = 1; k <= 4; k++) m[k] = (2 * k - 1) * m[k - 1] - 2 * pow(cut, 2 * k - 1) * edge;
    law[0] = (distribution){FLOW_LAW_UNIFORM, 9.0 / 5, 27.0 / 7, 9, {0}};
    law[1] = (distribution){FLOW_LAW_TRUNCATED, m[2] / pow(m[1], 2), m[3] / pow(m[1], 3), m[4] / pow(m[1], 4), {0}};
    law[2] = (distribution){FLOW_LAW_NORMAL, 3, 15, 105, {0}};
    set_bounds(&law[0], uniform_below);
    set_bounds(&law[1], truncated_below);
    set_bounds(&law[2], normal_below);
}

/* Mean 0, and the fourth moment over the squared second, as far as all entries can tell. */
static bool moments_fit(const moments *m, const distribution *l)
{
    double variance = (l->m8 - l->m4 * l->m4) - 4 * l->m4 * (l->m6 - l->m4) + 4 * l->m4 * l->m4 * (l->m4 - 1);
    double off = m->fourth / (m->square * m->square) - l->m4;
    return fabs(m->mean) <= deviations * sqrt(m->square / m->n) && fabs(off) <= deviations * sqrt(variance / m->n);
}

/* How many entries lie below each of BINS - 1 bounds, in deviations; of large tensors a part, spread over all of it. */
typedef struct histogram {
    double n, count[BINS];
} histogram;

static void count_entries(const cr_tensor *t, double deviation, histogram *h)
{
    enum { PIECE = 1024 };
    double x[PIECE], by = BINS / (2 * REACH * deviation);
    size_t size = cr_type_size(t->type), pieces = (t->count + PIECE - 1) / PIECE, step = 1 + pieces / (SAMPLE / PIECE);
    *h = (histogram){.n = 0};
    for (size_t i = 0; i < pieces; i += step) {
        size_t n = t->count - i * PIECE < PIECE ? t->count - i * PIECE : PIECE;
        data_to_f64(t->type, (const char *)t->data + i * PIECE * size, n, x);
        for (size_t k = 0; k < n; k++) {
            double at = fmin(BINS - 1, fmax(0, x[k] * by + BINS / 2));
            h->count[(size_t)at]++;
        }
        h->n += (double)n;
    }
}

/* Kolmogorov and Smirnov's distance, at the bounds of the bins: never more than it is. */
static bool distribution_fits(const histogram *h, const distribution *l)
{
    double worst = 0, below = 0;
    for (size_t i = 0; i + 1 < BINS; i++) {
        below += h->count[i];
        worst = fmax(worst, fabs(below / h->n - l->at_bound[i]));
    }
    return worst * sqrt(h->n) <= kolmogorov;
}

/* Rows of a matrix (first axis against the rest), or columns. */
static void vector_of(const cr_tensor *t, bool rows, size_t i, size_t n, double *x)
{
    size_t size = cr_type_size(t->type), width = t->count / (size_t)t->dim[0];
    if (rows) {
        data_to_f64(t->type, (const char *)t->data + i * width * size, n, x);
        return;
    }
    for (size_t k = 0; k < n; k++) data_to_f64(t->type, (const char *)t->data + (k * width + i) * size, 1, &x[k]);
}

static double product(const double *a, const double *b, size_t n)
{
    double sum[4] = {0}; /* additions that need not wait for each other */
    for (size_t j = 0; j + 4 <= n; j += 4) {
        for (size_t k = 0; k < 4; k++) sum[k] += a[j + k] * b[j + k];
    }
    for (size_t j = n - n % 4; j < n; j++) sum[0] += a[j] * b[j];
    return sum[0] + sum[1] + sum[2] + sum[3];
}

/* Products of rows: n r^2 is 1 in the mean for independent entries. Training leaves common directions, and so more. */
static double dependence(const cr_tensor *t, const moments *m, double *room)
{
    size_t rows = (size_t)t->dim[0], width = t->count / rows;
    size_t take = rows < ROWS ? rows : ROWS, n = width < COLUMNS ? width : COLUMNS;
    if (take < 2 || n < 8) return 0;
    for (size_t i = 0; i < take; i++) vector_of(t, true, i * (rows / take), n, room + i * n);
    double sum = 0, pairs = 0.5 * (double)take * (double)(take - 1);
    for (size_t i = 0; i < take; i++) {
        for (size_t k = 0; k < i; k++) {
            double r = product(room + i * n, room + k * n, n);
            sum += r * r / (m->square * m->square * (double)n);
        }
    }
    return (sum - pairs) / sqrt(2 * pairs);
}

/* The length that all of them have, if rows (columns, if fewer) are orthogonal to each other; else 0. */
static double orthogonal(const cr_tensor *t, double *room)
{
    enum { TAKE = 12 };
    size_t rows = (size_t)t->dim[0], width = t->count / rows, n = rows <= width ? width : rows;
    size_t vectors = rows <= width ? rows : width, take = vectors < TAKE ? vectors : TAKE;
    double length = 0;
    if (take < 2 || n > ROWS * COLUMNS) return 0;
    double *other = room + n;
    for (size_t i = 0; i < take; i++) {
        vector_of(t, rows <= width, i * (vectors / take), n, room);
        for (size_t k = 0; k <= i; k++) {
            vector_of(t, rows <= width, k * (vectors / take), n, other);
            double r = product(room, other, n);
            if (i == 0) length = r;
            if (!(length > 0) || fabs(r / length - (k == i)) > 1e-4) return 0;
        }
    }
    return sqrt(length);
}

/* ---- laws ---------------------------------------------------------------------------------------- */

/* The scale, said by fan-in and fan-out where it is one that frameworks have. */
static const char *named(flow_law law, const flow_weight *w, double *scale)
{
    double in = w->fan_in, out = w->fan_out, n = (double)w->count;
    if (!(in > 0)) return NULL;
    const struct {
        double variance;
        const char *uniform, *normal;
    } known[] = {
        {1 / (3 * in), "1/sqrt(fan-in), PyTorch's default", "sqrt(1/(3 fan-in))"},
        {2 / in, "sqrt(6/fan-in), He", "sqrt(2/fan-in), He"},
        {2 / (in + out), "sqrt(6/(fan-in + fan-out)), Glorot", "sqrt(2/(fan-in + fan-out)), Glorot"},
        {1 / in, "sqrt(3/fan-in), LeCun", "sqrt(1/fan-in), LeCun"},
        {out > 0 ? 2 / out : 0, "sqrt(6/fan-out), He", "sqrt(2/fan-out), He"},
        {0.02 * 0.02, NULL, "0.02"},
    };
    size_t n_known = w->matrix ? sizeof known / sizeof *known : 1; /* of biases: PyTorch's default */
    for (size_t i = 0; i < n_known; i++) {
        if (law == FLOW_LAW_UNIFORM) { /* all n entries are within a share s of the bound once in s^-n times */
            double bound = sqrt(3 * known[i].variance);
            if (!known[i].uniform || !(bound > 0) || w->most > bound * (1 + 1e-6)) continue;
            if (n * log(w->most / bound) < -14) continue;
            *scale = bound;
            return known[i].uniform;
        }
        /* Keras divides by the deviation of what is cut off: the variance is that of the name. */
        double off = sqrt(w->square / known[i].variance) - 1;
        if (!(known[i].variance > 0) || fabs(off) > deviations / sqrt(2 * n)) continue;
        *scale = sqrt(known[i].variance) / (law == FLOW_LAW_TRUNCATED ? cut_deviation : 1);
        return known[i].normal;
    }
    return NULL;
}

/* room: for ROWS*COLUMNS numbers twice. */
static void find_law(const net_leaf *l, const distribution laws[LAWS], flow_weight *w, double *room)
{
    const cr_tensor *t = &l->tensor;
    moments m = moments_of(t);
    w->count = t->count;
    w->matrix = t->rank >= 2 && t->dim[0] > 0;
    w->mean = m.mean;
    w->square = m.square;
    w->most = m.most;
    if (t->count == 1 && !w->norm) return; /* constant, as every number is */
    if (m.low == m.high) {
        bool fresh = !w->norm || m.low == 0 || m.low == 1;
        w->law = fresh ? FLOW_LAW_CONSTANT : FLOW_LAW_OTHER;
        return;
    }
    if (w->norm || !isfinite(m.fourth)) {
        w->law = FLOW_LAW_OTHER;
        return;
    }
    double length = w->matrix ? orthogonal(t, room) : 0;
    if (length > 0) {
        w->law = FLOW_LAW_ORTHOGONAL;
        w->scale = length;
        return;
    }
    /* Biases begin as constants, or by PyTorch within 1/sqrt(fan-in). What moved from 0 in training may well pass for
     * normal numbers, so nothing else is taken for fresh. */
    if (!w->matrix) {
        w->name = named(FLOW_LAW_UNIFORM, w, &w->scale);
        w->law = w->name ? FLOW_LAW_UNIFORM : w->fan_in > 0 ? FLOW_LAW_OTHER : FLOW_LAW_NONE;
        return;
    }
    if (t->count < ENOUGH) return;
    w->law = FLOW_LAW_OTHER;
    histogram h;
    count_entries(t, sqrt(m.square), &h);
    for (size_t i = 0; i < LAWS && w->law == FLOW_LAW_OTHER; i++) {
        double deviation = sqrt(m.square), bound = deviation * (laws[i].kind == FLOW_LAW_UNIFORM ? sqrt(3) : INFINITY);
        if (laws[i].kind == FLOW_LAW_TRUNCATED) bound = deviation * cut / cut_deviation;
        /* The bound is known from the deviation, to its sampling error. */
        double slack = 1 + deviations * sqrt((laws[i].m4 - 1) / (4 * m.n));
        if (m.most > bound * slack || !moments_fit(&m, &laws[i])) continue;
        if (!distribution_fits(&h, &laws[i])) continue;
        w->law = laws[i].kind;
        w->scale = laws[i].kind == FLOW_LAW_UNIFORM     ? fmax(m.most, deviation * sqrt(3))
                   : laws[i].kind == FLOW_LAW_TRUNCATED ? deviation / cut_deviation
                                                        : deviation;
    }
    if (w->matrix && w->law != FLOW_LAW_OTHER && dependence(t, &m, room) > chi_deviations) w->law = FLOW_LAW_OTHER;
    if (w->law != FLOW_LAW_OTHER) w->name = named(w->law, w, &w->scale);
}

static bool is_drawn(const flow_weight *w)
{
    return w->law == FLOW_LAW_UNIFORM || w->law == FLOW_LAW_NORMAL || w->law == FLOW_LAW_TRUNCATED;
}

/* ---- spectra ------------------------------------------------------------------------------------- */

/* The largest singular value of a part of a matrix of independent entries lies at the edge of the Marchenko-Pastur law,
 * deviation (sqrt m + sqrt n), and above it by no more than Tracy's and Widom's law lets it; over that. NaN: no LAPACK,
 * or the matrix is small. */
static double over_the_edge(const cr_tensor *t, const flow_weight *w, double *room)
{
    size_t rows = (size_t)t->dim[0], width = t->count / rows;
    size_t m = rows < SPECTRUM ? rows : SPECTRUM, n = width < SPECTRUM ? width : SPECTRUM;
    double value[SPECTRUM], *a = room, result = NAN;
    if (m < 16 || n < 16) return NAN;
    for (size_t i = 0; i < m; i++) vector_of(t, true, i * (rows / m), n, a + i * n);
    lapack_plan p;
    if (lapack_plan_init(&p, LAPACK_VALUES, KERN_F64, m, n, 0, 1, NULL) != CR_OK) return NAN;
    char *scratch = mem_alloc(p.scratch + 64);
    if (!scratch) return NAN;
    void *at = scratch + (64 - (uintptr_t)scratch % 64) % 64;
    if (lapack_values(&p, a, value, at) == LAPACK_DONE) {
        double root = sqrt((double)m) + sqrt((double)n);
        double tail = tracy_widom * root * cbrt(1 / sqrt((double)m) + 1 / sqrt((double)n));
        result = value[0] / sqrt(w->square * (root * root + tail));
    }
    mem_free(scratch);
    return result;
}

static void look_at_spectra(const flow *f, flow_weights *w, double *room)
{
    size_t matrices = 0, seen = 0;
    w->outlier = NAN;
    for (size_t i = 0; i < w->n; i++) matrices += w->at[i].matrix && w->at[i].law != FLOW_LAW_ORTHOGONAL;
    for (size_t i = 0; i < w->n; i++) {
        flow_weight *x = &w->at[i];
        bool drawn = is_drawn(x);
        if (!x->matrix || x->law == FLOW_LAW_ORTHOGONAL) continue;
        size_t before = seen++ * SPECTRA / matrices, now = seen * SPECTRA / matrices; /* spread over the depth */
        if (!drawn || before == now) continue;
        double over = over_the_edge(&f->n->leaf[i].tensor, x, room);
        if (isnan(over)) continue;
        w->n_spectra++;
        if (!(over <= w->outlier)) w->outlier = over;
        if (over > 1) x->law = FLOW_LAW_OTHER;
    }
}

/* ---- the state ----------------------------------------------------------------------------------- */

/* Most of what could be told, by entries, decides; a part that disagrees leaves it open. Normalisations and biases that
 * have all moved were trained. */
static flow_weights_state decide(const flow_weights *w)
{
    double fresh = 0, moved = 0;
    size_t biases = 0, biases_moved = 0;
    bool norm_moved = false;
    for (size_t i = 0; i < w->n; i++) {
        const flow_weight *x = &w->at[i];
        if (x->law == FLOW_LAW_OTHER && x->norm) norm_moved = true;
        biases += !x->matrix && !x->norm && x->law != FLOW_LAW_NONE;
        biases_moved += !x->matrix && !x->norm && x->law == FLOW_LAW_OTHER;
        if (!x->matrix) continue;
        if (x->law == FLOW_LAW_OTHER) moved += (double)x->count;
        if (x->law != FLOW_LAW_OTHER && x->law != FLOW_LAW_NONE && x->law != FLOW_LAW_CONSTANT)
            fresh += (double)x->count;
    }
    bool other = norm_moved || moved > 0;
    for (size_t i = 0; i < w->n && !other; i++) other = w->at[i].law == FLOW_LAW_OTHER;
    if (fresh > 0 && !other) return FLOW_INITIALISATION;
    return norm_moved || moved > fresh || (biases > 0 && biases_moved == biases) ? FLOW_TRAINED : FLOW_UNKNOWN;
}

cr_status flow_weights_look(const flow *f, const flow_backward *b, flow_weights *w, error *e)
{
    const network *n = f->n;
    *w = (flow_weights){.n = n->n_leaves, .n_refs = b->n_refs, .outlier = NAN};
    w->at = mem_zalloc(n->n_leaves + 1, sizeof *w->at);
    w->leaf_of = mem_zalloc(w->n_refs, sizeof *w->leaf_of);
    double *room = mem_alloc(2 * (size_t)ROWS * COLUMNS * sizeof *room);
    if (!w->at || !w->leaf_of || !room) {
        mem_free(room);
        err_set(e, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    distribution laws[LAWS];
    set_laws(laws);
    map_leaves(n, w);
    for (size_t i = 0; i < f->n_steps; i++) look_at_reader(f, &f->step[i], w);
    look_at_biases(f, w);
    for (size_t i = 0; i < n->n_leaves; i++) {
        if (b->leaf[i].ref == CR_NONE || n->leaf[i].tensor.count == 0) continue;
        find_law(&n->leaf[i], laws, &w->at[i], room);
    }
    w->state = decide(w);
    if (w->state == FLOW_INITIALISATION) {
        look_at_spectra(f, w, room);
        w->state = decide(w);
    }
    mem_free(room);
    return CR_OK;
}
