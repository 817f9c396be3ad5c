/* Expressions whose shapes are numbers: what the operators of ONNX are made of. */
#include "onnx/import.h"

#include <string.h>

int64_t onnx_size(cr_graph *g, cr_ref a, unsigned axis)
{
    int64_t v = 0;
    if (valid(g, a)) cr_dim_value(g, cr_size(g, a, axis), &v);
    return v;
}

void onnx_shape(cr_graph *g, cr_ref a, int64_t *dim)
{
    for (unsigned i = 0; i < cr_rank(g, a); i++) dim[i] = onnx_size(g, a, i);
}

size_t onnx_count(cr_graph *g, cr_ref a)
{
    size_t n = 1;
    for (unsigned i = 0; i < cr_rank(g, a); i++) n *= (size_t)onnx_size(g, a, i);
    return n;
}

static void dims_of(cr_graph *g, unsigned rank, const int64_t *v, cr_dim *dim)
{
    for (unsigned i = 0; i < rank; i++) dim[i] = cr_dim_const(g, v[i]);
}

cr_ref onnx_number(cr_graph *g, cr_ref a)
{
    if (!valid(g, a) || cr_dtype_of(g, a) == CR_REAL) return a;
    return cr_select(g, a, onnx_like(g, 1, a), onnx_like(g, 0, a));
}

/* Layout works on real numbers; a boolean goes through them. */
static cr_ref back(cr_graph *g, cr_ref was, cr_ref a)
{
    if (!valid(g, a) || cr_dtype_of(g, was) == CR_REAL) return a;
    return cr_map2(g, CR_OP_NE, a, onnx_like(g, 0, a));
}

cr_ref onnx_reshape(cr_graph *g, cr_ref a, unsigned rank, const int64_t *v)
{
    cr_dim dim[CR_MAX_RANK];
    if (!valid(g, a)) return CR_NONE;
    dims_of(g, rank, v, dim);
    return back(g, a, cr_reshape(g, onnx_number(g, a), rank, dim));
}

/* An einsum of one operand: label[i] is that of axis i. */
static cr_ref relabel(cr_graph *g, cr_ref a, const uint8_t *label, unsigned rank, const int64_t *v)
{
    cr_dim dim[CR_MAX_RANK];
    cr_ref in = onnx_number(g, a);
    if (!valid(g, in)) return CR_NONE;
    dims_of(g, rank, v, dim);
    return back(g, a, cr_einsum(g, 1, &in, label, rank, dim));
}

cr_ref onnx_permute(cr_graph *g, cr_ref a, const unsigned *perm)
{
    int64_t dim[CR_MAX_RANK];
    uint8_t label[CR_MAX_RANK];
    if (!valid(g, a)) return CR_NONE;
    unsigned rank = cr_rank(g, a);
    for (unsigned i = 0; i < rank; i++) {
        label[perm[i]] = (uint8_t)i;
        dim[i] = onnx_size(g, a, perm[i]);
    }
    return relabel(g, a, label, rank, dim);
}

cr_ref onnx_swap(cr_graph *g, cr_ref a, unsigned i, unsigned k)
{
    unsigned perm[CR_MAX_RANK];
    for (unsigned t = 0; t < CR_MAX_RANK; t++) perm[t] = t == i ? k : t == k ? i : t;
    return onnx_permute(g, a, perm);
}

cr_ref onnx_stretch(cr_graph *g, cr_ref a, unsigned rank, const int64_t *dim)
{
    uint8_t label[CR_MAX_RANK];
    int64_t kept[CR_MAX_RANK];
    if (!valid(g, a)) return CR_NONE;
    unsigned of = cr_rank(g, a), n = 0;
    bool same = of == rank;
    for (unsigned i = 0; i < of; i++) {
        int64_t size = onnx_size(g, a, i);
        unsigned axis = rank - of + i;
        if (size != dim[axis]) same = false;
        if (size == 1 && dim[axis] != 1) continue; /* dropped, and made anew by the broadcast */
        label[n] = (uint8_t)axis;
        kept[n++] = size;
    }
    return same ? a : relabel(g, onnx_reshape(g, a, n, kept), label, rank, dim);
}

cr_ref onnx_stretch_like(cr_graph *g, cr_ref a, cr_ref shape_of)
{
    int64_t dim[CR_MAX_RANK];
    if (!valid(g, a) || !valid(g, shape_of)) return CR_NONE;
    onnx_shape(g, shape_of, dim);
    return onnx_stretch(g, a, cr_rank(g, shape_of), dim);
}

bool onnx_common(unsigned rank_a, const int64_t *a, unsigned rank_b, const int64_t *b, unsigned *rank, int64_t *dim)
{
    *rank = rank_a > rank_b ? rank_a : rank_b;
    for (unsigned i = 0; i < *rank; i++) {
        int64_t x = i + rank_a >= *rank ? a[i + rank_a - *rank] : 1,
                y = i + rank_b >= *rank ? b[i + rank_b - *rank] : 1;
        if (x != y && x != 1 && y != 1) return false;
        dim[i] = x == 1 ? y : x;
    }
    return true;
}

bool onnx_align(onnx_call *c, cr_ref *a, cr_ref *b)
{
    cr_graph *g = c->g;
    int64_t x[CR_MAX_RANK], y[CR_MAX_RANK], dim[CR_MAX_RANK];
    unsigned rank;
    if (!valid(g, *a) || !valid(g, *b)) return false;
    onnx_shape(g, *a, x);
    onnx_shape(g, *b, y);
    if (!onnx_common(cr_rank(g, *a), x, cr_rank(g, *b), y, &rank, dim)) {
        return onnx_fail(c, "shapes %s and %s do not broadcast", shape_text(g, *a, 0), shape_text(g, *b, 1));
    }
    *a = onnx_stretch(g, *a, rank, dim);
    *b = onnx_stretch(g, *b, rank, dim);
    return *a != CR_NONE && *b != CR_NONE;
}

cr_ref onnx_full(cr_graph *g, double v, unsigned rank, const int64_t *size)
{
    cr_dim dim[CR_MAX_RANK];
    dims_of(g, rank, size, dim);
    return cr_full(g, cr_const(g, v), rank, dim);
}

cr_ref onnx_like(cr_graph *g, double v, cr_ref shape_of)
{
    int64_t dim[CR_MAX_RANK];
    if (!valid(g, shape_of)) return CR_NONE;
    onnx_shape(g, shape_of, dim);
    return onnx_full(g, v, cr_rank(g, shape_of), dim);
}

cr_ref onnx_add_number(cr_graph *g, cr_ref a, double v) { return v == 0 ? a : cr_add(g, a, cr_const(g, v)); }
cr_ref onnx_times(cr_graph *g, cr_ref a, double v) { return v == 1 ? a : cr_mul(g, cr_const(g, v), a); }

cr_ref onnx_sum(cr_graph *g, cr_ref a, uint32_t axes, bool keep)
{
    uint8_t label[CR_MAX_RANK];
    int64_t dim[CR_MAX_RANK], left[CR_MAX_RANK];
    cr_ref in = onnx_number(g, a);
    if (!valid(g, in)) return CR_NONE;
    unsigned rank = cr_rank(g, in), n = 0;
    for (unsigned i = 0; i < rank; i++) {
        bool summed = axes >> i & 1;
        dim[i] = summed ? 1 : onnx_size(g, in, i);
        label[i] = (uint8_t)(summed ? CR_MAX_RANK + i : n);
        if (!summed) left[n++] = dim[i];
    }
    cr_ref s = axes ? relabel(g, in, label, n, left) : in;
    return keep ? onnx_reshape(g, s, rank, dim) : s;
}

cr_ref onnx_mean(cr_graph *g, cr_ref a, uint32_t axes, bool keep)
{
    double n = 1;
    if (!valid(g, a)) return CR_NONE;
    for (unsigned i = 0; i < cr_rank(g, a); i++) {
        if (axes >> i & 1) n *= (double)onnx_size(g, a, i);
    }
    return cr_div(g, onnx_sum(g, a, axes, keep), cr_const(g, n));
}

cr_ref onnx_reduce(cr_graph *g, cr_op op, cr_ref a, uint32_t axes, bool keep)
{
    unsigned perm[CR_MAX_RANK], n = 0;
    int64_t dim[CR_MAX_RANK];
    if (!valid(g, a)) return CR_NONE;
    unsigned rank = cr_rank(g, a), kept = 0;
    for (unsigned i = 0; i < rank; i++) {
        if (!(axes >> i & 1)) perm[n++] = i;
    }
    kept = n;
    for (unsigned i = 0; i < rank; i++) {
        if (axes >> i & 1) perm[n++] = i;
        dim[i] = axes >> i & 1 ? 1 : onnx_size(g, a, i);
    }
    cr_ref r = axes ? cr_reduce(g, op, onnx_permute(g, a, perm), kept) : a;
    return keep ? onnx_reshape(g, r, rank, dim) : r;
}

cr_ref onnx_cut(cr_graph *g, cr_ref a, unsigned axis, int64_t first, int64_t step, int64_t size)
{
    cr_dim from[CR_MAX_RANK], by[CR_MAX_RANK], to[CR_MAX_RANK];
    cr_ref in = onnx_number(g, a);
    if (!valid(g, in)) return CR_NONE;
    unsigned rank = cr_rank(g, in);
    if (step < 0) { /* entry first - k|step| of the axis: its index is one of the values that gather takes */
        cr_ref k = cr_iota(g, cr_dim_const(g, size));
        cr_ref index = onnx_add_number(g, onnx_times(g, k, (double)step), (double)(first + 1 - step));
        return back(g, a, cr_gather(g, in, index, axis));
    }
    for (unsigned i = 0; i < rank; i++) {
        from[i] = cr_dim_const(g, i == axis ? first : 0);
        by[i] = cr_dim_const(g, i == axis ? step : 1);
        to[i] = cr_dim_const(g, i == axis ? size : onnx_size(g, in, i));
    }
    return back(g, a, cr_slice(g, in, from, by, to));
}

cr_ref onnx_floor(cr_graph *g, cr_ref a) { return cr_sub(g, a, cr_map2(g, CR_OP_MOD, a, onnx_like(g, 1, a))); }

cr_ref onnx_trunc(cr_graph *g, cr_ref a)
{
    return cr_mul(g, cr_map(g, CR_OP_SIGN, a), onnx_floor(g, cr_map(g, CR_OP_ABS, a)));
}
