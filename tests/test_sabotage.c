/* A check must be able to fail. Each derivative rule of each operator is broken in turn, in several ways, and the
 * gradient test of that operator must go red. */
#include "unit.h"

#include "op_check.h"

#include <string.h>

typedef enum damage { NEGATED, SCALED, INPUT_LOST, FIRST_TERM_LOST, LAST_TERM_LOST, N_DAMAGES } damage;
static const char *const damage_text[] = {"negated", "scaled by 1 + 1e-6", "without one input",
                                          "without its first term", "without its last term"};
enum { MAX_INPUTS = 4 };

static struct {
    op_info sound; /* the operator's rules as they were */
    damage what;
    unsigned input;   /* INPUT_LOST */
    unsigned depth;   /* rules may call themselves: only the outermost result is spoiled */
    bool done;        /* something was spoiled */
} broken;

static cr_ref spoil(cr_graph *g, cr_ref r)
{
    if (!r || broken.depth) return r;
    const cr_node *n = node(g, r);
    cr_ref out = r;
    switch (broken.what) {
    case NEGATED: out = cr_neg(g, r); break;
    case SCALED: out = cr_mul(g, cr_const(g, 1 + 1e-6), r); break;
    case FIRST_TERM_LOST:
    case LAST_TERM_LOST:
        if (n->op != CR_OP_ADD) return r;
        out = cr_add_n(g, n->n_in - 1, n->word + (broken.what == FIRST_TERM_LOST));
        break;
    default: return r;
    }
    broken.done = true;
    return out;
}

static cr_ref bad_partial(cr_graph *g, cr_ref y, unsigned i)
{
    broken.depth++;
    cr_ref r = broken.sound.partial(g, y, i);
    broken.depth--;
    if (broken.what != INPUT_LOST || broken.input != i || !r) return spoil(g, r);
    broken.done = true;
    return CR_NONE;
}

static cr_ref bad_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    broken.depth++;
    cr_ref r = broken.sound.vjp(g, y, i, ybar, k);
    broken.depth--;
    if (broken.what != INPUT_LOST || broken.input != i || !r) return spoil(g, r);
    broken.done = true;
    return CR_NONE;
}

static cr_ref bad_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    cr_ref some[64], r = CR_NONE;
    uint32_t n = node(g, y)->n_in;
    assert_true(n <= 64);
    memcpy(some, xdot, n * sizeof *some);
    bool any = broken.what != INPUT_LOST;
    bool lost = !any && broken.input < n && some[broken.input];
    if (lost) some[broken.input] = CR_NONE;
    for (uint32_t i = 0; i < n; i++) any |= some[i] != CR_NONE;
    broken.depth++;
    if (any) r = broken.sound.jvp(g, y, some, k);
    if (lost && r != broken.sound.jvp(g, y, xdot, k)) broken.done = true; /* else y is constant in that input */
    broken.depth--;
    return spoil(g, r);
}

/* Does the gradient test of some sample of op fail? */
static bool goes_red(cr_op op)
{
    bool red = false;
    for (const op_sample *s = op_samples; s->op && !red; s++) {
        op_case c;
        if (s->op != op) continue;
        red = !case_open(&c, s->text) || !check_gradient(&c);
        case_close(&c);
    }
    return red;
}

typedef enum rule { PARTIAL, VJP, JVP, N_RULES } rule;
static const char *const rule_text[] = {"partial", "vjp", "jvp"};

static bool has(const op_info *op, rule r)
{
    return r == PARTIAL ? op->partial != NULL : r == VJP ? op->vjp != NULL : op->jvp != NULL;
}

static void every_broken_rule_is_seen(void **state)
{
    (void)state;
    unsigned tried = 0, green = 0;
    for (int op = 1; op < CR_OP_COUNT; op++) {
        op_info *info = op_edit((cr_op)op);
        if (!info->partial && !info->vjp && !info->jvp) continue;
        if (goes_red((cr_op)op)) fail_msg("%s: red before anything is broken", info->name);
        for (rule r = PARTIAL; r < N_RULES; r++) {
            if (!has(info, r)) continue;
            for (damage d = NEGATED; d < N_DAMAGES; d++)
                for (unsigned input = 0; input < (d == INPUT_LOST ? MAX_INPUTS : 1u); input++) {
                    memset(&broken, 0, sizeof broken);
                    broken.sound = *info;
                    broken.what = d;
                    broken.input = input;
                    if (r == PARTIAL) info->partial = bad_partial;
                    if (r == VJP) info->vjp = bad_vjp;
                    if (r == JVP) info->jvp = bad_jvp;
                    bool red = goes_red((cr_op)op);
                    *info = broken.sound;
                    if (d == NEGATED && !broken.done)
                        fail_msg("%s: its %s rule is never asked", info->name, rule_text[r]);
                    tried += broken.done;
                    if (!red && broken.done) {
                        print_error("%s: stays green with its %s rule %s (%u)\n", info->name, rule_text[r],
                                    damage_text[d], input);
                        green++;
                    }
                }
        }
    }
    print_message("%u rules broken\n", tried);
    assert_true(tried > 150);
    if (green) fail_msg("%u broken rules stay green", green);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_broken_rule_is_seen)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
