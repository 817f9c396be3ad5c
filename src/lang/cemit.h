/* The C printer, room-internal. A node is written in one of three ways: in its place, as an expression of the indices
 * of an entry; as a named number; or as an array that a loop nest fills. What is element by element and used once is of
 * the first kind, so that a chain of functions is one loop. Statements are written inputs first, each in the outermost
 * loop that binds what it depends on. */
#ifndef CR_CEMIT_H
#define CR_CEMIT_H

#include "lang/lang.h"

/* How tightly C binds. */
enum { CE_ANY, CE_LOGIC, CE_COMPARE, CE_ADD, CE_MUL, CE_UNARY, CE_ATOM };

typedef struct ce_text {
    const char *s; /* NULL: not written yet */
    uint8_t prec;
} ce_text;

typedef enum ce_helper {
#define CE_HELPER(id, ...) CEH_##id,
#include "lang/cemit_helpers.def"
#undef CE_HELPER
    CE_HELPERS
} ce_helper;

typedef struct ce_value { /* what has been written of a node */
    ce_text text;      /* of a number */
    const char *array; /* of its entries, row-major: an atom of type double * */
} ce_value;

typedef enum ce_place { CE_INLINE, CE_NAMED, CE_STORED } ce_place;

typedef struct ce_range { /* what is known of an index that is bound at this place */
    dim_sym s;
    cr_dim lo, hi;
} ce_range;

typedef struct ce_name { /* of a variable, a size or an index of the user */
    dim_sym s;
    const char *c;
    bool used; /* a size: by the code */
    bool size; /* it is one, so that it is at least 1 ... */
    bool supposed; /* ... which the code rests on */
} ce_name;

typedef struct ce_scratch { /* an array of the function's own */
    const char *name, *size;
    int64_t n; /* entries, if that is a number; else -1 */
} ce_scratch;

typedef struct ce_function { /* of the user, with a body */
    cr_fun f;
    unsigned order;
    cr_ref body;
    const char *name;
} ce_function;

typedef struct ce_scan { /* a binder whose values over all ranges with one end in common are a table */
    const char *table; /* NULL: none */
    const char *low;   /* its first row is that of this variable; NULL: of base */
    cr_dim base;
    cr_dim moving, past; /* the end that moves; where the range is empty */
    bool up, clip;
} ce_scan;

/* Bits of `depends`; bound indices have those from CE_BOUND on. */
enum { CE_MEMBERS = 0, CE_ARGUMENT = 1, CE_DEFINITION = 2, CE_BOUND = 3, CE_BITS = 64 };

typedef struct ce {
    cr_graph *g;
    const lang_c *what;
    arena mem;
    /* the roots: outputs, bodies of definitions, bodies of functions */
    cr_ref *root;
    unsigned n_outputs, n_roots;
    size_t root_cap;
    cr_ref *cone;
    size_t n_cone;
    /* by ref */
    size_t n;
    ce_value *v;
    ce_scan *scan;
    uint32_t *uses;
    uint64_t *depends;
    uint8_t *place; /* ce_place */
    uint8_t *want;
    bool *guarded; /* needed only where a choice takes it: an entry out of range is NaN there */
    cr_ref target; /* an output that is computed where the caller wants it */
    const char *target_name;
    const bool *only; /* by ref: ce_block leaves out the others; NULL: none */
    /* recurrences */
    cr_family *family;
    size_t n_families;
    const char **table; /* of members, by place in the list */
    cr_dim *lo, *hi;    /* the first row is that of the least of these, the last that of the greatest of those */
    size_t n_lo, n_hi;
    /* names */
    ce_name *name;
    size_t n_name, name_cap;
    dim_sym bound[CE_BITS];
    const char *bound_name[CE_BITS]; /* by bit */
    unsigned n_bound;
    ce_range *range;
    size_t n_range, range_cap;
    unsigned n_loops, n_names;
    /* text */
    strbuf lines;
    unsigned indent;
    bool fails;        /* something goes to the label `end` */
    strbuf checks;     /* conditions that are looked at before all else */
    ce_scratch *scratch;
    size_t n_scratch, scratch_cap;
    ce_function *function;
    size_t n_functions, function_cap;
    bool helper[CE_HELPERS];
} ce;

/* ---- cemit_text.c ------------------------------------------------------------------------------- */
bool ce_failed(const ce *w);
void ce_fail(ce *w, cr_status status, const char *message);
const char *ce_format(ce *w, const char *fmt, ...) CR_PRINTF(2, 3); /* in the arena; never NULL */
ce_text ce_make(const char *s, unsigned prec);
const char *ce_in(ce *w, ce_text t, unsigned prec); /* in brackets where needed */
void ce_line(ce *w, const char *fmt, ...) CR_PRINTF(2, 3);
void ce_open(ce *w, const char *fmt, ...) CR_PRINTF(2, 3); /* a line that begins a block */
void ce_close(ce *w);
ce_text ce_number(ce *w, double v);
ce_text ce_dim(ce *w, cr_dim d);
const char *ce_dim_in(ce *w, cr_dim d, unsigned prec);
bool ce_name_add(ce *w, dim_sym s, bool size);
ce_name *ce_name_of(ce *w, dim_sym s); /* NULL: it is none of the user's */
const char *ce_fresh(ce *w, const char *stem);
const char *ce_loop(ce *w, const char *lo, const char *compare, const char *hi); /* its index */
void ce_loop_end(ce *w);
/* One inside of the other, none for an axis of size 1; how many they are. */
unsigned ce_loops(ce *w, unsigned rank, const cr_dim *size, ce_text *index);
void ce_loops_end(ce *w, unsigned loops);
ce_text ce_flat(ce *w, unsigned rank, const cr_dim *size, const ce_text *index); /* row-major position */
const char *ce_use(ce *w, ce_helper h); /* its name */
const char *ce_helper_name(ce_helper h);
void ce_helpers_write(const ce *w, strbuf *out);
bool ce_range_push(ce *w, dim_sym s, cr_dim lo, cr_dim hi);
bool ce_surely(ce *w, cr_dim d); /* d >= 0 in the ranges known and for sizes of at least 1? */
/* C text of what must hold for all d[i] >= 0, or NULL: known, or looked at in front of all else. */
const char *ce_check(ce *w, bool guarded, unsigned n, const cr_dim *d);
cr_dim ce_most(ce *w, cr_dim d); /* in the ranges known */
const char *ce_scratch_new(ce *w, cr_dim size);
bool ce_scratch_add(ce *w, const char *name, const char *size, int64_t n);

/* ---- cemit_plan.c ------------------------------------------------------------------------------- */
bool ce_plan(ce *w);
uint64_t ce_bit(const ce *w, dim_sym s); /* 0: not bound */
uint64_t ce_bits(ce *w, cr_dim d);
void ce_block(ce *w, cr_ref root, uint64_t scope); /* all that root needs; not root itself, if that is inline */
void ce_forget(ce *w, uint64_t scope); /* what depends on more than scope: another loop writes it again */

/* ---- cemit_expr.c ------------------------------------------------------------------------------- */
ce_text ce_scalar(ce *w, cr_ref r);
ce_text ce_entry(ce *w, cr_ref r, const ce_text *index); /* index: counted from 0, rank many */
const char *ce_array(ce *w, cr_ref r); /* of something that is stored, or a variable, or such reshaped */
void ce_store(ce *w, cr_ref r, const char *target);
ce_text ce_compute(ce *w, cr_ref r); /* a number that takes statements */
bool ce_is_statement(ce *w, cr_ref r);

/* ---- cemit_einsum.c ----------------------------------------------------------------------------- */
bool ce_einsum_sums(ce *w, cr_ref r);
unsigned ce_einsum_loops(ce *w, cr_ref r); /* labels that run */
unsigned ce_einsum_arrays(ce *w, cr_ref r, cr_ref *last); /* operands that are neither numbers nor deltas */
ce_text ce_einsum_entry(ce *w, cr_ref r, const ce_text *index);
void ce_einsum_store(ce *w, cr_ref r, const char *target);
bool ce_einsum_fuses(ce *w, cr_ref r); /* a sum that may as well be computed entry by entry, where it is used */
ce_text ce_einsum_sum(ce *w, cr_ref r, const ce_text *index); /* writes the loops; index NULL: of a number */

/* ---- cemit_window.c ----------------------------------------------------------------------------- */
void ce_windows_check(ce *w); /* of strides and dilations, ahead of sizes that are divided by them */
void ce_window_store(ce *w, cr_ref r, const char *target);
void ce_rows_store(ce *w, cr_ref r, const char *target); /* GATHER and SCATTER */
ce_text ce_gather_number(ce *w, cr_ref r);

/* ---- cemit_loop.c ------------------------------------------------------------------------------- */
ce_text ce_bind_scalar(ce *w, cr_ref r, uint64_t scope);
void ce_bind_store(ce *w, cr_ref r, const char *target, uint64_t scope);
bool ce_scanned(ce *w, cr_ref r); /* takes the value of r from its table */
ce_text ce_member(ce *w, cr_ref r, const ce_text *index);
ce_text ce_pick(ce *w, cr_ref r, const ce_text *index);
/* The loop that computes the members; before it, in `ends`, the range of its index. */
bool ce_families_write(ce *w, strbuf *ends);

#endif
