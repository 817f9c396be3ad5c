/* A region x + F(x) lets a cotangent pass by its skip, or through its branch. Write z for the branch: going back, the
 * cotangent is a polynomial in z, whose coefficient k is what came through exactly k branches. The polynomial is an
 * axis in front of the cotangent, one longer with every region, and all coefficients go through the network together.
 * At z = 1 it is the gradient g, so the shares <v_k, g>/|g|^2 add up to 1.
 *
 * The mean number of branches is the derivative of <v(z), g>/|g|^2 at z = 1: of the pair (v, v') only, whatever the
 * number of regions. */
#include "flow/paths.h"

#include <math.h>
#include <string.h>

void flow_paths_free(flow_paths *p)
{
    mem_free(p->share);
    mem_free(p->energy);
    *p = (flow_paths){0};
}

static double entries(cr_graph *g, cr_ref a)
{
    double n = 1;
    for (unsigned i = 0; i < cr_rank(g, a); i++) {
        int64_t d = 0;
        cr_dim_value(g, cr_size(g, a, i), &d);
        n *= (double)d;
    }
    return n;
}

double flow_step_work(const flow *f, size_t step)
{
    const flow_step *st = &f->step[step];
    const net_node *node = &f->n->node[st->node];
    cr_graph *g = f->n->g;
    cr_ref out = f->tensor[f->out[st->first_out]].ref;
    double by = 20; /* whatever is done entry by entry */
    unsigned rank = cr_rank(g, out);
    int64_t units = 1;
    if (rank > 0) cr_dim_value(g, cr_size(g, out, rank > 3 ? 1 : rank - 1), &units);
    for (size_t k = 0; k < node->n_operands && st->affine; k++) {
        cr_ref w = f->n->operand[node->first_operand + k].ref;
        if (flow_tensor_of(f, w) == FLOW_NONE && cr_rank(g, w) >= 2) by += entries(g, w) / (double)units;
    }
    return entries(g, out) * by;
}

double flow_work(const flow *f)
{
    double work = 0;
    for (size_t i = 0; i < f->n_steps; i++) work += flow_step_work(f, i);
    return work;
}

/* ---- skips --------------------------------------------------------------------------------------- */

/* Operators that a skip may go through: linear ones, which bring x into the shape of F(x). */
static bool bends(const flow *f, const flow_step *st)
{
    static const char *const straight[] = {"Identity", "Cast", "Dropout", "Pad", "AveragePool", "Slice", "Transpose",
                                           "Reshape", "BatchNormalization", "Concat"};
    const char *op = f->n->node[st->node].op;
    for (size_t i = 0; i < sizeof straight / sizeof *straight; i++) {
        if (strcmp(op, straight[i]) == 0) return false;
    }
    return !st->affine;
}

/* Steps on a straight way from the boundary `in` to a tensor; FLOW_NONE: there is none. */
static size_t straight_way(const flow *f, size_t in, size_t tensor)
{
    size_t n = 0;
    while (tensor != in) {
        size_t maker = f->tensor[tensor].maker;
        if (maker == FLOW_NONE || f->step[maker].n_edges != 1 || f->tensor[tensor].readers != 1) return FLOW_NONE;
        if (bends(f, &f->step[maker])) return FLOW_NONE;
        tensor = f->edge[f->step[maker].first_edge].tensor;
        n++;
    }
    return n;
}

/* The join of a region, whose edges but the straightest lead into branches. */
static bool mark(const flow *f, size_t in, size_t step, bool *branch)
{
    const flow_step *st = &f->step[step];
    const char *op = f->n->node[st->node].op;
    size_t skip = FLOW_NONE, shortest = FLOW_NONE;
    if (st->n_edges < 2 || (strcmp(op, "Add") != 0 && strcmp(op, "Sum") != 0)) return false;
    for (size_t e = st->first_edge; e < st->first_edge + st->n_edges; e++) {
        size_t n = straight_way(f, in, f->edge[e].tensor);
        if (n >= shortest) continue;
        shortest = n;
        skip = e;
    }
    if (skip == FLOW_NONE) return false;
    for (size_t e = st->first_edge; e < st->first_edge + st->n_edges; e++) branch[e] = e != skip;
    return true;
}

bool *flow_branches(const flow *f, size_t *blocks)
{
    bool *branch = mem_zalloc(f->n_edges + 1, sizeof *branch);
    size_t in = f->block[0].in;
    *blocks = 0;
    for (size_t i = 0; i < f->n_steps && branch; i++) {
        const flow_step *st = &f->step[i];
        for (size_t k = 0; k < st->n_out; k++) {
            size_t out = f->out[st->first_out + k];
            if (!f->tensor[out].boundary) continue;
            if (in != FLOW_NONE && mark(f, in, i, branch)) ++*blocks;
            in = out;
        }
    }
    return branch;
}

/* ---- the polynomial ------------------------------------------------------------------------------ */

typedef struct marker {
    const bool *branch;
    int64_t most; /* coefficients; 0: the pair (v, v') */
} marker;

/* Times z: one further along the axis. (z v)' = v + v' at z = 1. */
static cr_ref shifted(void *user, cr_graph *g, size_t edge, cr_ref part)
{
    const marker *m = user;
    if (!m->branch[edge]) return part;
    if (m->most == 0) return cr_add(g, part, flow_many_part(g, part, -1, 2));
    int64_t n = flow_many_length(g, part) + 1;
    return flow_many_part(g, part, -1, n < m->most ? n : m->most);
}

/* What a leading axis has with itself or a tensor without it: sums over all other axes. */
static cr_ref along(cr_graph *g, cr_ref a, cr_ref b)
{
    uint8_t label[2 * CR_MAX_RANK];
    cr_ref in[2] = {a, b};
    unsigned rank = cr_rank(g, a), n = 0;
    cr_dim size = cr_size(g, a, 0);
    for (unsigned i = 0; i < rank; i++) label[n++] = (uint8_t)(i == 0 ? 0 : CR_MAX_RANK + i);
    for (unsigned i = rank - cr_rank(g, b); i < rank; i++) label[n++] = (uint8_t)(i == 0 ? 0 : CR_MAX_RANK + i);
    return cr_einsum(g, 2, in, label, 1, &size);
}

static cr_ref polynomial(const flow_backward *b, marker *m, size_t in, cr_ref *at)
{
    const flow *f = b->f;
    cr_graph *g = f->n->g;
    memset(at, 0, (f->n_tensors + 1) * sizeof *at);
    cr_ref seed = flow_many_from(g, b->tensor[f->y].ref);
    if (m->most == 0 && seed != CR_NONE) seed = flow_many_part(g, seed, 0, 2);
    at[f->y] = seed;
    flow_many many = {f, b, 0, f->n_steps, shifted, m};
    return seed != CR_NONE && flow_many_back(&many, at) ? at[in] : CR_NONE;
}

/* The boundary that is nearest to the data. */
static size_t front(const flow *f) { return f->block[0].in != FLOW_NONE ? f->block[0].in : f->block[0].out; }

static bool take(flow_paths *p, size_t n)
{
    p->share = mem_zalloc(n + 1, sizeof *p->share);
    p->energy = mem_zalloc(n + 1, sizeof *p->energy);
    p->n = n;
    return p->share && p->energy;
}

static void read(const net_runner *r, unsigned i, size_t n, double *x)
{
    data_to_f64(net_runner_type(r), net_runner_result(r, i), n, x);
}

static cr_status read_all(const net_runner *r, size_t first_scale, size_t level, flow_paths *p, error *e)
{
    double norm, at_y, scale, pair[2], ln = 0;
    if (!take(p, net_runner_count(r, 0))) {
        err_set(e, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    read(r, 0, p->n, p->share);
    read(r, 1, p->n, p->energy);
    read(r, 2, 2, pair);
    read(r, 3, 1, &norm);
    read(r, 4, 1, &at_y);
    if (!(norm > 0) || !isfinite(norm)) { /* nothing gets there */
        p->n = 0;
        return CR_OK;
    }
    for (size_t i = 0; i < level; i++) {
        read(r, (unsigned)(first_scale + i), 1, &scale);
        ln += log(scale);
    }
    p->effective_depth = pair[1] / norm;
    p->remainder = 1;
    for (size_t k = 0; k < p->n; k++) {
        p->share[k] /= norm;
        p->energy[k] = exp(log(p->energy[k]) - 2 * ln - log(at_y));
        p->remainder -= p->share[k];
    }
    return CR_OK;
}

cr_status flow_paths_find(const flow_backward *b, const bool *branch, size_t blocks, size_t most,
                          const cr_plan_options *o, flow_feeder *feed, void *user, flow_paths *p, error *e)
{
    const flow *f = b->f;
    cr_graph *g = f->n->g;
    size_t in = front(f);
    *p = (flow_paths){.blocks = blocks, .effective_depth = NAN, .remainder = NAN};
    cr_ref own = b->tensor[in].ref;
    if (own == CR_NONE) return CR_OK;
    size_t level = b->tensor[in].level, n = 5;
    cr_ref *at = mem_alloc((f->n_tensors + 1) * sizeof *at), *want = mem_alloc((n + level) * sizeof *want);
    cr_status status = at && want ? CR_OK : CR_ENOMEM;
    net_runner *r = NULL;
    if (status == CR_OK) {
        marker list = {branch, (int64_t)(most < blocks + 1 ? most : blocks + 1)}, mean = {branch, 0};
        cr_ref v = polynomial(b, &list, in, at), pair = v == CR_NONE ? CR_NONE : polynomial(b, &mean, in, at);
        if (pair != CR_NONE) {
            want[0] = along(g, v, own);
            want[1] = along(g, v, v);
            want[2] = along(g, pair, own);
            want[3] = cr_sum(g, cr_mul(g, own, own));
            want[4] = cr_sum(g, cr_mul(g, b->tensor[f->y].ref, b->tensor[f->y].ref));
            memcpy(want + n, b->scale, level * sizeof *want);
        }
        status = cr_graph_status(g);
        if (status == CR_OK && pair == CR_NONE) status = CR_ENOMEM;
        if (status != CR_OK) err_set(e, status, "%s", cr_graph_message(g));
    } else {
        err_set(e, status, "out of memory");
    }
    if (status == CR_OK) status = net_runner_new(f->n, (unsigned)(n + level), want, o, &r, e);
    if (status == CR_OK) status = feed(user, r, e);
    if (status == CR_OK) status = net_runner_run(r, e);
    if (status == CR_OK) status = read_all(r, n, level, p, e);
    net_runner_free(r);
    mem_free(at);
    mem_free(want);
    return status;
}
