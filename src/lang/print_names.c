/* The state of the printer: which names are in use, and what a bound index is called. */
#include "lang/print.h"

#include <stdio.h>
#include <string.h>

bool pr_is_used(const pr *p, dim_sym s)
{
    if (s < p->g->param_cap && p->g->param_by_name[s]) return true;
    for (size_t i = 1; i < p->g->n_fun; i++)
        if (p->g->fun[i].name == s) return true;
    for (size_t i = 0; i < p->n_used; i++)
        if (p->used[i] == s) return true;
    return false;
}

bool pr_use(pr *p, dim_sym s)
{
    if (!VEC_RESERVE(p->used, p->used_cap, p->n_used + 1)) return pr_fail(p, CR_ENOMEM, "out of memory"), false;
    p->used[p->n_used++] = s;
    return true;
}

/* i, j, k, l, p, q, r, then i1, i2, ... */
static dim_sym fresh_name(pr *p)
{
    static const char *const first[] = {"i", "j", "k", "l", "p", "q", "r"};
    char text[24];
    for (unsigned n = 0;; n++) {
        if (n < sizeof first / sizeof *first) snprintf(text, sizeof text, "%s", first[n]);
        else snprintf(text, sizeof text, "i%u", n - (unsigned)(sizeof first / sizeof *first) + 1);
        dim_sym s = name_intern(p->g->dims, text, strlen(text));
        if (!s || !pr_is_used(p, s)) return s && pr_use(p, s) ? s : 0;
    }
}

bool pr_reserve(pr *p, size_t n, const dim_sym *s)
{
    for (size_t i = 0; i < n; i++)
        if (!pr_use(p, s[i])) return false;
    for (size_t k = p->n_bound; k > 0; k--)
        for (size_t i = 0; i < n; i++) {
            if (p->bound[k - 1].name != s[i]) continue;
            if (!(p->bound[k - 1].name = fresh_name(p))) return pr_fail(p, CR_ENOMEM, "out of memory"), false;
            break;
        }
    return true;
}

cr_dim pr_fresh_index(pr *p)
{
    dim_sym s = fresh_name(p);
    return s ? dim_symbol(p->g->dims, s) : CR_NONE;
}

void pr_drop_index(pr *p) { p->n_used--; }

const char *pr_symbol_name(void *user, dim_sym s)
{
    const pr *p = user;
    for (size_t i = 0; i < p->n_bound; i++)
        if (p->bound[i].symbol == s) return name_text(p->g->dims, p->bound[i].name);
    return name_text(p->g->dims, s);
}

/* Every symbol of the cone, once: the names that an index must not take, and the bound ones that need a name. */
typedef struct scan {
    pr *p;
    bool *seen;
    size_t cap;
    bool ok;
} scan;

static void scan_symbol(void *user, dim_sym s)
{
    scan *sc = user;
    size_t old = sc->cap;
    if (!sc->ok) return;
    sc->ok = VEC_RESERVE(sc->seen, sc->cap, (size_t)s + 1);
    if (!sc->ok) return;
    if (sc->cap > old) memset(sc->seen + old, 0, (sc->cap - old) * sizeof *sc->seen);
    if (sc->seen[s]) return;
    sc->seen[s] = true;
    pr *p = sc->p;
    if (!strchr(name_text(p->g->dims, s), '#')) {
        sc->ok = pr_use(p, s);
    } else if ((sc->ok = VEC_RESERVE(p->bound, p->bound_cap, p->n_bound + 1))) {
        p->bound[p->n_bound++] = (pr_index){s, 0};
    }
}

bool pr_begin(pr *p, cr_graph *g, cr_ref root, lang_form form)
{
    *p = (pr){.g = g, .form = form};
    size_t n;
    cr_ref *cone = graph_cone(g, 1, &root, &n);
    scan sc = {.p = p, .ok = cone != NULL};
    for (size_t i = 0; i < n && sc.ok; i++) {
        const cr_node *nd = node(g, cone[i]);
        graph_node_dims(g, cone[i], scan_symbol, &sc);
        if (nd->op == CR_OP_MEMBER) scan_symbol(&sc, g->family[attr_of(g, cone[i], 0)].name);
    }
    p->n_selects = (size_t)root + 1;
    p->selects = mem_zalloc(p->n_selects, sizeof *p->selects);
    sc.ok = sc.ok && p->selects;
    for (size_t i = 0; i < n && sc.ok; i++) {
        const cr_node *nd = node(g, cone[i]);
        bool *at = &p->selects[cone[i]];
        *at = nd->op == CR_OP_ONEHOT;
        for (uint32_t k = 0; k < nd->n_in && !*at; k++) *at = p->selects[nd->word[k]] && !is_scalar(g, nd->word[k]);
    }
    size_t n_bound =
        p->n_bound; /* sizes of other expressions keep their names too, so that the text can be read again */
    for (size_t t = 1; t < g->n_types && sc.ok; t++)
        for (unsigned k = 0; k < g->type[t]->rank; k++) dim_symbols(g->dims, g->type[t]->dim[k], scan_symbol, &sc);
    p->n_bound = n_bound;
    for (size_t i = p->n_bound; i > 0 && sc.ok; i--) /* outermost has the highest number: it is named first */
        sc.ok = (p->bound[i - 1].name = fresh_name(p)) != 0;
    if (!sc.ok) pr_fail(p, CR_ENOMEM, "out of memory");
    mem_free(sc.seen);
    mem_free(cone);
    return sc.ok;
}

void pr_end(pr *p)
{
    arena_free(&p->mem);
    mem_free(p->memo);
    mem_free(p->selects);
    mem_free(p->used);
    mem_free(p->bound);
}

bool pr_selects(const pr *p, cr_ref r) { return r < p->n_selects ? p->selects[r] : pr_einsum_selects(p, r); }
