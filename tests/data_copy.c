/* For test_data_files.py: reads files and writes what they hold to the last one.
 *
 *     data_copy [--label COLUMN] [--limit BYTES] IN... OUT
 *
 * Exit status 3 and the message on standard output if that fails. */
#include "chainrule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    cr_data_options o = {0};
    int arg = 1;
    for (; arg + 1 < argc && argv[arg][0] == '-' && argv[arg][1]; arg += 2) {
        if (!strcmp(argv[arg], "--label")) o.label = argv[arg + 1];
        if (!strcmp(argv[arg], "--limit")) o.limit = strtoull(argv[arg + 1], NULL, 10);
    }
    cr_data *d = cr_data_new();
    cr_status s = d && argc - arg >= 2 ? CR_OK : CR_EARG;
    for (; s == CR_OK && arg + 1 < argc; arg++) s = cr_data_read(d, argv[arg], &o);
    if (s == CR_OK) s = cr_data_write(d, argv[arg]);
    if (s != CR_OK && d) printf("%s\n", cr_data_message(d));
    cr_data_free(d);
    return s == CR_OK ? 0 : 3;
}
