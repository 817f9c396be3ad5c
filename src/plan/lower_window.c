/* Sums and maxima over windows, and slices. A slice that stays inside is a view; what sticks out, and entries placed
 * among zeros, are a new value made of parts: the copy, and boxes of zeros around and between. All else is one
 * operation whose entries lie side by side along an axis that the window does not move over, channels if they come
 * last. A sum of tensors that are placed one behind the other is a new value made of them. */
#include "graph/window.h"
#include "plan/lower.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- slices -------------------------------------------------------------------------------------- */

/* Entries first, first + step, ... of an axis, `n` of them; with `inner`, of each also those that follow it. */
typedef struct range {
    int64_t first, step, n, inner;
} range;

/* An axis of the value: what is copied, from where, and the rest. */
typedef struct slice_axis {
    range copied, from, rest[3];
    unsigned n_rest;
} slice_axis;

static void add_rest(slice_axis *x, range rest)
{
    if (rest.n > 0 && rest.inner > 0) x->rest[x->n_rest++] = rest;
}

/* The value has `n` entries along the axis, the operand `m`. For a slice (to_y), entry j of the value is entry first +
 * step*j of the operand, else the other way round. */
static void split_axis(bool to_y, int64_t n, int64_t m, int64_t first, int64_t step, slice_axis *x)
{
    *x = (slice_axis){.n_rest = 0};
    int64_t sparse = to_y ? m : n, dense = to_y ? n : m; /* sizes of x and y */
    int64_t from = first < 0 ? dim_floor_i64(-first + step - 1, step) : 0;
    int64_t to = dim_floor_i64(sparse - 1 - first, step) + 1;
    to = to > dense ? dense : to;
    int64_t count = to > from ? to - from : 0, at = first + step * from, last = at + step * (count - 1);
    x->copied = to_y ? (range){from, 1, count, 1} : (range){at, step, count, 1};
    x->from = to_y ? (range){at, step, count, 1} : (range){from, 1, count, 1};
    if (count == 0) {
        add_rest(x, (range){0, 1, n, 1});
    } else if (to_y) {
        add_rest(x, (range){0, 1, from, 1});
        add_rest(x, (range){to, 1, n - to, 1});
    } else {
        add_rest(x, (range){0, 1, at, 1});
        add_rest(x, (range){at + 1, step, count - 1, step - 1});
        add_rest(x, (range){last + 1, 1, n - last - 1, 1});
    }
}

/* Own axes of a frame, from the one with the greatest stride to the one with the least. */
static unsigned by_stride(const lower_frame *f, const lower_view *v, uint8_t *axis)
{
    unsigned n = 0;
    for (unsigned k = 0; k < f->n; k++) {
        unsigned at = n++;
        int64_t s = v->stride[k] < 0 ? -v->stride[k] : v->stride[k];
        for (; k >= f->n_context && at > f->n_context; at--) {
            int64_t before = v->stride[axis[at - 1]];
            if ((before < 0 ? -before : before) >= s) break;
            axis[at] = axis[at - 1];
        }
        axis[at] = (uint8_t)k;
    }
    return n;
}

/* The box of those ranges in the value `to`, which gets `in` (whose offset is that of the box), or zeros. */
static bool emit_box(lower *l, const lower_frame *f, const uint8_t *axis, const range *box, const lower_view *in,
                     const lower_view *to)
{
    plan_op *x = lower_op(l, f);
    if (!x) return false;
    *x = (plan_op){.kind = PLAN_MAP, .n_in = 1, .out = to->value, .part = true, .u.map.op = KERN_COPY};
    x->in[0] = (plan_operand){.source = in->source, .value = in->value, .number = in->number, .offset = in->offset,
                              .loop = in->loop};
    x->to = (plan_operand){.source = SOURCE_VALUE, .value = to->value};
    for (unsigned i = 0; i < f->n; i++) {
        unsigned k = axis[i];
        const range *b = &box[k];
        x->to.offset += b->first * to->stride[k];
        for (unsigned pass = 0; pass < 2; pass++) {
            int64_t n = pass ? b->inner : b->n;
            if (n == 1) continue;
            if (x->rank == PLAN_RANK) {
                plan_fail(l->plan, CR_ELIMIT, "an operation over more than %d axes", PLAN_RANK);
                return false;
            }
            x->dim[x->rank] = n;
            x->in[0].stride[x->rank] = pass ? 0 : in->stride[k];
            x->to.stride[x->rank++] = to->stride[k] * (pass ? 1 : b->step);
        }
    }
    return true;
}

/* Boxes of zeros: along axis k the rest, along axes before it what is copied, along those behind it all. */
static bool paste(lower *l, const lower_frame *f, const slice_axis *x, const lower_view *in, lower_view *out)
{
    uint8_t axis[LOWER_AXES];
    range box[LOWER_AXES];
    unsigned n = by_stride(f, in, axis);
    if (!lower_new(l, f, n, axis, out)) return false;
    lower_view zero = lower_number(0);
    for (unsigned k = 0; k < f->n; k++) box[k] = (range){0, 1, f->size[k], 1};
    for (unsigned k = 0; k < f->n - f->n_context; k++) {
        range *at = &box[f->n_context + k];
        for (unsigned i = 0; i < x[k].n_rest; i++) {
            *at = x[k].rest[i];
            if (!emit_box(l, f, axis, box, &zero, out)) return false;
        }
        *at = x[k].copied;
    }
    return emit_box(l, f, axis, box, in, out);
}

static bool lower_slice(lower *l, cr_ref r, const cr_window *w, lower_tensor *out)
{
    window_numbers n;
    lower_tensor t = *lower_input(l, in_of(l->g, r, 0));
    slice_axis axis[CR_MAX_RANK];
    int64_t dim[CR_MAX_RANK];
    size_t entries;
    bool to_y = window_value(l->g, r) == SLOT_Y, whole = true, none = false;
    if (!exec_shape(l->env, r, dim, &entries) || !exec_window_numbers(l->env, r, w, &n)) return false;
    for (unsigned k = 0; k < t.rank; k++) {
        bool moves = k + w->axes >= t.rank;
        unsigned i = moves ? k + w->axes - t.rank : 0;
        split_axis(to_y, dim[k], t.dim[k], moves ? -n.low[i] : 0, moves ? n.stride[i] : 1, &axis[k]);
        whole &= axis[k].n_rest == 0;
        none |= axis[k].copied.n == 0;
    }
    if (none) t = (lower_tensor){.source = SOURCE_NUMBER, .rank = t.rank};
    for (unsigned k = 0; k < t.rank && !none; k++) { /* what is copied, as a view */
        int64_t from = axis[k].from.first * t.stride[k];
        t.offset += t.source == SOURCE_VALUE ? from : 0;
        t.number += t.source == SOURCE_PROGRESSION ? (double)from : 0;
        t.stride[k] *= axis[k].from.step;
    }
    memcpy(t.dim, dim, sizeof t.dim);
    *out = t;
    if (none || whole) return true;
    const lower_tensor *in = &t;
    lower_frame f;
    lower_view from, v;
    if (!lower_frame_init(l, &f, 1, &in, t.rank, dim)) return false;
    lower_view_of(l, &f, &t, NULL, &from);
    if (!paste(l, &f, axis, &from, &v)) return false;
    lower_tensor_of(&f, &v, t.rank, out);
    return true;
}

/* ---- one behind the other ------------------------------------------------------------------------- */

/* A summand that is a tensor placed among zeros: where it begins on each axis. */
static bool is_placed(lower *l, cr_ref r, int64_t *first)
{
    cr_window w;
    window_numbers n;
    if (op_of(l->g, r) != CR_OP_WINDOW || window_value(l->g, r) != SLOT_X) return false;
    window_read(l->g, r, &w);
    if (!window_is_slice(l->g, r, &w) || !exec_window_numbers(l->env, r, &w, &n)) return false;
    unsigned lead = shape_of(l->g, r)->rank - w.axes;
    for (unsigned k = 0; k < lead; k++) first[k] = 0;
    for (unsigned i = 0; i < w.axes; i++) {
        if (n.stride[i] != 1) return false;
        first[lead + i] = -n.low[i];
    }
    return true;
}

typedef struct segment {
    int64_t first, n;
    uint32_t of; /* summand */
} segment;

static int by_first(const void *a, const void *b)
{
    int64_t x = ((const segment *)a)->first, y = ((const segment *)b)->first;
    return (x > y) - (x < y);
}

/* Are the summands of r placed one behind the other along an axis, without gaps? Then s says where. */
static bool are_segments(lower *l, cr_ref r, const int64_t *dim, unsigned *axis, segment *s)
{
    uint32_t n = node(l->g, r)->n_in;
    unsigned rank = shape_of(l->g, r)->rank;
    int64_t first[CR_MAX_RANK], end = 0;
    *axis = rank;
    for (uint32_t i = 0; i < n; i++) {
        cr_ref part = in_of(l->g, r, i);
        if (!is_placed(l, part, first)) return false;
        const lower_tensor *t = lower_input(l, in_of(l->g, part, 0));
        for (unsigned k = 0; k < rank; k++) {
            if (first[k] == 0 && t->dim[k] == dim[k]) continue;
            if (*axis != rank && *axis != k) return false;
            *axis = k;
        }
        if (*axis == rank) return false;
        s[i] = (segment){first[*axis], t->dim[*axis], i};
    }
    qsort(s, n, sizeof *s, by_first);
    for (uint32_t i = 0; i < n; i++) {
        if (s[i].first != end) return false;
        end += s[i].n;
    }
    return end == dim[*axis];
}

bool lower_concat(lower *l, cr_ref r, lower_tensor *out, bool *is_one)
{
    uint32_t n = node(l->g, r)->n_in;
    unsigned axis, rank = shape_of(l->g, r)->rank;
    int64_t dim[CR_MAX_RANK], first[CR_MAX_RANK];
    size_t entries;
    *is_one = false;
    if (!is_placed(l, in_of(l->g, r, 0), first) || !exec_shape(l->env, r, dim, &entries)) return true;
    segment *s = mem_alloc(n * sizeof *s);
    const lower_tensor **t = mem_alloc(n * sizeof *t);
    bool ok = s && t ? true : plan_no_memory(l->plan);
    *is_one = ok && entries > 0 && are_segments(l, r, dim, &axis, s);
    lower_frame f;
    lower_view whole;
    for (uint32_t i = 0; *is_one && i < n; i++) t[i] = lower_input(l, in_of(l->g, in_of(l->g, r, s[i].of), 0));
    ok = ok && (!*is_one || (lower_frame_init(l, &f, n, t, rank, dim) && lower_new_whole(l, &f, &whole)));
    for (uint32_t i = 0; ok && *is_one && i < n; i++) {
        if (s[i].n == 0) continue;
        lower_frame part = f;
        lower_view in, to = whole;
        part.size[f.n_context + axis] = s[i].n;
        to.offset += s[i].first * to.stride[f.n_context + axis];
        lower_view_of(l, &part, t[i], NULL, &in);
        ok = lower_store(l, &part, &in, &to);
    }
    if (ok && *is_one) lower_tensor_of(&f, &whole, rank, out);
    mem_free(s);
    mem_free(t);
    return ok;
}

/* ---- pools --------------------------------------------------------------------------------------- */

/* The axis in front of the window along which entries lie side by side; else the last one that is longer than 1; none:
 * the rank. */
static unsigned choose_run(const lower_tensor *t, unsigned lead)
{
    unsigned run = t->rank;
    for (unsigned k = 0; k < lead; k++) {
        if (t->dim[k] == 1) continue;
        run = k;
        if (t->source == SOURCE_VALUE && t->stride[k] == 1) break;
    }
    return run;
}

/* Axes of f in the order: bound indices, others in front, those of the window, `run` (f->n: none). */
static unsigned run_last(const lower_frame *f, unsigned run, uint8_t *axis)
{
    unsigned n = 0;
    for (unsigned k = 0; k < f->n; k++) {
        if (k != run) axis[n++] = (uint8_t)k;
    }
    if (run < f->n) axis[n++] = (uint8_t)run;
    return n;
}

/* t as a value whose own axis `run` has stride 1. */
static bool with_run(lower *l, const lower_tensor *t, unsigned run, lower_tensor *out)
{
    *out = *t;
    if (t->source == SOURCE_VALUE && (run == t->rank || t->stride[run] == 1)) return true;
    lower_frame f;
    lower_view in, v;
    uint8_t axis[LOWER_AXES];
    if (!lower_frame_init(l, &f, 1, &t, t->rank, t->dim)) return false;
    lower_view_of(l, &f, t, NULL, &in);
    unsigned all = run_last(&f, f.n_context + run, axis), n = 0;
    for (unsigned k = 0; k < all; k++) {
        if (f.size[axis[k]] > 1) axis[n++] = axis[k];
    }
    if (!lower_copy_axes(l, &f, n, axis, &in, &v)) return false;
    lower_tensor_of(&f, &v, t->rank, out);
    return true;
}

static bool emit_pool(lower *l, const lower_frame *f, plan_pool *pool, unsigned n_in, const lower_view *in,
                      unsigned run, const lower_view *out)
{
    plan_op *x = lower_op(l, f);
    if (!x) return false;
    unsigned first = f->n - pool->axes;
    *x = (plan_op){.kind = PLAN_POOL, .n_in = (uint8_t)n_in, .out = out->value, .u.pool = pool};
    plan_operand *to[] = {&x->to, &x->in[0], &x->in[1]};
    const lower_view *v[] = {out, &in[0], &in[1]};
    int64_t *step[] = {pool->out, pool->in[0], pool->in[1]};
    for (unsigned i = 0; i <= n_in; i++) {
        *to[i] = (plan_operand){.source = SOURCE_VALUE, .value = v[i]->value, .offset = v[i]->offset,
                                .loop = v[i]->loop};
        memcpy(step[i], v[i]->stride + first, pool->axes * sizeof *step[i]);
    }
    for (unsigned k = 0; k < first; k++) {
        if (k == run || f->size[k] == 1) continue;
        if (x->rank == PLAN_RANK) {
            plan_fail(l->plan, CR_ELIMIT, "an operation over more than %d axes", PLAN_RANK);
            return false;
        }
        for (unsigned i = 0; i <= n_in; i++) to[i]->stride[x->rank] = v[i]->stride[k];
        x->dim[x->rank++] = f->size[k];
    }
    return true;
}

static bool lower_pool(lower *l, cr_ref r, const cr_window *w, const int64_t *dim, lower_tensor *out)
{
    const lower_tensor *x = lower_input(l, in_of(l->g, r, 0));
    unsigned n_in = node(l->g, r)->n_in, rank = shape_of(l->g, r)->rank, extra = rank - x->rank;
    lower_tensor operand[2];
    const lower_tensor *t[2] = {&operand[0], &operand[1]};
    plan_pool *pool = arena_alloc(&l->plan->mem, sizeof *pool);
    if (!pool) return plan_no_memory(l->plan);
    *pool = (plan_pool){.op = op_of(l->g, r), .to_x = window_value(l->g, r) == SLOT_X, .axes = w->axes, .run = 1};
    if (!exec_window_numbers(l->env, r, w, &pool->window)) return false;
    unsigned run = choose_run(x, x->rank - w->axes); /* axis of x */
    if (!with_run(l, x, run, &operand[0])) return false;
    if (n_in > 1 && !with_run(l, lower_input(l, in_of(l->g, r, 1)), extra + run, &operand[1])) return false;
    lower_frame f;
    lower_view in[2], v;
    uint8_t axis[LOWER_AXES];
    unsigned at[CR_MAX_RANK];
    if (!lower_frame_init(l, &f, n_in, t, rank, dim)) return false;
    for (unsigned k = 0; k < x->rank; k++) at[k] = extra + k;
    for (unsigned i = 0; i < n_in; i++) lower_view_of(l, &f, t[i], i ? NULL : at, &in[i]);
    run += f.n_context + extra; /* axis of f */
    if (run < f.n) pool->run = (size_t)f.size[run];
    return lower_new(l, &f, run_last(&f, run, axis), axis, &v) && emit_pool(l, &f, pool, n_in, in, run, &v) &&
           (lower_tensor_of(&f, &v, rank, out), true);
}

bool lower_window(lower *l, cr_ref r, lower_tensor *out)
{
    cr_window w;
    int64_t dim[CR_MAX_RANK];
    size_t n;
    window_read(l->g, r, &w);
    if (!exec_shape(l->env, r, dim, &n)) return false;
    const lower_tensor *x = lower_input(l, in_of(l->g, r, 0));
    bool empty = n == 0;
    for (unsigned k = 0; k < x->rank; k++) empty |= x->dim[k] == 0;
    if (empty) { /* windows without entries */
        *out = (lower_tensor){.source = SOURCE_NUMBER, .rank = shape_of(l->g, r)->rank};
        out->number = op_of(l->g, r) == CR_OP_MAXPOOL ? -INFINITY : 0;
        memcpy(out->dim, dim, sizeof out->dim);
        return true;
    }
    return window_is_slice(l->g, r, &w) ? lower_slice(l, r, &w, out) : lower_pool(l, r, &w, dim, out);
}
