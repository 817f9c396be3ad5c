/* Convolutions, planned once and run often, in all three roles: any of x, w and y of the form
 *
 *     sum of  x[n, g*C + c, stride*p + dilation*t - low]  w[g*O + o, c, t]  y[n, g*O + o, p]
 *
 * by the other two. They are products of matrices whose operands are looked at through windows: nothing is unfolded. A
 * strip of x (or y) is copied with its pads, channels last, while it is in cache; tiles of gemm_kernel.h read it piece
 * by piece, one piece for each tap or row of taps. Where there are no pads and channels lie side by side, it is read as
 * it lies. Bits do not depend on the number of threads. */
#ifndef CR_CONV_H
#define CR_CONV_H

#include "kernel/kernel.h"

#define CONV_AXES 3 /* of the window; those that are not needed have sizes 1 */

typedef enum conv_slot { CONV_X, CONV_W, CONV_Y } conv_slot;

typedef struct conv_shape {
    kern_dtype dtype;
    conv_slot value;           /* what is computed */
    size_t batch, groups;      /* no size is 0 */
    size_t in, out;            /* channels of a group, C and O */
    size_t size[3][CONV_AXES]; /* of x, w and y on the axes of the window */
    int64_t stride[CONV_AXES], dilation[CONV_AXES], low[CONV_AXES];
    /* Strides in elements: of x and y along batch, channels and the axes of the window; of w along output channels,
     * input channels and those. A value has no gaps: x and y channels last, w row-major in this order. */
    ptrdiff_t step[3][2 + CONV_AXES];
} conv_shape;

/* Positions first, first + step, ... (n of them) of an axis of x or y, as the value, which the same taps reach: tap
 * number k of them meets entry move*j + offset + k*offset_step of the other. */
typedef struct conv_class {
    size_t first, n, taps;
    int64_t offset, offset_step, tap, tap_step;
} conv_class;

typedef struct conv_line { /* an axis of the window */
    conv_class *class;     /* one for y as the value, as many as strides for x */
    size_t n_class;
    int64_t move, step;
    int64_t least, reach;  /* of all offsets: the least one, and the greatest less the least */
    size_t positions;      /* of the class that has most */
} conv_line;

typedef struct conv_plan {
    size_t scratch; /* bytes, to be aligned to 64 */
    unsigned threads;
    /* the rest is for conv_run */
    conv_shape shape;
    const struct gemm_kernels *kernels;
    const kern_table *vector;
    conv_line line[CONV_AXES];
    unsigned cut;             /* strips are cut along this axis */
    size_t strip, strips;     /* positions on it; how many strips an image has */
    size_t images;            /* of a strip that is not cut */
    size_t extent[CONV_AXES]; /* of the copy of a strip */
    ptrdiff_t at[CONV_AXES];  /* strides of what tiles read */
    ptrdiff_t image_at;       /* ... and from image to image */
    bool in_place, y_in_place; /* no copies; y beside x, with w as the value */
    size_t k;                 /* terms of a piece; w as the value: taps that are rows of one tile */
    bool apart;               /* groups of one channel to one: they are entries side by side, of a single group */
    size_t groups, taps, panels, width;
    size_t channels, columns; /* summed over, and of a row of the value */
    ptrdiff_t *a_at, *b_at;
    size_t *piece, *start;    /* of each class of positions: its first piece (one more at the end), its first tap */
    size_t *order;            /* place of each tap in a panel */
    size_t blocks, block;     /* w as the value: rows of tiles, channels in one */
    size_t parts;             /* sums that are kept apart */
    size_t sums, each, buffer; /* entries: of all panels or sums; of a thread's copies; of one of them */
} conv_plan;

/* False: no memory; *p is to be freed all the same. */
bool conv_plan_init(conv_plan *p, const conv_shape *shape, kern_level level, unsigned threads);
void conv_plan_free(conv_plan *p);
/* Re-entrant. slot[value] is written. */
void conv_run(const conv_plan *p, void *const slot[3], void *scratch);

#endif
