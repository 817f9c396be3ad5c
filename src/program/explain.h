/* The explanation in the making, shared by explain*.c. */
#ifndef CR_EXPLAIN_H
#define CR_EXPLAIN_H

#include "program/program.h"

typedef struct explanation { /* one allocation besides its arena */
    cr_explanation out;      /* first: the public pointer is this one */
    arena mem;
    cr_block *block;
    size_t block_cap;
} explanation;

/* What is explained. */
typedef struct explain_subject {
    cr_program *p;
    cr_graph *g;
    const lang_statement *st;
    cr_ref y, var;
    calc_network net;
    bool scalar;      /* members are numbers, and the variable is a family of numbers: there are magnitudes */
    dim_sym depth;    /* the symbol for the depth; 0: none, or several */
    cr_op op;         /* the activation: an operator of one argument, CR_OP_CALL for a function, or CR_OP_NONE */
    cr_fun fun;
    const char *name; /* of the activation */
} explain_subject;

/* A factor as constant + rest*f', if it is one. */
typedef struct factor_form {
    bool affine;
    cr_ref constant, rest; /* factor = constant + rest * f' */
    double shift;          /* the constant, where it is a number */
    bool is_number;
} factor_form;

/* How steep an activation is: the least and the greatest value of its derivative, infinite where there is no bound, and
 * where its size is largest: at, and all of from..to. */
typedef struct steepness {
    const char *name;
    double min, max, at, from, to;
} steepness;

/* Appends a block. Text is printed with fmt; false: out of memory. */
bool say(explanation *x, cr_block_kind kind, const char *fmt, ...) CR_PRINTF(3, 4);
bool show(explanation *x, explain_subject *s, cr_ref formula, const char *fmt, ...) CR_PRINTF(4, 5);
bool put_formula(explanation *x, explain_subject *s, cr_ref a, cr_formula *out);
/* A table whose cells are n_rows*n_columns texts of the arena. */
bool tabulate(explanation *x, size_t n_rows, size_t n_columns, const char **cell, const char *fmt, ...)
    CR_PRINTF(5, 6);
cr_block *new_block(explanation *x, cr_block_kind kind);
const char *cell_text(explanation *x, const char *fmt, ...) CR_PRINTF(2, 3);
const char *power_of_ten(explanation *x, double log10_value); /* 10^-12.3 */
const char *plain_number(explanation *x, double v);           /* 1/4, 0.3, 2 */

const char *dim_of(explanation *x, explain_subject *s, cr_dim d);

/* ---- sections (explain_sections.c); false: an error is set, or out of memory -------------------- */

bool describe_factor(explanation *x, explain_subject *s, factor_form *f);
bool describe_depth(explanation *x, explain_subject *s);  /* of scalar subjects */
bool describe_layers(explanation *x, explain_subject *s); /* the same */
bool describe_skips(explanation *x, explain_subject *s);

/* ---- numbers (explain_numbers.c) --------------------------------------------------------------- */

/* Found by search over the real line; the name is left as it is. */
cr_status slope_range(cr_graph *g, cr_op op, cr_fun fun, steepness *out);

/* Values for everything that a root needs: the family `var` is `weight` throughout, other families 0, single variables
 * 1/2, the depth `depth`; what the text gives for single variables stands. Unknown functions are sigmoid. */
typedef struct explain_point {
    double weight;
    int64_t depth;
} explain_point;
/* log10 |entries| of root, one for each of `n`; -inf for zero. */
cr_status log_sizes(explain_subject *s, cr_ref root, explain_point at, size_t n, double *out);

/* ---- short paths (explain_paths.c) ------------------------------------------------------------- */

/* The table of architectures. */
cr_status compare_architectures(explain_subject *s, explanation *x);

#endif
