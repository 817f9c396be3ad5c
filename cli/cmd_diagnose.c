/* chainrule diagnose */
#include "diagnose.h"

#include <stdio.h>
#include <string.h>

/* Is one of the findings among those that --fail-on lists? */
static bool matched(const char *list, const cr_diagnosis *d)
{
    for (size_t i = 0; list && i < d->n_findings; i++) {
        for (const char *s = list; *s;) {
            size_t n = strcspn(s, ",");
            if (strlen(d->finding[i].status) == n && !strncmp(s, d->finding[i].status, n)) return true;
            s += n + (s[n] == ',');
        }
    }
    return false;
}

/* What is diagnosed in a run: the model, the one that it is set against, the checkpoints. */
typedef struct run {
    cr_diagnosis *d, *against;
    cr_diagnosis *history[MAX_TEXTS]; /* by checkpoint; d is the last of them, if there are any */
} run;

static cr_status diagnose(const session *s, const cr_data *weights, cr_diagnosis **d)
{
    cr_plan_options plan = model_plan_options(s->o);
    cr_model_run_options ro = model_run_options(s->o, &plan);
    cr_diagnose_options how = {.run = &ro,
                               .stored_norms = s->o->stored_norms,
                               .dropout = s->o->dropout,
                               .seed = s->o->seed,
                               .loss_scale = s->o->loss_scale,
                               .redact = s->o->redact,
                               .weights = weights,
                               .state = s->o->weights_are,
                               .redraws = s->o->redraws,
                               .budget = s->o->budget,
                               .paths = s->o->paths,
                               .spectrum = s->o->spectrum};
    return cr_model_diagnose(s->m, s->data, &how, d);
}

static int diagnose_checkpoints(session *s, run *r)
{
    int status = EXIT_DONE;
    for (size_t i = 0; i < s->o->weights.n && status == EXIT_DONE; i++) {
        cr_data *weights = cr_data_new();
        if (!weights) return fail_with(s, EXIT_FAULT, "out of memory");
        if (cr_data_read(weights, s->o->weights.item[i], NULL) != CR_OK) {
            status = session_data_fail(s, weights);
        } else if (diagnose(s, weights, &r->history[i]) != CR_OK) {
            fprintf(stderr, "chainrule: with the checkpoint %s:\n", s->o->weights.item[i]);
            status = session_model_fail(s);
        }
        cr_data_free(weights);
    }
    if (status == EXIT_DONE) r->d = r->history[s->o->weights.n - 1];
    return status;
}

/* The other model: its part of the document is one like the whole. */
static int diagnose_against(session *s, run *r)
{
    options o = *s->o;
    session other;
    o.file = s->o->against;
    int status = session_open_other(&other, s, &o);
    if (status == EXIT_DONE && diagnose(&other, NULL, &r->against) != CR_OK) status = session_model_fail(&other);
    if (status == EXIT_DONE && s->doc) {
        json_t *part = json_object();
        diagnosis_json(&other, r->against, part);
        json_object_set_new(s->doc, "against", part);
    }
    session_close_other(&other, s);
    return status;
}

static int diagnose_all(session *s, run *r)
{
    int status = EXIT_DONE;
    if (s->o->weights.n > 0) {
        status = diagnose_checkpoints(s, r);
    } else if (diagnose(s, NULL, &r->d) != CR_OK) {
        status = session_model_fail(s);
    }
    if (status != EXIT_DONE) return status;
    if (s->doc) diagnosis_json(s, r->d, s->doc);
    if (s->doc && s->o->weights.n > 0) json_object_set_new(s->doc, "history", history_json(s, r->history));
    return s->o->against ? diagnose_against(s, r) : EXIT_DONE;
}

static bool is_stdout(const char *path) { return path && !strcmp(path, "-"); }

int cmd_diagnose(session *s)
{
    run r = {0};
    bool prints = !is_stdout(s->o->json) && !is_stdout(s->o->html);
    int status = diagnose_all(s, &r);
    if (status == EXIT_DONE && prints && s->o->quiet) printf("%s\n", r.d->sentence);
    if (status == EXIT_DONE && prints && !s->o->quiet) {
        diagnosis_print(s, r.d, r.against);
        if (s->o->weights.n > 0) history_print(s, r.history);
    }
    if (status == EXIT_DONE && matched(s->o->fail_on, r.d)) status = EXIT_FINDING;
    for (size_t i = 0; i < s->o->weights.n; i++) cr_diagnosis_free(r.history[i]);
    if (s->o->weights.n == 0) cr_diagnosis_free(r.d);
    cr_diagnosis_free(r.against);
    return status;
}
