/* Functions that an exporter wrote out, node by node, seen as what they are: GELU, layer norm, attention and their kin.
 *
 * A form is an expression over the operators of ONNX, one line of the table in recognise_forms.c:
 *
 *     x          a value; the same letter is the same value
 *     d:Sub(..)  the value of an expression, by a letter; written out twice by the exporter, it is the same too
 *     E          a number that is known, whatever it is; 0.5 that number, as near as floats are
 *     Mean(x)    ReduceMean over the last axes, as many as everywhere in the form
 *     Op(..)     an operator; Add and Mul take any number of operands, in any order and nesting
 *     <A|B>      one of these
 *
 * Values within a form must be used nowhere else. A number is one that the exporter wrote: a constant, or an
 * initialiser under a name that it made up; with a name of the user's it is trained, and as an input it is data.
 * Neither is part of a function that has no derivative by it.
 *
 * Nodes are looked at in order, each as the last one of a form: what is found stands in its place, built by the
 * ordinary operator. So forms grow: a layer norm is found first without scale and bias, then with a scale, then with
 * both. What it was made of is left without readers. */
#ifndef CR_ONNX_RECOGNISE_H
#define CR_ONNX_RECOGNISE_H

#include "onnx/importer.h"

enum { FORM_NODES = 32, FORM_NUMBERS = 12 };

typedef struct onnx_match {
    onnx_importer *im;
    const struct onnx_form *form;
    const Onnx__NodeProto *root;
    onnx_value *letter[26];
    char *name[26];   /* of these, as the nodes read them: within a function a value has another name than outside */
    uint32_t defined; /* letters (bits) whose expression was found */
    double number[26];
    uint32_t numbers; /* letters (bits) that have one */
    cr_ref leaf[FORM_NUMBERS]; /* initialisers that are numbers of the form */
    unsigned n_leaves;
    const Onnx__NodeProto *node[FORM_NODES];
    unsigned n_nodes, axes; /* axes: how many of the last ones a Mean is over; 0: none was met */
    unsigned number_rank;   /* the highest of a number's */
    Onnx__NodeProto **made;
} onnx_match;

/* The node that is built in place of the root; NULL: it is not that function after all (or an error is set). */
typedef Onnx__NodeProto *onnx_form_make(onnx_match *m);
typedef struct onnx_form {
    const char *op, *domain;
    onnx_form_make *make;
    const char *text;
} onnx_form;
extern const onnx_form onnx_forms[]; /* the last has no op */

#define FORM_BIT(letter) ((uint32_t)1 << (((letter) | 32) - 'a'))

/* Is v of numbers that the exporter wrote? Adds it to the initialisers of the form if it is one. */
bool onnx_form_fixed(onnx_match *m, const onnx_value *v);
const Onnx__AttributeProto *onnx_form_attribute(const onnx_importer *im, const Onnx__NodeProto *n, const char *name);
int64_t onnx_form_integer(const onnx_importer *im, const Onnx__NodeProto *n, const char *name, int64_t missing);

#endif
