/* The decision quantity alone, measured again and again: with other weights, at other inputs. */
#ifndef CR_FLOW_PROBE_H
#define CR_FLOW_PROBE_H

#include "flow/measure.h"

typedef struct flow_probe {
    const flow *f;
    const flow_backward *b;
    net_runner *runner; /* feed it before each run */
    size_t *hg;         /* by block: number of the result; FLOW_NONE */
    size_t scale, norm, input, seed;
    size_t source; /* tensor: the only input of floats, samples along its first axis; FLOW_NONE: there is none */
} flow_probe;

/* Errors are the plan's. Free it in any case. */
cr_status flow_probe_init(const flow *f, const flow_backward *b, const cr_plan_options *o, flow_probe *p, error *e);
void flow_probe_free(flow_probe *p);
/* Runs. lambda: by block, of its output; NaN where it is none. */
cr_status flow_probe_run(flow_probe *p, double s_y, double *lambda, error *e);
/* Of the last run: the gradient of the loss by the source (times some number), and by y, as large as the tensors. */
void flow_probe_gradients(const flow_probe *p, double *input, double *seed);
size_t flow_probe_entries(const flow_probe *p, size_t tensor);

#endif
