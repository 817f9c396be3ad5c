/* What `diagnose` shows: on the terminal and as JSON. */
#ifndef CLI_DIAGNOSE_H
#define CLI_DIAGNOSE_H

#include "cli.h"

/* against: set beside, by layers of the same name; NULL: none. */
void diagnosis_print(const session *s, const cr_diagnosis *d, const cr_diagnosis *against);
/* Lines about the weights, the theory beside what was measured, confidence and what was left out. */
void diagnosis_print_theory(const session *s, const cr_diagnosis *d);
/* Parts of the document. */
json_t *layer_theory_json(const cr_flow_layer *l); /* null: there is none */
json_t *weights_json(const session *s, const cr_diagnosis *d);
json_t *theory_json(const session *s, const cr_diagnosis *d);
json_t *shattering_json(const session *s, const cr_diagnosis *d);
json_t *redraws_json(const session *s, const cr_diagnosis *d);
json_t *cut_json(const session *s, const cr_diagnosis *d);
void diagnosis_json(const session *s, const cr_diagnosis *d, json_t *doc);

/* What stands beside the verdict: lines, where they say something; parts of the document, NULL: there is none. */
void diagnosis_print_more(const cr_diagnosis *d);
json_t *paths_json(const session *s, const cr_diagnosis *d);
json_t *spectrum_json(const session *s, const cr_diagnosis *d);
json_t *formats_json(const session *s, const cr_diagnosis *d);
json_t *balance_json(const session *s, const cr_diagnosis *d);
json_t *thresholds_json(const session *s, const cr_diagnosis *d);
json_t *evidence_json(const cr_diagnosis *d);
json_t *children_json(const cr_flow_layer *l);
json_t *spectrum_of_json(const cr_flow_spectrum *x);

/* One diagnosis for each checkpoint of the options. */
void history_print(const session *s, cr_diagnosis *const *d);
json_t *history_json(const session *s, cr_diagnosis *const *d);

/* The last part of a path: reports name no folders. */
const char *file_name(const char *path);

#endif
