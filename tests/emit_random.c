/* emit_random DIR: fifty random graphs and their gradients as C, DIR/N.c, with what they are called with and what they
 * have to say, DIR/N.txt: a name and its numbers in each line. test_cemit.py compiles and compares. */
#include "random_graph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GRAPHS = 50, BYTES = 160, TRIES = 4000, LARGE = 100000 };

static FILE *open_file(const char *folder, int number, const char *suffix)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%d.%s", folder, number, suffix);
    FILE *f = fopen(path, "w");
    if (!f) perror(path), exit(1);
    return f;
}

static void put_array(FILE *f, const char *name, const exec_array *a)
{
    fprintf(f, "%s", name);
    for (size_t i = 0; i < a->n; i++) fprintf(f, " %.17g", a->value[i]);
    fputc('\n', f);
}

static void complain(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

/* False: the graph has no value that could be compared. */
static bool write_graph(const uint8_t *data, const char *folder, int number)
{
    random_graph k = {.g = cr_graph_new(), .data = data, .n = BYTES};
    if (!k.g) abort();
    const char *fault;
    random_graph_build(&k, &fault);
    if (fault) abort();
    cr_graph *g = k.g;
    cr_ref out[2] = {k.pool[k.n_pool - 1], CR_NONE};
    exec_env *env = exec_env_new(g);
    if (!env || !random_graph_bind(&k, env, 0, true)) abort();
    bool good = cr_dtype_of(g, out[0]) == CR_REAL && op_get(op_of(g, out[0]))->kind != KIND_LEAF;
    if (good) out[1] = cr_derivative(g, cr_sum(g, out[0]), k.param[data[0] % N_PARAMS]);
    double top = good && out[1] ? random_graph_magnitude(g, env, out[0], true) : NAN;
    double top_d = top < LARGE ? random_graph_magnitude(g, env, out[1], true) : NAN;
    good = top < LARGE && top_d < LARGE;
    if (good) {
        static const char *const name[2] = {"value", "derivative"};
        char *text;
        if (cr_emit_c(g, "derive", 2, out, name, &text) != CR_OK) complain(cr_graph_message(g));
        FILE *f = open_file(folder, number, "c");
        fputs(text, f);
        fclose(f);
        cr_string_free(text);
        f = open_file(folder, number, "txt");
        fprintf(f, "scale %.17g\n", fmax(top, top_d));
        for (unsigned i = 0; i < 2 + N_PARAMS; i++) {
            exec_array a;
            cr_ref r = i < 2 ? out[i] : k.param[i - 2];
            if (exec_eval(g, env, r, &a) != CR_OK) complain(cr_graph_message(g));
            put_array(f, i < 2 ? name[i] : name_text(g->dims, attr_of(g, r, 0)), &a);
            exec_array_free(&a);
        }
        fclose(f);
    }
    exec_env_free(env);
    cr_graph_free(g);
    return good;
}

int main(int argc, char **argv)
{
    uint32_t random = 1;
    int done = 0;
    if (argc != 2) return 2;
    for (int i = 0; i < TRIES && done < GRAPHS; i++) {
        uint8_t data[BYTES];
        for (int j = 0; j < BYTES; j++) {
            random = random * 1664525u + 1013904223u;
            data[j] = (uint8_t)(random >> 24);
        }
        done += write_graph(data, argv[1], done);
    }
    if (done < GRAPHS) fprintf(stderr, "only %d graphs\n", done);
    return done < GRAPHS;
}
