#include "random_graph.h"

#include "exec/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned byte(random_graph *k) { return k->at < k->n ? k->data[k->at++] : 0; }

static void put(random_graph *k, cr_ref r)
{
    if (!r) return;
    if (k->n_pool < MAX_POOL) k->pool[k->n_pool++] = r;
    else k->pool[N_PARAMS + byte(k) % (MAX_POOL - N_PARAMS)] = r;
}

/* Where to look in the pool first: mostly at the latest expressions, so that the graph gets deep. */
static unsigned start(random_graph *k)
{
    unsigned b = byte(k);
    return k->n_pool - 1 - (b < 64 ? b % k->n_pool : b % 4);
}

/* Some real expression of the pool, of that rank if there is one (rank > 3: any). */
static cr_ref real(random_graph *k, unsigned rank)
{
    unsigned from = start(k);
    for (unsigned i = 0; i < k->n_pool; i++) {
        cr_ref r = k->pool[(from + k->n_pool - i) % k->n_pool];
        if (cr_dtype_of(k->g, r) == CR_REAL && (rank > 3 || cr_rank(k->g, r) == rank)) return r;
    }
    return cr_const(k->g, 1);
}

/* A real expression of the shape of a, else a scalar. */
static cr_ref like(random_graph *k, cr_ref a)
{
    unsigned from = start(k);
    for (unsigned i = 0; i < k->n_pool; i++) {
        cr_ref r = k->pool[(from + k->n_pool - i) % k->n_pool];
        if (cr_dtype_of(k->g, r) == CR_REAL && same_shape(k->g, a, r)) return r;
    }
    return real(k, 0);
}

static cr_ref condition(random_graph *k)
{
    static const cr_op ops[] = {CR_OP_LT, CR_OP_LE, CR_OP_EQ, CR_OP_NE};
    unsigned kind = byte(k);
    cr_ref a = real(k, 9), c = cr_map2(k->g, ops[kind % 4], a, kind & 16 ? cr_const(k->g, 0) : like(k, a));
    if (kind & 32) c = cr_map(k->g, CR_OP_NOT, c);
    if (kind & 64) {
        cr_ref d = cr_map2(k->g, ops[kind / 4 % 4], a, like(k, a));
        c = cr_map2(k->g, kind & 128 ? CR_OP_AND : CR_OP_OR, c, d);
    }
    return c;
}

/* Numbers in eighths, so that sums and products of them are exact. */
static double eighths(unsigned b) { return ((int)(b % 49) - 24) / 8.0; }

/* An index of 1..size: a number, since every size here is at least 2, or the size itself. */
static cr_dim index_of(random_graph *k, cr_dim size)
{
    unsigned b = byte(k) % 3;
    return b == 2 ? size : cr_dim_const(k->g, 1 + b);
}

/* A random contraction: a few operands, labels that agree in size. */
static cr_ref einsum(random_graph *k)
{
    cr_ref in[3];
    uint8_t label[16];
    cr_dim size[8] = {k->dim_n, k->dim_n, k->dim_n, k->dim_n, k->dim_m, k->dim_m, k->dim_m, k->dim_m};
    unsigned n = 1 + byte(k) % 3, n_label = 0;
    uint8_t to[8], order[8], n_order = 0;
    memset(to, 255, sizeof to);
    for (unsigned i = 0; i < n; i++) {
        in[i] = real(k, 9);
        for (unsigned a = 0; a < cr_rank(k->g, in[i]); a++) {
            cr_dim d = cr_size(k->g, in[i], a);
            if (n_label >= 16 || (d != k->dim_n && d != k->dim_m)) return CR_NONE;
            uint8_t l = (uint8_t)(byte(k) % 4 + (d == k->dim_m ? 4 : 0));
            label[n_label++] = l;
            if (to[l] == 255) {
                to[l] = 254;
                order[n_order++] = l;
            }
        }
    }
    unsigned rank = n_order ? byte(k) % (n_order < 3 ? n_order + 1u : 3u) : 0, from = byte(k);
    cr_dim shape[3];
    for (unsigned i = 0; i < n_order; i++) {
        uint8_t l = order[(from + i) % n_order];
        to[l] = (uint8_t)i; /* the first `rank` of them are axes of the result */
        if (i < rank) shape[i] = size[l];
    }
    for (unsigned i = 0; i < n_label; i++) label[i] = to[label[i]];
    return cr_einsum(k->g, n, in, label, rank, shape);
}

static cr_ref binder(random_graph *k)
{
    char name[16];
    static const cr_bind_kind kinds[] = {CR_BIND_SUM, CR_BIND_PROD, CR_BIND_STACK, CR_BIND_MAX, CR_BIND_MIN};
    snprintf(name, sizeof name, "i%u", k->n_bound++);
    cr_dim i = cr_dim_symbol(k->g, name), one = cr_dim_const(k->g, 1);
    cr_ref v = real(k, 1);
    if (cr_rank(k->g, v) != 1) return CR_NONE;
    cr_dim size = cr_size(k->g, v, 0);
    unsigned b = byte(k);
    if (size != k->dim_n && size != k->dim_m) b &= 31; /* shortened once already: no range of negative length */
    cr_ref body = cr_index(k->g, v, 1, &i);
    if (b & 8) body = cr_mul(k->g, body, like(k, v) == v ? cr_int(k->g, i) : real(k, 0));
    if (b & 16) body = cr_map(k->g, CR_OP_TANH, body);
    if (b & 32) { /* the neighbour */
        cr_dim before = cr_dim_sub(k->g, i, one);
        return cr_bind(k->g, kinds[b % 5], name, cr_dim_const(k->g, 2), size,
                       cr_mul(k->g, body, cr_index(k->g, v, 1, &before)));
    }
    return cr_bind(k->g, kinds[b % 5], name, b & 64 ? cr_dim_const(k->g, 2) : one, size, body);
}

/* A window over a vector or a matrix, a slice, or a convolution of rows. */
static cr_ref window(random_graph *k)
{
    cr_graph *g = k->g;
    cr_ref a = real(k, 1 + byte(k) % 2);
    unsigned rank = cr_rank(g, a), kind = byte(k) % 8, b = byte(k);
    if (rank == 0) return CR_NONE;
    cr_dim one = cr_dim_const(g, 1), at[2], size[2], s[3] = {one, one, cr_size(g, a, rank - 1)};
    cr_window w = {.axes = 1 + (b & 1) % rank};
    for (unsigned i = 0; i < w.axes; i++) {
        w.size[i] = cr_dim_const(g, 1 + (b >> 1 & 1));
        w.stride[i] = cr_dim_const(g, 1 + (b >> 2 & 1));
        w.low[i] = w.high[i] = cr_dim_const(g, b >> 3 & 1);
    }
    for (unsigned i = 0; i < rank; i++) {
        at[i] = cr_dim_const(g, (int)(b >> 4 & 3) - 1);
        size[i] = b & 64 ? k->dim_n : cr_size(g, a, i);
    }
    switch (kind) {
    case 0: return cr_pool(g, CR_POOL_SUM, a, &w);
    case 1: return cr_pool(g, CR_POOL_MAX, a, &w);
    case 2: return cr_pool(g, CR_POOL_MEAN_PADDED, a, &w);
    case 3: return cr_slice(g, a, at, NULL, size);
    case 4: return cr_place(g, a, at, NULL, size);
    case 5: return cr_concat(g, 2, (cr_ref[]){a, a}, b % rank);
    case 6: return cr_gather(g, a, cr_int(g, index_of(k, cr_size(g, a, 0))), 0);
    default: {
        s[0] = rank == 2 ? cr_size(g, a, 0) : one;
        cr_ref v = real(k, 1), rows = cr_reshape(g, a, 3, s);
        if (cr_rank(g, v) != 1) return CR_NONE;
        cr_ref filter = cr_reshape(g, v, 3, (cr_dim[]){one, one, cr_size(g, v, 0)});
        cr_window pads = {.low = {cr_size(g, v, 0)}};
        cr_ref y = cr_conv(g, rows, filter, &pads);
        return rank == 1 && y ? cr_reshape(g, y, 1, (cr_dim[]){cr_size(g, y, 2)}) : cr_sum(g, y);
    }
    }
}

static cr_ref step(random_graph *k)
{
    static const cr_op maps[] = {CR_OP_EXP, CR_OP_LOG, CR_OP_SQRT, CR_OP_ABS, CR_OP_SIGN, CR_OP_STEP, CR_OP_RELU,
                                 CR_OP_LEAKY_RELU, CR_OP_ELU, CR_OP_SELU, CR_OP_GELU, CR_OP_SILU, CR_OP_SOFTPLUS,
                                 CR_OP_SIGMOID, CR_OP_DSIGMOID, CR_OP_SIN, CR_OP_COS, CR_OP_TAN, CR_OP_SINH,
                                 CR_OP_COSH, CR_OP_TANH, CR_OP_DTANH, CR_OP_ASIN, CR_OP_ACOS, CR_OP_ATAN, CR_OP_ERF};
    static const cr_op reductions[] = {CR_OP_MAXR, CR_OP_MINR, CR_OP_PRODR, CR_OP_NORM1, CR_OP_NORM2, CR_OP_NORM_INF};
    static const cr_op algebra[] = {CR_OP_DET, CR_OP_LOGDET, CR_OP_INV, CR_OP_PINV, CR_OP_ADJ};
    cr_graph *g = k->g;
    unsigned op = byte(k);
    cr_ref a = real(k, 9);
    switch (op % 24) {
    case 0: case 1: return cr_add(g, a, like(k, a));
    case 2: return cr_sub(g, a, like(k, a));
    case 3: case 4: return cr_mul(g, a, like(k, a));
    case 5: return cr_div(g, a, like(k, a));
    case 6: return cr_pow(g, a, byte(k) & 1 ? like(k, a) : cr_const(g, (int)(byte(k) % 7) - 2));
    case 7: return cr_map2(g, byte(k) & 1 ? CR_OP_MAX2 : CR_OP_MIN2, a, like(k, a));
    case 8: case 9: return cr_map(g, maps[byte(k) % (sizeof maps / sizeof *maps)], a);
    case 10: return cr_select(g, condition(k), a, like(k, a));
    case 11: return cr_matmul(g, real(k, 2), real(k, 1 + byte(k) % 2));
    case 12: return cr_transpose(g, cr_rank(g, a) <= 2 ? a : real(k, 2));
    case 13: return byte(k) & 1 ? cr_sum(g, a) : cr_diag(g, real(k, 1 + byte(k) % 2));
    case 14: return cr_reduce(g, reductions[byte(k) % 6], a, byte(k) % (cr_rank(g, a) + 1));
    case 15: return cr_linalg(g, algebra[byte(k) % 5], real(k, 2));
    case 16: {
        cr_ref v = real(k, 1 + byte(k) % 2);
        return cr_rank(g, v) ? (byte(k) & 1 ? cr_softmax(g, v, byte(k) % cr_rank(g, v))
                                            : cr_logsoftmax(g, v, byte(k) % cr_rank(g, v)))
                             : v;
    }
    case 17: return einsum(k);
    case 18: {
        cr_ref v = real(k, 1 + byte(k) % 2);
        cr_dim index[2];
        for (unsigned i = 0; i < cr_rank(g, v); i++) index[i] = index_of(k, cr_size(g, v, i));
        return cr_index(g, v, cr_rank(g, v), index);
    }
    case 19: return binder(k);
    case 20: return cr_call(g, byte(k) & 1 ? k->known : k->unknown, byte(k) % 3, a);
    case 21: {
        cr_ref m = real(k, 2);
        unsigned b = byte(k);
        if ((b & 129) == 128) return window(k);
        return b & 1 ? cr_matpow(g, m, cr_dim_const(g, (int)(byte(k) % 6) - 1)) : cr_vec(g, m);
    }
    case 22:
        switch (byte(k) % 6) {
        case 0: return cr_identity(g, k->dim_n);
        case 1: return cr_iota(g, k->dim_n);
        case 2: return cr_onehot(g, index_of(k, k->dim_n), k->dim_n);
        case 3: return cr_int(g, cr_dim_add(g, k->dim_m, k->dim_n));
        case 4: return cr_full(g, real(k, 0), 1, &k->dim_n);
        default: return cr_kron(g, real(k, 1), real(k, 1));
        }
    default: {
        cr_ref entry[4] = {real(k, 0), real(k, 0), real(k, 0), real(k, 0)};
        cr_dim two = cr_dim_const(g, 2), shape[2] = {two, two};
        return byte(k) & 1 ? cr_stack(g, 4, entry, 2, shape) : cr_const(g, eighths(byte(k)));
    }
    }
}

/* ---- values ------------------------------------------------------------------------------------ */

static double sine(void *user, unsigned order, double z)
{
    (void)user;
    return sin(z + order * 1.57079632679489661923);
}

bool random_graph_bind(random_graph *k, exec_env *env, unsigned point, bool generic)
{
    uint32_t random = 12345u + point * 977u;
    int64_t n = k->size_n ? k->size_n : 2, m = k->size_m ? k->size_m : 3;
    for (unsigned i = 0; i < N_PARAMS; i++) {
        exec_array a;
        error e = {CR_OK, NULL};
        int64_t dim[2] = {i == 4 ? m : n, n};
        if (!exec_array_init(&a, cr_rank(k->g, k->param[i]), dim, &e)) return false;
        for (size_t j = 0; j < a.n; j++) {
            random = random * 1664525u + 1013904223u;
            int b = (int)(random >> 24);
            a.value[j] = i == 5 ? (1 + b % 24) / 8.0 : (b & 1 ? 1 : -1) * (1 + b / 2 % 24) / 8.0;
            if (generic) a.value[j] += (random >> 8 & 65535) / 1e6;
        }
        cr_status s = exec_bind(env, k->param[i], &a);
        exec_array_free(&a);
        if (s != CR_OK) return false;
    }
    return exec_bind_fun(env, k->unknown, sine, NULL) == CR_OK;
}

/* ---- magnitudes --------------------------------------------------------------------------------- */

/* What is known of an intermediate value: numbers without rounding, or not. */
static bool keeps_exact(const cr_graph *g, cr_ref r)
{
    double v;
    switch (op_of(g, r)) {
    case CR_OP_CONST: v = attr_double(g, r, 0) * 1024; return v == trunc(v) && fabs(v) < 1e9;
    case CR_OP_PARAM: case CR_OP_INT: case CR_OP_ONEHOT: case CR_OP_IDENTITY: case CR_OP_IOTA: case CR_OP_ADD:
    case CR_OP_EINSUM: case CR_OP_RESHAPE: case CR_OP_STACK: case CR_OP_MAXR: case CR_OP_MINR: case CR_OP_PRODR:
    case CR_OP_RELU: case CR_OP_ABS: case CR_OP_SIGN: case CR_OP_STEP: case CR_OP_MAX2: case CR_OP_MIN2:
    case CR_OP_SELECT: case CR_OP_NORM1: case CR_OP_NORM_INF: case CR_OP_CONV: case CR_OP_WINDOW: case CR_OP_MAXPOOL:
    case CR_OP_MAXTIES: case CR_OP_GATHER: case CR_OP_SCATTER:
        return true;
    default: return op_get(op_of(g, r))->kind == KIND_CMP;
    }
}

/* Does the value of node r, of inputs a (and b), hang on the last bits of them? */
static bool hangs(cr_op op, const exec_array *a, const exec_array *b)
{
    for (size_t i = 0; i < a->n; i++) {
        double x = a->value[i], y = b && b->n == a->n ? b->value[i] : 0, near = 1e-7 * (1 + fabs(x) + fabs(y));
        switch (op) {
        case CR_OP_LT: case CR_OP_LE: case CR_OP_EQ: case CR_OP_NE: case CR_OP_MAX2: case CR_OP_MIN2:
            if (fabs(x - y) < near) return true;
            break;
        case CR_OP_POW: /* of a negative number: is the exponent an integer? */
            if (x < near) return true;
            break;
        case CR_OP_LOG: case CR_OP_SQRT: case CR_OP_SIGN: case CR_OP_STEP: case CR_OP_NORM2:
        case CR_OP_ABS: case CR_OP_RELU: case CR_OP_LEAKY_RELU: case CR_OP_ELU: case CR_OP_SELU:
            if (fabs(x) < near) return true;
            break;
        case CR_OP_DIV:
            if (fabs(y) < near) return true;
            break;
        case CR_OP_MAXTIES: case CR_OP_MAXPICK:
            for (size_t j = 0; j < i; j++)
                if (fabs(x - a->value[j]) < near) return true;
            break;
        case CR_OP_ASIN: case CR_OP_ACOS:
            if (fabs(fabs(x) - 1) < near) return true;
            break;
        default: break;
        }
    }
    if (op != CR_OP_PINV && op != CR_OP_INV && op != CR_OP_LOGDET && op != CR_OP_ADJ && op != CR_OP_DET) return false;
    /* the Gram matrix of two rows or columns: nearly singular? */
    size_t rows = (size_t)a->dim[0], columns = (size_t)a->dim[1];
    if (rows > 2 && columns > 2) return true;
    size_t other = rows <= 2 ? columns : rows, along = rows <= 2 ? 1 : columns, across = rows <= 2 ? columns : 1;
    if ((rows <= 2 ? rows : columns) < 2) return false;
    double p = 0, q = 0, c = 0;
    for (size_t i = 0; i < other; i++) {
        double x = a->value[i * along], y = a->value[across + i * along];
        p += x * x, q += y * y, c += x * y;
    }
    return !(p * q - c * c > 1e-6 * (p + q) * (p + q));
}

double random_graph_magnitude(cr_graph *g, exec_env *env, cr_ref root, bool generic)
{
    size_t n;
    double top = 0;
    cr_ref *cone = graph_cone(g, 1, &root, &n);
    exec_array *value = calloc((size_t)root + 1, sizeof *value);
    bool *exact = calloc((size_t)root + 1, sizeof *exact);
    if (!cone || !value || !exact) abort();
    for (size_t i = 0; i < n && !isnan(top); i++) {
        cr_ref r = cone[i];
        const cr_node *nd = node(g, r);
        exec_array *v = &value[r];
        if (exec_eval(g, env, r, v) != CR_OK) {
            cr_graph_clear_error(g);
            continue;
        }
        exact[r] = keeps_exact(g, r) && !generic;
        bool inputs_exact = !generic;
        for (uint32_t j = 0; j < nd->n_in; j++) inputs_exact &= exact[nd->word[j]];
        exact[r] &= inputs_exact;
        for (size_t j = 0; j < v->n && !isnan(top); j++)
            top = isfinite(v->value[j]) ? fmax(top, fabs(v->value[j])) : NAN;
        bool known = nd->n_in > 0 && value[nd->word[0]].value;
        if (known && !inputs_exact &&
            hangs(op_of(g, r), &value[nd->word[0]], nd->n_in > 1 ? &value[nd->word[1]] : NULL))
            top = NAN;
        if (known && op_of(g, r) == CR_OP_PINV && hangs(CR_OP_PINV, &value[nd->word[0]], NULL)) top = NAN;
    }
    if (!value[root].value) top = NAN; /* it has none: an index out of range */
    for (size_t i = 0; i < n; i++) exec_array_free(&value[cone[i]]);
    free(value);
    free(exact);
    mem_free(cone);
    return top;
}

/* ---- work --------------------------------------------------------------------------------------- */

static double entries_of(cr_graph *g, exec_env *env, cr_ref r)
{
    int64_t dim[CR_MAX_RANK];
    size_t n;
    bool known = exec_shape(env, r, dim, &n);
    cr_graph_clear_error(g);
    return known ? (double)n : 1;
}

/* Of a contraction, all values of all labels; of binders, a pass of everything an index. */
double random_graph_work(const random_graph *k, exec_env *env, cr_ref root)
{
    size_t n;
    cr_graph *g = k->g;
    cr_ref *cone = graph_cone(g, 1, &root, &n);
    double sum = 0, times = 1, side = (double)(k->size_n > k->size_m ? k->size_n : k->size_m);
    if (!cone) abort();
    for (size_t i = 0; i < n; i++) {
        cr_op op = op_of(g, cone[i]);
        double work = entries_of(g, env, cone[i]);
        bool products = op == CR_OP_CONV || op == CR_OP_MATPOW || op_get(op)->kind == KIND_LINALG;
        if (products) work = side * (work + entries_of(g, env, node(g, cone[i])->word[0]));
        if (op == CR_OP_EINSUM) {
            einsum_view v;
            einsum_read(g, cone[i], &v);
            work = 1;
            for (unsigned a = 0; a < v.n_labels; a++) {
                int64_t size = 1;
                if (exec_dim(env, v.size[a], "a size", &size)) work *= (double)size;
            }
        }
        if (op == CR_OP_BIND) times *= side;
        sum += work;
    }
    cr_graph_clear_error(g);
    mem_free(cone);
    return sum * times;
}

/* ---- building ----------------------------------------------------------------------------------- */

void random_graph_build(random_graph *k, const char **fault)
{
    *fault = NULL;
    cr_graph *g = k->g;
    k->dim_n = cr_dim_symbol(g, "n");
    k->dim_m = cr_dim_symbol(g, "m");
    cr_dim nn[2] = {k->dim_n, k->dim_n}, mn[2] = {k->dim_m, k->dim_n};
    k->param[0] = cr_param(g, "t", 0, NULL, 0);
    k->param[1] = cr_param(g, "x", 1, nn, 0);
    k->param[2] = cr_param(g, "y", 1, nn, 0);
    k->param[3] = cr_param(g, "A", 2, nn, 0);
    k->param[4] = cr_param(g, "W", 2, mn, 0);
    k->param[5] = cr_param(g, "p", 1, nn, CR_POSITIVE);
    for (int i = 0; i < N_PARAMS; i++) put(k, k->param[i]);
    cr_ref z = cr_param(g, "z", 0, NULL, 0);
    k->known = cr_fun_known(g, "swish", z, cr_mul(g, z, cr_map(g, CR_OP_SIGMOID, z)));
    k->unknown = cr_fun_unknown(g, "f");
    put(k, cr_const(g, 0));
    put(k, cr_const(g, 2));
    if (cr_graph_status(g) != CR_OK) abort();
    for (int i = 0; i < 40 && k->at < k->n; i++) {
        cr_ref r = step(k);
        if (r && !valid(g, r)) abort();
        if (r && cr_rank(g, r) <= 3) put(k, r);
        if (cr_graph_status(g) == CR_EINTERNAL) {
            *fault = cr_graph_message(g);
            return;
        }
        cr_graph_clear_error(g); /* sizes that disagree: the builder said so */
    }
}
