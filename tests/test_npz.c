/* Reading .npy and .npz: formats, and every way in which a file can be cut short or bent. */
#include "unit.h"

#include "exec/exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static cr_status keep(void *user, const char *name, exec_array *a)
{
    exec_array *to = user;
    assert_true(name[0] == '\0' || strcmp(name, "x") == 0);
    exec_array_free(to);
    *to = *a;
    return CR_OK;
}

static cr_status read_bytes(const void *data, size_t n, exec_array *a, error *e)
{
    char path[] = "/tmp/chainrule_test_XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "wb");
    assert_int_equal(fwrite(data, 1, n, file), n);
    fclose(file);
    cr_status s = exec_npz_read(path, keep, a, e);
    remove(path);
    return s;
}

static void test_npy(void **state)
{
    (void)state;
    unsigned char b[128] = "\x93NUMPY\1\0";
    const char *header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n";
    size_t n = strlen(header);
    b[8] = (unsigned char)n;
    memcpy(b + 10, header, n);
    for (int i = 0; i < 6; i++) {
        b[10 + n + 2 * (size_t)i] = i == 5 ? 0xFF : 0;
        b[11 + n + 2 * (size_t)i] = (unsigned char)(i == 5 ? 0xFB : i);
    }
    exec_array a = {0};
    error e = {CR_OK, NULL};
    assert_int_equal(read_bytes(b, 22 + n, &a, &e), CR_OK);
    static const double want[] = {0, 2, 4, 1, 3, -5};
    assert_int_equal(a.rank, 2);
    for (int i = 0; i < 6; i++) {
        assert_true(a.value[i] == want[i]);
    }
    for (size_t cut = 0; cut < 22 + n; cut++) { /* every prefix is an error, none is a crash */
        assert_int_not_equal(read_bytes(b, cut, &a, &e), CR_OK);
        err_clear(&e);
    }
    exec_array_free(&a);
}

static void put(unsigned char *p, unsigned n, uint64_t v)
{
    for (unsigned i = 0; i < n; i++) {
        p[i] = (unsigned char)(v >> 8 * i);
    }
}

/* An archive of one member x.npy with the scalar 2.5 (float32): a local header, the data, the directory, the end. */
static size_t archive(unsigned char *z, bool deflated)
{
    unsigned char npy[128] = "\x93NUMPY\1\0", packed[256];
    const char *header = "{'descr': '<f4', 'fortran_order': False, 'shape': ()}\n";
    size_t n_npy = 10 + strlen(header) + 4, n = n_npy;
    put(npy + 8, 2, strlen(header));
    memcpy(npy + 10, header, strlen(header));
    put(npy + n_npy - 4, 4, 0x40200000);
    memcpy(packed, npy, n);
    if (deflated) {
        z_stream s = {0};
        assert_int_equal(deflateInit2(&s, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
        s.next_in = npy;
        s.avail_in = (uInt)n_npy;
        s.next_out = packed;
        s.avail_out = sizeof packed;
        assert_int_equal(deflate(&s, Z_FINISH), Z_STREAM_END);
        n = s.total_out;
        deflateEnd(&s);
    }
    unsigned method = deflated ? 8 : 0;
    uint64_t crc = crc32(0, npy, (uInt)n_npy);
    memset(z, 0, 600);
    memcpy(z, "PK\3\4", 4);
    put(z + 8, 2, method);
    put(z + 26, 2, 5);
    memcpy(z + 30, "x.npy", 5);
    memcpy(z + 35, packed, n);
    unsigned char *d = z + 35 + n;
    memcpy(d, "PK\1\2", 4);
    put(d + 10, 2, method);
    put(d + 16, 4, crc);
    put(d + 20, 4, n);
    put(d + 24, 4, n_npy);
    put(d + 28, 2, 5);
    memcpy(d + 46, "x.npy", 5);
    unsigned char *end = d + 51;
    memcpy(end, "PK\5\6", 4);
    put(end + 8, 2, 1);
    put(end + 10, 2, 1);
    put(end + 12, 4, 51);
    put(end + 16, 4, (uint64_t)(d - z));
    return (size_t)(end + 22 - z);
}

static void test_npz(void **state)
{
    (void)state;
    for (int deflated = 0; deflated < 2; deflated++) {
        unsigned char z[600];
        size_t n = archive(z, deflated);
        exec_array a = {0};
        error e = {CR_OK, NULL};
        assert_int_equal(read_bytes(z, n, &a, &e), CR_OK);
        assert_int_equal(a.rank, 0);
        assert_true(a.value[0] == 2.5);
        for (size_t cut = 0; cut < n; cut++) {
            assert_int_not_equal(read_bytes(z, cut, &a, &e), CR_OK);
            err_clear(&e);
        }
        for (size_t at = 0; at < n; at++) { /* any byte bent: an error or the same array */
            unsigned char good = z[at];
            z[at] ^= 0xFF;
            if (read_bytes(z, n, &a, &e) == CR_OK && a.n > 0) {
                assert_true(a.value[0] == 2.5);
            }
            err_clear(&e);
            z[at] = good;
        }
        exec_array_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_npy), cmocka_unit_test(test_npz)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
