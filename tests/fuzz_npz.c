/* Any bytes as an .npz archive or an .npy file. */
#include "fuzz_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_data("fuzz.npz", data, size, NULL);
    return 0;
}
