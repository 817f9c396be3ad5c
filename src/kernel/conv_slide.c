/* x or y as the value: a row of it is a product of what its taps look at with the weights, packed once a run into
 * panels of a few vectors of the value's channels, taps in the order in which they look. */
#include "kernel/conv_internal.h"

#include <string.h>

enum {
    STRIP_BYTES = 192 << 10, /* of what is looked at: a part of L2 */
    LARGE_BYTES = 768 << 10, /* the same, where weights are more than a part of L2: they pass by once a strip */
    PACK_ROWS = 256          /* rows of weights that are turned at once */
};

static conv_slot source_of(const conv_plan *p) { return p->shape.value == CONV_X ? CONV_Y : CONV_X; }

/* ---- planning ----------------------------------------------------------------------------------- */

static void cut_strips(conv_plan *p)
{
    const conv_line *cut = &p->line[p->cut];
    size_t row = p->channels * kern_size(p->shape.dtype); /* bytes of one entry of the axis that is cut */
    for (unsigned a = 0; a < CONV_AXES; a++) {
        p->extent[a] = (size_t)(p->line[a].move * (int64_t)(p->line[a].positions - 1) + p->line[a].reach + 1);
        row *= a != p->cut ? p->extent[a] : 1;
    }
    size_t most = p->sums * kern_size(p->shape.dtype) > LARGE_BYTES ? LARGE_BYTES : STRIP_BYTES;
    size_t fit = most / row, reach = (size_t)cut->reach + 1;
    p->strip = fit > reach ? (fit - reach) / (size_t)cut->move + 1 : 1;
    /* at least as many as threads can share evenly, if that is possible */
    size_t few = conv_ratio_up(4 * (size_t)p->threads, p->shape.batch);
    p->strip = conv_min(p->strip, conv_ratio_up(cut->positions, p->threads > 1 ? few : 1));
    p->strips = conv_ratio_up(cut->positions, p->strip);
    p->strip = conv_ratio_up(cut->positions, p->strips);
    if (p->strips == 1 && most == LARGE_BYTES) {
        size_t image = row * (size_t)(cut->move * (int64_t)(p->strip - 1) + cut->reach + 1);
        p->images = conv_max(1, conv_min(most / image, p->shape.batch / p->threads));
    }
    p->extent[p->cut] = (size_t)(cut->move * (int64_t)(p->strip - 1) + cut->reach + 1);
}

/* The taps of one class of positions, as pieces; its panel of weights begins with tap number `first`. */
static size_t list_pieces(conv_plan *p, const conv_class *const c[CONV_AXES], size_t first, size_t at)
{
    bool whole = p->k != p->channels; /* taps along the last axis are one piece */
    size_t n2 = c[2]->taps, tap = first;
    for (size_t k0 = 0; k0 < c[0]->taps; k0++) {
        for (size_t k1 = 0; k1 < c[1]->taps; k1++) {
            for (size_t k2 = 0; k2 < n2; k2++, tap++) {
                const size_t k[CONV_AXES] = {k0, k1, k2};
                size_t number = 0;
                ptrdiff_t offset = 0;
                for (unsigned a = 0; a < CONV_AXES; a++) {
                    int64_t t = c[a]->tap + (int64_t)k[a] * c[a]->tap_step;
                    number = number * p->shape.size[CONV_W][a] + (size_t)t;
                    offset += (ptrdiff_t)(c[a]->offset + (int64_t)k[a] * c[a]->offset_step) * p->at[a];
                }
                p->order[number] = tap;
                if (whole && k2 > 0) continue;
                p->a_at[at] = offset;
                p->b_at[at++] = (ptrdiff_t)((tap - first) * p->channels * (p->apart ? 1 : p->width));
            }
        }
    }
    return at;
}

/* One after the other, those of classes of positions. */
static bool find_pieces(conv_plan *p)
{
    size_t n = p->line[0].n_class * p->line[1].n_class * p->line[2].n_class, piece = 0, tap = 0, i = 0;
    p->a_at = mem_alloc(p->taps * sizeof *p->a_at);
    p->b_at = mem_alloc(p->taps * sizeof *p->b_at);
    p->order = mem_alloc(p->taps * sizeof *p->order);
    p->piece = mem_alloc((n + 1) * sizeof *p->piece);
    p->start = mem_alloc((n + 1) * sizeof *p->start);
    if (!p->a_at || !p->b_at || !p->order || !p->piece || !p->start) return false;
    for (size_t t = 0; t < p->taps; t++) p->order[t] = CONV_UNUSED;
    for (size_t c0 = 0; c0 < p->line[0].n_class; c0++) {
        for (size_t c1 = 0; c1 < p->line[1].n_class; c1++) {
            for (size_t c2 = 0; c2 < p->line[2].n_class; c2++, i++) {
                const conv_class *c[] = {&p->line[0].class[c0], &p->line[1].class[c1], &p->line[2].class[c2]};
                p->piece[i] = piece;
                p->start[i] = tap;
                piece = list_pieces(p, c, tap, piece);
                tap += c[0]->taps * c[1]->taps * c[2]->taps;
            }
        }
    }
    p->piece[i] = piece;
    p->start[i] = tap;
    return true;
}

/* Taps along the last axis are one piece if they look at neighbours, and are as many for all classes that have any. */
static bool taps_are_neighbours(const conv_plan *p)
{
    size_t most = 0;
    for (size_t k = 0; k < p->line[2].n_class; k++) {
        const conv_class *c = &p->line[2].class[k];
        if (c->taps > 1 && c->offset_step != 1) return false;
        if (c->taps && most && c->taps != most) return false;
        most = conv_max(most, c->taps);
    }
    return p->at[2] == (ptrdiff_t)p->channels && most > 1;
}

static size_t turned_rows(const conv_plan *p) { return conv_max(PACK_ROWS, p->taps); }

bool conv_plan_slide(conv_plan *p)
{
    const conv_shape *s = &p->shape;
    bool to_x = s->value == CONV_X;
    size_t size = kern_size(s->dtype);
    p->channels = p->apart ? s->groups : to_x ? s->out : s->in;
    p->columns = p->apart ? s->groups : to_x ? s->in : s->out;
    if (p->apart) p->width = p->columns;
    p->panels = conv_ratio_up(p->columns, p->width);
    p->in_place = conv_reads_in_place(p, source_of(p));
    p->sums = p->apart ? p->taps * p->channels : p->groups * p->panels * p->taps * p->channels * p->width;
    cut_strips(p);
    p->at[2] = (ptrdiff_t)p->channels;
    p->at[1] = p->at[2] * (ptrdiff_t)p->extent[2];
    p->at[0] = p->at[1] * (ptrdiff_t)p->extent[1];
    p->image_at = p->at[0] * (ptrdiff_t)p->extent[0];
    if (p->in_place) {
        memcpy(p->at, s->step[source_of(p)] + 2, sizeof p->at);
        p->image_at = s->step[source_of(p)][0];
    }
    p->k = p->channels;
    if (!p->apart && taps_are_neighbours(p)) {
        for (size_t k = 0; k < p->line[2].n_class; k++) {
            if (p->line[2].class[k].taps) p->k = p->channels * p->line[2].class[k].taps;
        }
    }
    size_t copy = p->in_place ? 0 : p->images * (size_t)p->image_at;
    p->each = (conv_max(copy, turned_rows(p) * p->width) + CONV_SPILL + 15) / 16 * 16;
    p->scratch = ((p->sums + 15) / 16 * 16 + p->threads * p->each) * size;
    return find_pieces(p);
}

/* ---- weights ------------------------------------------------------------------------------------ */

static bool taps_side_by_side(const conv_shape *s)
{
    ptrdiff_t step = 1;
    for (unsigned a = CONV_AXES; a-- > 0;) {
        if (s->size[CONV_W][a] > 1 && s->step[CONV_W][2 + a] != step) return false;
        step *= (ptrdiff_t)s->size[CONV_W][a];
    }
    return true;
}

/* Columns c0..c0+n-1 of the weights of a group: out[tap][channel][width]. */
static void pack_panel(const conv_plan *p, const char *w, size_t n, char *out, char *turned)
{
    const conv_shape *s = &p->shape;
    size_t size = kern_size(s->dtype), row = p->width * size;
    ptrdiff_t by_channel = s->step[CONV_W][s->value == CONV_X ? 0 : 1];
    ptrdiff_t by_column = s->step[CONV_W][s->value == CONV_X ? 1 : 0];
    if (p->taps == 1 || by_column == 1 || !taps_side_by_side(s)) {
        for (size_t t = 0; t < p->taps; t++) {
            if (p->order[t] == CONV_UNUSED) continue;
            p->kernels->pack(p->channels, n, p->width, out + p->order[t] * p->channels * row,
                             w + conv_tap_offset(s, t) * (ptrdiff_t)size, by_channel, by_column);
        }
        return;
    }
    /* all taps of a channel, or of several where that is one run of memory, and from there each to its place */
    size_t run = by_channel == (ptrdiff_t)p->taps ? turned_rows(p) / p->taps : 1;
    for (size_t c = 0; c < p->channels; c += run) {
        size_t now = conv_min(run, p->channels - c);
        p->kernels->pack(now * p->taps, n, p->width, turned, w + (ptrdiff_t)c * by_channel * (ptrdiff_t)size, 1,
                         by_column);
        for (size_t i = 0; i < now; i++) {
            for (size_t t = 0; t < p->taps; t++) {
                if (p->order[t] == CONV_UNUSED) continue;
                memcpy(out + (p->order[t] * p->channels + c + i) * row, turned + (i * p->taps + t) * row, row);
            }
        }
    }
}

/* Panels lie as they are numbered: group by group, then by the value's channels. */
static void pack_panels(const conv_plan *p, const char *w, char *panels, char *mine, size_t from, size_t to)
{
    const conv_shape *s = &p->shape;
    size_t size = kern_size(s->dtype), one = p->taps * p->channels * p->width * size;
    if (p->apart && from < to) {
        conv_apart_pack(p, w, panels);
        return;
    }
    for (size_t i = from; i < to; i++) {
        size_t group = i / p->panels, column = i % p->panels * p->width;
        ptrdiff_t at = s->value == CONV_X ? (ptrdiff_t)(group * s->out) * s->step[CONV_W][0] +
                                                (ptrdiff_t)column * s->step[CONV_W][1]
                                          : (ptrdiff_t)(group * s->out + column) * s->step[CONV_W][0];
        pack_panel(p, w + at * (ptrdiff_t)size, conv_min(p->width, p->columns - column), panels + i * one, mine);
    }
}

/* ---- a strip ------------------------------------------------------------------------------------ */

typedef struct slide {
    const conv_plan *p;
    const char *panels;
    const char *from; /* first channel of the group at index 0 of all axes: of the copy, or of the operand itself */
    int64_t origin[CONV_AXES]; /* index of that entry: 0 in place */
    char *to; /* first channel of the group, at the first place of the image */
    size_t first, n; /* positions of the axis that is cut */
} slide;

/* Positions j0, j1 of the first axes, all of the last one: a row of tiles. */
static void run_row(const slide *x, gemm_tile *t, const conv_class *c2, const char *a, char *to)
{
    const conv_plan *p = x->p;
    size_t size = kern_size(p->shape.dtype), from = 0, n = c2->n;
    if (p->cut == 2) {
        from = x->first;
        n = conv_min(n, x->first + x->n);
        if (from >= n) return;
    }
    size_t tiles = p->apart ? 1 : conv_ratio_up(n - from, p->kernels->piece_rows);
    size_t vectors = conv_ratio_up(t->n, p->kernels->lanes);
    ptrdiff_t out = p->shape.step[p->shape.value][4] * (ptrdiff_t)size;
    for (size_t i = 0; i < tiles; i++) {
        size_t j = from + (n - from) * i / tiles, rows = from + (n - from) * (i + 1) / tiles - j;
        t->a = a + (ptrdiff_t)j * t->a_m * (ptrdiff_t)size;
        t->c = to + (ptrdiff_t)(c2->first + (size_t)p->line[2].step * j) * out;
        if (p->apart) conv_apart_rows(p, t, rows);
        else p->kernels->along[rows - 1][vectors - 1](t);
    }
}

/* The taps from..to-1 of axis a that look at entries inside, at position j. */
static void taps_inside(const conv_plan *p, unsigned a, const conv_class *c, size_t j, size_t *from, size_t *to)
{
    int64_t size = (int64_t)p->shape.size[source_of(p)][a], at = p->line[a].move * (int64_t)j + c->offset;
    for (*from = 0; *from < c->taps && at < 0; at += c->offset_step) ++*from;
    for (*to = *from; *to < c->taps && at < size; at += c->offset_step) ++*to;
}

/* All positions of a class, for one panel; t has all of its pieces. Those outside are left out where that leaves one
 * run of them. */
static void run_class(const slide *x, gemm_tile *t, const conv_class *const c[CONV_AXES], char *to)
{
    const conv_plan *p = x->p;
    const ptrdiff_t *a_at = t->a_at, *b_at = t->b_at;
    size_t pieces = t->pieces, lines = c[0]->taps * c[1]->taps, line = lines ? pieces / lines : 0;
    size_t size = kern_size(p->shape.dtype), start[2] = {0, 0}, end[2] = {c[0]->n, c[1]->n};
    if (p->cut < 2) {
        start[p->cut] = x->first;
        end[p->cut] = conv_min(end[p->cut], x->first + x->n);
    }
    const ptrdiff_t *out = p->shape.step[p->shape.value] + 2;
    for (size_t j0 = start[0]; j0 < end[0]; j0++) {
        size_t from[2], last[2];
        taps_inside(p, 0, c[0], j0, &from[0], &last[0]);
        for (size_t j1 = start[1]; j1 < end[1]; j1++) {
            taps_inside(p, 1, c[1], j1, &from[1], &last[1]);
            if (last[0] - from[0] > 1) from[1] = 0, last[1] = c[1]->taps;
            size_t first = (from[0] * c[1]->taps + from[1]) * line;
            t->pieces = (last[0] - from[0]) * (last[1] - from[1]) * line;
            t->a_at = a_at + first;
            t->b_at = b_at + first;
            ptrdiff_t a = (ptrdiff_t)(p->line[0].move * (int64_t)j0 - x->origin[0]) * p->at[0] +
                          (ptrdiff_t)(p->line[1].move * (int64_t)j1 - x->origin[1]) * p->at[1] -
                          (ptrdiff_t)x->origin[2] * p->at[2];
            ptrdiff_t at = (ptrdiff_t)(c[0]->first + (size_t)p->line[0].step * j0) * out[0] +
                           (ptrdiff_t)(c[1]->first + (size_t)p->line[1].step * j1) * out[1];
            run_row(x, t, c[2], x->from + a * (ptrdiff_t)size, to + at * (ptrdiff_t)size);
        }
    }
}

static void run_panel(const slide *x, size_t panel, const char *b)
{
    const conv_plan *p = x->p;
    size_t size = kern_size(p->shape.dtype), column = panel * p->width, i = 0;
    gemm_tile t = {.n = conv_min(p->width, p->columns - column), .b_k = (ptrdiff_t)p->width, .k = p->k,
                   .a_m = (ptrdiff_t)p->line[2].move * p->at[2],
                   .c_m = (ptrdiff_t)p->line[2].step * p->shape.step[p->shape.value][4]};
    for (size_t c0 = 0; c0 < p->line[0].n_class; c0++) {
        for (size_t c1 = 0; c1 < p->line[1].n_class; c1++) {
            for (size_t c2 = 0; c2 < p->line[2].n_class; c2++, i++) {
                const conv_class *c[] = {&p->line[0].class[c0], &p->line[1].class[c1], &p->line[2].class[c2]};
                t.pieces = p->piece[i + 1] - p->piece[i];
                t.a_at = p->a_at + p->piece[i];
                t.b_at = p->b_at + p->piece[i];
                t.b = b + p->start[i] * p->channels * (p->apart ? 1 : p->width) * size;
                run_class(x, &t, c, x->to + column * size);
            }
        }
    }
}

/* Strip number i / groups of group i % groups. */
static void run_strip(const conv_plan *p, void *const slot[3], const char *panels, char *mine, size_t i)
{
    const conv_shape *s = &p->shape;
    conv_slot source = source_of(p);
    ptrdiff_t size = (ptrdiff_t)kern_size(s->dtype), out = s->step[s->value][0] * size, in = p->image_at * size;
    size_t group = i % p->groups, one = p->taps * p->channels * p->width * (size_t)size;
    conv_strip strip = conv_strip_of(p, i / p->groups);
    slide x = {.p = p, .first = strip.from, .n = strip.n};
    const char *from = mine;
    char *to = (char *)slot[s->value] + (ptrdiff_t)strip.image * out +
               (ptrdiff_t)(group * p->columns) * s->step[s->value][1] * size;
    if (p->in_place) {
        from = (const char *)slot[source] + (ptrdiff_t)strip.image * in +
               (ptrdiff_t)(group * p->channels) * s->step[source][1] * size;
    } else {
        for (size_t k = 0; k < strip.images; k++) {
            conv_copy(p, source, slot[source], strip.image + k, strip.from, group * p->channels, p->channels,
                      p->channels, mine + (ptrdiff_t)k * in);
        }
        for (unsigned a = 0; a < CONV_AXES; a++) {
            x.origin[a] = p->line[a].least + (a == p->cut ? p->line[a].move * (int64_t)strip.from : 0);
        }
    }
    for (size_t k = 0; k < p->panels; k++) {
        for (size_t image = 0; image < strip.images; image++) {
            x.from = from + (ptrdiff_t)image * in;
            x.to = to + (ptrdiff_t)image * out;
            run_panel(&x, k, panels + (group * p->panels + k) * one);
        }
    }
}

void conv_slide(const conv_plan *p, void *const slot[3], char *scratch)
{
    const conv_shape *s = &p->shape;
    size_t size = kern_size(s->dtype), panels = p->groups * p->panels, strips = conv_strips(p) * p->groups;
    char *mine = scratch + (p->sums + 15) / 16 * 16 * size;
    int threads = (int)p->threads;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        size_t me = 0, of = 1;
#ifdef _OPENMP
        me = (size_t)omp_get_thread_num(), of = (size_t)omp_get_num_threads();
#endif
        char *own = mine + me * p->each * size;
        pack_panels(p, slot[CONV_W], scratch, own, panels * me / of, panels * (me + 1) / of);
#pragma omp barrier
        for (size_t i = strips * me / of; i < strips * (me + 1) / of; i++) run_strip(p, slot, scratch, own, i);
    }
}
