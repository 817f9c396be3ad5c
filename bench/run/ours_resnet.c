/* Residual networks, channels first as users write them; the parameters of a block in the order of its convolutions,
 * the skip's last. */
#include "ours.h"

#include <math.h>

typedef int64_t shape[4];

typedef struct layers { /* of what has been built last: channels and side; and all parameters on the way */
    ours_network *n;
    int64_t batch, channels, side;
    cr_ref wrt[OURS_OUTPUTS];
    unsigned n_wrt;
} layers;

static cr_ref parameter(layers *l, unsigned rank, const int64_t *size, double scale, double middle)
{
    return l->wrt[l->n_wrt++] = ours_next(l->n, rank, size, scale, middle);
}

static cr_window window(layers *l, int64_t size, int64_t stride)
{
    cr_graph *g = l->n->g;
    cr_dim of = cr_dim_const(g, size), by = cr_dim_const(g, stride), pad = cr_dim_const(g, size / 2);
    return (cr_window){.axes = 2, .size = {of, of}, .stride = {by, by}, .low = {pad, pad}, .high = {pad, pad}};
}

/* Of each channel: less the mean, over the standard deviation, of all its entries */
static cr_ref batch_norm(layers *l, cr_ref x, cr_ref gain, cr_ref shift)
{
    static const uint8_t sum[] = {1, 0, 2, 3, 1, 0, 2, 3}, scale[] = {0, 1, 2, 3, 1}, channel = 1;
    cr_graph *g = l->n->g;
    double part = 1 / (double)(l->batch * l->side * l->side);
    cr_dim size[4];
    for (unsigned i = 0; i < 4; i++) {
        size[i] = cr_size(g, x, i);
    }
    cr_ref mean = ours_scale(l->n, part, cr_einsum(g, 1, &x, sum, 1, &size[1]));
    cr_ref c = cr_sub(g, x, cr_einsum(g, 1, &mean, &channel, 4, size));
    cr_ref variance = ours_scale(l->n, part, cr_einsum(g, 2, (cr_ref[]){c, c}, sum, 1, &size[1]));
    cr_ref by = cr_div(g, gain, cr_map(g, CR_OP_SQRT, cr_add(g, variance, cr_const(g, 1e-5))));
    cr_ref y = cr_einsum(g, 2, (cr_ref[]){c, by}, scale, 4, size);
    return cr_add(g, y, cr_einsum(g, 1, &shift, &channel, 4, size));
}

static cr_ref conv_norm(layers *l, cr_ref x, int64_t channels_in, int64_t channels, int64_t size, int64_t stride)
{
    double scale = sqrt(6.0 / (double)(channels_in * size * size));
    cr_ref w = parameter(l, 4, (shape){channels, channels_in, size, size}, scale, 0);
    cr_ref gain = parameter(l, 1, &channels, 0.1, 1), shift = parameter(l, 1, &channels, 0.1, 0);
    cr_window at = window(l, size, stride);
    cr_ref y = cr_conv(l->n->g, x, w, &at);
    cr_dim_value(l->n->g, cr_size(l->n->g, y, 2), &l->side);
    l->channels = channels;
    return batch_norm(l, y, gain, shift);
}

static cr_ref relu(layers *l, cr_ref x) { return cr_map(l->n->g, CR_OP_RELU, x); }

/* Two 3 x 3 convolutions; a bottleneck: 1 x 1, 3 x 3 with the stride, 1 x 1 to four times the width. */
static cr_ref block(layers *l, cr_ref x, int64_t width, int64_t stride, bool bottleneck)
{
    int64_t from = l->channels, to = bottleneck ? 4 * width : width;
    cr_ref y = x;
    if (bottleneck) {
        y = relu(l, conv_norm(l, y, from, width, 1, 1));
        y = relu(l, conv_norm(l, y, width, width, 3, stride));
        y = conv_norm(l, y, width, to, 1, 1);
    } else {
        y = relu(l, conv_norm(l, y, from, width, 3, stride));
        y = conv_norm(l, y, width, width, 3, 1);
    }
    cr_ref skip = stride == 1 && from == to ? x : conv_norm(l, x, from, to, 1, stride);
    return relu(l, cr_add(l->n->g, y, skip));
}

typedef struct design {
    int depth;
    int64_t batch, side, stem, stem_stride, width[4], blocks[4], classes;
    bool pool, bottleneck, derivatives;
} design;

void ours_resnet(ours_network *n, int depth)
{
    static const design designs[] = {
        {18, 8, 224, 7, 2, {64, 128, 256, 512}, {2, 2, 2, 2}, 1000, true, false, true},
        {20, 128, 32, 3, 1, {16, 32, 64}, {3, 3, 3}, 10, false, false, true},
        {50, 1, 224, 7, 2, {64, 128, 256, 512}, {3, 4, 6, 3}, 1000, true, true, false},
    };
    const design *d = designs;
    for (; d->depth != depth; d++) {}
    cr_graph *g = n->g;
    layers l = {.n = n, .batch = d->batch, .side = d->side};
    cr_ref x = ours_data(n, OURS_UNIFORM, 0, 4, (shape){d->batch, 3, d->side, d->side}, 1, 0);
    x = relu(&l, conv_norm(&l, x, 3, d->width[0], d->stem, d->stem_stride));
    if (d->pool) {
        cr_window at = window(&l, 3, 2);
        x = cr_pool(g, CR_POOL_MAX, x, &at);
        cr_dim_value(g, cr_size(g, x, 2), &l.side);
    }
    for (unsigned i = 0; i < 4; i++) {
        for (int64_t j = 0; j < d->blocks[i]; j++) {
            x = block(&l, x, d->width[i], i && !j ? 2 : 1, d->bottleneck);
        }
    }
    cr_dim rows[] = {cr_dim_const(g, d->batch), cr_dim_const(g, l.channels)};
    cr_ref sum = cr_einsum(g, 1, &x, (uint8_t[]){0, 1, 2, 3}, 2, rows);
    cr_ref mean = ours_scale(n, 1 / (double)(l.side * l.side), sum);
    cr_ref w = parameter(&l, 2, (shape){l.channels, d->classes}, sqrt(3.0 / (double)l.channels), 0);
    cr_ref z = ours_affine(n, mean, w, parameter(&l, 1, &d->classes, 0.1, 0));
    if (d->derivatives) {
        ours_gradient(n, ours_cross_entropy(n, z, d->batch, d->classes), l.n_wrt, l.wrt);
    } else {
        ours_value(n, z);
    }
}
