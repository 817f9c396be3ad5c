/* Windows in NumPy: one helper with a loop over the taps, which slices. */
#include "graph/window.h"
#include "lang/numpy.h"

py_text py_window(py *w, cr_ref r)
{
    static const char *const value[] = {"x", "w", "y"};
    cr_graph *g = w->g;
    cr_window v;
    unsigned prec;
    window_read(g, r, &v);
    const char *a = py_whole(w, in_of(g, r, 0), PY_ANY), *b = py_whole(w, in_of(g, r, 1), PY_ANY);
    const char *shape = py_shape(w, shape_of(g, r)->rank, shape_of(g, r)->dim);
    const char *how = py_format(w, "%s, %s, %s", py_shape(w, v.axes, v.stride), py_shape(w, v.axes, v.dilation),
                                py_shape(w, v.axes, v.low));
    return py_make(py_format(w, "%s(\"%s\", %s, %s, %s, %s, %s)", py_use(w, PY_CONV), value[window_value(g, r)], a, b,
                             shape, py_dim(w, v.groups, &prec), how),
                   PY_ATOM, true);
}
