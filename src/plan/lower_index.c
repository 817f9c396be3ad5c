/* Indices: polynomials in bound indices and sizes, as strides where they are linear, else as tables. */
#include "plan/lower.h"

#include <math.h>
#include <string.h>

#define TABLE_MAX ((int64_t)1 << 26) /* entries of a table of indices */

typedef struct symbols {
    lower *l;
    dim_sym s[LOWER_CONTEXT];
    unsigned n;
    bool many;
} symbols;

static void note_bound(void *user, dim_sym s)
{
    symbols *x = user;
    if (s >= x->l->n_axis_of || x->l->axis_of[s] == PLAN_NONE) return;
    if (x->n == LOWER_CONTEXT) x->many = true;
    else x->s[x->n++] = s;
}

/* The bound indices in d, ascending by axis. */
static bool bound_in(lower *l, cr_dim d, symbols *x)
{
    *x = (symbols){.l = l};
    dim_symbols(l->g->dims, d, note_bound, x);
    if (x->many) {
        plan_fail(l->plan, CR_ELIMIT, "an index depends on more than %d others", LOWER_CONTEXT);
        return false;
    }
    for (unsigned i = 1; i < x->n; i++) {
        dim_sym s = x->s[i];
        unsigned k = i;
        for (; k > 0 && l->axis_of[x->s[k - 1]] > l->axis_of[s]; k--) x->s[k] = x->s[k - 1];
        x->s[k] = s;
    }
    return true;
}

bool lower_affine(lower *l, cr_dim d, lower_index *x, bool *affine)
{
    symbols bound;
    *x = (lower_index){0};
    *affine = true;
    if (!bound_in(l, d, &bound)) return false;
    cr_dim rest = d;
    for (unsigned i = 0; i < bound.n; i++) {
        int64_t a;
        const lower_axis *axis = &l->axis[l->axis_of[bound.s[i]]];
        if (!dim_linear_in(l->g->dims, rest, bound.s[i], &a, &rest)) {
            *affine = false;
            return true;
        }
        x->step[x->n++] = (lower_context){l->axis_of[bound.s[i]], a};
        x->base += a * axis->lo;
    }
    int64_t v;
    if (!exec_dim(l->env, rest, "an index", &v)) return false;
    x->base += v;
    return true;
}

void lower_range(const lower *l, const lower_index *x, int64_t *least, int64_t *greatest)
{
    *least = *greatest = x->base;
    for (unsigned k = 0; k < x->n; k++) {
        int64_t far = x->step[k].stride * (l->axis[x->step[k].axis].n - 1);
        *(far < 0 ? least : greatest) += far;
    }
}

/* ---- tables ------------------------------------------------------------------------------------- */

/* Calls each(user, place, value) for d at every place of the axes of `bound`, the last one fastest. */
static bool tabulate(lower *l, cr_dim d, const symbols *bound, bool (*each)(void *user, int64_t place, int64_t v),
                     void *user)
{
    int64_t n = 1, at[LOWER_CONTEXT] = {0};
    for (unsigned k = 0; k < bound->n; k++) {
        int64_t size = l->axis[l->axis_of[bound->s[k]]].n;
        if (size > TABLE_MAX || n > TABLE_MAX / (size > 0 ? size : 1)) {
            plan_fail(l->plan, CR_ELIMIT, "a table of more than %lld indices", (long long)TABLE_MAX);
            return false;
        }
        n *= size;
    }
    exec_name before[LOWER_CONTEXT];
    bool ok = true;
    unsigned saved = 0;
    for (; ok && saved < bound->n; saved += ok) {
        exec_name *name = exec_name_of(l->env, bound->s[saved]);
        ok = name != NULL;
        if (ok) before[saved] = *name;
    }
    for (int64_t place = 0; ok && place < n; place++) {
        int64_t v;
        for (unsigned k = 0; k < bound->n; k++) {
            exec_name *name = &l->env->name[bound->s[k]];
            name->known = true;
            name->v = l->axis[l->axis_of[bound->s[k]]].lo + at[k];
        }
        ok = exec_dim(l->env, d, "an index", &v) && each(user, place, v);
        for (unsigned k = bound->n; k-- > 0;) {
            if (++at[k] < l->axis[l->axis_of[bound->s[k]]].n) break;
            at[k] = 0;
        }
    }
    for (unsigned k = 0; k < saved; k++) {
        l->env->name[bound->s[k]].known = before[k].known;
        l->env->name[bound->s[k]].v = before[k].v;
    }
    return ok;
}

/* Strides of a table along the axes of `bound`. */
static int64_t table_strides(const lower *l, const symbols *bound, lower_context *c)
{
    int64_t stride = 1;
    for (unsigned k = bound->n; k-- > 0;) {
        c[k] = (lower_context){l->axis_of[bound->s[k]], stride};
        stride *= l->axis[c[k].axis].n;
    }
    return stride;
}

static bool put_number(void *user, int64_t place, int64_t v)
{
    cr_plan *p = user;
    if (!VEC_RESERVE(p->constant, p->constant_cap, (p->n_constant + 1) * kern_size(p->dtype))) {
        return plan_no_memory(p);
    }
    (void)place;
    if (p->dtype == KERN_F32) ((float *)(void *)p->constant)[p->n_constant++] = (float)v;
    else ((double *)(void *)p->constant)[p->n_constant++] = (double)v;
    return true;
}

bool lower_integer(lower *l, cr_dim d, lower_tensor *out)
{
    lower_index x;
    bool affine;
    if (!lower_affine(l, d, &x, &affine)) return false;
    if (affine) {
        *out = (lower_tensor){.source = x.n ? SOURCE_PROGRESSION : SOURCE_NUMBER, .number = (double)x.base,
                              .n_context = x.n};
        memcpy(out->context, x.step, sizeof out->context);
        return true;
    }
    symbols bound;
    *out = (lower_tensor){.source = SOURCE_VALUE};
    if (!bound_in(l, d, &bound)) return false;
    out->n_context = bound.n;
    int64_t n = table_strides(l, &bound, out->context);
    out->value = plan_value_new(l->plan, (size_t)n);
    if (out->value == PLAN_NONE) return false;
    l->plan->value[out->value].place = PLACE_CONSTANT;
    l->plan->value[out->value].offset = l->plan->n_constant;
    return tabulate(l, d, &bound, put_number, l->plan);
}

static bool put_value(void *user, int64_t place, int64_t v)
{
    ((int64_t *)user)[place] = v;
    return true;
}

int64_t *lower_table(lower *l, const lower_frame *f, cr_dim d, size_t *n)
{
    symbols bound;
    lower_context step[LOWER_CONTEXT];
    if (f->loop != PLAN_NONE) {
        plan_fail(l->plan, CR_EUNSUPPORTED, "a plan takes no such number that depends on the index of a recurrence");
        return NULL;
    }
    if (!bound_in(l, d, &bound)) return NULL;
    int64_t few = table_strides(l, &bound, step), *value = mem_alloc((size_t)(few > 0 ? few : 1) * sizeof *value);
    *n = 1;
    for (unsigned k = 0; k < f->n_context; k++) *n *= (size_t)f->size[k];
    int64_t *all = arena_alloc(&l->plan->mem, (*n + 1) * sizeof *all);
    bool ok = value && all ? true : plan_no_memory(l->plan);
    ok = ok && tabulate(l, d, &bound, put_value, value);
    for (size_t i = 0; ok && i < *n; i++) {
        int64_t place = 0;
        size_t rest = i;
        for (unsigned k = f->n_context; k-- > 0;) {
            int64_t at = (int64_t)(rest % (size_t)f->size[k]);
            rest /= (size_t)f->size[k];
            for (unsigned j = 0; j < bound.n; j++) place += step[j].axis == f->context[k] ? at * step[j].stride : 0;
        }
        all[i] = value[place];
    }
    mem_free(value);
    return ok ? all : NULL;
}

/* ---- entries ------------------------------------------------------------------------------------ */

static bool missing(lower *l, cr_dim d, int64_t v, int64_t first, int64_t n, const char *what)
{
    if (what) {
        plan_fail(l->plan, CR_EVALUE, "index %lld of `%s` is out of range %lld..%lld", (long long)v, what,
                  (long long)first, (long long)(first + n - 1));
        return false;
    }
    strbuf b;
    sb_init(&b);
    dim_print(l->g->dims, d, &b, NULL, NULL);
    plan_fail(l->plan, CR_EVALUE, "the index %s = %lld is not in %lld..%lld", sb_str(&b), (long long)v,
              (long long)first, (long long)(first + n - 1));
    sb_free(&b);
    return false;
}

typedef struct offsets {
    lower *l;
    cr_dim d;
    const lower_entries *entries;
    int64_t n, stride;
    int64_t *table;
    bool any; /* is there one at all? */
} offsets;

static bool put_offset(void *user, int64_t place, int64_t v)
{
    offsets *o = user;
    const lower_entries *e = o->entries;
    bool in = v >= e->first && v - e->first < o->n && (!e->have || e->have(e->user, v));
    if (!in && e->replaced) {
        v = e->instead;
        in = true;
    }
    if (!in && !e->guarded) return missing(o->l, o->d, v, e->first, o->n, e->what);
    o->any |= in;
    o->table[place] = in ? (v - e->first) * o->stride : -1;
    return true;
}

/* Through a table of offsets: for indices that are not linear, or not everywhere in range. */
static bool gather(lower *l, const lower_tensor *t, unsigned axis, cr_dim d, const lower_entries *entries,
                   lower_tensor *out)
{
    symbols bound;
    lower_tensor from = *t, place = {.source = SOURCE_PROGRESSION};
    if (t->source != SOURCE_VALUE && !lower_contiguous(l, t, &from)) return false;
    if (!bound_in(l, d, &bound)) return false;
    place.n_context = bound.n;
    int64_t n = table_strides(l, &bound, place.context);
    if (n > TABLE_MAX) n = 1; /* tabulate says so */
    offsets o = {.l = l, .d = d, .entries = entries, .n = from.dim[axis], .stride = from.stride[axis],
                 .table = arena_alloc(&l->plan->mem, (size_t)(n > 0 ? n : 1) * sizeof *o.table)};
    if (!o.table) return plan_no_memory(l->plan);
    if (!tabulate(l, d, &bound, put_offset, &o)) return false;
    if (!o.any) { /* nothing is there to be read, perhaps not even the memory */
        from.source = SOURCE_NUMBER;
        from.number = NAN;
        memset(from.stride, 0, sizeof from.stride);
    }
    from.rank--;
    memmove(from.dim + axis, from.dim + axis + 1, (from.rank - axis) * sizeof *from.dim);
    memmove(from.stride + axis, from.stride + axis + 1, (from.rank - axis) * sizeof *from.stride);
    if (!o.any) {
        for (unsigned k = 0; k < place.n_context; k++) { /* for these values of the indices only */
            if (!lower_depend(l, &from, place.context[k].axis)) return false;
        }
        *out = from;
        return true;
    }
    const lower_tensor *both[2] = {&from, &place};
    lower_frame f;
    lower_view in, at, v;
    if (!lower_frame_init(l, &f, 2, both, from.rank, from.dim)) return false;
    lower_view_of(l, &f, &from, NULL, &in);
    lower_view_of(l, &f, &place, NULL, &at);
    plan_op *x = lower_new_whole(l, &f, &v) ? lower_op(l, &f) : NULL;
    if (!x) return false;
    l->n_gathers++;
    *x = (plan_op){.kind = PLAN_GATHER, .n_in = 1, .out = v.value};
    x->u.gather = (plan_gather){.table = o.table, .loop = at.loop};
    x->in[0] = (plan_operand){.source = SOURCE_VALUE, .value = in.value, .offset = in.offset, .loop = in.loop};
    for (unsigned k = 0; k < f.n; k++) {
        if (f.size[k] == 1) continue;
        if (x->rank == PLAN_RANK) {
            plan_fail(l->plan, CR_ELIMIT, "an operation over more than %d axes", PLAN_RANK);
            return false;
        }
        x->dim[x->rank] = f.size[k];
        x->in[0].stride[x->rank] = in.stride[k];
        x->u.gather.stride[x->rank++] = at.stride[k];
    }
    lower_tensor_of(&f, &v, from.rank, out);
    return true;
}

static bool add_context(lower *l, lower_tensor *t, uint32_t axis, int64_t stride)
{
    unsigned k = 0;
    while (k < t->n_context && t->context[k].axis < axis) k++;
    if (k == t->n_context || t->context[k].axis != axis) {
        if (t->n_context == LOWER_CONTEXT) {
            plan_fail(l->plan, CR_ELIMIT, "an expression depends on more than %d bound indices", LOWER_CONTEXT);
            return false;
        }
        memmove(t->context + k + 1, t->context + k, (t->n_context - k) * sizeof *t->context);
        t->context[k] = (lower_context){axis, 0};
        t->n_context++;
    }
    t->context[k].stride += stride;
    return true;
}

bool lower_depend(lower *l, lower_tensor *t, uint32_t axis)
{
    return add_context(l, t, axis, 0);
}

bool lower_pick(lower *l, const lower_tensor *t, unsigned k, cr_dim d, const lower_entries *entries, lower_tensor *out)
{
    lower_index x;
    bool affine;
    int64_t least, greatest;
    if (!lower_affine(l, d, &x, &affine)) return false;
    if (!affine) return gather(l, t, k, d, entries, out);
    lower_range(l, &x, &least, &greatest);
    bool all = least >= entries->first && greatest - entries->first < t->dim[k];
    for (int64_t i = least; all && entries->have && i <= greatest; i++) all = entries->have(entries->user, i);
    if (!all) return gather(l, t, k, d, entries, out);
    *out = *t;
    int64_t stride = t->stride[k], from = (x.base - entries->first) * stride;
    out->offset += t->source == SOURCE_VALUE ? from : 0;
    out->number += t->source == SOURCE_PROGRESSION ? (double)from : 0;
    out->rank--;
    memmove(out->dim + k, out->dim + k + 1, (out->rank - k) * sizeof *out->dim);
    memmove(out->stride + k, out->stride + k + 1, (out->rank - k) * sizeof *out->stride);
    for (unsigned i = 0; i < x.n && t->source != SOURCE_NUMBER; i++) {
        if (!add_context(l, out, x.step[i].axis, x.step[i].stride * stride)) return false;
    }
    return true;
}
