/* Room program: the statements of a text turned into results, for the command line and for other callers.
 *
 * One statement at a time: its needs (needs.c: which values, what it assumes), its values (values.c), then derive.c,
 * eval.c or check.c. Nothing here prints. */
#ifndef CR_PROGRAM_H
#define CR_PROGRAM_H

#include "exec/exec.h"
#include "lang/lang.h"

typedef struct prog_value { /* read from a file: stands above what the text itself gives */
    dim_sym name;
    exec_array array;
} prog_value;

struct cr_program {
    cr_graph *g;
    lang_program *lang;
    prog_value *value;
    size_t n_values, value_cap;
    dim_sym depth; /* the symbol that cr_program_depth gave the value depth_value; 0: none */
    int64_t depth_value;
};

/* Appends to a growable list; false: out of memory, the list as before. */
#define LIST_PUSH(list, n, cap, item) (VEC_RESERVE((list), (cap), (n) + 1) ? ((list)[(n)++] = (item), true) : false)

/* ---- results ---------------------------------------------------------------------------------- */
/* A result is one arena; NULL from these: out of memory. */
const char *result_text(arena *mem, const char *s);
const char *result_buffer(arena *mem, strbuf *b); /* takes the text of b and empties it; NULL if b failed */
bool result_array(arena *mem, const exec_array *from, cr_array *to);

/* The symbols in the ranges of the recurrences that r rests on: the one, or 0 with *several if there are more. */
dim_sym prog_depth_of(cr_graph *g, cr_ref r, bool *several);
const lang_statement *prog_statement(cr_program *p, size_t i); /* NULL with the error set if i is out of range */
cr_status prog_oom(cr_program *p);

/* ---- needs ------------------------------------------------------------------------------------ */

/* index lies in 1..size: what an entry x[index] supposes. */
typedef struct need_entry {
    cr_dim index, size;
} need_entry;

/* What must be known before an expression has a number. Function bodies are looked into. */
typedef struct prog_needs {
    cr_ref *param; /* ascending */
    size_t n_params, param_cap;
    dim_sym *symbol; /* integers: sizes first found first; neither free nor bound indices */
    bool *is_size;   /* by symbol: appears in the shape of a parameter */
    size_t n_symbols, symbol_cap, is_size_cap;
    cr_fun *unknown; /* functions without a body ... */
    unsigned *order; /* ... and the highest derivative that is called */
    size_t n_unknown, unknown_cap, order_cap;
    need_entry *entry;
    size_t n_entries, entry_cap;
    cr_dim *fact; /* what recurrences suppose of their indices: each >= 0 */
    size_t n_facts, fact_cap;
    bool recurrent; /* members of recurrences are among the needs */
} prog_needs;

/* Needs of the roots (at most a few; `wrt` variables count only if they are roots) and of the statement's indices. */
cr_status needs_collect(cr_program *p, const lang_statement *st, unsigned n_roots, const cr_ref *roots,
                        prog_needs *out);
void needs_free(prog_needs *n);
/* Symbols whose names begin so are bound inside an expression, never asked for. */
bool needs_is_bound(const cr_graph *g, dim_sym s);
/* d >= 0 as one reads it, N >= 2. */
void needs_fact_text(cr_program *p, const lang_statement *st, const prog_needs *n, cr_dim d, strbuf *b);
/* The sentences of cr_derivation.assumes, into mem. */
cr_status needs_assumptions(cr_program *p, const lang_statement *st, const prog_needs *n, arena *mem, size_t *count,
                            const char *const **out);

/* ---- values ----------------------------------------------------------------------------------- */

/* Binds every value that the program has among the needs; the needs that stay open are counted. */
typedef struct values_open {
    size_t params, symbols, functions;
} values_open;
cr_status values_bind(cr_program *p, const prog_needs *n, exec_env *env, values_open *open);
/* CR_EVALUE that names everything that is still open and says how to give it. */
cr_status values_missing(cr_program *p, const lang_statement *st, const prog_needs *n, const exec_env *env);
/* The same of sizes and indices only: arrays may be missing. */
cr_status values_missing_sizes(cr_program *p, const lang_statement *st, const prog_needs *n, const exec_env *env);
/* CR_EVALUE if the values break what a recurrence supposes: "needs N >= 2, and N = 1". */
cr_status values_facts(cr_program *p, const lang_statement *st, const prog_needs *n, const exec_env *env);
/* Value of d under env; false if a symbol is open. */
bool values_dim(const cr_graph *g, const exec_env *env, cr_dim d, int64_t *v);
/* a has the facts declared for param, up to rounding? Otherwise CR_EVALUE. */
cr_status values_attributes(cr_graph *g, cr_ref param, const exec_array *a);

/* ---- random points ---------------------------------------------------------------------------- */

typedef struct random_gen {
    uint64_t s[4];
    double spare;
    bool has_spare;
} random_gen;
void random_seed(random_gen *r, uint64_t seed);
uint64_t random_u64(random_gen *r);
double random_unit(random_gen *r);   /* in (0, 1) */
double random_normal(random_gen *r); /* mean 0, variance 1 */
uint64_t random_below(random_gen *r, uint64_t n);
/* How the entries without an attribute are drawn; the later ones help where a domain is small. */
typedef enum random_kind { RANDOM_NORMAL, RANDOM_POSITIVE, RANDOM_UNIT, RANDOM_LARGE, RANDOM_KINDS } random_kind;
/* Fills a (already of its shape) with entries that have the attributes. CR_ENOMEM only. */
cr_status random_fill(random_gen *r, unsigned attributes, random_kind kind, exec_array *a);

/* A concrete analytic function for an unknown one (user: its number as a pointer-sized integer, with RANDOM_BOUNDED one
 * that stays small however often it is applied), for exec_bind_fun. */
#define RANDOM_BOUNDED ((uintptr_t)1 << 16)
double random_function(void *user, unsigned order, double z);

/* ---- numeric derivatives ---------------------------------------------------------------------- */

typedef enum numeric_method { NUMERIC_COMPLEX, NUMERIC_DIFFERENCES } numeric_method;

/* Is a analytic in param where it has a value: no kink, jump or comparison on the way, no function without a body? */
bool numeric_analytic(cr_graph *g, cr_ref a, cr_ref param);
/* Derivative of a along v (as many entries as param's value): value[i] and an estimate of its error, for each entry of
 * a.
 * `*method` is what is asked for and what was used. The environment is as before on return. */
typedef struct numeric_slope {
    size_t n;
    double *value, *error;
} numeric_slope;
cr_status numeric_along(cr_graph *g, exec_env *env, cr_ref a, cr_ref param, const double *v, numeric_method *method,
                        numeric_slope *out);
void numeric_free(numeric_slope *s);

/* ---- derive and check ------------------------------------------------------------------------- */

/* The derivative of order `order` of a statement, as it is run. CR_GRADIENT in flags. */
cr_ref prog_exact(cr_program *p, const lang_statement *st, size_t order, unsigned flags);

/* How entry `c` of variable w moves, as a direction of w->var: v has the variable's entries. Returns the factor that
 * the slope along v must be multiplied by to give the entry of the derivative; 0: the entry cannot move, its derivative
 * is 0. */
double check_direction(cr_graph *g, const calc_wrt *w, const int64_t *dim, size_t c, unsigned flags, double *v);

/* One level of the chain: f is the derivative before, d the derivative by w. Both have values under env. */
typedef struct check_level {
    cr_ref f, d;
    const calc_wrt *w;
    unsigned order;
    bool analytic;
} check_level;

/* Growing result of one statement. */
typedef struct check_work {
    cr_program *p;
    const lang_statement *st;
    unsigned flags;
    bool decide; /* differentiability, at given values */
    arena *mem;  /* of the result */
    cr_check_entry *finding;
    size_t n_findings, finding_cap;
    size_t n_entries;
    double keep_above; /* the arrays of a case are kept if its ratio is larger */
    bool used[3];      /* methods: complex step, differences, series */
    bool recurrent;    /* the statement goes through recurrences: reverse mode on them written out is asked too */
    const prog_needs *needs;
    size_t n_unrolled; /* points at which it was, the largest difference, and whether all were small enough */
    double unrolled_difference;
    bool unrolled_differs;
} check_work;
/* The formula d at the values of env against reverse mode through the recurrences written out layer by layer. */
cr_status check_unrolled(check_work *w, exec_env *env, cr_ref d);
/* Element operations on a kink, and within rounding of one, at one point. */
typedef struct check_case_counts {
    size_t on, near;
} check_case_counts;
enum { CHECK_MAX_FINDINGS = 100, CHECK_MAX_DIRECTIONS = 512, CHECK_MAX_CASES = 64 };

/* All levels at the values of env. `c` is filled (arrays in w->mem). CR_OK with *unreliable set if the numbers could
 * not be had there (no value, or differences that do not settle). */
cr_status check_case(check_work *w, exec_env *env, size_t n_levels, const check_level *level, cr_check_case *c,
                     double *ratio, bool *unreliable);

#endif
