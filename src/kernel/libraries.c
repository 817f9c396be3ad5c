#include "kernel/libraries.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

static const char *const file_name[LIBRARIES] = {"libopenblas.so.0", "libdnnl.so.2"};
static void *handle[LIBRARIES];

/* OpenBLAS knows processors by their model and takes one that is newer than itself for a Haswell: where there is
 * AVX-512, it is told so, unless the user has chosen. The setting is for OpenBLAS, not for programs started later. */
static void open_openblas(void)
{
    bool set = false;
#if defined(__x86_64__) && defined(__GNUC__)
    if (!getenv("OPENBLAS_CORETYPE") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
        set = setenv("OPENBLAS_CORETYPE", "SkylakeX", 0) == 0;
    }
#endif
    handle[LIBRARY_OPENBLAS] = dlopen(file_name[LIBRARY_OPENBLAS], RTLD_NOW | RTLD_LOCAL);
    if (set) unsetenv("OPENBLAS_CORETYPE");
}

static void open_onednn(void) { handle[LIBRARY_ONEDNN] = dlopen(file_name[LIBRARY_ONEDNN], RTLD_NOW | RTLD_LOCAL); }

void *library_symbol(library_name name, const char *symbol, error *e)
{
    static pthread_once_t once[LIBRARIES] = {PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT};
    static void (*const open[LIBRARIES])(void) = {open_openblas, open_onednn};
    pthread_once(&once[name], open[name]);
    if (!handle[name]) {
        err_set(e, CR_EUNSUPPORTED, "%s cannot be loaded; please install %s", file_name[name],
                name == LIBRARY_OPENBLAS ? "OpenBLAS (Debian: libopenblas0-openmp)" : "oneDNN 2 (Debian: libdnnl2)");
        return NULL;
    }
    void *p = dlsym(handle[name], symbol);
    if (!p) err_set(e, CR_EUNSUPPORTED, "%s has no %s", file_name[name], symbol);
    return p;
}
