/* The printers, room-internal. An expression is printed in two stages:
 *
 *   graph ref --(print_graph.c, print_einsum.c, print_contract.c)--> layout tree --(print.c, one style table per
 * format)--> text
 *
 * The tree is what a person would write: sums with signs, products, fractions, indices. It knows nothing of formats,
 * and the styles know nothing of graphs, so that a new format is one table and a new operator one line of
 * print_graph.c. */
#ifndef CR_PRINT_H
#define CR_PRINT_H

#include "lang/lang.h"

typedef enum tree_kind {
    T_NUMBER, /* .number >= 0, finite */
    T_NAME,   /* .name */
    T_DIM,    /* .dim, an integer polynomial */
    T_CALL,   /* .name of the function, .op its operator if it is one, CR_OP_CALL if it is the user's; .order primes */
    T_ADD,    /* terms, .minus[i] their signs */
    T_NEG,
    T_MUL,      /* factors of a matrix product, scalars first; .op says more, see TREE_CHAIN */
    T_HADAMARD, /* factors, element by element */
    T_DIV,      /* by a scalar */
    T_HDIV,     /* element by element */
    T_POW,      /* of a scalar, or of a square matrix */
    T_HPOW,     /* element by element */
    T_TRANSPOSE,
    T_KRON,
    T_INDEX,   /* base, indices */
    T_BIG,     /* .op a cr_bind_kind; (index, lo, hi)..., body; .dim: -1 if the text must say that it runs downwards */
    T_BUILDER, /* (index, lo, hi)..., body */
    T_IF,      /* cond, a, b */
    T_COMPARE, /* .op: LT LE EQ NE, or GREATER, GREATER_EQUAL */
    T_AND,
    T_OR,
    T_NOT,
    T_VECTOR, /* [a, b]: entries */
    T_MATRIX, /* [a, b; c, d]: entries row by row; .order columns */
    T_OPTION, /* an argument .name=kid, or, with .order, .name=[kids]; an empty name is not written */
    T_KINDS
} tree_kind;

/* Of a T_MUL: a matrix product alone, or a tensor with .order scalars before it. Otherwise all factors are scalars. */
enum { TREE_CHAIN = 1, TREE_TENSOR };

enum { GREATER = CR_OP_COUNT, GREATER_EQUAL }; /* `a > b` is LT(b, a) in the graph */

typedef struct tree tree;
struct tree {
    uint8_t kind;
    bool symmetric; /* a matrix equal to its transpose: printed without one */
    uint16_t op;
    uint32_t order;
    uint32_t n;
    tree **kid;
    union {
        double number;
        cr_dim dim;
        const char *name;
        const bool *minus;
    };
};

typedef struct tree_list {
    tree **t;
    uint32_t n, cap;
} tree_list;

/* A product in the making: coefficient * numerators / denominators, all scalars. */
typedef struct product {
    double coefficient;
    tree_list num, den;
} product;

typedef struct pr_index { /* a bound symbol of the graph, and how it is printed */
    dim_sym symbol, name;
} pr_index;

/* State of one call of lang_print. Every function that returns a tree returns NULL when the graph's error is set, and
 * takes NULL for an argument then. */
typedef struct pr {
    cr_graph *g;
    lang_form form;
    arena mem;
    tree **memo; /* tree of a ref in matrix form; the context does not matter to it */
    size_t memo_cap;
    dim_sym *used; /* names that an index may not have */
    size_t n_used, used_cap;
    pr_index *bound;
    size_t n_bound, bound_cap;
    bool *selects; /* by ref below n_selects: e(i,n) enters it other than through a scalar */
    size_t n_selects;
    unsigned depth;
    cr_ref spread; /* the sum that is being written entry by entry, for want of a matrix form */
    size_t n_trees;
} pr;

enum { PR_MAX_DEPTH = 1000, PR_MAX_TREES = 1 << 20, PR_MAX_BYTES = 1 << 20 };

/* ---- trees (tree.c) ---------------------------------------------------------------------------- */

tree *tree_new(pr *p, tree_kind kind, uint32_t n, tree *const *kid);
tree *tree_1(pr *p, tree_kind kind, tree *a);
tree *tree_2(pr *p, tree_kind kind, tree *a, tree *b);
tree *tree_number(pr *p, double v); /* any double; fractions of small numbers as fractions */
tree *tree_dim(pr *p, cr_dim d);
tree *tree_name(pr *p, const char *name);
tree *tree_call(pr *p, const char *name, uint32_t n, tree *const *arg);
tree *tree_option(pr *p, const char *name, cr_dim d); /* name=d */
tree *tree_op(pr *p, cr_op op, tree *arg);
tree *tree_index(pr *p, tree *base, unsigned n, const cr_dim *index);
tree *tree_compare(pr *p, unsigned op, tree *a, tree *b);
tree *tree_sum(pr *p, uint32_t n, tree *const *term); /* of terms that may be T_NEG */
tree *tree_neg(pr *p, tree *a);
tree *tree_transpose(pr *p, tree *a); /* (A')' is A */
tree *tree_hadamard(pr *p, const tree_list *num, const tree_list *den);
bool list_add(pr *p, tree_list *l, tree *t); /* false: error set (t == NULL too) */
bool tree_is_one(const tree *t);

bool product_factor(pr *p, product *q, tree *t);  /* takes signs and fractions apart */
bool product_divide(pr *p, product *q, tree *t);
tree *product_tree(pr *p, product *q, tree *tensor); /* times tensor (NULL: none) */

/* ---- expressions (print_graph.c, print_einsum.c, print_contract.c) ----------------------------------------------- */

tree *pr_fail(pr *p, cr_status status, const char *message); /* NULL */
bool pr_failed(const pr *p);
bool pr_begin(pr *p, cr_graph *g, cr_ref root, lang_form form);
void pr_end(pr *p);
tree *pr_root(pr *p, cr_ref r);               /* in the form asked for */
tree *pr_whole(pr *p, cr_ref r);              /* without indices; a builder where nothing else says it */
tree *pr_entry(pr *p, cr_ref r, const cr_dim *index, bool top); /* its entry; top: not inside of a function */
tree *pr_builder(pr *p, cr_ref r, bool top);
tree *pr_broadcast(pr *p, cr_ref r);          /* the scalar that r repeats in every entry, or NULL */
bool pr_is_broadcast(const pr *p, cr_ref r);
bool pr_gather(pr *p, product *q, cr_ref r, const cr_dim *index, bool top); /* multiplies q by an entry of r */

bool pr_is_used(const pr *p, dim_sym s); /* no index may have that name */
bool pr_use(pr *p, dim_sym s);
/* The same for names that pr_begin did not see: bound symbols that have one of them get another. */
bool pr_reserve(pr *p, size_t n, const dim_sym *s);
cr_dim pr_fresh_index(pr *p); /* a symbol that is free; give it back, last first */
void pr_drop_index(pr *p);
const char *pr_symbol_name(void *p, dim_sym s); /* for dim_print */

/* Some operands of an einsum with the labels that stay. */
typedef struct contraction {
    uint32_t n;
    const cr_ref *operand;
    const uint32_t *const *label; /* of each operand */
    const cr_dim *size;           /* of each label */
    unsigned rank;
    uint32_t out[2];
    bool columns; /* n x 1 may be written as a vector */
} contraction;
/* As scalars in q and a matrix expression; *tensor is NULL for rank 0. False: there is no such form (or an error is
 * set). */
bool pr_contract(pr *p, const contraction *c, product *q, tree **tensor, bool *plain);
tree *pr_einsum(pr *p, cr_ref r);  /* matrix form, NULL if there is none */
tree *pr_einsum_entry(pr *p, cr_ref r, const cr_dim *index, bool top);
bool pr_selects(const pr *p, cr_ref r);        /* e(i,n) enters it other than through a scalar: indices say it best */
bool pr_einsum_selects(const pr *p, cr_ref r); /* has an operand e(i,n) */
bool pr_einsum_sums(const pr *p, cr_ref r);    /* is a contraction, not only an element-wise or outer product */
tree *pr_window(pr *p, cr_ref r, const cr_dim *index); /* print_window.c */
tree *pr_kron(pr *p, cr_ref r);    /* r a RESHAPE; NULL if it is no Kronecker product */

#endif
