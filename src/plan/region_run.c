/* Regions: running one. */
#include "plan/region.h"

#include <math.h>
#include <string.h>

#if defined(__GNUC__)
#define prefetch(p) __builtin_prefetch((p), 0, 2)
#else
#define prefetch(p) ((void)(p))
#endif

/* A thread's part of a run. */
typedef struct worker {
    const region *r;
    const plan_run *run;
    char *registers;
    void **at;      /* by slot */
    char *sums;     /* accumulators of the part, or NULL: in the values themselves */
    int64_t index;  /* of the enclosing loop */
    size_t size;    /* bytes of an entry */
    bool several;   /* blocks: there are more than the first */
    const struct task *task;
} worker;

/* What all threads of a run have to do. */
typedef struct task {
    int64_t index, end; /* indices of the enclosing loop for a block, then for the next; without a loop, the index */
    bool loop;
    size_t from, to;    /* rows */
    bool first, last;   /* are these the first, the last in the region's order? */
    char *kept;         /* what is carried from one such run to the next, NULL: nothing is */
} task;

/* ---- views -------------------------------------------------------------------------------------- */

/* A walk over `n` places of a row-major domain from place `from` on, run by run along the last axis. */
typedef struct walk {
    unsigned rank;
    const int64_t *dim, *stride;
    int64_t at[PLAN_RANK], offset;
    size_t left;
} walk;

static walk walk_from(unsigned rank, const int64_t *dim, const int64_t *stride, size_t from, size_t n)
{
    walk w = {.rank = rank, .dim = dim, .stride = stride, .left = n};
    for (unsigned k = rank; k-- > 0;) {
        w.at[k] = (int64_t)(from % (size_t)dim[k]);
        from /= (size_t)dim[k];
        w.offset += w.at[k] * stride[k];
    }
    return w;
}

/* Length of the run at w->offset; 0: done. */
static size_t walk_run(const walk *w)
{
    if (w->rank == 0) return w->left;
    size_t run = (size_t)(w->dim[w->rank - 1] - w->at[w->rank - 1]);
    return run < w->left ? run : w->left;
}

static void walk_on(walk *w, size_t run)
{
    w->left -= run;
    if (w->rank == 0 || w->left == 0) return;
    unsigned k = w->rank - 1;
    w->offset -= w->at[k] * w->stride[k];
    w->at[k] = 0;
    while (k-- > 0) {
        w->offset += w->stride[k];
        if (++w->at[k] < w->dim[k]) return;
        w->offset -= w->at[k] * w->stride[k];
        w->at[k] = 0;
    }
}

static void load(const worker *w, const region_slot *s, char *to, size_t from, size_t n)
{
    const region *r = w->r;
    const plan_operand *v = &s->view;
    unsigned rank = s->row ? r->split : r->rank;
    int64_t step = rank ? v->stride[rank - 1] : 0, base = v->loop * w->index;
    const char *memory = v->source == SOURCE_VALUE ? plan_pointer(w->run, v->value) : NULL;
    walk k = walk_from(rank, r->dim, v->stride, from, n);
    for (size_t run; (run = walk_run(&k)) > 0; walk_on(&k, run), to += run * w->size) {
        int64_t at = k.offset + base;
        if (memory) r->kernels->load(run, to, memory + (v->offset + at) * (int64_t)w->size, step);
        else r->kernels->iota(run, to, v->number + (double)at, (double)step);
    }
}

static void store(const worker *w, const region_slot *s, const char *in, size_t from, size_t n)
{
    const region *r = w->r;
    const plan_operand *v = &s->view;
    unsigned rank = s->row ? r->split : r->rank;
    int64_t step = rank ? v->stride[rank - 1] : 0, base = v->offset + v->loop * w->index;
    char *memory = plan_pointer(w->run, v->value);
    walk k = walk_from(rank, r->dim, v->stride, from, n);
    for (size_t run; (run = walk_run(&k)) > 0; walk_on(&k, run), in += run * w->size) {
        r->kernels->store(run, memory + (base + k.offset) * (int64_t)w->size, in, step);
    }
}

/* ---- instructions ------------------------------------------------------------------------------- */

static void call(const worker *w, const plan_op *x, size_t n, void *out, const void *in)
{
    for (size_t i = 0; i < n; i++) {
        if (w->r->dtype == KERN_F32) {
            ((float *)out)[i] = (float)x->u.call.fn(x->u.call.user, x->u.call.order, ((const float *)in)[i]);
        } else {
            ((double *)out)[i] = x->u.call.fn(x->u.call.user, x->u.call.order, ((const double *)in)[i]);
        }
    }
}

/* A block: `n` places of the domain from `from` on, `rows` rows of `columns` columns, the first row being `row`. */
typedef struct block {
    size_t row, rows, column, columns, from, n;
} block;

static char *sum_at(const worker *w, const region_accumulator *s)
{
    return w->sums ? w->sums + s->offset : plan_pointer(w->run, s->value);
}

static void map_rows(const worker *w, const region_instruction *x, const block *b)
{
    const region_slot *s = w->r->slot;
    char *out = w->at[x->out];
    const char *in[3] = {w->at[x->a], w->at[x->b], w->at[x->c]};
    for (size_t i = 0; i < b->rows; i++) {
        x->map(b->columns, out, in[0], in[1], in[2], x->attr);
        out += s[x->out].step;
        in[0] += s[x->a].step;
        in[1] += s[x->b].step;
        in[2] += s[x->c].step;
    }
}

static void call_rows(const worker *w, const region_instruction *x, const block *b)
{
    const region_slot *s = w->r->slot;
    char *out = w->at[x->out];
    const char *in = w->at[x->a];
    for (size_t i = 0; i < b->rows; i++) {
        call(w, x->call, b->columns, out, in);
        out += s[x->out].step;
        in += s[x->a].step;
    }
}

/* Rows of one entry each, or apart, to a register. */
static void collect_rows(const worker *w, const region_instruction *x, const block *b, ptrdiff_t along)
{
    char *out = w->at[x->out];
    const char *in = w->at[x->a];
    for (size_t i = 0; i < b->rows; i++, out += b->columns * w->size, in += w->r->slot[x->a].step) {
        w->r->kernels->load(b->columns, out, in, along);
    }
}

/* Each row of a (times that of b, which may be NULL) to one entry. */
static void fold_rows(const worker *w, const region_instruction *x, const block *b, char *out, bool neutral)
{
    const char *first = w->at[x->a], *second = w->at[x->b];
    ptrdiff_t step = w->r->slot[x->a].step, second_step = w->r->slot[x->b].step;
    for (size_t i = 0; i < b->rows; i++, out += w->size, first += step, second += second_step) {
        if (neutral) w->r->kernels->fill(1, out, kern_neutral(x->join));
        if (x->fold) x->fold(b->columns, out, first);
        else w->r->kernels->dot(b->columns, out, first, second);
    }
}

/* What is at the same place along the axes that are not folded goes to the same entry. */
static void collect(const worker *w, const region_instruction *x, const block *b)
{
    const region_accumulator *s = &w->r->sum[x->out];
    const char *first = w->at[x->a], *second = w->at[x->b];
    char *sum = sum_at(w, s);
    size_t left = x->row ? b->rows : b->n, place = x->row ? b->row : b->from;
    if (s->n == 1) { /* all of it */
        if (x->fold) x->fold(left, sum, first);
        else w->r->kernels->dot(left, sum, first, second);
        return;
    }
    while (left > 0) {
        size_t at = place % s->inner, run = s->inner - at < left ? s->inner - at : left;
        char *to = sum + (place / s->period * s->inner + at) * w->size;
        if (x->fold) x->map(run, to, to, first, NULL, 0);
        else x->map(run, to, first, second, to, 0);
        first += run * w->size;
        second += run * w->size;
        left -= run;
        place += run;
    }
}

/* A number a row: without a call for each. */
#define SCAN_NUMBERS(type, op) \
    do { \
        const type *in = first; \
        type *to = after, *old = before, v = *(type *)carry; \
        for (size_t i = 0; i < n; i++) { \
            size_t k = w->r->order > 0 ? i : n - 1 - i; \
            if (old) old[k] = v; \
            v = v op in[k]; \
            if (to) to[k] = v; \
        } \
        *(type *)carry = v; \
    } while (0)

static void scan(const worker *w, const region_instruction *x, const block *b)
{
    size_t columns = x->row ? 1 : b->columns, n = b->rows, row = columns * w->size;
    char *carry = w->at[x->c];
    const void *first = w->at[x->a];
    void *after = x->out == REGION_NO_SLOT ? NULL : w->at[x->out];
    void *before = x->b == REGION_NO_SLOT ? NULL : w->at[x->b];
    bool sum = x->join == KERN_FOLD_SUM, numbers = columns == 1 && (sum || x->join == KERN_FOLD_PROD);
    if (numbers && w->r->dtype == KERN_F32) {
        if (sum) SCAN_NUMBERS(float, +);
        else SCAN_NUMBERS(float, *);
        return;
    }
    if (numbers) {
        if (sum) SCAN_NUMBERS(double, +);
        else SCAN_NUMBERS(double, *);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        size_t k = w->r->order > 0 ? i : n - 1 - i;
        if (before) memcpy((char *)before + k * row, carry, row);
        x->map(columns, carry, carry, (const char *)first + k * row, NULL, 0);
        if (after) memcpy((char *)after + k * row, carry, row);
    }
}

static size_t kept_bytes(const region *r, const region_carry *c)
{
    return (region_pieces(r) * (c->row ? 1 : r->block_columns) * kern_size(r->dtype) + 63) / 64 * 64;
}

/* What piece number `piece` of the columns carries, from where it is kept or to there. */
static void keep_scans(const worker *w, size_t piece, size_t columns, bool restore)
{
    const region *r = w->r;
    char *kept = w->task->kept;
    for (size_t i = 0; i < r->n_carry; i++) {
        const region_carry *c = &r->carry[i];
        char *at = kept + piece * (c->row ? 1 : r->block_columns) * w->size, *carry = w->at[c->slot];
        memcpy(restore ? carry : at, restore ? at : carry, (c->row ? 1 : columns) * w->size);
        kept += kept_bytes(r, c);
    }
}

/* Before the first of its rows: what is carried, and that row of a value that is kept. */
static void start_scans(const worker *w, size_t column, size_t columns)
{
    const region *r = w->r;
    for (size_t i = 0; i < r->n_carry; i++) {
        const region_carry *c = &r->carry[i];
        size_t n = c->row ? 1 : columns, at = c->row ? 0 : column, row = c->row ? 1 : r->columns;
        r->kernels->fill(n, w->at[c->slot], kern_neutral(c->join));
        if (c->value == PLAN_NONE) continue;
        at += r->order < 0 ? r->rows * row : 0;
        r->kernels->fill(n, plan_pointer(w->run, c->value) + at * w->size, kern_neutral(c->join));
    }
}

/* An instruction fetches its share of what the next block reads. */
static void fetch(const worker *w, const region_instruction *x, ptrdiff_t step)
{
    const region *r = w->r;
    for (size_t i = 0; i < r->n_fetched; i++) {
        const char *next = (const char *)w->at[r->fetched[i]] + step;
        for (size_t at = x->fetch; at < x->fetch_end; at += 64) prefetch(next + at);
    }
}

/* Bytes from this block to the next one. */
static ptrdiff_t next_block(const worker *w, const block *b)
{
    const region *r = w->r;
    size_t step = (r->by_columns ? r->block_rows * r->columns : b->n) * w->size;
    return r->order < 0 ? -(ptrdiff_t)step : (ptrdiff_t)step;
}

static void run_block(const worker *w, const block *b)
{
    const region *r = w->r;
    void **at = w->at;
    ptrdiff_t step = r->n_fetched ? next_block(w, b) : 0;
    for (const region_instruction *x = r->code, *end = x + r->n_code; x < end; x++) {
        size_t n = x->row ? b->rows : b->n;
        if (r->n_fetched) fetch(w, x, step);
        switch (x->code) {
        case REGION_MAP:
            if (x->each) map_rows(w, x, b);
            else x->map(n, at[x->out], at[x->a], at[x->b], at[x->c], x->attr);
            break;
        case REGION_LOAD: load(w, &r->slot[x->a], at[x->out], x->row ? b->row : b->from, n); break;
        case REGION_STORE: store(w, &r->slot[x->out], at[x->a], x->row ? b->row : b->from, n); break;
        case REGION_STREAM: r->kernels->stream(n, at[x->out], at[x->a]); break;
        case REGION_FILL: r->kernels->load(n, at[x->out], at[x->a], 0); break;
        case REGION_SPREAD: collect_rows(w, x, b, 0); break;
        case REGION_ROWS: collect_rows(w, x, b, 1); break;
        case REGION_FOLD: fold_rows(w, x, b, at[x->out], true); break;
        case REGION_GATHER: fold_rows(w, x, b, sum_at(w, &r->sum[x->out]) + b->row * w->size, false); break;
        case REGION_COLLECT: collect(w, x, b); break;
        case REGION_SCAN: scan(w, x, b); break;
        case REGION_CALL:
            if (x->each) call_rows(w, x, b);
            else call(w, x->call, n, at[x->out], at[x->a]);
            break;
        }
    }
}

/* ---- blocks ------------------------------------------------------------------------------------- */

/* Places of the axes of the rows at row number `row`. */
static void row_place(const region *r, size_t row, int64_t *place)
{
    for (unsigned k = r->split; k-- > 0;) {
        place[k] = (int64_t)(row % (size_t)r->dim[k]);
        row /= (size_t)r->dim[k];
    }
}

static char *address(const worker *w, const region_address *a)
{
    char *base = NULL;
    switch (a->base) {
    case BASE_REGISTERS: base = w->registers; break;
    case BASE_CONSTANTS: base = w->r->constant; break;
    case BASE_SLAB: base = w->run->slab; break;
    case BASE_PLAN: base = w->run->plan->constant; break;
    case BASE_INPUT: base = (char *)(uintptr_t)w->run->in[a->index]; break;
    case BASE_OUTPUT: base = w->run->out[a->index]; break;
    case BASE_RING: base = plan_pointer(w->run, a->index); break;
    }
    return (char *)((uintptr_t)base + (uintptr_t)(a->bytes + a->loop * w->index));
}

/* All slots, to the first block. */
static void point_first(const worker *w)
{
    for (size_t i = 0; i < w->r->n_slot; i++) w->at[i] = address(w, &w->r->address[i]);
}

/* Those that move, to a block. */
static void point(const worker *w, const block *b)
{
    const region *r = w->r;
    int64_t place[PLAN_RANK];
    row_place(r, b->row, place);
    for (size_t i = 0; i < r->n_moving; i++) {
        uint32_t k = r->moving[i];
        const region_address *a = &r->address[k];
        const int64_t *stride = r->slot[k].view.stride;
        int64_t rows = 0;
        for (unsigned d = 0; d < r->split; d++) rows += place[d] * stride[d];
        w->at[k] = address(w, a) + rows * (int64_t)w->size + (ptrdiff_t)b->column * a->column;
    }
}

/* Pointers from one index of a loop to the next. */
static void move_on(const worker *w)
{
    const region *r = w->r;
    for (size_t i = 0; i < r->n_looping; i++) {
        uint32_t k = r->moving[i];
        w->at[k] = (char *)w->at[k] + r->address[k].loop;
    }
}

static void run_rows(const worker *w, size_t row, size_t rows, size_t column, size_t columns)
{
    block b = {row, rows, column, columns, row * w->r->columns + column, rows * columns};
    if (w->several) point(w, &b);
    run_block(w, &b);
}

/* All indices of a loop for one block. */
static void loop_rows(worker *w, size_t row, size_t rows, size_t column, size_t columns)
{
    const region *r = w->r;
    block b = {row, rows, column, columns, row * r->columns + column, rows * columns};
    w->index = w->task->index;
    point_first(w);
    point(w, &b);
    for (; w->index < w->task->end; w->index++) {
        run_block(w, &b);
        move_on(w);
    }
}

/* Part number `part`: a range of the blocks, or of the columns. */
static void run_part(worker *w, size_t part)
{
    const region *r = w->r;
    const task *t = w->task;
    size_t across = region_pieces(r), down = (t->to - t->from + r->block_rows - 1) / r->block_rows;
    size_t units = r->by_columns ? across : across * down;
    size_t from = units * part / r->parts, to = units * (part + 1) / r->parts;
    for (size_t u = from; u < to; u++) {
        size_t piece = r->by_columns ? u : u % across;
        size_t column = piece * r->block_columns, columns = r->columns - column;
        columns = columns > r->block_columns ? r->block_columns : columns;
        size_t first = r->by_columns ? 0 : u / across, n = r->by_columns ? down : 1;
        if (r->order && t->first) start_scans(w, column, columns);
        else if (r->order) keep_scans(w, piece, columns, true);
        for (size_t k = 0; k < n; k++) {
            size_t row = t->from + (r->order < 0 ? n - 1 - k : first + k) * r->block_rows, rows = t->to - row;
            rows = rows > r->block_rows ? r->block_rows : rows;
            if (t->loop) loop_rows(w, row, rows, column, columns);
            else run_rows(w, row, rows, column, columns);
        }
        if (r->order && !t->last) keep_scans(w, piece, columns, false);
    }
}

/* ---- a run -------------------------------------------------------------------------------------- */

static size_t thread_bytes(const region *r)
{
    return (r->registers + r->n_slot * sizeof(void *) + 63) / 64 * 64;
}

size_t region_scratch(const region *r, unsigned threads)
{
    size_t workers = r->parts < threads ? r->parts : threads;
    return workers * thread_bytes(r) + (r->apart ? r->parts * r->accumulators : 0);
}

size_t region_scratch_rows(const region *r, unsigned threads)
{
    size_t bytes = region_scratch(r, threads);
    for (size_t i = 0; i < r->n_carry; i++) bytes += kept_bytes(r, &r->carry[i]);
    return bytes;
}

static void neutral_sums(const region *r, const plan_run *run, char *sums)
{
    for (size_t i = 0; i < r->n_sum; i++) {
        const region_accumulator *s = &r->sum[i];
        double v = kern_neutral(s->join);
        if (sums) r->kernels->fill(s->wide, sums + s->offset, v);
        else r->kernels->fill(s->n, plan_pointer(run, s->value), v);
    }
}

/* What the parts have summed, in their order. */
static void join_parts(const region *r, const plan_run *run, char *sums)
{
    size_t size = kern_size(r->dtype);
    for (size_t i = 0; i < r->n_sum; i++) {
        const region_accumulator *s = &r->sum[i];
        char *to = plan_pointer(run, s->value), *first = sums + s->offset;
        for (size_t p = 1; p < r->parts; p++) s->map(s->wide, first, first, first + p * r->accumulators, NULL, 0);
        memcpy(to, first, s->n * size);
        for (size_t k = s->n; k < s->wide; k += s->n) s->map(s->n, to, to, first + k * size, NULL, 0);
    }
}

static void run_worker(const region *r, const plan_run *run, const task *t, char *scratch, char *sums, size_t number,
                       size_t workers)
{
    char *mine = scratch + number * thread_bytes(r);
    worker w = {.r = r, .run = run, .registers = mine, .at = (void **)(void *)(mine + r->registers), .index = t->index,
                .size = kern_size(r->dtype), .task = t};
    w.several = region_pieces(r) > 1 || r->rows > r->block_rows;
    point_first(&w);
    for (size_t i = 0; i < r->n_once; i++) {
        const region_instruction *x = &r->once[i];
        load(&w, &r->slot[x->a], w.at[x->out], 0, r->block_rows * r->block_columns);
    }
    for (size_t p = r->parts * number / workers, end = r->parts * (number + 1) / workers; p < end; p++) {
        if (sums) {
            w.sums = sums + p * r->accumulators;
            if (t->first) neutral_sums(r, run, w.sums);
        }
        run_part(&w, p);
    }
    if (r->streams) r->kernels->stream_end();
}

static void run_workers(const region *r, const plan_run *run, const task *t, char *scratch)
{
    size_t workers = r->parts < run->plan->threads ? r->parts : run->plan->threads;
    char *sums = r->apart ? scratch + workers * thread_bytes(r) : NULL;
    if (!sums && t->first) neutral_sums(r, run, NULL);
    if (workers == 1) {
        run_worker(r, run, t, scratch, sums, 0, 1);
    } else {
#pragma omp parallel for num_threads((int)workers) schedule(static, 1)
        for (size_t k = 0; k < workers; k++) run_worker(r, run, t, scratch, sums, k, workers);
    }
    if (sums && t->last) join_parts(r, run, sums);
}

void region_run(const region *r, const plan_run *run, char *scratch, int64_t index)
{
    task t = {.index = index, .to = r->rows, .first = true, .last = true};
    run_workers(r, run, &t, scratch);
}

void region_run_rows(const region *r, const plan_run *run, char *scratch, size_t from, size_t to)
{
    bool low = from == 0, high = to == r->rows;
    task t = {.from = from, .to = to, .first = r->order < 0 ? high : low, .last = r->order < 0 ? low : high,
              .kept = scratch + region_scratch(r, run->plan->threads)};
    run_workers(r, run, &t, scratch);
}

void region_run_loop(const region *r, const plan_run *run, char *scratch, int64_t from, int64_t to)
{
    task t = {.index = from, .end = to, .loop = true, .to = r->rows, .first = true, .last = true};
    run_workers(r, run, &t, scratch);
}

/* ---- one block, index by index ------------------------------------------------------------------ */

size_t region_prepared(const region *r) { return thread_bytes(r); }

static worker prepared(const region *r, const plan_run *run, char *scratch, int64_t index)
{
    return (worker){.r = r, .run = run, .registers = scratch, .at = (void **)(void *)(scratch + r->registers),
                    .index = index, .size = kern_size(r->dtype)};
}

static block whole(const region *r) { return (block){0, r->rows, 0, r->columns, 0, r->rows * r->columns}; }

void region_prepare(const region *r, const plan_run *run, char *scratch, int64_t index)
{
    worker w = prepared(r, run, scratch, index);
    point_first(&w);
}

void region_step(const region *r, const plan_run *run, char *scratch, int64_t index)
{
    worker w = prepared(r, run, scratch, index);
    block b = whole(r);
    if (r->n_sum) neutral_sums(r, run, NULL);
    run_block(&w, &b);
    move_on(&w);
}
