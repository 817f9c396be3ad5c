/* Room plan: a graph, made into a program once, then run often.
 *
 *     graph ── lower ──► operations over strided views ── group ──► steps ── memory ──► one slab ── run
 *
 * Lowering (lower*.c) knows the sizes. An expression becomes a tensor: a number, an arithmetic progression, or a view
 * of a value; so transposes, slices, broadcasts, diagonals and members of families cost nothing. A bound index is one
 * more axis (`plan_axis`), not a loop: what depends on it has a stride along it. Operations are few: MAP (element by
 * element), FOLD (along trailing or leading axes), PRODUCT (of matrices), SCAN, LINALG, LOOP.
 * Grouping (group.c) puts MAPs and FOLDs over the same domain into one step, a region, which runs block by block in the
 * L1 cache (region.c, region_run.c). Nothing after lowering is a cr_ref. */
#ifndef CR_PLAN_H
#define CR_PLAN_H

#include "exec/internal.h"
#include "kernel/conv.h"
#include "kernel/gemm.h"

#define PLAN_RANK 8 /* axes of a domain; axes of size 1 do not count, and more are merged where views allow it */
#define PLAN_NONE UINT32_MAX

/* ---- values ------------------------------------------------------------------------------------ */

typedef enum plan_place {
    PLACE_SLAB, PLACE_INPUT, PLACE_OUTPUT, PLACE_CONSTANT,
    PLACE_RING /* in the slab, but only the members of one segment at a time: see plan_checkpoint */
} plan_place;

/* An array in memory. Made by one operation, or, piece by piece, by several. */
typedef struct plan_value {
    size_t n;           /* entries */
    plan_place place;
    uint32_t index;     /* of an input, output or, of a RING, checkpoint */
    size_t offset;      /* SLAB, RING: bytes from its start; CONSTANT: entries into plan.constant */
    size_t held;        /* RING: entries in memory */
    int64_t member, origin; /* RING: entries of a member; the first entry held when the loop begins */
    uint32_t producer; /* group of the operation that made it last, PLAN_NONE: none; only while planning, as ... */
    uint32_t first, last; /* ... the steps that write it first and use it last */
    bool stored;        /* used outside of the step that makes it */
    bool parts;         /* made piece by piece */
    bool row;           /* within its region: one entry a row, ... */
    uint32_t op;        /* ... made by the operation of this number there */
    int8_t scan;        /* of a SCAN: 1 forward, -1 backward; 0: of anything else */
    uint32_t same;      /* the value whose memory it takes over, PLAN_NONE: none */
} plan_value;

/* ---- operations -------------------------------------------------------------------------------- */

typedef enum plan_source { SOURCE_VALUE, SOURCE_NUMBER, SOURCE_PROGRESSION } plan_source;

/* What an operation reads at each place of its domain: entry offset + sum stride[k] i[k] of a value, a number, or
 * number + sum stride[k] i[k] itself. */
typedef struct plan_operand {
    plan_source source;
    uint32_t value;
    double number;
    int64_t offset;
    int64_t stride[PLAN_RANK];
    int64_t loop; /* stride along the index of the enclosing LOOP */
} plan_operand;

typedef enum plan_kind {
    PLAN_MAP,     /* out = map(in...) over the domain */
    PLAN_FOLD,    /* the last `axes` axes are reduced, or with `leading` those behind the first `before`; of two
                     operands, their product */
    PLAN_PRODUCT, /* C = A B */
    PLAN_SCAN,    /* along axis 0 of the domain, whose result has one entry more there: out[i+1] = out[i] join in[i]
                     from the neutral out[0] on, or backward, out[i] = out[i+1] join in[i] from the last one on */
    PLAN_GATHER,  /* out = in at a table of offsets; -1: NaN */
    PLAN_ROWS,    /* rows of an axis by indices that are values: taken, or added up */
    PLAN_LINALG,
    PLAN_CHAIN,   /* products of matrices from one end of a range: as SCAN */
    PLAN_CALL,    /* a function of the caller's, entry by entry */
    PLAN_CONV,    /* one of x, w and y by the other two; over a domain of bound indices */
    PLAN_POOL,    /* sums and maxima over windows, plane by plane of a domain */
    PLAN_LOOP,    /* operations index by index */
} plan_kind;

typedef struct plan_linalg {
    cr_op op;
    size_t rows, columns, batch;
    const int64_t *exponent; /* MATPOW: of each matrix; the plan's */
} plan_linalg;

/* Offsets of entries, for all values of the bound indices that tell them. */
typedef struct plan_gather {
    const int64_t *table; /* the plan's */
    int64_t stride[PLAN_RANK], loop;
} plan_gather;

/* Rows by their indices, which are values, counted from 1: in[1]. The domain is the places of indices, then those of
 * a row, its last `axes` axes; in[0] and `to` stand at row 1. The rows are of in[0], or of the result (`add`). */
typedef struct plan_rows {
    bool add;
    bool lenient;    /* an index out of range is no error: nothing looks there */
    int64_t n, step; /* rows, and from one to the next */
} plan_rows;

/* A window over a plane: axes of the window, and one along which entries lie side by side (`run`). Of WINDOW, MAXPOOL,
 * MAXTIES or MAXPICK; slots and relation as in graph/window.h. */
typedef struct plan_pool {
    cr_op op;
    bool to_x;          /* the value is like x, not like y */
    unsigned axes;
    window_numbers window;
    size_t run;
    int64_t in[2][CR_MAX_RANK], out[CR_MAX_RANK]; /* strides along the axes of the window */
} plan_pool;

struct plan_body;
typedef struct plan_op {
    plan_kind kind;
    bool leading, backward;
    uint8_t rank, axes, before;
    uint8_t n_in;
    uint32_t out;      /* value */
    bool part;         /* writes a part of its value, as `to` says; otherwise all of it, row-major over what is kept */
    uint32_t group;    /* the step that it belongs to, over the whole plan */
    int64_t dim[PLAN_RANK]; /* domain */
    plan_operand in[3];
    plan_operand to;
    union {
        struct { kern_op op; double attr; } map;
        kern_fold fold; /* FOLD and SCAN */
        gemm_shape product;
        plan_linalg linalg;
        plan_gather gather;
        plan_rows rows;
        size_t chain; /* CHAIN: rows of the matrices */
        const conv_shape *conv; /* the plan's, as is ... */
        const plan_pool *pool;  /* ... this one */
        struct { exec_fun fn; void *user; unsigned order; } call;
        struct plan_body *loop;
    } u;
} plan_op;

/* ---- steps ------------------------------------------------------------------------------------- */

typedef struct region region; /* region.h */
typedef struct linalg_plan linalg_plan; /* linalg.c */
typedef struct plan_step {
    plan_kind kind;    /* MAP: a region */
    const plan_op *op; /* of all others */
    region *region;
    bool block;        /* of a loop's body: a region of one block, see region_prepare */
    gemm_plan product;
    conv_plan *conv; /* the step's */
    const linalg_plan *linalg; /* the plan's */
    size_t scratch; /* bytes */
    const struct plan_checkpoint *checkpoint; /* of a LOOP in segments, and of its reader */
} plan_step;

typedef struct plan_body {
    plan_op *op;
    size_t n_op, op_cap;
    plan_step *step;
    size_t n_step, step_cap;
    int64_t lo, hi;  /* of a LOOP: indices, both included */
    const char *name; /* of a LOOP: one of its families; only while planning */
    bool split;      /* of a LOOP that is one region, whose blocks do not look at each other */
} plan_body;

/* Of a table that is a RING. */
typedef struct plan_table {
    uint32_t value;
    uint32_t saved; /* value: the members before each segment but the last, `lag` of them */
    int64_t lag;    /* members before a segment that it looks back at */
} plan_table;

/* A member that steps other than the reader look at: copied when it has been made. */
typedef struct plan_pin {
    uint32_t value, table;
    int64_t index, at; /* index of the loop that makes it, below 0: it was there before; the member's number */
} plan_pin;

/* A LOOP in segments. Its tables hold the members that one segment makes and looks at. The reader, a region whose rows
 * run backward, goes from the last segment to the first; before each but the last, the loop runs again over it, from
 * the members that were saved. Segment s has the rows from s*length on, and the indices from s*length - delay on. */
typedef struct plan_checkpoint {
    const plan_op *op;
    uint32_t number, loop, reader; /* steps; reader PLAN_NONE: there is none, and nothing is saved */
    int64_t count, rows, length, delay; /* indices of the loop; rows of the reader, of a segment */
    size_t segments;
    size_t scratch; /* bytes of the loop's, in front of the reader's own */
    plan_table *table;
    plan_pin *pin;
    size_t n_table, n_pin;
} plan_checkpoint;

typedef struct plan_port { /* an input or output */
    const char *name; /* of an input */
    cr_ref ref;
    uint32_t value;
    unsigned rank;
    int64_t dim[CR_MAX_RANK];
    size_t n;
} plan_port;

struct cr_plan {
    kern_dtype dtype;
    kern_level level;
    unsigned threads;
    bool deterministic;
    error err;
    plan_value *value;
    size_t n_value, value_cap;
    plan_body body;
    plan_port *input, *output;
    size_t n_input, input_cap, n_output;
    char *constant; /* entries of the dtype */
    size_t n_constant, constant_cap; /* entries */
    arena mem; /* tables, names, bodies of loops */
    size_t slab, scratch; /* bytes of a slab; where its scratch begins */
    uint32_t n_groups;
    plan_checkpoint **checkpoint; /* in the arena */
    size_t n_checkpoint, checkpoint_cap;
};

uint32_t plan_value_new(cr_plan *p, size_t n); /* of n entries; PLAN_NONE: out of memory, said in p->err */
plan_op *plan_op_new(cr_plan *p, plan_body *b); /* zeroed; NULL: out of memory, said in p->err */
cr_status plan_fail(cr_plan *p, cr_status status, const char *fmt, ...) CR_PRINTF(3, 4);
bool plan_no_memory(cr_plan *p); /* false, with that said */

/* Memory of runs. */
struct cr_slab {
    char *memory; /* what was allocated */
    char *start;  /* aligned to 64, large ones to a huge page */
    size_t bytes;
};
cr_slab *plan_slab_new(size_t bytes); /* NULL: out of memory */

/* Gives size symbols their values; false: it failed, and the graph says why. */
bool plan_bind_sizes(cr_graph *g, exec_env *env, unsigned n, const cr_size_value *size);

/* ---- passes ------------------------------------------------------------------------------------ */

/* Fills p->body with the operations that compute the outputs, and p->input. */
bool plan_lower(cr_plan *p, cr_graph *g, exec_env *env, unsigned n, const cr_ref *out);
bool plan_prune(cr_plan *p);        /* takes out what no output needs */
bool plan_peephole(cr_plan *p);     /* two operations in one */
bool plan_group(cr_plan *p);        /* operations to steps */
bool plan_checkpoints(cr_plan *p, cr_checkpoints which, size_t bytes); /* loops in segments */
bool plan_place_values(cr_plan *p); /* offsets in the slab, its size */
void plan_settle(cr_plan *p);       /* where steps find what was placed */
size_t plan_scratch(const plan_body *b); /* bytes that its steps need at a time */
/* Every step reads what was written for it, and nothing else lies there: CR_EINTERNAL if not. */
bool plan_verify(cr_plan *p);

/* Are these the strides of a row-major array over `dim`? Axes of size 1 may have any. */
static inline bool plan_is_row_major(unsigned rank, const int64_t *dim, const int64_t *stride)
{
    int64_t want = 1;
    for (unsigned k = rank; k-- > 0;) {
        if (stride[k] != want && dim[k] > 1) return false;
        want *= dim[k];
    }
    return true;
}

/* Is x one for a region, which runs place by place of its domain? */
static inline bool plan_by_places(const plan_op *x)
{
    return x->kind == PLAN_MAP || x->kind == PLAN_FOLD || x->kind == PLAN_CALL || x->kind == PLAN_SCAN;
}

/* The group of the plan's own step 0: bodies of loops have those before. */
static inline uint32_t plan_first_group(const cr_plan *p) { return p->n_groups - (uint32_t)p->body.n_step; }

/* Does x read v at the place that it writes, everywhere? */
bool plan_reads_in_place(const plan_op *x, const plan_operand *v);

/* Pointers of one run. */
typedef struct plan_run {
    const cr_plan *plan;
    char *slab;
    const void *const *in;
    void *const *out;
    cr_status *status; /* CR_EVALUE: an index is out of range; the run goes on */
    int64_t *start; /* by checkpoint: the first index of the segment that its rings hold */
} plan_run;

static inline bool plan_in_slab(const plan_value *v) { return v->place == PLACE_SLAB || v->place == PLACE_RING; }
static inline size_t plan_held(const plan_value *v) { return v->place == PLACE_RING ? v->held : v->n; } /* entries */

/* The first index of segment s; of the one after the last, the number of indices. */
static inline int64_t plan_segment(const plan_checkpoint *c, size_t s)
{
    int64_t at = (int64_t)s * c->length - c->delay;
    return s == c->segments ? c->count : s == 0 || at < 0 ? 0 : at;
}

static inline char *plan_pointer(const plan_run *r, uint32_t value)
{
    const plan_value *v = &r->plan->value[value];
    switch (v->place) {
    case PLACE_INPUT: return (char *)(uintptr_t)r->in[v->index];
    case PLACE_OUTPUT: return r->out[v->index];
    case PLACE_CONSTANT: return r->plan->constant + v->offset * kern_size(r->plan->dtype);
    case PLACE_RING: /* where entry 0 would be */
        return (char *)((uintptr_t)(r->slab + v->offset) -
                        (uintptr_t)((v->origin + r->start[v->index] * v->member) * (int64_t)kern_size(r->plan->dtype)));
    default: return r->slab + v->offset;
    }
}

static inline char *plan_entry(const plan_run *r, const plan_operand *v, int64_t index)
{
    return plan_pointer(r, v->value) + (v->offset + v->loop * index) * (int64_t)kern_size(r->plan->dtype);
}
/* Moves the pointers at[i] of n operands to place number `place` of the domain of x. */
void plan_move(const plan_run *r, const plan_op *x, size_t place, unsigned n, const plan_operand *const *v, char **at);

void plan_run_all(const plan_run *r);
size_t plan_pool_scratch(const cr_plan *p, const plan_op *x); /* bytes */
void plan_run_pool(const plan_run *r, const plan_op *x, char *scratch, int64_t index);
void plan_run_rows(const plan_run *r, const plan_op *x, int64_t index);
/* NULL: out of memory, said in p->err. *scratch: bytes. */
linalg_plan *plan_linalg_new(cr_plan *p, const plan_op *x, size_t *scratch);
void plan_run_linalg(const plan_run *r, const plan_step *s, char *scratch, int64_t index);
void plan_print(const cr_plan *p, strbuf *b); /* its operations, a line each, with the numbers of their steps */

#endif
