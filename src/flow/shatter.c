#include "flow/shatter.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double threshold = 0.05, seed_turns = 0.5; /* docs/flow.md has the experiment */

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

void flow_near_samples(const double *x, size_t n, size_t entries, double *near)
{
    for (size_t i = 0; i < n; i++) {
        const double *own = x + i * entries;
        double *out = near + i * entries, length = dot(own, own, entries), left = 0, along = 0;
        const double *other = own;
        for (size_t k = 1; k < n && !(left > 1e-6 * length); k++) {
            other = x + (i + k) % n * entries;
            along = length > 0 ? dot(own, other, entries) / length : 0;
            left = 0;
            for (size_t j = 0; j < entries; j++) left += pow(other[j] - along * own[j], 2);
        }
        memcpy(out, own, entries * sizeof *out);
        if (!(left > 1e-6 * length) || !(length > 0)) continue;
        double by = sqrt((1 - FLOW_NEAR * FLOW_NEAR) * length / left);
        for (size_t j = 0; j < entries; j++) out[j] = FLOW_NEAR * own[j] + by * (other[j] - along * own[j]);
    }
}

double flow_mean_cosine(const double *a, const double *b, size_t n, size_t entries, size_t shift, size_t *pairs,
                        double *deviation)
{
    double sum = 0, square = 0;
    size_t count = 0;
    for (size_t i = 0; i + shift < n; i++) {
        const double *u = a + i * entries, *v = b + (i + shift) * entries;
        double c = dot(u, v, entries) / sqrt(dot(u, u, entries)) / sqrt(dot(v, v, entries));
        if (!isfinite(c)) continue;
        sum += c;
        square += c * c;
        count++;
    }
    double k = (double)count;
    if (pairs) *pairs = count;
    if (deviation) *deviation = count > 1 ? sqrt(fmax(0, square - sum * sum / k) / (k - 1) / k) : NAN;
    return count > 0 ? sum / k : NAN;
}

void flow_judge_shattering(const flow_shattering *s, flow_verdict *v)
{
    if (!(s->cosine + 2 * s->error < threshold) || !(s->seed_cosine >= seed_turns)) return;
    if (s->theory >= threshold) return; /* one network scatters by 0.1 around it, whatever the pairs say */
    flow_finding *x = &v->finding[v->n_findings++];
    *x = (flow_finding){.status = FLOW_SHATTERED, .value = s->cosine, .threshold = threshold};
    snprintf(x->text, sizeof x->text,
             "gradients by the input at samples of cosine %.2f have a cosine of %.3f: they are noise to an optimiser",
             s->input_cosine, s->cosine);
    if (v->n_findings > 1) return;
    v->status = FLOW_SHATTERED;
    snprintf(v->sentence, sizeof v->sentence, "Shattered: %s.", x->text);
}
