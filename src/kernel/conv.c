/* Planning: which taps reach which positions, how strips are cut, and what a thread needs. */
#include "kernel/conv_internal.h"

#include <string.h>

enum {
    SMALL_WORK = 2000000 /* multiply-adds below which threads do not pay */
};
#define COPY_MAX ((size_t)1 << 46) /* bytes of a copy that no machine has: windows may reach anywhere */

/* ---- positions ---------------------------------------------------------------------------------- */

/* Entry i of x meets tap t at position (i + low - dilation*t)/stride of y, where that is whole: i = r + stride*j for
 * the same taps with the same distances to j. Taps descend, so that what they meet ascends. */
static void class_of_x(const conv_shape *s, unsigned a, size_t r, conv_class *c)
{
    size_t stride = (size_t)s->stride[a];
    *c = (conv_class){.first = r, .n = (s->size[CONV_X][a] - r + stride - 1) / stride};
    for (int64_t t = (int64_t)s->size[CONV_W][a]; t-- > 0;) {
        int64_t d = (int64_t)r + s->low[a] - s->dilation[a] * t;
        if (d % s->stride[a]) continue;
        d /= s->stride[a];
        if (c->taps == 0) c->tap = t, c->offset = d;
        if (c->taps == 1) c->tap_step = t - c->tap, c->offset_step = d - c->offset;
        c->taps++;
    }
}

static bool find_classes(conv_plan *p, unsigned a)
{
    const conv_shape *s = &p->shape;
    conv_line *x = &p->line[a];
    bool to_x = s->value == CONV_X;
    x->n_class = to_x ? conv_min((size_t)s->stride[a], s->size[CONV_X][a]) : 1;
    x->class = mem_alloc(x->n_class * sizeof *x->class);
    if (!x->class) return false;
    x->move = to_x ? 1 : s->stride[a];
    x->step = to_x ? s->stride[a] : 1;
    int64_t most = INT64_MIN;
    x->least = INT64_MAX;
    for (size_t r = 0; r < x->n_class; r++) {
        conv_class *c = &x->class[r];
        if (to_x) class_of_x(s, a, r, c);
        else *c = (conv_class){.n = s->size[CONV_Y][a], .taps = s->size[CONV_W][a], .offset = -s->low[a],
                               .offset_step = s->dilation[a], .tap_step = 1};
        x->positions = conv_max(x->positions, c->n);
        if (c->taps == 0) continue;
        int64_t last = c->offset + (int64_t)(c->taps - 1) * c->offset_step;
        x->least = c->offset < x->least ? c->offset : x->least;
        most = last > most ? last : most;
    }
    if (most < x->least) x->least = most = 0; /* no tap reaches anything */
    x->reach = most - x->least;
    return true;
}

/* ---- strips ------------------------------------------------------------------------------------- */

conv_strip conv_strip_of(const conv_plan *p, size_t number)
{
    size_t batch = p->shape.batch, all = p->line[p->cut].positions;
    if (p->images > 1) {
        size_t image = number * p->images;
        return (conv_strip){image, conv_min(p->images, batch - image), 0, all};
    }
    size_t from = number % p->strips * p->strip;
    return (conv_strip){number / p->strips, 1, from, conv_min(p->strip, all - from)};
}

bool conv_reads_in_place(const conv_plan *p, conv_slot from)
{
    const conv_shape *s = &p->shape;
    if (s->step[from][1] != 1 && (p->apart || (from == CONV_X ? s->in : s->out) > 1)) return false;
    for (unsigned a = 0; a < CONV_AXES; a++) {
        for (size_t k = 0; k < p->line[a].n_class; k++) {
            const conv_class *c = &p->line[a].class[k];
            if (c->taps == 0) continue;
            int64_t last = p->line[a].move * (int64_t)(c->n - 1) + c->offset +
                           (int64_t)(c->taps - 1) * c->offset_step;
            if (c->offset < 0 || last >= (int64_t)s->size[from][a]) return false;
        }
    }
    return true;
}

/* A row of pixels along the last axis. */
static void copy_row(const conv_plan *p, size_t pixels, ptrdiff_t pixel, ptrdiff_t channel, size_t n, size_t width,
                     char *out, const char *in)
{
    size_t size = kern_size(p->shape.dtype);
    if (channel == 1 && n == width && pixel == (ptrdiff_t)n) memcpy(out, in, pixels * n * size);
    else p->kernels->pack(pixels, n, width, out, in, pixel, channel);
}

void conv_copy(const conv_plan *p, conv_slot slot, const char *from, size_t image, size_t first, size_t channel,
               size_t n, size_t width, char *out)
{
    const conv_shape *s = &p->shape;
    const ptrdiff_t *step = s->step[slot];
    size_t size = kern_size(s->dtype), pixel = width * size, row = p->extent[2] * pixel;
    int64_t start[CONV_AXES], end2, have = (int64_t)s->size[slot][2];
    for (unsigned a = 0; a < CONV_AXES; a++) {
        start[a] = p->line[a].least + (a == p->cut ? p->line[a].move * (int64_t)first : 0);
    }
    end2 = start[2] + (int64_t)p->extent[2];
    int64_t in_from = start[2] < 0 ? 0 : start[2] > have ? have : start[2];
    int64_t in_to = end2 < in_from ? in_from : end2 > have ? have : end2;
    /* ascending: what is spilled is written again */
    from += ((ptrdiff_t)image * step[0] + (ptrdiff_t)channel * step[1]) * (ptrdiff_t)size;
    for (size_t i = 0; i < p->extent[0]; i++) {
        int64_t x0 = start[0] + (int64_t)i;
        for (size_t k = 0; k < p->extent[1]; k++, out += row) {
            int64_t x1 = start[1] + (int64_t)k;
            if (x0 < 0 || x0 >= (int64_t)s->size[slot][0] || x1 < 0 || x1 >= (int64_t)s->size[slot][1] ||
                in_from >= in_to) {
                memset(out, 0, row);
                continue;
            }
            size_t before = start[2] < 0 ? conv_min((size_t)-start[2], p->extent[2]) : 0;
            size_t pixels = (size_t)(in_to - in_from);
            memset(out, 0, before * pixel);
            copy_row(p, pixels, step[4], step[1], n, width, out + before * pixel,
                     from + ((ptrdiff_t)x0 * step[2] + (ptrdiff_t)x1 * step[3] + (ptrdiff_t)in_from * step[4]) *
                                (ptrdiff_t)size);
            memset(out + (before + pixels) * pixel, 0, row - (before + pixels) * pixel);
        }
    }
}

/* ---- taps --------------------------------------------------------------------------------------- */

ptrdiff_t conv_tap_offset(const conv_shape *s, size_t t)
{
    ptrdiff_t offset = 0;
    for (unsigned a = CONV_AXES; a-- > 0; t /= s->size[CONV_W][a]) {
        offset += (ptrdiff_t)(t % s->size[CONV_W][a]) * s->step[CONV_W][2 + a];
    }
    return offset;
}

ptrdiff_t conv_look(const conv_plan *p, size_t t)
{
    const conv_shape *s = &p->shape;
    ptrdiff_t offset = 0;
    for (unsigned a = CONV_AXES; a-- > 0; t /= s->size[CONV_W][a]) {
        offset += (ptrdiff_t)(t % s->size[CONV_W][a]) * (ptrdiff_t)s->dilation[a] * p->at[a];
    }
    return offset;
}

/* ---- a whole plan ------------------------------------------------------------------------------- */

static double work(const conv_shape *s)
{
    double n = (double)s->batch * (double)s->groups * (double)s->in * (double)s->out;
    for (unsigned a = 0; a < CONV_AXES; a++) n *= (double)s->size[CONV_W][a] * (double)s->size[CONV_Y][a];
    return n;
}

/* Of x or y with all pads. */
static bool is_possible(const conv_plan *p)
{
    double n = (double)p->shape.in * (double)p->shape.out;
    for (unsigned a = 0; a < CONV_AXES; a++) {
        n *= (double)p->line[a].move * (double)p->line[a].positions + (double)p->line[a].reach;
    }
    return n < (double)(COPY_MAX / 8);
}

bool conv_plan_init(conv_plan *p, const conv_shape *shape, kern_level level, unsigned threads)
{
    *p = (conv_plan){.shape = *shape, .kernels = gemm_kernels_of(shape->dtype, level), .taps = 1, .images = 1};
    p->vector = kern_table_of(shape->dtype, level);
    p->threads = work(shape) < SMALL_WORK ? 1 : threads;
    p->width = p->kernels->piece_vectors * p->kernels->lanes;
    p->apart = shape->groups > 1 && shape->in == 1 && shape->out == 1;
    p->groups = p->apart ? 1 : shape->groups;
    bool ok = true;
    for (unsigned a = 0; a < CONV_AXES; a++) {
        p->taps *= shape->size[CONV_W][a];
        ok = ok && find_classes(p, a);
    }
    while (ok && p->cut < CONV_AXES - 1 && p->line[p->cut].positions == 1) p->cut++;
    if (ok && !is_possible(p)) {
        p->scratch = COPY_MAX;
        return true;
    }
    return ok && (shape->value == CONV_W ? conv_plan_sum(p) : conv_plan_slide(p));
}

void conv_plan_free(conv_plan *p)
{
    for (unsigned a = 0; a < CONV_AXES; a++) mem_free(p->line[a].class);
    mem_free(p->a_at);
    mem_free(p->b_at);
    mem_free(p->piece);
    mem_free(p->start);
    mem_free(p->order);
    *p = (conv_plan){0};
}

void conv_run(const conv_plan *p, void *const slot[3], void *scratch)
{
    if (p->shape.value == CONV_W) conv_sum(p, slot, scratch);
    else conv_slide(p, slot, scratch);
}
