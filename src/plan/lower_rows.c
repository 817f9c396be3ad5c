/* Gather and scatter: rows of an axis by indices that are values. The places of indices come first in the domain, then
 * those of a row, in the order in which they lie in the operand: so rows are copied whole. */
#include "plan/lower.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_F32 ((int64_t)1 << 24) /* a float tells all integers up to this one */

typedef struct rows {
    lower *l;
    bool gather, guarded;       /* guarded: see lower_guarded */
    unsigned axis, n_index;     /* of the wide shape; axes of the index, in its place in the narrow shape */
    lower_tensor in, index;     /* in: gather without that axis */
    int64_t n, step;
    unsigned rank;              /* of the value */
    int64_t dim[CR_MAX_RANK];
} rows;

static bool is_index(const rows *s, const lower_frame *f, unsigned k)
{
    return k >= f->n_context + s->axis && k < f->n_context + s->axis + s->n_index;
}

/* An axis of the domain, joined to the one before it (from `first` on) where all views run through both as one. */
static bool push_axis(rows *s, plan_op *x, unsigned first, int64_t size, int64_t in, int64_t index, int64_t to)
{
    if (size == 1) return true;
    unsigned k = x->rank;
    bool joins = k > first && x->in[0].stride[k - 1] == in * size && x->in[1].stride[k - 1] == index * size &&
                 x->to.stride[k - 1] == to * size;
    if (!joins && k == PLAN_RANK) {
        plan_fail(s->l->plan, CR_ELIMIT, "an operation over more than %d axes", PLAN_RANK);
        return false;
    }
    k = joins ? k - 1 : k;
    x->dim[k] = joins ? x->dim[k] * size : size;
    x->in[0].stride[k] = in;
    x->in[1].stride[k] = index;
    x->to.stride[k] = to;
    x->rank = (uint8_t)(k + 1);
    return true;
}

/* Axes of f: those of the places of indices, then those of rows by strides of the operand. The value does not depend on
 * the others. */
static unsigned sort_axes(const rows *s, const lower_frame *f, const lower_view *in, const lower_view *index,
                          uint8_t *axis, unsigned *n_places)
{
    unsigned n = 0;
    for (unsigned k = 0; k < f->n; k++) {
        if (is_index(s, f, k) || index->stride[k] != 0) axis[n++] = (uint8_t)k;
    }
    *n_places = n;
    for (unsigned k = 0; k < f->n; k++) {
        if (is_index(s, f, k) || index->stride[k] != 0 || in->stride[k] == 0) continue;
        unsigned at = n++;
        for (; at > *n_places && llabs(in->stride[axis[at - 1]]) < llabs(in->stride[k]); at--) axis[at] = axis[at - 1];
        axis[at] = (uint8_t)k;
    }
    return n;
}

/* The axis of the value's frame that is axis k of f, which is no axis of a scatter's index. */
static unsigned axis_of_value(const rows *s, const lower_frame *f, unsigned k)
{
    return s->gather || k < f->n_context + s->axis ? k : k - s->n_index + 1;
}

static plan_operand operand_of(const lower_view *v)
{
    return (plan_operand){.source = SOURCE_VALUE, .value = v->value, .offset = v->offset, .loop = v->loop};
}

static bool emit(rows *s, const lower_frame *narrow, const int64_t *narrow_dim, lower_tensor *out)
{
    lower *l = s->l;
    const lower_tensor *t[2] = {&s->in, &s->index};
    lower_frame f = *narrow, value;
    lower_view in, index, v;
    unsigned at[2 * CR_MAX_RANK], n_places;
    uint8_t axis[LOWER_AXES], kept[LOWER_AXES], n_kept = 0;
    for (unsigned k = 0; k < s->in.rank; k++) at[k] = s->gather && k >= s->axis ? k + s->n_index : k;
    lower_view_of(l, &f, &s->in, at, &in);
    for (unsigned k = 0; k < s->n_index; k++) at[k] = s->axis + k;
    lower_view_of(l, &f, &s->index, at, &index);
    unsigned n = sort_axes(s, &f, &in, &index, axis, &n_places);
    if (!lower_frame_init(l, &value, 2, t, s->rank, s->gather ? narrow_dim : s->dim)) return false;
    for (unsigned i = 0; i < n; i++) {
        if (!s->gather && i == n_places) kept[n_kept++] = (uint8_t)(f.n_context + s->axis);
        if (s->gather || !is_index(s, &f, axis[i])) kept[n_kept++] = (uint8_t)axis_of_value(s, &f, axis[i]);
    }
    if (!s->gather && n == n_places) kept[n_kept++] = (uint8_t)(f.n_context + s->axis);
    if (!lower_new(l, &value, n_kept, kept, &v)) return false;
    plan_op *x = lower_op(l, &f);
    if (!x) return false;
    *x = (plan_op){.kind = PLAN_ROWS, .n_in = 2, .out = v.value, .in = {operand_of(&in), operand_of(&index)},
                   .to = operand_of(&v)};
    x->u.rows = (plan_rows){.add = !s->gather, .lenient = s->guarded, .n = s->n,
                            .step = s->gather ? s->step : v.stride[f.n_context + s->axis]};
    unsigned first = 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned k = axis[i];
        int64_t to = s->gather || !is_index(s, &f, k) ? v.stride[axis_of_value(s, &f, k)] : 0;
        if (i == n_places) first = x->rank;
        if (!push_axis(s, x, first, f.size[k], in.stride[k], index.stride[k], to)) return false;
        if (i + 1 == n_places) x->axes = x->rank;
    }
    x->axes = (uint8_t)(x->rank - x->axes);
    lower_tensor_of(&value, &v, s->rank, out);
    return true;
}

/* A row whose number is known now: a view. */
static bool known_row(rows *s, lower_tensor *out)
{
    double at = s->index.number;
    bool in = at >= 1 && at <= (double)s->n && at == floor(at);
    if (!in && s->guarded) {
        *out = (lower_tensor){.source = SOURCE_NUMBER, .number = NAN, .rank = s->rank};
        memcpy(out->dim, s->dim, s->rank * sizeof *out->dim);
        return true;
    }
    if (!in) {
        plan_fail(s->l->plan, CR_EVALUE, "index %g is none of 1..%lld", at, (long long)s->n);
        return false;
    }
    lower_tensor t = s->in;
    int64_t from = ((int64_t)at - 1) * s->step;
    t.offset += t.source == SOURCE_VALUE ? from : 0;
    t.number += t.source == SOURCE_PROGRESSION ? (double)from : 0;
    *out = t;
    out->rank = s->rank;
    for (unsigned k = 0; k < s->rank; k++) {
        bool repeated = k >= s->axis && k < s->axis + s->n_index;
        unsigned from_axis = k < s->axis ? k : k - s->n_index;
        out->dim[k] = s->dim[k];
        out->stride[k] = repeated ? 0 : t.stride[from_axis];
    }
    return true;
}

static void remove_axis(lower_tensor *t, unsigned k)
{
    t->rank--;
    memmove(t->dim + k, t->dim + k + 1, (t->rank - k) * sizeof *t->dim);
    memmove(t->stride + k, t->stride + k + 1, (t->rank - k) * sizeof *t->stride);
}

static bool empty(const lower_tensor *t)
{
    for (unsigned k = 0; k < t->rank; k++) {
        if (t->dim[k] == 0) return true;
    }
    return false;
}

static bool as_value(lower *l, lower_tensor *t)
{
    lower_tensor before = *t;
    return t->source == SOURCE_VALUE || lower_contiguous(l, &before, t);
}

bool lower_rows(lower *l, cr_ref r, lower_tensor *out)
{
    rows s = {.l = l, .gather = op_of(l->g, r) == CR_OP_GATHER, .axis = attr_of(l->g, r, 0),
              .in = *lower_input(l, in_of(l->g, r, 0)), .index = *lower_input(l, in_of(l->g, r, 1)),
              .rank = shape_of(l->g, r)->rank, .guarded = lower_guarded(l, r)};
    size_t entries;
    int64_t narrow[CR_MAX_RANK];
    if (!exec_shape(l->env, r, s.dim, &entries)) return false;
    s.n_index = s.index.rank;
    s.n = s.gather ? s.in.dim[s.axis] : s.dim[s.axis];
    memcpy(narrow, s.gather ? s.dim : s.in.dim, sizeof narrow);
    if (l->plan->dtype == KERN_F32 && s.n > EXACT_F32) {
        plan_fail(l->plan, CR_EUNSUPPORTED, "an index into %lld entries is no number of 32 bits", (long long)s.n);
        return false;
    }
    bool none = empty(&s.index);
    if (s.n == 0 && !none && !s.guarded) {
        plan_fail(l->plan, CR_EVALUE, "an index into an axis of no entries");
        return false;
    }
    if (none || entries == 0 || empty(&s.in)) { /* nothing, or zeros */
        *out = (lower_tensor){.source = SOURCE_NUMBER, .rank = s.rank};
        memcpy(out->dim, s.dim, sizeof out->dim);
        return true;
    }
    if (s.gather && s.index.source == SOURCE_NUMBER) {
        s.step = s.in.stride[s.axis];
        remove_axis(&s.in, s.axis);
        return known_row(&s, out);
    }
    if (!as_value(l, &s.in) || !as_value(l, &s.index)) return false;
    if (s.gather) {
        s.step = s.in.stride[s.axis];
        remove_axis(&s.in, s.axis);
    }
    const lower_tensor *t[2] = {&s.in, &s.index};
    lower_frame f;
    return lower_frame_init(l, &f, 2, t, s.gather ? s.rank : s.in.rank, narrow) && emit(&s, &f, narrow, out);
}
