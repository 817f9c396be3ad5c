#include "flow/budget.h"

#include <math.h>
#include <time.h>

double flow_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void flow_budget_begin(flow_budget *b, double seconds, strbuf *cut)
{
    *b = (flow_budget){.seconds = seconds, .began = flow_clock(), .cut = cut};
}

bool flow_budget_given(const flow_budget *b) { return b->seconds > 0; }

double flow_budget_left(const flow_budget *b)
{
    return flow_budget_given(b) ? b->seconds - (flow_clock() - b->began) : INFINITY;
}

void flow_budget_note(flow_budget *b, const char *fmt, ...)
{
    va_list ap;
    if (b->cut->n > 0) sb_putc(b->cut, '\n');
    va_start(ap, fmt);
    sb_vprintf(b->cut, fmt, ap);
    va_end(ap);
}

bool flow_budget_allows(flow_budget *b, double seconds, const char *part)
{
    double left = flow_budget_left(b);
    if (seconds <= left) return true;
    flow_budget_note(b, "%s: it takes about %.2g s, and %.2g of %.2g s are left", part, seconds, fmax(0, left),
                     b->seconds);
    return false;
}
