/* chainrule check */
#include "cli.h"

#include <math.h>
#include <string.h>

/* ---- JSON ------------------------------------------------------------------------------------- */

static json_t *named_json(const cr_named_array *list, size_t n, bool integers)
{
    json_t *j = json_object();
    for (size_t i = 0; i < n; i++) {
        const cr_array *a = &list[i].array;
        json_object_set_new(j, list[i].name, integers ? json_integer((json_int_t)a->value[0]) : json_array_of(a));
    }
    return j;
}

static json_t *entry_json(const cr_check_entry *e, bool sides)
{
    json_t *j = json_object();
    json_object_set_new(j, "component", json_text(e->name));
    json_object_set_new(j, "order", json_integer(e->order));
    json_object_set_new(j, "value", json_finite(e->formula));
    json_object_set_new(j, "numeric", json_finite(e->numeric));
    json_object_set_new(j, "difference", json_finite(fabs(e->formula - e->numeric)));
    json_object_set_new(j, "tolerance", json_finite(e->tolerance));
    json_object_set_new(j, "exists", json_answer(e->exists));
    json_object_set_new(j, "formula_agrees", json_answer(e->agrees));
    if (sides)
        json_object_set_new(j, "one_sided",
                            json_pack("{s:o, s:o}", "left", json_finite(e->left), "right", json_finite(e->right)));
    return j;
}

static void put_case(json_t *to, const cr_check_case *c)
{
    json_put_value(to, &c->formula);
    json_object_set_new(to, "numeric", json_array_of(&c->numeric));
    json_object_set_new(to, "worst", json_text(c->worst.name));
    json_object_set_new(to, "worst_entry", entry_json(&c->worst, c->left.value != NULL));
    json_object_set_new(
        to, "one_sided",
        c->left.value ? json_pack("{s:o, s:o}", "left", json_array_of(&c->left), "right", json_array_of(&c->right))
                      : json_null());
    if (c->n_index) json_object_set_new(to, "indices", named_json(c->index, c->n_index, true));
}

static json_t *check_json(const cr_check *k)
{
    json_t *r = json_object(), *findings = json_array();
    json_object_set_new(r, "query", json_text(k->query));
    json_object_set_new(r, "exists", json_answer(k->exists));
    json_object_set_new(r, "formula_agrees", json_answer(k->agrees));
    json_object_set_new(r, "given", json_boolean(k->given));
    put_case(r, &k->cases[k->worst]);
    json_object_set_new(r, "method", json_text(k->method));
    if (k->n_unrolled)
        json_object_set_new(r, "unrolled", json_pack("{s:o, s:o, s:o}", "agrees", json_answer(k->unrolled_agrees),
                                                     "difference", json_finite(k->unrolled_difference), "points",
                                                     json_integer((json_int_t)k->n_unrolled)));
    json_object_set_new(r, "points", json_integer((json_int_t)k->n_points));
    json_object_set_new(r, "entries", json_integer((json_int_t)k->n_entries));
    json_object_set_new(r, "on_kink", json_integer((json_int_t)k->on_kink));
    json_object_set_new(r, "near_kink", json_integer((json_int_t)k->near_kink));
    json_object_set_new(r, "at", named_json(k->point, k->n_point, false));
    for (size_t i = 0; i < k->n_findings; i++) json_array_append_new(findings, entry_json(&k->finding[i], true));
    json_object_set_new(r, "findings", findings);
    if (k->given && k->n_cases > 1) {
        json_t *cases = json_array();
        for (size_t i = 0; i < k->n_cases; i++) {
            json_t *c = json_object();
            put_case(c, &k->cases[i]);
            json_object_set_new(c, "exists", json_answer(k->cases[i].exists));
            json_object_set_new(c, "formula_agrees", json_answer(k->cases[i].agrees));
            json_array_append_new(cases, c);
        }
        json_object_set_new(r, "cases", cases);
    }
    return r;
}

/* ---- for people ------------------------------------------------------------------------------- */

enum { SHOWN = 8 };

static const char *order_text(unsigned order)
{
    static const char *const text[] = {"", "", " (second derivative)", " (third derivative)"};
    return order < 4 ? text[order] : " (higher derivative)";
}

/* What was found of one entry; its verdict in `colour`. */
static void print_finding(const cr_check *k, const cr_check_entry *e, ink colour)
{
    char u[32], v[32], l[32], r[32];
    number_text(e->formula, u);
    number_text(e->numeric, v);
    number_text(e->left, l);
    number_text(e->right, r);
    if (e->joint) {
        term_put(colour, "not differentiable as a whole");
        printf(": the slope is %s, the partial derivatives add up to %s", r, l);
    } else if (e->exists == CR_NO) {
        term_put(colour, "does not exist");
        if (isnan(e->left) && isnan(e->right))
            fputs(": no value there", stdout);
        else
            printf(": %s from the left, %s from the right", isnan(e->left) ? "none" : l, isnan(e->right) ? "none" : r);
    } else if (e->agrees == CR_UNDECIDED) {
        term_put(colour, "undecided");
        printf("%s; the formula gives %s", k->near_kink ? ", within rounding of a kink" : "", u);
        if (isfinite(e->left) && isfinite(e->right)) printf(", from the left %s, from the right %s", l, r);
    } else if (e->agrees == CR_YES) {
        term_put(colour, "exists and the formula agrees");
        printf(": %s", u);
    } else if (k->given) {
        term_put(colour, "exists");
        printf(" with value %s while the formula gives %s", v, u);
    } else {
        printf("the formula gives %s, the numbers %s (tolerance %.1e)", u, v, e->tolerance);
    }
}

static ink verdict_ink(const cr_check *k)
{
    return k->agrees == CR_YES ? INK_GOOD : k->agrees == CR_NO ? INK_BAD : INK_UNSURE;
}

static void print_verdict(const cr_check *k)
{
    ink colour = verdict_ink(k);
    if (k->exists == CR_NO)
        term_put(colour, "does not exist");
    else if (k->agrees == CR_NO)
        term_put(colour, k->given ? "exists, but the formula gives another value" : "disagrees");
    else if (k->agrees == CR_UNDECIDED)
        term_put(colour, "undecided");
    else
        term_put(colour, k->given ? "exists and the formula agrees" : "agrees");
}

static void print_point(const cr_check *k)
{
    for (size_t i = 0; i < k->n_point; i++) {
        term_label(i ? "" : "at");
        printf("%s = ", k->point[i].name);
        term_array(&k->point[i].array, 13 + (unsigned)strlen(k->point[i].name) + 3);
    }
    const cr_check_case *c = &k->cases[k->worst];
    for (size_t i = 0; i < c->n_index; i++) {
        term_label(i || k->n_point ? "" : "at");
        printf("%s = %.0f\n", c->index[i].name, c->index[i].array.value[0]);
    }
}

static void print_summary(const cr_check *k)
{
    const cr_check_entry *w = &k->cases[k->worst].worst;
    double difference = fabs(w->formula - w->numeric);
    print_verdict(k);
    fputs(k->given ? ": " : " at ", stdout);
    if (k->given && k->n_findings > 0 && k->n_findings < k->n_entries) printf("%zu of ", k->n_findings);
    printf("%zu %s", k->given ? k->n_entries : k->n_points,
           k->given           ? k->n_entries == 1 ? "entry" : "entries"
           : k->n_points == 1 ? "random point"
                              : "random points");
    if (!k->given) printf(", %zu entries", k->n_entries);
    if (k->agrees == CR_YES && difference == 0)
        fputs(", no difference", stdout);
    else if (k->agrees == CR_YES)
        printf(", largest difference %.1e at %s", difference, w->name);
    printf(" (%s)\n", k->method);
}

static void print_check(const cr_check *k, bool quiet, bool first)
{
    const cr_check_entry *w = &k->cases[k->worst].worst;
    bool fine = k->agrees == CR_YES;
    if (quiet && fine) return;
    term_query(k->query, first);
    fputs("    ", stdout);
    if (k->given && k->n_entries == 1 && k->n_cases == 1 && k->n_findings <= 1) { /* one number: all on one line */
        print_finding(k, k->n_findings ? &k->finding[0] : w, verdict_ink(k));
        printf(" (%s)\n", k->method);
    } else {
        print_summary(k);
        for (size_t i = 0; i < k->n_findings && i < SHOWN; i++) {
            term_label("");
            printf("%s%s: ", k->finding[i].name, order_text(k->finding[i].order));
            print_finding(k, &k->finding[i], INK_PLAIN);
            putchar('\n');
        }
        if (k->unrolled_agrees == CR_NO) {
            term_label("");
            printf("differs by %.1e from reverse mode on the network written out\n", k->unrolled_difference);
        }
        if (k->n_findings > SHOWN) {
            term_label("");
            printf("... and %zu more%s\n", k->n_findings - SHOWN, k->n_findings >= 100 ? " or so" : "");
        }
    }
    if (k->on_kink || k->near_kink) {
        term_label("kinks");
        printf("%zu element%s on one", k->on_kink, k->on_kink == 1 ? "" : "s");
        if (k->near_kink) printf(", %zu within rounding of one", k->near_kink);
        putchar('\n');
    }
    if (!fine && !k->given) print_point(k);
}

/* ---- the command ------------------------------------------------------------------------------ */

int cmd_check(session *s)
{
    const options *o = s->o;
    bool human = !o->json || strcmp(o->json, "-"), first = true;
    cr_check_options how = {.seed = o->seed, .points = (unsigned)o->points, .flags = o->gradient ? CR_GRADIENT : 0};
    json_t *results = json_array();
    if (s->doc) json_object_set(s->doc, "results", results);
    int status = EXIT_DONE;
    for (size_t i = 0; i < s->n; i++) {
        cr_check *k = NULL;
        if (cr_program_check(s->p, s->statement[i], &how, &k) != CR_OK) {
            status = session_fail(s);
            break;
        }
        if (k->agrees != CR_YES || k->exists != CR_YES) status = EXIT_FINDING;
        if (s->doc) json_array_append_new(results, check_json(k));
        if (human) {
            print_check(k, o->quiet, first);
            first = first && o->quiet && k->agrees == CR_YES;
        }
        cr_check_free(k);
    }
    json_decref(results);
    return status;
}
