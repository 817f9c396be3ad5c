/* Windows in NumPy: a helper for each operator, with a loop over the taps, which slices. */
#include "graph/window.h"
#include "lang/numpy.h"

py_text py_window(py *w, cr_ref r)
{
    cr_graph *g = w->g;
    cr_ref slot[3];
    cr_window v;
    cr_dim count[CR_MAX_RANK];
    unsigned prec;
    window_read(g, r, &v);
    window_slots(g, r, slot);
    for (unsigned i = 0; i < v.axes; i++) count[i] = window_extent(g, &v, slot, SLOT_Y, i);
    window_slot value = window_value(g, r);
    const char *name = value == SLOT_X ? "x" : value == SLOT_W ? "w" : "y", *t;
    const char *how = py_format(w, "%s, %s, %s", py_shape(w, v.axes, v.stride), py_shape(w, v.axes, v.dilation),
                                py_shape(w, v.axes, v.low));
    const char *a = py_whole(w, in_of(g, r, 0), PY_ANY), *size = slot[SLOT_W] ? "" : py_shape(w, v.axes, v.size);
    const char *b = node(g, r)->n_in > 1 ? py_whole(w, in_of(g, r, 1), PY_ANY) : "";
    switch (op_of(g, r)) {
    case CR_OP_CONV:
        t = py_format(w, "%s(\"%s\", %s, %s, %s, %s, %s)", py_use(w, PY_CONV), name, a, b,
                      py_shape(w, shape_of(g, r)->rank, shape_of(g, r)->dim), py_dim(w, v.groups, &prec), how);
        break;
    case CR_OP_WINDOW:
        t = py_format(w, "%s(\"%s\", %s, %s, %s, %s)", py_use(w, PY_SUMPOOL), name, a, py_shape(w, v.axes, v.result),
                      size, how);
        break;
    case CR_OP_MAXPICK:
        t = py_format(w, "%s(\"%s\", %s, %s, %s, %s, %s)", py_use(w, PY_MAXPICK), name, a, b,
                      py_shape(w, v.axes, count), size, how);
        break;
    default:
        t = py_format(w, "%s(%s, %s, %s, %s)", py_use(w, op_of(g, r) == CR_OP_MAXPOOL ? PY_MAXPOOL : PY_MAXTIES), a,
                      py_shape(w, v.axes, count), size, how);
        break;
    }
    return py_make(t, PY_ATOM, true);
}
