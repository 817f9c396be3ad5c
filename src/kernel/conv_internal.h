/* What the files conv*.c share. */
#ifndef CR_CONV_INTERNAL_H
#define CR_CONV_INTERNAL_H

#include "kernel/conv.h"
#include "kernel/gemm_kernel.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#define CONV_SPILL ((size_t)16) /* entries that packing may write beyond the end: 64 bytes at least */

#define CONV_UNUSED SIZE_MAX /* a tap that no position reaches */

static inline size_t conv_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t conv_max(size_t a, size_t b) { return a > b ? a : b; }
static inline size_t conv_ratio_up(size_t a, size_t b) { return (a + b - 1) / b; }

/* Images n0.. and positions j0.. (of the axis that is cut) of a strip. */
typedef struct conv_strip {
    size_t image, images, from, n;
} conv_strip;
static inline size_t conv_strips(const conv_plan *p)
{
    return p->images > 1 ? conv_ratio_up(p->shape.batch, p->images) : p->shape.batch * p->strips;
}
conv_strip conv_strip_of(const conv_plan *p, size_t number);

/* Is all of the slot that positions look at there, with channels side by side? */
bool conv_reads_in_place(const conv_plan *p, conv_slot from);
/* Channels channel..channel+n-1 of the entries of `from` (x or y) that the positions of image `image` look at, those
 * outside being 0, to out: p->extent, `width` entries each. Spills, see CONV_SPILL. */
void conv_copy(const conv_plan *p, conv_slot slot, const char *from, size_t image, size_t first, size_t channel,
               size_t n, size_t width, char *out);

/* Channel by channel (conv_apart.c): the weights side by side, n rows of t, and what a strip adds to sums[tap]. */
void conv_apart_pack(const conv_plan *p, const char *w, char *out);
void conv_apart_rows(const conv_plan *p, const gemm_tile *t, size_t n);
void conv_apart_add(const conv_plan *p, const gemm_tile *t, char *sums);
void conv_apart_finish(const conv_plan *p, const char *sums, char *w);
/* Offset of a tap from the first one: into w, and in what is looked at. */
ptrdiff_t conv_tap_offset(const conv_shape *s, size_t t);
ptrdiff_t conv_look(const conv_plan *p, size_t t);

bool conv_plan_slide(conv_plan *p);
void conv_slide(const conv_plan *p, void *const slot[3], char *scratch);
bool conv_plan_sum(conv_plan *p);
void conv_sum(const conv_plan *p, void *const slot[3], char *scratch);

#endif
