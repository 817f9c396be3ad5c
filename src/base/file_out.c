/* Writing a file whole or not at all. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAMES = 1000 };

/* A new file in the folder of path, so that giving it the name of path later is one step. Its mode is that of any new
 * file of this user, or of the file that it will replace. */
static FILE *create(file_out *o)
{
    struct stat old;
    bool replaces = stat(o->path, &old) == 0;
    if (replaces && !S_ISREG(old.st_mode)) {
        err_set(o->e, CR_EIO, "%s: not a regular file, so it is not replaced", o->path);
        return NULL;
    }
    for (int i = 0; i < NAMES; i++) {
        strbuf name;
        sb_init(&name);
        sb_printf(&name, "%s.%ld.%d.tmp", o->path, (long)getpid(), i);
        mem_free(o->temporary);
        o->temporary = sb_take(&name);
        if (!o->temporary) {
            err_set(o->e, CR_ENOMEM, "out of memory");
            return NULL;
        }
        int fd = open(o->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) {
            if (replaces) (void)!fchmod(fd, old.st_mode & 0777); /* where that is not possible, as any new file */
            FILE *f = fdopen(fd, "wb");
            if (f) return f;
            close(fd);
            unlink(o->temporary);
            break;
        }
        if (errno != EEXIST) break;
    }
    err_set(o->e, CR_EIO, "%s: cannot write: %s", o->path, strerror(errno));
    return NULL;
}

bool file_out_begin(file_out *o, const char *path, error *e)
{
    *o = (file_out){.path = mem_strdup(path), .e = e};
    if (!o->path) err_set(e, CR_ENOMEM, "out of memory");
    o->f = o->path ? create(o) : NULL;
    return o->f != NULL;
}

bool file_out_write(file_out *o, const void *bytes, size_t n)
{
    if (o->e->status != CR_OK) return false;
    if (fwrite(bytes, 1, n, o->f) == n) return true;
    err_set(o->e, CR_EIO, "%s: cannot write: %s", o->path, strerror(errno));
    return false;
}

cr_status file_out_end(file_out *o, bool keep)
{
    if (o->f) {
        bool whole = keep && o->e->status == CR_OK;
        if (whole && (fflush(o->f) != 0 || fsync(fileno(o->f)) != 0)) {
            err_set(o->e, CR_EIO, "%s: cannot write: %s", o->path, strerror(errno));
            whole = false;
        }
        if (fclose(o->f) != 0 && whole) {
            err_set(o->e, CR_EIO, "%s: cannot write: %s", o->path, strerror(errno));
            whole = false;
        }
        if (whole && rename(o->temporary, o->path) != 0) {
            err_set(o->e, CR_EIO, "%s: cannot be replaced: %s", o->path, strerror(errno));
            whole = false;
        }
        if (!whole) unlink(o->temporary);
    }
    mem_free(o->path);
    mem_free(o->temporary);
    *o = (file_out){.e = o->e};
    return o->e->status;
}
