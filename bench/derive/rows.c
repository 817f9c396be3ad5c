/* Derives and prints single queries, many times each, by the clock.
 *
 *     derive_rows SECONDS < rows
 *
 * A row is DECLARATIONS <tab> EXPRESSION <tab> VARIABLE. For every repeat the program is a new one, so that
 * nothing is left in memory that the one before has found. Only cr_program_derive is timed: derivative, simplification,
 * conditions and the text, not parsing. At least 5 repeats, then as many as SECONDS allow. One JSON object a row. */
#include "chainrule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 2000 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void put_json(const char *s)
{
    putchar('"');
    for (; s && *s; s++) {
        if (*s == '"' || *s == '\\') printf("\\%c", *s);
        else if ((unsigned char)*s < 0x20) printf("\\u%04x", *s);
        else putchar(*s);
    }
    putchar('"');
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static cr_program *ask(const char *declarations, const char *expr, const char *wrt)
{
    cr_program *p = cr_program_new();
    if (p && cr_program_declare(p, declarations) == CR_OK) cr_program_query(p, CR_QUERY_DERIVE, expr, wrt);
    return p;
}

/* Prints the row; false if it cannot be derived. */
static bool measure(const char *declarations, const char *expr, const char *wrt, double limit)
{
    static double s[MOST];
    size_t n = 0;
    double start = now();
    bool ok = true;
    while (ok && n < MOST && (n < 5 || now() - start < limit)) {
        cr_program *p = ask(declarations, expr, wrt);
        cr_derivation *d = NULL;
        double t = now();
        ok = p && cr_program_status(p) == CR_OK && cr_program_derive(p, 0, CR_TEXT, CR_FORM_AUTO, &d) == CR_OK;
        s[n++] = now() - t;
        cr_derivation_free(d);
        cr_program_free(p);
    }
    cr_program *p = ask(declarations, expr, wrt);
    cr_derivation *d = NULL;
    ok = ok && p && cr_program_derive(p, 0, CR_TEXT | CR_NUMPY, CR_FORM_AUTO, &d) == CR_OK;
    if (ok) {
        qsort(s, n, sizeof *s, by_value);
        printf("{\"seconds\": %.9f, \"repeats\": %zu, \"text\": ", s[n / 2], n);
        put_json(d->text);
        fputs(", \"numpy\": ", stdout);
        put_json(d->numpy);
        puts("}");
    } else {
        fputs("{\"error\": ", stdout);
        put_json(p ? cr_program_message(p) : "out of memory");
        puts("}");
    }
    cr_derivation_free(d);
    cr_program_free(p);
    return ok;
}

int main(int argc, char **argv)
{
    double limit = argc > 1 ? strtod(argv[1], NULL) : 0.1;
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        char *declarations = strtok(line, "\t"), *expr = strtok(NULL, "\t"), *wrt = strtok(NULL, "\t\n");
        if (!wrt) {
            fputs("derive_rows: a row is DECLARATIONS <tab> EXPRESSION <tab> VARIABLE\n", stderr);
            return 2;
        }
        measure(declarations, expr, wrt, limit);
    }
    return 0;
}
