/* ONNX's own tests, and gradients made for them elsewhere.
 *
 *     onnx_backend FOLDER [--gradients FILE] [--f32] [--quiet] [NAME_PART]
 *
 * FOLDER holds `node/test_abs/model.onnx` and `node/test_abs/test_data_set_0/input_0.pb`, as Debian's libonnx-testdata
 * does. Says pass, skip with the reason, or FAIL of each test. FILE (.npz) has for a test `node__test_abs/cot/NAME`,
 * cotangents of outputs, perhaps `.../in/NAME`, inputs in place of the test's, and `.../grad/NAME`, the gradients of
 * inputs; with it, "pass" means values and gradients. Exit status 1 if any failed. */
#include "network/run.h"
#include "onnx/import.h"

#include <dirent.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX = 64 };

typedef enum verdict { PASS, SKIP, FAIL } verdict;

static cr_data *gradients_in;
static cr_precision precision = CR_F64;
static size_t n_gradients;

static verdict say(verdict v, char *why, const char *fmt, ...) CR_PRINTF(3, 4);
static verdict say(verdict v, char *why, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, 500, fmt, ap);
    va_end(ap);
    return v;
}

static bool is_tensor(const Onnx__ValueInfoProto *v)
{
    return v->type && v->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
}

/* The makers of the tests had no bfloat16: they wrote its bits as uint16. */
static void mend_bfloat16(const Onnx__ValueInfoProto *v, cr_tensor *t)
{
    if (v->type->tensor_type->elem_type == ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16 && t->type == CR_TYPE_U16) {
        t->type = CR_TYPE_BF16;
    }
}

/* ---- one test ----------------------------------------------------------------------------------- */

/* The tensors of a test's files, which the model keeps the numbers of by their address: until the test ends. */
static Onnx__TensorProto *protos[2 * MAX];
static size_t n_protos;

static void free_protos(void)
{
    while (n_protos > 0) onnx__tensor_proto__free_unpacked(protos[--n_protos], NULL);
}

/* A tensor in a file of its own; false: there is none, or it is none (a sequence, an optional). */
static bool read_pb(onnx_model *m, const char *folder, const char *kind, size_t i, Onnx__TensorProto **proto,
                    cr_tensor *t, char *why)
{
    char path[1200];
    size_t n;
    char *bytes;
    error e = {CR_OK, NULL};
    snprintf(path, sizeof path, "%s/%s_%zu.pb", folder, kind, i);
    if (file_read(path, (size_t)1 << 30, &bytes, &n, &e) != CR_OK) {
        err_clear(&e);
        return say(SKIP, why, "no %s_%zu.pb", kind, i), false;
    }
    *proto = onnx__tensor_proto__unpack(NULL, n, (const uint8_t *)bytes);
    mem_free(bytes);
    if (!*proto || n_protos == 2 * MAX) return say(SKIP, why, "%s_%zu.pb is no tensor", kind, i), false;
    protos[n_protos++] = *proto;
    if (onnx_model_tensor(m, *proto, t, &e) == CR_OK) return true;
    say(SKIP, why, "%s_%zu.pb: %s", kind, i, err_message(&e));
    err_clear(&e);
    return false;
}

static bool near(const cr_tensor *want, const void *got, cr_type type, double rtol, double atol, size_t *at, double *a,
                 double *b)
{
    for (*at = 0; *at < want->count; ++*at) {
        data_to_f64(want->type, (const char *)want->data + *at * cr_type_size(want->type), 1, a);
        data_to_f64(type, (const char *)got + *at * cr_type_size(type), 1, b);
        if (isnan(*a) && isnan(*b)) continue;
        if (type == CR_TYPE_F32 && fabs(*a) > FLT_MAX) *a = copysign(INFINITY, *a); /* what a float makes of it */
        if (*a == *b) continue;
        if (!(fabs(*a - *b) <= atol + rtol * fabs(*a))) return false;
    }
    return true;
}

static bool same_dims(const cr_tensor *t, cr_graph *g, cr_ref r)
{
    if (t->rank != cr_rank(g, r)) return false;
    for (unsigned i = 0; i < t->rank; i++) {
        if (t->dim[i] != onnx_size(g, r, i)) return false;
    }
    return true;
}

static verdict compare(network *net, const net_runner *r, unsigned i, const char *what, const cr_tensor *want,
                       cr_ref ref, double rtol, double atol, char *why)
{
    size_t at;
    double a, b;
    if (!same_dims(want, net->g, ref)) {
        strbuf s;
        sb_init(&s);
        data_shape(&s, want->rank, want->dim);
        say(FAIL, why, "%s has the shape %s, not %s", what, shape_text(net->g, ref, 0), sb_str(&s));
        sb_free(&s);
        return FAIL;
    }
    if (near(want, net_runner_result(r, i), net_runner_type(r), rtol, atol, &at, &a, &b)) return PASS;
    return say(FAIL, why, "%s[%zu] is %.12g, not %.12g", what, at, b, a);
}

static const cr_tensor *of_name(const cr_tensor *t, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(t[i].name, name) == 0) return &t[i];
    }
    return NULL;
}

/* Runs expressions with the inputs that are given. */
static verdict run(network *net, unsigned n, const cr_ref *out, size_t n_in, const cr_tensor *in, net_runner **r,
                   char *why)
{
    error e = {CR_OK, NULL};
    cr_plan_options o = {.precision = precision, .threads = 2};
    cr_status status = net_runner_new(net, n, out, &o, r, &e);
    for (size_t i = 0; i < net->n_leaves && status == CR_OK; i++) {
        const net_leaf *l = &net->leaf[i];
        const cr_tensor *t = l->role == NET_INPUT ? of_name(in, n_in, l->name) : NULL;
        if (t) status = net_runner_feed(*r, l, t, &e);
    }
    if (status == CR_OK) status = net_runner_run(*r, &e);
    verdict v = status == CR_OK ? PASS : say(FAIL, why, "%s", err_message(&e));
    err_clear(&e);
    return v;
}

/* Cotangents enter as leaves of the graph; what is wanted are the gradients of inputs. */
static verdict gradients(network *net, const char *test, size_t n_in, const cr_tensor *in, char *why)
{
    cr_graph *g = net->g;
    cr_ref wrt[MAX], total[MAX] = {0}, sum[MAX];
    cr_tensor want[MAX], given[MAX];
    unsigned n = 0;
    size_t prefix = strlen(test);
    memcpy(given, in, n_in * sizeof *in);
    for (size_t i = 0; i < cr_data_count(gradients_in) && n < MAX; i++) {
        cr_tensor t;
        cr_data_at(gradients_in, i, &t);
        if (strncmp(t.name, test, prefix) != 0) continue;
        t.name += prefix;
        if (strncmp(t.name, "in/", 3) == 0) {
            for (size_t k = 0; k < n_in; k++) {
                if (strcmp(given[k].name, t.name + 3) == 0) given[k] = t, given[k].name += 3;
            }
        }
        if (strncmp(t.name, "grad/", 5) != 0) continue;
        for (size_t k = 0; k < net->n_leaves; k++) {
            if (strcmp(net->leaf[k].name, t.name + 5) != 0 || net->leaf[k].role == NET_CONSTANT) continue;
            wrt[n] = net->leaf[k].ref;
            want[n++] = t;
            break;
        }
    }
    for (size_t i = 0; i < net->n_outputs; i++) {
        cr_tensor cot;
        char name[300];
        cr_ref part[MAX] = {0};
        snprintf(name, sizeof name, "%scot/%s", test, net->output[i].name);
        if (!cr_data_find(gradients_in, name, &cot)) continue;
        cr_ref seed = net_add_leaf(net, NET_CONSTANT, &cot);
        if (cr_reverse(g, net->output[i].ref, seed, n, wrt, part) != CR_OK)
            return say(FAIL, why, "%s", cr_graph_message(g));
        for (unsigned k = 0; k < n; k++) {
            total[k] = !part[k] ? total[k] : !total[k] ? part[k] : cr_add(g, total[k], part[k]);
        }
    }
    for (unsigned k = 0; k < n; k++) {
        sum[k] = total[k] ? total[k] : onnx_like(g, 0, wrt[k]);
        if (sum[k] == CR_NONE) return say(FAIL, why, "%s", cr_graph_message(g));
    }
    net_runner *r = NULL;
    if (n == 0) return PASS; /* there are none for this test */
    n_gradients++;
    verdict v = run(net, n, sum, n_in, given, &r, why);
    for (unsigned k = 0; k < n && v == PASS; k++) {
        double largest = 0, x;
        for (size_t i = 0; i < want[k].count; i++) {
            cr_tensor_f64(&want[k], i, 1, &x);
            if (fabs(x) > largest) largest = fabs(x);
        }
        double tol = precision == CR_F64 ? 1e-9 : 2e-4;
        v = compare(net, r, k, want[k].name, &want[k], sum[k], tol,
                    tol * largest + (precision == CR_F64 ? 1e-14 : 1e-6), why);
    }
    net_runner_free(r);
    return v;
}

static verdict outputs(network *net, onnx_model *m, const char *data, size_t n_in, const cr_tensor *in, char *why)
{
    cr_ref out[MAX];
    unsigned n = 0;
    for (; n < net->n_outputs && n < MAX; n++) out[n] = net->output[n].ref;
    net_runner *r = NULL;
    verdict v = run(net, n, out, n_in, in, &r, why);
    for (unsigned i = 0; i < n && v == PASS; i++) {
        Onnx__TensorProto *proto = NULL;
        cr_tensor want;
        if (read_pb(m, data, "output", i, &proto, &want, why)) {
            mend_bfloat16(m->proto->graph->output[i], &want);
            double rtol = want.type == CR_TYPE_BF16 ? 0x1p-7 : 1e-3; /* a cast's result is not rounded */
            v = compare(net, r, i, net->output[i].name, &want, out[i], rtol, 1e-5, why);
        } else {
            v = SKIP;
        }
    }
    net_runner_free(r);
    return v;
}

static verdict test(const char *folder, const char *set, const char *name, char *why)
{
    char path[1100], data[1150], key[300];
    onnx_model *m = NULL;
    network net = {0};
    cr_tensor in[MAX];
    size_t n_in = 0;
    error e = {CR_OK, NULL};
    verdict v = PASS;
    snprintf(path, sizeof path, "%s/%s/%s/model.onnx", folder, set, name);
    snprintf(data, sizeof data, "%s/%s/%s/test_data_set_0", folder, set, name);
    if (onnx_model_open(path, NULL, &m, &e) != CR_OK) v = say(FAIL, why, "%s", err_message(&e));
    for (size_t i = 0; v == PASS && i < m->proto->graph->n_input; i++) {
        Onnx__TensorProto *proto;
        const Onnx__ValueInfoProto *input = m->proto->graph->input[i];
        if (!onnx_is_fed(m->proto->graph, input)) continue;
        if (!is_tensor(input)) {
            v = say(SKIP, why, "input `%s` is no tensor", input->name);
        } else if (n_in == MAX || !read_pb(m, data, "input", n_in, &proto, &in[n_in], why)) {
            v = SKIP;
        } else {
            mend_bfloat16(input, &in[n_in]);
            in[n_in++].name = input->name;
        }
    }
    for (size_t i = 0; v == PASS && i < m->proto->graph->n_output; i++) {
        const Onnx__ValueInfoProto *output = m->proto->graph->output[i];
        if (!is_tensor(output)) v = say(SKIP, why, "output `%s` is no tensor", output->name);
    }
    onnx_import_options o = {.n_inputs = n_in, .input = in};
    if (v == PASS && onnx_import(m, &o, &net, &e) != CR_OK) {
        bool lies = e.status == CR_ESHAPE && strstr(err_message(&e), "in the data"); /* a test at odds with itself */
        v = say(lies || e.status == CR_EUNSUPPORTED ? SKIP : FAIL, why, "%s", err_message(&e));
    }
    if (v == PASS && strstr(sb_str(&net.said), "dropout")) v = say(SKIP, why, "random numbers of NumPy's generator");
    if (v == PASS) v = outputs(&net, m, data, n_in, in, why);
    if (v == PASS && gradients_in) {
        snprintf(key, sizeof key, "%s__%s/", set, name);
        v = gradients(&net, key, n_in, in, why);
    }
    err_clear(&e);
    net_free(&net);
    onnx_model_free(m);
    free_protos();
    return v;
}

/* ---- all of them -------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Entries of a folder, ascending. */
static char **list(const char *folder, size_t *n)
{
    size_t cap = 0;
    char **name = NULL;
    DIR *d = opendir(folder);
    *n = 0;
    for (struct dirent *x; d && (x = readdir(d));) {
        if (x->d_name[0] == '.') continue;
        if (!VEC_RESERVE(name, cap, *n + 1)) exit(4);
        name[(*n)++] = mem_strdup(x->d_name);
    }
    if (d) closedir(d);
    if (*n) qsort(name, *n, sizeof *name, by_name);
    return name;
}

int main(int argc, char **argv)
{
    const char *folder = NULL, *part = NULL;
    bool quiet = false;
    size_t count[3] = {0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--gradients") == 0 && i + 1 < argc) {
            gradients_in = cr_data_new();
            if (cr_data_read(gradients_in, argv[++i], NULL) != CR_OK) {
                return fprintf(stderr, "onnx_backend: %s\n", cr_data_message(gradients_in)), 3;
            }
        } else if (strcmp(argv[i], "--f32") == 0) {
            precision = CR_F32;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            quiet = true;
        } else if (!folder) {
            folder = argv[i];
        } else {
            part = argv[i];
        }
    }
    if (!folder)
        return fprintf(stderr, "usage: onnx_backend FOLDER [--gradients FILE] [--f32] [--quiet] [NAME_PART]\n"), 2;
    static const char *const sets[] = {"node", "simple", "pytorch-converted", "pytorch-operator"};
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        char in[1000];
        size_t n;
        snprintf(in, sizeof in, "%s/%s", folder, sets[s]);
        char **name = list(in, &n);
        for (size_t i = 0; i < n; i++) {
            static const char *const words[] = {"pass", "skip", "FAIL"};
            char why[500] = "";
            if (!part || strstr(name[i], part)) {
                verdict v = test(folder, sets[s], name[i], why);
                count[v]++;
                if (v == FAIL || !quiet) printf("%s %s/%s%s%s\n", words[v], sets[s], name[i], *why ? ": " : "", why);
                fflush(stdout);
            }
            mem_free(name[i]);
        }
        mem_free(name);
    }
    cr_data_free(gradients_in);
    printf("%zu pass, %zu skip, %zu fail; gradients of %zu tests\n", count[PASS], count[SKIP], count[FAIL],
           n_gradients);
    return count[FAIL] > 0;
}
