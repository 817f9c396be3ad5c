#define _GNU_SOURCE
#include "worker.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

double worker_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void *worker_room(size_t bytes)
{
    size_t align = bytes < (2u << 20) ? 64 : 2u << 20;
    size_t whole = (bytes + align - 1) / align * align;
    void *p = aligned_alloc(align, whole ? whole : align);
    if (!p) {
        fprintf(stderr, "no room for %zu bytes\n", bytes);
        exit(1);
    }
    if (align > 64) {
        madvise(p, whole, MADV_HUGEPAGE); /* only a hint */
    }
    return memset(p, 0, whole ? whole : align);
}

/* Of this process since its exec; ru_maxrss would count the process that started it. */
static long peak_kib(void)
{
    char line[256];
    long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) {
        sscanf(line, "VmHWM: %ld", &kib);
    }
    if (f) {
        fclose(f);
    }
    return kib;
}

typedef struct running { const worker_case *as; void *state; } running;

static int measure(const running *r, double seconds)
{
    double begin = worker_now(), end = begin;
    printf("{\"ms\": [");
    for (int k = 0; k < 3 || (end - begin < seconds && k < 2000); k++) {
        double t = worker_now();
        r->as->run(r->state);
        end = worker_now();
        printf("%s%.9g", k ? ", " : "", 1e3 * (end - t));
    }
    printf("]}\n");
    return fflush(stdout);
}

int worker_serve(const char *settings, const worker_case *cases, int argc, char **argv)
{
    running *all = worker_room((size_t)argc * sizeof *all);
    printf("{\"settings\": \"%s\", \"cases\": {", settings);
    for (int i = 1; i < argc; i++) {
        running *r = &all[i - 1];
        for (r->as = cases; r->as->name && strcmp(r->as->name, argv[i]) != 0; r->as++) {}
        if (!r->as->name) {
            fprintf(stderr, "no such case here: %s\n", argv[i]);
        }
        if (!r->as->name || !(r->state = r->as->setup(r->as->which))) {
            return 1;
        }
        r->as->run(r->state);
        worker_answer a = r->as->answer(r->state);
        printf("%s\"%s\": {\"loss\": %.9g, \"norm\": %.9g, \"work\": %.9g}", i > 1 ? ", " : "", argv[i], a.loss, a.norm,
               a.work);
    }
    printf("}}\n");
    fflush(stdout);
    char line[256], name[64];
    double seconds;
    while (fgets(line, sizeof line, stdin) && strcmp(line, "end\n") != 0) {
        int i = 1;
        if (sscanf(line, "run %63s %lf", name, &seconds) == 2) {
            for (; i < argc && strcmp(argv[i], name) != 0; i++) {}
        }
        if (i >= argc || measure(&all[i - 1], seconds)) {
            fprintf(stderr, "cannot obey: %s", line);
            return 1;
        }
    }
    printf("{\"peak_kib\": %ld}\n", peak_kib());
    return 0;
}
