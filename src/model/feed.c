/* Which tensor of the data is for what, and how many samples there are. */
#include "model/model.h"

#include <math.h>
#include <string.h>

static void *own(model_feed *f, void *p)
{
    if (p && VEC_RESERVE(f->owned, f->owned_cap, f->n_owned + 1)) {
        f->owned[f->n_owned++] = p;
        return p;
    }
    mem_free(p);
    return NULL;
}

void model_feed_free(model_feed *f)
{
    for (size_t i = 0; i < f->n_owned; i++) mem_free(f->owned[i]);
    mem_free(f->owned);
    mem_free(f->input);
    *f = (model_feed){0};
}

cr_tensor model_rows(const cr_tensor *t, size_t first, size_t n)
{
    cr_tensor rows = *t;
    size_t row = t->dim[0] > 0 ? t->count / (size_t)t->dim[0] : 0;
    rows.dim[0] = (int64_t)n;
    rows.count = n * row;
    rows.data = (const char *)t->data + first * row * cr_type_size(t->type);
    return rows;
}

/* A tensor of one of these names, NULL ends the list. */
static bool find(const cr_data *d, const char *const *names, cr_tensor *t)
{
    for (; *names; names++) {
        if (cr_data_find(d, *names, t)) return true;
    }
    return false;
}

/* Rows of numbers, or pictures without an axis of channels, in the shape that the model declares for a sample: only if
 * there is one way to see them so. */
static void shape_samples(const Onnx__ValueInfoProto *input, cr_tensor *t)
{
    const Onnx__TensorShapeProto *s = onnx_tensor_type(input) ? onnx_tensor_type(input)->shape : NULL;
    if (!s || s->n_dim == t->rank || s->n_dim < 1 || s->n_dim > CR_MAX_RANK || t->rank < 2) return;
    int64_t dim[CR_MAX_RANK] = {t->dim[0]};
    size_t n = (size_t)t->dim[0];
    for (unsigned i = 1; i < s->n_dim; i++) {
        if (s->dim[i]->value_case != ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE) return;
        dim[i] = s->dim[i]->dim_value;
        if (dim[i] < 1 || n > t->count) return;
        n *= (size_t)dim[i];
    }
    if (n != t->count) return;
    t->rank = (unsigned)s->n_dim;
    memcpy(t->dim, dim, sizeof dim);
}

/* Every entry of a sample with mean 0 and deviation 1 over the samples (a constant one with 0), then times scale. */
static bool prepare(model_feed *f, cr_tensor *t, bool standardize, double scale)
{
    size_t n = t->rank > 0 ? (size_t)t->dim[0] : 1, k = n ? t->count / n : 0;
    double *x = own(f, mem_alloc(t->count * sizeof *x));
    if (!x) return false;
    data_to_f64(t->type, t->data, t->count, x);
    for (size_t j = 0; j < k; j++) {
        double mean = 0, square = 0;
        for (size_t i = 0; i < n && standardize; i++) mean += x[i * k + j] / (double)n;
        for (size_t i = 0; i < n && standardize; i++) square += pow(x[i * k + j] - mean, 2) / (double)n;
        bool constant = standardize;
        for (size_t i = 1; i < n && constant; i++) constant = x[i * k + j] == x[j];
        if (constant && n > 0) mean = x[j]; /* to the bit: a rounding of the mean is no deviation */
        double by = scale / (square > 0 && !constant ? sqrt(square) : 1);
        for (size_t i = 0; i < n; i++) x[i * k + j] = (x[i * k + j] - mean) * by;
    }
    t->data = x;
    t->type = CR_TYPE_F64;
    return true;
}

/* The size of the first axis that the model fixes; 0: none. */
static int64_t fixed_first(const Onnx__ValueInfoProto *input)
{
    const Onnx__TensorShapeProto *s = onnx_tensor_type(input) ? onnx_tensor_type(input)->shape : NULL;
    if (!s || s->n_dim == 0) return 0;
    return s->dim[0]->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE ? s->dim[0]->dim_value : 0;
}

static cr_status find_inputs(cr_model *m, const cr_data *data, const cr_model_run_options *o, model_feed *f)
{
    const Onnx__GraphProto *g = m->onnx->proto->graph;
    size_t n = cr_model_count(m, CR_MODEL_INPUTS);
    f->input = mem_zalloc(n + 1, sizeof *f->input);
    if (!f->input) return model_fail(m, CR_ENOMEM, "out of memory");
    for (size_t i = 0; i < g->n_input; i++) {
        const Onnx__ValueInfoProto *input = g->input[i];
        const char *const names[] = {input->name, n == 1 ? "x" : NULL, NULL};
        if (!onnx_is_fed(g, input)) continue;
        cr_tensor *t = &f->input[f->n_inputs];
        if (!find(data, names, t)) {
            strbuf b;
            sb_init(&b);
            size_t have = cr_data_count(data), shown = have > 9 ? 8 : have;
            for (size_t k = 0; k < shown; k++) {
                cr_data_at(data, k, t);
                sb_printf(&b, "%s`%s`", k ? ", " : "", t->name);
            }
            if (have > shown) sb_printf(&b, " and %zu more", have - shown);
            model_fail(m, CR_EVALUE, "no data for input `%s` (%s); the data have %s", input->name,
                       cr_model_shape(m, CR_MODEL_INPUTS, f->n_inputs), b.n ? sb_str(&b) : "nothing");
            sb_free(&b);
            return m->err.status;
        }
        t->name = input->name;
        shape_samples(input, t);
        bool changes = o->standardize || (o->scale != 0 && o->scale != 1);
        if (changes && !onnx_is_int(cr_model_type(m, CR_MODEL_INPUTS, f->n_inputs)) &&
            !prepare(f, t, o->standardize, o->scale != 0 ? o->scale : 1)) {
            return model_fail(m, CR_ENOMEM, "out of memory");
        }
        int64_t first = fixed_first(input);
        if (first > 0 && t->rank > 0) f->batch = (size_t)first;
        f->n_inputs++;
    }
    return CR_OK;
}

/* Is the first axis of all of them as long? */
static void count_samples(model_feed *f)
{
    f->samples = 1;
    f->samples_first = f->n_inputs > 0;
    for (size_t i = 0; i < f->n_inputs && f->samples_first; i++) {
        const cr_tensor *t = &f->input[i];
        if (t->rank == 0 || (i > 0 && t->dim[0] != f->input[0].dim[0])) f->samples_first = false;
    }
    if (f->samples_first && f->label.data && (f->label.rank == 0 || f->label.dim[0] != f->input[0].dim[0])) {
        f->samples_first = false;
    }
    if (f->samples_first) f->samples = (size_t)f->input[0].dim[0];
}

size_t model_batch(const model_feed *f, const cr_model_run_options *o, strbuf *said)
{
    if (!f->samples_first) return f->samples;
    if (f->batch == 0) return o->batch ? o->batch : f->samples;
    if (o->batch && o->batch != f->batch) {
        sb_printf(said, "%sbatches of %zu samples, as the model fixes them, not of %zu", said->n ? "\n" : "", f->batch,
                  o->batch);
    }
    return f->batch;
}

cr_status model_feed_init(cr_model *m, const cr_data *data, const cr_model_run_options *o, model_feed *f)
{
    *f = (model_feed){0};
    if (!m->onnx) return model_fail(m, CR_EARG, "no model was read");
    cr_status status = find_inputs(m, data, o, f);
    if (status != CR_OK) return status;
    static const char *const labels[] = {"label", "target", "y", NULL}, *const weights[] = {"class_weight", NULL};
    cr_tensor t;
    if (find(data, labels, &t)) {
        bool is_input = false;
        for (size_t i = 0; i < f->n_inputs; i++) is_input |= strcmp(f->input[i].name, t.name) == 0;
        if (!is_input) f->label = t;
    }
    if (find(data, weights, &t)) f->weight = t;
    count_samples(f);
    return CR_OK;
}
