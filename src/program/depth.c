/* The depth of the program's recurrences, as a symbol and as a number. */
#include "program/program.h"

#include <stdio.h>
#include <string.h>

typedef struct depth_symbol {
    cr_graph *g;
    dim_sym s;
    bool several;
} depth_symbol;

static void see_depth(void *user, dim_sym s)
{
    depth_symbol *d = user;
    if (needs_is_bound(d->g, s)) return;
    d->several |= d->s && d->s != s;
    d->s = s;
}

static bool look_at(depth_symbol *d, cr_ref r)
{
    cr_graph *g = d->g;
    size_t n;
    cr_family *list = family_closure(g, 1, &r, &n);
    for (size_t i = 0; list && i < n; i++)
        for (size_t k = 0; k < g->family[list[i]].n_pieces; k++) {
            dim_symbols(g->dims, g->family[list[i]].piece[k].lo, see_depth, d);
            dim_symbols(g->dims, g->family[list[i]].piece[k].hi, see_depth, d);
        }
    mem_free(list);
    return list != NULL;
}

dim_sym prog_depth_of(cr_graph *g, cr_ref r, bool *several)
{
    depth_symbol d = {.g = g};
    look_at(&d, r);
    *several = d.several;
    return d.several ? 0 : d.s;
}

cr_status cr_program_depth(cr_program *p, int64_t n)
{
    cr_graph *g = p->g;
    depth_symbol d = {.g = g};
    if (cr_graph_status(g) != CR_OK) return cr_graph_status(g);
    for (size_t i = 0; i < lang_n_statements(p->lang); i++)
        if (!look_at(&d, lang_statement_at(p->lang, i)->expr)) return cr_graph_status(g);
    if (!d.s || d.several) {
        graph_fail(g, CR_EVALUE, d.several ? "the recurrences have several symbols in their ranges; give each a value "
                                             "with --set \"N = 5\""
                                           : "there is no recurrence here, so no symbolic depth to give a value to "
                                             "(sizes take theirs from --set)");
        return CR_EVALUE;
    }
    char text[160];
    snprintf(text, sizeof text, "%.100s = %lld", name_text(g->dims, d.s), (long long)n);
    p->depth = d.s;
    p->depth_value = n;
    return cr_program_assign(p, text);
}
