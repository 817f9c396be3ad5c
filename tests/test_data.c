/* The set of tensors, conversion of types, and what needs the library from inside: 64-bit archives that are small, and
 * every allocation failing in turn. Formats are compared with NumPy in test_data_files.py. */
#include "unit.h"

#include "data/stream.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/chainrule_data_XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[2][256];
    static int turn;
    turn ^= 1;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

/* ---- types ------------------------------------------------------------------------------------ */

static void test_half(void **state)
{
    (void)state;
    static const struct {
        uint16_t bits;
        double v;
    } halves[] = {{0, 0}, {0x3C00, 1}, {0xC000, -2}, {0x7BFF, 65504}, {1, 0x1p-24}, {0x8001, -0x1p-24},
                  {0x03FF, 0x1.FF8p-15}, {0x0400, 0x1p-14}, {0x7C00, INFINITY}, {0xFC00, -INFINITY}},
      brains[] = {{0, 0}, {0x3F80, 1}, {0x3DCD, 0x1.9Ap-4}, {0xFF80, -INFINITY}, {1, 0x1p-133}};
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++) {
        double d;
        float f;
        data_to_f64(CR_TYPE_F16, &halves[i].bits, 1, &d);
        data_to_f32(CR_TYPE_F16, &halves[i].bits, 1, &f);
        assert_true(d == halves[i].v && f == (float)halves[i].v);
    }
    for (size_t i = 0; i < sizeof brains / sizeof *brains; i++) {
        double d;
        data_to_f64(CR_TYPE_BF16, &brains[i].bits, 1, &d);
        assert_true(d == brains[i].v);
    }
    double d;
    data_to_f64(CR_TYPE_F16, &(uint16_t){0x8000}, 1, &d);
    assert_true(d == 0 && signbit(d));
    data_to_f64(CR_TYPE_F16, &(uint16_t){0x7E00}, 1, &d);
    assert_true(isnan(d));
}

static cr_tensor vector(const char *name, cr_type type, int64_t n, const void *data)
{
    return (cr_tensor){.name = name, .type = type, .rank = 1, .dim = {n}, .count = (size_t)n, .data = data};
}

static void test_conversion(void **state)
{
    (void)state;
    int64_t to[3];
    double d[3];
    cr_tensor t = vector("t", CR_TYPE_U64, 3, (uint64_t[]){1, INT64_MAX, (uint64_t)INT64_MAX + 1});
    assert_true(cr_tensor_i64(&t, 0, 2, to) && to[1] == INT64_MAX);
    assert_false(cr_tensor_i64(&t, 1, 2, to));
    assert_true(cr_tensor_f64(&t, 2, 1, d) && d[0] == 0x1p63);
    t = vector("t", CR_TYPE_F64, 3, (double[]){-0x1p63, 0x1p53 + 2, 0.5});
    assert_true(cr_tensor_i64(&t, 0, 2, to) && to[0] == INT64_MIN && to[1] == ((int64_t)1 << 53) + 2);
    assert_false(cr_tensor_i64(&t, 2, 1, to));
    t = vector("t", CR_TYPE_F64, 3, (double[]){0x1p63, NAN, INFINITY});
    for (size_t i = 0; i < 3; i++) assert_false(cr_tensor_i64(&t, i, 1, to));
    t = vector("t", CR_TYPE_BOOL, 3, (uint8_t[]){0, 1, 255});
    assert_true(cr_tensor_f64(&t, 0, 3, d) && d[0] == 0 && d[1] == 1 && d[2] == 1);
    t = vector("t", CR_TYPE_I8, 3, (int8_t[]){-128, 0, 127});
    float f[3];
    assert_true(cr_tensor_f32(&t, 1, 2, f) && f[0] == 0 && f[1] == 127);
    /* beyond the tensor, also where first + n overflows */
    assert_false(cr_tensor_f32(&t, 1, 3, f));
    assert_false(cr_tensor_f32(&t, 4, 0, f));
    assert_false(cr_tensor_f32(&t, 2, SIZE_MAX, f));
}

static void test_product(void **state)
{
    (void)state;
    size_t n;
    assert_true(data_product(0, NULL, 8, &n) && n == 1);
    assert_true(data_product(3, (int64_t[]){2, 3, 4}, 8, &n) && n == 24);
    assert_true(data_product(2, (int64_t[]){0, 1 << 30}, 8, &n) && n == 0);
    assert_true(data_product(1, (int64_t[]){PTRDIFF_MAX}, 1, &n) && n == PTRDIFF_MAX);
    assert_false(data_product(1, (int64_t[]){PTRDIFF_MAX}, 2, &n));
    assert_false(data_product(2, (int64_t[]){(int64_t)1 << 32, (int64_t)1 << 32}, 1, &n));
    assert_false(data_product(3, (int64_t[]){0, (int64_t)1 << 32, (int64_t)1 << 32}, 1, &n));
    assert_false(data_product(2, (int64_t[]){-1, -1}, 1, &n));
}

static void test_reader(void **state)
{
    (void)state;
    byte_reader r = reader_of("\1\2\3\4\5\6\7\10\11\12\13", 11);
    assert_int_equal(reader_u16(&r), 0x0201);
    assert_int_equal(reader_u32_big(&r), 0x03040506);
    byte_reader piece = reader_take(&r, 2);
    assert_true(piece.n == 2 && piece.p[0] == 7 && !piece.ended);
    assert_int_equal(reader_u8(&r), 9);
    assert_false(r.ended);
    assert_int_equal(reader_u32(&r), 0);
    assert_true(r.ended && r.n == 0);
    assert_int_equal(reader_u8(&r), 0);
    assert_true(r.ended);
}

/* ---- the set ---------------------------------------------------------------------------------- */

static void test_set(void **state)
{
    (void)state;
    cr_data *d = cr_data_new();
    cr_tensor t;
    assert_false(cr_data_find(d, "a", &t));
    assert_false(cr_data_at(d, 0, &t));
    for (int i = 0; i < 300; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        cr_tensor v = vector(name, CR_TYPE_I32, 1, &i);
        v.count = 99; /* not read */
        assert_int_equal(cr_data_add(d, &v), CR_OK);
    }
    assert_int_equal(cr_data_count(d), 300);
    assert_true(cr_data_find(d, "t217", &t) && t.count == 1 && *(const int32_t *)t.data == 217);
    assert_true(cr_data_at(d, 217, &t) && !strcmp(t.name, "t217"));
    /* replaced by a copy of itself, under its own name */
    t.rank = 0;
    assert_int_equal(cr_data_add(d, &t), CR_OK);
    assert_int_equal(cr_data_count(d), 300);
    assert_true(cr_data_at(d, 217, &t) && t.rank == 0 && *(const int32_t *)t.data == 217);
    assert_false(cr_data_find(d, "t300", &t));
    /* the first error stays */
    cr_tensor bad = vector("bad", CR_TYPE_F32, -1, &t);
    assert_int_equal(cr_data_add(d, &bad), CR_EARG);
    bad = vector(NULL, CR_TYPE_F32, 1, &t);
    assert_int_equal(cr_data_add(d, &bad), CR_EARG);
    bad = vector("\xFF", CR_TYPE_F32, 1, &t);
    assert_int_equal(cr_data_add(d, &bad), CR_EARG);
    bad = vector("none", CR_TYPE_COUNT, 1, &t);
    assert_int_equal(cr_data_add(d, &bad), CR_EARG);
    bad = vector("none", CR_TYPE_F32, 1, NULL);
    assert_int_equal(cr_data_add(d, &bad), CR_EARG);
    assert_int_equal(cr_data_status(d), CR_EARG);
    assert_non_null(strstr(cr_data_message(d), "`bad`"));
    cr_data_clear_error(d);
    assert_string_equal(cr_data_message(d), "");
    /* a file that fails adds nothing */
    assert_int_equal(cr_data_read(d, in_folder("none.npz"), NULL), CR_EIO);
    assert_int_equal(data_read_bytes(d, "a.csv", "1,2\n3,x\n", 8, NULL), CR_EVALUE);
    assert_int_equal(cr_data_count(d), 300);
    cr_data_free(d);
    cr_data_free(NULL);
}

/* ---- files ------------------------------------------------------------------------------------ */

static cr_data *sample(void)
{
    cr_data *d = cr_data_new();
    if (!d) return NULL;
    cr_tensor x = {.name = "x", .type = CR_TYPE_F32, .rank = 2, .dim = {2, 3}, .data = (float[]){1, 2, 3, 4, 5, 6.5f}};
    cr_tensor y = vector("label", CR_TYPE_I64, 2, (int64_t[]){7, -8});
    if (cr_data_add(d, &x) == CR_OK && cr_data_add(d, &y) == CR_OK) return d;
    cr_data_free(d);
    return NULL;
}

static void is_sample(cr_data *d)
{
    cr_tensor t;
    double v[6];
    assert_int_equal(cr_data_count(d), 2);
    assert_true(cr_data_find(d, "x", &t) && t.rank == 2 && t.dim[0] == 2 && t.dim[1] == 3);
    assert_true(cr_tensor_f64(&t, 0, 6, v) && v[0] == 1 && v[5] == 6.5);
    assert_true(cr_data_find(d, "label", &t) && t.rank == 1 && t.type == CR_TYPE_I64);
    assert_true(cr_tensor_f64(&t, 0, 2, v) && v[0] == 7 && v[1] == -8);
}

/* Sizes and places beyond a limit take 64 bits; here the limit is small. Python's zipfile reads them, too
 * (test_data_files.py has archives of Python's that need them). */
static void test_zip64(void **state)
{
    (void)state;
    for (uint64_t large = 0; large < 700; large += 50) {
        cr_data *d = sample(), *back = cr_data_new();
        sink k;
        error e = {0};
        assert_true(sink_open(&k, in_folder("a.npz"), false, &e));
        assert_true(zip_write(&k, d, large));
        assert_int_equal(sink_close(&k), CR_OK);
        assert_int_equal(cr_data_read(back, in_folder("a.npz"), NULL), CR_OK);
        is_sample(back);
        char command[512];
        snprintf(command, sizeof command, "/usr/bin/python3 -c \"import zipfile; z = zipfile.ZipFile('%s'); "
                 "assert z.testzip() is None and z.namelist() == ['x.npy', 'label.npy']\"", in_folder("a.npz"));
        if (large % 300 == 0) assert_int_equal(system(command), 0);
        cr_data_free(d);
        cr_data_free(back);
    }
    unlink(in_folder("a.npz"));
}

static const char *const names[] = {"a.npz", "a.safetensors", "a.csv", "a.csv.gz"};

/* Written and read: the same, or a clean CR_ENOMEM and no file. */
static void round_trip(const bool *refused)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *path = in_folder(names[i]);
        cr_data *d = sample(), *back = cr_data_new();
        if (d && back) {
            cr_status s = cr_data_write(d, path);
            if (s == CR_OK) s = cr_data_read(back, path, &(cr_data_options){.label = i / 2 == 1 ? "label" : NULL});
            assert_int_equal(s, *refused ? CR_ENOMEM : CR_OK);
            if (s == CR_OK)
                is_sample(back);
            else
                assert_int_equal(cr_data_count(back), 0);
        } else {
            assert_true(*refused);
        }
        cr_data_free(d);
        cr_data_free(back);
        unlink(path);
        if (*refused) break;
    }
}

static void test_allocation(void **state)
{
    (void)state;
    each_allocation_fails(round_trip);
    assert_int_equal(rmdir(folder), 0); /* nothing half-written is left */
    assert_non_null(mkdtemp(strcpy(folder, "/tmp/chainrule_data_XXXXXX")));
}

/* The inputs of the fuzz targets, of formats that round_trip does not write: read with each allocation failing. */
static const char *input;

static void read_input(const bool *refused)
{
    cr_data *d = cr_data_new();
    if (!d) return;
    cr_status s = cr_data_read(d, input, NULL);
    assert_int_equal(s, *refused ? CR_ENOMEM : CR_OK);
    assert_true(s != CR_OK || cr_data_count(d) > 0);
    cr_data_free(d);
}

static void test_allocation_reading(void **state)
{
    (void)state;
    static const char *const of[] = {"npz/deflated.npz", "npz/fortran.npy", "idx/images.gz", "csv/quoted.csv",
                                     "safetensors/types.safetensors"};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/tests/corpus/%s", getenv("CHAINRULE_SOURCE"), of[i]);
        input = path;
        each_allocation_fails(read_input);
    }
}

/* Values of a program, from a file. */
static void load_values(const bool *refused)
{
    static const char text[] = "let x : R^{m x n}, label : R^m\neval sum(label'*x)\n";
    cr_program *p = cr_program_new();
    if (!p) return;
    cr_status s = cr_program_parse(p, "text", text, strlen(text));
    if (s == CR_OK) s = cr_program_load(p, in_folder("a.npz"));
    cr_array a = {0};
    if (s == CR_OK) s = cr_program_eval(p, 0, &a);
    assert_int_equal(s, *refused ? CR_ENOMEM : CR_OK);
    if (s == CR_OK) assert_true(a.n == 1 && a.value[0] == 7 * 6 - 8 * 15.5);
    cr_array_free(&a);
    cr_program_free(p);
}

static void test_allocation_program(void **state)
{
    (void)state;
    cr_data *d = sample();
    assert_int_equal(cr_data_write(d, in_folder("a.npz")), CR_OK);
    cr_data_free(d);
    each_allocation_fails(load_values);
    unlink(in_folder("a.npz"));
}

/* No byte of a file may be bent unnoticed in an archive, which has a checksum; of the other formats: no crash. */
static void test_bent_bytes(void **state)
{
    (void)state;
    cr_data *d = sample();
    for (int i = 0; i < 2; i++) {
        const char *path = in_folder(names[i]);
        error e = {0};
        char *bytes;
        size_t n;
        assert_int_equal(cr_data_write(d, path), CR_OK);
        assert_int_equal(file_read(path, 1 << 20, &bytes, &n, &e), CR_OK);
        unlink(path);
        for (size_t at = 0; at < n; at++)
            for (int bit = 0; bit < 8; bit++) {
                bytes[at] ^= (char)(1 << bit);
                cr_data *back = cr_data_new();
                cr_tensor t;
                cr_status s = data_read_bytes(back, names[i], bytes, n, NULL);
                assert_int_equal(s, cr_data_status(back));
                assert_true((s == CR_OK) == (cr_data_count(back) > 0));
                /* what is left alone by a checksum: names of both headers, times, and the like */
                if (i == 0 && s == CR_OK && cr_data_find(back, "x", &t)) is_sample(back);
                cr_data_free(back);
                bytes[at] ^= (char)(1 << bit);
            }
        mem_free(bytes);
    }
    cr_data_free(d);
}

/* A write that fails leaves the file that was there. */
static void test_whole_or_not(void **state)
{
    (void)state;
    const char *path = in_folder("a.txt");
    error e = {0};
    file_out o;
    char *text;
    size_t n;
    for (int keep = 1; keep >= 0; keep--) {
        assert_true(file_out_begin(&o, path, &e));
        assert_true(file_out_write(&o, keep ? "first" : "second", 5));
        assert_int_equal(file_out_end(&o, keep), CR_OK);
        assert_int_equal(file_read(path, 100, &text, &n, &e), CR_OK);
        assert_string_equal(text, "first");
        mem_free(text);
    }
    assert_true(file_out_begin(&o, path, &e));
    err_set(&e, CR_EVALUE, "what is written cannot be made");
    assert_false(file_out_write(&o, "third", 5));
    assert_int_equal(file_out_end(&o, true), CR_EVALUE);
    err_clear(&e);
    assert_int_equal(file_read(path, 100, &text, &n, &e), CR_OK);
    assert_string_equal(text, "first");
    mem_free(text);
    assert_false(file_out_begin(&o, "/dev/full", &e));
    assert_int_equal(file_out_end(&o, true), CR_EIO);
    err_clear(&e);
    unlink(path);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder); /* every test leaves it empty */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half),       cmocka_unit_test(test_conversion),
        cmocka_unit_test(test_product),    cmocka_unit_test(test_reader),
        cmocka_unit_test(test_set),        cmocka_unit_test(test_zip64),
        cmocka_unit_test(test_allocation), cmocka_unit_test(test_allocation_reading),
        cmocka_unit_test(test_bent_bytes), cmocka_unit_test(test_whole_or_not),
        cmocka_unit_test(test_allocation_program),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
