/* Room graph: nodes, types, builders. See docs in ARCHITECTURE.md, "The graph".
 *
 * Invariants (cr_verify checks them):
 *  - inputs of a node have smaller refs than the node;
 *  - no two nodes are equal (operator, type, inputs, attributes; commutative operators up to order, einsum
 *    up to the naming of its summed labels);
 *  - node pointers and their words stay valid for the life of the graph. */
#ifndef CR_GRAPH_H
#define CR_GRAPH_H

#include "graph/dim.h"

typedef uint32_t node_type; /* interned dtype and shape; 0 none */

typedef struct cr_shape {
    uint8_t dtype; /* cr_dtype */
    uint8_t rank;
    cr_dim dim[CR_MAX_RANK];
} cr_shape;

typedef struct cr_node {
    uint16_t op; /* cr_op */
    uint16_t n_attr;
    uint32_t n_in;
    node_type type;
    uint32_t hash;
    const uint32_t *word; /* n_in inputs as first written, then n_attr attribute words */
} cr_node;

typedef struct cr_function {
    dim_sym name;
    cr_ref arg, body; /* CR_NONE for an unknown function */
} cr_function;

/* One definition of a family: body for index in lo..hi. The symbol occurs in no other expression. */
typedef struct family_piece {
    cr_dim lo, hi;
    dim_sym index;
    cr_ref body;
} family_piece;

typedef struct family {
    dim_sym name;
    node_type type; /* of a member */
    family_piece *piece; /* of disjoint ranges, ascending; a range may turn out to be empty */
    size_t n_pieces;
    cr_dim *assume; /* what the definitions suppose: each >= 0 */
    size_t n_assume;
    bool checked; /* and all that it rests on: none of them changes any more */
    bool derived; /* not the user's: the derivative of another family */
    uint32_t order; /* once checked: members of equal index are computed by ascending order */
    dim_sym subst_from; /* the last substitution of a symbol in it ... */
    cr_dim subst_by;
    cr_family subst; /* ... and what came of it */
} family;

#define CR_NODE_CHUNK_BITS 12
struct cr_graph {
    error err;
    dim_table *dims;
    arena mem; /* node chunks and words */
    cr_node **chunk;
    size_t chunk_cap;
    uint32_t max_nodes;
    uint32_t n_nodes; /* refs 1 .. n_nodes-1 are valid */
    uint32_t *table;  /* open addressing, see graph_slot */
    size_t table_cap;
    const cr_shape **type; /* by node_type */
    size_t n_types, type_cap;
    uint32_t *type_table;
    size_t type_table_cap;
    cr_function *fun; /* by cr_fun, from 1 */
    size_t n_fun, fun_cap;
    family *family; /* by cr_family, from 1 */
    size_t n_family, family_cap;
    cr_dim *param_lo; /* by dim_sym: index of the first member of a family of parameters; 0: not a family */
    size_t param_lo_cap;
    cr_ref *param_by_name; /* by dim_sym; CR_NONE if no parameter has that name */
    size_t param_cap;
    uint32_t fresh; /* counter for names that no user can write */
    const char *where; /* what the user wrote, put into error messages; NULL none. Set by the parser. */
};

static inline const cr_node *node(const cr_graph *g, cr_ref r)
{
    return &g->chunk[r >> CR_NODE_CHUNK_BITS][r & ((1u << CR_NODE_CHUNK_BITS) - 1)];
}
/* An entry of the tables of nodes and types. They are at most half full, so an id below cap/2 leaves the high bits free
 * for those of its hash: other nodes that stand in the way of a search are hardly ever looked at. 0: empty. */
static inline uint32_t graph_slot(size_t cap, uint32_t hash, uint32_t id)
{
    return (hash & ~(uint32_t)(cap / 2 - 1)) | id;
}
static inline uint32_t graph_slot_id(size_t cap, uint32_t slot) { return slot & (uint32_t)(cap / 2 - 1); }
static inline cr_op op_of(const cr_graph *g, cr_ref r) { return (cr_op)node(g, r)->op; }
static inline cr_ref in_of(const cr_graph *g, cr_ref r, uint32_t i) { return node(g, r)->word[i]; }
static inline uint32_t attr_of(const cr_graph *g, cr_ref r, uint32_t i)
{
    const cr_node *n = node(g, r);
    return n->word[n->n_in + i];
}
static inline const cr_shape *shape_of(const cr_graph *g, cr_ref r) { return g->type[node(g, r)->type]; }
static inline bool valid(const cr_graph *g, cr_ref r) { return r != CR_NONE && r < g->n_nodes; }

/* Sets the graph's first error and returns CR_NONE, so that builders can `return graph_fail(...)`. */
cr_ref graph_fail(cr_graph *g, cr_status status, const char *fmt, ...) CR_PRINTF(3, 4);

node_type graph_type(cr_graph *g, cr_dtype dtype, unsigned rank, const cr_dim *dim); /* 0 on failure */
/* The node with these inputs and attributes, made if new. No rewrites, no checks: for builders only. */
cr_ref graph_node(cr_graph *g, cr_op op, node_type type, uint32_t n_in, const cr_ref *in, uint32_t n_attr,
                  const uint32_t *attr);

/* Refs of the cone of roots (all that they depend on, themselves included) in ascending order, so inputs first. Not
 * through function bodies. Allocated with mem_alloc; NULL with the graph's error set on failure. */
cr_ref *graph_cone(cr_graph *g, unsigned n_roots, const cr_ref *roots, size_t *n);

/* guarded[r]: r is reached from the roots through a branch of a choice only, so that what it needs (an index in range)
 * may fail where the choice leaves it out. mem_alloc'ed, by ref up to the highest root; NULL: out of memory. */
bool *graph_guarded(cr_graph *g, unsigned n_roots, const cr_ref *roots);

/* The same node over other inputs, through the builders (so that EXACT rewrites apply); shapes may differ from the
 * old ones where the operator allows it. `in` has n_in entries. */
cr_ref graph_remake(cr_graph *g, cr_ref r, const cr_ref *in);
/* a with k leading axes of sizes dim, along which it is constant; conditions too. */
cr_ref graph_tile(cr_graph *g, cr_ref a, unsigned k, const cr_dim *dim);
/* Scalar expression `body` in the scalar parameter `arg`, applied to each entry of `value`: element-wise operators
 * only. */
cr_ref graph_inline(cr_graph *g, cr_ref body, cr_ref arg, cr_ref value);
/* Rebuild with symbols replaced: each occurrence of s in sizes, indices and exponents by d. */
cr_ref graph_subst_symbol(cr_graph *g, cr_ref a, dim_sym s, cr_dim d);

/* ---- reading nodes ---------------------------------------------------------------------------- */
bool is_const(const cr_graph *g, cr_ref r,
              double *v); /* a scalar real constant or a number-valued INT, or a broadcast of one */
static inline bool is_scalar(const cr_graph *g, cr_ref r) { return shape_of(g, r)->rank == 0; }
/* r as an integer polynomial, if it is one (INT, or a constant with integer value). */
bool as_dim(cr_graph *g, cr_ref r, cr_dim *d);
double attr_double(const cr_graph *g, cr_ref r, uint32_t i); /* attribute words i, i+1 as a double */
/* Calls fn for each symbol that the node itself names (sizes, index, exponent, range), inputs not included. */
void graph_node_dims(const cr_graph *g, cr_ref r, void (*fn)(void *user, dim_sym s), void *user);
bool graph_node_uses(const cr_graph *g, cr_ref r, dim_sym s);
bool depends_on_symbol(cr_graph *g, cr_ref r, dim_sym s);    /* free occurrences in the cone */
bool same_shape(const cr_graph *g, cr_ref a, cr_ref b);
/* Is a range written from..to one that runs downwards, as N..i+1, 4..1 and i..1 do? Sizes (symbols in the shape of a
 * parameter) are beyond other symbols, and those beyond numbers. Readers and printers of products of matrices ask. */
bool graph_runs_down(cr_graph *g, cr_dim from, cr_dim to);
/* Product of the sizes of axes from..to-1. */
cr_dim dims_product(cr_graph *g, const cr_dim *d, unsigned n);
/* A shape for messages: `5 x 3`, `scalar`, `R^n`. Valid until the next call with the same slot (0..3). */
const char *shape_text(cr_graph *g, cr_ref r, int slot);
dim_sym fresh_symbol(cr_graph *g, const char *stem);

/* ---- families ---------------------------------------------------------------------------------- */
/* First index of the family of parameters r; 0 if r is no such thing. */
cr_dim family_first(const cr_graph *g, cr_ref r);
cr_dim family_last(const cr_graph *g, cr_ref r);
/* The families that members in the cones of roots rest on, directly or not, each once. mem_alloc'ed; NULL only on
 * failure. */
cr_family *family_reach(cr_graph *g, unsigned n_roots, const cr_ref *roots, size_t *n);
/* The same, all checked, in an order in which members of equal index can be computed. */
cr_family *family_closure(cr_graph *g, unsigned n_roots, const cr_ref *roots, size_t *n);
bool family_uses(cr_graph *g, cr_family f, dim_sym s); /* free, in it or in what it rests on */
cr_family family_subst(cr_graph *g, cr_family f, dim_sym s, cr_dim by);
/* The piece that defines index i, where that can be told without knowing sizes; NULL if not. */
const family_piece *family_piece_at(cr_graph *g, cr_family f, cr_dim i);
cr_ref family_body_at(cr_graph *g, const family_piece *p, cr_dim i); /* its body there */
/* As cr_family_check; says which definition is at fault (none: .f is 0). */
typedef struct family_fault {
    cr_family f;
    family_piece piece;
} family_fault;
cr_status family_check(cr_graph *g, cr_family f, family_fault *fault);
/* Gives `to` the pieces of `from`, and what they suppose, with these bodies. */
bool family_define_like(cr_graph *g, cr_family to, cr_family from, const cr_ref *body);
bool family_suppose(cr_graph *g, family *f, cr_dim d); /* d >= 0, unless sizes >= 1 imply it */
/* Least value of d when every symbol is at least 1: false if there is none. */
bool family_least(cr_graph *g, cr_dim d, int64_t *least);

/* ---- einsum ------------------------------------------------------------------------------------ */
#define EINSUM_MAX_LABELS 64
/* Operand i of einsum r and its labels (rank many). */
typedef struct einsum_view {
    uint32_t n; /* operands */
    unsigned rank; /* labels below are axes of the result */
    unsigned n_labels;
    const cr_ref *operand;
    const uint32_t *labels; /* of all operands, one after the other */
    cr_dim size[EINSUM_MAX_LABELS];
} einsum_view;
void einsum_read(const cr_graph *g, cr_ref r, einsum_view *v);

#endif
