/* The public diagnosis: a model and its data through room flow. */
#include "model/diagnose.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 512 };

static cr_tensor first_rows(const diagnosing *w, const cr_tensor *t)
{
    return w->feed.samples_first ? model_rows(t, 0, w->batch) : *t;
}

cr_status diagnosing_feed(void *user, net_runner *r, error *e)
{
    diagnosing *w = user;
    cr_status status = CR_OK;
    for (size_t i = 0; i < w->net.n_leaves && status == CR_OK; i++) {
        const net_leaf *l = &w->net.leaf[i];
        const cr_tensor *t = l->role == NET_LABEL ? &w->feed.label : NULL;
        if (i < w->n_input_of && w->input_of[i]) t = &w->feed.input[w->input_of[i] - 1];
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

static cr_status match_inputs(diagnosing *w)
{
    w->n_input_of = w->net.n_leaves;
    w->input_of = mem_zalloc(w->n_input_of + 1, sizeof *w->input_of);
    if (!w->input_of) return model_fail(w->m, CR_ENOMEM, "out of memory");
    for (size_t i = 0; i < w->n_input_of; i++) {
        const net_leaf *l = &w->net.leaf[i];
        for (size_t k = 0; k < w->feed.n_inputs && l->role == NET_INPUT; k++) {
            if (strcmp(w->feed.input[k].name, l->name) == 0) w->input_of[i] = k + 1;
        }
    }
    return CR_OK;
}

/* Before anything is said with names of the file in it. */
static cr_status redact(diagnosing *w)
{
    bool cut = w->net.said.n > 0;
    sb_free(&w->net.said);
    sb_init(&w->net.said);
    if (w->kept.n) {
        sb_free(&w->kept);
        sb_init(&w->kept);
        sb_puts(&w->kept, "some");
    }
    if (cut) sb_puts(&w->net.said, "outputs were cut or nodes left out");
    return net_redact(&w->net) == CR_OK ? CR_OK : model_fail(w->m, CR_ENOMEM, "out of memory");
}

cr_status diagnosing_network(diagnosing *w)
{
    cr_tensor *in = mem_zalloc(w->feed.n_inputs + 1, sizeof *in);
    if (!in) return model_fail(w->m, CR_ENOMEM, "out of memory");
    for (size_t i = 0; i < w->feed.n_inputs; i++) in[i] = first_rows(w, &w->feed.input[i]);
    onnx_import_options io = {.n_inputs = w->feed.n_inputs, .input = in, .fences = true, .smooth = true, .untie = true,
                              .norms = w->o->stored_norms ? ONNX_NORMS_STORED : ONNX_NORMS_BATCH,
                              .drops = w->o->dropout, .seed = w->o->seed,
                              .weights = w->o->weights, .kept = &w->kept};
    cr_status status = onnx_import(w->m->onnx, &io, &w->net, &w->e);
    mem_free(in);
    if (status != CR_OK) return status;
    status = match_inputs(w);
    if (status == CR_OK && w->o->redact) status = redact(w);
    if (status != CR_OK) return status;
    cr_tensor label = w->feed.label;
    if (label.data) label = first_rows(w, &label);
    net_loss_options lo = {.kind = w->run->loss,
                           .output = w->run->output,
                           .label = label.data ? &label : NULL,
                           .weight = w->feed.weight.data ? &w->feed.weight : NULL,
                           .ignores = w->run->ignores,
                           .ignore_index = w->run->ignore_index};
    sb_printf(&w->m->cut, "%s%s", w->m->cut.n && w->net.said.n ? "\n" : "", sb_str(&w->net.said));
    status = net_loss_make(&w->net, &lo, &w->loss, &w->e);
    if (status == CR_OK) status = net_loss_check(&w->loss, &lo, &w->e);
    bool regression = w->loss.kind == CR_LOSS_MSE || w->loss.kind == CR_LOSS_L1;
    w->s_y = regression && label.data ? deviation(&label) : 1;
    return status;
}

static flow_gain *gains(diagnosing *w, const flow_measured *m)
{
    flow_gain *gain = mem_zalloc(w->f.n_blocks + 1, sizeof *gain);
    for (size_t i = 0; i < w->f.n_blocks && gain; i++)
        gain[i] = flow_block_gain(&w->f, m, &w->f.block[i], w->weight, NULL);
    return gain;
}

/* ---- closed gates -------------------------------------------------------------------------------- */

static bool any_gated(const diagnosing *w)
{
    for (size_t i = 0; i < w->f.n_blocks; i++) {
        if (flow_block_zero(&w->zeros, &w->f.block[i]) == FLOW_CLOSED_GATE) return true;
    }
    return false;
}

/* Against the gradient, to a root mean square of 0.001: the gates were 0, so what is behind them is linear in it. */
static cr_status step_gate(diagnosing *w, const net_runner *r, size_t i, void **numbers)
{
    net_leaf *l = &w->net.leaf[w->zeros.gate[i]];
    size_t n = l->tensor.count;
    double *x = *numbers = mem_alloc((n + 1) * sizeof *x), square = 0;
    if (!x) return model_fail(w->m, CR_ENOMEM, "out of memory");
    data_to_f64(net_runner_type(r), net_runner_result(r, (unsigned)i), n, x);
    for (size_t k = 0; k < n; k++) square += x[k] * x[k] / (double)n;
    for (size_t k = 0; k < n; k++) x[k] *= -0.001 / sqrt(square);
    l->tensor.type = CR_TYPE_F64;
    l->tensor.data = x;
    return CR_OK;
}

/* What is behind closed gates, measured after one small step on them. */
static cr_status measure_after(diagnosing *w)
{
    size_t n = w->zeros.n_gates;
    net_runner *r = NULL;
    cr_ref *gradient = mem_alloc((n + 1) * sizeof *gradient);
    cr_tensor *before = mem_alloc((n + 1) * sizeof *before);
    void **numbers = mem_zalloc(n + 1, sizeof *numbers);
    cr_status status = gradient && before && numbers ? CR_OK : model_fail(w->m, CR_ENOMEM, "out of memory");
    for (size_t i = 0; i < n && status == CR_OK; i++) {
        gradient[i] = w->b.leaf[w->zeros.gate[i]].ref; /* up to a scale, which the step has none of */
        before[i] = w->net.leaf[w->zeros.gate[i]].tensor;
    }
    if (status == CR_OK) status = net_runner_new(&w->net, (unsigned)n, gradient, w->run->plan, &r, &w->e);
    if (status == CR_OK) status = diagnosing_feed(w, r, &w->e);
    if (status == CR_OK) status = net_runner_run(r, &w->e);
    for (size_t i = 0; i < n && status == CR_OK; i++) status = step_gate(w, r, i, &numbers[i]);
    net_runner_free(r);
    if (status == CR_OK) {
        status = flow_measure(&w->f, &w->b, &w->loss, w->run->plan, diagnosing_feed, w, &w->after, &w->e);
    }
    for (size_t i = 0; i < n && numbers && before; i++) {
        if (numbers[i]) w->net.leaf[w->zeros.gate[i]].tensor = before[i];
        mem_free(numbers[i]);
    }
    mem_free(gradient);
    mem_free(before);
    mem_free(numbers);
    if (status == CR_OK && !(w->gain_after = gains(w, &w->after)))
        status = model_fail(w->m, CR_ENOMEM, "out of memory");
    return status;
}

/* ---- the order of things -------------------------------------------------------------------------- */

static void look_for_modes(diagnosing *w)
{
    for (size_t i = 0; i < w->net.n_nodes; i++) {
        w->norms |= strcmp(w->net.node[i].op, "BatchNormalization") == 0;
        w->drops |= strcmp(w->net.node[i].op, "Dropout") == 0;
    }
}

static cr_status measure(diagnosing *w)
{
    cr_status status = diagnosing_network(w);
    if (status == CR_OK) status = flow_find(&w->net, w->loss.y, &w->f, &w->e);
    if (status == CR_OK && w->feed.samples_first) w->f.samples = w->batch;
    if (status == CR_OK) status = flow_backward_build(&w->f, w->loss.sum, &w->b, &w->e);
    if (status == CR_OK) status = flow_times_build(&w->b, &w->times, &w->e);
    if (status == CR_OK) status = diagnosing_ask(w);
    if (status == CR_OK) {
        status = flow_measure(&w->f, &w->b, &w->loss, w->run->plan, diagnosing_feed, w, &w->measured, &w->e);
    }
    if (status != CR_OK) return status;
    flow_times_read(&w->measured, &w->times);
    look_for_modes(w);
    w->weight = mem_zalloc(w->f.n_tensors + 1, sizeof *w->weight);
    w->gain = w->weight ? gains(w, &w->measured) : NULL;
    w->leaf_of = flow_leaves(&w->f, &w->measured, w->b.n_refs);
    if (!w->gain || !w->leaf_of || flow_zeros_find(&w->b, &w->measured, w->leaf_of, &w->zeros) != CR_OK)
        return model_fail(w->m, CR_ENOMEM, "out of memory");
    flow_case c = {&w->f, &w->measured, w->gain, &w->zeros, w->s_y, w->batch, &w->times};
    flow_judge(&c, &w->verdict);
    status = any_gated(w) ? measure_after(w) : CR_OK;
    return status == CR_OK ? diagnosing_more(w, &c) : status;
}

/* The state of the weights, and what theory says of ones like them. */
static cr_status theorise(diagnosing *w)
{
    w->prediction = mem_zalloc(w->f.n_blocks + 1, sizeof *w->prediction);
    if (!w->prediction) return model_fail(w->m, CR_ENOMEM, "out of memory");
    cr_status status = flow_weights_look(&w->f, &w->b, &w->weights, &w->e);
    if (status == CR_OK) status = flow_predict(&w->f, &w->measured, &w->weights, NAN, w->prediction, &w->e);
    return status;
}

cr_status cr_model_diagnose(cr_model *m, const cr_data *data, const cr_diagnose_options *options, cr_diagnosis **d)
{
    static const cr_diagnose_options none = {0};
    static const cr_model_run_options no_run = {0};
    *d = NULL;
    if (m->err.status != CR_OK) return m->err.status;
    diagnosing w = {.m = m, .o = options ? options : &none};
    sb_init(&w.kept);
    w.run = w.o->run ? w.o->run : &no_run;
    sb_init(&w.cut);
    flow_budget_begin(&w.budget, w.o->budget, &w.cut);
    cr_status status = model_feed_init(m, data, w.run, &w.feed);
    if (status == CR_OK) {
        sb_free(&m->cut);
        sb_init(&m->cut);
        size_t most = model_batch(&w.feed, w.run, &m->cut);
        if (!w.feed.batch && !w.run->batch) most = SAMPLES;
        w.batch = !w.feed.samples_first || w.feed.samples < most ? w.feed.samples : most;
        if (w.feed.batch > w.feed.samples && w.feed.samples_first) {
            status = model_fail(m, CR_ESHAPE, "the model takes batches of %zu samples, and the data have %zu",
                                w.feed.batch, w.feed.samples);
        }
    }
    if (status == CR_OK) status = measure(&w);
    if (status == CR_OK) status = theorise(&w);
    if (status == CR_OK) status = diagnosing_probe(&w);
    if (status == CR_OK) status = diagnosis_make(&w, d);
    status = model_keep(m, &w.e) != CR_OK ? m->err.status : status;
    mem_free(w.gain);
    mem_free(w.gain_after);
    mem_free(w.weight);
    mem_free(w.leaf_of);
    mem_free(w.input_of);
    sb_free(&w.kept);
    diagnosing_more_free(&w);
    flow_zeros_free(&w.zeros);
    mem_free(w.prediction);
    mem_free(w.spread);
    sb_free(&w.cut);
    flow_weights_free(&w.weights);
    flow_measured_free(&w.measured);
    flow_measured_free(&w.after);
    flow_times_free(&w.times);
    flow_backward_free(&w.b);
    flow_free(&w.f);
    net_free(&w.net);
    model_feed_free(&w.feed);
    return status;
}
