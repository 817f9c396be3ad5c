/* chainrule eval */
#include "cli.h"

#include <string.h>

int cmd_eval(session *s)
{
    const options *o = s->o;
    bool human = !o->json || strcmp(o->json, "-");
    json_t *results = json_array();
    if (s->doc) json_object_set(s->doc, "results", results);
    int status = EXIT_DONE;
    for (size_t i = 0; i < s->n && status == EXIT_DONE; i++) {
        cr_array a;
        const char *query = cr_program_query_text(s->p, s->statement[i]);
        if (cr_program_eval(s->p, s->statement[i], &a) != CR_OK) {
            status = session_fail(s);
            break;
        }
        if (s->doc) {
            json_t *r = json_object(), *shape = json_array();
            json_object_set_new(r, "query", json_text(query));
            json_put_value(r, &a);
            for (unsigned k = 0; k < a.rank; k++) json_array_append_new(shape, json_integer(a.dim[k]));
            json_object_set_new(r, "shape", shape);
            json_array_append_new(results, r);
        }
        if (human) {
            if (!o->quiet) {
                term_query(query, i == 0);
                fputs("    ", stdout);
            }
            term_array(&a, o->quiet ? 0 : 4);
        }
        cr_array_free(&a);
    }
    json_decref(results);
    return status;
}
