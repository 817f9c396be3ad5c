/* A session: what the options name is read, the statements that the command means are picked. */
#include "cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static int report(session *s, int status, const char *message, unsigned line, unsigned column)
{
    fflush(stdout);
    fprintf(stderr, "chainrule: %s\n", message);
    if (s->doc) json_set_error(s->doc, message, line, column);
    return status;
}

static int status_of(cr_status status)
{
    return status == CR_ENOMEM || status == CR_EINTERNAL ? EXIT_FAULT : EXIT_INPUT;
}

int fail_with(session *s, int exit_status, const char *fmt, ...)
{
    char message[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    return report(s, exit_status, message, 0, 0);
}

int session_fail(session *s)
{
    unsigned line, column;
    cr_status status = cr_program_status(s->p);
    cr_program_position(s->p, &line, &column);
    return report(s, status_of(status), cr_program_message(s->p), line, column);
}

static bool ends_with(const char *text, const char *ending)
{
    size_t n = strlen(text), k = strlen(ending);
    return n > k && !strcmp(text + n - k, ending);
}

static bool is_file(const char *text)
{
    return ends_with(text, ".npz") || ends_with(text, ".safetensors") || !strchr(text, '=');
}

static cr_status assign(cr_program *p, const char *text)
{
    return is_file(text) ? cr_program_load(p, text) : cr_program_assign(p, text);
}

/* A formula that grows beyond this is no formula any more, and would take the machine with it. */
enum { MAX_PARTS = 3000000 };

/* Everything the options name, in the order in which one would write it into a file. */
static cr_status read_all(session *s, size_t *first)
{
    const options *o = s->o;
    static const cr_query_kind kind[] = {
        [CMD_DERIVE] = CR_QUERY_DERIVE, [CMD_EVAL] = CR_QUERY_EVAL, [CMD_CHECK] = CR_QUERY_CHECK,
        [CMD_EXPLAIN] = CR_QUERY_DERIVE};
    cr_graph_limit(cr_program_graph(s->p), MAX_PARTS);
    cr_status status = o->file ? cr_program_read(s->p, o->file) : CR_OK;
    for (size_t i = 0; i < o->let.n && status == CR_OK; i++) status = cr_program_declare(s->p, o->let.item[i]);
    *first = o->expr ? cr_program_count(s->p) : 0;
    /* A printed result with free indices is evaluated by giving them: -e "x[j]*delta(i, 1)" --at "i = 1; j = 2; ..." */
    bool define = o->command == CMD_EVAL && o->expr && !o->wrt;
    for (size_t i = 0; i < o->at.n && define && status == CR_OK; i++)
        if (!is_file(o->at.item[i])) status = cr_program_define(s->p, o->at.item[i]);
    if (o->expr && status == CR_OK) {
        cr_query_kind k = o->command == CMD_EVAL && o->wrt ? CR_QUERY_DERIVE : kind[o->command];
        status = cr_program_query(s->p, k, o->expr, o->wrt);
    }
    for (size_t i = 0; i < o->set.n && status == CR_OK; i++) status = cr_program_assign(s->p, o->set.item[i]);
    for (size_t i = 0; i < o->at.n && status == CR_OK; i++)
        if (!define || is_file(o->at.item[i])) status = assign(s->p, o->at.item[i]);
    return status;
}

/* derive: the derive statements; eval: the eval ones, else the derivatives; check: both that have a derivative. With -e
 * it is that one, whatever the file holds. */
static int pick(session *s, size_t first)
{
    size_t count = cr_program_count(s->p);
    s->statement = malloc((count + 1) * sizeof *s->statement);
    if (!s->statement) return fail_with(s, EXIT_FAULT, "out of memory");
    bool any_eval = false;
    for (size_t i = first; i < count; i++) any_eval |= cr_program_kind(s->p, i) == CR_QUERY_EVAL;
    for (size_t i = first; i < count; i++) {
        cr_query_kind k = cr_program_kind(s->p, i);
        bool wanted = s->o->command & (CMD_DERIVE | CMD_EXPLAIN) ? k == CR_QUERY_DERIVE
                      : s->o->command == CMD_CHECK ? k != CR_QUERY_EVAL
                                                   : k == (any_eval ? CR_QUERY_EVAL : CR_QUERY_DERIVE);
        if (wanted) s->statement[s->n++] = i;
    }
    if (s->n > 0) return EXIT_DONE;
    const char *what = s->o->command & (CMD_DERIVE | CMD_EXPLAIN) ? "no `derive` statement"
                       : s->o->command == CMD_EVAL ? "neither an `eval` nor a `derive` statement"
                                                   : "neither a `check` nor a `derive` statement";
    return fail_with(s, EXIT_INPUT, "%s has %s", strcmp(s->o->file, "-") ? s->o->file : "standard input", what);
}

int session_open(session *s, const options *o)
{
    *s = (session){.o = o};
    if (o->json && !(s->doc = json_document(o))) return fail_with(s, EXIT_FAULT, "out of memory");
    s->p = cr_program_new();
    if (!s->p) return fail_with(s, EXIT_FAULT, "out of memory");
    size_t first;
    if (read_all(s, &first) != CR_OK) return session_fail(s);
    if (o->has_depth && cr_program_depth(s->p, (int64_t)o->depth) != CR_OK) return session_fail(s);
    return pick(s, first);
}

/* ---- models ------------------------------------------------------------------------------------- */

int session_model_fail(session *s)
{
    return report(s, status_of(cr_model_status(s->m)), cr_model_message(s->m), 0, 0);
}

int session_data_fail(session *s, const cr_data *d)
{
    return report(s, status_of(cr_data_status(d)), cr_data_message(d), 0, 0);
}

/* A network of formulas, with the values that the options give. */
static int read_formula(session *s)
{
    const options *o = s->o;
    cr_program *p = cr_program_new();
    if (!p) return fail_with(s, EXIT_FAULT, "out of memory");
    cr_graph_limit(cr_program_graph(p), MAX_PARTS);
    cr_status status = cr_program_read(p, o->file);
    for (size_t i = 0; i < o->set.n && status == CR_OK; i++) status = cr_program_assign(p, o->set.item[i]);
    for (size_t i = 0; i < o->at.n && status == CR_OK; i++) status = assign(p, o->at.item[i]);
    int result = EXIT_DONE;
    if (status != CR_OK) {
        s->p = p; /* whose error it is */
        return session_fail(s);
    }
    if (cr_model_from_program(s->m, p, o->seed) != CR_OK) result = session_model_fail(s);
    cr_program_free(p);
    return result;
}

/* The model, and random data for it if these are asked for. */
static int read_model(session *s)
{
    const options *o = s->o;
    cr_model_options mo = {.allow_links = o->links};
    if (is_formula(o->file)) {
        int status = read_formula(s);
        if (status != EXIT_DONE) return status;
    } else if (cr_model_read(s->m, o->file, &mo) != CR_OK) {
        return session_model_fail(s);
    }
    if (!o->data || strcmp(o->data, "random")) return EXIT_DONE;
    return cr_model_random(s->m, o->batch, o->seed, o->loss, s->data) == CR_OK ? EXIT_DONE : session_model_fail(s);
}

int session_open_model(session *s, const options *o)
{
    *s = (session){.o = o};
    if ((o->json || o->html) && !(s->doc = json_document(o))) return fail_with(s, EXIT_FAULT, "out of memory");
    s->m = cr_model_new();
    s->data = cr_data_new();
    if (!s->m || !s->data) return fail_with(s, EXIT_FAULT, "out of memory");
    cr_data_options d = {.label = o->label};
    int status = read_model(s);
    if (status != EXIT_DONE || !o->data || !strcmp(o->data, "random")) return status;
    if (cr_data_read(s->data, o->data, &d) != CR_OK) return session_data_fail(s, s->data);
    return EXIT_DONE;
}

int session_open_other(session *s, const session *first, const options *o)
{
    bool random = !strcmp(o->data, "random");
    *s = (session){.o = o, .doc = first->doc};
    s->m = cr_model_new();
    s->data = random ? cr_data_new() : first->data;
    if (!s->m || !s->data) return fail_with(s, EXIT_FAULT, "out of memory");
    return read_model(s);
}

void session_close_other(session *s, const session *first)
{
    cr_model_free(s->m);
    if (s->data != first->data) cr_data_free(s->data);
}

int session_close(session *s, int exit_status)
{
    char message[512];
    /* An error is a document, too, but no page. */
    bool page = s->doc && s->o->html && !json_object_get(s->doc, "error");
    if ((s->doc && s->o->json && !json_write(s->doc, s->o->json, message, sizeof message)) ||
        (page && !html_write(s->doc, s->o->html, message, sizeof message))) {
        fprintf(stderr, "chainrule: %s\n", message);
        exit_status = EXIT_INPUT;
    }
    json_decref(s->doc);
    cr_program_free(s->p);
    cr_model_free(s->m);
    cr_data_free(s->data);
    free(s->statement);
    return exit_status;
}
