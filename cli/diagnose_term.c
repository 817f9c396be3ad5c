/* A diagnosis on the terminal. */
#include "diagnose.h"

#include <math.h>
#include <string.h>

static double log10_of(double ln) { return ln / log(10); }

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

void diagnosis_print(const session *s, const cr_diagnosis *d)
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
    static const char *const norms[] = {NULL, "the batch", "the file"};
    if (d->norms) printf("    batch norms with the statistics of %s\n", norms[d->norms]);
    if (d->has_dropout) printf("    dropout %s\n", s->o->dropout ? "drops" : "is the identity");
    print_layers(d);
    for (size_t i = 0; i < cr_model_notices(s->m) && !s->o->redact; i++) {
        term_printf(INK_LABEL, "    %-12s", cr_model_notice_kind(s->m, i));
        term_lines(INK_PLAIN, cr_model_notice_text(s->m, i), 4);
    }
}

