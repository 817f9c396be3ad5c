/* Regions: operations to instructions. */
#include "plan/region_compile.h"

#include <string.h>

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
    plan_operand to = x->part ? x->to : rc_row_major(r, x->out, rank);
    bool moves = rc_is_direct(c, &to, row, &still) && !still && !rc_is_flat(c, &to);
    bool scattered = x->part && !moves && !plan_is_row_major(rank, r->dim, to.stride);
    *later = stored && (scattered || (!row && streams(c, x->out)));
    if (stored && !*later) {
        still = rank == 0;
        return rc_new_slot(c, (region_slot){.kind = SLOT_MEMORY, .row = row, .still = still, .view = to}, slot);
    }
    return rc_take_register(c, row, slot);
}

static bool store_result(compiler *c, const plan_op *x, bool row, uint32_t from)
{
    region *r = c->r;
    unsigned rank = row ? r->split : r->rank;
    plan_operand to = x->part ? x->to : rc_row_major(r, x->out, rank);
    bool stream = plan_is_row_major(rank, r->dim, to.stride) && rank > 0;
    uint32_t view = 0;
    region_slot s = {.kind = SLOT_MEMORY, .row = row, .still = !stream, .view = to};
    if (!rc_new_slot(c, s, &view)) return false;
    region_instruction *i = rc_emit(c, stream ? REGION_STREAM : REGION_STORE, row);
    if (!i) return false;
    i->out = view;
    i->a = from;
    r->streams |= stream;
    return true;
}

static bool compile_map(compiler *c, size_t at, bool row)
{
    const plan_op *x = c->op[at];
    region *r = c->r;
    uint32_t slot[3] = {0}, out;
    unsigned mask = 0;
    bool later;
    for (unsigned k = 0; k < x->n_in; k++) {
        if (!rc_materialise(c, c->in[at][k])) return false;
        slot[k] = c->source[c->in[at][k]].slot;
        mask |= rc_is_one(c, slot[k], row) ? 1u << k : 0;
    }
    if (mask == (1u << x->n_in) - 1) { /* one entry, or the same for all of a block */
        bool single = row ? r->block_rows == 1 : r->block_rows * r->block_columns == 1;
        if (!single && !rc_spread_number(c, row, &slot[0])) return false;
        mask = single ? 0 : mask & ~1u;
    }
    const plan_op *copy = c->copied[at];
    if (!rc_free_sources(c, at)) return false;
    later = false;
    if (copy) {
        region_slot to = {.kind = SLOT_MEMORY, .row = row, .still = x->rank == 0, .view = copy->to};
        if (!rc_new_slot(c, to, &out)) return false;
    } else if (!place_result(c, x, row, &out, &later)) {
        return false;
    }
    region_instruction *i = rc_emit(c, x->kind == PLAN_CALL ? REGION_CALL : REGION_MAP, row);
    if (!i) return false;
    i->out = out;
    i->a = slot[0];
    i->b = slot[1];
    i->c = slot[2];
    i->each = rc_each(c, out, row);
    for (unsigned k = 0; k < x->n_in; k++) i->each |= rc_each(c, slot[k], row);
    i->attr = x->u.map.attr;
    if (x->kind == PLAN_CALL) i->call = x;
    else i->map = r->kernels->map[x->u.map.op][mask];
    if (later && !store_result(c, x, row, out)) return false;
    if (x->part) return !later || rc_give_register(c, out);
    source *s = rc_made_source(c, x->out, row, false);
    s->slot = out;
    return s->last > at || rc_give_register(c, out);
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
                              .inner = rc_product(x->dim, first + x->axes, x->rank),
                              .period = rc_product(x->dim, first, x->rank)};
    size_t block = r->block_rows * r->block_columns;
    bool wide = !row && !by_row && first == 0 && s->n > 1 && s->n < block && block % s->n == 0 &&
                r->block_columns == r->columns;
    s->wide = wide ? block : s->n;
    if (wide) s->inner = block;
    r->wide |= wide;
    r->accumulators += (s->wide * kern_size(r->dtype) + 63) / 64 * 64;
    region_instruction *i = rc_emit(c, by_row ? REGION_GATHER : REGION_COLLECT, row);
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
    bool along_rows = !x->leading && !row;
    for (unsigned k = 0; k < x->n_in; k++) {
        if (!rc_materialise(c, c->in[at][k])) return false;
        from[k] = c->source[c->in[at][k]].slot;
        bool one = rc_is_one(c, from[k], row) && !(row ? r->block_rows == 1 : r->block_rows * r->block_columns == 1);
        if (one && !rc_spread_number(c, row, &from[k])) return false;
        if (!along_rows && !rc_gather_rows(c, row, &from[k])) return false;
    }
    if (x->leading || row || !c->whole) {
        return compile_sum(c, x, row, along_rows, from) && rc_free_sources(c, at);
    }
    bool later;
    if (!place_result(c, x, true, &out, &later)) return false;
    region_instruction *i = rc_emit(c, REGION_FOLD, false);
    if (!i) return false;
    i->out = out;
    i->a = from[0];
    i->b = from[1];
    i->fold = x->n_in == 2 ? NULL : r->kernels->fold[x->u.fold];
    i->join = x->u.fold;
    if (!rc_free_sources(c, at)) return false;
    source *made = rc_made_source(c, x->out, true, false);
    made->slot = out;
    return made->last > at || rc_give_register(c, out);
}

/* Where the SCAN x puts what it has after (before) each row, REGION_NO_SLOT: nothing reads it. */
static bool place_scan(compiler *c, const plan_op *x, bool row, size_t at, bool before, uint32_t *slot)
{
    source *s = rc_made_source(c, x->out, row, before);
    *slot = REGION_NO_SLOT;
    if (!before && c->p->value[x->out].stored) {
        plan_operand to = rc_row_major(c->r, x->out, row ? c->r->split : c->r->rank);
        to.offset = x->backward ? 0 : to.stride[0];
        if (!rc_new_slot(c, (region_slot){.kind = SLOT_MEMORY, .row = row, .view = to}, slot)) return false;
    } else if (s->last > at && !rc_take_register(c, row, slot)) {
        return false;
    }
    s->slot = *slot;
    return true;
}

static bool compile_scan(compiler *c, size_t at, bool row)
{
    const plan_op *x = c->op[at];
    region *r = c->r;
    uint32_t from, after, before, carry = 0;
    if (!rc_materialise(c, c->in[at][0])) return false;
    from = c->source[c->in[at][0]].slot;
    if (rc_is_one(c, from, row) && !rc_spread_number(c, row, &from)) return false;
    if (!rc_gather_rows(c, row, &from)) return false;
    size_t *count = row ? &c->n_row : &c->n_full; /* a register that no one else gets */
    if (!rc_new_slot(c, (region_slot){.kind = SLOT_REGISTER, .row = row, .offset = (*count)++}, &carry) ||
        !place_scan(c, x, row, at, false, &after) || !place_scan(c, x, row, at, true, &before)) {
        return false;
    }
    if (!VEC_RESERVE(r->carry, r->carry_cap, r->n_carry + 1)) return plan_no_memory(c->p);
    r->carry[r->n_carry++] = (region_carry){x->u.fold, row, carry,
                                            c->p->value[x->out].stored ? x->out : PLAN_NONE};
    region_instruction *i = rc_emit(c, REGION_SCAN, row);
    if (!i) return false;
    i->a = from;
    i->b = before;
    i->c = carry;
    i->out = after;
    i->join = x->u.fold;
    i->map = r->kernels->map[join_of(x->u.fold)][0];
    return rc_free_sources(c, at);
}

bool rc_operation(compiler *c, size_t at)
{
    bool row = rc_is_row(c, c->op[at]);
    if (c->left_out[at]) return true;
    switch (c->op[at]->kind) {
    case PLAN_FOLD: return compile_fold(c, at, row);
    case PLAN_SCAN: return compile_scan(c, at, row);
    default: return compile_map(c, at, row);
    }
}
