/* Allocation: the one door to malloc, with a hook that lets a test make any allocation fail. */
#include "base/base.h"

#include <stdlib.h>
#include <string.h>

/* Set before the library is used and by tests only, hence unlocked. */
static bool (*hook)(void *user);
static void *hook_user;

void cr_mem_set_hook(bool (*allow)(void *user), void *user)
{
    hook = allow;
    hook_user = user;
}

static bool allowed(void)
{
    return !hook || hook(hook_user);
}

void *mem_alloc(size_t n)
{
    return allowed() ? malloc(n ? n : 1) : NULL;
}

void *mem_zalloc(size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size) return NULL;
    return allowed() ? calloc(count && size ? count * size : 1, 1) : NULL;
}

void *mem_realloc(void *p, size_t n)
{
    return allowed() ? realloc(p, n ? n : 1) : NULL;
}

void mem_free(void *p)
{
    free(p);
}

char *mem_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = mem_alloc(n);
    return copy ? memcpy(copy, s, n) : NULL;
}

/* The pointer is read and written as bytes: its type is T *, not void *, and the aliasing rules mean it. */
bool vec_reserve_(void **data, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap) return true;
    if (need > SIZE_MAX / 2 / size) return false;
    size_t grown = *cap + *cap / 2;
    if (grown < 8) grown = 8;
    if (grown < need || grown > SIZE_MAX / size) grown = need;
    void *p;
    memcpy(&p, data, sizeof p);
    p = mem_realloc(p, grown * size);
    if (!p) return false;
    memcpy(data, &p, sizeof p);
    *cap = grown;
    return true;
}
