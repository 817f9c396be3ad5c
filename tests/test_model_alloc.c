/* Every allocation of reading, importing and differentiating models fails once, alone or with all after it; of running
 * and diagnosing them, some do: a clean CR_ENOMEM, or no harm. Leaks are found by the sanitizer run. */
#include "unit.h"

#include "chainrule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const files[] = {
    "onnx-more/local_functions",
    "onnx-more/loop_known",
    "onnx-reference/layernorm_decomposed",
};
enum { N_FILES = sizeof files / sizeof *files, MOST = 200 };

typedef struct plan_of_refusal {
    long at, count;
    bool on; /* all from there on */
} plan_of_refusal;

static bool allow(void *user)
{
    plan_of_refusal *r = user;
    long i = r->count++;
    return r->at < 0 || (r->on ? i < r->at : i != r->at);
}

typedef enum job { RUN, GRAD, DIAGNOSE, N_JOBS } job;

/* One life of a model, with results. */
static cr_status live(const char *path, job what)
{
    cr_model *m = cr_model_new();
    cr_data *data = cr_data_new(), *out = cr_data_new();
    cr_diagnosis *d = NULL;
    cr_plan_options one = {.threads = 1};
    cr_model_run_options o = {.plan = &one};
    cr_model_report report;
    cr_status s = m && data && out ? CR_OK : CR_ENOMEM;
    if (s == CR_OK) s = cr_model_read(m, path, NULL);
    if (s == CR_OK) s = cr_model_random(m, 2, 1, CR_LOSS_AUTO, data);
    if (s == CR_OK && what == RUN) s = cr_model_run(m, data, &o, out, &report);
    if (s == CR_OK && what == GRAD) s = cr_model_grad(m, data, &o, out, &report);
    if (s == CR_OK && what == DIAGNOSE) s = cr_model_diagnose(m, data, &(cr_diagnose_options){.run = &o}, &d);
    cr_diagnosis_free(d);
    cr_data_free(out);
    cr_data_free(data);
    cr_model_free(m);
    return s;
}

static void each_allocation_of_a_model(void **state)
{
    (void)state;
    long tried = 0, total = 0;
    for (int i = 0; i < N_FILES * N_JOBS; i++) {
        char path[600];
        job what = (job)(i % N_JOBS);
        snprintf(path, sizeof path, "%s/tests/data/%s/model.onnx", getenv("CHAINRULE_SOURCE"), files[i / N_JOBS]);
        plan_of_refusal r = {.at = -1};
        cr_mem_set_hook(allow, &r);
        cr_status whole = live(path, what);
        long n = r.count, step = what == GRAD ? 1 : 1 + n / MOST;
        cr_mem_set_hook(NULL, NULL);
        if (whole != CR_OK && what != DIAGNOSE) fail_msg("%s: status %d", path, (int)whole);
        total += n;
        for (long at = i % step; at < n; at += step, tried++) {
            r = (plan_of_refusal){.at = at, .on = tried & 1};
            cr_mem_set_hook(allow, &r);
            cr_status s = live(path, what);
            cr_mem_set_hook(NULL, NULL);
            if (s != CR_ENOMEM && !(s == whole && !r.on)) {
                fail_msg("%s, job %d: allocation %ld of %ld refused%s, status %d", files[i / N_JOBS], (int)what, at, n,
                         r.on ? " and all after it" : "", (int)s);
            }
        }
    }
    printf("%ld of %ld allocations refused\n", tried, total);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_allocation_of_a_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
