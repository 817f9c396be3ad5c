/* Room network: a network as its user knows it, whatever kind of file it came from: an expression graph with the names
 * of its inputs, parameters, nodes and outputs. Sizes are numbers: whoever makes a network knows its data. */
#ifndef CR_NETWORK_H
#define CR_NETWORK_H

#include "data/data.h"
#include "graph/graph.h"

/* How a leaf of the graph gets its numbers. */
typedef enum net_role {
    NET_INPUT,     /* from the user's data, for every batch */
    NET_PARAMETER, /* from the file; what can be trained */
    NET_CONSTANT,  /* from the file; no derivative is taken by it */
    NET_LABEL,     /* labels or targets of a loss, from the user's data */
    NET_COTANGENT  /* of an output, from the user's data */
} net_role;

typedef struct net_leaf {
    const char *name; /* the user's; of a constant: of the value that it holds */
    cr_ref ref;       /* a parameter of the graph */
    net_role role;
    cr_tensor tensor; /* its type and shape in the file, its numbers (inputs: NULL). The source's memory */
    bool fixed;       /* an input whose numbers the network was made for: shapes follow from them */
} net_leaf;

typedef struct net_node {
    const char *name;             /* the user's, made unique; where it had none, OPERATOR_NUMBER */
    const char *op;               /* of the file: "Conv" */
    size_t first_value, n_values; /* what it computes */
    size_t first_operand, n_operands;
    const char *within; /* the calls that it is written out of, from the inside out: `"block" (Gate)`; NULL: none */
    const void *source; /* the file's */
    bool absorbed;      /* a later node stands for it, too: one that it was written out for */
} net_node;

/* What a node reads: a value of another node, or a leaf. */
typedef struct net_operand {
    const char *name;
    cr_ref ref;
} net_operand;

/* A tensor of the file that a node computes. */
typedef struct net_value {
    const char *name;
    cr_ref ref;
    cr_type type; /* in the file; in the graph everything but a boolean is a real number */
    size_t node;
} net_value;

/* Indices that are data, read by a node: rows of `depth` numbers, each of which picks from an axis of its size, from
 * behind if it is negative. */
typedef struct net_index {
    const char *node, *op, *within; /* as in net_node */
    const char *name;
    cr_ref ref;
    unsigned depth;
    int64_t size[CR_MAX_RANK];
} net_index;

typedef struct net_output {
    const char *name;
    cr_ref ref;
    cr_type type;
} net_output;

/* What a node that carries states shows of a step besides them. */
typedef enum net_inner {
    NET_INNER_NONE,
    NET_INNER_ARGUMENT, /* of the activation that makes the state: the product with the state before lies behind it */
    NET_INNER_KEEP      /* a gate that multiplies the state `kept` before: forget gate of an LSTM, update of a GRU */
} net_inner;

/* Tensors that a node hands on from step to step: by RNN, LSTM, GRU, one direction of them; by a loop that was written
 * out. Expressions of their own in a network that was made to be differentiated value by value; in others not kept. */
typedef struct net_recurrence {
    size_t node;
    const char *direction; /* "forward", "reverse" */
    size_t steps, n_states;
    cr_ref *state; /* steps x n_states, in the order in which they are computed: what is carried out of a step */
    net_inner what;
    size_t kept;   /* NET_INNER_KEEP: which state */
    cr_ref *inner; /* by step; NULL: none */
} net_recurrence;

typedef struct network {
    cr_graph *g; /* owned */
    strbuf said; /* sentences about what was left out, one a line */
    arena names; /* whatever strings of the network are not the source's */
    net_leaf *leaf;
    size_t n_leaves, leaf_cap;
    net_node *node; /* in an order in which they can be computed */
    size_t n_nodes, node_cap;
    net_value *value;
    size_t n_values, value_cap;
    net_operand *operand;
    size_t n_operands, operand_cap;
    net_output *output;
    size_t n_outputs, output_cap;
    net_recurrence *recurrence; /* their lists are in `names` */
    size_t n_recurrences, recurrence_cap;
    net_index *index;
    size_t n_indices, index_cap;
} network;

/* An empty network; false: out of memory. Free it in any case. */
bool net_init(network *n);
void net_free(network *n);
/* Appends. The leaf is a parameter of the graph of that name, or one like it if the name is taken: net_key, by which a
 * plan knows it. The tensor's memory must outlive the network. CR_NONE: out of memory. */
cr_ref net_add_leaf(network *n, net_role role, const cr_tensor *tensor);
const char *net_key(const network *n, cr_ref leaf);
/* Numbers in place of all names, for what is shown; keys of leaves stay. CR_ENOMEM only. */
cr_status net_redact(network *n);
net_leaf *net_find_leaf(const network *n, cr_ref ref); /* NULL: none */
/* `Gather "emb/Gather"`, and the calls that it is within; names that are NULL are left out. */
void net_put_node(strbuf *b, const char *op, const char *name, const char *within);

#endif
