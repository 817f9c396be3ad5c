/* What stands beside the verdict. Number formats and balance are more numbers of the pass that was measured. Paths and
 * spectra take many cotangents back at once, so they are of a second, smaller network: of a few of the samples, and of
 * as much as takes little, unless the user asks for all of it. */
#include "model/diagnose.h"

#include <math.h>
#include <string.h>

enum { PATH_SAMPLES = 16, SPECTRUM_SAMPLES = 4, NODES = 4000 /* of more, building it again takes long */ };
static const double cheap_paths = 1e8; /* multiplications: some 20 milliseconds */

static cr_status no_memory(diagnosing *w) { return model_fail(w->m, CR_ENOMEM, "out of memory"); }
static double loss_scale(const diagnosing *w) { return w->o->loss_scale > 0 ? w->o->loss_scale : 1; }

cr_status diagnosing_ask(diagnosing *w)
{
    cr_graph *g = w->net.g;
    return flow_tails_ask(&w->b, cr_mul(g, cr_const(g, loss_scale(w)), w->loss.weight), &w->tails, &w->e);
}

/* ---- the smaller network ------------------------------------------------------------------------- */

typedef struct smaller {
    diagnosing own; /* its network; everything else is w's */
    cr_diagnose_options o;
    double **statistic; /* of batch norms that are frozen */
    size_t n_statistics;
    bool *branch;
    size_t blocks;
} smaller;

/* May it have fewer samples than were measured? */
static bool is_free(const diagnosing *w) { return w->feed.samples_first && w->feed.batch == 0; }
static bool mixes_samples(const diagnosing *w) { return w->norms && !w->o->stored_norms; }

static cr_status smaller_init(smaller *s, diagnosing *w, size_t samples, bool frozen)
{
    *s = (smaller){.own = *w, .o = *w->o};
    diagnosing *o = &s->own;
    s->o.stored_norms |= frozen;
    o->o = &s->o;
    o->net = (network){0};
    o->loss = (net_loss){0};
    o->f = (flow){0};
    o->b = (flow_backward){0};
    o->input_of = NULL;
    o->e = (error){0};
    o->batch = samples;
    sb_init(&o->kept);
    cr_status status = diagnosing_network(o);
    if (status == CR_OK) status = flow_find(&o->net, o->loss.y, &o->f, &o->e);
    if (status == CR_OK) status = flow_backward_build(&o->f, o->loss.sum, &o->b, &o->e);
    return status;
}

static void smaller_free(smaller *s, diagnosing *w)
{
    diagnosing *o = &s->own;
    if (o->e.status != CR_OK) err_set(&w->e, o->e.status, "%s", err_message(&o->e));
    err_clear(&o->e);
    flow_backward_free(&o->b);
    flow_free(&o->f);
    net_free(&o->net);
    mem_free(o->input_of);
    sb_free(&o->kept);
    for (size_t i = 0; i < s->n_statistics; i++) mem_free(s->statistic[i]);
    mem_free(s->statistic);
    mem_free(s->branch);
}

/* Of fewer samples if it can be; else of all that were measured. CR_EUNSUPPORTED, CR_ESHAPE: it cannot be made. */
static cr_status smaller_open(smaller *s, diagnosing *w, size_t *samples, bool frozen)
{
    cr_status status = smaller_init(s, w, *samples, frozen);
    if (status == CR_OK || status == CR_ENOMEM || *samples == w->batch) return status;
    err_clear(&s->own.e); /* the file may have its own number of them */
    smaller_free(s, w);
    *samples = w->batch;
    return smaller_init(s, w, *samples, frozen);
}

/* An operator that cannot be frozen, or a shape: left out and said so. */
static bool is_left_out(smaller *s, cr_status status)
{
    if (status != CR_EUNSUPPORTED && status != CR_ESHAPE && status != CR_EVALUE) return false;
    err_clear(&s->own.e);
    return true;
}

/* ---- paths --------------------------------------------------------------------------------------- */

/* How many samples, and how many coefficients: what takes little. 0: nothing does. */
static size_t choose_paths(diagnosing *w, size_t blocks, size_t *samples)
{
    size_t most = blocks <= FLOW_PATHS_EXACT ? blocks + 1 : FLOW_PATHS_EXACT + 1, n = w->batch;
    bool reducible = is_free(w) && !mixes_samples(w);
    if (reducible && n > PATH_SAMPLES) n = PATH_SAMPLES;
    double work = flow_work(&w->f) / (double)w->batch, mean = blocks <= FLOW_PATHS_EXACT ? 0.5 : 1;
    while (w->o->paths == CR_FLOW_CHEAP && reducible && n > 1 && work * (double)n * mean * (double)most > cheap_paths)
        n /= 2;
    if (w->o->paths == CR_FLOW_CHEAP) {
        if (w->net.n_nodes > NODES) return 0;
        while (most > 1 && work * (double)n * mean * (double)most > cheap_paths) most--;
        if (most < 8 && most < blocks + 1) return 0;
    }
    *samples = n;
    return most;
}

static cr_status find_paths(diagnosing *w)
{
    size_t blocks, most;
    bool *branch = flow_branches(&w->f, &blocks);
    if (!branch) return no_memory(w);
    mem_free(branch);
    w->paths.blocks = blocks;
    if (blocks == 0) return CR_OK;
    most = w->o->paths == CR_FLOW_OFF ? 0 : choose_paths(w, blocks, &w->path_samples);
    if (most == 0) {
        w->no_paths = w->o->paths == CR_FLOW_OFF ? "switched off" : "it takes long here: --paths on";
        w->paths.remainder = w->paths.effective_depth = NAN;
        return CR_OK;
    }
    smaller s;
    cr_status status = smaller_open(&s, w, &w->path_samples, false);
    if (is_left_out(&s, status)) {
        w->no_paths = "the network cannot be made of these samples alone";
        w->paths.remainder = w->paths.effective_depth = NAN;
        smaller_free(&s, w);
        return CR_OK;
    }
    if (status == CR_OK && !(s.branch = flow_branches(&s.own.f, &s.blocks))) status = no_memory(w);
    if (status == CR_OK) {
        status = flow_paths_find(&s.own.b, s.branch, s.blocks, most, w->run->plan, diagnosing_feed, &s.own, &w->paths,
                                 &s.own.e);
    }
    if (w->paths.n == 0) w->no_paths = "no gradient gets to the front of the network";
    else if (w->paths.n < s.blocks + 1) w->no_paths = "cut off: the remainder came through more branches";
    smaller_free(&s, w);
    return status;
}

/* ---- spectra ------------------------------------------------------------------------------------- */

/* Mean and variance by channel, axis 1, of what a batch norm reads. */
static void statistics(cr_graph *g, cr_ref x, cr_ref *mean, cr_ref *variance)
{
    unsigned rank = cr_rank(g, x);
    uint8_t label[2 * CR_MAX_RANK];
    cr_dim channels = cr_size(g, x, 1);
    double n = 1;
    for (unsigned i = 0; i < rank; i++) {
        int64_t d = 1;
        label[i] = (uint8_t)(i == 1 ? 0 : CR_MAX_RANK + i);
        if (i != 1) cr_dim_value(g, cr_size(g, x, i), &d);
        n *= (double)d;
    }
    *mean = cr_mul(g, cr_const(g, 1 / n), cr_einsum(g, 1, &x, label, 1, &channels));
    label[0] = 1;
    cr_dim dim[CR_MAX_RANK];
    for (unsigned i = 0; i < rank; i++) dim[i] = cr_size(g, x, i);
    cr_ref all = cr_einsum(g, 1, mean, label, rank, dim), d = cr_sub(g, x, all);
    for (unsigned i = 0; i < rank; i++) label[i] = (uint8_t)(i == 1 ? 0 : CR_MAX_RANK + i);
    d = cr_mul(g, d, d);
    *variance = cr_mul(g, cr_const(g, 1 / n), cr_einsum(g, 1, &d, label, 1, &channels));
}

/* What the batch norms of the whole batch divide by becomes what those of the smaller network have stored. */
static cr_status freeze(smaller *s, diagnosing *w)
{
    network *from = &w->net, *to = &s->own.net;
    size_t count = 0;
    cr_ref *want = mem_alloc((2 * from->n_nodes + 1) * sizeof *want);
    size_t *node = mem_alloc((from->n_nodes + 1) * sizeof *node);
    s->statistic = mem_zalloc(2 * from->n_nodes + 1, sizeof *s->statistic);
    net_runner *r = NULL;
    cr_plan_options plan = w->run->plan ? *w->run->plan : (cr_plan_options){0};
    plan.precision = CR_F64;
    cr_status status = want && node && s->statistic ? CR_OK : no_memory(w);
    if (status == CR_OK && from->n_nodes != to->n_nodes) w->no_spectra = "the network of fewer samples is another one";
    for (size_t i = 0; i < from->n_nodes && status == CR_OK && !w->no_spectra; i++) {
        if (strcmp(from->node[i].op, "BatchNormalization") != 0 || from->node[i].n_operands < 5) continue;
        cr_ref x = from->operand[from->node[i].first_operand].ref;
        if (cr_rank(from->g, x) < 2) continue;
        statistics(from->g, x, &want[2 * count], &want[2 * count + 1]);
        node[count++] = i;
    }
    if (status == CR_OK && (status = cr_graph_status(from->g)) != CR_OK)
        err_set(&w->e, status, "%s", cr_graph_message(from->g));
    if (status == CR_OK && count > 0) status = net_runner_new(from, (unsigned)(2 * count), want, &plan, &r, &w->e);
    if (status == CR_OK && count > 0) status = diagnosing_feed(w, r, &w->e);
    if (status == CR_OK && count > 0) status = net_runner_run(r, &w->e);
    for (size_t i = 0; i < 2 * count && status == CR_OK; i++) {
        const net_node *n = &to->node[node[i / 2]];
        net_leaf *leaf = n->n_operands < 5 ? NULL : net_find_leaf(to, to->operand[n->first_operand + 3 + i % 2].ref);
        size_t channels = net_runner_count(r, (unsigned)i);
        if (!leaf || leaf->tensor.count != channels) {
            w->no_spectra = "a batch norm does not read its statistics from the file";
            break;
        }
        double *x = s->statistic[s->n_statistics++] = mem_alloc((channels + 1) * sizeof *x);
        if (!x) {
            status = no_memory(w);
            break;
        }
        memcpy(x, net_runner_result(r, (unsigned)i), channels * sizeof *x);
        leaf->tensor.type = CR_TYPE_F64;
        leaf->tensor.data = x;
    }
    net_runner_free(r);
    mem_free(want);
    mem_free(node);
    return status;
}

/* A Jacobian that is computed whole, by its sizes for one sample. */
static bool is_large(const diagnosing *w, size_t in, size_t out)
{
    double n = (double)w->batch, rows = w->measured.tensor[out].entries / n;
    double columns = in == FLOW_NONE ? 0 : w->measured.tensor[in].entries / n;
    return fmin(rows, columns) > 512 || rows > 1024;
}

static size_t choose_samples(const diagnosing *w)
{
    const flow *f = &w->f;
    if (!is_free(w)) return w->batch;
    bool large = is_large(w, f->block[0].in, f->y);
    for (size_t i = 0; i < f->n_blocks && w->o->spectrum == CR_FLOW_ON; i++)
        large |= is_large(w, f->block[i].in, f->block[i].out);
    return large ? 1 : w->batch < SPECTRUM_SAMPLES ? w->batch : SPECTRUM_SAMPLES;
}

static cr_status find_spectra(diagnosing *w)
{
    smaller s;
    if (w->o->spectrum == CR_FLOW_OFF) {
        w->no_spectra = "switched off";
        return CR_OK;
    }
    if (!w->feed.samples_first || (w->o->spectrum != CR_FLOW_ON && w->net.n_nodes > NODES)) {
        w->no_spectra = w->feed.samples_first ? "it takes long here: --spectrum on" : "there is no axis of samples";
        return CR_OK;
    }
    size_t samples = choose_samples(w);
    cr_status status = smaller_open(&s, w, &samples, true);
    if (is_left_out(&s, status)) {
        w->no_spectra = "the network cannot be made with fixed batch norms, of these samples";
        smaller_free(&s, w);
        return CR_OK;
    }
    if (status == CR_OK && mixes_samples(w)) status = freeze(&s, w);
    if (status == CR_OK && !w->no_spectra && s.own.f.n_blocks != w->f.n_blocks)
        w->no_spectra = "the network of fewer samples is another one";
    if (status == CR_OK && !w->no_spectra) {
        status = flow_spectra_find(&s.own.b, samples, w->o->spectrum == CR_FLOW_ON ? FLOW_ALL : FLOW_CHEAP,
                                   w->run->plan, diagnosing_feed, &s.own, &w->spectra, &s.own.e);
        w->has_spectra = status == CR_OK;
        w->no_spectra = w->spectra.left_out;
    }
    smaller_free(&s, w);
    return status;
}

/* ---- all of it ----------------------------------------------------------------------------------- */

cr_status diagnosing_more(diagnosing *w, const flow_case *c)
{
    double ln_per = log(w->measured.loss_weight) + log(loss_scale(w));
    if (flow_formats_find(&w->b, &w->measured, &w->tails, ln_per, &w->formats) != CR_OK) return no_memory(w);
    w->balance = flow_balance_find(&w->f, &w->measured);
    w->n_evidence = flow_evidence_find(c, &w->verdict, &w->formats, &w->balance, w->evidence);
    if (w->verdict.status == FLOW_NONFINITE || !isfinite(w->measured.tensor[w->f.y].ln_norm)) {
        w->no_spectra = "there is no gradient to follow";
        return CR_OK;
    }
    cr_status status = find_paths(w);
    return status == CR_OK ? find_spectra(w) : status;
}

void diagnosing_more_free(diagnosing *w)
{
    flow_tails_free(&w->tails);
    flow_paths_free(&w->paths);
    flow_spectra_free(&w->spectra);
}
