/* Any bytes as a CSV file, packed or not, with a column of labels and without. */
#include "fuzz_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_data("fuzz.csv", data, size, NULL);
    fuzz_data("fuzz.csv", data, size, "last");
    return 0;
}
