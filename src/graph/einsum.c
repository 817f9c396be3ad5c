/* einsum, the one multiply-and-sum: its identity, its reader, and its builder with the EXACT rewrites. */
#include "graph/einsum.h"

#include <math.h>
#include <string.h>

static unsigned rank_of(const cr_graph *g, cr_ref r) { return shape_of(g, r)->rank; }

/* ---- identity --------------------------------------------------------------------------------- */

uint32_t einsum_hash(const cr_graph *g, unsigned rank, uint32_t n, const cr_ref *operand, const uint32_t *labels)
{
    uint32_t sum = n;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t h = hash_word(0xA3C59AC3u, operand[i]);
        for (unsigned k = rank_of(g, operand[i]); k > 0; k--, labels++)
            h = hash_word(h, *labels < rank ? *labels : CR_MAX_RANK); /* summed labels have no names */
        sum += h;
    }
    return sum;
}

typedef struct matcher {
    const cr_graph *g;
    unsigned rank;
    uint32_t n;
    const cr_ref *a, *b;
    const uint32_t *la, *lb; /* labels of all operands */
    uint32_t start_b[64];    /* offset of the labels of operand i of b */
    uint8_t map[EINSUM_MAX_LABELS], back[EINSUM_MAX_LABELS]; /* label of a <-> label of b, 255 none */
    uint64_t used; /* operands of b that are taken */
    unsigned budget; /* tries left: a graph of many equal operands must not take exponential time */
} matcher;

/* Finds partners in b for the operands of a from i on, with one renaming of summed labels. */
static bool match_from(matcher *m, uint32_t i, const uint32_t *la)
{
    if (i == m->n) return true;
    unsigned r = rank_of(m->g, m->a[i]);
    for (uint32_t j = 0; j < m->n; j++) {
        if (m->used >> j & 1 || m->b[j] != m->a[i]) continue;
        if (!m->budget) return false;
        m->budget--;
        const uint32_t *lb = m->lb + m->start_b[j];
        uint8_t made[CR_MAX_RANK];
        unsigned n_made = 0;
        bool ok = true;
        for (unsigned k = 0; k < r && ok; k++) {
            uint32_t x = la[k], y = lb[k];
            if (x < m->rank || y < m->rank) ok = x == y;
            else if (m->map[x] == 255 && m->back[y] == 255) {
                m->map[x] = (uint8_t)y;
                m->back[y] = (uint8_t)x;
                made[n_made++] = (uint8_t)x;
            } else ok = m->map[x] == y;
        }
        if (ok) {
            m->used |= 1ull << j;
            if (match_from(m, i + 1, la + r)) return true;
            m->used &= ~(1ull << j);
        }
        while (n_made) {
            uint8_t x = made[--n_made];
            m->back[m->map[x]] = 255;
            m->map[x] = 255;
        }
    }
    return false;
}

bool einsum_equal(const cr_graph *g, unsigned rank, uint32_t n, const cr_ref *a, const uint32_t *la, const cr_ref *b,
                  const uint32_t *lb)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < n; i++) total += rank_of(g, a[i]);
    if (!memcmp(a, b, n * sizeof *a) && !memcmp(la, lb, total * sizeof *la)) return true;
    if (n > 64) return false;
    matcher m = {.g = g, .rank = rank, .n = n, .a = a, .b = b, .la = la, .lb = lb, .budget = 2000};
    memset(m.map, 255, sizeof m.map);
    memset(m.back, 255, sizeof m.back);
    for (uint32_t i = 0, k = 0; i < n; i++) {
        m.start_b[i] = k;
        k += rank_of(g, b[i]);
    }
    return match_from(&m, 0, la);
}

void einsum_read(const cr_graph *g, cr_ref r, einsum_view *v)
{
    const cr_node *nd = node(g, r);
    const cr_shape *s = shape_of(g, r);
    v->n = nd->n_in;
    v->rank = v->n_labels = s->rank;
    v->operand = nd->word;
    v->labels = nd->word + nd->n_in;
    for (unsigned i = 0; i < s->rank; i++) v->size[i] = s->dim[i];
    const uint32_t *l = v->labels;
    for (uint32_t i = 0; i < v->n; i++) {
        const cr_shape *o = shape_of(g, v->operand[i]);
        for (unsigned k = 0; k < o->rank; k++, l++) {
            v->size[*l] = o->dim[k];
            if (*l >= v->n_labels) v->n_labels = *l + 1;
        }
    }
}

/* ---- builder ---------------------------------------------------------------------------------- */

enum { MAX_OPERANDS = 64 };

/* An einsum in the making. Labels are sparse until finish() numbers them. */
typedef struct draft {
    unsigned rank;
    uint32_t n;
    cr_ref operand[MAX_OPERANDS];
    uint8_t label[MAX_OPERANDS][CR_MAX_RANK];
    cr_dim size[EINSUM_MAX_LABELS];
    uint64_t selected; /* summed labels that a delta has consumed */
} draft;

static void drop(draft *d, uint32_t i)
{
    d->n--;
    memmove(d->operand + i, d->operand + i + 1, (d->n - i) * sizeof d->operand[0]);
    memmove(d->label + i, d->label + i + 1, (d->n - i) * sizeof d->label[0]);
}

static void rename_label(const cr_graph *g, draft *d, uint8_t from, uint8_t to)
{
    for (uint32_t i = 0; i < d->n; i++)
        for (unsigned k = 0; k < rank_of(g, d->operand[i]); k++)
            if (d->label[i][k] == from) d->label[i][k] = to;
}

static bool uses_label(const cr_graph *g, const draft *d, uint8_t l, uint32_t but)
{
    for (uint32_t i = 0; i < d->n; i++)
        for (unsigned k = 0; i != but && k < rank_of(g, d->operand[i]); k++)
            if (d->label[i][k] == l) return true;
    return false;
}

/* A view (transpose, diagonal, broadcast: one operand, nothing summed or multiplied) is only a relabelling, so it
 * goes into the einsum that uses it. */
static void inline_views(const cr_graph *g, draft *d)
{
    for (uint32_t i = 0; i < d->n; i++) {
        const cr_node *v = node(g, d->operand[i]);
        while (v->op == CR_OP_EINSUM && v->n_in == 1) {
            unsigned outer = rank_of(g, d->operand[i]);
            uint8_t to[CR_MAX_RANK], inner[CR_MAX_RANK];
            memcpy(to, d->label[i], outer);
            for (unsigned k = 0; k < v->n_attr; k++)
                if (v->word[1 + k] >= outer) return; /* it sums */
            for (unsigned k = 0; k < v->n_attr; k++) inner[k] = to[v->word[1 + k]];
            memcpy(d->label[i], inner, v->n_attr);
            d->operand[i] = v->word[0];
            v = node(g, d->operand[i]);
        }
    }
}

/* Contracting a delta selects: I_ab with b summed renames b to a, e(i)_a counts 1 where a occurs nowhere else. Returns
 * false if the whole product is zero. */
static bool contract_deltas(cr_graph *g, draft *d)
{
    for (uint32_t i = 0; i < d->n; i++) {
        cr_op op = op_of(g, d->operand[i]);
        uint8_t a = d->label[i][0], b = d->label[i][1];
        bool again = false;
        if (op == CR_OP_IDENTITY && (a == b || a >= d->rank || b >= d->rank)) {
            drop(d, i);
            if (a != b) {
                uint8_t from = a >= d->rank ? a : b, to = a >= d->rank ? b : a;
                rename_label(g, d, from, to);
                d->selected |= 1ull << from;
            }
            again = true;
        } else if (op == CR_OP_ONEHOT) {
            cr_dim di = attr_of(g, d->operand[i], 0);
            for (uint32_t j = i + 1; j < d->n && !again; j++) {
                if (op_of(g, d->operand[j]) != CR_OP_ONEHOT || d->label[j][0] != a) continue;
                cr_dim dj = attr_of(g, d->operand[j], 0);
                int64_t gap;
                if (di == dj) {
                    drop(d, j);
                    again = true;
                } else if (dim_value(g->dims, dim_sub(g->dims, di, dj), &gap)) {
                    return false; /* they differ by a number that is not 0 */
                }
            }
            if (!again && a >= d->rank && !uses_label(g, d, a, i)) {
                drop(d, i);
                d->selected |= 1ull << a;
                again = true;
            }
        }
        if (again) i = (uint32_t)-1;
    }
    return true;
}

/* w[k] of a family of variables is one thing, whoever picks it: by e(k) along its first axis or by name. */
static bool pick_members(cr_graph *g, draft *d)
{
    for (uint32_t i = 0; i < d->n; i++) {
        cr_dim lo = family_first(g, d->operand[i]);
        uint8_t a = d->label[i][0];
        if (!lo || a < d->rank) continue;
        unsigned r = rank_of(g, d->operand[i]), seen = 0;
        uint32_t hot = UINT32_MAX;
        for (uint32_t j = 0; j < d->n; j++)
            for (unsigned k = 0; k < rank_of(g, d->operand[j]); k++) seen += d->label[j][k] == a;
        for (uint32_t j = 0; j < d->n && hot == UINT32_MAX; j++)
            if (op_of(g, d->operand[j]) == CR_OP_ONEHOT && d->label[j][0] == a) hot = j;
        if (hot == UINT32_MAX || seen != 2) continue;
        cr_dim position = attr_of(g, d->operand[hot], 0);
        d->operand[i] =
            cr_pick(g, d->operand[i], dim_add(g->dims, dim_sub(g->dims, position, dim_const(g->dims, 1)), lo));
        if (!d->operand[i]) return false;
        memmove(d->label[i], d->label[i] + 1, r - 1u);
        d->selected |= 1ull << a;
        drop(d, hot);
        i = (uint32_t)-1;
    }
    return true;
}

/* Multiplies numbers together where that is exact, and integer polynomials; drops a 1. */
static bool fold_scalars(cr_graph *g, draft *d)
{
    uint32_t number = UINT32_MAX, integer = UINT32_MAX;
    double product = 1, v;
    bool folded = false;
    for (uint32_t i = 0; i < d->n; i++) {
        if (rank_of(g, d->operand[i])) continue;
        if (is_const(g, d->operand[i], &v)) {
            if (number == UINT32_MAX) {
                number = i;
                product = v;
            } else if (product == 1 || v == 1 ||
                       (fabs(product * v) < 1e15 && product * v == trunc(product * v) &&
                        num_product_fits(product, v))) {
                product *= v;
                folded = true;
                drop(d, i--);
            }
        } else if (op_of(g, d->operand[i]) == CR_OP_INT) {
            if (integer == UINT32_MAX) integer = i;
            else {
                d->operand[integer] =
                    cr_int(g, dim_mul(g->dims, attr_of(g, d->operand[integer], 0), attr_of(g, d->operand[i], 0)));
                if (!d->operand[integer]) return false;
                drop(d, i--);
            }
        }
    }
    if (number != UINT32_MAX) {
        cr_dim k;
        if (folded) d->operand[number] = cr_const(g, product);
        if (!d->operand[number]) return false;
        if (integer != UINT32_MAX && as_dim(g, d->operand[number], &k)) {
            d->operand[integer] = cr_int(g, dim_mul(g->dims, k, attr_of(g, d->operand[integer], 0)));
            if (!d->operand[integer]) return false;
            drop(d, number);
        } else if (product == 1.0 && d->n > 1) {
            drop(d, number);
        }
    }
    return true;
}

static uint64_t labels_present(const cr_graph *g, const draft *d)
{
    uint64_t set = 0;
    for (uint32_t i = 0; i < d->n; i++)
        for (unsigned k = 0; k < rank_of(g, d->operand[i]); k++) set |= 1ull << d->label[i][k];
    return set;
}

/* Numbers labels: outputs stay, summed ones in order of appearance; then the node. */
static cr_ref finish(cr_graph *g, const draft *d, const cr_dim *shape)
{
    uint8_t to[EINSUM_MAX_LABELS];
    memset(to, 255, sizeof to);
    for (unsigned k = 0; k < d->rank; k++) to[k] = (uint8_t)k;
    unsigned next = d->rank, n_words = 0;
    uint32_t words[MAX_OPERANDS * CR_MAX_RANK];
    bool identical = d->n == 1;
    for (uint32_t i = 0; i < d->n; i++)
        for (unsigned k = 0; k < rank_of(g, d->operand[i]); k++) {
            uint8_t l = d->label[i][k];
            if (to[l] == 255) to[l] = (uint8_t)next++;
            identical = identical && to[l] == k;
            words[n_words++] = to[l];
        }
    if (identical && rank_of(g, d->operand[0]) == d->rank) return d->operand[0];
    node_type type = graph_type(g, CR_REAL, d->rank, shape);
    return graph_node(g, CR_OP_EINSUM, type, d->n, d->operand, n_words, words);
}

cr_ref cr_einsum(cr_graph *g, unsigned n, const cr_ref *operands, const uint8_t *labels, unsigned rank,
                 const cr_dim *shape)
{
    draft d; /* not zeroed as a whole, it is large and this the busiest of all builders */
    d.rank = rank;
    d.n = n;
    d.selected = 0;
    if (n > MAX_OPERANDS) return graph_fail(g, CR_ELIMIT, "a product of more than %d factors", MAX_OPERANDS);
    if (rank > CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a tensor of more than %d axes", CR_MAX_RANK);
    uint64_t known = (1ull << rank) - 1; /* labels that have a size */
    for (unsigned k = 0; k < rank; k++) {
        if (!shape[k]) return CR_NONE;
        d.size[k] = shape[k];
    }
    for (unsigned i = 0; i < n; i++) {
        if (!valid(g, operands[i])) return CR_NONE;
        const cr_shape *s = shape_of(g, operands[i]);
        if (s->dtype != CR_REAL)
            return graph_fail(g, CR_ESHAPE, "a condition cannot be multiplied; use if(cond, a, b)");
        d.operand[i] = operands[i];
        for (unsigned k = 0; k < s->rank; k++) {
            uint8_t l = *labels++;
            if (l >= EINSUM_MAX_LABELS)
                return graph_fail(g, CR_ELIMIT, "more than %d indices in a product", EINSUM_MAX_LABELS);
            if (!(known >> l & 1)) {
                known |= 1ull << l;
                d.size[l] = s->dim[k];
            } else if (d.size[l] != s->dim[k]) {
                strbuf x;
                sb_init(&x);
                dim_print(g->dims, d.size[l], &x, NULL, NULL);
                sb_puts(&x, " against ");
                dim_print(g->dims, s->dim[k], &x, NULL, NULL);
                graph_fail(g, CR_ESHAPE, "sizes disagree: %s", sb_str(&x));
                sb_free(&x);
                return CR_NONE;
            }
            d.label[i][k] = l;
        }
    }
    uint64_t summed = known & ~((1ull << rank) - 1);
    inline_views(g, &d);
    if (!contract_deltas(g, &d)) return cr_full(g, cr_const(g, 0.0), rank, shape);
    if (g->param_lo_cap && !pick_members(g, &d)) return CR_NONE;
    /* A summed label that no operand has any more, and that no delta selects, counts its size: the broadcast axis of a
     * view, a traced identity. */
    uint64_t counted = summed & ~labels_present(g, &d) & ~d.selected;
    for (unsigned l = rank; l < EINSUM_MAX_LABELS && counted >> l; l++) {
        if (!(counted >> l & 1) || d.size[l] == dim_const(g->dims, 1)) continue;
        if (d.n == MAX_OPERANDS) return graph_fail(g, CR_ELIMIT, "a product of more than %d factors", MAX_OPERANDS);
        d.operand[d.n] = cr_int(g, d.size[l]);
        if (!d.operand[d.n++]) return CR_NONE;
    }
    if (!fold_scalars(g, &d)) return CR_NONE;
    if (d.n == 0) return cr_full(g, cr_const(g, 1.0), rank, shape);
    return finish(g, &d, shape);
}
