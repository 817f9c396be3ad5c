/* Any bytes as a program of the formula language: a result or a clean error, and nothing left over. What is read is
 * differentiated and printed, within bounds. */
#include "lang/lang.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_NODES = 3000 };

static void derive(cr_graph *g, const lang_statement *st)
{
    calc_result r;
    strbuf b;
    sb_init(&b);
    cr_graph_limit(g, g->n_nodes + MAX_NODES);
    if (calc_derive(g, st->expr, (unsigned)st->n_wrt, st->wrt, CALC_CONDITIONS, &r) == CR_OK)
        lang_print(g, r.simple, LANG_TEXT, LANG_AUTO, &b);
    if (cr_graph_status(g) == CR_EINTERNAL) abort();
    cr_graph_clear_error(g);
    calc_result_free(&r);
    sb_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cr_graph *g = cr_graph_new();
    lang_program *p = g ? lang_new(g) : NULL;
    if (p) {
        cr_status s = lang_parse(p, "fuzz.cr", (const char *)data, size);
        /* An error says where it is; what was read before it is whole. */
        if (s != cr_graph_status(g) || s == CR_EINTERNAL) abort();
        if (s != CR_OK && s != CR_ENOMEM && strncmp(cr_graph_message(g), "fuzz.cr:", 8)) abort();
        char message[256];
        if (cr_verify(g, message, sizeof message) != CR_OK) abort();
        for (size_t i = 0; i < lang_n_statements(p); i++) {
            const lang_statement *st = lang_statement_at(p, i);
            if (!valid(g, st->expr) || !st->query) abort();
            for (size_t k = 0; k < st->n_free; k++)
                if (!st->free_index[k].from || !st->free_index[k].to) abort();
            if (s == CR_OK && i < 4 && st->n_wrt) derive(g, st);
        }
    }
    lang_free(p);
    cr_graph_free(g);
    return 0;
}
