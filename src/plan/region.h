/* A region: operations over one domain, run block by block in the L1 cache by vector kernels.
 *
 * The domain is seen as rows and columns: its first `split` axes are the rows. A value of the region is full (one entry
 * a place) or one entry a row (what a FOLD along the columns gives). A block is either a piece of one row, or some
 * whole rows. Blocks are dealt out in parts; how many there are depends on sizes only, and what parts have summed is
 * joined in their order, so that the bits do not depend on the number of threads. With a SCAN the rows run in its
 * order, and parts are ranges of columns. */
#ifndef CR_REGION_H
#define CR_REGION_H

#include "plan/plan.h"

#define REGION_PARTS 16

typedef enum slot_kind {
    SLOT_REGISTER, /* of the thread's scratch; full or by row */
    SLOT_CONSTANT, /* a number of the region */
    SLOT_MEMORY    /* moves with the block */
} slot_kind;

/* Where an instruction finds an operand. */
typedef struct region_slot {
    slot_kind kind;
    bool row;       /* one entry a row; the domain of a view is then that of the rows */
    bool still;     /* MEMORY: points at the view's offset, whatever the block */
    bool strided;   /* MEMORY: the rows of a block do not lie side by side; instructions run row by row */
    size_t offset;  /* REGISTER: bytes; CONSTANT: entries */
    ptrdiff_t step; /* bytes from row to row */
    plan_operand view; /* MEMORY: over the axes of the domain, or of its rows; a progression has no memory */
} region_slot;

/* Where a slot points at the first block, settled once all values have their places. Apart from the slots, since what
 * runs looks at nothing else of them. */
typedef enum region_base {
    BASE_REGISTERS, BASE_CONSTANTS, BASE_SLAB, BASE_PLAN, BASE_INPUT, BASE_OUTPUT,
    BASE_RING /* moves with the segment: asked for */
} region_base;
typedef struct region_address {
    region_base base;
    uint32_t index;       /* of an input, an output or a ring's value */
    ptrdiff_t bytes, loop; /* from the base; and for each index of the enclosing loop */
    ptrdiff_t column;     /* bytes from column to column */
} region_address;

typedef enum region_code {
    REGION_MAP,
    REGION_LOAD,   /* memory or a progression, as its view says, to a register */
    REGION_STORE,  /* a register to memory, as its view says */
    REGION_STREAM, /* the same, contiguous, past the caches */
    REGION_FILL,   /* one number for all of a register */
    REGION_SPREAD, /* one entry a row to a full register */
    REGION_ROWS,   /* rows that lie apart to a full register */
    REGION_FOLD,   /* along the columns: one entry a row */
    REGION_GATHER, /* ... along columns that do not all lie in one block: to an accumulator by row */
    REGION_COLLECT,/* along the first axes: to an accumulator */
    REGION_SCAN,   /* along the rows: what is carried from row to row in c, to b; joined with a, and to out */
    REGION_CALL
} region_code;

typedef struct region_instruction {
    region_code code;
    bool row;      /* one entry a row */
    bool each;     /* MAP, CALL: row by row, since an operand has one entry for all of a row, or rows apart */
    size_t fetch, fetch_end; /* of what the next block reads, the bytes that it fetches on the way */
    uint32_t out, a, b, c; /* slots; of GATHER and COLLECT, out is an accumulator; of LOAD and STORE, one is a view */
    kern_map_fn *map;
    kern_fold_fn *fold; /* FOLD, GATHER, COLLECT of one operand; of two, a sum of their products */
    kern_fold join;
    double attr;
    const plan_op *call;
} region_instruction;

/* What is reduced over more than a block: entries in the value itself if there is one part, else one copy a part. */
typedef struct region_accumulator {
    kern_fold join;
    kern_map_fn *map;
    uint32_t value;
    bool by_row;      /* one entry a row; else place p of the domain goes to p/period*inner + p%inner */
    size_t inner, period;
    size_t n, offset; /* entries; bytes into a part's accumulators */
    size_t wide;      /* entries there: n, or as many as a block has, which are n again and again */
} region_accumulator;

/* What is carried from row to row; of the value, the row that is neutral is written with it. */
typedef struct region_carry {
    kern_fold join;
    bool row;
    uint32_t slot, value; /* PLAN_NONE: the value is not kept */
} region_carry;

#define REGION_NO_SLOT UINT32_MAX

struct region {
    kern_dtype dtype;
    const kern_table *kernels;
    unsigned rank, split;
    int64_t dim[PLAN_RANK];
    size_t rows, columns, block_rows, block_columns;
    bool each; /* blocks are rows so long that instructions may as well run row by row */
    size_t parts;
    bool by_columns; /* parts are ranges of columns; else of blocks */
    bool apart;      /* each part has accumulators of its own */
    int order;       /* rows run forward (1) or backward (-1), one after the other; 0: in any order */
    uint32_t *moving; /* slots whose pointers change from block to block; then those that only a loop moves, too */
    size_t n_moving, n_looping;
    uint32_t *fetched; /* slots that are read from one end of memory to the other: fetched a block ahead */
    size_t n_fetched;
    region_slot *slot;
    region_address *address; /* by slot */
    size_t n_slot, slot_cap;
    region_instruction *code;
    size_t n_code, code_cap;
    region_instruction *once; /* loads of what is the same for all rows, before the first block */
    size_t n_once, once_cap;
    region_accumulator *sum;
    size_t n_sum, sum_cap;
    region_carry *carry;
    size_t n_carry, carry_cap;
    char *constant;
    size_t n_constant, constant_cap;
    size_t registers;  /* bytes of a thread's registers */
    size_t accumulators; /* bytes of a part's */
    bool wide; /* some accumulator is */
    bool streams; /* some result goes past the caches */
    double cost; /* estimate, ns on one thread */
};

/* How many blocks there are along the columns. */
static inline size_t region_pieces(const region *r)
{
    return r->block_columns ? (r->columns + r->block_columns - 1) / r->block_columns : 0;
}

/* The operations `op`, all of one group, in order; `alone`: the whole body of a loop, whose blocks should be as many as
 * threads can share out. NULL: out of memory, said in p->err. */
region *region_new(cr_plan *p, size_t n, const plan_op *const *op, bool alone);
void region_free(region *r);
void region_settle(region *r, const cr_plan *p); /* when all values have their places */
size_t region_scratch(const region *r, unsigned threads); /* bytes */
void region_run(const region *r, const plan_run *run, char *scratch, int64_t index);
/* Rows from..to-1 of a region that has an order: all of its rows in that order, some at a time. What is carried and
 * summed stays in scratch in between. `from` is a multiple of block_rows, as `to` is unless it is the end. */
size_t region_scratch_rows(const region *r, unsigned threads); /* bytes */
void region_run_rows(const region *r, const plan_run *run, char *scratch, size_t from, size_t to);

/* In loops. A region of one block (that needs no more than pointers to begin with) is prepared once, and then only
 * these move on from index to index. */
bool region_is_block(const region *r);
size_t region_prepared(const region *r); /* bytes that it keeps from index to index */
void region_prepare(const region *r, const plan_run *run, char *scratch, int64_t index);
void region_step(const region *r, const plan_run *run, char *scratch, int64_t index);
/* Indices from..to-1 for a block, then for the next: for regions whose blocks do not look at each other. */
void region_run_loop(const region *r, const plan_run *run, char *scratch, int64_t from, int64_t to);
void region_share(region *r, double times); /* deals it out for so many runs at a time */

#endif
