/* The one edit: the same expression over other inputs, or with other sizes; and copies into a new graph. */
#include "graph/window.h"

#include <string.h>

/* How sizes, indices and exponents change on the way. */
typedef struct dim_map {
    dim_sym from;
    cr_dim to;
} dim_map;

static cr_dim map_dim(cr_graph *g, const dim_map *m, cr_dim d)
{
    return m ? dim_substitute(g->dims, d, m->from, m->to) : d;
}

static cr_ref remake_window(cr_graph *g, cr_ref r, const cr_ref *in, const dim_map *m)
{
    cr_window w;
    window_read(g, r, &w);
    w.groups = map_dim(g, m, w.groups);
    cr_dim *const part[] = {w.stride, w.dilation, w.low, w.result, w.size};
    for (unsigned k = 0; k < (op_of(g, r) == CR_OP_CONV ? 4 : 5); k++)
        for (unsigned i = 0; i < w.axes; i++)
            if (!(part[k][i] = map_dim(g, m, part[k][i]))) return CR_NONE;
    return w.groups ? window_remake(g, r, in, &w) : CR_NONE;
}

static cr_ref remake(cr_graph *g, cr_ref r, const cr_ref *in, const dim_map *m)
{
    const cr_node *n = node(g, r);
    const cr_shape *s = shape_of(g, r);
    const uint32_t *attr = n->word + n->n_in;
    cr_dim dim[CR_MAX_RANK];
    for (unsigned i = 0; i < s->rank; i++) dim[i] = map_dim(g, m, s->dim[i]);
    for (uint32_t i = 0; i < n->n_in; i++)
        if (!valid(g, in[i])) return CR_NONE;
    switch ((cr_op)n->op) {
    case CR_OP_PARAM:
        if (memcmp(dim, s->dim,
                   s->rank * sizeof *dim)) /* a variable keeps its declared size; only sizes in front of it change */
            return graph_node(g, CR_OP_PARAM, graph_type(g, CR_REAL, s->rank, dim), 0, NULL, 2, attr);
        return r;
    case CR_OP_CONST: return r;
    case CR_OP_INT: return cr_int(g, map_dim(g, m, attr[0]));
    case CR_OP_ONEHOT: return cr_onehot(g, map_dim(g, m, attr[0]), dim[0]);
    case CR_OP_IDENTITY: return cr_identity(g, dim[0]);
    case CR_OP_IOTA: return cr_iota(g, dim[0]);
    case CR_OP_EINSUM: {
        uint8_t small[256], *label = n->n_attr <= sizeof small ? small : mem_alloc(n->n_attr);
        if (!label) return graph_fail(g, CR_ENOMEM, "out of memory");
        for (unsigned i = 0; i < n->n_attr; i++) label[i] = (uint8_t)attr[i];
        cr_ref out = cr_einsum(g, n->n_in, in, label, s->rank, dim);
        if (label != small) mem_free(label);
        return out;
    }
    case CR_OP_ADD: return cr_add_n(g, n->n_in, in);
    case CR_OP_SELECT: return cr_select(g, in[0], in[1], in[2]);
    case CR_OP_LEAKY_RELU: return cr_leaky_relu(g, in[0], attr_double(g, r, 0));
    case CR_OP_SOFTMAX: return cr_softmax(g, in[0], attr[0]);
    case CR_OP_LOGSOFTMAX: return cr_logsoftmax(g, in[0], attr[0]);
    case CR_OP_RESHAPE: return cr_reshape(g, in[0], s->rank, dim);
    case CR_OP_STACK: return cr_stack(g, n->n_in, in, s->rank, dim);
    case CR_OP_GATHER: return cr_gather(g, in[0], in[1], attr[0]);
    case CR_OP_SCATTER: return cr_scatter(g, in[0], in[1], attr[0], dim[attr[0]]);
    case CR_OP_MATPOW: return cr_matpow(g, in[0], map_dim(g, m, attr[0]));
    case CR_OP_PICK: return cr_pick(g, in[0], map_dim(g, m, attr[0]));
    case CR_OP_MEMBER: {
        cr_family f = attr[0];
        cr_dim index = map_dim(g, m, attr[1]);
        /* symbols that binders and definitions bind are free in no family */
        if (m && !strchr(name_text(g->dims, m->from), '#') && family_uses(g, f, m->from))
            f = family_subst(g, f, m->from, m->to);
        return f ? cr_member(g, f, index) : CR_NONE;
    }
    case CR_OP_CALL: return cr_call(g, attr[0], attr[1], in[0]);
    case CR_OP_CONV: case CR_OP_WINDOW: case CR_OP_MAXPOOL: case CR_OP_MAXTIES: case CR_OP_MAXPICK:
        return remake_window(g, r, in, m);
    case CR_OP_BIND: {
        dim_sym sym;
        if (!dim_is_symbol(g->dims, attr[1], &sym)) return graph_fail(g, CR_EINTERNAL, "a binder without a symbol");
        return cr_bind(g, (cr_bind_kind)attr[0], name_text(g->dims, sym), map_dim(g, m, attr[2]),
                       map_dim(g, m, attr[3]), in[0]);
    }
    case CR_OP_MAXR: case CR_OP_MINR: case CR_OP_PRODR: case CR_OP_ALLR: case CR_OP_ANYR:
    case CR_OP_NORM1: case CR_OP_NORM2: case CR_OP_NORM_INF:
        return cr_reduce(g, (cr_op)n->op, in[0], attr[0]);
    case CR_OP_DET: case CR_OP_LOGDET: case CR_OP_INV: case CR_OP_PINV: case CR_OP_ADJ:
        return cr_linalg(g, (cr_op)n->op, in[0]);
    default: return n->n_in == 2 ? cr_map2(g, (cr_op)n->op, in[0], in[1]) : cr_map(g, (cr_op)n->op, in[0]);
    }
}

cr_ref graph_remake(cr_graph *g, cr_ref r, const cr_ref *in) { return remake(g, r, in, NULL); }

/* new_of[r]: what r becomes, filled for the cone in ascending order; nodes that nothing touches stay as they are. */
static cr_status rebuild(cr_graph *g, unsigned n_roots, const cr_ref *roots, unsigned n_map, const cr_ref *from,
                         const cr_ref *to, const dim_map *m, cr_ref *out)
{
    size_t n;
    cr_ref *cone = graph_cone(g, n_roots, roots, &n);
    if (!cone) return g->err.status;
    cr_ref top = n ? cone[n - 1] : 0;
    cr_ref *new_of = mem_zalloc((size_t)top + 1, sizeof *new_of);
    cr_ref *in = NULL;
    size_t in_cap = 0;
    bool ok = new_of != NULL;
    for (unsigned i = 0; i < n_map && ok; i++) {
        if (!valid(g, from[i]) || !valid(g, to[i])) ok = false;
        else if (!same_shape(g, from[i], to[i])) {
            graph_fail(g, CR_ESHAPE, "%s cannot replace %s", shape_text(g, to[i], 0), shape_text(g, from[i], 1));
            ok = false;
        } else if (from[i] <= top) {
            new_of[from[i]] = to[i];
        }
    }
    for (size_t i = 0; i < n && ok; i++) {
        cr_ref r = cone[i];
        if (new_of[r]) continue;
        const cr_node *nd = node(g, r);
        bool changed = m != NULL;
        ok = VEC_RESERVE(in, in_cap, nd->n_in + 1);
        for (uint32_t k = 0; k < nd->n_in && ok; k++) {
            in[k] = new_of[nd->word[k]];
            changed |= in[k] != nd->word[k];
        }
        if (!ok) break;
        new_of[r] = changed ? remake(g, r, in, m) : r;
        ok = new_of[r] != CR_NONE;
    }
    for (unsigned i = 0; i < n_roots && ok; i++) out[i] = roots[i] ? new_of[roots[i]] : CR_NONE;
    mem_free(in);
    mem_free(new_of);
    mem_free(cone);
    if (!ok && g->err.status == CR_OK) graph_fail(g, CR_ENOMEM, "out of memory");
    return ok ? CR_OK : g->err.status;
}

cr_status cr_rebuild(cr_graph *g, unsigned n_roots, const cr_ref *roots, unsigned n_map, const cr_ref *from,
                     const cr_ref *to, cr_ref *out)
{
    return rebuild(g, n_roots, roots, n_map, from, to, NULL, out);
}

cr_ref graph_subst_symbol(cr_graph *g, cr_ref a, dim_sym s, cr_dim d)
{
    cr_ref out = CR_NONE;
    if (!valid(g, a) || !d) return CR_NONE;
    return rebuild(g, 1, &a, 0, NULL, NULL, &(dim_map){s, d}, &out) == CR_OK ? out : CR_NONE;
}

cr_ref graph_inline(cr_graph *g, cr_ref body, cr_ref arg, cr_ref value)
{
    size_t n;
    if (!valid(g, body) || !valid(g, value)) return CR_NONE;
    cr_ref *cone = graph_cone(g, 1, &body, &n), *in = NULL;
    if (!cone) return CR_NONE;
    cr_ref *new_of = mem_zalloc((size_t)body + 1, sizeof *new_of);
    size_t in_cap = 0;
    bool ok = new_of != NULL;
    for (size_t i = 0; i < n && ok; i++) {
        const cr_node *nd = node(g, cone[i]);
        bool changed = false;
        ok = VEC_RESERVE(in, in_cap, nd->n_in + 1);
        for (uint32_t k = 0; k < nd->n_in && ok; k++) {
            in[k] = new_of[nd->word[k]];
            changed |= in[k] != nd->word[k];
        }
        if (!ok) break;
        cr_ref out = cone[i] == arg ? value : cone[i];
        if (changed && nd->op == CR_OP_EINSUM) { /* of scalars: a product, now of tensors entry by entry */
            out = in[0];
            for (uint32_t k = 1; k < nd->n_in; k++) out = cr_mul(g, out, in[k]);
        } else if (changed) {
            out = graph_remake(g, cone[i], in);
        }
        new_of[cone[i]] = out;
        ok = out != CR_NONE;
    }
    cr_ref out = ok ? new_of[body] : CR_NONE;
    if (!ok && g->err.status == CR_OK) graph_fail(g, CR_ENOMEM, "out of memory");
    mem_free(in);
    mem_free(new_of);
    mem_free(cone);
    const cr_shape *s = shape_of(g, value);
    return out && is_scalar(g, out) && s->rank ? cr_full(g, out, s->rank, s->dim) : out; /* a constant body */
}

cr_ref cr_substitute(cr_graph *g, cr_ref a, const char *name, cr_dim d)
{
    return graph_subst_symbol(g, a, name_intern(g->dims, name, strlen(name)), d);
}

/* ---- symbols of a node ------------------------------------------------------------------------- */

void graph_node_dims(const cr_graph *g, cr_ref r, void (*fn)(void *user, dim_sym s), void *user)
{
    const cr_node *n = node(g, r);
    const uint32_t *attr = n->word + n->n_in;
    const cr_shape *t = shape_of(g, r);
    for (unsigned i = 0; i < t->rank; i++) dim_symbols(g->dims, t->dim[i], fn, user);
    switch ((cr_op)n->op) {
    case CR_OP_INT: case CR_OP_ONEHOT: case CR_OP_MATPOW: case CR_OP_PICK:
        dim_symbols(g->dims, attr[0], fn, user);
        break;
    case CR_OP_MEMBER: dim_symbols(g->dims, attr[1], fn, user); break;
    case CR_OP_BIND:
        for (int i = 1; i < 4; i++) dim_symbols(g->dims, attr[i], fn, user);
        break;
    case CR_OP_CONV: case CR_OP_WINDOW: case CR_OP_MAXPOOL: case CR_OP_MAXTIES: case CR_OP_MAXPICK:
        for (unsigned i = 1; i < n->n_attr; i++) dim_symbols(g->dims, attr[i], fn, user);
        break;
    default: break;
    }
}

typedef struct symbol_search {
    dim_sym s;
    bool found;
} symbol_search;

static void see_symbol(void *user, dim_sym s)
{
    symbol_search *f = user;
    f->found |= f->s == s;
}

bool graph_node_uses(const cr_graph *g, cr_ref r, dim_sym s)
{
    symbol_search f = {s, false};
    graph_node_dims(g, r, see_symbol, &f);
    return f.found;
}

/* Free occurrences only: what a binder of s binds is its own. */
bool depends_on_symbol(cr_graph *g, cr_ref r, dim_sym s)
{
    unsigned char *mark = mem_zalloc((size_t)r + 1, 1);
    bool uses = false;
    if (!mark) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        return false;
    }
    mark[r] = 1;
    for (cr_ref k = r; k > 0 && !uses; k--) {
        if (!mark[k]) continue;
        const cr_node *n = node(g, k);
        dim_sym bound;
        if (n->op == CR_OP_BIND && dim_is_symbol(g->dims, n->word[2], &bound) && bound == s) {
            uses = dim_uses(g->dims, n->word[3], s) || dim_uses(g->dims, n->word[4], s);
            continue;
        }
        uses = graph_node_uses(g, k, s) ||
               (n->op == CR_OP_MEMBER && !strchr(name_text(g->dims, s), '#') && family_uses(g, n->word[0], s));
        for (uint32_t i = 0; i < n->n_in; i++) mark[n->word[i]] = 1;
    }
    mem_free(mark);
    return uses;
}

/* ---- compact ----------------------------------------------------------------------------------- */

static cr_dim copy_dim(const cr_graph *from, cr_graph *to, cr_dim d) { return dim_copy(from->dims, d, to->dims); }

static uint32_t copy_name(const cr_graph *from, cr_graph *to, uint32_t s)
{
    const char *text = name_text(from->dims, s);
    return name_intern(to->dims, text, strlen(text));
}

/* Nodes are copied as they are: no builder may rewrite what is already built. */
static cr_ref copy_node(const cr_graph *from, cr_graph *to, cr_ref r, const cr_ref *new_of, const cr_fun *fun_of,
                        const cr_family *family_of)
{
    const cr_node *n = node(from, r);
    const cr_shape *s = shape_of(from, r);
    cr_dim dim[CR_MAX_RANK];
    for (unsigned i = 0; i < s->rank; i++) dim[i] = copy_dim(from, to, s->dim[i]);
    uint32_t small[128], n_words = n->n_in + n->n_attr;
    uint32_t *word = n_words <= 128 ? small : mem_alloc(n_words * sizeof *word);
    if (!word) return graph_fail(to, CR_ENOMEM, "out of memory");
    for (uint32_t i = 0; i < n->n_in; i++) word[i] = new_of[n->word[i]];
    uint32_t *attr = word + n->n_in;
    for (uint32_t i = 0; i < n->n_attr; i++) attr[i] = n->word[n->n_in + i];
    switch ((cr_op)n->op) {
    case CR_OP_PARAM: attr[0] = copy_name(from, to, attr[0]); break;
    case CR_OP_INT: case CR_OP_ONEHOT: case CR_OP_MATPOW: case CR_OP_PICK:
        attr[0] = copy_dim(from, to, attr[0]);
        break;
    case CR_OP_MEMBER:
        attr[0] = family_of[attr[0]];
        attr[1] = copy_dim(from, to, attr[1]);
        break;
    case CR_OP_CALL: attr[0] = fun_of[attr[0]]; break;
    case CR_OP_BIND:
        for (int i = 1; i < 4; i++) attr[i] = copy_dim(from, to, attr[i]);
        break;
    case CR_OP_CONV: case CR_OP_WINDOW: case CR_OP_MAXPOOL: case CR_OP_MAXTIES: case CR_OP_MAXPICK:
        for (unsigned i = 1; i < n->n_attr; i++) attr[i] = copy_dim(from, to, attr[i]);
        break;
    default: break;
    }
    cr_ref out;
    cr_dim first = family_first(from, r);
    if (first)
        out = cr_param_family(to, name_text(to->dims, attr[0]), copy_dim(from, to, first),
                              copy_dim(from, to, family_last(from, r)), s->rank - 1u, dim + 1, attr[1]);
    else if (n->op == CR_OP_PARAM)
        out = cr_param(to, name_text(to->dims, attr[0]), s->rank, dim, attr[1]);
    else
        out = graph_node(to, (cr_op)n->op, graph_type(to, (cr_dtype)s->dtype, s->rank, dim), n->n_in, word, n->n_attr,
                         attr);
    if (word != small) mem_free(word);
    return out;
}

static bool copy_family(const cr_graph *from, cr_graph *to, cr_family f, cr_family into, const cr_ref *new_of)
{
    const family *old = &from->family[f];
    family *new = &to->family[into];
    new->piece = arena_alloc(&to->mem, (old->n_pieces + 1) * sizeof *new->piece);
    new->assume = arena_alloc(&to->mem, (old->n_assume + 1) * sizeof *new->assume);
    if (!new->piece || !new->assume) return false;
    for (size_t i = 0; i < old->n_pieces; i++) {
        const family_piece *p = &old->piece[i];
        new->piece[i] = (family_piece){copy_dim(from, to, p->lo), copy_dim(from, to, p->hi),
                                       copy_name(from, to, p->index), new_of[p->body]};
    }
    for (size_t i = 0; i < old->n_assume; i++) new->assume[i] = copy_dim(from, to, old->assume[i]);
    new->n_pieces = old->n_pieces;
    new->n_assume = old->n_assume;
    new->checked = old->checked;
    new->order = old->order;
    new->derived = old->derived;
    return true;
}

cr_graph *cr_compact(const cr_graph *g, unsigned n_roots, const cr_ref *roots, cr_ref *out)
{
    cr_graph *to = cr_graph_new();
    unsigned char *mark = mem_zalloc(g->n_nodes, 1), *mark_fun = mem_zalloc(g->n_fun, 1);
    cr_ref *new_of = mem_zalloc(g->n_nodes, sizeof *new_of);
    cr_fun *fun_of = mem_zalloc(g->n_fun, sizeof *fun_of);
    unsigned char *mark_family = mem_zalloc(g->n_family, 1);
    cr_family *family_of = mem_zalloc(g->n_family, sizeof *family_of);
    if (to) to->fresh = g->fresh; /* names that are copied stay apart from new ones */
    bool ok = to && mark && mark_fun && new_of && fun_of && mark_family && family_of;
    for (unsigned i = 0; i < n_roots && ok; i++) {
        if (roots[i] && !valid(g, roots[i])) ok = false;
        else mark[roots[i]] = roots[i] != CR_NONE;
    }
    /* A call needs its function's body, and a member its family's definitions, which may stand anywhere. */
    for (bool again = true; ok && again;) {
        again = false;
        for (cr_ref r = g->n_nodes - 1; r > 0; r--) {
            if (!mark[r]) continue;
            const cr_node *n = node(g, r);
            for (uint32_t i = 0; i < n->n_in; i++) mark[n->word[i]] = 1;
            if (n->op == CR_OP_CALL) {
                const cr_function *f = &g->fun[n->word[1]];
                mark_fun[n->word[1]] = 1;
                if (f->body) mark[f->body] = mark[f->arg] = 1;
            } else if (n->op == CR_OP_MEMBER && !mark_family[n->word[0]]) {
                const family *f = &g->family[n->word[0]];
                mark_family[n->word[0]] = 1;
                for (size_t i = 0; i < f->n_pieces; i++) mark[f->piece[i].body] = 1;
                again = true;
            }
        }
    }
    for (cr_family f = 1; ok && f < g->n_family; f++) {
        if (!mark_family[f]) continue;
        const cr_shape *s = g->type[g->family[f].type];
        cr_dim dim[CR_MAX_RANK];
        for (unsigned i = 0; i < s->rank; i++) dim[i] = copy_dim(g, to, s->dim[i]);
        family_of[f] = cr_family_new(to, name_text(g->dims, g->family[f].name), s->rank, dim);
        ok = family_of[f] != 0;
    }
    for (cr_ref r = 1; ok && r < g->n_nodes; r++) {
        if (!mark[r]) continue;
        const cr_node *n = node(g, r);
        if (n->op == CR_OP_CALL && !fun_of[n->word[1]]) {
            const cr_function *f = &g->fun[n->word[1]];
            const char *name = name_text(g->dims, f->name);
            fun_of[n->word[1]] =
                f->body ? cr_fun_known(to, name, new_of[f->arg], new_of[f->body]) : cr_fun_unknown(to, name);
            ok = fun_of[n->word[1]] != 0;
        }
        if (ok) new_of[r] = copy_node(g, to, r, new_of, fun_of, family_of);
        ok = ok && new_of[r];
    }
    for (cr_family f = 1; ok && f < g->n_family; f++)
        if (mark_family[f]) ok = copy_family(g, to, f, family_of[f], new_of);
    for (unsigned i = 0; i < n_roots && ok; i++) out[i] = new_of[roots[i]];
    mem_free(mark_family);
    mem_free(family_of);
    mem_free(mark);
    mem_free(mark_fun);
    mem_free(new_of);
    mem_free(fun_of);
    if (!ok) {
        cr_graph_free(to);
        return NULL;
    }
    return to;
}

/* ---- verify ------------------------------------------------------------------------------------ */

cr_status cr_verify(const cr_graph *g, char *msg, size_t msg_size)
{
    const char *fault = NULL;
    cr_ref r = 1;
    for (; r < g->n_nodes && !fault; r++) {
        const cr_node *n = node(g, r);
        if (n->op == CR_OP_NONE || n->op >= CR_OP_COUNT) fault = "an operator that does not exist";
        else if (!n->type || n->type >= g->n_types) fault = "a type that does not exist";
        for (uint32_t i = 0; i < n->n_in && !fault; i++)
            if (!n->word[i] || n->word[i] >= r) fault = "an input that does not come before its node";
        if (fault) break;
        if (n->op == CR_OP_EINSUM) {
            einsum_view v;
            einsum_read(g, r, &v);
            const uint32_t *l = v.labels;
            for (uint32_t i = 0; i < v.n && !fault; i++) {
                const cr_shape *s = shape_of(g, v.operand[i]);
                for (unsigned k = 0; k < s->rank; k++, l++)
                    if (v.size[*l] != s->dim[k] || *l >= EINSUM_MAX_LABELS) fault = "an einsum whose sizes disagree";
            }
        } else if (n->op == CR_OP_ADD) {
            for (uint32_t i = 0; i < n->n_in; i++)
                if (node(g, n->word[i])->type != n->type) fault = "a sum of different shapes";
        }
        size_t k = n->hash & (g->table_cap - 1);
        while (g->table[k] && graph_slot_id(g->table_cap, g->table[k]) != r) k = (k + 1) & (g->table_cap - 1);
        if (!fault && !g->table[k]) fault = "a node that the table does not find";
        if (fault) break;
    }
    if (!fault) return CR_OK;
    strbuf b;
    sb_init(&b);
    sb_printf(&b, "node %u: %s", (unsigned)r, fault);
    if (msg_size) {
        size_t m = b.n < msg_size ? b.n : msg_size - 1;
        memcpy(msg, sb_str(&b), m);
        msg[m] = '\0';
    }
    sb_free(&b);
    return CR_EINTERNAL;
}
