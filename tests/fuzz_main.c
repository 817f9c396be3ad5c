/* Driver of the fuzz targets. A target is one function, LLVMFuzzerTestOneInput, so that libFuzzer and AFL take it too.
 *
 *     fuzz_NAME DIR|FILE...              replays the inputs once (what the ordinary test run does)
 *     fuzz_NAME --seconds S DIR|FILE...  mutates them for S seconds; a crash leaves its input in fuzz-crash.bin
 */
#define _XOPEN_SOURCE 700 /* sigaltstack */
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 1 << 16, MAX_SEEDS = 4096 };

static struct seed {
    uint8_t *data;
    size_t n;
} seeds[MAX_SEEDS];
static size_t n_seeds;

static void load_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(MAX_BYTES);
    if (f && data && n_seeds < MAX_SEEDS)
        seeds[n_seeds++] = (struct seed){data, fread(data, 1, MAX_BYTES, f)};
    else
        free(data);
    if (f) fclose(f);
}

static void load(const char *path)
{
    struct dirent **entry;
    int n = scandir(path, &entry, NULL, alphasort);
    if (n < 0) {
        load_file(path);
        return;
    }
    for (int i = 0; i < n; i++) {
        char name[4096];
        if (entry[i]->d_name[0] != '.' &&
            snprintf(name, sizeof name, "%s/%s", path, entry[i]->d_name) < (int)sizeof name)
            load_file(name);
        free(entry[i]);
    }
    free(entry);
}

static uint64_t random_state;

static size_t below(size_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return n ? (size_t)(random_state >> 33) % n : 0;
}

/* The input under test, kept for the crash handler. */
static uint8_t input[MAX_BYTES];
static size_t input_n;

static void leave_input(void)
{
    FILE *f = fopen("fuzz-crash.bin", "wb");
    if (!f) return;
    fwrite(input, 1, input_n, f);
    fclose(f);
    static const char text[] = "the input is in fuzz-crash.bin\n";
    if (write(2, text, sizeof text - 1) < 0) return;
}

static void on_signal(int s)
{
    leave_input();
    signal(s, SIG_DFL);
    raise(s);
}

/* Sanitizers end the process by themselves; this is their hook. */
void __sanitizer_set_death_callback(void (*fn)(void)) __attribute__((weak));

/* One edit: a byte, a removed, repeated or foreign piece. */
static void mutate(void)
{
    size_t at = below(input_n + 1), len = 1 + below(1u << below(7));
    switch (below(5)) {
    case 0:
        if (at < input_n) input[at] = (uint8_t)below(256);
        break;
    case 1:
        if (at < input_n) input[at] ^= (uint8_t)(1u << below(8));
        break;
    case 2:
        if (len > input_n - at) len = input_n - at;
        memmove(input + at, input + at + len, input_n - at - len);
        input_n -= len;
        break;
    default: {
        /* from this input, or from another one */
        const struct seed *s = &seeds[below(n_seeds)];
        uint8_t piece[128];
        size_t from = below(s->n);
        if (len > s->n - from) len = s->n - from;
        if (input_n + len > MAX_BYTES) break;
        memcpy(piece, s->data + from, len);
        memmove(input + at + len, input + at, input_n - at);
        memcpy(input + at, piece, len);
        input_n += len;
    }
    }
}

int main(int argc, char **argv)
{
    int arg = 1;
    long seconds = 0;
    if (argc > 2 && strcmp(argv[1], "--seconds") == 0) {
        seconds = atol(argv[2]);
        arg = 3;
    }
    for (; arg < argc; arg++) load(argv[arg]);
    if (!n_seeds) {
        fprintf(stderr, "no input to start from\n");
        return 2;
    }
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(leave_input);
    /* A stack of its own, so that a stack overflow leaves its input too. */
    static char stack[1 << 16];
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGABRT, &action, NULL);
    for (size_t i = 0; i < n_seeds; i++) {
        input_n = seeds[i].n;
        memcpy(input, seeds[i].data, input_n);
        LLVMFuzzerTestOneInput(seeds[i].data, seeds[i].n);
    }
    time_t end = time(NULL) + seconds;
    random_state = (uint64_t)time(NULL);
    unsigned long runs = 0;
    for (; seconds && time(NULL) < end; runs++) {
        const struct seed *s = &seeds[below(n_seeds)];
        input_n = s->n;
        memcpy(input, s->data, s->n);
        for (size_t k = 1 + below(8); k; k--) mutate();
        /* A block of its own size, so that a read beyond the end is seen. */
        uint8_t *exact = malloc(input_n ? input_n : 1);
        if (!exact) return 2;
        memcpy(exact, input, input_n);
        LLVMFuzzerTestOneInput(exact, input_n);
        free(exact);
    }
    printf("%zu inputs replayed, %lu mutated\n", n_seeds, runs);
    for (size_t i = 0; i < n_seeds; i++) free(seeds[i].data);
    return 0;
}
