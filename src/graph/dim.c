/* Arithmetic of integer polynomials. */
#include "graph/dim_internal.h"

#include <stdlib.h>

int64_t dim_floor_i64(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Terms under construction; the first ones need no allocation. */
typedef struct terms {
    dim_term *v, local[16];
    size_t n, cap;
} terms;

static bool terms_init(dim_table *t, terms *s, size_t cap)
{
    *s = (terms){.cap = cap};
    s->v = s->local;
    if (cap <= sizeof s->local / sizeof *s->local) return true;
    s->v = mem_alloc(cap * sizeof *s->v);
    if (!s->v) dim_no_memory(t);
    return s->v;
}

static void terms_free(terms *s)
{
    if (s->v != s->local) mem_free(s->v);
}

/* a + c * mono * b. Multiplying by one monomial keeps the order of terms, so this is a merge. */
static cr_dim add_scaled(dim_table *t, cr_dim a, int64_t c, uint32_t mono, cr_dim b)
{
    dim_poly x = t->poly[a], y = t->poly[b];
    if (c == 0 || y.n == 0) return a;
    terms s;
    if (!terms_init(t, &s, (size_t)x.n + y.n)) return 0;
    cr_dim sum = 0;
    uint32_t i = 0, k = 0;
    dim_term next = {0, 0};
    bool have = false;
    while (i < x.n || k < y.n) {
        if (!have && k < y.n) {
            if (!dim_mono_combine(t, y.term[k].mono, mono, 1, &next.mono)) goto done;
            if (__builtin_mul_overflow(c, y.term[k].coef, &next.coef)) goto overflow;
            have = true;
        }
        int order = i == x.n ? -1 : !have ? 1 : dim_mono_compare(t, x.term[i].mono, next.mono);
        if (order > 0) {
            s.v[s.n++] = x.term[i++];
            continue;
        }
        if (order == 0 && __builtin_add_overflow(next.coef, x.term[i++].coef, &next.coef)) goto overflow;
        if (next.coef) s.v[s.n++] = next;
        have = false;
        k++;
    }
    sum = dim_poly_intern(t, s.v, s.n);
    goto done;
overflow:
    dim_too_large(t);
done:
    terms_free(&s);
    return sum;
}

cr_dim dim_add(dim_table *t, cr_dim a, cr_dim b)
{
    return dim_usable(t, a) && dim_usable(t, b) ? add_scaled(t, a, 1, DIM_MONO_ONE, b) : 0;
}

cr_dim dim_sub(dim_table *t, cr_dim a, cr_dim b)
{
    return dim_usable(t, a) && dim_usable(t, b) ? add_scaled(t, a, -1, DIM_MONO_ONE, b) : 0;
}

/* qsort has no context argument, so terms carry their monomial's place in the order while they are sorted. */
typedef struct sort_term {
    dim_term term;
    const dim_table *t;
} sort_term;

static int sort_terms(const void *a, const void *b)
{
    const sort_term *x = a, *y = b;
    return -dim_mono_compare(x->t, x->term.mono, y->term.mono);
}

cr_dim dim_mul(dim_table *t, cr_dim a, cr_dim b)
{
    if (!dim_usable(t, a) || !dim_usable(t, b)) return 0;
    if (t->poly[a].n > t->poly[b].n) {
        cr_dim swap = a;
        a = b;
        b = swap;
    }
    dim_poly x = t->poly[a], y = t->poly[b];
    if (x.n == 0) return a;
    if (x.n == 1) return add_scaled(t, dim_const(t, 0), x.term[0].coef, x.term[0].mono, b);
    size_t n = (size_t)x.n * y.n;
    if (n > 64u * DIM_MAX_TERMS) return dim_too_large(t);
    sort_term *s = mem_alloc(n * sizeof *s);
    if (!s) return dim_no_memory(t);
    cr_dim product = 0;
    for (size_t i = 0; i < n; i++) {
        const dim_term *p = &x.term[i / y.n], *q = &y.term[i % y.n];
        s[i].t = t;
        if (!dim_mono_combine(t, p->mono, q->mono, 1, &s[i].term.mono)) goto done;
        if (__builtin_mul_overflow(p->coef, q->coef, &s[i].term.coef)) goto overflow;
    }
    qsort(s, n, sizeof *s, sort_terms);
    terms sum;
    if (!terms_init(t, &sum, n)) goto done;
    for (size_t i = 0; i < n;) {
        dim_term total = {0, s[i].term.mono};
        bool over = false;
        for (; i < n && s[i].term.mono == total.mono; i++)
            over |= __builtin_add_overflow(total.coef, s[i].term.coef, &total.coef);
        if (over) {
            terms_free(&sum);
            goto overflow;
        }
        if (total.coef) sum.v[sum.n++] = total;
    }
    product = dim_poly_intern(t, sum.v, sum.n);
    terms_free(&sum);
    goto done;
overflow:
    dim_too_large(t);
done:
    mem_free(s);
    return product;
}

/* ---- floor division ---------------------------------------------------------------------------- */

/* a = quotient * b + remainder, b != 0 with positive leading coefficient, by its leading term: no monomial of the
 * remainder is divisible by it unless the coefficient is in [0, lead). That makes the remainder unique, so
 * floor(a/b) = quotient + floor(remainder/b) is a normal form; and if b divides a, the remainder is 0. */
static bool divide(dim_table *t, cr_dim a, cr_dim b, cr_dim *quotient, cr_dim *remainder)
{
    dim_term lead = t->poly[b].term[0];
    cr_dim q = dim_const(t, 0);
    for (uint32_t i = 0; q && a && i < t->poly[a].n;) {
        dim_term x = t->poly[a].term[i];
        uint32_t m;
        if (!dim_mono_combine(t, x.mono, lead.mono, -1, &m)) {
            if (m == DIM_MONO_NONE) return false;
            i++;
            continue;
        }
        int64_t c = dim_floor_i64(x.coef, lead.coef);
        if (c == INT64_MIN) return dim_too_large(t);
        /* Terms before i stay: what is subtracted starts at the monomial of term i. That term goes, or is reduced. */
        i += x.coef % lead.coef != 0;
        if (c == 0) continue;
        q = dim_add(t, q, dim_term_poly(t, c, m));
        a = add_scaled(t, a, -c, m, b);
    }
    *quotient = q;
    *remainder = a;
    return q && a;
}

static int64_t gcd(int64_t a, int64_t b)
{
    /* Of magnitudes as non-positive numbers, which have room for INT64_MIN. */
    if (a > 0) a = -a;
    if (b > 0) b = -b;
    while (b) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a == INT64_MIN ? 1 : -a;
}

/* floor of each coefficient over c > 0; exact for all but the constant. */
static cr_dim coefs_over(dim_table *t, cr_dim d, int64_t c)
{
    dim_poly p = t->poly[d];
    terms s;
    if (!terms_init(t, &s, p.n)) return 0;
    for (uint32_t i = 0; i < p.n; i++) {
        s.v[s.n] = (dim_term){dim_floor_i64(p.term[i].coef, c), p.term[i].mono};
        s.n += s.v[s.n].coef != 0;
    }
    cr_dim r = dim_poly_intern(t, s.v, s.n);
    terms_free(&s);
    return r;
}

/* num = floor(x/a) + rest with a number a > 0? Then for a number b > 0 floor(num/b) = floor((x + a*rest)/(a*b)). */
static bool unnest(dim_table *t, cr_dim *num, cr_dim *den)
{
    int64_t a, b, ab;
    if (!dim_value(t, *den, &b)) return false;
    dim_poly p = t->poly[*num];
    for (uint32_t i = 0; i < p.n; i++) {
        dim_mono m = t->mono[p.term[i].mono];
        if (p.term[i].coef != 1 || m.degree != 1 || !dim_is_floor(m.factor[0].atom)) continue;
        dim_floor f = *dim_floor_of(t, m.factor[0].atom);
        if (!dim_value(t, f.den, &a) || __builtin_mul_overflow(a, b, &ab)) continue;
        cr_dim rest = add_scaled(t, *num, -1, p.term[i].mono, dim_const(t, 1));
        *num = rest ? add_scaled(t, f.num, a, DIM_MONO_ONE, rest) : 0;
        *den = dim_const(t, ab);
        return true;
    }
    return false;
}

cr_dim dim_floordiv(dim_table *t, cr_dim a, cr_dim b)
{
    if (!dim_usable(t, a) || !dim_usable(t, b)) return 0;
    if (t->poly[b].n == 0) return dim_fail(t, CR_EARG, "integer division by 0");
    if (t->poly[b].term[0].coef < 0) {
        a = add_scaled(t, dim_const(t, 0), -1, DIM_MONO_ONE, a);
        b = add_scaled(t, dim_const(t, 0), -1, DIM_MONO_ONE, b);
    }
    cr_dim whole = 0, part = 0, rest = 0;
    for (;;) {
        if (!a || !b || !divide(t, a, b, &part, &rest)) return 0;
        whole = whole ? dim_add(t, whole, part) : part;
        if (!whole || t->poly[rest].n == 0) return whole;
        /* floor((g*p + k)/(g*b)) = floor((p + floor(k/g))/b) for a number b > 0; a polynomial b needs that g divides k.
         */
        dim_poly p = t->poly[rest], q = t->poly[b];
        bool number = q.n == 1 && q.term[0].mono == DIM_MONO_ONE;
        int64_t g = 0;
        for (uint32_t i = 0; i < q.n; i++) g = gcd(g, q.term[i].coef);
        for (uint32_t i = 0; i < p.n; i++)
            if (!number || p.term[i].mono != DIM_MONO_ONE) g = gcd(g, p.term[i].coef);
        a = g > 1 ? coefs_over(t, rest, g) : rest;
        b = g > 1 ? coefs_over(t, b, g) : b;
        if (g <= 1 && !unnest(t, &a, &b)) break;
    }
    cr_dim f = dim_floor_atom(t, a, b);
    return f ? dim_add(t, whole, f) : 0;
}

/* ---- substitution ------------------------------------------------------------------------------ */

static cr_dim power(dim_table *t, cr_dim d, uint32_t n)
{
    cr_dim result = dim_const(t, 1);
    for (; result && n; n >>= 1) {
        if (n & 1) result = dim_mul(t, result, d);
        if (n > 1) d = dim_mul(t, d, d);
    }
    return result;
}

/* into_floors: atom is a symbol, to be replaced inside of floors too. */
static cr_dim replace(dim_table *t, cr_dim d, uint32_t atom, cr_dim by, bool into_floors);

static cr_dim replace_factor(dim_table *t, dim_factor x, uint32_t atom, cr_dim by, bool into_floors)
{
    cr_dim base;
    if (x.atom == atom) {
        base = by;
    } else if (into_floors && dim_is_floor(x.atom)) {
        dim_floor f = *dim_floor_of(t, x.atom);
        base = dim_floordiv(t, replace(t, f.num, atom, by, true), replace(t, f.den, atom, by, true));
    } else {
        base = dim_atom(t, x.atom);
    }
    return power(t, base, x.power);
}

static bool has_atom(const dim_table *t, uint32_t mono, uint32_t atom, bool into_floors)
{
    const dim_mono *m = &t->mono[mono];
    for (uint32_t k = 0; k < m->n; k++) {
        uint32_t x = m->factor[k].atom;
        if (x == atom) return true;
        if (!into_floors || !dim_is_floor(x)) continue;
        if (dim_uses(t, dim_floor_of(t, x)->num, atom) || dim_uses(t, dim_floor_of(t, x)->den, atom)) return true;
    }
    return false;
}

/* Nested as deep as floors are: DIM_MAX_DEPTH. Terms without the atom stay together, so that the usual substitution
 * makes few polynomials on its way. */
static cr_dim replace(dim_table *t, cr_dim d, uint32_t atom, cr_dim by, bool into_floors)
{
    if (!d || !by) return 0;
    dim_poly p = t->poly[d];
    terms same;
    if (!terms_init(t, &same, p.n)) return 0;
    for (uint32_t i = 0; i < p.n; i++)
        if (!has_atom(t, p.term[i].mono, atom, into_floors)) same.v[same.n++] = p.term[i];
    cr_dim sum = same.n == p.n ? d : dim_poly_intern(t, same.v, same.n);
    terms_free(&same);
    for (uint32_t i = 0; sum && same.n < p.n && i < p.n; i++) {
        if (!has_atom(t, p.term[i].mono, atom, into_floors)) continue;
        dim_mono m = t->mono[p.term[i].mono];
        cr_dim product = dim_const(t, p.term[i].coef);
        for (uint32_t k = 0; product && k < m.n; k++)
            product = dim_mul(t, product, replace_factor(t, m.factor[k], atom, by, into_floors));
        sum = dim_add(t, sum, product);
    }
    return sum;
}

cr_dim dim_replace_atom(dim_table *t, cr_dim d, uint32_t atom, cr_dim by)
{
    return replace(t, d, atom, by, false);
}

cr_dim dim_substitute(dim_table *t, cr_dim d, dim_sym s, cr_dim by)
{
    if (!dim_usable(t, d) || !dim_usable(t, by)) return 0;
    return replace(t, d, s, by, true);
}

bool dim_linear_in(dim_table *t, cr_dim d, dim_sym s, int64_t *a, cr_dim *rest)
{
    if (!dim_usable(t, d)) return false;
    dim_poly p = t->poly[d];
    for (uint32_t i = 0; i < p.n; i++) {
        const dim_mono *m = &t->mono[p.term[i].mono];
        if (m->degree != 1 || m->factor[0].atom != s) continue;
        cr_dim r = add_scaled(t, d, -1, DIM_MONO_ONE, dim_term_poly(t, p.term[i].coef, p.term[i].mono));
        if (!r || dim_uses(t, r, s)) return false;
        *a = p.term[i].coef;
        *rest = r;
        return true;
    }
    return false;
}
