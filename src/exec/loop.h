/* Recurrences over doubles as a loop: the definitions of families, and tensors over an index with the sums and products
 * inside that share an end (exec_anchor), become a short register code. The code of definitions runs index by index,
 * that of tensors over blocks of indices. Nothing is allocated, hashed or looked up on the way.
 *
 * Only what fits is taken: scalars and vectors, element-wise operators, contractions to them, indices at a constant
 * distance. Whatever does not is the interpreter's, which also says what is wrong where something is. */
#ifndef CR_EXEC_LOOP_H
#define CR_EXEC_LOOP_H

#include "exec/internal.h"

/* The members of a family, as the interpreter holds them. */
typedef struct loop_table {
    cr_family family;
    size_t n; /* values of a member */
    double *v;
    bool *has;
    int64_t first; /* index of v[0] */
    size_t cap;
    size_t n_pieces;
    const int64_t *lo, *hi;
} loop_table;

/* Values of sigmoid' that the derivatives will ask for where a definition computes sigmoid of the same argument: they
 * share the exponential, and cost next to nothing while the recurrence waits for its last step. */
typedef struct loop_twin {
    size_t table, piece;
    cr_ref argument; /* in the body of the piece */
    size_t n;        /* values of one index */
    double *v;
    int64_t first, lo, hi; /* index of v[0]; of those that are there */
    size_t cap;
} loop_twin;

typedef struct loop_room {
    cr_graph *g;
    exec_env *env;
    loop_table *table; /* in the order in which members of equal index are computed */
    size_t n_tables;
    loop_twin *twin;
    size_t n_twins, twin_cap;
    void *user;
    bool (*reach)(void *user, int64_t at); /* computes members up to `at`; moves tables */
    /* Value of a node that does not depend on the index, NULL: not there. */
    const double *(*value)(void *user, cr_ref r, size_t *n);
} loop_room;

typedef enum loop_answer { LOOP_DONE, LOOP_UNFIT, LOOP_FAILED /* with the graph's error set */ } loop_answer;

/* Finds the twins that the roots ask for. */
bool loop_plan(loop_room *room, unsigned n_roots, const cr_ref *roots);
void loop_room_free(loop_room *room);
/* Members *next..to of all families, *next moving on; the tables have room for them, all before are there. */
loop_answer loop_members(loop_room *room, int64_t *next, int64_t to);
/* Binder r over lo..hi: n values to out. */
loop_answer loop_bind(loop_room *room, cr_ref r, int64_t lo, int64_t hi, double *out, size_t n);

/* ---- code --------------------------------------------------------------------------------------- */

typedef enum loop_kind {
    LOOP_REGISTER, /* values of the indices of a block */
    LOOP_FIXED,    /* the same for all indices */
    LOOP_PARAM, LOOP_TABLE, LOOP_TWIN /* memory by index */
} loop_kind;

typedef struct loop_operand {
    loop_kind kind;
    uint32_t id;  /* of a register, table or twin */
    uint32_t w;   /* values an index */
    bool still;   /* LOOP_TABLE: index `shift`, whatever the index */
    double *p;    /* LOOP_FIXED, LOOP_PARAM */
    int64_t shift; /* memory: index i reads i + shift ... */
    int64_t first; /* ... of values that start with index `first` ... */
    int64_t count; /* ... and are so many */
} loop_operand;

typedef enum loop_op {
    LOOP_COPY, LOOP_ADD, LOOP_MUL, LOOP_MULADD, /* a*b + c, rounded twice */
    LOOP_MAP1, LOOP_MAP2, LOOP_SELECT, LOOP_SIGMOIDS, /* sigmoid to `to`, sigmoid' to `twin` */
    LOOP_INDEX,       /* scale*index + offset */
    LOOP_DOT, LOOP_TOTAL, /* over the values of an index */
    LOOP_SCAN         /* joint value of a over the indices after (before) this one */
} loop_op;

typedef struct loop_code {
    loop_op op;
    cr_op map;
    double attr;       /* of a MAP1 */
    int64_t scale, offset;
    cr_bind_kind join; /* of a SCAN, which joins lo..hi */
    int64_t lo, hi;
    loop_operand to, twin, a, b, c;
} loop_code;

typedef struct loop_program {
    loop_code *code, *once; /* once: what does not depend on the index */
    size_t n, cap, n_once, once_cap;
    uint32_t *width; /* of the registers */
    size_t n_registers, register_cap;
    int direction;   /* of the scans: -1 down, 1 up, 0 none */
    int64_t lo, hi;  /* indices to run over */
    arena mem;       /* of LOOP_FIXED */
} loop_program;

void loop_program_free(loop_program *p);
/* Joins products with sums that follow. */
void loop_fuse(loop_program *p);

/* Runs over p->lo..p->hi and hands the result to `out`: the values of each index lo..hi one after the other, or (join)
 * their sum or product. step: index by index, for code that reads what it has written. */
typedef struct loop_result {
    loop_operand from;
    double *out;
    int64_t lo, hi;
    bool join;
    cr_bind_kind kind;
} loop_result;
bool loop_run(const loop_room *room, const loop_program *p, bool step, const loop_result *result);

#endif
