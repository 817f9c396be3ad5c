/* The public diagnosis: a model and its data through room flow. */
#include "model/diagnose.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 512 };

static cr_tensor first_rows(const diagnosing *w, const cr_tensor *t)
{
    return w->feed.samples_first ? model_rows(t, 0, w->batch) : *t;
}

static cr_status feed_runner(void *user, net_runner *r, error *e)
{
    diagnosing *w = user;
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

static cr_status make_network(diagnosing *w)
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
    net_loss_options lo = {.kind = w->run->loss,
                           .output = w->run->output,
                           .label = label.data ? &label : NULL,
                           .weight = w->feed.weight.data ? &w->feed.weight : NULL,
                           .ignores = w->run->ignores,
                           .ignore_index = w->run->ignore_index};
    status = net_loss_make(&w->net, &lo, &w->loss, &w->e);
    if (status == CR_OK) status = net_loss_check(&w->loss, &lo, &w->e);
    bool regression = w->loss.kind == CR_LOSS_MSE || w->loss.kind == CR_LOSS_L1;
    w->s_y = regression && label.data ? deviation(&label) : 1;
    return status;
}

static cr_status measure(diagnosing *w)
{
    cr_status status = make_network(w);
    if (status == CR_OK) status = flow_find(&w->net, w->loss.y, &w->f, &w->e);
    if (status == CR_OK) status = flow_backward_build(&w->f, w->loss.sum, &w->b, &w->e);
    if (status == CR_OK) {
        status = flow_measure(&w->f, &w->b, &w->loss, w->run->plan, feed_runner, w, &w->measured, &w->e);
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

cr_status cr_model_diagnose(cr_model *m, const cr_data *data, const cr_diagnose_options *options, cr_diagnosis **d)
{
    static const cr_diagnose_options none = {0};
    static const cr_model_run_options no_run = {0};
    *d = NULL;
    if (m->err.status != CR_OK) return m->err.status;
    diagnosing w = {.m = m, .o = options ? options : &none};
    w.run = w.o->run ? w.o->run : &no_run;
    cr_status status = model_feed_init(m, data, w.run, &w.feed);
    if (status == CR_OK) {
        size_t most = w.feed.batch ? w.feed.batch : w.run->batch ? w.run->batch : SAMPLES;
        w.batch = !w.feed.samples_first || w.feed.samples < most ? w.feed.samples : most;
        if (w.feed.batch > w.feed.samples && w.feed.samples_first) {
            status = model_fail(m, CR_ESHAPE, "the model takes batches of %zu samples, and the data have %zu",
                                w.feed.batch, w.feed.samples);
        }
    }
    if (status == CR_OK) status = measure(&w);
    if (status == CR_OK) status = diagnosis_make(&w, d);
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
