/* Rows by their indices: taken, or added up. An index out of range is told by the run's status and then left out. Rows
 * are added in the order of their places, whatever the number of threads: each thread has rows of the result of its
 * own. */
#include "plan/plan.h"

#include <math.h>
#include <string.h>

enum { SMALL_WORK = 100000, PIECE = 256 }; /* entries that are worth threads; bytes */

typedef struct rows_run {
    const plan_op *x;
    const kern_table *t;
    kern_dtype dtype;
    size_t size;
    char *in, *index, *to;
    unsigned n_places;        /* axes */
    size_t places, runs, run; /* a row is `runs` times `run` entries */
    int64_t in_step;          /* within a run; the result has none */
} rows_run;

static size_t product(const int64_t *dim, unsigned n)
{
    size_t p = 1;
    for (unsigned k = 0; k < n; k++) p *= (size_t)dim[k];
    return p;
}

/* Bytes to place number `place` of the axes from..end-1. */
static int64_t offset_of(const rows_run *w, const int64_t *stride, unsigned from, unsigned end, size_t place)
{
    int64_t offset = 0;
    for (unsigned k = end; k-- > from;) {
        offset += (int64_t)(place % (size_t)w->x->dim[k]) * stride[k];
        place /= (size_t)w->x->dim[k];
    }
    return offset * (int64_t)w->size;
}

/* The number of the row from 0; -1: there is none. */
static int64_t row_at(const rows_run *w, const char *index)
{
    double v = w->dtype == KERN_F32 ? (double)*(const float *)(const void *)index
                                    : *(const double *)(const void *)index;
    return v >= 1 && v <= (double)w->x->u.rows.n && v == floor(v) ? (int64_t)v - 1 : -1;
}

static void copy_run(const rows_run *w, char *to, const char *from)
{
    if (w->in_step == 1) memcpy(to, from, w->run * w->size);
    else w->t->load(w->run, to, from, w->in_step);
}

static void add_run(const rows_run *w, char *to, const char *from)
{
    if (w->in_step == 1 || w->run == 1) {
        w->t->map[KERN_ADD][0](w->run, to, to, from, NULL, 0);
        return;
    }
    _Alignas(64) char piece[PIECE];
    size_t most = PIECE / w->size;
    for (size_t k = 0; k < w->run; k += most) {
        size_t n = w->run - k < most ? w->run - k : most;
        w->t->load(n, piece, from + (int64_t)k * w->in_step * (int64_t)w->size, w->in_step);
        w->t->map[KERN_ADD][0](n, to + k * w->size, to + k * w->size, piece, NULL, 0);
    }
}

static void each_run(const rows_run *w, char *to, const char *from)
{
    unsigned end = w->x->axes ? w->x->rank - 1u : w->x->rank;
    for (size_t i = 0; i < w->runs; i++) {
        char *there = to + offset_of(w, w->x->to.stride, w->n_places, end, i);
        if (!from) w->t->fill(w->run, there, NAN);
        else if (w->x->u.rows.add) add_run(w, there, from + offset_of(w, w->x->in[0].stride, w->n_places, end, i));
        else copy_run(w, there, from + offset_of(w, w->x->in[0].stride, w->n_places, end, i));
    }
}

/* Places first..end-1; adds only to rows low..high-1 of the result. Are all indices in range? */
static bool run_places(const rows_run *w, size_t first, size_t end, int64_t low, int64_t high)
{
    const plan_op *x = w->x;
    const plan_rows *rows = &x->u.rows;
    unsigned last = w->n_places ? w->n_places - 1u : 0;
    size_t n = w->n_places ? (size_t)x->dim[last] : 1;
    int64_t size = (int64_t)w->size, step = rows->step * size;
    bool good = true;
    for (size_t place = first; place < end;) {
        char *in = w->in + offset_of(w, x->in[0].stride, 0, w->n_places, place);
        char *index = w->index + offset_of(w, x->in[1].stride, 0, w->n_places, place);
        char *to = w->to + offset_of(w, x->to.stride, 0, w->n_places, place);
        size_t stop = place - place % n + n;
        for (stop = stop < end ? stop : end; place < stop; place++) {
            int64_t row = row_at(w, index);
            good &= row >= 0;
            if (!rows->add) each_run(w, to, row < 0 ? NULL : in + row * step);
            else if (row >= low && row < high) each_run(w, to + row * step, in);
            if (w->n_places == 0) continue;
            in += x->in[0].stride[last] * size;
            index += x->in[1].stride[last] * size;
            to += x->to.stride[last] * size;
        }
    }
    return good;
}

/* The result is whole arrays of rows, one after the other. */
static void clear_rows(const rows_run *w, size_t entries, int64_t low, int64_t high)
{
    size_t row = w->runs * w->run, all = row * (size_t)w->x->u.rows.n;
    for (size_t at = 0; at < entries; at += all) {
        w->t->fill((size_t)(high - low) * row, w->to + (at + (size_t)low * row) * w->size, 0);
    }
}

void plan_run_rows(const plan_run *r, const plan_op *x, int64_t index)
{
    const plan_rows *rows = &x->u.rows;
    unsigned n_places = (unsigned)x->rank - x->axes, last = x->rank ? x->rank - 1u : 0;
    rows_run w = {.x = x, .t = kern_table_of(r->plan->dtype, r->plan->level), .dtype = r->plan->dtype,
                  .size = kern_size(r->plan->dtype), .in = plan_entry(r, &x->in[0], index),
                  .index = plan_entry(r, &x->in[1], index), .to = plan_pointer(r, x->out), .n_places = n_places,
                  .places = product(x->dim, n_places), .run = x->axes ? (size_t)x->dim[last] : 1,
                  .in_step = x->axes ? x->in[0].stride[last] : 1};
    w.runs = product(x->dim + n_places, x->axes) / w.run;
    size_t row = w.runs * w.run, entries = r->plan->value[x->out].n;
    size_t parts = rows->add ? (size_t)rows->n : w.places, threads = r->plan->threads;
    threads = w.places * row + (rows->add ? entries : 0) < SMALL_WORK || (rows->add && row < 8) ? 1
              : parts < threads                                                                 ? parts
                                                                                                : threads;
    bool bad = false;
#pragma omp parallel for num_threads((int)threads) schedule(static, 1) reduction(|| : bad) if (threads > 1)
    for (size_t me = 0; me < threads; me++) {
        size_t from = parts * me / threads, end = parts * (me + 1) / threads;
        if (rows->add) {
            clear_rows(&w, entries, (int64_t)from, (int64_t)end);
            bad = !run_places(&w, 0, w.places, (int64_t)from, (int64_t)end) || bad;
        } else {
            bad = !run_places(&w, from, end, 0, 0) || bad;
        }
    }
    if (bad && !rows->lenient) *r->status = CR_EVALUE;
}
