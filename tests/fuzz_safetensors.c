/* Any bytes as a safetensors file. */
#include "fuzz_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_data("fuzz.safetensors", data, size, NULL);
    return 0;
}
