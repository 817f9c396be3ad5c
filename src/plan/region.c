/* Regions: the code of one, from operations. */
#include "plan/region_compile.h"

#include <string.h>

/* ---- blocks ------------------------------------------------------------------------------------- */

/* Where no operation says what a row is: as long as all operands that are not spread out in memory run through it. */
static unsigned choose_split(const compiler *c)
{
    unsigned split = 0;
    for (size_t i = 0; i < c->n_op; i++) {
        for (unsigned k = 0; k < c->op[i]->n_in; k++) {
            const plan_operand *v = &c->op[i]->in[k];
            if (v->source != SOURCE_VALUE) continue;
            unsigned from = rc_simple_from(c->r, v);
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
        live += !rc_is_row(c, c->op[i]) && c->op[i]->kind != PLAN_FOLD;
        most = live > most ? live : most;
        live -= ends[i] < live ? ends[i] : live;
    }
    mem_free(ends);
    return most;
}

static size_t n_repeated(const compiler *c)
{
    size_t n = 0;
    for (size_t k = 0; k < c->n_source; k++) {
        n += !c->source[k].made && !c->source[k].row && rc_repeats(c, &c->source[k].view);
    }
    return n;
}

static void choose_blocks(compiler *c, bool folds)
{
    region *r = c->r;
    size_t size = kern_size(r->dtype), block = BLOCK_BYTES / (size * (most_live(c) + n_repeated(c) + 1));
    block = block < BLOCK_MIN ? BLOCK_MIN : block > BLOCK_MAX ? BLOCK_MAX : block / 16 * 16;
    r->rows = rc_product(r->dim, 0, r->split);
    r->columns = rc_product(r->dim, r->split, r->rank);
    if ((r->order || c->alone) && !c->uses_rows) { /* pieces of the columns are what threads can share out */
        size_t piece = r->columns / 4 / 16 * 16;
        block = piece >= BLOCK_MIN && piece < block ? piece : block;
        folds = false;
    }
    c->whole = c->uses_rows || (folds && r->columns <= block);
    if (c->whole || r->columns <= block) {
        r->block_columns = r->columns;
        r->block_rows = r->columns > 0 ? block / r->columns : 1;
        r->block_rows = r->block_rows == 0 ? 1 : r->block_rows > r->rows ? r->rows : r->block_rows;
        r->each = r->block_rows > 1 && r->columns >= EACH_MIN;
    } else {
        size_t pieces = (r->columns + block - 1) / block;
        r->block_rows = 1;
        r->block_columns = ((r->columns + pieces - 1) / pieces + 15) / 16 * 16;
    }
}

/* ---- regions ------------------------------------------------------------------------------------ */

static double cost_of(const plan_op *x)
{
    double n = (double)rc_product(x->dim, 0, x->rank);
    if (x->kind == PLAN_CALL) return n * 20;
    if (x->kind == PLAN_FOLD || x->kind == PLAN_SCAN) return n * 0.06;
    return n * (kern_arity(x->u.map.op) > 1 ? 0.08 : 0.2);
}

static size_t blocks_of(const region *r)
{
    return (r->rows + r->block_rows - 1) / r->block_rows * region_pieces(r);
}

bool region_is_block(const region *r)
{
    return blocks_of(r) == 1 && !r->wide && r->n_once == 0 && !r->order;
}

void region_share(region *r, double times)
{
    size_t blocks = blocks_of(r);
    r->parts = r->cost * times < 15000 ? 1 : blocks < REGION_PARTS ? blocks : REGION_PARTS;
}

/* Parts are blocks, each with sums of its own, if these are few; else ranges of columns, if no two of them add to the
 * same entry; else there is one. */
static void choose_parts(compiler *c)
{
    region *r = c->r;
    size_t pieces = region_pieces(r);
    double entries = 0;
    bool columns_apart = !c->uses_rows && !c->whole && pieces > 1;
    region_share(r, 1);
    for (size_t i = 0; i < r->n_sum; i++) {
        entries += (double)r->sum[i].n;
        columns_apart &= !r->sum[i].by_row && r->sum[i].inner % r->columns == 0;
    }
    r->by_columns = r->order != 0;
    if (r->order && r->parts > pieces) r->parts = pieces;
    if (entries * (double)r->parts * 0.3 > r->cost / 4 && r->parts > 1) {
        r->by_columns = r->order || columns_apart;
        r->parts = !columns_apart ? 1 : pieces < REGION_PARTS ? pieces : REGION_PARTS;
    } else {
        columns_apart = false;
    }
    r->apart = r->wide || (r->n_sum && r->parts > 1 && !columns_apart);
}

/* The processor fetches ahead by itself, but not from page to page, and a block is often one. */
static bool is_fetched(const compiler *c, const region_slot *s)
{
    const region *r = c->r;
    size_t bytes = r->rows * r->columns * kern_size(r->dtype);
    return s->kind == SLOT_MEMORY && !s->still && !s->row && s->view.source == SOURCE_VALUE && bytes >= FETCH_BYTES &&
           c->p->value[s->view.value].producer != c->op[0]->group && plan_is_row_major(r->rank, r->dim, s->view.stride);
}

/* Instructions over entries share out what is fetched for the next block. */
static void share_fetches(region *r)
{
    size_t n = 0, done = 0, lines = (r->block_rows * r->block_columns * kern_size(r->dtype) + 63) / 64;
    for (size_t i = 0; i < r->n_code; i++) n += !r->code[i].row;
    for (size_t i = 0; i < r->n_code && r->n_fetched; i++) {
        if (r->code[i].row) continue;
        r->code[i].fetch = lines * done++ / n * 64;
        r->code[i].fetch_end = lines * done / n * 64;
    }
}

static bool finish(compiler *c)
{
    region *r = c->r;
    size_t size = kern_size(r->dtype);
    size_t full = (r->block_rows * r->block_columns * size + 63) / 64 * 64, row = (r->block_rows * size + 63) / 64 * 64;
    r->moving = mem_alloc((r->n_slot + 1) * sizeof *r->moving);
    r->fetched = mem_alloc((r->n_slot + 1) * sizeof *r->fetched);
    r->address = mem_zalloc(r->n_slot + 1, sizeof *r->address);
    if (!r->moving || !r->fetched || !r->address) return plan_no_memory(c->p);
    for (size_t i = 0; i < r->n_slot; i++) {
        region_slot *s = &r->slot[i];
        if (is_fetched(c, s)) r->fetched[r->n_fetched++] = (uint32_t)i;
        if (s->kind == SLOT_REGISTER) s->offset = s->row ? c->n_full * full + s->offset * row : s->offset * full;
        if (s->row) s->step = (ptrdiff_t)size;
        else if (!s->strided && !s->still) s->step = (ptrdiff_t)(r->block_columns * size);
        if (s->kind == SLOT_MEMORY && !s->still) r->moving[r->n_moving++] = (uint32_t)i;
    }
    share_fetches(r);
    r->n_looping = r->n_moving;
    for (size_t i = 0; i < r->n_slot; i++) {
        const region_slot *s = &r->slot[i];
        if (s->kind == SLOT_MEMORY && s->still && s->view.loop && s->view.source == SOURCE_VALUE) {
            r->moving[r->n_looping++] = (uint32_t)i;
        }
    }
    r->registers = c->n_full * full + c->n_row * row;
    choose_parts(c);
    return true;
}

static bool compile(compiler *c)
{
    region *r = c->r;
    int split = -1;
    for (size_t i = 0; i < c->n_op; i++) {
        const plan_op *x = c->op[i];
        if (x->kind == PLAN_FOLD && !x->leading && !rc_is_row(c, x)) split = (int)x->rank - x->axes;
        if (x->kind == PLAN_SCAN) {
            split = 1;
            r->order = x->backward ? -1 : 1;
        }
        r->cost += cost_of(x) / (r->dtype == KERN_F32 ? 1 : 0.5);
    }
    if (!rc_find_sources(c)) return false;
    r->split = split >= 0 ? (unsigned)split : choose_split(c);
    choose_blocks(c, split >= 0);
    if (c->p->err.status != CR_OK) return false;
    for (size_t i = 0; i < c->n_op; i++) {
        if (!rc_operation(c, i)) return false;
    }
    return finish(c);
}

region *region_new(cr_plan *p, size_t n, const plan_op *const *op, bool alone)
{
    region *r = mem_zalloc(1, sizeof *r);
    if (!r) {
        plan_no_memory(p);
        return NULL;
    }
    compiler c = {.p = p, .r = r, .n_op = n, .op = op, .alone = alone};
    r->dtype = p->dtype;
    r->kernels = kern_table_of(p->dtype, p->level);
    r->rank = op[0]->rank;
    memcpy(r->dim, op[0]->dim, sizeof r->dim);
    bool ok = compile(&c);
    mem_free(c.source);
    mem_free(c.table);
    mem_free(c.in);
    mem_free(c.copied);
    mem_free(c.left_out);
    mem_free(c.full.slot);
    mem_free(c.row.slot);
    if (!ok) {
        region_free(r);
        return NULL;
    }
    return r;
}

void region_settle(region *r, const cr_plan *p)
{
    static const region_base base[] = {[PLACE_SLAB] = BASE_SLAB, [PLACE_INPUT] = BASE_INPUT, [PLACE_RING] = BASE_RING,
                                       [PLACE_OUTPUT] = BASE_OUTPUT, [PLACE_CONSTANT] = BASE_PLAN};
    ptrdiff_t size = (ptrdiff_t)kern_size(r->dtype);
    for (size_t i = 0; i < r->n_slot; i++) {
        const region_slot *s = &r->slot[i];
        region_address *a = &r->address[i];
        if (s->kind == SLOT_REGISTER) {
            *a = (region_address){.base = BASE_REGISTERS, .bytes = (ptrdiff_t)s->offset};
        } else if (s->kind == SLOT_CONSTANT) {
            *a = (region_address){.base = BASE_CONSTANTS, .bytes = (ptrdiff_t)s->offset * size};
        } else if (s->view.source == SOURCE_VALUE) {
            const plan_value *v = &p->value[s->view.value];
            ptrdiff_t bytes = v->place == PLACE_SLAB       ? (ptrdiff_t)v->offset
                              : v->place == PLACE_CONSTANT ? (ptrdiff_t)v->offset * size
                                                           : 0;
            *a = (region_address){.base = base[v->place], .bytes = bytes + s->view.offset * size,
                                  .loop = s->view.loop * size,
                                  .index = v->place == PLACE_RING ? s->view.value : v->index};
            bool runs = false;
            for (unsigned k = r->split; k < r->rank && !s->row; k++) runs |= s->view.stride[k] != 0;
            a->column = runs ? size : 0; /* along the columns it is one run of memory, or one number */
        }
    }
}

void region_free(region *r)
{
    if (!r) return;
    mem_free(r->slot);
    mem_free(r->code);
    mem_free(r->once);
    mem_free(r->sum);
    mem_free(r->carry);
    mem_free(r->constant);
    mem_free(r->moving);
    mem_free(r->fetched);
    mem_free(r->address);
    mem_free(r);
}
