/* A statement's expression is made plain - sizes put in, calls and sums over numbers written out - and then written
 * node by node in the order of the graph. Members of recurrences are written level by level, as unrolling does; a
 * member is then a value by its name, so no expression grows with the depth. */
#include "onnx/formula.h"

#include "calculus/calculus.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WRITTEN_OUT = 1 << 16 }; /* terms of a sum or product over an index */

void *formula_alloc(formula *f, size_t n)
{
    void *p = arena_alloc(&f->mem, n ? n : 1);
    if (!p) {
        formula_fail(f, CR_ENOMEM, "out of memory");
        return NULL;
    }
    return memset(p, 0, n ? n : 1);
}

bool formula_fail(formula *f, cr_status status, const char *fmt, ...)
{
    va_list ap;
    if (f->e->status != CR_OK) return false;
    va_start(ap, fmt);
    err_vset(f->e, status, fmt, ap);
    va_end(ap);
    return false;
}

const char *formula_text(formula *f, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *s = n < 0 ? NULL : formula_alloc(f, (size_t)n + 1);
    if (s) vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    return s;
}

/* The graph's error, or out of memory. */
static bool failed(formula *f)
{
    cr_status s = cr_graph_status(f->g);
    return formula_fail(f, s == CR_OK ? CR_ENOMEM : s, "%s", s == CR_OK ? "out of memory" : cr_graph_message(f->g));
}

/* Room by ref for what the graph has become. */
static bool make_room(formula *f)
{
    size_t n = f->g->n_nodes, a = f->value_cap, b = f->name_cap, c = f->within_cap;
    if (!VEC_RESERVE(f->value, f->value_cap, n) || !VEC_RESERVE(f->name, f->name_cap, n) ||
        !VEC_RESERVE(f->within, f->within_cap, n))
        return failed(f);
    if (f->value_cap > a) memset(f->value + a, 0, (f->value_cap - a) * sizeof *f->value);
    if (f->name_cap > b) memset(f->name + b, 0, (f->name_cap - b) * sizeof *f->name);
    if (f->within_cap > c) memset(f->within + c, 0, (f->within_cap - c) * sizeof *f->within);
    return true;
}

/* ---- plain expressions ------------------------------------------------------------------------------ */

/* The same with the bodies of functions in place of their calls. */
static cr_ref without_calls(formula *f, cr_ref a)
{
    cr_graph *g = f->g;
    size_t n, in_cap = 0;
    cr_ref *cone = graph_cone(g, 1, &a, &n), *in = NULL, out = CR_NONE;
    cr_ref *new_of = cone ? mem_zalloc((size_t)a + 1, sizeof *new_of) : NULL;
    bool ok = new_of != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        cr_ref r = cone[i];
        const cr_node *nd = node(g, r);
        bool changed = false;
        ok = VEC_RESERVE(in, in_cap, nd->n_in + 1);
        for (uint32_t k = 0; ok && k < nd->n_in; k++) {
            in[k] = new_of[nd->word[k]];
            changed |= in[k] != nd->word[k];
        }
        if (!ok) break;
        if (nd->op == CR_OP_CALL) {
            const cr_function *fun = &g->fun[attr_of(g, r, 0)];
            if (fun->body == CR_NONE || attr_of(g, r, 1) > 0) {
                ok = formula_fail(f, CR_EVALUE,
                                  "`%s` is an unknown function%s: give it a body, as in `fun %s(z) = "
                                  "sigmoid(z)`",
                                  name_text(g->dims, fun->name), attr_of(g, r, 1) > 0 ? "'s derivative" : "",
                                  name_text(g->dims, fun->name));
                break;
            }
            cr_ref body = without_calls(f, fun->body);
            new_of[r] = body ? graph_inline(g, body, fun->arg, in[0]) : CR_NONE;
        } else {
            new_of[r] = changed ? graph_remake(g, r, in) : r;
        }
        ok = new_of[r] != CR_NONE;
    }
    if (ok) out = new_of[a];
    if (!ok) failed(f);
    mem_free(in);
    mem_free(new_of);
    mem_free(cone);
    return out;
}

/* What formula_write can write: sizes are numbers, sums over numbers have terms, functions are their bodies. */
static cr_ref plain(formula *f, cr_ref a)
{
    a = calc_write_out(f->g, a, WRITTEN_OUT);
    if (a == CR_NONE) failed(f);
    return a ? without_calls(f, a) : CR_NONE;
}

/* ---- names ------------------------------------------------------------------------------------------ */

/* Marks what a definition is made of, up to what belongs to one already. */
static bool mark_within(formula *f, cr_ref root, dim_sym name)
{
    size_t n = 0, cap = 0;
    cr_ref *stack = NULL;
    bool ok = VEC_RESERVE(stack, cap, 1);
    if (ok) stack[n++] = root;
    while (ok && n > 0) {
        cr_ref r = stack[--n];
        if (f->within[r]) continue;
        f->within[r] = name;
        const cr_node *nd = node(f->g, r);
        ok = VEC_RESERVE(stack, cap, n + nd->n_in);
        for (uint32_t k = 0; ok && k < nd->n_in; k++) stack[n++] = nd->word[k];
    }
    mem_free(stack);
    return ok || failed(f);
}

/* The definitions of the text, those that others rest on first. */
static bool name_definitions(formula *f, cr_ref (*with_sizes)(formula *, cr_ref))
{
    cr_graph *g = f->g;
    dim_sym s;
    cr_ref value;
    size_t n = 0, cap = 0;
    struct named {
        cr_ref ref;
        dim_sym name;
    } *list = NULL;
    bool ok = true;
    for (size_t i = 0; ok && lang_definition_at(f->p->lang, i, &s, &value); i++) {
        if (value == CR_NONE) continue;
        ok = VEC_RESERVE(list, cap, n + 1);
        cr_ref r = ok ? with_sizes(f, value) : CR_NONE;
        if (r == CR_NONE && cr_graph_status(g) != CR_OK) { /* one that the network need not have */
            cr_graph_clear_error(g);
            err_clear(f->e);
            continue;
        }
        if (ok) list[n++] = (struct named){r, s};
    }
    ok = ok && make_room(f);
    for (size_t i = 1; ok && i < n; i++) { /* ascending by ref: nearly sorted as they come */
        struct named x = list[i];
        size_t k = i;
        for (; k > 0 && list[k - 1].ref > x.ref; k--) list[k] = list[k - 1];
        list[k] = x;
    }
    for (size_t i = 0; ok && i < n; i++) {
        if (f->name[list[i].ref]) continue;
        f->name[list[i].ref] = list[i].name;
        ok = mark_within(f, list[i].ref, list[i].name);
    }
    mem_free(list);
    return ok || failed(f);
}

/* ---- the network ------------------------------------------------------------------------------------ */

typedef struct network_of {
    formula f;
    const lang_statement *st;
    prog_needs needs;
    exec_env *env;
    cr_ref input; /* the variable */
    random_gen random;
    strbuf *drawn;
    bool *is_drawn; /* by initialiser */
    size_t drawn_cap;
    cr_family *family; /* in the order in which members of equal index can be made */
    size_t n_families;
    int64_t first, last;
    formula_value *member; /* by index, then family */
} network_of;

static cr_ref with_sizes(formula *f, cr_ref a)
{
    network_of *w = (network_of *)(void *)f;
    int64_t v;
    for (size_t i = 0; i < w->needs.n_symbols && a; i++) {
        dim_sym s = w->needs.symbol[i];
        if (exec_int(w->env, s, &v)) a = graph_subst_symbol(f->g, a, s, dim_const(f->g->dims, v));
    }
    return a ? plain(f, a) : CR_NONE;
}

/* The numbers of a variable: the program's, or drawn with the variance 1 over the size of the last axis. */
static bool numbers_of(network_of *w, cr_ref param, unsigned rank, const int64_t *dim, size_t n, double **out,
                       bool *drawn)
{
    formula *f = &w->f;
    dim_sym name = attr_of(f->g, param, 0);
    double *x = *out = formula_alloc(f, (n + 1) * sizeof *x);
    *drawn = false;
    if (!x) return false;
    for (size_t i = 0; i < w->needs.n_params; i++) {
        const exec_array *a = exec_value(w->env, w->needs.param[i]);
        if (attr_of(f->g, w->needs.param[i], 0) != name || !a) continue;
        if (a->n != n)
            return formula_fail(f, CR_ESHAPE, "`%s` has %zu numbers, and takes %zu", name_text(f->g->dims, name), a->n,
                                n);
        memcpy(x, a->value, n * sizeof *x);
        return true;
    }
    *drawn = true;
    bool member = family_first(f->g, param) != 0;
    double deviation = rank > member ? 1 / sqrt((double)dim[rank - 1]) : 1;
    for (size_t i = 0; i < n; i++) x[i] = deviation * random_normal(&w->random);
    sb_printf(w->drawn, "%s`%s`", w->drawn->n ? ", " : "", name_text(f->g->dims, name));
    return true;
}

static bool add_initializer(network_of *w, const char *name, unsigned rank, const int64_t *dim, const double *x,
                            size_t n, bool drawn)
{
    formula *f = &w->f;
    Onnx__TensorProto *t = formula_alloc(f, sizeof *t);
    int64_t *dims = formula_alloc(f, (rank + 1) * sizeof *dims);
    if (!name || !t || !dims) return false;
    if (!VEC_RESERVE(f->graph.initializer, f->initializer_cap, f->graph.n_initializer + 1) ||
        !VEC_RESERVE(w->is_drawn, w->drawn_cap, f->graph.n_initializer + 1))
        return failed(f);
    w->is_drawn[f->graph.n_initializer] = drawn;
    onnx__tensor_proto__init(t);
    if (rank) memcpy(dims, dim, rank * sizeof *dims);
    t->name = (char *)name;
    t->n_dims = rank;
    t->dims = dims;
    t->has_data_type = true;
    t->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE;
    t->has_raw_data = true;
    t->raw_data = (ProtobufCBinaryData){n * sizeof *x, (uint8_t *)(uintptr_t)x};
    f->graph.initializer[f->graph.n_initializer++] = t;
    return true;
}

static bool sizes_of(formula *f, cr_ref r, int64_t *dim, size_t *n)
{
    const cr_shape *s = shape_of(f->g, r);
    *n = 1;
    for (unsigned i = 0; i < s->rank; i++) {
        if (!dim_value(f->g->dims, s->dim[i], &dim[i]) || dim[i] < 0)
            return formula_fail(f, CR_EVALUE,
                                "the size of `%s`, %s, is no number: give the sizes, as in `let n = 3` or "
                                "--set \"n=3\"",
                                name_text(f->g->dims, attr_of(f->g, r, 0)), shape_text(f->g, r, 0));
        if (dim[i] && *n > (SIZE_MAX / 16) / (size_t)dim[i])
            return formula_fail(f, CR_ELIMIT, "a variable is too large");
        *n *= (size_t)dim[i];
    }
    return true;
}

/* A variable: the input, or an initialiser. */
static bool write_variable(network_of *w, cr_ref r)
{
    formula *f = &w->f;
    int64_t dim[CR_MAX_RANK];
    size_t n;
    double *x;
    bool drawn;
    dim_sym name = attr_of(f->g, r, 0);
    f->value[r].name = name_text(f->g->dims, name);
    if (name == attr_of(f->g, w->input, 0)) return f->value[r].batched = true;
    return sizes_of(f, r, dim, &n) && numbers_of(w, r, cr_rank(f->g, r), dim, n, &x, &drawn) &&
           add_initializer(w, f->value[r].name, cr_rank(f->g, r), dim, x, n, drawn);
}

/* A member of a family of variables: an initialiser of its own. The family's numbers are found once. */
static bool write_pick(network_of *w, cr_ref r)
{
    formula *f = &w->f;
    cr_graph *g = f->g;
    cr_ref all = in_of(g, r, 0);
    int64_t at, first, dim[CR_MAX_RANK];
    size_t n;
    if (!dim_value(g->dims, attr_of(g, r, 0), &at) || !dim_value(g->dims, family_first(g, all), &first) ||
        !sizes_of(f, all, dim, &n))
        return formula_fail(f, CR_EVALUE, "an index of `%s` has no value", name_text(g->dims, attr_of(g, all, 0)));
    if (at < first || at - first >= dim[0])
        return formula_fail(f, CR_EVALUE, "`%s[%lld]` does not exist", name_text(g->dims, attr_of(g, all, 0)),
                            (long long)at);
    size_t each = n / (size_t)dim[0];
    formula_value *v = &f->value[all];
    if (!v->numbers && !numbers_of(w, all, cr_rank(g, all), dim, n, &v->numbers, &v->drawn)) return false;
    f->value[r].name = formula_text(f, "%s[%lld]", name_text(g->dims, attr_of(g, all, 0)), (long long)at);
    return add_initializer(w, f->value[r].name, cr_rank(g, r), dim + 1, v->numbers + (size_t)(at - first) * each, each,
                           v->drawn);
}

static bool find_member(network_of *w, cr_ref r)
{
    formula *f = &w->f;
    cr_family of = attr_of(f->g, r, 0);
    int64_t at;
    if (!dim_value(f->g->dims, attr_of(f->g, r, 1), &at))
        return formula_fail(f, CR_EVALUE, "an index of `%s` has no value",
                            name_text(f->g->dims, f->g->family[of].name));
    for (size_t i = 0; i < w->n_families && at >= w->first && at <= w->last; i++) {
        const formula_value *v = &w->member[(size_t)(at - w->first) * w->n_families + i];
        if (w->family[i] != of || !v->name) continue;
        f->value[r] = *v;
        return true;
    }
    return formula_fail(f, CR_EVALUE, "`%s[%lld]` has no definition", name_text(f->g->dims, f->g->family[of].name),
                        (long long)at);
}

/* All that root depends on and is not made yet; what has no name of its own is named within `name`, root's. */
static bool write_cone(network_of *w, cr_ref root, const char *name)
{
    formula *f = &w->f;
    cr_graph *g = f->g;
    size_t n;
    cr_ref *cone = graph_cone(g, 1, &root, &n);
    bool ok = cone != NULL && name && make_room(f);
    for (size_t i = 0; ok && i < n; i++) {
        cr_ref r = cone[i];
        if (f->value[r].name) continue;
        const char *own = r == root ? name : f->name[r] ? name_text(g->dims, f->name[r]) : NULL;
        const char *within = f->within[r] ? name_text(g->dims, f->within[r]) : name;
        switch (op_of(g, r)) {
        case CR_OP_PARAM:
            ok = family_first(g, r) != 0 || write_variable(w, r);
            break;
        case CR_OP_PICK:
            ok = write_pick(w, r);
            break;
        case CR_OP_MEMBER:
            ok = find_member(w, r);
            break;
        default:
            ok = formula_write(f, r, own, within);
        }
    }
    mem_free(cone);
    return ok || failed(f);
}

/* ---- recurrences ------------------------------------------------------------------------------------ */

static bool find_range(network_of *w)
{
    formula *f = &w->f;
    cr_graph *g = f->g;
    w->first = INT64_MAX;
    w->last = INT64_MIN;
    for (size_t i = 0; i < w->n_families; i++) {
        const family *m = &g->family[w->family[i]];
        for (size_t k = 0; k < m->n_pieces; k++) {
            int64_t lo, hi;
            if (!dim_value(g->dims, m->piece[k].lo, &lo) || !dim_value(g->dims, m->piece[k].hi, &hi))
                return formula_fail(f, CR_EVALUE,
                                    "the depth of `%s` is no number: give it, as in `let N = 50` or --set "
                                    "\"N=50\"",
                                    name_text(g->dims, m->name));
            if (lo > hi) continue;
            if (lo < w->first) w->first = lo;
            if (hi > w->last) w->last = hi;
        }
    }
    enum { MAX_MEMBERS = 1 << 22 };
    if (w->n_families && w->last - w->first >= MAX_MEMBERS / (int64_t)w->n_families)
        return formula_fail(f, CR_ELIMIT, "the network has more than %d layers", MAX_MEMBERS);
    return true;
}

static bool write_members(network_of *w, cr_ref root)
{
    formula *f = &w->f;
    cr_graph *g = f->g;
    w->family = family_closure(g, 1, &root, &w->n_families);
    if (!w->family || !find_range(w)) return failed(f);
    size_t levels = w->n_families ? (size_t)(w->last - w->first + 1) : 0;
    w->member = formula_alloc(f, (levels * w->n_families + 1) * sizeof *w->member);
    if (!w->member) return false;
    for (size_t t = 0; t < levels; t++) {
        for (size_t i = 0; i < w->n_families; i++) {
            int64_t at = w->first + (int64_t)t;
            const family_piece *piece = family_piece_at(g, w->family[i], dim_const(g->dims, at));
            if (!piece) continue;
            cr_ref body = family_body_at(g, piece, dim_const(g->dims, at));
            body = body ? plain(f, body) : CR_NONE;
            const char *name =
                formula_text(f, "%s[%lld]", name_text(g->dims, g->family[w->family[i]].name), (long long)at);
            if (!body || !write_cone(w, body, name)) return failed(f);
            w->member[t * w->n_families + i] = f->value[body];
        }
    }
    return true;
}

/* ---- the model -------------------------------------------------------------------------------------- */

/* x, or the first variable that is declared. */
static bool find_input(network_of *w)
{
    formula *f = &w->f;
    cr_graph *g = f->g;
    const lang_program *lang = f->p->lang;
    for (size_t k = 0; k < lang_n_variables(lang); k++) {
        const lang_variable *v = lang_variable_at(lang, k);
        if (v->param == CR_NONE || family_first(g, v->param) != 0) continue;
        bool needed = false, is_x = strcmp(name_text(g->dims, v->name), "x") == 0;
        for (size_t i = 0; i < w->needs.n_params; i++) needed |= attr_of(g, w->needs.param[i], 0) == v->name;
        if (needed && (is_x || w->input == CR_NONE)) w->input = v->param;
        if (needed && is_x) break;
    }
    return w->input != CR_NONE || formula_fail(f, CR_EVALUE,
                                               "`%s` rests on no variable that could be the input: "
                                               "declare one, as in `let x : R^n`",
                                               w->st->query);
}

/* N samples of tensors of that shape. */
static Onnx__ValueInfoProto *value_info(formula *f, const char *name, unsigned rank, const int64_t *dim)
{
    Onnx__ValueInfoProto *v = formula_alloc(f, sizeof *v);
    Onnx__TypeProto *type = formula_alloc(f, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = formula_alloc(f, sizeof *tensor);
    Onnx__TensorShapeProto *shape = formula_alloc(f, sizeof *shape);
    Onnx__TensorShapeProto__Dimension **list = formula_alloc(f, (rank + 1) * sizeof *list);
    Onnx__TensorShapeProto__Dimension *d = formula_alloc(f, (rank + 1) * sizeof *d);
    if (!v || !type || !tensor || !shape || !list || !d) return NULL;
    onnx__value_info_proto__init(v);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    onnx__tensor_shape_proto__init(shape);
    for (unsigned i = 0; i <= rank; i++) {
        onnx__tensor_shape_proto__dimension__init(&d[i]);
        d[i].value_case = i ? ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE
                            : ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        if (i) {
            d[i].dim_value = dim[i - 1];
        } else {
            d[i].dim_param = (char *)"N";
        }
        list[i] = &d[i];
    }
    shape->n_dim = rank + 1;
    shape->dim = list;
    tensor->has_elem_type = true;
    tensor->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE;
    tensor->shape = shape;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    v->name = (char *)name;
    v->type = type;
    return v;
}

/* What is only added is a bias: drawn, it is 0, as networks begin. */
static bool clear_biases(network_of *w)
{
    formula *f = &w->f;
    bool *multiplied = NULL;
    size_t cap = 0;
    for (size_t i = 0; i < f->graph.n_node; i++) {
        const Onnx__NodeProto *node = f->graph.node[i];
        if (strcmp(node->op_type, "Add") == 0 || strcmp(node->op_type, "Sub") == 0) continue;
        for (size_t k = 0; k < node->n_input; k++) {
            dim_sym s = name_intern(f->g->dims, node->input[k], strlen(node->input[k]));
            size_t old = cap;
            if (!s || !VEC_RESERVE(multiplied, cap, (size_t)s + 1)) {
                mem_free(multiplied);
                return failed(f);
            }
            if (cap > old) memset(multiplied + old, 0, (cap - old) * sizeof *multiplied);
            multiplied[s] = true;
        }
    }
    for (size_t i = 0; i < f->graph.n_initializer; i++) {
        Onnx__TensorProto *t = f->graph.initializer[i];
        dim_sym s = name_intern(f->g->dims, t->name, strlen(t->name));
        if (w->is_drawn[i] && !(s < cap && multiplied[s])) memset(t->raw_data.data, 0, t->raw_data.len);
    }
    mem_free(multiplied);
    return true;
}

static bool pack(network_of *w, cr_ref root, void **bytes, size_t *n)
{
    formula *f = &w->f;
    int64_t dim[CR_MAX_RANK], of_root[CR_MAX_RANK];
    size_t count;
    cr_ref x = with_sizes(f, w->input);
    if (!x || !sizes_of(f, x, dim, &count)) return failed(f);
    Onnx__ValueInfoProto *in = value_info(f, name_text(f->g->dims, attr_of(f->g, x, 0)), cr_rank(f->g, x), dim);
    if (!sizes_of(f, root, of_root, &count)) return false;
    Onnx__ValueInfoProto *out = value_info(f, f->value[root].name, cr_rank(f->g, root), of_root);
    if (!in || !out) return false;
    Onnx__OperatorSetIdProto set, *sets[1] = {&set};
    Onnx__ModelProto m;
    onnx__operator_set_id_proto__init(&set);
    set.domain = (char *)"";
    set.has_version = true;
    set.version = 17;
    onnx__model_proto__init(&m);
    m.has_ir_version = true;
    m.ir_version = 8;
    m.producer_name = (char *)"chainrule";
    m.producer_version = (char *)cr_version();
    m.n_opset_import = 1;
    m.opset_import = sets;
    m.graph = &f->graph;
    f->graph.name = w->st->query;
    f->graph.n_input = 1;
    f->graph.input = &in;
    f->graph.n_output = 1;
    f->graph.output = &out;
    *n = onnx__model_proto__get_packed_size(&m);
    *bytes = mem_alloc(*n + 1);
    if (*bytes) onnx__model_proto__pack(&m, *bytes);
    return *bytes || failed(f);
}

static bool convert(network_of *w, void **bytes, size_t *n)
{
    formula *f = &w->f;
    cr_program *p = f->p;
    values_open open;
    if (lang_n_statements(p->lang) == 0)
        return formula_fail(f, CR_EVALUE,
                            "the text says of no expression that it is the network: add `eval f`, f its output");
    w->st = lang_statement_at(p->lang, 0);
    w->env = exec_env_new(f->g);
    if (!w->env || needs_collect(p, w->st, 1, &w->st->expr, &w->needs) != CR_OK ||
        values_bind(p, &w->needs, w->env, &open) != CR_OK)
        return failed(f);
    if (!find_input(w)) return false;
    cr_ref root = with_sizes(f, w->st->expr);
    if (!root) return failed(f);
    if (cr_dtype_of(f->g, root) != CR_REAL) return formula_fail(f, CR_EVALUE, "the network's output is a truth value");
    if (!name_definitions(f, with_sizes) || !write_members(w, root)) return failed(f);
    cr_op op = op_of(f->g, root);
    if (op == CR_OP_PARAM || op == CR_OP_PICK) root = cr_map(f->g, CR_OP_FENCE, root); /* outputs are made by nodes */
    if (!root || !make_room(f)) return failed(f);
    const char *name = f->name[root] ? name_text(f->g->dims, f->name[root]) : "y";
    if (!write_cone(w, root, name)) return false;
    if (!f->value[root].batched)
        return formula_fail(f, CR_EVALUE, "`%s` does not depend on the input `%s`", w->st->query,
                            name_text(f->g->dims, attr_of(f->g, w->input, 0)));
    return clear_biases(w) && pack(w, root, bytes, n);
}

cr_status onnx_of_program(cr_program *p, uint64_t seed, void **bytes, size_t *n, strbuf *drawn, error *e)
{
    network_of w = {.f = {.p = p, .g = p->g, .e = e}, .drawn = drawn};
    *bytes = NULL;
    random_seed(&w.random, seed);
    onnx__graph_proto__init(&w.f.graph);
    bool ok = convert(&w, bytes, n) || failed(&w.f);
    needs_free(&w.needs);
    exec_env_free(w.env);
    mem_free(w.family);
    mem_free(w.is_drawn);
    mem_free(w.f.graph.node);
    mem_free(w.f.graph.initializer);
    mem_free(w.f.value);
    mem_free(w.f.name);
    mem_free(w.f.within);
    mem_free(w.f.times);
    arena_free(&w.f.mem);
    return ok ? CR_OK : e->status;
}
