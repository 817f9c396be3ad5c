/* Documents: every one says what was run; every number in them is finite. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

json_t *json_text(const char *s)
{
    if (!s) return json_null();
    json_t *j = json_string(s);
    if (j) return j;
    char *copy = strdup(s); /* an excerpt of a text that is not UTF-8 */
    if (!copy) return json_null();
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    j = json_string(copy);
    free(copy);
    return j;
}

json_t *json_size(const char *s)
{
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    return end != s && !*end && !errno ? json_integer(v) : json_text(s);
}

json_t *json_finite(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

json_t *json_answer(cr_answer a)
{
    return a == CR_UNDECIDED ? json_null() : json_boolean(a == CR_YES);
}

/* ---- arrays ----------------------------------------------------------------------------------- */

typedef json_t *(*entry_json)(double v);

static json_t *entry_bool(double v)
{
    return json_boolean(v != 0);
}
static json_t *entry_sign(double v)
{
    return isnan(v) ? json_null() : json_integer((v > 0) - (v < 0));
}
static json_t *entry_log10(double v)
{
    return json_finite(log10(fabs(v)));
}
static json_t *entry_nonfinite(double v)
{
    return isfinite(v) ? json_null() : json_string(isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
}

static json_t *nested(const cr_array *a, unsigned axis, const double **at, entry_json entry)
{
    if (axis == a->rank) return entry(*(*at)++);
    json_t *list = json_array();
    for (int64_t i = 0; i < a->dim[axis]; i++) json_array_append_new(list, nested(a, axis + 1, at, entry));
    return list;
}

static json_t *array_json(const cr_array *a, entry_json entry)
{
    const double *at = a->value;
    return at ? nested(a, 0, &at, entry) : json_null();
}

json_t *json_array_of(const cr_array *a)
{
    return array_json(a, a->boolean ? entry_bool : json_finite);
}

/* The values that a double holds; null where it does not, and sign and log10_abs say more. */
static json_t *in_range_json(const cr_array *a)
{
    double *v = malloc((a->n + 1) * sizeof *v);
    if (!v) return json_null();
    for (size_t i = 0; i < a->n; i++) v[i] = !isnormal(a->value[i]) && isfinite(a->log10_abs[i]) ? NAN : a->value[i];
    cr_array part = *a;
    part.value = v;
    json_t *out = array_json(&part, json_finite);
    free(v);
    return out;
}

void json_put_value(json_t *to, const cr_array *a)
{
    bool finite = true;
    for (size_t i = 0; i < a->n; i++) finite &= isfinite(a->value[i]) != 0;
    json_object_set_new(to, "value", a->log10_abs ? in_range_json(a) : json_array_of(a));
    if (!finite && !a->log10_abs) json_object_set_new(to, "nonfinite", array_json(a, entry_nonfinite));
    cr_array part = *a;
    if (a->sign) part.value = a->sign;
    json_object_set_new(to, "sign", array_json(&part, entry_sign));
    if (a->log10_abs) part.value = a->log10_abs;
    json_object_set_new(to, "log10_abs", array_json(&part, a->log10_abs ? json_finite : entry_log10));
}

/* ---- documents -------------------------------------------------------------------------------- */

static void put_texts(json_t *to, const char *key, const text_list *list)
{
    if (list->n == 0) return;
    json_t *j = json_array();
    for (size_t i = 0; i < list->n; i++) json_array_append_new(j, json_text(list->item[i]));
    json_object_set_new(to, key, j);
}

json_t *json_document(const options *o)
{
    static const char *const form[] = {"auto", "component", "matrix"};
    char schema[64];
    snprintf(schema, sizeof schema, "chainrule.%s/1", o->command ? o->name : "error");
    json_t *doc = json_object(), *in = json_object();
    if (!doc || !in) {
        json_decref(doc);
        json_decref(in);
        return NULL;
    }
    if (o->file && o->command != CMD_DIAGNOSE) json_object_set_new(in, "file", json_text(o->file)); /* in `model` */
    if (o->expr) json_object_set_new(in, "expr", json_text(o->expr));
    if (o->wrt) json_object_set_new(in, "wrt", json_text(o->wrt));
    put_texts(in, "let", &o->let);
    put_texts(in, "set", &o->set);
    put_texts(in, "at", &o->at);
    if (o->command & (CMD_DERIVE | CMD_CHECK)) {
        json_object_set_new(in, "form", json_string(form[o->form]));
        if (o->gradient) json_object_set_new(in, "gradient", json_true());
    }
    if (o->command == CMD_CHECK) json_object_set_new(in, "seed", json_integer((json_int_t)o->seed));
    if (o->points) json_object_set_new(in, "points", json_integer((json_int_t)o->points));
    json_object_set_new(doc, "schema", json_string(schema));
    json_object_set_new(doc, "version", json_string(cr_version()));
    json_object_set_new(doc, "command", json_string(o->name));
    json_object_set_new(doc, "inputs", in);
    return doc;
}

void json_set_error(json_t *doc, const char *message, unsigned line, unsigned column)
{
    json_t *e = json_object();
    json_object_set_new(e, "message", json_text(message));
    json_object_set_new(e, "line", line ? json_integer(line) : json_null());
    json_object_set_new(e, "column", column ? json_integer(column) : json_null());
    json_object_del(doc, "results"); /* an error is of the whole run */
    json_object_set_new(doc, "error", e);
}

static bool dump(void *user, FILE *f)
{
    return json_dumpf(user, f, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) == 0 && fputc('\n', f) != EOF;
}

bool json_write(json_t *doc, const char *path, char *message, size_t size)
{
    return file_write(path, dump, doc, message, size);
}
