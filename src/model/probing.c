/* What a second, small network of a few samples tells: whether gradients at neighbouring inputs are alike, and how much
 * Lambda moves when the weights are drawn again. It costs little beside the verdict, or is left out and said so, unless
 * the user gives it time. */
#include "model/diagnose.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 32, REDRAWS = 5, NODES = 4000 };
/* Of more nodes, building it again takes long. Floating-point operations that are cheap, some 50 ms; what drawing a
 * number costs, in these. */
static const double cheap = 1e9, per_draw = 60;

/* ---- how much work ------------------------------------------------------------------------------- */

/* Of a pass forward and backward through the products, for all samples. */
static double work_of(const diagnosing *w)
{
    double work = 0;
    for (size_t i = 0; i < w->f.n_steps; i++) {
        const flow_step *st = &w->f.step[i];
        const net_node *node = &w->net.node[st->node];
        for (size_t k = 0; k < node->n_operands && st->affine; k++) {
            size_t leaf = flow_parameter_of(&w->weights, &w->net, node, k);
            if (leaf == FLOW_NONE || !w->weights.at[leaf].matrix) continue;
            work += 6 * w->measured.tensor[w->f.out[st->first_out]].entries * w->weights.at[leaf].fan_in;
        }
    }
    return work;
}

static double weights_of(const diagnosing *w)
{
    double n = 0;
    for (size_t i = 0; i < w->weights.n; i++) n += w->weights.at[i].matrix ? (double)w->weights.at[i].count : 0;
    return n;
}

/* ---- the second network -------------------------------------------------------------------------- */

typedef struct probing {
    diagnosing *w, own; /* own: its network; everything else is w's */
    flow_probe probe;
    double *lambda; /* by block */
} probing;

static cr_status no_memory(probing *p)
{
    err_set(&p->w->e, CR_ENOMEM, "out of memory");
    return CR_ENOMEM;
}

static cr_status probing_init(probing *p, diagnosing *w, size_t samples)
{
    *p = (probing){.w = w, .own = *w};
    diagnosing *o = &p->own;
    o->net = (network){0};
    o->loss = (net_loss){0};
    o->f = (flow){0};
    o->b = (flow_backward){0};
    o->e = (error){CR_OK, NULL};
    o->input_of = NULL;
    sb_init(&o->kept);
    o->batch = samples;
    p->lambda = mem_alloc((w->f.n_blocks + 1) * sizeof *p->lambda);
    if (!p->lambda) return no_memory(p);
    cr_status status = diagnosing_network(o);
    if (status == CR_OK) status = flow_find(&o->net, o->loss.y, &o->f, &o->e);
    if (status == CR_OK) status = flow_backward_build(&o->f, o->loss.sum, &o->b, &o->e);
    if (status == CR_OK) status = flow_probe_init(&o->f, &o->b, w->run->plan, &p->probe, &o->e);
    if (status == CR_OK && (o->f.n_blocks != w->f.n_blocks || o->net.n_leaves != w->net.n_leaves)) {
        err_set(&o->e, status = CR_EINTERNAL, "a network of %zu samples is built otherwise than one of %zu", samples,
                w->batch);
    }
    if (status == CR_OK) status = diagnosing_feed(o, p->probe.runner, &o->e);
    if (status == CR_OK) status = flow_probe_run(&p->probe, w->s_y, p->lambda, &o->e);
    return status;
}

static void probing_free(probing *p)
{
    if (p->own.e.status != CR_OK) err_set(&p->w->e, p->own.e.status, "%s", err_message(&p->own.e));
    err_clear(&p->own.e);
    flow_probe_free(&p->probe);
    flow_backward_free(&p->own.b);
    flow_free(&p->own.f);
    net_free(&p->own.net);
    sb_free(&p->own.kept);
    mem_free(p->own.input_of);
    mem_free(p->lambda);
}

/* ---- shattering ---------------------------------------------------------------------------------- */

/* Of all blocks: the theory of the cosine that is left at the input. */
static cr_status theory_of_cosine(diagnosing *w, double *cosine)
{
    flow_prediction *p = mem_zalloc(w->f.n_blocks + 1, sizeof *p);
    if (!p) {
        err_set(&w->e, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    cr_status status = flow_predict(&w->f, &w->measured, &w->weights, FLOW_NEAR, p, &w->e);
    *cosine = 1;
    for (size_t i = 0; i < w->f.n_blocks; i++) *cosine *= p[i].why ? NAN : p[i].cosine;
    mem_free(p);
    return status;
}

static cr_status shatter(probing *p)
{
    diagnosing *w = p->w, *o = &p->own;
    flow_shattering *s = &w->shattering;
    size_t source = p->probe.source, n = o->batch;
    if (source == FLOW_NONE) {
        s->why = "the network has no single input of floats";
        return CR_OK;
    }
    const net_leaf *leaf = net_find_leaf(&o->net, o->f.tensor[source].ref);
    size_t count = flow_probe_entries(&p->probe, source), of_y = flow_probe_entries(&p->probe, o->f.y);
    if (!leaf || !o->input_of[leaf - o->net.leaf] || count % n != 0 || of_y % n != 0) {
        s->why = "the output has no axis of samples";
        return CR_OK;
    }
    double *x = mem_alloc(count * sizeof *x), *near = mem_alloc(count * sizeof *near),
           *g = mem_alloc(2 * count * sizeof *g), *seed = mem_alloc(2 * of_y * sizeof *seed);
    cr_status status = CR_OK;
    if (!x || !near || !g || !seed) {
        status = no_memory(p);
    } else {
        const cr_tensor *in = &w->feed.input[o->input_of[leaf - o->net.leaf] - 1];
        data_to_f64(in->type, in->data, count, x); /* the first samples */
        flow_near_samples(x, n, count / n, near);
        flow_probe_gradients(&p->probe, g, seed);
        cr_tensor t = leaf->tensor;
        t.type = CR_TYPE_F64;
        t.data = near;
        t.count = count;
        status = net_runner_feed(p->probe.runner, leaf, &t, &o->e);
        if (status == CR_OK) status = flow_probe_run(&p->probe, w->s_y, p->lambda, &o->e);
    }
    if (status == CR_OK) {
        flow_probe_gradients(&p->probe, g + count, seed + of_y);
        s->cosine = flow_mean_cosine(g, g + count, n, count / n, 0, &s->pairs, &s->error);
        s->input_cosine = flow_mean_cosine(x, near, n, count / n, 0, NULL, NULL);
        s->seed_cosine = flow_mean_cosine(seed, seed + of_y, n, of_y / n, 0, NULL, NULL);
        s->neighbours = flow_mean_cosine(g, g, n, count / n, 1, NULL, NULL);
        s->neighbours_input = flow_mean_cosine(x, x, n, count / n, 1, NULL, NULL);
        if (isnan(s->cosine)) s->why = "the gradients by the input are exactly 0";
        status = theory_of_cosine(w, &s->theory);
        s->theory *= s->seed_cosine;
        cr_tensor own = leaf->tensor; /* for the re-draws, back to x */
        own.type = CR_TYPE_F64;
        own.data = x;
        own.count = count;
        if (status == CR_OK) status = net_runner_feed(p->probe.runner, leaf, &own, &o->e);
    }
    mem_free(x);
    mem_free(near);
    mem_free(g);
    mem_free(seed);
    return status;
}

/* ---- drawing again ------------------------------------------------------------------------------- */

static double extreme(const diagnosing *w, const double *lambda)
{
    double most = 0;
    for (size_t i = 0; i + 1 < w->f.n_blocks; i++) {
        bool counts = w->f.block[i].out != w->f.y && isfinite(lambda[i]); /* not what is gated */
        if (counts && fabs(lambda[i]) > most) most = fabs(lambda[i]);
    }
    return most;
}

static cr_status draw_all(probing *p, random_gen *r, double *room)
{
    diagnosing *w = p->w, *o = &p->own;
    cr_status status = CR_OK;
    for (size_t i = 0; i < w->weights.n && status == CR_OK; i++) {
        flow_weight law = w->weights.at[i];
        const net_leaf *leaf = &o->net.leaf[i];
        if (law.count == 0 || leaf->role != NET_PARAMETER || leaf->tensor.count != law.count) continue;
        if (law.law == FLOW_LAW_OTHER && !law.norm) { /* at initialisation because the user says so */
            law.law = FLOW_LAW_NORMAL;
            law.scale = sqrt(law.square);
        }
        if (law.law == FLOW_LAW_NONE || law.law == FLOW_LAW_CONSTANT || law.law == FLOW_LAW_OTHER) continue;
        status = flow_weight_draw(leaf, &law, r, room, &o->e);
        cr_tensor t = leaf->tensor;
        t.type = CR_TYPE_F64;
        t.data = room;
        if (status == CR_OK) status = net_runner_feed(p->probe.runner, leaf, &t, &o->e);
    }
    return status;
}

/* Deviation of n values with this sum and sum of squares. */
static double deviation_of(double sum, double square, double n)
{
    return n > 1 ? sqrt(fmax(0, (square - sum * sum / n) / (n - 1))) : NAN;
}

/* s: deviation of the largest |Lambda| over the draws, the weights as they are being one of them. */
static cr_status redraw(probing *p, size_t times, const double *first, double *s)
{
    diagnosing *w = p->w;
    size_t n = w->f.n_blocks, most = 0;
    random_gen r;
    random_seed(&r, w->o->seed);
    for (size_t i = 0; i < w->weights.n; i++) most = w->weights.at[i].count > most ? w->weights.at[i].count : most;
    double *room = mem_alloc((most + 1) * sizeof *room), *sum = mem_zalloc(2 * n + 1, sizeof *sum);
    cr_status status = room && sum ? CR_OK : no_memory(p);
    double e = extreme(w, first), all = e, squares = e * e, took = 0;
    for (size_t i = 0; i < n && status == CR_OK; i++) {
        sum[i] = first[i];
        sum[n + i] = first[i] * first[i];
    }
    for (size_t k = 0; k < times && status == CR_OK; k++) {
        double began = flow_clock();
        if (k > 0 && took > flow_budget_left(&w->budget)) {
            flow_budget_note(&w->budget, "%zu of %zu re-draws: time is up", times - k, times);
            break;
        }
        status = draw_all(p, &r, room);
        if (status == CR_OK) status = flow_probe_run(&p->probe, w->s_y, p->lambda, &p->own.e);
        if (status != CR_OK) break;
        took = flow_clock() - began;
        w->redraws++;
        e = extreme(w, p->lambda);
        all += e;
        squares += e * e;
        for (size_t i = 0; i < n; i++) {
            sum[i] += p->lambda[i];
            sum[n + i] += p->lambda[i] * p->lambda[i];
        }
    }
    double draws = 1 + (double)w->redraws;
    for (size_t i = 0; i < n && status == CR_OK; i++) w->spread[i] = deviation_of(sum[i], sum[n + i], draws);
    *s = deviation_of(all, squares, draws);
    mem_free(room);
    mem_free(sum);
    return status;
}

/* ---- confidence ---------------------------------------------------------------------------------- */

/* Phi(| |Lambda| - T | / s) at the extreme that the rule looks at; s over samples and draws. */
static double confidence(const diagnosing *w, double over_draws)
{
    const flow_verdict *v = &w->verdict;
    bool by_lambda = v->status == FLOW_VANISHING || v->status == FLOW_EXPLODING || v->status == FLOW_HEALTHY ||
                     v->status == FLOW_SHATTERED;
    if (!by_lambda || !isfinite(v->low) || !isfinite(v->high)) return NAN;
    bool low = v->status == FLOW_VANISHING || (v->status != FLOW_EXPLODING && -v->low > v->high);
    double size = fabs(low ? v->low : v->high);
    double over_samples = w->measured.tensor[w->f.block[low ? v->at_low : v->at_high].out].error, s = 0;
    if (isfinite(over_samples)) s += over_samples * over_samples;
    if (isfinite(over_draws)) s += over_draws * over_draws;
    return s > 0 ? 0.5 * erfc(-fabs(size - log(1000)) / sqrt(2 * s)) : NAN;
}

/* ---- all of it ----------------------------------------------------------------------------------- */

static bool at_initialisation(const diagnosing *w)
{
    if (w->o->state != CR_WEIGHTS_TESTED) return w->o->state == CR_WEIGHTS_INITIAL;
    return w->weights.state == FLOW_INITIALISATION;
}

/* How often to draw: what the user says, or what is cheap. */
static size_t redraws_of(diagnosing *w, double work)
{
    if (w->o->redraws < 0 || !at_initialisation(w)) return 0;
    if (w->o->redraws > 0) return (size_t)w->o->redraws;
    double n = w->net.n_nodes > NODES ? 0 : floor(cheap / (work + per_draw * weights_of(w)));
    if (n >= 2 || flow_budget_given(&w->budget)) return n < 2 || n > REDRAWS ? REDRAWS : (size_t)n;
    flow_budget_note(&w->budget, "re-draws of the weights: they take long here; ask for them by --redraws N");
    return 0;
}

cr_status diagnosing_probe(diagnosing *w)
{
    double s = NAN, measured = flow_clock() - w->budget.began;
    w->shattering = (flow_shattering){NAN, NAN, NAN, NAN, NAN, NAN, NAN, 0, NULL};
    w->spread = mem_alloc((w->f.n_blocks + 1) * sizeof *w->spread);
    if (!w->spread) return model_fail(w->m, CR_ENOMEM, "out of memory");
    for (size_t i = 0; i < w->f.n_blocks; i++) w->spread[i] = NAN;
    bool judged = w->verdict.status != FLOW_NONFINITE && isfinite(w->measured.tensor[w->f.y].ln_norm);
    bool free_size = w->feed.samples_first && w->feed.batch == 0;
    size_t n = free_size && w->batch > SAMPLES ? SAMPLES : w->batch;
    double all = work_of(w), work = all * (double)n / (double)w->batch;
    size_t least = w->norms ? SAMPLES : 8; /* batch norms want a batch */
    while (free_size && n > least && 5 * work > cheap) { /* two runs for the gradients, three draws */
        n /= 2;
        work /= 2;
    }
    size_t times = judged ? redraws_of(w, work) : 0;
    bool near = judged && w->feed.samples_first && n > 1;
    if (!near) w->shattering.why = judged ? "there are no samples to compare" : "there is no gradient";
    if (near && (2 * work > cheap || w->net.n_nodes > NODES) && !flow_budget_given(&w->budget)) {
        near = false;
        w->shattering.why = "it takes long here; give it time by --budget SECONDS";
        flow_budget_note(&w->budget, "shattered gradients: %s", w->shattering.why);
    }
    double share = (double)n / (double)w->batch; /* building it again takes time, too */
    if (near && !flow_budget_allows(&w->budget, measured * (0.3 + share), "shattered gradients")) {
        near = false;
        w->shattering.why = "the budget left no time";
    }
    if (times > 0 && !flow_budget_allows(&w->budget, measured * (near ? 1 : 2) * (0.3 + share), "re-draws"))
        times = 0;
    cr_status status = CR_OK;
    if (near || times > 0) {
        probing p;
        status = probing_init(&p, w, n);
        double *first = status == CR_OK ? mem_alloc((w->f.n_blocks + 1) * sizeof *first) : NULL;
        if (status == CR_OK && !first) status = no_memory(&p);
        if (status == CR_OK) memcpy(first, p.lambda, w->f.n_blocks * sizeof *first);
        if (status == CR_OK && near) status = shatter(&p);
        if (status == CR_OK && times > 0) status = redraw(&p, times, first, &s);
        mem_free(first);
        probing_free(&p);
    }
    if (status != CR_OK) return status;
    /* Through the steps of a recurrent layer, gradients turn with the sequence: the rule is about depth. */
    if (w->times.n == 0) flow_judge_shattering(&w->shattering, &w->verdict);
    w->verdict.confidence = confidence(w, s);
    return CR_OK;
}
