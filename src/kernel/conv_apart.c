/* Groups of one channel to one: no product of matrices is left. Channels lie side by side, and every tap is one
 * multiply-add of a run of them. */
#include "kernel/conv_internal.h"

/* w[channel][tap] as out[tap in order][channel] */
void conv_apart_pack(const conv_plan *p, const char *w, char *out)
{
    const conv_shape *s = &p->shape;
    size_t size = kern_size(s->dtype);
    for (size_t t = 0; t < p->taps; t++) {
        if (p->order[t] == CONV_UNUSED) continue;
        p->vector->load(p->channels, out + p->order[t] * p->channels * size,
                        w + conv_tap_offset(s, t) * (ptrdiff_t)size, s->step[CONV_W][0]);
    }
}

void conv_apart_rows(const conv_plan *p, const gemm_tile *t, size_t n)
{
    ptrdiff_t size = (ptrdiff_t)kern_size(p->shape.dtype);
    char *out = t->c;
    const char *a = t->a, *b = t->b;
    for (size_t i = 0; i < n; i++, a += t->a_m * size, out += t->c_m * size) {
        if (t->pieces == 0) p->vector->fill(p->channels, out, 0);
        for (size_t k = 0; k < t->pieces; k++) {
            p->vector->map[k ? KERN_MULADD : KERN_MUL][0](p->channels, out, a + t->a_at[k] * size,
                                                          b + t->b_at[k] * size, out, 0);
        }
    }
}

void conv_apart_add(const conv_plan *p, const gemm_tile *t, char *sums)
{
    ptrdiff_t size = (ptrdiff_t)kern_size(p->shape.dtype), row = (ptrdiff_t)p->channels * size;
    if (!t->add) p->vector->fill(p->taps * p->channels, sums, 0);
    for (size_t tap = 0; tap < p->taps; tap++) {
        char *sum = sums + (ptrdiff_t)tap * row;
        ptrdiff_t look = conv_look(p, tap);
        for (size_t k = 0; k < t->pieces; k++) {
            const char *a = (const char *)t->a + (look + t->a_at[k]) * size;
            const char *b = (const char *)t->b + t->b_at[k] * size;
            for (size_t j = 0; j < t->k; j++, a += t->a_k * size, b += t->b_k * size) {
                p->vector->map[KERN_MULADD][0](p->channels, sum, a, b, sum, 0);
            }
        }
    }
}

void conv_apart_finish(const conv_plan *p, const char *sums, char *w)
{
    size_t size = kern_size(p->shape.dtype);
    for (size_t t = 0; t < p->taps; t++) { /* the value is row-major: taps side by side */
        p->vector->store(p->channels, w + t * size, sums + t * p->channels * size, (ptrdiff_t)p->taps);
    }
}
