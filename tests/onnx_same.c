/* Computes models twice, as written and with what is recognised in them, for test_onnx_recognise.py:
 *
 *     onnx_same MODEL...      a line for each: the largest difference of outputs and gradients, relative to the largest
 *                             entry; then the operators of its nodes
 *
 * In float64, with inputs and cotangents drawn by their names. What is recognised may have fewer parameters: numbers of
 * functions. A gradient that it has alone, or by a user's name (one without `::`, `_` or `/` in front) no more, is a
 * difference of infinity. */
#include "network/run.h"
#include "onnx/import.h"
#include "onnx/notices.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 64 };

typedef struct side {
    network n;
    net_runner *r;
    cr_ref ref[MOST];
    const char *name[MOST];
    unsigned count, outputs;
} side;

static double drawn(const char *name, size_t i)
{
    uint32_t h = (uint32_t)i * 2654435761u + 1;
    for (; *name; name++) h = hash_word(h, (unsigned char)*name);
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    return (double)h / 2147483648.0 - 1 + 0.01;
}

static cr_status feed(side *s, const net_leaf *l, error *e)
{
    double *x = mem_alloc((l->tensor.count + 1) * sizeof *x);
    if (!x) return CR_ENOMEM;
    for (size_t i = 0; i < l->tensor.count; i++) x[i] = drawn(l->name, i);
    cr_tensor t = l->tensor;
    t.type = CR_TYPE_F64;
    t.data = x;
    cr_status status = net_runner_feed(s->r, l, &t, e);
    mem_free(x);
    return status;
}

/* Outputs, then gradients of their sums with drawn weights (inputs of the graph, "bar:NAME"). */
static cr_status build(onnx_model *m, bool as_written, side *s, error *e)
{
    onnx_import_options o = {.as_written = as_written};
    cr_status status = onnx_import(m, &o, &s->n, e);
    if (status != CR_OK) return status;
    cr_graph *g = s->n.g;
    cr_ref wrt[MOST], part[MOST], total[MOST];
    unsigned n = 0;
    for (size_t i = 0; i < s->n.n_leaves && n < MOST / 2; i++) {
        const net_leaf *l = &s->n.leaf[i];
        if (l->role == NET_CONSTANT || !onnx_is_float(l->tensor.type)) continue;
        wrt[n] = l->ref;
        total[n++] = CR_NONE;
    }
    for (size_t i = 0; i < s->n.n_outputs && i < MOST / 2; i++) {
        const net_output *out = &s->n.output[i];
        s->name[s->outputs] = out->name;
        s->ref[s->outputs++] = cr_dtype_of(g, out->ref) == CR_REAL ? out->ref : onnx_number(g, out->ref);
        if (!onnx_is_float(out->type)) continue;
        static char name[MOST][80];
        cr_tensor t = {.name = name[i], .type = CR_TYPE_F64, .rank = cr_rank(g, out->ref)};
        snprintf(name[i], sizeof name[i], "bar:%s", out->name);
        onnx_shape(g, out->ref, t.dim);
        t.count = onnx_count(g, out->ref);
        cr_ref seed = net_add_leaf(&s->n, NET_INPUT, &t);
        memset(part, 0, sizeof part);
        if (cr_reverse(g, out->ref, seed, n, wrt, part) != CR_OK) break;
        for (unsigned k = 0; k < n; k++) {
            if (part[k] != CR_NONE) total[k] = total[k] == CR_NONE ? part[k] : cr_add(g, total[k], part[k]);
        }
    }
    s->count = s->outputs;
    for (unsigned k = 0; k < n; k++) {
        s->name[s->count] = net_find_leaf(&s->n, wrt[k])->name;
        s->ref[s->count++] = total[k] != CR_NONE ? total[k] : onnx_like(g, 0, wrt[k]);
    }
    if (cr_graph_status(g) != CR_OK) {
        err_set(e, cr_graph_status(g), "%s", cr_graph_message(g));
        return e->status;
    }
    cr_plan_options po = {.precision = CR_F64};
    status = net_runner_new(&s->n, s->count, s->ref, &po, &s->r, e);
    for (size_t i = 0; i < s->n.n_leaves && status == CR_OK; i++) {
        if (s->n.leaf[i].role == NET_INPUT) status = feed(s, &s->n.leaf[i], e);
    }
    return status == CR_OK ? net_runner_run(s->r, e) : status;
}

static double apart(const side *a, unsigned i, const side *b, unsigned k)
{
    const double *x = net_runner_result(a->r, i), *y = net_runner_result(b->r, k);
    size_t n = net_runner_count(a->r, i);
    double worst = 0, largest = 1e-3;
    if (n != net_runner_count(b->r, k)) return INFINITY;
    for (size_t t = 0; t < n; t++) {
        if (isfinite(x[t]) && fabs(x[t]) > largest) largest = fabs(x[t]);
        if (x[t] == y[t] || (isnan(x[t]) && isnan(y[t]))) continue;
        double d = fabs(x[t] - y[t]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    return worst / largest;
}

static double difference(const side *a, const side *b)
{
    double worst = 0;
    for (unsigned i = 0; i < a->count; i++) {
        unsigned k = i < a->outputs ? 0 : b->outputs, end = i < a->outputs ? b->outputs : b->count;
        while (k < end && strcmp(a->name[i], b->name[k]) != 0) k++;
        double d = k < end ? apart(a, i, b, k) : onnx_made_up(a->name[i]) ? 0 : INFINITY;
        if (d > worst) worst = d;
    }
    return a->outputs == b->outputs && b->count <= a->count ? worst : INFINITY;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        error e = {CR_OK, NULL};
        onnx_model *m;
        side a = {0}, b = {0};
        cr_status status = onnx_model_open(argv[i], NULL, &m, &e);
        if (status == CR_OK) status = build(m, true, &a, &e);
        if (status == CR_OK) status = build(m, false, &b, &e);
        if (status != CR_OK) {
            printf("failed %s\n", err_message(&e));
        } else {
            printf("%.3g", difference(&a, &b));
            for (size_t k = 0; k < b.n.n_nodes; k++) {
                if (!b.n.node[k].absorbed) printf(" %s", b.n.node[k].op);
            }
            printf("\n");
        }
        net_runner_free(a.r);
        net_runner_free(b.r);
        net_free(&a.n);
        net_free(&b.n);
        onnx_model_free(m);
        err_clear(&e);
    }
    return 0;
}
