/* What has no closed form is differentiated as a recursion: the derivative of a family is a family. */
#include "calculus/depth.h"

#include <string.h>

/* dS_dw; dS_dw2, ... if one of the families that the expression rests on, as by a second derivative, has that name. */
static dim_sym derivative_name(cr_graph *g, dim_sym of, dim_sym var, const cr_family *list, size_t n)
{
    for (unsigned number = 1;; number++) {
        strbuf b;
        sb_init(&b);
        sb_printf(&b, "d%s_d%s", name_text(g->dims, of), name_text(g->dims, var));
        if (number > 1) sb_printf(&b, "%u", number);
        dim_sym s = b.status == CR_OK ? name_intern(g->dims, sb_str(&b), b.n) : 0;
        sb_free(&b);
        bool taken = s && s < g->param_cap && g->param_by_name[s];
        for (size_t i = 0; i < n && !taken; i++) taken = g->family[list[i]].name == s;
        if (!taken) return s;
    }
}

typedef struct tangents {
    cr_graph *g;
    cr_family *of; /* by cr_family */
} tangents;

/* The tangent of a member: that of its family at the same index. */
static cr_ref member_tangent(void *user, cr_ref member)
{
    const tangents *t = user;
    cr_family f = attr_of(t->g, member, 0);
    return t->of[f] ? cr_member(t->g, t->of[f], attr_of(t->g, member, 1)) : CR_NONE;
}

/* t[V, S] as [S, V] */
static cr_ref variable_last(cr_graph *g, cr_ref t, unsigned v)
{
    if (!t || v == 0) return t;
    const cr_shape *s = shape_of(g, t);
    unsigned rank = s->rank - v;
    uint8_t label[CR_MAX_RANK];
    cr_dim shape[CR_MAX_RANK];
    for (unsigned i = 0; i < s->rank; i++) {
        label[i] = (uint8_t)(i < v ? rank + i : i - v);
        shape[label[i]] = s->dim[i];
    }
    return cr_einsum(g, 1, &t, label, s->rank, shape);
}

cr_ref depth_recursion(cr_graph *g, cr_ref y, const calc_wrt *w)
{
    size_t n;
    cr_ref direction = calc_direction(g, w), out = CR_NONE;
    cr_family *list = direction ? family_closure(g, 1, &y, &n) : NULL;
    tangents t = {.g = g, .of = list ? mem_zalloc(g->n_family, sizeof *t.of) : NULL};
    bool ok = t.of != NULL;
    if (list && !ok) graph_fail(g, CR_ENOMEM, "out of memory");
    unsigned v = direction ? cr_rank(g, direction) - cr_rank(g, w->var) : 0;
    const cr_dim *lead = direction ? shape_of(g, direction)->dim : NULL;
    cr_dim zero_at = dim_const(g->dims, 0);
    for (size_t i = 0; ok && i < n; i++) {
        cr_ref like = cr_member(g, list[i], zero_at);
        if (!like || !depth_rests_on(g, like, w->var)) continue;
        const cr_shape *s = shape_of(g, like);
        cr_dim shape[2 * CR_MAX_RANK];
        dim_sym name = derivative_name(g, g->family[list[i]].name, attr_of(g, w->var, 0), list, n);
        memcpy(shape, lead, v * sizeof *shape);
        memcpy(shape + v, s->dim, s->rank * sizeof *shape);
        if (v + s->rank > CR_MAX_RANK) graph_fail(g, CR_ELIMIT, "a derivative of more than %d axes", CR_MAX_RANK);
        ok = v + s->rank <= CR_MAX_RANK && name &&
             (t.of[list[i]] = cr_family_new(g, name_text(g->dims, name), v + s->rank, shape)) != 0;
        if (ok) g->family[t.of[list[i]]].derived = true;
    }
    for (size_t i = 0; ok && i < n; i++) {
        if (!t.of[list[i]]) continue;
        cr_ref *body = mem_zalloc(g->family[list[i]].n_pieces + 1, sizeof *body);
        if (!body) graph_fail(g, CR_ENOMEM, "out of memory");
        ok = body != NULL;
        for (size_t k = 0; ok && k < g->family[list[i]].n_pieces; k++) {
            const family_piece p = g->family[list[i]].piece[k];
            cr_ref d = calc_forward(g, p.body, 1, &w->var, &direction, member_tangent, &t);
            ok = g->err.status == CR_OK;
            if (ok && !d) {
                const cr_shape *s = g->type[g->family[t.of[list[i]]].type];
                d = cr_full(g, cr_const(g, 0), s->rank, s->dim);
            }
            body[k] = ok ? calc_simplify_stable(g, d) : CR_NONE;
            ok = body[k] != CR_NONE;
        }
        ok = ok && family_define_like(g, t.of[list[i]], list[i], body);
        mem_free(body);
    }
    for (size_t i = 0; ok && i < n; i++)
        if (t.of[list[i]]) ok = cr_family_check(g, t.of[list[i]]) == CR_OK;
    if (ok) {
        out = calc_forward(g, y, 1, &w->var, &direction, member_tangent, &t);
        if (!out && g->err.status == CR_OK) { /* no tangent reaches it */
            cr_dim shape[2 * CR_MAX_RANK];
            const cr_shape *s = shape_of(g, y);
            memcpy(shape, lead, v * sizeof *shape);
            memcpy(shape + v, s->dim, s->rank * sizeof *shape);
            out = cr_full(g, cr_const(g, 0), v + s->rank, shape);
        }
        out = variable_last(g, out, v);
    }
    if (!out && g->err.status == CR_OK) graph_fail(g, CR_ENOMEM, "out of memory");
    mem_free(t.of);
    mem_free(list);
    return out;
}
