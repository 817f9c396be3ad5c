/* What an export has done to the parameters of a model, as far as the file shows it. */
#ifndef CR_ONNX_NOTICES_H
#define CR_ONNX_NOTICES_H

#include "onnx/model.h"

typedef enum onnx_notice_kind {
    ONNX_TIED,        /* one parameter in several places of one role: the network is like that */
    ONNX_MERGED,      /* equal parameters made one by the exporter: all 0, all 1, or in different roles */
    ONNX_TRANSPOSED,  /* a weight stored transposed, under a made-up name */
    ONNX_FUSED_NORM,  /* convolutions that took up the batch norms behind them */
    ONNX_STORED_NORM, /* batch norms with stored statistics */
    ONNX_NAMES_LOST,  /* no parameter has a name of its own */
    ONNX_DRAWN        /* parameters of a formula that had no values */
} onnx_notice_kind;

typedef struct onnx_notice {
    onnx_notice_kind kind;
    char *text;
} onnx_notice;
typedef struct onnx_notices {
    onnx_notice *at;
    size_t n, cap;
} onnx_notices;

const char *onnx_notice_word(onnx_notice_kind kind); /* "tied", "merged", ... */
/* Takes over the text of b. */
cr_status onnx_notices_add(onnx_notices *n, onnx_notice_kind kind, strbuf *b, error *e);
/* Adds what is to be said of a model. Free it in any case. */
cr_status onnx_notices_find(onnx_model *m, onnx_notices *out, error *e);
void onnx_notices_free(onnx_notices *n);

/* Is it a name that an exporter made up: onnx::MatMul_27, 27, val_27, _val_3, /0/Constant_output_0? */
bool onnx_made_up(const char *name);

/* One place where a parameter is read: input `input` of a node, behind Identity nodes. */
typedef struct onnx_use {
    const Onnx__NodeProto *node;
    unsigned input;
} onnx_use;
/* Do two places want the same kind of tensor: the same input of the same operator? */
bool onnx_same_role(const onnx_use *a, const onnx_use *b);
/* Calls fn for every initialiser that is several parameters (ONNX_MERGED), with the places where they are read; false:
 * fn failed. */
typedef bool onnx_each_merged(void *user, const Onnx__TensorProto *t, const onnx_use *use, size_t n);
cr_status onnx_merged_find(onnx_model *m, onnx_each_merged *fn, void *user, error *e);
/* Is a tensor all 0 or all 1? Reads it only if it is small enough to be a bias or a scale. */
bool onnx_is_plain(onnx_model *m, const Onnx__TensorProto *t);

#endif
