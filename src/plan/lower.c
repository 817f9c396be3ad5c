/* The walk: nodes to tensors, each once for the bound indices that it depends on. */
#include "plan/lower.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what has been lowered ---------------------------------------------------------------------- */

static bool is_current(const lower *l, const lower_tensor *t)
{
    for (unsigned k = 0; k < t->n_context; k++) {
        const lower_axis *a = &l->axis[t->context[k].axis];
        if (l->axis_of[a->symbol] != t->context[k].axis) return false;
    }
    return true;
}

const lower_tensor *lower_input(lower *l, cr_ref r)
{
    const lower_tensor *t = r < l->n_memo ? l->memo[r] : NULL;
    return t && is_current(l, t) ? t : NULL;
}

bool lower_guarded(const lower *l, cr_ref r) { return l->lenient || r >= l->n_guarded || l->guarded[r]; }

bool lower_remember(lower *l, cr_ref r, const lower_tensor *t)
{
    if (r >= l->n_memo) {
        if (!VEC_RESERVE(l->memo, l->memo_cap, (size_t)r + 1)) return plan_no_memory(l->plan);
        memset(l->memo + l->n_memo, 0, (r + 1 - l->n_memo) * sizeof *l->memo);
        l->n_memo = (size_t)r + 1;
    }
    if (!l->memo[r] && !(l->memo[r] = arena_alloc(&l->mem, sizeof *t))) return plan_no_memory(l->plan);
    *l->memo[r] = *t;
    return true;
}

uint32_t lower_axis_push(lower *l, dim_sym symbol, int64_t lo, int64_t n, bool loop, uint32_t *before)
{
    if (!VEC_RESERVE(l->axis, l->axis_cap, l->n_axis + 1)) {
        plan_no_memory(l->plan);
        return PLAN_NONE;
    }
    if (symbol >= l->n_axis_of) {
        if (!VEC_RESERVE(l->axis_of, l->axis_of_cap, (size_t)symbol + 1)) {
            plan_no_memory(l->plan);
            return PLAN_NONE;
        }
        memset(l->axis_of + l->n_axis_of, 255, (symbol + 1 - l->n_axis_of) * sizeof *l->axis_of);
        l->n_axis_of = (size_t)symbol + 1;
    }
    l->axis[l->n_axis] = (lower_axis){symbol, lo, n, loop};
    *before = l->axis_of[symbol];
    l->axis_of[symbol] = (uint32_t)l->n_axis;
    return (uint32_t)l->n_axis++;
}

void lower_axis_pop(lower *l, uint32_t axis, uint32_t before)
{
    l->axis_of[l->axis[axis].symbol] = before;
}

/* ---- walk --------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    cr_ref x = *(const cr_ref *)a, y = *(const cr_ref *)b;
    return (x > y) - (x < y);
}

typedef struct work {
    cr_ref *ref;
    size_t n, cap;
} work;

static bool push(lower *l, work *w, cr_ref r)
{
    if (lower_input(l, r)) return true;
    if (r >= l->n_mark) {
        if (!VEC_RESERVE(l->mark, l->mark_cap, (size_t)r + 1)) return plan_no_memory(l->plan);
        memset(l->mark + l->n_mark, 0, (r + 1 - l->n_mark) * sizeof *l->mark);
        l->n_mark = (size_t)r + 1;
    }
    if (l->mark[r] == l->walk) return true;
    l->mark[r] = l->walk;
    if (!VEC_RESERVE(w->ref, w->cap, w->n + 1)) return plan_no_memory(l->plan);
    w->ref[w->n++] = r;
    return true;
}

/* The nodes that roots need and that are not there yet, in ascending order. A binder's body is the binder's, deltas in
 * a product are the product's. */
static bool collect(lower *l, unsigned n, const cr_ref *root, work *w)
{
    bool ok = true;
    l->walk++;
    for (unsigned i = 0; ok && i < n; i++) ok = push(l, w, root[i]);
    for (size_t at = 0; ok && at < w->n; at++) {
        cr_ref r = w->ref[at];
        if (op_of(l->g, r) == CR_OP_BIND) continue;
        for (uint32_t i = 0; ok && i < node(l->g, r)->n_in; i++) {
            cr_ref in = in_of(l->g, r, i);
            bool opened = op_of(l->g, r) == CR_OP_EINSUM && lower_is_diagonal(l->g, in);
            for (uint32_t k = 0; ok && opened && k < node(l->g, in)->n_in; k++) {
                ok = exec_is_delta(l->g, in, k) || push(l, w, in_of(l->g, in, k));
            }
            ok = ok && (opened || exec_is_delta(l->g, r, i) || push(l, w, in));
        }
    }
    if (ok && w->n) qsort(w->ref, w->n, sizeof *w->ref, ascending);
    return ok;
}

bool lower_expressions(lower *l, unsigned n, const cr_ref *r)
{
    if (l->nesting >= EXEC_MAX_NESTING) {
        plan_fail(l->plan, CR_ELIMIT, "more than %d sums, products or functions within each other", EXEC_MAX_NESTING);
        return false;
    }
    work w = {0};
    l->nesting++;
    bool ok = collect(l, n, r, &w);
    for (size_t i = 0; ok && i < w.n; i++) {
        lower_tensor t;
        ok = lower_node(l, w.ref[i], &t) && lower_remember(l, w.ref[i], &t);
    }
    l->nesting--;
    mem_free(w.ref);
    return ok;
}

bool lower_expression(lower *l, cr_ref r, lower_tensor *out)
{
    if (!lower_expressions(l, 1, &r)) return false;
    *out = *lower_input(l, r);
    return true;
}

/* ---- leaves ------------------------------------------------------------------------------------- */

static void lay_out_rows(lower_tensor *t)
{
    int64_t stride = 1;
    for (unsigned k = t->rank; k-- > 0;) {
        t->stride[k] = t->dim[k] > 1 ? stride : 0;
        stride *= t->dim[k];
    }
}

static bool lower_parameter(lower *l, cr_ref r, lower_tensor *out)
{
    cr_plan *p = l->plan;
    size_t n;
    *out = (lower_tensor){.source = SOURCE_VALUE, .rank = shape_of(l->g, r)->rank};
    if (!exec_shape(l->env, r, out->dim, &n)) return false;
    if (!VEC_RESERVE(p->input, p->input_cap, p->n_input + 1)) return plan_no_memory(p);
    out->value = plan_value_new(p, n);
    if (out->value == PLAN_NONE) return false;
    lay_out_rows(out);
    plan_port *in = &p->input[p->n_input];
    const char *name = name_text(l->g->dims, (dim_sym)attr_of(l->g, r, 0));
    char *copy = arena_alloc(&p->mem, strlen(name) + 1);
    if (!copy) return plan_no_memory(p);
    memcpy(copy, name, strlen(name) + 1);
    *in = (plan_port){.name = copy, .ref = r, .value = out->value, .rank = out->rank, .n = n};
    memcpy(in->dim, out->dim, sizeof in->dim);
    p->value[out->value].place = PLACE_INPUT;
    p->value[out->value].index = (uint32_t)p->n_input++;
    return true;
}

/* 1 where the two are equal, else 0: what one-hot vectors and identities are where they are not summed over. */
static bool lower_equal(lower *l, lower_frame *f, const lower_view *a, const lower_view *b, lower_tensor *out)
{
    lower_view in[2] = {*a, *b}, v;
    if (!lower_map(l, f, KERN_EQ, 0, 2, in, &v)) return false;
    lower_tensor_of(f, &v, f->n - f->n_context, out);
    return true;
}

static bool lower_onehot(lower *l, cr_ref r, lower_tensor *out)
{
    lower_tensor at;
    int64_t n;
    lower_frame f;
    const lower_tensor *in = &at;
    if (!lower_integer(l, attr_of(l->g, r, 0), &at) || !exec_dim(l->env, shape_of(l->g, r)->dim[0], "a size", &n) ||
        !lower_frame_init(l, &f, 1, &in, 1, &n)) {
        return false;
    }
    lower_view a, b = {.source = SOURCE_PROGRESSION, .number = 1};
    lower_view_of(l, &f, &at, NULL, &a);
    b.stride[f.n_context] = 1;
    return lower_equal(l, &f, &a, &b, out);
}

static bool lower_identity(lower *l, cr_ref r, lower_tensor *out)
{
    int64_t dim[2];
    lower_frame f;
    if (!exec_dim(l->env, shape_of(l->g, r)->dim[0], "a size", &dim[0])) return false;
    dim[1] = dim[0];
    lower_view a = {.source = SOURCE_PROGRESSION, .stride = {1, 0}}, b = {.source = SOURCE_PROGRESSION,
                                                                          .stride = {0, 1}};
    return lower_frame_init(l, &f, 0, NULL, 2, dim) && lower_equal(l, &f, &a, &b, out);
}

static bool lower_iota(lower *l, cr_ref r, lower_tensor *out)
{
    *out = (lower_tensor){.source = SOURCE_PROGRESSION, .number = 1, .rank = 1, .stride = {1}};
    return exec_dim(l->env, shape_of(l->g, r)->dim[0], "a size", &out->dim[0]);
}

/* ---- element by element ------------------------------------------------------------------------- */

static const kern_op map_of[CR_OP_COUNT] = {
#define SAME(name) [CR_OP_##name] = KERN_##name
    SAME(EXP), SAME(LOG), SAME(SQRT), SAME(ABS), SAME(SIGN), SAME(STEP), SAME(RELU), SAME(LEAKY_RELU), SAME(ELU),
    SAME(SELU), SAME(GELU), SAME(SILU), SAME(SOFTPLUS), SAME(SIGMOID), SAME(DSIGMOID), SAME(SIN), SAME(COS),
    SAME(TAN), SAME(SINH), SAME(COSH), SAME(TANH), SAME(DTANH), SAME(ASIN), SAME(ACOS), SAME(ATAN), SAME(ERF),
    SAME(NOT), SAME(DIV), SAME(POW), SAME(MOD), SAME(LT), SAME(LE), SAME(EQ), SAME(NE), SAME(AND), SAME(OR),
    SAME(SELECT),
#undef SAME
    [CR_OP_MAX2] = KERN_MAX, [CR_OP_MIN2] = KERN_MIN,
};

/* The frame of an operator whose operands have its shape or are scalars, and its operands over it. */
static bool elementwise_frame(lower *l, cr_ref r, unsigned n, lower_frame *f, lower_view *v)
{
    const lower_tensor *t[3];
    int64_t dim[CR_MAX_RANK];
    size_t entries;
    if (!exec_shape(l->env, r, dim, &entries)) return false;
    for (unsigned i = 0; i < n; i++) t[i] = lower_input(l, in_of(l->g, r, i));
    if (!lower_frame_init(l, f, n, t, shape_of(l->g, r)->rank, dim)) return false;
    for (unsigned i = 0; i < n; i++) lower_view_of(l, f, t[i], NULL, &v[i]);
    return true;
}

/* x^k for a small integer k, by products; false in *done where it is no such thing. */
static bool lower_power(lower *l, const lower_frame *f, const lower_view *in, lower_view *out, bool *done)
{
    double k = in[1].number, n = k < 0 ? -k : k;
    *done = in[1].source == SOURCE_NUMBER && in[0].source != SOURCE_NUMBER && n >= 1 && n <= 4 && n == (int)n;
    if (!*done) return true;
    lower_view x = in[0], pair[2] = {lower_number(1), x};
    if (k < 0 && !lower_map(l, f, KERN_DIV, 0, 2, pair, &x)) return false;
    *out = x;
    for (int i = 1; i < n; i++) {
        pair[0] = *out;
        pair[1] = n == 4 && i == 2 ? *out : x;
        if (!lower_map(l, f, KERN_MUL, 0, 2, pair, out)) return false;
        if (n == 4 && i == 2) break;
    }
    return true;
}

static bool lower_elementwise(lower *l, cr_ref r, lower_tensor *out)
{
    const cr_node *nd = node(l->g, r);
    lower_frame f;
    lower_view in[3], v;
    double attr = nd->n_attr >= 2 ? attr_double(l->g, r, 0) : 0;
    bool done = false;
    if (!elementwise_frame(l, r, nd->n_in, &f, in)) return false;
    if (nd->op == CR_OP_POW && !lower_power(l, &f, in, &v, &done)) return false;
    if (!done && !lower_map(l, &f, map_of[nd->op], attr, nd->n_in, in, &v)) return false;
    lower_tensor_of(&f, &v, shape_of(l->g, r)->rank, out);
    return true;
}

/* The term without its factor -1, if it has one: a + (-1) b is a - b. */
static cr_ref negated(lower *l, cr_ref r)
{
    cr_graph *g = l->g;
    einsum_view e;
    cr_ref operand[EINSUM_MAX_LABELS];
    uint8_t label[EINSUM_MAX_LABELS * 4];
    unsigned n = 0, n_label = 0;
    bool found = false;
    if (op_of(g, r) != CR_OP_EINSUM) return CR_NONE;
    einsum_read(g, r, &e);
    if (e.n < 2 || e.n > EINSUM_MAX_LABELS) return CR_NONE;
    const uint32_t *at = e.labels;
    for (uint32_t i = 0; i < e.n; i++) {
        double v;
        unsigned rank = shape_of(g, e.operand[i])->rank;
        if (!found && rank == 0 && is_const(g, e.operand[i], &v) && v == -1) {
            found = true;
            continue;
        }
        if (n_label + rank > sizeof label) return CR_NONE;
        operand[n++] = e.operand[i];
        for (unsigned k = 0; k < rank; k++) label[n_label++] = (uint8_t)at[k];
        at += rank;
    }
    return found ? cr_einsum(g, n, operand, label, e.rank, e.size) : CR_NONE;
}

static bool lower_add(lower *l, cr_ref r, lower_tensor *out)
{
    uint32_t n = node(l->g, r)->n_in;
    unsigned rank = shape_of(l->g, r)->rank;
    int64_t dim[CR_MAX_RANK];
    size_t entries;
    bool parts;
    if (!lower_concat(l, r, out, &parts) || parts) return parts && l->plan->err.status == CR_OK;
    if (!exec_shape(l->env, r, dim, &entries)) return false;
    lower_tensor sum = *lower_input(l, in_of(l->g, r, 0));
    for (uint32_t i = 1; i < n; i++) {
        cr_ref minus = negated(l, in_of(l->g, r, i));
        lower_tensor term;
        if (!minus) term = *lower_input(l, in_of(l->g, r, i));
        else if (!lower_expression(l, minus, &term)) return false;
        const lower_tensor *t[2] = {&sum, &term};
        lower_frame f;
        lower_view in[2], v;
        if (!lower_frame_init(l, &f, 2, t, rank, dim)) return false;
        for (unsigned k = 0; k < 2; k++) lower_view_of(l, &f, t[k], NULL, &in[k]);
        if (!lower_map(l, &f, minus ? KERN_SUB : KERN_ADD, 0, 2, in, &v)) return false;
        lower_tensor_of(&f, &v, rank, &sum);
    }
    *out = sum;
    return true;
}

/* ---- layout ------------------------------------------------------------------------------------- */

bool lower_contiguous(lower *l, const lower_tensor *t, lower_tensor *out)
{
    lower_frame f;
    lower_view in, v;
    if (!lower_frame_init(l, &f, 1, &t, t->rank, t->dim)) return false;
    lower_view_of(l, &f, t, NULL, &in);
    int64_t stride = 1;
    bool whole = t->source == SOURCE_VALUE;
    for (unsigned k = f.n; k-- > 0;) {
        whole &= f.size[k] == 1 || in.stride[k] == stride;
        stride *= f.size[k];
    }
    if (whole) {
        *out = *t;
        return true;
    }
    if (!lower_copy(l, &f, &in, &v)) return false;
    lower_tensor_of(&f, &v, t->rank, out);
    return true;
}

static bool lower_reshape(lower *l, cr_ref r, lower_tensor *out)
{
    const lower_tensor *t = lower_input(l, in_of(l->g, r, 0));
    lower_tensor whole;
    int64_t dim[CR_MAX_RANK], old = 1, stride = 1;
    size_t n;
    if (!exec_shape(l->env, r, dim, &n)) return false;
    for (unsigned k = 0; k < t->rank; k++) old *= t->dim[k];
    if ((size_t)old != n) {
        plan_fail(l->plan, CR_EVALUE, "a reshape from %lld to %zu entries", (long long)old, n);
        return false;
    }
    bool number = t->source == SOURCE_NUMBER;
    if (number) whole = *t;
    else if (!lower_contiguous(l, t, &whole)) return false;
    *out = whole;
    out->rank = shape_of(l->g, r)->rank;
    for (unsigned k = out->rank; k-- > 0;) {
        out->dim[k] = dim[k];
        out->stride[k] = number || dim[k] == 1 ? 0 : stride;
        stride *= dim[k];
    }
    return true;
}

/* Scalars side by side: each is copied to its place in one value. */
static bool lower_stack(lower *l, cr_ref r, lower_tensor *out)
{
    uint32_t n = node(l->g, r)->n_in;
    int64_t dim[CR_MAX_RANK];
    size_t entries;
    const lower_tensor **t = mem_alloc((n + 1) * sizeof *t);
    bool ok = t ? exec_shape(l->env, r, dim, &entries) : plan_no_memory(l->plan);
    for (uint32_t i = 0; ok && i < n; i++) t[i] = lower_input(l, in_of(l->g, r, i));
    lower_frame f;
    unsigned rank = shape_of(l->g, r)->rank;
    ok = ok && lower_frame_init(l, &f, n, t, rank, dim);
    lower_view whole;
    ok = ok && lower_new_whole(l, &f, &whole);
    for (uint32_t i = 0; ok && i < n && entries; i++) {
        lower_frame one = f; /* the bound indices alone */
        lower_view in, to = whole;
        one.n = f.n_context;
        to.offset = i;
        lower_view_of(l, &one, t[i], NULL, &in);
        ok = lower_store(l, &one, &in, &to);
    }
    if (ok) lower_tensor_of(&f, &whole, rank, out);
    mem_free(t);
    return ok;
}

/* ---- functions ---------------------------------------------------------------------------------- */

/* The entries of x as bound indices without a name, outermost first: f(x) is then f of a scalar. There is always one,
 * so that what depends on the argument is of this call only. */
static bool push_entries(lower *l, const lower_tensor *x, lower_tensor *arg, uint32_t *before, unsigned *n)
{
    *arg = (lower_tensor){.source = x->source, .value = x->value, .number = x->number, .offset = x->offset,
                          .n_context = x->n_context};
    memcpy(arg->context, x->context, sizeof arg->context);
    *n = 0;
    for (unsigned k = 0; k < x->rank || k < 1; k++) {
        if (arg->n_context == LOWER_CONTEXT) {
            plan_fail(l->plan, CR_ELIMIT, "a function of an argument with too many axes");
            return false;
        }
        uint32_t a = lower_axis_push(l, fresh_symbol(l->g, "entry"), 0, k < x->rank ? x->dim[k] : 1, false,
                                     &before[k]);
        if (a == PLAN_NONE) return false;
        arg->context[arg->n_context++] = (lower_context){a, k < x->rank ? x->stride[k] : 0};
        ++*n;
    }
    return true;
}

/* Takes the context `axis` out of t and gives its stride. */
static int64_t take_context(lower_tensor *t, uint32_t axis)
{
    for (unsigned k = 0; k < t->n_context; k++) {
        if (t->context[k].axis != axis) continue;
        int64_t stride = t->context[k].stride;
        memmove(t->context + k, t->context + k + 1, (t->n_context - k - 1) * sizeof *t->context);
        t->n_context--;
        return stride;
    }
    return 0;
}

static bool call_known(lower *l, cr_fun fun, unsigned order, const lower_tensor *x, lower_tensor *out)
{
    cr_ref body = exec_function_body(l->env, fun, order);
    lower_tensor arg, y = {0};
    uint32_t before[CR_MAX_RANK + 1], first = (uint32_t)l->n_axis;
    unsigned n = 0;
    bool ok = body != CR_NONE && push_entries(l, x, &arg, before, &n) &&
              lower_remember(l, l->g->fun[fun].arg, &arg) && lower_expression(l, body, &y);
    for (unsigned k = n; k-- > 0;) lower_axis_pop(l, first + k, before[k]);
    if (!ok) return false;
    *out = y;
    out->rank = x->rank;
    for (unsigned k = 0; k < n; k++) {
        int64_t stride = take_context(out, first + k);
        if (k < x->rank) {
            out->dim[k] = x->dim[k];
            out->stride[k] = stride;
        }
    }
    return true;
}

static bool lower_call(lower *l, cr_ref r, lower_tensor *out)
{
    cr_fun fun = attr_of(l->g, r, 0);
    unsigned order = attr_of(l->g, r, 1);
    const lower_tensor *x = lower_input(l, in_of(l->g, r, 0));
    if (l->g->fun[fun].body != CR_NONE) {
        lower_tensor copy = *x;
        return call_known(l, fun, order, &copy, out);
    }
    const exec_callback *c = exec_callback_of(l->env, fun);
    if (!c || !c->fn) {
        plan_fail(l->plan, CR_EVALUE, "%s has no value", name_text(l->g->dims, l->g->fun[fun].name));
        return false;
    }
    exec_callback call = *c;
    lower_frame f;
    lower_view in, v;
    if (!elementwise_frame(l, r, 1, &f, &in) || !lower_copy_fresh(l, &f, &in, &v)) return false;
    if (v.source == SOURCE_VALUE) { /* the copy becomes the call */
        plan_body *b = f.loop != PLAN_NONE ? l->loop : &l->plan->body;
        plan_op *x_op = &b->op[b->n_op - 1];
        x_op->kind = PLAN_CALL;
        x_op->u.call.fn = call.fn;
        x_op->u.call.user = call.user;
        x_op->u.call.order = order;
    }
    lower_tensor_of(&f, &v, shape_of(l->g, r)->rank, out);
    return true;
}

static void note_moving(void *user, dim_sym s)
{
    lower *l = user;
    if (s >= l->n_axis_of || l->axis_of[s] == PLAN_NONE) return;
    plan_fail(l->plan, CR_EUNSUPPORTED, "a plan takes no window whose pads, strides or sizes depend on the index of a "
                                        "sum or a recurrence");
}

static bool stands_still(lower *l, cr_ref r)
{
    graph_node_dims(l->g, r, note_moving, l);
    return l->plan->err.status == CR_OK;
}

/* ---- one node ----------------------------------------------------------------------------------- */

bool lower_node(lower *l, cr_ref r, lower_tensor *out)
{
    const cr_graph *g = l->g;
    cr_op op = op_of(g, r);
    switch (op) {
    case CR_OP_PARAM: return lower_parameter(l, r, out);
    case CR_OP_CONST: *out = (lower_tensor){.source = SOURCE_NUMBER, .number = attr_double(g, r, 0)}; return true;
    case CR_OP_INT: return lower_integer(l, attr_of(g, r, 0), out);
    case CR_OP_ONEHOT: return lower_onehot(l, r, out);
    case CR_OP_IDENTITY: return lower_identity(l, r, out);
    case CR_OP_IOTA: return lower_iota(l, r, out);
    case CR_OP_EINSUM: return lower_einsum(l, r, out);
    case CR_OP_ADD: return lower_add(l, r, out);
    case CR_OP_MAXR: case CR_OP_MINR: case CR_OP_PRODR: case CR_OP_ALLR: case CR_OP_ANYR:
    case CR_OP_NORM1: case CR_OP_NORM2: case CR_OP_NORM_INF:
        return lower_reduction(l, r, out);
    case CR_OP_SOFTMAX: case CR_OP_LOGSOFTMAX: return lower_softmax(l, r, out);
    case CR_OP_RESHAPE: return lower_reshape(l, r, out);
    case CR_OP_STACK: return lower_stack(l, r, out);
    case CR_OP_FENCE: *out = *lower_input(l, in_of(l->g, r, 0)); return true; /* the same numbers */
    case CR_OP_DET: case CR_OP_LOGDET: case CR_OP_INV: case CR_OP_PINV: case CR_OP_ADJ: case CR_OP_MATPOW:
        return lower_linalg(l, r, out);
    case CR_OP_CALL: return lower_call(l, r, out);
    case CR_OP_BIND: return lower_bind(l, r, out);
    case CR_OP_CONV: return stands_still(l, r) && lower_conv(l, r, out);
    case CR_OP_WINDOW: case CR_OP_MAXPOOL: case CR_OP_MAXTIES: case CR_OP_MAXPICK:
        return stands_still(l, r) && lower_window(l, r, out);
    case CR_OP_GATHER: case CR_OP_SCATTER: return lower_rows(l, r, out);
    case CR_OP_MEMBER: case CR_OP_PICK: return lower_member(l, r, out);
    default:
        if (!map_of[op]) { /* 0 is COPY, which no operator is */
            plan_fail(l->plan, CR_EUNSUPPORTED, "a plan takes no `%s`", op_get(op)->spelling);
            return false;
        }
        return lower_elementwise(l, r, out);
    }
}

/* ---- a whole plan ------------------------------------------------------------------------------- */

/* An output is a value of its own: the one that has been computed where it is whole, else a copy. */
static bool lower_output(lower *l, cr_ref r, uint32_t index)
{
    cr_plan *p = l->plan;
    const lower_tensor *t = lower_input(l, r);
    plan_port *port = &p->output[index];
    lower_tensor whole;
    *port = (plan_port){.ref = r, .rank = t->rank, .n = 1};
    memcpy(port->dim, t->dim, sizeof port->dim);
    for (unsigned k = 0; k < t->rank; k++) port->n *= (size_t)t->dim[k];
    if (!lower_contiguous(l, t, &whole)) return false;
    plan_value *v = whole.source == SOURCE_VALUE ? &p->value[whole.value] : NULL;
    if (port->n && (!v || v->place != PLACE_SLAB || v->n != port->n)) {
        lower_frame f;
        lower_view in, out;
        if (!lower_frame_init(l, &f, 0, NULL, t->rank, t->dim)) return false;
        lower_view_of(l, &f, &whole, NULL, &in);
        if (!lower_copy_fresh(l, &f, &in, &out)) return false;
        whole.value = out.value;
    } else if (!port->n) {
        whole.value = plan_value_new(p, 0);
        if (whole.value == PLAN_NONE) return false;
    }
    port->value = whole.value;
    p->value[whole.value].place = PLACE_OUTPUT;
    p->value[whole.value].index = index;
    return true;
}

static void lower_clear(lower *l)
{
    arena_free(&l->mem);
    mem_free(l->memo);
    mem_free(l->axis_of);
    mem_free(l->axis);
    mem_free(l->guarded);
    mem_free(l->mark);
    mem_free(l->known);
    for (size_t i = 0; i < l->n_family; i++) {
        mem_free(l->family[i].lo);
        mem_free(l->family[i].hi);
    }
    mem_free(l->family);
}

bool plan_lower(cr_plan *p, cr_graph *g, exec_env *env, unsigned n, const cr_ref *out)
{
    lower l = {.plan = p, .g = g, .env = env, .loop_axis = PLAN_NONE};
    p->output = mem_zalloc(n + 1, sizeof *p->output);
    p->n_output = p->output ? n : 0;
    bool ok = p->output ? true : plan_no_memory(p);
    l.guarded = ok ? graph_guarded(g, n, out) : NULL;
    for (unsigned i = 0; l.guarded && i < n; i++) l.n_guarded = l.n_guarded > out[i] ? l.n_guarded : out[i] + (size_t)1;
    ok = ok && l.guarded && lower_families(&l, n, out) && lower_expressions(&l, n, out);
    for (unsigned i = 0; ok && i < n; i++) ok = lower_output(&l, out[i], i);
    lower_clear(&l);
    return ok;
}
