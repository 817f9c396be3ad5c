/* Room model: what the public cr_model_* do: a file, data, batches; results by the names of the file. */
#ifndef CR_MODEL_H
#define CR_MODEL_H

#include "network/loss.h"
#include "network/run.h"
#include "onnx/import.h"
#include "onnx/notices.h"

struct cr_model {
    onnx_model *onnx; /* NULL: nothing was read yet */
    void *bytes;      /* of a model that was made of formulas */
    error err;
    arena names; /* shapes as text */
    onnx_notices notices;
    char said[256]; /* of the last report */
    strbuf cut;     /* of the last report */
    char *blame;    /* of the last report; owned, may be NULL */
};

cr_status model_fail(cr_model *m, cr_status status, const char *fmt, ...) CR_PRINTF(3, 4);
cr_status model_keep(cr_model *m, error *e); /* takes over an error, and clears it */

/* ---- data -------------------------------------------------------------------------------------- */

/* Data by what they are for. Tensors whose memory is not the data's own are `owned`. */
typedef struct model_feed {
    cr_tensor *input; /* by the names of the model */
    size_t n_inputs;
    cr_tensor label, weight; /* data NULL: there are none */
    bool samples_first;      /* the first axis of every input and of the label counts samples */
    size_t samples;          /* 1 if not */
    size_t batch;            /* that the file fixes; 0: any */
    void **owned;
    size_t n_owned, owned_cap;
} model_feed;

/* CR_EVALUE names an input that has no data, CR_ESHAPE shows both shapes. Free it in any case. */
cr_status model_feed_init(cr_model *m, const cr_data *data, const cr_model_run_options *o, model_feed *f);
void model_feed_free(model_feed *f);
/* How many samples are run at a time: as many as the file fixes, or are asked for, or there are. Adds to *said where
 * the file leaves no choice. */
size_t model_batch(const model_feed *f, const cr_model_run_options *o, strbuf *said);
/* grows[i]: does the first axis of output i grow with the number of samples? Found by importing with another number of
 * them: an output that is as long by chance does not. *known false: it cannot be found, as the model takes batches of
 * one size only. */
cr_status model_growing(cr_model *m, const model_feed *f, size_t batch, bool *grows, size_t room, bool *known);
/* Has an output of integers to be computed in float64 to be right: because only integers lead to it, or some beyond
 * 2^24 do? false: out of memory. */
bool model_wants_f64(const network *n, const model_feed *f, const net_output *out, bool *yes);
/* n numbers that an output of integers holds as int64, in place; says so where they may have been rounded. */
void model_whole(const char *name, bool f64, size_t n, double *value, strbuf *said);
/* Samples first .. first + n - 1 of a tensor, which stays the owner. */
cr_tensor model_rows(const cr_tensor *t, size_t first, size_t n);

#endif
