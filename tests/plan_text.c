#include "plan_text.h"

#include "unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double sine(void *user, unsigned order, double z)
{
    (void)user;
    return sin(z + order * 1.57079632679489661923);
}

void plan_text_open(plan_text *t, const char *text)
{
    *t = (plan_text){.program = cr_program_new()};
    assert_non_null(t->program);
    if (cr_program_parse(t->program, "text", text, strlen(text)) != CR_OK) {
        fail_msg("%s\n%s", text, cr_program_message(t->program));
    }
    t->g = t->program->g;
    const lang_statement *st = prog_statement(t->program, 0);
    t->root[t->n++] = st->expr;
    if (st->n_wrt) t->root[t->n++] = prog_exact(t->program, st, st->n_wrt, 0);
    if (!t->root[t->n - 1]) fail_msg("%s\n%s", text, cr_program_message(t->program));
    for (cr_fun f = 1; f < t->g->n_fun; f++) {
        if (!strcmp(name_text(t->g->dims, t->g->fun[f].name), "phi")) t->phi = (cr_function_value){f, sine, NULL};
    }
}

void plan_text_close(plan_text *t) { cr_program_free(t->program); }

cr_status plan_text_plan(const plan_text *t, const int64_t size[3], cr_plan_options *options, cr_plan **plan)
{
    cr_size_value value[] = {{"N", size[0]}, {"m", size[1]}, {"n", size[2]}};
    options->n_functions = t->phi.function != 0;
    options->function = &t->phi;
    return cr_plan_new(t->g, t->n, t->root, 3, value, options, plan);
}

static void *entries(const char *name, size_t n, cr_precision precision)
{
    void *v = malloc(n * sizeof(double) + 1);
    assert_non_null(v);
    for (size_t i = 0; i < n; i++) {
        bool index = !strncmp(name, "at", 2);
        double x = index ? (double)(1 + 7 * i % 5) : 0.6 * sin(1.7 * (double)i + name[0] + (double)strlen(name));
        if (precision == CR_F64) ((double *)v)[i] = x;
        else ((float *)v)[i] = (float)x;
    }
    return v;
}

void plan_arrays_init(plan_arrays *a, const cr_plan *p, cr_precision precision)
{
    size_t size = precision == CR_F64 ? 8 : 4;
    *a = (plan_arrays){.n_in = cr_plan_inputs(p), .n_out = cr_plan_outputs(p)};
    a->in = calloc(a->n_in + 1, sizeof *a->in);
    a->out = calloc(a->n_out + 1, sizeof *a->out);
    a->bytes = calloc(a->n_out + 1, sizeof *a->bytes);
    assert_true(a->in && a->out && a->bytes);
    for (unsigned i = 0; i < a->n_in; i++) {
        a->in[i] = entries(cr_plan_input_name(p, i), cr_plan_input_count(p, i), precision);
    }
    for (unsigned i = 0; i < a->n_out; i++) {
        a->bytes[i] = cr_plan_output_count(p, i) * size;
        a->out[i] = calloc(a->bytes[i] + 1, 1);
        assert_non_null(a->out[i]);
    }
}

void plan_arrays_free(plan_arrays *a)
{
    for (unsigned i = 0; i < a->n_in; i++) free(a->in[i]);
    for (unsigned i = 0; i < a->n_out; i++) free(a->out[i]);
    free(a->in);
    free(a->out);
    free(a->bytes);
}

bool plan_arrays_equal(const plan_arrays *a, const plan_arrays *b)
{
    bool same = a->n_out == b->n_out;
    for (unsigned i = 0; same && i < a->n_out; i++) {
        same = a->bytes[i] == b->bytes[i] && !memcmp(a->out[i], b->out[i], a->bytes[i]);
    }
    return same;
}

cr_status plan_arrays_run(const plan_arrays *a, const cr_plan *p, cr_slab *s)
{
    return cr_run(p, s, (const void *const *)a->in, a->out);
}
