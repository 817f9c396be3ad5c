/* Of every cotangent on the way, the plan looks at 2,048 entries, counts the non-zero ones below six
 * thresholds, and finds the largest. The
 * pass is scaled so that the norm of a boundary's cotangent is of the order of 1, so the thresholds are known
 * beforehand: from 4/sqrt(n), n the number of entries, down by factors of 16. Between them, the logarithm of the count
 * is linear in that of the threshold; below the last, the count is proportional to it (the density of values at 0 is
 * about constant). So the number that a format flushes to zero is a function of the scale of the loss, growing as that
 * shrinks, and where it is 0.1 % is found by bisection. */
#include "flow/formats.h"

#include <math.h>
#include <string.h>

/* Powers of two: what is at most half of the smallest number is rounded to 0; the largest number. */
static const struct format {
    const char *name;
    int flushed;
    double largest;
} formats[] = {{"float32", -150, 3.4028234663852886e38},
               {"float16", -25, 65504},
               {"bfloat16", -134, 3.3895313892515355e38}};
const char *flow_format_name(flow_format k) { return formats[k].name; }

static const double share_allowed = 0.001, share_lost = 0.5;
#define LN_STEP (4 * log(2))

void flow_tails_free(flow_tails *t)
{
    mem_free(t->tensor);
    mem_free(t->lost);
    mem_free(t->moved);
    *t = (flow_tails){0};
}

/* ---- asking -------------------------------------------------------------------------------------- */

static cr_ref full(cr_graph *g, cr_ref scalar, cr_ref like)
{
    return cr_full(g, scalar, shape_of(g, like)->rank, shape_of(g, like)->dim);
}

static cr_ref count(cr_graph *g, cr_ref cond, cr_ref like)
{
    return cr_sum(g, cr_select(g, cond, full(g, cr_const(g, 1), like), full(g, cr_const(g, 0), like)));
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

/* At most SOME entries, evenly from all over: a view, which costs nothing to make. All of them would double the time of
 * the pass. */
enum { SOME = 2048 };
static cr_ref some_of(cr_graph *g, cr_ref a)
{
    cr_dim first[CR_MAX_RANK], step[CR_MAX_RANK], size[CR_MAX_RANK];
    double rest = entries(g, a), kept = 1;
    unsigned rank = cr_rank(g, a);
    if (rest <= SOME) return a;
    for (unsigned i = 0; i < rank; i++) {
        int64_t n = 1;
        cr_dim_value(g, cr_size(g, a, i), &n);
        rest /= (double)n;
        double most = floor(SOME / (kept * rest));
        int64_t keep = most >= (double)n ? n : most < 1 ? 1 : (int64_t)most;
        kept *= (double)keep;
        first[i] = cr_dim_const(g, 0);
        step[i] = cr_dim_const(g, n / keep);
        size[i] = cr_dim_const(g, keep);
    }
    return cr_slice(g, a, first, step, size);
}

static flow_tail ask_tail(flow_backward *b, cr_ref whole)
{
    cr_graph *g = b->g;
    cr_ref bar = some_of(g, whole);
    flow_tail t;
    if (bar == CR_NONE) return (flow_tail){0};
    t.entries = entries(g, bar);
    int first = (int)lround(2 - 0.5 * log2(fmax(1, entries(g, whole))));
    cr_ref size = cr_map(g, CR_OP_ABS, bar), zero = full(g, cr_const(g, 0), bar);
    t.ln_first = first * log(2);
    t.largest = flow_backward_ask(b, cr_reduce(g, CR_OP_NORM_INF, bar, 0));
    t.some = flow_backward_ask(b, count(g, cr_map2(g, CR_OP_NE, bar, zero), bar));
    for (int k = 0; k < FLOW_COUNTS; k++) {
        cr_ref at = full(g, cr_const(g, ldexp(1, first - 4 * k)), bar);
        t.below[k] = flow_backward_ask(b, count(g, cr_map2(g, CR_OP_LT, size, at), bar));
    }
    return t;
}

/* An update by the gradient at the learning rate moves a weight in bfloat16 (8 bits) if it is at least half a unit in
 * its last place: between 2^-9 and 2^-8 of it, 2^-8.5 taken. At level i, the gradient is what is computed over the
 * scales so far and the loss's weight. */
static void ask_updates(flow_backward *b, size_t leaf, cr_ref per, flow_tails *t)
{
    cr_graph *g = b->g;
    cr_ref bar = some_of(g, b->leaf[leaf].ref), w = some_of(g, b->f->n->leaf[leaf].ref);
    if (bar == CR_NONE || w == CR_NONE) return;
    cr_ref half = cr_mul(g, cr_const(g, exp2(-8.5) / FLOW_LEARNING_RATE), per);
    cr_ref zero = full(g, cr_const(g, 0), bar), size = cr_map(g, CR_OP_ABS, bar);
    cr_ref some = cr_map2(g, CR_OP_LT, zero, size);
    cr_ref lost = cr_map2(g, CR_OP_LT, size, cr_mul(g, half, cr_map(g, CR_OP_ABS, w)));
    t->moved[leaf] = flow_backward_ask(b, count(g, some, bar));
    t->lost[leaf] = flow_backward_ask(b, count(g, cr_map2(g, CR_OP_AND, some, lost), bar));
}

cr_status flow_tails_ask(flow_backward *b, cr_ref weight, flow_tails *t, error *e)
{
    const flow *f = b->f;
    cr_graph *g = b->g;
    size_t leaves = f->n->n_leaves;
    *t = (flow_tails){.tensor = mem_alloc((f->n_tensors + 1) * sizeof *t->tensor),
                      .lost = mem_alloc((leaves + 1) * sizeof *t->lost),
                      .moved = mem_alloc((leaves + 1) * sizeof *t->moved)};
    cr_ref *product = mem_alloc((b->n_scales + 1) * sizeof *product); /* of the first scales, times the loss's weight */
    cr_status status = t->tensor && t->lost && t->moved && product ? CR_OK : CR_ENOMEM;
    if (status == CR_OK) {
        for (size_t i = 0; i < f->n_tensors; i++) {
            cr_ref bar = b->tensor[i].ref;
            if (bar != CR_NONE) t->tensor[i] = ask_tail(b, bar);
        }
        product[0] = weight;
        for (size_t i = 0; i < b->n_scales; i++) product[i + 1] = cr_mul(g, product[i], b->scale[i]);
        for (size_t i = 0; i < leaves; i++) {
            t->lost[i] = t->moved[i] = FLOW_NONE;
            if (b->leaf[i].ref == CR_NONE || b->leaf[i].at != CR_NONE) continue;
            ask_updates(b, i, product[b->leaf[i].level], t);
        }
        status = cr_graph_status(g);
    }
    if (status != CR_OK) err_set(e, status, "%s", status == CR_ENOMEM ? "out of memory" : cr_graph_message(g));
    mem_free(product);
    return status;
}

/* ---- reading ------------------------------------------------------------------------------------- */

/* A cotangent: the numbers of it below thresholds, in logarithms of what it is in the loss that is trained with. */
typedef struct tail {
    double weight; /* entries that one of those counted stands for */
    double some, ln_largest, ln_first, below[FLOW_COUNTS];
} tail;

static tail read_tail(const flow_backward *b, const flow_measured *m, const flow_tail *t, size_t tensor,
                      double ln_per)
{
    double shift = m->ln_scale[b->tensor[tensor].level] + ln_per;
    double all = t->entries, some = m->sum[t->some];
    tail x = {.weight = all > 0 ? m->tensor[tensor].entries / all : 0, .some = some,
              .ln_largest = log(m->sum[t->largest]) - shift, .ln_first = t->ln_first - shift};
    for (int k = 0; k < FLOW_COUNTS; k++) x.below[k] = fmax(0, m->sum[t->below[k]] - (all - some)); /* zeros are not */
    return x;
}

/* How many non-zero entries lie below exp(ln). */
static double number_below(const tail *x, double ln)
{
    double k = (x->ln_first - ln) / LN_STEP;
    if (!(x->some > 0) || ln > x->ln_largest) return x->some;
    if (k <= 0) { /* between the first threshold and the largest */
        double width = x->ln_largest - x->ln_first;
        return width > 0 ? x->below[0] + (x->some - x->below[0]) * (ln - x->ln_first) / width : x->some;
    }
    size_t i = (size_t)fmin(k, FLOW_COUNTS - 1);
    double n = x->below[i];
    if (n == 0) return 0;
    if (i == FLOW_COUNTS - 1) return n * exp(-(k - (double)i) * LN_STEP);
    double next = x->below[i + 1] > 0 ? x->below[i + 1] : n * exp(-LN_STEP);
    return n * exp((k - (double)i) * log(next / n));
}

typedef struct pool {
    const tail *x;
    size_t n;
    double all, ln_largest;
} pool;

static double share_below(const pool *p, double ln)
{
    double n = 0;
    for (size_t i = 0; i < p->n; i++) n += p->x[i].weight * number_below(&p->x[i], ln);
    return p->all > 0 ? n / p->all : 0;
}

/* The largest magnitude below which less than 0.1 % lie. */
static double ln_quantile(const pool *p)
{
    double low = INFINITY, high = p->ln_largest;
    for (size_t i = 0; i < p->n; i++) {
        if (p->x[i].some > 0) low = fmin(low, p->x[i].ln_first - (FLOW_COUNTS + 20) * LN_STEP);
    }
    for (int i = 0; i < 80 && low < high; i++) {
        double middle = 0.5 * (low + high);
        if (share_below(p, middle) < share_allowed) low = middle;
        else high = middle;
    }
    return low;
}

static flow_format_fit fit(const flow *f, const pool *p, const size_t *at, flow_format k, double ln_quantile)
{
    double ln_flushed = formats[k].flushed * log(2), ln_largest = log(formats[k].largest);
    flow_format_fit x = {ln_flushed - ln_quantile, ln_largest - p->ln_largest, share_below(p, ln_flushed), FLOW_NONE,
                         false};
    for (size_t i = f->n_blocks; i-- > 0 && x.fails_at == FLOW_NONE;) {
        size_t t = at[f->block[i].out];
        const tail *a = t == FLOW_NONE ? NULL : &p->x[t];
        if (!a || !(a->some > 0)) continue;
        x.overflows = a->ln_largest > ln_largest;
        if (x.overflows || number_below(a, ln_flushed) > share_lost * a->some) x.fails_at = i;
    }
    return x;
}

cr_status flow_formats_find(const flow_backward *b, const flow_measured *m, const flow_tails *t, double ln_per,
                            flow_formats *out)
{
    const flow *f = b->f;
    *out = (flow_formats){.updates_lost = NAN};
    for (int k = 0; k < FLOW_FORMATS; k++) out->of[k] = (flow_format_fit){NAN, NAN, NAN, FLOW_NONE, false};
    double lost = 0, moved = 0;
    tail *x = mem_alloc((f->n_tensors + 1) * sizeof *x);
    size_t *at = mem_alloc((f->n_tensors + 1) * sizeof *at);
    pool p = {x, 0, 0, -INFINITY};
    bool ok = x && at;
    for (size_t i = 0; i < f->n_tensors && ok; i++) {
        at[i] = FLOW_NONE;
        if (b->tensor[i].ref == CR_NONE) continue;
        x[p.n] = read_tail(b, m, &t->tensor[i], i, ln_per);
        if (!isfinite(x[p.n].some) || !(x[p.n].some > 0)) continue;
        p.all += x[p.n].weight * x[p.n].some;
        p.ln_largest = fmax(p.ln_largest, x[p.n].ln_largest);
        at[i] = p.n++;
    }
    if (ok && p.n > 0 && isfinite(p.ln_largest)) {
        double quantile = ln_quantile(&p);
        for (int k = 0; k < FLOW_FORMATS; k++) out->of[k] = fit(f, &p, at, (flow_format)k, quantile);
    }
    for (size_t i = 0; i < f->n->n_leaves && ok; i++) {
        if (t->moved[i] == FLOW_NONE) continue;
        lost += m->sum[t->lost[i]];
        moved += m->sum[t->moved[i]];
    }
    if (moved > 0) out->updates_lost = lost / moved;
    mem_free(x);
    mem_free(at);
    return ok ? CR_OK : CR_ENOMEM;
}

flow_balance flow_balance_find(const flow *f, const flow_measured *m)
{
    flow_balance b = {NAN, NAN, FLOW_NONE, FLOW_NONE};
    for (size_t i = 0; i < f->n->n_leaves; i++) {
        double ln = m->leaf[i].ln_gradient - m->leaf[i].ln_weight;
        if (!isfinite(ln)) continue;
        if (!(ln >= b.low)) {
            b.low = ln;
            b.at_low = i;
        }
        if (!(ln <= b.high)) {
            b.high = ln;
            b.at_high = i;
        }
    }
    return b;
}
