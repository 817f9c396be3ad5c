/* Operators that put updates into a tensor by indices, which may be data. */
#include "onnx/index.h"
#include "onnx/ops.h"

#include <math.h>
#include <string.h>

/* Updates of known places by the part that they meet: `parts` places (from 1), each met by up to `most` rows of the
 * updates (from 1; row n+1 where there are fewer). */
typedef struct meeting {
    double *place, *row;
    size_t parts, most;
} meeting;

/* last: where several meet a part, only the last one does. false: failed. */
static bool meetings(onnx_call *c, cr_ref flat, size_t n, size_t places, bool last, meeting *m)
{
    onnx_value *v = onnx_temporary(c, "places", flat, CR_TYPE_I64);
    if (!v) return false;
    if (!onnx_evaluate(c, v)) {
        return cr_graph_status(c->g) == CR_OK ? onnx_unsupported(c, "this reduction, where indices are data") : false;
    }
    const int64_t *at = v->data;
    size_t *count = onnx_alloc(c, places * sizeof *count), *part = onnx_alloc(c, places * sizeof *part);
    m->place = onnx_alloc(c, n * sizeof *m->place);
    if (!count || !part || !m->place) return false;
    memset(count, 0, places * sizeof *count);
    m->parts = 0;
    m->most = 1;
    for (size_t i = 0; i < n; i++) {
        size_t p = (size_t)at[i] - 1;
        if (count[p]++ == 0) {
            part[p] = m->parts;
            m->place[m->parts++] = (double)at[i];
        }
        if (count[p] > m->most && !last) m->most = count[p];
    }
    if (m->parts > INDEX_MAX / m->most) return onnx_unsupported(c, "so many updates of one entry");
    m->row = onnx_alloc(c, m->parts * m->most * sizeof *m->row);
    if (!m->row) return false;
    for (size_t i = 0; i < m->parts * m->most; i++) m->row[i] = (double)n + 1;
    memset(count, 0, places * sizeof *count);
    for (size_t i = 0; i < n; i++) {
        size_t p = (size_t)at[i] - 1;
        m->row[part[p] * m->most + (last ? 0 : count[p]++)] = (double)i + 1;
    }
    return true;
}

static const struct reduction {
    const char *name;
    cr_op fold, join; /* updates of one part; them and what is there */
    double neutral;
} reductions[] = {
    {"none", CR_OP_NONE, CR_OP_NONE, 0},
    {"add", CR_OP_NONE, CR_OP_ADD, 0},
    {"mul", CR_OP_PRODR, CR_OP_EINSUM, 1},
    {"max", CR_OP_MAXR, CR_OP_MAX2, -INFINITY},
    {"min", CR_OP_MINR, CR_OP_MIN2, INFINITY},
};

static const struct reduction *reduction_of(onnx_call *c)
{
    const char *how = onnx_attr_string(c, "reduction", "none");
    for (size_t i = 0; i < sizeof reductions / sizeof *reductions; i++) {
        if (strcmp(how, reductions[i].name) == 0) return &reductions[i];
    }
    onnx_unsupported(c, "reduction %s", how);
    return NULL;
}

/* One row for each part that is met, of the updates at known places. */
static bool fold_updates(onnx_call *c, const struct reduction *r, size_t places, cr_ref *flat, cr_ref *updates)
{
    cr_graph *g = c->g;
    meeting m = {0};
    int64_t dim[CR_MAX_RANK];
    size_t n = (size_t)onnx_size(g, *flat, 0);
    if (n == 0) return true;
    if (!meetings(c, *flat, n, places, r->fold == CR_OP_NONE, &m)) return false;
    if (m.parts == n) return true;
    if (m.parts * m.most > n) {
        onnx_shape(g, *updates, dim);
        dim[0] = 1;
        cr_ref both[2] = {*updates, onnx_full(g, r->neutral, cr_rank(g, *updates), dim)};
        *updates = cr_concat(g, 2, both, 0);
    }
    cr_ref rows = onnx_places(c, m.most > 1 ? 2 : 1, m.parts, m.most, m.row);
    *updates = cr_gather(g, *updates, rows, 0);
    if (m.most > 1) *updates = onnx_reduce(g, r->fold, *updates, 1u << 1, false);
    *flat = onnx_places(c, 1, m.parts, 1, m.place);
    return *flat != CR_NONE && *updates != CR_NONE;
}

static cr_ref join(cr_graph *g, cr_op op, cr_ref x, cr_ref by)
{
    return op == CR_OP_NONE ? by : op == CR_OP_EINSUM ? cr_mul(g, x, by) : cr_map2(g, op, x, by);
}

/* Parts of x (parts x ...) with updates (rows x ...) at places (from 1, rows): put there, or joined with what is there.
 * Where several are put at one place, the last one counts; of indices that are data, ONNX and this say nothing. */
static cr_ref scattered(onnx_call *c, cr_ref x, cr_ref flat, cr_ref updates)
{
    cr_graph *g = c->g;
    const struct reduction *r = reduction_of(c);
    if (!r || !valid(g, x) || !valid(g, flat) || !valid(g, updates)) return CR_NONE;
    cr_dim parts = cr_size(g, x, 0), dim[CR_MAX_RANK];
    if (r->join == CR_OP_ADD) return cr_add(g, x, cr_scatter(g, updates, flat, 0, parts));
    bool known = c->in[1]->known || r->fold != CR_OP_NONE;
    if (known && !fold_updates(c, r, (size_t)onnx_size(g, x, 0), &flat, &updates)) return CR_NONE;
    for (unsigned i = 0; i < cr_rank(g, x); i++) dim[i] = cr_size(g, x, i);
    uint8_t first = 0;
    cr_ref hits = cr_scatter(g, onnx_like(g, 1, flat), flat, 0, parts);
    hits = cr_einsum(g, 1, &hits, &first, cr_rank(g, x), dim);
    cr_ref y = join(g, r->join, x, cr_scatter(g, updates, flat, 0, parts));
    return valid(g, hits) ? cr_select(g, cr_map2(g, CR_OP_NE, hits, onnx_like(g, 0, hits)), y, x) : CR_NONE;
}

static bool build_scatter_elements(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0), index = onnx_real(c, 1), updates = onnx_real(c, 2), flat;
    unsigned axis;
    int64_t dim[CR_MAX_RANK];
    if (!valid(g, x) || !valid(g, index) || !valid(g, updates)) return false;
    unsigned rank = cr_rank(g, x);
    if (!onnx_axis(c, onnx_attr_int(c, "axis", 0), rank, &axis)) return false;
    onnx_shape(g, x, dim);
    if (!same_shape(g, index, updates))
        return onnx_fail(c, "updates of %s at indices of %s", shape_text(g, updates, 0), shape_text(g, index, 1));
    if (!onnx_check_indices(c, 1, 1, &dim[axis]) || !onnx_flat_places(c, index, rank, dim, axis, &flat)) return false;
    int64_t all = (int64_t)onnx_count(g, x), n = (int64_t)onnx_count(g, updates);
    cr_ref y = scattered(c, onnx_reshape(g, x, 1, &all), onnx_reshape(g, flat, 1, &n), onnx_reshape(g, updates, 1, &n));
    return onnx_out_like(c, onnx_reshape(g, y, rank, dim));
}

static bool build_scatter_nd(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0), index = onnx_real(c, 1), updates = onnx_real(c, 2), flat;
    int64_t dim[CR_MAX_RANK], parts[CR_MAX_RANK] = {1}, rows[CR_MAX_RANK] = {1};
    unsigned depth;
    if (!valid(g, x) || !valid(g, index) || !valid(g, updates)) return false;
    unsigned rank = cr_rank(g, x);
    onnx_shape(g, x, dim);
    if (!onnx_part_places(c, index, 0, rank, dim, &depth, &flat)) return false;
    for (unsigned i = 0; i < depth; i++) parts[0] *= dim[i];
    unsigned rest = rank - depth, of = cr_rank(g, flat);
    memcpy(parts + 1, dim + depth, rest * sizeof *dim);
    memcpy(rows + 1, dim + depth, rest * sizeof *dim);
    bool fits = cr_rank(g, updates) == of + rest;
    for (unsigned i = 0; i < of + rest && fits; i++) {
        fits = onnx_size(g, updates, i) == (i < of ? onnx_size(g, flat, i) : dim[depth + i - of]);
    }
    if (!fits) {
        return onnx_fail(c, "updates of %s for indices of %s into %s", shape_text(g, updates, 0),
                         shape_text(g, index, 1), shape_text(g, x, 2));
    }
    for (unsigned i = 0; i < of; i++) rows[0] *= onnx_size(g, flat, i);
    cr_ref y = scattered(c, onnx_reshape(g, x, 1 + rest, parts), onnx_reshape(g, flat, 1, rows),
                         onnx_reshape(g, updates, 1 + rest, rows));
    return onnx_out_like(c, onnx_reshape(g, y, rank, dim));
}

const onnx_op onnx_ops_scatter[] = {
    OP("Scatter", build_scatter_elements),
    OP("ScatterElements", build_scatter_elements),
    OP("ScatterND", build_scatter_nd),
    OP(NULL, NULL),
};
