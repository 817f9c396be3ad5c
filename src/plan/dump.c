/* A plan as text: what goes in and out, then its steps in order. Values in memory are t1, t2, ...; those of a fused
 * step that never leave the cache are r1, r2, ...; i, j, k, ... are the axes of an operation, n is the index of a
 * loop. An operand that is not read entry by entry, as it lies, says which entry it is (of the whole array, counted
 * from 0). */
#include "plan/region.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct printer {
    const cr_plan *p;
    strbuf *b;
    uint32_t *number; /* by value: of those without a name; 0: not met yet */
    const plan_body *loop; /* that is being printed, NULL: none */
} printer;

static const char axis_name[PLAN_RANK + 1] = "ijklpqrs";

/* ---- operands ----------------------------------------------------------------------------------- */

static void print_number(strbuf *b, double v)
{
    if (isfinite(v)) sb_number(b, v);
    else sb_puts(b, isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
}

static void print_name(const printer *s, uint32_t value)
{
    const plan_value *v = &s->p->value[value];
    switch (v->place) {
    case PLACE_INPUT: sb_puts(s->b, s->p->input[v->index].name); break;
    case PLACE_OUTPUT: sb_printf(s->b, "out[%" PRIu32 "]", v->index); break;
    default:
        sb_printf(s->b, "%c%" PRIu32, v->place == PLACE_CONSTANT ? 'c' : v->stored ? 't' : 'r', s->number[value]);
    }
}

static void print_term(strbuf *b, double factor, const char *name, size_t length, bool *first)
{
    if (factor == 0) return;
    if (*first) sb_puts(b, factor < 0 ? "-" : "");
    else sb_puts(b, factor < 0 ? " - " : " + ");
    if (fabs(factor) != 1 || !length) print_number(b, fabs(factor));
    if (fabs(factor) != 1 && length) sb_putc(b, '*');
    sb_write(b, name, length);
    *first = false;
}

/* start + sum stride[k] i[k] + loop n, where n counts from lo and `start` is for n = lo. */
static void print_sum(const printer *s, const plan_op *x, double start, const plan_operand *v)
{
    bool first = true;
    if (v->loop && s->loop) print_term(s->b, (double)v->loop, "n", 1, &first);
    for (unsigned k = 0; k < x->rank; k++) {
        if (x->dim[k] > 1) print_term(s->b, (double)v->stride[k], &axis_name[k], 1, &first);
    }
    if (v->loop && s->loop) start -= (double)v->loop * (double)s->loop->lo;
    print_term(s->b, start, "", 0, &first);
    if (first) sb_putc(s->b, '0');
}

static void print_operand(const printer *s, const plan_op *x, const plan_operand *v)
{
    if (v->source == SOURCE_NUMBER) {
        print_number(s->b, v->number);
    } else if (v->source == SOURCE_PROGRESSION) {
        sb_putc(s->b, '(');
        print_sum(s, x, v->number, v);
        sb_putc(s->b, ')');
    } else {
        print_name(s, v->value);
        if (plan_reads_in_place(x, v) || s->p->value[v->value].n == 1) return;
        sb_putc(s->b, '[');
        print_sum(s, x, (double)v->offset, v);
        sb_putc(s->b, ']');
    }
}

/* ---- operations --------------------------------------------------------------------------------- */

static void print_word(strbuf *b, const char *name)
{
    for (; *name; name++) sb_putc(b, (char)tolower((unsigned char)*name));
}

/* %0, %1, %2: the operands; %a: the attribute. What is not here is written name(operands). */
static const char *const map_form[KERN_OPS] = {
    [KERN_COPY] = "%0", [KERN_SCALE] = "%a * %0", [KERN_ADD] = "%0 + %1",
    [KERN_SUB] = "%0 - %1", [KERN_MUL] = "%0 * %1", [KERN_DIV] = "%0 / %1", [KERN_POW] = "%0 ^ %1",
    [KERN_LT] = "%0 < %1", [KERN_LE] = "%0 <= %1", [KERN_EQ] = "%0 == %1", [KERN_NE] = "%0 != %1",
    [KERN_AND] = "%0 and %1", [KERN_OR] = "%0 or %1", [KERN_NOT] = "not %0", [KERN_SELECT] = "if(%0, %1, %2)",
    [KERN_DTANH] = "tanh'(%0)", [KERN_DSIGMOID] = "sigmoid'(%0)",
    [KERN_MULADD] = "%0 * %1 + %2", [KERN_LEAKY_RELU] = "leaky_relu(%0, %a)",
};

static void print_operands(const printer *s, const plan_op *x)
{
    sb_putc(s->b, '(');
    for (unsigned k = 0; k < x->n_in; k++) {
        sb_puts(s->b, k ? ", " : "");
        print_operand(s, x, &x->in[k]);
    }
    sb_putc(s->b, ')');
}

static void print_map(const printer *s, const plan_op *x)
{
    const char *form = map_form[x->u.map.op];
    if (!form) {
        print_word(s->b, kern_name(x->u.map.op));
        print_operands(s, x);
        return;
    }
    for (; *form; form++) {
        if (*form != '%') sb_putc(s->b, *form);
        else if (*++form == 'a') print_number(s->b, x->u.map.attr);
        else print_operand(s, x, &x->in[*form - '0']);
    }
}

static const char *const fold_name[KERN_FOLDS] = {
#define K1(name)
#define K2(name)
#define K3(name)
#define FOLD(name) #name,
#include "kernel/kernels.def"
#undef K1
#undef K2
#undef K3
#undef FOLD
};

static void print_fold(const printer *s, const plan_op *x)
{
    unsigned from = x->leading ? x->before : x->rank - x->axes;
    print_word(s->b, fold_name[x->u.fold]);
    sb_putc(s->b, '(');
    print_operand(s, x, &x->in[0]);
    if (x->n_in == 2) {
        sb_puts(s->b, " * ");
        print_operand(s, x, &x->in[1]);
    }
    sb_putc(s->b, ')');
    for (unsigned k = from; k < from + x->axes; k++) sb_printf(s->b, "%s%c", k > from ? ", " : " over ", axis_name[k]);
}

/* A matrix that is read with its rows along the columns of what lies there is written with '. */
static void print_product(const printer *s, const plan_op *x)
{
    const gemm_shape *g = &x->u.product;
    size_t times = g->batch;
    for (unsigned k = 0; k < x->rank; k++) times *= (size_t)x->dim[k];
    print_operand(s, x, &x->in[0]);
    sb_puts(s->b, g->a_m == 1 && g->m > 1 && g->k > 1 ? "' * " : " * ");
    print_operand(s, x, &x->in[1]);
    sb_puts(s->b, g->b_k == 1 && g->k > 1 && g->n > 1 ? "'" : "");
    sb_printf(s->b, "   (%zu x %zu x %zu", g->m, g->k, g->n);
    if (times != 1) sb_printf(s->b, ", %zu times", times);
    sb_putc(s->b, ')');
}

static void print_linalg(const printer *s, const plan_op *x)
{
    const plan_linalg *la = &x->u.linalg;
    if (la->op == CR_OP_MATPOW) {
        print_name(s, x->in[0].value);
        if (la->batch == 1) sb_printf(s->b, " ^ %" PRId64, la->exponent[0]);
        else sb_puts(s->b, " ^ (a table)");
    } else {
        sb_printf(s->b, "%s(", op_get(la->op)->spelling);
        print_name(s, x->in[0].value);
        sb_putc(s->b, ')');
    }
    sb_printf(s->b, "   (%zu x %zu", la->rows, la->columns);
    if (la->batch != 1) sb_printf(s->b, ", %zu times", la->batch);
    sb_putc(s->b, ')');
}

static void print_op(const printer *s, const plan_op *x)
{
    if (x->part) print_operand(s, x, &x->to);
    else print_name(s, x->out);
    sb_puts(s->b, x->kind == PLAN_PRODUCT && x->u.product.accumulate ? " += " : " = ");
    switch (x->kind) {
    case PLAN_MAP: print_map(s, x); break;
    case PLAN_FOLD: print_fold(s, x); break;
    case PLAN_PRODUCT: print_product(s, x); break;
    case PLAN_SCAN:
        print_word(s->b, fold_name[x->u.fold]);
        print_operands(s, x);
        sb_printf(s->b, " %s each %c", x->backward ? "from" : "up to", axis_name[0]);
        break;
    case PLAN_GATHER:
        print_operand(s, x, &x->in[0]);
        sb_puts(s->b, " at the entries of a table");
        break;
    case PLAN_ROWS:
        sb_puts(s->b, x->u.rows.add ? "scatter" : "gather");
        print_operands(s, x);
        break;
    case PLAN_LINALG: print_linalg(s, x); break;
    case PLAN_CHAIN:
        sb_puts(s->b, "products of the matrices of ");
        print_name(s, x->in[0].value);
        sb_printf(s->b, " %s each   (%" PRId64 " of %zu x %zu)", x->backward ? "from" : "up to", x->dim[0], x->u.chain,
                  x->u.chain);
        break;
    case PLAN_CALL:
        sb_puts(s->b, "function");
        for (unsigned k = 0; k < x->u.call.order; k++) sb_putc(s->b, '\'');
        print_operands(s, x);
        break;
    case PLAN_CONV: {
        static const char *const name[] = {[CONV_X] = "conv_x", [CONV_W] = "conv_w", [CONV_Y] = "conv"};
        sb_puts(s->b, name[x->u.conv->value]);
        print_operands(s, x);
        break;
    }
    case PLAN_POOL:
        sb_printf(s->b, "%s%s", op_get(x->u.pool->op)->spelling, x->u.pool->to_x ? "_x" : "");
        print_operands(s, x);
        break;
    case PLAN_LOOP: break; /* print_step */
    }
    sb_putc(s->b, '\n');
}

/* ---- steps -------------------------------------------------------------------------------------- */

static void print_shape(strbuf *b, unsigned rank, const int64_t *dim)
{
    for (unsigned k = 0; k < rank; k++) sb_printf(b, "%s%" PRId64, k ? " x " : "", dim[k]);
    if (!rank) sb_puts(b, "one number");
}

static void print_body(printer *s, const plan_body *body, int indent);

static void print_step(printer *s, size_t n, const plan_op *const *op, size_t number, int indent)
{
    static const char *const kind_name[] = {
        [PLAN_MAP] = "fused",     [PLAN_FOLD] = "fused",   [PLAN_PRODUCT] = "product",
        [PLAN_SCAN] = "fused",    [PLAN_GATHER] = "gather", [PLAN_LINALG] = "linalg",
        [PLAN_CHAIN] = "scan",    [PLAN_CALL] = "fused",   [PLAN_LOOP] = "loop",
        [PLAN_ROWS] = "rows",
        [PLAN_CONV] = "conv",     [PLAN_POOL] = "pool",
    };
    const plan_op *x = op[0];
    sb_printf(s->b, "%*s%3zu  %-8s ", indent, "", number, kind_name[x->kind]);
    if (x->kind == PLAN_LOOP) {
        const plan_body *outer = s->loop;
        s->loop = x->u.loop;
        sb_printf(s->b, "n = %" PRId64 "..%" PRId64 "%s\n", s->loop->lo, s->loop->hi,
                  s->loop->split ? ", all of it for one block after the other" : "");
        print_body(s, s->loop, indent + 5);
        s->loop = outer;
    } else if (strcmp(kind_name[x->kind], "fused") != 0) {
        print_op(s, x);
    } else {
        for (size_t i = 1; i < n; i++) x = op[i]->rank > x->rank ? op[i] : x; /* others are one entry a row */
        sb_puts(s->b, "over ");
        print_shape(s->b, x->rank, x->dim);
        sb_putc(s->b, '\n');
        for (size_t i = 0; i < n; i++) {
            sb_printf(s->b, "%*s", indent + 9, "");
            print_op(s, op[i]);
        }
    }
}

static int by_group(const void *a, const void *b)
{
    const plan_op *x = *(const plan_op *const *)a, *y = *(const plan_op *const *)b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    return x < y ? -1 : x > y; /* of one array: as they run */
}

static void print_body(printer *s, const plan_body *body, int indent)
{
    const plan_op **op = mem_alloc((body->n_op + 1) * sizeof *op);
    if (!op) {
        s->b->status = CR_ENOMEM;
        return;
    }
    for (size_t i = 0; i < body->n_op; i++) op[i] = &body->op[i];
    qsort(op, body->n_op, sizeof *op, by_group);
    size_t number = 0, n;
    for (size_t i = 0; i < body->n_op; i += n) {
        for (n = 1; i + n < body->n_op && op[i + n]->group == op[i]->group; n++) {}
        print_step(s, n, op + i, ++number, indent);
    }
    mem_free(op);
}

/* Numbers in the order in which values are made. */
static void number_values(printer *s, const plan_body *body, uint32_t *stored, uint32_t *fused)
{
    for (size_t i = 0; i < body->n_op; i++) {
        const plan_op *x = &body->op[i];
        if (x->kind == PLAN_LOOP) {
            number_values(s, x->u.loop, stored, fused);
        } else if (!s->number[x->out] && s->p->value[x->out].place == PLACE_SLAB) {
            s->number[x->out] = s->p->value[x->out].stored ? ++*stored : ++*fused;
        }
    }
}

static void print_ports(const printer *s, const char *what, const plan_port *port, size_t n)
{
    sb_printf(s->b, "%-8s", what);
    for (size_t i = 0; i < n; i++) {
        sb_puts(s->b, i ? ", " : " ");
        if (port[i].name) sb_puts(s->b, port[i].name);
        else sb_printf(s->b, "out[%zu]", i);
        sb_puts(s->b, ": ");
        print_shape(s->b, port[i].rank, port[i].dim);
    }
    sb_puts(s->b, n ? "\n" : " none\n");
}

void plan_print(const cr_plan *p, strbuf *b)
{
    printer s = {.p = p, .b = b, .number = mem_zalloc(p->n_value + 1, sizeof *s.number)};
    if (!s.number) {
        b->status = CR_ENOMEM;
        return;
    }
    uint32_t stored = 0, fused = 0, constants = 0;
    for (size_t i = 0; i < p->n_value; i++) {
        if (p->value[i].place == PLACE_CONSTANT) s.number[i] = ++constants;
    }
    number_values(&s, &p->body, &stored, &fused);
    sb_printf(b, "%s, %u thread%s%s: %zu step%s, %zu bytes of slab\n", p->dtype == KERN_F64 ? "f64" : "f32", p->threads,
              p->threads == 1 ? "" : "s", p->deterministic ? ", deterministic" : "", p->body.n_step,
              p->body.n_step == 1 ? "" : "s", p->slab);
    print_ports(&s, "inputs", p->input, p->n_input);
    print_ports(&s, "outputs", p->output, p->n_output);
    print_body(&s, &p->body, 0);
    mem_free(s.number);
}

char *cr_plan_text(const cr_plan *p)
{
    strbuf b;
    sb_init(&b);
    plan_print(p, &b);
    return sb_take(&b);
}
