/* Convolutions: one operation, whichever of x, w and y is the value. x and y come out channels last, which is what the
 * kernels like and what element by element operations go on with; operands are read by whatever strides they have. */
#include "graph/window.h"
#include "plan/lower.h"

#include <string.h>

static bool read_shape(lower *l, cr_ref r, int64_t dim[3][CR_MAX_RANK], unsigned *axes, conv_shape *s, bool *empty)
{
    cr_window w;
    cr_ref slot[3];
    window_numbers n;
    size_t entries;
    int64_t groups;
    window_read(l->g, r, &w);
    window_slots(l->g, r, slot);
    *axes = w.axes;
    *empty = false;
    for (unsigned k = 0; k < 3; k++) {
        if (!exec_shape(l->env, slot[k], dim[k], &entries)) return false;
        *empty |= entries == 0;
    }
    if (*empty) return true;
    if (!exec_dim(l->env, w.groups, "a number of groups", &groups) || !exec_window_numbers(l->env, r, &w, &n)) {
        return false;
    }
    if (w.axes > CONV_AXES) {
        plan_fail(l->plan, CR_EUNSUPPORTED, "a plan takes convolutions over at most %d axes, not %u", CONV_AXES,
                  w.axes);
        return false;
    }
    *s = (conv_shape){.dtype = l->plan->dtype, .value = (conv_slot)window_value(l->g, r), .groups = (size_t)groups,
                      .batch = (size_t)dim[window_value(l->g, r) == SLOT_X ? SLOT_Y : SLOT_X][0],
                      .in = (size_t)dim[SLOT_W][1], .out = (size_t)(dim[SLOT_W][0] / groups)};
    for (unsigned a = 0; a < CONV_AXES; a++) { /* the last ones */
        bool used = a + w.axes >= CONV_AXES;
        unsigned from = used ? a + w.axes - CONV_AXES : 0;
        s->stride[a] = used ? n.stride[from] : 1;
        s->dilation[a] = used ? n.dilation[from] : 1;
        s->low[a] = used ? n.low[from] : 0;
        for (unsigned k = 0; k < 3; k++) s->size[k][a] = used ? (size_t)n.size[k][from] : 1;
    }
    return true;
}

/* Strides of a slot, from a view over f. */
static void read_steps(const lower_frame *f, unsigned axes, const lower_view *v, ptrdiff_t *step)
{
    const int64_t *own = v->stride + f->n_context;
    memset(step, 0, (2 + CONV_AXES) * sizeof *step);
    for (unsigned k = 0; k < 2; k++) step[k] = own[k];
    for (unsigned a = 0; a < axes; a++) step[2 + CONV_AXES - axes + a] = own[2 + a];
}

/* A bound index that w does not depend on is more of the batch, where the strides of the other operand allow it. True:
 * axis k of f is over with that. */
static bool joins_batch(const lower_frame *f, unsigned k, const lower_view *v, conv_shape *s, const lower_view *w,
                        const lower_view *out)
{
    conv_slot from = s->value == CONV_X ? CONV_Y : CONV_X;
    ptrdiff_t *step = &s->step[from][0], *to = &s->step[s->value][0];
    if (s->value == CONV_W || w->stride[k] != 0) return false;
    if (s->batch == 1) {
        *step = v->stride[k];
        *to = out->stride[k];
    } else if (v->stride[k] != *step * (int64_t)s->batch || out->stride[k] != *to * (int64_t)s->batch) {
        return false;
    }
    s->batch *= (size_t)f->size[k];
    return true;
}

static bool emit(lower *l, const lower_frame *f, const conv_shape *shape, const lower_view in[2], const lower_view *out)
{
    conv_shape *s = arena_alloc(&l->plan->mem, sizeof *s);
    plan_op *x = s ? lower_op(l, f) : NULL;
    if (!x) return plan_no_memory(l->plan);
    const lower_view *v[] = {&in[0], &in[1], out};
    plan_operand *to[] = {&x->in[0], &x->in[1], &x->to};
    *s = *shape;
    *x = (plan_op){.kind = PLAN_CONV, .n_in = 2, .out = out->value, .u.conv = s};
    for (unsigned i = 0; i < 3; i++) {
        *to[i] = (plan_operand){.source = SOURCE_VALUE, .value = v[i]->value, .offset = v[i]->offset,
                                .loop = v[i]->loop};
    }
    bool joins = true;
    for (unsigned k = f->n_context; k-- > 0;) {
        if (f->size[k] == 1) continue;
        joins = joins && joins_batch(f, k, &in[0], s, &in[1], out);
        if (joins) continue;
        for (unsigned i = 0; i < 3; i++) to[i]->stride[x->rank] = v[i]->stride[k];
        x->dim[x->rank++] = f->size[k];
    }
    return true;
}

bool lower_conv(lower *l, cr_ref r, lower_tensor *out)
{
    int64_t dim[3][CR_MAX_RANK];
    conv_shape s;
    bool empty;
    unsigned axes, rank = shape_of(l->g, r)->rank;
    window_slot value = window_value(l->g, r);
    if (!read_shape(l, r, dim, &axes, &s, &empty)) return false;
    if (empty) {
        *out = (lower_tensor){.source = SOURCE_NUMBER, .rank = rank};
        memcpy(out->dim, dim[value], sizeof out->dim);
        return true;
    }
    lower_tensor operand[2];
    const lower_tensor *t[2] = {&operand[0], &operand[1]};
    for (unsigned i = 0; i < 2; i++) {
        const lower_tensor *in = lower_input(l, in_of(l->g, r, i));
        operand[i] = *in;
        if (in->source != SOURCE_VALUE && !lower_contiguous(l, in, &operand[i])) return false;
    }
    lower_frame f;
    lower_view in[2], v;
    if (!lower_frame_init(l, &f, 2, t, rank, dim[value])) return false;
    for (unsigned i = 0; i < 2; i++) lower_view_of(l, &f, t[i], NULL, &in[i]);
    uint8_t axis[LOWER_AXES], n = 0;
    for (unsigned k = 0; k < f.n; k++) {
        if (value == SLOT_W || k != f.n_context + 1u) axis[n++] = (uint8_t)k;
    }
    if (value != SLOT_W) axis[n++] = (uint8_t)(f.n_context + 1);
    if (!lower_new(l, &f, n, axis, &v)) return false;
    window_slot a = value == SLOT_X ? SLOT_Y : SLOT_X, b = value == SLOT_W ? SLOT_Y : SLOT_W;
    read_steps(&f, axes, &in[0], s.step[a]);
    read_steps(&f, axes, &in[1], s.step[b]);
    read_steps(&f, axes, &v, s.step[value]);
    if (!emit(l, &f, &s, in, &v)) return false;
    lower_tensor_of(&f, &v, rank, out);
    return true;
}
