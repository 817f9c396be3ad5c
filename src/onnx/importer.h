/* The state of an import: for import.c, call.c and the files of operators that hold bodies; other operators see
 * import.h. */
#ifndef CR_ONNX_IMPORTER_H
#define CR_ONNX_IMPORTER_H

#include "onnx/import.h"
#include "program/program.h"

struct onnx_importer {
    onnx_model *m;
    network *net;
    cr_graph *g;
    error *e;
    arena mem;            /* of values, as long as the import */
    exec_env *env;        /* constants, for what is computed here */
    onnx_value **by_name; /* by dim_sym of the graph's names; NULL: none of that name is in sight */
    size_t by_name_cap;
    struct onnx_hidden {
        dim_sym name;
        onnx_value *before;
    } * hidden; /* what scopes have put out of sight */
    size_t n_hidden, hidden_cap;
    const struct onnx_frame *function; /* the call of a local function that is being inlined; NULL: none */
    unsigned *uses; /* by dim_sym: how often nodes of the graph at hand read a name, its outputs included */
    size_t n_uses;
    bool as_written; /* nothing is recognised */
    bool fences, smooth; /* as in onnx_import_options */
    onnx_norms norms;
    bool drops;
    random_gen random; /* of what is dropped */
    const cr_data *weights;
    size_t n_replaced, n_kept; /* parameters that have their numbers from there, that have not */
    strbuf kept;               /* the first of these */
    const char *within; /* the calls, and nodes with bodies, that are being written out; NULL: none */
    unsigned depth;  /* of graphs in graphs, functions in functions */
    unsigned scope, n_scopes; /* the nodes at hand: a graph, a call of a function, a step of a loop; each has its own */
};

/* An inlined function's attributes are those of its call. */
typedef struct onnx_frame {
    const struct onnx_frame *outer;
    const Onnx__NodeProto *call;
    const Onnx__FunctionProto *function;
} onnx_frame;

/* Both set the graph's error and return false. */
bool onnx_no_memory(onnx_importer *im);
bool onnx_import_fail(onnx_importer *im, cr_status status, const char *fmt, ...) CR_PRINTF(3, 4);
onnx_value *onnx_new_value(onnx_importer *im, const char *name);      /* NULL: out of memory */
void onnx_take_shape(onnx_value *v, const cr_tensor *t);              /* and type, and numbers */
bool onnx_define(onnx_importer *im, const char *name, onnx_value *v); /* puts it in sight */
/* The inputs that are fed; CR_ESHAPE shows both shapes. */
bool onnx_define_inputs(onnx_importer *im, const Onnx__GraphProto *graph, const onnx_import_options *o);
/* Adds a sentence to what is said of the network. */
bool onnx_say(onnx_importer *im, const char *fmt, ...) CR_PRINTF(2, 3);
/* The values that the network puts out: the outputs of the file; in place of one that is no tensor of numbers, or of
 * names of classes, the last tensor before it, which is said. wanted has room for all outputs. */
bool onnx_choose_outputs(onnx_importer *im, const char **wanted, size_t *n);
/* Versions of ONNX's operators that are not known here are taken for the nearest, which is said. */
bool onnx_say_version(onnx_importer *im);
/* Are all operators known that the values `wanted` need? If not, the error lists them with their nodes. */
bool onnx_check_operators(onnx_importer *im, size_t n_wanted, const char *const *wanted);

/* Recurrences from number `since` on that have no node yet are the node's that was recorded last; if none was, it makes
 * nothing that varies, and they go. */
void onnx_number_carried(network *n, size_t since, bool recorded);
/* The numbers of a parameter from the checkpoint (im->weights) in place of its own, if they are there. */
bool onnx_replace(onnx_importer *im, cr_tensor *t);
/* The nodes of the model's graph, with parameters that the exporter merged taken apart (untie.c). NULL: failed. */
Onnx__NodeProto **onnx_untie(onnx_importer *im, const Onnx__GraphProto *graph);
/* Are the attributes of a node of ONNX's own such as the operator has, in a type that it has (attributes.c)? */
bool onnx_check_attributes(onnx_importer *im, const Onnx__NodeProto *node);

onnx_value *onnx_look(onnx_importer *im, const char *name); /* NULL: nothing of that name is in sight */
unsigned onnx_uses(onnx_importer *im, const char *name);
/* The node itself, or one that stands for it and the nodes that it ends (recognise.c). NULL: an error is set. */
const Onnx__NodeProto *onnx_recognise(onnx_importer *im, const Onnx__NodeProto *node);

/* Of the operators of a domain that the graph, or the function that is being inlined, was written for. */
int64_t onnx_version_of(const onnx_importer *im, const char *domain);
const char *onnx_node_name(const Onnx__NodeProto *n); /* its name, or what it makes */
/* The value as an expression: made on first asking if it is known. */
cr_ref onnx_value_ref(onnx_importer *im, onnx_value *v);
/* Sees to it that v has its numbers (data): computes them if they follow from what has numbers here. That is constants,
 * inputs given with their data (which are marked: the network holds for these data only) and, if asked for,
 * parameters. false: they do not, or the graph's error is set. */
bool onnx_value_evaluate(onnx_importer *im, onnx_value *v, bool parameters);
/* An attribute of a function's body that refers to one of the call (ref_attr_name); NULL: the call has none. */
const Onnx__AttributeProto *onnx_attr_meant(const onnx_importer *im, const Onnx__AttributeProto *a);
/* What an attribute of the function is where a call does not have it; NULL: nothing, or the graph's error is set. */
const Onnx__AttributeProto *onnx_default_attribute(onnx_importer *im, const Onnx__FunctionProto *f, const char *name);

#endif
