/* Where a derivative exists and is what its formula says.
 *
 * Each operator states where its own rule holds (op_info.regular). What that means for the whole is decided here. Take
 * a kink r = relu(z), with t = dz/dv the tangent of its argument and c = dy/dr the cotangent of its value. The
 * one-sided derivatives of y along v and -v differ by
 *
 *     J = sum over the entries e with z_e = 0 of  c_e |t_e| (right slope - left slope),
 *
 * so the derivative exists exactly where J = 0. If only one entry can contribute, that is z_e != 0 or c_e t_e = 0, and
 * there the formula holds too. If several can, they may cancel: J = 0 is then stated as the exact condition for
 * existence, and z_e != 0 or c_e t_e = 0 for every e as a sufficient one for the formula. */
#include "calculus/depth.h"
#include "graph/window.h"

#include <string.h>

typedef struct scope {
    cr_graph *g;
    cr_ref y;
    const calc_wrt *w;
    calc_result *out;
    bool again;     /* must hold nearby too, for a further derivative */
    bool nested;    /* some kink stands inside another's argument: a cotangent with a jump in it proves nothing */
    unsigned kinks; /* how many */
    bool choice;    /* an `if` may leave a part out, whatever that needs */
    cr_ref jump;    /* J of all kinks together, where it is a scalar; CR_NONE */
    bool jump_fails;
} scope;

static bool is_zero(const cr_graph *g, cr_ref r)
{
    double v;
    return is_const(g, r, &v) && v == 0;
}

static cr_ref any_axes(cr_graph *g, cr_op op, cr_ref c, unsigned keep)
{
    return valid(g, c) && cr_rank(g, c) > keep ? cr_reduce(g, op, c, keep) : c;
}

/* ---- collecting ----------------------------------------------------------------------------------- */

/* Does `inside` stand in the body of `bind` with its index free there: under no other binder of the same symbol? */
static bool is_bound_by(cr_graph *g, cr_ref bind, cr_ref inside, const cr_ref *cone, size_t n)
{
    if (!calc_depends_on(g, in_of(g, bind, 0), inside)) return false;
    for (size_t i = 0; i < n; i++)
        if (cone[i] != bind && op_of(g, cone[i]) == CR_OP_BIND && attr_of(g, cone[i], 1) == attr_of(g, bind, 1) &&
            calc_depends_on(g, in_of(g, bind, 0), cone[i]) && calc_depends_on(g, in_of(g, cone[i], 0), inside))
            return false;
    return true;
}

/* A condition inside a binder must hold for all values of the index; inside several, for those of each. Inner binders
 * first, as their ranges may use outer indices. */
cr_ref calc_for_all(cr_graph *g, cr_ref cond, cr_ref r, const cr_ref *cone, size_t n)
{
    cr_ref all = CR_NONE;
    for (size_t i = 0; i < n && valid(g, cond); i++) {
        dim_sym sym;
        if (op_of(g, cone[i]) != CR_OP_BIND || !dim_is_symbol(g->dims, attr_of(g, cone[i], 1), &sym)) continue;
        if (!depends_on_symbol(g, cond, sym) || !is_bound_by(g, cone[i], r, cone, n)) continue;
        cr_ref one =
            cr_bind(g, CR_BIND_ALL, name_text(g->dims, sym), attr_of(g, cone[i], 2), attr_of(g, cone[i], 3), cond);
        one = one ? calc_for_all(g, one, cone[i], cone, n) : CR_NONE;
        if (!one) return CR_NONE;
        all = all ? cr_map2(g, CR_OP_AND, all, one) : one;
    }
    return all ? all : cond;
}

static cr_ref close_binders(scope *s, cr_ref cond, cr_ref r, const cr_ref *cone, size_t n)
{
    return calc_for_all(s->g, cond, r, cone, n);
}

static bool is_above_zero(const cr_graph *g, cr_ref c) { return op_of(g, c) == CR_OP_LT && is_zero(g, in_of(g, c, 0)); }

bool calc_condition_add(cr_graph *g, calc_result *out, cr_ref cond, calc_kind kind)
{
    cond = valid(g, cond) ? cr_simplify(g, any_axes(g, CR_OP_ALLR, cond, 0)) : CR_NONE;
    if (!cond) return false;
    if (op_of(g, cond) == CR_OP_CONST && attr_double(g, cond, 0) != 0) return true; /* holds everywhere */
    if (op_of(g, cond) == CR_OP_AND) /* read one by one */
        return calc_condition_add(g, out, in_of(g, cond, 0), kind) &&
               calc_condition_add(g, out, in_of(g, cond, 1), kind);
    for (size_t i = 0; i < out->n_conditions; i++) {
        calc_condition *c = &out->condition[i];
        if (c->cond == cond ||
            (is_above_zero(g, c->cond) && cond == cr_map2(g, CR_OP_NE, in_of(g, c->cond, 1), in_of(g, c->cond, 0))))
            return true;
        if (is_above_zero(g, cond) &&
            c->cond == cr_map2(g, CR_OP_NE, in_of(g, cond, 1), in_of(g, cond, 0))) { /* the stronger one */
            *c = (calc_condition){.cond = cond, .kind = kind};
            return true;
        }
    }
    size_t n = out->n_conditions;
    calc_condition *c = mem_realloc(out->condition, (n + 1) * sizeof *c);
    if (!c) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        return false;
    }
    out->condition = c;
    c[n] = (calc_condition){.cond = cond, .kind = kind};
    out->n_conditions++;
    return true;
}

static bool add_condition(scope *s, cr_ref cond, calc_kind kind)
{
    return calc_condition_add(s->g, s->out, cond, kind);
}

/* ---- one kink --------------------------------------------------------------------------------------- */

/* The product s = c t over axes K (of y), e (of z), V (of a whole variable), after the deltas in it have been read:
 * which entries e can contribute, and with what. */
typedef struct reach {
    cr_ref z;    /* argument at those entries, axes e' */
    cr_ref s;    /* what is multiplied there, axes e', others */
    cr_ref c, t; /* factors of s over e only, if V and K are empty; else CR_NONE */
    unsigned e;  /* number of axes e' */
    bool single; /* every entry of y meets at most one entry of z */
} reach;

/* Reads one-hots and identities off s[K, e, V]. */
static bool read_reach(scope *sc, cr_ref z, cr_ref s, unsigned k, reach *out)
{
    cr_graph *g = sc->g;
    const cr_shape *zs = shape_of(g, z);
    unsigned r = zs->rank, rank = cr_rank(g, s);
    enum { KEEP, GONE } axis[CR_MAX_RANK] = {KEEP};
    cr_ref fixed[CR_MAX_RANK] = {0};
    bool tied[CR_MAX_RANK] = {false};
    cr_ref in[EINSUM_MAX_LABELS];
    uint8_t label[EINSUM_MAX_LABELS * 4], to[EINSUM_MAX_LABELS];
    unsigned n = 0, m = 0;
    static const uint32_t own_axes[2] = {0, 1};
    einsum_view v = {.n = 0};
    uint8_t alias[CR_MAX_RANK]; /* axis that an identity equates with this one */
    for (unsigned i = 0; i < CR_MAX_RANK; i++) alias[i] = (uint8_t)i;
    if (op_of(g, s) == CR_OP_EINSUM) einsum_read(g, s, &v);
    else if (op_of(g, s) == CR_OP_ONEHOT || op_of(g, s) == CR_OP_IDENTITY)
        v = (einsum_view){.n = 1, .rank = rank, .operand = &s, .labels = own_axes};
    if (v.n > EINSUM_MAX_LABELS) v.n = 0;
    const uint32_t *l = v.labels;
    bool skip[EINSUM_MAX_LABELS] = {false};
    for (uint32_t i = 0; i < v.n; l += shape_of(g, v.operand[i])->rank, i++) {
        cr_op op = op_of(g, v.operand[i]);
        if (op == CR_OP_ONEHOT && l[0] < rank && !fixed[l[0]]) { /* only this entry of the axis counts */
            fixed[l[0]] = v.operand[i];
            axis[l[0]] = GONE;
            skip[i] = true;
        } else if (op == CR_OP_IDENTITY && l[0] < rank && l[1] < rank && alias[l[0]] == l[0] && alias[l[1]] == l[1]) {
            uint32_t e = l[0] >= k && l[0] < k + r ? l[0] : l[1], other = e == l[0] ? l[1] : l[0];
            if (e < k || e >= k + r || (other >= k && other < k + r)) continue;
            alias[other] = (uint8_t)e;
            axis[other] = GONE;
            tied[e] =
                true; /* with an axis of y: one entry each; of the variable: directions that move one entry alone */
            skip[i] = true;
        }
    }
    /* s over e', then the other axes that are left */
    cr_dim shape[CR_MAX_RANK];
    unsigned next = 0;
    memset(to, 255, sizeof to);
    out->single = true;
    for (unsigned a = k; a < k + r; a++) {
        out->single = out->single && (axis[a] == GONE || tied[a]);
        if (axis[a] == KEEP) {
            shape[next] = shape_of(g, s)->dim[a];
            to[a] = (uint8_t)next++;
        }
    }
    out->e = next;
    for (unsigned a = 0; a < rank; a++)
        if ((a < k || a >= k + r) && axis[a] == KEEP) {
            shape[next] = shape_of(g, s)->dim[a];
            to[a] = (uint8_t)next++;
        }
    unsigned outputs = next;
    if (v.n) {
        l = v.labels;
        for (uint32_t i = 0; i < v.n; i++)
            for (unsigned a = 0; a < shape_of(g, v.operand[i])->rank; a++, l++) {
                uint32_t x = *l < rank ? alias[*l] : *l;
                if (skip[i]) continue;
                if (to[x] == 255) to[x] = (uint8_t)next++;
                if (next > EINSUM_MAX_LABELS || m >= sizeof label) return false;
                label[m++] = to[x];
            }
        for (uint32_t i = 0; i < v.n; i++)
            if (!skip[i]) in[n++] = v.operand[i];
        /* An axis fixed by a one-hot may still stand at another factor: pick the entry there. */
        for (unsigned a = 0; a < rank; a++)
            if (fixed[a] && to[a] != 255 && n < EINSUM_MAX_LABELS) {
                in[n++] = fixed[a];
                label[m++] = to[a];
            }
        out->s = n ? cr_einsum(g, n, in, label, outputs, shape) : cr_full(g, cr_const(g, 1), outputs, shape);
    } else { /* no product: only move the axes */
        for (unsigned a = 0; a < rank; a++) label[m++] = to[a];
        out->s = cr_einsum(g, 1, &s, label, outputs, shape);
    }
    n = 0;
    m = 0;
    in[n++] = z;
    cr_dim zshape[CR_MAX_RANK];
    unsigned zr = 0;
    uint8_t extra = (uint8_t)r;
    for (unsigned a = 0; a < r; a++) {
        if (axis[k + a] == KEEP) {
            zshape[zr] = zs->dim[a];
            label[m++] = (uint8_t)zr++;
        } else {
            label[m++] = (uint8_t)(extra + 1 + a);
        }
    }
    for (unsigned a = 0; a < r; a++)
        if (axis[k + a] == GONE) {
            in[n++] = fixed[k + a];
            label[m++] = (uint8_t)(extra + 1 + a);
        }
    out->z = cr_einsum(g, n, in, label, zr, zshape);
    return out->s && out->z;
}

/* s[K, e, V] = c[K, e] t[e, V] */
static cr_ref pair(cr_graph *g, cr_ref c, cr_ref t, unsigned k, unsigned r)
{
    if (!valid(g, c) || !valid(g, t)) return CR_NONE;
    const cr_shape *cs = shape_of(g, c), *ts = shape_of(g, t);
    unsigned rank = cs->rank + ts->rank - r;
    uint8_t label[2 * CR_MAX_RANK];
    cr_dim shape[CR_MAX_RANK];
    unsigned n = 0;
    if (rank > CR_MAX_RANK) return CR_NONE;
    for (unsigned i = 0; i < cs->rank; i++) {
        label[n++] = (uint8_t)i;
        shape[i] = cs->dim[i];
    }
    for (unsigned i = 0; i < ts->rank; i++) {
        label[n++] = (uint8_t)(k + i);
        if (i >= r) shape[k + i] = ts->dim[i];
    }
    return cr_einsum(g, 2, (cr_ref[]){c, t}, label, rank, shape);
}

/* A sum of different one-hots with numbers for indices: some entry is not 0. */
static bool never_zero(cr_graph *g, cr_ref s)
{
    double v;
    s = cr_simplify(g, s);
    if (!s) return false;
    for (uint32_t i = 0; op_of(g, s) == CR_OP_STACK && i < node(g, s)->n_in; i++)
        if (is_const(g, in_of(g, s, i), &v) && v != 0) return true;
    if (op_of(g, s) != CR_OP_ADD || cr_rank(g, s) != 1) return false;
    for (uint32_t i = 0; i < node(g, s)->n_in; i++) {
        cr_ref t = in_of(g, s, i);
        bool hot = op_of(g, t) == CR_OP_ONEHOT;
        int64_t at;
        if (op_of(g, t) == CR_OP_EINSUM && node(g, t)->n_in == 2)
            for (uint32_t k = 0; k < 2; k++)
                if (op_of(g, in_of(g, t, k)) == CR_OP_ONEHOT && op_of(g, in_of(g, t, 1 - k)) == CR_OP_CONST) {
                    hot = true;
                    t = in_of(g, t, k);
                    break;
                }
        if (!hot || op_of(g, t) != CR_OP_ONEHOT || !dim_value(g->dims, attr_of(g, t, 0), &at)) return false;
    }
    return true; /* equal ones have been added up, and zeros dropped */
}

/* Does the cone of r hold an operator that jumps? */
static bool has_jump(cr_graph *g, cr_ref r)
{
    size_t n;
    bool found = false;
    cr_ref *cone = graph_cone(g, 1, &r, &n);
    for (size_t i = 0; cone && i < n && !found; i++) found = op_get(op_of(g, cone[i]))->smooth == JUMP;
    mem_free(cone);
    return found;
}

/* Does z move through a window? Its Jacobian is no formula that a reader could make anything of. */
static bool holds_window(cr_graph *g, cr_ref z)
{
    size_t n;
    bool found = false;
    cr_ref *cone = graph_cone(g, 1, &z, &n);
    for (size_t i = 0; cone && i < n && !found; i++) found = is_window(op_of(g, cone[i]));
    mem_free(cone);
    return found;
}

/* dy/dr for an inner node r: K x shape(r); CR_NONE if zero. */
static bool cotangent(scope *s, cr_ref r, cr_ref *c)
{
    cr_ref seed = calc_identity(s->g, s->y);
    *c = CR_NONE;
    return seed && calc_reverse(s->g, s->y, seed, 1, &r, c) == CR_OK;
}

/* c with every factor that jumps replaced by 1, if it is one product without a sum: what is left is 0 whatever side of
 * the outer kink one stands on. Else 1. */
static cr_ref robust_cotangent(cr_graph *g, cr_ref c)
{
    const cr_shape *s = shape_of(g, c);
    if (!has_jump(g, c)) return c;
    einsum_view v;
    if (op_of(g, c) == CR_OP_EINSUM) {
        einsum_read(g, c, &v);
        cr_ref in[EINSUM_MAX_LABELS];
        uint8_t label[EINSUM_MAX_LABELS * 4];
        unsigned n = 0, m = 0;
        const uint32_t *l = v.labels;
        if (v.n_labels == v.rank && v.n <= EINSUM_MAX_LABELS) {
            for (uint32_t i = 0; i < v.n; l += shape_of(g, v.operand[i])->rank, i++) {
                if (has_jump(g, v.operand[i])) continue;
                in[n++] = v.operand[i];
                for (unsigned a = 0; a < shape_of(g, v.operand[i])->rank; a++) label[m++] = (uint8_t)l[a];
            }
            if (n) return cr_einsum(g, n, in, label, s->rank, s->dim);
        }
    }
    return cr_full(g, cr_const(g, 1), s->rank, s->dim);
}

/* Do the entries of a depend on z entry by entry, its axes `off` and on being those of z? Then the kink set of one
 * entry is where that entry of z is 0, whatever the others are. */
static bool entry_by_entry(cr_graph *g, cr_ref a, cr_ref z, unsigned off, unsigned depth)
{
    const cr_node *n = node(g, a);
    unsigned r = cr_rank(g, z), rank = cr_rank(g, a);
    op_kind kind = op_get((cr_op)n->op)->kind;
    if (a == z) return off == 0;
    if (!calc_depends_on(g, a, z)) return true;
    if (depth > 60 || off + r > rank) return false;
    if (n->op == CR_OP_EINSUM) {
        const uint32_t *l = n->word + n->n_in;
        for (uint32_t i = 0; i < n->n_in; l += cr_rank(g, n->word[i]), i++) {
            if (!calc_depends_on(g, n->word[i], z)) continue;
            unsigned own = cr_rank(g, n->word[i]), at = 0;
            while (at + r <= own && l[at] != off) at++;
            if (at + r > own) return false;
            for (unsigned k = 0; k < r; k++)
                if (l[at + k] != off + k) return false;
            if (!entry_by_entry(g, n->word[i], z, at, depth + 1)) return false;
        }
        return true;
    }
    if (kind != KIND_MAP1 && kind != KIND_MAP2 && kind != KIND_CMP && n->op != CR_OP_ADD && n->op != CR_OP_SELECT &&
        n->op != CR_OP_CALL)
        return false;
    for (uint32_t i = 0; i < n->n_in; i++)
        if (!entry_by_entry(g, n->word[i], z, off, depth + 1)) return false;
    return true;
}

/* Is the expression 0 where its part z is 0 (all of it)? */
static bool vanishes_at_zero(cr_graph *g, cr_ref a, cr_ref z)
{
    const cr_shape *s = shape_of(g, z);
    cr_ref zero = cr_full(g, cr_const(g, 0), s->rank, s->dim), there = CR_NONE;
    if (!zero || cr_rebuild(g, 1, &a, 1, &z, &zero, &there) != CR_OK) return false;
    there = cr_simplify(g, there);
    return there && is_zero(g, there);
}

/* s = 0 for all of its axes but the first e: c_i t_ij = 0 for all j is c_i = 0, or t_ij = 0 for all j. */
static cr_ref vanishes(cr_graph *g, cr_ref s, unsigned e)
{
    cr_ref zero = cr_const(g, 0), part[2] = {CR_NONE, CR_NONE};
    einsum_view v;
    unsigned rank = cr_rank(g, s);
    if (op_of(g, s) != CR_OP_EINSUM || rank == e) return any_axes(g, CR_OP_ALLR, cr_map2(g, CR_OP_EQ, s, zero), e);
    einsum_read(g, s, &v);
    for (unsigned late = 0; late < 2; late++) {
        cr_ref in[EINSUM_MAX_LABELS];
        uint8_t label[EINSUM_MAX_LABELS * 4];
        unsigned n = 0, m = 0;
        const uint32_t *l = v.labels;
        if (v.n > EINSUM_MAX_LABELS) break;
        for (uint32_t i = 0; i < v.n; l += shape_of(g, v.operand[i])->rank, i++) {
            unsigned r = shape_of(g, v.operand[i])->rank;
            bool later = v.n_labels > v.rank; /* sums hold factors together */
            for (unsigned a = 0; a < r; a++) later |= l[a] >= e;
            if (later != late) continue;
            in[n++] = v.operand[i];
            for (unsigned a = 0; a < r; a++) label[m++] = (uint8_t)l[a];
        }
        if (n) part[late] = cr_einsum(g, n, in, label, late ? rank : e, shape_of(g, s)->dim);
    }
    if (!part[0] || !part[1]) return any_axes(g, CR_OP_ALLR, cr_map2(g, CR_OP_EQ, s, zero), e);
    return cr_map2(g, CR_OP_OR, cr_map2(g, CR_OP_EQ, part[0], zero),
                   any_axes(g, CR_OP_ALLR, cr_map2(g, CR_OP_EQ, part[1], zero), e));
}

/* The condition of a kink at z = 0 whose argument moves by t. `jumps`: not continuous, so that t = 0 does not help. */
static bool kink_at_zero(scope *s, cr_ref r, cr_ref z, bool jumps, double slope_gap, const cr_ref *cone, size_t n)
{
    enum { MANY = 24 }; /* a network of kinks, or a window: stated as it stands, without asking what moves it */
    cr_graph *g = s->g;
    unsigned k = cr_rank(g, s->y), rank = cr_rank(g, z);
    cr_ref c, t, strict = cr_map2(g, CR_OP_NE, z, cr_const(g, 0));
    if (s->kinks > MANY || holds_window(g, z)) {
        s->jump_fails = true;
        return add_condition(s, close_binders(s, strict, r, cone, n), COND_SUFFICIENT);
    }
    if (!(t = calc_partial(g, z, s->w, false))) return false;
    cr_ref ts = cr_simplify(g, t);
    if (!ts) return false;
    if (is_zero(g, ts)) return true; /* z does not move */
    strict = close_binders(s, strict, r, cone, n);
    bool bound = strict && strict != cr_map2(g, CR_OP_NE, z, cr_const(g, 0));
    if (bound) { /* inside a binder: no cotangent of its own */
        s->jump_fails = true;
        return add_condition(s, strict, COND_SUFFICIENT);
    }
    if (!cotangent(s, r, &c)) return false;
    if (!c) return true;
    cr_ref firm = s->nested ? robust_cotangent(g, c) : c;
    cr_ref both = pair(g, firm, t, k, rank);
    reach a;
    if (both && !jumps && (rank == 0 || entry_by_entry(g, both, z, k, 0)) && vanishes_at_zero(g, both, z))
        return true; /* relu(z)^2: the cotangent vanishes on the kink */
    if (g->err.status != CR_OK) return false;
    if (!(c = cr_simplify(g, c))) return false;
    if (is_zero(g, c)) return true;
    if (both) both = cr_simplify(g, both);
    if (both && is_zero(g, both)) return true;
    if (!both || !read_reach(s, z, both, k, &a)) {
        s->jump_fails = true;
        return g->err.status == CR_OK && add_condition(s, strict, COND_SUFFICIENT);
    }
    if (!jumps && cr_rank(g, a.z) == 0) { /* relu(x)[1]^2: one entry after all */
        cr_ref at = cr_simplify(g, a.z), with = cr_simplify(g, a.s);
        if (!at || !with) return false;
        if (vanishes_at_zero(g, with, at)) return true;
        if (g->err.status != CR_OK) return false;
    }
    cr_ref off = cr_map2(g, CR_OP_NE, a.z, cr_const(g, 0));
    bool exact = a.single && s->kinks == 1 && !s->nested && !s->again && !has_jump(g, c);
    if (jumps || s->again) { /* a jump where z = 0 is harmless only if z stays 0, which first order does not tell */
        double v;
        s->jump_fails = true;
        return add_condition(s, off, exact && is_const(g, cr_simplify(g, a.s), &v) ? COND_EXACT : COND_SUFFICIENT);
    }
    /* J, where it is one number */
    if (k == 0 && cr_rank(g, t) == rank && !s->nested) {
        cr_ref size = pair(g, c, cr_map(g, CR_OP_ABS, t), 0, rank);
        cr_ref on = cr_select(g, cr_map2(g, CR_OP_EQ, z, cr_const(g, 0)), size, cr_const(g, 0));
        cr_ref sum = cr_mul(g, cr_const(g, slope_gap), cr_sum(g, on));
        s->jump = s->jump ? cr_add(g, s->jump, sum) : sum;
    } else {
        s->jump_fails = true;
    }
    cr_ref still = vanishes(g, a.s, a.e);
    if (never_zero(g, a.s)) still = cr_bool(g, false);
    return add_condition(s, still && cr_rank(g, still) != cr_rank(g, off) ? off : cr_map2(g, CR_OP_OR, off, still),
                         exact ? COND_EXACT : COND_SUFFICIENT);
}

/* ---- one operator ------------------------------------------------------------------------------------ */

/* Is the argument the variable itself, or an entry of it? Then it takes every value. */
static bool moves_freely(const cr_graph *g, cr_ref z, cr_ref var)
{
    unsigned found = 0;
    if (z == var) return true;
    if (op_of(g, z) != CR_OP_EINSUM) return false;
    for (uint32_t i = 0; i < node(g, z)->n_in; i++) {
        found += in_of(g, z, i) == var;
        if (in_of(g, z, i) != var && op_of(g, in_of(g, z, i)) != CR_OP_ONEHOT) return false;
    }
    return found == 1;
}

/* A condition `regular` of the shape of r's entries, restricted to the entries that y uses. */
static cr_ref used_entries(scope *s, cr_ref r, cr_ref regular)
{
    cr_graph *g = s->g;
    cr_ref c;
    reach a;
    if (cr_rank(g, regular) == 0 || cr_rank(g, regular) != cr_rank(g, r)) return regular;
    if (!cotangent(s, r, &c) || !c || !(c = cr_simplify(g, c))) return regular;
    /* The indicator of the condition stands in for z: its selected entries are what must be 1. */
    cr_ref one = cr_full(g, cr_const(g, 1), cr_rank(g, regular), shape_of(g, regular)->dim);
    cr_ref mask =
        cr_select(g, regular, one, cr_full(g, cr_const(g, 0), cr_rank(g, regular), shape_of(g, regular)->dim));
    if (!mask || !read_reach(s, mask, c, cr_rank(g, s->y), &a)) return regular;
    if (a.e == cr_rank(g, regular)) return regular;
    cr_op op = op_of(g, regular);
    if (op == CR_OP_EQ || op == CR_OP_NE || op == CR_OP_LT || op == CR_OP_LE) { /* select on both sides */
        reach x, y;
        if (read_reach(s, in_of(g, regular, 0), c, cr_rank(g, s->y), &x) &&
            read_reach(s, in_of(g, regular, 1), c, cr_rank(g, s->y), &y))
            return cr_map2(g, op, x.z, y.z);
    }
    return cr_map2(g, CR_OP_EQ, a.z, cr_const(g, 1));
}

static bool operator_condition(scope *s, cr_ref r, const bool *dep, const cr_ref *cone, size_t n)
{
    cr_graph *g = s->g;
    cr_op op = op_of(g, r);
    const op_info *info = op_get(op);
    double left, right;
    if ((op == CR_OP_SELECT || op == CR_OP_MAXPICK) && !dep[in_of(g, r, 0)]) return true; /* the choice does not move */
    if ((op == CR_OP_GATHER || op == CR_OP_SCATTER) && !dep[in_of(g, r, 1)]) return true; /* nor does the index */
    if (op == CR_OP_DIV && !dep[in_of(g, r, 1)] && !dep[in_of(g, r, 0)]) return true;
    if (info->slopes) {
        if (!info->slopes(g, r, &left, &right)) return false;
        return left == right || kink_at_zero(s, r, in_of(g, r, 0), false, right - left, cone, n);
    }
    if (op == CR_OP_MAX2 || op == CR_OP_MIN2) {
        cr_ref z = cr_sub(g, in_of(g, r, 0), in_of(g, r, 1));
        return z && kink_at_zero(s, r, z, false, op == CR_OP_MAX2 ? 1 : -1, cone, n);
    }
    if (op == CR_OP_STEP || op == CR_OP_SIGN) return kink_at_zero(s, r, in_of(g, r, 0), true, 0, cone, n);
    if (op == CR_OP_NORM2 && cr_rank(g, r) == 0) {
        /* along v it turns by 2 |t|: harmless where t = 0, or where its cotangent vanishes with it: |x|^2 */
        cr_ref z = in_of(g, r, 0), t = calc_partial(g, z, s->w, false), c;
        if (!t || !cotangent(s, r, &c)) return false;
        if (!c || vanishes_at_zero(g, c, z)) return g->err.status == CR_OK;
        if (!(t = cr_simplify(g, t))) return false;
        if (is_zero(g, t)) return true;
        if (s->again) return add_condition(s, close_binders(s, info->regular(g, r), r, cone, n), COND_SUFFICIENT);
        s->jump_fails = true;
        reach a; /* takes the deltas out of t: an identity is not 0 */
        cr_ref rest = read_reach(s, in_of(g, r, 0), t, 0, &a) ? a.s : t;
        cr_ref still = any_axes(g, CR_OP_ALLR, cr_map2(g, CR_OP_EQ, rest, cr_const(g, 0)), 0);
        /* Where t = 0 the derivative exists, but the formula reads 0/0 there. */
        if (!still || !(still = cr_simplify(g, still))) return false;
        bool never = op_of(g, still) == CR_OP_CONST && attr_double(g, still, 0) == 0;
        cr_ref cond = cr_map2(g, CR_OP_NE, r, cr_const(g, 0));
        return add_condition(s, close_binders(s, cond, r, cone, n),
                             never && s->kinks == 1 && r == s->y ? COND_EXACT : COND_SUFFICIENT);
    }
    cr_ref regular = info->regular(g, r);
    if (!regular) return g->err.status == CR_OK;
    if (op == CR_OP_POW && calc_sign(g, in_of(g, r, 1)) == SIGN_POS && op_of(g, in_of(g, r, 1)) == CR_OP_INT &&
        !s->again)
        return true; /* x^n for a size n: a power >= 1 */
    s->jump_fails |= info->smooth != SINGULAR;
    bool undefined_else = op == CR_OP_LOG || op == CR_OP_DIV || op == CR_OP_INV || op == CR_OP_LOGDET ||
                          op == CR_OP_TAN || op == CR_OP_MATPOW || (op == CR_OP_POW && op_of(g, regular) == CR_OP_NE);
    bool exact = undefined_else || (s->kinks <= 1 && node(g, r)->n_in && moves_freely(g, in_of(g, r, 0), s->w->var));
    double e;
    if (op == CR_OP_SELECT || op == CR_OP_PINV || op == CR_OP_ADJ || op == CR_OP_BIND || s->choice) exact = false;
    if (op == CR_OP_POW && op_of(g, regular) == CR_OP_NE && !is_const(g, in_of(g, r, 1), &e)) exact = false;
    if ((info->kind == KIND_REDUCE || is_window(op)) && (s->w->n_index || r != s->y))
        exact = false; /* other entries may tie, or not count */
    return add_condition(s, close_binders(s, used_entries(s, r, regular), r, cone, n),
                         exact ? COND_EXACT : COND_SUFFICIENT);
}

/* What does not move must still have a value: log(s)*t by t needs s > 0. */
static bool value_condition(scope *s, cr_ref r, const cr_ref *cone, size_t n)
{
    cr_graph *g = s->g;
    cr_ref regular = CR_NONE;
    switch (op_of(g, r)) {
    case CR_OP_SQRT: regular = cr_map2(g, CR_OP_LE, cr_const(g, 0), in_of(g, r, 0)); break;
    case CR_OP_ASIN:
    case CR_OP_ACOS:
        regular = cr_map2(g, CR_OP_LE, cr_map(g, CR_OP_ABS, in_of(g, r, 0)), cr_const(g, 1));
        break;
    case CR_OP_LOG:
    case CR_OP_DIV:
    case CR_OP_POW:
    case CR_OP_INV:
    case CR_OP_LOGDET:
    case CR_OP_MATPOW: regular = op_get(op_of(g, r))->regular(g, r); break;
    default: return true;
    }
    if (!regular) return g->err.status == CR_OK;
    return add_condition(s, close_binders(s, used_entries(s, r, regular), r, cone, n),
                         s->choice || op_of(g, r) == CR_OP_POW ? COND_SUFFICIENT : COND_EXACT);
}

/* ---- the whole ---------------------------------------------------------------------------------------- */

cr_ref calc_opened(cr_graph *g, cr_ref y)
{
    for (int depth = 0; depth < 32 && valid(g, y); depth++) {
        size_t n, m = 0;
        cr_ref *cone = graph_cone(g, 1, &y, &n);
        cr_ref *from = mem_alloc((n + 1) * sizeof *from), *to = mem_alloc((n + 1) * sizeof *to);
        bool ok = cone && from && to;
        for (size_t i = 0; ok && i < n; i++) {
            cr_ref r = cone[i], by = CR_NONE;
            const cr_node *nd = node(g, r);
            if (nd->op == CR_OP_CALL && g->fun[nd->word[1]].body) {
                cr_ref d = g->fun[nd->word[1]].body;
                for (uint32_t o = nd->word[2]; o > 0 && d; o--) d = cr_derivative(g, d, g->fun[nd->word[1]].arg);
                by = graph_inline(g, d, g->fun[nd->word[1]].arg, nd->word[0]);
            } else if (nd->op == CR_OP_NORM1 && cr_rank(g, r) == 0) {
                by = cr_sum(g, cr_map(g, CR_OP_ABS, nd->word[0]));
            } else if (nd->op == CR_OP_NORM_INF) {
                by = cr_reduce(g, CR_OP_MAXR, cr_map(g, CR_OP_ABS, nd->word[0]), nd->word[1]);
            }
            ok = g->err.status == CR_OK;
            if (by && ok) {
                from[m] = r;
                to[m++] = by;
                break; /* one at a time: the replacement changes what stands above */
            }
        }
        cr_ref next = CR_NONE;
        if (ok && m) ok = cr_rebuild(g, 1, &y, (unsigned)m, from, to, &next) == CR_OK;
        mem_free(cone);
        mem_free(from);
        mem_free(to);
        if (!ok) return CR_NONE;
        if (!m) return y;
        y = next;
    }
    return y;
}

cr_status calc_conditions(cr_graph *g, cr_ref y, const calc_wrt *w, bool again, calc_result *out)
{
    scope s = {.g = g, .w = w, .out = out, .again = again};
    size_t n, first = out->n_conditions;
    s.y = calc_pushed(g, calc_opened(g, y));
    cr_ref *cone = s.y ? graph_cone(g, 1, &s.y, &n) : NULL;
    if (!cone) return g->err.status;
    bool *dep = mem_zalloc((size_t)s.y + 1, sizeof *dep), *kinked = mem_zalloc((size_t)s.y + 1, sizeof *kinked);
    bool ok = dep && kinked;
    if (!ok) graph_fail(g, CR_ENOMEM, "out of memory");
    if (ok && w->var <= s.y) dep[w->var] = true;
    for (size_t i = 0; i < n && ok; i++) {
        const cr_node *nd = node(g, cone[i]);
        bool inner = false;
        if (nd->op == CR_OP_MEMBER) dep[cone[i]] = depth_rests_on(g, cone[i], w->var);
        for (uint32_t k = 0; k < nd->n_in; k++) {
            dep[cone[i]] |= dep[nd->word[k]];
            inner |= kinked[nd->word[k]];
        }
        op_smooth smooth = op_get((cr_op)nd->op)->smooth;
        bool chooses = nd->op == CR_OP_SELECT || nd->op == CR_OP_MAXPICK; /* by its first operand */
        bool kink = dep[cone[i]] && (smooth == KINK || (smooth == JUMP && (!chooses || dep[nd->word[0]])));
        s.kinks += kink;
        s.choice |= nd->op == CR_OP_SELECT;
        s.nested |= kink && inner;
        kinked[cone[i]] = inner || kink;
    }
    for (size_t i = 0; i < n && ok; i++) {
        bool moves = false;
        const cr_node *nd = node(g, cone[i]);
        for (uint32_t k = 0; k < nd->n_in; k++) moves |= dep[nd->word[k]];
        const op_info *info = op_get((cr_op)nd->op);
        if (moves && (info->regular || info->slopes)) ok = operator_condition(&s, cone[i], dep, cone, n);
        else if (!moves && info->regular) ok = value_condition(&s, cone[i], cone, n);
    }
    if (ok && g->n_family > 1) {
        s.jump_fails |= depth_rests_on(g, s.y, w->var);
        ok = depth_conditions(g, s.y, w, out) == CR_OK;
    }
    /* Several entries or several kinks: existence exactly, beside what is sufficient for the formula. */
    bool all_exact = true;
    for (size_t i = first; i < out->n_conditions; i++) all_exact = all_exact && out->condition[i].kind == COND_EXACT;
    if (ok && s.jump && !s.jump_fails && !all_exact) {
        size_t at = out->n_conditions;
        cr_ref none = cr_map2(g, CR_OP_EQ, cr_simplify(g, s.jump), cr_const(g, 0));
        ok = none && add_condition(&s, none, COND_EXACT);
        if (ok && out->n_conditions == at + 1) { /* stated first */
            calc_condition c = out->condition[at];
            c.existence = true;
            memmove(out->condition + first + 1, out->condition + first, (at - first) * sizeof c);
            out->condition[first] = c;
        }
    }
    mem_free(kinked);
    mem_free(dep);
    mem_free(cone);
    if (!ok && g->err.status == CR_OK) graph_fail(g, CR_EINTERNAL, "the conditions could not be found");
    return ok ? CR_OK : g->err.status;
}
