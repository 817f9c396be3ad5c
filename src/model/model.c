#include "model/model.h"

#include "onnx/formula.h"

#include <inttypes.h>
#include <string.h>

cr_model *cr_model_new(void) { return mem_zalloc(1, sizeof(cr_model)); }

void cr_model_free(cr_model *m)
{
    if (!m) return;
    onnx_model_free(m->onnx);
    mem_free(m->bytes);
    err_clear(&m->err);
    mem_free(m->blame);
    sb_free(&m->cut);
    onnx_notices_free(&m->notices);
    arena_free(&m->names);
    mem_free(m);
}

cr_status cr_model_status(const cr_model *m) { return m->err.status; }
const char *cr_model_message(const cr_model *m) { return err_message(&m->err); }
void cr_model_clear_error(cr_model *m) { err_clear(&m->err); }

cr_status model_fail(cr_model *m, cr_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(&m->err, status, fmt, ap);
    va_end(ap);
    return m->err.status;
}

cr_status model_keep(cr_model *m, error *e)
{
    if (e->status != CR_OK) err_set(&m->err, e->status, "%s", err_message(e));
    err_clear(e);
    return m->err.status;
}

cr_status cr_model_read(cr_model *m, const char *path, const cr_model_options *options)
{
    error e = {CR_OK, NULL};
    onnx_file_options o = {.allow_links = options && options->allow_links};
    if (m->onnx) return model_fail(m, CR_EARG, "a model is read once");
    if (onnx_model_open(path, &o, &m->onnx, &e) == CR_OK) onnx_notices_find(m->onnx, &m->notices, &e);
    return model_keep(m, &e);
}

cr_status cr_model_from_program(cr_model *m, cr_program *p, uint64_t seed)
{
    error e = {CR_OK, NULL};
    size_t n;
    strbuf drawn, b;
    if (m->onnx) return model_fail(m, CR_EARG, "a model is read once");
    sb_init(&drawn);
    sb_init(&b);
    cr_status status = onnx_of_program(p, seed, &m->bytes, &n, &drawn, &e);
    if (status == CR_OK) status = onnx_model_of_bytes("formula", m->bytes, n, &m->onnx, &e);
    if (status == CR_OK) status = onnx_notices_find(m->onnx, &m->notices, &e);
    if (status == CR_OK && drawn.n > 0) {
        sb_printf(&b, "%s: without values, drawn with variance 1/n (--seed); what is only added is 0", sb_str(&drawn));
        onnx_notices_add(&m->notices, ONNX_DRAWN, &b, &e);
    }
    sb_free(&drawn);
    return model_keep(m, &e);
}

cr_status cr_model_write(cr_model *m, const char *path)
{
    error e = {CR_OK, NULL};
    if (!m->onnx) return model_fail(m, CR_EARG, "no model was read");
    onnx_edit *d = onnx_edit_new(m->onnx->file, &e);
    if (d) onnx_edit_write(d, path, &e);
    onnx_edit_free(d);
    return model_keep(m, &e);
}

size_t cr_model_notices(const cr_model *m) { return m->notices.n; }

const char *cr_model_notice_kind(const cr_model *m, size_t i)
{
    return i < m->notices.n ? onnx_notice_word(m->notices.at[i].kind) : "";
}

const char *cr_model_notice_text(const cr_model *m, size_t i) { return i < m->notices.n ? m->notices.at[i].text : ""; }

/* ---- what it consists of ------------------------------------------------------------------------ */

static const Onnx__ValueInfoProto *fed(const cr_model *m, size_t i)
{
    const Onnx__GraphProto *g = m->onnx->proto->graph;
    for (size_t k = 0; k < g->n_input; k++) {
        if (onnx_is_fed(g, g->input[k]) && i-- == 0) return g->input[k];
    }
    return NULL;
}

static bool is_parameter(const Onnx__TensorProto *t)
{
    cr_type type;
    return onnx_type_of(t->data_type, &type) && onnx_is_float(type);
}

static const Onnx__TensorProto *parameter(const cr_model *m, size_t i)
{
    const Onnx__GraphProto *g = m->onnx->proto->graph;
    for (size_t k = 0; k < g->n_initializer; k++) {
        if (is_parameter(g->initializer[k]) && i-- == 0) return g->initializer[k];
    }
    return NULL;
}

static const Onnx__ValueInfoProto *value(const cr_model *m, cr_model_part part, size_t i)
{
    const Onnx__GraphProto *g = m->onnx->proto->graph;
    if (part == CR_MODEL_INPUTS) return fed(m, i);
    return part == CR_MODEL_OUTPUTS && i < g->n_output ? g->output[i] : NULL;
}

size_t cr_model_count(const cr_model *m, cr_model_part part)
{
    size_t n = 0;
    if (!m->onnx) return 0;
    if (part == CR_MODEL_PARAMETERS) {
        const Onnx__GraphProto *g = m->onnx->proto->graph;
        for (size_t k = 0; k < g->n_initializer; k++) n += is_parameter(g->initializer[k]);
        return n;
    }
    while (value(m, part, n) != NULL) n++;
    return n;
}

const char *cr_model_name(const cr_model *m, cr_model_part part, size_t i)
{
    const char *name = NULL;
    if (part == CR_MODEL_PARAMETERS) {
        const Onnx__TensorProto *t = parameter(m, i);
        name = t ? t->name : NULL;
    } else {
        const Onnx__ValueInfoProto *v = value(m, part, i);
        name = v ? v->name : NULL;
    }
    return name ? name : "";
}

cr_type cr_model_type(const cr_model *m, cr_model_part part, size_t i)
{
    cr_type t = CR_TYPE_F32;
    if (part == CR_MODEL_PARAMETERS) {
        const Onnx__TensorProto *p = parameter(m, i);
        if (p) onnx_type_of(p->data_type, &t);
    } else {
        const Onnx__ValueInfoProto *v = value(m, part, i);
        if (v && onnx_tensor_type(v)) onnx_type_of(onnx_tensor_type(v)->elem_type, &t);
    }
    return t;
}

const char *cr_model_shape(const cr_model *m, cr_model_part part, size_t i)
{
    strbuf b;
    sb_init(&b);
    if (part == CR_MODEL_PARAMETERS) {
        const Onnx__TensorProto *t = parameter(m, i);
        if (t && t->n_dims <= CR_MAX_RANK) data_shape(&b, (unsigned)t->n_dims, t->dims);
    } else {
        const Onnx__ValueInfoProto *v = value(m, part, i);
        if (v) onnx_print_shape(&b, v);
    }
    char *text = arena_alloc((arena *)(uintptr_t)&m->names, b.n + 1);
    if (text) memcpy(text, sb_str(&b), b.n + 1);
    sb_free(&b);
    return text ? text : "";
}
