#include "flow/many.h"

#include "calculus/walk.h"

#include <string.h>

int64_t flow_many_length(cr_graph *g, cr_ref a)
{
    int64_t n = 0;
    cr_dim_value(g, cr_size(g, a, 0), &n);
    return n;
}

cr_ref flow_many_part(cr_graph *g, cr_ref a, int64_t first, int64_t n)
{
    cr_dim start[CR_MAX_RANK], size[CR_MAX_RANK];
    unsigned rank = cr_rank(g, a);
    for (unsigned i = 0; i < rank; i++) {
        start[i] = cr_dim_const(g, i == 0 ? first : 0);
        size[i] = i == 0 ? cr_dim_const(g, n) : cr_size(g, a, i);
    }
    return cr_slice(g, a, start, NULL, size);
}

cr_ref flow_many_from(cr_graph *g, cr_ref a)
{
    cr_dim dim[CR_MAX_RANK];
    const cr_shape *s = shape_of(g, a);
    unsigned rank = s->rank + 1u;
    if (rank > CR_MAX_RANK) return CR_NONE;
    dim[0] = cr_dim_const(g, 1);
    memcpy(dim + 1, s->dim, s->rank * sizeof *dim);
    return cr_reshape(g, a, rank, dim);
}

static cr_ref filled_up(cr_graph *g, cr_ref a, int64_t n)
{
    return flow_many_length(g, a) == n ? a : flow_many_part(g, a, 0, n);
}

static bool add(cr_graph *g, cr_ref *total, cr_ref part)
{
    if (*total == CR_NONE) {
        *total = part;
        return true;
    }
    int64_t a = flow_many_length(g, *total), b = flow_many_length(g, part), n = a > b ? a : b;
    *total = cr_add(g, filled_up(g, *total, n), filled_up(g, part, n));
    return *total != CR_NONE;
}

static bool back(const flow_many *m, size_t i, cr_ref *at, cr_ref *in, cr_ref *part)
{
    const flow *f = m->f;
    const flow_step *st = &f->step[i];
    cr_graph *g = f->n->g;
    for (size_t k = 0; k < st->n_out; k++) {
        size_t t = f->out[st->first_out + k];
        cr_ref bar = at[t];
        if (bar == CR_NONE) continue;
        if (m->b && f->tensor[t].boundary && m->b->tensor[t].ref != CR_NONE) {
            bar = cr_mul(g, m->b->scale[m->b->tensor[t].level], bar);
        }
        for (size_t j = 0; j < st->n_edges; j++) {
            in[j] = f->tensor[f->edge[st->first_edge + j].tensor].ref;
            part[j] = CR_NONE;
        }
        if (calc_reverse_local(g, f->tensor[t].ref, bar, (unsigned)st->n_edges, in, part) != CR_OK) return false;
        for (size_t j = 0; j < st->n_edges; j++) {
            size_t e = st->first_edge + j;
            if (part[j] == CR_NONE) continue;
            if (m->along) part[j] = m->along(m->user, g, e, part[j]);
            if (part[j] == CR_NONE || !add(g, &at[f->edge[e].tensor], part[j])) return false;
        }
    }
    return cr_graph_status(g) == CR_OK;
}

bool flow_many_back(const flow_many *m, cr_ref *at)
{
    size_t most = 0;
    for (size_t i = m->first_step; i < m->first_step + m->n_steps; i++) {
        if (m->f->step[i].n_edges > most) most = m->f->step[i].n_edges;
    }
    cr_ref *room = mem_alloc((2 * most + 1) * sizeof *room);
    if (!room) {
        graph_fail(m->f->n->g, CR_ENOMEM, "out of memory");
        return false;
    }
    bool ok = true;
    for (size_t i = m->first_step + m->n_steps; ok && i-- > m->first_step;) ok = back(m, i, at, room, room + most);
    mem_free(room);
    return ok;
}
