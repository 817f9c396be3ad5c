/* Files that may be read anywhere. */
#include "data/stream.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* A message is one line of text, whatever it quotes from a file. */
static void tidy(strbuf *b)
{
    for (size_t i = 0; i < b->n; i++)
        if ((unsigned char)b->s[i] < 32 || b->s[i] == 127) b->s[i] = '?';
    for (size_t i; (i = utf8_check(b->s, b->n)) < b->n;) b->s[i] = '?';
}

bool source_fail(source *s, cr_status status, const char *fmt, ...)
{
    if (s->err->status != CR_OK) return false;
    strbuf b;
    sb_init(&b);
    sb_printf(&b, "%s: ", s->path);
    va_list ap;
    va_start(ap, fmt);
    sb_vprintf(&b, fmt, ap);
    va_end(ap);
    tidy(&b);
    if (b.status == CR_OK)
        err_set(s->err, status, "%s", sb_str(&b));
    else
        source_oom(s);
    sb_free(&b);
    return false;
}

bool source_oom(source *s)
{
    err_set(s->err, CR_ENOMEM, "%s: out of memory", s->path);
    return false;
}

void source_open_bytes(source *s, const char *path, const void *bytes, size_t n, uint64_t limit, error *err)
{
    *s = (source){.path = path, .bytes = bytes, .size = n, .limit = limit, .err = err};
}

/* A pipe has no size and no second chance: it is read whole. */
static bool read_whole(source *s)
{
    size_t n, limit = s->limit < PTRDIFF_MAX ? (size_t)s->limit : PTRDIFF_MAX;
    if (file_read(s->path, limit, &s->owned, &n, s->err) != CR_OK) return false;
    s->bytes = (const unsigned char *)s->owned;
    s->size = n;
    return true;
}

bool source_open(source *s, const char *path, uint64_t limit, error *err)
{
    *s = (source){.path = path, .limit = limit, .err = err};
    struct stat st;
    if (strcmp(path, "-") == 0) return read_whole(s);
    if (stat(path, &st) != 0) return source_fail(s, CR_EIO, "cannot open: %s", strerror(errno));
    if (S_ISDIR(st.st_mode)) return source_fail(s, CR_EIO, "is a folder, not a file");
    if (!S_ISREG(st.st_mode)) return read_whole(s);
    s->f = fopen(path, "rb");
    if (!s->f) return source_fail(s, CR_EIO, "cannot open: %s", strerror(errno));
    s->size = (uint64_t)st.st_size;
    return true;
}

void source_close(source *s)
{
    if (s->f) fclose(s->f);
    mem_free(s->owned);
    s->f = NULL;
    s->owned = NULL;
}

bool source_read(source *s, uint64_t at, size_t n, void *to)
{
    if (at > s->size || n > s->size - at) return source_fail(s, CR_EVALUE, "ends too early; it was cut short");
    if (n == 0) return true;
    if (!s->f) {
        memcpy(to, s->bytes + at, n);
        return true;
    }
    errno = 0;
    if (fseeko(s->f, (off_t)at, SEEK_SET) == 0 && fread(to, 1, n, s->f) == n) return true;
    return source_fail(s, CR_EIO, "cannot read: %s", errno ? strerror(errno) : "it became shorter meanwhile");
}
