/* chainrule eval */
#include "cli.h"

#include <string.h>

/* The reference interpreter, unless something is asked for that only a plan has. */
static bool through_plan(const options *o)
{
    return o->precision || o->threads || o->deterministic || o->plan;
}

static cr_plan_options plan_options(const options *o)
{
    bool f32 = o->precision && !strcmp(o->precision, "f32");
    return (cr_plan_options){.precision = f32 ? CR_F32 : CR_F64, .threads = (unsigned)o->threads,
                             .deterministic = o->deterministic};
}

/* What the numbers are computed with. */
static void put_arithmetic(const options *o, json_t *doc)
{
    cr_plan_options how = plan_options(o);
    unsigned threads = !through_plan(o) ? 1 : how.threads ? how.threads : cr_processors();
    json_object_set_new(doc, "engine", json_string(through_plan(o) ? "plan" : "interpreter"));
    json_object_set_new(doc, "precision", json_string(how.precision == CR_F32 ? "f32" : "f64"));
    json_object_set_new(doc, "threads", json_integer(threads));
    json_object_set_new(doc, "deterministic", json_boolean(how.deterministic || !through_plan(o)));
}

static unsigned heading(const session *s, size_t statement)
{
    if (s->o->quiet) return 0;
    term_query(cr_program_query_text(s->p, statement), statement == s->statement[0]);
    fputs("    ", stdout);
    return 4;
}

static int print_value(session *s, size_t i, json_t *r, bool human)
{
    const options *o = s->o;
    cr_array a;
    cr_plan_options how = plan_options(o);
    cr_status status = through_plan(o) ? cr_program_run(s->p, i, &how, &a) : cr_program_eval(s->p, i, &a);
    if (status != CR_OK) return session_fail(s);
    if (r) {
        json_t *shape = json_array();
        json_put_value(r, &a);
        for (unsigned k = 0; k < a.rank; k++) json_array_append_new(shape, json_integer(a.dim[k]));
        json_object_set_new(r, "shape", shape);
    }
    if (human) {
        unsigned indent = heading(s, i);
        term_array(&a, indent);
    }
    cr_array_free(&a);
    return EXIT_DONE;
}

static int print_plan(session *s, size_t i, json_t *r, bool human)
{
    cr_plan *plan;
    cr_plan_options how = plan_options(s->o);
    if (cr_program_plan(s->p, i, &how, &plan) != CR_OK) return session_fail(s);
    char *text = cr_plan_text(plan);
    if (text && r) {
        json_t *p = json_object();
        json_object_set_new(p, "text", json_text(text));
        json_object_set_new(p, "steps", json_integer((json_int_t)cr_plan_steps(plan)));
        json_object_set_new(p, "bytes", json_integer((json_int_t)cr_plan_bytes(plan)));
        json_object_set_new(r, "plan", p);
    }
    if (text && human) {
        unsigned indent = heading(s, i);
        term_lines(INK_PLAIN, text, indent);
    }
    cr_plan_free(plan);
    if (!text) return fail_with(s, EXIT_FAULT, "out of memory");
    cr_string_free(text);
    return EXIT_DONE;
}

int cmd_eval(session *s)
{
    const options *o = s->o;
    bool human = !o->json || strcmp(o->json, "-");
    json_t *results = json_array();
    if (s->doc) {
        put_arithmetic(o, s->doc);
        json_object_set(s->doc, "results", results);
    }
    int status = EXIT_DONE;
    for (size_t i = 0; i < s->n && status == EXIT_DONE; i++) {
        json_t *r = s->doc ? json_object() : NULL;
        if (r) json_object_set_new(r, "query", json_text(cr_program_query_text(s->p, s->statement[i])));
        status = (o->plan ? print_plan : print_value)(s, s->statement[i], r, human);
        if (r && status == EXIT_DONE) json_array_append(results, r);
        json_decref(r);
    }
    json_decref(results);
    return status;
}
