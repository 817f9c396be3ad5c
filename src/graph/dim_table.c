/* The tables in which names, monomials, polynomials and floors are interned: equal ones have equal numbers. */
#include "graph/dim_internal.h"

#include <string.h>

cr_dim dim_fail(dim_table *t, cr_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(t->err, status, fmt, ap);
    va_end(ap);
    return 0;
}

cr_dim dim_no_memory(dim_table *t)
{
    return dim_fail(t, CR_ENOMEM, "out of memory");
}

cr_dim dim_too_large(dim_table *t)
{
    return dim_fail(t, CR_ELIMIT, "an integer expression is too large (coefficients have 64 bits)");
}

/* ---- hash index -------------------------------------------------------------------------------- */

/* Makes room for one more entry; hash_of gives the hash of the entry in a slot, for moving it. */
static bool index_grow(dim_table *t, hash_index *ix, uint32_t (*hash_of)(const dim_table *t, uint32_t slot))
{
    if (4 * (ix->used + 1) <= 3 * ix->cap) return true;
    size_t cap = ix->cap ? 2 * ix->cap : 64;
    uint32_t *slot = mem_zalloc(cap, sizeof *slot);
    if (!slot) return false;
    for (size_t i = 0; i < ix->cap; i++) {
        if (!ix->slot[i]) continue;
        size_t k = hash_of(t, ix->slot[i]) & (cap - 1);
        while (slot[k]) k = (k + 1) & (cap - 1);
        slot[k] = ix->slot[i];
    }
    mem_free(ix->slot);
    ix->slot = slot;
    ix->cap = cap;
    return true;
}

static void index_put(hash_index *ix, uint32_t hash, uint32_t entry)
{
    size_t k = hash & (ix->cap - 1);
    while (ix->slot[k]) k = (k + 1) & (ix->cap - 1);
    ix->slot[k] = entry;
    ix->used++;
}

/* Walks the entries that may have the hash: `for (size_t k = hash; INDEX_NEXT(ix, k, entry); k++)`. */
#define INDEX_NEXT(ix, k, entry) ((ix).cap && ((entry) = (ix).slot[(k) & ((ix).cap - 1)]) != 0)

/* ---- names ------------------------------------------------------------------------------------- */

static uint32_t name_slot_hash(const dim_table *t, uint32_t slot)
{
    return t->name_hash[slot];
}

dim_sym name_intern(dim_table *t, const char *s, size_t n)
{
    if (memchr(s, '\0', n)) return dim_fail(t, CR_EARG, "a name with a NUL byte");
    uint32_t h = (uint32_t)n, entry;
    for (size_t i = 0; i < n; i++) h = hash_word(h, (unsigned char)s[i]);
    for (size_t k = h; INDEX_NEXT(t->name_index, k, entry); k++)
        if (t->name_hash[entry] == h && strncmp(t->name[entry], s, n) == 0 && t->name[entry][n] == '\0') return entry;
    char *text = arena_alloc(&t->mem, n + 1);
    if (!text || !VEC_RESERVE(t->name, t->name_cap, t->n_names + 1) ||
        !VEC_RESERVE(t->name_hash, t->name_hash_cap, t->n_names + 1) || !index_grow(t, &t->name_index, name_slot_hash))
        return dim_no_memory(t);
    if (t->n_names >= FLOOR_ATOM) return dim_fail(t, CR_ELIMIT, "too many names");
    memcpy(text, s, n);
    text[n] = '\0';
    dim_sym sym = (dim_sym)t->n_names++;
    t->name[sym] = text;
    t->name_hash[sym] = h;
    index_put(&t->name_index, h, sym);
    return sym;
}

const char *name_text(const dim_table *t, dim_sym s)
{
    return s && s < t->n_names ? t->name[s] : "";
}

/* ---- monomials --------------------------------------------------------------------------------- */

static uint32_t mono_slot_hash(const dim_table *t, uint32_t slot)
{
    return t->mono[slot - 1].hash;
}

static uint32_t mono_intern(dim_table *t, const dim_factor *f, uint32_t n)
{
    uint32_t h = n, entry, degree = 0, size = 0;
    for (uint32_t i = 0; i < n; i++) {
        h = hash_word(hash_word(h, f[i].atom), f[i].power);
        degree += f[i].power;
        size += 1;
        if (dim_is_floor(f[i].atom)) {
            const dim_floor *fl = dim_floor_of(t, f[i].atom);
            size += t->poly[fl->num].size + t->poly[fl->den].size;
        }
        if (degree > DIM_MAX_DEGREE || size > DIM_MAX_SIZE) {
            dim_too_large(t);
            return DIM_MONO_NONE;
        }
    }
    for (size_t k = h; INDEX_NEXT(t->mono_index, k, entry); k++) {
        const dim_mono *m = &t->mono[entry - 1];
        if (m->hash == h && m->n == n && (n == 0 || memcmp(m->factor, f, n * sizeof *f) == 0)) return entry - 1;
    }
    dim_factor *copy = arena_alloc(&t->mem, n * sizeof *f);
    if (!copy || !VEC_RESERVE(t->mono, t->mono_cap, t->n_mono + 1) || !index_grow(t, &t->mono_index, mono_slot_hash)) {
        dim_no_memory(t);
        return DIM_MONO_NONE;
    }
    if (n) memcpy(copy, f, n * sizeof *f);
    t->mono[t->n_mono] = (dim_mono){.factor = copy, .n = n, .degree = degree, .hash = h, .size = size};
    index_put(&t->mono_index, h, (uint32_t)t->n_mono + 1);
    return (uint32_t)t->n_mono++;
}

int dim_mono_compare(const dim_table *t, uint32_t a, uint32_t b)
{
    if (a == b) return 0;
    const dim_mono *x = &t->mono[a], *y = &t->mono[b];
    if (x->degree != y->degree) return x->degree > y->degree ? 1 : -1;
    /* Of equal degree and different: they differ within the shorter one. */
    for (uint32_t i = 0; i < x->n && i < y->n; i++) {
        if (x->factor[i].atom != y->factor[i].atom) return x->factor[i].atom < y->factor[i].atom ? 1 : -1;
        if (x->factor[i].power != y->factor[i].power) return x->factor[i].power > y->factor[i].power ? 1 : -1;
    }
    return 0;
}

/* Merges the factors of a and b, their powers added or subtracted. */
bool dim_mono_combine(dim_table *t, uint32_t a, uint32_t b, int sign, uint32_t *out)
{
    *out = a;
    if (b == DIM_MONO_ONE) return true;
    if (sign > 0 && a == DIM_MONO_ONE) {
        *out = b;
        return true;
    }
    const dim_mono *x = &t->mono[a], *y = &t->mono[b];
    dim_factor local[16], *f = local;
    if (x->n + y->n > 16 && !(f = mem_alloc((x->n + y->n) * sizeof *f))) {
        dim_no_memory(t);
        *out = DIM_MONO_NONE;
        return false;
    }
    uint32_t n = 0, i = 0, k = 0;
    bool ok = true;
    while (ok && (i < x->n || k < y->n)) {
        if (k == y->n || (i < x->n && x->factor[i].atom < y->factor[k].atom)) {
            f[n++] = x->factor[i++];
        } else if (i == x->n || y->factor[k].atom < x->factor[i].atom) {
            ok = sign > 0;
            f[n++] = y->factor[k++];
        } else {
            uint32_t p = x->factor[i].power, q = y->factor[k].power;
            ok = sign > 0 || p >= q;
            f[n] = (dim_factor){x->factor[i].atom, sign > 0 ? p + q : p - q};
            n += f[n].power > 0;
            i++, k++;
        }
    }
    if (ok) *out = mono_intern(t, f, n);
    if (f != local) mem_free(f);
    return ok && *out != DIM_MONO_NONE;
}

/* ---- polynomials ------------------------------------------------------------------------------- */

static uint32_t poly_slot_hash(const dim_table *t, uint32_t slot)
{
    return t->poly[slot].hash;
}

/* The polynomial with these terms, which are sorted and have no zero coefficient. */
cr_dim dim_poly_intern(dim_table *t, const dim_term *term, size_t n)
{
    if (n > DIM_MAX_TERMS) return dim_too_large(t);
    uint32_t h = (uint32_t)n, entry, size = 1, depth = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t c = (uint64_t)term[i].coef;
        h = hash_word(hash_word(hash_word(h, (uint32_t)c), (uint32_t)(c >> 32)), term[i].mono);
    }
    for (size_t k = h; INDEX_NEXT(t->poly_index, k, entry); k++) {
        const dim_poly *p = &t->poly[entry];
        if (p->hash != h || p->n != n) continue;
        size_t i = 0;
        while (i < n && p->term[i].coef == term[i].coef && p->term[i].mono == term[i].mono) i++;
        if (i == n) return entry;
    }
    for (size_t i = 0; i < n; i++) {
        const dim_mono *m = &t->mono[term[i].mono];
        size += 1 + m->size;
        if (size > DIM_MAX_SIZE) return dim_too_large(t);
        for (uint32_t k = 0; k < m->n; k++) {
            if (!dim_is_floor(m->factor[k].atom)) continue;
            const dim_floor *f = dim_floor_of(t, m->factor[k].atom);
            uint32_t inner = t->poly[f->num].depth, other = t->poly[f->den].depth;
            if (other > inner) inner = other;
            if (inner + 1 > depth) depth = inner + 1;
        }
    }
    if (depth > DIM_MAX_DEPTH)
        return dim_fail(t, CR_ELIMIT, "floor() is nested deeper than %u in an integer expression", DIM_MAX_DEPTH);
    dim_term *copy = arena_alloc(&t->mem, n * sizeof *term);
    if (!copy || !VEC_RESERVE(t->poly, t->poly_cap, t->n_poly + 1) || !index_grow(t, &t->poly_index, poly_slot_hash))
        return dim_no_memory(t);
    if (n) memcpy(copy, term, n * sizeof *term);
    t->poly[t->n_poly] = (dim_poly){.term = copy, .n = (uint32_t)n, .hash = h, .size = size, .depth = depth};
    index_put(&t->poly_index, h, (uint32_t)t->n_poly);
    return (cr_dim)t->n_poly++;
}

cr_dim dim_term_poly(dim_table *t, int64_t coef, uint32_t mono)
{
    dim_term term = {coef, mono};
    return dim_poly_intern(t, &term, coef != 0);
}

bool dim_usable(dim_table *t, cr_dim d)
{
    if (d > 0 && d < t->n_poly) return true;
    if (d) dim_fail(t, CR_EARG, "a dimension that is not of this graph");
    return false;
}

cr_dim dim_const(dim_table *t, int64_t v)
{
    return dim_term_poly(t, v, DIM_MONO_ONE);
}

cr_dim dim_atom(dim_table *t, uint32_t atom)
{
    uint32_t m = mono_intern(t, &(dim_factor){atom, 1}, 1);
    return m == DIM_MONO_NONE ? 0 : dim_term_poly(t, 1, m);
}

cr_dim dim_symbol(dim_table *t, dim_sym s)
{
    if (s == 0 || s >= t->n_names) return 0;
    return dim_atom(t, s);
}

/* ---- floors ------------------------------------------------------------------------------------ */

static uint32_t floor_slot_hash(const dim_table *t, uint32_t slot)
{
    const dim_floor *f = &t->floor[slot - 1];
    return hash_word(f->num, f->den);
}

cr_dim dim_floor_atom(dim_table *t, cr_dim num, cr_dim den)
{
    uint32_t h = hash_word(num, den), entry;
    for (size_t k = h; INDEX_NEXT(t->floor_index, k, entry); k++) {
        const dim_floor *f = &t->floor[entry - 1];
        if (f->num == num && f->den == den) return dim_atom(t, FLOOR_ATOM | (entry - 1));
    }
    if (!VEC_RESERVE(t->floor, t->floor_cap, t->n_floor + 1) || !index_grow(t, &t->floor_index, floor_slot_hash))
        return dim_no_memory(t);
    t->floor[t->n_floor] = (dim_floor){num, den};
    index_put(&t->floor_index, h, (uint32_t)t->n_floor + 1);
    return dim_atom(t, FLOOR_ATOM | (uint32_t)t->n_floor++);
}

/* ---- table ------------------------------------------------------------------------------------- */

dim_table *dim_table_new(error *e)
{
    dim_table *t = mem_zalloc(1, sizeof *t);
    if (!t) {
        err_set(e, CR_ENOMEM, "out of memory");
        return NULL;
    }
    t->err = e;
    /* Number 0 of names and polynomials is none; monomial 0 is the empty product. */
    t->n_names = t->n_poly = 1;
    if (mono_intern(t, NULL, 0) == DIM_MONO_NONE || !VEC_RESERVE(t->name, t->name_cap, 1) ||
        !VEC_RESERVE(t->name_hash, t->name_hash_cap, 1) || !VEC_RESERVE(t->poly, t->poly_cap, 1)) {
        dim_no_memory(t);
        dim_table_free(t);
        return NULL;
    }
    t->name[0] = "";
    t->name_hash[0] = 0;
    t->poly[0] = (dim_poly){0};
    return t;
}

void dim_table_free(dim_table *t)
{
    if (!t) return;
    arena_free(&t->mem);
    mem_free(t->poly);
    mem_free(t->mono);
    mem_free(t->floor);
    mem_free(t->name);
    mem_free(t->name_hash);
    mem_free(t->poly_index.slot);
    mem_free(t->mono_index.slot);
    mem_free(t->floor_index.slot);
    mem_free(t->name_index.slot);
    mem_free(t);
}
