/* einsum in NumPy: indexing for e(i,n), `@` for contractions, `*` element by element; np.einsum for what is left.
 * Deltas select, they never multiply: 0 * inf does not appear. */
#include "lang/numpy.h"

#include <string.h>

typedef struct item {
    py_text t;
    unsigned rank;
    uint8_t label[CR_MAX_RANK];
} item;

typedef struct work {
    py *w;
    unsigned n, n_out;
    item it[EINSUM_MAX_LABELS];
    uint8_t out[CR_MAX_RANK];
    cr_dim size[EINSUM_MAX_LABELS];
} work;

static bool is_out(const work *k, unsigned l)
{
    for (unsigned i = 0; i < k->n_out; i++)
        if (k->out[i] == l) return true;
    return false;
}

static bool has(const item *t, unsigned l)
{
    for (unsigned i = 0; i < t->rank; i++)
        if (t->label[i] == l) return true;
    return false;
}

static unsigned carriers(const work *k, unsigned l)
{
    unsigned n = 0;
    for (unsigned i = 0; i < k->n; i++) n += has(&k->it[i], l);
    return n;
}

static void drop(work *k, unsigned i)
{
    k->n--;
    memmove(k->it + i, k->it + i + 1, (k->n - i) * sizeof k->it[0]);
}

static bool summed_in_two(const work *k, unsigned l) { return !is_out(k, l) && carriers(k, l) == 2; }

static void set(item *t, const char *s, unsigned prec, unsigned rank, unsigned a, unsigned b)
{
    t->t = py_make(s, prec, true);
    t->rank = rank;
    t->label[0] = (uint8_t)a;
    t->label[1] = (uint8_t)b;
}

static const char *transposed(work *k, const item *t) { return py_format(k->w, "%s.T", py_in(k->w, t->t, PY_ATOM)); }

/* Each step returns true if it did something. */

static bool repeated(work *k)
{
    for (unsigned i = 0; i < k->n; i++) {
        item *t = &k->it[i];
        if (t->rank != 2 || t->label[0] != t->label[1]) continue;
        unsigned l = t->label[0];
        if (!is_out(k, l) && carriers(k, l) == 1) set(t, py_format(k->w, "np.trace(%s)", t->t.s), PY_ATOM, 0, 0, 0);
        else set(t, py_format(k->w, "np.diagonal(%s)", t->t.s), PY_ATOM, 1, l, 0);
        return true;
    }
    return false;
}

/* A @ v and u @ v */
static bool vectors_first(work *k)
{
    for (unsigned i = 0; i < k->n; i++) {
        item *v = &k->it[i];
        if (v->rank != 1 || !summed_in_two(k, v->label[0])) continue;
        unsigned l = v->label[0];
        for (unsigned j = 0; j < k->n; j++) {
            item *a = &k->it[j];
            if (i == j || !has(a, l) || a->rank > 2) continue;
            const char *right = py_in(k->w, v->t, PY_NEG);
            if (a->rank == 1) {
                bool swap = j > i;
                const char *x = py_in(k->w, swap ? v->t : a->t, PY_MUL), *y = py_in(k->w, swap ? a->t : v->t, PY_NEG);
                set(a, py_format(k->w, "%s @ %s", x, y), PY_MUL, 0, 0, 0);
            } else if (a->label[1] == l) {
                set(a, py_format(k->w, "%s @ %s", py_in(k->w, a->t, PY_MUL), right), PY_MUL, 1, a->label[0], 0);
            } else {
                set(a, py_format(k->w, "%s @ %s", transposed(k, a), right), PY_MUL, 1, a->label[1], 0);
            }
            drop(k, i);
            return true;
        }
    }
    return false;
}

/* Element by element, where the labels are the same and still needed. */
static bool elementwise(work *k)
{
    for (unsigned i = 0; i < k->n; i++)
        for (unsigned j = i + 1; j < k->n; j++) {
            item *a = &k->it[i], *b = &k->it[j];
            if (a->rank != b->rank || a->rank == 0) continue;
            bool same = !memcmp(a->label, b->label, a->rank),
                 turned = a->rank == 2 && a->label[0] == b->label[1] && a->label[1] == b->label[0];
            if (!same && !turned) continue;
            const char *right = same ? py_in(k->w, b->t, PY_NEG) : transposed(k, b);
            a->t = py_make(py_format(k->w, "%s * %s", py_in(k->w, a->t, PY_MUL), right), PY_MUL, true);
            drop(k, j);
            return true;
        }
    return false;
}

/* A label that one operand has, and that is summed. */
static bool sum_out(work *k)
{
    for (unsigned i = 0; i < k->n; i++) {
        item *t = &k->it[i];
        char axes[4 * CR_MAX_RANK + 1] = "";
        unsigned left = 0, gone = 0;
        uint8_t rest[CR_MAX_RANK];
        for (unsigned a = 0; a < t->rank; a++) {
            unsigned times = 0;
            for (unsigned b = 0; b < t->rank; b++) times += t->label[a] == t->label[b];
            if (times > 1) return false;
            if (is_out(k, t->label[a]) || carriers(k, t->label[a]) > 1) rest[left++] = t->label[a];
            else {
                char one[8];
                unsigned n = 0;
                if (gone++) one[n++] = ',', one[n++] = ' ';
                if (a >= 10) one[n++] = '1';
                one[n++] = (char)('0' + a % 10);
                one[n] = '\0';
                strcat(axes, one);
            }
        }
        if (!gone) continue;
        const char *s = left == 0   ? py_format(k->w, "np.sum(%s)", t->t.s)
                        : gone == 1 ? py_format(k->w, "np.sum(%s, axis=%s)", t->t.s, axes)
                                    : py_format(k->w, "np.sum(%s, axis=(%s))", t->t.s, axes);
        t->t = py_make(s, PY_ATOM, true);
        t->rank = left;
        memcpy(t->label, rest, left);
        return true;
    }
    return false;
}

static bool matrices(work *k)
{
    for (unsigned i = 0; i < k->n; i++)
        for (unsigned j = i + 1; j < k->n; j++) {
            item *a = &k->it[i], *b = &k->it[j];
            if (a->rank != 2 || b->rank != 2) continue;
            for (unsigned s = 0; s < 2; s++) {
                unsigned l = a->label[s];
                if (!summed_in_two(k, l) || !has(b, l) || a->label[0] == a->label[1] || b->label[0] == b->label[1])
                    continue;
                if (s == 0 && b->label[1] == l) { /* b @ a */
                    item swap = *a;
                    *a = *b;
                    *b = swap;
                }
                const char *x = a->label[1] == l ? py_in(k->w, a->t, PY_MUL) : transposed(k, a);
                const char *y = b->label[0] == l ? py_in(k->w, b->t, PY_NEG) : transposed(k, b);
                set(a, py_format(k->w, "%s @ %s", x, y), PY_MUL, 2, a->label[0] == l ? a->label[1] : a->label[0],
                    b->label[0] == l ? b->label[1] : b->label[0]);
                drop(k, j);
                return true;
            }
        }
    return false;
}

/* Rows or columns of a matrix times a vector. */
static bool scale(work *k)
{
    for (unsigned i = 0; i < k->n; i++)
        for (unsigned j = 0; j < k->n; j++) {
            item *v = &k->it[i], *a = &k->it[j];
            if (v->rank != 1 || a->rank != 2 || !has(a, v->label[0])) continue;
            bool rows = a->label[0] == v->label[0];
            const char *s =
                rows ? py_format(k->w, "%s[:, None] * %s", py_in(k->w, v->t, PY_ATOM), py_in(k->w, a->t, PY_NEG))
                     : py_format(k->w, "%s * %s", py_in(k->w, a->t, PY_MUL), py_in(k->w, v->t, PY_NEG));
            a->t = py_make(s, PY_MUL, true);
            drop(k, i);
            return true;
        }
    return false;
}

static char letter(unsigned l) { return (char)(l < 26 ? 'a' + l : 'A' + (l - 26) % 26); }

/* What is left, as one np.einsum; result labels that nobody has are left out. */
static void general(work *k)
{
    char spec[EINSUM_MAX_LABELS * 3 + CR_MAX_RANK * 2 + 8];
    unsigned n = 0, kept = 0;
    strbuf b;
    sb_init(&b);
    uint8_t out[CR_MAX_RANK];
    bool plain = true;
    for (unsigned i = 0; i < k->n; i++) {
        if (i) spec[n++] = ',';
        for (unsigned a = 0; a < k->it[i].rank && n < sizeof spec - 2 * CR_MAX_RANK - 6; a++)
            spec[n++] = letter(k->it[i].label[a]);
        sb_printf(&b, ", %s", k->it[i].t.s ? k->it[i].t.s : "");
    }
    spec[n++] = '-';
    spec[n++] = '>';
    for (unsigned i = 0; i < k->n_out; i++)
        if (carriers(k, k->out[i])) {
            out[kept++] = k->out[i];
            spec[n++] = letter(k->out[i]);
        }
    spec[n] = '\0';
    plain = k->n <= 2;
    const char *s = py_format(k->w, "np.einsum(\"%s\"%s%s)", spec, sb_str(&b), plain ? "" : ", optimize=True");
    sb_free(&b);
    k->n = 1;
    k->it[0].t = py_make(s, PY_ATOM, true);
    k->it[0].rank = kept;
    memcpy(k->it[0].label, out, kept);
}

/* The items as one with the result's labels in order, save those that nobody has. */
static void contract(work *k)
{
    static bool (*const step[])(work *) = {repeated, vectors_first, elementwise, sum_out, matrices, scale};
    for (size_t s = 0; s < sizeof step / sizeof *step && !pr_failed(&k->w->p);) s = step[s](k) ? 0 : s + 1;
    /* scalars that came out of contractions: to the front */
    strbuf scalars;
    sb_init(&scalars);
    for (unsigned i = 0; i < k->n;) {
        if (k->it[i].rank || k->n == 1) {
            i++;
            continue;
        }
        sb_printf(&scalars, "%s * ", py_in(k->w, k->it[i].t, PY_NEG));
        drop(k, i);
    }
    if (k->n == 2 && k->it[0].rank == 1 && k->it[1].rank == 1 && k->n_out >= 2) {
        item *u = &k->it[0], *v = &k->it[1];
        bool swap = false;
        for (unsigned i = 0; i < k->n_out; i++)
            if (k->out[i] == v->label[0]) { swap = true; break; } else if (k->out[i] == u->label[0]) break;
        if (u->label[0] != v->label[0]) {
            set(u, py_format(k->w, "np.outer(%s, %s)", swap ? v->t.s : u->t.s, swap ? u->t.s : v->t.s), PY_ATOM, 2,
                swap ? v->label[0] : u->label[0], swap ? u->label[0] : v->label[0]);
            drop(k, 1);
        }
    }
    if (k->n > 1) general(k);
    if (k->n == 1 && k->it[0].rank) {
        item *t = &k->it[0];
        unsigned at = 0;
        bool order = true;
        for (unsigned i = 0; i < k->n_out; i++)
            if (has(t, k->out[i])) order = order && at < t->rank && t->label[at++] == k->out[i];
        if (at != t->rank || !order) {
            if (t->rank == 2 && t->label[0] != t->label[1])
                set(t, transposed(k, t), PY_ATOM, 2, t->label[1], t->label[0]);
            else general(k);
        }
    }
    if (scalars.n && k->n == 1) {
        const char *s = py_format(k->w, "%s%s", sb_str(&scalars), py_in(k->w, k->it[0].t, PY_NEG));
        k->it[0].t = py_make(s, PY_MUL, true);
    }
    sb_free(&scalars);
}

/* ---- scalars ----------------------------------------------------------------------------------- */

typedef struct factors {
    double number;
    strbuf num, den;
    unsigned n_num, n_den;
} factors;

static void factor(py *w, factors *f, cr_ref r)
{
    double c;
    if (op_of(w->g, r) == CR_OP_CONST) {
        double v = attr_double(w->g, r, 0);
        if (f->number * v == -v || f->number == 1) {
            f->number *= v;
            return;
        }
    }
    if (op_of(w->g, r) == CR_OP_POW && w->text[r].prec != PY_ATOM && is_const(w->g, in_of(w->g, r, 1), &c) && c == -1) {
        sb_printf(&f->den, "%s%s", f->n_den++ ? " * " : "", py_in(w, py_value(w, in_of(w->g, r, 0)), PY_NEG));
        return;
    }
    sb_printf(&f->num, "%s%s", f->n_num++ ? " * " : "", py_in(w, py_value(w, r), PY_NEG));
}

/* number * num * tensor / den */
static py_text multiply(py *w, factors *f, const item *tensor)
{
    strbuf b;
    sb_init(&b);
    unsigned prec = PY_ATOM, n = 0, np;
    bool negative = f->number < 0, full = tensor != NULL;
    double c = negative ? -f->number : f->number;
    if (c != 1 || (f->n_num == 0 && !tensor)) {
        sb_puts(&b, py_number(w, c, &np));
        n++;
    }
    if (f->n_num) {
        sb_printf(&b, "%s%s", n ? " * " : "", sb_str(&f->num));
        n += f->n_num;
    }
    if (tensor) {
        sb_printf(&b, "%s%s", n ? " * " : "",
                  py_in(w, tensor->t,
                        n          ? PY_NEG
                        : f->n_den ? PY_MUL
                        : negative ? PY_MUL
                                   : PY_ANY));
        if (!n && !negative && !f->n_den) prec = tensor->t.prec;
        n++;
    }
    if (n > 1 || f->n_den) prec = PY_MUL;
    else if (!tensor && f->n_num == 1) prec = PY_NEG;
    if (f->n_den) sb_printf(&b, f->n_den > 1 ? " / (%s)" : " / %s", sb_str(&f->den));
    if (negative) prec = PY_MUL;
    const char *s = py_format(w, negative ? "-%s" : "%s", sb_str(&b));
    if (b.status != CR_OK || f->num.status != CR_OK || f->den.status != CR_OK)
        pr_fail(&w->p, CR_ENOMEM, "out of memory");
    sb_free(&b);
    return py_make(s, prec, full);
}

/* ---- deltas ------------------------------------------------------------------------------------ */

typedef struct delta { /* a result axis that only a delta has */
    uint8_t axis, with; /* 255: e(index, n) */
    cr_dim index;
} delta;

py_text py_einsum(py *w, cr_ref r)
{
    cr_graph *g = w->g;
    einsum_view v;
    einsum_read(g, r, &v);
    if (v.n > EINSUM_MAX_LABELS)
        return pr_fail(&w->p, CR_ELIMIT, "a product of too many factors to print"), (py_text){0};
    work *k = arena_alloc(&w->p.mem, sizeof *k);
    if (!k) return pr_fail(&w->p, CR_ENOMEM, "out of memory"), (py_text){0};
    *k = (work){.w = w};
    memcpy(k->size, v.size, sizeof k->size);
    factors f = {.number = 1};
    sb_init(&f.num);
    sb_init(&f.den);
    cr_dim at[EINSUM_MAX_LABELS] = {0}; /* index of a selected label */
    uint8_t same[EINSUM_MAX_LABELS];    /* label that stands for it */
    delta removed[CR_MAX_RANK];
    unsigned n_removed = 0;
    strbuf guard;
    sb_init(&guard);
    for (unsigned l = 0; l < EINSUM_MAX_LABELS; l++) same[l] = (uint8_t)l;
    const uint32_t *label[EINSUM_MAX_LABELS], *l0 = v.labels;
    for (uint32_t i = 0; i < v.n; i++) {
        label[i] = l0;
        l0 += shape_of(g, v.operand[i])->rank;
    }
    for (uint32_t i = 0; i < v.n; i++) { /* identities first: they only rename */
        if (op_of(g, v.operand[i]) != CR_OP_IDENTITY) continue;
        uint8_t a = same[label[i][0]], b = same[label[i][1]];
        if (a == b) continue;
        uint8_t keep = a < b ? a : b, gone = a < b ? b : a;
        if (gone < v.rank) removed[n_removed++] = (delta){gone, keep, 0};
        for (unsigned l = 0; l < EINSUM_MAX_LABELS; l++)
            if (same[l] == gone) same[l] = keep;
    }
    for (uint32_t i = 0; i < v.n; i++) {
        if (op_of(g, v.operand[i]) != CR_OP_ONEHOT) continue;
        uint8_t l = same[label[i][0]];
        cr_dim d = attr_of(g, v.operand[i], 0);
        unsigned p1, p2;
        if (at[l]) sb_printf(&guard, "%s%s == %s", guard.n ? " and " : "", py_dim(w, at[l], &p1), py_dim(w, d, &p2));
        else {
            at[l] = d;
            if (l < v.rank) removed[n_removed++] = (delta){l, 255, d};
        }
    }
    for (unsigned a = 0; a < v.rank; a++) {
        bool gone = false;
        for (unsigned i = 0; i < n_removed; i++) gone = gone || removed[i].axis == a;
        if (!gone) k->out[k->n_out++] = (uint8_t)a;
    }
    for (uint32_t i = 0; i < v.n; i++) {
        cr_ref o = v.operand[i];
        cr_op op = op_of(g, o);
        const cr_shape *s = shape_of(g, o);
        if (op == CR_OP_IDENTITY || op == CR_OP_ONEHOT) continue;
        if (s->rank == 0) {
            factor(w, &f, o);
            continue;
        }
        item *t = &k->it[k->n++];
        unsigned selected = 0;
        strbuf index;
        sb_init(&index);
        t->rank = 0;
        for (unsigned a = 0; a < s->rank; a++) {
            uint8_t l = same[label[i][a]];
            if (a) sb_puts(&index, ", ");
            if (at[l]) {
                sb_puts(&index, py_at(w, at[l], v.size[label[i][a]]));
                selected++;
            } else {
                sb_puts(&index, ":");
                t->label[t->rank++] = l;
            }
        }
        if (selected) t->t = py_make(py_format(w, "%s[%s]", py_whole(w, o, PY_ATOM), sb_str(&index)), PY_ATOM, true);
        else t->t = py_make(py_whole(w, o, PY_ANY), w->text[o].full ? w->text[o].prec : PY_ATOM, true);
        sb_free(&index);
    }
    py_text out;
    if (k->n) {
        contract(k);
        out = multiply(w, &f, &k->it[0]);
        out.full = true;
    } else {
        out = multiply(w, &f, NULL);
        k->it[0].rank = 0;
    }
    if (!k->n && v.rank == 2 && n_removed == 1 && removed[0].with != 255 && !f.n_num && !f.n_den) {
        unsigned prec; /* a number times the identity */
        const char *eye = py_format(w, "np.eye(%s)", py_dim(w, v.size[0], &prec));
        out = f.number == 1 ? py_make(eye, PY_ATOM, true)
                            : py_make(py_format(w, "%s * %s", py_in(w, out, PY_MUL), eye), PY_MUL, true);
        n_removed = 0;
        k->n_out = 0;
    }
    /* result axes that nobody has: broadcast */
    unsigned carried = k->n ? k->it[0].rank : 0;
    if (carried < k->n_out) {
        if (carried == 0 && n_removed == 0) {
            out.full = false;
        } else {
            cr_dim dim[CR_MAX_RANK];
            strbuf index;
            sb_init(&index);
            for (unsigned i = 0; i < k->n_out; i++) {
                dim[i] = v.size[k->out[i]];
                sb_printf(&index, "%s%s", i ? ", " : "", k->n && has(&k->it[0], k->out[i]) ? ":" : "None");
            }
            const char *shape = py_shape(w, k->n_out, dim);
            if (carried)
                out =
                    py_make(py_format(w, "np.broadcast_to(%s[%s], %s)", py_in(w, out, PY_ATOM), sb_str(&index), shape),
                            PY_ATOM, true);
            else out = py_make(py_format(w, "np.broadcast_to(%s, %s)", out.s, shape), PY_ATOM, true);
            sb_free(&index);
        }
    }
    for (unsigned axis = 0; axis < v.rank; axis++) /* ascending, so that each axis is put in its final place */
        for (unsigned i = 0; i < n_removed; i++) {
            if (removed[i].axis != axis) continue;
            if (removed[i].with == 255) {
                unsigned prec;
                const char *position = py_at(w, removed[i].index, v.size[axis]);
                out = py_make(py_format(w, "%s(%s, %u, %s, %s)", py_use(w, PY_PLACE), out.s, axis, position,
                                        py_dim(w, v.size[axis], &prec)),
                              PY_ATOM, true);
            } else {
                out = py_make(
                    py_format(w, "%s(%s, %u, %u)", py_use(w, PY_DIAGONAL), out.s, (unsigned)removed[i].with, axis),
                    PY_ATOM, true);
            }
        }
    if (guard.n) out = py_make(py_format(w, "np.where(%s, %s, 0.0)", sb_str(&guard), out.s), PY_ATOM, out.full);
    if (v.rank == 0) out.full = true;
    sb_free(&f.num);
    sb_free(&f.den);
    sb_free(&guard);
    return out;
}
