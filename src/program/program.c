/* A program: its texts, its values, its first error. */
#include "program/program.h"

#include "data/data.h"

#include <stdlib.h>
#include <string.h>

enum { PROGRAM_MAX_BYTES = 16 << 20 };

cr_program *cr_program_new(void)
{
    cr_program *p = mem_zalloc(1, sizeof *p);
    if (!p) return NULL;
    p->g = cr_graph_new();
    p->lang = p->g ? lang_new(p->g) : NULL;
    if (!p->lang) {
        cr_program_free(p);
        return NULL;
    }
    return p;
}

void cr_program_free(cr_program *p)
{
    if (!p) return;
    for (size_t i = 0; i < p->n_values; i++) exec_array_free(&p->value[i].array);
    mem_free(p->value);
    lang_free(p->lang);
    cr_graph_free(p->g);
    mem_free(p);
}

cr_graph *cr_program_graph(cr_program *p)
{
    return p->g;
}
cr_status cr_program_status(const cr_program *p)
{
    return cr_graph_status(p->g);
}
const char *cr_program_message(const cr_program *p)
{
    return cr_graph_message(p->g);
}
void cr_program_clear_error(cr_program *p)
{
    cr_graph_clear_error(p->g);
}

cr_status prog_oom(cr_program *p)
{
    graph_fail(p->g, CR_ENOMEM, "out of memory");
    return CR_ENOMEM;
}

/* The parser writes `name:line:column: message`; the name may hold colons itself. */
void cr_program_position(const cr_program *p, unsigned *line, unsigned *column)
{
    *line = *column = 0;
    const char *m = cr_program_message(p), *end = strchr(m, '\n');
    if (!end) end = m + strlen(m);
    for (const char *c = strchr(m, ':'); c && c < end; c = strchr(c + 1, ':')) {
        char *q;
        unsigned long l = strtoul(c + 1, &q, 10);
        if (q == c + 1 || *q != ':') continue;
        char *r;
        unsigned long k = strtoul(q + 1, &r, 10);
        if (r == q + 1 || *r != ':') continue;
        *line = (unsigned)l;
        *column = (unsigned)k;
        return;
    }
}

/* ---- texts and values ------------------------------------------------------------------------- */

cr_status cr_program_read(cr_program *p, const char *path)
{
    error e = {0};
    char *text = NULL;
    size_t n = 0;
    cr_status s = file_read(path, PROGRAM_MAX_BYTES, &text, &n, &e);
    if (s != CR_OK) {
        graph_fail(p->g, s, "%s", err_message(&e));
    } else if (n == strspn(text, " \t\r\n")) {
        graph_fail(p->g, s = CR_ESYNTAX, "%s is empty", strcmp(path, "-") ? path : "standard input");
    } else {
        s = lang_parse(p->lang, strcmp(path, "-") ? path : "stdin", text, n);
    }
    err_clear(&e);
    mem_free(text);
    return s;
}

cr_status cr_program_parse(cr_program *p, const char *name, const char *text, size_t n)
{
    return lang_parse(p->lang, name, text, n);
}

cr_status cr_program_declare(cr_program *p, const char *text)
{
    return lang_declare(p->lang, "--let", text);
}

cr_status cr_program_query(cr_program *p, cr_query_kind kind, const char *expr, const char *wrt)
{
    static const lang_kind of[] = {LANG_DERIVE, LANG_EVAL, LANG_CHECK};
    return lang_query(p->lang, of[kind], expr, wrt);
}

cr_status cr_program_assign(cr_program *p, const char *text)
{
    return lang_assign(p->lang, "values", text, false);
}

cr_status cr_program_define(cr_program *p, const char *text) { return lang_assign(p->lang, "values", text, true); }

/* Takes the array. */
static cr_status keep_value(cr_program *p, const char *name, exec_array *a)
{
    prog_value v = {name_intern(p->g->dims, name, strlen(name)), *a};
    for (size_t i = 0; v.name && i < p->n_values; i++) {
        if (p->value[i].name != v.name) continue;
        exec_array_free(&p->value[i].array);
        p->value[i] = v;
        return CR_OK;
    }
    if (v.name && LIST_PUSH(p->value, p->n_values, p->value_cap, v)) return CR_OK;
    exec_array_free(a);
    return prog_oom(p);
}

/* Names that the program does not know are left alone: a file may hold more than one formula needs. */
static cr_status keep_values(cr_program *p, const cr_data *d)
{
    error e = {0};
    cr_tensor t;
    cr_status s = CR_OK;
    for (size_t i = 0; s == CR_OK && cr_data_at(d, i, &t); i++) {
        exec_array a;
        if (exec_array_init(&a, t.rank, t.dim, &e)) {
            cr_tensor_f64(&t, 0, t.count, a.value);
            s = keep_value(p, t.name, &a);
        } else {
            graph_fail(p->g, s = e.status, "`%s`: %s", t.name, err_message(&e));
        }
    }
    err_clear(&e);
    return s;
}

cr_status cr_program_load(cr_program *p, const char *path)
{
    cr_data *d = cr_data_new();
    if (!d) return prog_oom(p);
    cr_status s = data_read(d, path, NULL, true);
    if (s == CR_OK)
        s = keep_values(p, d);
    else
        graph_fail(p->g, s, "%s", cr_data_message(d));
    cr_data_free(d);
    return s;
}

/* ---- statements ------------------------------------------------------------------------------- */

size_t cr_program_count(const cr_program *p)
{
    return lang_n_statements(p->lang);
}

cr_query_kind cr_program_kind(const cr_program *p, size_t i)
{
    lang_kind k = lang_statement_at(p->lang, i)->kind;
    return k == LANG_DERIVE ? CR_QUERY_DERIVE : k == LANG_EVAL ? CR_QUERY_EVAL : CR_QUERY_CHECK;
}

const char *cr_program_query_text(const cr_program *p, size_t i)
{
    return lang_statement_at(p->lang, i)->query;
}

const lang_statement *prog_statement(cr_program *p, size_t i)
{
    if (i < lang_n_statements(p->lang)) return lang_statement_at(p->lang, i);
    graph_fail(p->g, CR_EARG, "statement %zu of %zu", i + 1, lang_n_statements(p->lang));
    return NULL;
}

/* ---- results ---------------------------------------------------------------------------------- */

const char *result_text(arena *mem, const char *s)
{
    size_t n = strlen(s) + 1;
    char *t = arena_alloc(mem, n);
    return t ? memcpy(t, s, n) : NULL;
}

const char *result_buffer(arena *mem, strbuf *b)
{
    const char *t = b->status == CR_OK ? result_text(mem, sb_str(b)) : NULL;
    sb_free(b);
    sb_init(b);
    return t;
}

bool result_array(arena *mem, const exec_array *from, cr_array *to)
{
    double *v = arena_alloc(mem, from->n * sizeof *v + 1);
    if (!v) return false;
    memcpy(v, from->value, from->n * sizeof *v);
    to->rank = from->rank;
    memcpy(to->dim, from->dim, sizeof to->dim);
    to->n = from->n;
    to->value = v;
    return true;
}
