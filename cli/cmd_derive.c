/* chainrule derive */
#include "cli.h"

#include <string.h>

static const char *format_name(unsigned bit)
{
    return bit == CR_TEXT      ? "text"
           : bit == CR_UNICODE ? "unicode"
           : bit == CR_LATEX   ? "latex"
           : bit == CR_NUMPY   ? "numpy"
                               : "c";
}

static const char *form_of(const cr_derivation *d, unsigned bit)
{
    return bit == CR_TEXT      ? d->text
           : bit == CR_UNICODE ? d->unicode
           : bit == CR_LATEX   ? d->latex
           : bit == CR_NUMPY   ? d->numpy
                               : d->c;
}

static const char *condition_of(const cr_condition *c, unsigned bit)
{
    return bit == CR_UNICODE ? c->unicode : bit == CR_LATEX ? c->latex : c->text;
}

/* ---- JSON ------------------------------------------------------------------------------------- */

static json_t *result_json(const options *o, const cr_derivation *d)
{
    json_t *r = json_object(), *shape = json_array(), *index = json_array(), *assumes = json_array(),
           *defined = json_array();
    json_object_set_new(r, "query", json_text(d->query));
    json_object_set_new(r, "text", json_text(d->text));
    json_object_set_new(r, "unicode", json_text(d->unicode));
    json_object_set_new(r, "latex", json_text(d->latex));
    json_object_set_new(r, "numpy", json_text(d->numpy));
    json_object_set_new(r, "c", json_text(d->c));
    for (size_t i = 0; i < d->rank; i++) json_array_append_new(shape, json_size(d->shape[i]));
    for (size_t i = 0; i < d->n_free; i++) {
        const cr_index_range *f = &d->free_index[i];
        json_array_append_new(index, json_pack("{s:o, s:o, s:o}", "name", json_text(f->name), "from",
                                               json_size(f->from), "to", json_size(f->to)));
    }
    for (size_t i = 0; i < d->n_assumes; i++) json_array_append_new(assumes, json_text(d->assumes[i]));
    for (size_t i = 0; i < d->n_defined; i++) {
        const cr_condition *c = &d->defined[i];
        json_array_append_new(defined, json_pack("{s:o, s:o, s:s, s:s}", "text", json_text(c->text), "latex",
                                                 json_text(c->latex), "kind", c->sufficient ? "sufficient" : "exact",
                                                 "about", c->existence ? "existence" : "formula"));
    }
    if (d->n_recursion) {
        json_t *rules = json_array();
        for (size_t i = 0; i < d->n_recursion; i++)
            json_array_append_new(rules, json_pack("{s:o, s:o, s:o}", "text", json_text(d->recursion[i].text),
                                                   "unicode", json_text(d->recursion[i].unicode), "latex",
                                                   json_text(d->recursion[i].latex)));
        json_object_set_new(r, "recursion", rules);
    }
    json_object_set_new(r, "shape", shape);
    json_object_set_new(r, "free_indices", index);
    json_object_set_new(r, "assumes", assumes);
    json_object_set_new(r, "defined", defined);
    if (o->steps) {
        json_t *steps = json_array();
        for (size_t i = 0; i < d->n_steps; i++)
            json_array_append_new(steps, json_pack("{s:o, s:o, s:o, s:o}", "rule", json_text(d->step[i].rule),
                                                   "text", json_text(d->step[i].text), "unicode",
                                                   json_text(d->step[i].unicode), "latex",
                                                   json_text(d->step[i].latex)));
        json_object_set_new(r, "steps", steps);
    }
    return r;
}

/* ---- for people ------------------------------------------------------------------------------- */

static void print_sides(const cr_derivation *d, unsigned bit)
{
    const char *dots = bit == CR_UNICODE ? ", \xe2\x80\xa6, " : "..";
    if (d->n_free) {
        term_label("for");
        for (size_t i = 0; i < d->n_free; i++) {
            const cr_index_range *f = &d->free_index[i];
            bool comma = bit == CR_UNICODE && i + 1 < d->n_free;
            printf("%s = %s%s%s%s", f->name, f->from, dots, f->to, comma ? "; " : i + 1 < d->n_free ? ", " : "\n");
        }
    }
    if (d->rank) {
        term_label("shape");
        for (size_t i = 0; i < d->rank; i++)
            printf("%s%s", i ? bit == CR_UNICODE ? " \xc3\x97 " : " x " : "", d->shape[i]);
        putchar('\n');
    }
    for (size_t i = 0; i < d->n_assumes; i++) {
        term_label(i ? "" : "assumes");
        term_lines(INK_PLAIN, d->assumes[i], 13);
    }
}

/* Where the derivative exists and the formula gives it: all lines together. */
static void print_defined(const cr_derivation *d, unsigned bit)
{
    bool first = true;
    for (size_t i = 0; i < d->n_defined; i++) {
        const cr_condition *c = &d->defined[i];
        if (!c->existence) continue;
        term_label("exists");
        printf("where ");
        term_lines(INK_PLAIN, condition_of(c, bit), 13);
    }
    if (d->n_defined == 0) {
        term_label("defined");
        puts("everywhere");
    }
    for (size_t i = 0; i < d->n_defined; i++) {
        const cr_condition *c = &d->defined[i];
        if (c->existence) continue;
        term_label(first ? "defined" : "");
        printf("%s%s", first ? "" : "and ", c->sufficient ? "at least where " : "where ");
        first = false;
        term_lines(INK_PLAIN, condition_of(c, bit), 13);
    }
}

static const char *rule_of(const cr_formula *r, unsigned bit)
{
    return bit == CR_UNICODE ? r->unicode : bit == CR_LATEX ? r->latex : r->text;
}

static void print_recursion(const cr_derivation *d, unsigned bit)
{
    for (size_t i = 0; i < d->n_recursion; i++) {
        term_label(i ? "" : "with");
        term_lines(INK_PLAIN, rule_of(&d->recursion[i], bit), 13);
    }
}

static void print_steps(const cr_derivation *d, unsigned bit)
{
    for (size_t i = 0; i < d->n_steps; i++) {
        const cr_step *s = &d->step[i];
        term_label(i ? "" : "steps");
        term_printf(INK_LABEL, "%2zu. ", i + 1);
        printf("%s\n%17s", s->rule, "");
        term_lines(INK_PLAIN, bit == CR_UNICODE ? s->unicode : bit == CR_LATEX ? s->latex : s->text, 17);
    }
}

/* Text and Unicode: a small report, the formula first. */
static void print_report(const cr_derivation *d, unsigned bit, bool first)
{
    term_query(d->query, first);
    fputs("    ", stdout);
    term_cases(INK_RESULT, form_of(d, bit), 4, 120);
    print_recursion(d, bit);
    print_defined(d, bit);
    print_sides(d, bit);
    print_steps(d, bit);
}

/* LaTeX, NumPy and C: what one would paste, all else as comments of that language. */
static void print_source(const cr_derivation *d, unsigned bit, bool first)
{
    const char *comment = bit == CR_LATEX ? "% " : "# ";
    if (!first) putchar('\n');
    if (bit == CR_C) { /* says all that in a comment of its own */
        fputs(d->c, stdout);
        return;
    }
    printf("%s%s\n", comment, d->query);
    for (size_t i = 0; i < d->n_defined; i++)
        printf("%sdefined %swhere %s\n", comment, d->defined[i].sufficient ? "at least " : "",
               condition_of(&d->defined[i], bit));
    for (size_t i = 0; i < d->n_recursion; i++)
        printf("%swith %s\n", comment, rule_of(&d->recursion[i], bit == CR_LATEX ? bit : CR_TEXT));
    for (size_t i = 0; i < d->n_assumes; i++) printf("%sassumes %s\n", comment, d->assumes[i]);
    for (size_t i = 0; i < d->n_steps; i++)
        printf("%s%zu. %s: %s\n", comment, i + 1, d->step[i].rule,
               bit == CR_LATEX ? d->step[i].latex : d->step[i].text);
    term_lines(INK_PLAIN, form_of(d, bit), 0);
}

/* Several formats: one line of the report for each. */
static void print_many(const cr_derivation *d, const unsigned *bit, size_t n, bool first)
{
    term_query(d->query, first);
    for (size_t i = 0; i < n; i++) {
        term_label(format_name(bit[i]));
        term_lines(INK_RESULT, form_of(d, bit[i]), 13);
    }
    print_recursion(d, bit[0]);
    print_defined(d, bit[0]);
    print_sides(d, bit[0]);
    print_steps(d, bit[0]);
}

static void print_result(const options *o, const cr_derivation *d, const unsigned *bit, size_t n, bool first)
{
    if (o->quiet) {
        for (size_t i = 0; i < n; i++) term_lines(INK_PLAIN, form_of(d, bit[i]), 0);
    } else if (n > 1) {
        print_many(d, bit, n, first);
    } else if (*bit & (CR_LATEX | CR_NUMPY | CR_C)) {
        print_source(d, *bit, first);
    } else {
        print_report(d, *bit, first);
    }
}

/* ---- the command ------------------------------------------------------------------------------ */

int cmd_derive(session *s)
{
    const options *o = s->o;
    bool human = !o->json || strcmp(o->json, "-");
    unsigned by_terminal = human && term_unicode() ? CR_UNICODE : CR_TEXT;
    const unsigned *bit = o->n_formats ? o->format : &by_terminal;
    size_t n = o->n_formats ? o->n_formats : 1;
    unsigned asked = 0, extra = s->doc ? CR_TEXT | CR_UNICODE | CR_LATEX | CR_NUMPY | CR_C : 0;
    for (size_t i = 0; i < n; i++) asked |= bit[i];
    asked |= (o->steps ? CR_STEPS : 0) | (o->gradient ? CR_GRADIENT : 0);
    json_t *results = json_array();
    if (s->doc) json_object_set(s->doc, "results", results);
    int status = EXIT_DONE;
    for (size_t i = 0; i < s->n && status == EXIT_DONE; i++) {
        cr_derivation *d = NULL;
        cr_status c = cr_program_derive(s->p, s->statement[i], asked | extra, o->form, &d);
        /* what has no NumPy or no C form: null, unless that was asked for */
        static const unsigned less[] = {CR_C, CR_NUMPY, CR_NUMPY | CR_C};
        for (size_t k = 0; k < sizeof less / sizeof *less && c == CR_EUNSUPPORTED && extra & ~asked & less[k]; k++) {
            cr_program_clear_error(s->p);
            c = cr_program_derive(s->p, s->statement[i], asked | (extra & ~less[k]), o->form, &d);
        }
        if (c != CR_OK) {
            status = session_fail(s);
        } else {
            if (s->doc) json_array_append_new(results, result_json(o, d));
            if (human) print_result(o, d, bit, n, i == 0);
        }
        cr_derivation_free(d);
    }
    json_decref(results);
    return status;
}
