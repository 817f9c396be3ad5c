/* A set of tensors by name, and its first error. */
#include "data/data.h"

#include <string.h>

cr_data *cr_data_new(void) { return mem_zalloc(1, sizeof(cr_data)); }

static void tensor_free(cr_tensor *t)
{
    mem_free((void *)(uintptr_t)t->name);
    mem_free((void *)(uintptr_t)t->data);
}

void data_clear(cr_data *d)
{
    for (size_t i = 0; i < d->n; i++) tensor_free(&d->tensor[i]);
    mem_free(d->tensor);
    mem_free(d->slot);
    err_clear(&d->err);
    *d = (cr_data){0};
}

void cr_data_free(cr_data *d)
{
    if (d) data_clear(d);
    mem_free(d);
}

/* ---- errors ----------------------------------------------------------------------------------- */

cr_status cr_data_status(const cr_data *d) { return d->err.status; }
const char *cr_data_message(const cr_data *d) { return err_message(&d->err); }
void cr_data_clear_error(cr_data *d) { err_clear(&d->err); }

cr_status data_fail(cr_data *d, cr_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(&d->err, status, fmt, ap);
    va_end(ap);
    return status;
}

cr_status data_oom(cr_data *d) { return data_fail(d, CR_ENOMEM, "out of memory"); }

/* ---- names ------------------------------------------------------------------------------------ */

/* Where the name stands in the table, or the empty slot where it would. */
static size_t slot_of(const cr_data *d, const char *name)
{
    uint32_t h = 0;
    for (const char *p = name; *p; p++) h = hash_word(h, (unsigned char)*p);
    size_t i = h & (d->n_slots - 1);
    while (d->slot[i] && strcmp(d->tensor[d->slot[i] - 1].name, name) != 0) i = (i + 1) & (d->n_slots - 1);
    return i;
}

/* Room for `more` tensors, so that adding them cannot fail. */
static bool reserve(cr_data *d, size_t more)
{
    size_t need = d->n + more, slots = d->n_slots ? d->n_slots : 16;
    if (need >= UINT32_MAX / 4 || !VEC_RESERVE(d->tensor, d->cap, need)) return false;
    while (slots < 2 * need) slots *= 2;
    if (slots == d->n_slots) return true;
    uint32_t *table = mem_zalloc(slots, sizeof *table);
    if (!table) return false;
    mem_free(d->slot);
    d->slot = table;
    d->n_slots = slots;
    for (size_t i = 0; i < d->n; i++) d->slot[slot_of(d, d->tensor[i].name)] = (uint32_t)i + 1;
    return true;
}

/* After reserve; t's name and data are d's. */
static void put(cr_data *d, const cr_tensor *t)
{
    size_t s = slot_of(d, t->name);
    if (d->slot[s]) {
        cr_tensor *old = &d->tensor[d->slot[s] - 1];
        tensor_free(old);
        *old = *t;
        return;
    }
    d->tensor[d->n++] = *t;
    d->slot[s] = (uint32_t)d->n;
}

cr_status data_take(cr_data *d, const char *name, cr_type type, unsigned rank, const int64_t *dim, void *memory)
{
    cr_tensor t = {.type = type, .rank = rank, .data = memory};
    bool fits = rank <= CR_MAX_RANK && data_product(rank, dim, cr_type_size(type), &t.count);
    t.name = fits ? mem_strdup(name) : NULL;
    if (t.name && reserve(d, 1)) {
        for (unsigned i = 0; i < rank; i++) t.dim[i] = dim[i];
        put(d, &t);
        return CR_OK;
    }
    tensor_free(&t);
    return fits ? data_oom(d) : data_fail(d, CR_EARG, "`%s`: no sizes of a tensor", name);
}

cr_status data_move(cr_data *d, cr_data *from)
{
    if (!reserve(d, from->n)) return data_oom(d);
    for (size_t i = 0; i < from->n; i++) put(d, &from->tensor[i]);
    from->n = 0;
    return CR_OK;
}

size_t cr_data_count(const cr_data *d) { return d->n; }

bool cr_data_at(const cr_data *d, size_t i, cr_tensor *t)
{
    if (i >= d->n) return false;
    *t = d->tensor[i];
    return true;
}

bool cr_data_find(const cr_data *d, const char *name, cr_tensor *t)
{
    uint32_t s = d->n_slots ? d->slot[slot_of(d, name)] : 0;
    return s && cr_data_at(d, s - 1, t);
}

cr_status cr_data_add(cr_data *d, const cr_tensor *t)
{
    size_t size = cr_type_size(t->type), count;
    if (!t->name || utf8_check(t->name, strlen(t->name)) != strlen(t->name))
        return data_fail(d, CR_EARG, "a tensor needs a name, in UTF-8");
    if (!size || t->rank > CR_MAX_RANK || !data_product(t->rank, t->dim, size, &count) || (count && !t->data))
        return data_fail(d, CR_EARG, "`%s`: no type, no data or sizes beyond the memory", t->name);
    void *copy = mem_alloc(count * size);
    if (!copy) return data_oom(d);
    if (count) memcpy(copy, t->data, count * size);
    return data_take(d, t->name, t->type, t->rank, t->dim, copy);
}
