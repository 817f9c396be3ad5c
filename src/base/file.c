/* Bounded file reading: memory is asked for as the bytes arrive, never on the word of a file's size. */
#include "base/base.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static cr_status read_all(FILE *f, const char *path, size_t limit, char **data, size_t *n, error *e)
{
    char *s = NULL;
    size_t used = 0, cap = 0, step = 16384;
    for (;;) {
        if (!VEC_RESERVE(s, cap, used + step + 1)) {
            mem_free(s);
            err_set(e, CR_ENOMEM, "%s: out of memory", path);
            return CR_ENOMEM;
        }
        size_t got = fread(s + used, 1, step, f);
        used += got;
        if (used > limit) {
            mem_free(s);
            err_set(e, CR_ELIMIT, "%s: larger than the limit of %zu bytes", path, limit);
            return CR_ELIMIT;
        }
        if (got < step) break;
    }
    if (ferror(f)) {
        mem_free(s);
        err_set(e, CR_EIO, "%s: cannot read: %s", path, strerror(errno));
        return CR_EIO;
    }
    s[used] = '\0';
    *data = s;
    *n = used;
    return CR_OK;
}

cr_status file_read(const char *path, size_t limit, char **data, size_t *n, error *e)
{
    *data = NULL;
    *n = 0;
    if (strcmp(path, "-") == 0) return read_all(stdin, "standard input", limit, data, n, e);
    FILE *f = fopen(path, "rb");
    if (!f) {
        err_set(e, CR_EIO, "%s: cannot open: %s", path, strerror(errno));
        return CR_EIO;
    }
    cr_status status = read_all(f, path, limit, data, n, e);
    fclose(f);
    return status;
}
