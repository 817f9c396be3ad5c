/* Reverse mode through a small piece of a large graph. The walk of walk.c looks at all that y rests on; here the piece
 * ends at the expressions wrt, and costs what it has. */
#include "calculus/walk.h"

#include "ops/ops.h"

#include <stdlib.h>
#include <string.h>

/* A node of the piece. */
typedef struct part {
    cr_ref ref, bar; /* bar: the sum of its cotangents so far */
    bool wrt, moves; /* an end; depends on one */
} part;

typedef struct piece {
    part *at; /* ascending by ref, once sorted */
    size_t n, cap;
} piece;

static int by_ref(const void *a, const void *b)
{
    cr_ref x = ((const part *)a)->ref, y = ((const part *)b)->ref;
    return (x > y) - (x < y);
}

static part *find(const piece *p, cr_ref ref)
{
    part key = {.ref = ref};
    return bsearch(&key, p->at, p->n, sizeof *p->at, by_ref);
}

/* Small open addressing set of refs that were met. */
typedef struct met {
    cr_ref *slot;
    size_t cap, n;
} met;

static bool meet(met *m, cr_ref r, bool *again)
{
    if (2 * (m->n + 1) > m->cap) {
        met wider = {mem_zalloc(m->cap ? 2 * m->cap : 64, sizeof(cr_ref)), m->cap ? 2 * m->cap : 64, 0};
        bool old;
        if (!wider.slot) return false;
        for (size_t i = 0; i < m->cap; i++) {
            if (m->slot[i]) meet(&wider, m->slot[i], &old);
        }
        mem_free(m->slot);
        *m = wider;
    }
    size_t i = hash_word(0, r) & (m->cap - 1);
    while (m->slot[i] && m->slot[i] != r) i = (i + 1) & (m->cap - 1);
    *again = m->slot[i] == r;
    if (!*again) m->n++;
    m->slot[i] = r;
    return true;
}

/* From y down to wrt. least: what lies below it cannot depend on any of them, as inputs have smaller refs. whole:
 * nothing in it but what has a rule of its own. */
static bool collect(cr_graph *g, unsigned n_y, const cr_ref *y, unsigned n_wrt, const cr_ref *wrt, cr_ref least,
                    piece *p, bool *whole)
{
    met m = {0};
    bool again, ok = VEC_RESERVE(p->at, p->cap, n_y);
    for (unsigned i = 0; i < n_y && ok; i++) {
        ok = meet(&m, y[i], &again);
        if (ok && !again) p->at[p->n++] = (part){.ref = y[i]};
    }
    *whole = true;
    for (size_t i = 0; i < p->n && ok; i++) {
        cr_ref r = p->at[i].ref;
        for (unsigned k = 0; k < n_wrt && !p->at[i].wrt; k++) p->at[i].wrt = wrt[k] == r;
        if (p->at[i].wrt) continue;
        const cr_node *nd = node(g, r);
        if (nd->op == CR_OP_BIND || nd->op == CR_OP_MEMBER) *whole = false;
        for (uint32_t k = 0; k < nd->n_in && ok; k++) {
            if (nd->word[k] < least) continue;
            ok = meet(&m, nd->word[k], &again);
            if (!ok || again) continue;
            ok = VEC_RESERVE(p->at, p->cap, p->n + 1);
            if (ok) p->at[p->n++] = (part){.ref = nd->word[k]};
        }
    }
    mem_free(m.slot);
    return ok;
}

static bool give(cr_graph *g, part *to, cr_ref term)
{
    if (term == CR_NONE) return g->err.status == CR_OK;
    to->bar = to->bar == CR_NONE ? term : cr_add(g, to->bar, term);
    return to->bar != CR_NONE;
}

static bool walk(cr_graph *g, piece *p, unsigned n_y, const cr_ref *y, const cr_ref *ybar)
{
    qsort(p->at, p->n, sizeof *p->at, by_ref);
    for (size_t i = 0; i < p->n; i++) {
        const cr_node *nd = node(g, p->at[i].ref);
        p->at[i].moves = p->at[i].wrt;
        for (uint32_t k = 0; k < nd->n_in && !p->at[i].moves; k++) {
            const part *in = find(p, nd->word[k]);
            p->at[i].moves = in && in->moves;
        }
    }
    unsigned k = cr_rank(g, ybar[0]) - cr_rank(g, y[0]);
    for (unsigned i = 0; i < n_y; i++) {
        if (!give(g, find(p, y[i]), ybar[i])) return false;
    }
    for (size_t i = p->n; i-- > 0;) {
        part *a = &p->at[i];
        if (a->wrt || !a->moves || a->bar == CR_NONE) continue;
        const cr_node *nd = node(g, a->ref);
        for (uint32_t t = 0; t < nd->n_in; t++) {
            part *in = find(p, nd->word[t]);
            if (in && in->moves && !give(g, in, op_vjp(g, a->ref, t, a->bar, k))) return false;
        }
    }
    return true;
}

/* Where a rule of its own is missing: one y after the other, with nothing shared. */
static cr_status apart(cr_graph *g, unsigned n_y, const cr_ref *y, const cr_ref *ybar, unsigned n_wrt,
                       const cr_ref *wrt, cr_ref *out)
{
    cr_status status = calc_reverse_apart(g, y[0], ybar[0], n_wrt, wrt, out);
    cr_ref *more = n_y > 1 && n_wrt ? mem_alloc(n_wrt * sizeof *more) : NULL;
    if (n_y > 1 && n_wrt && !more) return graph_fail(g, CR_ENOMEM, "out of memory"), CR_ENOMEM;
    for (unsigned k = 1; k < n_y && more && status == CR_OK; k++) {
        for (unsigned i = 0; i < n_wrt; i++) more[i] = CR_NONE;
        status = calc_reverse_apart(g, y[k], ybar[k], n_wrt, wrt, more);
        for (unsigned i = 0; i < n_wrt && status == CR_OK; i++) {
            if (more[i] != CR_NONE) out[i] = out[i] == CR_NONE ? more[i] : cr_add(g, out[i], more[i]);
        }
    }
    mem_free(more);
    return status == CR_OK ? g->err.status : status;
}

cr_status calc_reverse_local_n(cr_graph *g, unsigned n_y, const cr_ref *y, const cr_ref *ybar, unsigned n_wrt,
                               const cr_ref *wrt, cr_ref *out)
{
    piece p = {0};
    bool whole;
    cr_ref least = CR_NONE;
    if (n_y == 0) return CR_EARG;
    for (unsigned i = 0; i < n_y; i++) {
        if (!valid(g, y[i]) || !valid(g, ybar[i])) return g->err.status != CR_OK ? g->err.status : CR_EARG;
        least = i == 0 || y[i] < least ? y[i] : least;
    }
    for (unsigned i = 0; i < n_wrt; i++) least = wrt[i] < least ? wrt[i] : least;
    bool ok = collect(g, n_y, y, n_wrt, wrt, least, &p, &whole);
    if (ok && !whole) {
        mem_free(p.at);
        return apart(g, n_y, y, ybar, n_wrt, wrt, out);
    }
    ok = ok && walk(g, &p, n_y, y, ybar);
    for (unsigned i = 0; i < n_wrt && ok; i++) {
        const part *a = find(&p, wrt[i]);
        out[i] = a ? a->bar : CR_NONE;
    }
    mem_free(p.at);
    if (ok) return CR_OK;
    if (g->err.status == CR_OK) graph_fail(g, CR_ENOMEM, "out of memory");
    return g->err.status;
}

cr_status calc_reverse_local(cr_graph *g, cr_ref y, cr_ref ybar, unsigned n_wrt, const cr_ref *wrt, cr_ref *out)
{
    return calc_reverse_local_n(g, 1, &y, &ybar, n_wrt, wrt, out);
}
