/* Regions: the code of one, from operations. */
#include "plan/region.h"

#include <string.h>

enum {
    BLOCK_BYTES = 24 * 1024, /* of all registers together: they stay in the L1 cache */
    BLOCK_MIN = 64, BLOCK_MAX = 1024, /* entries */
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
    pool full, row;
    size_t n_full, n_row; /* registers */
    bool whole; /* blocks are whole rows */
    bool uses_rows; /* some value of a row is used within the region */
} compiler;

static bool is_row(const compiler *c, const plan_op *x)
{
    return x->rank != c->r->rank || memcmp(x->dim, c->r->dim, x->rank * sizeof *x->dim) != 0;
}

static size_t product(const int64_t *dim, unsigned from, unsigned to)
{
    size_t n = 1;
    for (unsigned k = from; k < to; k++) n *= (size_t)dim[k];
    return n;
}

/* ---- sources ------------------------------------------------------------------------------------ */

static uint32_t hash_source(const plan_operand *v, bool row, bool spread)
{
    uint32_t h = hash_word(v->source, v->value + (row ? 7919u : 0) + (spread ? 104729u : 0));
    uint64_t bits;
    memcpy(&bits, &v->number, sizeof bits);
    h = hash_word(hash_word(h, (uint32_t)bits), (uint32_t)(bits >> 32));
    h = hash_word(hash_word(h, (uint32_t)v->offset), (uint32_t)v->loop);
    for (unsigned k = 0; k < PLAN_RANK; k++) h = hash_word(h, (uint32_t)v->stride[k]);
    return h;
}

static bool same_source(const source *s, const plan_operand *v, bool row, bool spread)
{
    return s->row == row && s->spread == spread && s->view.source == v->source && s->view.value == v->value &&
           memcmp(&s->view.number, &v->number, sizeof v->number) == 0 && s->view.offset == v->offset &&
           s->view.loop == v->loop && memcmp(s->view.stride, v->stride, sizeof v->stride) == 0;
}

static uint32_t source_of(compiler *c, const plan_operand *v, bool row, bool spread, bool made)
{
    uint32_t *head = &c->table[hash_source(v, row, spread) & (c->table_size - 1)];
    for (uint32_t k = *head; k != PLAN_NONE; k = c->source[k].next) {
        if (same_source(&c->source[k], v, row, spread)) return k;
    }
    c->source[c->n_source] = (source){.view = *v, .row = row, .spread = spread, .made = made, .slot = PLAN_NONE,
                                      .next = *head};
    *head = (uint32_t)c->n_source;
    return (uint32_t)c->n_source++;
}

static bool made_here(const compiler *c, const plan_operand *v)
{
    return v->source == SOURCE_VALUE && c->p->value[v->value].producer == c->op[0]->group &&
           !c->p->value[v->value].parts;
}

/* Along the columns, a view that has no strides there is one number. */
static bool is_flat(const compiler *c, const plan_operand *v)
{
    for (unsigned k = c->r->split; k < c->r->rank; k++) {
        if (v->stride[k]) return false;
    }
    return true;
}

/* A value of the region is known by its number alone: where and how is the same for all that read it. */
static plan_operand value_operand(uint32_t value)
{
    return (plan_operand){.source = SOURCE_VALUE, .value = value};
}

static bool find_sources(compiler *c)
{
    size_t most = 5 * c->n_op + 1;
    c->table_size = 16;
    while (c->table_size < 2 * most) c->table_size *= 2;
    c->source = mem_alloc(most * sizeof *c->source);
    c->table = mem_alloc(c->table_size * sizeof *c->table);
    c->in = mem_alloc(c->n_op * sizeof *c->in);
    bool *row_made = mem_zalloc(c->p->n_value + 1, sizeof *row_made);
    if (!c->source || !c->table || !c->in || !row_made) {
        mem_free(row_made);
        return plan_no_memory(c->p);
    }
    memset(c->table, 255, c->table_size * sizeof *c->table);
    for (size_t i = 0; i < c->n_op; i++) {
        const plan_op *x = c->op[i];
        bool row = is_row(c, x);
        for (unsigned k = 0; k < x->n_in; k++) {
            const plan_operand *v = &x->in[k];
            uint32_t s;
            if (made_here(c, v)) {
                plan_operand made = value_operand(v->value);
                bool of_row = row_made[v->value];
                s = source_of(c, &made, of_row, false, true);
                if (of_row) c->uses_rows = true;
                if (of_row && !row) {
                    c->source[s].last = i;
                    s = source_of(c, &made, true, true, true);
                }
            } else {
                s = source_of(c, v, row, false, false);
            }
            c->source[s].last = i;
            c->in[i][k] = s;
        }
        row_made[x->out] = row || (x->kind == PLAN_FOLD && !x->leading);
    }
    mem_free(row_made);
    return true;
}

/* ---- blocks ------------------------------------------------------------------------------------- */

/* Axes from here on are one run of memory, or one number, for v; rank: not even the last one is. */
static unsigned simple_from(const region *r, const plan_operand *v)
{
    int64_t stride = 1;
    unsigned k = r->rank;
    while (k > 0 && v->stride[k - 1] == 0) k--;
    if (k < r->rank || k == 0) return k;
    for (; k > 0 && v->stride[k - 1] == stride; k--) stride *= r->dim[k - 1];
    return k;
}

/* Where no operation says what a row is: as long as all operands that are not spread out in memory run through it. */
static unsigned choose_split(const compiler *c)
{
    unsigned split = 0;
    for (size_t i = 0; i < c->n_op; i++) {
        for (unsigned k = 0; k < c->op[i]->n_in; k++) {
            const plan_operand *v = &c->op[i]->in[k];
            if (v->source != SOURCE_VALUE) continue;
            unsigned from = simple_from(c->r, v);
            if (from < c->r->rank && from > split) split = from;
        }
    }
    return split;
}

/* Full registers that are in use at once, at least. */
static size_t most_live(const compiler *c)
{
    size_t live = 0, most = 1, *ends = mem_zalloc(c->n_op + 1, sizeof *ends);
    if (!ends) {
        plan_no_memory(c->p); /* which compile sees */
        return 1;
    }
    for (size_t k = 0; k < c->n_source; k++) {
        if (c->source[k].made && !c->source[k].row) ends[c->source[k].last]++;
    }
    for (size_t i = 0; i < c->n_op; i++) {
        live += !is_row(c, c->op[i]) && c->op[i]->kind != PLAN_FOLD;
        most = live > most ? live : most;
        live -= ends[i] < live ? ends[i] : live;
    }
    mem_free(ends);
    return most;
}

/* Is v the same for all rows? */
static bool repeats(const compiler *c, const plan_operand *v)
{
    for (unsigned k = 0; k < c->r->split; k++) {
        if (v->stride[k]) return false;
    }
    bool changes = v->loop || (v->source == SOURCE_VALUE && c->p->value[v->value].parts); /* from index to index */
    return v->source != SOURCE_NUMBER && !changes && !is_flat(c, v);
}

static size_t n_repeated(const compiler *c)
{
    size_t n = 0;
    for (size_t k = 0; k < c->n_source; k++) {
        n += !c->source[k].made && !c->source[k].row && repeats(c, &c->source[k].view);
    }
    return n;
}

static void choose_blocks(compiler *c, bool folds)
{
    region *r = c->r;
    size_t size = kern_size(r->dtype), block = BLOCK_BYTES / (size * (most_live(c) + n_repeated(c) + 1));
    block = block < BLOCK_MIN ? BLOCK_MIN : block > BLOCK_MAX ? BLOCK_MAX : block / 16 * 16;
    r->rows = product(r->dim, 0, r->split);
    r->columns = product(r->dim, r->split, r->rank);
    c->whole = c->uses_rows || (folds && r->columns <= block);
    if (c->whole || r->columns <= block) {
        r->block_columns = r->columns;
        r->block_rows = r->columns < 256 && r->columns > 0 ? block / r->columns : 1;
        r->block_rows = r->block_rows == 0 ? 1 : r->block_rows > r->rows ? r->rows : r->block_rows;
    } else {
        size_t pieces = (r->columns + block - 1) / block;
        r->block_rows = 1;
        r->block_columns = ((r->columns + pieces - 1) / pieces + 15) / 16 * 16;
    }
}

/* ---- code --------------------------------------------------------------------------------------- */

static bool new_slot(compiler *c, region_slot s, uint32_t *at)
{
    region *r = c->r;
    if (!VEC_RESERVE(r->slot, r->slot_cap, r->n_slot + 1)) return plan_no_memory(c->p);
    r->slot[r->n_slot] = s;
    *at = (uint32_t)r->n_slot++;
    return true;
}

static bool take_register(compiler *c, bool row, uint32_t *at)
{
    pool *p = row ? &c->row : &c->full;
    if (p->n) {
        *at = p->slot[--p->n];
        return true;
    }
    size_t *count = row ? &c->n_row : &c->n_full; /* offsets follow once both numbers are known */
    return new_slot(c, (region_slot){.kind = SLOT_REGISTER, .row = row, .offset = (*count)++}, at);
}

static bool give_register(compiler *c, uint32_t at)
{
    const region_slot *s = &c->r->slot[at];
    if (s->kind != SLOT_REGISTER) return true;
    pool *p = s->row ? &c->row : &c->full;
    if (!VEC_RESERVE(p->slot, p->cap, p->n + 1)) return plan_no_memory(c->p);
    p->slot[p->n++] = at;
    return true;
}

static region_instruction *emit(compiler *c, region_code code, bool row)
{
    region *r = c->r;
    if (!VEC_RESERVE(r->code, r->code_cap, r->n_code + 1)) {
        plan_no_memory(c->p);
        return NULL;
    }
    region_instruction *x = &r->code[r->n_code++];
    *x = (region_instruction){.code = code, .row = row};
    return x;
}

static bool constant(compiler *c, double v, uint32_t *at)
{
    region *r = c->r;
    size_t size = kern_size(r->dtype);
    if (!VEC_RESERVE(r->constant, r->constant_cap, (r->n_constant + 1) * size)) return plan_no_memory(c->p);
    float f = (float)v;
    memcpy(r->constant + r->n_constant * size, r->dtype == KERN_F32 ? (void *)&f : (void *)&v, size);
    return new_slot(c, (region_slot){.kind = SLOT_CONSTANT, .still = true, .offset = r->n_constant++}, at);
}

static bool is_zero(const plan_operand *v, unsigned rank)
{
    for (unsigned k = 0; k < rank; k++) {
        if (v->stride[k]) return false;
    }
    return true;
}

static bool is_contiguous(const region *r, const plan_operand *v, unsigned rank)
{
    int64_t stride = 1;
    for (unsigned k = rank; k-- > 0;) {
        if (r->dim[k] > 1 && v->stride[k] != stride) return false;
        stride *= r->dim[k];
    }
    return true;
}

/* Can instructions look at v where it lies? *still: it does not move. */
static bool is_direct(const compiler *c, const plan_operand *v, bool row, bool *still)
{
    const region *r = c->r;
    unsigned rank = row ? r->split : r->rank;
    *still = is_zero(v, rank);
    if (*still || is_contiguous(r, v, rank)) return true;
    if (r->block_rows != 1) return false;
    return row || is_flat(c, v) || simple_from(r, v) <= r->split;
}

/* Into a register that no one else gets. */
static bool load_once(compiler *c, uint32_t view, uint32_t *slot)
{
    region *r = c->r;
    if (!VEC_RESERVE(r->once, r->once_cap, r->n_once + 1)) return plan_no_memory(c->p);
    if (!new_slot(c, (region_slot){.kind = SLOT_REGISTER, .offset = c->n_full++}, slot)) return false;
    r->once[r->n_once++] = (region_instruction){.code = REGION_LOAD, .out = *slot, .a = view};
    return true;
}

/* Puts source s where an instruction can read it. */
static bool materialise(compiler *c, uint32_t s)
{
    source *x = &c->source[s];
    bool still;
    if (x->slot != PLAN_NONE) return true;
    if (x->spread) {
        uint32_t of = source_of(c, &x->view, true, false, true);
        if (c->r->block_rows == 1) { /* one row: its entry is a number */
            x->slot = c->source[of].slot;
            return true;
        }
        uint32_t to = 0;
        if (!take_register(c, false, &to)) return false;
        region_instruction *i = emit(c, REGION_SPREAD, false);
        if (!i) return false;
        i->out = x->slot = to;
        i->a = c->source[of].slot;
        return true;
    }
    if (x->view.source == SOURCE_NUMBER) return constant(c, x->view.number, &x->slot);
    if (x->view.source == SOURCE_VALUE && is_direct(c, &x->view, x->row, &still)) {
        return new_slot(c, (region_slot){.kind = SLOT_MEMORY, .row = x->row, .still = still, .view = x->view},
                        &x->slot);
    }
    uint32_t view = 0, to = 0;
    if (!new_slot(c, (region_slot){.kind = SLOT_MEMORY, .row = x->row, .still = true, .view = x->view}, &view)) {
        return false;
    }
    x->kept = !x->row && c->r->block_columns == c->r->columns && repeats(c, &x->view);
    if (x->kept) return load_once(c, view, &x->slot);
    if (!take_register(c, x->row, &to)) return false;
    region_instruction *i = emit(c, REGION_LOAD, x->row);
    if (!i) return false;
    i->out = x->slot = to;
    i->a = view;
    return true;
}

/* Is what the slot holds one number for all entries of a block? */
static bool is_one(const compiler *c, uint32_t slot, bool row)
{
    const region_slot *s = &c->r->slot[slot];
    if (s->kind == SLOT_CONSTANT) return true;
    if (s->kind == SLOT_MEMORY && s->still) return true;
    if (row || c->r->block_rows != 1) return false;
    return s->row || (s->kind == SLOT_MEMORY && is_flat(c, &s->view));
}

static plan_operand row_major(const region *r, uint32_t value, unsigned rank)
{
    plan_operand v = value_operand(value);
    int64_t stride = 1;
    for (unsigned k = rank; k-- > 0;) {
        v.stride[k] = stride;
        stride *= r->dim[k];
    }
    return v;
}

/* The source of a value that this region has made, if it is read again here. */
static source *made_source(compiler *c, uint32_t value, bool row)
{
    plan_operand v = value_operand(value);
    return &c->source[source_of(c, &v, row, false, true)];
}

static bool streams(const compiler *c, uint32_t value)
{
    return c->p->value[value].n * kern_size(c->r->dtype) >= STREAM_BYTES && c->r->rows * c->r->columns > BLOCK_MAX;
}

/* Where x puts its result: into its value, if that is kept, or a register. *later: it is to be copied from there. */
static bool place_result(compiler *c, const plan_op *x, bool row, uint32_t *slot, bool *later)
{
    region *r = c->r;
    bool still, stored = c->p->value[x->out].stored;
    unsigned rank = row ? r->split : r->rank;
    plan_operand to = x->part ? x->to : row_major(r, x->out, rank);
    *later = stored && ((x->part && !is_contiguous(r, &to, rank) && !(is_direct(c, &to, row, &still) && !still &&
                                                                         !is_flat(c, &to))) ||
                        (!row && streams(c, x->out)));
    if (stored && !*later) {
        still = rank == 0;
        return new_slot(c, (region_slot){.kind = SLOT_MEMORY, .row = row, .still = still, .view = to}, slot);
    }
    return take_register(c, row, slot);
}

static bool store_result(compiler *c, const plan_op *x, bool row, uint32_t from)
{
    region *r = c->r;
    unsigned rank = row ? r->split : r->rank;
    plan_operand to = x->part ? x->to : row_major(r, x->out, rank);
    bool stream = is_contiguous(r, &to, rank) && rank > 0;
    uint32_t view = 0;
    if (!new_slot(c, (region_slot){.kind = SLOT_MEMORY, .row = row, .still = !stream, .view = to}, &view)) return false;
    region_instruction *i = emit(c, stream ? REGION_STREAM : REGION_STORE, row);
    if (!i) return false;
    i->out = view;
    i->a = from;
    return true;
}

static bool free_sources(compiler *c, size_t at)
{
    for (unsigned k = 0; k < c->op[at]->n_in; k++) {
        source *s = &c->source[c->in[at][k]];
        bool again = false; /* an operand that is named twice is freed once */
        for (unsigned j = 0; j < k; j++) again |= c->in[at][j] == c->in[at][k];
        if (again || s->last != at || s->slot == PLAN_NONE || s->kept) continue;
        if (s->spread) { /* the row's own entry ends with its last use, as spread or not */
            source *of = made_source(c, s->view.value, true);
            if (of->slot == s->slot) continue;
        }
        if (!give_register(c, s->slot)) return false;
    }
    return true;
}

/* A number for all of a block into a register of its own: kernels want one operand at least that has an entry a place. */
static bool spread_number(compiler *c, bool row, uint32_t *slot)
{
    uint32_t to = 0;
    if (!take_register(c, row, &to)) return false;
    region_instruction *i = emit(c, REGION_FILL, row);
    if (!i) return false;
    i->out = to;
    i->a = *slot;
    *slot = to;
    return give_register(c, to); /* read by the next instruction only, which may write there */
}

static bool compile_map(compiler *c, size_t at, bool row)
{
    const plan_op *x = c->op[at];
    region *r = c->r;
    uint32_t slot[3] = {0}, out;
    unsigned mask = 0;
    bool later;
    for (unsigned k = 0; k < x->n_in; k++) {
        if (!materialise(c, c->in[at][k])) return false;
        slot[k] = c->source[c->in[at][k]].slot;
        mask |= is_one(c, slot[k], row) ? 1u << k : 0;
    }
    if (mask == (1u << x->n_in) - 1) { /* one entry, or the same for all of a block */
        bool single = row ? r->block_rows == 1 : r->block_rows * r->block_columns == 1;
        if (!single && !spread_number(c, row, &slot[0])) return false;
        mask = single ? 0 : mask & ~1u;
    }
    if (!free_sources(c, at) || !place_result(c, x, row, &out, &later)) return false;
    region_instruction *i = emit(c, x->kind == PLAN_CALL ? REGION_CALL : REGION_MAP, row);
    if (!i) return false;
    i->out = out;
    i->a = slot[0];
    i->b = slot[1];
    i->c = slot[2];
    i->attr = x->u.map.attr;
    if (x->kind == PLAN_CALL) i->call = x;
    else i->map = r->kernels->map[x->u.map.op][mask];
    if (later && !store_result(c, x, row, out)) return false;
    if (x->part) return !later || give_register(c, out);
    source *s = made_source(c, x->out, row);
    s->slot = out;
    return s->last > at || give_register(c, out);
}

static kern_op join_of(kern_fold f)
{
    static const kern_op op[KERN_FOLDS] = {
        [KERN_FOLD_SUM] = KERN_ADD, [KERN_FOLD_PROD] = KERN_MUL, [KERN_FOLD_MAX] = KERN_MAX,
        [KERN_FOLD_MIN] = KERN_MIN, [KERN_FOLD_ALL] = KERN_AND,  [KERN_FOLD_ANY] = KERN_OR,
    };
    return op[f];
}

/* Into an accumulator: what is reduced over more than a block. */
static bool compile_sum(compiler *c, const plan_op *x, bool row, bool by_row, const uint32_t *from)
{
    region *r = c->r;
    unsigned first = x->leading ? x->before : 0; /* of the axes that are folded; a row is folded as a whole */
    if (!VEC_RESERVE(r->sum, r->sum_cap, r->n_sum + 1)) return plan_no_memory(c->p);
    region_accumulator *s = &r->sum[r->n_sum];
    *s = (region_accumulator){.join = x->u.fold, .map = r->kernels->map[join_of(x->u.fold)][0], .value = x->out,
                              .by_row = by_row, .n = c->p->value[x->out].n, .offset = r->accumulators,
                              .inner = product(x->dim, first + x->axes, x->rank),
                              .period = product(x->dim, first, x->rank)};
    size_t block = r->block_rows * r->block_columns;
    bool wide = !row && !by_row && first == 0 && s->n > 1 && s->n < block && block % s->n == 0 &&
                r->block_columns == r->columns;
    s->wide = wide ? block : s->n;
    if (wide) s->inner = block;
    r->wide |= wide;
    r->accumulators += (s->wide * kern_size(r->dtype) + 63) / 64 * 64;
    region_instruction *i = emit(c, by_row ? REGION_GATHER : REGION_COLLECT, row);
    if (!i) return false;
    i->out = (uint32_t)r->n_sum++;
    i->a = from[0];
    i->b = from[1];
    i->map = x->n_in == 2 ? r->kernels->map[KERN_MULADD][0] : s->map;
    i->fold = x->n_in == 2 ? NULL : r->kernels->fold[x->u.fold];
    return true;
}

static bool compile_fold(compiler *c, size_t at, bool row)
{
    const plan_op *x = c->op[at];
    region *r = c->r;
    uint32_t from[2] = {0}, out;
    for (unsigned k = 0; k < x->n_in; k++) {
        if (!materialise(c, c->in[at][k])) return false;
        from[k] = c->source[c->in[at][k]].slot;
        bool one = is_one(c, from[k], row) && !(row ? r->block_rows == 1 : r->block_rows * r->block_columns == 1);
        if (one && !spread_number(c, row, &from[k])) return false;
    }
    bool along_rows = !x->leading && !row;
    if (x->leading || row || !c->whole) {
        return compile_sum(c, x, row, along_rows, from) && free_sources(c, at);
    }
    bool later;
    if (!place_result(c, x, true, &out, &later)) return false;
    region_instruction *i = emit(c, REGION_FOLD, false);
    if (!i) return false;
    i->out = out;
    i->a = from[0];
    i->b = from[1];
    i->fold = x->n_in == 2 ? NULL : r->kernels->fold[x->u.fold];
    i->join = x->u.fold;
    if (!free_sources(c, at)) return false;
    source *made = made_source(c, x->out, true);
    made->slot = out;
    return made->last > at || give_register(c, out);
}

/* ---- regions ------------------------------------------------------------------------------------ */

static double cost_of(const plan_op *x)
{
    double n = (double)product(x->dim, 0, x->rank);
    if (x->kind == PLAN_CALL) return n * 20;
    if (x->kind == PLAN_FOLD) return n * 0.06;
    return n * (kern_arity(x->u.map.op) > 1 ? 0.08 : 0.2);
}

static size_t blocks_of(const region *r)
{
    return ((r->rows + r->block_rows - 1) / r->block_rows) *
           ((r->columns + r->block_columns - 1) / r->block_columns);
}

bool region_is_block(const region *r) { return blocks_of(r) == 1 && !r->wide && r->n_once == 0; }

void region_share(region *r, double times)
{
    size_t blocks = blocks_of(r);
    r->parts = r->cost * times < 15000 ? 1 : blocks < REGION_PARTS ? blocks : REGION_PARTS;
}

static bool choose_parts(compiler *c)
{
    region *r = c->r;
    region_share(r, 1);
    if (r->n_sum == 0 || r->parts == 1) return true;
    bool columns_apart = !c->uses_rows && !c->whole;
    for (size_t i = 0; i < r->n_sum; i++) columns_apart &= !r->sum[i].by_row && r->sum[i].inner % r->columns == 0;
    double entries = 0;
    for (size_t i = 0; i < r->n_sum; i++) entries += (double)r->sum[i].n;
    if (entries * (double)r->parts * 0.3 <= r->cost / 4) return true; /* copies cost little */
    size_t pieces = r->columns / (r->block_columns ? r->block_columns : 1);
    r->by_columns = columns_apart && pieces > 1;
    r->parts = r->by_columns ? (pieces < REGION_PARTS ? pieces : REGION_PARTS) : 1;
    return true;
}

/* The processor fetches ahead by itself, but not from page to page, and a block is often one. */
static bool is_fetched(const compiler *c, const region_slot *s)
{
    const region *r = c->r;
    size_t bytes = r->rows * r->columns * kern_size(r->dtype);
    return s->kind == SLOT_MEMORY && !s->still && !s->row && s->view.source == SOURCE_VALUE && bytes >= FETCH_BYTES &&
           c->p->value[s->view.value].producer != c->op[0]->group && is_contiguous(r, &s->view, r->rank);
}

static bool finish(compiler *c)
{
    region *r = c->r;
    size_t size = kern_size(r->dtype);
    size_t full = (r->block_rows * r->block_columns * size + 63) / 64 * 64, row = (r->block_rows * size + 63) / 64 * 64;
    r->moving = mem_alloc((r->n_slot + 1) * sizeof *r->moving);
    r->fetched = mem_alloc((r->n_slot + 1) * sizeof *r->fetched);
    if (!r->moving || !r->fetched) return plan_no_memory(c->p);
    for (size_t i = 0; i < r->n_slot; i++) {
        region_slot *s = &r->slot[i];
        if (is_fetched(c, s)) r->fetched[r->n_fetched++] = (uint32_t)i;
        if (s->kind == SLOT_REGISTER) s->offset = s->row ? c->n_full * full + s->offset * row : s->offset * full;
        if (s->kind == SLOT_MEMORY && !s->still) r->moving[r->n_moving++] = (uint32_t)i;
    }
    r->n_looping = r->n_moving;
    for (size_t i = 0; i < r->n_slot; i++) {
        const region_slot *s = &r->slot[i];
        if (s->kind == SLOT_MEMORY && s->still && s->view.loop && s->view.source == SOURCE_VALUE) {
            r->moving[r->n_looping++] = (uint32_t)i;
        }
    }
    r->registers = c->n_full * full + c->n_row * row;
    return choose_parts(c);
}

static bool compile(compiler *c)
{
    region *r = c->r;
    int split = -1;
    for (size_t i = 0; i < c->n_op; i++) {
        const plan_op *x = c->op[i];
        if (x->kind == PLAN_FOLD && !x->leading && !is_row(c, x)) split = (int)x->rank - x->axes;
        r->cost += cost_of(x) / (r->dtype == KERN_F32 ? 1 : 0.5);
    }
    if (!find_sources(c)) return false;
    r->split = split >= 0 ? (unsigned)split : choose_split(c);
    choose_blocks(c, split >= 0);
    if (c->p->err.status != CR_OK) return false;
    for (size_t i = 0; i < c->n_op; i++) {
        bool row = is_row(c, c->op[i]);
        if (!(c->op[i]->kind == PLAN_FOLD ? compile_fold(c, i, row) : compile_map(c, i, row))) return false;
    }
    return finish(c);
}

region *region_new(cr_plan *p, size_t n, const plan_op *const *op)
{
    region *r = mem_zalloc(1, sizeof *r);
    if (!r) {
        plan_no_memory(p);
        return NULL;
    }
    compiler c = {.p = p, .r = r, .n_op = n, .op = op};
    r->dtype = p->dtype;
    r->kernels = kern_table_of(p->dtype, p->level);
    r->rank = op[0]->rank;
    memcpy(r->dim, op[0]->dim, sizeof r->dim);
    bool ok = compile(&c);
    mem_free(c.source);
    mem_free(c.table);
    mem_free(c.in);
    mem_free(c.full.slot);
    mem_free(c.row.slot);
    if (!ok) {
        region_free(r);
        return NULL;
    }
    return r;
}

void region_free(region *r)
{
    if (!r) return;
    mem_free(r->slot);
    mem_free(r->code);
    mem_free(r->once);
    mem_free(r->sum);
    mem_free(r->constant);
    mem_free(r->moving);
    mem_free(r->fetched);
    mem_free(r);
}
