/* What the C tests share: cmocka, and allocation that fails on demand. */
#ifndef CR_TESTS_UNIT_H
#define CR_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/base.h"

/* Lets the first `left` allocations pass and refuses all others. */
typedef struct refusal {
    long left;
    bool refused;
} refusal;

static inline bool refusal_allow(void *user)
{
    refusal *r = user;
    if (r->left-- > 0) return true;
    r->refused = true;
    return false;
}

/* Calls fn with 0, 1, 2, ... allocations allowed, until it needs no more than are. fn checks for itself that it gets a
 * clean CR_ENOMEM when *refused is set; leaks are found by the sanitizer run. */
static inline void each_allocation_fails(void (*fn)(const bool *refused))
{
    refusal r = {.refused = true};
    for (long n = 0; r.refused; n++) {
        r = (refusal){n, false};
        cr_mem_set_hook(refusal_allow, &r);
        fn(&r.refused);
        cr_mem_set_hook(NULL, NULL);
        assert_true(n < 1000000);
    }
}

#endif
