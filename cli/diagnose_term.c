/* A diagnosis on the terminal. */
#include "diagnose.h"

#include <math.h>
#include <string.h>

static double log10_of(double ln) { return ln / log(10); }

enum { BAR = 22, NAME = 28 };

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

/* Rows of the table: each a layer, or, where there are too many to read, as many as it takes one after the other. */
enum { ROWS = 40 };

static double sum_of(const cr_diagnosis *d, size_t first, size_t end, double (*part)(const cr_flow_layer *))
{
    double sum = 0;
    for (size_t i = first; i < end; i++) sum += part(&d->layer[i]); /* one that is absent makes all so */
    return sum;
}

static double gain_of(const cr_flow_layer *l) { return l->ln_gain; }
static double slope_of(const cr_flow_layer *l) { return l->factor[CR_FLOW_SLOPE]; }
static double weight_of(const cr_flow_layer *l) { return l->factor[CR_FLOW_WEIGHT]; }

/* The layer of the other model by that name; NULL. Models of one design have them in one order. */
static const cr_flow_layer *same_layer(const cr_diagnosis *d, const char *name, size_t *from)
{
    for (size_t k = 0; d && k < d->n_layers; k++) {
        const cr_flow_layer *l = &d->layer[(*from + k) % d->n_layers];
        if (strcmp(l->name, name)) continue;
        *from = (*from + k) % d->n_layers;
        return l;
    }
    return NULL;
}

static double most_effect(const cr_diagnosis *d, double most)
{
    for (size_t i = 0; d && i < d->n_layers; i++) {
        double l = fabs(log10_of(d->layer[i].lambda));
        if (isfinite(l) && l > most) most = l;
    }
    return most;
}

static void print_layers(const cr_diagnosis *d, const cr_diagnosis *against)
{
    double most = most_effect(against, most_effect(d, 3)); /* the threshold at least */
    size_t step = (d->n_layers + ROWS - 1) / ROWS, other = 0;
    term_printf(INK_LABEL, "    %-*s %8s %-*s%s %8s %8s %8s\n", NAME, "layer, from the input", "effect", BAR, "",
                against ? "  against" : "", "gain", "slope", "weight");
    for (size_t i = 0; i < d->n_layers; i += step) {
        const cr_flow_layer *l = &d->layer[i], *same = same_layer(against, l->name, &other);
        size_t n = strlen(l->name), end = i + step < d->n_layers ? i + step : d->n_layers;
        const char *name = n > NAME ? l->name + n - NAME : l->name;
        printf("    %-*s", NAME, name);
        put_number(log10_of(l->lambda));
        putchar(' ');
        put_bar(log10_of(l->lambda), most);
        if (against) put_number(same ? log10_of(same->lambda) : NAN);
        put_number(sum_of(d, i, end, gain_of));
        put_number(sum_of(d, i, end, slope_of));
        put_number(sum_of(d, i, end, weight_of));
        putchar('\n');
    }
    if (step > 1) {
        term_printf(INK_LABEL, "    %zu layers: a row is the first of %zu, and sums over them\n", d->n_layers, step);
    }
    term_printf(INK_LABEL,
                "    effect: log10 of |h .* g| beside the output's, bars up to %.0f. gain, slope, weight: ln of\n"
                "    |g| at the input of a layer over that at its output, and factors of it\n",
                most);
}

static void print_sentence(const cr_diagnosis *d)
{
    term_lines(strcmp(d->status, "healthy") ? INK_BAD : INK_GOOD, d->sentence, 4);
    for (size_t i = 1; i < d->n_findings; i++) printf("    also %s: %s\n", d->finding[i].status, d->finding[i].text);
}

static void print_times(const cr_diagnosis *d)
{
    for (size_t i = 0; i < d->n_times; i++) {
        const cr_flow_time *t = &d->time[i];
        printf("    over the %zu steps of %s%s: ", t->steps, t->name,
               strcmp(t->direction, "reverse") == 0 ? " (backwards)" : "");
        if (isnan(t->low)) {
            printf("nothing is asked of the last one\n");
        } else {
            printf("effect 10^%.1f to 10^%.1f of the last one's, gain %.2f\n", log10_of(t->low), log10_of(t->high),
                   t->ln_gain);
        }
    }
}

void diagnosis_print(const session *s, const cr_diagnosis *d, const cr_diagnosis *against)
{
    term_query("diagnose", true);
    fputs("    ", stdout);
    print_sentence(d);
    if (against) {
        printf("    against %s: ", s->o->redact ? "the other" : file_name(s->o->against));
        print_sentence(against);
    }
    if (!strcmp(s->o->data, "random")) printf("    random data\n");
    if (*d->cut) {
        printf("    ");
        term_lines(INK_PLAIN, d->cut, 4);
    }
    printf("    loss %.6g: %s\n    %zu sample%s%s\n", plain(d->loss), d->said, d->samples, d->samples == 1 ? "" : "s",
           d->left_out ? " (the first; one batch is measured)" : "");
    static const char *const norms[] = {NULL, "the batch", "the file"};
    if (d->norms) printf("    batch norms with the statistics of %s\n", norms[d->norms]);
    if (d->has_dropout) printf("    dropout %s\n", s->o->dropout ? "drops" : "is the identity");
    if (*d->kept) printf("    not in the checkpoint, and as in the model: %s\n", d->kept);
    diagnosis_print_theory(s, d);
    diagnosis_print_more(d);
    print_layers(d, against);
    print_times(d);
    for (size_t i = 0; i < cr_model_notices(s->m) && !s->o->redact; i++) {
        term_printf(INK_LABEL, "    %-12s", cr_model_notice_kind(s->m, i));
        term_lines(INK_PLAIN, cr_model_notice_text(s->m, i), 4);
    }
}


void history_print(const session *s, cr_diagnosis *const *d)
{
    term_printf(INK_LABEL, "    %-*s %-12s %12s %10s %10s\n", NAME, "checkpoint", "status", "loss", "lowest",
                "highest");
    for (size_t i = 0; i < s->o->weights.n; i++) {
        const char *name = s->o->redact ? "" : file_name(s->o->weights.item[i]);
        size_t n = strlen(name);
        printf("    %-*s %-12s %12.6g  ", NAME, n > NAME ? name + n - NAME : name, d[i]->status, d[i]->loss + 0.0);
        put_number(log10_of(d[i]->low));
        fputs("  ", stdout);
        put_number(log10_of(d[i]->high));
        putchar('\n');
    }
}
