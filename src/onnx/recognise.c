/* Functions that an exporter wrote out, node by node, seen as what they are: GELU, layer norm, attention and their kin.
 *
 * A form is an expression over the operators of ONNX, in one line:
 *
 *     x          a value; the same letter is the same value
 *     d:Sub(..)  the value of an expression, by a letter; written out twice by the exporter, it is the same too
 *     E          a number that is known, whatever it is; 0.5 that number, to the precision of a float
 *     Mean(x)    ReduceMean over the last axes, as many as everywhere in the form
 *     Op(..)     an operator; Add and Mul take their operands in either order
 *
 * Values within a form must be used nowhere else. Nodes are looked at in order, each as the last one of a form: what is
 * found stands in its place, built by the ordinary operator. So forms grow: a layer norm is found first without scale
 * and bias, then with a scale, then with both. What it was made of is left without readers. */
#include "onnx/importer.h"
#include "onnx/notices.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 24, TOLERANCE_BITS = 23 };

typedef struct match {
    onnx_importer *im;
    onnx_value *letter[26];
    char *name[26]; /* of these, as the nodes read them: within a function a value has another name than outside */
    double number[26];
    bool has_number[26];
    const Onnx__NodeProto *node[MOST];
    unsigned n_nodes, axes; /* axes: how many of the last ones a Mean is over; 0: none was met */
    unsigned number_rank;   /* the highest of a number's */
} match;

/* ---- values -------------------------------------------------------------------------------------- */

static bool same(const onnx_value *a, const onnx_value *b) { return a == b || (a->ref != CR_NONE && a->ref == b->ref); }

/* The parameter that v is, as it is or renamed; NULL: it is none. */
static const net_leaf *parameter_of(const match *m, const onnx_value *v)
{
    const net_leaf *l = v->ref != CR_NONE ? net_find_leaf(m->im->net, v->ref) : NULL;
    return l && l->role == NET_PARAMETER ? l : NULL;
}

/* Is it the user's, by its name? What stands in place of a form has no derivative by its numbers: these must be ones
 * that the exporter wrote. */
static bool is_trained(const match *m, const onnx_value *v)
{
    const net_leaf *l = parameter_of(m, v);
    return l && !onnx_made_up(l->name);
}

static bool number_of(match *m, const onnx_value *v, double *x)
{
    if (v->count != 1 || !v->data || v->sequence || is_trained(m, v)) return false;
    if (v->rank > m->number_rank) m->number_rank = v->rank;
    data_to_f64(v->type, v->data, 1, x);
    return true;
}

/* The node that makes v, behind casts of floats and such, which make the same expression. */
static const Onnx__NodeProto *maker_of(onnx_importer *im, onnx_value *v)
{
    while (v && v->maker && v->maker->n_input == 1 &&
           (strcmp(v->maker->op_type, "Cast") == 0 || strcmp(v->maker->op_type, "Identity") == 0)) {
        onnx_value *in = onnx_look(im, v->maker->input[0]);
        if (!in || !same(in, v)) break;
        v = in;
    }
    return v && v->depth == im->depth ? v->maker : NULL;
}

static const Onnx__AttributeProto *attribute(const onnx_importer *im, const Onnx__NodeProto *n, const char *name)
{
    for (size_t i = 0; i < n->n_attribute; i++) {
        if (n->attribute[i]->name && strcmp(n->attribute[i]->name, name) == 0)
            return onnx_attr_meant(im, n->attribute[i]);
    }
    return NULL;
}

static int64_t integer(const onnx_importer *im, const Onnx__NodeProto *n, const char *name, int64_t missing)
{
    const Onnx__AttributeProto *a = attribute(im, n, name);
    return a ? a->i : missing;
}

/* A mean over the last axes that keeps them, as many as other means of the form. */
static bool is_mean(match *m, const Onnx__NodeProto *n)
{
    const Onnx__AttributeProto *a = attribute(m->im, n, "axes");
    const int64_t *axes = a ? a->ints : NULL;
    size_t count = a ? a->n_ints : 0;
    onnx_value *x = onnx_look(m->im, n->input[0]);
    if (!a && n->n_input > 1) {
        onnx_value *v = onnx_look(m->im, n->input[1]);
        if (!v || !v->data || v->type != CR_TYPE_I64) return false;
        axes = v->data;
        count = v->count;
    }
    if (!x || count == 0 || count > x->rank || integer(m->im, n, "keepdims", 1) == 0) return false;
    uint32_t set = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + x->rank : axes[i];
        if (axis < (int64_t)(x->rank - count) || axis >= (int64_t)x->rank) return false;
        set |= 1u << axis;
    }
    if (m->axes && m->axes != count) return false;
    m->axes = (unsigned)count;
    return set == ((1u << x->rank) - 1) - ((1u << (x->rank - count)) - 1);
}

/* ---- matching ------------------------------------------------------------------------------------ */

static bool fits(match *m, const char *form, char *name);

/* The end of the expression that begins at s: a comma or a bracket outside of it. */
static const char *end_of(const char *s)
{
    int depth = 0;
    for (; *s; s++) {
        if (*s == '(') depth++;
        if (depth == 0 && (*s == ',' || *s == ')')) return s;
        if (*s == ')') depth--;
    }
    return s;
}

static const char *next_argument(const char *s)
{
    s = end_of(s);
    while (*s == ',' || *s == ' ') s++;
    return s;
}

static bool add_node(match *m, const Onnx__NodeProto *n)
{
    for (unsigned i = 0; i < m->n_nodes; i++) {
        if (m->node[i] == n) return true;
    }
    if (m->n_nodes == MOST) return false;
    m->node[m->n_nodes++] = n;
    return true;
}

static bool fits_inputs(match *m, const char *first, unsigned n_args, const Onnx__NodeProto *n, bool turned)
{
    for (unsigned i = 0; i < n_args; i++, first = next_argument(first)) {
        if (!fits(m, first, n->input[turned ? n_args - 1 - i : i])) return false;
    }
    return true;
}

/* form: Op(..) */
static bool fits_node(match *m, const char *form, const Onnx__NodeProto *n)
{
    const char *open = strchr(form, '('), *close = end_of(form) - 1;
    size_t name = (size_t)(open - form);
    bool mean = strncmp(form, "Mean(", 5) == 0;
    unsigned n_args = 0;
    if (mean ? strcmp(n->op_type, "ReduceMean") != 0
             : strlen(n->op_type) != name || strncmp(n->op_type, form, name) != 0) {
        return false;
    }
    for (const char *s = open + 1; s < close; s = next_argument(s)) n_args++;
    if (n->n_output != 1 || (mean ? !is_mean(m, n) : n->n_input != n_args)) return false;
    match before = *m;
    if (fits_inputs(m, open + 1, n_args, n, false)) return add_node(m, n);
    bool turns = n_args == 2 && (strcmp(n->op_type, "Add") == 0 || strcmp(n->op_type, "Mul") == 0);
    *m = before;
    return turns && fits_inputs(m, open + 1, n_args, n, true) && add_node(m, n);
}

static bool fits(match *m, const char *form, char *name)
{
    double x;
    onnx_value *v = onnx_look(m->im, name);
    if (!v) return false;
    bool alone = !isalnum((unsigned char)form[1]) && form[1] != '(';
    if (islower((unsigned char)*form)) {
        onnx_value **letter = &m->letter[*form - 'a'];
        bool bound = *letter != NULL;
        if (bound && same(*letter, v)) return true;
        if (form[1] != ':' && bound) return false;
        if (!bound) {
            *letter = v;
            m->name[*form - 'a'] = name;
        }
        return form[1] != ':' || fits(m, form + 2, name);
    }
    if (isupper((unsigned char)*form) && alone) {
        unsigned i = (unsigned)(*form - 'A');
        if (!number_of(m, v, &x) || (m->has_number[i] && m->number[i] != x)) return false;
        m->has_number[i] = true;
        m->number[i] = x;
        return true;
    }
    if (!isupper((unsigned char)*form)) {
        double want = strtod(form, NULL);
        return number_of(m, v, &x) && fabs(x - want) <= ldexp(fabs(want), -TOLERANCE_BITS);
    }
    const Onnx__NodeProto *n = maker_of(m->im, v);
    return n && fits_node(m, form, n);
}

/* Are the values between the nodes used by them alone? */
static bool exclusive(const match *m, const Onnx__NodeProto *root)
{
    for (unsigned i = 0; i < m->n_nodes; i++) {
        if (m->node[i] == root) continue;
        const char *name = m->node[i]->output[0];
        unsigned reads = 0;
        for (unsigned k = 0; k < m->n_nodes; k++) {
            for (size_t t = 0; t < m->node[k]->n_input; t++) reads += strcmp(m->node[k]->input[t], name) == 0;
        }
        /* A cast between two of them reads it, too. */
        if (onnx_uses(m->im, name) > reads + (reads == 0)) return false;
    }
    return true;
}

/* A number of more axes than what it meets gives the result those axes. */
static bool keeps_rank(const match *m)
{
    const onnx_value *x = m->letter['x' - 'a'] ? m->letter['x' - 'a'] : m->letter['q' - 'a'];
    return x && m->number_rank <= x->rank;
}

/* ---- what stands in their place ------------------------------------------------------------------ */

static void *take(match *m, size_t n)
{
    void *p = arena_alloc(&m->im->mem, n);
    if (!p) onnx_no_memory(m->im);
    return p;
}

/* A node of the operator with inputs by letters, the name and output of the root. */
static Onnx__NodeProto *made(match *m, const Onnx__NodeProto *root, const char *op, const char *domain,
                             const char *letters)
{
    Onnx__NodeProto *n = take(m, sizeof *n);
    size_t k = strlen(letters);
    char **input = take(m, k * sizeof *input);
    if (!n || !input) return NULL;
    *n = *root;
    n->op_type = (char *)(uintptr_t)op;
    n->domain = (char *)(uintptr_t)domain;
    n->n_input = k;
    n->input = input;
    n->n_attribute = 0;
    for (size_t i = 0; i < k; i++) input[i] = m->name[letters[i] - 'a'];
    return n;
}

static bool add_attribute(match *m, Onnx__NodeProto *n, Onnx__AttributeProto a)
{
    Onnx__AttributeProto **list = take(m, (n->n_attribute + 1) * sizeof *list), *own = take(m, sizeof *own);
    if (!list || !own) return false;
    *own = a;
    if (n->n_attribute) memcpy(list, n->attribute, n->n_attribute * sizeof *list);
    list[n->n_attribute++] = own;
    n->attribute = list;
    return true;
}

static bool set_integer(match *m, Onnx__NodeProto *n, const char *name, int64_t v)
{
    Onnx__AttributeProto a = ONNX__ATTRIBUTE_PROTO__INIT;
    a.name = (char *)(uintptr_t)name;
    a.has_i = 1;
    a.i = v;
    return add_attribute(m, n, a);
}

static bool set_float(match *m, Onnx__NodeProto *n, const char *name, double v)
{
    Onnx__AttributeProto a = ONNX__ATTRIBUTE_PROTO__INIT;
    a.name = (char *)(uintptr_t)name;
    a.has_f = 1;
    a.f = (float)v;
    return add_attribute(m, n, a);
}

/* A number to the last bit: attributes of ONNX are floats. */
static bool set_number(match *m, Onnx__NodeProto *n, const char *name, double v)
{
    Onnx__AttributeProto a = ONNX__ATTRIBUTE_PROTO__INIT;
    char *text = take(m, 32);
    if (!text) return false;
    a.name = (char *)(uintptr_t)name;
    a.has_s = 1;
    a.s = (ProtobufCBinaryData){(size_t)snprintf(text, 32, "%.17g", v), (uint8_t *)text};
    return add_attribute(m, n, a);
}

typedef struct form form;
/* The node that is built in place of the root; NULL: it is not that function after all (or an error is set). */
typedef Onnx__NodeProto *make_fn(match *m, const Onnx__NodeProto *root, const form *f);
struct form {
    const char *form;
    make_fn *make;
    const char *op, *domain;
};

static Onnx__NodeProto *of_x(match *m, const Onnx__NodeProto *root, const form *f)
{
    return made(m, root, f->op, f->domain, "x");
}

static Onnx__NodeProto *gelu_tanh(match *m, const Onnx__NodeProto *root, const form *f)
{
    Onnx__NodeProto *n = of_x(m, root, f);
    Onnx__AttributeProto a = ONNX__ATTRIBUTE_PROTO__INIT;
    static uint8_t tanh_text[] = "tanh";
    a.name = "approximate";
    a.has_s = 1;
    a.s = (ProtobufCBinaryData){4, tanh_text};
    return n && add_attribute(m, n, a) ? n : NULL;
}

static Onnx__NodeProto *norm(match *m, const Onnx__NodeProto *root, const form *f)
{
    double epsilon = m->number['E' - 'A'];
    if (epsilon < 0 || (double)(float)epsilon != epsilon) return NULL; /* an attribute is a float */
    Onnx__NodeProto *n = of_x(m, root, f);
    return n && set_integer(m, n, "axis", -(int64_t)m->axes) && set_float(m, n, "epsilon", epsilon) ? n : NULL;
}

/* A norm (n, which is on the way) with a scale or bias more: `letter`, a parameter of the shape that is normalised. */
static Onnx__NodeProto *grown(match *m, const Onnx__NodeProto *root, const Onnx__NodeProto *inner, char letter,
                              bool channels)
{
    const onnx_value *v = m->letter[letter - 'a'], *x = onnx_look(m->im, inner->input[0]);
    int64_t axis = integer(m->im, inner, "axis", -1);
    unsigned rank = (unsigned)-axis;
    if (!x || !parameter_of(m, v)) return NULL;
    bool fit = channels
                   ? v->rank == x->rank - 1 && v->rank > 0 && v->dim[0] == x->dim[1] && v->count == (size_t)v->dim[0]
                   : v->rank == rank && rank <= x->rank;
    for (unsigned i = 0; i < rank && fit && !channels; i++) fit = v->dim[i] == x->dim[x->rank - rank + i];
    Onnx__NodeProto *n = take(m, sizeof *n);
    char **input = take(m, 3 * sizeof *input);
    if (!fit || !n || !input) return NULL;
    *n = *inner;
    n->name = root->name;
    n->n_output = root->n_output;
    n->output = root->output;
    memcpy(input, inner->input, inner->n_input * sizeof *input);
    input[inner->n_input] = m->name[letter - 'a'];
    n->input = input;
    n->n_input = inner->n_input + 1;
    return n;
}

/* The node that was found before, of the operator, and is an operand of the root. */
static const Onnx__NodeProto *inner_of(const match *m, const char *op)
{
    for (unsigned i = 0; i < m->n_nodes; i++) {
        if (strcmp(m->node[i]->op_type, op) == 0) return m->node[i];
    }
    return NULL;
}

static Onnx__NodeProto *norm_with(match *m, const Onnx__NodeProto *root, const form *f)
{
    const Onnx__NodeProto *inner = inner_of(m, f->op);
    return inner ? grown(m, root, inner, strchr(f->form, 'b') ? 'b' : 's', strcmp(f->op, "GroupNormalization") == 0)
                 : NULL;
}

static bool all(const match *m, const onnx_value *v, double x)
{
    if (is_trained(m, v)) return false;
    for (size_t i = 0; i < v->count; i++) {
        double y;
        if (!v->data) return false;
        data_to_f64(v->type, (const char *)v->data + i * cr_type_size(v->type), 1, &y);
        if (y != x) return false;
    }
    return v->count > 0;
}

/* N x C x .. as N x G x the rest, normalised there, and back. */
static Onnx__NodeProto *group_norm(match *m, const Onnx__NodeProto *root, const form *f)
{
    const Onnx__NodeProto *inner = inner_of(m, "InstanceNormalization");
    const onnx_value *x = m->letter['x' - 'a'], *g = inner ? onnx_look(m->im, inner->input[0]) : NULL;
    const onnx_value *out = m->letter['q' - 'a'];
    if (!g || !all(m, m->letter['s' - 'a'], 1) || !all(m, m->letter['b' - 'a'], 0)) return NULL;
    bool split = g->rank == 3 && x->rank >= 2 && g->dim[0] == x->dim[0] && g->dim[1] > 0 && x->dim[1] % g->dim[1] == 0;
    bool back = out->data && out->type == CR_TYPE_I64 && out->count == x->rank;
    for (unsigned i = 0; i < x->rank && back; i++) {
        int64_t d = ((const int64_t *)out->data)[i];
        back = d == x->dim[i] || d == -1 || d == 0;
    }
    if (!split || !back) return NULL;
    Onnx__NodeProto *n = of_x(m, root, f);
    const Onnx__AttributeProto *e = attribute(m->im, inner, "epsilon");
    return n && set_integer(m, n, "num_groups", g->dim[1]) && set_float(m, n, "epsilon", e ? (double)e->f : 1e-5)
               ? n
               : NULL;
}

static Onnx__NodeProto *log_softmax(match *m, const Onnx__NodeProto *root, const form *f)
{
    const Onnx__NodeProto *inner = inner_of(m, "Softmax");
    Onnx__NodeProto *n = of_x(m, root, f);
    const Onnx__AttributeProto *axis = inner ? attribute(m->im, inner, "axis") : NULL;
    return n && (!axis || set_integer(m, n, "axis", axis->i)) ? n : NULL;
}

/* x - ReduceLogSumExp(x) over one axis that is kept */
static Onnx__NodeProto *log_softmax_sum(match *m, const Onnx__NodeProto *root, const form *f)
{
    const Onnx__NodeProto *inner = inner_of(m, "ReduceLogSumExp");
    const Onnx__AttributeProto *axes = inner ? attribute(m->im, inner, "axes") : NULL;
    const onnx_value *x = m->letter['x' - 'a'];
    if (!axes || axes->n_ints != 1 || integer(m->im, inner, "keepdims", 1) == 0) return NULL;
    int64_t axis = axes->ints[0] < 0 ? axes->ints[0] + x->rank : axes->ints[0];
    if (axis + 1 != (int64_t)x->rank) return NULL; /* of the last axis in every version */
    Onnx__NodeProto *n = of_x(m, root, f);
    return n && set_integer(m, n, "axis", axis) ? n : NULL;
}

/* Softmax over the last axis of scores, times v. */
static Onnx__NodeProto *scaled(match *m, const Onnx__NodeProto *root, const form *f, double power)
{
    const Onnx__NodeProto *inner = inner_of(m, "Softmax");
    const onnx_value *q = m->letter['q' - 'a'], *k = m->letter['k' - 'a'];
    int64_t missing = onnx_version_of(m->im, "") < 13 ? 1 : -1, rank = q->rank;
    int64_t axis = inner ? integer(m->im, inner, "axis", missing) : 0;
    if (!inner || q->rank < 2 || k->rank != q->rank || (axis != -1 && axis != rank - 1)) return NULL;
    double scale = m->has_number['S' - 'A'] ? pow(m->number['S' - 'A'], power) : 1;
    if (m->has_number['D' - 'A']) scale = 1 / m->number['D' - 'A'];
    Onnx__NodeProto *n = made(m, root, f->op, f->domain, m->letter['m' - 'a'] ? "qkvm" : "qkv");
    bool guarded = strstr(f->form, "IsNaN") != NULL;
    return n && set_number(m, n, "scale", scale) && set_integer(m, n, "nan_to_zero", guarded) ? n : NULL;
}

static Onnx__NodeProto *attention(match *m, const Onnx__NodeProto *root, const form *f)
{
    return scaled(m, root, f, 1);
}

static Onnx__NodeProto *attention_twice(match *m, const Onnx__NodeProto *root, const form *f)
{
    return scaled(m, root, f, 2);
}

#define LAYER "LayerNormalization", ""
#define RMS "RMSNormalization", ""
#define GROUP "GroupNormalization", ""
#define OWN "chainrule" /* operators that ONNX does not have */

/* x * half of t, multiplied in any order. */
#define HALVED(t, make)                                                                                                \
    {"Mul(Mul(x, " t "), 0.5)", make, "Gelu", ""}, {"Mul(Mul(x, 0.5), " t ")", make, "Gelu", ""},                      \
    {                                                                                                                  \
        "Mul(x, Mul(" t ", 0.5))", make, "Gelu", ""                                                                    \
    }
#define ERF(z) "Add(Erf(" z "), 1)"
#define TANH(cube) "Add(Tanh(Mul(Add(x, Mul(" cube ", 0.044715)), 0.7978845608028654)), 1)"

/* With or without what makes a row of NaN, which a mask has emptied, one of zeros. */
#define ATTENTION(scores, make)                                                                                        \
    {"MatMul(Softmax(" scores "), v)", make, "ScaledDotProduct", OWN},                                                 \
    {                                                                                                                  \
        "MatMul(Where(IsNaN(p:Softmax(" scores ")), 0, p), v)", make, "ScaledDotProduct", OWN                          \
    }

#define VARIANCE "Add(Mean(Pow(d:Sub(x, Mean(x)), 2)), E)"
#define VARIANCE_BY_PRODUCT "Add(Mean(Mul(d:Sub(x, Mean(x)), d)), E)"
#define SQUARE "Add(Mean(Pow(x, 2)), E)"
#define SQUARE_BY_PRODUCT "Add(Mean(Mul(x, x)), E)"
#define DIVIDED(x, by, op)                                                                                             \
    {"Div(" x ", Sqrt(" by "))", norm, op}, {"Mul(" x ", Reciprocal(Sqrt(" by ")))", norm, op},                        \
        {"Mul(" x ", Div(1, Sqrt(" by ")))", norm, op},                                                                \
    {                                                                                                                  \
        "Mul(" x ", Pow(" by ", -0.5))", norm, op                                                                      \
    }

static const form forms[] = {
    {"Mul(x, Sigmoid(x))", of_x, "Silu", OWN},
    {"Mul(x, Tanh(Softplus(x)))", of_x, "Mish", ""},
    {"Mul(x, Tanh(Log(Add(Exp(x), 1))))", of_x, "Mish", ""},
    HALVED(ERF("Div(x, 1.4142135623730951)"), of_x),
    HALVED(ERF("Mul(x, 0.7071067811865476)"), of_x),
    HALVED(TANH("Pow(x, 3)"), gelu_tanh),
    HALVED(TANH("Mul(Mul(x, x), x)"), gelu_tanh),
    DIVIDED("d:Sub(x, Mean(x))", VARIANCE, LAYER),
    DIVIDED("d:Sub(x, Mean(x))", VARIANCE_BY_PRODUCT, LAYER),
    {"Mul(LayerNormalization(x), s)", norm_with, LAYER},
    {"Add(LayerNormalization(x, s), b)", norm_with, LAYER},
    DIVIDED("x", SQUARE, RMS),
    DIVIDED("x", SQUARE_BY_PRODUCT, RMS),
    {"Mul(RMSNormalization(x), s)", norm_with, RMS},
    {"Reshape(InstanceNormalization(Reshape(x, p), s, b), q)", group_norm, GROUP},
    {"Mul(GroupNormalization(x), s)", norm_with, GROUP},
    {"Add(GroupNormalization(x, s), b)", norm_with, GROUP},
    {"Log(Softmax(x))", log_softmax, "LogSoftmax", ""},
    {"Sub(x, ReduceLogSumExp(x))", log_softmax_sum, "LogSoftmax", ""},
    /* A scale on both operands of the scores counts twice. */
    ATTENTION("Add(MatMul(Mul(q, S), Mul(k, S)), m)", attention_twice),
    ATTENTION("MatMul(Mul(q, S), Mul(k, S))", attention_twice),
    ATTENTION("Add(MatMul(Mul(q, S), k), m)", attention),
    ATTENTION("Add(MatMul(Div(q, D), k), m)", attention),
    ATTENTION("MatMul(Mul(q, S), k)", attention),
    ATTENTION("MatMul(Div(q, D), k)", attention),
    ATTENTION("Add(Mul(MatMul(q, k), S), m)", attention),
    ATTENTION("Add(Div(MatMul(q, k), D), m)", attention),
    ATTENTION("Mul(MatMul(q, k), S)", attention),
    ATTENTION("Div(MatMul(q, k), D)", attention),
    ATTENTION("Add(MatMul(q, k), m)", attention),
    ATTENTION("MatMul(q, k)", attention),
};

/* The nodes of the form, but for the last, are its own from now on. */
static void absorb(match *m, const Onnx__NodeProto *root)
{
    network *n = m->im->net;
    for (unsigned i = 0; i < m->n_nodes; i++) {
        for (size_t k = n->n_nodes; k-- > 0 && m->node[i] != root;) {
            if (n->node[k].source != m->node[i]) continue;
            n->node[k].absorbed = true;
            break;
        }
    }
}

const Onnx__NodeProto *onnx_recognise(onnx_importer *im, const Onnx__NodeProto *root)
{
    if (*onnx_domain(root->domain)) return root;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        match m = {.im = im};
        if (!fits_node(&m, forms[i].form, root) || !exclusive(&m, root) || !keeps_rank(&m)) continue;
        Onnx__NodeProto *n = forms[i].make(&m, root, &forms[i]);
        if (n) absorb(&m, root);
        if (n || cr_graph_status(im->g) != CR_OK) return n;
    }
    return root;
}
