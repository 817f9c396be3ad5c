/* Operators with bodies. What decides about the flow has to be known: bodies are written out. */
#include "onnx/importer.h"
#include "onnx/ops.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_STEPS = 100000 };

static const Onnx__GraphProto *body_of(onnx_call *c, const char *name)
{
    const Onnx__AttributeProto *a = onnx_attr(c, name);
    if (a && a->g) return a->g;
    onnx_fail(c, "its %s is missing", name);
    return NULL;
}

/* An output of a body as output i. */
static bool pass_on(onnx_call *c, unsigned i, const onnx_value *from)
{
    if (i >= c->n_out || !c->out[i]) return true;
    const char *name = c->out[i]->name;
    *c->out[i] = *from;
    c->out[i]->name = name;
    return true;
}

static bool build_if(onnx_call *c)
{
    size_t n;
    const double *condition = onnx_reals(c, 0, &n);
    if (!condition) return false;
    if (n != 1) return onnx_fail(c, "its condition is %zu numbers", n);
    const Onnx__GraphProto *body = body_of(c, *condition != 0 ? "then_branch" : "else_branch");
    onnx_value **out = onnx_alloc(c, (c->n_out + 1) * sizeof *out);
    if (!body || !out || !onnx_inline_graph(c, body, 0, NULL, c->n_out, out)) return false;
    for (unsigned i = 0; i < c->n_out; i++) pass_on(c, i, out[i]);
    return true;
}

/* ---- loops --------------------------------------------------------------------------------------- */

/* What a scan puts out: a part for each step, on a new axis. */
static bool stack_up(onnx_call *c, unsigned i, cr_ref *part, size_t n, unsigned axis, bool back, cr_type type,
                     const onnx_value *shape)
{
    cr_graph *g = c->g;
    int64_t dim[CR_MAX_RANK];
    if (i >= c->n_out || !c->out[i]) return true;
    if (n == 0) { /* no step, no part: sizes are the body's, if it says so */
        int64_t none[CR_MAX_RANK] = {0};
        if (shape) memcpy(none + 1, shape->dim, shape->rank * sizeof *none);
        return onnx_out(c, i, onnx_full(g, 0, shape ? shape->rank + 1 : 1, none), type);
    }
    for (size_t k = 0; k < n; k++) {
        unsigned rank = cr_rank(g, part[k]);
        if (!valid(g, part[k]) || rank + 1 > CR_MAX_RANK || axis > rank)
            return onnx_fail(c, "a part that does not stack");
        onnx_shape(g, part[k], dim);
        memmove(dim + axis + 1, dim + axis, (rank - axis) * sizeof *dim);
        dim[axis] = 1;
        part[k] = onnx_reshape(g, onnx_number(g, part[k]), rank + 1, dim);
    }
    for (size_t k = 0; back && k < n / 2; k++) {
        cr_ref t = part[k];
        part[k] = part[n - 1 - k];
        part[n - 1 - k] = t;
    }
    return onnx_out(c, i, n == 1 ? part[0] : cr_concat(g, (unsigned)n, part, axis), type);
}

static bool is_true(onnx_call *c, onnx_value *v, bool *yes)
{
    double x;
    if (!onnx_value_evaluate(c->im, v, true)) {
        return cr_graph_status(c->g) != CR_OK ? false
                                              : onnx_unsupported(c, "its condition `%s` depends on the data", v->name);
    }
    data_to_f64(v->type, v->data, 1, &x);
    *yes = x != 0;
    return true;
}

/* What is carried, step by step, for the network. */
typedef struct states {
    size_t n, steps, cap; /* n: of a step */
    cr_ref *ref;
} states;

/* Known values and booleans have no derivative: CR_NONE. */
static bool keep_states(onnx_call *c, states *s, onnx_value *const *value)
{
    if (!onnx_keeps_states(c) || s->n == 0) return true;
    if (s->steps == s->cap) {
        size_t wider = s->cap ? 2 * s->cap : 16;
        cr_ref *p = onnx_alloc(c, wider * s->n * sizeof *p);
        if (!p) return false;
        if (s->steps) memcpy(p, s->ref, s->steps * s->n * sizeof *p);
        s->ref = p;
        s->cap = wider;
    }
    for (size_t i = 0; i < s->n; i++) {
        const onnx_value *v = value[i];
        bool number = v && !v->known && !v->sequence && onnx_is_float(v->type);
        s->ref[s->steps * s->n + i] = number ? v->ref : CR_NONE;
    }
    s->steps++;
    return true;
}

static bool hand_on(onnx_call *c, const states *s, const char *direction)
{
    net_recurrence r = {.direction = direction, .steps = s->steps, .n_states = s->n, .state = s->ref};
    return s->steps == 0 || onnx_carried(c, &r);
}

/* Inputs: trip count, condition, carried values. Body: number, condition, carried; condition, carried, scanned. */
static bool build_loop(onnx_call *c)
{
    const Onnx__GraphProto *body = body_of(c, "body");
    int64_t trips = MAX_STEPS + 1;
    bool goes_on = true;
    if (!body) return false;
    if (onnx_has(c, 0)) {
        size_t n;
        const int64_t *m = onnx_ints(c, 0, &n);
        if (!m || n != 1) return m ? onnx_fail(c, "its trip count is %zu numbers", n) : false;
        trips = *m;
    }
    if (onnx_has(c, 1) && !is_true(c, c->in[1], &goes_on)) return false;
    unsigned carried = c->n_in > 2 ? c->n_in - 2 : 0;
    size_t n_out = body->n_output;
    if (n_out < 1 + carried || c->n_out > n_out - 1) return onnx_fail(c, "its body has %zu outputs", n_out);
    if (body->n_input != 2 + carried) return onnx_fail(c, "its body has %zu inputs", body->n_input);
    size_t scans = n_out - 1 - carried, cap = 0, steps = 0;
    onnx_value **in = onnx_alloc(c, (2 + carried) * sizeof *in), **out = onnx_alloc(c, n_out * sizeof *out);
    cr_ref **part = onnx_alloc(c, (scans + 1) * sizeof *part);
    cr_type *type = onnx_alloc(c, (scans + 1) * sizeof *type);
    if (!in || !out || !part || !type) return false;
    memset(part, 0, (scans + 1) * sizeof *part);
    for (unsigned i = 0; i < carried; i++) in[2 + i] = c->in[2 + i];
    bool ok = true;
    states kept = {.n = carried};
    for (int64_t t = 0; t < trips && goes_on && ok; t++) {
        if (t == MAX_STEPS) ok = onnx_unsupported(c, "more than %d steps", MAX_STEPS);
        in[0] = ok ? onnx_known_int(c, body->input[0]->name, t) : NULL;
        in[1] = ok ? onnx_known_int(c, body->input[1]->name, 1) : NULL;
        ok = in[0] && in[1] && onnx_inline_graph(c, body, 2 + carried, in, n_out, out) && is_true(c, out[0], &goes_on);
        for (unsigned i = 0; i < carried && ok; i++) in[2 + i] = out[1 + i];
        ok = ok && keep_states(c, &kept, in + 2);
        if (ok && steps == cap) { /* the lists of parts, in step */
            size_t wider = cap ? 2 * cap : 16;
            for (size_t k = 0; k < scans && ok; k++) {
                cr_ref *p = onnx_alloc(c, wider * sizeof *p);
                ok = p != NULL;
                if (ok && steps) memcpy(p, part[k], steps * sizeof *p);
                part[k] = p;
            }
            cap = wider;
        }
        for (size_t k = 0; k < scans && ok; k++) {
            part[k][steps] = onnx_value_ref(c->im, out[1 + carried + k]);
            type[k] = out[1 + carried + k]->type;
            ok = part[k][steps] != CR_NONE;
        }
        steps++;
    }
    for (unsigned i = 0; i < carried && ok; i++) pass_on(c, i, in[2 + i]);
    for (size_t k = 0; k < scans && ok; k++) {
        ok = stack_up(c, carried + (unsigned)k, part[k], steps, 0, false, steps ? type[k] : CR_TYPE_F32, NULL);
    }
    return ok && hand_on(c, &kept, "forward");
}

/* ---- Scan ----------------------------------------------------------------------------------------- */

static int64_t list_at(const int64_t *v, size_t n, size_t i, int64_t missing) { return i < n ? v[i] : missing; }

/* One Scan of states and sequences from version 9 on; before, for each entry of a batch, of the same. */
static bool scan_once(onnx_call *c, const Onnx__GraphProto *body, unsigned n_states, unsigned scans, onnx_value **from,
                      cr_ref *out_ref, cr_type *out_type)
{
    cr_graph *g = c->g;
    size_t n_dir, n_out_dir, n_axes, n_out_axes;
    const int64_t *dir = onnx_attr_ints(c, c->version < 9 ? "directions" : "scan_input_directions", &n_dir);
    const int64_t *out_dir = onnx_attr_ints(c, "scan_output_directions", &n_out_dir);
    const int64_t *axes = onnx_attr_ints(c, "scan_input_axes", &n_axes);
    const int64_t *out_axes = onnx_attr_ints(c, "scan_output_axes", &n_out_axes);
    unsigned n_out = c->n_out;
    onnx_value **in = onnx_alloc(c, (n_states + scans) * sizeof *in), **out = onnx_alloc(c, (n_out + 1) * sizeof *out);
    unsigned *axis = onnx_alloc(c, (scans + 1) * sizeof *axis);
    int64_t steps = 0;
    if (!in || !out || !axis) return false;
    for (unsigned i = 0; i < n_states; i++) in[i] = from[i];
    for (unsigned i = 0; i < scans; i++) {
        const onnx_value *v = from[n_states + i];
        if (!onnx_axis(c, list_at(axes, n_axes, i, 0), v->rank, &axis[i])) return false;
        if (i == 0) steps = v->dim[axis[i]];
        if (v->dim[axis[i]] != steps)
            return onnx_fail(c, "its sequences are %" PRId64 " and %" PRId64 " long", steps, v->dim[axis[i]]);
    }
    if (steps > MAX_STEPS || body->n_output < n_out) return onnx_fail(c, "%" PRId64 " steps", steps);
    unsigned scanned = n_out - n_states;
    cr_ref *part = onnx_alloc(c, (size_t)(steps * scanned + 1) * sizeof *part);
    if (!part) return false;
    states kept = {.n = n_states};
    for (int64_t t = 0; t < steps; t++) {
        for (unsigned i = 0; i < scans; i++) {
            onnx_value *v = from[n_states + i];
            int64_t at = list_at(dir, n_dir, i, 0) ? steps - 1 - t : t, dim[CR_MAX_RANK];
            cr_ref one = onnx_cut(g, onnx_value_ref(c->im, v), axis[i], at, 1, 1);
            memcpy(dim, v->dim, sizeof dim);
            memmove(dim + axis[i], dim + axis[i] + 1, (v->rank - axis[i] - 1) * sizeof *dim);
            in[n_states + i] = onnx_temporary(c, v->name, onnx_reshape(g, one, v->rank - 1, dim), v->type);
            if (!in[n_states + i]) return false;
        }
        if (!onnx_inline_graph(c, body, n_states + scans, in, n_out, out)) return false;
        for (unsigned i = 0; i < n_states; i++) in[i] = out[i];
        if (!keep_states(c, &kept, in)) return false;
        for (unsigned k = 0; k < scanned; k++) {
            part[k * steps + t] = onnx_value_ref(c->im, out[n_states + k]);
            out_type[n_states + k] = out[n_states + k]->type;
            if (part[k * steps + t] == CR_NONE) return false;
        }
    }
    for (unsigned i = 0; i < n_states; i++) {
        out_ref[i] = onnx_value_ref(c->im, in[i]);
        out_type[i] = in[i]->type;
    }
    for (unsigned k = 0; k < scanned; k++) {
        onnx_value *made = onnx_temporary(c, "scan", onnx_full(g, 0, 0, NULL), CR_TYPE_F32);
        unsigned rank = steps ? cr_rank(g, part[k * steps]) + 1 : 1, at;
        if (!made || !onnx_axis(c, list_at(out_axes, n_out_axes, k, 0), rank, &at)) return false;
        onnx_value *was = c->out[n_states + k];
        c->out[n_states + k] = made;
        bool ok = stack_up(c, n_states + k, part + k * steps, (size_t)steps, at, list_at(out_dir, n_out_dir, k, 0) != 0,
                           out_type[n_states + k], NULL);
        c->out[n_states + k] = was;
        if (!ok) return false;
        out_ref[n_states + k] = made->ref;
    }
    return hand_on(c, &kept, list_at(dir, n_dir, 0, 0) ? "reverse" : "forward");
}

static bool build_scan(onnx_call *c)
{
    cr_graph *g = c->g;
    const Onnx__GraphProto *body = body_of(c, "body");
    int64_t scans = onnx_attr_int(c, "num_scan_inputs", 0);
    bool batched = c->version < 9;
    onnx_value **all = c->in + (batched ? 1 : 0);
    unsigned n = c->n_in - (batched ? 1 : 0);
    if (!body) return false;
    if (scans < 1 || scans > (int64_t)n || c->n_out < n - (unsigned)scans)
        return onnx_fail(c, "num_scan_inputs is %" PRId64, scans);
    if (batched && onnx_has(c, 0)) return onnx_unsupported(c, "sequence_lens");
    for (unsigned i = 0; i < n; i++) {
        if (!all[i]) return onnx_fail(c, "input %u is missing", i + 1);
    }
    unsigned n_states = n - (unsigned)scans;
    int64_t batch = batched ? (all[0]->rank ? all[0]->dim[0] : 1) : 1;
    cr_ref *ref = onnx_alloc(c, (size_t)(batch + 1) * c->n_out * sizeof *ref);
    cr_type *type = onnx_alloc(c, c->n_out * sizeof *type);
    onnx_value **from = onnx_alloc(c, n * sizeof *from);
    if (!ref || !type || !from) return false;
    for (int64_t b = 0; b < batch; b++) {
        for (unsigned i = 0; i < n; i++) {
            from[i] = all[i];
            if (!batched) continue;
            cr_ref one = onnx_cut(g, onnx_value_ref(c->im, all[i]), 0, b, 1, 1);
            from[i] =
                onnx_temporary(c, all[i]->name, onnx_reshape(g, one, all[i]->rank - 1, all[i]->dim + 1), all[i]->type);
            if (!from[i]) return false;
        }
        if (!scan_once(c, body, n_states, (unsigned)scans, from, ref + b * c->n_out, type)) return false;
    }
    for (unsigned i = 0; i < c->n_out; i++) {
        if (!batched) {
            if (!onnx_out(c, i, ref[i], type[i])) return false;
            continue;
        }
        cr_ref *part = onnx_alloc(c, (size_t)batch * sizeof *part);
        if (!part) return false;
        for (int64_t b = 0; b < batch; b++) part[b] = ref[b * c->n_out + i];
        if (!stack_up(c, i, part, (size_t)batch, 0, false, type[i], NULL)) return false;
    }
    return true;
}

const onnx_op onnx_ops_control[] = {
    OP("If", build_if),
    OP("Loop", build_loop),
    OP("Scan", build_scan),
    OP(NULL, NULL),
};
