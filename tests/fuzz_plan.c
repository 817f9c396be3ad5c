/* Any bytes as a small random graph: a plan of its latest expressions gives what the interpreter gives, where rounding
 * lets us see. The first byte chooses instructions, threads and precision. */
#include "plan_check.h"
#include "random_graph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    random_graph k = {.g = cr_graph_new(), .data = data + 1, .n = size - 1};
    const char *broken;
    char fault[500];
    cr_ref root[2];
    unsigned n = 0, how = data[0];
    double most = 1;
    if (!k.g) return 0;
    random_graph_build(&k, &broken);
    exec_env *env = exec_env_new(k.g);
    if (broken || !env || !random_graph_bind(&k, env, how % 7, true)) abort();
    for (unsigned i = 1; i <= 2 && i <= k.n_pool; i++) {
        cr_ref r = k.pool[k.n_pool - i];
        double top = random_graph_magnitude(k.g, env, r, true);
        if (!(top < 1e4)) continue;
        root[n++] = r;
        most = fmax(most, top);
    }
    plan_check check = {.level = how % 4, .threads = 1 + (how >> 2 & 1), .deterministic = how >> 3 & 1,
                        .precision = how >> 4 & 1 ? CR_F32 : CR_F64};
    check.magnitude = most;
    check.tolerance = check.precision == CR_F64 ? 1e-9 : 1e-2;
    if (n && !plan_agrees(k.g, env, n, root, &check, fault, sizeof fault)) {
        fprintf(stderr, "%s\n", fault);
        abort();
    }
    exec_env_free(env);
    cr_graph_free(k.g);
    return 0;
}
