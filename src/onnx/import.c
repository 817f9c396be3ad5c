#include "onnx/importer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    EVALUATED_MAX = 1 << 24, /* entries of anything that is computed while importing */
    FOLD_MAX = 1 << 16, /* entries of a result that is computed while importing; larger ones are left to the plan */
    DEPTH_MAX = 100     /* graphs in graphs, functions in functions */
};

bool onnx_no_memory(onnx_importer *im)
{
    graph_fail(im->g, CR_ENOMEM, "out of memory");
    return false;
}

bool onnx_import_fail(onnx_importer *im, cr_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(&im->g->err, status, fmt, ap);
    va_end(ap);
    return false;
}

/* ---- names in sight ----------------------------------------------------------------------------- */

static dim_sym symbol(onnx_importer *im, const char *name)
{
    dim_sym s = name_intern(im->g->dims, name, strlen(name));
    size_t old = im->by_name_cap;
    if (!s || !VEC_RESERVE(im->by_name, im->by_name_cap, (size_t)s + 1)) {
        onnx_no_memory(im);
        return 0;
    }
    if (im->by_name_cap > old) memset(im->by_name + old, 0, (im->by_name_cap - old) * sizeof *im->by_name);
    return s;
}

bool onnx_define(onnx_importer *im, const char *name, onnx_value *v)
{
    dim_sym s = symbol(im, name);
    if (!s) return false;
    if (!VEC_RESERVE(im->hidden, im->hidden_cap, im->n_hidden + 1)) return onnx_no_memory(im);
    im->hidden[im->n_hidden++] = (struct onnx_hidden){s, im->by_name[s]};
    im->by_name[s] = v;
    return true;
}

/* What was defined since comes out of sight again. */
static void leave(onnx_importer *im, size_t since)
{
    while (im->n_hidden > since) {
        im->n_hidden--;
        im->by_name[im->hidden[im->n_hidden].name] = im->hidden[im->n_hidden].before;
    }
}

onnx_value *onnx_look(onnx_importer *im, const char *name)
{
    dim_sym s = symbol(im, name);
    return s ? im->by_name[s] : NULL;
}

unsigned onnx_uses(onnx_importer *im, const char *name)
{
    dim_sym s = name_intern(im->g->dims, name, strlen(name));
    return s < im->n_uses ? im->uses[s] : 0;
}

static bool count_use(void *user, const char *name)
{
    onnx_importer *im = user;
    dim_sym s = name_intern(im->g->dims, name, strlen(name));
    size_t old = im->n_uses;
    if (!s || !VEC_RESERVE(im->uses, im->n_uses, (size_t)s + 1)) return onnx_no_memory(im);
    if (im->n_uses > old) memset(im->uses + old, 0, (im->n_uses - old) * sizeof *im->uses);
    im->uses[s]++;
    return true;
}

onnx_value *onnx_new_value(onnx_importer *im, const char *name)
{
    onnx_value *v = arena_alloc(&im->mem, sizeof *v);
    if (!v) {
        onnx_no_memory(im);
        return NULL;
    }
    *v = (onnx_value){.name = name};
    return v;
}

/* ---- values with numbers ------------------------------------------------------------------------ */

void onnx_take_shape(onnx_value *v, const cr_tensor *t)
{
    v->type = t->type;
    v->rank = t->rank;
    memcpy(v->dim, t->dim, sizeof v->dim);
    v->count = t->count;
    v->data = t->data;
}

static bool uniform(const onnx_value *v, size_t size)
{
    for (size_t i = 1; i < v->count; i++) {
        if (memcmp((const char *)v->data + i * size, v->data, size) != 0) return false;
    }
    return v->count > 0;
}

cr_ref onnx_value_ref(onnx_importer *im, onnx_value *v)
{
    cr_graph *g = im->g;
    if (v->ref != CR_NONE) return v->ref;
    cr_ref r;
    if (uniform(v, cr_type_size(v->type))) {
        double x;
        data_to_f64(v->type, v->data, 1, &x);
        r = onnx_full(g, x, v->rank, v->dim);
    } else {
        cr_tensor t = {.name = v->name, .type = v->type, .rank = v->rank, .count = v->count, .data = v->data};
        memcpy(t.dim, v->dim, sizeof t.dim);
        r = net_add_leaf(im->net, NET_CONSTANT, &t);
    }
    if (valid(g, r) && v->type == CR_TYPE_BOOL) r = cr_map2(g, CR_OP_NE, r, onnx_like(g, 0, r));
    return v->ref = r;
}

/* Binds the leaves of a cone to their numbers; false: one has none, or an error is set. */
static bool bind_leaves(onnx_importer *im, cr_ref root, bool parameters)
{
    size_t n;
    cr_ref *cone = graph_cone(im->g, 1, &root, &n);
    bool ok = cone != NULL;
    for (size_t i = 0; i < n && ok; i++) {
        ok = onnx_count(im->g, cone[i]) <= EVALUATED_MAX;
        if (!ok || op_of(im->g, cone[i]) != CR_OP_PARAM) continue;
        net_leaf *l = net_find_leaf(im->net, cone[i]);
        ok = l && l->tensor.data && (parameters || l->role != NET_PARAMETER);
        if (!ok) break;
        if (l->role == NET_INPUT) l->fixed = true;
        if (exec_value(im->env, cone[i])) continue;
        exec_array a;
        ok = exec_array_init(&a, l->tensor.rank, l->tensor.dim, &im->g->err);
        if (!ok) break;
        data_to_f64(l->tensor.type, l->tensor.data, a.n, a.value);
        ok = exec_bind(im->env, cone[i], &a) == CR_OK;
        exec_array_free(&a);
    }
    mem_free(cone);
    return ok;
}

/* to[i] = from[i] in the type; integers saturate (INT64_MAX stands for "to the end" in slices). */
static void store(cr_type type, size_t n, const double *from, void *to)
{
    for (size_t i = 0; i < n; i++) {
        double x = from[i];
        switch (type) {
        case CR_TYPE_F64:
            ((double *)to)[i] = x;
            break;
        case CR_TYPE_F32:
            ((float *)to)[i] = (float)x;
            break;
        case CR_TYPE_BOOL:
            ((uint8_t *)to)[i] = x != 0;
            break;
        default:
            ((int64_t *)to)[i] = x >= 0x1p63 ? INT64_MAX : x < -0x1p63 ? INT64_MIN : isnan(x) ? 0 : (int64_t)x;
        }
    }
}

/* The types that numbers computed here are kept in: of their kind, the widest. */
static cr_type kept_type(cr_type t)
{
    return t == CR_TYPE_F32 || t == CR_TYPE_F64 || t == CR_TYPE_BOOL ? t : onnx_is_float(t) ? CR_TYPE_F32 : CR_TYPE_I64;
}

bool onnx_value_evaluate(onnx_importer *im, onnx_value *v, bool parameters)
{
    net_leaf *leaf = v->ref != CR_NONE ? net_find_leaf(im->net, v->ref) : NULL;
    if (v->data && leaf && leaf->role == NET_INPUT) leaf->fixed = true;
    if (v->data) return parameters || !leaf || leaf->role != NET_PARAMETER;
    if (!bind_leaves(im, v->ref, parameters)) return false;
    exec_array a;
    if (exec_eval(im->g, im->env, v->ref, &a) != CR_OK) return false;
    cr_type type = kept_type(v->type);
    void *data = arena_alloc(&im->mem, a.n * cr_type_size(type) + 1);
    if (data) {
        store(type, a.n, a.value, data);
        v->data = data;
        v->type = type;
    }
    exec_array_free(&a);
    return data || onnx_no_memory(im);
}

/* ---- nodes -------------------------------------------------------------------------------------- */

const Onnx__AttributeProto *onnx_attr_meant(const onnx_importer *im, const Onnx__AttributeProto *a)
{
    const onnx_frame *f = im->function;
    while (a && a->ref_attr_name && *a->ref_attr_name && f) {
        const Onnx__AttributeProto *meant = NULL;
        for (size_t i = 0; i < f->call->n_attribute; i++) {
            if (f->call->attribute[i]->name && strcmp(f->call->attribute[i]->name, a->ref_attr_name) == 0) {
                meant = f->call->attribute[i];
            }
        }
        if (!meant) return onnx_default_attribute((onnx_importer *)(uintptr_t)im, f->function, a->ref_attr_name);
        a = meant;
        f = f->outer;
    }
    return a;
}

int64_t onnx_version_of(const onnx_importer *im, const char *domain)
{
    if (im->function) {
        const Onnx__FunctionProto *f = im->function->function;
        for (size_t i = 0; i < f->n_opset_import; i++) {
            if (strcmp(onnx_domain(f->opset_import[i]->domain), onnx_domain(domain)) == 0) {
                return f->opset_import[i]->version;
            }
        }
    }
    return onnx_model_version(im->m, domain);
}

/* Errors of the graph's builders know nothing of nodes. */
static bool name_node(onnx_importer *im, const Onnx__NodeProto *node)
{
    error *e = &im->g->err;
    size_t n = strlen(node->op_type);
    if (e->status == CR_OK) {
        return onnx_import_fail(im, CR_EINTERNAL, "%s \"%s\": failed without a reason", node->op_type,
                                onnx_node_name(node));
    }
    if (e->message && (strncmp(e->message, node->op_type, n) != 0 || strncmp(e->message + n, " \"", 2) != 0)) {
        error named = {CR_OK, NULL};
        err_set(&named, e->status, "%s \"%s\": %s", node->op_type, onnx_node_name(node), e->message);
        err_clear(e);
        *e = named;
    }
    return false;
}

static bool collect(onnx_call *c)
{
    onnx_importer *im = c->im;
    const Onnx__NodeProto *node = c->node;
    c->n_in = (unsigned)node->n_input;
    c->n_out = (unsigned)node->n_output;
    c->in = onnx_alloc(c, c->n_in * sizeof *c->in);
    c->out = onnx_alloc(c, c->n_out * sizeof *c->out);
    if (!c->in || !c->out) return false;
    for (unsigned i = 0; i < c->n_in; i++) {
        c->in[i] = *node->input[i] ? onnx_look(im, node->input[i]) : NULL;
        if (*node->input[i] && !c->in[i]) return onnx_fail(c, "nothing makes its input `%s`", node->input[i]);
    }
    for (unsigned i = 0; i < c->n_out; i++) {
        c->out[i] = *node->output[i] ? onnx_new_value(im, node->output[i]) : NULL;
        if (*node->output[i] && !c->out[i]) return false;
    }
    return true;
}

/* What follows from known numbers alone is computed now. */
static bool fold(onnx_call *c)
{
    for (unsigned i = 0; i < c->n_in; i++) {
        if (c->in[i] && (!c->in[i]->known || c->in[i]->sequence || c->in[i]->count > FOLD_MAX)) return true;
    }
    for (unsigned i = 0; i < c->n_out; i++) {
        onnx_value *v = c->out[i];
        if (!v || v->known || v->sequence || v->count > FOLD_MAX) continue;
        if (!onnx_value_evaluate(c->im, v, false)) {
            if (cr_graph_status(c->g) != CR_OK) return false;
            continue; /* it rests on something else besides: the body of a loop, an input of the outer graph */
        }
        v->known = true;
        v->ref = CR_NONE;
    }
    return true;
}

/* What rewrites would dissolve in what reads it, as a transpose in a product, is fenced. Renaming makes nothing new. */
static bool fence(onnx_call *c)
{
    for (unsigned i = 0; i < c->n_out && c->im->fences; i++) {
        onnx_value *v = c->out[i];
        bool renamed = false;
        if (!v || v->known || v->sequence || cr_dtype_of(c->g, v->ref) != CR_REAL) continue;
        for (unsigned k = 0; k < c->n_in; k++) renamed |= c->in[k] && c->in[k]->ref == v->ref;
        if (renamed || op_of(c->g, v->ref) == CR_OP_FENCE) continue;
        v->ref = cr_map(c->g, CR_OP_FENCE, v->ref);
        if (v->ref == CR_NONE) return false;
    }
    return true;
}

static bool record(onnx_call *c)
{
    network *n = c->im->net;
    if (!VEC_RESERVE(n->node, n->node_cap, n->n_nodes + 1) ||
        !VEC_RESERVE(n->operand, n->operand_cap, n->n_operands + c->n_in) ||
        !VEC_RESERVE(n->value, n->value_cap, n->n_values + c->n_out)) {
        return onnx_no_memory(c->im);
    }
    net_node *node = &n->node[n->n_nodes];
    *node = (net_node){.name = onnx_node_name(c->node),
                       .within = c->im->within,
                       .source = c->node,
                       .op = c->node->op_type,
                       .first_value = n->n_values,
                       .first_operand = n->n_operands};
    for (unsigned i = 0; i < c->n_out; i++) {
        const onnx_value *v = c->out[i];
        if (!v || v->known || v->sequence) continue;
        n->value[n->n_values++] = (net_value){.name = v->name, .ref = v->ref, .type = v->type, .node = n->n_nodes};
        node->n_values++;
    }
    if (node->n_values == 0) return true;
    for (unsigned i = 0; i < c->n_in; i++) {
        if (!c->in[i] || c->in[i]->ref == CR_NONE) continue; /* known: a constant */
        n->operand[n->n_operands++] = (net_operand){c->in[i]->name, c->in[i]->ref};
        node->n_operands++;
    }
    n->n_nodes++;
    return true;
}

static bool call_function(onnx_call *c, const Onnx__FunctionProto *f);

static bool import_node(onnx_importer *im, const Onnx__NodeProto *node)
{
    if (*onnx_domain(node->domain) == '\0' && !onnx_model_function(im->m, node->domain, node->op_type) &&
        !onnx_check_attributes(im, node)) {
        return false;
    }
    if (!im->as_written && !(node = onnx_recognise(im, node))) return false;
    onnx_call c = {.im = im, .g = im->g, .node = node, .version = onnx_version_of(im, node->domain)};
    size_t carried = im->net->n_recurrences;
    const Onnx__FunctionProto *f = onnx_model_function(im->m, node->domain, node->op_type);
    const onnx_op *op = f ? NULL : onnx_find_op(onnx_domain(node->domain), node->op_type);
    if (!collect(&c)) return name_node(im, node);
    if (op) c.arg = op->arg;
    if (!(f ? call_function(&c, f) : op ? op->build(&c) : onnx_fail(&c, "an unknown operator"))) {
        return name_node(im, node);
    }
    for (unsigned i = 0; i < c.n_out; i++) {
        if (c.out[i] && c.out[i]->ref == CR_NONE && !c.out[i]->known && !c.out[i]->sequence) {
            onnx_fail(&c, "its output `%s` is not supported", c.out[i]->name);
            return false;
        }
    }
    if (!fold(&c) || !fence(&c)) return name_node(im, node);
    size_t recorded = im->net->n_nodes;
    if (!f && !record(&c)) return false;
    onnx_number_carried(im->net, carried, im->net->n_nodes > recorded);
    for (unsigned i = 0; i < c.n_out; i++) {
        if (!c.out[i]) continue;
        c.out[i]->maker = node;
        c.out[i]->scope = im->scope;
        if (!onnx_define(im, c.out[i]->name, c.out[i])) return false;
    }
    return true;
}

/* ---- graphs ------------------------------------------------------------------------------------- */

static bool import_nodes(onnx_importer *im, size_t n_nodes, Onnx__NodeProto *const *node, size_t n_wanted,
                         const char *const *wanted)
{
    size_t *order, n;
    if (im->depth >= DEPTH_MAX)
        return onnx_import_fail(im, CR_ELIMIT, "graphs and functions nested more than %d deep", DEPTH_MAX);
    if (onnx_order(n_nodes, node, n_wanted, wanted, &order, &n, &im->g->err) != CR_OK) return false;
    unsigned *outside = im->uses, scope = im->scope;
    size_t n_outside = im->n_uses;
    bool ok = true;
    im->scope = ++im->n_scopes;
    im->uses = NULL;
    im->n_uses = 0;
    im->depth++;
    for (size_t i = 0; i < n_wanted && ok; i++) ok = count_use(im, wanted[i]);
    for (size_t i = 0; i < n && ok; i++) ok = onnx_names_read(node[order[i]], count_use, im);
    for (size_t i = 0; i < n && ok; i++) ok = import_node(im, node[order[i]]);
    im->depth--;
    mem_free(im->uses);
    im->scope = scope;
    im->uses = outside;
    im->n_uses = n_outside;
    mem_free(order);
    return ok;
}

/* The values of names in sight, which the graph or function promises as its outputs. */
static bool results(onnx_importer *im, size_t n, const char *const *name, onnx_value **out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = onnx_look(im, name[i]);
        if (!out[i]) return onnx_import_fail(im, CR_EVALUE, "nothing makes the output `%s`", name[i]);
    }
    return true;
}

/* The leaf of an initializer: one, however often the body that has it is written out. */
static cr_ref leaf_of(onnx_importer *im, const cr_tensor *t)
{
    const network *n = im->net;
    for (size_t i = 0; im->depth > 0 && i < n->n_leaves; i++) {
        const net_leaf *l = &n->leaf[i];
        if (l->role != NET_INPUT && l->name == t->name) return l->ref;
    }
    return net_add_leaf(im->net, NET_PARAMETER, t);
}

/* Initializers: parameters of floats, known numbers otherwise. */
/* Names of weights that a checkpoint does not have, as many as are read. */
static bool keep(onnx_importer *im, const char *name)
{
    enum { SHOWN = 5 };
    if (im->n_kept++ < SHOWN) sb_printf(&im->kept, "%s`%s`", im->n_kept > 1 ? ", " : "", name);
    return true;
}

/* The numbers that a checkpoint has under the name, in place of the file's. */
bool onnx_replace(onnx_importer *im, cr_tensor *t)
{
    cr_tensor own;
    if (!cr_data_find(im->weights, t->name, &own)) return keep(im, t->name);
    if (own.rank != t->rank || memcmp(own.dim, t->dim, t->rank * sizeof *t->dim) != 0) {
        strbuf b;
        sb_init(&b);
        sb_printf(&b, "`%s` is ", t->name);
        data_shape(&b, t->rank, t->dim);
        sb_puts(&b, " in the model, and ");
        data_shape(&b, own.rank, own.dim);
        sb_puts(&b, " in the checkpoint");
        onnx_import_fail(im, CR_ESHAPE, "%s", sb_str(&b));
        sb_free(&b);
        return false;
    }
    im->n_replaced++;
    if (own.type == t->type) {
        t->data = own.data;
        return true;
    }
    /* In the type of the file, of which what computes with it is; 16 bits are widened. */
    cr_type type = t->type == CR_TYPE_F64 ? CR_TYPE_F64 : CR_TYPE_F32;
    void *data = arena_alloc(&im->mem, t->count * cr_type_size(type) + 1);
    double *wide = mem_alloc((t->count + 1) * sizeof *wide);
    if (data && wide) {
        data_to_f64(own.type, own.data, t->count, wide);
        store(type, t->count, wide, data);
        t->type = type;
        t->data = data;
    }
    mem_free(wide);
    return (data && wide) || onnx_no_memory(im);
}

static bool define_initializers(onnx_importer *im, const Onnx__GraphProto *graph)
{
    for (size_t i = 0; i < graph->n_initializer; i++) {
        cr_tensor t;
        cr_type type;
        if (!onnx_type_of(graph->initializer[i]->data_type, &type)) continue; /* strings: nothing here reads them */
        if (onnx_model_tensor(im->m, graph->initializer[i], &t, &im->g->err) != CR_OK) return false;
        onnx_value *v = onnx_new_value(im, t.name);
        if (!v) return false;
        if (im->weights && onnx_is_float(t.type) && !onnx_replace(im, &t)) return false;
        onnx_take_shape(v, &t);
        if (onnx_is_float(t.type)) {
            v->ref = leaf_of(im, &t);
        } else {
            v->known = true;
        }
        if ((!v->known && v->ref == CR_NONE) || !onnx_define(im, t.name, v)) return false;
    }
    return true;
}

/* What is written out from now on is the node's. The outer text comes back; false: out of memory. */
static bool enter(onnx_call *c, const char **outer)
{
    const char *name = onnx_node_name(c->node), *op = c->node->op_type, *in = c->im->within;
    size_t n = strlen(name) + strlen(op) + (in ? strlen(in) : 0) + 16;
    char *text = onnx_alloc(c, n);
    *outer = in;
    if (text) snprintf(text, n, "\"%s\" (%s)%s%s", name, op, in ? " in " : "", in ? in : "");
    c->im->within = text;
    return text != NULL;
}

bool onnx_inline_graph(onnx_call *c, const Onnx__GraphProto *body, size_t n_in, onnx_value *const *in, size_t n_out,
                       onnx_value **out)
{
    onnx_importer *im = c->im;
    size_t since = im->n_hidden;
    if (n_in > body->n_input || n_out > body->n_output) {
        return onnx_fail(c, "its body has %zu inputs and %zu outputs, not %zu and %zu", body->n_input, body->n_output,
                         n_in, n_out);
    }
    const char **wanted = onnx_alloc(c, (n_out + 1) * sizeof *wanted), *outer;
    bool ok = enter(c, &outer) && wanted;
    for (size_t i = 0; i < n_out && ok; i++) wanted[i] = body->output[i]->name ? body->output[i]->name : "";
    for (size_t i = 0; i < n_in && ok; i++)
        ok = onnx_define(im, body->input[i]->name ? body->input[i]->name : "", in[i]);
    ok = ok && define_initializers(im, body) && import_nodes(im, body->n_node, body->node, n_out, wanted) &&
         results(im, n_out, wanted, out);
    im->within = outer;
    leave(im, since);
    return ok;
}

/* A function's body sees its parameters and nothing of what is around. */
static bool call_function(onnx_call *c, const Onnx__FunctionProto *f)
{
    onnx_importer *im = c->im;
    size_t since = im->n_hidden;
    onnx_frame frame = {im->function, c->node, f};
    onnx_value **out = onnx_alloc(c, (f->n_output + 1) * sizeof *out);
    if (!out) return false;
    if (c->n_in > f->n_input || c->n_out > f->n_output) {
        return onnx_fail(c, "the function has %zu inputs and %zu outputs", f->n_input, f->n_output);
    }
    const char *outer;
    if (!enter(c, &outer)) return false;
    onnx_value **outside = im->by_name;
    size_t outside_cap = im->by_name_cap;
    im->by_name = NULL;
    im->by_name_cap = 0;
    im->function = &frame;
    bool ok = true;
    for (size_t i = 0; i < f->n_input && ok; i++) {
        if (onnx_has(c, (unsigned)i)) ok = onnx_define(im, f->input[i], c->in[i]);
    }
    ok = ok && import_nodes(im, f->n_node, f->node, c->n_out, (const char *const *)f->output) &&
         results(im, c->n_out, (const char *const *)f->output, out);
    mem_free(im->by_name);
    im->by_name = outside;
    im->by_name_cap = outside_cap;
    im->n_hidden = since;
    im->function = frame.outer;
    im->within = outer;
    for (unsigned i = 0; i < c->n_out && ok; i++) {
        const char *name = c->out[i] ? c->out[i]->name : NULL;
        if (!name) continue;
        *c->out[i] = *out[i];
        c->out[i]->name = name;
    }
    return ok;
}

/* ---- the model ----------------------------------------------------------------------------------- */

bool onnx_say(onnx_importer *im, const char *fmt, ...)
{
    strbuf *b = &im->net->said;
    va_list ap;
    va_start(ap, fmt);
    if (b->n) sb_putc(b, '\n');
    sb_vprintf(b, fmt, ap);
    va_end(ap);
    return b->status == CR_OK || onnx_no_memory(im);
}

bool onnx_note(onnx_call *c, const char *fmt, ...)
{
    strbuf *b = &c->im->net->said;
    va_list ap;
    va_start(ap, fmt);
    if (b->n) sb_putc(b, '\n');
    sb_vprintf(b, fmt, ap);
    va_end(ap);
    return b->status == CR_OK || onnx_no_memory(c->im);
}

static bool define_outputs(onnx_importer *im, size_t n_wanted, const char *const *wanted)
{
    network *n = im->net;
    if (!VEC_RESERVE(n->output, n->output_cap, n_wanted)) return onnx_no_memory(im);
    for (size_t i = 0; i < n_wanted; i++) {
        onnx_value *v = onnx_look(im, wanted[i]);
        if (!v) return onnx_import_fail(im, CR_EVALUE, "nothing makes the output `%s` of the model", wanted[i]);
        if (v->sequence) {
            return onnx_import_fail(im, CR_EUNSUPPORTED, "output `%s` is a sequence of tensors", wanted[i]);
        }
        cr_ref ref = onnx_value_ref(im, v);
        if (ref == CR_NONE) return false;
        n->output[n->n_outputs++] = (net_output){wanted[i], ref, v->type};
    }
    return true;
}

static bool any_replaced(onnx_importer *im)
{
    if (!im->weights || im->n_replaced) return true;
    cr_tensor t;
    bool some = cr_data_at(im->weights, 0, &t);
    return onnx_import_fail(im, CR_EVALUE, "the checkpoint has none of the model's parameters: the model has %s, the "
                                           "checkpoint %s%s%s",
                            im->n_kept ? sb_str(&im->kept) : "none", some ? "`" : "nothing", some ? t.name : "",
                            some ? "`, ..." : "");
}

static bool import_model(onnx_importer *im, const onnx_import_options *o)
{
    const Onnx__GraphProto *graph = im->m->proto->graph;
    size_t n;
    const char **wanted = arena_alloc(&im->mem, (graph->n_output + 1) * sizeof *wanted);
    if (!wanted) return onnx_no_memory(im);
    if (!onnx_say_version(im) || !onnx_choose_outputs(im, wanted, &n) || !onnx_check_operators(im, n, wanted) ||
        !onnx_define_inputs(im, graph, o) || !define_initializers(im, graph)) {
        return false;
    }
    Onnx__NodeProto **node = o->untie ? onnx_untie(im, graph) : graph->node;
    return (node || graph->n_node == 0) && any_replaced(im) &&
           import_nodes(im, graph->n_node, node, n, wanted) && define_outputs(im, n, wanted);
}

cr_status onnx_import(onnx_model *m, const onnx_import_options *o, network *n, error *e)
{
    onnx_importer im = {.m = m, .net = n, .e = e, .as_written = o->as_written, .fences = o->fences,
                        .smooth = o->smooth, .norms = o->norms, .drops = o->drops, .weights = o->weights};
    sb_init(&im.kept);
    random_seed(&im.random, o->seed);
    cr_status status = CR_ENOMEM;
    if (net_init(n)) {
        im.g = n->g;
        if (o->max_nodes) cr_graph_limit(n->g, o->max_nodes);
        im.env = exec_env_new(n->g);
        if (im.env && import_model(&im, o)) {
            status = CR_OK;
        } else {
            status = cr_graph_status(n->g);
        }
    }
    if (status != CR_OK) err_set(e, status, "%s", n->g ? cr_graph_message(n->g) : "out of memory");
    exec_env_free(im.env);
    mem_free(im.by_name);
    mem_free(im.hidden);
    if (o->kept && im.n_kept) sb_printf(o->kept, "%s%s", sb_str(&im.kept), im.n_kept > 5 ? ", ..." : "");
    sb_free(&im.kept);
    n->names = im.mem; /* known numbers are leaves of the network */
    return status;
}
