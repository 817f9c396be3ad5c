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

/* Helper functions, written in front when used. */
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
    PY_HELPERS
} py_helper;

typedef struct py_symbol_list {
    dim_sym *s;
    size_t n, cap;
} py_symbol_list;

typedef struct py_function { cr_fun f; unsigned order; } py_function;

typedef struct py {
    pr p;              /* names of indices, arena */
    cr_graph *g;
    size_t n;          /* refs of the expression are below */
    py_text *text;     /* by ref */
    uint32_t *uses;    /* by ref */
    uint64_t *depends; /* by ref: bound symbols (numbers in p.bound) of enclosing binders */
    bool *lazy;        /* by ref: may only be evaluated where a condition allows it */
    strbuf lines;
    unsigned indent;
    unsigned n_names;
    bool in_function;  /* a body that works on arrays though it is written for scalars */
    cr_ref argument;   /* of that function */
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
py_text py_expression(py *w, cr_ref r, uint64_t scope); /* numpy_expr.c */
py_text py_einsum(py *w, cr_ref r);    /* numpy_einsum.c */

#endif
