/* The derivation of a derivative through a recurrence, as one writes it: what one layer does, where the variable
 * enters, and the chain rule along the layers. */
#include "calculus/depth.h"

#include <string.h>

typedef struct writer {
    depth_solver *s;
    calc_result *out;
    const char *name; /* of the core */
    dim_sym i;        /* the index as it is printed */
} writer;

static void put_dim(writer *w, strbuf *b, cr_dim d) { dim_print(w->s->g->dims, d, b, NULL, NULL); }

static void put_member(writer *w, strbuf *b, const char *name, cr_dim d)
{
    sb_printf(b, "%s[", name);
    put_dim(w, b, dim_substitute(w->s->g->dims, d, w->s->t, dim_symbol(w->s->g->dims, w->i)));
    sb_putc(b, ']');
}

static void put_range(writer *w, strbuf *b, const char *index, cr_dim lo, cr_dim hi)
{
    sb_printf(b, ", %s = ", index);
    put_dim(w, b, lo);
    sb_puts(b, "..");
    put_dim(w, b, hi);
}

/* Takes the text of b as the name of a rule. */
static bool add_step(writer *w, strbuf *b, cr_ref value)
{
    cr_graph *g = w->s->g;
    char *rule = b->status == CR_OK ? arena_alloc(&g->mem, b->n + 1) : NULL;
    if (rule) memcpy(rule, sb_str(b), b->n + 1);
    sb_free(b);
    if (!rule) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        return false;
    }
    cr_ref shown = value ? cr_simplify(g, graph_subst_symbol(g, value, w->s->t, dim_symbol(g->dims, w->i))) : CR_NONE;
    return shown && calc_step_add(g, w->out, (calc_step){.rule = rule, .derivative = shown}) == CR_OK;
}

static bool cell_steps(writer *w, unsigned c)
{
    depth_solver *s = w->s;
    cr_graph *g = s->g;
    const depth_cell *cell = &s->cell[c];
    const depth_steps *st = &s->steps[c];
    bool point = cell->lo == cell->hi, ok = true;
    cr_dim t = point ? cell->lo : dim_symbol(g->dims, s->t);
    strbuf b;
    for (unsigned k = 0; ok && k < st->n_edges; k++) {
        const depth_edge *e = &st->edge[k];
        cr_dim from = e->kind == EDGE_LAG ? dim_sub(g->dims, t, dim_const(g->dims, e->lag))
                      : e->kind == EDGE_POINT ? e->at
                                              : dim_symbol(g->dims, e->symbol);
        sb_init(&b);
        sb_puts(&b, e->kind == EDGE_LAG ? "one layer, " : e->kind == EDGE_POINT && !point ? "a skip, " : "");
        put_member(w, &b, w->name, t);
        sb_puts(&b, " by ");
        if (e->kind == EDGE_RANGE) sb_printf(&b, "each %s[j]", w->name);
        else put_member(w, &b, w->name, from);
        if (!point) put_range(w, &b, name_text(g->dims, w->i), cell->lo, cell->hi);
        if (e->kind == EDGE_RANGE) put_range(w, &b, "j", e->lo, e->hi);
        ok = add_step(w, &b, e->coef);
    }
    for (unsigned k = 0; ok && k < st->n_locals; k++) {
        const depth_local *l = &st->local[k];
        if (l->symbol) continue;
        sb_init(&b);
        sb_puts(&b, "where the variable enters, ");
        put_member(w, &b, w->name, t);
        sb_puts(&b, " by ");
        if (l->pick) put_member(w, &b, name_text(g->dims, attr_of(g, s->var, 0)), l->pick);
        else sb_puts(&b, name_text(g->dims, attr_of(g, s->var, 0)));
        if (!point) put_range(w, &b, name_text(g->dims, w->i), cell->lo, cell->hi);
        ok = add_step(w, &b, l->coef);
    }
    return ok;
}

cr_status depth_steps_of(cr_graph *g, cr_ref y, const calc_wrt *w, calc_result *out)
{
    depth_solver s;
    depth_steps *top = mem_zalloc(1, sizeof *top);
    if (!top) return graph_fail(g, CR_ENOMEM, "out of memory"), CR_ENOMEM;
    bool closed = depth_prepare(&s, g, y, w, top), ok = g->err.status == CR_OK;
    if (ok && !closed) {
        strbuf b;
        sb_init(&b);
        sb_puts(&b, "no closed form: each definition is differentiated, which gives a recursion");
        writer plain = {.s = &s, .out = out, .i = s.t};
        ok = add_step(&plain, &b, depth_recursion(g, y, w));
    } else if (ok) {
        writer wr = {.s = &s, .out = out, .name = name_text(g->dims, g->family[s.core].name)};
        wr.i = name_intern(g->dims, "i", 1);
        ok = wr.i != 0;
        for (unsigned k = 0; ok && k < top->n_edges && op_of(g, y) != CR_OP_MEMBER; k++) {
            if (top->edge[k].kind != EDGE_POINT) continue;
            strbuf b;
            sb_init(&b);
            sb_puts(&b, "from the end, by ");
            put_member(&wr, &b, wr.name, top->edge[k].at);
            ok = add_step(&wr, &b, top->edge[k].coef);
        }
        for (unsigned c = s.n_cells; ok && c-- > 0;) ok = cell_steps(&wr, c); /* from the output to the input */
    }
    depth_free(&s);
    mem_free(top);
    return ok ? CR_OK : g->err.status;
}
