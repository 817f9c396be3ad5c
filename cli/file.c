/* Files that are written whole or not at all. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* To a temporary file beside it, then renamed: a reader never sees half a document. */
bool file_write(const char *path, bool (*put)(void *user, FILE *f), void *user, char *message, size_t size)
{
    if (!strcmp(path, "-")) {
        if (put(user, stdout) && fflush(stdout) == 0) return true;
        snprintf(message, size, "standard output could not be written");
        return false;
    }
    size_t n = strlen(path) + 8;
    char *temp = malloc(n);
    int fd = -1;
    if (temp) {
        snprintf(temp, n, "%s.XXXXXX", path);
        fd = mkstemp(temp);
    }
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    bool ok = f && put(user, f) && fflush(f) == 0;
    int why = errno;
    if (f)
        ok &= fchmod(fd, 0644) == 0 && fclose(f) == 0;
    else if (fd >= 0)
        close(fd);
    if (ok && rename(temp, path) != 0) {
        ok = false;
        why = errno;
    }
    if (!ok) {
        if (fd >= 0) unlink(temp);
        snprintf(message, size, "%s: cannot write: %s", path, strerror(why));
    }
    free(temp);
    return ok;
}
