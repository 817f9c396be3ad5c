#include "onnx/recognise.h"
#include "onnx/notices.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOLERANCE_BITS = 23, PARTS = 4 };

/* ---- values -------------------------------------------------------------------------------------- */

static bool same(const onnx_value *a, const onnx_value *b) { return a == b || (a->ref != CR_NONE && a->ref == b->ref); }

bool onnx_form_fixed(onnx_match *m, const onnx_value *v)
{
    if (!v->data || v->sequence) return false;
    if (v->known) return true;
    const net_leaf *l = v->ref != CR_NONE ? net_find_leaf(m->im->net, v->ref) : NULL;
    if (!l || l->role == NET_INPUT) return false;
    if (l->role == NET_CONSTANT) return true;
    if (!onnx_made_up(l->name) || m->n_leaves == FORM_NUMBERS) return false;
    m->leaf[m->n_leaves++] = v->ref;
    return true;
}

static bool number_of(onnx_match *m, const onnx_value *v, double *x)
{
    if (v->count != 1 || !onnx_form_fixed(m, v)) return false;
    if (v->rank > m->number_rank) m->number_rank = v->rank;
    data_to_f64(v->type, v->data, 1, x);
    return true;
}

const Onnx__AttributeProto *onnx_form_attribute(const onnx_importer *im, const Onnx__NodeProto *n, const char *name)
{
    for (size_t i = 0; i < n->n_attribute; i++) {
        if (n->attribute[i]->name && strcmp(n->attribute[i]->name, name) == 0)
            return onnx_attr_meant(im, n->attribute[i]);
    }
    return NULL;
}

int64_t onnx_form_integer(const onnx_importer *im, const Onnx__NodeProto *n, const char *name, int64_t missing)
{
    const Onnx__AttributeProto *a = onnx_form_attribute(im, n, name);
    return a ? a->i : missing;
}

/* A mean over the last axes that keeps them, as many as other means of the form. */
static bool is_mean(onnx_match *m, const Onnx__NodeProto *n)
{
    const Onnx__AttributeProto *a = onnx_form_attribute(m->im, n, "axes");
    const int64_t *axes = a ? a->ints : NULL;
    size_t count = a ? a->n_ints : 0;
    onnx_value *x = n->n_input ? onnx_look(m->im, n->input[0]) : NULL;
    if (!a && n->n_input > 1) {
        onnx_value *v = onnx_look(m->im, n->input[1]);
        if (!v || !v->known || !v->data || v->type != CR_TYPE_I64) return false;
        axes = v->data;
        count = v->count;
    }
    if (!x || count == 0 || count > x->rank || onnx_form_integer(m->im, n, "keepdims", 1) == 0) return false;
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

/* ---- matching ------------------------------------------------------------------------------------
 * A search with goals: that the value of a name is a form, or a product (sum) of several. Each is answered in every way
 * that there is, one after the other, and what is left of the goals is asked with each answer; so a choice that turns
 * out wrong later is taken back. */

typedef struct goal {
    const char *part[PARTS]; /* several: they are multiplied (added), in any order */
    unsigned n_parts;
    const char *op; /* then: "Mul" or "Add" */
    char *name;
    const struct goal *next;
} goal;

static bool solve(onnx_match m, const goal *g);

/* The end of the expression that begins at s: what stands behind it, outside of brackets. */
static const char *end_of(const char *s)
{
    int depth = 0;
    for (; *s; s++) {
        if (depth == 0 && strchr(",|>)", *s)) return s;
        if (*s == '(' || *s == '<') depth++;
        if (*s == ')' || *s == '>') depth--;
    }
    return s;
}

/* The expression behind the one that begins at s; NULL: that was the last. */
static const char *next_of(const char *s)
{
    s = end_of(s);
    if (*s != ',' && *s != '|') return NULL;
    s++;
    return s + strspn(s, " ");
}

static bool add_node(onnx_match *m, const Onnx__NodeProto *n)
{
    for (unsigned i = 0; i < m->n_nodes; i++) {
        if (m->node[i] == n) return true;
    }
    if (m->n_nodes == FORM_NODES) return false;
    m->node[m->n_nodes++] = n;
    return true;
}

/* The node that makes v, which is read as `name`, in the graph at hand. A value that a body or another step of a loop
 * has made is found under a name of its own here, and is no one's. */
static const Onnx__NodeProto *made_here(const onnx_match *m, const onnx_value *v, const char *name)
{
    const Onnx__NodeProto *n = v->scope == m->im->scope ? v->maker : NULL;
    return n && n->n_output && strcmp(n->output[0], name) == 0 ? n : NULL;
}

/* Casts between floats and such, which make the expression that they read, are part of the form. */
static const Onnx__NodeProto *maker_of(onnx_match *m, const onnx_value *v, const char *name)
{
    const Onnx__NodeProto *n = made_here(m, v, name);
    while (n && n->n_input > 0 && (strcmp(n->op_type, "Cast") == 0 || strcmp(n->op_type, "Identity") == 0 ||
                                   strcmp(n->op_type, "Dropout") == 0)) {
        const onnx_value *in = onnx_look(m->im, n->input[0]);
        if (!in || !same(in, v) || !add_node(m, n)) return NULL;
        n = made_here(m, in, n->input[0]);
        v = in;
    }
    return n;
}

/* ONNX's own operator, of one output; or what was found before, which has the domain of its root. */
static bool is_operator(const onnx_match *m, const Onnx__NodeProto *n, const char *op, size_t length)
{
    return strlen(n->op_type) == length && strncmp(n->op_type, op, length) == 0 && *onnx_domain(n->domain) == '\0' &&
           n->n_output == 1 && !onnx_model_function(m->im->m, n->domain, n->op_type);
}

/* The operands of the node n are the parts, on either side as many as there may be. */
static bool solve_parts(const onnx_match *m, const Onnx__NodeProto *n, const goal *g)
{
    if (n->n_input != 2) return false;
    for (unsigned left = 1; left + 1 < 1u << g->n_parts; left++) {
        goal side[2] = {{.op = g->op, .name = n->input[0]}, {.op = g->op, .name = n->input[1]}};
        for (unsigned i = 0; i < g->n_parts; i++) {
            goal *to = &side[left >> i & 1 ? 0 : 1];
            to->part[to->n_parts++] = g->part[i];
        }
        /* In the order of the form: a letter's expression stands where it is first met. */
        unsigned first = left & 1 ? 0 : 1;
        side[first].next = &side[1 - first];
        side[1 - first].next = g->next;
        if (solve(*m, &side[first])) return true;
    }
    return false;
}

/* The node n makes what g asks for. */
static bool solve_node(onnx_match m, const goal *g, const Onnx__NodeProto *n)
{
    const char *text = g->part[0];
    size_t length = g->n_parts > 1 ? 0 : (size_t)(strchr(text, '(') - text);
    if (g->n_parts > 1) return is_operator(&m, n, g->op, 3) && add_node(&m, n) && solve_parts(&m, n, g);
    bool mean = length == 4 && strncmp(text, "Mean", 4) == 0;
    if (!is_operator(&m, n, mean ? "ReduceMean" : text, mean ? 10 : length) || !add_node(&m, n)) return false;
    goal arg[PARTS];
    unsigned n_args = 0;
    for (const char *s = text + length + 1; s && n_args < PARTS; s = next_of(s)) arg[n_args++].part[0] = s;
    if (length == 3 && (strncmp(text, "Mul", 3) == 0 || strncmp(text, "Add", 3) == 0)) {
        goal all = {.n_parts = n_args, .op = *text == 'M' ? "Mul" : "Add", .name = g->name, .next = g->next};
        for (unsigned i = 0; i < n_args; i++) all.part[i] = arg[i].part[0];
        return solve_parts(&m, n, &all);
    }
    if (mean ? !is_mean(&m, n) : n->n_input != n_args) return false;
    for (unsigned i = 0; i < n_args; i++) {
        arg[i].n_parts = 1;
        arg[i].name = n->input[i];
        arg[i].next = i + 1 < n_args ? &arg[i + 1] : g->next;
    }
    return solve(m, arg);
}

/* What is as good as the number: the float next to it, if none is it. */
static bool is_number(double x, double want)
{
    return (double)(float)want == want ? x == want : fabs(x - want) <= ldexp(fabs(want), -TOLERANCE_BITS);
}

static bool solve_letter(onnx_match m, const goal *g, onnx_value *v)
{
    const char *text = g->part[0];
    unsigned i = (unsigned)(*text - 'a');
    if (m.letter[i] && !same(m.letter[i], v)) {
        if (text[1] != ':') return false; /* else written out twice: the same if it is the same expression */
    } else if (!m.letter[i]) {
        m.letter[i] = v;
        m.name[i] = g->name;
    }
    if (text[1] != ':' || (m.defined & FORM_BIT(*text) && m.letter[i] == v)) return solve(m, g->next);
    m.defined |= FORM_BIT(*text);
    goal inner = {.part = {text + 2}, .n_parts = 1, .name = g->name, .next = g->next};
    return solve(m, &inner);
}

static bool accept(onnx_match *m);

static bool solve(onnx_match m, const goal *g)
{
    if (!g) return accept(&m);
    const char *text = g->part[0];
    onnx_value *v = onnx_look(m.im, g->name);
    double x;
    if (!v) return false;
    if (*text == '<' && g->n_parts == 1) {
        for (text++; text; text = next_of(text)) {
            goal one = {.part = {text}, .n_parts = 1, .name = g->name, .next = g->next};
            if (solve(m, &one)) return true;
        }
        return false;
    }
    bool operator = g->n_parts > 1 ||
                    (isupper((unsigned char)*text) && (isalpha((unsigned char)text[1]) || text[1] == '('));
    if (operator) {
        const Onnx__NodeProto *n = maker_of(&m, v, g->name);
        return n && solve_node(m, g, n);
    }
    if (islower((unsigned char)*text)) return solve_letter(m, g, v);
    if (!isupper((unsigned char)*text)) {
        return number_of(&m, v, &x) && is_number(x, strtod(text, NULL)) && solve(m, g->next);
    }
    unsigned i = (unsigned)(*text - 'A');
    if (!number_of(&m, v, &x) || (m.numbers & FORM_BIT(*text) && m.number[i] != x)) return false;
    m.numbers |= FORM_BIT(*text);
    m.number[i] = x;
    return solve(m, g->next);
}

/* ---- what was found ------------------------------------------------------------------------------ */

/* Are the values between the nodes used by them alone? */
static bool exclusive(const onnx_match *m)
{
    for (unsigned i = 0; i < m->n_nodes; i++) {
        const Onnx__NodeProto *n = m->node[i];
        for (size_t o = 0; o < n->n_output && n != m->root; o++) {
            unsigned reads = 0;
            for (unsigned k = 0; k < m->n_nodes; k++) {
                for (size_t t = 0; t < m->node[k]->n_input; t++)
                    reads += strcmp(m->node[k]->input[t], n->output[o]) == 0;
            }
            if (*n->output[o] && onnx_uses(m->im, n->output[o]) > reads) return false;
        }
    }
    return true;
}

/* A number of more axes than what it meets gives the result those axes. */
static bool keeps_rank(const onnx_match *m)
{
    const onnx_value *x = m->letter['x' - 'a'] ? m->letter['x' - 'a'] : m->letter['q' - 'a'];
    return x && m->number_rank <= x->rank;
}

/* The nodes of the form, but for the last, are its own from now on; its numbers are no parameters. */
static void absorb(const onnx_match *m)
{
    network *n = m->im->net;
    for (unsigned i = 0; i < m->n_nodes; i++) {
        for (size_t k = n->n_nodes; k-- > 0 && m->node[i] != m->root;) {
            if (n->node[k].source != m->node[i]) continue;
            n->node[k].absorbed = true;
            break;
        }
    }
    for (unsigned i = 0; i < m->n_leaves; i++) net_find_leaf(n, m->leaf[i])->role = NET_CONSTANT;
}

static bool accept(onnx_match *m)
{
    if (!exclusive(m) || !keeps_rank(m)) return false;
    *m->made = m->form->make(m);
    if (*m->made) absorb(m);
    return *m->made || cr_graph_status(m->im->g) != CR_OK;
}

const Onnx__NodeProto *onnx_recognise(onnx_importer *im, const Onnx__NodeProto *root)
{
    Onnx__NodeProto *made = NULL;
    for (const onnx_form *f = onnx_forms; f->op; f++) {
        const char *s = *f->text == '<' ? f->text + 1 : f->text;
        for (; s; s = *f->text == '<' ? next_of(s) : NULL) {
            size_t length = (size_t)(strchr(s, '(') - s);
            if (strlen(root->op_type) != length || strncmp(root->op_type, s, length) != 0) continue;
            onnx_match m = {.im = im, .form = f, .root = root, .made = &made};
            if (solve_node(m, &(goal){.part = {s}, .n_parts = 1}, root)) return made;
        }
    }
    return root;
}
