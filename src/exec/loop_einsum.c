/* Contractions of scalars and vectors as code: element-wise products, and inner products. */
#include "exec/loop_code.h"

enum { MAX_FACTORS = 16, MAX_LABELS = 64, NO_LABEL = -1 };

/* A contraction with those inside of it that hold deltas laid open: diag(v)*u is v .* u. */
typedef struct factors {
    cr_ref r[MAX_FACTORS];
    int label[MAX_FACTORS]; /* NO_LABEL: scalar */
    size_t n;
    int parent[MAX_LABELS]; /* of a label that a delta joins with another */
    int n_labels;
    bool delta[MAX_LABELS];
} factors;

static int root_label(const factors *f, int l)
{
    while (f->parent[l] != l) {
        l = f->parent[l];
    }
    return l;
}

static int new_label(factors *f)
{
    if (f->n_labels == MAX_LABELS) {
        return NO_LABEL;
    }
    f->parent[f->n_labels] = f->n_labels;
    return f->n_labels++;
}

static bool lay_open(const cr_graph *g, cr_ref r, const int *axis, factors *f, int depth)
{
    einsum_view v;
    int map[EINSUM_MAX_LABELS];
    einsum_read(g, r, &v);
    for (unsigned i = 0; i < v.n_labels; i++) {
        if ((map[i] = i < v.rank ? axis[i] : new_label(f)) == NO_LABEL) {
            return false;
        }
    }
    const uint32_t *l = v.labels;
    for (uint32_t i = 0; i < v.n; i++) {
        cr_ref o = v.operand[i];
        unsigned rank = shape_of(g, o)->rank;
        int at[CR_MAX_RANK];
        for (unsigned k = 0; k < rank; k++) {
            at[k] = map[l[k]];
        }
        l += rank;
        if (op_of(g, o) == CR_OP_IDENTITY) {
            f->parent[root_label(f, at[0])] = root_label(f, at[1]);
            f->delta[root_label(f, at[1])] = true;
        } else if (rank > 1) {
            if (op_of(g, o) != CR_OP_EINSUM || depth > 8 || !lay_open(g, o, at, f, depth + 1)) {
                return false;
            }
        } else if (f->n == MAX_FACTORS) {
            return false;
        } else {
            f->r[f->n] = o;
            f->label[f->n++] = rank ? at[0] : NO_LABEL;
        }
    }
    return true;
}

/* Product of the factors with that label, or (sum) its total: the last multiplication is a DOT then. */
static bool write_product(loop_writer *w, const factors *f, int label, bool sum, loop_value *v, loop_operand *out)
{
    loop_operand left = {0}, x;
    size_t last = 0;
    for (size_t i = 0; i < f->n; i++) {
        last = (f->label[i] == NO_LABEL ? NO_LABEL : root_label(f, f->label[i])) == label ? i + 1 : last;
    }
    for (size_t i = 0; i < last; i++) {
        if ((f->label[i] == NO_LABEL ? NO_LABEL : root_label(f, f->label[i])) != label) {
            continue;
        }
        if (!loop_write(w, f->r[i], v->lo, v->hi, &x)) {
            return false;
        }
        if (v->has_code) {
            continue;
        }
        bool end = sum && i + 1 == last;
        loop_value part = {0};
        if (left.w == 0 && !end) {
            left = x;
            continue;
        }
        if (left.w && left.w != x.w) {
            return false;
        }
        loop_code code = {.op = !end ? LOOP_MUL : left.w ? LOOP_DOT : LOOP_TOTAL, .a = left.w ? left : x};
        if (left.w) {
            code.b = x;
            if (end && (left.kind == LOOP_FIXED) != (x.kind == LOOP_FIXED) && left.kind == LOOP_FIXED) {
                code.a = x;
                code.b = left;
            }
        }
        if (!loop_put(w, &part, code, end ? 1 : x.w)) {
            return false;
        }
        left = part.at;
    }
    *out = left;
    return true;
}

bool loop_write_einsum(loop_writer *w, cr_ref r, loop_value *v, uint32_t width)
{
    cr_graph *g = w->room->g;
    factors f = {.n = 0};
    int axis[1] = {NO_LABEL}, out = NO_LABEL;
    if (shape_of(g, r)->rank == 1) {
        axis[0] = new_label(&f);
    }
    if (!lay_open(g, r, axis, &f, 0)) {
        return false;
    }
    if (shape_of(g, r)->rank == 1) {
        out = root_label(&f, axis[0]);
    }
    loop_operand all, x;
    bool used[MAX_LABELS] = {false};
    for (size_t i = 0; i < f.n; i++) {
        if (f.label[i] != NO_LABEL) {
            used[root_label(&f, f.label[i])] = true;
        }
    }
    if (!write_product(w, &f, NO_LABEL, false, v, &all)) {
        return false;
    }
    for (int l = 0; l < f.n_labels; l++) {
        if (root_label(&f, l) != l || (!used[l] && l == out)) {
            continue;
        }
        if (!used[l] || !write_product(w, &f, l, l != out, v, &x)) {
            return false;
        }
        if (v->has_code) {
            continue;
        }
        loop_value part = {0};
        if (all.w) {
            if (!loop_put(w, &part, (loop_code){.op = LOOP_MUL, .a = all, .b = x}, x.w > all.w ? x.w : all.w)) {
                return false;
            }
            x = part.at;
        }
        all = x;
    }
    if (v->has_code) {
        return true;
    }
    if (all.w == 0) {
        return false;
    }
    v->at = all;
    return all.w == width || loop_put(w, v, (loop_code){.op = LOOP_COPY, .a = all}, width);
}
