/* What the code of loop.h is made of: the definitions of families over stretches of indices that use one piece of each,
 * and the bodies of binders. */
#include "exec/loop_code.h"

#include <string.h>

void loop_room_free(loop_room *room)
{
    for (size_t i = 0; i < room->n_twins; i++) {
        const loop_twin *t = &room->twin[i];
        exec_give(room->env, t->v, t->cap * t->n * sizeof *t->v);
    }
    mem_free(room->twin);
    mem_free(room->table);
    *room = (loop_room){0};
}

/* What does not fit leaves no error: the interpreter says what is wrong, if anything is. */
static loop_answer answer(const loop_writer *w, bool ok)
{
    if (ok) {
        return LOOP_DONE;
    }
    cr_graph *g = w->room->g;
    if (w->failed || cr_graph_status(g) == CR_ENOMEM) {
        return LOOP_FAILED;
    }
    cr_graph_clear_error(g);
    return LOOP_UNFIT;
}

/* ---- twins -------------------------------------------------------------------------------------- */

static bool indexed(const cr_graph *g, cr_ref r, uint32_t *of, cr_dim *index)
{
    cr_op op = op_of(g, r);
    if (op != CR_OP_MEMBER && op != CR_OP_PICK) {
        return false;
    }
    *of = op == CR_OP_MEMBER ? attr_of(g, r, 0) : in_of(g, r, 0);
    *index = attr_of(g, r, op == CR_OP_MEMBER);
    return true;
}

/* The index at which `argument`, over symbol i, equals x: 0 if there is none. */
static cr_dim equal_at(cr_graph *g, cr_ref x, cr_ref argument, dim_sym i)
{
    size_t nx, ny;
    cr_ref *cx = graph_cone(g, 1, &x, &nx), *cy = cx ? graph_cone(g, 1, &argument, &ny) : NULL;
    cr_dim found = 0;
    for (size_t k = 0; cy && nx == ny && k < nx && !found; k++) {
        uint32_t fx, fy;
        cr_dim dx, dy, rest;
        int64_t scale;
        if (!indexed(g, cx[k], &fx, &dx)) {
            continue;
        }
        for (size_t l = 0; l < ny && !found; l++) {
            if (op_of(g, cx[k]) == op_of(g, cy[l]) && indexed(g, cy[l], &fy, &dy) && fx == fy &&
                dim_linear_in(g->dims, dy, i, &scale, &rest) && scale == 1) {
                cr_dim at = dim_sub(g->dims, dx, rest);
                found = at && graph_subst_symbol(g, argument, i, at) == x ? at : 0;
                if (cr_graph_status(g) != CR_ENOMEM) { /* an index at which something else does not exist: not equal */
                    cr_graph_clear_error(g);
                }
            }
        }
        break; /* the first place that has an index decides */
    }
    mem_free(cx);
    mem_free(cy);
    return found;
}

static bool add_twin(loop_room *room, size_t table, size_t piece, cr_ref argument)
{
    for (size_t i = 0; i < room->n_twins; i++) {
        if (room->twin[i].table == table && room->twin[i].piece == piece && room->twin[i].argument == argument) {
            return true;
        }
    }
    int64_t dim[CR_MAX_RANK];
    loop_twin t = {.table = table, .piece = piece, .argument = argument, .lo = 1, .hi = 0};
    if (shape_of(room->g, argument)->rank > 1 || !exec_shape(room->env, argument, dim, &t.n)) {
        cr_graph_clear_error(room->g);
        return true;
    }
    if (!VEC_RESERVE(room->twin, room->twin_cap, room->n_twins + 1)) {
        return false;
    }
    room->twin[room->n_twins++] = t;
    return true;
}

/* The sigmoids of all pieces that may have slope r as a twin. */
static bool plan_slope(loop_room *room, cr_ref r)
{
    cr_graph *g = room->g;
    bool ok = true;
    for (size_t t = 0; ok && t < room->n_tables; t++) {
        for (size_t k = 0; ok && k < room->table[t].n_pieces; k++) {
            family_piece piece = g->family[room->table[t].family].piece[k];
            size_t n;
            cr_ref *cone = graph_cone(g, 1, &piece.body, &n);
            for (size_t i = 0; cone && ok && i < n; i++) {
                if (op_of(g, cone[i]) == CR_OP_SIGMOID &&
                    equal_at(g, in_of(g, r, 0), in_of(g, cone[i], 0), piece.index)) {
                    ok = add_twin(room, t, k, in_of(g, cone[i], 0));
                }
            }
            ok = ok && cone;
            mem_free(cone);
        }
    }
    return ok;
}

bool loop_plan(loop_room *room, unsigned n_roots, const cr_ref *roots)
{
    cr_graph *g = room->g;
    size_t n;
    cr_ref *cone = room->n_tables ? graph_cone(g, n_roots, roots, &n) : NULL;
    bool ok = cone || !room->n_tables;
    for (size_t i = 0; cone && ok && i < n; i++) {
        ok = op_of(g, cone[i]) != CR_OP_DSIGMOID || plan_slope(room, cone[i]);
    }
    mem_free(cone);
    if (!ok && cr_graph_status(g) == CR_OK) {
        graph_fail(g, CR_ENOMEM, "out of memory");
    }
    return ok;
}

bool loop_find_twin(loop_writer *w, cr_ref r, int64_t lo, int64_t hi, loop_operand *at)
{
    cr_graph *g = w->room->g;
    for (size_t i = 0; i < w->room->n_twins; i++) {
        loop_twin *t = &w->room->twin[i];
        dim_sym s = g->family[w->room->table[t->table].family].piece[t->piece].index;
        cr_dim d = equal_at(g, in_of(g, r, 0), t->argument, s);
        int64_t shift;
        if (!d || !loop_shift(w, d, &shift)) {
            continue;
        }
        if (hi + shift > t->hi && !w->room->reach(w->room->user, hi + shift)) {
            return false;
        }
        t = &w->room->twin[i];
        if (lo + shift >= t->lo && hi + shift <= t->hi) {
            *at = (loop_operand){.kind = LOOP_TWIN, .id = (uint32_t)i, .w = (uint32_t)t->n, .shift = shift,
                                 .first = t->first, .count = (int64_t)t->cap};
            return true;
        }
    }
    return false;
}

static bool reserve_twin(loop_room *room, loop_twin *t, int64_t from, int64_t to)
{
    if (!t->v) {
        t->first = from;
    }
    size_t want = (size_t)(to - t->first) + 1;
    if (want <= t->cap) {
        return true;
    }
    double *v = want > SIZE_MAX / sizeof *v / (t->n + 1) ? NULL : exec_take(room->env, want * t->n * sizeof *v);
    if (!v) {
        return false;
    }
    if (t->v) {
        memcpy(v, t->v, t->cap * t->n * sizeof *v);
    }
    exec_give(room->env, t->v, t->cap * t->n * sizeof *v);
    t->v = v;
    t->cap = want;
    return true;
}

/* ---- members ------------------------------------------------------------------------------------ */

static size_t piece_at(const loop_table *t, int64_t at)
{
    size_t i = 0;
    while (i < t->n_pieces && !(t->lo[i] <= at && at <= t->hi[i])) {
        i++;
    }
    return i;
}

/* Offers the twins of a piece, with its index named s. */
static bool make_offers(loop_writer *w, size_t table, size_t piece, dim_sym own, int64_t from, int64_t to)
{
    cr_graph *g = w->room->g;
    for (size_t i = 0; i < w->room->n_twins; i++) {
        loop_twin *t = &w->room->twin[i];
        if (t->table != table || t->piece != piece) {
            continue;
        }
        cr_ref argument = own == w->s ? t->argument
                                      : graph_subst_symbol(g, t->argument, own, dim_symbol(g->dims, w->s));
        if (!argument || !reserve_twin(w->room, t, from, to)) {
            return false;
        }
        w->offer[w->n_offers++] = (loop_offer){argument, i, false};
    }
    return true;
}

/* The member of table i is what `at` holds. */
static bool store(loop_writer *w, size_t i, loop_operand at, size_t n_before)
{
    loop_program *p = w->p;
    const loop_table *t = &w->room->table[i];
    loop_operand to = {.kind = LOOP_TABLE, .id = (uint32_t)i, .w = (uint32_t)t->n, .first = t->first,
                       .count = (int64_t)t->cap};
    bool last = p->n > n_before && at.kind == LOOP_REGISTER && p->code[p->n - 1].to.id == at.id && at.w == t->n &&
                p->code[p->n - 1].to.kind == LOOP_REGISTER;
    if (!last && !loop_emit(w, false, (loop_code){.op = LOOP_COPY, .a = at}, (uint32_t)t->n)) {
        return false;
    }
    p->code[p->n - 1].to = to; /* no register is needed */
    for (size_t k = 0; last && k < w->n; k++) {
        loop_value *v = &w->value[k];
        if (v->at.kind == LOOP_REGISTER && v->at.id == at.id) {
            v->at = to;
        }
    }
    return true;
}

static bool write_members(loop_writer *w, int64_t from, int64_t to)
{
    cr_graph *g = w->room->g;
    for (size_t i = 0; i < w->room->n_tables; i++) {
        const loop_table *t = &w->room->table[i];
        size_t k = piece_at(t, from), before = w->p->n;
        if (k == t->n_pieces) {
            continue;
        }
        family_piece piece = g->family[t->family].piece[k];
        w->s = w->s ? w->s : piece.index;
        w->current = i;
        cr_ref body = piece.index == w->s ? piece.body
                                          : graph_subst_symbol(g, piece.body, piece.index, dim_symbol(g->dims, w->s));
        loop_operand at;
        if (!body || !make_offers(w, i, k, piece.index, from, to) || !loop_write(w, body, from, to, &at) ||
            (at.w != t->n && at.w != 1) || !store(w, i, at, before)) {
            return false;
        }
    }
    return true;
}

/* Members from..to, which the same piece of each family defines. */
static loop_answer stretch(loop_room *room, int64_t from, int64_t to)
{
    loop_program p = {.lo = from, .hi = to};
    loop_writer w = {.room = room, .p = &p, .members = true};
    w.offer = mem_alloc((room->n_twins + 1) * sizeof *w.offer);
    bool ok = w.offer != NULL && write_members(&w, from, to);
    if (ok) {
        loop_fuse(&p);
        w.failed = !loop_run(room, &p, true, NULL);
        ok = !w.failed;
    } else if (!w.offer) {
        graph_fail(room->g, CR_ENOMEM, "out of memory");
    }
    for (size_t i = 0; ok && i < room->n_tables; i++) {
        loop_table *t = &room->table[i];
        if (piece_at(t, from) < t->n_pieces) {
            memset(t->has + (from - t->first), 1, (size_t)(to - from) + 1);
        }
    }
    for (size_t i = 0; ok && i < w.n_offers; i++) {
        loop_twin *t = &room->twin[w.offer[i].twin];
        if (!w.offer[i].taken || (t->lo <= t->hi && t->hi != from - 1)) {
            t->lo = 1;
            t->hi = 0;
        } else {
            t->lo = t->lo <= t->hi ? t->lo : from;
            t->hi = to;
        }
    }
    mem_free(w.offer);
    loop_program_free(&p);
    return answer(&w, ok);
}

loop_answer loop_members(loop_room *room, int64_t *next, int64_t to)
{
    while (*next <= to) {
        int64_t end = to;
        for (size_t i = 0; i < room->n_tables; i++) {
            const loop_table *t = &room->table[i];
            for (size_t k = 0; k < t->n_pieces; k++) {
                if (t->lo[k] > *next && t->lo[k] <= t->hi[k] && t->lo[k] - 1 < end) {
                    end = t->lo[k] - 1;
                } else if (t->lo[k] <= *next && *next <= t->hi[k] && t->hi[k] < end) {
                    end = t->hi[k];
                }
            }
        }
        loop_answer a = stretch(room, *next, end);
        if (a != LOOP_DONE) {
            return a;
        }
        *next = end + 1;
    }
    return LOOP_DONE;
}

/* ---- binders ------------------------------------------------------------------------------------ */

loop_answer loop_bind(loop_room *room, cr_ref r, int64_t lo, int64_t hi, double *out, size_t n)
{
    cr_graph *g = room->g;
    cr_bind_kind kind = (cr_bind_kind)attr_of(g, r, 0);
    loop_program p = {.lo = lo, .hi = hi};
    loop_writer w = {.room = room, .p = &p};
    loop_result result = {.out = out, .lo = lo, .hi = hi, .join = kind != CR_BIND_STACK, .kind = kind};
    dim_is_symbol(g->dims, attr_of(g, r, 1), &w.s);
    bool ok = kind != CR_BIND_CHAIN && loop_write(&w, in_of(g, r, 0), lo, hi, &result.from);
    size_t count = result.join ? 1 : (size_t)(hi - lo) + 1;
    if (ok && result.from.w * count == n && !(result.join && p.direction < 0)) {
        w.failed = !loop_run(room, &p, false, &result);
        ok = !w.failed;
    } else {
        ok = false;
    }
    loop_program_free(&p);
    return answer(&w, ok);
}
