/* Frames: operations in the making. A result follows the layout of the largest operand, so that what runs through
 * memory in one order goes on to do so; what is the same along an axis is computed once and keeps stride 0 there. */
#include "plan/lower.h"

#include <string.h>

bool lower_frame_init(lower *l, lower_frame *f, unsigned n, const lower_tensor *const *t, unsigned rank,
                      const int64_t *dim)
{
    f->n_context = 0;
    f->loop = PLAN_NONE;
    for (unsigned i = 0; i < n; i++) {
        for (unsigned k = 0; k < t[i]->n_context; k++) {
            uint32_t axis = t[i]->context[k].axis;
            if (l->axis[axis].loop) {
                f->loop = axis;
                continue;
            }
            unsigned at = 0;
            while (at < f->n_context && f->context[at] < axis) at++;
            if (at < f->n_context && f->context[at] == axis) continue;
            if (f->n_context == LOWER_CONTEXT) {
                plan_fail(l->plan, CR_ELIMIT, "an expression depends on more than %d bound indices", LOWER_CONTEXT);
                return false;
            }
            memmove(f->context + at + 1, f->context + at, (f->n_context - at) * sizeof *f->context);
            f->context[at] = axis;
            f->n_context++;
        }
    }
    for (unsigned k = 0; k < f->n_context; k++) f->size[k] = l->axis[f->context[k]].n;
    for (unsigned k = 0; k < rank; k++) f->size[f->n_context + k] = dim[k];
    f->n = f->n_context + rank;
    return true;
}

void lower_view_of(const lower *l, const lower_frame *f, const lower_tensor *t, const unsigned *at, lower_view *v)
{
    *v = (lower_view){.source = t->source, .value = t->value, .number = t->number, .offset = t->offset};
    for (unsigned k = 0; k < t->n_context; k++) {
        if (l->axis[t->context[k].axis].loop) {
            v->loop += t->context[k].stride;
            continue;
        }
        for (unsigned i = 0; i < f->n_context; i++) {
            if (f->context[i] == t->context[k].axis) v->stride[i] = t->context[k].stride;
        }
    }
    for (unsigned k = 0; k < t->rank; k++) v->stride[f->n_context + (at ? at[k] : k)] += t->stride[k];
}

lower_view lower_number(double v)
{
    return (lower_view){.source = SOURCE_NUMBER, .number = v};
}

void lower_tensor_of(const lower_frame *f, const lower_view *v, unsigned rank, lower_tensor *t)
{
    *t = (lower_tensor){.source = v->source, .value = v->value, .number = v->number, .offset = v->offset,
                        .rank = rank};
    for (unsigned k = 0; k < f->n_context; k++) {
        t->context[t->n_context++] = (lower_context){f->context[k], v->stride[k]};
    }
    if (f->loop != PLAN_NONE) { /* in its place: axes ascend */
        unsigned at = t->n_context++;
        for (; at > 0 && t->context[at - 1].axis > f->loop; at--) t->context[at] = t->context[at - 1];
        t->context[at] = (lower_context){f->loop, v->loop};
    }
    for (unsigned k = 0; k < rank; k++) {
        t->dim[k] = f->size[f->n_context + k];
        t->stride[k] = v->stride[f->n_context + k];
    }
}

/* ---- operations --------------------------------------------------------------------------------- */

/* Axes in the order in which an operation runs over them, outermost first. */
typedef struct order {
    unsigned n;
    uint8_t axis[LOWER_AXES];
} order;

static void sort_by_stride(order *o, const lower_view *v)
{
    for (unsigned i = 1; i < o->n; i++) {
        uint8_t x = o->axis[i];
        unsigned k = i;
        int64_t s = v->stride[x] < 0 ? -v->stride[x] : v->stride[x];
        for (; k > 0; k--) {
            int64_t before = v->stride[o->axis[k - 1]];
            if ((before < 0 ? -before : before) >= s) break;
            o->axis[k] = o->axis[k - 1];
        }
        o->axis[k] = x;
    }
}

/* The order of the operand that has most of the axes; ties: the first. Only a whole one decides. */
static void choose_order(order *o, unsigned n, const lower_view *in)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned has = 0;
        for (unsigned k = 0; k < o->n; k++) has += in[i].stride[o->axis[k]] != 0;
        if (in[i].source == SOURCE_VALUE && has == o->n) {
            sort_by_stride(o, &in[i]);
            return;
        }
    }
}

/* More axes than a domain has: neighbours that all views run through as one are merged. Sizes and strides are changed
 * in place: merged axes end up in the inner one. */
static bool merge_axes(lower *l, order *o, int64_t *size, unsigned n, lower_view *v, unsigned from, unsigned to)
{
    for (unsigned i = to; o->n > PLAN_RANK && i-- > from + 1;) {
        uint8_t a = o->axis[i - 1], b = o->axis[i];
        bool fits = true;
        for (unsigned k = 0; k < n; k++) fits &= v[k].stride[a] == v[k].stride[b] * size[b];
        if (fits) {
            size[b] *= size[a];
            memmove(o->axis + i - 1, o->axis + i, (o->n - i) * sizeof *o->axis);
            o->n--;
        }
    }
    if (o->n > PLAN_RANK) {
        plan_fail(l->plan, CR_ELIMIT, "an operation over %u axes; at most %d are possible", o->n, PLAN_RANK);
        return false;
    }
    return true;
}

static plan_operand operand_over(const order *o, const lower_view *v)
{
    plan_operand x = {.source = v->source, .value = v->value, .number = v->number, .offset = v->offset,
                      .loop = v->loop};
    for (unsigned k = 0; k < o->n; k++) x.stride[k] = v->stride[o->axis[k]];
    return x;
}

/* Strides of a new row-major array over these axes. */
static size_t lay_out(const order *o, const int64_t *size, int64_t *stride)
{
    size_t n = 1;
    for (unsigned k = o->n; k-- > 0;) {
        stride[o->axis[k]] = (int64_t)n;
        n *= (size_t)size[o->axis[k]];
    }
    return n;
}

/* What is lowered may be large, as long as numbers of places are far from overflow: much of it is never stored, or not
 * needed in the end. What is left has to fit into the memory that is allowed. */
#define MAX_PLACES ((int64_t)1 << 48)

static bool fits(lower *l, const order *o, const int64_t *size)
{
    int64_t n = 1;
    for (unsigned k = 0; k < o->n; k++) {
        int64_t s = size[o->axis[k]];
        if (s > MAX_PLACES || (s > 0 && n > MAX_PLACES / s)) {
            plan_fail(l->plan, CR_ELIMIT, "an intermediate value of more than %lld entries", (long long)MAX_PLACES);
            return false;
        }
        n *= s;
    }
    return true;
}

static plan_body *body_of(lower *l, const lower_frame *f)
{
    return f->loop != PLAN_NONE ? l->loop : &l->plan->body;
}

plan_op *lower_op(lower *l, const lower_frame *f) { return plan_op_new(l->plan, body_of(l, f)); }

/* ---- the same once more ------------------------------------------------------------------------- */

static uint32_t hash_op(const plan_op *x)
{
    uint32_t h = hash_word(x->kind, x->kind == PLAN_MAP ? (uint32_t)x->u.map.op : (uint32_t)x->u.fold);
    if (x->kind == PLAN_MAP) h = hash_double(h, x->u.map.attr);
    for (unsigned k = 0; k < x->rank; k++) h = hash_word(h, (uint32_t)x->dim[k]);
    for (unsigned i = 0; i < x->n_in; i++) {
        h = hash_double(hash_word(hash_word(h, x->in[i].value), (uint32_t)x->in[i].offset), x->in[i].number);
        for (unsigned k = 0; k < x->rank; k++) h = hash_word(h, (uint32_t)x->in[i].stride[k]);
    }
    return h;
}

static bool same_operand(const plan_operand *a, const plan_operand *b)
{
    return a->source == b->source && a->value == b->value && !memcmp(&a->number, &b->number, sizeof a->number) &&
           a->offset == b->offset && a->loop == b->loop && !memcmp(a->stride, b->stride, sizeof a->stride);
}

static bool same_op(const plan_op *a, const plan_op *b)
{
    bool same = a->kind == b->kind && a->rank == b->rank && a->n_in == b->n_in && a->axes == b->axes &&
                a->leading == b->leading && a->before == b->before && !a->part && !b->part &&
                !memcmp(a->dim, b->dim, sizeof a->dim);
    if (same && a->kind == PLAN_MAP) {
        same = a->u.map.op == b->u.map.op && !memcmp(&a->u.map.attr, &b->u.map.attr, sizeof a->u.map.attr);
    } else if (same) {
        same = a->u.fold == b->u.fold;
    }
    for (unsigned i = 0; same && i < a->n_in; i++) same = same_operand(&a->in[i], &b->in[i]);
    return same;
}

void lower_forget(lower *l)
{
    if (l->n_known) memset(l->known, 0, l->n_known_slots * sizeof *l->known);
    l->n_known = 0;
}

static bool grow_known(lower *l)
{
    size_t n = l->n_known_slots ? 2 * l->n_known_slots : 256;
    lower_known *bigger = mem_zalloc(n, sizeof *bigger);
    if (!bigger) return plan_no_memory(l->plan);
    for (size_t i = 0; i < l->n_known_slots; i++) {
        if (!l->known[i].body) continue;
        size_t at = l->known[i].hash & (n - 1);
        while (bigger[at].body) at = (at + 1) & (n - 1);
        bigger[at] = l->known[i];
    }
    mem_free(l->known);
    l->known = bigger;
    l->n_known_slots = n;
    return true;
}

static bool append(lower *l, plan_body *b, const plan_op *x, size_t entries, uint32_t *value)
{
    *value = plan_value_new(l->plan, entries);
    plan_op *made = *value == PLAN_NONE ? NULL : plan_op_new(l->plan, b);
    if (!made) return false;
    *made = *x;
    made->out = *value;
    return true;
}

/* x as an operation of the plan, and its value; what has been computed already is not computed again. */
static bool emit(lower *l, const lower_frame *f, const plan_op *x, size_t entries, uint32_t *value)
{
    plan_body *b = body_of(l, f);
    uint32_t h = hash_op(x);
    if (2 * (l->n_known + 1) > l->n_known_slots && !grow_known(l)) return false;
    size_t at = h & (l->n_known_slots - 1);
    for (; l->known[at].body; at = (at + 1) & (l->n_known_slots - 1)) {
        if (l->known[at].hash != h || l->known[at].body != b || !same_op(&b->op[l->known[at].op], x)) continue;
        *value = b->op[l->known[at].op].out;
        return true;
    }
    if (!append(l, b, x, entries, value)) return false;
    l->known[at] = (lower_known){b, h, b->n_op - 1};
    l->n_known++;
    return true;
}

bool lower_is_empty(const lower_frame *f)
{
    for (unsigned k = 0; k < f->n; k++) {
        if (f->size[k] == 0) return true;
    }
    return false;
}

static bool map_over(lower *l, const lower_frame *f, order *o, kern_op op, double attr, unsigned n,
                     const lower_view *in, bool fresh, lower_view *out)
{
    int64_t size[LOWER_AXES];
    lower_view v[3];
    memcpy(size, f->size, sizeof size);
    memcpy(v, in, n * sizeof *v);
    *out = (lower_view){.source = SOURCE_VALUE};
    size_t entries = lay_out(o, size, out->stride);
    if (!fits(l, o, size) || !merge_axes(l, o, size, n, v, 0, o->n)) return false;
    plan_op x = {.kind = PLAN_MAP, .rank = (uint8_t)o->n, .n_in = (uint8_t)n};
    x.u.map.op = op;
    x.u.map.attr = attr;
    for (unsigned k = 0; k < o->n; k++) x.dim[k] = size[o->axis[k]];
    for (unsigned i = 0; i < n; i++) x.in[i] = operand_over(o, &v[i]);
    return fresh ? append(l, body_of(l, f), &x, entries, &out->value) : emit(l, f, &x, entries, &out->value);
}

bool lower_map(lower *l, const lower_frame *f, kern_op op, double attr, unsigned n, const lower_view *in,
               lower_view *out)
{
    if (lower_is_empty(f)) {
        *out = lower_number(0);
        return true;
    }
    order o = {0};
    bool numbers = true;
    for (unsigned i = 0; i < n; i++) numbers &= in[i].source == SOURCE_NUMBER;
    if (numbers) { /* in double, whatever the dtype: rounded once, where it is used */
        double x[3] = {in[0].number, n > 1 ? in[1].number : 0, n > 2 ? in[2].number : 0}, y;
        kern_table_of(KERN_F64, KERN_PLAIN)->map[op][0](1, &y, &x[0], &x[1], &x[2], attr);
        *out = lower_number(y);
        return true;
    }
    for (unsigned k = 0; k < f->n; k++) {
        bool varies = false;
        for (unsigned i = 0; i < n; i++) varies |= in[i].stride[k] != 0;
        if (f->size[k] > 1 && varies) o.axis[o.n++] = (uint8_t)k;
    }
    choose_order(&o, n, in);
    return map_over(l, f, &o, op, attr, n, in, false, out);
}

/* The axes of f that count. */
static order long_axes(const lower_frame *f)
{
    order o = {0};
    for (unsigned k = 0; k < f->n; k++) {
        if (f->size[k] != 1) o.axis[o.n++] = (uint8_t)k;
    }
    return o;
}

static bool copy(lower *l, const lower_frame *f, const lower_view *in, bool fresh, lower_view *out)
{
    if (lower_is_empty(f)) {
        *out = lower_number(0);
        return true;
    }
    order o = long_axes(f);
    return map_over(l, f, &o, KERN_COPY, 0, 1, in, fresh, out);
}

bool lower_copy(lower *l, const lower_frame *f, const lower_view *in, lower_view *out)
{
    return copy(l, f, in, false, out);
}

bool lower_copy_fresh(lower *l, const lower_frame *f, const lower_view *in, lower_view *out)
{
    return copy(l, f, in, true, out);
}

bool lower_new(lower *l, const lower_frame *f, unsigned n, const uint8_t *axis, lower_view *out)
{
    order o = {.n = n};
    memcpy(o.axis, axis, n);
    *out = (lower_view){.source = SOURCE_VALUE};
    if (!fits(l, &o, f->size)) return false;
    out->value = plan_value_new(l->plan, lay_out(&o, f->size, out->stride));
    return out->value != PLAN_NONE;
}

bool lower_new_whole(lower *l, const lower_frame *f, lower_view *out)
{
    order o = long_axes(f);
    return lower_new(l, f, o.n, o.axis, out);
}

bool lower_store(lower *l, const lower_frame *f, const lower_view *in, const lower_view *to)
{
    order o = long_axes(f);
    if (o.n > PLAN_RANK) {
        plan_fail(l->plan, CR_ELIMIT, "an operation over more than %d axes", PLAN_RANK);
        return false;
    }
    plan_op *x = lower_op(l, f);
    if (!x) return false;
    *x = (plan_op){.kind = PLAN_MAP, .rank = (uint8_t)o.n, .n_in = 1, .out = to->value, .part = true,
                   .u.map.op = KERN_COPY};
    for (unsigned k = 0; k < o.n; k++) x->dim[k] = f->size[o.axis[k]];
    x->in[0] = operand_over(&o, in);
    x->to = operand_over(&o, to);
    return true;
}

bool lower_copy_axes(lower *l, const lower_frame *f, unsigned n, const uint8_t *axis, const lower_view *in,
                     lower_view *out)
{
    order o = {.n = n};
    memcpy(o.axis, axis, n);
    return map_over(l, f, &o, KERN_COPY, 0, 1, in, false, out);
}

/* ---- folds -------------------------------------------------------------------------------------- */

/* `axes` axes of o, behind the first `before`, are folded: the last ones if nothing comes behind them. */
static bool emit_fold(lower *l, const lower_frame *f, kern_fold fold, order *o, unsigned before, unsigned axes,
                      const lower_view *in, lower_view *out)
{
    int64_t size[LOWER_AXES];
    lower_view v = *in;
    order kept = {0};
    memcpy(size, f->size, sizeof size);
    *out = (lower_view){.source = SOURCE_VALUE};
    for (unsigned k = 0; k < o->n; k++) {
        if (k < before || k >= before + axes) kept.axis[kept.n++] = o->axis[k];
    }
    size_t entries = lay_out(&kept, size, out->stride);
    if (!fits(l, &kept, size) || !fits(l, o, size)) return false;
    unsigned n = o->n;
    if (!merge_axes(l, o, size, 1, &v, before + axes, n)) return false;
    plan_op x = {.kind = PLAN_FOLD, .rank = (uint8_t)o->n, .axes = (uint8_t)axes, .before = (uint8_t)before,
                 .leading = before + axes < n, .n_in = 1};
    x.u.fold = fold;
    for (unsigned k = 0; k < o->n; k++) x.dim[k] = size[o->axis[k]];
    x.in[0] = operand_over(o, &v);
    return emit(l, f, &x, entries, &out->value);
}

/* The last run of axes of o that are folded: *before it, and how many. */
static unsigned last_run(const order *o, const bool *folded, unsigned *before)
{
    unsigned end = o->n;
    while (end > 0 && !folded[o->axis[end - 1]]) end--;
    unsigned n = 0;
    while (n < end && folded[o->axis[end - 1 - n]]) n++;
    *before = end - n;
    return n;
}

bool lower_fold(lower *l, const lower_frame *frame, kern_fold fold, const bool *folded, const lower_view *in,
                lower_view *out)
{
    if (lower_is_empty(frame)) {
        *out = lower_number(kern_neutral(fold));
        return true;
    }
    lower_frame f = *frame; /* an axis that has been folded has size 1 from then on */
    *out = *in;
    for (;;) {
        order o = {0};
        unsigned left = 0;
        for (unsigned k = 0; k < f.n; k++) {
            bool fold_it = folded[k] && f.size[k] > 1;
            if (fold_it || (f.size[k] > 1 && out->stride[k] != 0)) o.axis[o.n++] = (uint8_t)k;
            left += fold_it;
        }
        if (left == 0) return true;
        lower_view v = *out;
        sort_by_stride(&o, &v);
        unsigned before, now = last_run(&o, folded, &before);
        uint8_t done[LOWER_AXES];
        memcpy(done, o.axis + before, now);
        if (!emit_fold(l, &f, fold, &o, before, now, &v, out)) return false;
        for (unsigned k = 0; k < now; k++) f.size[done[k]] = 1;
    }
}

bool lower_scan(lower *l, lower_frame *f, kern_fold join, unsigned along, bool backward, const lower_view *in,
                lower_view *out)
{
    order o = {.n = 1, .axis = {(uint8_t)along}};
    int64_t size[LOWER_AXES];
    lower_view v = *in;
    memcpy(size, f->size, sizeof size);
    for (unsigned k = 0; k < f->n; k++) {
        if (k != along && size[k] > 1 && v.stride[k] != 0) o.axis[o.n++] = (uint8_t)k;
    }
    if (lower_is_empty(f)) {
        *out = lower_number(kern_neutral(join));
        f->size[along]++;
        return true;
    }
    *out = (lower_view){.source = SOURCE_VALUE};
    f->size[along] = ++size[along];
    size_t entries = lay_out(&o, size, out->stride);
    if (!fits(l, &o, size)) return false;
    size[along]--;
    if (!merge_axes(l, &o, size, 1, &v, 1, o.n)) return false;
    out->value = plan_value_new(l->plan, entries);
    plan_op *x = out->value == PLAN_NONE ? NULL : lower_op(l, f);
    if (!x) return false;
    l->plan->value[out->value].scan = backward ? -1 : 1;
    *x = (plan_op){.kind = PLAN_SCAN, .rank = (uint8_t)o.n, .backward = backward, .n_in = 1, .out = out->value};
    x->u.fold = join;
    for (unsigned k = 0; k < o.n; k++) x->dim[k] = size[o.axis[k]];
    x->in[0] = operand_over(&o, &v);
    return true;
}
