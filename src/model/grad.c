/* Running a model over its data, forward and backward, batch by batch. */
#include "model/model.h"
#include "network/finite.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum job_kind { JOB_RUN, JOB_GRAD, JOB_PULL } job_kind;

/* A result: what belongs to samples is put one behind the other, all else is summed over the batches. */
typedef struct result {
    const char *name;
    unsigned rank;
    int64_t dim[CR_MAX_RANK];
    bool rows;
    size_t row;   /* entries of a sample */
    cr_type type; /* as it is written */
    bool f64;     /* computed so */
    size_t count; /* of entries in all */
    double *value;
} result;

typedef struct job {
    job_kind kind;
    cr_model *m;
    const cr_model_run_options *o;
    model_feed feed;
    const cr_data *cotangents;
    cr_type type; /* of results */
    bool *grows;  /* of outputs: the first axis, with the samples; NULL: not known */
    result *result;
    size_t n_results;
    double loss, weight;
    cr_model_report report;
    bool fences; /* every value of the network stays an expression: to find the node that made a NaN */
} job;

/* A network for batches of one size, planned. */
typedef struct pass {
    network net;
    net_runner *r;
    net_loss loss;
    size_t batch, n_results;
    cr_ref *expression; /* of the results, then the loss's sum and weight */
    bool *rows;         /* of the results */
    const char **name;
    cr_type *type;     /* of the results */
    net_runner *whole; /* of outputs that have to be exact integers, which float32 is not; NULL: there are none */
    bool *is_whole;    /* of the results: the next one of `whole` */
    bool fixed; /* holds for the data that it was made with only */
} pass;

static void pass_free(pass *p)
{
    net_runner_free(p->r);
    net_runner_free(p->whole);
    net_free(&p->net);
    mem_free(p->type);
    mem_free(p->is_whole);
    mem_free(p->expression);
    mem_free(p->rows);
    mem_free(p->name);
    *p = (pass){0};
}

static void job_free(job *j)
{
    for (size_t i = 0; i < j->n_results; i++) mem_free(j->result[i].value);
    mem_free(j->result);
    mem_free(j->grows);
    model_feed_free(&j->feed);
}

static cr_status no_memory(job *j) { return model_fail(j->m, CR_ENOMEM, "out of memory"); }

static cr_status graph_failed(job *j, const cr_graph *g)
{
    return model_fail(j->m, cr_graph_status(g), "%s", cr_graph_message(g));
}

/* ---- expressions --------------------------------------------------------------------------------- */

static bool per_sample(const job *j, const pass *p, cr_ref e)
{
    return j->feed.samples_first && cr_rank(p->net.g, e) > 0 && onnx_size(p->net.g, e, 0) == (int64_t)p->batch;
}

/* The first axis of an output counts samples if it grows with them. If that is not known, because the file fixes the
 * batch or there is one only: if it is as long, unless the file fixes it where that of the inputs is free. */
static bool counts_samples(const job *j, const pass *p, const net_output *out)
{
    if (j->grows) return j->grows[out - p->net.output];
    const Onnx__GraphProto *g = j->m->onnx->proto->graph;
    for (size_t i = 0; i < g->n_output && j->feed.batch == 0; i++) {
        const Onnx__TypeProto__Tensor *t = onnx_tensor_type(g->output[i]);
        if (!t || !t->shape || t->shape->n_dim == 0 || strcmp(g->output[i]->name, out->name) != 0) continue;
        if (t->shape->dim[0]->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE) return false;
    }
    return per_sample(j, p, out->ref);
}

static cr_status outputs(job *j, pass *p)
{
    network *n = &p->net;
    for (size_t i = 0; i < n->n_outputs; i++) {
        p->name[i] = n->output[i].name;
        p->expression[i] = n->output[i].ref;
        p->rows[i] = counts_samples(j, p, &n->output[i]);
        cr_type type = n->output[i].type;
        p->type[i] = onnx_is_float(type) ? j->type : onnx_is_int(type) ? CR_TYPE_I64 : CR_TYPE_BOOL;
    }
    p->n_results = n->n_outputs;
    return CR_OK;
}

/* Plans those outputs once more, in float64, that have to be exact. */
static cr_status plan_whole(job *j, pass *p, error *e)
{
    cr_plan_options o = {0};
    unsigned n = 0;
    cr_ref *ref = mem_zalloc(p->n_results + 1, sizeof *ref);
    bool ok = ref != NULL;
    for (size_t i = 0; i < p->n_results && ok; i++) {
        ok = model_wants_f64(&p->net, &j->feed, &p->net.output[i], &p->is_whole[i]);
        if (ok && p->is_whole[i]) ref[n++] = p->expression[i];
    }
    if (j->o->plan) o = *j->o->plan;
    o.precision = CR_F64;
    cr_status status = ok ? CR_OK : no_memory(j);
    if (n && ok) status = net_runner_new(&p->net, n, ref, &o, &p->whole, e);
    mem_free(ref);
    return status;
}

/* Where result i lies, and at what place there. */
static const net_runner *runner_of(const pass *p, size_t i, unsigned *at)
{
    *at = (unsigned)i;
    if (!p->whole || !p->is_whole[i]) return p->r;
    for (size_t k = *at = 0; k < i; k++) *at += p->is_whole[k];
    return p->whole;
}

/* Leaves that have a gradient: parameters, and inputs of floats. */
static size_t wanted(const pass *p, cr_ref *wrt)
{
    size_t n = 0;
    for (size_t i = 0; i < p->net.n_leaves; i++) {
        const net_leaf *l = &p->net.leaf[i];
        if ((l->role != NET_PARAMETER && l->role != NET_INPUT) || !onnx_is_float(l->tensor.type)) continue;
        wrt[n++] = l->ref;
    }
    return n;
}

/* total[k] += part[k] */
static void add_parts(cr_graph *g, size_t n, cr_ref *total, const cr_ref *part)
{
    for (size_t k = 0; k < n; k++) {
        if (part[k] != CR_NONE) total[k] = total[k] == CR_NONE ? part[k] : cr_add(g, total[k], part[k]);
    }
}

static cr_status seed_loss(job *j, pass *p, const cr_tensor *label, size_t n, const cr_ref *wrt, cr_ref *total)
{
    error e = {CR_OK, NULL};
    net_loss_options lo = {.kind = j->o->loss,
                           .output = j->o->output,
                           .label = label,
                           .weight = j->feed.weight.data ? &j->feed.weight : NULL,
                           .ignores = j->o->ignores,
                           .ignore_index = j->o->ignore_index};
    if (net_loss_make(&p->net, &lo, &p->loss, &e) != CR_OK) return model_keep(j->m, &e);
    return cr_reverse(p->net.g, p->loss.sum, cr_const(p->net.g, 1), (unsigned)n, wrt, total);
}

/* Every cotangent is a leaf, fed like an input. */
static cr_status seed_cotangents(job *j, pass *p, size_t n, const cr_ref *wrt, cr_ref *total)
{
    network *net = &p->net;
    cr_ref *part = mem_zalloc(n + 1, sizeof *part);
    cr_status status = part ? CR_OK : no_memory(j);
    for (size_t i = 0; i < cr_data_count(j->cotangents) && status == CR_OK; i++) {
        cr_tensor t;
        cr_data_at(j->cotangents, i, &t);
        const net_output *out = NULL;
        for (size_t k = 0; k < net->n_outputs; k++) {
            if (strcmp(net->output[k].name, t.name) == 0) out = &net->output[k];
        }
        if (!out) {
            status = model_fail(j->m, CR_ENAME, "a cotangent for `%s`: the model has no such output", t.name);
            break;
        }
        if (counts_samples(j, p, out) && t.rank > 0 && t.dim[0] == (int64_t)j->feed.samples) {
            t = model_rows(&t, 0, p->batch);
        }
        t.data = NULL;
        cr_ref seed = net_add_leaf(net, NET_COTANGENT, &t);
        if (seed == CR_NONE || cr_reverse(net->g, out->ref, seed, (unsigned)n, wrt, part) != CR_OK) {
            status = graph_failed(j, net->g);
            break;
        }
        add_parts(net->g, n, total, part);
        memset(part, 0, n * sizeof *part);
    }
    mem_free(part);
    return status;
}

static cr_status gradients(job *j, pass *p, const cr_tensor *label)
{
    network *net = &p->net;
    cr_ref *wrt = mem_zalloc(2 * net->n_leaves + 2, sizeof *wrt);
    if (!wrt) return no_memory(j);
    size_t n = wanted(p, wrt);
    cr_status status = j->kind == JOB_GRAD ? seed_loss(j, p, label, n, wrt, p->expression)
                                           : seed_cotangents(j, p, n, wrt, p->expression);
    for (size_t k = 0; k < n && status == CR_OK; k++) {
        const net_leaf *l = net_find_leaf(net, wrt[k]);
        p->name[k] = l->name;
        p->type[k] = j->type;
        p->rows[k] = l->role == NET_INPUT && per_sample(j, p, wrt[k]);
        if (p->expression[k] == CR_NONE) p->expression[k] = onnx_like(net->g, 0, wrt[k]);
    }
    p->n_results = n;
    mem_free(wrt);
    if (status == CR_OK && cr_graph_status(net->g) == CR_OK) return CR_OK;
    return j->m->err.status != CR_OK ? j->m->err.status : graph_failed(j, net->g);
}

/* ---- one batch ----------------------------------------------------------------------------------- */

static cr_tensor part_of(const job *j, const cr_tensor *t, size_t first, size_t n)
{
    return j->feed.samples_first ? model_rows(t, first, n) : *t;
}

static cr_status pass_make(job *j, pass *p, size_t first, size_t batch)
{
    cr_tensor *in = mem_zalloc(j->feed.n_inputs + 1, sizeof *in);
    error e = {CR_OK, NULL};
    *p = (pass){.batch = batch};
    if (!in) return no_memory(j);
    for (size_t i = 0; i < j->feed.n_inputs; i++) in[i] = part_of(j, &j->feed.input[i], first, batch);
    onnx_import_options io = {
        .n_inputs = j->feed.n_inputs, .input = in, .fences = j->fences, .smooth = j->kind == JOB_GRAD};
    cr_status status = onnx_import(j->m->onnx, &io, &p->net, &e);
    size_t room = p->net.n_leaves + p->net.n_outputs + 4;
    p->expression = mem_zalloc(room, sizeof *p->expression);
    p->rows = mem_zalloc(room, sizeof *p->rows);
    p->name = mem_zalloc(room, sizeof *p->name);
    p->type = mem_zalloc(room, sizeof *p->type);
    p->is_whole = mem_zalloc(room, sizeof *p->is_whole);
    bool ok = p->expression && p->rows && p->name && p->type && p->is_whole;
    if (status == CR_OK && !ok) status = no_memory(j);
    if (status == CR_OK && j->kind == JOB_RUN) {
        status = outputs(j, p);
    } else if (status == CR_OK) {
        cr_tensor label = j->feed.label;
        if (label.data) label = part_of(j, &label, first, batch);
        status = gradients(j, p, label.data ? &label : NULL);
    }
    unsigned n = (unsigned)p->n_results;
    if (status == CR_OK && j->kind == JOB_GRAD) {
        p->expression[n++] = p->loss.sum;
        p->expression[n++] = p->loss.weight;
    }
    if (status == CR_OK) status = net_runner_new(&p->net, n, p->expression, j->o->plan, &p->r, &e);
    if (status == CR_OK && j->kind == JOB_RUN && j->type == CR_TYPE_F32) status = plan_whole(j, p, &e);
    for (size_t i = 0; i < p->net.n_leaves; i++) p->fixed |= p->net.leaf[i].fixed;
    mem_free(in);
    model_keep(j->m, &e);
    return status;
}

typedef struct feeding {
    job *j;
    pass *p;
    size_t first;
} feeding;

static cr_status feed_runner(void *user, net_runner *r, error *e)
{
    feeding *f = user;
    job *j = f->j;
    pass *p = f->p;
    cr_status status = CR_OK;
    for (size_t i = 0; i < p->net.n_leaves && status == CR_OK; i++) {
        const net_leaf *l = &p->net.leaf[i];
        const cr_tensor *t = NULL;
        cr_tensor cotangent;
        for (size_t k = 0; k < j->feed.n_inputs && l->role == NET_INPUT; k++) {
            if (strcmp(j->feed.input[k].name, l->name) == 0) t = &j->feed.input[k];
        }
        if (l->role == NET_LABEL) t = &j->feed.label;
        bool whole = false;
        if (l->role == NET_COTANGENT && cr_data_find(j->cotangents, l->name, &cotangent)) {
            t = &cotangent;
            whole = cotangent.rank == 0 || cotangent.dim[0] != (int64_t)j->feed.samples;
        }
        if (!t) continue;
        cr_tensor part = whole ? *t : part_of(j, t, f->first, p->batch);
        status = net_runner_feed(r, l, &part, e);
    }
    return status;
}

static cr_status run_batch(job *j, pass *p, size_t first)
{
    error e = {CR_OK, NULL};
    cr_status status = CR_OK;
    net_runner *const both[] = {p->r, p->whole};
    for (int i = 0; i < 2 && both[i] && status == CR_OK; i++) {
        status = feed_runner(&(feeding){j, p, first}, both[i], &e);
        if (status == CR_OK) status = net_runner_run(both[i], &e);
    }
    model_keep(j->m, &e);
    return status;
}

/* The first batch with a result that is no finite number is looked into. */
static cr_status look_for_nonfinite(job *j, pass *p, size_t first)
{
    size_t n = p->n_results + (j->kind == JOB_GRAD), bad = 0;
    cr_ref *ref = mem_zalloc(n + 1, sizeof *ref);
    error e = {CR_OK, NULL};
    if (!ref) return no_memory(j);
    for (size_t i = 0; i < n; i++) {
        if (net_count_nonfinite(net_runner_type(p->r), net_runner_result(p->r, (unsigned)i),
                                net_runner_count(p->r, (unsigned)i))) {
            bad++;
        }
    }
    cr_status status = CR_OK;
    if (bad) { /* the same network once more, with all its values in sight */
        pass q = {0};
        j->fences = true;
        status = pass_make(j, &q, first, p->batch);
        j->fences = false;
        bad = 0;
        for (size_t i = 0; i < n && status == CR_OK; i++) {
            if (net_count_nonfinite(net_runner_type(p->r), net_runner_result(p->r, (unsigned)i),
                                    net_runner_count(p->r, (unsigned)i))) {
                ref[bad++] = q.expression[i];
            }
        }
        if (status == CR_OK) {
            status = net_blame(&q.net, (unsigned)bad, ref, j->kind == JOB_GRAD ? q.loss.sum : CR_NONE, j->o->plan,
                               feed_runner, &(feeding){j, &q, first}, &j->m->blame, &e);
        }
        pass_free(&q);
    }
    mem_free(ref);
    model_keep(j->m, &e);
    return status;
}

static cr_status results_init(job *j, const pass *p, size_t samples)
{
    j->result = mem_zalloc(p->n_results + 1, sizeof *j->result);
    if (!j->result) return no_memory(j);
    for (size_t i = 0; i < p->n_results; i++) {
        result *r = &j->result[i];
        r->name = p->name[i];
        r->rank = cr_rank(p->net.g, p->expression[i]);
        onnx_shape(p->net.g, p->expression[i], r->dim);
        r->rows = p->rows[i];
        r->type = p->type[i];
        r->f64 = j->type == CR_TYPE_F64 || p->is_whole[i];
        r->row = net_runner_count(p->r, (unsigned)i) / (r->rows ? p->batch : 1);
        if (r->rows) r->dim[0] = (int64_t)samples;
        r->count = r->row * (r->rows ? samples : 1);
        r->value = mem_zalloc(r->count + 1, sizeof *r->value);
        j->n_results = i + 1;
        if (!r->value) return no_memory(j);
        if (j->kind == JOB_RUN && !r->rows && samples != p->batch) {
            return model_fail(j->m, CR_EUNSUPPORTED,
                              "output `%s` has no axis of samples, so that those of several "
                              "batches have no common value: run one batch",
                              r->name);
        }
    }
    return CR_OK;
}

static double number(const pass *p, unsigned i)
{
    double v;
    data_to_f64(net_runner_type(p->r), net_runner_result(p->r, i), 1, &v);
    return v;
}

static cr_status collect(job *j, const pass *p, size_t first)
{
    for (size_t i = 0; i < j->n_results; i++) {
        result *r = &j->result[i];
        size_t n = net_runner_count(p->r, (unsigned)i);
        if (p->rows[i] != r->rows || n != r->row * (r->rows ? p->batch : 1)) {
            return model_fail(j->m, CR_ESHAPE,
                              "output `%s` does not grow with the samples, so that those of several "
                              "batches have no common value: run one batch",
                              r->name);
        }
        double *to = r->value + (r->rows ? first * r->row : 0);
        unsigned at;
        const net_runner *from = runner_of(p, i, &at);
        const char *value = net_runner_result(from, at);
        cr_type type = net_runner_type(from);
        if (r->rows) {
            data_to_f64(type, value, n, to);
            continue;
        }
        for (size_t k = 0; k < n; k++) {
            double v;
            data_to_f64(type, value + k * cr_type_size(type), 1, &v);
            to[k] += v;
        }
    }
    if (j->kind == JOB_GRAD) {
        j->loss += number(p, (unsigned)p->n_results);
        j->weight += number(p, (unsigned)p->n_results + 1);
    }
    return CR_OK;
}

/* ---- all of them --------------------------------------------------------------------------------- */

static cr_status check_labels(job *j, const pass *p)
{
    net_loss_options o = {.label = &j->feed.label, .ignores = j->o->ignores, .ignore_index = j->o->ignore_index};
    error e = {CR_OK, NULL};
    net_loss_check(&p->loss, &o, &e);
    return model_keep(j->m, &e);
}

static cr_status find_growing(job *j, size_t batch)
{
    size_t n = j->m->onnx->proto->graph->n_output;
    bool known;
    j->grows = mem_zalloc(n + 1, sizeof *j->grows);
    if (!j->grows) return no_memory(j);
    cr_status status = model_growing(j->m, &j->feed, batch, j->grows, n, &known);
    if (status == CR_OK && !known) {
        mem_free(j->grows);
        j->grows = NULL;
    }
    return status;
}

static cr_status run_batches(job *j)
{
    model_feed *f = &j->feed;
    size_t batch = model_batch(f, j->o, &j->m->cut);
    if (batch > f->samples) {
        return model_fail(j->m, CR_ESHAPE, "the model takes batches of %zu samples, and the data have %zu", batch,
                          f->samples);
    }
    if (f->samples == 0) return model_fail(j->m, CR_EVALUE, "the data have no samples");
    size_t rest = f->samples % batch, samples = f->batch ? f->samples - rest : f->samples;
    pass p = {0};
    cr_status status = j->kind != JOB_GRAD && batch < samples ? find_growing(j, batch) : CR_OK;
    for (size_t first = 0; first < samples && status == CR_OK; first += batch) {
        size_t n = samples - first < batch ? samples - first : batch;
        if (p.batch != n || p.fixed) {
            pass_free(&p);
            status = pass_make(j, &p, first, n);
            if (status == CR_OK && first == 0) {
                snprintf(j->m->said, sizeof j->m->said, "%s", p.loss.said);
                j->report.kind = p.loss.kind;
                sb_printf(&j->m->cut, "%s%s", j->m->cut.n && p.net.said.n ? "\n" : "", sb_str(&p.net.said));
                status = check_labels(j, &p);
                if (status == CR_OK) status = results_init(j, &p, samples);
            }
        }
        if (status == CR_OK) status = run_batch(j, &p, first);
        if (status == CR_OK && !j->m->blame) status = look_for_nonfinite(j, &p, first);
        if (status == CR_OK) status = collect(j, &p, first);
        j->report.batches++;
        if (j->o->progress) j->o->progress(j->o->user, first + n, samples);
    }
    pass_free(&p);
    j->report.samples = samples;
    j->report.batch = batch;
    j->report.left_out = f->samples - samples;
    j->report.said = j->m->said;
    j->report.nonfinite = j->m->blame;
    return status;
}

static cr_status put(job *j, cr_data *out)
{
    double by = j->kind == JOB_GRAD ? 1 / j->weight : 1;
    if (j->kind == JOB_GRAD && !(j->weight != 0))
        return model_fail(j->m, CR_EVALUE, "no sample counts: all weights are 0");
    j->report.loss = j->kind == JOB_GRAD ? j->loss / j->weight : NAN;
    for (size_t i = 0; i < j->n_results; i++) {
        result *r = &j->result[i];
        if (r->type == CR_TYPE_I64) model_whole(r->name, r->f64, r->count, r->value, &j->m->cut);
        /* In place, behind what is still to be read. */
        for (size_t k = 0; k < r->count && r->type != CR_TYPE_I64; k++) {
            double v = r->value[k] * by;
            float narrow = (float)v;
            if (r->type == CR_TYPE_BOOL) {
                ((uint8_t *)r->value)[k] = v != 0;
            } else if (r->type == CR_TYPE_F32) {
                memcpy((char *)r->value + k * sizeof narrow, &narrow, sizeof narrow);
            } else {
                r->value[k] = v;
            }
        }
        void *value = r->value;
        r->value = NULL;
        cr_status status = data_take(out, r->name, r->type, r->rank, r->dim, value);
        if (status != CR_OK) return model_fail(j->m, status, "%s", cr_data_message(out));
    }
    return CR_OK;
}

static cr_status run(cr_model *m, job_kind kind, const cr_data *data, const cr_data *cotangents,
                     const cr_model_run_options *options, cr_data *out, cr_model_report *report)
{
    static const cr_model_run_options none = {0};
    if (m->err.status != CR_OK) return m->err.status;
    job j = {.kind = kind, .m = m, .o = options ? options : &none, .cotangents = cotangents};
    j.type = j.o->plan && j.o->plan->precision == CR_F64 ? CR_TYPE_F64 : CR_TYPE_F32;
    mem_free(m->blame);
    m->blame = NULL;
    sb_free(&m->cut);
    sb_init(&m->cut);
    cr_status status = model_feed_init(m, data, j.o, &j.feed);
    if (status == CR_OK) status = run_batches(&j);
    if (status == CR_OK) status = put(&j, out);
    j.report.cut = sb_str(&m->cut);
    if (report) *report = j.report;
    job_free(&j);
    return status;
}

cr_status cr_model_run(cr_model *m, const cr_data *data, const cr_model_run_options *options, cr_data *out,
                       cr_model_report *report)
{
    return run(m, JOB_RUN, data, NULL, options, out, report);
}

cr_status cr_model_grad(cr_model *m, const cr_data *data, const cr_model_run_options *options, cr_data *out,
                        cr_model_report *report)
{
    return run(m, JOB_GRAD, data, NULL, options, out, report);
}

cr_status cr_model_pull(cr_model *m, const cr_data *data, const cr_data *cotangents,
                        const cr_model_run_options *options, cr_data *out, cr_model_report *report)
{
    return run(m, JOB_PULL, data, cotangents, options, out, report);
}
