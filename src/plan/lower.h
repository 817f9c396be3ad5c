/* Lowering: expressions to operations over strided views, for known sizes. Shared by the files lower*.c. */
#ifndef CR_LOWER_H
#define CR_LOWER_H

#include "exec/internal.h"
#include "plan/plan.h"

#define LOWER_CONTEXT 8 /* bound indices that one expression may depend on */
#define LOWER_AXES (EINSUM_MAX_LABELS + LOWER_CONTEXT)

/* A bound index, lo..lo+n-1. Of a binder it is an axis; of a recurrence it is the index of a LOOP. */
typedef struct lower_axis {
    dim_sym symbol;
    int64_t lo, n;
    bool loop;
} lower_axis;

typedef struct lower_context {
    uint32_t axis;
    int64_t stride;
} lower_context;

/* An expression for all values of the bound indices that it depends on. A loop's index among them: it is computed
 * anew for each, even where the stride is 0. */
typedef struct lower_tensor {
    plan_source source;
    uint32_t value;
    double number;
    int64_t offset;
    unsigned n_context;
    lower_context context[LOWER_CONTEXT]; /* ascending */
    unsigned rank;
    int64_t dim[CR_MAX_RANK], stride[CR_MAX_RANK];
} lower_tensor;

/* The axes of an operation in the making: those of a result, bound indices, and what is summed, in any order. */
typedef struct lower_frame {
    unsigned n;
    int64_t size[LOWER_AXES];
    unsigned n_context; /* the first axes are these bound indices */
    uint32_t context[LOWER_CONTEXT];
    uint32_t loop; /* the loop's index, PLAN_NONE: does not depend on it */
} lower_frame;

typedef struct lower_view {
    plan_source source;
    uint32_t value;
    double number;
    int64_t offset, loop;
    int64_t stride[LOWER_AXES];
} lower_view;

typedef struct lower_family {
    cr_family family;
    uint32_t table;  /* value: members one after the other, from index `first` on */
    size_t n;        /* entries of a member */
    unsigned rank;
    int64_t dim[CR_MAX_RANK], stride[CR_MAX_RANK];
    int64_t first, last;
    size_t n_pieces;
    int64_t *lo, *hi; /* of the pieces */
    uint32_t now;     /* the axis of the piece that is being lowered, PLAN_NONE: none is */
    lower_tensor *member; /* what the piece gives, once that is known */
} lower_family;

typedef struct lower_known { /* an operation, by what it computes */
    plan_body *body;
    uint32_t hash;
    size_t op;
} lower_known;

typedef struct lower {
    cr_plan *plan;
    cr_graph *g;
    exec_env *env;
    arena mem;
    lower_tensor **memo; /* by ref */
    size_t n_memo, memo_cap;
    uint32_t *axis_of; /* by symbol: the axis that it stands for now, PLAN_NONE */
    size_t n_axis_of, axis_of_cap;
    lower_axis *axis;
    size_t n_axis, axis_cap;
    bool *guarded; /* by ref, see graph_guarded: of the roots, or of a definition while it is being lowered */
    size_t n_guarded;
    uint32_t *mark; /* by ref: the walk that has seen it last */
    size_t n_mark, mark_cap;
    uint32_t walk;
    lower_family *family; /* in the order in which members of equal index are computed */
    size_t n_family;
    plan_body *loop; /* being filled; NULL: none */
    uint32_t loop_axis; /* an axis of it: what reads the tables of its families depends on it */
    lower_known *known; /* open addressing */
    size_t n_known, n_known_slots;
    size_t n_gathers; /* operations */
    unsigned lenient; /* inside of ranges that are longer than asked for: an index out of range is no error */
    unsigned nesting;
} lower;

/* The tensor of r, whose inputs need not have been lowered; false with an error set in the plan or the graph. */
bool lower_expression(lower *l, cr_ref r, lower_tensor *out);
const lower_tensor *lower_input(lower *l, cr_ref r); /* of a node that has been lowered */
bool lower_node(lower *l, cr_ref r, lower_tensor *out);
bool lower_expressions(lower *l, unsigned n, const cr_ref *r); /* to be had by lower_input */
bool lower_guarded(const lower *l, cr_ref r); /* nothing is lost if r needs what is not there */
bool lower_remember(lower *l, cr_ref r, const lower_tensor *t);
/* The symbol stands for a new axis until it is popped; *before is what it stood for. PLAN_NONE: out of memory. */
uint32_t lower_axis_push(lower *l, dim_sym symbol, int64_t lo, int64_t n, bool loop, uint32_t *before);
void lower_axis_pop(lower *l, uint32_t axis, uint32_t before);

/* ---- frames ------------------------------------------------------------------------------------ */

/* The bound indices of n tensors as the first axes of f, then the given sizes. */
bool lower_frame_init(lower *l, lower_frame *f, unsigned n, const lower_tensor *const *t, unsigned rank,
                      const int64_t *dim);
/* t over f: its own axis k is axis f->n_context + at[k] (at NULL: k). Repeated axes add up: a diagonal. */
void lower_view_of(const lower *l, const lower_frame *f, const lower_tensor *t, const unsigned *at, lower_view *v);
lower_view lower_number(double v);
bool lower_is_empty(const lower_frame *f);
/* A new value over some axes, outermost first, without gaps; along the others it has stride 0. */
bool lower_new(lower *l, const lower_frame *f, unsigned n, const uint8_t *axis, lower_view *out);
bool lower_new_whole(lower *l, const lower_frame *f, lower_view *out); /* over all that are longer than 1 */
/* in to a part of a value: `to` is a view of it. */
bool lower_store(lower *l, const lower_frame *f, const lower_view *in, const lower_view *to);
/* A view over the first n_context + rank axes of f as a tensor with `rank` axes of its own. */
void lower_tensor_of(const lower_frame *f, const lower_view *v, unsigned rank, lower_tensor *t);

/* Operations so far are not to be used again: tables that they have read are not what they were. */
void lower_forget(lower *l);
/* out = op(in...) over all axes of f. */
bool lower_map(lower *l, const lower_frame *f, kern_op op, double attr, unsigned n, const lower_view *in,
               lower_view *out);
/* in reduced over the axes of the set `folded`, along which the result has stride 0. */
bool lower_fold(lower *l, const lower_frame *f, kern_fold fold, const bool *folded, const lower_view *in,
                lower_view *out);
/* out[.., i, ..] = in joined over i.. (backward) or ..i of axis `along`; one more entry there, the neutral one, at the
 * end (backward) or the start. */
bool lower_scan(lower *l, lower_frame *f, kern_fold join, unsigned along, bool backward, const lower_view *in,
                lower_view *out);
/* A copy that is a value of its own, row-major over the axes of f. */
bool lower_copy(lower *l, const lower_frame *f, const lower_view *in, lower_view *out);
/* The same, of no one else: neither one that was there before, nor to be used for another. Of entries, it is the last
 * operation of its body. */
bool lower_copy_fresh(lower *l, const lower_frame *f, const lower_view *in, lower_view *out);
/* The same over some axes, outermost first; along the others it has stride 0. */
bool lower_copy_axes(lower *l, const lower_frame *f, unsigned n, const uint8_t *axis, const lower_view *in,
                     lower_view *out);
/* The tensor as one value: bound indices first, then its axes, row-major, each with its full size. */
bool lower_contiguous(lower *l, const lower_tensor *t, lower_tensor *out);
/* Operation of the loop's body where f depends on its index, else before it. */
plan_op *lower_op(lower *l, const lower_frame *f);

/* ---- indices ----------------------------------------------------------------------------------- */

/* d over the bound indices: base + sum step * (place along the axis). False in *affine where it is no such thing. */
typedef struct lower_index {
    int64_t base;
    unsigned n;
    lower_context step[LOWER_CONTEXT];
} lower_index;
bool lower_affine(lower *l, cr_dim d, lower_index *x, bool *affine);
void lower_range(const lower *l, const lower_index *x, int64_t *least, int64_t *greatest);
/* d as a number for all values of the bound indices. */
bool lower_integer(lower *l, cr_dim d, lower_tensor *out);
/* d at every place of the bound indices of f, the last one fastest: the plan's, `*n` of them. NULL: failed. */
int64_t *lower_table(lower *l, const lower_frame *f, cr_dim d, size_t *n);
/* Entry d of axis k of t, whose entries are counted from `first`. have(user, i): is there one of index i (NULL: all
 * are). Where there is none, the result is entry `instead` if `replaced`, NaN if `guarded`, else this is an error that
 * names `what`. */
typedef struct lower_entries {
    int64_t first, instead;
    bool replaced;
    bool (*have)(const void *user, int64_t i);
    const void *user;
    bool guarded;
    const char *what;
} lower_entries;
bool lower_depend(lower *l, lower_tensor *t, uint32_t axis); /* t is one for each value of it from now on */
bool lower_pick(lower *l, const lower_tensor *t, unsigned k, cr_dim d, const lower_entries *entries,
                lower_tensor *out);

/* ---- operators --------------------------------------------------------------------------------- */

/* Products open such an operand: it is made only where something else needs it. */
bool lower_is_diagonal(const cr_graph *g, cr_ref r);
bool lower_einsum(lower *l, cr_ref r, lower_tensor *out);
bool lower_reduction(lower *l, cr_ref r, lower_tensor *out);
bool lower_softmax(lower *l, cr_ref r, lower_tensor *out);
bool lower_linalg(lower *l, cr_ref r, lower_tensor *out);
bool lower_bind(lower *l, cr_ref r, lower_tensor *out);
bool lower_conv(lower *l, cr_ref r, lower_tensor *out);
bool lower_window(lower *l, cr_ref r, lower_tensor *out); /* sums and maxima, slices */
/* Of an ADD, if it is a concatenation; *is_one says. */
bool lower_concat(lower *l, cr_ref r, lower_tensor *out, bool *is_one);
bool lower_rows(lower *l, cr_ref r, lower_tensor *out); /* gather, scatter */
bool lower_member(lower *l, cr_ref r, lower_tensor *out);
bool lower_families(lower *l, unsigned n, const cr_ref *roots);

#endif
