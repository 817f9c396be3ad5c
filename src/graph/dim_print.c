/* Integer polynomials as text and as LaTeX. */
#include "graph/dim_internal.h"

#include <inttypes.h>

typedef struct printer {
    const dim_table *t;
    strbuf *b;
    const char *(*name)(void *user, dim_sym s);
    void *user;
    bool latex;
} printer;

static int64_t coef_of(const dim_poly *p, uint32_t mono)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (p->term[i].mono == mono) return p->term[i].coef;
    return 0;
}

/* Normal form keeps the numerator of a floor in [0, c): floor((n-1)/2) is held as floor((n+1)/2) - 1. People write the
 * former, so a term is printed inside of the floor where it is negative outside: the first floor(x/c) of coefficient 1
 * with a number c takes one of each negative term that x has too, but for the leading term of x, which people write
 * positive. Both texts read back as the same polynomial. */
typedef struct shown {
    const dim_poly *p;
    const dim_poly *host; /* numerator that takes terms of p; NULL none */
    uint32_t host_mono;
    const dim_poly *guest; /* p is the numerator that takes terms of this polynomial; NULL none */
    int64_t den;
} shown;

static shown show(const dim_table *t, cr_dim d)
{
    shown s = {.p = &t->poly[d]};
    for (uint32_t i = 0; i < s.p->n && !s.host; i++) {
        const dim_mono *m = &t->mono[s.p->term[i].mono];
        if (m->degree != 1 || s.p->term[i].coef != 1 || !dim_is_floor(m->factor[0].atom)) continue;
        const dim_floor *f = dim_floor_of(t, m->factor[0].atom);
        int64_t c;
        if (!dim_value(t, f->den, &c)) continue;
        s.host = &t->poly[f->num];
        s.host_mono = s.p->term[i].mono;
    }
    return s;
}

static int64_t shown_coef(const shown *s, uint32_t i)
{
    dim_term x = s->p->term[i];
    if (s->guest) return i > 0 && coef_of(s->guest, x.mono) < 0 ? x.coef - s->den : x.coef;
    if (s->host && x.coef < 0 && x.mono != s->host->term[0].mono && coef_of(s->host, x.mono) > 0) return x.coef + 1;
    return x.coef;
}

/* The i-th term to print: a positive one leads if there is one, as in 1-n. UINT32_MAX after the last. */
static uint32_t first_term(const shown *s)
{
    uint32_t first = UINT32_MAX;
    for (uint32_t i = 0; i < s->p->n; i++) {
        int64_t c = shown_coef(s, i);
        if (c > 0) return i;
        if (c < 0 && first == UINT32_MAX) first = i;
    }
    return first;
}

static unsigned count_terms(const shown *s)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < s->p->n; i++) n += shown_coef(s, i) != 0;
    return n;
}

static bool shown_is_sum(const shown *s)
{
    uint32_t first = first_term(s);
    return first != UINT32_MAX && (count_terms(s) > 1 || shown_coef(s, first) < 0);
}

bool dim_is_sum(const dim_table *t, cr_dim d)
{
    if (d == 0 || d >= t->n_poly) return false;
    shown s = show(t, d);
    return shown_is_sum(&s);
}

static void print_shown(const printer *p, const shown *s);

/* A denominator must be one factor in text; LaTeX has its own brackets. */
static bool is_product(const dim_table *t, const dim_poly *p)
{
    return p->n == 1 && (p->term[0].coef != 1) + t->mono[p->term[0].mono].n > 1;
}

/* host: the numerator takes terms of outer. */
static void print_floor(const printer *p, uint32_t atom, bool host, const shown *outer)
{
    const dim_floor *f = dim_floor_of(p->t, atom);
    shown num = {.p = &p->t->poly[f->num]};
    if (host) {
        num.guest = outer->p;
        dim_value(p->t, f->den, &num.den);
    } else {
        num = show(p->t, f->num);
    }
    shown den = show(p->t, f->den);
    if (p->latex) {
        sb_puts(p->b, "\\left\\lfloor \\frac{");
        print_shown(p, &num);
        sb_puts(p->b, "}{");
        print_shown(p, &den);
        sb_puts(p->b, "} \\right\\rfloor");
        return;
    }
    bool brackets = shown_is_sum(&num);
    sb_puts(p->b, brackets ? "floor((" : "floor(");
    print_shown(p, &num);
    sb_puts(p->b, brackets ? ")/" : "/");
    brackets = shown_is_sum(&den) || is_product(p->t, den.p);
    if (brackets) sb_putc(p->b, '(');
    print_shown(p, &den);
    sb_puts(p->b, brackets ? "))" : ")");
}

static void print_term(const printer *p, const shown *s, uint32_t i, bool leads)
{
    int64_t c = shown_coef(s, i);
    const dim_mono *m = &p->t->mono[s->p->term[i].mono];
    uint64_t magnitude = c < 0 ? 0 - (uint64_t)c : (uint64_t)c;
    const char *times = p->latex ? " " : "*";
    if (c < 0)
        sb_putc(p->b, '-');
    else if (!leads)
        sb_putc(p->b, '+');
    bool number = magnitude != 1 || m->n == 0;
    if (number) sb_printf(p->b, "%" PRIu64, magnitude);
    for (uint32_t k = 0; k < m->n; k++) {
        dim_factor f = m->factor[k];
        if (number || k) sb_puts(p->b, times);
        if (dim_is_floor(f.atom))
            print_floor(p, f.atom, s->host && s->p->term[i].mono == s->host_mono, s);
        else
            sb_puts(p->b, p->name ? p->name(p->user, f.atom) : name_text(p->t, f.atom));
        if (f.power > 1) sb_printf(p->b, p->latex ? "^{%" PRIu32 "}" : "^%" PRIu32, f.power);
    }
}

static void print_shown(const printer *p, const shown *s)
{
    uint32_t first = first_term(s);
    if (first == UINT32_MAX) {
        sb_putc(p->b, '0');
        return;
    }
    print_term(p, s, first, true);
    for (uint32_t i = 0; i < s->p->n; i++)
        if (i != first && shown_coef(s, i) != 0) print_term(p, s, i, false);
}

static void print(const printer *p, cr_dim d)
{
    if (d == 0 || d >= p->t->n_poly) return;
    shown s = show(p->t, d);
    print_shown(p, &s);
}

void dim_print(const dim_table *t, cr_dim d, strbuf *b, const char *(*name)(void *user, dim_sym s), void *user)
{
    print(&(printer){t, b, name, user, false}, d);
}

void dim_print_latex(const dim_table *t, cr_dim d, strbuf *b, const char *(*name)(void *user, dim_sym s), void *user)
{
    print(&(printer){t, b, name, user, true}, d);
}
