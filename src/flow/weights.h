/* Are the weights as they were drawn? Each parameter is tested against the laws that networks are initialised with:
 * independent uniform or normal numbers (cut off at two deviations, too), orthogonal matrices, constants. docs/flow.md
 * has the tests and their significance. */
#ifndef CR_FLOW_WEIGHTS_H
#define CR_FLOW_WEIGHTS_H

#include "flow/backward.h"
#include "program/program.h"

#define FLOW_TRUNCATED_AT 2.0 /* deviations */

typedef enum flow_law {
    FLOW_LAW_NONE, /* no parameter, or none that a gradient reaches; too few entries to tell */
    FLOW_LAW_CONSTANT,
    FLOW_LAW_UNIFORM,   /* scale: the bound */
    FLOW_LAW_NORMAL,    /* scale: the deviation */
    FLOW_LAW_TRUNCATED, /* normal within two deviations; scale: the deviation before */
    FLOW_LAW_ORTHOGONAL, /* rows, or columns if there are fewer, of this length: scale */
    FLOW_LAW_OTHER
} flow_law;

typedef struct flow_weight {
    flow_law law;
    double scale;
    double mean, square, most; /* mean, mean of squares, largest size */
    size_t count;
    double fan_in, fan_out; /* of the product that reads it (a bias: of its weights); 0: none is known */
    bool matrix, norm;      /* rank 2 or more; scale or shift of a normalisation */
    const char *name;       /* of the scale: "1/sqrt(fan-in), PyTorch's default"; NULL: it has none */
} flow_weight;

typedef enum flow_weights_state { FLOW_INITIALISATION, FLOW_TRAINED, FLOW_UNKNOWN } flow_weights_state;
const char *flow_weights_state_name(flow_weights_state s);

typedef struct flow_weights {
    flow_weight *at; /* by leaf of the network */
    size_t n;
    size_t *leaf_of; /* by ref of the network's graph: the parameter that it is, or is a new form of, + 1 */
    size_t n_refs;
    flow_weights_state state;
    double outlier;      /* largest singular value over the edge of the Marchenko-Pastur law, of those looked at; NaN */
    size_t n_spectra;    /* matrices whose singular values were computed */
} flow_weights;

/* Free it in any case. Errors: memory. */
cr_status flow_weights_look(const flow *f, const flow_backward *b, flow_weights *w, error *e);
void flow_weights_free(flow_weights *w);
/* The parameter that operand k of a node is, behind transposes and such; FLOW_NONE: none. */
size_t flow_parameter_of(const flow_weights *w, const network *n, const net_node *node, size_t k);

/* What the state rests on: parameters of one kind and law together. */
typedef struct flow_weights_sign {
    char text[320];
    bool fits; /* initialisation */
    size_t count, first; /* parameters; the first of them, a leaf */
} flow_weights_sign;
enum { FLOW_EVIDENCE_MOST = 24 };
/* The commonest kinds; how many. */
size_t flow_weights_evidence(const flow_weights *w, const network *n, flow_weights_sign out[FLOW_EVIDENCE_MOST]);

/* Numbers drawn from the law of a parameter, `count` of them; what is constant, or of no law, stays as it is. Errors:
 * memory, no LAPACK (orthogonal ones). */
cr_status flow_weight_draw(const net_leaf *l, const flow_weight *w, random_gen *r, double *out, error *e);

#endif
