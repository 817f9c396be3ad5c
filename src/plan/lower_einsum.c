/* The one multiply-and-sum: deltas select (they fix or join labels and are never multiplied with), what is left is
 * contracted pair by pair. A pair without a common summed label is a MAP, a small one a MAP and a FOLD, others are
 * products of matrices. */
#include "plan/lower.h"

#include <string.h>

enum {
    SMALL_PRODUCT = 4096, /* multiplications below which a product runs inside a region */
    GREEDY_MAX = 24       /* more operands than this are contracted from left to right */
};

typedef struct einsum_operand {
    lower_tensor tensor;
    unsigned at[CR_MAX_RANK]; /* class of each axis */
} einsum_operand;

enum { MAX_LABELS_OF = EINSUM_MAX_LABELS * CR_MAX_RANK };

typedef struct einsum {
    lower *l;
    cr_ref r;
    einsum_view view; /* operands that only spread others over a diagonal are replaced by what they are made of */
    cr_ref operands[EINSUM_MAX_LABELS];
    uint32_t labels[MAX_LABELS_OF];
    int64_t size[EINSUM_MAX_LABELS]; /* by label */
    unsigned up[EINSUM_MAX_LABELS];  /* labels joined: a forest */
    cr_dim fixed[EINSUM_MAX_LABELS]; /* of roots: the index that a one-hot vector gives; 0: none */
    bool any_fixed;
    unsigned class_of[EINSUM_MAX_LABELS]; /* of roots that are not fixed; the result's come first, in its order */
    unsigned n_class, n_kept;
    einsum_operand *operand;
    unsigned n_operand;
    lower_frame frame; /* bound indices, then classes */
    lower_view *live;
    unsigned n_live;
} einsum;

static bool is_delta(const cr_graph *g, cr_ref r)
{
    return op_of(g, r) == CR_OP_IDENTITY || op_of(g, r) == CR_OP_ONEHOT;
}

static unsigned root_of(const einsum *e, unsigned k)
{
    while (e->up[k] != k) k = e->up[k];
    return k;
}

/* Where two one-hot vectors fix the same label, their indices have to agree: more than a diagonal of numbers needs is
 * left to a comparison. */
typedef struct agreement {
    cr_dim a, b;
} agreement;

/* A product without a sum in which there are deltas, such as diag(x): its zeros are never to be multiplied with. */
static bool is_diagonal(const cr_graph *g, cr_ref r, einsum_view *v)
{
    if (op_of(g, r) != CR_OP_EINSUM) return false;
    einsum_read(g, r, v);
    bool delta = false;
    for (uint32_t i = 0; i < v->n; i++) {
        delta |= is_delta(g, v->operand[i]);
    }
    return delta && v->n_labels == v->rank;
}

bool lower_is_diagonal(const cr_graph *g, cr_ref r)
{
    einsum_view v;
    return is_diagonal(g, r, &v);
}

/* Puts the operands of operand i, which is a product, in its place; false: there is no room. */
static bool open_operand(einsum *e, uint32_t i, const uint32_t *at, const einsum_view *inner)
{
    const cr_graph *g = e->l->g;
    uint32_t n_labels = 0, before = (uint32_t)(at - e->labels), added = 0;
    for (uint32_t k = 0; k < e->view.n; k++) n_labels += shape_of(g, e->operands[k])->rank;
    for (uint32_t k = 0; k < inner->n; k++) added += shape_of(g, inner->operand[k])->rank;
    uint32_t own = inner->rank, after = n_labels - before - own;
    if (e->view.n - 1 + inner->n > EINSUM_MAX_LABELS || n_labels - own + added > MAX_LABELS_OF) return false;
    uint32_t outer[CR_MAX_RANK];
    memcpy(outer, at, own * sizeof *outer);
    memmove(e->labels + before + added, e->labels + before + own, after * sizeof *e->labels);
    for (uint32_t k = 0; k < added; k++) e->labels[before + k] = outer[inner->labels[k]];
    memmove(e->operands + i + inner->n, e->operands + i + 1, (e->view.n - i - 1) * sizeof *e->operands);
    memcpy(e->operands + i, inner->operand, inner->n * sizeof *e->operands);
    e->view.n += inner->n - 1;
    return true;
}

static bool read_labels(einsum *e)
{
    lower *l = e->l;
    einsum_view inner;
    einsum_read(l->g, e->r, &e->view);
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->view.n; i++) n += shape_of(l->g, e->view.operand[i])->rank;
    memcpy(e->operands, e->view.operand, e->view.n * sizeof *e->operands);
    memcpy(e->labels, e->view.labels, n * sizeof *e->labels);
    e->view.operand = e->operands;
    e->view.labels = e->labels;
    const uint32_t *at = e->labels;
    for (uint32_t i = 0; i < e->view.n;) {
        if (is_diagonal(l->g, e->operands[i], &inner) && open_operand(e, i, at, &inner)) continue; /* look again */
        at += shape_of(l->g, e->operands[i++])->rank;
    }
    for (unsigned k = 0; k < e->view.n_labels; k++) {
        if (!exec_dim(l->env, e->view.size[k], "a size", &e->size[k])) return false;
        e->up[k] = k;
        e->fixed[k] = 0;
    }
    return true;
}

static bool join_labels(einsum *e, agreement *agree, unsigned *n_agree)
{
    const uint32_t *label = e->view.labels;
    *n_agree = 0;
    for (uint32_t i = 0; i < e->view.n; i++) { /* all joins before all indices */
        cr_ref o = e->view.operand[i];
        if (op_of(e->l->g, o) == CR_OP_IDENTITY) {
            unsigned a = root_of(e, label[0]), b = root_of(e, label[1]);
            e->up[a > b ? a : b] = a > b ? b : a;
        }
        label += shape_of(e->l->g, o)->rank;
    }
    label = e->view.labels;
    for (uint32_t i = 0; i < e->view.n; i++) {
        cr_ref o = e->view.operand[i];
        if (op_of(e->l->g, o) == CR_OP_ONEHOT) {
            unsigned k = root_of(e, label[0]);
            cr_dim d = attr_of(e->l->g, o, 0);
            if (!e->fixed[k]) e->fixed[k] = d;
            else if (e->fixed[k] != d) agree[(*n_agree)++] = (agreement){e->fixed[k], d};
            e->any_fixed = true;
        }
        label += shape_of(e->l->g, o)->rank;
    }
    return true;
}

static void number_classes(einsum *e)
{
    bool seen[EINSUM_MAX_LABELS] = {false};
    for (unsigned k = 0; k < e->view.n_labels; k++) {
        unsigned root = root_of(e, k);
        if (!seen[root] && !e->fixed[root]) e->class_of[root] = e->n_class++;
        seen[root] = true;
        if (k + 1 == e->view.rank) e->n_kept = e->n_class;
    }
    if (e->view.rank == 0) e->n_kept = 0;
}

/* The operands that are no deltas, without the axes that are fixed. */
static bool read_operands(einsum *e)
{
    lower *l = e->l;
    const uint32_t *label = e->view.labels;
    for (uint32_t i = 0; i < e->view.n; i++) {
        cr_ref o = e->view.operand[i];
        unsigned rank = shape_of(l->g, o)->rank;
        if (!is_delta(l->g, o)) {
            einsum_operand *x = &e->operand[e->n_operand++];
            if (!lower_input(l, o) && !lower_expressions(l, 1, &o)) return false; /* one that could not be opened */
            x->tensor = *lower_input(l, o);
            unsigned left = 0;
            for (unsigned k = 0; k < rank; k++) {
                unsigned root = root_of(e, label[k]);
                if (!e->fixed[root]) {
                    x->at[left++] = e->class_of[root];
                    continue;
                }
                lower_entries all = {.first = 1, .guarded = lower_guarded(l, e->r)};
                lower_tensor picked;
                if (!lower_pick(l, &x->tensor, left, e->fixed[root], &all, &picked)) return false;
                x->tensor = picked;
            }
        }
        label += rank;
    }
    return true;
}

/* Does v change along axis k? */
static bool has(const lower_frame *f, const lower_view *v, unsigned k) { return f->size[k] > 1 && v->stride[k] != 0; }

/* ---- a product of two ---------------------------------------------------------------------------- */

typedef struct group { /* axes that A, B and C see as one, outermost first */
    unsigned n;
    uint8_t axis[LOWER_AXES];
} group;

static size_t group_size(const lower_frame *f, const group *p)
{
    size_t n = 1;
    for (unsigned k = 0; k < p->n; k++) n *= (size_t)f->size[p->axis[k]];
    return n;
}

static void sort_group(group *p, const lower_view *v)
{
    for (unsigned i = 1; i < p->n; i++) {
        uint8_t x = p->axis[i];
        unsigned k = i;
        for (; k > 0 && v->stride[p->axis[k - 1]] < v->stride[x]; k--) p->axis[k] = p->axis[k - 1];
        p->axis[k] = x;
    }
}

/* Number of the last axes of p that are one axis in v; all: it is a whole. */
static unsigned merged(const lower_frame *f, const group *p, const lower_view *v)
{
    unsigned n = p->n ? 1 : 0;
    while (n < p->n) {
        uint8_t outer = p->axis[p->n - n - 1], inner = p->axis[p->n - n];
        if (v->stride[outer] != v->stride[inner] * f->size[inner]) break;
        n++;
    }
    return n;
}

static ptrdiff_t inner_stride(const group *p, const lower_view *v) { return p->n ? v->stride[p->axis[p->n - 1]] : 0; }

/* v as a matrix of rows and columns: copied where its axes are not in one piece, or it is no value. */
static bool as_matrix(lower *l, const lower_frame *f, const group *batch, group *rows, group *columns,
                      const lower_view *other, lower_view *v)
{
    (void)other;
    if (v->source == SOURCE_VALUE && merged(f, rows, v) == rows->n && merged(f, columns, v) == columns->n) {
        return true;
    }
    uint8_t axis[LOWER_AXES];
    unsigned n = 0;
    for (unsigned k = 0; k < batch->n; k++) {
        if (v->stride[batch->axis[k]] != 0) axis[n++] = batch->axis[k];
    }
    for (unsigned k = 0; k < rows->n; k++) axis[n++] = rows->axis[k];
    for (unsigned k = 0; k < columns->n; k++) axis[n++] = columns->axis[k];
    lower_view copy;
    if (!lower_copy_axes(l, f, n, axis, v, &copy)) return false;
    *v = copy;
    return true;
}

static bool emit_product(lower *l, const lower_frame *f, group *batch, group *m, group *n, group *k, lower_view a,
                         lower_view b, lower_view *out)
{
    sort_group(m, &a);
    sort_group(n, &b);
    sort_group(k, &a);
    if (merged(f, k, &a) != k->n || merged(f, k, &b) != k->n) { /* the larger one stays, if that is possible */
        bool by_b = group_size(f, n) > group_size(f, m);
        if (by_b) sort_group(k, &b);
    }
    if (!as_matrix(l, f, batch, m, k, &b, &a) || !as_matrix(l, f, batch, k, n, &a, &b)) return false;
    sort_group(batch, group_size(f, m) > group_size(f, n) ? &a : &b);
    unsigned one = merged(f, batch, &a), also = merged(f, batch, &b), inner = one < also ? one : also;
    group outer = {0}, in = {0};
    for (unsigned i = 0; i < batch->n; i++) {
        group *to = i + inner < batch->n ? &outer : &in;
        to->axis[to->n++] = batch->axis[i];
    }
    if (outer.n > PLAN_RANK) {
        plan_fail(l->plan, CR_ELIMIT, "a product of matrices over %u axes", outer.n);
        return false;
    }
    const group *parts[] = {&outer, &in, m, n};
    int64_t entries = 1;
    *out = (lower_view){.source = SOURCE_VALUE};
    for (unsigned p = 4; p-- > 0;) {
        for (unsigned i = parts[p]->n; i-- > 0;) {
            uint8_t axis = parts[p]->axis[i];
            out->stride[axis] = entries;
            if (entries > EXEC_MAX_ENTRIES / f->size[axis]) {
                plan_fail(l->plan, CR_ELIMIT, "an intermediate product of more than %lld entries",
                          (long long)EXEC_MAX_ENTRIES);
                return false;
            }
            entries *= f->size[axis];
        }
    }
    out->value = plan_value_new(l->plan, (size_t)entries);
    plan_op *x = out->value == PLAN_NONE ? NULL : lower_op(l, f);
    if (!x) return false;
    *x = (plan_op){.kind = PLAN_PRODUCT, .rank = (uint8_t)outer.n, .n_in = 2, .out = out->value};
    x->u.product = (gemm_shape){
        .dtype = l->plan->dtype, .batch = group_size(f, &in), .m = group_size(f, m), .n = group_size(f, n),
        .k = group_size(f, k), .a_batch = inner_stride(&in, &a), .a_m = inner_stride(m, &a),
        .a_k = inner_stride(k, &a), .b_batch = inner_stride(&in, &b), .b_k = inner_stride(k, &b),
        .b_n = inner_stride(n, &b), .c_batch = inner_stride(&in, out), .c_m = (ptrdiff_t)group_size(f, n), .c_n = 1};
    const lower_view *v[3] = {&a, &b, out};
    plan_operand *to[3] = {&x->in[0], &x->in[1], &x->to};
    for (unsigned i = 0; i < 3; i++) {
        *to[i] = (plan_operand){.source = SOURCE_VALUE, .value = v[i]->value, .offset = v[i]->offset,
                                .loop = v[i]->loop};
        for (unsigned j = 0; j < outer.n; j++) to[i]->stride[j] = v[i]->stride[outer.axis[j]];
    }
    for (unsigned j = 0; j < outer.n; j++) x->dim[j] = f->size[outer.axis[j]];
    return true;
}

/* v summed over what of `summed` only v has, and not `other`. */
static bool sum_own(lower *l, const lower_frame *f, const bool *summed, const lower_view *other, lower_view *v)
{
    bool own[LOWER_AXES], any = false;
    for (unsigned i = 0; i < f->n; i++) {
        own[i] = summed[i] && has(f, v, i) && !has(f, other, i);
        any |= own[i];
    }
    lower_view all = *v;
    return !any || lower_fold(l, f, KERN_FOLD_SUM, own, &all, v);
}

/* sum over `summed` of x y */
static bool multiply(lower *l, const lower_frame *f, const bool *summed, const lower_view *x, const lower_view *y,
                     lower_view *out)
{
    group batch = {0}, m = {0}, n = {0}, k = {0};
    bool sum = false, rest[LOWER_AXES] = {false};
    double work = 1;
    lower_view left = *x, right = *y;
    const lower_view *a = &left, *b = &right;
    if (!sum_own(l, f, summed, y, &left) || !sum_own(l, f, summed, &left, &right)) return false;
    for (unsigned i = 0; i < f->n; i++) {
        bool in_a = has(f, a, i), in_b = has(f, b, i);
        if (!in_a && !in_b) continue;
        group *to = summed[i] ? &k : in_a && in_b ? &batch : in_a ? &m : &n;
        to->axis[to->n++] = (uint8_t)i;
        sum |= rest[i] = summed[i];
        work *= (double)f->size[i];
    }
    if (!sum || work <= SMALL_PRODUCT || (m.n == 0 && n.n == 0)) {
        lower_view in[2] = {*a, *b}, v;
        return lower_map(l, f, KERN_MUL, 0, 2, in, &v) && lower_fold(l, f, KERN_FOLD_SUM, rest, &v, out);
    }
    /* The rows of the result are contiguous along the axis that comes last in it. */
    unsigned last_m = m.n ? m.axis[m.n - 1] : 0, last_n = n.n ? n.axis[n.n - 1] : 0;
    bool swap = m.n && (!n.n || last_m > last_n);
    return swap ? emit_product(l, f, &batch, &n, &m, &k, *b, *a, out)
                : emit_product(l, f, &batch, &m, &n, &k, *a, *b, out);
}

/* ---- contraction --------------------------------------------------------------------------------- */

static bool is_kept(const einsum *e, unsigned axis) { return axis < e->frame.n_context + e->n_kept; }

/* Axes that, of all that is live, only x and y have, and that the result does not need. */
static void summed_by(const einsum *e, unsigned x, unsigned y, bool *summed)
{
    for (unsigned k = 0; k < e->frame.n; k++) {
        bool mine = has(&e->frame, &e->live[x], k) || has(&e->frame, &e->live[y], k), others = false;
        for (unsigned i = 0; i < e->n_live; i++) others |= i != x && i != y && has(&e->frame, &e->live[i], k);
        summed[k] = mine && !others && !is_kept(e, k);
    }
}

/* Work and size of the result of contracting x with y. */
static void cost_of(const einsum *e, unsigned x, unsigned y, double *work, double *left)
{
    bool summed[LOWER_AXES];
    summed_by(e, x, y, summed);
    *work = *left = 1;
    for (unsigned k = 0; k < e->frame.n; k++) {
        if (!has(&e->frame, &e->live[x], k) && !has(&e->frame, &e->live[y], k)) continue;
        *work *= (double)e->frame.size[k];
        *left *= summed[k] ? 1 : (double)e->frame.size[k];
    }
}

static bool contract(einsum *e, unsigned x, unsigned y)
{
    bool summed[LOWER_AXES];
    lower_view v;
    summed_by(e, x, y, summed);
    if (!multiply(e->l, &e->frame, summed, &e->live[x], &e->live[y], &v)) return false;
    e->live[x] = v;
    e->n_live--;
    memmove(e->live + y, e->live + y + 1, (e->n_live - y) * sizeof *e->live);
    return true;
}

/* What only x has is summed before x is multiplied with what brings axes of its own: sum(x*y') is sum(x)*sum(y). */
static bool sum_alone(einsum *e, unsigned x)
{
    bool summed[LOWER_AXES], any = false, others = e->n_live == 1;
    summed_by(e, x, x, summed);
    for (unsigned k = 0; k < e->frame.n; k++) {
        any |= summed[k];
        for (unsigned i = 0; i < e->n_live; i++) {
            others |= i != x && has(&e->frame, &e->live[i], k) && !has(&e->frame, &e->live[x], k);
        }
    }
    lower_view v = e->live[x];
    return !any || !others || lower_fold(e->l, &e->frame, KERN_FOLD_SUM, summed, &v, &e->live[x]);
}

static bool contract_all(einsum *e)
{
    for (unsigned i = 0; i < e->n_live; i++) {
        if (!sum_alone(e, i)) return false;
    }
    while (e->n_live > 1) {
        unsigned x = 0, y = 1;
        double best = 0, least = 0;
        for (unsigned i = 0; e->n_live > 2 && e->n_live <= GREEDY_MAX && i < e->n_live; i++) {
            for (unsigned k = i + 1; k < e->n_live; k++) {
                double work, left;
                cost_of(e, i, k, &work, &left);
                if (best == 0 || work < best || (work == best && left < least)) {
                    best = work;
                    least = left;
                    x = i;
                    y = k;
                }
            }
        }
        if (!contract(e, x, y)) return false;
    }
    return sum_alone(e, 0);
}

/* ---- result -------------------------------------------------------------------------------------- */

/* The contraction over the result's own axes: off the diagonals that deltas make there, 0. */
static bool spread(einsum *e, const agreement *agree, unsigned n_agree, const lower_view *sum, lower_tensor *out)
{
    lower *l = e->l;
    unsigned n_condition = 0, first[EINSUM_MAX_LABELS] = {0};
    lower_tensor value = {0}, *index = mem_zalloc(2 * (size_t)n_agree + e->view.rank + 1, sizeof *index);
    const lower_tensor **all = mem_alloc((2 * (size_t)n_agree + e->view.rank + 2) * sizeof *all);
    lower_view *in = mem_zalloc(2 * (2 * (size_t)n_agree + e->view.rank + 1), sizeof *in);
    bool ok = index && all && in ? true : plan_no_memory(l->plan);
    unsigned n_all = 0, n_index = 0;
    if (ok) {
        lower_tensor_of(&e->frame, sum, e->n_kept, &value);
        all[n_all++] = &value;
    }
    for (unsigned i = 0; ok && i < n_agree; i++) {
        ok = lower_integer(l, agree[i].a, &index[n_index]) && lower_integer(l, agree[i].b, &index[n_index + 1]);
        all[n_all++] = &index[n_index];
        all[n_all++] = &index[n_index + 1];
        n_index += 2;
    }
    for (unsigned k = 0; ok && k < e->view.rank; k++) {
        cr_dim d = e->fixed[root_of(e, k)];
        if (!d) continue;
        ok = lower_integer(l, d, &index[n_index]);
        all[n_all++] = &index[n_index++];
    }
    lower_frame f;
    ok = ok && lower_frame_init(l, &f, n_all, all, e->view.rank, e->size);
    unsigned at[CR_MAX_RANK];
    for (unsigned k = e->view.rank; ok && k-- > 0;) {
        unsigned root = root_of(e, k);
        if (!e->fixed[root]) {
            at[e->class_of[root]] = k; /* the first of its class stands for it */
            first[root] = k;
        }
    }
    for (unsigned i = 0; ok && i < n_agree; i++, n_condition++) {
        lower_view_of(l, &f, &index[2 * i], NULL, &in[2 * n_condition]);
        lower_view_of(l, &f, &index[2 * i + 1], NULL, &in[2 * n_condition + 1]);
    }
    n_index = 2 * n_agree;
    for (unsigned k = 0; ok && k < e->view.rank; k++) {
        unsigned root = root_of(e, k);
        lower_view *a = &in[2 * n_condition], *b = a + 1;
        *b = (lower_view){.source = SOURCE_PROGRESSION, .number = 1};
        b->stride[f.n_context + k] = 1;
        if (e->fixed[root]) {
            lower_view_of(l, &f, &index[n_index++], NULL, a);
        } else if (first[root] != k) {
            *a = (lower_view){.source = SOURCE_PROGRESSION, .number = 1};
            a->stride[f.n_context + first[root]] = 1;
        } else {
            continue;
        }
        n_condition++;
    }
    lower_view v, select[3];
    if (ok) lower_view_of(l, &f, &value, at, &v);
    for (unsigned i = 0; ok && i < n_condition; i++) {
        lower_view cond, chosen;
        ok = lower_map(l, &f, KERN_EQ, 0, 2, &in[2 * i], &cond);
        if (!ok) break;
        select[0] = cond;
        select[1] = v;
        select[2] = lower_number(0);
        ok = lower_map(l, &f, KERN_SELECT, 0, 3, select, &chosen);
        v = chosen;
    }
    if (ok) lower_tensor_of(&f, &v, e->view.rank, out);
    mem_free(index);
    mem_free(all);
    mem_free(in);
    return ok;
}

static bool make_frame(einsum *e)
{
    int64_t size[EINSUM_MAX_LABELS];
    const lower_tensor **t = mem_alloc((e->n_operand + 1) * sizeof *t);
    if (!t) return plan_no_memory(e->l->plan);
    for (unsigned k = 0; k < e->view.n_labels; k++) {
        unsigned root = root_of(e, k);
        if (!e->fixed[root]) size[e->class_of[root]] = e->size[k];
    }
    for (unsigned i = 0; i < e->n_operand; i++) t[i] = &e->operand[i].tensor;
    bool ok = lower_frame_init(e->l, &e->frame, e->n_operand, t, e->n_class, size);
    mem_free(t);
    for (unsigned i = 0; ok && i < e->n_operand; i++) {
        lower_view_of(e->l, &e->frame, &e->operand[i].tensor, e->operand[i].at, &e->live[e->n_live++]);
    }
    return ok;
}

static bool run_einsum(einsum *e, lower_tensor *out)
{
    agreement *agree = mem_alloc((e->view.n + 1) * sizeof *agree);
    unsigned n_agree = 0;
    e->operand = mem_zalloc(e->view.n + 1, sizeof *e->operand);
    e->live = mem_zalloc(e->view.n + 2, sizeof *e->live);
    if (!agree || !e->operand || !e->live) {
        mem_free(agree);
        return plan_no_memory(e->l->plan);
    }
    bool ok = join_labels(e, agree, &n_agree);
    if (ok) number_classes(e);
    ok = ok && read_operands(e) && make_frame(e);
    double factor = 1; /* a sum of equal terms */
    bool zero = false;
    for (unsigned k = e->frame.n_context; ok && k < e->frame.n; k++) {
        bool carried = false;
        for (unsigned i = 0; i < e->n_live; i++) carried |= e->live[i].stride[k] != 0;
        if (!is_kept(e, k) && !carried) factor *= (double)e->frame.size[k];
        zero |= !is_kept(e, k) && e->frame.size[k] == 0;
    }
    if (ok && (factor != 1 || e->n_live == 0)) e->live[e->n_live++] = lower_number(factor);
    if (ok && zero) {
        e->live[0] = lower_number(0);
        e->n_live = 1;
    }
    ok = ok && (zero || contract_all(e));
    bool diagonal = e->any_fixed || n_agree > 0 || e->n_kept < e->view.rank;
    if (ok && diagonal) ok = spread(e, agree, n_agree, &e->live[0], out);
    else if (ok) lower_tensor_of(&e->frame, &e->live[0], e->n_kept, out);
    mem_free(agree);
    return ok;
}

bool lower_einsum(lower *l, cr_ref r, lower_tensor *out)
{
    uint32_t n = node(l->g, r)->n_in;
    if (n > EINSUM_MAX_LABELS) {
        plan_fail(l->plan, CR_ELIMIT, "a product of more than %d factors", EINSUM_MAX_LABELS);
        return false;
    }
    einsum *e = mem_zalloc(1, sizeof *e);
    if (!e) return plan_no_memory(l->plan);
    e->l = l;
    e->r = r;
    bool ok = read_labels(e) && run_einsum(e, out);
    mem_free(e->operand);
    mem_free(e->live);
    mem_free(e);
    return ok;
}
