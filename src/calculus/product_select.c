/* Selected entries: an index is pushed towards the leaves, f(z)[i] = f(z[i]), so that what is read is short and equal
 * things have one form. */
#include "calculus/derive.h"
#include "calculus/product.h"

#include <string.h>

/* u_a v_a e(i)_a = u[i] v[i], and v_a e(i)_a e(j)_a = v[i] delta(i,j): what an index selects is a number of its own,
 * with a one-hot of its own; so is v_a e(i)_a where a is an axis of the result: v[i] e(i). Of several indices a number
 * is preferred. */
bool part_selected(cr_graph *g, product *p)
{
    int64_t v;
    if (p->n == PRODUCT_MAX || p->next >= EINSUM_MAX_LABELS - 8) return false;
    for (unsigned i = 0; i < p->n; i++) {
        uint8_t l = p->label[i][0];
        if (!is_op(g, p->factor[i], CR_OP_ONEHOT) || product_count_label(g, p, l) < (l < p->rank ? 2u : 3u)) continue;
        unsigned kept = i, at = PRODUCT_MAX, axis = 0;
        for (unsigned j = 0; j < p->n; j++) {
            if (!is_op(g, p->factor[j], CR_OP_ONEHOT) || p->label[j][0] != l) continue;
            bool number = dim_value(g->dims, attr_of(g, p->factor[j], 0), &v),
                 has = dim_value(g->dims, attr_of(g, p->factor[kept], 0), &v);
            if (number != has ? number : p->factor[j] < p->factor[kept]) kept = j;
        }
        for (unsigned j = 0; j < p->n; j++) /* another index first, else the last operand */
            for (unsigned k = 0; k < rank_of(g, p->factor[j]); k++) {
                if (j == kept || p->label[j][k] != l || (at < PRODUCT_MAX && is_op(g, p->factor[at], CR_OP_ONEHOT)))
                    continue;
                at = j;
                axis = k;
            }
        p->label[at][axis] = (uint8_t)p->next;
        p->factor[p->n] = p->factor[kept];
        p->label[p->n++][0] = (uint8_t)p->next++;
        return true;
    }
    return false;
}

/* Is every term of the sum element-wise in its entries, so that its entry is no longer than itself? */
static bool entry_is_short(const cr_graph *g, cr_ref add)
{
    const cr_node *n = node(g, add);
    for (uint32_t i = 0; i < n->n_in; i++) {
        cr_ref t = n->word[i];
        einsum_view v;
        if (is_op(g, t, CR_OP_EINSUM)) {
            einsum_read(g, t, &v);
            uint64_t picked = 0; /* labels that an index selects: no sum runs over them */
            const uint32_t *l = v.labels;
            for (uint32_t k = 0; k < v.n; l += rank_of(g, v.operand[k]), k++)
                if (is_op(g, v.operand[k], CR_OP_ONEHOT)) picked |= 1ull << l[0];
            for (unsigned a = v.rank; a < v.n_labels; a++)
                if (!(picked >> a & 1)) return false;
        }
    }
    return true;
}

/* x[index...] over its n leading axes, with the selection pushed towards the leaves where that is as short. */
static cr_ref select_entry(simp *s, cr_ref x, unsigned n_index, const cr_dim *index, unsigned depth)
{
    cr_graph *g = s->g;
    const cr_node *n = node(g, x);
    const cr_shape *sh = shape_of(g, x);
    const op_info *op = op_get((cr_op)n->op);
    double v;
    if (is_const(g, x, &v)) return cr_full(g, cr_const(g, v), sh->rank - n_index, sh->dim + n_index);
    bool elementwise = op->kind == KIND_MAP1 || op->kind == KIND_MAP2 || op->kind == KIND_CMP ||
                       n->op == CR_OP_SELECT || n->op == CR_OP_CALL || (n->op == CR_OP_ADD && entry_is_short(g, x));
    if (depth < 20 && n->n_in <= 16 && elementwise) {
        cr_ref in[16];
        for (uint32_t i = 0; i < n->n_in; i++) in[i] = select_entry(s, n->word[i], n_index, index, depth + 1);
        return graph_remake(g, x, in);
    }
    if (op->kind == KIND_REDUCE && n->word[1] >= n_index)
        return cr_reduce(g, (cr_op)n->op, select_entry(s, n->word[0], n_index, index, depth + 1), n->word[1] - n_index);
    if (n->op == CR_OP_IOTA) return cr_int(g, index[0]);
    dim_sym sym;
    const uint32_t *range = n->word + 1; /* kind, symbol, lo, hi */
    if (n->op == CR_OP_BIND && range[0] == CR_BIND_SUM && depth < 20 && dim_is_symbol(g->dims, range[1], &sym))
        return cr_bind(g, CR_BIND_SUM, name_text(g->dims, sym), range[2], range[3],
                       select_entry(s, n->word[0], n_index, index, depth + 1));
    int64_t at = 0, size, k;
    if (n->op == CR_OP_STACK && n_index == sh->rank) { /* an entry of a literal, if the numbers say which */
        bool known = true;
        for (unsigned i = 0; i < n_index && known; i++) {
            known = dim_value(g->dims, index[i], &k) && dim_value(g->dims, sh->dim[i], &size);
            if (known) at = at * size + k - 1;
        }
        if (known && at >= 0 && at < n->n_in) return n->word[at];
    }
    if (sh->dtype != CR_REAL || depth == 0) return CR_NONE; /* at the top x[index] is what there is already */
    product p;
    product_read(g, x, &p);
    unsigned rank = p.rank - n_index;
    if (p.n + n_index > PRODUCT_MAX) return CR_NONE;
    /* axes 0..n_index-1 become summed labels, met by one-hots */
    uint8_t to[EINSUM_MAX_LABELS];
    for (unsigned l = 0; l < p.next; l++) to[l] = (uint8_t)(l < n_index ? p.next + l : l < p.rank ? l - n_index : l);
    if (p.next + n_index > EINSUM_MAX_LABELS) return CR_NONE;
    for (unsigned i = 0; i < p.n; i++)
        for (unsigned a = 0; a < rank_of(g, p.factor[i]); a++) p.label[i][a] = to[p.label[i][a]];
    for (unsigned i = 0; i < n_index; i++) {
        p.factor[p.n] = cr_onehot(g, index[i], p.shape[i]);
        if (!p.factor[p.n]) return CR_NONE;
        p.label[p.n++][0] = to[i];
    }
    p.next += n_index;
    p.rank = rank;
    memmove(p.shape, p.shape + n_index, rank * sizeof *p.shape);
    return product_simplify(s, &p);
}

/* A factor all of whose labels are picked by one-hots is the scalar f(z)[i,j] = f(z[i,j]). */
bool push_selection(simp *s, product *p)
{
    cr_graph *g = s->g;
    for (unsigned i = 0; i < p->n; i++) {
        cr_ref f = p->factor[i];
        unsigned r = rank_of(g, f);
        cr_op op = op_of(g, f);
        cr_dim index[CR_MAX_RANK];
        if (r == 0 || op == CR_OP_ONEHOT || op == CR_OP_PARAM || op == CR_OP_IDENTITY || op == CR_OP_EINSUM) continue;
        if (op == CR_OP_ADD && !entry_is_short(g, f)) continue;
        op_kind kind = op_get(op)->kind;
        if (kind != KIND_MAP1 && kind != KIND_MAP2 && kind != KIND_REDUCE && op != CR_OP_ADD && op != CR_OP_SELECT &&
            op != CR_OP_CALL && op != CR_OP_IOTA && op != CR_OP_STACK &&
            !(op == CR_OP_BIND && attr_of(g, f, 0) == CR_BIND_SUM))
            continue;
        bool all = true;
        for (unsigned k = 0; k < r && all; k++) {
            all = false;
            for (unsigned j = 0; j < p->n && !all; j++)
                if (is_op(g, p->factor[j], CR_OP_ONEHOT) && p->label[j][0] == p->label[i][k] &&
                    p->label[j][0] >= p->rank) {
                    index[k] = attr_of(g, p->factor[j], 0);
                    all = true;
                }
        }
        if (!all) continue;
        cr_ref entry = select_entry(s, f, r, index, 0);
        if (!entry || rank_of(g, entry)) continue;
        if (is_op(g, entry, CR_OP_EINSUM)) { /* came back as f(z)[i]: no progress */
            bool same = false;
            for (uint32_t k = 0; k < node(g, entry)->n_in; k++) same |= in_of(g, entry, k) == f;
            if (same) continue;
        }
        p->factor[i] = simplify_new(s, entry, f);
        return p->factor[i] != CR_NONE;
    }
    return false;
}

cr_ref calc_pushed(cr_graph *g, cr_ref y)
{
    simp s = {.g = g};
    product p;
    if (!valid(g, y) || op_of(g, y) != CR_OP_EINSUM) return y;
    product_read(g, y, &p);
    for (int round = 0; round < 32 && push_selection(&s, &p); round++)
        if (!product_renormalise(&s, &p)) break;
    simp_free(&s);
    return g->err.status == CR_OK ? product_build(g, &p) : CR_NONE;
}

/* p as it was read from the node `whole`, or CR_NONE if it is no node yet. */
