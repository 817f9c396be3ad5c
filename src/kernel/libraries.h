/* Shared libraries that are opened on first need: linked, they would cost milliseconds of every start, and OpenBLAS
 * takes its core type only before it is loaded. */
#ifndef CR_LIBRARIES_H
#define CR_LIBRARIES_H

#include "base/base.h"

typedef enum library_name { LIBRARY_OPENBLAS, LIBRARY_ONEDNN, LIBRARIES } library_name;

/* The address of a function or variable of a library, which stays open; NULL with CR_EUNSUPPORTED and a message that
 * names the file or the symbol that is missing. Thread-safe. */
void *library_symbol(library_name name, const char *symbol, error *e);

#endif
