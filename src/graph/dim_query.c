/* Questions about integer polynomials: value, symbols, evaluation, bounds. */
#include "graph/dim_internal.h"
#include <string.h>

static bool known(const dim_table *t, cr_dim d)
{
    return d > 0 && d < t->n_poly;
}

bool dim_value(const dim_table *t, cr_dim d, int64_t *v)
{
    if (!known(t, d)) return false;
    const dim_poly *p = &t->poly[d];
    if (p->n > 1 || (p->n == 1 && p->term[0].mono != 0)) return false;
    *v = p->n ? p->term[0].coef : 0;
    return true;
}

bool dim_is_symbol(const dim_table *t, cr_dim d, dim_sym *s)
{
    if (!known(t, d)) return false;
    const dim_poly *p = &t->poly[d];
    if (p->n != 1 || p->term[0].coef != 1) return false;
    const dim_mono *m = &t->mono[p->term[0].mono];
    if (m->degree != 1 || dim_is_floor(m->factor[0].atom)) return false;
    *s = m->factor[0].atom;
    return true;
}

/* The least symbol of d that is greater than s, or 0. Bounded by the size of d; needs no memory. */
static dim_sym next_symbol(const dim_table *t, cr_dim d, dim_sym s)
{
    const dim_poly *p = &t->poly[d];
    dim_sym least = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        const dim_mono *m = &t->mono[p->term[i].mono];
        for (uint32_t k = 0; k < m->n; k++) {
            uint32_t x = m->factor[k].atom;
            dim_sym found[2] = {dim_is_floor(x) ? next_symbol(t, dim_floor_of(t, x)->num, s) : x, 0};
            if (dim_is_floor(x)) found[1] = next_symbol(t, dim_floor_of(t, x)->den, s);
            for (int j = 0; j < 2; j++)
                if (found[j] > s && (!least || found[j] < least)) least = found[j];
        }
    }
    return least;
}

bool dim_uses(const dim_table *t, cr_dim d, dim_sym s)
{
    return s && known(t, d) && next_symbol(t, d, s - 1) == s;
}

void dim_symbols(const dim_table *t, cr_dim d, void (*fn)(void *user, dim_sym s), void *user)
{
    if (!known(t, d)) return;
    for (dim_sym s = next_symbol(t, d, 0); s; s = next_symbol(t, d, s)) fn(user, s);
}

bool dim_eval(const dim_table *t, cr_dim d, bool (*value)(void *user, dim_sym s, int64_t *v), void *user, int64_t *out,
              dim_sym *missing)
{
    *missing = 0;
    if (!known(t, d)) return false;
    dim_poly p = t->poly[d];
    int64_t sum = 0;
    for (uint32_t i = 0; i < p.n; i++) {
        dim_mono m = t->mono[p.term[i].mono];
        int64_t product = p.term[i].coef;
        for (uint32_t k = 0; k < m.n; k++) {
            uint32_t x = m.factor[k].atom;
            int64_t v;
            if (dim_is_floor(x)) {
                int64_t num, den;
                if (!dim_eval(t, dim_floor_of(t, x)->num, value, user, &num, missing)) return false;
                if (!dim_eval(t, dim_floor_of(t, x)->den, value, user, &den, missing)) return false;
                if (den == 0 || (den < 0 && (num == INT64_MIN || den == INT64_MIN))) return false;
                v = den < 0 ? dim_floor_i64(-num, -den) : dim_floor_i64(num, den);
            } else if (!value(user, x, &v)) {
                *missing = x;
                return false;
            }
            for (uint32_t j = 0; j < m.factor[k].power; j++)
                if (__builtin_mul_overflow(product, v, &product)) return false;
        }
        if (__builtin_add_overflow(sum, product, &sum)) return false;
    }
    *out = sum;
    return true;
}

/* ---- bounds ------------------------------------------------------------------------------------ */

typedef struct facts {
    bool (*lo)(void *user, dim_sym s, int64_t *v);
    void *user;
    unsigned budget; /* calls of bound() left: nested floors could ask for exponentially many */
} facts;

static bool bound(dim_table *t, cr_dim d, facts *f, int64_t *out);

/* A term k*floor(a/c) alone, c a number: (a - c + 1)/c <= floor(a/c) <= a/c, so c*d has a lower bound without that
 * floor. Dividing it by c and rounding up loses nothing when the floor stands alone. */
static bool bound_floor(dim_table *t, cr_dim d, dim_term term, dim_floor fl, int64_t c, facts *f, int64_t *out)
{
    cr_dim num = term.coef < 0 ? fl.num : dim_add(t, fl.num, dim_const(t, 1 - c));
    cr_dim rest = dim_sub(t, d, dim_term_poly(t, term.coef, term.mono));
    cr_dim scaled = dim_add(t, dim_mul(t, rest, dim_const(t, c)), dim_mul(t, num, dim_const(t, term.coef)));
    int64_t v;
    if (!bound(t, scaled, f, &v) || v == INT64_MIN) return false;
    *out = -dim_floor_i64(-v, c);
    return true;
}

static bool atom_bound(dim_table *t, uint32_t x, facts *f, int64_t *out)
{
    if (!dim_is_floor(x)) return f->lo(f->user, x, out);
    dim_floor fl = *dim_floor_of(t, x);
    int64_t num, den, c;
    if (!bound(t, fl.num, f, &num)) return false;
    if (dim_value(t, fl.den, &c)) {
        *out = dim_floor_i64(num, c);
        return true;
    }
    /* Of a quotient by a positive unknown only the sign is certain. */
    if (!bound(t, fl.den, f, &den) || den < 1) return false;
    *out = num >= 0 ? 0 : num;
    return true;
}

/* With each atom written as its lower bound plus something >= 0, the constant is a bound if no other coefficient is
 * negative. This proves n*m - n >= 0 for m, n >= 1, where bounding the terms one by one cannot. */
static bool bound(dim_table *t, cr_dim d, facts *f, int64_t *out)
{
    if (!known(t, d) || f->budget == 0) return false;
    f->budget--;
    dim_poly p = t->poly[d];
    for (uint32_t i = 0; i < p.n; i++) {
        dim_mono m = t->mono[p.term[i].mono];
        int64_t c;
        if (m.degree != 1 || !dim_is_floor(m.factor[0].atom)) continue;
        dim_floor fl = *dim_floor_of(t, m.factor[0].atom);
        if (dim_value(t, fl.den, &c)) return bound_floor(t, d, p.term[i], fl, c, f, out);
    }
    for (uint32_t i = 0; i < p.n; i++) {
        dim_mono m = t->mono[p.term[i].mono];
        for (uint32_t k = 0; k < m.n; k++) {
            uint32_t x = m.factor[k].atom;
            bool seen = false; /* an atom is shifted once */
            for (uint32_t a = 0; a < i && !seen; a++) {
                dim_mono before = t->mono[p.term[a].mono];
                for (uint32_t b = 0; b < before.n; b++) seen |= before.factor[b].atom == x;
            }
            if (seen) continue;
            int64_t lo;
            if (!atom_bound(t, x, f, &lo)) return false;
            d = dim_replace_atom(t, d, x, dim_add(t, dim_atom(t, x), dim_const(t, lo)));
            if (!d) return false;
        }
    }
    p = t->poly[d];
    *out = 0;
    for (uint32_t i = 0; i < p.n; i++) {
        if (p.term[i].mono == 0)
            *out = p.term[i].coef;
        else if (p.term[i].coef < 0)
            return false;
    }
    return true;
}

bool dim_lower_bound(dim_table *t, cr_dim d, bool (*lo)(void *user, dim_sym s, int64_t *v), void *user, int64_t *out)
{
    /* What cannot be computed is not proved; it is no error of the graph. */
    error *outer = t->err, inner = {0};
    t->err = &inner;
    bool ok = bound(t, d, &(facts){lo, user, 256}, out);
    err_clear(&inner);
    t->err = outer;
    return ok;
}

cr_dim dim_copy(const dim_table *from, cr_dim d, dim_table *to)
{
    if (!d) return 0;
    cr_dim sum = dim_const(to, 0);
    const dim_poly *p = &from->poly[d];
    for (uint32_t i = 0; i < p->n; i++) {
        cr_dim product = dim_const(to, p->term[i].coef);
        const dim_mono *m = &from->mono[p->term[i].mono];
        for (uint32_t k = 0; k < m->n; k++) {
            uint32_t atom = m->factor[k].atom;
            cr_dim a;
            if (atom & FLOOR_ATOM) {
                const dim_floor *f = &from->floor[atom & ~FLOOR_ATOM];
                a = dim_floordiv(to, dim_copy(from, f->num, to),
                                 dim_copy(from, f->den, to)); /* floors nest 64 deep at most */
            } else {
                a = dim_symbol(to, name_intern(to, from->name[atom], strlen(from->name[atom])));
            }
            for (uint32_t e = 0; e < m->factor[k].power && product; e++) product = dim_mul(to, product, a);
        }
        sum = dim_add(to, sum, product);
    }
    return sum;
}

int64_t dim_content(dim_table *t, cr_dim d, cr_dim *rest)
{
    const dim_poly *p = &t->poly[d];
    uint64_t gcd = 0;
    *rest = d;
    for (uint32_t i = 0; i < p->n; i++) {
        uint64_t a = p->term[i].coef < 0 ? -(uint64_t)p->term[i].coef : (uint64_t)p->term[i].coef;
        while (a) {
            uint64_t r = gcd % a;
            gcd = a;
            a = r;
        }
    }
    if (gcd <= 1 || gcd > INT64_MAX) return 1;
    *rest = dim_floordiv(t, d, dim_const(t, (int64_t)gcd));
    return *rest ? (int64_t)gcd : 1;
}
