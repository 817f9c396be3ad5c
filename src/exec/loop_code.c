/* From expressions to the code of loop.h. Each expression is written once; where it is needed at more indices than
 * thought at first, it is gone through again to see whether memory has them. */
#include "exec/loop_code.h"

#include <math.h>
#include <string.h>

void loop_program_free(loop_program *p)
{
    mem_free(p->code);
    mem_free(p->once);
    mem_free(p->width);
    arena_free(&p->mem);
    *p = (loop_program){0};
}

static bool no_memory(loop_writer *w)
{
    graph_fail(w->room->g, CR_ENOMEM, "out of memory");
    w->failed = true;
    return false;
}

static bool new_register(loop_writer *w, uint32_t width, loop_operand *at)
{
    loop_program *p = w->p;
    if (!VEC_RESERVE(p->width, p->register_cap, p->n_registers + 1)) {
        return no_memory(w);
    }
    *at = (loop_operand){.kind = LOOP_REGISTER, .id = (uint32_t)p->n_registers, .w = width};
    p->width[p->n_registers++] = width;
    return true;
}

static bool new_fixed(loop_writer *w, uint32_t width, loop_operand *at)
{
    *at = (loop_operand){.kind = LOOP_FIXED, .w = width, .p = arena_alloc(&w->p->mem, width * sizeof(double))};
    return at->p || no_memory(w);
}

static void count_use(const loop_operand *o, uint8_t *uses)
{
    if (o->w && o->kind == LOOP_REGISTER && uses[o->id] < 2) {
        uses[o->id]++;
    }
}

void loop_fuse(loop_program *p)
{
    uint8_t *uses = mem_zalloc(p->n_registers + 1, 1);
    size_t n = 0;
    for (size_t i = 0; uses && i < p->n; i++) {
        count_use(&p->code[i].a, uses);
        count_use(&p->code[i].b, uses);
        count_use(&p->code[i].c, uses);
    }
    for (size_t i = 0; uses && i < p->n; i++) {
        loop_code *k = &p->code[i], *before = n ? &p->code[n - 1] : NULL;
        if (k->op == LOOP_ADD && before && before->op == LOOP_MUL && before->to.kind == LOOP_REGISTER &&
            uses[before->to.id] == 1 && before->to.w == k->to.w) {
            bool left = k->a.kind == LOOP_REGISTER && k->a.id == before->to.id;
            if (left || (k->b.kind == LOOP_REGISTER && k->b.id == before->to.id)) {
                *before = (loop_code){.op = LOOP_MULADD, .to = k->to, .a = before->a, .b = before->b,
                                      .c = left ? k->b : k->a};
                continue;
            }
        }
        p->code[n++] = *k;
    }
    p->n = uses ? n : p->n;
    mem_free(uses);
}

loop_code *loop_emit(loop_writer *w, bool fixed, loop_code code, uint32_t width)
{
    loop_program *p = w->p;
    bool ok = fixed ? VEC_RESERVE(p->once, p->once_cap, p->n_once + 1) : VEC_RESERVE(p->code, p->cap, p->n + 1);
    if (!ok) {
        no_memory(w);
        return NULL;
    }
    if (!(fixed ? new_fixed(w, width, &code.to) : new_register(w, width, &code.to))) {
        return NULL;
    }
    loop_code *to = fixed ? &p->once[p->n_once++] : &p->code[p->n++];
    *to = code;
    return to;
}

/* ---- indices ------------------------------------------------------------------------------------ */

static bool int_of(void *user, dim_sym s, int64_t *v)
{
    return exec_int(user, s, v);
}

/* Value of d, which does not depend on the index; no error where it has none. */
static bool number(loop_writer *w, cr_dim d, int64_t *v)
{
    dim_sym missing;
    return !dim_uses(w->room->g->dims, d, w->s) && dim_eval(w->room->g->dims, d, int_of, w->room->env, v, &missing);
}

static bool linear(loop_writer *w, cr_dim d, int64_t *scale, int64_t *offset)
{
    cr_dim rest;
    return dim_linear_in(w->room->g->dims, d, w->s, scale, &rest) && number(w, rest, offset);
}

bool loop_shift(loop_writer *w, cr_dim d, int64_t *shift)
{
    int64_t scale;
    return linear(w, d, &scale, shift) && scale == 1;
}

static bool small(int64_t v) { return v > -((int64_t)1 << 40) && v < (int64_t)1 << 40; }

/* ---- leaves ------------------------------------------------------------------------------------- */

/* Values of r: 1 or those of a vector. */
static bool width_of(loop_writer *w, cr_ref r, uint32_t *width)
{
    const cr_shape *s = shape_of(w->room->g, r);
    int64_t n = 1;
    if (s->rank > 1 || (s->rank == 1 && !number(w, s->dim[0], &n)) || n < 1 || n > INT32_MAX) {
        return false;
    }
    *width = (uint32_t)n;
    return true;
}

static bool write_param(loop_writer *w, cr_ref r, loop_value *v)
{
    uint32_t width;
    bool known = width_of(w, r, &width) && exec_value(w->room->env, r);
    const exec_array *a = known ? exec_parameter(w->room->env, r) : NULL;
    if (!a || a->n != width) {
        return false;
    }
    v->at = (loop_operand){.kind = LOOP_FIXED, .w = width, .p = a->value};
    v->fixed = true;
    return true;
}

static bool write_number(loop_writer *w, double x, loop_value *v)
{
    v->fixed = true;
    if (!new_fixed(w, 1, &v->at)) {
        return false;
    }
    *v->at.p = x;
    return true;
}

static bool write_pick(loop_writer *w, cr_ref r, loop_value *v)
{
    cr_graph *g = w->room->g;
    cr_ref param = in_of(g, r, 0);
    int64_t first, at;
    uint32_t width;
    if (!width_of(w, r, &width) || op_of(g, param) != CR_OP_PARAM || !number(w, family_first(g, param), &first) ||
        !exec_value(w->room->env, param)) {
        return false;
    }
    const exec_array *a = exec_parameter(w->room->env, param);
    if (!a || a->n % width) {
        return false;
    }
    int64_t count = (int64_t)(a->n / width);
    if (number(w, attr_of(g, r, 0), &at)) {
        if (at < first || at - first >= count) {
            return false;
        }
        v->at = (loop_operand){.kind = LOOP_FIXED, .w = width, .p = a->value + (at - first) * (int64_t)width};
        v->fixed = true;
        return true;
    }
    v->at = (loop_operand){.kind = LOOP_PARAM, .w = width, .p = a->value, .first = first, .count = count};
    return loop_shift(w, attr_of(g, r, 0), &v->at.shift) && small(v->at.shift) && v->lo + v->at.shift >= first &&
           v->hi + v->at.shift - first < count;
}

bool loop_table_covers(const loop_table *t, int64_t lo, int64_t hi)
{
    bool found = true;
    while (found && lo <= hi) {
        found = false;
        for (size_t i = 0; i < t->n_pieces && !found; i++) {
            if (t->lo[i] <= lo && lo <= t->hi[i]) {
                found = true;
                lo = t->hi[i] + 1;
            }
        }
    }
    return found;
}

/* Are members lo..hi of table i there when index `now` is computed (after all that has been computed already)? */
static bool members_there(loop_writer *w, size_t i, int64_t lo, int64_t hi)
{
    const loop_table *t = &w->room->table[i];
    if (lo < t->first) {
        return false;
    }
    if (w->members) {
        return loop_table_covers(t, lo, hi);
    }
    if (hi >= t->first && (size_t)(hi - t->first) >= t->cap) {
        return false;
    }
    for (int64_t k = lo; k <= hi; k++) {
        if (!t->has[k - t->first]) {
            return false;
        }
    }
    return true;
}

static bool write_member(loop_writer *w, cr_ref r, loop_value *v)
{
    cr_graph *g = w->room->g;
    size_t i = 0;
    uint32_t width;
    int64_t at;
    while (i < w->room->n_tables && w->room->table[i].family != attr_of(g, r, 0)) {
        i++;
    }
    if (i == w->room->n_tables || !width_of(w, r, &width) || w->room->table[i].n != width) {
        return false;
    }
    bool still = number(w, attr_of(g, r, 1), &at);
    int64_t shift = 0, lo, hi;
    if (!still && (!loop_shift(w, attr_of(g, r, 1), &shift) || !small(shift))) {
        return false;
    }
    lo = still ? at : v->lo + shift;
    hi = still ? at : v->hi + shift;
    if (w->members && (still ? at >= v->lo : shift > 0 || (shift == 0 && i >= w->current))) {
        return false; /* a member that is computed later, or at the same time */
    }
    if (!w->members && !w->room->reach(w->room->user, hi)) {
        w->failed = true;
        return false;
    }
    if (!members_there(w, i, lo, hi)) {
        return false;
    }
    const loop_table *t = &w->room->table[i];
    v->at = (loop_operand){.kind = LOOP_TABLE, .id = (uint32_t)i, .w = width, .shift = shift, .first = t->first,
                           .count = (int64_t)t->cap};
    if (still) { /* read at that index, always */
        v->at.still = true;
        v->at.p = NULL;
        v->at.shift = at;
    }
    return true;
}

/* ---- operators ---------------------------------------------------------------------------------- */

static loop_value *find(loop_writer *w, cr_ref r)
{
    for (size_t i = 0; i < w->n; i++) {
        if (w->value[i].r == r) {
            return &w->value[i];
        }
    }
    return NULL;
}

static bool is_fixed(const loop_operand *o) { return o->kind == LOOP_FIXED; }

/* Emits code over operands unless v has a place already. */
static bool put(loop_writer *w, loop_value *v, loop_code code, uint32_t width)
{
    if (v->has_code) {
        return true;
    }
    bool fixed = is_fixed(&code.a) && (!code.b.w || is_fixed(&code.b)) && (!code.c.w || is_fixed(&code.c)) &&
                 code.op != LOOP_INDEX;
    const loop_code *k = loop_emit(w, fixed, code, width);
    if (!k) {
        return false;
    }
    v->at = k->to;
    v->fixed = fixed;
    return true;
}

static bool write_sum(loop_writer *w, cr_ref r, loop_value *v, uint32_t width)
{
    cr_graph *g = w->room->g;
    loop_operand sum = {0}, x;
    bool fresh = !v->has_code;
    for (uint32_t i = 0; i < node(g, r)->n_in; i++) {
        if (!loop_write(w, in_of(g, r, i), v->lo, v->hi, &x)) {
            return false;
        }
        loop_value part = {0};
        if (i && fresh) {
            uint32_t of = sum.w > x.w ? sum.w : x.w;
            if (!put(w, &part, (loop_code){.op = LOOP_ADD, .a = sum, .b = x}, of)) {
                return false;
            }
            x = part.at;
        }
        sum = x;
    }
    if (fresh) {
        v->at = sum;
    }
    return sum.w == width || !fresh || put(w, v, (loop_code){.op = LOOP_COPY, .a = sum}, width);
}

/* ---- einsum ------------------------------------------------------------------------------------- */

enum { MAX_FACTORS = 16, MAX_LABELS = 64, NO_LABEL = -1 };

/* A contraction with those inside of it that hold deltas laid open: diag(v)*u is v .* u. */
typedef struct factors {
    cr_ref r[MAX_FACTORS];
    int label[MAX_FACTORS]; /* NO_LABEL: scalar */
    size_t n;
    int parent[MAX_LABELS]; /* of a label that a delta joins with another */
    int n_labels;
    bool delta[MAX_LABELS];
} factors;

static int root_label(const factors *f, int l)
{
    while (f->parent[l] != l) {
        l = f->parent[l];
    }
    return l;
}

static int new_label(factors *f)
{
    if (f->n_labels == MAX_LABELS) {
        return NO_LABEL;
    }
    f->parent[f->n_labels] = f->n_labels;
    return f->n_labels++;
}

static bool lay_open(const cr_graph *g, cr_ref r, const int *axis, factors *f, int depth)
{
    einsum_view v;
    int map[EINSUM_MAX_LABELS];
    einsum_read(g, r, &v);
    for (unsigned i = 0; i < v.n_labels; i++) {
        if ((map[i] = i < v.rank ? axis[i] : new_label(f)) == NO_LABEL) {
            return false;
        }
    }
    const uint32_t *l = v.labels;
    for (uint32_t i = 0; i < v.n; i++) {
        cr_ref o = v.operand[i];
        unsigned rank = shape_of(g, o)->rank;
        int at[CR_MAX_RANK];
        for (unsigned k = 0; k < rank; k++) {
            at[k] = map[l[k]];
        }
        l += rank;
        if (op_of(g, o) == CR_OP_IDENTITY) {
            f->parent[root_label(f, at[0])] = root_label(f, at[1]);
            f->delta[root_label(f, at[1])] = true;
        } else if (rank > 1) {
            if (op_of(g, o) != CR_OP_EINSUM || depth > 8 || !lay_open(g, o, at, f, depth + 1)) {
                return false;
            }
        } else if (f->n == MAX_FACTORS) {
            return false;
        } else {
            f->r[f->n] = o;
            f->label[f->n++] = rank ? at[0] : NO_LABEL;
        }
    }
    return true;
}

/* Product of the factors with that label, the last two as operands of `op` if it is a DOT. */
static bool write_product(loop_writer *w, const factors *f, int label, bool sum, loop_value *v, loop_operand *out)
{
    loop_operand left = {0}, x;
    size_t last = 0;
    for (size_t i = 0; i < f->n; i++) {
        last = (f->label[i] == NO_LABEL ? NO_LABEL : root_label(f, f->label[i])) == label ? i + 1 : last;
    }
    for (size_t i = 0; i < last; i++) {
        if ((f->label[i] == NO_LABEL ? NO_LABEL : root_label(f, f->label[i])) != label) {
            continue;
        }
        if (!loop_write(w, f->r[i], v->lo, v->hi, &x)) {
            return false;
        }
        if (v->has_code) {
            continue;
        }
        bool end = sum && i + 1 == last;
        loop_value part = {0};
        if (left.w == 0 && !end) {
            left = x;
            continue;
        }
        if (left.w && left.w != x.w) {
            return false;
        }
        loop_code code = {.op = !end ? LOOP_MUL : left.w ? LOOP_DOT : LOOP_TOTAL, .a = left.w ? left : x};
        if (left.w) {
            code.b = x;
            if (end && (left.kind == LOOP_FIXED) != (x.kind == LOOP_FIXED) && left.kind == LOOP_FIXED) {
                code.a = x;
                code.b = left;
            }
        }
        if (!put(w, &part, code, end ? 1 : x.w)) {
            return false;
        }
        left = part.at;
    }
    *out = left;
    return true;
}

static bool write_einsum(loop_writer *w, cr_ref r, loop_value *v, uint32_t width)
{
    cr_graph *g = w->room->g;
    factors f = {.n = 0};
    int axis[1] = {NO_LABEL}, out = NO_LABEL;
    if (shape_of(g, r)->rank == 1) {
        axis[0] = new_label(&f);
    }
    if (!lay_open(g, r, axis, &f, 0)) {
        return false;
    }
    if (shape_of(g, r)->rank == 1) {
        out = root_label(&f, axis[0]);
    }
    loop_operand all, x;
    bool used[MAX_LABELS] = {false};
    for (size_t i = 0; i < f.n; i++) {
        if (f.label[i] != NO_LABEL) {
            used[root_label(&f, f.label[i])] = true;
        }
    }
    if (!write_product(w, &f, NO_LABEL, false, v, &all)) {
        return false;
    }
    for (int l = 0; l < f.n_labels; l++) {
        if (root_label(&f, l) != l || (!used[l] && l == out)) {
            continue;
        }
        if (!used[l] || !write_product(w, &f, l, l != out, v, &x)) {
            return false;
        }
        if (v->has_code) {
            continue;
        }
        loop_value part = {0};
        if (all.w) {
            if (!put(w, &part, (loop_code){.op = LOOP_MUL, .a = all, .b = x}, x.w > all.w ? x.w : all.w)) {
                return false;
            }
            x = part.at;
        }
        all = x;
    }
    if (v->has_code) {
        return true;
    }
    if (all.w == 0) {
        return false;
    }
    v->at = all;
    return all.w == width || put(w, v, (loop_code){.op = LOOP_COPY, .a = all}, width);
}

/* ---- sums and products over other indices ------------------------------------------------------- */

/* A range with one end at a constant distance from the index and a body that knows nothing of the index. The other
 * index is renamed so that the body of index i is what joins between the values for i and for i - 1 (i + 1): parts that
 * both have in common become one. */
static bool write_bind(loop_writer *w, cr_ref r, loop_value *v, uint32_t width)
{
    cr_graph *g = w->room->g;
    cr_bind_kind kind = (cr_bind_kind)attr_of(g, r, 0);
    cr_dim lo = attr_of(g, r, 2), hi = attr_of(g, r, 3), one = dim_const(g->dims, 1), by;
    cr_ref body = in_of(g, r, 0);
    int64_t distance, end, from, to;
    dim_sym s = 0;
    dim_is_symbol(g->dims, attr_of(g, r, 1), &s);
    if (w->members || (kind != CR_BIND_SUM && kind != CR_BIND_PROD) || depends_on_symbol(g, body, w->s)) {
        return false;
    }
    bool down = number(w, hi, &end);
    if (down ? !loop_shift(w, lo, &distance) : !number(w, lo, &end) || !loop_shift(w, hi, &distance)) {
        return false;
    }
    if (!small(distance) || !small(end) || (w->p->direction && w->p->direction != (down ? -1 : 1))) {
        return false;
    }
    if (down) {
        from = v->lo + 1;
        to = end - distance + 1;
        by = dim_sub(g->dims, lo, one);
    } else {
        from = end - distance - 1;
        to = v->hi - 1;
        by = dim_add(g->dims, hi, one);
    }
    if (from > to) { /* all ranges are empty */
        return v->has_code || write_number(w, kind == CR_BIND_PROD, v);
    }
    w->p->direction = down ? -1 : 1;
    w->p->lo = from < w->p->lo ? from : w->p->lo;
    w->p->hi = to > w->p->hi ? to : w->p->hi;
    loop_operand x;
    cr_ref moved = graph_subst_symbol(g, body, s, by);
    if (!moved || !loop_write(w, moved, from, to, &x)) {
        return false;
    }
    if (v->has_code && v->at.kind == LOOP_REGISTER) {
        w->p->code[v->code].lo = from;
        w->p->code[v->code].hi = to;
        return true;
    }
    if (v->has_code || x.w > width) {
        return false; /* it was empty at first */
    }
    const loop_code *k = loop_emit(w, false, (loop_code){.op = LOOP_SCAN, .join = kind, .lo = from, .hi = to, .a = x},
                                   width);
    if (!k) {
        return false;
    }
    v->at = k->to;
    v->code = w->p->n - 1;
    return true;
}

/* ---- all of them -------------------------------------------------------------------------------- */

static bool write_call(loop_writer *w, cr_ref r, loop_value *v)
{
    cr_graph *g = w->room->g;
    cr_fun f = attr_of(g, r, 0);
    if (g->fun[f].body == CR_NONE || shape_of(g, in_of(g, r, 0))->rank > 1) {
        return false;
    }
    cr_ref body = exec_function_body(w->room->env, f, attr_of(g, r, 1));
    body = body ? graph_inline(g, body, g->fun[f].arg, in_of(g, r, 0)) : CR_NONE;
    return body && shape_of(g, body)->rank == shape_of(g, r)->rank && loop_write(w, body, v->lo, v->hi, &v->at);
}

static bool write_map(loop_writer *w, cr_ref r, loop_value *v, uint32_t width)
{
    cr_graph *g = w->room->g;
    const cr_node *nd = node(g, r);
    cr_op op = (cr_op)nd->op;
    op_kind kind = op_get(op)->kind;
    loop_code code = {.op = op == CR_OP_SELECT                        ? LOOP_SELECT
                            : kind == KIND_MAP1 || op == CR_OP_NOT    ? LOOP_MAP1
                                                                      : LOOP_MAP2,
                      .map = op};
    if (op != CR_OP_SELECT && kind != KIND_MAP1 && kind != KIND_MAP2 && kind != KIND_CMP) {
        return false;
    }
    if (nd->n_attr >= 2) {
        code.attr = attr_double(g, r, 0);
    }
    loop_operand *const in[3] = {&code.a, &code.b, &code.c};
    for (uint32_t i = 0; i < node(g, r)->n_in; i++) {
        if (!loop_write(w, in_of(g, r, i), v->lo, v->hi, in[i]) || (in[i]->w != 1 && in[i]->w != width)) {
            return false;
        }
    }
    for (size_t i = 0; op == CR_OP_SIGMOID && i < w->n_offers && !v->has_code; i++) {
        loop_offer *o = &w->offer[i];
        if (o->argument == in_of(g, r, 0) && code.a.w == width && !is_fixed(&code.a)) {
            o->taken = true;
            code.op = LOOP_SIGMOIDS;
            const loop_twin *t = &w->room->twin[o->twin];
            code.twin = (loop_operand){.kind = LOOP_TWIN, .id = (uint32_t)o->twin, .w = width, .first = t->first,
                                       .count = (int64_t)t->cap};
        }
    }
    return put(w, v, code, width);
}

static bool write_node(loop_writer *w, cr_ref r, loop_value *v)
{
    cr_graph *g = w->room->g;
    int64_t scale, offset;
    uint32_t width;
    size_t n;
    if (!width_of(w, r, &width)) {
        return false;
    }
    const double *known = w->room->value && !w->members ? w->room->value(w->room->user, r, &n) : NULL;
    if (known) {
        v->at = (loop_operand){.kind = LOOP_FIXED, .w = width, .p = (double *)known};
        v->fixed = true;
        return n == width;
    }
    switch (op_of(g, r)) {
    case CR_OP_PARAM: return write_param(w, r, v);
    case CR_OP_CONST: return v->has_code || write_number(w, attr_double(g, r, 0), v);
    case CR_OP_INT:
        if (number(w, attr_of(g, r, 0), &offset)) {
            return v->has_code || write_number(w, (double)offset, v);
        }
        return linear(w, attr_of(g, r, 0), &scale, &offset) && small(scale) && small(offset) &&
               put(w, v, (loop_code){.op = LOOP_INDEX, .scale = scale, .offset = offset}, 1);
    case CR_OP_PICK: return write_pick(w, r, v);
    case CR_OP_MEMBER: return write_member(w, r, v);
    case CR_OP_ADD: return write_sum(w, r, v, width);
    case CR_OP_EINSUM: return write_einsum(w, r, v, width);
    case CR_OP_CALL: return write_call(w, r, v);
    case CR_OP_BIND: return write_bind(w, r, v, width);
    case CR_OP_DSIGMOID:
        if (!w->members && (!v->has_code || v->at.kind == LOOP_TWIN) &&
            loop_find_twin(w, r, v->lo, v->hi, &v->at) && v->at.w == width) {
            return true;
        }
        return !(v->has_code && v->at.kind == LOOP_TWIN) && write_map(w, r, v, width);
    default: return write_map(w, r, v, width);
    }
}

bool loop_write(loop_writer *w, cr_ref r, int64_t lo, int64_t hi, loop_operand *at)
{
    loop_value *old = find(w, r), v = {.r = r, .lo = lo, .hi = hi};
    if (old && (old->fixed || (old->lo <= lo && hi <= old->hi))) {
        *at = old->at;
        return true;
    }
    if (old) {
        v = *old;
        v.lo = lo < v.lo ? lo : v.lo;
        v.hi = hi > v.hi ? hi : v.hi;
        v.has_code = true;
    }
    if (w->depth > LOOP_MAX_VALUES) {
        return false;
    }
    w->depth++;
    bool ok = write_node(w, r, &v);
    w->depth--;
    if (!ok) {
        return false;
    }
    if (old && v.at.kind != old->at.kind) {
        return false; /* it has another place for more indices: what was written before reads the first one */
    }
    if (!old && w->n == LOOP_MAX_VALUES) {
        return false;
    }
    *(old ? old : &w->value[w->n++]) = v;
    *at = v.at;
    return true;
}
