/* chainrule run, chainrule grad, chainrule export */
#include "cli.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static void show_progress(void *user, size_t done, size_t of)
{
    (void)user;
    fprintf(stderr, done < of ? "\r%zu of %zu samples" : "\r\033[K", done, of);
    fflush(stderr);
}

cr_plan_options model_plan_options(const options *o)
{
    bool f64 = o->precision && !strcmp(o->precision, "f64");
    return (cr_plan_options){
        .precision = f64 ? CR_F64 : CR_F32, .threads = (unsigned)o->threads, .deterministic = o->deterministic};
}

cr_model_run_options model_run_options(const options *o, const cr_plan_options *plan)
{
    return (cr_model_run_options){.plan = plan,
                                  .batch = o->batch,
                                  .loss = o->loss,
                                  .output = o->head,
                                  .ignores = o->has_ignore,
                                  .ignore_index = o->ignore,
                                  .standardize = o->standardize,
                                  .scale = o->scale,
                                  .progress = isatty(2) && !o->quiet ? show_progress : NULL};
}

/* ---- output ------------------------------------------------------------------------------------- */

static double norm(const cr_tensor *t)
{
    double sum = 0, v;
    for (size_t i = 0; i < t->count; i++) {
        cr_tensor_f64(t, i, 1, &v);
        sum += v * v;
    }
    return sqrt(sum);
}

static void shape_text(const cr_tensor *t, char *out, size_t size)
{
    size_t n = 0;
    *out = '\0';
    for (unsigned i = 0; i < t->rank && n < size; i++) {
        n += (size_t)snprintf(out + n, size - n, "%s%lld", i ? " x " : "", (long long)t->dim[i]);
    }
    if (t->rank == 0) snprintf(out, size, "scalar");
}

static void print_table(const cr_data *d, const char *head)
{
    size_t wide = 4;
    cr_tensor t;
    for (size_t i = 0; i < cr_data_count(d); i++) {
        cr_data_at(d, i, &t);
        if (strlen(t.name) > wide) wide = strlen(t.name);
    }
    if (wide > 48) wide = 48;
    term_printf(INK_LABEL, "    %-*s  %-18s  %s\n", (int)wide, "name", "shape", head);
    for (size_t i = 0; i < cr_data_count(d); i++) {
        char shape[120];
        cr_data_at(d, i, &t);
        shape_text(&t, shape, sizeof shape);
        printf("    %-*s  %-18s  %.6g\n", (int)wide, t.name, shape, plain(norm(&t)));
    }
}

static void put_table(json_t *doc, const cr_data *d)
{
    json_t *list = json_array();
    for (size_t i = 0; i < cr_data_count(d); i++) {
        cr_tensor t;
        json_t *one = json_object(), *shape = json_array();
        cr_data_at(d, i, &t);
        for (unsigned k = 0; k < t.rank; k++) json_array_append_new(shape, json_integer(t.dim[k]));
        json_object_set_new(one, "name", json_text(t.name));
        json_object_set_new(one, "shape", shape);
        json_object_set_new(one, "norm", json_finite(norm(&t)));
        json_array_append_new(list, one);
    }
    json_object_set_new(doc, "results", list);
}

static void put_report(const session *s, const cr_model_report *r, bool loss)
{
    json_t *doc = s->doc;
    const options *o = s->o;
    json_t *data = json_object();
    json_object_set_new(data, "source", json_string(strcmp(o->data, "random") ? "file" : "random"));
    json_object_set_new(data, "samples", json_integer((json_int_t)r->samples));
    json_object_set_new(data, "batch", json_integer((json_int_t)r->batch));
    json_object_set_new(data, "left_out", json_integer((json_int_t)r->left_out));
    json_object_set_new(doc, "data", data);
    if (loss) {
        static const char *const name[] = {"auto", "ce", "mse", "bce", "l1", "none"};
        json_t *l = json_object();
        json_object_set_new(l, "kind", json_string(name[r->kind]));
        json_object_set_new(l, "value", json_finite(r->loss));
        json_object_set_new(l, "said", json_text(r->said));
        json_object_set_new(doc, "loss", l);
    }
    json_t *notices = json_array();
    for (size_t i = 0; i < cr_model_notices(s->m); i++) {
        json_array_append_new(notices, json_pack("{s:s,s:o}", "kind", cr_model_notice_kind(s->m, i), "text",
                                                 json_text(cr_model_notice_text(s->m, i))));
    }
    json_object_set_new(doc, "export", notices);
    if (*r->cut) json_object_set_new(doc, "cut", json_text(r->cut));
    if (r->nonfinite) json_object_set_new(doc, "nonfinite", json_text(r->nonfinite));
    if (o->output) json_object_set_new(doc, "written", json_text(o->output));
}

static int finish(session *s, cr_data *out, const cr_model_report *r, bool loss, const char *head)
{
    const options *o = s->o;
    if (o->output && cr_data_write(out, o->output) != CR_OK) return session_data_fail(s, out);
    if (r->nonfinite) fprintf(stderr, "chainrule: not all results are finite: %s\n", r->nonfinite);
    if (s->doc) {
        put_table(s->doc, out);
        put_report(s, r, loss);
    }
    if (!o->quiet && !(o->json && !strcmp(o->json, "-"))) {
        term_query(o->name, true);
        if (loss) printf("    loss %.8g: %s\n", plain(r->loss), r->said);
        if (!strcmp(o->data, "random")) printf("    random data\n");
        if (*r->cut) {
            printf("    ");
            term_lines(INK_PLAIN, r->cut, 4);
        }
        printf("    %zu sample%s", r->samples, r->samples == 1 ? "" : "s");
        if (r->batches > 1) printf(" in batches of %zu", r->batch);
        if (r->left_out) printf("; %zu more fill no batch of the model's size and are left out", r->left_out);
        printf("\n");
        print_table(out, head);
        for (size_t i = 0; loss && i < cr_model_notices(s->m); i++) {
            term_printf(INK_LABEL, "    %-12s", cr_model_notice_kind(s->m, i));
            term_lines(INK_PLAIN, cr_model_notice_text(s->m, i), 4);
        }
    }
    return EXIT_DONE;
}

/* ---- commands ----------------------------------------------------------------------------------- */

int cmd_run(session *s)
{
    cr_plan_options plan = model_plan_options(s->o);
    cr_model_run_options ro = model_run_options(s->o, &plan);
    cr_model_report r;
    cr_data *out = cr_data_new();
    if (!out) return fail_with(s, EXIT_FAULT, "out of memory");
    int status =
        cr_model_run(s->m, s->data, &ro, out, &r) == CR_OK ? finish(s, out, &r, false, "norm") : session_model_fail(s);
    cr_data_free(out);
    return status;
}

int cmd_grad(session *s)
{
    cr_plan_options plan = model_plan_options(s->o);
    cr_model_run_options ro = model_run_options(s->o, &plan);
    cr_model_report r;
    cr_data *out = cr_data_new(), *cotangents = cr_data_new();
    int status = EXIT_DONE;
    if (!out || !cotangents) {
        status = fail_with(s, EXIT_FAULT, "out of memory");
    } else if (!s->o->cotangent) {
        status = cr_model_grad(s->m, s->data, &ro, out, &r) == CR_OK ? finish(s, out, &r, true, "norm of the gradient")
                                                                     : session_model_fail(s);
    } else if (cr_data_read(cotangents, s->o->cotangent, NULL) != CR_OK) {
        status = session_data_fail(s, cotangents);
    } else {
        status = cr_model_pull(s->m, s->data, cotangents, &ro, out, &r) == CR_OK
                     ? finish(s, out, &r, false, "norm of the gradient")
                     : session_model_fail(s);
    }
    cr_data_free(out);
    cr_data_free(cotangents);
    return status;
}

int cmd_export(session *s)
{
    const options *o = s->o;
    if (cr_model_write(s->m, o->output) != CR_OK) return session_model_fail(s);
    if (s->doc) {
        json_object_set_new(s->doc, "written", json_text(o->output));
        json_object_set_new(s->doc, "parameters", json_integer((json_int_t)cr_model_count(s->m, CR_MODEL_PARAMETERS)));
    }
    if (o->quiet || (o->json && !strcmp(o->json, "-"))) return EXIT_DONE;
    printf("%s: %zu parameters, input `%s` (%s), output `%s`\n", o->output, cr_model_count(s->m, CR_MODEL_PARAMETERS),
           cr_model_name(s->m, CR_MODEL_INPUTS, 0), cr_model_shape(s->m, CR_MODEL_INPUTS, 0),
           cr_model_name(s->m, CR_MODEL_OUTPUTS, 0));
    for (size_t i = 0; i < cr_model_notices(s->m); i++) {
        term_printf(INK_LABEL, "%-12s", cr_model_notice_kind(s->m, i));
        term_lines(INK_PLAIN, cr_model_notice_text(s->m, i), 4);
    }
    return EXIT_DONE;
}
