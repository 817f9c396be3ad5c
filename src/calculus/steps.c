#include "calculus/derive.h"
cr_status calc_steps(cr_graph *g, cr_ref y, const calc_wrt *w, calc_result *out) { (void)g,(void)y,(void)w,(void)out; return CR_OK; }
