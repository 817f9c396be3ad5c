#include "onnx/model.h"

#include <inttypes.h>
#include <string.h>

static cr_status finish(onnx_model *m, cr_status status, onnx_model **out)
{
    *out = NULL;
    if (status == CR_OK) {
        m->proto = onnx_file_model(m->file);
        *out = m;
    } else {
        onnx_model_free(m);
    }
    return status;
}

static onnx_model *make(error *e)
{
    onnx_model *m = mem_zalloc(1, sizeof *m);
    if (!m) err_set(e, CR_ENOMEM, "out of memory");
    return m;
}

cr_status onnx_model_open(const char *path, const onnx_file_options *o, onnx_model **out, error *e)
{
    *out = NULL;
    onnx_model *m = make(e);
    return m ? finish(m, onnx_file_open(path, o, &m->file, e), out) : CR_ENOMEM;
}

cr_status onnx_model_of_bytes(const char *path, const void *bytes, size_t n, onnx_model **out, error *e)
{
    *out = NULL;
    onnx_model *m = make(e);
    return m ? finish(m, onnx_file_of_bytes(path, bytes, n, NULL, &m->file, e), out) : CR_ENOMEM;
}

void onnx_model_free(onnx_model *m)
{
    if (!m) return;
    for (size_t i = 0; i < m->cache_cap; i++) {
        if (m->cache[i].key) mem_free((void *)(uintptr_t)m->cache[i].tensor.data);
    }
    mem_free(m->cache);
    onnx_file_free(m->file);
    mem_free(m);
}

/* ---- tensors ------------------------------------------------------------------------------------ */

static struct onnx_cached *cached(const onnx_model *m, const void *key)
{
    size_t i = (size_t)((uintptr_t)key >> 4) * (size_t)0x9E3779B97F4A7C15u;
    for (i &= m->cache_cap - 1; m->cache[i].key && m->cache[i].key != key; i = (i + 1) & (m->cache_cap - 1)) {
    }
    return &m->cache[i];
}

static bool grow(onnx_model *m)
{
    if (2 * m->n_cached < m->cache_cap) return true;
    onnx_model wider = *m;
    wider.cache_cap = m->cache_cap ? 2 * m->cache_cap : 64;
    wider.cache = mem_zalloc(wider.cache_cap, sizeof *wider.cache);
    if (!wider.cache) return false;
    for (size_t i = 0; i < m->cache_cap; i++) {
        if (m->cache[i].key) *cached(&wider, m->cache[i].key) = m->cache[i];
    }
    mem_free(m->cache);
    *m = wider;
    return true;
}

cr_status onnx_model_tensor(onnx_model *m, const Onnx__TensorProto *t, cr_tensor *out, error *e)
{
    if (!grow(m)) {
        err_set(e, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    struct onnx_cached *c = cached(m, t);
    if (!c->key) {
        cr_tensor read;
        cr_status status = onnx_tensor_read(m->file, t, &read, e);
        if (status != CR_OK) return status;
        *c = (struct onnx_cached){.key = t, .tensor = read};
        m->n_cached++;
    }
    *out = c->tensor;
    return CR_OK;
}

/* ---- names -------------------------------------------------------------------------------------- */

const char *onnx_domain(const char *domain) { return !domain || strcmp(domain, "ai.onnx") == 0 ? "" : domain; }

int64_t onnx_model_version(const onnx_model *m, const char *domain)
{
    for (size_t i = 0; i < m->proto->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *set = m->proto->opset_import[i];
        if (strcmp(onnx_domain(set->domain), onnx_domain(domain)) == 0) return set->version;
    }
    return 0;
}

const Onnx__FunctionProto *onnx_model_function(const onnx_model *m, const char *domain, const char *name)
{
    for (size_t i = 0; i < m->proto->n_functions; i++) {
        const Onnx__FunctionProto *f = m->proto->functions[i];
        if (f->name && strcmp(f->name, name) == 0 && strcmp(onnx_domain(f->domain), onnx_domain(domain)) == 0) return f;
    }
    return NULL;
}

const Onnx__TensorProto *onnx_initializer(const Onnx__GraphProto *g, const char *name)
{
    for (size_t i = 0; i < g->n_initializer; i++) {
        if (g->initializer[i]->name && strcmp(g->initializer[i]->name, name) == 0) return g->initializer[i];
    }
    return NULL;
}

bool onnx_is_fed(const Onnx__GraphProto *g, const Onnx__ValueInfoProto *input)
{
    return input->name && !onnx_initializer(g, input->name);
}

/* ---- shapes ------------------------------------------------------------------------------------- */

const Onnx__TypeProto__Tensor *onnx_tensor_type(const Onnx__ValueInfoProto *v)
{
    return v->type && v->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ? v->type->tensor_type : NULL;
}

void onnx_print_shape(strbuf *b, const Onnx__ValueInfoProto *v)
{
    const Onnx__TensorShapeProto *s = onnx_tensor_type(v) ? onnx_tensor_type(v)->shape : NULL;
    for (size_t i = 0; s && i < s->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *d = s->dim[i];
        sb_puts(b, i ? " x " : "");
        if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE) {
            sb_printf(b, "%" PRId64, d->dim_value);
        } else {
            sb_puts(b, d->dim_param && *d->dim_param ? d->dim_param : "?");
        }
    }
    if (!s || s->n_dim == 0) sb_puts(b, s ? "a scalar" : "of no declared shape");
}

/* ---- order -------------------------------------------------------------------------------------- */

/* Which node makes a value: an open addressing table by name. */
typedef struct maker {
    const char *name;
    size_t node;
} maker;
typedef struct makers {
    maker *slot;
    size_t cap;
} makers;

static maker *find(const makers *m, const char *name)
{
    uint32_t h = 0;
    for (const char *s = name; *s; s++) h = hash_word(h, (unsigned char)*s);
    size_t i = h & (m->cap - 1);
    while (m->slot[i].name && strcmp(m->slot[i].name, name) != 0) i = (i + 1) & (m->cap - 1);
    return &m->slot[i];
}

static bool makers_init(makers *m, size_t n_nodes, Onnx__NodeProto *const *node, error *e)
{
    size_t n = 1;
    for (size_t i = 0; i < n_nodes; i++) n += node[i]->n_output;
    for (m->cap = 16; m->cap < 2 * n; m->cap *= 2) {
    }
    m->slot = mem_zalloc(m->cap, sizeof *m->slot);
    if (!m->slot) {
        err_set(e, CR_ENOMEM, "out of memory");
        return false;
    }
    for (size_t i = 0; i < n_nodes; i++) {
        for (size_t k = 0; k < node[i]->n_output; k++) {
            if (!*node[i]->output[k]) continue;
            maker *slot = find(m, node[i]->output[k]);
            if (slot->name) {
                err_set(e, CR_EVALUE, "`%s` is an output of two nodes, %s and %s", slot->name,
                        node[slot->node]->op_type, node[i]->op_type);
                return false;
            }
            *slot = (maker){node[i]->output[k], i};
        }
    }
    return true;
}

static bool names_in_graph(const Onnx__GraphProto *g, onnx_each_name *fn, void *user);

bool onnx_names_read(const Onnx__NodeProto *node, onnx_each_name *fn, void *user)
{
    for (size_t i = 0; i < node->n_input; i++) {
        if (*node->input[i] && !fn(user, node->input[i])) return false;
    }
    for (size_t i = 0; i < node->n_attribute; i++) {
        const Onnx__AttributeProto *a = node->attribute[i];
        if (a->g && !names_in_graph(a->g, fn, user)) return false;
        for (size_t k = 0; k < a->n_graphs; k++) {
            if (!names_in_graph(a->graphs[k], fn, user)) return false;
        }
    }
    return true;
}

/* A name of a body may be its own or one from around; its own are no values of the outer graph. */
static bool names_in_graph(const Onnx__GraphProto *g, onnx_each_name *fn, void *user)
{
    for (size_t i = 0; i < g->n_output; i++) {
        if (g->output[i]->name && !fn(user, g->output[i]->name)) return false;
    }
    for (size_t i = 0; i < g->n_node; i++) {
        if (!onnx_names_read(g->node[i], fn, user)) return false;
    }
    return true;
}

/* Depth first with a stack of our own: a chain of a million nodes is no recursion. */
enum { UNSEEN, OPEN, DONE };
typedef struct sorting {
    const makers *makers;
    unsigned char *state;
    size_t *stack, n_stack, cap_stack;
    size_t reader;
    bool unsorted; /* some node reads what a later one of the file makes */
} sorting;

static bool push(sorting *s, size_t node)
{
    if (!VEC_RESERVE(s->stack, s->cap_stack, s->n_stack + 1)) return false;
    s->stack[s->n_stack++] = node;
    return true;
}

static bool push_maker(void *user, const char *name)
{
    sorting *s = user;
    const maker *m = find(s->makers, name);
    if (!m->name || s->state[m->node] == DONE) return true;
    if (m->node >= s->reader) s->unsorted = true;
    return push(s, m->node);
}

static cr_status no_memory(error *e)
{
    err_set(e, CR_ENOMEM, "out of memory");
    return CR_ENOMEM;
}

cr_status onnx_order(size_t n_nodes, Onnx__NodeProto *const *node, size_t n_wanted, const char *const *wanted,
                     size_t **order, size_t *n_order, error *e)
{
    makers by_name = {0};
    sorting s = {.makers = &by_name, .state = mem_zalloc(n_nodes + 1, 1)};
    size_t *out = mem_zalloc(n_nodes + 1, sizeof *out), n = 0;
    cr_status status = s.state && out ? CR_OK : no_memory(e);
    if (status == CR_OK && !makers_init(&by_name, n_nodes, node, e)) status = e->status;
    for (size_t w = 0; w < n_wanted && status == CR_OK; w++) {
        s.reader = n_nodes;
        if (!push_maker(&s, wanted[w])) status = no_memory(e);
        while (s.n_stack > 0 && status == CR_OK) {
            size_t i = s.stack[s.n_stack - 1], before = s.n_stack;
            if (s.state[i] == DONE) {
                s.n_stack--;
            } else if (s.state[i] == OPEN) { /* all that it reads is done, or it reads itself */
                s.state[i] = DONE;
                out[n++] = i;
                s.n_stack--;
            } else {
                s.state[i] = OPEN;
                s.reader = i;
                if (!onnx_names_read(node[i], push_maker, &s)) status = no_memory(e);
                for (size_t k = before; k < s.n_stack && status == CR_OK; k++) {
                    if (s.state[s.stack[k]] == OPEN) {
                        err_set(e, CR_EVALUE, "node `%s` (%s) depends on its own output `%s`", node[i]->name,
                                node[i]->op_type, node[i]->n_output ? node[i]->output[0] : "");
                        status = CR_EVALUE;
                    }
                }
            }
        }
    }
    if (status == CR_OK && !s.unsorted) {
        n = 0;
        for (size_t i = 0; i < n_nodes; i++) {
            if (s.state[i] == DONE) out[n++] = i;
        }
    }
    mem_free(by_name.slot);
    mem_free(s.state);
    mem_free(s.stack);
    if (status != CR_OK) {
        mem_free(out);
        return status;
    }
    *order = out;
    *n_order = n;
    return CR_OK;
}
