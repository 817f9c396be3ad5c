/* Room base: allocation, arena, string buffer, errors, files, UTF-8. */
#include "unit.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_allocation(void **state)
{
    (void)state;
    void *p = mem_alloc(0);
    assert_non_null(p);
    mem_free(p);
    assert_null(mem_zalloc(SIZE_MAX / 2, 3));
    unsigned char *z = mem_zalloc(3, 5);
    for (int i = 0; i < 15; i++) assert_int_equal(z[i], 0);
    mem_free(z);

    int *v = NULL;
    size_t cap = 0;
    for (int i = 0; i < 1000; i++) {
        assert_true(VEC_RESERVE(v, cap, (size_t)i + 1));
        v[i] = i;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(v[i], i);
    assert_false(VEC_RESERVE(v, cap, SIZE_MAX / 2));
    assert_int_equal(v[999], 999);

    refusal none = {0};
    cr_mem_set_hook(refusal_allow, &none);
    assert_null(mem_alloc(1));
    assert_null(mem_zalloc(1, 1));
    assert_null(mem_strdup("x"));
    assert_null(mem_realloc(v, 1 << 20));
    cr_mem_set_hook(NULL, NULL);
    mem_free(v);
}

static void test_arena(void **state)
{
    (void)state;
    arena a = {0};
    assert_non_null(arena_alloc(&a, 0));
    unsigned char *p[400];
    for (size_t i = 0; i < 400; i++) {
        size_t n = i % 50 == 49 ? 300000 : i * 7;
        p[i] = arena_alloc(&a, n);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 8, 0);
        memset(p[i], (int)(i & 255), n);
    }
    for (size_t i = 1; i < 400; i++) assert_int_equal(p[i][0], i & 255);
    assert_true(a.total < 4u << 20);
    assert_null(arena_alloc(&a, SIZE_MAX - 3));
    arena_free(&a);
    assert_null(a.head);
    arena_free(&a);
}

static void test_strbuf(void **state)
{
    (void)state;
    strbuf b;
    sb_init(&b);
    assert_string_equal(sb_str(&b), "");
    sb_printf(&b, "%d-%s", 42, "x");
    sb_insert(&b, 2, "||");
    sb_putc(&b, '!');
    sb_insert(&b, b.n, "?");
    assert_string_equal(sb_str(&b), "42||-x!?");
    sb_printf(&b, "%1000d", 7); /* longer than the local buffer */
    assert_int_equal(b.n, 1008);
    assert_int_equal(strlen(b.s), b.n);
    char *s = sb_take(&b);
    assert_int_equal(strlen(s), 1008);
    assert_null(b.s);
    mem_free(s);
    s = sb_take(&b);
    assert_string_equal(s, "");
    mem_free(s);
}

static void test_strbuf_limit(void **state)
{
    (void)state;
    strbuf b;
    sb_init(&b);
    b.limit = 4;
    sb_puts(&b, "abcd");
    assert_int_equal(b.status, CR_OK);
    sb_putc(&b, 'e');
    assert_int_equal(b.status, CR_ELIMIT);
    sb_insert(&b, 0, "z");
    assert_string_equal(sb_str(&b), "abcd");
    assert_null(sb_take(&b));
    assert_int_equal(b.status, CR_OK);
}

static void fill(const bool *refused)
{
    strbuf b;
    sb_init(&b);
    for (int i = 0; i < 500; i++) sb_printf(&b, "%d,", i);
    assert_int_equal(b.status, *refused ? CR_ENOMEM : CR_OK);
    sb_free(&b);

    error e = {0};
    err_set(&e, CR_ESHAPE, "%s is %d", "W", 3);
    assert_int_equal(e.status, *refused ? CR_ENOMEM : CR_ESHAPE);
    assert_string_equal(err_message(&e), *refused ? "out of memory" : "W is 3");
    err_clear(&e);
}

static void test_refused(void **state)
{
    (void)state;
    each_allocation_fails(fill);
}

static void assert_number(double v, const char *text)
{
    strbuf b;
    sb_init(&b);
    sb_number(&b, v);
    assert_string_equal(sb_str(&b), text);
    sb_free(&b);
}

static void test_number(void **state)
{
    (void)state;
    assert_number(0, "0");
    assert_number(-0.0, "-0");
    assert_number(3, "3");
    assert_number(-12345678901, "-12345678901");
    assert_number(0.1, "0.1");
    assert_number(1.0 / 3, "0.3333333333333333");
    assert_number(0.1 + 0.2, "0.30000000000000004");
    assert_number(1e30, "1e+30");
    assert_number(1e-300, "1e-300");
    assert_number(5e-324, "5e-324");
    assert_number(DBL_MAX, "1.7976931348623157e+308");
    uint64_t x = 0x9E3779B97F4A7C15u;
    for (int i = 0; i < 20000; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        double v;
        memcpy(&v, &x, sizeof v);
        if (!isfinite(v)) continue;
        strbuf b;
        sb_init(&b);
        sb_number(&b, v);
        assert_true(strtod(sb_str(&b), NULL) == v);
        sb_free(&b);
    }
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8")) {
        assert_number(1.5, "1.5");
        setlocale(LC_NUMERIC, "C");
    }
}

static void test_error(void **state)
{
    (void)state;
    error e = {0};
    assert_string_equal(err_message(&e), "");
    err_set(&e, CR_ENAME, "no %s", "x");
    err_set(&e, CR_ESHAPE, "later");
    assert_int_equal(e.status, CR_ENAME);
    assert_string_equal(err_message(&e), "no x");
    err_clear(&e);
    assert_int_equal(e.status, CR_OK);
}

static void test_file(void **state)
{
    (void)state;
    char path[] = "/tmp/chainrule-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    enum { N = 100000 };
    char *bytes = malloc(N);
    for (int i = 0; i < N; i++) bytes[i] = (char)(i * 7);
    assert_int_equal(write(fd, bytes, N), N);
    close(fd);

    error e = {0};
    char *data;
    size_t n;
    assert_int_equal(file_read(path, N, &data, &n, &e), CR_OK);
    assert_int_equal(n, N);
    assert_memory_equal(data, bytes, N);
    assert_int_equal(data[n], 0);
    mem_free(data);

    assert_int_equal(file_read(path, N - 1, &data, &n, &e), CR_ELIMIT);
    assert_null(data);
    assert_non_null(strstr(err_message(&e), "99999"));
    err_clear(&e);

    refusal none = {0};
    cr_mem_set_hook(refusal_allow, &none);
    assert_int_equal(file_read(path, N, &data, &n, &e), CR_ENOMEM);
    cr_mem_set_hook(NULL, NULL);
    err_clear(&e);

    unlink(path);
    assert_int_equal(file_read(path, N, &data, &n, &e), CR_EIO);
    assert_non_null(strstr(err_message(&e), path));
    err_clear(&e);
    assert_int_equal(file_read("/", N, &data, &n, &e), CR_EIO);
    err_clear(&e);
    free(bytes);
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        size_t ok, columns;
    } row[] = {
        {"", 0, 0},
        {"abc", 3, 3},
        {"\xCF\x83(z)", 5, 4},       /* sigma */
        {"\xE2\x88\x91x", 4, 2},     /* sum sign */
        {"\xF0\x9D\x94\xBC", 4, 1},  /* beyond the basic plane */
        {"a\xC0\xAF", 1, 2},         /* overlong */
        {"a\xED\xA0\x80", 1, 2},     /* surrogate */
        {"a\xF4\x90\x80\x80", 1, 2}, /* above U+10FFFF */
        {"a\xE2\x88", 1, 2},         /* cut short */
        {"\x80", 0, 0},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        assert_int_equal(utf8_check(row[i].s, strlen(row[i].s)), row[i].ok);
        assert_int_equal(utf8_columns(row[i].s, strlen(row[i].s)), row[i].columns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocation),   cmocka_unit_test(test_arena),   cmocka_unit_test(test_strbuf),
        cmocka_unit_test(test_strbuf_limit), cmocka_unit_test(test_refused), cmocka_unit_test(test_number),
        cmocka_unit_test(test_error),        cmocka_unit_test(test_file),    cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
