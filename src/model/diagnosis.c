/* What was found, copied for the user. */
#include "model/diagnose.h"

#include <math.h>
#include <string.h>

/* With its memory: everything in it lies in the arena. */
typedef struct diagnosis {
    cr_diagnosis d;
    arena mem;
} diagnosis;

void cr_diagnosis_free(cr_diagnosis *d)
{
    if (!d) return;
    diagnosis *own = (diagnosis *)(void *)d;
    arena_free(&own->mem);
    mem_free(own);
}

void *diagnosis_take(diagnosing *w, size_t n)
{
    void *p = arena_alloc(w->mem, n ? n : 1);
    if (!p) model_fail(w->m, CR_ENOMEM, "out of memory");
    return p;
}

const char *diagnosis_text(diagnosing *w, const char *s)
{
    char *p = diagnosis_take(w, strlen(s) + 1);
    return p ? strcpy(p, s) : "";
}

/* A loss that the user's file multiplies against underflow is divided by that again. */
static double scale_of(const diagnosing *w) { return w->o->loss_scale > 0 ? w->o->loss_scale : 1; }
static double unscaled(const diagnosing *w, double ln) { return ln - log(scale_of(w)); }

static size_t gradients(diagnosing *w, const flow_measured *m, const flow_block *b, cr_flow_gradient *out, size_t room)
{
    const network *n = &w->net;
    size_t count = 0;
    for (size_t i = b->first_step; i < b->first_step + b->n_steps && w->leaf_of; i++) {
        const net_node *node = &n->node[w->f.step[i].node];
        for (size_t k = 0; k < node->n_operands; k++) {
            size_t leaf = w->leaf_of[n->operand[node->first_operand + k].ref];
            if (!leaf) continue;
            const flow_at_leaf *a = &m->leaf[leaf - 1];
            const char *name = n->leaf[leaf - 1].name;
            bool again = false;
            for (size_t t = 0; t < count && out && !again; t++) again = strcmp(out[t].parameter, name) == 0;
            if (again) continue;
            if (out && count < room)
                out[count] = (cr_flow_gradient){diagnosis_text(w, name), unscaled(w, a->ln_gradient), a->ln_weight,
                                                a->dot};
            count++;
        }
    }
    return count;
}

static bool put_layer(diagnosing *w, const flow_measured *m, const flow_block *b, const flow_gain *gain,
                      cr_flow_layer *out)
{
    const flow *f = &w->f;
    size_t step = b->affine != FLOW_NONE ? b->affine : b->first_step, n = gradients(w, m, b, NULL, 0);
    cr_flow_gradient *list = diagnosis_take(w, n * sizeof *list);
    if (!list) return false;
    *out = (cr_flow_layer){.name = diagnosis_text(w, flow_block_name(f, b)),
                           .op = diagnosis_text(w, w->net.node[f->step[step].node].op),
                           .lambda = flow_lambda(f, m, b->out, w->s_y),
                           .ln_in = b->in == FLOW_NONE ? NAN : unscaled(w, m->tensor[b->in].ln_norm),
                           .ln_out = unscaled(w, m->tensor[b->out].ln_norm),
                           .ln_gain = gain->ln_gain,
                           .slope_square = NAN,
                           .saturated = NAN,
                           .dead = NAN,
                           .sampling_error = NAN,
                           .redraw_spread = NAN,
                           .mean = m->tensor[b->out].mean,
                           .n_gradients = n,
                           .gradient = list,
                           .steps = b->n_steps};
    out->deviation = sqrt(fmax(0, m->tensor[b->out].square - out->mean * out->mean));
    memcpy(out->factor, gain->factor, sizeof out->factor);
    for (size_t i = b->first_step; i < b->first_step + b->n_steps; i++) {
        const flow_at_step *s = &m->step[i];
        if (!isnan(s->slope_square)) out->slope_square = s->slope_square;
        if (!isnan(s->saturated)) out->saturated = s->saturated;
        if (!isnan(s->dead)) out->dead = s->dead;
    }
    out->n_gradients = gradients(w, m, b, list, n);
    return true;
}

/* Also why nothing flows, and what does once the gates have opened. */
static bool put_layers(diagnosing *w, cr_flow_layer *layer)
{
    bool ok = true;
    for (size_t i = 0; i < w->f.n_blocks && ok; i++) {
        const flow_block *b = &w->f.block[i];
        flow_zero why = flow_block_zero(&w->zeros, b);
        ok = put_layer(w, &w->measured, b, &w->gain[i], &layer[i]);
        layer[i].zero_because = flow_zero_name(why);
        ok = ok && diagnosis_layer_theory(w, i, &layer[i]);
        if (!ok || why != FLOW_CLOSED_GATE || !w->after.tensor) continue;
        cr_flow_layer *after = diagnosis_take(w, sizeof *after);
        ok = after && put_layer(w, &w->after, b, &w->gain_after[i], after);
        layer[i].after = after;
    }
    return ok;
}

static bool put_times(diagnosing *w, cr_diagnosis *d)
{
    cr_flow_time *list = diagnosis_take(w, w->times.n * sizeof *list);
    for (size_t i = 0; i < w->times.n && list; i++) {
        const flow_time *t = &w->times.time[i];
        const net_node *node = &w->net.node[t->r->node];
        double *curve = diagnosis_take(w, t->r->steps * sizeof *curve);
        if (!curve) return false;
        memcpy(curve, t->curve, t->r->steps * sizeof *curve);
        list[i] = (cr_flow_time){.name = diagnosis_text(w, node->name), .op = diagnosis_text(w, node->op),
                                 .direction = t->r->direction,
                                 .steps = t->r->steps, .ln_gain = t->ln_gain, .low = t->low, .high = t->high,
                                 .slope = t->factor[FLOW_TIME_SLOPE], .weight = t->factor[FLOW_TIME_WEIGHT],
                                 .gate = t->factor[FLOW_TIME_GATE], .rest = t->factor[FLOW_TIME_REST],
                                 .curve = curve};
    }
    d->n_times = w->times.n;
    d->time = list;
    return list != NULL;
}

cr_status diagnosis_make(diagnosing *w, cr_diagnosis **out)
{
    const flow_verdict *v = &w->verdict;
    diagnosis *own = mem_zalloc(1, sizeof *own);
    if (!own) return model_fail(w->m, CR_ENOMEM, "out of memory");
    cr_diagnosis *d = &own->d;
    w->mem = &own->mem;
    cr_flow_layer *layer = diagnosis_take(w, w->f.n_blocks * sizeof *layer);
    cr_flow_finding *finding = diagnosis_take(w, (v->n_findings + 1) * sizeof *finding);
    const char **gate = diagnosis_take(w, (w->zeros.n_gates + 1) * sizeof *gate);
    cr_flow_graph graph = {0};
    bool ok = layer && finding && gate && put_layers(w, layer) && diagnosis_graph(w, &graph);
    for (size_t i = 0; i < w->zeros.n_gates && ok; i++) gate[i] = diagnosis_text(w, w->net.leaf[w->zeros.gate[i]].name);
    for (size_t i = 0; i < v->n_findings && ok; i++) {
        const flow_finding *x = &v->finding[i];
        const char *where = flow_block_name(&w->f, &w->f.block[x->block]);
        finding[i] = (cr_flow_finding){flow_status_name(x->status), diagnosis_text(w, x->text),
                                       diagnosis_text(w, where), x->value, x->threshold};
    }
    *d = (cr_diagnosis){.status = flow_status_name(v->status),
                        .sentence = diagnosis_text(w, v->sentence),
                        .low = v->low,
                        .high = v->high,
                        .n_findings = v->n_findings,
                        .finding = finding,
                        .n_layers = w->f.n_blocks,
                        .layer = layer,
                        .graph = graph,
                        .n_gates = w->zeros.n_gates,
                        .gate = gate,
                        .norms = !w->norms              ? CR_NORMS_NONE
                                 : w->o->stored_norms ? CR_NORMS_STORED
                                                      : CR_NORMS_BATCH,
                        .has_dropout = w->drops,
                        .loss = w->measured.loss / scale_of(w),
                        .kind = w->loss.kind,
                        .said = diagnosis_text(w, w->loss.said),
                        .cut = diagnosis_text(w, sb_str(&w->m->cut)),
                        .kept = diagnosis_text(w, sb_str(&w->kept)),
                        .samples = w->batch,
                        .left_out = w->feed.samples_first ? w->feed.samples - w->batch : 0};
    ok = ok && put_times(w, d) && diagnosis_theory(w, d) && diagnosis_put_more(w, d, layer);
    if (!ok || w->m->err.status != CR_OK) {
        cr_diagnosis_free(d);
        return w->m->err.status;
    }
    *out = d;
    return CR_OK;
}

