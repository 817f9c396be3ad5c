/* chainrule diagnose */
#include "diagnose.h"

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

int cmd_diagnose(session *s)
{
    cr_plan_options plan = model_plan_options(s->o);
    cr_model_run_options ro = model_run_options(s->o, &plan);
    cr_diagnose_options how = {.run = &ro,
                               .stored_norms = s->o->stored_norms,
                               .dropout = s->o->dropout,
                               .seed = s->o->seed,
                               .loss_scale = s->o->loss_scale,
                               .redact = s->o->redact};
    cr_diagnosis *d;
    if (cr_model_diagnose(s->m, s->data, &how, &d) != CR_OK) return session_model_fail(s);
    if (s->doc) diagnosis_json(s, d, s->doc);
    if (s->o->quiet) {
        if (!s->o->json || strcmp(s->o->json, "-")) printf("%s\n", d->sentence);
    } else if (!s->o->json || strcmp(s->o->json, "-")) {
        diagnosis_print(s, d);
    }
    int status = matched(s->o->fail_on, d) ? EXIT_FINDING : EXIT_DONE;
    cr_diagnosis_free(d);
    return status;
}
