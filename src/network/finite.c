#include "network/finite.h"

#include <math.h>
#include <string.h>

size_t net_count_nonfinite(cr_type type, const void *entries, size_t n)
{
    size_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        double v;
        data_to_f64(type, (const char *)entries + i * cr_type_size(type), 1, &v);
        bad += !isfinite(v);
    }
    return bad;
}

/* ---- what a tensor holds -------------------------------------------------------------------------- */

typedef struct range {
    double min, max;
    size_t nan, inf, n;
} range;

static range range_of(cr_type type, const void *entries, size_t n)
{
    range r = {INFINITY, -INFINITY, 0, 0, n};
    for (size_t i = 0; i < n; i++) {
        double v;
        data_to_f64(type, (const char *)entries + i * cr_type_size(type), 1, &v);
        if (isnan(v)) {
            r.nan++;
            continue;
        }
        r.inf += isinf(v) != 0;
        if (v < r.min) r.min = v;
        if (v > r.max) r.max = v;
    }
    return r;
}

static bool whole(const range *r) { return r->nan == 0 && r->inf == 0; }

static void put_range(strbuf *b, const range *r)
{
    if (r->nan == r->n) {
        sb_puts(b, r->n ? "all NaN" : "no entries");
        return;
    }
    sb_printf(b, "%.4g to %.4g", r->min, r->max);
    if (r->nan) sb_printf(b, " and %zu NaN", r->nan);
}

static void put_made(strbuf *b, const range *r)
{
    if (r->nan) sb_printf(b, "%zu NaN", r->nan);
    if (r->inf) sb_printf(b, "%s%zu infinite", r->nan ? " and " : "", r->inf);
    sb_printf(b, " of %zu entries", r->n);
}

/* ---- the search ---------------------------------------------------------------------------------- */

typedef struct blame {
    network *n;
    cr_graph *g;
    net_runner *r;
    cr_ref *ref; /* what is run: leaves, then values, each once */
    range *range;
    size_t n_ref, cap;
    size_t *at; /* by ref: its place in `ref`, from 1 */
    size_t at_cap;
    bool *counts; /* by ref: a bad result rests on it */
    cr_ref top;
} blame;

static const range *range_at(const blame *b, cr_ref ref)
{
    return ref < b->at_cap && b->at[ref] ? &b->range[b->at[ref] - 1] : NULL;
}

static bool mark(blame *b, unsigned n_bad, const cr_ref *bad)
{
    size_t n;
    cr_ref *cone = graph_cone(b->g, n_bad, bad, &n);
    if (!cone) return false;
    b->top = n ? cone[n - 1] : 0;
    b->counts = mem_zalloc((size_t)b->top + 1, sizeof *b->counts);
    for (size_t i = 0; b->counts && i < n; i++) b->counts[cone[i]] = true;
    mem_free(cone);
    return b->counts != NULL;
}

static bool counts(const blame *b, cr_ref r) { return r <= b->top && b->counts[r]; }

static bool want(blame *b, cr_ref r)
{
    size_t old = b->at_cap;
    if (!VEC_RESERVE(b->at, b->at_cap, (size_t)r + 1) || !VEC_RESERVE(b->ref, b->cap, b->n_ref + 1)) return false;
    if (b->at_cap > old) memset(b->at + old, 0, (b->at_cap - old) * sizeof *b->at);
    if (b->at[r] == 0) {
        b->ref[b->n_ref++] = r;
        b->at[r] = b->n_ref;
    }
    return true;
}

static cr_status run(blame *b, const cr_plan_options *o, net_feeder *feed, void *user, error *e)
{
    cr_status status = net_runner_new(b->n, (unsigned)b->n_ref, b->ref, o, &b->r, e);
    if (status == CR_OK) status = feed(user, b->r, e);
    if (status == CR_OK) status = net_runner_run(b->r, e);
    b->range = mem_zalloc(b->n_ref + 1, sizeof *b->range);
    if (!b->range) {
        err_set(e, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    for (size_t i = 0; i < b->n_ref && status == CR_OK; i++) {
        b->range[i] =
            range_of(net_runner_type(b->r), net_runner_result(b->r, (unsigned)i), net_runner_count(b->r, (unsigned)i));
    }
    return status;
}

static void put_node(strbuf *s, const blame *b, const net_node *n, const range *made, const char *where)
{
    sb_printf(s, "%s\"%s\" (%s)%s%s is the first to make what is no finite number: ", where, n->name, n->op,
              n->within ? " in " : "", n->within ? n->within : "");
    put_made(s, made);
    for (size_t k = 0; k < n->n_operands; k++) {
        const net_operand *in = &b->n->operand[n->first_operand + k];
        const range *r = range_at(b, in->ref);
        if (!r) continue;
        sb_printf(s, "%s`%s` (", k ? ", " : "; it reads ", in->name);
        put_range(s, r);
        sb_putc(s, ')');
    }
}

/* A leaf with NaN or infinities of its own. */
static bool blame_leaf(const blame *b, strbuf *s)
{
    static const char *const role[] = {[NET_INPUT] = "input", [NET_PARAMETER] = "parameter",
                                       [NET_CONSTANT] = "constant", [NET_LABEL] = "label",
                                       [NET_COTANGENT] = "the cotangent of"};
    for (size_t i = 0; i < b->n->n_leaves; i++) {
        const net_leaf *l = &b->n->leaf[i];
        const range *r = counts(b, l->ref) ? range_at(b, l->ref) : NULL;
        if (!r || whole(r) || (l->role == NET_CONSTANT && r->nan == 0)) continue;
        sb_printf(s, "%s `%s` holds ", role[l->role], l->name);
        put_made(s, r);
        return true;
    }
    return false;
}

/* The first node that makes a non-finite value from finite ones; where infinities are constants of the model, the
 * first that makes NaN from none. */
static bool blame_node(const blame *b, strbuf *s)
{
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < b->n->n_nodes; i++) {
            const net_node *n = &b->n->node[i];
            bool clean = !n->absorbed;
            for (size_t k = 0; k < n->n_operands && clean; k++) {
                const range *r = range_at(b, b->n->operand[n->first_operand + k].ref);
                clean = !r || (pass == 0 ? whole(r) : r->nan == 0);
            }
            for (size_t k = 0; k < n->n_values && clean; k++) {
                cr_ref ref = b->n->value[n->first_value + k].ref;
                const range *r = counts(b, ref) ? range_at(b, ref) : NULL;
                if (!r || (pass == 0 ? whole(r) : r->nan == 0)) continue;
                put_node(s, b, n, r, "");
                return true;
            }
        }
    }
    return false;
}

/* The cotangents of values, from the loss back: the first that is not finite came from the node that reads the value.
 */
static cr_status blame_backward(blame *b, cr_ref loss, const cr_plan_options *o, net_feeder *feed, void *user,
                                strbuf *s, error *e)
{
    size_t n = b->n->n_values;
    cr_ref *wrt = mem_zalloc(n + 1, sizeof *wrt), *bar = mem_zalloc(n + 1, sizeof *bar);
    cr_status status = wrt && bar ? CR_OK : CR_ENOMEM;
    for (size_t i = 0; i < n && status == CR_OK; i++) wrt[i] = b->n->value[i].ref;
    if (status == CR_OK) status = cr_reverse(b->g, loss, cr_const(b->g, 1), (unsigned)n, wrt, bar);
    for (size_t i = 0; i < n && status == CR_OK; i++) {
        if (bar[i] != CR_NONE && !want(b, bar[i])) status = CR_ENOMEM;
    }
    net_runner_free(b->r);
    mem_free(b->range);
    b->r = NULL;
    b->range = NULL;
    if (status == CR_OK) status = run(b, o, feed, user, e);
    for (size_t i = n; i-- > 0 && status == CR_OK && s->n == 0;) {
        const range *r = bar[i] != CR_NONE ? range_at(b, bar[i]) : NULL;
        if (!r || whole(r)) continue;
        /* Its readers: their own cotangents are finite, as they come later. */
        const net_value *v = &b->n->value[i];
        const net_node *reader = NULL;
        for (size_t k = b->n->n_nodes; k-- > 0 && !reader;) {
            const net_node *node = &b->n->node[k];
            for (size_t t = 0; t < node->n_operands; t++) {
                if (b->n->operand[node->first_operand + t].ref == v->ref) reader = node;
            }
        }
        if (reader) {
            put_node(s, b, reader, r, "backward, ");
            sb_printf(s, "; they are in the gradient by `%s`", v->name);
        } else {
            sb_printf(s, "backward, the gradient of the loss by `%s` is the first that is not finite: ", v->name);
            put_made(s, r);
        }
    }
    mem_free(wrt);
    mem_free(bar);
    if (status != CR_OK) err_set(e, status, "%s", status == CR_ENOMEM ? "out of memory" : cr_graph_message(b->g));
    return status;
}

cr_status net_blame(network *n, unsigned n_bad, const cr_ref *bad, cr_ref loss, const cr_plan_options *o,
                    net_feeder *feed, void *user, char **text, error *e)
{
    blame b = {.n = n, .g = n->g};
    strbuf s;
    sb_init(&s);
    bool ok = mark(&b, n_bad, bad);
    for (size_t i = 0; i < n->n_leaves && ok; i++) ok = want(&b, n->leaf[i].ref);
    for (size_t i = 0; i < n->n_values && ok; i++) ok = n->node[n->value[i].node].absorbed || want(&b, n->value[i].ref);
    cr_status status = CR_OK;
    if (!ok) {
        err_set(e, CR_ENOMEM, "out of memory");
        status = CR_ENOMEM;
    }
    if (status == CR_OK) status = run(&b, o, feed, user, e);
    if (status == CR_OK && !blame_leaf(&b, &s) && !blame_node(&b, &s) && loss != CR_NONE) {
        status = blame_backward(&b, loss, o, feed, user, &s, e);
    }
    *text = s.n ? sb_take(&s) : NULL;
    sb_free(&s);
    net_runner_free(b.r);
    mem_free(b.ref);
    mem_free(b.at);
    mem_free(b.range);
    mem_free(b.counts);
    return status;
}
