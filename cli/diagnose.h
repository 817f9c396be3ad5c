/* What `diagnose` shows: on the terminal and as JSON. */
#ifndef CLI_DIAGNOSE_H
#define CLI_DIAGNOSE_H

#include "cli.h"

void diagnosis_print(const session *s, const cr_diagnosis *d);
void diagnosis_json(const session *s, const cr_diagnosis *d, json_t *doc);

#endif
