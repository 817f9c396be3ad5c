/* einsum in C: loops over its labels. Deltas select, they never multiply: an identity makes two labels one, e(i,n)
 * gives a label its place, and what that leaves out is 0 without a look at the other factors. Where two of several
 * operands can be contracted in a smaller space than all of them together, that is done first. */
#include "lang/cemit.h"

#include <string.h>

typedef struct item { /* an operand, or an array that was made of some of them */
    cr_ref r;          /* CR_NONE: the latter */
    const char *array;
    unsigned rank;
    uint8_t label[CR_MAX_RANK];
} item;

typedef struct contraction {
    ce *w;
    unsigned n, rank; /* items; axes of the result */
    item it[EINSUM_MAX_LABELS];
    cr_ref number[EINSUM_MAX_LABELS]; /* scalar operands */
    unsigned n_numbers;
    uint8_t same[EINSUM_MAX_LABELS]; /* label that stands for it */
    cr_dim size[EINSUM_MAX_LABELS];
    cr_dim at[EINSUM_MAX_LABELS]; /* place of a label, from 0; 0: it runs */
    bool guarded[EINSUM_MAX_LABELS]; /* that place */
    cr_dim equal[2 * EINSUM_MAX_LABELS]; /* pairs of places that must be one */
    unsigned n_equal, n_labels;
    uint64_t idle; /* labels that are summed though no operand has them */
} contraction;

static bool is_out(const contraction *k, unsigned l)
{
    for (unsigned a = 0; a < k->rank; a++)
        if (k->same[a] == l) return true;
    return false;
}

static bool is_summed(const contraction *k, unsigned l)
{
    return k->same[l] == l && l >= k->rank && !k->at[l] && !is_out(k, l);
}

static bool has(const item *t, unsigned l)
{
    for (unsigned a = 0; a < t->rank; a++)
        if (t->label[a] == l) return true;
    return false;
}

static bool read(ce *w, cr_ref r, contraction *k)
{
    cr_graph *g = w->g;
    einsum_view v;
    einsum_read(g, r, &v);
    if (v.n > EINSUM_MAX_LABELS) return ce_fail(w, CR_ELIMIT, "a product of too many factors to print"), false;
    memset(k, 0, sizeof *k);
    k->w = w;
    k->rank = v.rank;
    k->n_labels = v.n_labels > v.rank ? v.n_labels : v.rank;
    for (unsigned l = 0; l < EINSUM_MAX_LABELS; l++) k->same[l] = (uint8_t)l, k->size[l] = v.size[l];
    const uint32_t *label = v.labels;
    for (uint32_t i = 0; i < v.n; label += shape_of(g, v.operand[i++])->rank) { /* they only rename */
        if (op_of(g, v.operand[i]) != CR_OP_IDENTITY) continue;
        uint8_t a = k->same[label[0]], b = k->same[label[1]], keep = a < b ? a : b, gone = a < b ? b : a;
        for (unsigned l = 0; l < EINSUM_MAX_LABELS; l++)
            if (k->same[l] == gone) k->same[l] = keep;
    }
    label = v.labels;
    for (uint32_t i = 0; i < v.n; label += shape_of(g, v.operand[i++])->rank) {
        cr_ref o = v.operand[i];
        unsigned rank = shape_of(g, o)->rank;
        if (op_of(g, o) != CR_OP_IDENTITY && op_of(g, o) != CR_OP_ONEHOT) {
            if (rank == 0) {
                k->number[k->n_numbers++] = o;
                continue;
            }
            item *t = &k->it[k->n++];
            t->r = o;
            t->rank = rank;
            for (unsigned a = 0; a < rank; a++) t->label[a] = k->same[label[a]];
        } else if (op_of(g, o) == CR_OP_ONEHOT) {
            uint8_t l = k->same[label[0]];
            cr_dim d = dim_sub(g->dims, attr_of(g, o, 0), dim_const(g->dims, 1));
            if (!d) return false;
            if (k->at[l] && k->at[l] != d) k->equal[k->n_equal++] = k->at[l], k->equal[k->n_equal++] = d;
            else k->at[l] = d, k->guarded[l] = w->guarded[o];
        }
    }
    for (unsigned l = k->rank; l < k->n_labels; l++) {
        bool carried = !is_summed(k, l);
        for (unsigned i = 0; i < k->n && !carried; i++) carried = has(&k->it[i], l);
        if (!carried) k->idle |= 1ull << l;
    }
    return true;
}

bool ce_einsum_sums(ce *w, cr_ref r)
{
    contraction k;
    if (!read(w, r, &k)) return false;
    for (unsigned l = k.rank; l < k.n_labels; l++)
        for (unsigned i = 0; i < k.n && is_summed(&k, l); i++)
            if (has(&k.it[i], l)) return true;
    return false;
}

unsigned ce_einsum_loops(ce *w, cr_ref r)
{
    contraction k;
    unsigned n = 0;
    if (!read(w, r, &k)) return 0;
    for (unsigned l = 0; l < k.n_labels; l++) n += k.same[l] == l && !k.at[l] && (is_out(&k, l) || is_summed(&k, l));
    return n;
}

unsigned ce_einsum_arrays(ce *w, cr_ref r, cr_ref *last)
{
    contraction k;
    if (!read(w, r, &k)) return 0;
    for (unsigned i = 0; i < k.n; i++) *last = k.it[i].r;
    return k.n;
}

/* How many items have the label last, less those that have it elsewhere: it should be the innermost loop. */
static int contiguous(const contraction *k, unsigned l)
{
    int n = 0;
    for (unsigned i = 0; i < k->n; i++)
        if (has(&k->it[i], l)) n += k->it[i].rank && k->it[i].label[k->it[i].rank - 1] == l ? 1 : -1;
    return n;
}

static uint64_t labels_of(const item *t)
{
    uint64_t set = 0;
    for (unsigned a = 0; a < t->rank; a++) set |= 1ull << t->label[a];
    return set;
}

static uint64_t summed(const contraction *k)
{
    uint64_t set = 0;
    for (unsigned i = 0; i < k->n; i++) set |= labels_of(&k->it[i]);
    for (unsigned l = 0; l < k->n_labels; l++)
        if (!is_summed(k, l)) set &= ~(1ull << l);
    return set;
}

/* Is the last axis of the result the best innermost loop, and could it be? */
static bool goes_by_rows(const contraction *k)
{
    uint64_t sum = summed(k);
    int inner = -EINSUM_MAX_LABELS;
    if (!sum || k->n_equal || k->rank == 0) return false;
    for (unsigned l = 0; l < k->n_labels; l++) {
        if (k->at[l] || (l < k->rank && k->same[l] != l)) return false;
        if (sum >> l & 1) inner = contiguous(k, l);
    }
    return contiguous(k, k->rank - 1) > inner;
}

bool ce_einsum_fuses(ce *w, cr_ref r)
{
    contraction k;
    return read(w, r, &k) && k.n <= 2 && !goes_by_rows(&k);
}

/* ---- products ---------------------------------------------------------------------------------- */

typedef struct factors {
    double number;
    strbuf num, den;
    ce_text only; /* the one factor, so far */
} factors;

static void multiply(ce *w, factors *f, cr_ref r, ce_text t)
{
    cr_graph *g = w->g;
    double c;
    if (!t.s) return;
    if (r && is_scalar(g, r) && is_const(g, r, &c) && (c == -1 || f->number == 1 || f->number == -1)) {
        f->number *= c;
        return;
    }
    bool fraction = r && op_of(g, r) == CR_OP_POW && !strncmp(t.s, "1.0 / ", 6) && t.prec == CE_MUL;
    f->only = f->num.n || f->den.n ? (ce_text){0} : t;
    if (fraction) sb_printf(&f->den, " / %s", t.s + 6);
    else if (f->num.n) sb_printf(&f->num, " * %s", ce_in(w, t, CE_UNARY));
    else sb_puts(&f->num, ce_in(w, t, t.s[0] == '-' ? CE_ATOM : CE_MUL));
}

/* number * num / den */
static ce_text product(ce *w, factors *f)
{
    double c = f->number < 0 ? -f->number : f->number;
    bool alone = f->number == 1 && f->only.s;
    const char *lead = c != 1 || !f->num.n ? ce_number(w, c).s : "";
    const char *s = ce_format(w, "%s%s%s%s%s", f->number < 0 ? "-" : "", lead, *lead && f->num.n ? " * " : "",
                              sb_str(&f->num), sb_str(&f->den));
    if (f->num.status || f->den.status) ce_fail(w, CR_ENOMEM, "out of memory");
    sb_free(&f->num);
    sb_free(&f->den);
    if (alone) return f->only;
    bool atom = *lead && !*sb_str(&f->num) && f->number >= 0 && !strpbrk(s, " ");
    return ce_make(s, atom ? CE_ATOM : CE_MUL);
}

static factors factors_new(void)
{
    factors f = {.number = 1};
    sb_init(&f.num);
    sb_init(&f.den);
    return f;
}

static ce_text item_entry(contraction *k, const item *t, const ce_text *place)
{
    ce *w = k->w;
    ce_text index[CR_MAX_RANK];
    cr_dim size[CR_MAX_RANK];
    for (unsigned a = 0; a < t->rank; a++) {
        index[a] = place[t->label[a]];
        size[a] = k->size[t->label[a]];
    }
    if (t->r) return ce_entry(w, t->r, index);
    const char *at = t->rank ? ce_in(w, ce_flat(w, t->rank, size, index), CE_ANY) : "0";
    return ce_make(ce_format(w, "%s[%s]", t->array, at), CE_ATOM);
}

/* Numbers, and sizes of idle labels. */
static void numbers(contraction *k, factors *f)
{
    ce *w = k->w;
    for (unsigned i = 0; i < k->n_numbers; i++) multiply(w, f, k->number[i], ce_scalar(w, k->number[i]));
    for (unsigned l = k->rank; l < k->n_labels; l++)
        if (k->idle >> l & 1)
            multiply(w, f, 0, ce_make(ce_format(w, "(double)%s", ce_dim_in(w, k->size[l], CE_ATOM)), CE_UNARY));
}

static void both_equal(ce *w, strbuf *b, ce_text x, ce_text y)
{
    const char *s = ce_in(w, x, CE_ADD), *t = ce_in(w, y, CE_ADD);
    if (strcmp(s, t) != 0) sb_printf(b, "%s%s == %s", b->n ? " && " : "", s, t);
}

/* The places of labels, for an entry of the result; what must hold for it not to be 0 (NULL: nothing), and to be in
 * range (NULL: it is). */
static void find_places(contraction *k, const ce_text *index, ce_text *place, const char **nonzero, const char **check)
{
    ce *w = k->w;
    cr_graph *g = w->g;
    strbuf b, c;
    sb_init(&b);
    sb_init(&c);
    memset(place, 0, EINSUM_MAX_LABELS * sizeof *place);
    for (unsigned a = 0; a < k->rank; a++) {
        unsigned l = k->same[a];
        if (!place[l].s) place[l] = index[a];
        else both_equal(w, &b, place[l], index[a]);
    }
    for (unsigned l = 0; l < k->n_labels; l++) {
        if (!k->at[l] || k->same[l] != l) continue;
        ce_text at = ce_dim(w, k->at[l]);
        if (place[l].s) {
            both_equal(w, &b, place[l], at);
            continue;
        }
        cr_dim room[2] = {k->at[l], dim_sub(g->dims, dim_sub(g->dims, k->size[l], dim_const(g->dims, 1)), k->at[l])};
        const char *s = ce_check(w, k->guarded[l], 2, room);
        if (s) sb_printf(&c, "%s%s", c.n ? " && " : "", s);
        place[l] = at;
    }
    for (unsigned i = 0; i < k->n_equal; i += 2) { /* as the user counts */
        cr_dim one = dim_const(g->dims, 1), x = dim_add(g->dims, k->equal[i], one);
        cr_dim y = dim_add(g->dims, k->equal[i + 1], one);
        bool number = dim_value(g->dims, x, &(int64_t){0});
        both_equal(w, &b, ce_dim(w, number ? y : x), ce_dim(w, number ? x : y));
    }
    *nonzero = b.n ? ce_format(w, "%s", sb_str(&b)) : NULL;
    *check = c.n ? ce_format(w, "%s", sb_str(&c)) : NULL;
    if (b.status || c.status) ce_fail(w, CR_ENOMEM, "out of memory");
    sb_free(&b);
    sb_free(&c);
}

static ce_text choose(ce *w, const char *condition, ce_text t, const char *otherwise)
{
    return condition ? ce_make(ce_format(w, "%s ? %s : %s", condition, ce_in(w, t, CE_ADD), otherwise), CE_ANY) : t;
}

static ce_text product_entry(contraction *k, const ce_text *place, const char *nonzero, const char *check)
{
    ce *w = k->w;
    factors f = factors_new();
    numbers(k, &f);
    for (unsigned i = 0; i < k->n; i++) multiply(w, &f, k->it[i].r, item_entry(k, &k->it[i], place));
    return choose(w, nonzero, choose(w, check, product(w, &f), "NAN"), "0.0");
}

ce_text ce_einsum_entry(ce *w, cr_ref r, const ce_text *index)
{
    contraction *k = arena_alloc(&w->mem, sizeof *k);
    ce_text place[EINSUM_MAX_LABELS];
    const char *nonzero, *check;
    if (!k) return ce_fail(w, CR_ENOMEM, "out of memory"), ce_make("", CE_ATOM);
    if (!read(w, r, k)) return ce_make("", CE_ATOM);
    find_places(k, index, place, &nonzero, &check);
    return product_entry(k, place, nonzero, check);
}

/* ---- sums -------------------------------------------------------------------------------------- */

/* Sums the product of items first..n-1 over the labels in `sum`, at these places of the other labels; the text of the
 * sum. */
static ce_text sum_loops(contraction *k, unsigned n, const item *const *it, uint64_t sum, ce_text *place,
                         const char *nonzero, const char *check)
{
    ce *w = k->w;
    const char *s = ce_fresh(w, "s");
    unsigned loops = 0;
    ce_line(w, "double %s = 0.0;", s);
    if (nonzero) ce_open(w, "if (%s)", nonzero);
    for (unsigned l = 0; l < k->n_labels; l++)
        if (sum >> l & 1) {
            loops += ce_loops(w, 1, &k->size[l], &place[l]);
        }
    factors f = factors_new();
    for (unsigned i = 0; i < n; i++) multiply(w, &f, it[i]->r, item_entry(k, it[i], place));
    ce_text t = choose(w, check, product(w, &f), "NAN");
    if (t.s && t.s[0] == '-' && t.prec >= CE_MUL) ce_line(w, "%s -= %s;", s, t.s + 1);
    else ce_line(w, "%s += %s;", s, ce_in(w, t, CE_ANY));
    ce_loops_end(w, loops);
    if (nonzero) ce_close(w);
    return ce_make(s, CE_ATOM);
}

static unsigned count(uint64_t set)
{
    unsigned n = 0;
    for (; set; set &= set - 1) n++;
    return n;
}

/* Items i and j (the same: i alone) summed over the labels that nothing else has, as a new item. */
static bool contract_first(contraction *k, unsigned i, unsigned j)
{
    ce *w = k->w;
    uint64_t both = labels_of(&k->it[i]) | labels_of(&k->it[j]), sum = 0, fixed = 0;
    const item *it[2] = {&k->it[i], &k->it[j]};
    item made = {0};
    cr_dim size[CR_MAX_RANK] = {0};
    ce_text place[EINSUM_MAX_LABELS] = {{0}}, index[CR_MAX_RANK];
    for (unsigned l = 0; l < k->n_labels; l++) {
        if (!(both >> l & 1)) continue;
        bool elsewhere = !is_summed(k, l);
        for (unsigned o = 0; o < k->n && !elsewhere; o++) elsewhere = o != i && o != j && has(&k->it[o], l);
        if (k->at[l]) fixed |= 1ull << l;
        else if (!elsewhere) sum |= 1ull << l;
        else if (made.rank == CR_MAX_RANK) return false;
        else size[made.rank] = k->size[l], made.label[made.rank++] = (uint8_t)l;
    }
    if (fixed) return false;
    made.array = ce_scratch_new(w, dims_product(w->g, size, made.rank));
    unsigned loops = ce_loops(w, made.rank, size, index);
    for (unsigned a = 0; a < made.rank; a++) place[made.label[a]] = index[a];
    ce_text s = sum_loops(k, i == j ? 1 : 2, it, sum, place, NULL, NULL);
    ce_line(w, "%s[%s] = %s;", made.array, ce_flat(w, made.rank, size, index).s, s.s);
    ce_loops_end(w, loops);
    k->it[i < j ? i : j] = made;
    if (i != j) {
        unsigned gone = i < j ? j : i;
        k->n--;
        memmove(k->it + gone, k->it + gone + 1, (k->n - gone) * sizeof k->it[0]);
    }
    return true;
}

/* Cheapest first: the pair with the fewest labels, so long as that is fewer than all together. */
static void contract_pairs(contraction *k)
{
    while (k->n > 1 && !ce_failed(k->w)) {
        uint64_t all = 0;
        for (unsigned i = 0; i < k->n; i++) all |= labels_of(&k->it[i]);
        for (unsigned a = 0; a < k->rank; a++) all |= 1ull << k->same[a];
        unsigned best = count(all), bi = 0, bj = 0, found = 0;
        for (unsigned i = 0; i < k->n; i++)
            for (unsigned j = i; j < k->n; j++) {
                uint64_t own = labels_of(&k->it[i]) | labels_of(&k->it[j]);
                bool sums = false;
                for (unsigned l = 0; l < k->n_labels && !sums; l++) {
                    sums = own >> l & 1 && is_summed(k, l);
                    for (unsigned o = 0; o < k->n && sums; o++) sums = o == i || o == j || !has(&k->it[o], l);
                }
                if (sums && count(own) < best) best = count(own), bi = i, bj = j, found = 1;
            }
        if (!found || !contract_first(k, bi, bj)) return;
    }
}

/* target += ..., the last axis of the result innermost: rows of matrices are read one after the other. */
static void store_by_rows(contraction *k, const cr_shape *s, uint64_t sum, const char *target)
{
    ce *w = k->w;
    ce_text index[CR_MAX_RANK], place[EINSUM_MAX_LABELS];
    const char *nonzero, *check;
    unsigned last = s->rank - 1u, n = ce_loops(w, s->rank, s->dim, index);
    ce_line(w, "%s[%s] = 0.0;", target, ce_flat(w, s->rank, s->dim, index).s);
    ce_loops_end(w, n);
    n = ce_loops(w, last, s->dim, index);
    index[last] = ce_make("0", CE_ATOM);
    find_places(k, index, place, &nonzero, &check);
    for (unsigned l = 0; l < k->n_labels; l++)
        if (sum >> l & 1) n += ce_loops(w, 1, &k->size[l], &place[l]);
    n += ce_loops(w, 1, &s->dim[last], index + last);
    place[k->same[last]] = index[last];
    factors f = factors_new();
    numbers(k, &f);
    for (unsigned i = 0; i < k->n; i++) multiply(w, &f, k->it[i].r, item_entry(k, &k->it[i], place));
    ce_text t = product(w, &f);
    const char *at = ce_flat(w, s->rank, s->dim, index).s;
    if (t.s && t.s[0] == '-' && t.prec >= CE_MUL) ce_line(w, "%s[%s] -= %s;", target, at, t.s + 1);
    else ce_line(w, "%s[%s] += %s;", target, at, ce_in(w, t, CE_ANY));
    ce_loops_end(w, n);
}

static ce_text scaled(contraction *k, ce_text sum)
{
    factors f = factors_new();
    numbers(k, &f);
    multiply(k->w, &f, 0, sum);
    return product(k->w, &f);
}

static contraction *begin(ce *w, cr_ref r)
{
    contraction *k = arena_alloc(&w->mem, sizeof *k);
    if (!k) return ce_fail(w, CR_ENOMEM, "out of memory"), NULL;
    if (!read(w, r, k)) return NULL;
    contract_pairs(k);
    return k;
}

static ce_text sum_entry(contraction *k, const ce_text *index)
{
    ce_text place[EINSUM_MAX_LABELS];
    const char *nonzero, *check;
    const item *it[EINSUM_MAX_LABELS];
    find_places(k, index, place, &nonzero, &check);
    for (unsigned i = 0; i < k->n; i++) it[i] = &k->it[i];
    uint64_t sum = summed(k);
    if (!sum) return product_entry(k, place, nonzero, check); /* all is done */
    ce_text s = sum_loops(k, k->n, it, sum, place, nonzero, check);
    return choose(k->w, nonzero, scaled(k, s), "0.0");
}

ce_text ce_einsum_sum(ce *w, cr_ref r, const ce_text *index)
{
    contraction *k = begin(w, r);
    if (!k) return ce_make("", CE_ATOM);
    return sum_entry(k, index);
}

void ce_einsum_store(ce *w, cr_ref r, const char *target)
{
    const cr_shape *s = shape_of(w->g, r);
    contraction *k = begin(w, r);
    if (!k) return;
    if (goes_by_rows(k)) {
        store_by_rows(k, s, summed(k), target);
        return;
    }
    ce_text index[CR_MAX_RANK];
    unsigned loops = ce_loops(w, s->rank, s->dim, index);
    ce_text t = sum_entry(k, index);
    ce_line(w, "%s[%s] = %s;", target, ce_flat(w, s->rank, s->dim, index).s, ce_in(w, t, CE_ANY));
    ce_loops_end(w, loops);
}
