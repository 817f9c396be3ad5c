/* Regions: where operations find their operands. */
#include "plan/region_compile.h"

#include <string.h>

bool rc_is_row(const compiler *c, const plan_op *x)
{
    return x->rank != c->r->rank || memcmp(x->dim, c->r->dim, x->rank * sizeof *x->dim) != 0;
}

size_t rc_product(const int64_t *dim, unsigned from, unsigned to)
{
    size_t n = 1;
    for (unsigned k = from; k < to; k++) n *= (size_t)dim[k];
    return n;
}

/* ---- sources ------------------------------------------------------------------------------------ */

static uint32_t hash_source(const plan_operand *v, bool row, bool spread)
{
    uint32_t h = hash_word(v->source, v->value + (row ? 7919u : 0) + (spread ? 104729u : 0));
    h = hash_double(h, v->number);
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
bool rc_is_flat(const compiler *c, const plan_operand *v)
{
    for (unsigned k = c->r->split; k < c->r->rank; k++) {
        if (v->stride[k]) return false;
    }
    return true;
}

/* A value of the region is known by its number alone: where and how is the same for all that read it; but a SCAN is
 * seen before or after it has taken in the row. */
static plan_operand value_operand(uint32_t value, bool before)
{
    return (plan_operand){.source = SOURCE_VALUE, .value = value, .offset = before};
}

static bool sees_before(const compiler *c, const plan_operand *v)
{
    int8_t scan = c->p->value[v->value].scan;
    return scan && (v->offset == 0) == (scan > 0);
}

/* Operation number `at` may be a copy to a place in another value that what it copies can be written to at once. */
static void note_copy(compiler *c, size_t at, bool row)
{
    const plan_op *x = c->op[at];
    const plan_value *v = &c->p->value[x->in[0].value];
    if (x->kind != PLAN_MAP || x->u.map.op != KERN_COPY || !x->part || !made_here(c, &x->in[0])) return;
    const plan_op *from = c->op[v->op];
    bool whole = from->kind == PLAN_MAP && !from->part && rc_is_row(c, from) == row && v->row == row && !v->stored &&
                 !v->scan && plan_is_row_major(x->rank, c->r->dim, x->to.stride);
    if (!whole || c->copied[v->op]) return;
    c->copied[v->op] = x;
    c->left_out[at] = true;
}

bool rc_find_sources(compiler *c)
{
    size_t most = 6 * c->n_op + 1;
    c->table_size = 16;
    while (c->table_size < 2 * most) c->table_size *= 2;
    c->source = mem_alloc(most * sizeof *c->source);
    c->table = mem_alloc(c->table_size * sizeof *c->table);
    c->in = mem_alloc(c->n_op * sizeof *c->in);
    c->copied = mem_zalloc(c->n_op + 1, sizeof *c->copied);
    c->left_out = mem_zalloc(c->n_op + 1, sizeof *c->left_out);
    if (!c->source || !c->table || !c->in || !c->copied || !c->left_out) return plan_no_memory(c->p);
    memset(c->table, 255, c->table_size * sizeof *c->table);
    for (size_t i = 0; i < c->n_op; i++) {
        const plan_op *x = c->op[i];
        bool row = rc_is_row(c, x);
        c->uses_rows |= row;
        for (unsigned k = 0; k < x->n_in; k++) {
            const plan_operand *v = &x->in[k];
            uint32_t s;
            if (made_here(c, v)) {
                plan_operand made = value_operand(v->value, sees_before(c, v));
                bool of_row = c->p->value[v->value].row;
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
        c->p->value[x->out].row = row || (x->kind == PLAN_FOLD && !x->leading);
        c->p->value[x->out].op = (uint32_t)i;
        note_copy(c, i, row);
    }
    return true;
}

/* Axes from here on are one run of memory, or one number, for v; rank: not even the last one is. */
unsigned rc_simple_from(const region *r, const plan_operand *v)
{
    int64_t stride = 1;
    unsigned k = r->rank;
    while (k > 0 && v->stride[k - 1] == 0) k--;
    if (k < r->rank || k == 0) return k;
    for (; k > 0 && v->stride[k - 1] == stride; k--) stride *= r->dim[k - 1];
    return k;
}

bool rc_repeats(const compiler *c, const plan_operand *v)
{
    for (unsigned k = 0; k < c->r->split; k++) {
        if (v->stride[k]) return false;
    }
    bool changes = v->loop || (v->source == SOURCE_VALUE && c->p->value[v->value].parts); /* from index to index */
    return v->source != SOURCE_NUMBER && !changes && !rc_is_flat(c, v);
}

plan_operand rc_row_major(const region *r, uint32_t value, unsigned rank)
{
    plan_operand v = {.source = SOURCE_VALUE, .value = value};
    int64_t stride = 1;
    for (unsigned k = rank; k-- > 0;) {
        v.stride[k] = stride;
        stride *= r->dim[k];
    }
    return v;
}

/* Does the same step lead from each row to the next? */
static bool rows_are_even(const region *r, const plan_operand *v)
{
    int64_t next = 0; /* what the axes behind this one, all of them passed, lead to */
    bool any = false;
    for (unsigned k = r->split; k-- > 0;) {
        if (r->dim[k] == 1) continue;
        if (any && v->stride[k] != next) return false;
        next = v->stride[k] * r->dim[k];
        any = true;
    }
    return true;
}

static ptrdiff_t row_stride(const region *r, const plan_operand *v)
{
    for (unsigned k = r->split; k-- > 0;) {
        if (r->dim[k] != 1) return (ptrdiff_t)v->stride[k];
    }
    return 0;
}

/* ---- code --------------------------------------------------------------------------------------- */

bool rc_new_slot(compiler *c, region_slot s, uint32_t *at)
{
    region *r = c->r;
    s.strided = s.kind == SLOT_MEMORY && !s.row && !s.still && r->block_rows > 1 &&
                !plan_is_row_major(r->rank, r->dim, s.view.stride);
    s.step = s.strided ? row_stride(r, &s.view) * (ptrdiff_t)kern_size(r->dtype) : 0; /* of others: finish */
    if (!VEC_RESERVE(r->slot, r->slot_cap, r->n_slot + 1)) return plan_no_memory(c->p);
    r->slot[r->n_slot] = s;
    *at = (uint32_t)r->n_slot++;
    return true;
}

bool rc_take_register(compiler *c, bool row, uint32_t *at)
{
    pool *p = row ? &c->row : &c->full;
    if (p->n) {
        *at = p->slot[--p->n];
        return true;
    }
    size_t *count = row ? &c->n_row : &c->n_full; /* offsets follow once both numbers are known */
    return rc_new_slot(c, (region_slot){.kind = SLOT_REGISTER, .row = row, .offset = (*count)++}, at);
}

bool rc_give_register(compiler *c, uint32_t at)
{
    const region_slot *s = &c->r->slot[at];
    if (s->kind != SLOT_REGISTER) return true;
    pool *p = s->row ? &c->row : &c->full;
    if (!VEC_RESERVE(p->slot, p->cap, p->n + 1)) return plan_no_memory(c->p);
    p->slot[p->n++] = at;
    return true;
}

region_instruction *rc_emit(compiler *c, region_code code, bool row)
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
    return rc_new_slot(c, (region_slot){.kind = SLOT_CONSTANT, .still = true, .offset = r->n_constant++}, at);
}

static bool is_zero(const plan_operand *v, unsigned rank)
{
    for (unsigned k = 0; k < rank; k++) {
        if (v->stride[k]) return false;
    }
    return true;
}

/* Can instructions look at v where it lies? *still: it does not move. */
bool rc_is_direct(const compiler *c, const plan_operand *v, bool row, bool *still)
{
    const region *r = c->r;
    unsigned rank = row ? r->split : r->rank;
    *still = is_zero(v, rank);
    if (*still || plan_is_row_major(rank, r->dim, v->stride)) return true;
    if (r->block_rows != 1 && (row || !r->each || !rows_are_even(r, v))) return false;
    return row || rc_is_flat(c, v) || rc_simple_from(r, v) <= r->split;
}

/* Into a register that no one else gets. */
static bool load_once(compiler *c, uint32_t view, uint32_t *slot)
{
    region *r = c->r;
    if (!VEC_RESERVE(r->once, r->once_cap, r->n_once + 1)) return plan_no_memory(c->p);
    if (!rc_new_slot(c, (region_slot){.kind = SLOT_REGISTER, .offset = c->n_full++}, slot)) return false;
    r->once[r->n_once++] = (region_instruction){.code = REGION_LOAD, .out = *slot, .a = view};
    return true;
}

/* Puts source s where an instruction can read it. */
bool rc_materialise(compiler *c, uint32_t s)
{
    source *x = &c->source[s];
    bool still;
    if (x->slot != PLAN_NONE) return true;
    if (x->spread) {
        uint32_t of = source_of(c, &x->view, true, false, true);
        if (c->r->block_rows == 1 || c->r->each) { /* a row's entry is a number for it */
            x->slot = c->source[of].slot;
            return true;
        }
        uint32_t to = 0;
        if (!rc_take_register(c, false, &to)) return false;
        region_instruction *i = rc_emit(c, REGION_SPREAD, false);
        if (!i) return false;
        i->out = x->slot = to;
        i->a = c->source[of].slot;
        return true;
    }
    if (x->view.source == SOURCE_NUMBER) return constant(c, x->view.number, &x->slot);
    if (x->view.source == SOURCE_VALUE && rc_is_direct(c, &x->view, x->row, &still)) {
        return rc_new_slot(c, (region_slot){.kind = SLOT_MEMORY, .row = x->row, .still = still, .view = x->view},
                           &x->slot);
    }
    uint32_t view = 0, to = 0;
    if (!rc_new_slot(c, (region_slot){.kind = SLOT_MEMORY, .row = x->row, .still = true, .view = x->view}, &view)) {
        return false;
    }
    x->kept = !x->row && c->r->block_columns == c->r->columns && rc_repeats(c, &x->view);
    if (x->kept) return load_once(c, view, &x->slot);
    if (!rc_take_register(c, x->row, &to)) return false;
    region_instruction *i = rc_emit(c, REGION_LOAD, x->row);
    if (!i) return false;
    i->out = x->slot = to;
    i->a = view;
    return true;
}

/* Is what the slot holds one number for all entries of a block, or of each of its rows? */
bool rc_is_one(const compiler *c, uint32_t slot, bool row)
{
    const region_slot *s = &c->r->slot[slot];
    if (s->kind == SLOT_CONSTANT) return true;
    if (s->kind == SLOT_MEMORY && s->still) return true;
    if (row || (c->r->block_rows != 1 && !rc_each(c, slot, row))) return false;
    return s->row || (s->kind == SLOT_MEMORY && rc_is_flat(c, &s->view));
}

/* The source of a value that this region has made, if it is read again here. */
source *rc_made_source(compiler *c, uint32_t value, bool row, bool before)
{
    plan_operand v = value_operand(value, before);
    return &c->source[source_of(c, &v, row, false, true)];
}

bool rc_free_sources(compiler *c, size_t at)
{
    for (unsigned k = 0; k < c->op[at]->n_in; k++) {
        source *s = &c->source[c->in[at][k]];
        bool again = false; /* an operand that is named twice is freed once */
        for (unsigned j = 0; j < k; j++) again |= c->in[at][j] == c->in[at][k];
        if (again || s->last != at || s->slot == PLAN_NONE || s->kept) continue;
        if (s->spread) { /* the row's own entry ends with its last use, as spread or not */
            source *of = rc_made_source(c, s->view.value, true, s->view.offset != 0);
            if (of->slot == s->slot) continue;
        }
        if (!rc_give_register(c, s->slot)) return false;
    }
    return true;
}

bool rc_each(const compiler *c, uint32_t slot, bool row)
{
    const region_slot *s = &c->r->slot[slot];
    return c->r->block_rows > 1 && !row && (s->row || s->strided);
}

/* The slot of a register for the next instruction only, which may write there. */
static bool for_the_next(compiler *c, region_code code, bool row, uint32_t *slot)
{
    uint32_t to = 0;
    if (!rc_take_register(c, row, &to)) return false;
    region_instruction *i = rc_emit(c, code, row);
    if (!i) return false;
    i->out = to;
    i->a = *slot;
    *slot = to;
    return rc_give_register(c, to);
}

bool rc_spread_number(compiler *c, bool row, uint32_t *slot)
{
    return for_the_next(c, rc_each(c, *slot, row) ? REGION_SPREAD : REGION_FILL, row, slot);
}

bool rc_gather_rows(compiler *c, bool row, uint32_t *slot)
{
    if (!rc_each(c, *slot, row)) return true;
    if (rc_is_one(c, *slot, row)) return rc_spread_number(c, row, slot);
    return for_the_next(c, REGION_ROWS, row, slot);
}
