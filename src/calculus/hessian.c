/* Hessian-vector products. */
#include "calculus/walk.h"

/* The gradient is walked through forward once for each of its parts; what they share is the same expressions. */
cr_status cr_hessian_product(cr_graph *g, cr_ref f, unsigned n, const cr_ref *wrt, const cr_ref *tangent, cr_ref *out)
{
    for (unsigned i = 0; i < n; i++) out[i] = CR_NONE;
    if (valid(g, f) && !is_scalar(g, f)) {
        graph_fail(g, CR_ESHAPE, "a Hessian is that of a scalar; this is %s", shape_text(g, f, 0));
        return CR_ESHAPE;
    }
    cr_ref *gradient = mem_zalloc((size_t)n + 1, sizeof *gradient);
    if (!gradient) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    cr_status status = cr_reverse(g, f, cr_const(g, 1), n, wrt, gradient);
    for (unsigned i = 0; status == CR_OK && i < n; i++) {
        if (!gradient[i]) continue;
        out[i] = cr_forward(g, gradient[i], n, wrt, tangent);
        status = cr_graph_status(g);
    }
    mem_free(gradient);
    return status;
}
