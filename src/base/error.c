/* Errors: the first one counts, later ones are its consequences. */
#include "base/base.h"

void err_set(error *e, cr_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(e, status, fmt, ap);
    va_end(ap);
}

void err_vset(error *e, cr_status status, const char *fmt, va_list ap)
{
    if (!e || e->status != CR_OK) return;
    strbuf b;
    sb_init(&b);
    sb_vprintf(&b, fmt, ap);
    e->message = sb_take(&b);
    e->status = e->message ? status : CR_ENOMEM;
}

void err_clear(error *e)
{
    mem_free(e->message);
    *e = (error){0};
}

const char *err_message(const error *e)
{
    if (e->message) return e->message;
    return e->status == CR_OK ? "" : "out of memory";
}
