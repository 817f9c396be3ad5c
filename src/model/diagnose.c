/* The public diagnosis: a model and its data through room flow. */
#include "flow/verdict.h"
#include "model/model.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 512 };

/* With its memory: everything in it lies in the arena. */
typedef struct diagnosis {
    cr_diagnosis d;
    arena mem;
} diagnosis;

void cr_diagnosis_free(cr_diagnosis *d)
{
    if (!d) return;
    diagnosis *own = (diagnosis *)(void *)d;
    arena_free(&own->mem);
    mem_free(own);
}

typedef struct work {
    cr_model *m;
    const cr_model_run_options *o;
    model_feed feed;
    size_t batch;
    network net;
    net_loss loss;
    flow f;
    flow_backward b;
    flow_measured measured;
    flow_gain *gain;
    double *weight, s_y;
    size_t *leaf_of; /* by ref: the parameter that it is, or is made of, + 1 */
    flow_verdict verdict;
    diagnosis *d;
    error e;
} work;

static cr_tensor first_rows(const work *w, const cr_tensor *t)
{
    return w->feed.samples_first ? model_rows(t, 0, w->batch) : *t;
}

static cr_status feed_runner(void *user, net_runner *r, error *e)
{
    work *w = user;
    cr_status status = CR_OK;
    for (size_t i = 0; i < w->net.n_leaves && status == CR_OK; i++) {
        const net_leaf *l = &w->net.leaf[i];
        const cr_tensor *t = l->ref == w->loss.label ? &w->feed.label : NULL;
        for (size_t k = 0; k < w->feed.n_inputs; k++) {
            if (l->role == NET_INPUT && strcmp(w->feed.input[k].name, l->name) == 0) t = &w->feed.input[k];
        }
        if (!t) continue;
        cr_tensor rows = first_rows(w, t);
        status = net_runner_feed(r, l, &rows, e);
    }
    return status;
}

/* Standard deviation of the targets: what a unit of a regression's output is measured by. */
static double deviation(const cr_tensor *t)
{
    double mean = 0, square = 0;
    for (size_t i = 0; i < t->count; i++) {
        double x;
        data_to_f64(t->type, (const char *)t->data + i * cr_type_size(t->type), 1, &x);
        mean += x / (double)t->count;
        square += x * x / (double)t->count;
    }
    double v = square - mean * mean;
    return v > 0 ? sqrt(v) : 1;
}

static cr_status make_network(work *w)
{
    cr_tensor *in = mem_zalloc(w->feed.n_inputs + 1, sizeof *in);
    if (!in) return model_fail(w->m, CR_ENOMEM, "out of memory");
    for (size_t i = 0; i < w->feed.n_inputs; i++) in[i] = first_rows(w, &w->feed.input[i]);
    onnx_import_options io = {.n_inputs = w->feed.n_inputs, .input = in, .fences = true, .smooth = true};
    cr_status status = onnx_import(w->m->onnx, &io, &w->net, &w->e);
    mem_free(in);
    if (status != CR_OK) return status;
    cr_tensor label = w->feed.label;
    if (label.data) label = first_rows(w, &label);
    net_loss_options lo = {.kind = w->o->loss,
                           .output = w->o->output,
                           .label = label.data ? &label : NULL,
                           .weight = w->feed.weight.data ? &w->feed.weight : NULL,
                           .ignores = w->o->ignores,
                           .ignore_index = w->o->ignore_index};
    status = net_loss_make(&w->net, &lo, &w->loss, &w->e);
    if (status == CR_OK) status = net_loss_check(&w->loss, &lo, &w->e);
    bool regression = w->loss.kind == CR_LOSS_MSE || w->loss.kind == CR_LOSS_L1;
    w->s_y = regression && label.data ? deviation(&label) : 1;
    return status;
}

static cr_status measure(work *w)
{
    cr_status status = make_network(w);
    if (status == CR_OK) status = flow_find(&w->net, w->loss.y, &w->f, &w->e);
    if (status == CR_OK) status = flow_backward_build(&w->f, w->loss.sum, &w->b, &w->e);
    if (status == CR_OK) {
        status = flow_measure(&w->f, &w->b, &w->loss, w->o->plan, feed_runner, w, &w->measured, &w->e);
    }
    if (status != CR_OK) return status;
    w->gain = mem_zalloc(w->f.n_blocks + 1, sizeof *w->gain);
    w->weight = mem_zalloc(w->f.n_tensors + 1, sizeof *w->weight);
    if (!w->gain || !w->weight) return model_fail(w->m, CR_ENOMEM, "out of memory");
    for (size_t i = 0; i < w->f.n_blocks; i++)
        w->gain[i] = flow_block_gain(&w->f, &w->measured, &w->f.block[i], w->weight);
    flow_judge(&w->f, &w->measured, w->gain, w->s_y, w->batch, &w->verdict);
    return CR_OK;
}

/* ---- the result ---------------------------------------------------------------------------------- */

static void *take(work *w, size_t n)
{
    void *p = arena_alloc(&w->d->mem, n ? n : 1);
    if (!p) model_fail(w->m, CR_ENOMEM, "out of memory");
    return p;
}

static const char *text(work *w, const char *s)
{
    char *p = take(w, strlen(s) + 1);
    return p ? strcpy(p, s) : "";
}

/* Parameters that a block's steps read, behind what only changes their form: by that of each leaf. */
static void mark_leaves(work *w)
{
    const network *n = &w->net;
    size_t n_refs = w->b.n_refs;
    w->leaf_of = mem_zalloc(n_refs, sizeof *w->leaf_of);
    if (!w->leaf_of) return;
    for (size_t i = 0; i < n->n_leaves; i++) {
        if (n->leaf[i].ref < n_refs && !isnan(w->measured.leaf[i].ln_gradient)) w->leaf_of[n->leaf[i].ref] = i + 1;
    }
    for (size_t i = 0; i < n->n_nodes; i++) {
        const net_node *node = &n->node[i];
        for (size_t k = 0; k < node->n_operands; k++) {
            size_t leaf = w->leaf_of[n->operand[node->first_operand + k].ref];
            for (size_t v = 0; leaf && v < node->n_values; v++) {
                cr_ref ref = n->value[node->first_value + v].ref;
                if (flow_tensor_of(&w->f, ref) == FLOW_NONE && !w->leaf_of[ref]) w->leaf_of[ref] = leaf;
            }
        }
    }
}

static size_t gradients(work *w, const flow_block *b, cr_flow_gradient *out, size_t room)
{
    const network *n = &w->net;
    size_t count = 0;
    for (size_t i = b->first_step; i < b->first_step + b->n_steps && w->leaf_of; i++) {
        const net_node *node = &n->node[w->f.step[i].node];
        for (size_t k = 0; k < node->n_operands; k++) {
            size_t leaf = w->leaf_of[n->operand[node->first_operand + k].ref];
            if (!leaf) continue;
            const flow_at_leaf *a = &w->measured.leaf[leaf - 1];
            const char *name = n->leaf[leaf - 1].name;
            bool again = false;
            for (size_t t = 0; t < count && out && !again; t++) again = strcmp(out[t].parameter, name) == 0;
            if (again) continue;
            if (out && count < room)
                out[count] = (cr_flow_gradient){text(w, name), a->ln_gradient, a->ln_weight, a->dot};
            count++;
        }
    }
    return count;
}

static bool put_layer(work *w, const flow_block *b, const flow_gain *gain, cr_flow_layer *out)
{
    const flow *f = &w->f;
    const flow_measured *m = &w->measured;
    size_t step = b->affine != FLOW_NONE ? b->affine : b->first_step, n = gradients(w, b, NULL, 0);
    cr_flow_gradient *list = take(w, n * sizeof *list);
    if (!list) return false;
    *out = (cr_flow_layer){.name = text(w, flow_block_name(f, b)),
                           .op = text(w, w->net.node[f->step[step].node].op),
                           .lambda = flow_lambda(f, m, b->out, w->s_y),
                           .ln_in = b->in == FLOW_NONE ? NAN : m->tensor[b->in].ln_norm,
                           .ln_out = m->tensor[b->out].ln_norm,
                           .ln_gain = gain->ln_gain,
                           .slope_square = NAN,
                           .saturated = NAN,
                           .dead = NAN,
                           .mean = m->tensor[b->out].mean,
                           .n_gradients = n,
                           .gradient = list,
                           .steps = b->n_steps};
    out->deviation = sqrt(fmax(0, m->tensor[b->out].square - out->mean * out->mean));
    memcpy(out->factor, gain->factor, sizeof out->factor);
    for (size_t i = b->first_step; i < b->first_step + b->n_steps; i++) {
        const flow_at_step *s = &m->step[i];
        if (!isnan(s->slope_square)) out->slope_square = s->slope_square;
        if (!isnan(s->saturated)) out->saturated = s->saturated;
        if (!isnan(s->dead)) out->dead = s->dead;
    }
    out->n_gradients = gradients(w, b, list, n);
    return true;
}

static cr_status put(work *w, cr_diagnosis **out)
{
    const flow_verdict *v = &w->verdict;
    w->d = mem_zalloc(1, sizeof *w->d);
    if (!w->d) return model_fail(w->m, CR_ENOMEM, "out of memory");
    cr_diagnosis *d = &w->d->d;
    cr_flow_layer *layer = take(w, w->f.n_blocks * sizeof *layer);
    cr_flow_finding *finding = take(w, (v->n_findings + 1) * sizeof *finding);
    mark_leaves(w);
    bool ok = layer && finding;
    for (size_t i = 0; i < w->f.n_blocks && ok; i++) ok = put_layer(w, &w->f.block[i], &w->gain[i], &layer[i]);
    for (size_t i = 0; i < v->n_findings && ok; i++) {
        const flow_finding *x = &v->finding[i];
        finding[i] = (cr_flow_finding){flow_status_name(x->status), text(w, x->text),
                                       text(w, flow_block_name(&w->f, &w->f.block[x->block])), x->value, x->threshold};
    }
    *d = (cr_diagnosis){.status = flow_status_name(v->status),
                        .sentence = text(w, v->sentence),
                        .low = v->low,
                        .high = v->high,
                        .n_findings = v->n_findings,
                        .finding = finding,
                        .n_layers = w->f.n_blocks,
                        .layer = layer,
                        .loss = w->measured.loss,
                        .kind = w->loss.kind,
                        .said = text(w, w->loss.said),
                        .cut = text(w, sb_str(&w->net.said)),
                        .samples = w->batch,
                        .left_out = w->feed.samples_first ? w->feed.samples - w->batch : 0};
    if (!ok || w->m->err.status != CR_OK) {
        cr_diagnosis_free(d);
        return w->m->err.status;
    }
    *out = d;
    return CR_OK;
}

cr_status cr_model_diagnose(cr_model *m, const cr_data *data, const cr_model_run_options *options, cr_diagnosis **d)
{
    static const cr_model_run_options none = {0};
    *d = NULL;
    if (m->err.status != CR_OK) return m->err.status;
    work w = {.m = m, .o = options ? options : &none};
    cr_status status = model_feed_init(m, data, w.o, &w.feed);
    if (status == CR_OK) {
        size_t most = w.feed.batch ? w.feed.batch : w.o->batch ? w.o->batch : SAMPLES;
        w.batch = !w.feed.samples_first || w.feed.samples < most ? w.feed.samples : most;
        if (w.feed.batch > w.feed.samples && w.feed.samples_first) {
            status = model_fail(m, CR_ESHAPE, "the model takes batches of %zu samples, and the data have %zu",
                                w.feed.batch, w.feed.samples);
        }
    }
    if (status == CR_OK) status = measure(&w);
    if (status == CR_OK) status = put(&w, d);
    status = model_keep(m, &w.e) != CR_OK ? m->err.status : status;
    mem_free(w.gain);
    mem_free(w.weight);
    mem_free(w.leaf_of);
    flow_measured_free(&w.measured);
    flow_backward_free(&w.b);
    flow_free(&w.f);
    net_free(&w.net);
    model_feed_free(&w.feed);
    return status;
}
