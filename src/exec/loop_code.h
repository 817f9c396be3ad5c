/* Between loop_code.c, which turns expressions into code, and loop_room.c, which says of what. */
#ifndef CR_EXEC_LOOP_CODE_H
#define CR_EXEC_LOOP_CODE_H

#include "exec/loop.h"

#define LOOP_MAX_VALUES 400

/* An expression whose values have a place. */
typedef struct loop_value {
    cr_ref r;
    int64_t lo, hi; /* indices at which it is needed */
    loop_operand at;
    size_t code;    /* of a sum or product over other indices: its SCAN */
    bool fixed;
    bool has_code; /* this time only its range is looked at */
} loop_value;

/* A twin that this run fills: sigmoid of argument gives sigmoid' besides. */
typedef struct loop_offer {
    cr_ref argument;
    size_t twin;
    bool taken;
} loop_offer;

typedef struct loop_writer {
    loop_room *room;
    loop_program *p;
    dim_sym s; /* the index */
    loop_value value[LOOP_MAX_VALUES];
    size_t n, depth;
    bool members; /* of families: nothing of an index after this one is there */
    size_t current; /* table whose member is being written */
    loop_offer *offer;
    size_t n_offers;
    bool failed; /* not for want of fitting: the graph's error is set */
} loop_writer;

/* Code for r, needed at indices lo..hi. false: does not fit, or failed. */
bool loop_write(loop_writer *w, cr_ref r, int64_t lo, int64_t hi, loop_operand *at);
loop_code *loop_emit(loop_writer *w, bool fixed, loop_code code, uint32_t width);
/* The same over operands for v, unless it has code already. */
bool loop_put(loop_writer *w, loop_value *v, loop_code code, uint32_t width);
bool loop_write_einsum(loop_writer *w, cr_ref r, loop_value *v, uint32_t width);
/* index d = s + shift? */
bool loop_shift(loop_writer *w, cr_dim d, int64_t *shift);
bool loop_table_covers(const loop_table *t, int64_t lo, int64_t hi);
/* sigmoid'(x) as memory that a definition has filled. */
bool loop_find_twin(loop_writer *w, cr_ref r, int64_t lo, int64_t hi, loop_operand *at);
#endif
