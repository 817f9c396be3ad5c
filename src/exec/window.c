/* Which entries of x, of the window and of y meet (graph/window.h), as a list: the kernels are loops over it. */
#include "exec/internal.h"

#include <inttypes.h>
#include <string.h>

enum { X = SLOT_X, W = SLOT_W, Y = SLOT_Y };

/* d as a number so small that no product with an index overflows. */
static bool small_number(exec_env *env, cr_dim d, const char *what, int64_t *v)
{
    if (!exec_dim(env, d, what, v)) return false;
    if (*v > -EXEC_MAX_ENTRIES && *v < EXEC_MAX_ENTRIES) return true;
    graph_fail(env->g, CR_ELIMIT, "%s of %" PRId64 " is beyond %" PRId64, what, *v, EXEC_MAX_ENTRIES);
    return false;
}

bool exec_window_numbers(exec_env *env, cr_ref r, const cr_window *w, window_numbers *n)
{
    cr_ref slot[3];
    window_slots(env->g, r, slot);
    for (unsigned i = 0; i < w->axes; i++) {
        if (!small_number(env, w->stride[i], "a stride", &n->stride[i]) ||
            !small_number(env, w->dilation[i], "a dilation", &n->dilation[i]) ||
            !small_number(env, w->low[i], "a pad", &n->low[i]))
            return false;
        for (unsigned k = 0; k < 3; k++) {
            cr_dim size = window_extent(env->g, w, slot, (window_slot)k, i);
            if (!exec_dim(env, size, "a size", &n->size[k][i])) return false;
            if (n->size[k][i] < 0) { /* of a pool's window; the others are shapes of values */
                graph_fail(env->g, CR_EVALUE, "a window of negative size: %" PRId64, n->size[k][i]);
                return false;
            }
        }
    }
    return true;
}

/* Entries of a slot on the axes of the window; more than a value may have are an error. */
static bool plane(exec_env *env, unsigned axes, const int64_t *size, size_t *n)
{
    int64_t total = 1;
    for (unsigned i = 0; i < axes; i++) {
        if (size[i] && total > EXEC_MAX_ENTRIES / size[i]) {
            graph_fail(env->g, CR_ELIMIT, "a window over more than %" PRId64 " entries", EXEC_MAX_ENTRIES);
            return false;
        }
        total *= size[i];
    }
    *n = (size_t)total;
    return true;
}

/* The next index below size[], last axis first; false after the last. */
static bool step(unsigned axes, const int64_t *size, int64_t *index)
{
    for (unsigned i = axes; i-- > 0;) {
        if (++index[i] < size[i]) return true;
        index[i] = 0;
    }
    return false;
}

bool exec_window_init(exec_window *v, exec_env *env, cr_ref r)
{
    cr_window w;
    window_numbers n;
    memset(v, 0, sizeof *v);
    window_read(env->g, r, &w);
    if (!exec_dim(env, w.groups, "a number of groups", &v->groups)) return false;
    if (!exec_window_numbers(env, r, &w, &n)) return false;
    for (unsigned k = 0; k < 3; k++)
        if (!plane(env, w.axes, n.size[k], &v->n[k])) return false;
    if (!v->n[X] || !v->n[W] || !v->n[Y]) return true;
    if (v->n[Y] > (size_t)EXEC_MAX_ENTRIES / v->n[W]) {
        graph_fail(env->g, CR_ELIMIT, "more than %" PRId64 " entries of windows", EXEC_MAX_ENTRIES);
        return false;
    }
    v->meet = mem_alloc(v->n[Y] * v->n[W] * sizeof *v->meet);
    if (!v->meet) {
        graph_fail(env->g, CR_ENOMEM, "out of memory");
        return false;
    }
    int64_t position[CR_MAX_RANK] = {0};
    size_t y = 0;
    do {
        int64_t tap[CR_MAX_RANK] = {0};
        size_t t = 0;
        do {
            int64_t x = 0;
            bool inside = true;
            for (unsigned i = 0; i < w.axes; i++) {
                int64_t at = n.stride[i] * position[i] + n.dilation[i] * tap[i] - n.low[i];
                inside = inside && at >= 0 && at < n.size[X][i];
                x = inside ? x * n.size[X][i] + at : 0;
            }
            if (inside) v->meet[v->n_meet++] = (exec_meet){{(uint32_t)x, (uint32_t)t, (uint32_t)y}};
            t++;
        } while (step(w.axes, n.size[W], tap));
        y++;
    } while (step(w.axes, n.size[Y], position));
    return true;
}

void exec_window_free(exec_window *v)
{
    mem_free(v->meet);
    memset(v, 0, sizeof *v);
}
