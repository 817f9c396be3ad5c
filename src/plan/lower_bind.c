/* Binders: a bound index is an axis. Its body is lowered once, for all values of the index, and then reduced along that
 * axis (sum, prod, all, ...) or kept (a tensor over the index). Where the range depends on other bound indices, it is
 * one scan if only one end moves and the body does not; else the body is taken over the longest range and what is
 * outside of the one asked for is replaced by the neutral element. */
#include "plan/lower.h"

#include <string.h>

enum { NEAR = 4 };

typedef struct binder {
    cr_bind_kind kind;
    dim_sym symbol;
    lower_index lo, hi;
    int64_t from, to; /* of all ranges together; to < from: all are empty */
} binder;

static const kern_fold fold_of[] = {
    [CR_BIND_SUM] = KERN_FOLD_SUM, [CR_BIND_PROD] = KERN_FOLD_PROD, [CR_BIND_ALL] = KERN_FOLD_ALL,
    [CR_BIND_ANY] = KERN_FOLD_ANY, [CR_BIND_MAX] = KERN_FOLD_MAX,   [CR_BIND_MIN] = KERN_FOLD_MIN,
};

static bool read_binder(lower *l, cr_ref r, binder *b)
{
    bool lo_affine, hi_affine;
    int64_t unused;
    b->kind = (cr_bind_kind)attr_of(l->g, r, 0);
    dim_is_symbol(l->g->dims, attr_of(l->g, r, 1), &b->symbol);
    if (!lower_affine(l, attr_of(l->g, r, 2), &b->lo, &lo_affine) ||
        !lower_affine(l, attr_of(l->g, r, 3), &b->hi, &hi_affine)) {
        return false;
    }
    if (!lo_affine || !hi_affine) {
        plan_fail(l->plan, CR_EUNSUPPORTED, "a plan takes bounds of a sum or product only if they are linear in the "
                                            "indices of other sums and products");
        return false;
    }
    lower_range(l, &b->lo, &b->from, &unused);
    lower_range(l, &b->hi, &unused, &b->to);
    return true;
}

/* The body for all values of the index: its axis, which is over once this returns. */
static bool lower_body(lower *l, cr_ref r, const binder *b, lower_tensor *body, uint32_t *axis)
{
    uint32_t before;
    *axis = lower_axis_push(l, b->symbol, b->from, b->to - b->from + 1, false, &before);
    if (*axis == PLAN_NONE) return false;
    bool ok = lower_expression(l, in_of(l->g, r, 0), body);
    lower_axis_pop(l, *axis, before);
    return ok;
}

/* Place of the bound index in f, which the body's tensor has among its own axes from here on: made the first. */
static void make_leading(lower_tensor *t, uint32_t axis, int64_t n)
{
    int64_t stride = 0;
    for (unsigned k = 0; k < t->n_context; k++) {
        if (t->context[k].axis != axis) continue;
        stride = t->context[k].stride;
        memmove(t->context + k, t->context + k + 1, (t->n_context - k - 1) * sizeof *t->context);
        t->n_context--;
        break;
    }
    memmove(t->dim + 1, t->dim, t->rank * sizeof *t->dim);
    memmove(t->stride + 1, t->stride, t->rank * sizeof *t->stride);
    t->dim[0] = n;
    t->stride[0] = stride;
    t->rank++;
}

static bool neutral(lower *l, cr_ref r, cr_bind_kind kind, lower_tensor *out)
{
    size_t n;
    *out = (lower_tensor){.source = SOURCE_NUMBER, .rank = shape_of(l->g, r)->rank};
    if (!exec_shape(l->env, r, out->dim, &n)) return false;
    if (kind == CR_BIND_STACK) return true; /* of no entries */
    if (kind != CR_BIND_CHAIN) {
        out->number = kern_neutral(fold_of[kind]);
        return true;
    }
    lower_frame f;
    lower_view in[2] = {{.source = SOURCE_PROGRESSION, .stride = {1, 0}}, {.source = SOURCE_PROGRESSION,
                                                                          .stride = {0, 1}}}, v;
    if (!lower_frame_init(l, &f, 0, NULL, 2, out->dim) || !lower_map(l, &f, KERN_EQ, 0, 2, in, &v)) return false;
    lower_tensor_of(&f, &v, 2, out);
    return true;
}

/* ---- products of matrices ------------------------------------------------------------------------ */

/* body has the index as its first axis: all products from one end of the range, as lower_scan. */
static bool chain(lower *l, const lower_tensor *body, bool backward, lower_tensor *out)
{
    const lower_tensor *t = body;
    lower_tensor whole;
    lower_frame f;
    for (unsigned k = 0; k < body->n_context; k++) {
        if (l->axis[body->context[k].axis].n != 1 && !l->axis[body->context[k].axis].loop) {
            plan_fail(l->plan, CR_EUNSUPPORTED, "a plan takes no products of matrices that depend on other indices");
            return false;
        }
    }
    if (!lower_contiguous(l, t, &whole)) return false;
    t = &whole;
    if (!lower_frame_init(l, &f, 1, &t, 3, body->dim)) return false;
    f.size[f.n_context]++;
    int64_t d = body->dim[1];
    lower_view in, v = {.source = SOURCE_VALUE};
    lower_view_of(l, &f, &whole, NULL, &in);
    v.value = plan_value_new(l->plan, (size_t)((body->dim[0] + 1) * d * d));
    plan_op *x = v.value == PLAN_NONE ? NULL : lower_op(l, &f);
    if (!x) return false;
    *x = (plan_op){.kind = PLAN_CHAIN, .rank = 1, .backward = backward, .n_in = 1, .out = v.value,
                   .dim = {body->dim[0]}, .u.chain = (size_t)d};
    x->in[0] = (plan_operand){.source = SOURCE_VALUE, .value = in.value, .offset = in.offset, .loop = in.loop};
    v.stride[f.n_context] = d * d;
    v.stride[f.n_context + 1] = d;
    v.stride[f.n_context + 2] = 1;
    lower_tensor_of(&f, &v, 3, out);
    return true;
}

/* ---- ranges that share an end ------------------------------------------------------------------- */

static bool depends_on_others(const lower_tensor *t, uint32_t axis)
{
    for (unsigned k = 0; k < t->n_context; k++) {
        if (t->context[k].axis != axis) return true;
    }
    return false;
}

static bool scan(lower *l, const binder *b, uint32_t axis, lower_tensor *body, bool backward, lower_tensor *all)
{
    make_leading(body, axis, b->to - b->from + 1);
    if (b->kind == CR_BIND_CHAIN) return chain(l, body, backward, all);
    const lower_tensor *t = body;
    lower_frame f;
    lower_view in, v;
    if (!lower_frame_init(l, &f, 1, &t, body->rank, body->dim)) return false;
    lower_view_of(l, &f, body, NULL, &in);
    if (!lower_scan(l, &f, fold_of[b->kind], f.n_context, backward, &in, &v)) return false;
    lower_tensor_of(&f, &v, body->rank, all);
    return true;
}

/* The scan `all` has one entry more than the range: entry k is the product over from+k..to (backward), or over
 * from..from+k-1. The last (first) one is that of all empty ranges. */
static bool pick_end(lower *l, const binder *b, cr_ref r, bool backward, const lower_tensor *all, lower_tensor *out)
{
    lower_entries e = {.first = backward ? b->from : b->from - 1, .instead = backward ? b->to + 1 : b->from - 1,
                       .replaced = true};
    return lower_pick(l, all, 0, attr_of(l->g, r, backward ? 2 : 3), &e, out);
}

/* ---- ranges of any kind -------------------------------------------------------------------------- */

/* The body where lo <= index <= hi, else the neutral element. */
static bool mask(lower *l, const binder *b, cr_ref r, uint32_t axis, lower_tensor *body)
{
    lower_tensor lo, hi, none = {.source = SOURCE_NUMBER};
    lower_tensor at = {.source = SOURCE_PROGRESSION, .number = (double)b->from, .n_context = 1,
                       .context = {{axis, 1}}};
    if (!lower_integer(l, attr_of(l->g, r, 2), &lo) || !lower_integer(l, attr_of(l->g, r, 3), &hi)) return false;
    if (b->kind == CR_BIND_CHAIN) {
        if (!neutral(l, r, b->kind, &none)) return false;
    } else {
        none.number = kern_neutral(fold_of[b->kind]);
    }
    const lower_tensor *t[5] = {&at, &lo, &hi, body, &none};
    lower_frame f;
    lower_view v[5], in[3], above, below, inside, chosen;
    if (!lower_frame_init(l, &f, 5, t, body->rank, body->dim)) return false;
    for (unsigned i = 0; i < 5; i++) lower_view_of(l, &f, t[i], NULL, &v[i]);
    in[0] = v[1], in[1] = v[0];
    if (!lower_map(l, &f, KERN_LE, 0, 2, in, &above)) return false;
    in[0] = v[0], in[1] = v[2];
    if (!lower_map(l, &f, KERN_LE, 0, 2, in, &below)) return false;
    in[0] = above, in[1] = below;
    if (!lower_map(l, &f, KERN_AND, 0, 2, in, &inside)) return false;
    in[0] = inside, in[1] = v[3], in[2] = v[4];
    if (!lower_map(l, &f, KERN_SELECT, 0, 3, in, &chosen)) return false;
    lower_tensor_of(&f, &chosen, body->rank, body);
    return true;
}

/* body joined along `axis`. */
static bool join(lower *l, const binder *b, uint32_t axis, lower_tensor *body, lower_tensor *out)
{
    if (b->kind == CR_BIND_STACK) {
        make_leading(body, axis, b->to - b->from + 1);
        *out = *body;
        return true;
    }
    if (b->kind == CR_BIND_CHAIN) {
        lower_tensor all;
        make_leading(body, axis, b->to - b->from + 1);
        if (!chain(l, body, false, &all)) return false;
        *out = all;
        out->rank = 2;
        out->offset += (all.dim[0] - 1) * all.stride[0];
        memmove(out->dim, all.dim + 1, 2 * sizeof *out->dim);
        memmove(out->stride, all.stride + 1, 2 * sizeof *out->stride);
        return true;
    }
    lower_tensor moved = *body;
    unsigned rank = body->rank;
    make_leading(&moved, axis, b->to - b->from + 1);
    const lower_tensor *t = &moved;
    lower_frame f;
    lower_view in, v;
    bool folded[LOWER_AXES] = {false};
    if (!lower_frame_init(l, &f, 1, &t, moved.rank, moved.dim)) return false;
    lower_view_of(l, &f, &moved, NULL, &in);
    folded[f.n_context] = true;
    if (!lower_fold(l, &f, fold_of[b->kind], folded, &in, &v)) return false;
    lower_tensor_of(&f, &v, moved.rank, out);
    out->rank = rank; /* without the first axis */
    memmove(out->dim, out->dim + 1, rank * sizeof *out->dim);
    memmove(out->stride, out->stride + 1, rank * sizeof *out->stride);
    return true;
}

/* A range that follows an enclosing index at a small distance, as k+1..N does for k in 1..N, is made as long as that
 * index's: what both bodies compute is then the same operations, over the same domain. */
static void match_enclosing(const lower *l, binder *b)
{
    const lower_index *end = b->lo.n ? &b->lo : &b->hi;
    if ((b->lo.n != 0) == (b->hi.n != 0) || end->n != 1 || end->step[0].stride != 1) return;
    const lower_axis *k = &l->axis[end->step[0].axis];
    int64_t last = k->lo + k->n - 1;
    if (b->lo.n && b->to == last && b->from > k->lo && b->from <= k->lo + NEAR) b->from = k->lo;
    if (b->hi.n && b->from == k->lo && b->to < last && b->to >= last - NEAR) b->to = last;
}

/* The body over the range, or over that of the enclosing index where all that it needs is there. */
static bool lower_body_near(lower *l, cr_ref r, binder *b, lower_tensor *body, uint32_t *axis)
{
    binder longer = *b;
    match_enclosing(l, &longer);
    if (longer.from != b->from || longer.to != b->to) {
        size_t before = l->n_gathers;
        if (!lower_body(l, r, &longer, body, axis)) return false;
        if (l->n_gathers == before) {
            *b = longer;
            return true;
        }
    }
    return lower_body(l, r, b, body, axis);
}

bool lower_bind(lower *l, cr_ref r, lower_tensor *out)
{
    binder b = {0};
    lower_tensor body;
    uint32_t axis;
    if (!read_binder(l, r, &b)) return false;
    if (b.to < b.from) return neutral(l, r, b.kind, out);
    bool moves = b.lo.n || b.hi.n;
    if (moves && b.kind == CR_BIND_STACK) {
        plan_fail(l->plan, CR_EINTERNAL, "a bound index changes the size of its body");
        return false;
    }
    l->lenient += moves;
    bool ok = lower_body_near(l, r, &b, &body, &axis);
    l->lenient -= moves;
    if (!ok) return false;
    if (moves && (b.lo.n == 0 || b.hi.n == 0) && !depends_on_others(&body, axis)) {
        lower_tensor all;
        bool backward = b.lo.n != 0;
        return scan(l, &b, axis, &body, backward, &all) && pick_end(l, &b, r, backward, &all, out);
    }
    return (!moves || mask(l, &b, r, axis, &body)) && join(l, &b, axis, &body, out);
}
