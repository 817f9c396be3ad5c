/* Our side: a plan of each case, a slab for it, runs. run_ours CASE... */
#include "ours.h"

#include "worker.h"

#include <stdio.h>
#include <string.h>

typedef struct way {
    const char *name;
    ours_build *build;
    int which;
    cr_precision precision;
    bool unrolled;
    bool spectrum; /* singular values of the Jacobian of output 0 by output 1 */
} way;

static const way ways[] = {
    {"mlp", ours_mlp, 0, CR_F32, false, false},
    {"deep", ours_deep, 0, CR_F32, false, false},
    {"chain_1", ours_chain, 1, CR_F32, false, false},
    {"chain_1_unrolled", ours_chain, 1, CR_F32, true, false},
    {"chain_1024", ours_chain, 1024, CR_F32, false, false},
    {"chain_1024_unrolled", ours_chain, 1024, CR_F32, true, false},
    {"resnet18", ours_resnet, 18, CR_F32, false, false},
    {"resnet20", ours_resnet, 20, CR_F32, false, false},
    {"transformer", ours_transformer, 0, CR_F32, false, false},
    {"elementwise", ours_elementwise, 0, CR_F32, false, false},
    {"softmax_256", ours_softmax, 256, CR_F32, false, false},
    {"softmax_512", ours_softmax, 512, CR_F32, false, false},
    {"softmax_1024", ours_softmax, 1024, CR_F32, false, false},
    {"layer_norm_256", ours_layer_norm_rows, 256, CR_F32, false, false},
    {"layer_norm_512", ours_layer_norm_rows, 512, CR_F32, false, false},
    {"layer_norm_1024", ours_layer_norm_rows, 1024, CR_F32, false, false},
    {"softmax_back_256", ours_softmax_back, 256, CR_F32, false, false},
    {"softmax_back_512", ours_softmax_back, 512, CR_F32, false, false},
    {"softmax_back_1024", ours_softmax_back, 1024, CR_F32, false, false},
    {"layer_norm_back_256", ours_layer_norm_back, 256, CR_F32, false, false},
    {"layer_norm_back_512", ours_layer_norm_back, 512, CR_F32, false, false},
    {"layer_norm_back_1024", ours_layer_norm_back, 1024, CR_F32, false, false},
    {"gmm_value", ours_gmm, 0, CR_F64, false, false},
    {"gmm", ours_gmm, 1, CR_F64, false, false},
    {"lstm_value", ours_lstm, 0, CR_F64, false, false},
    {"lstm_value_unrolled", ours_lstm, 0, CR_F64, true, false},
    {"lstm", ours_lstm, 1, CR_F64, false, false},
    {"lstm_unrolled", ours_lstm, 1, CR_F64, true, false},
    {"jacobian", ours_jacobian, 0, CR_F32, false, true},
    {"resnet50_first", ours_resnet, 50, CR_F32, false, false},
};
enum { WAYS = sizeof ways / sizeof *ways };

typedef struct ours {
    ours_network net;
    const way *way;
    cr_plan *plan;
    cr_spectrum *spectrum; /* in place of the plan */
    cr_slab *slab;
    const void **in;
    double *value; /* of the spectrum */
    void *out[OURS_OUTPUTS];
} ours;

/* ---- numbers ---------------------------------------------------------------------------------------- */

static double number_of(const ours_input *in, size_t i)
{
    switch (in->values) {
    case OURS_BITS: return worker_value(in->stream, i) > 0;
    case OURS_LABELS: return i % in->columns == (7 * (i / in->columns) + 3) % in->columns;
    case OURS_BELOW: return i % in->columns < i / in->columns;
    default: return in->middle + in->scale * worker_value(in->stream, i);
    }
}

static void *numbers(const ours_input *in, size_t count, cr_precision precision)
{
    void *to = worker_room(count * (precision == CR_F32 ? sizeof(float) : sizeof(double)));
    for (size_t i = 0; i < count; i++) {
        if (precision == CR_F32) {
            ((float *)to)[i] = (float)number_of(in, i);
        } else {
            ((double *)to)[i] = number_of(in, i);
        }
    }
    return to;
}

static double entry(const ours *o, unsigned output, size_t i)
{
    return o->net.precision == CR_F32 ? (double)((const float *)o->out[output])[i]
                                      : ((const double *)o->out[output])[i];
}

/* ---- a plan ----------------------------------------------------------------------------------------- */

static unsigned threads(void)
{
    const char *n = getenv("OMP_NUM_THREADS");
    return n ? (unsigned)strtoul(n, NULL, 10) : 1;
}

/* Expressions, their plan and a slab */
static bool make_plan(ours *o)
{
    ours_network *n = &o->net;
    cr_plan_options options = {.precision = o->way->precision, .threads = threads()};
    *n = (ours_network){.g = cr_graph_new(), .precision = o->way->precision, .unrolled = o->way->unrolled};
    if (!n->g) {
        fprintf(stderr, "out of memory\n");
        return false;
    }
    o->way->build(n, o->way->which);
    for (unsigned i = 0; i < n->n_outputs; i++) {
        if (n->output[i] == CR_NONE && cr_graph_status(n->g) == CR_OK) {
            fprintf(stderr, "output %u is structurally zero\n", i);
            return false;
        }
    }
    cr_spectrum_options all = {.plan = &options};
    if (cr_graph_status(n->g) != CR_OK ||
        (o->way->spectrum ? cr_spectrum_new(n->g, n->output[0], n->output[1], 0, NULL, &all, &o->spectrum)
                          : cr_plan_new(n->g, n->n_outputs, n->output, 0, NULL, &options, &o->plan)) != CR_OK) {
        fprintf(stderr, "%s\n", cr_graph_message(n->g));
        return false;
    }
    o->slab = o->way->spectrum ? cr_spectrum_slab(o->spectrum) : cr_slab_new(o->plan);
    if (!o->slab) {
        fprintf(stderr, "no room for a slab\n");
    }
    return o->slab != NULL;
}

static bool make_numbers(ours *o)
{
    const ours_network *n = &o->net;
    bool spectrum = o->way->spectrum;
    unsigned inputs = spectrum ? cr_spectrum_inputs(o->spectrum) : cr_plan_inputs(o->plan);
    o->in = worker_room((inputs + 1) * sizeof *o->in);
    for (unsigned i = 0; i < inputs; i++) {
        const char *name = spectrum ? cr_spectrum_input_name(o->spectrum, i) : cr_plan_input_name(o->plan, i);
        size_t count = spectrum ? cr_spectrum_input_count(o->spectrum, i) : cr_plan_input_count(o->plan, i);
        unsigned k = 0;
        for (; k < n->n_inputs && strcmp(n->input[k].name, name) != 0; k++) {}
        if (k == n->n_inputs) {
            fprintf(stderr, "the plan asks for %s\n", name);
            return false;
        }
        o->in[i] = numbers(&n->input[k], count, n->precision);
    }
    if (spectrum) {
        o->value = worker_room(cr_spectrum_count(o->spectrum) * sizeof *o->value);
        return true;
    }
    size_t size = n->precision == CR_F32 ? sizeof(float) : sizeof(double);
    for (unsigned i = 0; i < n->n_outputs; i++) {
        o->out[i] = worker_room(cr_plan_output_count(o->plan, i) * size);
    }
    return true;
}

static void *setup(int which)
{
    const way *w = &ways[which];
    ours *o = worker_room(sizeof *o);
    o->way = w;
    return make_plan(o) && make_numbers(o) ? o : NULL;
}

static void run(void *state)
{
    const ours *o = state;
    cr_status status = o->spectrum ? cr_spectrum_run(o->spectrum, o->slab, o->in, o->value, NULL)
                                   : cr_run(o->plan, o->slab, o->in, o->out);
    if (status != CR_OK) {
        fprintf(stderr, "a run fails: %d\n", (int)status);
        exit(1);
    }
}

/* All there is to do from nothing to the first result, but for the numbers */
static void run_first(void *state)
{
    ours *o = state;
    cr_slab_free(o->slab);
    cr_plan_free(o->plan);
    cr_graph_free(o->net.g);
    if (!make_plan(o)) {
        exit(1);
    }
    run(o);
}

/* The sum of the squares of all singular values is that of the entries. A value alone that is a tensor is known by its
 * sum and norm. */
static worker_answer answer(void *state)
{
    const ours *o = state;
    bool derivatives = o->net.n_outputs > 1;
    double loss = 0, square = 0;
    if (o->spectrum) {
        for (size_t i = 0; i < cr_spectrum_count(o->spectrum); i++) {
            square += o->value[i] * o->value[i];
        }
        return (worker_answer){o->value[0], sqrt(square), 0};
    }
    for (unsigned k = 0; k < o->net.n_outputs; k++) {
        size_t count = cr_plan_output_count(o->plan, k);
        for (size_t i = 0; i < count; i++) {
            double v = entry(o, k, i);
            loss += k == 0 ? v : 0;
            square += k > 0 || (!derivatives && count > 1) ? v * v : 0;
        }
    }
    return (worker_answer){loss, sqrt(square), 0};
}

int main(int argc, char **argv)
{
    static worker_case cases[WAYS + 1];
    for (int i = 0; i < WAYS; i++) {
        bool first = strstr(ways[i].name, "_first") != NULL;
        cases[i] = (worker_case){ways[i].name, setup, first ? run_first : run, answer, i};
    }
    return worker_serve("chainrule", cases, argc, argv);
}
