/* Reductions over trailing axes, softmax, and linear algebra. */
#include "plan/lower.h"

#include <math.h>
#include <string.h>

/* |in| element by element. */
static bool absolute(lower *l, const lower_frame *f, const lower_view *in, lower_view *out)
{
    return lower_map(l, f, KERN_ABS, 0, 1, in, out);
}

/* sqrt(sum x^2), of x over the greatest |x|, so that squares neither overflow nor vanish. */
static bool norm2(lower *l, const lower_frame *f, const bool *folded, const lower_view *x, lower_view *out)
{
    lower_view size, top, finite, positive, ok, scale, y, square, sum, root;
    lower_view in[3];
    if (!absolute(l, f, x, &size) || !lower_fold(l, f, KERN_FOLD_MAX, folded, &size, &top)) return false;
    /* scale = 0 < top < infinity ? top : 1 */
    in[0] = lower_number(0), in[1] = top;
    if (!lower_map(l, f, KERN_LT, 0, 2, in, &positive)) return false;
    in[0] = top, in[1] = lower_number(INFINITY);
    if (!lower_map(l, f, KERN_LT, 0, 2, in, &finite)) return false;
    in[0] = positive, in[1] = finite;
    if (!lower_map(l, f, KERN_AND, 0, 2, in, &ok)) return false;
    in[0] = ok, in[1] = top, in[2] = lower_number(1);
    if (!lower_map(l, f, KERN_SELECT, 0, 3, in, &scale)) return false;
    in[0] = *x, in[1] = scale;
    if (!lower_map(l, f, KERN_DIV, 0, 2, in, &y)) return false;
    in[0] = y, in[1] = y;
    if (!lower_map(l, f, KERN_MUL, 0, 2, in, &square) || !lower_fold(l, f, KERN_FOLD_SUM, folded, &square, &sum) ||
        !lower_map(l, f, KERN_SQRT, 0, 1, &sum, &root)) {
        return false;
    }
    in[0] = root, in[1] = scale;
    return lower_map(l, f, KERN_MUL, 0, 2, in, out);
}

bool lower_reduction(lower *l, cr_ref r, lower_tensor *out)
{
    const lower_tensor *t = lower_input(l, in_of(l->g, r, 0));
    unsigned keep = attr_of(l->g, r, 0);
    lower_frame f;
    lower_view in, x, v;
    bool folded[LOWER_AXES] = {false}, ok;
    cr_op op = op_of(l->g, r);
    if (!lower_frame_init(l, &f, 1, &t, t->rank, t->dim)) return false;
    lower_view_of(l, &f, t, NULL, &in);
    bool empty = false;
    for (unsigned k = f.n_context + keep; k < f.n; k++) {
        folded[k] = true;
        empty |= f.size[k] == 0;
    }
    switch (op) {
    case CR_OP_MAXR: ok = lower_fold(l, &f, KERN_FOLD_MAX, folded, &in, &v); break;
    case CR_OP_MINR: ok = lower_fold(l, &f, KERN_FOLD_MIN, folded, &in, &v); break;
    case CR_OP_PRODR: ok = lower_fold(l, &f, KERN_FOLD_PROD, folded, &in, &v); break;
    case CR_OP_ALLR: ok = lower_fold(l, &f, KERN_FOLD_ALL, folded, &in, &v); break;
    case CR_OP_ANYR: ok = lower_fold(l, &f, KERN_FOLD_ANY, folded, &in, &v); break;
    case CR_OP_NORM1: ok = absolute(l, &f, &in, &x) && lower_fold(l, &f, KERN_FOLD_SUM, folded, &x, &v); break;
    case CR_OP_NORM_INF: ok = absolute(l, &f, &in, &x) && lower_fold(l, &f, KERN_FOLD_MAX, folded, &x, &v); break;
    default: ok = norm2(l, &f, folded, &in, &v); break;
    }
    if (empty && (op == CR_OP_NORM_INF || op == CR_OP_NORM2)) v = lower_number(0);
    if (ok) lower_tensor_of(&f, &v, keep, out);
    return ok;
}

/* Shifted by the greatest, which has no part in the value. */
bool lower_softmax(lower *l, cr_ref r, lower_tensor *out)
{
    const lower_tensor *t = lower_input(l, in_of(l->g, r, 0));
    bool logarithm = op_of(l->g, r) == CR_OP_LOGSOFTMAX, folded[LOWER_AXES] = {false};
    lower_frame f;
    lower_view in[2], top, z, e, sum, v;
    if (!lower_frame_init(l, &f, 1, &t, t->rank, t->dim)) return false;
    lower_view_of(l, &f, t, NULL, &in[0]);
    folded[f.n_context + attr_of(l->g, r, 0)] = true;
    /* where the input is the same all along the axis, the sum still has all of its terms */
    if (!lower_fold(l, &f, KERN_FOLD_MAX, folded, &in[0], &top)) return false;
    in[1] = top;
    if (!lower_map(l, &f, KERN_SUB, 0, 2, in, &z) || !lower_map(l, &f, KERN_EXP, 0, 1, &z, &e) ||
        !lower_fold(l, &f, KERN_FOLD_SUM, folded, &e, &sum)) {
        return false;
    }
    if (logarithm) {
        lower_view log_sum;
        if (!lower_map(l, &f, KERN_LOG, 0, 1, &sum, &log_sum)) return false;
        in[0] = z, in[1] = log_sum;
    } else {
        in[0] = e, in[1] = sum;
    }
    if (!lower_map(l, &f, logarithm ? KERN_SUB : KERN_DIV, 0, 2, in, &v)) return false;
    lower_tensor_of(&f, &v, t->rank, out);
    return true;
}

/* One matrix for each place of the bound indices. */
bool lower_linalg(lower *l, cr_ref r, lower_tensor *out)
{
    const lower_tensor *t = lower_input(l, in_of(l->g, r, 0));
    cr_op op = op_of(l->g, r);
    int64_t dim[CR_MAX_RANK];
    size_t n, batch = 1;
    lower_tensor whole = *t, exponent;
    if (!exec_shape(l->env, r, dim, &n)) return false;
    if (op == CR_OP_MATPOW) { /* a matrix for each exponent, too */
        if (!lower_integer(l, attr_of(l->g, r, 0), &exponent)) return false;
        for (unsigned k = 0; k < exponent.n_context; k++) {
            if (!lower_depend(l, &whole, exponent.context[k].axis)) return false;
        }
    }
    lower_tensor copy = whole;
    if (!lower_contiguous(l, &copy, &whole)) return false;
    lower_frame f;
    const lower_tensor *in = &whole;
    unsigned rank = shape_of(l->g, r)->rank;
    if (!lower_frame_init(l, &f, 1, &in, rank, dim)) return false;
    for (unsigned k = 0; k < f.n_context; k++) batch *= (size_t)f.size[k];
    const int64_t *powers = NULL;
    if (op == CR_OP_MATPOW && !(powers = lower_table(l, &f, attr_of(l->g, r, 0), &n))) return false;
    lower_view v;
    plan_op *x = lower_new_whole(l, &f, &v) ? lower_op(l, &f) : NULL;
    if (!x) return false;
    *x = (plan_op){.kind = PLAN_LINALG, .n_in = 1, .out = v.value};
    x->u.linalg = (plan_linalg){op, (size_t)copy.dim[0], (size_t)copy.dim[1], batch, powers};
    x->in[0] = (plan_operand){.source = SOURCE_VALUE, .value = whole.value, .offset = whole.offset};
    for (unsigned k = 0; k < whole.n_context; k++) {
        if (l->axis[whole.context[k].axis].loop) x->in[0].loop += whole.context[k].stride;
    }
    lower_tensor_of(&f, &v, rank, out);
    return true;
}
