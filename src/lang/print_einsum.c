/* From einsum to what people write: a matrix expression where print_contract.c finds one, else a sum over entries. */
#include "lang/print.h"

#include <string.h>

/* Label lists by operand. */
static void split_labels(pr *p, const einsum_view *v, const uint32_t **label)
{
    const uint32_t *l = v->labels;
    for (uint32_t i = 0; i < v->n; i++) {
        label[i] = l;
        l += shape_of(p->g, v->operand[i])->rank;
    }
}

bool pr_einsum_selects(const pr *p, cr_ref r)
{
    const cr_node *nd = node(p->g, r);
    if (nd->op != CR_OP_EINSUM) return nd->op == CR_OP_ONEHOT;
    for (uint32_t i = 0; i < nd->n_in; i++)
        if (op_of(p->g, nd->word[i]) == CR_OP_ONEHOT) return true;
    return false;
}

bool pr_einsum_sums(const pr *p, cr_ref r)
{
    const cr_node *nd = node(p->g, r);
    for (unsigned k = 0; k < nd->n_attr; k++)
        if (nd->word[nd->n_in + k] >= shape_of(p->g, r)->rank) return true;
    return false;
}

tree *pr_einsum(pr *p, cr_ref r)
{
    einsum_view v;
    einsum_read(p->g, r, &v);
    if (v.rank > 2 || v.n > EINSUM_MAX_LABELS) return NULL;
    if (v.rank == 0 && (p->form == LANG_COMPONENT || (p->form == LANG_AUTO && pr_selects(p, r)))) return NULL;
    const uint32_t *label[EINSUM_MAX_LABELS];
    split_labels(p, &v, label);
    contraction c = {v.n, v.operand, label, v.size, v.rank, {0, 1}, false};
    product q = {.coefficient = 1};
    tree *tensor;
    bool plain;
    return pr_contract(p, &c, &q, &tensor, &plain) ? product_tree(p, &q, tensor) : NULL;
}

/* The operands that hang together by summed labels, as one sum over those labels: sum(k=1..n, W[1,k]*x[k]). */
static bool explicit_sum(pr *p, product *q, const contraction *c, uint64_t members, const uint8_t *summed,
                         unsigned n_summed, cr_dim *at)
{
    cr_dim one = dim_const(p->g->dims, 1);
    product inner = {.coefficient = 1};
    unsigned made = 0;
    bool ok = true;
    for (; made < n_summed && ok; made += ok) ok = (at[summed[made]] = pr_fresh_index(p)) != CR_NONE;
    if (!ok) pr_fail(p, CR_ENOMEM, "out of memory");
    for (uint32_t i = 0; i < c->n && ok; i++) {
        if (!(members >> i & 1)) continue;
        cr_dim index[CR_MAX_RANK];
        for (unsigned k = 0; k < shape_of(p->g, c->operand[i])->rank; k++) index[k] = at[c->label[i][k]];
        ok = pr_gather(p, &inner, c->operand[i], index, false);
    }
    tree *kid[3 * EINSUM_MAX_LABELS + 1];
    for (unsigned k = 0; k < n_summed && ok; k++) {
        kid[3 * k] = tree_dim(p, at[summed[k]]);
        kid[3 * k + 1] = tree_dim(p, one);
        kid[3 * k + 2] = tree_dim(p, c->size[summed[k]]);
    }
    if (ok) {
        double sign = inner.coefficient < 0 ? -1 : 1; /* a sign belongs before the sum */
        inner.coefficient *= sign;
        q->coefficient *= sign;
        kid[3 * n_summed] = product_tree(p, &inner, NULL);
        tree *t = tree_new(p, T_BIG, 3 * n_summed + 1, kid);
        if (t) t->op = CR_BIND_SUM;
        ok = product_factor(p, q, t);
    }
    while (made-- > 0) {
        pr_drop_index(p);
        at[summed[made]] = CR_NONE;
    }
    return ok;
}

/* One group of operands that hang together by summed labels, at the given indices. */
static bool group(pr *p, product *q, const contraction *all, uint64_t members, const uint8_t *summed, unsigned n_summed,
                  cr_dim *at, bool top)
{
    contraction c = {.size = all->size};
    cr_ref operand[EINSUM_MAX_LABELS];
    const uint32_t *label[EINSUM_MAX_LABELS];
    cr_dim index[2];
    bool matrix = !(top && p->form == LANG_COMPONENT);
    for (uint32_t i = 0; i < all->n; i++) {
        if (!(members >> i & 1)) continue;
        operand[c.n] = all->operand[i];
        label[c.n++] = all->label[i];
        if (p->form == LANG_AUTO && !is_scalar(p->g, all->operand[i]) && pr_selects(p, all->operand[i])) matrix = false;
        for (unsigned k = 0; k < shape_of(p->g, all->operand[i])->rank && matrix; k++) {
            uint32_t l = all->label[i][k];
            unsigned o = 0;
            if (!at[l]) continue;
            while (o < c.rank && c.out[o] != l) o++;
            if (o < c.rank) continue;
            matrix = c.rank < 2;
            if (!matrix) break;
            c.out[c.rank] = l;
            index[c.rank++] = at[l];
        }
    }
    c.operand = operand;
    c.label = label;
    if (matrix && (c.rank == 0 ? p->form != LANG_COMPONENT : true)) {
        product m = {.coefficient = 1};
        tree *tensor;
        bool plain;
        bool done = pr_contract(p, &c, &m, &tensor, &plain);
        if (done && c.rank == 2) { /* of (W*x*v')[i,j] and its transpose, the one with fewer transposes */
            product m2 = {.coefficient = 1};
            tree *other;
            bool plain2;
            contraction turned = c;
            turned.out[0] = c.out[1];
            turned.out[1] = c.out[0];
            unsigned marks = 0, marks2 = 0;
            if (pr_contract(p, &turned, &m2, &other, &plain2)) {
                if (tensor->kind == T_MUL)
                    for (uint32_t k = 0; k < tensor->n; k++) marks += tensor->kid[k]->kind == T_TRANSPOSE;
                if (other->kind == T_MUL)
                    for (uint32_t k = 0; k < other->n; k++) marks2 += other->kid[k]->kind == T_TRANSPOSE;
                if (marks2 < marks) {
                    tensor = other;
                    m = m2;
                    cr_dim swap = index[0];
                    index[0] = index[1];
                    index[1] = swap;
                }
            }
        }
        if (done && (plain || c.rank == 0))
            return product_factor(p, q, product_tree(p, &m, NULL)) &&
                   (!tensor || product_factor(p, q, tree_index(p, tensor, c.rank, index)));
        if (pr_failed(p)) return false;
    }
    return explicit_sum(p, q, all, members, summed, n_summed, at);
}

tree *pr_einsum_entry(pr *p, cr_ref r, const cr_dim *index, bool top)
{
    einsum_view v;
    einsum_read(p->g, r, &v);
    if (v.n > EINSUM_MAX_LABELS) return pr_fail(p, CR_ELIMIT, "a product of too many factors to print");
    const uint32_t *label[EINSUM_MAX_LABELS];
    split_labels(p, &v, label);
    contraction all = {v.n, v.operand, label, v.size, 0, {0, 0}, false};
    cr_dim at[EINSUM_MAX_LABELS] = {0};
    product q = {.coefficient = 1};
    for (unsigned k = 0; k < v.rank; k++) at[k] = index[k];
    uint64_t left = v.n == 64 ? ~0ull : (1ull << v.n) - 1;
    for (uint32_t i = 0; i < v.n; i++) { /* e(j,n) selects */
        if (op_of(p->g, v.operand[i]) != CR_OP_ONEHOT || label[i][0] < v.rank || at[label[i][0]]) continue;
        at[label[i][0]] = attr_of(p->g, v.operand[i], 0);
        left &= ~(1ull << i);
    }
    bool ok = true;
    for (uint32_t first = 0; first < v.n && ok; first++) {
        if (!(left >> first & 1)) continue;
        uint64_t members = 1ull << first, carried = 0;
        uint8_t summed[EINSUM_MAX_LABELS];
        unsigned n_summed = 0;
        for (bool grew = true; grew;) { /* all that hang together with `first` by running labels */
            grew = false;
            for (uint32_t i = 0; i < v.n; i++) {
                if (!(left >> i & 1)) continue;
                uint64_t own = 0;
                for (unsigned k = 0; k < shape_of(p->g, v.operand[i])->rank; k++)
                    if (!at[label[i][k]]) own |= 1ull << label[i][k];
                bool in = members >> i & 1;
                if (!in && !(own & carried)) continue;
                grew = grew || !in || (own & ~carried);
                members |= 1ull << i;
                carried |= own;
            }
        }
        for (unsigned l = 0; l < EINSUM_MAX_LABELS; l++)
            if (carried >> l & 1) summed[n_summed++] = (uint8_t)l;
        if (n_summed == 0) {
            cr_dim own[CR_MAX_RANK];
            for (unsigned k = 0; k < shape_of(p->g, v.operand[first])->rank; k++) own[k] = at[label[first][k]];
            ok = pr_gather(p, &q, v.operand[first], own, false);
        } else {
            ok = group(p, &q, &all, members, summed, n_summed, at, top);
        }
        left &= ~members;
    }
    return ok ? product_tree(p, &q, NULL) : NULL;
}

tree *pr_kron(pr *p, cr_ref r)
{
    cr_ref a = in_of(p->g, r, 0);
    const cr_shape *s = shape_of(p->g, a), *to = shape_of(p->g, r);
    if (op_of(p->g, a) != CR_OP_EINSUM || s->rank != 4 || to->rank != 2) return NULL;
    if (dims_product(p->g, s->dim, 2) != to->dim[0] || dims_product(p->g, s->dim + 2, 2) != to->dim[1]) return NULL;
    einsum_view v;
    einsum_read(p->g, a, &v);
    const uint32_t *label[EINSUM_MAX_LABELS];
    if (v.n > EINSUM_MAX_LABELS) return NULL;
    split_labels(p, &v, label);
    /* labels 0 and 2 belong to the left factor, 1 and 3 to the right one; others go with whom they are connected to */
    uint64_t side[2] = {1ull << 0 | 1ull << 2, 1ull << 1 | 1ull << 3};
    product q = {.coefficient = 1};
    tree *arg[2];
    for (bool grew = true; grew;) {
        grew = false;
        for (uint32_t i = 0; i < v.n; i++) {
            uint64_t own = 0;
            for (unsigned k = 0; k < shape_of(p->g, v.operand[i])->rank; k++) own |= 1ull << label[i][k];
            for (int x = 0; x < 2; x++)
                if (own & side[x] && (own & ~side[x])) side[x] |= own, grew = true;
        }
    }
    if (side[0] & side[1]) return NULL;
    for (int x = 0; x < 2; x++) {
        contraction c = {.size = v.size, .rank = 2, .columns = true, .out = {(uint32_t)x, (uint32_t)x + 2}};
        cr_ref operand[EINSUM_MAX_LABELS];
        const uint32_t *own[EINSUM_MAX_LABELS];
        for (uint32_t i = 0; i < v.n; i++) {
            bool scalar = shape_of(p->g, v.operand[i])->rank == 0;
            if (scalar ? x == 1 : !(side[x] >> label[i][0] & 1)) continue;
            operand[c.n] = v.operand[i];
            own[c.n++] = label[i];
        }
        c.operand = operand;
        c.label = own;
        bool plain;
        if (!pr_contract(p, &c, &q, &arg[x], &plain)) return NULL;
    }
    return product_tree(p, &q, tree_2(p, T_KRON, arg[0], arg[1]));
}
