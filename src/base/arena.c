/* Arena: memory that is given back all at once. */
#include "base/base.h"

#define FIRST_BLOCK ((size_t)4 << 10)
#define LARGEST_BLOCK ((size_t)1 << 20)

struct arena_block {
    struct arena_block *next;
    uint64_t data[]; /* the 8-byte alignment of what arena_alloc gives */
};

static struct arena_block *block_new(arena *a, size_t bytes)
{
    struct arena_block *b = mem_alloc(sizeof *b + bytes);
    if (b) a->total += sizeof *b + bytes;
    return b;
}

void *arena_alloc(arena *a, size_t n)
{
    if (n > SIZE_MAX / 2) return NULL;
    n = n ? (n + 7) & ~(size_t)7 : 8;
    if (n <= a->cap - a->used) {
        void *p = (char *)a->head->data + a->used;
        a->used += n;
        return p;
    }
    size_t next = a->cap ? 2 * a->cap : FIRST_BLOCK;
    if (next > LARGEST_BLOCK) next = LARGEST_BLOCK;
    if (a->head && n > next / 4) {
        /* A large piece gets a block of its own, behind the head, so that the rest of the head is not lost. */
        struct arena_block *own = block_new(a, n);
        if (!own) return NULL;
        own->next = a->head->next;
        a->head->next = own;
        return own->data;
    }
    if (next < n) next = n;
    struct arena_block *b = block_new(a, next);
    if (!b) return NULL;
    b->next = a->head;
    a->head = b;
    a->cap = next;
    a->used = n;
    return b->data;
}

void arena_free(arena *a)
{
    for (struct arena_block *b = a->head, *next; b; b = next) {
        next = b->next;
        mem_free(b);
    }
    *a = (arena){0};
}
