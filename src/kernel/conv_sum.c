/* w as the value: for each tap a product of x, which lies in blocks of as many channels as a tile has rows, with y in
 * panels, summed over all positions. Strips are summed one after the other; where sums are small, several are kept, of
 * a range of strips each, and added in order: how many does not depend on the number of threads. */
#include "kernel/conv_internal.h"

#include <string.h>

enum {
    STRIP_POSITIONS = 768,    /* a sum of so many terms hides that it goes through memory */
    STRIP_BYTES = 4 << 20,
    BLOCK_MAX = 64,           /* channels of x side by side */
    FEW_TERMS = 256,          /* products of an entry of y, below which y is not copied */
    SUMS_BYTES = 4 << 20, SUMS_MAX = 16,
    TURNED = 64               /* rows of sums that are turned at once */
};

/* ---- planning ----------------------------------------------------------------------------------- */

static void set_extents(conv_plan *p)
{
    for (unsigned a = 0; a < CONV_AXES; a++) {
        size_t positions = a == p->cut ? p->strip : p->line[a].positions;
        p->extent[a] = (size_t)(p->line[a].move * (int64_t)(positions - 1) + p->line[a].reach + 1);
    }
    if (p->in_place) return;
    p->at[2] = (ptrdiff_t)p->block;
    p->at[1] = p->at[2] * (ptrdiff_t)p->extent[2];
    p->at[0] = p->at[1] * (ptrdiff_t)p->extent[1];
    p->image_at = p->at[0] * (ptrdiff_t)p->extent[0];
}

static size_t positions_of(const conv_plan *p)
{
    size_t n = p->images;
    for (unsigned a = 0; a < CONV_AXES; a++) n *= a == p->cut ? p->strip : p->line[a].positions;
    return n;
}

static size_t entries_of_x(const conv_plan *p)
{
    return p->in_place ? 0 : p->images * (size_t)p->image_at * p->blocks;
}

static size_t entries_of_y(const conv_plan *p) { return p->y_in_place ? 0 : positions_of(p) * p->panels * p->width; }

static void cut_strips(conv_plan *p)
{
    size_t cut = p->line[p->cut].positions, image;
    p->strip = cut;
    image = positions_of(p);
    if (image >= STRIP_POSITIONS) p->strip = conv_ratio_up(STRIP_POSITIONS, image / cut);
    else p->images = conv_min(p->shape.batch, STRIP_POSITIONS / image);
    p->strip = conv_min(p->strip, cut);
    set_extents(p);
    while ((entries_of_x(p) + entries_of_y(p)) * kern_size(p->shape.dtype) > STRIP_BYTES &&
           (p->images > 1 || p->strip > 1)) {
        size_t *n = p->images > 1 ? &p->images : &p->strip;
        *n = (*n + 1) / 2;
        set_extents(p);
    }
    p->strips = conv_ratio_up(cut, p->strip);
}

/* Rows of positions of a strip, as pieces. */
static bool find_rows(conv_plan *p)
{
    size_t n0 = p->cut == 0 ? p->strip : p->line[0].positions, n1 = p->cut == 1 ? p->strip : p->line[1].positions;
    size_t n2 = p->cut == 2 ? p->strip : p->line[2].positions, row = 0;
    const ptrdiff_t *step = p->shape.step[CONV_Y];
    p->a_at = mem_alloc(p->images * n0 * n1 * sizeof *p->a_at);
    p->b_at = mem_alloc(p->images * n0 * n1 * sizeof *p->b_at);
    if (!p->a_at || !p->b_at) return false;
    for (size_t i = 0; i < p->images; i++) {
        for (size_t j0 = 0; j0 < n0; j0++) {
            for (size_t j1 = 0; j1 < n1; j1++, row++) {
                p->a_at[row] = (ptrdiff_t)i * p->image_at + (ptrdiff_t)(p->line[0].move * (int64_t)j0) * p->at[0] +
                               (ptrdiff_t)(p->line[1].move * (int64_t)j1) * p->at[1];
                p->b_at[row] = (ptrdiff_t)(row * n2 * p->width);
                if (!p->y_in_place) continue;
                p->b_at[row] = (ptrdiff_t)i * step[0] + (ptrdiff_t)j0 * step[2] + (ptrdiff_t)j1 * step[3];
            }
        }
    }
    return true;
}

/* Taps along the last axis that look at neighbours are more rows: t2*block + c. */
static void choose_rows(conv_plan *p)
{
    const conv_shape *s = &p->shape;
    p->in_place = conv_reads_in_place(p, CONV_X);
    p->blocks = p->in_place || p->apart ? 1 : conv_ratio_up(s->in, BLOCK_MAX);
    p->block = conv_ratio_up(p->channels, p->blocks);
    if (p->in_place) {
        memcpy(p->at, s->step[CONV_X] + 2, sizeof p->at);
        p->image_at = s->step[CONV_X][0];
    }
    bool joined = s->dilation[2] == 1 && (!p->in_place || p->at[2] == (ptrdiff_t)p->block);
    p->k = joined ? s->size[CONV_W][2] : 1;
}

bool conv_plan_sum(conv_plan *p)
{
    const conv_shape *s = &p->shape;
    size_t size = kern_size(s->dtype);
    p->channels = p->apart ? s->groups : s->in;
    p->columns = p->apart ? s->groups : s->out;
    if (p->apart) p->width = p->columns;
    p->panels = conv_ratio_up(p->columns, p->width);
    p->y_in_place = s->step[CONV_Y][1] == 1 &&
                    (p->apart || (s->out % p->kernels->lanes == 0 && p->taps * s->in <= FEW_TERMS));
    choose_rows(p);
    cut_strips(p);
    p->sums = p->apart ? (p->taps * p->columns + 15) / 16 * 16
                       : p->groups * p->panels * p->blocks * p->block * p->taps * p->width;
    p->parts = conv_max(1, conv_min(SUMS_MAX, SUMS_BYTES / (p->sums * size)));
    p->parts = conv_min(p->parts, conv_strips(p));
    p->buffer = (entries_of_x(p) + CONV_SPILL + 15) / 16 * 16;
    p->each = conv_max(p->buffer + entries_of_y(p) + CONV_SPILL, 2 * conv_max(TURNED, p->taps) * p->width + CONV_SPILL);
    p->each = (p->each + 15) / 16 * 16;
    p->scratch = (p->parts * p->sums + p->threads * p->each) * size;
    return find_rows(p);
}

/* ---- a strip ------------------------------------------------------------------------------------ */

typedef struct sum {
    const conv_plan *p;
    size_t group, panel, panels; /* the first panel, and how many */
    char *x, *y;                 /* copies */
    char *to;                    /* sums of the first panel */
    bool add;
} sum;

static void copy_x(const sum *m, const conv_strip *strip, const char *x)
{
    const conv_plan *p = m->p;
    size_t one = (size_t)p->image_at * kern_size(p->shape.dtype);
    char *out = m->x;
    for (size_t b = 0; b < p->blocks; b++) {
        size_t n = conv_min(p->block, p->channels - b * p->block);
        for (size_t i = 0; i < p->images; i++, out += one) {
            if (i >= strip->images) continue;
            conv_copy(p, CONV_X, x, strip->image + i, strip->from, m->group * p->channels + b * p->block, n, p->block,
                      out);
        }
    }
}

static void copy_y(const sum *m, const conv_strip *strip, const char *y)
{
    const conv_plan *p = m->p;
    const ptrdiff_t *step = p->shape.step[CONV_Y];
    size_t size = kern_size(p->shape.dtype), from[CONV_AXES] = {0}, n[CONV_AXES], panel;
    for (unsigned a = 0; a < CONV_AXES; a++) n[a] = p->line[a].positions;
    from[p->cut] = strip->from;
    n[p->cut] = strip->n;
    panel = positions_of(p) * p->width * size;
    for (size_t q = 0; q < m->panels; q++) {
        size_t column = (m->panel + q) * p->width, columns = conv_min(p->width, p->columns - column);
        char *out = m->y + q * panel;
        for (size_t i = 0; i < strip->images; i++) {
            const char *in = y + ((ptrdiff_t)(strip->image + i) * step[0] +
                                  (ptrdiff_t)(m->group * p->columns + column) * step[1]) * (ptrdiff_t)size;
            for (size_t j0 = from[0]; j0 < from[0] + n[0]; j0++) {
                for (size_t j1 = from[1]; j1 < from[1] + n[1]; j1++, out += n[2] * p->width * size) {
                    ptrdiff_t at = (ptrdiff_t)j0 * step[2] + (ptrdiff_t)j1 * step[3] + (ptrdiff_t)from[2] * step[4];
                    p->kernels->pack(n[2], columns, p->width, out, in + at * (ptrdiff_t)size, step[4], step[1]);
                }
            }
        }
    }
}

/* Where the operands of the first tap begin. In place they move with the strip. */
static const char *first_x(const sum *m, const conv_strip *strip, const char *x)
{
    const conv_plan *p = m->p;
    if (!p->in_place) return m->x;
    ptrdiff_t at = (ptrdiff_t)strip->image * p->image_at +
                   (ptrdiff_t)(m->group * p->channels) * p->shape.step[CONV_X][1] +
                   (ptrdiff_t)(p->line[p->cut].move * (int64_t)strip->from) * p->at[p->cut];
    for (unsigned a = 0; a < CONV_AXES; a++) at += (ptrdiff_t)p->line[a].least * p->at[a];
    return x + at * (ptrdiff_t)kern_size(p->shape.dtype);
}

static const char *first_y(const sum *m, const conv_strip *strip, const char *y)
{
    const conv_plan *p = m->p;
    const ptrdiff_t *step = p->shape.step[CONV_Y];
    if (!p->y_in_place) return m->y;
    ptrdiff_t at = (ptrdiff_t)strip->image * step[0] + (ptrdiff_t)(m->group * p->columns + m->panel * p->width) +
                   (ptrdiff_t)strip->from * step[2 + p->cut];
    return y + at * (ptrdiff_t)kern_size(p->shape.dtype);
}

/* All rows of a block and a panel: sums[tap][channel of the block][width]. */
static void add_block(const conv_plan *p, gemm_tile *t, const char *x, char *sums)
{
    size_t size = kern_size(p->shape.dtype), rows = p->k * p->block;
    size_t tiles = conv_ratio_up(rows, p->kernels->piece_rows);
    size_t vectors = conv_ratio_up(t->n, p->kernels->lanes);
    for (size_t tap = 0; tap < p->taps; tap += p->k) {
        ptrdiff_t at = conv_look(p, tap);
        for (size_t i = 0; i < tiles; i++) {
            size_t row = rows * i / tiles, n = rows * (i + 1) / tiles - row;
            t->a = x + (at + (ptrdiff_t)row) * (ptrdiff_t)size;
            t->c = sums + (tap * p->block + row) * p->width * size;
            p->kernels->across[n - 1][vectors - 1](t);
        }
    }
}

static void add_strip(const sum *m, size_t number, void *const slot[3])
{
    const conv_plan *p = m->p;
    size_t size = kern_size(p->shape.dtype);
    conv_strip strip = conv_strip_of(p, number);
    if (!p->in_place) copy_x(m, &strip, slot[CONV_X]);
    if (!p->y_in_place) copy_y(m, &strip, slot[CONV_Y]);
    size_t rows = strip.images * (p->cut == 0 ? strip.n : p->line[0].positions) *
                  (p->cut == 1 ? strip.n : p->line[1].positions);
    gemm_tile t = {.k = p->cut == 2 ? strip.n : p->line[2].positions, .a_k = (ptrdiff_t)p->line[2].move * p->at[2],
                   .b_k = p->y_in_place ? p->shape.step[CONV_Y][4] : (ptrdiff_t)p->width, .c_m = (ptrdiff_t)p->width,
                   .add = m->add, .pieces = rows, .a_at = p->a_at, .b_at = p->b_at};
    size_t next = (p->y_in_place ? 1 : positions_of(p)) * p->width * size, block = p->block * p->taps * p->width * size;
    const char *x = first_x(m, &strip, slot[CONV_X]), *y = first_y(m, &strip, slot[CONV_Y]);
    if (p->apart) {
        t.a = x;
        t.b = y;
        conv_apart_add(p, &t, m->to);
        return;
    }
    for (size_t q = 0; q < m->panels; q++) {
        t.n = conv_min(p->width, p->columns - (m->panel + q) * p->width);
        t.b = y + q * next;
        for (size_t b = 0; b < p->blocks; b++) {
            add_block(p, &t, x + b * p->images * (size_t)p->image_at * size, m->to + (q * p->blocks + b) * block);
        }
    }
}

/* Panels panel..panel+n-1 of group `group`, over the strips of part `part`. */
static void add_part(const conv_plan *p, void *const slot[3], char *sums, char *own, size_t part, size_t group,
                     size_t panel, size_t n)
{
    size_t size = kern_size(p->shape.dtype), strips = conv_strips(p);
    sum m = {.p = p, .group = group, .panel = panel, .panels = n, .x = own, .y = own + p->buffer * size};
    m.to = sums + (part * p->sums + (group * p->panels + panel) * p->blocks * p->block * p->taps * p->width) * size;
    size_t from = strips * part / p->parts, end = strips * (part + 1) / p->parts;
    for (size_t i = from; i < end; i++) {
        m.add = i > from;
        add_strip(&m, i, slot);
    }
}

/* ---- results ------------------------------------------------------------------------------------ */

/* Channels c0.., n of them, of a block: all taps of a channel together, which makes a row of the value a column. */
static void turn(const conv_plan *p, const char *block, size_t c0, size_t n, size_t columns, char *own, char *w)
{
    size_t size = kern_size(p->shape.dtype), row = p->width * size, rows = n * p->taps;
    char *turned = own + rows * row;
    for (size_t c = 0; c < n; c++) {
        for (size_t t = 0; t < p->taps; t++) {
            memcpy(own + (c * p->taps + t) * row, block + (t * p->block + c0 + c) * row, row);
        }
    }
    p->kernels->pack(columns, rows, rows, turned, own, 1, (ptrdiff_t)p->width);
    for (size_t k = 0; k < columns; k++) {
        memcpy(w + (ptrdiff_t)k * p->shape.step[CONV_W][0] * (ptrdiff_t)size, turned + k * rows * size, rows * size);
    }
}

/* The sums of a panel, added up and turned. */
static void finish(const conv_plan *p, char *sums, char *own, char *w, size_t number)
{
    const conv_shape *s = &p->shape;
    size_t size = kern_size(s->dtype), block = p->block * p->taps * p->width;
    size_t one = p->apart ? p->sums : p->blocks * block;
    size_t group = number / p->panels, column = number % p->panels * p->width;
    size_t columns = conv_min(p->width, p->columns - column), some = conv_max(1, TURNED / p->taps);
    char *total = sums + number * one * size;
    for (size_t i = 1; i < p->parts; i++) {
        p->vector->map[KERN_ADD][0](one, total, total, total + i * p->sums * size, NULL, 0);
    }
    if (p->apart) {
        conv_apart_finish(p, total, w);
        return;
    }
    w += (ptrdiff_t)(group * p->columns + column) * s->step[CONV_W][0] * (ptrdiff_t)size;
    for (size_t b = 0; b < p->blocks; b++) {
        size_t first = b * p->block, channels = conv_min(p->block, p->channels - first);
        for (size_t c = 0; c < channels; c += some) {
            turn(p, total + b * block * size, c, conv_min(some, channels - c), columns, own,
                 w + (first + c) * p->taps * size);
        }
    }
}

void conv_sum(const conv_plan *p, void *const slot[3], char *scratch)
{
    size_t size = kern_size(p->shape.dtype), panels = p->groups * p->panels, items = p->parts * panels;
    char *mine = scratch + p->parts * p->sums * size;
    int threads = (int)p->threads;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        size_t me = 0, of = 1;
#ifdef _OPENMP
        me = (size_t)omp_get_thread_num(), of = (size_t)omp_get_num_threads();
#endif
        char *own = mine + me * p->each * size;
        for (size_t i = items * me / of, end = items * (me + 1) / of, n; i < end; i += n) {
            size_t panel = i % p->panels;
            n = conv_min(p->panels - panel, end - i);
            add_part(p, slot, scratch, own, i / panels, i % panels / p->panels, panel, n);
        }
#pragma omp barrier
        for (size_t i = panels * me / of; i < panels * (me + 1) / of; i++) finish(p, scratch, own, slot[CONV_W], i);
    }
}
