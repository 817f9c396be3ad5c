/* How deriving grows with depth: an MLP of L layers,
 *
 *     h_0 = x,  h_l = tanh(W_l h_{l-1} + b_l),  loss = ||h_L - y||^2,
 *
 * differentiated for all its 2 L parameters by one cr_reverse, the 2 L results simplified by one cr_simplify_n.
 *
 *     derive_mlp LAYERS [REPEATS]      one JSON object on standard output
 *
 * Each repeat has a graph of its own; seconds are medians. Memory is what the library holds: malloc and its kin are
 * wrapped at link time (--wrap) and count malloc_usable_size, so stack, libc and this program are not in it. */
#include "graph/graph.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- memory ------------------------------------------------------------------------------------- */

static size_t held, peak;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

static void *count(void *p)
{
    held += malloc_usable_size(p);
    if (held > peak) peak = held;
    return p;
}

void *__wrap_malloc(size_t n) { return count(__real_malloc(n)); }
void *__wrap_calloc(size_t n, size_t size) { return count(__real_calloc(n, size)); }
void *__wrap_realloc(void *p, size_t n)
{
    held -= malloc_usable_size(p);
    return count(__real_realloc(p, n));
}
void __wrap_free(void *p)
{
    held -= malloc_usable_size(p);
    __real_free(p);
}

/* ---- the network -------------------------------------------------------------------------------- */

enum { BUILD, REVERSE, SIMPLIFY, DERIVE, PARTS }; /* DERIVE: reverse and simplify */
static const char *const part_name[PARTS] = {"build", "reverse", "simplify", "derive"};

typedef struct result {
    double seconds[PARTS];
    uint32_t nodes, nodes_forward;
    size_t arena, peak;
} result;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static cr_ref mlp(cr_graph *g, unsigned layers, cr_ref *parameter)
{
    cr_dim d = cr_dim_symbol(g, "d"), square[2] = {d, d};
    cr_ref h = cr_param(g, "x", 1, &d, 0), y = cr_param(g, "y", 1, &d, 0);
    for (unsigned l = 0; l < layers; l++) {
        char name[24];
        snprintf(name, sizeof name, "W%u", l + 1);
        cr_ref W = parameter[2 * l] = cr_param(g, name, 2, square, 0);
        name[0] = 'b';
        cr_ref b = parameter[2 * l + 1] = cr_param(g, name, 1, &d, 0);
        h = cr_map(g, CR_OP_TANH, cr_add(g, cr_matmul(g, W, h), b));
    }
    cr_ref r = cr_sub(g, h, y);
    return cr_matmul(g, cr_transpose(g, r), r);
}

static bool measure(unsigned layers, cr_ref *parameter, cr_ref *out, result *m)
{
    size_t before = held;
    peak = held;
    double t0 = now();
    cr_graph *g = cr_graph_new();
    if (!g) return false;
    cr_ref loss = mlp(g, layers, parameter);
    m->nodes_forward = g->n_nodes;
    double t1 = now();
    bool ok = cr_reverse(g, loss, cr_const(g, 1), 2 * layers, parameter, out) == CR_OK;
    double t2 = now();
    ok = ok && cr_simplify_n(g, 2 * layers, out, out) == CR_OK;
    double t3 = now();
    m->seconds[BUILD] = t1 - t0;
    m->seconds[REVERSE] = t2 - t1;
    m->seconds[SIMPLIFY] = t3 - t2;
    m->seconds[DERIVE] = t3 - t1;
    m->nodes = g->n_nodes;
    m->arena = g->mem.total;
    m->peak = peak - before;
    for (unsigned i = 0; i < 2 * layers && ok; i++) ok = out[i] != CR_NONE && same_shape(g, out[i], parameter[i]);
    if (!ok) fprintf(stderr, "derive_mlp: %s\n", cr_graph_status(g) ? cr_graph_message(g) : "a derivative is missing");
    cr_graph_free(g);
    return ok;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    enum { MOST = 101 };
    unsigned layers = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 10000;
    unsigned repeats = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 5;
    static result m[MOST];
    if (layers < 1 || layers > 10000000 || repeats < 1 || repeats > MOST) {
        fputs("usage: derive_mlp LAYERS [REPEATS]\n", stderr);
        return 2;
    }
    cr_ref *parameter = calloc(2 * (size_t)layers, sizeof *parameter), *out = calloc(2 * (size_t)layers, sizeof *out);
    bool ok = parameter && out;
    for (unsigned i = 0; i < repeats && ok; i++) ok = measure(layers, parameter, out, &m[i]);
    free(parameter);
    free(out);
    if (!ok) return 1;
    printf("{\"layers\": %u, \"parameters\": %u, \"repeats\": %u, \"nodes_forward\": %u, \"nodes\": %u, "
           "\"arena_bytes\": %zu, \"peak_bytes\": %zu", layers, 2 * layers, repeats,
           m[0].nodes_forward, m[0].nodes, m[0].arena, m[0].peak);
    for (int p = 0; p < PARTS; p++) {
        double s[MOST];
        for (unsigned i = 0; i < repeats; i++) s[i] = m[i].seconds[p];
        qsort(s, repeats, sizeof *s, by_value);
        printf(", \"seconds_%s\": %.6f", part_name[p], s[repeats / 2]);
    }
    puts("}");
    return 0;
}
