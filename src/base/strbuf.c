/* String buffer. Every call is safe after a failure: the status is sticky, the text stays as it was. */
#include "base/base.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sb_init(strbuf *b)
{
    *b = (strbuf){0};
}

void sb_free(strbuf *b)
{
    mem_free(b->s);
    *b = (strbuf){0};
}

/* Room for n more bytes and the final NUL; false: the buffer takes no more. */
static bool room(strbuf *b, size_t n)
{
    if (b->status != CR_OK) return false;
    if (b->limit && (n > b->limit || b->n > b->limit - n)) {
        b->status = CR_ELIMIT;
        return false;
    }
    if (n >= SIZE_MAX - b->n || !VEC_RESERVE(b->s, b->cap, b->n + n + 1)) {
        b->status = CR_ENOMEM;
        return false;
    }
    return true;
}

void sb_putc(strbuf *b, char c)
{
    sb_write(b, &c, 1);
}

void sb_puts(strbuf *b, const char *s)
{
    sb_write(b, s, strlen(s));
}

void sb_write(strbuf *b, const char *s, size_t n)
{
    if (!n || !room(b, n)) return;
    memcpy(b->s + b->n, s, n);
    b->n += n;
    b->s[b->n] = '\0';
}

void sb_printf(strbuf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    sb_vprintf(b, fmt, ap);
    va_end(ap);
}

void sb_vprintf(strbuf *b, const char *fmt, va_list ap)
{
    char local[256];
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(local, sizeof local, fmt, ap);
    if (n > 0 && (size_t)n < sizeof local) {
        sb_write(b, local, (size_t)n);
    } else if (n > 0 && room(b, (size_t)n)) {
        vsnprintf(b->s + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

void sb_insert(strbuf *b, size_t at, const char *s)
{
    size_t n = strlen(s);
    if (!n || !room(b, n)) return;
    memmove(b->s + at + n, b->s + at, b->n - at);
    memcpy(b->s + at, s, n);
    b->n += n;
    b->s[b->n] = '\0';
}

const char *sb_str(const strbuf *b)
{
    return b->n ? b->s : "";
}

char *sb_take(strbuf *b)
{
    char *s = NULL;
    if (b->status == CR_OK) {
        s = b->n ? b->s : mem_strdup("");
        if (b->n) b->s = NULL;
    }
    sb_free(b);
    return s;
}

void sb_number(strbuf *b, double v)
{
    char text[40];
    if (!isfinite(v)) {
        sb_puts(b, isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
        return;
    }
    if (v == floor(v) && fabs(v) < 1e15 && !(v == 0 && signbit(v))) {
        snprintf(text, sizeof text, "%lld", (long long)v);
        sb_puts(b, text);
        return;
    }
    /* 15 digits are never more than needed for a normal number; a subnormal one has fewer significant bits. */
    for (int digits = fabs(v) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    /* The host program's locale may have put something else for the point. */
    for (const char *p = text; *p; p++) {
        if (strchr("0123456789+-e", *p)) {
            sb_putc(b, *p);
        } else {
            sb_putc(b, '.');
            while (p[1] && !strchr("0123456789+-e", p[1])) p++;
        }
    }
}
