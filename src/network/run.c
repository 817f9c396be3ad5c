#include "network/run.h"

#include <stdlib.h>
#include <string.h>

typedef struct plan_name {
    const char *name;
    int input;
} plan_name;

struct net_runner {
    network *net;
    cr_plan_options options;
    cr_plan *plan;
    cr_slab *slab;
    cr_type type;
    plan_name *named; /* the plan's inputs, in the order of their names */
    const void **in; /* of the plan's inputs; NULL: not fed yet */
    void **own;      /* what of it is ours */
    void **out;
};

static cr_status no_memory(error *e)
{
    err_set(e, CR_ENOMEM, "out of memory");
    return CR_ENOMEM;
}

/* Entries in the precision of the plan. */
static void *converted(const net_runner *r, const cr_tensor *t)
{
    void *p = mem_alloc(t->count * cr_type_size(r->type));
    if (!p) return NULL;
    if (r->type == CR_TYPE_F32) {
        data_to_f32(t->type, t->data, t->count, p);
    } else {
        data_to_f64(t->type, t->data, t->count, p);
    }
    return p;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const plan_name *)a)->name, ((const plan_name *)b)->name);
}

static bool sort_names(net_runner *r)
{
    unsigned n = cr_plan_inputs(r->plan);
    r->named = mem_alloc((n + 1) * sizeof *r->named);
    for (unsigned i = 0; i < n && r->named; i++) r->named[i] = (plan_name){cr_plan_input_name(r->plan, i), (int)i};
    if (r->named) qsort(r->named, n, sizeof *r->named, by_name);
    return r->named != NULL;
}

/* Networks may have tens of thousands of leaves: they are not looked for one by one. */
static int input_of(const net_runner *r, const char *key)
{
    plan_name want = {key, 0};
    const plan_name *at = bsearch(&want, r->named, cr_plan_inputs(r->plan), sizeof *r->named, by_name);
    return at ? at->input : -1;
}

static cr_status bind(net_runner *r, const net_leaf *leaf, const cr_tensor *t, bool copy, error *e)
{
    int i = input_of(r, net_key(r->net, leaf->ref));
    if (i < 0) return CR_OK;
    if (t->type == r->type && !copy) {
        r->in[i] = t->data;
        return CR_OK;
    }
    void *p = converted(r, t);
    if (!p) return no_memory(e);
    mem_free(r->own[i]);
    r->in[i] = r->own[i] = p;
    return CR_OK;
}

static cr_status make(net_runner *r, network *net, unsigned n, const cr_ref *expression, const cr_plan_options *o,
                      error *e)
{
    cr_status status = cr_plan_new(net->g, n, expression, 0, NULL, o, &r->plan);
    if (status != CR_OK) {
        err_set(e, status, "%s", cr_graph_message(net->g));
        return status;
    }
    unsigned inputs = cr_plan_inputs(r->plan);
    r->slab = cr_slab_new(r->plan);
    r->in = mem_zalloc(inputs + 1, sizeof *r->in);
    r->own = mem_zalloc(inputs + 1, sizeof *r->own);
    r->out = mem_zalloc(n + 1, sizeof *r->out);
    if (!r->slab || !r->in || !r->own || !r->out || !sort_names(r)) return no_memory(e);
    for (unsigned i = 0; i < n; i++) {
        r->out[i] = mem_alloc(cr_plan_output_count(r->plan, i) * cr_type_size(r->type));
        if (!r->out[i]) return no_memory(e);
    }
    for (size_t i = 0; i < net->n_leaves && status == CR_OK; i++) {
        const net_leaf *l = &net->leaf[i];
        if (l->role == NET_PARAMETER || l->role == NET_CONSTANT) status = bind(r, l, &l->tensor, false, e);
    }
    return status;
}

cr_status net_runner_new(network *net, unsigned n, const cr_ref *expression, const cr_plan_options *options,
                         net_runner **out, error *e)
{
    *out = NULL;
    net_runner *r = mem_zalloc(1, sizeof *r);
    if (!r) return no_memory(e);
    r->net = net;
    if (options) r->options = *options;
    r->type = options && options->precision == CR_F64 ? CR_TYPE_F64 : CR_TYPE_F32;
    cr_status status = make(r, net, n, expression, options, e);
    if (status == CR_OK) {
        *out = r;
    } else {
        net_runner_free(r);
    }
    return status;
}

void net_runner_free(net_runner *r)
{
    if (!r) return;
    for (unsigned i = 0; r->plan && r->own && i < cr_plan_inputs(r->plan); i++) mem_free(r->own[i]);
    for (unsigned i = 0; r->plan && r->out && i < cr_plan_outputs(r->plan); i++) mem_free(r->out[i]);
    mem_free(r->in);
    mem_free(r->own);
    mem_free(r->out);
    mem_free(r->named);
    cr_slab_free(r->slab);
    cr_plan_free(r->plan);
    mem_free(r);
}

cr_status net_runner_feed(net_runner *r, const net_leaf *input, const cr_tensor *t, error *e)
{
    const cr_tensor *want = &input->tensor;
    if (t->rank != want->rank || (t->rank && memcmp(t->dim, want->dim, t->rank * sizeof *t->dim) != 0)) {
        strbuf b;
        sb_init(&b);
        sb_printf(&b, "input `%s` is ", input->name);
        data_shape(&b, want->rank, want->dim);
        sb_puts(&b, " in the network, and ");
        data_shape(&b, t->rank, t->dim);
        sb_puts(&b, " in the data");
        err_set(e, CR_ESHAPE, "%s", sb_str(&b));
        sb_free(&b);
        return CR_ESHAPE;
    }
    return bind(r, input, t, true, e);
}

/* ---- an index that is none ----------------------------------------------------------------------- */

/* The first of n indices that is out of range, in a sentence. */
static bool out_of_range(const net_index *x, size_t n, cr_type type, const void *value, error *e)
{
    for (size_t i = 0; i < n; i++) {
        double v, size = (double)x->size[i % x->depth];
        data_to_f64(type, (const char *)value + i * cr_type_size(type), 1, &v);
        if (v >= -size && v < size) continue;
        strbuf b;
        sb_init(&b);
        net_put_node(&b, x->op, x->node, x->within);
        sb_printf(&b, ": index ");
        sb_number(&b, v);
        sb_printf(&b, " out of range 0..%.0f, or -%.0f..-1 from behind: entry %zu", size - 1, size, i + 1);
        if (x->name) sb_printf(&b, " of `%s`", x->name);
        err_set(e, CR_EVALUE, "%s", sb_str(&b));
        sb_free(&b);
        return true;
    }
    return false;
}

/* Computes the indices that are data, one tensor after the other: those of the first node that fails can be. */
static void find_index(net_runner *r, error *e)
{
    for (size_t i = 0; i < r->net->n_indices && e->status == CR_OK; i++) {
        const net_index *x = &r->net->index[i];
        error own = {CR_OK, NULL};
        net_runner *one = NULL;
        bool ran = net_runner_new(r->net, 1, &x->ref, &r->options, &one, &own) == CR_OK;
        for (unsigned k = 0; ran && k < cr_plan_inputs(one->plan); k++) {
            int from = cr_plan_input(r->plan, cr_plan_input_name(one->plan, k));
            if (!one->in[k] && from >= 0) one->in[k] = r->in[from];
            ran = one->in[k] != NULL;
        }
        ran = ran && cr_run(one->plan, one->slab, one->in, one->out) == CR_OK;
        if (ran) out_of_range(x, net_runner_count(one, 0), one->type, one->out[0], e);
        net_runner_free(one);
        err_clear(&own);
    }
    if (e->status == CR_OK) err_set(e, CR_EVALUE, "an index is out of range: it picks none of the entries of its axis");
}

cr_status net_runner_run(net_runner *r, error *e)
{
    for (unsigned i = 0; i < cr_plan_inputs(r->plan); i++) {
        if (r->in[i]) continue;
        err_set(e, CR_EVALUE, "no data for input `%s`", cr_plan_input_name(r->plan, i));
        return CR_EVALUE;
    }
    cr_status status = cr_run(r->plan, r->slab, r->in, r->out);
    if (status == CR_EVALUE) {
        find_index(r, e);
    } else if (status != CR_OK) {
        err_set(e, status, "the plan does not run");
    }
    return status;
}

const void *net_runner_result(const net_runner *r, unsigned i) { return r->out[i]; }
size_t net_runner_count(const net_runner *r, unsigned i) { return cr_plan_output_count(r->plan, i); }
cr_type net_runner_type(const net_runner *r) { return r->type; }
const cr_plan *net_runner_plan(const net_runner *r) { return r->plan; }
