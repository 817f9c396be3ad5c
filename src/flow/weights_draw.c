/* Weights drawn again, from the law that they are of. */
#include "flow/weights.h"

#include "kernel/lapack.h"

#include <math.h>

/* ---- normal numbers ------------------------------------------------------------------------------ */

/* Marsaglia and Tsang 2000, "The Ziggurat Method": millions of weights are drawn, at a few nanoseconds each. Layers of
 * one area cover the density; layer 0 has the tail beyond `last`. */
enum { LAYERS = 128 };
static const double last = 3.442619855899, area = 9.91256303526217e-3;

typedef struct ziggurat {
    double x[LAYERS + 1], y[LAYERS]; /* widths, heights where they end */
} ziggurat;

static void ziggurat_init(ziggurat *z)
{
    z->x[0] = area / exp(-0.5 * last * last);
    z->x[1] = last;
    for (int i = 2; i < LAYERS; i++)
        z->x[i] = sqrt(-2 * log(area / z->x[i - 1] + exp(-0.5 * z->x[i - 1] * z->x[i - 1])));
    z->x[LAYERS] = 0;
    for (int i = 0; i < LAYERS; i++) z->y[i] = exp(-0.5 * z->x[i] * z->x[i]);
}

static double ziggurat_normal(const ziggurat *z, random_gen *r)
{
    for (;;) {
        uint64_t bits = random_u64(r);
        unsigned layer = bits & (LAYERS - 1);
        double u = (double)(bits >> 11) * 0x1p-52 - 1, x = u * z->x[layer];
        if (fabs(x) < z->x[layer + 1]) return x;
        if (layer == 0) {
            double a, b;
            do {
                a = -log(random_unit(r)) / last;
                b = -log(random_unit(r));
            } while (b + b < a * a);
            return u < 0 ? -last - a : last + a;
        }
        double above = layer + 1 < LAYERS ? z->y[layer + 1] : 1;
        if (z->y[layer] + random_unit(r) * (above - z->y[layer]) < exp(-0.5 * x * x)) return x;
    }
}

/* ---- laws ---------------------------------------------------------------------------------------- */

/* Haar's law: Q of a normal matrix, with the signs that make R's diagonal positive. */
static cr_status draw_orthogonal(const cr_tensor *t, double length, random_gen *r, double *out, error *e)
{
    size_t rows = (size_t)t->dim[0], width = t->count / rows, m = rows > width ? rows : width,
           n = rows > width ? width : rows;
    lapack_plan p;
    cr_status status = lapack_plan_init(&p, LAPACK_QR, KERN_F64, m, n, 0, 1, e);
    if (status != CR_OK) return status;
    double *a = mem_alloc(m * n * sizeof *a), *q = mem_alloc(m * n * sizeof *q), *s = mem_alloc(n * n * sizeof *s);
    char *scratch = mem_alloc(p.scratch + 64);
    if (!a || !q || !s || !scratch) {
        err_set(e, status = CR_ENOMEM, "out of memory");
    } else {
        for (size_t i = 0; i < m * n; i++) a[i] = random_normal(r);
        if (lapack_qr(&p, a, q, s, scratch + (64 - (uintptr_t)scratch % 64) % 64) != LAPACK_DONE)
            err_set(e, status = CR_EINTERNAL, "LAPACK does not factor a random matrix");
        for (size_t i = 0; i < m && status == CR_OK; i++) {
            for (size_t k = 0; k < n; k++) {
                double x = length * (s[k * n + k] < 0 ? -1 : 1) * q[i * n + k];
                out[rows > width ? i * width + k : k * width + i] = x;
            }
        }
    }
    mem_free(a);
    mem_free(q);
    mem_free(s);
    mem_free(scratch);
    return status;
}

cr_status flow_weight_draw(const net_leaf *l, const flow_weight *w, random_gen *r, double *out, error *e)
{
    size_t n = l->tensor.count;
    if (w->law == FLOW_LAW_ORTHOGONAL) return draw_orthogonal(&l->tensor, w->scale, r, out, e);
    if (w->law != FLOW_LAW_UNIFORM && w->law != FLOW_LAW_NORMAL && w->law != FLOW_LAW_TRUNCATED) {
        data_to_f64(l->tensor.type, l->tensor.data, n, out);
        return CR_OK;
    }
    ziggurat z;
    ziggurat_init(&z);
    for (size_t i = 0; i < n; i++) {
        double x = w->law == FLOW_LAW_UNIFORM ? 2 * random_unit(r) - 1 : ziggurat_normal(&z, r);
        while (w->law == FLOW_LAW_TRUNCATED && fabs(x) > FLOW_TRUNCATED_AT) x = ziggurat_normal(&z, r);
        out[i] = w->scale * x;
    }
    return CR_OK;
}
