/* From a model of ONNX to a network. The sizes of all inputs are known, so every shape is made of numbers; whatever
 * follows from shapes and constants is computed here, by the interpreter: shape arithmetic needs no code of its own.
 *
 * An operator is one block in one of the files ops_*.c: a function that builds its outputs from its inputs, and a line
 * in the table at the end of that file. What such a function sees is the second half of this page. */
#ifndef CR_ONNX_IMPORT_H
#define CR_ONNX_IMPORT_H

#include "exec/exec.h"
#include "network/network.h"
#include "onnx/model.h"

/* A tensor of the model while it is imported. */
typedef struct onnx_value {
    const char *name;
    cr_type type; /* in the file. In the graph a boolean is a boolean, all else are real numbers */
    unsigned rank;
    int64_t dim[CR_MAX_RANK];
    size_t count;                 /* of entries */
    cr_ref ref;                   /* CR_NONE: known, and not needed as an expression yet */
    bool known;                   /* its numbers follow from shapes and constants alone */
    const void *data;             /* its numbers in the type, if they are at hand; else NULL */
    const Onnx__NodeProto *maker; /* NULL: none */
    unsigned scope;               /* of the nodes that the maker is one of (onnx_importer) */
    bool sequence;                /* no tensor, but several: */
    size_t n_items;
    struct onnx_value **item;
} onnx_value;

typedef struct onnx_importer onnx_importer;

/* ---- what operators see ------------------------------------------------------------------------- */

/* A node on its way into the graph. */
typedef struct onnx_call {
    onnx_importer *im;
    cr_graph *g;
    const Onnx__NodeProto *node;
    int arg;         /* of the table's line */
    int64_t version; /* of the operator set it is from */
    unsigned n_in, n_out;
    onnx_value **in;  /* NULL: left out */
    onnx_value **out; /* NULL: nobody asks for it. Set by onnx_out */
} onnx_call;

typedef bool onnx_build(onnx_call *c); /* false: failed, with a message (onnx_fail) or with the graph's error set */

typedef struct onnx_op {
    const char *name;
    onnx_build *build;
    int arg;
    const char *domain; /* NULL: ONNX's own */
} onnx_op;
const onnx_op *onnx_find_op(const char *domain, const char *name); /* NULL: unknown */

/* The message begins with the node: `Conv "layer1.0": ...`. Returns false. */
bool onnx_fail(onnx_call *c, const char *fmt, ...) CR_PRINTF(2, 3);
/* The same, for what is right and cannot be done here. */
bool onnx_unsupported(onnx_call *c, const char *fmt, ...) CR_PRINTF(2, 3);

/* Adds a sentence to what is said of the network. */
bool onnx_note(onnx_call *c, const char *fmt, ...) CR_PRINTF(2, 3);

bool onnx_has(const onnx_call *c, unsigned i);
/* Input i as an expression; one that is left out is an error (CR_NONE, and builders pass it on). */
cr_ref onnx_in(onnx_call *c, unsigned i);
cr_ref onnx_item(onnx_call *c, onnx_value *v); /* an item of a sequence as an expression */
cr_ref onnx_real(onnx_call *c, unsigned i);    /* a boolean as 0 and 1 */
cr_ref onnx_truth(onnx_call *c, unsigned i);   /* a number as != 0 */
bool onnx_is_int(cr_type type);                /* an integer, not a boolean */
bool onnx_is_float(cr_type type);
/* The numbers of input i as integers, in memory of the importer; NULL with a message if they are not known while
 * importing, or the input is left out. */
const int64_t *onnx_ints(onnx_call *c, unsigned i, size_t *n);
const double *onnx_reals(onnx_call *c, unsigned i, size_t *n); /* of parameters too */

/* Attributes; the last argument stands in for a missing one. */
bool onnx_has_attr(const onnx_call *c, const char *name);
int64_t onnx_attr_int(const onnx_call *c, const char *name, int64_t missing);
double onnx_attr_float(const onnx_call *c, const char *name, double missing);
const char *onnx_attr_string(const onnx_call *c, const char *name, const char *missing); /* the importer's memory */
/* Of n numbers; missing: n = 0, NULL. */
const int64_t *onnx_attr_ints(const onnx_call *c, const char *name, size_t *n);
const Onnx__AttributeProto *onnx_attr(const onnx_call *c, const char *name); /* NULL: missing */
/* The integers of attribute `name`, or of input i where newer versions have it. n = 0 and NULL if neither is there;
 * false: failed. */
bool onnx_ints_of(onnx_call *c, const char *name, unsigned i, const int64_t **v, size_t *n);
/* An axis of a tensor of that rank, negative ones counted from behind. */
bool onnx_axis(onnx_call *c, int64_t axis, unsigned rank, unsigned *out);
/* Axes as bits, from the attribute "axes" or input i: set empty if there are none. */
bool onnx_axes(onnx_call *c, unsigned i, unsigned rank, uint32_t *set, size_t *n);

/* A tensor of an attribute. */
bool onnx_tensor_of(onnx_call *c, const Onnx__TensorProto *t, cr_tensor *out);

/* Output i. Its shape is that of the expression, which is made boolean or real as the type asks. Nothing if nobody
 * asks for it. */
bool onnx_out(onnx_call *c, unsigned i, cr_ref ref, cr_type type);
bool onnx_out_like(onnx_call *c, cr_ref ref); /* output 0, of the type of input 0 */
/* An output with known integers (int64). */
bool onnx_out_ints(onnx_call *c, unsigned i, unsigned rank, const int64_t *dim, const int64_t *v);

/* A value made on the way: a number, for bodies of loops. NULL: failed. */
onnx_value *onnx_known_int(onnx_call *c, const char *name, int64_t v);
/* Sees to it that a value has its numbers (data), if they follow from what is known; integers are int64 then. */
bool onnx_evaluate(onnx_call *c, onnx_value *v);
/* A leaf with numbers of the importer's memory. */
cr_ref onnx_constant(onnx_call *c, const cr_tensor *t);

void *onnx_alloc(onnx_call *c, size_t n); /* as long as the importer; NULL: out of memory, with the error set */

/* For operators that carry states: the network keeps those of every step (net_recurrence), if it was asked for values
 * that stay expressions of their own (fences). The node is the call's; the lists are of onnx_alloc. Nothing without. */
bool onnx_keeps_states(const onnx_call *c);
bool onnx_fence(onnx_call *c, cr_ref *a); /* makes *a such an expression */
bool onnx_carried(onnx_call *c, const net_recurrence *r);

/* ---- expressions of known shape ----------------------------------------------------------------- */

int64_t onnx_size(cr_graph *g, cr_ref a, unsigned axis);
size_t onnx_count(cr_graph *g, cr_ref a); /* entries */
void onnx_shape(cr_graph *g, cr_ref a, int64_t *dim);
cr_ref onnx_reshape(cr_graph *g, cr_ref a, unsigned rank, const int64_t *dim);
cr_ref onnx_permute(cr_graph *g, cr_ref a, const unsigned *perm); /* axis i of the result is axis perm[i] of a */
cr_ref onnx_swap(cr_graph *g, cr_ref a, unsigned i, unsigned k);  /* two axes exchanged */
/* a with its axes aligned to the last ones of the shape, sizes 1 stretched (ONNX's and NumPy's broadcasting). */
cr_ref onnx_stretch(cr_graph *g, cr_ref a, unsigned rank, const int64_t *dim);
cr_ref onnx_stretch_like(cr_graph *g, cr_ref a, cr_ref shape_of);
/* Common shape of two; false: there is none. */
bool onnx_common(unsigned rank_a, const int64_t *a, unsigned rank_b, const int64_t *b, unsigned *rank, int64_t *dim);
/* Both stretched to their common shape. */
bool onnx_align(onnx_call *c, cr_ref *a, cr_ref *b);
cr_ref onnx_full(cr_graph *g, double v, unsigned rank, const int64_t *dim);
cr_ref onnx_like(cr_graph *g, double v, cr_ref shape_of);
cr_ref onnx_add_number(cr_graph *g, cr_ref a, double v);
cr_ref onnx_times(cr_graph *g, cr_ref a, double v);
/* Sum over axes (bits), which stay with size 1 if keep. */
cr_ref onnx_sum(cr_graph *g, cr_ref a, uint32_t axes, bool keep);
cr_ref onnx_mean(cr_graph *g, cr_ref a, uint32_t axes, bool keep);
/* One of the reductions of cr_reduce over any axes. */
cr_ref onnx_reduce(cr_graph *g, cr_op op, cr_ref a, uint32_t axes, bool keep);
/* Entries first, first + step, ... of one axis, `size` of them; step may be negative. */
cr_ref onnx_cut(cr_graph *g, cr_ref a, unsigned axis, int64_t first, int64_t step, int64_t size);
cr_ref onnx_number(cr_graph *g, cr_ref a); /* a boolean as 0 and 1 */
cr_ref onnx_floor(cr_graph *g, cr_ref a);
cr_ref onnx_trunc(cr_graph *g, cr_ref a);

/* ---- importing ---------------------------------------------------------------------------------- */

/* Whose statistics batch norms use. */
typedef enum onnx_norms {
    ONNX_NORMS_WRITTEN, /* as each node says */
    ONNX_NORMS_BATCH,   /* those of the data, as in training */
    ONNX_NORMS_STORED   /* the file's */
} onnx_norms;

typedef struct onnx_import_options {
    size_t n_inputs;
    /* Inputs that are fed, by name: their shapes, and their numbers where those may shape the network (integers); data
     * NULL: unknown. Inputs that are not among them have the sizes of the file, with 1 for a symbol. */
    const cr_tensor *input;
    bool fences;        /* every value stays an expression of its own, by which a cotangent can be asked for */
    bool smooth;        /* outputs that choose classes by an ArgMax are cut before it, as it has no derivative */
    bool untie;         /* parameters that the exporter made one as they were equal are several (untie.c) */
    bool as_written;    /* functions that were written out stay so (recognise.c) */
    onnx_norms norms;
    bool drops;         /* Dropout drops entries at its ratio; else it is the identity */
    uint64_t seed;      /* of what is dropped */
    const cr_data *weights; /* in place of the file's parameters, by name; the sizes must agree. NULL: the file's */
    strbuf *kept;           /* gets the names of parameters that weights do not have; may be NULL */
    uint32_t max_nodes; /* of the graph; 0: as many as there can be */
} onnx_import_options;

/* n is initialised by the call; free it with net_free before the model. */
cr_status onnx_import(onnx_model *m, const onnx_import_options *o, network *n, error *e);

/* For operators with bodies (If, Loop, Scan): the nodes of a graph in a scope of their own, with the first inputs of
 * the body standing for `in`; out[i] is output i. */
bool onnx_inline_graph(onnx_call *c, const Onnx__GraphProto *body, size_t n_in, onnx_value *const *in, size_t n_out,
                       onnx_value **out);
/* A value made on the way, for bodies. NULL: failed. */
onnx_value *onnx_temporary(onnx_call *c, const char *name, cr_ref ref, cr_type type);

#endif
