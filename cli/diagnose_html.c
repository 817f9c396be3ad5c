/* The page of `diagnose --html`: made in report/ when chainrule is built, with a place for the document of --json,
 * which is all that it shows. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#include "report_page.h"

/* The document stands in a <script type="application/json">. What would end that, or begin a comment in it, needs a
 * '<': in JSON it occurs in strings only, where \u003c is the same. */
static bool put_document(json_t *doc, FILE *f)
{
    char *text = json_dumps(doc, JSON_COMPACT | JSON_REAL_PRECISION(17));
    bool ok = text;
    for (const char *s = text; ok && *s;) {
        size_t n = strcspn(s, "<");
        ok = fwrite(s, 1, n, f) == n;
        s += n;
        if (*s == '<') {
            ok = ok && fputs("\\u003c", f) != EOF;
            s++;
        }
    }
    free(text);
    return ok;
}

static bool put_page(void *user, FILE *f)
{
    return fwrite(report_head, 1, sizeof report_head - 1, f) == sizeof report_head - 1 && put_document(user, f) &&
           fwrite(report_tail, 1, sizeof report_tail - 1, f) == sizeof report_tail - 1;
}

bool html_write(json_t *doc, const char *path, char *message, size_t size)
{
    return file_write(path, put_page, doc, message, size);
}
