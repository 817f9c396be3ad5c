/* From a network in the formula language to a model of ONNX: the same door for both. */
#ifndef CR_ONNX_FORMULA_H
#define CR_ONNX_FORMULA_H

#include "onnx/model.h"
#include "program/program.h"

/* The model of the program's first statement: what it derives or evaluates is the output. Sizes have values in the
 * program. The input is the variable `x`, or the first that is declared; its samples are the first axis, N. All other
 * variables are parameters: members of families each by their own name, `w[3]`; those that have no value are drawn,
 * normal with variance 1/n for R^n and R^{m x n}, what is only added 0, and named in `drawn`. Definitions name nodes
 * and values: `s[3]`; what is within them: `s[3]/Gemm`.
 *
 * *bytes is the caller's (mem_free). Errors name what has no value (CR_EVALUE), or no operator of ONNX
 * (CR_EUNSUPPORTED). */
cr_status onnx_of_program(cr_program *p, uint64_t seed, void **bytes, size_t *n, strbuf *drawn, error *e);

/* ---- between formula.c and formula_node.c -------------------------------------------------------- */

/* An expression in the model: its name, and whether it has the axis of samples in front. */
typedef struct formula_value {
    const char *name; /* NULL: not made yet */
    bool batched;
    double *numbers; /* of a family of variables, which is no value itself; NULL: not found yet */
    bool drawn;      /* they are */
} formula_value;

typedef struct formula {
    cr_program *p;
    cr_graph *g;
    arena mem; /* of all messages and names */
    error *e;
    Onnx__GraphProto graph;
    size_t node_cap, initializer_cap;
    formula_value *value; /* by ref */
    dim_sym *name;        /* by ref: the definition that it is; 0: none */
    dim_sym *within;      /* by ref: the definition that it is part of */
    size_t value_cap, name_cap, within_cap;
    unsigned *times; /* by dim_sym: how often a name within a definition was given */
    size_t times_cap;
} formula;

void *formula_alloc(formula *f, size_t n); /* zeros, as long as f; NULL: out of memory, with the error set */
bool formula_fail(formula *f, cr_status status, const char *fmt, ...) CR_PRINTF(3, 4);
const char *formula_text(formula *f, const char *fmt, ...) CR_PRINTF(2, 3);
/* Writes the nodes for r, whose inputs are made; its value gets the name `own`, or one within `within`. */
bool formula_write(formula *f, cr_ref r, const char *own, const char *within);

#endif
