/* What the fuzz targets of the room data share: any bytes as a file of one format, by the name that it has. */
#ifndef CR_TESTS_FUZZ_DATA_H
#define CR_TESTS_FUZZ_DATA_H

#include "data/data.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Tensors that are whole, or an error that names the file and nothing beside it. */
static inline void fuzz_data(const char *name, const uint8_t *bytes, size_t size, const char *label)
{
    cr_data *d = cr_data_new();
    if (!d) return;
    cr_data_options o = {.label = label, .limit = 1 << 20};
    cr_status s = data_read_bytes(d, name, bytes, size, &o);
    if (s != cr_data_status(d) || s == CR_EINTERNAL) abort();
    if (s != CR_OK && (cr_data_count(d) || strncmp(cr_data_message(d), name, strlen(name)))) abort();
    cr_tensor t, same;
    for (size_t i = 0; cr_data_at(d, i, &t); i++) {
        size_t count;
        double v;
        if (!data_product(t.rank, t.dim, cr_type_size(t.type), &count) || count != t.count) abort();
        if (!cr_data_find(d, t.name, &same) || same.data != t.data) abort();
        for (size_t k = 0; k < count; k++) cr_tensor_f64(&t, k, 1, &v); /* all its memory is there */
    }
    cr_data_free(d);
}

#endif
