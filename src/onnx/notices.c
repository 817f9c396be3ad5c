#include "onnx/notices.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

enum { SHOWN = 3, PLAIN_MAX = 1 << 20 };

static const char *const words[] = {
    [ONNX_TIED] = "tied",
    [ONNX_DRAWN] = "drawn",
    [ONNX_MERGED] = "merged",
    [ONNX_TRANSPOSED] = "transposed",
    [ONNX_FUSED_NORM] = "fused-norm",
    [ONNX_STORED_NORM] = "stored-norm",
    [ONNX_NAMES_LOST] = "names-lost",
};
const char *onnx_notice_word(onnx_notice_kind kind) { return words[kind]; }

cr_status onnx_notices_add(onnx_notices *n, onnx_notice_kind kind, strbuf *b, error *e)
{
    char *text = VEC_RESERVE(n->at, n->cap, n->n + 1) ? sb_take(b) : NULL;
    if (text) {
        n->at[n->n++] = (onnx_notice){kind, text};
        return CR_OK;
    }
    sb_free(b);
    err_set(e, CR_ENOMEM, "out of memory");
    return CR_ENOMEM;
}

void onnx_notices_free(onnx_notices *n)
{
    for (size_t i = 0; i < n->n; i++) mem_free(n->at[i].text);
    mem_free(n->at);
    *n = (onnx_notices){0};
}

/* ---- names --------------------------------------------------------------------------------------- */

bool onnx_made_up(const char *name)
{
    const char *s = name, *last = strrchr(name, '/');
    if (strncmp(s, "onnx::", 6) == 0) return true;
    /* What a node Constant makes is called by the node: /0/Constant_output_0, /encoder/Constant_12_output_0. */
    if (last && strncmp(last + 1, "Constant_", 9) == 0) return true;
    if (strncmp(s, "const_fold_opt__", 16) == 0) return true; /* tf2onnx */
    while (*s == '_') s++;
    if (strncmp(s, "val_", 4) == 0) s += 4;
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)s[i])) return false;
    }
    return n > 0;
}

static const char *node_name(const Onnx__NodeProto *n)
{
    return n->name && *n->name ? n->name : n->n_output ? n->output[0] : n->op_type;
}

/* ---- where parameters are read ------------------------------------------------------------------- */

typedef struct uses {
    const Onnx__TensorProto *tensor;
    const char *name;
    onnx_use *at;
    size_t n, cap;
} uses;

typedef struct search {
    onnx_model *m;
    const Onnx__GraphProto *g;
    uses *of; /* of every initializer of floats */
    size_t n_of;
    struct slot {
        const char *name;
        size_t of;
    } * slot; /* names, those behind Identity too, to their entry + 1 */
    size_t n_slots;
    onnx_notices *out;
    error *e;
} search;

static bool no_memory(search *s)
{
    err_set(s->e, CR_ENOMEM, "out of memory");
    return false;
}

static struct slot *find(const search *s, const char *name)
{
    uint32_t h = 0;
    for (const char *c = name; *c; c++) h = hash_word(h, (unsigned char)*c);
    size_t i = h & (s->n_slots - 1);
    while (s->slot[i].name && strcmp(s->slot[i].name, name) != 0) i = (i + 1) & (s->n_slots - 1);
    return &s->slot[i];
}

static bool collect(search *s)
{
    const Onnx__GraphProto *g = s->g;
    size_t names = g->n_initializer + g->n_node;
    for (s->n_slots = 16; s->n_slots < 2 * names + 2; s->n_slots *= 2) {
    }
    s->slot = mem_zalloc(s->n_slots, sizeof *s->slot);
    s->of = mem_zalloc(g->n_initializer + 1, sizeof *s->of);
    if (!s->slot || !s->of) return no_memory(s);
    for (size_t i = 0; i < g->n_initializer; i++) {
        const Onnx__TensorProto *t = g->initializer[i];
        cr_type type;
        if (!t->name || !onnx_type_of(t->data_type, &type) || type > CR_TYPE_BF16) continue;
        s->of[s->n_of] = (uses){.tensor = t, .name = t->name};
        *find(s, t->name) = (struct slot){t->name, ++s->n_of};
    }
    /* Files are in order: an Identity stands before what reads it. */
    for (size_t i = 0; i < g->n_node; i++) {
        const Onnx__NodeProto *node = g->node[i];
        for (size_t k = 0; k < node->n_input; k++) {
            size_t of = find(s, node->input[k])->of;
            if (of == 0) continue;
            if (strcmp(node->op_type, "Identity") == 0 && node->n_output == 1) {
                *find(s, node->output[0]) = (struct slot){node->output[0], of};
                continue;
            }
            uses *u = &s->of[of - 1];
            if (!VEC_RESERVE(u->at, u->cap, u->n + 1)) return no_memory(s);
            u->at[u->n++] = (onnx_use){node, (unsigned)k};
        }
    }
    return true;
}

bool onnx_same_role(const onnx_use *a, const onnx_use *b)
{
    return strcmp(a->node->op_type, b->node->op_type) == 0 && a->input == b->input;
}

bool onnx_is_plain(onnx_model *m, const Onnx__TensorProto *t)
{
    cr_tensor x;
    error e = {CR_OK, NULL};
    double first, v;
    bool read = t->n_dims <= 1 && (t->n_dims == 0 || t->dims[0] <= PLAIN_MAX) &&
                onnx_model_tensor(m, t, &x, &e) == CR_OK && x.count > 0;
    err_clear(&e);
    if (!read) return false;
    data_to_f64(x.type, x.data, 1, &first);
    bool plain = first == 0 || first == 1;
    for (size_t i = 1; i < x.count && plain; i++) {
        data_to_f64(x.type, (const char *)x.data + i * cr_type_size(x.type), 1, &v);
        plain = v == first;
    }
    return plain;
}

/* ---- notices ------------------------------------------------------------------------------------- */

static bool say(search *s, onnx_notice_kind kind, strbuf *b)
{
    return onnx_notices_add(s->out, kind, b, s->e) == CR_OK;
}

static void put_nodes(strbuf *b, const onnx_use *use, size_t n)
{
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        sb_printf(b, "%s\"%s\"", i == 0 ? "" : i + 1 == n ? " and " : ", ", node_name(use[i].node));
    }
    if (n > SHOWN) sb_printf(b, " and %zu more", n - SHOWN);
}

/* Names that Identity nodes give to a parameter are those of the tensors that were merged into it. */
static void put_other_names(const search *s, strbuf *b, const uses *u)
{
    size_t n = 0;
    for (size_t i = 0; i < s->g->n_node; i++) {
        const Onnx__NodeProto *node = s->g->node[i];
        if (strcmp(node->op_type, "Identity") != 0 || node->n_output != 1) continue;
        const struct slot *slot = find(s, node->output[0]);
        if (slot->of == 0 || &s->of[slot->of - 1] != u) continue;
        if (n < SHOWN) sb_printf(b, "%s`%s`", n ? ", " : "; it also stands for ", node->output[0]);
        n++;
    }
    if (n > SHOWN) sb_printf(b, " and %zu more", n - SHOWN);
}

/* Is it several parameters, which the exporter made one as they were equal? An embedding that is the output layer, too,
 * is tied, not merged: tensors of equal values are small ones. */
static bool merged(search *s, const uses *u, bool *plain)
{
    bool one_role = true;
    for (size_t i = 1; i < u->n; i++) one_role &= onnx_same_role(&u->at[0], &u->at[i]);
    *plain = u->n > 1 && onnx_is_plain(s->m, u->tensor);
    return *plain || (!one_role && u->tensor->n_dims <= 1);
}

static bool shared(search *s, const uses *u)
{
    bool plain;
    if (u->n < 2) return true;
    bool apart = merged(s, u, &plain);
    strbuf b;
    sb_init(&b);
    sb_printf(&b, "`%s` is read in %zu places: ", u->name, u->n);
    put_nodes(&b, u->at, u->n);
    put_other_names(s, &b, u);
    if (!apart) {
        sb_puts(&b, ". Its gradient is the sum over them");
        return say(s, ONNX_TIED, &b);
    }
    sb_printf(&b, ". %s, so it is not one parameter: the exporter merged equal ones. grad keeps the file's "
              "sharing, diagnose takes them apart",
              plain ? "All its entries are the same number" : "They want different things");
    return say(s, ONNX_MERGED, &b);
}

static bool is_product(const Onnx__NodeProto *n) { return strcmp(n->op_type, "MatMul") == 0; }

static bool transposed(search *s, const uses *u)
{
    if (!onnx_made_up(u->name) || u->tensor->n_dims != 2 || u->n == 0 || !is_product(u->at[0].node) ||
        u->at[0].input != 1) {
        return true;
    }
    strbuf b;
    sb_init(&b);
    sb_printf(&b,
              "`%s` (%" PRId64 " x %" PRId64 ") is the weight of \"%s\", which the exporter transposed and renamed; "
              "PyTorch's Linear has it as %" PRId64 " x %" PRId64,
              u->name, u->tensor->dims[0], u->tensor->dims[1], node_name(u->at[0].node), u->tensor->dims[1],
              u->tensor->dims[0]);
    return say(s, ONNX_TRANSPOSED, &b);
}

static const char *const keep = "torch.onnx.export(m.train(), x, \"m.onnx\", training=TrainingMode.TRAINING, "
                                "do_constant_folding=False, dynamo=False) keeps them (docs/from-pytorch.md)";

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* Convolutions whose weight or bias the exporter computed: by its own names, or those of fused tensors. */
static bool fused(search *s)
{
    size_t n = 0;
    const Onnx__NodeProto *first = NULL;
    for (size_t i = 0; i < s->n_of; i++) {
        const uses *u = &s->of[i];
        for (size_t k = 0; k < u->n; k++) {
            const Onnx__NodeProto *node = u->at[k].node;
            bool conv = strcmp(node->op_type, "Conv") == 0 || strcmp(node->op_type, "ConvTranspose") == 0;
            bool computed = (u->at[k].input == 1 && onnx_made_up(u->name)) ||
                            (u->at[k].input == 2 && (onnx_made_up(u->name) || ends_with(u->name, ".weight_bias")));
            if (!conv || !computed || node == first) continue;
            if (u->at[k].input == 1 || ends_with(u->name, ".weight_bias")) n++;
            if (!first) first = node;
        }
    }
    if (n == 0) return true;
    strbuf b;
    sb_init(&b);
    sb_printf(&b,
              "%zu convolution%s (\"%s\"%s) ha%s weights that the exporter computed: the batch norms behind were fused "
              "into them, and what was trained is no longer in the file. %s",
              n, n == 1 ? "" : "s", node_name(first), n > 1 ? ", ..." : "", n == 1 ? "s" : "ve", keep);
    return say(s, ONNX_FUSED_NORM, &b);
}

static bool trains(const Onnx__NodeProto *n)
{
    size_t outputs = 0;
    for (size_t i = 0; i < n->n_output; i++) outputs += *n->output[i] != '\0';
    for (size_t i = 0; i < n->n_attribute; i++) {
        if (n->attribute[i]->name && strcmp(n->attribute[i]->name, "training_mode") == 0)
            return n->attribute[i]->i != 0;
    }
    return outputs > 1;
}

static bool stored(search *s)
{
    size_t n = 0;
    const Onnx__NodeProto *first = NULL;
    for (size_t i = 0; i < s->g->n_node; i++) {
        const Onnx__NodeProto *node = s->g->node[i];
        if (strcmp(node->op_type, "BatchNormalization") != 0 || trains(node)) continue;
        if (!first) first = node;
        n++;
    }
    if (n == 0) return true;
    strbuf b;
    sb_init(&b);
    sb_printf(&b,
              "%zu batch norm%s (\"%s\"%s) use%s stored statistics, as in inference: gradients are those of the frozen "
              "network. training=TrainingMode.TRAINING exports them as they train",
              n, n == 1 ? "" : "s", node_name(first), n > 1 ? ", ..." : "", n == 1 ? "s" : "");
    return say(s, ONNX_STORED_NORM, &b);
}

static bool names(search *s)
{
    size_t made = 0, all = 0;
    for (size_t i = 0; i < s->n_of; i++) {
        if (s->of[i].n == 0) continue;
        all++;
        made += onnx_made_up(s->of[i].name);
    }
    if (all == 0 || made < all) return true;
    strbuf b;
    sb_init(&b);
    sb_printf(&b, "none of the %zu parameters kept the name that it had: an optimised inference export. %s", all, keep);
    return say(s, ONNX_NAMES_LOST, &b);
}

cr_status onnx_merged_find(onnx_model *m, onnx_each_merged *fn, void *user, error *e)
{
    onnx_notices none = {0};
    search s = {.m = m, .g = m->proto->graph, .out = &none, .e = e};
    bool ok = collect(&s), plain;
    for (size_t i = 0; i < s.n_of && ok; i++) {
        if (s.of[i].n > 1 && merged(&s, &s.of[i], &plain)) ok = fn(user, s.of[i].tensor, s.of[i].at, s.of[i].n);
    }
    for (size_t i = 0; i < s.n_of; i++) mem_free(s.of[i].at);
    mem_free(s.of);
    mem_free(s.slot);
    return ok ? CR_OK : e->status != CR_OK ? e->status : CR_ENOMEM;
}

cr_status onnx_notices_find(onnx_model *m, onnx_notices *out, error *e)
{
    search s = {.m = m, .g = m->proto->graph, .out = out, .e = e};
    bool ok = collect(&s) && names(&s) && fused(&s) && stored(&s);
    for (size_t i = 0; i < s.n_of && ok; i++) ok = shared(&s, &s.of[i]) && transposed(&s, &s.of[i]);
    for (size_t i = 0; i < s.n_of; i++) mem_free(s.of[i].at);
    mem_free(s.of);
    mem_free(s.slot);
    return ok ? CR_OK : e->status;
}
