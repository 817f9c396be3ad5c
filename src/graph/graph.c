/* The graph's store: nodes, types, and the table that makes equal expressions one ref. */
#include "graph/graph.h"

#include "graph/einsum.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef CR_VERSION
#define CR_VERSION "0.1.0"
#endif

enum { CHUNK = 1 << CR_NODE_CHUNK_BITS };

const char *cr_version(void) { return CR_VERSION; }

static bool add_chunk(cr_graph *g, size_t c)
{
    size_t old = g->chunk_cap;
    if (!VEC_RESERVE(g->chunk, g->chunk_cap, c + 1)) return false;
    if (g->chunk_cap > old) memset(g->chunk + old, 0, (g->chunk_cap - old) * sizeof *g->chunk);
    g->chunk[c] = arena_alloc(&g->mem, CHUNK * sizeof **g->chunk);
    return g->chunk[c] != NULL;
}

cr_graph *cr_graph_new(void)
{
    cr_graph *g = mem_zalloc(1, sizeof *g);
    if (!g) return NULL;
    g->max_nodes = UINT32_MAX;
    g->n_nodes = 1;
    g->n_types = 1;
    g->n_fun = 1;
    g->n_family = 1;
    g->dims = dim_table_new(&g->err);
    if (g->dims && VEC_RESERVE(g->type, g->type_cap, 1) && add_chunk(g, 0)) {
        /* Ref 0, none, reads as a scalar without inputs, so that code between a failed builder and the check is safe.
         */
        static const cr_shape nothing;
        static const uint32_t zeros[64];
        g->type[0] = &nothing;
        g->chunk[0][0] = (cr_node){.word = zeros};
        return g;
    }
    cr_graph_free(g);
    return NULL;
}

void cr_graph_free(cr_graph *g)
{
    if (!g) return;
    err_clear(&g->err);
    if (g->dims) dim_table_free(g->dims);
    arena_free(&g->mem);
    mem_free(g->chunk);
    mem_free(g->table);
    mem_free(g->type);
    mem_free(g->type_table);
    mem_free(g->fun);
    mem_free(g->family);
    mem_free(g->param_lo);
    mem_free(g->param_by_name);
    mem_free(g);
}

cr_status cr_graph_status(const cr_graph *g) { return g->err.status; }
void cr_graph_limit(cr_graph *g, uint32_t n) { g->max_nodes = n; }
const char *cr_graph_message(const cr_graph *g) { return err_message(&g->err); }
void cr_graph_clear_error(cr_graph *g) { err_clear(&g->err); }

cr_ref graph_fail(cr_graph *g, cr_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(&g->err, status, fmt, ap);
    va_end(ap);
    return CR_NONE;
}

static cr_ref out_of_memory(cr_graph *g) { return graph_fail(g, CR_ENOMEM, "out of memory"); }

/* ---- types ------------------------------------------------------------------------------------ */

static uint32_t shape_hash(unsigned dtype, unsigned rank, const cr_dim *dim)
{
    uint32_t h = hash_word(dtype, rank);
    for (unsigned i = 0; i < rank; i++) h = hash_word(h, dim[i]);
    return h;
}

static bool shape_is(const cr_shape *s, unsigned dtype, unsigned rank, const cr_dim *dim)
{
    if (s->dtype != dtype || s->rank != rank) return false;
    for (unsigned i = 0; i < rank; i++)
        if (s->dim[i] != dim[i]) return false;
    return true;
}

/* Doubles an open-addressing table of the ids 1 .. end-1 when it is half full; hash_of gives the hash of an id. The ids
 * are put in anew in their own order: walking the old table instead would read the nodes at random. */
static bool grow_table(uint32_t **table, size_t *cap, size_t end, uint32_t (*hash_of)(const cr_graph *, uint32_t),
                       const cr_graph *g)
{
    if (*cap && end * 2 < *cap) return true;
    size_t n = *cap ? *cap * 2 : 256;
    uint32_t *t = mem_zalloc(n, sizeof *t);
    if (!t) return false;
    for (uint32_t id = 1; id < end; id++) {
        uint32_t hash = hash_of(g, id);
        size_t k = hash & (n - 1);
        while (t[k]) k = (k + 1) & (n - 1);
        t[k] = graph_slot(n, hash, id);
    }
    mem_free(*table);
    *table = t;
    *cap = n;
    return true;
}

static uint32_t hash_of_type(const cr_graph *g, uint32_t t)
{
    const cr_shape *s = g->type[t];
    return shape_hash(s->dtype, s->rank, s->dim);
}
static uint32_t hash_of_node(const cr_graph *g, uint32_t r) { return node(g, r)->hash; }

node_type graph_type(cr_graph *g, cr_dtype dtype, unsigned rank, const cr_dim *dim)
{
    if (rank > CR_MAX_RANK) {
        graph_fail(g, CR_ELIMIT, "a tensor of %u axes; at most %d are possible", rank, CR_MAX_RANK);
        return 0;
    }
    for (unsigned i = 0; i < rank; i++)
        if (!dim[i]) return 0; /* the error is set already */
    if (!grow_table(&g->type_table, &g->type_table_cap, g->n_types, hash_of_type, g)) return out_of_memory(g);
    const size_t cap = g->type_table_cap;
    uint32_t hash = shape_hash(dtype, rank, dim);
    size_t k = hash & (cap - 1);
    for (uint32_t slot; (slot = g->type_table[k]) != 0; k = (k + 1) & (cap - 1)) {
        node_type t = graph_slot_id(cap, slot);
        if (slot == graph_slot(cap, hash, t) && shape_is(g->type[t], dtype, rank, dim)) return t;
    }
    cr_shape *own = arena_alloc(&g->mem, sizeof *own);
    if (!own || !VEC_RESERVE(g->type, g->type_cap, g->n_types + 1)) return out_of_memory(g);
    *own = (cr_shape){.dtype = (uint8_t)dtype, .rank = (uint8_t)rank};
    if (rank) memcpy(own->dim, dim, rank * sizeof *dim);
    g->type[g->n_types] = own;
    g->type_table[k] = graph_slot(cap, hash, (uint32_t)g->n_types);
    return (node_type)g->n_types++;
}

/* ---- nodes ------------------------------------------------------------------------------------ */

static bool commutative(cr_op op)
{
    switch (op) {
    case CR_OP_ADD: case CR_OP_MAX2: case CR_OP_MIN2: case CR_OP_EQ: case CR_OP_NE: case CR_OP_AND: case CR_OP_OR:
        return true;
    default:
        return false;
    }
}

static uint32_t node_hash(const cr_graph *g, cr_op op, node_type type, uint32_t n_in, const cr_ref *in, uint32_t n_attr,
                          const uint32_t *attr)
{
    uint32_t h = hash_word(hash_word(0x51ED270Bu, op), type);
    if (op == CR_OP_EINSUM) return hash_word(h, einsum_hash(g, g->type[type]->rank, n_in, in, attr));
    if (commutative(op)) {
        uint32_t sum = 0;
        for (uint32_t i = 0; i < n_in; i++) sum += hash_word(0x2545F491u, in[i]);
        h = hash_word(h, sum);
    } else {
        for (uint32_t i = 0; i < n_in; i++) h = hash_word(h, in[i]);
    }
    for (uint32_t i = 0; i < n_attr; i++) h = hash_word(h, attr[i]);
    return h;
}

static int compare_refs(const void *a, const void *b)
{
    cr_ref x = *(const cr_ref *)a, y = *(const cr_ref *)b;
    return (x > y) - (x < y);
}

/* Equal as multisets? n > 2 sorts copies; if there is no memory for those, the nodes count as different, which costs a
 * duplicate node but never a wrong result. */
static bool same_multiset(uint32_t n, const cr_ref *a, const cr_ref *b)
{
    if (!memcmp(a, b, n * sizeof *a)) return true;
    if (n == 2) return a[0] == b[1] && a[1] == b[0];
    cr_ref *copy = mem_alloc(2 * (size_t)n * sizeof *copy);
    if (!copy) return false;
    memcpy(copy, a, n * sizeof *a);
    memcpy(copy + n, b, n * sizeof *b);
    qsort(copy, n, sizeof *copy, compare_refs);
    qsort(copy + n, n, sizeof *copy, compare_refs);
    bool same = !memcmp(copy, copy + n, n * sizeof *copy);
    mem_free(copy);
    return same;
}

static bool node_is(const cr_graph *g, cr_ref r, uint32_t hash, cr_op op, node_type type, uint32_t n_in,
                    const cr_ref *in, uint32_t n_attr, const uint32_t *attr)
{
    const cr_node *n = node(g, r);
    if (n->hash != hash || n->op != op || n->type != type || n->n_in != n_in || n->n_attr != n_attr) return false;
    if (op == CR_OP_EINSUM)
        return einsum_equal(g, g->type[type]->rank, n_in, n->word, n->word + n_in, in, attr);
    if (n_attr && memcmp(n->word + n_in, attr, n_attr * sizeof *attr)) return false;
    if (!n_in) return true;
    return commutative(op) ? same_multiset(n_in, n->word, in) : !memcmp(n->word, in, n_in * sizeof *in);
}

cr_ref graph_node(cr_graph *g, cr_op op, node_type type, uint32_t n_in, const cr_ref *in, uint32_t n_attr,
                  const uint32_t *attr)
{
    if (!type) return CR_NONE;
    for (uint32_t i = 0; i < n_in; i++)
        if (!valid(g, in[i])) return CR_NONE;
    if (!grow_table(&g->table, &g->table_cap, g->n_nodes, hash_of_node, g)) return out_of_memory(g);
    uint32_t hash = node_hash(g, op, type, n_in, in, n_attr, attr);
    const size_t cap = g->table_cap;
    size_t k = hash & (cap - 1);
    for (uint32_t slot; (slot = g->table[k]) != 0; k = (k + 1) & (cap - 1)) {
        cr_ref r = graph_slot_id(cap, slot);
        if (slot == graph_slot(cap, hash, r) && node_is(g, r, hash, op, type, n_in, in, n_attr, attr)) return r;
    }

    if (g->n_nodes >= g->max_nodes || n_attr > UINT16_MAX)
        return graph_fail(g, CR_ELIMIT, "the expressions have more than %u parts", (unsigned)g->max_nodes);
    size_t c = g->n_nodes >> CR_NODE_CHUNK_BITS;
    if ((c >= g->chunk_cap || !g->chunk[c]) && !add_chunk(g, c)) return out_of_memory(g);
    uint32_t *word = NULL;
    if (n_in + n_attr) {
        word = arena_alloc(&g->mem, (n_in + n_attr) * sizeof *word);
        if (!word) return out_of_memory(g);
        if (n_in) memcpy(word, in, n_in * sizeof *in);
        if (n_attr) memcpy(word + n_in, attr, n_attr * sizeof *attr);
    }
    cr_ref r = g->n_nodes++;
    g->chunk[c][r & (CHUNK - 1)] = (cr_node){
        .op = (uint16_t)op, .n_attr = (uint16_t)n_attr, .n_in = n_in, .type = type, .hash = hash, .word = word};
    g->table[k] = graph_slot(cap, hash, r);
    return r;
}

/* ---- reading ---------------------------------------------------------------------------------- */

unsigned cr_rank(const cr_graph *g, cr_ref a) { return valid(g, a) ? shape_of(g, a)->rank : 0; }
cr_dtype cr_dtype_of(const cr_graph *g, cr_ref a) { return valid(g, a) ? (cr_dtype)shape_of(g, a)->dtype : CR_REAL; }
cr_dim cr_size(const cr_graph *g, cr_ref a, unsigned axis)
{
    return valid(g, a) && axis < shape_of(g, a)->rank ? shape_of(g, a)->dim[axis] : CR_NONE;
}

bool same_shape(const cr_graph *g, cr_ref a, cr_ref b)
{
    const cr_shape *x = shape_of(g, a), *y = shape_of(g, b);
    return x->rank == y->rank && !memcmp(x->dim, y->dim, x->rank * sizeof x->dim[0]);
}

double attr_double(const cr_graph *g, cr_ref r, uint32_t i)
{
    uint64_t bits = attr_of(g, r, i) | (uint64_t)attr_of(g, r, i + 1) << 32;
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

bool is_const(const cr_graph *g, cr_ref r, double *v)
{
    const cr_node *n = node(g, r);
    if (n->op == CR_OP_EINSUM && n->n_in == 1 && n->n_attr == 0) { /* a broadcast scalar */
        r = n->word[0];
        n = node(g, r);
    }
    if (shape_of(g, r)->dtype != CR_REAL) return false;
    if (n->op == CR_OP_CONST) {
        *v = attr_double(g, r, 0);
        return true;
    }
    int64_t k;
    if (n->op != CR_OP_INT || !dim_value(g->dims, n->word[0], &k)) return false;
    *v = (double)k;
    return true;
}

bool as_dim(cr_graph *g, cr_ref r, cr_dim *d)
{
    if (!valid(g, r) || !is_scalar(g, r)) return false;
    if (op_of(g, r) == CR_OP_INT) {
        *d = attr_of(g, r, 0);
        return true;
    }
    double v;
    if (!is_const(g, r, &v) || !(v >= -9007199254740992.0 && v <= 9007199254740992.0) || v != (double)(int64_t)v ||
        (v == 0 && signbit(v)))
        return false;
    *d = dim_const(g->dims, (int64_t)v);
    return *d != CR_NONE;
}

const char *shape_text(cr_graph *g, cr_ref r, int slot)
{
    static _Thread_local char text[4][160];
    strbuf b;
    sb_init(&b);
    const cr_shape *s = shape_of(g, r);
    if (s->rank == 0) sb_puts(&b, "a scalar");
    else sb_puts(&b, s->rank == 1 ? "R^" : "R^{");
    for (unsigned i = 0; i < s->rank; i++) {
        if (i) sb_puts(&b, " x ");
        bool brace = s->rank == 1 && !dim_is_symbol(g->dims, s->dim[i], &(dim_sym){0}) &&
                     !dim_value(g->dims, s->dim[i], &(int64_t){0});
        if (brace) sb_putc(&b, '{');
        dim_print(g->dims, s->dim[i], &b, NULL, NULL);
        if (brace) sb_putc(&b, '}');
    }
    if (s->rank > 1) sb_putc(&b, '}');
    size_t n = b.n < sizeof text[0] ? b.n : sizeof text[0] - 1;
    memcpy(text[slot], sb_str(&b), n);
    text[slot][n] = '\0';
    sb_free(&b);
    return text[slot];
}

cr_dim dims_product(cr_graph *g, const cr_dim *d, unsigned n)
{
    cr_dim p = dim_const(g->dims, 1);
    for (unsigned i = 0; i < n && p; i++) p = dim_mul(g->dims, p, d[i]);
    return p;
}

dim_sym fresh_symbol(cr_graph *g, const char *stem)
{
    char name[64];
    int n = snprintf(name, sizeof name, "%.40s#%u", stem, ++g->fresh);
    return name_intern(g->dims, name, (size_t)n);
}

/* ---- cones ------------------------------------------------------------------------------------ */

cr_ref *graph_cone(cr_graph *g, unsigned n_roots, const cr_ref *roots, size_t *n)
{
    *n = 0;
    cr_ref top = 0;
    for (unsigned i = 0; i < n_roots; i++) {
        if (roots[i] != CR_NONE && !valid(g, roots[i])) {
            graph_fail(g, CR_EARG, "an invalid expression");
            return NULL;
        }
        if (roots[i] > top) top = roots[i];
    }
    /* Inputs come before their node, so one downward sweep from the highest root marks the cone. */
    unsigned char *mark = mem_zalloc((size_t)top + 1, 1);
    if (!mark) {
        out_of_memory(g);
        return NULL;
    }
    for (unsigned i = 0; i < n_roots; i++) mark[roots[i]] = roots[i] != CR_NONE;
    size_t count = 0;
    for (cr_ref r = top; r > 0; r--) {
        if (!mark[r]) continue;
        count++;
        const cr_node *nd = node(g, r);
        for (uint32_t i = 0; i < nd->n_in; i++) mark[nd->word[i]] = 1;
    }
    cr_ref *cone = mem_alloc((count ? count : 1) * sizeof *cone);
    if (!cone) out_of_memory(g);
    else
        for (cr_ref r = 1; r <= top; r++)
            if (mark[r]) cone[(*n)++] = r;
    mem_free(mark);
    return cone;
}

bool *graph_guarded(cr_graph *g, unsigned n_roots, const cr_ref *roots)
{
    cr_ref top = 0;
    for (unsigned i = 0; i < n_roots; i++)
        if (roots[i] > top) top = roots[i];
    bool *guarded = mem_alloc((size_t)top + 1);
    if (!guarded) {
        out_of_memory(g);
        return NULL;
    }
    memset(guarded, true, (size_t)top + 1);
    for (unsigned i = 0; i < n_roots; i++) guarded[roots[i]] = false;
    for (cr_ref r = top; r > 0; r--) {
        if (guarded[r]) continue;
        const cr_node *nd = node(g, r);
        uint32_t n = nd->op == CR_OP_SELECT ? 1 : nd->n_in; /* the condition is always needed */
        for (uint32_t i = 0; i < n; i++) guarded[nd->word[i]] = false;
    }
    return guarded;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

typedef struct range_class {
    const cr_graph *g;
    int level; /* 0 number, 1 symbols, 2 sizes */
} range_class;

static void raise_class(void *user, dim_sym s)
{
    range_class *c = user;
    if (c->level == 0) c->level = 1;
    for (size_t i = 0; i < c->g->param_cap && c->level < 2; i++) {
        cr_ref p = c->g->param_by_name[i];
        const cr_shape *t = p ? shape_of(c->g, p) : NULL;
        for (unsigned k = 0; t && k < t->rank; k++)
            if (dim_uses(c->g->dims, t->dim[k], s)) c->level = 2;
    }
}

bool graph_runs_down(cr_graph *g, cr_dim from, cr_dim to)
{
    range_class a = {g, 0}, b = {g, 0};
    int64_t gap;
    cr_dim d = dim_sub(g->dims, from, to);
    if (d && dim_value(g->dims, d, &gap)) return gap > 0;
    dim_symbols(g->dims, from, raise_class, &a);
    dim_symbols(g->dims, to, raise_class, &b);
    return a.level > b.level;
}

/* ---- functions -------------------------------------------------------------------------------- */

static cr_fun add_function(cr_graph *g, const char *name, cr_ref arg, cr_ref body)
{
    dim_sym s = name_intern(g->dims, name, strlen(name));
    for (size_t i = 1; i < g->n_fun; i++)
        if (g->fun[i].name == s) {
            if (g->fun[i].arg == arg && g->fun[i].body == body) return (cr_fun)i;
            return graph_fail(g, CR_ENAME, "function `%s` is already declared", name);
        }
    if (!s || !VEC_RESERVE(g->fun, g->fun_cap, g->n_fun + 1)) return out_of_memory(g);
    g->fun[g->n_fun] = (cr_function){.name = s, .arg = arg, .body = body};
    return (cr_fun)g->n_fun++;
}

cr_fun cr_fun_unknown(cr_graph *g, const char *name) { return add_function(g, name, CR_NONE, CR_NONE); }

cr_fun cr_fun_known(cr_graph *g, const char *name, cr_ref arg, cr_ref body)
{
    if (!valid(g, arg) || !valid(g, body)) return 0;
    if (op_of(g, arg) != CR_OP_PARAM || !is_scalar(g, arg) || !is_scalar(g, body))
        return graph_fail(g, CR_ESHAPE, "the body of `%s` must be a scalar in a scalar parameter", name);
    return add_function(g, name, arg, body);
}

cr_ref cr_call(cr_graph *g, cr_fun f, unsigned order, cr_ref a)
{
    if (!f || f >= g->n_fun) return graph_fail(g, CR_ENAME, "an unknown function");
    if (!valid(g, a)) return CR_NONE;
    if (shape_of(g, a)->dtype != CR_REAL)
        return graph_fail(g, CR_ESHAPE, "`%s` takes a number, not a condition", name_text(g->dims, g->fun[f].name));
    return graph_node(g, CR_OP_CALL, node(g, a)->type, 1, &a, 2, (uint32_t[]){f, order});
}
