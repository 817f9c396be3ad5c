#include "flow/probe.h"

#include <math.h>

void flow_probe_free(flow_probe *p)
{
    net_runner_free(p->runner);
    mem_free(p->hg);
    *p = (flow_probe){0};
}

size_t flow_probe_entries(const flow_probe *p, size_t tensor)
{
    const cr_graph *g = p->f->n->g;
    const cr_shape *s = shape_of(g, p->f->tensor[tensor].ref);
    size_t n = 1;
    for (unsigned i = 0; i < s->rank; i++) {
        int64_t d = 1;
        cr_dim_value(g, s->dim[i], &d);
        n *= (size_t)d;
    }
    return n;
}

static size_t find_source(const flow *f, const flow_backward *b)
{
    size_t found = FLOW_NONE;
    for (size_t i = 0; i < f->n->n_leaves; i++) {
        const net_leaf *l = &f->n->leaf[i];
        size_t t = l->role == NET_INPUT ? flow_tensor_of(f, l->ref) : FLOW_NONE;
        if (t == FLOW_NONE || b->tensor[t].ref == CR_NONE || l->tensor.rank < 2) continue;
        if (found != FLOW_NONE) return FLOW_NONE;
        found = t;
    }
    return found;
}

cr_status flow_probe_init(const flow *f, const flow_backward *b, const cr_plan_options *o, flow_probe *p, error *e)
{
    cr_graph *g = f->n->g;
    size_t n = 0;
    *p = (flow_probe){.f = f, .b = b, .input = FLOW_NONE, .seed = FLOW_NONE, .source = find_source(f, b)};
    cr_ref *want = mem_alloc((f->n_blocks + b->n_scales + 3) * sizeof *want);
    p->hg = mem_alloc((f->n_blocks + 1) * sizeof *p->hg);
    if (!want || !p->hg) {
        mem_free(want);
        err_set(e, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    for (size_t i = 0; i < f->n_blocks; i++) {
        size_t t = f->block[i].out;
        cr_ref hg = b->tensor[t].ref == CR_NONE ? CR_NONE : cr_mul(g, f->tensor[t].ref, b->tensor[t].ref);
        p->hg[i] = hg == CR_NONE ? FLOW_NONE : n;
        if (hg != CR_NONE) want[n++] = cr_sum(g, cr_mul(g, hg, hg));
    }
    p->scale = n;
    for (size_t i = 0; i < b->n_scales; i++) want[n++] = b->scale[i];
    cr_ref y = b->tensor[f->y].ref;
    p->norm = n;
    want[n++] = cr_sum(g, cr_mul(g, y, y));
    if (p->source != FLOW_NONE) {
        p->input = n;
        want[n++] = b->tensor[p->source].ref;
        p->seed = n;
        want[n++] = y;
    }
    cr_status status = cr_graph_status(g);
    if (status != CR_OK) err_set(e, status, "%s", cr_graph_message(g));
    if (status == CR_OK) status = net_runner_new(f->n, (unsigned)n, want, o, &p->runner, e);
    mem_free(want);
    return status;
}

static double value(const flow_probe *p, size_t i)
{
    double x;
    data_to_f64(net_runner_type(p->runner), net_runner_result(p->runner, (unsigned)i), 1, &x);
    return x;
}

cr_status flow_probe_run(flow_probe *p, double s_y, double *lambda, error *e)
{
    const flow_backward *b = p->b;
    cr_status status = net_runner_run(p->runner, e);
    if (status != CR_OK) return status;
    double *ln_scale = mem_zalloc(b->n_scales + 1, sizeof *ln_scale);
    if (!ln_scale) {
        err_set(e, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    for (size_t i = 0; i < b->n_scales; i++) ln_scale[i + 1] = ln_scale[i] + log(value(p, p->scale + i));
    double of_y = 0.5 * log(value(p, p->norm)) - ln_scale[b->tensor[p->f->y].level];
    for (size_t i = 0; i < p->f->n_blocks; i++) {
        double level = ln_scale[b->tensor[p->f->block[i].out].level];
        lambda[i] = p->hg[i] == FLOW_NONE ? NAN : 0.5 * log(value(p, p->hg[i])) - level - of_y - log(s_y);
    }
    mem_free(ln_scale);
    return CR_OK;
}

void flow_probe_gradients(const flow_probe *p, double *input, double *seed)
{
    cr_type type = net_runner_type(p->runner);
    data_to_f64(type, net_runner_result(p->runner, (unsigned)p->input), net_runner_count(p->runner, (unsigned)p->input),
                input);
    data_to_f64(type, net_runner_result(p->runner, (unsigned)p->seed), net_runner_count(p->runner, (unsigned)p->seed),
                seed);
}
