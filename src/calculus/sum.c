/* Sums over the reals: flattened, like terms collected, a differing matrix factor put into one bracket. */
#include "calculus/simplify.h"

#include <string.h>

typedef struct term_list {
    cr_ref *rest; /* CR_NONE: a number */
    double *coef;
    size_t n, cap_rest, cap_coef;
} term_list;

static bool push(term_list *l, double coef, cr_ref rest)
{
    if (!VEC_RESERVE(l->rest, l->cap_rest, l->n + 1) || !VEC_RESERVE(l->coef, l->cap_coef, l->n + 1)) return false;
    l->rest[l->n] = rest;
    l->coef[l->n++] = coef;
    return true;
}

/* Adds coef * t to the list. Nested sums are opened where they may be merged: with coefficient 1 or -1, or all of them.
 */
static bool collect(simp *s, term_list *l, double coef, cr_ref t, bool all, unsigned depth)
{
    cr_graph *g = s->g;
    cr_ref rest;
    double own = split_coefficient(g, t, &rest);
    if (rest && !num_product_fits(coef, own)) return push(l, coef, t);
    double c = num_times(coef, own);
    if (rest && op_of(g, rest) == CR_OP_ADD && depth < 50 && (all || c == 1 || c == -1) &&
        (may_merge(s, t) || may_merge(s, rest))) {
        const cr_node *n = node(g, rest);
        for (uint32_t i = 0; i < n->n_in; i++)
            if (!collect(s, l, c, n->word[i], all, depth + 1)) return false;
        return true;
    }
    return push(l, c, rest);
}

/* Adds up the coefficients of equal terms, at the place of the first. */
static bool merge_like(term_list *l)
{
    size_t cap = 16;
    while (cap < 2 * l->n) cap *= 2;
    uint32_t small[64], *slot = small;
    if (cap > 64 && !(slot = mem_alloc(cap * sizeof *slot))) return false;
    memset(slot, 0, cap * sizeof *slot);
    size_t m = 0;
    for (size_t i = 0; i < l->n; i++) {
        size_t k = hash_word(17, l->rest[i]) & (cap - 1);
        while (slot[k] && l->rest[slot[k] - 1] != l->rest[i]) k = (k + 1) & (cap - 1);
        if (slot[k]) {
            l->coef[slot[k] - 1] = num_plus(l->coef[slot[k] - 1], l->coef[i]);
        } else {
            l->rest[m] = l->rest[i];
            l->coef[m++] = l->coef[i];
            slot[k] = (uint32_t)m;
        }
    }
    if (slot != small) mem_free(slot);
    l->n = 0;
    for (size_t i = 0; i < m; i++) {
        if (l->coef[i] == 0) continue;
        l->rest[l->n] = l->rest[i];
        l->coef[l->n++] = l->coef[i];
    }
    return true;
}

/* ---- common factors ------------------------------------------------------------------------------- */

/* p with a hole in the place of factor i (its axes swapped if asked): equal products around the hole are equal refs. */
static cr_ref with_hole(simp *s, const product *p, unsigned i, bool swap)
{
    cr_graph *g = s->g;
    product q = *p;
    const cr_shape *sh = shape_of(g, p->factor[i]);
    cr_dim dim[2] = {sh->dim[swap], sh->dim[!swap]};
    dim_sym name = name_intern(g->dims, "#hole", 5);
    q.factor[i] = graph_node(g, CR_OP_PARAM, graph_type(g, CR_REAL, 2, dim), 0, NULL, 2, (uint32_t[]){name, 0});
    q.label[i][0] = p->label[i][swap];
    q.label[i][1] = p->label[i][!swap];
    return turn_symmetric(s, &q, 0);
}

/* Is factor i one entry, like A[1,2]? Then a bracket around it would be opened again: (A + B)[1,2] = A[1,2] + B[1,2].
 */
static bool is_entry(const cr_graph *g, const product *p, unsigned i)
{
    unsigned picked = 0;
    for (unsigned j = 0; j < p->n; j++)
        if (op_of(g, p->factor[j]) == CR_OP_ONEHOT)
            for (unsigned k = 0; k < 2; k++)
                if (p->label[j][0] == p->label[i][k]) picked |= 1u << k;
    return picked == 3;
}

/* B x + B' x = (B + B') x: two terms that differ in one matrix factor only. */
static cr_ref join(simp *s, double ca, cr_ref a, double cb, cr_ref b)
{
    cr_graph *g = s->g;
    product p, q;
    if (!a || !b || ca != cb) return CR_NONE; /* only equal coefficients read well in one bracket */
    product_read(g, a, &p);
    product_read(g, b, &q);
    if (p.n != q.n || p.n < 2) return CR_NONE;
    p.coef = q.coef = 1;
    uint64_t sum_p = 0, sum_q = 0; /* of the refs: tells most sets of other factors apart */
    for (unsigned i = 0; i < p.n; i++) {
        sum_p += p.factor[i];
        sum_q += q.factor[i];
    }
    for (unsigned i = 0; i < p.n; i++) {
        if (shape_of(g, p.factor[i])->rank != 2 || op_of(g, p.factor[i]) == CR_OP_IDENTITY || is_entry(g, &p, i))
            continue;
        cr_ref around = CR_NONE;
        for (unsigned j = 0; j < q.n; j++)
            for (unsigned swap = 0; swap < 2; swap++) {
                if (shape_of(g, q.factor[j])->rank != 2 || op_of(g, q.factor[j]) == CR_OP_IDENTITY) continue;
                if (sum_p - p.factor[i] != sum_q - q.factor[j]) continue;
                if (!around) around = with_hole(s, &p, i, false);
                if (!around || with_hole(s, &q, j, swap) != around) continue;
                cr_ref other = q.factor[j];
                const cr_shape *o = shape_of(g, other);
                if (swap) {
                    product t;
                    product_read(g, cr_einsum(g, 1, &other, (uint8_t[]){1, 0}, 2, (cr_dim[]){o->dim[1], o->dim[0]}),
                                 &t);
                    other = product_simplify(s, &t);
                    if (!other) return CR_NONE;
                }
                p.factor[i] = sum_simplify(s, 2, (cr_ref[]){p.factor[i], other});
                p.coef = ca;
                return p.factor[i] ? product_simplify(s, &p) : CR_NONE;
            }
    }
    return CR_NONE;
}

static bool join_terms(simp *s, term_list *l)
{
    if (!s->small || l->n > 12) return true;
    for (size_t i = 0; i < l->n; i++)
        for (size_t j = i + 1; j < l->n; j++) {
            cr_ref both = join(s, l->coef[i], l->rest[i], l->coef[j], l->rest[j]);
            if (s->g->err.status != CR_OK) return false;
            if (!both) continue;
            l->coef[i] = split_coefficient(s->g, both, &l->rest[i]);
            l->n--;
            memmove(l->rest + j, l->rest + j + 1, (l->n - j) * sizeof *l->rest);
            memmove(l->coef + j, l->coef + j + 1, (l->n - j) * sizeof *l->coef);
            j = i; /* the new term may meet others */
        }
    return true;
}

/* ---- cases ----------------------------------------------------------------------------------------- */

/* r = around * (cond ? yes : no), element by element, with one of yes and no zero; step(z) and relu(z) are such
 * choices. */
typedef struct choice {
    cr_ref cond, yes, no;
} choice;

static bool read_choice(cr_graph *g, cr_ref r, choice *c)
{
    product p;
    double v;
    product_read(g, r, &p);
    if (p.next > p.rank) return false;
    for (unsigned i = 0; i < p.n; i++) {
        cr_ref f = p.factor[i];
        const cr_shape *s = shape_of(g, f);
        cr_op op = op_of(g, f);
        bool plain = s->rank == p.rank;
        for (unsigned k = 0; k < s->rank && plain; k++) plain = p.label[i][k] == k;
        if (!plain || (op != CR_OP_SELECT && op != CR_OP_STEP && op != CR_OP_RELU)) continue;
        cr_ref zero = cr_full(g, cr_const(g, 0), p.rank, p.shape), yes, no;
        if (op == CR_OP_SELECT) {
            c->cond = in_of(g, f, 0);
            yes = in_of(g, f, 1);
            no = in_of(g, f, 2);
        } else {
            c->cond = cr_map2(g, CR_OP_LT, cr_const(g, 0), in_of(g, f, 0));
            yes = op == CR_OP_STEP ? cr_full(g, cr_const(g, 1), p.rank, p.shape) : in_of(g, f, 0);
            no = zero;
        }
        bool yes_zero = is_const(g, yes, &v) && v == 0, no_zero = is_const(g, no, &v) && v == 0;
        if (yes_zero == no_zero) continue;
        p.factor[i] = yes_zero ? no : yes;
        cr_ref value = product_build(g, &p);
        c->yes = yes_zero ? zero : value;
        c->no = yes_zero ? value : zero;
        return value != CR_NONE;
    }
    return false;
}

/* (c ? a : 0) + (c ? 0 : b) = c ? a : b */
static bool join_choices(simp *s, term_list *l)
{
    cr_graph *g = s->g;
    if (!s->small || l->n > 12) return true;
    for (size_t i = 0; i < l->n; i++)
        for (size_t j = 0; j < l->n; j++) {
            choice a, b;
            double v;
            if (i == j || !l->rest[i] || !l->rest[j] || !read_choice(g, l->rest[i], &a) ||
                !read_choice(g, l->rest[j], &b))
                continue;
            if (a.cond != b.cond || !(is_const(g, a.no, &v) && v == 0) || !(is_const(g, b.yes, &v) && v == 0)) continue;
            cr_ref yes = cr_mul(g, cr_const(g, l->coef[i]), a.yes), no = cr_mul(g, cr_const(g, l->coef[j]), b.no);
            cr_ref both = cr_select(g, a.cond, yes, no);
            if (!both || !(both = simplify_new(s, both, l->rest[i] > l->rest[j] ? l->rest[i] : l->rest[j])))
                return false;
            size_t keep = i < j ? i : j, gone = i < j ? j : i;
            l->rest[keep] = both;
            l->coef[keep] = 1;
            l->n--;
            memmove(l->rest + gone, l->rest + gone + 1, (l->n - gone) * sizeof *l->rest);
            memmove(l->coef + gone, l->coef + gone + 1, (l->n - gone) * sizeof *l->coef);
            return join_choices(s, l);
        }
    return true;
}

/* ---------------------------------------------------------------------------------------------------- */

/* a*e(1,2) + b*e(2,2) = [a, b]: a vector of numeric size whose entries all stand as terms. */
static cr_ref as_literal(cr_graph *g, size_t n, const cr_ref *term)
{
    const cr_shape *s = shape_of(g, n ? term[0] : CR_NONE);
    int64_t size, at;
    cr_ref entry[16] = {0};
    if (s->rank != 1 || !dim_value(g->dims, s->dim[0], &size) || size > 16 || (size_t)size != n) return CR_NONE;
    for (size_t i = 0; i < n; i++) {
        product p;
        product_read(g, term[i], &p);
        unsigned hot = PRODUCT_MAX;
        for (unsigned k = 0; k < p.n; k++)
            for (unsigned a = 0; a < shape_of(g, p.factor[k])->rank; a++)
                if (p.label[k][a] == 0)
                    hot = hot == PRODUCT_MAX && op_of(g, p.factor[k]) == CR_OP_ONEHOT ? k : PRODUCT_MAX + 1;
        if (hot >= PRODUCT_MAX || !dim_value(g->dims, attr_of(g, p.factor[hot], 0), &at) || at < 1 || at > size ||
            entry[at - 1])
            return CR_NONE;
        p.n--;
        memmove(p.factor + hot, p.factor + hot + 1, (p.n - hot) * sizeof *p.factor);
        memmove(p.label + hot, p.label + hot + 1, (p.n - hot) * sizeof *p.label);
        p.rank = 0;
        for (unsigned k = 0; k < p.n; k++) /* summed labels keep their numbers: all are >= 1 */
            for (unsigned a = 0; a < shape_of(g, p.factor[k])->rank; a++)
                if (p.label[k][a] == 0) return CR_NONE;
        entry[at - 1] = product_build(g, &p);
        if (!entry[at - 1]) return CR_NONE;
    }
    return cr_stack(g, (unsigned)n, entry, 1, s->dim);
}

/* ---- multiplying out ------------------------------------------------------------------------------- */

/* Number of factors: what a reader has to read. */
static size_t weight(const cr_graph *g, const term_list *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        const cr_node *t = node(g, l->rest[i]);
        n += 1;
        for (uint32_t k = 0; l->rest[i] && t->op == CR_OP_EINSUM && k < t->n_in; k++)
            n += op_of(g, t->word[k]) == CR_OP_ADD ? node(g, t->word[k])->n_in : 1;
    }
    return n;
}

/* y .* (1 - s) - (1 - y) .* s = y - s: brackets are multiplied out where terms then cancel, so that less is left. */
static bool open_brackets(simp *s, term_list *l)
{
    cr_graph *g = s->g;
    enum { TERMS = 6, WIDTH = 4 };
    term_list open = {0};
    bool any = false, ok = true;
    if (!s->small || s->opening || l->n < 2 || l->n > TERMS) return true;
    for (size_t i = 0; i < l->n && ok; i++) {
        product p;
        unsigned at = 0;
        if (l->rest[i]) product_read(g, l->rest[i], &p);
        else p.n = 0;
        while (at < p.n && (op_of(g, p.factor[at]) != CR_OP_ADD || node(g, p.factor[at])->n_in > WIDTH)) at++;
        bool square = false; /* |x - m|^2 stays a square, which is seen to be positive */
        for (unsigned k = 0; k < p.n && at < p.n; k++) square |= k != at && p.factor[k] == p.factor[at];
        if (p.n < 2 || at == p.n || square) {
            ok = push(&open, l->coef[i], l->rest[i]);
            continue;
        }
        any = true;
        s->opening = true;
        cr_ref sum = product_distribute(s, &p, at);
        s->opening = false;
        ok = sum && collect(s, &open, l->coef[i], sum, true, 0);
    }
    if (ok && any && merge_like(&open) && weight(g, &open) < weight(g, l)) {
        term_list t = *l;
        *l = open;
        open = t;
    }
    mem_free(open.rest);
    mem_free(open.coef);
    return ok || g->err.status == CR_OK;
}

static void release(term_list *l)
{
    mem_free(l->rest);
    mem_free(l->coef);
}

cr_ref sum_simplify(simp *s, unsigned n, const cr_ref *terms)
{
    cr_graph *g = s->g;
    const cr_shape *sh = shape_of(g, terms[0]);
    term_list l = {0}, closed = {0};
    cr_ref out = CR_NONE;
    bool ok = true;
    /* 2*(a - b) stays closed unless opening it lets terms meet. Whole sums that are equal are added up first. */
    for (unsigned i = 0; i < n && ok; i++) {
        cr_ref rest;
        double c = split_coefficient(g, terms[i], &rest);
        ok = push(&closed, c, rest);
    }
    ok = ok && merge_like(&closed);
    if (ok && closed.n > 1) {
        term_list open = {0};
        for (size_t i = 0; i < closed.n && ok; i++)
            ok = closed.rest[i] ? collect(s, &l, closed.coef[i], closed.rest[i], false, 0) &&
                                      collect(s, &open, closed.coef[i], closed.rest[i], true, 0)
                                : push(&l, closed.coef[i], CR_NONE) && push(&open, closed.coef[i], CR_NONE);
        size_t before = open.n;
        ok = ok && merge_like(&l) && merge_like(&open);
        if (ok && open.n < before && open.n <= l.n) {
            term_list t = l;
            l = open;
            open = t;
        }
        release(&open);
        release(&closed);
    } else {
        l = closed;
    }
    ok = ok && open_brackets(s, &l) && join_terms(s, &l) && join_choices(s, &l);
    cr_ref *made = ok ? mem_alloc((l.n ? l.n : 1) * sizeof *made) : NULL;
    for (size_t i = 0; made && i < l.n; i++) {
        if (!l.rest[i]) {
            made[i] = cr_full(g, cr_const(g, l.coef[i]), sh->rank, sh->dim);
        } else if (l.coef[i] == 1) {
            made[i] = l.rest[i];
        } else {
            product p;
            product_read(g, l.rest[i], &p);
            p.coef = l.coef[i];
            made[i] = product_build(g, &p);
        }
    }
    if (made && (out = as_literal(g, l.n, made))) {
    } else if (g->err.status != CR_OK) {
    } else if (made) out = l.n ? cr_add_n(g, (unsigned)l.n, made) : cr_full(g, cr_const(g, 0), sh->rank, sh->dim);
    else if (g->err.status == CR_OK) graph_fail(g, CR_ENOMEM, "out of memory");
    mem_free(made);
    release(&l);
    return out;
}
