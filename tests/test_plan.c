/* Plans against the reference interpreter: every operator with its derivatives, recurrences, random graphs. */
#include "unit.h"

#include "op_check.h"
#include "plan_check.h"

#include <math.h>
#include <stdio.h>

static unsigned n_faults;

static void complain(const char *what, const char *fault)
{
    fprintf(stderr, "%s: %s\n", what, fault);
    n_faults++;
}

/* y, and its derivatives by all variables in both modes where there are any. */
static unsigned with_derivatives(op_case *c, cr_ref *root)
{
    unsigned n = 0;
    root[n++] = c->y;
    for (unsigned i = 0; i < c->n_vars && case_is_real(c); i++) {
        cr_ref d = cr_derivative(c->g, c->y, c->var[i]);
        if (d) root[n++] = d;
    }
    cr_graph_clear_error(c->g);
    return n;
}

static void test_operators(void **state)
{
    (void)state;
    for (const op_sample *s = op_samples; s->text; s++) {
        op_case c;
        char fault[500];
        if (!case_open(&c, s->text)) {
            complain(s->text, c.fault);
        } else {
            cr_ref root[1 + CASE_MAX_VARS];
            unsigned n = with_derivatives(&c, root);
            for (unsigned k = 0; k < 4; k++) {
                plan_check how = {.level = k < 3 ? k + 1 : 0, .threads = 1 + k % 2,
                                  .precision = k < 3 ? CR_F64 : CR_F32, .tolerance = k < 3 ? 1e-11 : 2e-3};
                if (!plan_agrees(c.g, c.env, n, root, &how, fault, sizeof fault)) complain(s->text, fault);
            }
        }
        case_close(&c);
    }
    assert_int_equal(n_faults, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operators),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
