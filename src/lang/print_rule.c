/* Definitions of families as text: o[i] = sigma(s[i]) for i in 1..N; and the range of all of them. */
#include "lang/print.h"

#include <string.h>

/* The member that a rule defines, as an expression of its own; then ` = `; then the body, with the same index. */
cr_status lang_print_rule(cr_graph *g, cr_family f, const family_piece *piece, lang_format format, strbuf *b)
{
    cr_dim index = piece->lo, symbol = dim_symbol(g->dims, piece->index);
    cr_ref body = piece->body;
    bool range = piece->lo != piece->hi;
    strbuf name;
    sb_init(&name);
    if (range) { /* an index that neither side uses */
        pr p;
        cr_ref all = cr_add(g, cr_int(g, symbol), cr_int(g, dim_add(g->dims, piece->lo, piece->hi)));
        all = cr_rank(g, body) ? all : cr_add(g, body, all);
        bool begun = all && pr_begin(&p, g, all, LANG_AUTO);
        if (!begun) {
            if (all) pr_end(&p);
            sb_free(&name);
            return g->err.status;
        }
        sb_puts(&name, pr_symbol_name(&p, piece->index));
        pr_end(&p);
        if (strchr(sb_str(&name), '#')) {
            sb_free(&name);
            sb_puts(&name, "i");
        }
        index = dim_symbol(g->dims, name_intern(g->dims, sb_str(&name), name.n));
    }
    body = graph_subst_symbol(g, body, piece->index, index);
    static const char *const over[] = {[LANG_TEXT] = " for %s in ", [LANG_UNICODE] = "  for %s = ",
                                       [LANG_LATEX] = ", \\quad %s = "};
    static const char *const dots[] = {
        [LANG_TEXT] = "..", [LANG_UNICODE] = ", \xe2\x80\xa6, ", [LANG_LATEX] = ", \\dots, "};
    cr_status s = lang_print(g, cr_member(g, f, index), format, LANG_AUTO, b);
    sb_puts(b, " = ");
    if (s == CR_OK) s = lang_print(g, body, format, LANG_AUTO, b);
    if (range && s == CR_OK) {
        sb_printf(b, over[format], sb_str(&name));
        (format == LANG_LATEX ? dim_print_latex : dim_print)(g->dims, piece->lo, b, NULL, NULL);
        sb_puts(b, dots[format]);
        (format == LANG_LATEX ? dim_print_latex : dim_print)(g->dims, piece->hi, b, NULL, NULL);
    }
    sb_free(&name);
    return s;
}

bool lang_family_ends(cr_graph *g, size_t n, const cr_family *list, bool lowest, cr_dim **d, size_t *n_d)
{
    cr_dim *kept = NULL;
    size_t cap = 0;
    *n_d = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < g->family[list[i]].n_pieces; k++) {
            const family_piece *p = &g->family[list[i]].piece[k];
            cr_dim end = lowest ? p->lo : p->hi;
            bool beaten = false;
            size_t left = 0;
            for (size_t j = 0; j < *n_d; j++) {
                cr_dim gap = lowest ? dim_sub(g->dims, end, kept[j]) : dim_sub(g->dims, kept[j], end);
                int64_t least;
                beaten = beaten || (family_least(g, gap, &least) && least >= 0);
            }
            for (size_t j = 0; j < *n_d && !beaten; j++) {
                cr_dim gap = lowest ? dim_sub(g->dims, kept[j], end) : dim_sub(g->dims, end, kept[j]);
                int64_t least;
                if (!family_least(g, gap, &least) || least < 0) kept[left++] = kept[j];
            }
            if (beaten) continue;
            *n_d = left;
            if (!VEC_RESERVE(kept, cap, left + 1)) {
                mem_free(kept);
                graph_fail(g, CR_ENOMEM, "out of memory");
                return false;
            }
            kept[(*n_d)++] = end;
        }
    *d = kept;
    return true;
}
