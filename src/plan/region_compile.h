/* Compiling a region: what region.c (the domain, its blocks), region_source.c (operands) and region_code.c (operations)
 * share. */
#ifndef CR_REGION_COMPILE_H
#define CR_REGION_COMPILE_H

#include "plan/region.h"

enum {
    BLOCK_BYTES = 24 * 1024, /* of all registers together: they stay in the L1 cache */
    BLOCK_MIN = 64, BLOCK_MAX = 1024, /* entries */
    EACH_MIN = 128, /* columns: a call a row costs less than a row's entry spread out */
    FETCH_BYTES = 256 << 10, /* of an operand: not all of a region's are in the L2 cache */
    STREAM_BYTES = 32 << 20  /* a result beyond this goes past the caches */
};

/* What instructions read: a number, a view of memory or a progression, or a value of the region. */
typedef struct source {
    plan_operand view;
    bool row;        /* over the rows only */
    bool spread;     /* a row's entry for all of its columns */
    bool made;       /* a value of this region */
    bool kept;       /* its register is loaded once and for all */
    size_t last;     /* operation that reads it last */
    uint32_t slot;   /* PLAN_NONE: not there yet */
    uint32_t next;   /* in the table */
} source;

typedef struct pool { /* registers that are free */
    uint32_t *slot;
    size_t n, cap;
} pool;

typedef struct compiler {
    cr_plan *p;
    region *r;
    size_t n_op;
    const plan_op *const *op;
    source *source;
    size_t n_source, source_cap;
    uint32_t *table; /* sources by hash */
    size_t table_size;
    uint32_t (*in)[3]; /* sources of each operation */
    const plan_op **copied; /* by operation: its result goes where this copy would put it, and is read there */
    bool *left_out;         /* by operation: such a copy */
    pool full, row;
    size_t n_full, n_row; /* registers */
    bool whole; /* blocks are whole rows */
    bool alone;     /* see region_new */
    bool uses_rows; /* some value of a row is used within the region */
} compiler;

bool rc_is_row(const compiler *c, const plan_op *x); /* is x over the rows only? */
size_t rc_product(const int64_t *dim, unsigned from, unsigned to);

/* ---- operands (region_source.c) ----------------------------------------------------------------- */

bool rc_find_sources(compiler *c);
/* The source of a value that this region has made, if it is read again here; of a SCAN, after or before it took in the
 * row. */
source *rc_made_source(compiler *c, uint32_t value, bool row, bool before);
bool rc_materialise(compiler *c, uint32_t s); /* puts source s where an instruction can read it */
bool rc_free_sources(compiler *c, size_t at); /* of operation `at`, those that nothing reads any more */
bool rc_is_one(const compiler *c, uint32_t slot, bool row); /* is what it holds one number for all of a block? */
/* A number for all of a block, or of a row, into a register of its own: kernels want one operand at least that has an
 * entry a place. */
bool rc_spread_number(compiler *c, bool row, uint32_t *slot);
bool rc_each(const compiler *c, uint32_t slot, bool row); /* is it read row by row? */
/* What is read row by row, as a whole: a copy in a register for the next instruction. */
bool rc_gather_rows(compiler *c, bool row, uint32_t *slot);
bool rc_is_flat(const compiler *c, const plan_operand *v);  /* one number along the columns */
bool rc_repeats(const compiler *c, const plan_operand *v);  /* the same for all rows */
/* Axes from here on are one run of memory, or one number, for v; rank: not even the last one is. */
unsigned rc_simple_from(const region *r, const plan_operand *v);
bool rc_is_direct(const compiler *c, const plan_operand *v, bool row, bool *still); /* *still: it does not move */
plan_operand rc_row_major(const region *r, uint32_t value, unsigned rank);

bool rc_new_slot(compiler *c, region_slot s, uint32_t *at);
bool rc_take_register(compiler *c, bool row, uint32_t *at);
bool rc_give_register(compiler *c, uint32_t at);
region_instruction *rc_emit(compiler *c, region_code code, bool row);

/* ---- operations (region_code.c) ----------------------------------------------------------------- */

bool rc_operation(compiler *c, size_t at);

#endif
