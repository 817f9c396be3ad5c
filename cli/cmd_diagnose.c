/* chainrule diagnose */
#include "cli.h"

#include <math.h>
#include <string.h>

static const char *const factors[] = {"slope", "weight", "norm", "skip", "rest"};

static double log10_of(double ln) { return ln / log(10); }

/* ---- terminal ------------------------------------------------------------------------------------- */

enum { BAR = 24, NAME = 30 };

/* Ten to the left, ten to the right of nothing: how far from the output's a layer's effect is, in powers of ten. */
static void put_bar(double x, double most)
{
    char bar[BAR + 1];
    memset(bar, ' ', BAR);
    bar[BAR] = '\0';
    int middle = BAR / 2, n = isfinite(x) && most > 0 ? (int)lround(fabs(x) / most * (BAR / 2 - 1)) : 0;
    for (int i = 1; i <= n; i++) bar[x < 0 ? middle - i : middle + i] = '#';
    bar[middle] = '|';
    fputs(bar, stdout);
}

static void put_number(double x)
{
    if (isfinite(x)) {
        printf(" %8.2f", x);
    } else {
        printf(" %8s", isnan(x) ? "-" : "zero");
    }
}

static void print_layers(const cr_diagnosis *d)
{
    double most = 0;
    for (size_t i = 0; i < d->n_layers; i++) {
        double l = log10_of(d->layer[i].lambda);
        if (isfinite(l) && fabs(l) > most) most = fabs(l);
    }
    if (most < 3) most = 3; /* the threshold at least: a healthy network has short bars */
    term_printf(INK_LABEL, "    %-*s %8s %-*s %8s %8s %8s\n", NAME, "layer, from the input", "effect", BAR, "", "gain",
                "slope", "weight");
    for (size_t i = 0; i < d->n_layers; i++) {
        const cr_flow_layer *l = &d->layer[i];
        size_t n = strlen(l->name);
        const char *name = n > NAME ? l->name + n - NAME : l->name;
        printf("    %-*s", NAME, name);
        put_number(log10_of(l->lambda));
        putchar(' ');
        put_bar(log10_of(l->lambda), most);
        put_number(l->ln_gain);
        put_number(l->factor[CR_FLOW_SLOPE]);
        put_number(l->factor[CR_FLOW_WEIGHT]);
        putchar('\n');
    }
    term_printf(INK_LABEL,
                "    effect: log10 of |h .* g| beside the output's, bars up to %.0f. gain, slope, weight: ln of\n"
                "    |g| at the input of a layer over that at its output, and factors of it\n",
                most);
}

static void print_diagnosis(const session *s, const cr_diagnosis *d)
{
    bool well = !strcmp(d->status, "healthy");
    term_query("diagnose", true);
    fputs("    ", stdout);
    term_lines(well ? INK_GOOD : INK_BAD, d->sentence, 4);
    for (size_t i = 1; i < d->n_findings; i++) printf("    also %s: %s\n", d->finding[i].status, d->finding[i].text);
    if (!strcmp(s->o->data, "random")) printf("    random data\n");
    if (*d->cut) printf("    %s\n", d->cut);
    printf("    loss %.6g: %s\n    %zu sample%s%s\n", d->loss + 0.0, d->said, d->samples, d->samples == 1 ? "" : "s",
           d->left_out ? " (the first; one batch is measured)" : "");
    print_layers(d);
    for (size_t i = 0; i < cr_model_notices(s->m); i++) {
        term_printf(INK_LABEL, "    %-12s", cr_model_notice_kind(s->m, i));
        term_lines(INK_PLAIN, cr_model_notice_text(s->m, i), 4);
    }
}

/* ---- JSON ------------------------------------------------------------------------------------------ */

static json_t *layer_json(const cr_flow_layer *l)
{
    json_t *o = json_object(), *parameters = json_array(), *gradients = json_array(), *f = json_object();
    json_object_set_new(o, "name", json_text(l->name));
    json_object_set_new(o, "op", json_text(l->op));
    json_object_set_new(o, "lambda", json_finite(l->lambda));
    json_object_set_new(o, "log10_cotangent_in", json_finite(log10_of(l->ln_in)));
    json_object_set_new(o, "log10_cotangent_out", json_finite(log10_of(l->ln_out)));
    json_object_set_new(o, "ln_gain", json_finite(l->ln_gain));
    for (int k = 0; k < CR_FLOW_FACTORS; k++) json_object_set_new(f, factors[k], json_finite(l->factor[k]));
    json_object_set_new(o, "factors", f);
    json_object_set_new(o, "slope_mean_square", json_finite(l->slope_square));
    json_object_set_new(o, "saturated_fraction", json_finite(l->saturated));
    json_object_set_new(o, "dead_fraction", json_finite(l->dead));
    json_object_set_new(o, "activation",
                        json_pack("{s:o,s:o}", "mean", json_finite(l->mean), "std", json_finite(l->deviation)));
    for (size_t i = 0; i < l->n_gradients; i++) {
        const cr_flow_gradient *g = &l->gradient[i];
        json_array_append_new(parameters, json_text(g->parameter));
        json_array_append_new(gradients,
                              json_pack("{s:o,s:o,s:o,s:o}", "parameter", json_text(g->parameter), "log10_norm",
                                        json_finite(log10_of(g->ln_norm)), "log10_weight_norm",
                                        json_finite(log10_of(g->ln_weight_norm)), "cosine", json_finite(g->cosine)));
    }
    json_object_set_new(o, "parameters", parameters);
    json_object_set_new(o, "gradients", gradients);
    return o;
}

static void put_json(const session *s, const cr_diagnosis *d)
{
    json_t *verdict = json_object(), *findings = json_array(), *layers = json_array(), *export = json_array();
    static const char *const loss[] = {"auto", "ce", "mse", "bce", "l1", "none"};
    for (size_t i = 0; i < d->n_findings; i++) {
        const cr_flow_finding *f = &d->finding[i];
        json_array_append_new(findings, json_pack("{s:s,s:o,s:o,s:o,s:o}", "status", f->status, "text",
                                                  json_text(f->text), "where", json_text(f->where), "value",
                                                  json_finite(f->value), "threshold", json_finite(f->threshold)));
    }
    for (size_t i = 0; i < d->n_layers; i++) json_array_append_new(layers, layer_json(&d->layer[i]));
    for (size_t i = 0; i < cr_model_notices(s->m); i++) {
        json_array_append_new(export, json_pack("{s:s,s:o}", "kind", cr_model_notice_kind(s->m, i), "text",
                                                json_text(cr_model_notice_text(s->m, i))));
    }
    json_object_set_new(verdict, "status", json_string(d->status));
    json_object_set_new(verdict, "sentence", json_text(d->sentence));
    json_object_set_new(verdict, "lambda_low", json_finite(d->low));
    json_object_set_new(verdict, "lambda_high", json_finite(d->high));
    json_object_set_new(verdict, "findings", findings);
    json_object_set_new(s->doc, "verdict", verdict);
    json_object_set_new(
        s->doc, "data",
        json_pack("{s:i,s:s}", "samples", (int)d->samples, "source", strcmp(s->o->data, "random") ? "file" : "random"));
    json_object_set_new(
        s->doc, "loss",
        json_pack("{s:s,s:o,s:o}", "kind", loss[d->kind], "value", json_finite(d->loss), "said", json_text(d->said)));
    json_object_set_new(s->doc, "export", export);
    json_object_set_new(s->doc, "layers", layers);
}

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
    cr_diagnosis *d;
    if (cr_model_diagnose(s->m, s->data, &ro, &d) != CR_OK) return session_model_fail(s);
    if (s->doc) put_json(s, d);
    if (s->o->quiet) {
        if (!s->o->json || strcmp(s->o->json, "-")) printf("%s\n", d->sentence);
    } else if (!s->o->json || strcmp(s->o->json, "-")) {
        print_diagnosis(s, d);
    }
    int status = matched(s->o->fail_on, d) ? EXIT_FINDING : EXIT_DONE;
    cr_diagnosis_free(d);
    return status;
}
