/* One point, one choice of the free indices: every entry of the derivative against numbers that know nothing of it. */
#include "program/program.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- directions ------------------------------------------------------------------------------- */

double check_direction(cr_graph *g, const calc_wrt *w, const int64_t *dim, size_t c, unsigned flags, double *v)
{
    unsigned bits = attr_of(g, w->var, 1);
    v[c] = 1;
    if (shape_of(g, w->var)->rank != 2) return 1;
    size_t n = (size_t)dim[1], i = c / n, j = c % n;
    if (i == j) return 1;
    if (bits & CR_DIAGONAL) {
        v[c] = 0;
        return 0;
    }
    if (!(bits & (CR_SYMMETRIC | CR_DEFINITE))) return 1;
    v[j * n + i] = 1; /* both entries move */
    return flags & CR_GRADIENT ? 0.5 : 1;
}

/* Entries that move: all, one, or those of a member of a family. */
static size_t n_moving(const cr_graph *g, const calc_wrt *w, const int64_t *dim)
{
    size_t n = 1;
    for (unsigned k = w->n_index; k < shape_of(g, w->var)->rank; k++) n *= (size_t)dim[k];
    return n;
}

/* Number of the (first) entry that the index of w means; false if it is out of range or open. */
static bool entry_of(const cr_graph *g, const exec_env *env, const calc_wrt *w, const int64_t *dim, size_t *c)
{
    *c = 0;
    for (unsigned k = 0; k < w->n_index; k++) {
        int64_t i;
        if (!values_dim(g, env, w->index[k], &i) || i < 1 || i > dim[k]) return false;
        *c = *c * (size_t)dim[k] + (size_t)(i - 1);
    }
    *c *= n_moving(g, w, dim);
    if (w->n_index == 0) *c = 0;
    return true;
}

/* ---- names of entries ------------------------------------------------------------------------- */

/* Entry c as [2,1]. members: the first axis runs over the members of a family, from `first` on: [2][1,3]. */
static void put_index(strbuf *b, size_t c, unsigned rank, const int64_t *dim, bool members, int64_t first)
{
    int64_t at[CR_MAX_RANK];
    for (unsigned k = rank; k-- > 0;) {
        at[k] = (int64_t)(c % (size_t)dim[k]) + 1;
        c /= (size_t)dim[k];
    }
    if (members && rank) at[0] += first - 1;
    for (unsigned k = 0; k < rank; k++)
        sb_printf(b, "%s%" PRId64, k == 0 ? "[" : k == 1 && members ? "][" : ",", at[k]);
    if (rank) sb_putc(b, ']');
}

/* What is derived, as the query has it: `f` of "derive f wrt x". */
static void put_subject(const lang_statement *st, strbuf *b)
{
    const char *s = strchr(st->query, ' '), *end = s ? strstr(s, " wrt ") : NULL;
    if (!end || end - s > 25 || end - s < 2) {
        sb_putc(b, 'f');
        return;
    }
    size_t n = (size_t)(end - ++s), word = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    bool name = word >= n || (word > 0 && s[word] == '(' && memchr(s, ')', n) == s + n - 1); /* f, relu(f) */
    if (!name) sb_putc(b, '(');
    sb_write(b, s, n);
    if (!name) sb_putc(b, ')');
}

/* Entry e of the derivative d of level l: "W[2,1]", "f[3] / x[2]", "x[1], x[2]". */
static const char *entry_name(check_work *w, const exec_env *env, const check_level *l, const int64_t *dim, size_t e)
{
    const cr_graph *g = w->p->g;
    strbuf b;
    sb_init(&b);
    unsigned axis = shape_of(g, w->st->expr)->rank;
    size_t below = 1; /* entries of the axes from `axis` on */
    for (unsigned k = axis; k < shape_of(g, l->d)->rank; k++) below *= (size_t)dim[k];
    if (axis) {
        put_subject(w->st, &b);
        put_index(&b, e / below, axis, dim, false, 1);
        sb_puts(&b, " / ");
        e %= below;
    }
    for (unsigned k = 0; k < l->order; k++) {
        const calc_wrt *x = &w->st->wrt[k];
        unsigned rank = shape_of(g, x->var)->rank - x->n_index;
        cr_dim from = family_first(g, x->var);
        int64_t first = 1;
        if (from && !values_dim(g, env, from, &first)) first = 1;
        if (k) sb_puts(&b, ", ");
        sb_puts(&b, name_text(g->dims, attr_of(g, x->var, 0)));
        for (unsigned i = 0; i < x->n_index; i++) {
            int64_t v = 0;
            values_dim(g, env, x->index[i], &v);
            if (from && i == 0) v += first - 1;
            sb_printf(&b, "%s%" PRId64 "%s", i == 0 ? "[" : from && i == 1 ? "][" : ",", v,
                      i + 1 == x->n_index ? "]" : "");
        }
        for (unsigned i = 0; i < rank; i++) below /= (size_t)dim[axis + i];
        put_index(&b, e / below, rank, dim + axis, from && !x->n_index, first);
        e %= below;
        axis += rank;
    }
    return result_buffer(w->mem, &b);
}

/* ---- the numbers of one level ----------------------------------------------------------------- */

typedef struct level_numbers {
    exec_array f, d;         /* value before, formula */
    double *numeric, *error; /* by entry of d; NaN: not looked at */
    double *left, *right;
    double *noise;         /* how far rounding may carry the numbers of an entry; see measure_noise */
    unsigned char *exists; /* cr_answer */
    bool *on_ray;          /* a kink was met, or is too near to tell */
    size_t n_x;            /* entries of the variable; 1 if the query names one */
    double *v, *minus;
} level_numbers;

static void numbers_free(level_numbers *q)
{
    exec_array_free(&q->f);
    exec_array_free(&q->d);
    mem_free(q->numeric);
    mem_free(q->error);
    mem_free(q->left);
    mem_free(q->right);
    mem_free(q->exists);
    mem_free(q->noise);
    mem_free(q->on_ray);
    mem_free(q->v);
    mem_free(q->minus);
}

static cr_status numbers_init(check_work *w, exec_env *env, const check_level *l, level_numbers *q)
{
    cr_graph *g = w->p->g;
    cr_status s = exec_eval(g, env, l->f, &q->f);
    if (s == CR_OK) s = exec_eval(g, env, l->d, &q->d);
    if (s != CR_OK) return s;
    size_t n = q->d.n, n_var = exec_value(env, l->w->var)->n;
    q->n_x = n_moving(g, l->w, exec_value(env, l->w->var)->dim);
    q->numeric = mem_alloc(n * sizeof(double));
    q->error = mem_zalloc(n, sizeof(double));
    q->left = mem_alloc(n * sizeof(double));
    q->right = mem_alloc(n * sizeof(double));
    q->exists = mem_alloc(n);
    q->noise = mem_zalloc(n, sizeof(double));
    q->on_ray = mem_zalloc(n, sizeof(bool));
    q->v = mem_alloc(n_var * sizeof(double));
    q->minus = mem_alloc(n_var * sizeof(double));
    if (!q->numeric || !q->error || !q->left || !q->right || !q->exists || !q->noise || !q->on_ray || !q->v ||
        !q->minus)
        return prog_oom(w->p);
    for (size_t i = 0; i < n; i++) {
        q->numeric[i] = q->left[i] = q->right[i] = NAN;
        q->exists[i] = CR_UNDECIDED;
    }
    return CR_OK;
}

/* Both one-sided derivatives along v. An operator without a series leaves everything undecided. */
static cr_status decide_direction(check_work *w, exec_env *env, const check_level *l, level_numbers *q, size_t c,
                                  double factor, check_case_counts *count)
{
    cr_graph *g = w->p->g;
    exec_ray up = {0}, down = {0};
    size_t n_var = exec_value(env, l->w->var)->n;
    for (size_t i = 0; i < n_var; i++) q->minus[i] = -q->v[i];
    cr_status s = exec_one_sided(g, env, l->f, l->w->var, q->v, &up);
    if (s == CR_OK) s = exec_one_sided(g, env, l->f, l->w->var, q->minus, &down);
    if (s == CR_EUNSUPPORTED) {
        cr_graph_clear_error(g);
        s = CR_OK;
    } else if (s == CR_OK) {
        bool near = up.near_kink + down.near_kink > 0, kink = near || up.on_kink + down.on_kink > 0;
        if (up.on_kink > count->on) count->on = up.on_kink;
        if (up.near_kink > count->near) count->near = up.near_kink;
        for (size_t o = 0; o < q->f.n; o++) {
            size_t e = o * q->n_x + c;
            q->on_ray[e] = kink;
            double r = q->right[e] = factor * up.slope.value[o] + 0.0; /* + 0.0: a slope of -0 is one of 0 */
            double lf = q->left[e] = -factor * down.slope.value[o] + 0.0;
            double size = fmax(fabs(r), fabs(lf));
            unsigned char state = up.state[o] == 1 || down.state[o] == 1 ? 1 : up.state[o] | down.state[o];
            if (!isfinite(q->f.value[o]))
                q->exists[e] = CR_NO;
            else if (near || state == 2)
                q->exists[e] = CR_UNDECIDED;
            else if (state == 1 || !isfinite(size))
                q->exists[e] = CR_NO;
            else
                q->exists[e] = fabs(r - lf) <= 1e-9 * size ? CR_YES : CR_NO;
        }
        w->used[2] = true;
    }
    exec_ray_free(&up);
    exec_ray_free(&down);
    return s;
}

static cr_status one_direction(check_work *w, exec_env *env, const check_level *l, level_numbers *q, size_t c,
                               size_t entry, check_case_counts *count)
{
    const exec_array *x = exec_value(env, l->w->var);
    memset(q->v, 0, x->n * sizeof *q->v);
    double factor = check_direction(w->p->g, l->w, x->dim, entry, w->flags, q->v);
    if (factor == 0) { /* an entry that is fixed at 0 */
        for (size_t o = 0; o < q->f.n; o++) {
            size_t e = o * q->n_x + c;
            q->numeric[e] = 0;
            if (w->decide) q->left[e] = q->right[e] = 0;
            q->exists[e] = CR_YES;
        }
        return CR_OK;
    }
    numeric_method m = l->analytic ? NUMERIC_COMPLEX : NUMERIC_DIFFERENCES;
    numeric_slope slope;
    cr_status s = numeric_along(w->p->g, env, l->f, l->w->var, q->v, &m, &slope);
    if (s == CR_OK) {
        w->used[m] = true;
        for (size_t o = 0; o < q->f.n; o++) {
            size_t e = o * q->n_x + c;
            q->numeric[e] = factor * slope.value[o];
            q->error[e] = m == NUMERIC_COMPLEX ? -1 : fabs(factor) * slope.error[o];
        }
    }
    numeric_free(&slope);
    return s == CR_OK && w->decide ? decide_direction(w, env, l, q, c, factor, count) : s;
}

/* ---- verdicts --------------------------------------------------------------------------------- */

/* Largest finite magnitudes: what rounding errors are measured by. */
static double largest(const double *v, size_t n)
{
    double m = 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(v[i])) m = fmax(m, fabs(v[i]));
    return m;
}

/* What the differences between the numbers of entry e are measured by. */
static double entry_size(const level_numbers *q, double slope, size_t e)
{
    return fmax(fmax(fabs(q->d.value[e]), fabs(q->numeric[e])), 1e-3 * slope);
}

static bool suspicious(const level_numbers *q, double slope, size_t e)
{
    double u = q->d.value[e], tol = 1e-9 * entry_size(q, slope, e);
    return fabs(u - q->numeric[e]) > tol || fabs(q->left[e] - q->right[e]) > tol || fabs(u - q->left[e]) > tol;
}

/* x nudged by an ulp or so, signs by turns. */
static void nudge(const exec_array *x, unsigned turn, double *to)
{
    for (size_t i = 0; i < x->n; i++) {
        double step = 0x1p-51 * (x->value[i] != 0 ? x->value[i] : 1);
        to[i] = x->value[i] + ((i + turn) * 2654435761u >> 16 & 1 ? step : -step);
    }
}

/* Where a derivative is 0 by cancellation (that of sum(softmax(x))), formula and numbers are both rounding errors and
 * need not agree; where it is only small (through fifty sigmoids), they must. What tells the two apart: noise changes
 * wholly when x moves by an ulp, a value does not. Measured for the entries that look wrong, never larger than rounding
 * can be. */
static cr_status measure_noise(check_work *w, exec_env *env, const check_level *l, level_numbers *q, double slope)
{
    enum { TURNS = 3 };
    cr_graph *g = w->p->g;
    error err = {0};
    exec_array x = {0}, moved = {0};
    const exec_array *now = exec_value(env, l->w->var);
    cr_status s = exec_array_init(&x, now->rank, now->dim, &err) && exec_array_init(&moved, now->rank, now->dim, &err)
                      ? CR_OK
                      : prog_oom(w->p);
    if (s == CR_OK) memcpy(x.value, now->value, x.n * sizeof *x.value);
    double most = 1e-13 * fmax(1, largest(q->f.value, q->f.n));
    for (unsigned turn = 0; turn < TURNS && s == CR_OK; turn++) {
        exec_array d = {0};
        nudge(&x, turn, moved.value);
        s = exec_bind(env, l->w->var, &moved);
        if (s == CR_OK) s = exec_eval(g, env, l->d, &d);
        for (size_t e = 0; s == CR_OK && e < d.n; e++) {
            if (!suspicious(q, slope, e)) continue;
            double off = fabs(d.value[e] - q->d.value[e]);
            if (off > q->noise[e]) q->noise[e] = off;
            size_t c = e % q->n_x, entry = 0;
            numeric_method m = q->error[e] < 0 ? NUMERIC_COMPLEX : NUMERIC_DIFFERENCES;
            numeric_slope n;
            if (l->w->n_index && !entry_of(g, env, l->w, x.dim, &entry)) continue;
            entry += c;
            memset(q->v, 0, x.n * sizeof *q->v);
            double factor = check_direction(g, l->w, x.dim, entry, w->flags, q->v);
            if ((s = numeric_along(g, env, l->f, l->w->var, q->v, &m, &n)) == CR_OK)
                off = fabs(factor * n.value[e / q->n_x] - q->numeric[e]);
            if (off > q->noise[e]) q->noise[e] = off;
            numeric_free(&n);
            if (turn > 0 || s != CR_OK) continue;
            /* Noise that does not move, such as p - p^2 of a saturated softmax: a running bound of the rounding errors.
             */
            exec_ray ray;
            s = exec_one_sided(g, env, l->f, l->w->var, q->v, &ray);
            if (s == CR_OK && isfinite(ray.error.value[e / q->n_x]))
                q->noise[e] = fmax(q->noise[e], fabs(factor) * ray.error.value[e / q->n_x]);
            exec_ray_free(&ray);
        }
        exec_array_free(&d);
    }
    for (size_t e = 0; e < q->d.n; e++) q->noise[e] = fmin(8 * q->noise[e], most);
    if (s == CR_OK) s = exec_bind(env, l->w->var, &x);
    exec_array_free(&x);
    exec_array_free(&moved);
    err_clear(&err);
    return s;
}

/* Fills the answers of entry e; `ratio` is |difference| / tolerance, larger for the graver verdicts. */
static void judge(const check_work *w, const level_numbers *q, double slope, size_t e, cr_check_entry *out,
                  double *ratio)
{
    double u = q->d.value[e], v = q->numeric[e], size = entry_size(q, slope, e), noise = q->noise[e];
    bool complex_step = q->error[e] < 0;
    double tol = (complex_step ? 1e-9 * size : fmax(1e-6 * size, 10 * q->error[e])) + noise;
    out->exists = w->decide ? q->exists[e] : CR_YES;
    out->left = q->left[e];
    out->right = q->right[e];
    if (out->exists == CR_NO && fabs(out->left - out->right) <= noise) out->exists = CR_YES;
    double least = 1e-12 * largest(q->f.value, q->f.n); /* what differences cannot resolve anyway */
    bool settled = isfinite(v) && (complex_step || q->error[e] <= 1e-4 * size + least);
    bool close = isfinite(u) && settled && fabs(u - v) <= tol;
    if (w->decide && out->exists == CR_YES && isfinite(q->left[e])) {
        /* The series stands above differences, whose steps may cross a kink nearby; a complex step must agree too. */
        double exact = (q->left[e] + q->right[e]) / 2;
        bool same = isfinite(u) && fabs(u - exact) <= 1e-9 * fmax(size, fabs(exact)) + noise;
        close = same && (close || !complex_step || q->on_ray[e]);
        settled = true;
        v = exact;
    } else if (w->decide && out->exists == CR_UNDECIDED && complex_step && close && !q->on_ray[e]) {
        out->exists = CR_YES; /* analytic, and finite: no series needed */
    }
    out->formula = u;
    out->numeric = v;
    out->tolerance = tol;
    if (out->exists == CR_NO)
        out->agrees = CR_NO, *ratio = 1e12;
    else if (out->exists == CR_UNDECIDED || !settled)
        out->agrees = CR_UNDECIDED, *ratio = 1e9;
    else if (!close)
        out->agrees = CR_NO, *ratio = 1e10 + (isfinite(u) ? fmin(fabs(u - v) / tol, 1e9) : 1e9);
    else
        out->agrees = CR_YES, *ratio = tol > 0 ? fmin(fabs(u - v) / tol, 1) : 0;
}

static void worse(cr_answer *all, cr_answer one)
{
    if (one == CR_NO || (one == CR_UNDECIDED && *all == CR_YES)) *all = one;
}

static bool keep_arrays(check_work *w, const level_numbers *q, cr_check_case *c)
{
    exec_array a = q->d;
    if (!result_array(w->mem, &a, &c->formula)) return false;
    a.value = q->numeric;
    if (!result_array(w->mem, &a, &c->numeric)) return false;
    if (!w->decide) return true;
    a.value = q->left;
    if (!result_array(w->mem, &a, &c->left)) return false;
    a.value = q->right;
    return result_array(w->mem, &a, &c->right);
}

/* All entries of one level. The answers go into c; c->worst changes where an entry is worse than *ratio. */
static cr_status judge_level(check_work *w, exec_env *env, const check_level *l, level_numbers *q, cr_check_case *c,
                             double *ratio, bool *unreliable)
{
    double slope = fmax(largest(q->d.value, q->d.n), largest(q->numeric, q->d.n));
    bool any = false;
    for (size_t e = 0; e < q->d.n && !any; e++) any = suspicious(q, slope, e);
    cr_status s = any ? measure_noise(w, env, l, q, slope) : CR_OK;
    if (s != CR_OK) return s;
    for (size_t e = 0; e < q->d.n; e++) {
        if (isnan(q->numeric[e]) && q->exists[e] == CR_UNDECIDED && q->n_x > CHECK_MAX_DIRECTIONS)
            continue; /* left out */
        cr_check_entry one = {.order = l->order};
        double r;
        judge(w, q, slope, e, &one, &r);
        q->numeric[e] = one.numeric;
        bool bad = !isfinite(one.formula) || !isfinite(one.numeric) || one.agrees == CR_UNDECIDED;
        if (bad && !q->on_ray[e]) *unreliable = true;
        worse(&c->exists, one.exists);
        worse(&c->agrees, one.agrees);
        w->n_entries++;
        bool finding = r > 1 && w->n_findings < CHECK_MAX_FINDINGS;
        if (!(r > *ratio) && !finding) continue;
        if (!(one.name = entry_name(w, env, l, q->d.dim, e))) return prog_oom(w->p);
        if (r > *ratio) {
            c->worst = one;
            *ratio = r;
        }
        if (finding && !LIST_PUSH(w->finding, w->n_findings, w->finding_cap, one)) return prog_oom(w->p);
    }
    return CR_OK;
}

/* Partial derivatives may all exist at a kink where x as a whole has none: |x+y| - |x-y| at 0. A derivative is linear
 * in the direction, so the slopes along some directions v, signs and odd numbers, must be what the partial ones add up
 * to. */
static cr_status check_joint(check_work *w, exec_env *env, const check_level *l, level_numbers *q, cr_check_case *c,
                             double *ratio)
{
    enum { DIRECTIONS = 8 };
    cr_graph *g = w->p->g;
    unsigned attributes = attr_of(g, l->w->var, 1);
    if (attributes & (CR_SYMMETRIC | CR_DIAGONAL) || q->n_x < 2 || q->n_x > CHECK_MAX_DIRECTIONS) return CR_OK;
    size_t n_y = q->d.n / q->n_x;
    double size = fmax(largest(q->numeric, q->d.n), 1e-300);
    for (unsigned turn = 0; turn < DIRECTIONS; turn++) {
        for (size_t i = 0; i < q->n_x; i++) {
            uint32_t h = (uint32_t)(i * DIRECTIONS + turn) * 2654435761u;
            q->v[i] = turn == 0 ? 1 : (h >> 13 & 1 ? 1 : -1) * (turn < 4 ? 1 : 1 + (h >> 20) % 7 / 3.0);
        }
        exec_ray ray = {0};
        cr_status s = exec_one_sided(g, env, l->f, l->w->var, q->v, &ray);
        for (size_t e = 0; s == CR_OK && e < n_y; e++) {
            double sum = 0;
            for (size_t i = 0; i < q->n_x; i++) sum += q->v[i] * q->numeric[e * q->n_x + i];
            if (ray.state[e] == 2 || !isfinite(sum) || fabs(ray.slope.value[e] - sum) <= 1e-9 * size * (double)q->n_x)
                continue;
            strbuf b;
            sb_init(&b);
            sb_printf(&b, "%s along [", name_text(g->dims, attr_of(g, l->w->var, 0)));
            for (size_t i = 0; i < q->n_x && i < 8; i++) sb_printf(&b, "%s%.3g", i ? ", " : "", q->v[i]);
            sb_puts(&b, q->n_x > 8 ? ", ...]" : "]");
            cr_check_entry one = {.name = result_buffer(w->mem, &b),
                                  .exists = CR_NO,
                                  .agrees = CR_NO,
                                  .formula = sum,
                                  .numeric = ray.slope.value[e],
                                  .left = sum,
                                  .right = ray.slope.value[e],
                                  .order = l->order,
                                  .joint = true};
            sb_free(&b);
            c->exists = c->agrees = CR_NO;
            c->worst = one;
            *ratio = 1e12;
            if (!one.name ||
                (w->n_findings < CHECK_MAX_FINDINGS && !LIST_PUSH(w->finding, w->n_findings, w->finding_cap, one)))
                s = prog_oom(w->p);
            turn = DIRECTIONS;
            break;
        }
        exec_ray_free(&ray);
        if (s != CR_OK) return s;
    }
    return CR_OK;
}

static cr_status check_one_level(check_work *w, exec_env *env, const check_level *l, bool last, cr_check_case *c,
                                 double *ratio, bool *unreliable)
{
    level_numbers q = {0};
    check_case_counts count = {0};
    cr_status s = numbers_init(w, env, l, &q);
    size_t entry = 0;
    if (s == CR_OK && l->w->n_index && !entry_of(w->p->g, env, l->w, exec_value(env, l->w->var)->dim, &entry)) {
        graph_fail(w->p->g, CR_EVALUE, "an index of %s in `%s` is out of range",
                   name_text(w->p->g->dims, attr_of(w->p->g, l->w->var, 0)), w->st->query);
        s = CR_EVALUE;
    }
    size_t stride = q.n_x > CHECK_MAX_DIRECTIONS ? q.n_x / CHECK_MAX_DIRECTIONS + 1 : 1;
    for (size_t k = 0; s == CR_OK && k < q.n_x; k += stride)
        s = one_direction(w, env, l, &q, k, entry + k, &count);
    if (s == CR_OK) s = judge_level(w, env, l, &q, c, ratio, unreliable);
    if (s == CR_OK && w->decide && !l->w->n_index && count.on && c->exists == CR_YES)
        s = check_joint(w, env, l, &q, c, ratio);
    if (s == CR_OK && last && *ratio > w->keep_above && !keep_arrays(w, &q, c)) s = prog_oom(w->p);
    c->on_kink += count.on;
    c->near_kink += count.near;
    numbers_free(&q);
    return s;
}

cr_status check_case(check_work *w, exec_env *env, size_t n_levels, const check_level *level, cr_check_case *c,
                     double *ratio, bool *unreliable)
{
    c->exists = c->agrees = CR_YES;
    *ratio = -1;
    *unreliable = false;
    cr_status s = CR_OK;
    for (size_t i = 0; s == CR_OK && i < n_levels; i++)
        s = check_one_level(w, env, &level[i], i + 1 == n_levels, c, ratio, unreliable);
    return s == CR_OK && w->recurrent ? check_unrolled(w, env, level[n_levels - 1].d) : s;
}
