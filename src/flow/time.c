/* A step takes the cotangent g of the state that it makes to that of the state before. As over depth, it is multiplied
 * by a power of two on the way, so that nothing is lost to zero however many steps there are.
 *
 * h .* g does not change when units of the state are scaled up and what reads them is scaled down: so the rule looks at
 * ln(|h .* g| / |h_T .* g_T|), entry by entry, over all that is carried. */
#include "flow/time.h"

#include "calculus/walk.h"

#include <math.h>
#include <string.h>

typedef struct pass {
    flow_backward *b;
    cr_graph *g;
    const net_recurrence *r;
    cr_ref *bar;   /* of the states at hand */
    cr_ref *next;  /* of those before, and of what is shown of the step */
    cr_ref *to;    /* states before, and what is shown: what next is by */
    cr_ref *y, *y_bar;
    cr_ref last_norm;
} pass;

static cr_ref squares(cr_graph *g, cr_ref a) { return cr_sum(g, cr_mul(g, a, a)); }
static cr_ref plus(cr_graph *g, cr_ref a, cr_ref b) { return a == CR_NONE ? b : b == CR_NONE ? a : cr_add(g, a, b); }
static const cr_ref *states(const net_recurrence *r, size_t step) { return r->state + step * r->n_states; }

/* Cotangents of the states `to` by the ones at hand, `from`; and of `shown`, the last of p->next. */
static bool step_back(pass *p, unsigned n_from, const cr_ref *from, const cr_ref *bar, unsigned n_to)
{
    unsigned n = 0;
    for (unsigned i = 0; i < n_from; i++) {
        if (from[i] == CR_NONE || bar[i] == CR_NONE) continue;
        p->y[n] = from[i];
        p->y_bar[n++] = bar[i];
    }
    for (unsigned i = 0; i < n_to; i++) p->next[i] = CR_NONE;
    return n == 0 || calc_reverse_local_n(p->g, n, p->y, p->y_bar, n_to, p->to, p->next) == CR_OK;
}

/* What the states at hand have as cotangents, brought to about 1. */
static bool scale(pass *p, flow_time_sums *at)
{
    cr_graph *g = p->g;
    cr_ref own = CR_NONE;
    for (size_t k = 0; k < p->r->n_states; k++) {
        if (p->bar[k] != CR_NONE) own = plus(g, own, squares(g, p->bar[k]));
    }
    if (own == CR_NONE) return cr_graph_status(g) == CR_OK; /* no derivative leads here */
    cr_ref by = flow_power_for(g, p->last_norm == CR_NONE ? own : p->last_norm);
    for (size_t k = 0; k < p->r->n_states; k++) {
        if (p->bar[k] != CR_NONE) p->bar[k] = cr_mul(g, by, p->bar[k]);
    }
    p->last_norm = cr_mul(g, own, cr_mul(g, by, by));
    at->scale = flow_backward_ask(p->b, by);
    at->norm = flow_backward_ask(p->b, p->last_norm);
    return at->scale != FLOW_NONE && at->norm != FLOW_NONE;
}

static bool ask_effect(pass *p, size_t step, flow_time_sums *at)
{
    cr_ref sum = CR_NONE;
    for (size_t k = 0; k < p->r->n_states; k++) {
        cr_ref h = states(p->r, step)[k];
        if (p->bar[k] != CR_NONE) sum = plus(p->g, sum, squares(p->g, cr_mul(p->g, h, p->bar[k])));
    }
    if (sum == CR_NONE) return cr_graph_status(p->g) == CR_OK;
    at->hg = flow_backward_ask(p->b, sum);
    return at->hg != FLOW_NONE;
}

/* From the states that a step makes to those before it. */
static bool go_back(pass *p, size_t step, flow_time_sums *at)
{
    cr_graph *g = p->g;
    const net_recurrence *r = p->r;
    unsigned n = (unsigned)r->n_states, n_to = n;
    cr_ref shown = r->inner ? r->inner[step] : CR_NONE;
    for (unsigned k = 0; k < n; k++) p->to[k] = states(r, step - 1)[k];
    if (r->what == NET_INNER_ARGUMENT && shown != CR_NONE) p->to[n_to++] = shown;
    if (r->what == NET_INNER_KEEP && shown != CR_NONE && p->bar[r->kept] != CR_NONE) {
        at->before = flow_backward_ask(p->b, squares(g, p->bar[r->kept]));
        at->inner = flow_backward_ask(p->b, squares(g, cr_mul(g, shown, p->bar[r->kept])));
        if (at->before == FLOW_NONE || at->inner == FLOW_NONE) return false;
    }
    if (!step_back(p, n, states(r, step), p->bar, n_to)) return false;
    memcpy(p->bar, p->next, n * sizeof *p->bar);
    cr_ref through = n_to > n ? p->next[n] : CR_NONE;
    if (through == CR_NONE) return cr_graph_status(g) == CR_OK;
    at->inner = flow_backward_ask(p->b, squares(g, through)); /* behind the slope; before the weights */
    if (at->inner == FLOW_NONE || !step_back(p, 1, &shown, &through, n)) return false;
    cr_ref sum = CR_NONE;
    for (unsigned k = 0; k < n; k++) {
        if (p->next[k] != CR_NONE) sum = plus(g, sum, squares(g, p->next[k]));
        p->bar[k] = plus(g, p->bar[k], p->next[k]);
    }
    if (sum == CR_NONE) return cr_graph_status(g) == CR_OK;
    at->before = flow_backward_ask(p->b, sum);
    return at->before != FLOW_NONE;
}

/* ---- the seed ------------------------------------------------------------------------------------ */

/* What a cotangent of level `from` is multiplied with beside one of level `to`, if it is the smaller: at most 1. */
static cr_ref beside(const flow_backward *b, size_t from, size_t to)
{
    cr_graph *g = b->g;
    cr_ref r = cr_const(g, 1), one = r;
    for (size_t i = from < to ? from : to; i < (from < to ? to : from); i++) r = cr_mul(g, r, b->scale[i]);
    return cr_map2(g, CR_OP_MIN2, one, from < to ? r : cr_div(g, one, r));
}

/* What the loss asks of the last state, through all that the node puts out. Its outputs may have cotangents at several
 * levels of the pass over depth; here their ratio counts only. */
static bool seed(pass *p)
{
    const flow_backward *b = p->b;
    const network *n = b->f->n;
    const net_node *node = &n->node[p->r->node];
    const cr_ref *last = states(p->r, p->r->steps - 1);
    for (size_t k = 0; k < p->r->n_states; k++) {
        p->bar[k] = CR_NONE;
        p->to[k] = last[k];
    }
    for (size_t v = 0; v < node->n_values; v++) {
        cr_ref out = n->value[node->first_value + v].ref;
        const struct flow_sum *s = out < b->n_refs ? &b->at[out] : NULL;
        bool again = false;
        for (size_t i = 0; i < v; i++) again |= n->value[node->first_value + i].ref == out;
        if (!s || s->ref == CR_NONE || again) continue;
        cr_ref bar = s->ref;
        for (size_t i = 0; i < node->n_values; i++) {
            cr_ref other = n->value[node->first_value + i].ref;
            if (b->at[other].ref != CR_NONE && b->at[other].level != s->level)
                bar = cr_mul(p->g, beside(b, s->level, b->at[other].level), bar);
        }
        if (!step_back(p, 1, &out, &bar, (unsigned)p->r->n_states)) return false;
        for (size_t k = 0; k < p->r->n_states; k++) p->bar[k] = plus(p->g, p->bar[k], p->next[k]);
    }
    return cr_graph_status(p->g) == CR_OK;
}

static bool any(const pass *p)
{
    for (size_t k = 0; k < p->r->n_states; k++) {
        if (p->bar[k] != CR_NONE) return true;
    }
    return false;
}

static bool build(flow_backward *b, const net_recurrence *r, flow_time *t)
{
    size_t n = r->n_states + 1;
    cr_ref *room = mem_alloc(5 * n * sizeof *room);
    *t = (flow_time){.r = r,
                     .at = mem_alloc(r->steps * sizeof *t->at),
                     .curve = mem_alloc(r->steps * sizeof *t->curve),
                     .ln_gain = NAN,
                     .low = NAN,
                     .high = NAN};
    pass p = {.b = b, .g = b->g, .r = r, .last_norm = CR_NONE};
    bool ok = room && t->at && t->curve;
    if (ok) {
        p.bar = room;
        p.next = room + n;
        p.to = room + 2 * n;
        p.y = room + 3 * n;
        p.y_bar = room + 4 * n;
        for (size_t i = 0; i < r->steps; i++)
            t->at[i] = (flow_time_sums){FLOW_NONE, FLOW_NONE, FLOW_NONE, FLOW_NONE, FLOW_NONE};
        ok = seed(&p);
    }
    for (size_t i = 0; i < r->steps && ok && any(&p); i++) {
        size_t step = r->steps - 1 - i;
        ok = scale(&p, &t->at[i]) && ask_effect(&p, step, &t->at[i]) && (step == 0 || go_back(&p, step, &t->at[i]));
    }
    mem_free(room);
    return ok;
}

cr_status flow_times_build(flow_backward *b, flow_times *t, error *e)
{
    const network *n = b->f->n;
    *t = (flow_times){.time = mem_zalloc(n->n_recurrences + 1, sizeof *t->time)};
    bool ok = t->time != NULL;
    for (size_t i = 0; i < n->n_recurrences && ok; i++) {
        const net_recurrence *r = &n->recurrence[i];
        bool asked = false;
        for (size_t k = 0; k < n->node[r->node].n_values && r->steps > 1; k++)
            asked |= b->at[n->value[n->node[r->node].first_value + k].ref].ref != CR_NONE;
        if (asked) ok = build(b, r, &t->time[t->n++]);
    }
    if (ok) return CR_OK;
    cr_status status = cr_graph_status(b->g);
    if (status == CR_OK) status = CR_ENOMEM;
    err_set(e, status, "%s", status == CR_ENOMEM ? "out of memory" : cr_graph_message(b->g));
    return status;
}

void flow_times_free(flow_times *t)
{
    for (size_t i = 0; i < t->n; i++) {
        mem_free(t->time[i].at);
        mem_free(t->time[i].curve);
    }
    mem_free(t->time);
    *t = (flow_times){0};
}

/* ---- reading -------------------------------------------------------------------------------------- */

static double ln_root(const flow_measured *m, size_t i) { return i == FLOW_NONE ? -INFINITY : 0.5 * log(m->sum[i]); }

/* What a step adds to the factors: the ratios of norms that were measured within it; all else is the rest. */
static void add_factors(const flow_measured *m, flow_time *t, const flow_time_sums *at)
{
    double inner = ln_root(m, at->inner), before = ln_root(m, at->before), own = ln_root(m, at->norm);
    if (t->r->what == NET_INNER_ARGUMENT) {
        t->factor[FLOW_TIME_SLOPE] += inner - own;
        t->factor[FLOW_TIME_WEIGHT] += before - inner;
    } else if (t->r->what == NET_INNER_KEEP && isfinite(before)) {
        t->factor[FLOW_TIME_GATE] += inner - before;
    }
}

static void read_one(const flow_measured *m, flow_time *t)
{
    const net_recurrence *r = t->r;
    double ln_scale = 0, first = NAN, first_hg = NAN;
    bool argument = r->what == NET_INNER_ARGUMENT, keep = r->what == NET_INNER_KEEP;
    memcpy(t->factor, (double[]){argument ? 0 : NAN, argument ? 0 : NAN, keep ? 0 : NAN, 0}, sizeof t->factor);
    t->low = INFINITY;
    t->high = -INFINITY;
    for (size_t i = 0; i < r->steps; i++) {
        const flow_time_sums *at = &t->at[i];
        if (at->scale != FLOW_NONE) ln_scale += log(m->sum[at->scale]);
        double g = ln_root(m, at->norm) - ln_scale, hg = ln_root(m, at->hg) - ln_scale;
        if (i == 0) {
            first = g;
            first_hg = hg;
        }
        t->curve[i] = isfinite(first) ? g - first : NAN;
        if (i + 1 < r->steps && at->norm != FLOW_NONE) add_factors(m, t, at);
        double lambda = hg - first_hg;
        if (i == 0 || isnan(lambda)) continue;
        if (lambda < t->low) {
            t->low = lambda;
            t->at_low = i;
        }
        if (lambda > t->high) {
            t->high = lambda;
            t->at_high = i;
        }
    }
    if (t->low > t->high || !isfinite(first_hg)) t->low = t->high = NAN;
    t->ln_gain = t->curve[r->steps - 1];
    double sum = 0;
    for (int k = 0; k < FLOW_TIME_REST; k++) sum += isnan(t->factor[k]) ? 0 : t->factor[k];
    t->factor[FLOW_TIME_REST] = t->ln_gain - sum;
    for (int k = 0; k < FLOW_TIME_FACTORS && !isfinite(t->ln_gain); k++) t->factor[k] = NAN;
}

void flow_times_read(const flow_measured *m, flow_times *t)
{
    for (size_t i = 0; i < t->n; i++) read_one(m, &t->time[i]);
}

/* ---- the rule ------------------------------------------------------------------------------------- */

static size_t block_of(const flow *f, const net_recurrence *r)
{
    size_t i = 0;
    while (i + 1 < f->n_blocks && f->step[f->block[i + 1].first_step].node <= r->node) i++;
    return i;
}

/* What does it, where it can be told: a phrase behind the sentence. */
static void say_factor(const flow_time *t, bool vanishes, char *text, size_t room)
{
    double sign = vanishes ? -1 : 1;
    double slope = sign * t->factor[FLOW_TIME_SLOPE], weight = sign * t->factor[FLOW_TIME_WEIGHT];
    *text = '\0';
    if (!isfinite(t->ln_gain)) return;
    if (t->r->what == NET_INNER_ARGUMENT && fmax(slope, weight) > 0) {
        snprintf(text, room, "; %s do %.0f %% of it",
                 slope > weight ? "the slopes of its activations" : "its recurrent weights",
                 100 * fmax(slope, weight) / (fmax(slope, 0) + fmax(weight, 0)));
    } else if (t->r->what == NET_INNER_KEEP && vanishes && t->factor[FLOW_TIME_GATE] < 0.5 * t->ln_gain) {
        snprintf(text, room, "; its %s gates keep %.2f of the state's gradient a step",
                 t->r->n_states > 1 ? "forget" : "update",
                 exp(t->factor[FLOW_TIME_GATE] / (double)(t->r->steps - 1)));
    }
}

static void find(const flow *f, const flow_time *t, bool vanishes, double limit, flow_verdict *v)
{
    flow_status status = vanishes ? FLOW_VANISHING : FLOW_EXPLODING;
    size_t at = v->n_findings++;
    for (; at > 0 && v->finding[at - 1].status > status; at--) v->finding[at] = v->finding[at - 1];
    flow_finding *x = &v->finding[at];
    char factor[120];
    double value = vanishes ? t->low : t->high;
    *x = (flow_finding){.status = status, .value = value, .threshold = vanishes ? -limit : limit,
                        .block = block_of(f, t->r)};
    size_t back = vanishes ? t->at_low : t->at_high;
    const char *name = f->n->node[t->r->node].name;
    say_factor(t, vanishes, factor, sizeof factor);
    if (isinf(value)) {
        snprintf(x->text, sizeof x->text,
                 "the gradient vanishes over time: in \"%s\", nothing at all of what the loss asks of the last of %zu "
                 "steps gets to the one %zu before it",
                 name, t->r->steps, back);
        return;
    }
    snprintf(x->text, sizeof x->text,
             "the gradient %s over time: in \"%s\", the state %zu steps before the last of %zu has 10^%.1f of the last "
             "one's effect on the loss%s",
             vanishes ? "vanishes" : "explodes", name, back, t->r->steps, value / log(10), factor);
}

void flow_times_judge(const flow *f, const flow_times *t, flow_verdict *v)
{
    double limit = flow_threshold();
    const flow_time *low = NULL, *high = NULL;
    for (size_t i = 0; i < t->n; i++) {
        const flow_time *x = &t->time[i];
        if (isnan(x->low)) continue;
        if (-x->low >= limit && -x->low > x->high && (!low || x->low < low->low)) low = x;
        if (x->high >= limit && x->high >= -x->low && (!high || x->high > high->high)) high = x;
    }
    if (low) find(f, low, true, limit, v);
    if (high) find(f, high, false, limit, v);
}
