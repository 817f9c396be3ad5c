/* Any bytes as an IDX file, packed or not. */
#include "fuzz_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_data("fuzz.idx", data, size, NULL);
    return 0;
}
