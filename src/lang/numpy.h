/* The NumPy printer, room-internal. A graph is written as straight-line Python, inputs before their nodes; an
 * expression that is used once is written in its place, others get a name. */
#ifndef CR_NUMPY_H
#define CR_NUMPY_H

#include "lang/print.h"

/* How tightly Python binds. */
enum { PY_ANY, PY_COMPARE, PY_ADD, PY_MUL, PY_NEG, PY_POW, PY_ATOM };

/* Python text of a value. */
typedef struct py_text {
    const char *s; /* NULL: not written yet */
    uint8_t prec;
    bool full;     /* has its whole shape; false: a scalar that NumPy broadcasts */
} py_text;

/* Helper functions (numpy_helpers.c), written in front when used. */
typedef enum py_helper {
    PY_AT,
    PY_PLACE,
    PY_DIAGONAL,
    PY_SIGMOID,
    PY_DSIGMOID,
    PY_DTANH,
    PY_ERF,
    PY_GELU,
    PY_SILU,
    PY_ELU,
    PY_SELU,
    PY_LEAKY_RELU,
    PY_SOFTMAX,
    PY_LOGSOFTMAX,
    PY_LOGDET,
    PY_ADJ,
    PY_ROWS,
    PY_SCATTER,
    PY_TAPS,
    PY_CONV,
    PY_SUMPOOL,
    PY_MAXPOOL,
    PY_MAXTIES,
    PY_MAXPICK,
    PY_HELPERS
} py_helper;
typedef struct py_helper_source {
    const char *name;
    int needs; /* an earlier helper, or -1 */
    const char *source;
} py_helper_source;
extern const py_helper_source py_helpers[PY_HELPERS];

typedef struct py_symbol_list {
    dim_sym *s;
    size_t n, cap;
} py_symbol_list;

typedef struct py_range { /* what is known of an index */
    dim_sym s;
    cr_dim lo, hi;
} py_range;

typedef struct py_scan { /* of a binder, while it shares a list with others of its kind (numpy_bind.c) */
    const char *list;    /* NULL: it does not */
    bool upwards;        /* the lower end stays */
} py_scan;

/* The recurrences that an expression rests on, in an order of computation. */
typedef struct py_families {
    cr_family *list;
    size_t n;
    const char **name; /* of the dictionary of members, by place in the list */
    py_symbol_list reserved; /* names that no index may have in any part of the function */
    dim_sym index; /* of the loop over all of them */
    cr_ref *root;  /* the expression and every body */
    unsigned n_roots;
} py_families;

typedef struct py_function { cr_fun f; unsigned order; } py_function;

typedef struct py {
    pr p;              /* names of indices, arena */
    cr_graph *g;
    size_t n;          /* refs of the expression are below */
    py_text *text;     /* by ref */
    uint32_t *uses;    /* by ref */
    uint64_t *depends; /* by ref: bound symbols (numbers in p.bound) of enclosing binders */
    py_scan *scan;     /* by ref */
    bool *lazy;        /* by ref: may only be evaluated where a condition allows it */
    strbuf lines;
    unsigned indent;
    unsigned n_names;
    bool in_function;  /* a body that works on arrays though it is written for scalars */
    cr_ref argument;   /* of that function */
    bool strict;       /* recurrences: what a choice guards is computed where it is chosen, nowhere else */
    py_families *families;
    py_range *range;   /* of the indices that are bound at this place, outermost first */
    size_t n_range, range_cap;
    /* shared between the derivative and the functions that it calls */
    bool *helper;
    py_symbol_list *symbols;   /* used */
    py_function *unknown;
    size_t n_unknown, unknown_cap;
    strbuf *preamble;          /* functions with a body */
    py_function *known;
    size_t n_known, known_cap;
} py;

const char *py_format(py *w, const char *fmt, ...) CR_PRINTF(2, 3); /* in the arena; NULL: error set */
const char *py_in(py *w, py_text t, unsigned prec); /* with brackets where needed */
py_text py_make(const char *s, unsigned prec, bool full);
const char *py_name(py *w, dim_sym s);
const char *py_dim(py *w, cr_dim d, unsigned *prec);
const char *py_shape(py *w, unsigned rank, const cr_dim *dim); /* (m, n) */
const char *py_at(py *w, cr_dim index, cr_dim size);  /* position of an index counted from 1 */
const char *py_number(py *w, double v, unsigned *prec);
py_text py_value(py *w, cr_ref r); /* of an input that has been written */
const char *py_whole(py *w, cr_ref r, unsigned prec); /* with its whole shape */
const char *py_use(py *w, py_helper h); /* its name */
const char *py_fresh(py *w, const char *stem);
py_text py_broadcast(py *w, py_text t, const cr_shape *s);
const char *py_unknown(py *w, cr_fun f, unsigned order);
const char *py_known(py *w, cr_fun f, unsigned order); /* writes the function first */
void py_line(py *w, const char *fmt, ...) CR_PRINTF(2, 3);
bool py_block(py *w, cr_ref root, uint64_t scope); /* writes all that root needs */
bool py_analyse(py *w, cr_ref root);
uint64_t py_bits(py *w, cr_dim d); /* the bound symbols in d, by their numbers */
/* A part of the function with names of its own; py_part_end takes back what is shared. */
bool py_part(py *u, const py *w, cr_ref root);
void py_part_end(py *w, py *u);
bool py_clashes(const char *s); /* with Python or a helper */
py_text py_expression(py *w, cr_ref r, uint64_t scope); /* numpy_expr.c */
py_text py_einsum(py *w, cr_ref r);    /* numpy_einsum.c */
py_text py_bind(py *w, cr_ref r, uint64_t scope); /* numpy_bind.c */
py_text py_window(py *w, cr_ref r);    /* numpy_window.c */

/* ---- numpy_family.c ---------------------------------------------------------------------------- */
bool py_families_find(py_families *f, cr_graph *g, cr_ref root, size_t n_free, const lang_free_index *free_index);
void py_families_free(py_families *f);
bool py_families_write(py *w, size_t n_free, const lang_free_index *free_index); /* the loop that computes them */
py_text py_member(py *w, cr_ref r);
py_text py_pick(py *w, cr_ref r);
bool py_range_push(py *w, dim_sym s, cr_dim lo, cr_dim hi);
bool py_surely(py *w, cr_dim d, cr_dim size); /* d >= 0 in the ranges known, for any size >= 1? */
bool py_is_choice(const py *w, cr_ref r); /* SELECT with one condition for all entries */
py_text py_choice(py *w, cr_ref r, uint64_t scope);
bool *py_needed(py *w, cr_ref root); /* by ref: needed whatever is chosen; mem_alloc'ed, NULL: error set */

#endif
