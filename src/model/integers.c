/* Outputs of integers: a run calculates in floats, which are not all of them. */
#include "model/model.h"

#include <math.h>
#include <string.h>

/* The largest number of those up to which every integer is a float. */
static const double f32_whole = 0x1p24, f64_whole = 0x1p53;

static bool any_beyond(const cr_tensor *t, double limit)
{
    for (size_t i = 0; t->data && i < t->count; i++) {
        double v;
        data_to_f64(t->type, (const char *)t->data + i * cr_type_size(t->type), 1, &v);
        if (fabs(v) > limit) return true;
    }
    return false;
}

/* What a leaf holds: of an input, all of the data. */
static const cr_tensor *numbers_of(const model_feed *f, const net_leaf *l)
{
    for (size_t i = 0; i < f->n_inputs && l->role == NET_INPUT; i++) {
        if (strcmp(f->input[i].name, l->name) == 0) return &f->input[i];
    }
    return &l->tensor;
}

bool model_wants_f64(const network *n, const model_feed *f, const net_output *out, bool *yes)
{
    size_t count;
    *yes = false;
    if (!onnx_is_int(out->type)) return true;
    cr_ref *cone = graph_cone(n->g, 1, &out->ref, &count);
    if (!cone) return false;
    bool floats = false, large = false;
    for (size_t i = 0; i < count && !large; i++) {
        double v = 0;
        if (is_const(n->g, cone[i], &v)) large = fabs(v) > f32_whole;
        const net_leaf *l = op_of(n->g, cone[i]) == CR_OP_PARAM ? net_find_leaf(n, cone[i]) : NULL;
        if (!l) continue;
        if (onnx_is_float(l->tensor.type)) {
            floats = true;
        } else {
            large = any_beyond(numbers_of(f, l), f32_whole);
        }
    }
    *yes = large || !floats;
    mem_free(cone);
    return true;
}

void model_whole(const char *name, bool f64, size_t n, double *value, strbuf *said)
{
    bool beyond = false;
    for (size_t i = 0; i < n; i++) {
        double v = value[i];
        beyond |= fabs(v) > (f64 ? f64_whole : f32_whole);
        int64_t whole = isnan(v) ? 0 : v >= 0x1p63 ? INT64_MAX : v < -0x1p63 ? INT64_MIN : (int64_t)v;
        memcpy(&value[i], &whole, sizeof whole);
    }
    if (!beyond) return;
    sb_printf(said, "%soutput `%s` has integers beyond 2^%d, which were rounded on the way%s", said->n ? "\n" : "",
              name, f64 ? 53 : 24, f64 ? "" : ": --precision f64 has more");
}
