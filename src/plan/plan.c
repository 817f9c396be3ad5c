/* The public side of plans: making, asking, running. */
#include "exec/internal.h"
#include "plan/region.h"

#include <inttypes.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#include <string.h>
#include <unistd.h>

#define SLAB_ALIGN ((size_t)64)
#define HUGE_PAGE ((size_t)2 << 20)
#define MAX_THREADS 256u /* where a system has no more to give, OpenMP ends the process */

cr_status plan_fail(cr_plan *p, cr_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(&p->err, status, fmt, ap);
    va_end(ap);
    return p->err.status;
}

bool plan_no_memory(cr_plan *p)
{
    plan_fail(p, CR_ENOMEM, "out of memory");
    return false;
}

uint32_t plan_value_new(cr_plan *p, size_t n)
{
    if (p->n_value >= PLAN_NONE - 1 || !VEC_RESERVE(p->value, p->value_cap, p->n_value + 1)) {
        plan_no_memory(p);
        return PLAN_NONE;
    }
    p->value[p->n_value] = (plan_value){.n = n, .producer = PLAN_NONE, .same = PLAN_NONE};
    return (uint32_t)p->n_value++;
}

plan_op *plan_op_new(cr_plan *p, plan_body *b)
{
    if (!VEC_RESERVE(b->op, b->op_cap, b->n_op + 1)) {
        plan_no_memory(p);
        return NULL;
    }
    memset(&b->op[b->n_op], 0, sizeof *b->op);
    return &b->op[b->n_op++];
}

/* ---- making ------------------------------------------------------------------------------------- */

static void body_free(plan_body *b)
{
    for (size_t i = 0; i < b->n_step; i++) {
        region_free(b->step[i].region);
        if (b->step[i].conv) conv_plan_free(b->step[i].conv);
        mem_free(b->step[i].conv);
    }
    for (size_t i = 0; i < b->n_op; i++) {
        if (b->op[i].kind == PLAN_LOOP) body_free(b->op[i].u.loop);
    }
    mem_free(b->op);
    mem_free(b->step);
}

void cr_plan_free(cr_plan *p)
{
    if (!p) return;
    body_free(&p->body);
    mem_free(p->value);
    mem_free(p->input);
    mem_free(p->output);
    mem_free(p->constant);
    mem_free(p->checkpoint);
    arena_free(&p->mem);
    err_clear(&p->err);
    mem_free(p);
}

static cr_status check_roots(cr_graph *g, unsigned n, const cr_ref *out)
{
    if (cr_graph_status(g) != CR_OK) return cr_graph_status(g);
    for (unsigned i = 0; i < n; i++) {
        if (!valid(g, out[i])) {
            graph_fail(g, CR_EARG, "output %u of the plan is no expression of this graph", i);
            return CR_EARG;
        }
    }
    return CR_OK;
}

bool plan_bind_sizes(cr_graph *g, exec_env *env, unsigned n, const cr_size_value *size)
{
    for (unsigned i = 0; i < n; i++) {
        if (!size[i].symbol) {
            graph_fail(g, CR_EARG, "size %u of the plan has no symbol", i);
            return false;
        }
        dim_sym s = name_intern(g->dims, size[i].symbol, strlen(size[i].symbol));
        if (!s || exec_bind_int(env, s, size[i].value) != CR_OK) return false;
    }
    return true;
}

/* Outputs beyond all memory are named by their shape before anything is made for them. */
static bool check_outputs(exec_env *env, unsigned n, const cr_ref *out)
{
    int64_t dim[CR_MAX_RANK];
    size_t entries;
    for (unsigned i = 0; i < n; i++) {
        if (!exec_shape(env, out[i], dim, &entries)) return false;
    }
    return true;
}

static bool bind_functions(cr_graph *g, exec_env *env, const cr_plan_options *o)
{
    for (unsigned i = 0; i < o->n_functions; i++) {
        cr_fun f = o->function[i].function;
        if (f == 0 || f >= g->n_fun) {
            graph_fail(g, CR_EARG, "function %u of the plan is none of this graph", i);
            return false;
        }
        if (!o->function[i].call) {
            graph_fail(g, CR_EARG, "%s has nothing to call", name_text(g->dims, g->fun[f].name));
            return false;
        }
        if (exec_bind_fun(env, f, o->function[i].call, o->function[i].user) != CR_OK) return false;
    }
    return true;
}

unsigned cr_processors(void)
{
#ifdef _OPENMP
    return (unsigned)omp_get_num_procs(); /* those that this process may use */
#else
    return 1;
#endif
}

static size_t largest_entries(const cr_plan *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_value; i++) {
        const plan_value *v = &p->value[i];
        if (v->place == PLACE_SLAB && v->stored && v->n > n) n = v->n;
    }
    return n;
}

static bool within_limit(cr_plan *p, size_t limit)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    bool machine = limit == 0;
    if (largest_entries(p) > (size_t)EXEC_MAX_ENTRIES) {
        plan_fail(p, CR_ELIMIT, "an intermediate value of more than %lld entries", (long long)EXEC_MAX_ENTRIES);
        return false;
    }
    if (machine && pages > 0 && page > 0) limit = (size_t)pages * (size_t)page;
    if (limit == 0 || p->slab <= limit) return true;
    plan_fail(p, CR_ELIMIT, "the plan needs %zu bytes of memory, its largest array has %zu entries; %s %zu", p->slab,
              largest_entries(p), machine ? "this machine has" : "max_bytes allows", limit);
    return false;
}

/* The first error, wherever it was, ends up in the graph. */
static cr_status report(cr_graph *g, cr_plan *p)
{
    if (p->err.status != CR_OK) graph_fail(g, p->err.status, "%s", err_message(&p->err));
    cr_status status = cr_graph_status(g);
    return status != CR_OK ? status : CR_EINTERNAL;
}

cr_status cr_plan_new(cr_graph *g, unsigned n, const cr_ref *out, unsigned n_sizes, const cr_size_value *size,
                      const cr_plan_options *options, cr_plan **plan)
{
    static const cr_plan_options defaults = {.precision = CR_F32};
    const cr_plan_options *o = options ? options : &defaults;
    *plan = NULL;
    cr_status status = check_roots(g, n, out);
    if (status != CR_OK) return status;
    cr_plan *p = mem_zalloc(1, sizeof *p);
    exec_env *env = p ? exec_env_new(g) : NULL;
    if (!env) {
        mem_free(p);
        graph_fail(g, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    p->dtype = o->precision == CR_F64 ? KERN_F64 : KERN_F32;
    p->level = o->level ? (kern_level)(o->level - 1) : kern_best();
    p->level = p->level > kern_best() ? kern_best() : p->level;
    p->threads = o->threads ? o->threads : cr_processors();
    p->threads = p->threads < MAX_THREADS ? p->threads : MAX_THREADS;
    p->deterministic = o->deterministic;
    bool ok = plan_bind_sizes(g, env, n_sizes, size) && bind_functions(g, env, o) && check_outputs(env, n, out) &&
              plan_lower(p, g, env, n, out) && plan_prune(p) && plan_peephole(p) && plan_group(p) &&
              plan_checkpoints(p, o->checkpoints, o->checkpoint_bytes) && plan_place_values(p) &&
              within_limit(p, o->max_bytes);
#ifndef NDEBUG
    ok = ok && plan_verify(p);
#endif
    if (ok) plan_settle(p);
    exec_env_free(env);
    if (!ok || cr_graph_status(g) != CR_OK) {
        status = report(g, p);
        cr_plan_free(p);
        return status;
    }
    *plan = p;
    return CR_OK;
}

/* ---- asking ------------------------------------------------------------------------------------- */

unsigned cr_plan_inputs(const cr_plan *p) { return (unsigned)p->n_input; }
unsigned cr_plan_outputs(const cr_plan *p) { return (unsigned)p->n_output; }
const char *cr_plan_input_name(const cr_plan *p, unsigned i) { return i < p->n_input ? p->input[i].name : NULL; }
size_t cr_plan_input_count(const cr_plan *p, unsigned i) { return i < p->n_input ? p->input[i].n : 0; }
size_t cr_plan_output_count(const cr_plan *p, unsigned i) { return i < p->n_output ? p->output[i].n : 0; }

static unsigned shape(const plan_port *port, int64_t *dim)
{
    memcpy(dim, port->dim, port->rank * sizeof *dim);
    return port->rank;
}

unsigned cr_plan_input_shape(const cr_plan *p, unsigned i, int64_t *dim)
{
    return i < p->n_input ? shape(&p->input[i], dim) : 0;
}

unsigned cr_plan_output_shape(const cr_plan *p, unsigned i, int64_t *dim)
{
    return i < p->n_output ? shape(&p->output[i], dim) : 0;
}

int cr_plan_input(const cr_plan *p, const char *name)
{
    for (size_t i = 0; i < p->n_input; i++) {
        if (!strcmp(p->input[i].name, name)) return (int)i;
    }
    return -1;
}

size_t cr_plan_bytes(const cr_plan *p) { return p->slab; }
size_t cr_plan_steps(const cr_plan *p) { return p->body.n_step; }

/* ---- running ------------------------------------------------------------------------------------ */

cr_slab *plan_slab_new(size_t bytes)
{
    cr_slab *s = mem_zalloc(1, sizeof *s);
    size_t align = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : SLAB_ALIGN;
    if (s) s->memory = mem_alloc(bytes + align);
    if (!s || !s->memory) {
        cr_slab_free(s);
        return NULL;
    }
    s->start = s->memory + (align - (uintptr_t)s->memory % align) % align;
    s->bytes = bytes;
    return s;
}

cr_slab *cr_slab_new(const cr_plan *p) { return plan_slab_new(p->slab); }

void cr_slab_free(cr_slab *s)
{
    if (!s) return;
    mem_free(s->memory);
    mem_free(s);
}

cr_status cr_run(const cr_plan *p, cr_slab *s, const void *const *in, void *const *out)
{
    if (s->bytes < p->slab) return CR_EARG;
    cr_status status = CR_OK;
    plan_run r = {.plan = p, .slab = s->start, .in = in, .out = out, .status = &status};
    plan_run_all(&r);
    return status;
}
