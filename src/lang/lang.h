/* Room lang: the formula language. Text in, expressions out; expressions in, text out. */
#ifndef CR_LANG_H
#define CR_LANG_H

#include "calculus/calculus.h"

/* ---- programs ---------------------------------------------------------------------------------- */

typedef enum lang_kind { LANG_DERIVE, LANG_EVAL, LANG_CHECK } lang_kind;

/* A name for an integer that a statement uses without a declaration: `j` in `wrt x[j]`. It runs over from..to. */
typedef struct lang_free_index {
    dim_sym name;
    cr_dim from, to;
} lang_free_index;

typedef struct lang_statement {
    lang_kind kind;
    char *query; /* as written, white space folded: "derive f[1] wrt x[j]" */
    cr_ref expr;
    calc_wrt *wrt;
    size_t n_wrt;
    lang_free_index *free_index;
    size_t n_free;
    unsigned line;
} lang_statement;

/* A declared variable, in file order. */
typedef struct lang_variable {
    dim_sym name;
    cr_ref param;   /* CR_NONE for an integer (`let k : Z`, or a size symbol) */
    bool has_value; /* `let n = 3`, `let x = [1,2]` */
    cr_ref value;   /* closed expression */
} lang_variable;

typedef struct lang_program lang_program;

/* Empty program over g. NULL: out of memory. */
lang_program *lang_new(cr_graph *g);
void lang_free(lang_program *p);
/* Parses and appends the text of a file (or of -e/--let arguments). Error: status of the graph, the message has name,
 * line, column and a caret line. At most 16 MiB of text. */
cr_status lang_parse(lang_program *p, const char *name, const char *text, size_t n);
/* `x : R^n, W : R^{m x n}` as after `let`. */
cr_status lang_declare(lang_program *p, const char *name, const char *text);
/* One expression, in the scope of what was declared so far. Free indices are collected into st->free_index; those that
 * are there on entry (zero *st otherwise) keep their ranges, so that `delta(i,j)` alone parses back to the contraction
 * it was printed from. An index whose range stays unknown has from and to CR_NONE. All that st points to is the
 * program's. */
cr_status lang_expression(lang_program *p, const char *name, const char *text, lang_statement *st);
/* derive -e EXPR --wrt WRT: appends a statement. */
cr_status lang_query(lang_program *p, lang_kind kind, const char *expr, const char *wrt);
/* `x = [1,2]; n = 3`: values for declared names (and sizes and free indices); given to the variables of the program.
 * declares: a name that is not known is declared by its value, as after `let`; else it is an error. */
cr_status lang_assign(lang_program *p, const char *name, const char *text, bool declares);

size_t lang_n_statements(const lang_program *p);
const lang_statement *lang_statement_at(const lang_program *p, size_t i);
size_t lang_n_variables(const lang_program *p);
const lang_variable *lang_variable_at(const lang_program *p, size_t i);
/* Name i of the program (any, from 0 on) and, if it is that of a plain definition, `def f = ...`, its value; else
 * CR_NONE. False: there are no more names. */
bool lang_definition_at(const lang_program *p, size_t i, dim_sym *name, cr_ref *value);

/* ---- printers ---------------------------------------------------------------------------------- */

typedef enum lang_format { LANG_TEXT, LANG_UNICODE, LANG_LATEX } lang_format;
typedef enum lang_form { LANG_AUTO, LANG_COMPONENT, LANG_MATRIX } lang_form;

/* Appends the expression to b. Text parses back. Expressions nested deeper than 1000 or longer than 1 MiB are
 * CR_ELIMIT. */
cr_status lang_print(cr_graph *g, cr_ref a, lang_format format, lang_form form, strbuf *b);

/* A definition of a family: `o[i] = sigma(s[i]) for i in 1..N`, `o[0] = x`; in LaTeX
 * `o_{i} = ..., \quad i = 1, \dots, N`. Text is what follows `def`. */
cr_status lang_print_rule(cr_graph *g, cr_family f, const family_piece *p, lang_format format, strbuf *b);

/* Source of a Python function derivative(...) as the contract in interface.md says. `vars`: the declared variables in
 * order; free: the statement's free indices. */
cr_status lang_print_numpy(cr_graph *g, cr_ref a, size_t n_free, const lang_free_index *free_index, strbuf *b);

/* What a C function computes: n outputs by name, together. */
typedef struct lang_c {
    const char *function, *comment; /* comment: lines for its head; NULL: none */
    unsigned n;
    const cr_ref *out;
    const char *const *name;
    size_t n_free;
    const lang_free_index *free_index;
} lang_c;
/* Source of one C99 file with that function, which is described in front of it. */
cr_status lang_print_c(cr_graph *g, const lang_c *what, strbuf *b);

/* The least lo, or the greatest hi, of all definitions of these families: the candidates that are not known to be
 * beaten. *d is mem_alloc'ed. False: error set. */
bool lang_family_ends(cr_graph *g, size_t n, const cr_family *list, bool lowest, cr_dim **d, size_t *n_d);

#endif
