/* Products: of matrices, and every other one that an einsum is. */
#include "onnx/ops.h"

#include <string.h>

/* alpha A' B' + beta C */
static bool build_gemm(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref a = onnx_real(c, 0), b = onnx_real(c, 1);
    bool ta = onnx_attr_int(c, "transA", 0) != 0, tb = onnx_attr_int(c, "transB", 0) != 0;
    if (!valid(g, a) || !valid(g, b)) return false;
    if (cr_rank(g, a) != 2 || cr_rank(g, b) != 2) return onnx_fail(c, "its first two inputs have to be matrices");
    int64_t m = onnx_size(g, a, ta), k = onnx_size(g, a, !ta), n = onnx_size(g, b, !tb), dim[2] = {m, n};
    if (k != onnx_size(g, b, tb)) {
        return onnx_fail(c, "A is %s and B %s: their inner sizes differ", shape_text(g, a, 0), shape_text(g, b, 1));
    }
    uint8_t label[4] = {ta ? 2 : 0, ta ? 0 : 2, tb ? 1 : 2, tb ? 2 : 1};
    cr_ref y = cr_einsum(g, 2, (cr_ref[]){a, b}, label, 2, (cr_dim[]){cr_dim_const(g, m), cr_dim_const(g, n)});
    y = onnx_times(g, y, onnx_attr_float(c, "alpha", 1));
    if (onnx_has(c, 2)) {
        int64_t own[CR_MAX_RANK], both[CR_MAX_RANK];
        unsigned rank;
        cr_ref bias = onnx_real(c, 2);
        if (!valid(g, bias)) return false;
        onnx_shape(g, bias, own);
        if (!onnx_common(cr_rank(g, bias), own, 2, dim, &rank, both) || rank != 2 || both[0] != m || both[1] != n) {
            return onnx_fail(c, "C, %s, does not broadcast to %s", shape_text(g, bias, 0), shape_text(g, y, 1));
        }
        y = cr_add(g, y, onnx_stretch(g, onnx_times(g, bias, onnx_attr_float(c, "beta", 1)), 2, dim));
    }
    return onnx_out_like(c, y);
}

/* As numpy.matmul: vectors are rows or columns whose axis goes again; leading axes broadcast. CR_NONE: failed. */
static cr_ref matmul(onnx_call *c, cr_ref left_operand, cr_ref right_operand)
{
    cr_graph *g = c->g;
    cr_ref in[2] = {left_operand, right_operand};
    int64_t lead[2][CR_MAX_RANK], dim[CR_MAX_RANK];
    unsigned rank[2], n_lead[2], n;
    if (!valid(g, in[0]) || !valid(g, in[1])) return CR_NONE;
    for (int i = 0; i < 2; i++) {
        rank[i] = cr_rank(g, in[i]);
        if (rank[i] == 0) return onnx_fail(c, "a number is no matrix"), CR_NONE;
        n_lead[i] = rank[i] > 2 ? rank[i] - 2 : 0;
        for (unsigned k = 0; k < n_lead[i]; k++) lead[i][k] = onnx_size(g, in[i], k);
    }
    bool row = rank[0] == 1, column = rank[1] == 1;
    int64_t inner = onnx_size(g, in[0], rank[0] - 1);
    if (inner != onnx_size(g, in[1], column ? 0 : rank[1] - 2) ||
        !onnx_common(n_lead[0], lead[0], n_lead[1], lead[1], &n, dim)) {
        return onnx_fail(c, "%s times %s", shape_text(g, in[0], 0), shape_text(g, in[1], 1)), CR_NONE;
    }
    enum { INNER = CR_MAX_RANK };
    uint8_t label[2 * CR_MAX_RANK], *l = label;
    unsigned at = n;
    cr_dim size[CR_MAX_RANK];
    cr_ref operand[2];
    uint8_t left = 0, right = 0;
    if (!row) {
        dim[at] = onnx_size(g, in[0], rank[0] - 2);
        left = (uint8_t)at++;
    }
    if (!column) {
        dim[at] = onnx_size(g, in[1], rank[1] - 1);
        right = (uint8_t)at++;
    }
    /* A leading axis of size 1 that broadcasts is dropped: the other operand has its label. */
    for (int i = 0; i < 2; i++) {
        int64_t kept[CR_MAX_RANK];
        unsigned k = 0;
        for (unsigned a = 0; a < n_lead[i]; a++) {
            unsigned axis = n - n_lead[i] + a;
            if (lead[i][a] == 1 && dim[axis] != 1) continue;
            kept[k++] = lead[i][a];
            *l++ = (uint8_t)axis;
        }
        if (i == 0 && !row) {
            kept[k++] = dim[left];
            *l++ = left;
        }
        kept[k++] = inner;
        *l++ = INNER;
        if (i == 1 && !column) {
            kept[k++] = dim[right];
            *l++ = right;
        }
        operand[i] = onnx_reshape(g, in[i], k, kept);
    }
    for (unsigned i = 0; i < at; i++) size[i] = cr_dim_const(g, dim[i]);
    return cr_einsum(g, 2, operand, label, at, size);
}

static bool build_matmul(onnx_call *c) { return onnx_out_like(c, matmul(c, onnx_real(c, 0), onnx_real(c, 1))); }

/* Attention as exporters write it out, q k' with k turned already: softmax(scale q k + mask) v (recognise.c). */
static bool build_scaled_dot_product(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref s = onnx_times(g, matmul(c, onnx_real(c, 0), onnx_real(c, 1)), onnx_attr_float(c, "scale", 1));
    if (!valid(g, s)) return false;
    if (onnx_has(c, 3)) {
        cr_ref mask = onnx_real(c, 3);
        if (!onnx_align(c, &s, &mask)) return false;
        s = cr_add(g, s, mask);
    }
    cr_ref p = cr_softmax(g, s, cr_rank(g, s) - 1);
    if (onnx_attr_int(c, "nan_to_zero", 0)) p = cr_select(g, cr_map2(g, CR_OP_EQ, p, p), p, onnx_like(g, 0, p));
    return onnx_out_like(c, matmul(c, p, onnx_real(c, 2)));
}

/* ---- einsum -------------------------------------------------------------------------------------- */

enum { LETTERS = 52, MOST = 16 };

static int letter(char ch)
{
    return ch >= 'a' && ch <= 'z' ? ch - 'a' : ch >= 'A' && ch <= 'Z' ? 26 + ch - 'A' : -1;
}

/* One term of an equation: its letters, and where the ellipsis stands (-1: nowhere). */
typedef struct term {
    int letter[CR_MAX_RANK];
    unsigned n;
    int dots;
} term;

static bool read_term(onnx_call *c, const char *s, size_t n, term *t)
{
    *t = (term){.dots = -1};
    for (size_t i = 0; i < n; i++) {
        if (s[i] == ' ') continue;
        if (s[i] == '.' && i + 2 < n && s[i + 1] == '.' && s[i + 2] == '.' && t->dots < 0) {
            t->dots = (int)t->n;
            i += 2;
            continue;
        }
        if (letter(s[i]) < 0 || t->n == CR_MAX_RANK) return onnx_fail(c, "an equation with `%.*s` in it", (int)n, s);
        t->letter[t->n++] = letter(s[i]);
    }
    return true;
}

static bool build_einsum(onnx_call *c)
{
    cr_graph *g = c->g;
    const char *equation = onnx_attr_string(c, "equation", ""), *arrow = strstr(equation, "->"), *s = equation;
    size_t length = arrow ? (size_t)(arrow - equation) : strlen(equation);
    term in[MOST], out;
    unsigned n_dots = 0, seen[LETTERS] = {0};
    int64_t size[LETTERS], dots[CR_MAX_RANK];
    cr_ref x[MOST];
    if (c->n_in == 0 || c->n_in > MOST) return onnx_fail(c, "%u operands; up to %d are possible", c->n_in, MOST);
    for (int i = 0; i < LETTERS; i++) size[i] = 1;
    for (unsigned i = 0; i < c->n_in; i++) {
        size_t left = length - (size_t)(s - equation), n = 0;
        while (n < left && s[n] != ',') n++;
        x[i] = onnx_real(c, i);
        if (!valid(g, x[i]) || !read_term(c, s, n, &in[i])) return false;
        if ((n == left) != (i + 1 == c->n_in)) return onnx_fail(c, "the equation is not of %u operands", c->n_in);
        s += n + 1;
        unsigned rank = cr_rank(g, x[i]);
        if (in[i].n > rank || (in[i].dots < 0 && in[i].n != rank)) {
            return onnx_fail(c, "operand %u has %u axes, and its term %u letters", i + 1, rank, in[i].n);
        }
        unsigned extra = rank - in[i].n, before = in[i].dots < 0 ? in[i].n : (unsigned)in[i].dots;
        int64_t own[CR_MAX_RANK], both[CR_MAX_RANK];
        for (unsigned k = 0; k < extra; k++) own[k] = onnx_size(g, x[i], before + k);
        if (!onnx_common(n_dots, dots, extra, own, &n_dots, both))
            return onnx_fail(c, "axes under the ellipsis differ");
        memcpy(dots, both, sizeof dots);
        for (unsigned k = 0; k < in[i].n; k++) {
            int64_t d = onnx_size(g, x[i], k < before ? k : k + extra), *known = &size[in[i].letter[k]];
            if (d != 1 && *known != 1 && d != *known) return onnx_fail(c, "one letter for sizes that differ");
            if (d != 1) *known = d;
            seen[in[i].letter[k]]++;
        }
    }
    if (arrow) {
        if (!read_term(c, arrow + 2, strlen(arrow + 2), &out)) return false;
    } else { /* letters that stand once, in order, behind the ellipsis */
        out = (term){.dots = 0};
        for (int i = 26; i < 26 + LETTERS; i++) {
            if (seen[i % LETTERS] == 1) out.letter[out.n++] = i % LETTERS;
        }
    }
    uint8_t of[LETTERS], label[MOST * CR_MAX_RANK], *l = label;
    cr_dim dim[CR_MAX_RANK];
    unsigned rank = 0, dots_at = 0, summed = CR_MAX_RANK;
    bool has_dots = out.dots >= 0;
    for (int i = 0; i < LETTERS; i++) of[i] = UINT8_MAX;
    for (unsigned k = 0; k <= out.n; k++) {
        if (has_dots && out.dots == (int)k) {
            dots_at = rank;
            if (rank + n_dots > CR_MAX_RANK) return onnx_unsupported(c, "a result of more than %d axes", CR_MAX_RANK);
            for (unsigned d = 0; d < n_dots; d++) dim[rank++] = cr_dim_const(g, dots[d]);
        }
        if (k == out.n) break;
        if (of[out.letter[k]] != UINT8_MAX || !seen[out.letter[k]] || rank == CR_MAX_RANK) {
            return onnx_fail(c, "a letter of the result that stands in it twice, or in no operand");
        }
        of[out.letter[k]] = (uint8_t)rank;
        dim[rank++] = cr_dim_const(g, size[out.letter[k]]);
    }
    if (!has_dots) {
        dots_at = summed;
        summed += n_dots;
    }
    for (int i = 0; i < LETTERS; i++) {
        if (seen[i] && of[i] == UINT8_MAX) of[i] = (uint8_t)summed++;
    }
    if (summed > 64) return onnx_unsupported(c, "so many letters");
    for (unsigned i = 0; i < c->n_in; i++) {
        unsigned has = cr_rank(g, x[i]), extra = has - in[i].n,
                 before = in[i].dots < 0 ? in[i].n : (unsigned)in[i].dots, kept = 0;
        int64_t left[CR_MAX_RANK];
        for (unsigned k = 0; k < has; k++) {
            bool under = k >= before && k < before + extra;
            int64_t d = onnx_size(g, x[i], k);
            unsigned at = under ? n_dots - extra + (k - before) : 0;
            int letter_at = under ? 0 : in[i].letter[k < before ? k : k - extra];
            if (d == 1 && (under ? dots[at] : size[letter_at]) != 1) continue; /* broadcast */
            left[kept++] = d;
            *l++ = under ? (uint8_t)(dots_at + at) : of[letter_at];
        }
        x[i] = onnx_reshape(g, x[i], kept, left);
    }
    return onnx_out_like(c, cr_einsum(g, c->n_in, x, label, rank, dim));
}

/* One determinant for each matrix, which a one-hot vector selects. */
static bool build_det(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    if (!valid(g, x)) return false;
    unsigned rank = cr_rank(g, x);
    if (rank < 2 || onnx_size(g, x, rank - 1) != onnx_size(g, x, rank - 2)) {
        return onnx_fail(c, "its input has to be square matrices, not %s", shape_text(g, x, 0));
    }
    if (rank == 2) return onnx_out_like(c, cr_linalg(g, CR_OP_DET, x));
    int64_t dim[CR_MAX_RANK], flat[3] = {1, onnx_size(g, x, rank - 1), onnx_size(g, x, rank - 1)};
    onnx_shape(g, x, dim);
    for (unsigned i = 0; i + 2 < rank; i++) flat[0] *= dim[i];
    x = onnx_reshape(g, x, 3, flat);
    cr_dim i = cr_dim_symbol(g, "det#i"), count = cr_dim_const(g, flat[0]), n = cr_dim_const(g, flat[1]);
    cr_ref in[2] = {cr_onehot(g, i, count), x};
    cr_ref matrix = cr_einsum(g, 2, in, (uint8_t[]){2, 2, 0, 1}, 2, (cr_dim[]){n, n});
    cr_ref each = cr_bind(g, CR_BIND_STACK, "det#i", cr_dim_const(g, 1), count, cr_linalg(g, CR_OP_DET, matrix));
    return onnx_out_like(c, onnx_reshape(g, each, rank - 2, dim));
}

const onnx_op onnx_ops_product[] = {
    OP("Det", build_det),
    OP("Einsum", build_einsum),
    OP("Gemm", build_gemm),
    OP("MatMul", build_matmul),
    OP_OF("chainrule", "ScaledDotProduct", build_scaled_dot_product, 0),
    OP(NULL, NULL),
};
