/* What measuring costs beside a plain forward and backward pass: the runs of the plans that cr_model_grad and
 * cr_model_diagnose make of the same model and batch, without reading, importing and planning.
 *
 *     diagnose_ratio MODEL.onnx DATA.npz ROUNDS THREADS
 *
 * Prints the medians in seconds: plain, measured. Linked with --wrap=cr_run: a run that a call of the library makes is
 * repeated here, and its least time counts; the two calls take turns. */
#include <chainrule.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { REPEATS = 3, MAX_ROUNDS = 100 };

static double spent; /* of the runs since it was set to 0 */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

cr_status __real_cr_run(const cr_plan *p, cr_slab *s, const void *const *in, void *const *out);
cr_status __wrap_cr_run(const cr_plan *p, cr_slab *s, const void *const *in, void *const *out);

cr_status __wrap_cr_run(const cr_plan *p, cr_slab *s, const void *const *in, void *const *out)
{
    double least = 1e300;
    cr_status status = CR_OK;
    for (int i = 0; i < REPEATS && status == CR_OK; i++) {
        double start = now();
        status = __real_cr_run(p, s, in, out);
        double t = now() - start;
        least = t < least ? t : least;
    }
    spent += least;
    return status;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_size);
    return v[n / 2];
}

static int fail(const char *what, const cr_model *m)
{
    fprintf(stderr, "diagnose_ratio: %s: %s\n", what, m ? cr_model_message(m) : "");
    return 1;
}

int main(int n, char **arg)
{
    if (n != 5) return fail("MODEL DATA ROUNDS THREADS", NULL);
    size_t rounds = strtoul(arg[3], NULL, 10);
    if (rounds < 1 || rounds > MAX_ROUNDS) return fail("ROUNDS are 1 to 100", NULL);
    cr_plan_options plan = {.threads = (unsigned)strtoul(arg[4], NULL, 10)};
    cr_model_run_options run = {.plan = &plan};
    cr_diagnose_options options = {.run = &run};
    cr_model *m = cr_model_new();
    cr_data *data = cr_data_new();
    if (!data || cr_data_read(data, arg[2], NULL) != CR_OK) return fail(arg[2], NULL);
    if (!m || cr_model_read(m, arg[1], NULL) != CR_OK) return fail(arg[1], m);
    double plain[MAX_ROUNDS], measured[MAX_ROUNDS];
    for (size_t i = 0; i < rounds; i++) {
        cr_data *out = cr_data_new();
        cr_diagnosis *d = NULL;
        cr_model_report report;
        spent = 0;
        if (!out || cr_model_grad(m, data, &run, out, &report) != CR_OK) return fail("grad", m);
        plain[i] = spent;
        spent = 0;
        if (cr_model_diagnose(m, data, &options, &d) != CR_OK) return fail("diagnose", m);
        measured[i] = spent;
        cr_diagnosis_free(d);
        cr_data_free(out);
    }
    printf("%.9g %.9g\n", median(plain, rounds), median(measured, rounds));
    cr_model_free(m);
    cr_data_free(data);
    return 0;
}
