/* The forms that are recognised (recognise.h), and the nodes that are built in their place. */
#include "onnx/recognise.h"

#include <math.h>
#include <string.h>

static onnx_value *letter(const onnx_match *m, char ch) { return m->letter[ch - 'a']; }
static bool has_number(const onnx_match *m, char ch) { return m->numbers & FORM_BIT(ch); }

static void *take(onnx_match *m, size_t n)
{
    void *p = arena_alloc(&m->im->mem, n);
    if (!p) onnx_no_memory(m->im);
    return p;
}

/* A node of the form's operator with inputs by letters, the name and output of the root. */
static Onnx__NodeProto *node_of(onnx_match *m, const char *letters)
{
    Onnx__NodeProto *n = take(m, sizeof *n);
    size_t k = strlen(letters);
    char **input = take(m, k * sizeof *input);
    if (!n || !input) return NULL;
    *n = *m->root;
    n->op_type = (char *)(uintptr_t)m->form->op;
    n->domain = (char *)(uintptr_t)m->form->domain;
    n->n_input = k;
    n->input = input;
    n->n_attribute = 0;
    for (size_t i = 0; i < k; i++) input[i] = m->name[letters[i] - 'a'];
    return n;
}

static bool add_attribute(onnx_match *m, Onnx__NodeProto *n, Onnx__AttributeProto a)
{
    Onnx__AttributeProto **list = take(m, (n->n_attribute + 1) * sizeof *list), *own = take(m, sizeof *own);
    if (!list || !own) return false;
    *own = a;
    if (n->n_attribute) memcpy(list, n->attribute, n->n_attribute * sizeof *list);
    list[n->n_attribute++] = own;
    n->attribute = list;
    return true;
}

static bool set_integer(onnx_match *m, Onnx__NodeProto *n, const char *name, int64_t v)
{
    Onnx__AttributeProto a = ONNX__ATTRIBUTE_PROTO__INIT;
    a.name = (char *)(uintptr_t)name;
    a.has_i = 1;
    a.i = v;
    return add_attribute(m, n, a);
}

/* To the last bit (onnx_attr_float): attributes of files are floats. */
static bool set_number(onnx_match *m, Onnx__NodeProto *n, const char *name, double v)
{
    Onnx__AttributeProto a = ONNX__ATTRIBUTE_PROTO__INIT;
    double *own = take(m, sizeof *own);
    if (!own) return false;
    *own = v;
    a.name = (char *)(uintptr_t)name;
    a.has_s = 1;
    a.s = (ProtobufCBinaryData){sizeof *own, (uint8_t *)own};
    return add_attribute(m, n, a);
}

static Onnx__NodeProto *of_x(onnx_match *m) { return node_of(m, "x"); }

static Onnx__NodeProto *gelu_tanh(onnx_match *m)
{
    Onnx__NodeProto *n = of_x(m);
    Onnx__AttributeProto a = ONNX__ATTRIBUTE_PROTO__INIT;
    static uint8_t tanh_text[] = "tanh";
    a.name = "approximate";
    a.has_s = 1;
    a.s = (ProtobufCBinaryData){4, tanh_text};
    return n && add_attribute(m, n, a) ? n : NULL;
}

/* ---- normalisations ------------------------------------------------------------------------------ */

static Onnx__NodeProto *norm(onnx_match *m)
{
    double epsilon = m->number['E' - 'A'];
    if (!(epsilon >= 0)) return NULL;
    Onnx__NodeProto *n = of_x(m);
    return n && set_integer(m, n, "axis", -(int64_t)m->axes) && set_number(m, n, "epsilon", epsilon) ? n : NULL;
}

/* The node that was found before, of the operator, and is an operand of the root. */
static const Onnx__NodeProto *inner_of(const onnx_match *m, const char *op)
{
    for (unsigned i = 0; i < m->n_nodes; i++) {
        if (strcmp(m->node[i]->op_type, op) == 0) return m->node[i];
    }
    return NULL;
}

/* Is v a parameter (as it is or renamed)? */
static bool is_parameter(const onnx_match *m, const onnx_value *v)
{
    const net_leaf *l = v->ref != CR_NONE ? net_find_leaf(m->im->net, v->ref) : NULL;
    return l && l->role == NET_PARAMETER;
}

/* A norm that is on the way, with a scale s or bias b more: a parameter of the shape that is normalised. */
static Onnx__NodeProto *grown(onnx_match *m, char by, bool channels)
{
    const Onnx__NodeProto *inner = inner_of(m, m->form->op);
    const onnx_value *v = letter(m, by), *x = inner ? onnx_look(m->im, inner->input[0]) : NULL;
    int64_t axis = inner ? onnx_form_integer(m->im, inner, "axis", -1) : 0;
    if (!x || !is_parameter(m, v)) return NULL;
    if (axis < 0) axis += x->rank;
    if (axis < 0 || axis >= (int64_t)x->rank) return NULL;
    unsigned rank = x->rank - (unsigned)axis;
    bool fit = channels
                   ? v->rank == x->rank - 1 && v->rank > 0 && v->dim[0] == x->dim[1] && v->count == (size_t)v->dim[0]
                   : v->rank == rank;
    for (unsigned i = 0; i < rank && fit && !channels; i++) fit = v->dim[i] == x->dim[x->rank - rank + i];
    Onnx__NodeProto *n = take(m, sizeof *n);
    char **input = take(m, 3 * sizeof *input);
    if (!fit || !n || !input || inner->n_input > 2) return NULL;
    *n = *inner;
    n->name = m->root->name;
    n->n_output = m->root->n_output;
    n->output = m->root->output;
    memcpy(input, inner->input, inner->n_input * sizeof *input);
    input[inner->n_input] = m->name[by - 'a'];
    n->input = input;
    n->n_input = inner->n_input + 1;
    return n;
}

static Onnx__NodeProto *with_scale(onnx_match *m) { return grown(m, 's', false); }
static Onnx__NodeProto *with_bias(onnx_match *m) { return grown(m, 'b', false); }
static Onnx__NodeProto *with_scales(onnx_match *m) { return grown(m, 's', true); }
static Onnx__NodeProto *with_biases(onnx_match *m) { return grown(m, 'b', true); }

static bool all(onnx_match *m, const onnx_value *v, double x)
{
    if (!onnx_form_fixed(m, v)) return false;
    for (size_t i = 0; i < v->count; i++) {
        double y;
        data_to_f64(v->type, (const char *)v->data + i * cr_type_size(v->type), 1, &y);
        if (y != x) return false;
    }
    return v->count > 0;
}

/* The shape of x again, behind a reshape of g? 0 takes a size of g, -1 what is left. */
static bool shapes_back(const onnx_match *m, const onnx_value *x, const onnx_value *g)
{
    const onnx_value *to = letter(m, 'q');
    if (!to->known || !to->data || to->type != CR_TYPE_I64 || to->count != x->rank) return false;
    bool zeros = onnx_form_integer(m->im, m->root, "allowzero", 0) != 0;
    for (unsigned i = 0; i < x->rank; i++) {
        int64_t d = ((const int64_t *)to->data)[i];
        if (d == 0 && !zeros) d = i < g->rank ? g->dim[i] : 0;
        if (d != x->dim[i] && d != -1) return false;
    }
    return true;
}

/* N x C x .. as N x G x the rest, normalised there, and back. */
static Onnx__NodeProto *group_norm(onnx_match *m)
{
    const Onnx__NodeProto *inner = inner_of(m, "InstanceNormalization");
    const onnx_value *x = letter(m, 'x'), *g = inner ? onnx_look(m->im, inner->input[0]) : NULL;
    if (!g || !all(m, letter(m, 's'), 1) || !all(m, letter(m, 'b'), 0) || !shapes_back(m, x, g)) return NULL;
    if (g->rank != 3 || x->rank < 2 || g->dim[0] != x->dim[0] || g->dim[1] <= 0 || x->dim[1] % g->dim[1]) return NULL;
    Onnx__NodeProto *n = of_x(m);
    const Onnx__AttributeProto *e = onnx_form_attribute(m->im, inner, "epsilon");
    double epsilon = e ? (double)e->f : (double)1e-5f;
    return n && set_integer(m, n, "num_groups", g->dim[1]) && set_number(m, n, "epsilon", epsilon) ? n : NULL;
}

/* ---- softmax ------------------------------------------------------------------------------------- */

/* Less its ReduceLogSumExp over one axis that is kept */
static Onnx__NodeProto *log_softmax(onnx_match *m)
{
    const Onnx__NodeProto *inner = inner_of(m, "ReduceLogSumExp");
    const Onnx__AttributeProto *axes = inner ? onnx_form_attribute(m->im, inner, "axes") : NULL;
    const onnx_value *x = letter(m, 'x');
    if (!axes || axes->n_ints != 1 || onnx_form_integer(m->im, inner, "keepdims", 1) == 0) return NULL;
    int64_t axis = axes->ints[0] < 0 ? axes->ints[0] + x->rank : axes->ints[0];
    if (axis + 1 != (int64_t)x->rank) return NULL; /* of the last axis in every version */
    Onnx__NodeProto *n = of_x(m);
    return n && set_integer(m, n, "axis", axis) ? n : NULL;
}

/* Softmax over the last axis of scores, times v. */
static Onnx__NodeProto *attention(onnx_match *m)
{
    const Onnx__NodeProto *inner = inner_of(m, "Softmax");
    const onnx_value *q = letter(m, 'q'), *k = letter(m, 'k');
    int64_t missing = onnx_version_of(m->im, "") < 13 ? 1 : -1, rank = q->rank;
    int64_t axis = inner ? onnx_form_integer(m->im, inner, "axis", missing) : 0;
    if (!inner || q->rank < 2 || k->rank != q->rank || (axis != -1 && axis != rank - 1)) return NULL;
    double scale = 1;
    if (has_number(m, 'S')) scale = m->number['S' - 'A'];
    if (has_number(m, 'T')) scale = m->number['T' - 'A'] * m->number['T' - 'A'];
    if (has_number(m, 'D')) scale = 1 / m->number['D' - 'A'];
    Onnx__NodeProto *n = node_of(m, letter(m, 'm') ? "qkvm" : "qkv");
    bool guarded = inner_of(m, "IsNaN") != NULL;
    return n && set_number(m, n, "scale", scale) && set_integer(m, n, "nan_to_zero", guarded) ? n : NULL;
}

/* ---- the table ----------------------------------------------------------------------------------- */

#define OWN "chainrule" /* operators that ONNX does not have */

#define SQUARE(x) "<Pow(" x ", 2)|Mul(" x ", " x ")>"
#define OVER_ROOT(x, v)                                                                                                \
    "<Div(" x ", Sqrt(" v "))|Mul(" x ", <Reciprocal(Sqrt(" v "))|Div(1, Sqrt(" v "))|Pow(" v ", -0.5)>)>"
#define DEVIATION "d:Sub(x, Mean(x))"
#define CUBIC "<Pow(x, 3)|Mul(x, x, x)>"
#define SCORES                                                                                                         \
    "<MatMul(Mul(q, T), Mul(k, T))|MatMul(<Mul(q, S)|Div(q, D)>, k)"                                                   \
    "|Mul(MatMul(q, k), S)|Div(MatMul(q, k), D)|MatMul(q, k)>"
#define WEIGHTS "p:Softmax(<Add(" SCORES ", m)|" SCORES ">)"

/* Log(Softmax(x)) is none of them: where the softmax underflows, the file says -inf. */
const onnx_form onnx_forms[] = {
    {"Silu", OWN, of_x, "Mul(x, Sigmoid(x))"},
    {"Mish", "", of_x, "Mul(x, Tanh(<Softplus(x)|Log(Add(Exp(x), 1))>))"},
    {"Gelu", "", of_x, "Mul(x, 0.5, Add(Erf(<Div(x, 1.4142135623730951)|Mul(x, 0.7071067811865476)>), 1))"},
    {"Gelu", "", gelu_tanh, "Mul(x, 0.5, Add(Tanh(Mul(Add(x, Mul(" CUBIC ", 0.044715)), 0.7978845608028654)), 1))"},
    {"LayerNormalization", "", norm, OVER_ROOT(DEVIATION, "Add(Mean(" SQUARE(DEVIATION) "), E)")},
    {"LayerNormalization", "", with_scale, "Mul(LayerNormalization(x), s)"},
    {"LayerNormalization", "", with_bias, "Add(LayerNormalization(x, s), b)"},
    {"RMSNormalization", "", norm, OVER_ROOT("x", "Add(Mean(" SQUARE("x") "), E)")},
    {"RMSNormalization", "", with_scale, "Mul(RMSNormalization(x), s)"},
    {"GroupNormalization", "", group_norm, "Reshape(InstanceNormalization(Reshape(x, p), s, b), q)"},
    {"GroupNormalization", "", with_scales, "Mul(GroupNormalization(x), s)"},
    {"GroupNormalization", "", with_biases, "Add(GroupNormalization(x, s), b)"},
    {"LogSoftmax", "", log_softmax, "Sub(x, ReduceLogSumExp(x))"},
    /* A scale on both operands of the scores counts twice. A row that a mask has emptied may be made 0. */
    {"ScaledDotProduct", OWN, attention, "MatMul(<Where(IsNaN(" WEIGHTS "), 0, p)|" WEIGHTS ">, v)"},
    {NULL, NULL, NULL, NULL},
};
