/* One table of options: parsing, help and suggestions are read from it. */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static bool usage(options *o, const char *fmt, ...) CLI_PRINTF(2, 3);

static bool usage(options *o, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(o->message, sizeof o->message, fmt, ap);
    va_end(ap);
    return false;
}

/* ---- readers of values ------------------------------------------------------------------------ */

static bool number(options *o, const char *name, const char *s, uint64_t least, uint64_t most, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    if (*s < '0' || *s > '9' || *end || errno || v < least || v > most)
        return usage(o, "%s takes a whole number from %llu to %llu, not '%s'", name, (unsigned long long)least,
                     (unsigned long long)most, s);
    *out = v;
    return true;
}

static bool append(options *o, const char *name, const char *s, text_list *list)
{
    if (list->n == MAX_TEXTS) return usage(o, "%s more than %d times", name, MAX_TEXTS);
    list->item[list->n++] = s;
    return true;
}

/* Calls word(o, s, n) for each part between commas. */
static bool words(options *o, const char *s, bool (*word)(options *o, const char *s, size_t n))
{
    for (;;) {
        size_t n = strcspn(s, ",");
        if (!word(o, s, n)) return false;
        if (!s[n]) return true;
        s += n + 1;
    }
}

static bool is_word(const char *s, size_t n, const char *word)
{
    return strlen(word) == n && !strncmp(s, word, n);
}

static bool format_word(options *o, const char *s, size_t n)
{
    static const struct {
        const char *name;
        unsigned bit;
    } table[] = {{"text", CR_TEXT}, {"unicode", CR_UNICODE}, {"latex", CR_LATEX}, {"numpy", CR_NUMPY},
                 {"c", CR_C}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!is_word(s, n, table[i].name)) continue;
        for (size_t k = 0; k < o->n_formats; k++)
            if (o->format[k] == table[i].bit) return true;
        o->format[o->n_formats++] = table[i].bit;
        return true;
    }
    return usage(o, o->command == CMD_EXPLAIN ? "--format knows text, unicode and latex here, not '%.*s'"
                                              : "--format knows text, unicode, latex, numpy and c, not '%.*s'",
                 (int)n, s);
}

static bool form_word(options *o, const char *s, size_t n)
{
    static const char *const name[] = {"auto", "component", "matrix"};
    if (is_word(s, n, "gradient")) return o->gradient = true;
    for (int i = 0; i < 3; i++) {
        if (!is_word(s, n, name[i])) continue;
        o->form = (cr_form)i;
        return true;
    }
    return usage(o, "--form knows auto, component, matrix and gradient, not '%.*s'", (int)n, s);
}

static bool precision(options *o, const char *s)
{
    if (strcmp(s, "f32") && strcmp(s, "f64")) return usage(o, "--precision is f32 or f64, not '%s'", s);
    if (!strcmp(s, "f32") && o->command & (CMD_CHECK | CMD_EXPLAIN))
        return usage(o, "%s works in f64; --precision f32 is for eval and models", o->name);
    o->precision = s;
    return true;
}

static bool loss_word(options *o, const char *s)
{
    static const char *const name[] = {"auto", "ce", "mse", "bce", "l1", "none"};
    for (int i = 0; i < 6; i++) {
        if (strcmp(s, name[i])) continue;
        o->loss = (cr_loss)i;
        return true;
    }
    return usage(o, "--loss knows auto, ce, mse, bce, l1 and none, not '%s'", s);
}

/* --fail-on vanishing,exploding: a word that no diagnosis says would never fail, and nobody would notice. */
static bool finding_words(options *o, const char *s)
{
    static const char *const known[] = {"non-finite", "dying", "vanishing", "exploding", "saturated",
                                        "shattered"};
    o->fail_on = s;
    for (size_t n = 0;; s += n + 1) {
        n = strcspn(s, ",");
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            found |= strlen(known[i]) == n && !strncmp(s, known[i], n);
        if (!found)
            return usage(o,
                         "--fail-on knows non-finite, dying, vanishing, exploding, saturated and shattered, not '%.*s'",
                         (int)n, s);
        if (!s[n]) return true;
    }
}

static bool weights_word(options *o, const char *s)
{
    if (strcmp(s, "initialisation") && strcmp(s, "trained"))
        return usage(o, "--weights-state is initialisation or trained, not '%s'", s);
    o->weights_are = *s == 't' ? CR_WEIGHTS_TRAINED : CR_WEIGHTS_INITIAL;
    return true;
}

static bool real(options *o, const char *name, const char *s, double *out)
{
    char *end;
    *out = strtod(s, &end);
    return (*s && !*end && *out - *out == 0) || usage(o, "%s takes a number, not '%s'", name, s);
}

static bool either(options *o, const char *name, const char *s, const char *no, const char *yes, bool *out)
{
    *out = !strcmp(s, yes);
    return *out || !strcmp(s, no) || usage(o, "%s is %s or %s, not '%s'", name, no, yes, s);
}

static bool effort(options *o, const char *name, const char *s, cr_flow_effort *out)
{
    bool on;
    if (!either(o, name, s, "off", "on", &on)) return false;
    *out = on ? CR_FLOW_ON : CR_FLOW_OFF;
    return true;
}

static bool whole(options *o, const char *name, const char *s, int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(s, &end, 10);
    return (*s && !*end && !errno) || usage(o, "%s takes a whole number, not '%s'", name, s);
}

/* ---- the table -------------------------------------------------------------------------------- */

typedef enum option_id {
    O_EXPR,
    O_LET,
    O_WRT,
    O_FORMAT,
    O_FORM,
    O_STEPS,
    O_DEPTH,
    O_AT,
    O_SET,
    O_POINTS,
    O_SEED,
    O_JSON,
    O_HTML,
    O_QUIET,
    O_THREADS,
    O_PRECISION,
    O_DETERMINISTIC,
    O_PLAN,
    O_DATA,
    O_OUTPUT,
    O_LOSS,
    O_COTANGENT,
    O_HEAD,
    O_LABEL,
    O_BATCH,
    O_SAMPLES,
    O_IGNORE,
    O_STANDARDIZE,
    O_SCALE,
    O_FAIL_ON,
    O_BN,
    O_DROPOUT,
    O_PATHS,
    O_SPECTRUM,
    O_LOSS_SCALE,
    O_REDACT,
    O_AGAINST,
    O_WEIGHTS,
    O_WEIGHTS_STATE,
    O_REDRAWS,
    O_BUDGET,
    O_LINKS,
    O_HELP,
    O_VERSION
} option_id;

static const struct option_row {
    option_id id;
    const char *name, *value; /* value NULL: a switch */
    unsigned commands;
    const char *help;
} rows[] = {
    {O_EXPR, "-e", "EXPR", CMD_PROGRAM, "the expression (with FILE: in the scope of its definitions)"},
    {O_LET, "--let", "DECLS", CMD_PROGRAM, "declarations, as after `let`: \"x : R^n, W : R^{m x n}\""},
    {O_WRT, "--wrt", "VARS", CMD_PROGRAM, "with respect to: \"x[j]\", \"W\", \"x, x\" for the second derivative"},
    {O_FORMAT, "--format", "LIST", CMD_DERIVE | CMD_EXPLAIN,
     "text, unicode, latex, numpy, c (explain: one of the first three)"},
    {O_FORM, "--form", "FORM", CMD_DERIVE | CMD_CHECK,
     "auto, component or matrix; gradient: (G + G')/2 for symmetric variables"},
    {O_STEPS, "--steps", NULL, CMD_DERIVE, "the derivation, rule by rule"},
    {O_DEPTH, "--depth", "N", CMD_DERIVE | CMD_EVAL | CMD_CHECK,
     "give the symbolic depth of the recurrences the value N"},
    {O_AT, "--at", "VALUES", CMD_EVAL | CMD_CHECK | CMD_MODEL | CMD_EXPORT,
     "\"x = [1,2]; k = 3\", or a file values.npz"},
    {O_SET, "--set", "VALUES", CMD_PROGRAM | CMD_MODEL | CMD_EXPORT, "values of sizes and integers: \"N=50\""},
    {O_POINTS, "--points", "N", CMD_CHECK, "how many random points (default 5)"},
    {O_SEED, "--seed", "N", CMD_ALL, "of the random numbers (default 0); grad: as --cotangent"},
    {O_JSON, "--json", "FILE|-", CMD_ALL, "results as JSON; with -, standard output is only JSON"},
    {O_QUIET, "--quiet", NULL, CMD_ALL, "bare results"},
    {O_THREADS, "--threads", "N", CMD_ALL, "at most N threads"},
    {O_PRECISION, "--precision", "f32|f64", CMD_ALL, "of models (default f32); eval: at the speed of the machine"},
    {O_DETERMINISTIC, "--deterministic", NULL, CMD_ALL, "the same bits for every number of threads"},
    {O_PLAN, "--plan", NULL, CMD_EVAL, "how it would be run, instead of the numbers; needs sizes only"},
    {O_DATA, "--data", "FILE", CMD_MODEL,
     "inputs and labels: .npz, .npy, .csv, .idx, .safetensors, also .gz; or `random`"},
    {O_OUTPUT, "-o", "FILE", CMD_RUN | CMD_GRAD | CMD_EXPORT,
     "where the results go: .npz or .safetensors; of export: .onnx"},
    {O_LOSS, "--loss", "LOSS", CMD_GRAD | CMD_DIAGNOSE,
     "auto, ce, mse, bce, l1 or none (the output itself); default auto"},
    {O_COTANGENT, "--cotangent", "FILE", CMD_GRAD, "vector-Jacobian product of these, by names of outputs, no loss"},
    {O_HEAD, "--output", "NAME", CMD_GRAD | CMD_DIAGNOSE,
     "the output that the loss is taken from (default: the first)"},
    {O_LABEL, "--label", "COLUMN", CMD_MODEL, "CSV: the column of labels: its name, its number from 1, or last"},
    {O_BATCH, "--batch", "N", CMD_RUN | CMD_GRAD, "samples at a time (default: as the model has it, else all)"},
    {O_SAMPLES, "--samples", "N", CMD_DIAGNOSE,
     "samples that are measured, in one batch (default: as the model has it, else at most 512)"},
    {O_IGNORE, "--ignore-index", "I", CMD_GRAD | CMD_DIAGNOSE, "labels I do not count"},
    {O_STANDARDIZE, "--standardize", NULL, CMD_MODEL,
     "every entry of a sample to mean 0, deviation 1 over the samples"},
    {O_SCALE, "--scale", "S", CMD_MODEL, "inputs times S"},
    {O_HTML, "--html", "FILE|-", CMD_DIAGNOSE, "the report as a page of its own: one file, to look at and to hand on"},
    {O_FAIL_ON, "--fail-on", "LIST", CMD_DIAGNOSE, "findings that make the exit status 1: vanishing,exploding,..."},
    {O_BN, "--bn", "batch|stored", CMD_DIAGNOSE,
     "statistics of batch norms: the data's, as in training (default), or the file's"},
    {O_DROPOUT, "--dropout", "off|on", CMD_DIAGNOSE,
     "on: dropout drops (by --seed); off (default): it is the identity"},
    {O_PATHS, "--paths", "off|on", CMD_DIAGNOSE, "paths through skips (default: if they take little)"},
    {O_SPECTRUM, "--spectrum", "off|on", CMD_DIAGNOSE,
     "singular values of Jacobians (default: those that take little)"},
    {O_LOSS_SCALE, "--loss-scale", "S", CMD_DIAGNOSE,
     "the file multiplies its loss by S: divide gradients by that"},
    {O_REDACT, "--redact", NULL, CMD_DIAGNOSE, "numbers in place of all names"},
    {O_AGAINST, "--against", "OTHER", CMD_DIAGNOSE, "another model, diagnosed with the same data and set beside"},
    {O_WEIGHTS, "--weights", "FILE...", CMD_DIAGNOSE,
     "checkpoints, in order: their values by name in place of the model's; the verdict is the last one's"},
    {O_WEIGHTS_STATE, "--weights-state", "STATE", CMD_DIAGNOSE,
     "initialisation or trained, whatever tests of the weights say"},
    {O_REDRAWS, "--redraws", "N", CMD_DIAGNOSE,
     "draw weights at initialisation N times again, for the confidence (default: at most 5, if cheap; 0: not)"},
    {O_BUDGET, "--budget", "SECONDS", CMD_DIAGNOSE,
     "time for all of it; what there is none for is left out (default: only what is cheap beside the verdict)"},
    {O_LINKS, "--allow-links", NULL, CMD_MODEL, "external data may be links that lead out of the model's folder"},
    {O_HELP, "--help", NULL, CMD_ALL, "this text"},
    {O_VERSION, "--version", NULL, CMD_ALL, "the version"},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

static bool take(options *o, const struct option_row *r, const char *v)
{
    uint64_t n;
    switch (r->id) {
    case O_EXPR:
        o->expr = v;
        return true;
    case O_WRT:
        o->wrt = v;
        return true;
    case O_JSON:
        o->json = v;
        return true;
    case O_HTML:
        o->html = v;
        return true;
    case O_LET:
        return append(o, r->name, v, &o->let);
    case O_AT:
        return append(o, r->name, v, &o->at);
    case O_SET:
        return append(o, r->name, v, &o->set);
    case O_FORMAT:
        return words(o, v, format_word);
    case O_FORM:
        return words(o, v, form_word);
    case O_STEPS:
        return o->steps = true;
    case O_QUIET:
        return o->quiet = true;
    case O_DETERMINISTIC:
        return o->deterministic = true;
    case O_PLAN:
        return o->plan = true;
    case O_HELP:
        return o->help = true;
    case O_VERSION:
        return o->version = true;
    case O_PRECISION:
        return precision(o, v);
    case O_DEPTH:
        if (!number(o, r->name, v, 1, 1000000, &n)) return false;
        o->depth = (unsigned long)n;
        return o->has_depth = true;
    case O_POINTS:
        if (!number(o, r->name, v, 1, 100000, &n)) return false;
        o->points = (unsigned long)n;
        return true;
    case O_THREADS:
        if (!number(o, r->name, v, 1, 4096, &n)) return false;
        o->threads = (unsigned long)n;
        return true;
    case O_DATA:
        o->data = v;
        return true;
    case O_OUTPUT:
        o->output = v;
        return true;
    case O_COTANGENT:
        o->cotangent = v;
        return true;
    case O_HEAD:
        o->head = v;
        return true;
    case O_LABEL:
        o->label = v;
        return true;
    case O_LOSS:
        return loss_word(o, v);
    case O_STANDARDIZE:
        return o->standardize = true;
    case O_FAIL_ON:
        return finding_words(o, v);
    case O_BN:
        return either(o, r->name, v, "batch", "stored", &o->stored_norms);
    case O_DROPOUT:
        return either(o, r->name, v, "off", "on", &o->dropout);
    case O_PATHS:
        return effort(o, r->name, v, &o->paths);
    case O_SPECTRUM:
        return effort(o, r->name, v, &o->spectrum);
    case O_LOSS_SCALE:
        if (!real(o, r->name, v, &o->loss_scale)) return false;
        return o->loss_scale > 0 || usage(o, "--loss-scale is a number above 0, not %s", v);
    case O_AGAINST:
        o->against = v;
        return true;
    case O_WEIGHTS:
        return append(o, r->name, v, &o->weights);
    case O_REDACT:
        return o->redact = true;
    case O_WEIGHTS_STATE:
        return weights_word(o, v);
    case O_REDRAWS:
        if (!number(o, r->name, v, 0, 10000, &n)) return false;
        o->redraws = n ? (int)n : -1;
        return true;
    case O_BUDGET:
        if (!real(o, r->name, v, &o->budget)) return false;
        return o->budget > 0 || usage(o, "--budget takes seconds above 0, not '%s'", v);
    case O_LINKS:
        return o->links = true;
    case O_SCALE:
        return real(o, r->name, v, &o->scale);
    case O_BATCH:
    case O_SAMPLES:
        if (!number(o, r->name, v, 1, UINT32_MAX, &n)) return false;
        o->batch = (unsigned long)n;
        return true;
    case O_IGNORE:
        return o->has_ignore = whole(o, r->name, v, &o->ignore);
    case O_SEED:
        if (o->command == CMD_GRAD && (*v < '0' || *v > '9')) {
            o->cotangent = v;
            return true;
        }
        return o->has_seed = number(o, r->name, v, 0, UINT64_MAX, &o->seed);
    }
    return false;
}

static bool unknown(options *o, const char *arg, size_t n)
{
    const char *names[N_ROWS + 1];
    size_t count = 0;
    char typed[64];
    snprintf(typed, sizeof typed, "%.*s", (int)n, arg);
    for (int i = 0; i < N_ROWS; i++)
        if (rows[i].commands & o->command) names[count++] = rows[i].name;
    names[count] = NULL;
    const char *near = nearest(typed, names);
    if (near) return usage(o, "unknown option '%s'; did you mean %s?", typed, near);
    return usage(o, "unknown option '%s'; see chainrule %s --help", typed, o->name);
}

/* Of the files behind --weights, those that can be no model are checkpoints, too. */
static bool is_checkpoint(const char *arg)
{
    size_t n = strlen(arg);
    return arg[0] != '-' && !(n > 5 && !strcmp(arg + n - 5, ".onnx"));
}

static bool take_argument(options *o, int argc, char **argv, int *i)
{
    const char *arg = argv[*i];
    size_t n = strcspn(arg, "=");
    if (arg[1] != '-') n = strlen(arg);
    for (int k = 0; k < N_ROWS; k++) {
        const struct option_row *r = &rows[k];
        if (!is_word(arg, n, r->name)) continue;
        if (!(r->commands & o->command)) return usage(o, "%s is not an option of %s", r->name, o->name);
        if (!r->value) return arg[n] ? usage(o, "%s takes no value", r->name) : take(o, r, NULL);
        if (arg[n]) return take(o, r, arg + n + 1);
        if (*i + 1 >= argc) return usage(o, "%s needs a value: %s %s", r->name, r->name, r->value);
        if (!take(o, r, argv[++*i])) return false;
        while (r->id == O_WEIGHTS && *i + 1 < argc && is_checkpoint(argv[*i + 1])) {
            if (!take(o, r, argv[++*i])) return false;
        }
        return true;
    }
    return unknown(o, arg, n);
}

bool is_formula(const char *path)
{
    size_t n = strlen(path);
    return n > 3 && !strcmp(path + n - 3, ".cr");
}

static bool consistent(options *o)
{
    if ((o->file && !*o->file) || (o->json && !*o->json) || (o->html && !*o->html))
        return usage(o, "the name of a file is empty");
    if (o->json && o->html && !strcmp(o->json, o->html))
        return usage(o, "--json and --html would both be written to %s",
                     strcmp(o->json, "-") ? o->json : "standard output");
    if (o->command == CMD_EXPORT) {
        if (!o->file || !is_formula(o->file)) return usage(o, "export writes a network in FILE.cr as ONNX: which one?");
        return o->output || usage(o, "export needs a place: -o FILE.onnx");
    }
    if (o->command & CMD_MODEL) {
        if (!o->file) return usage(o, "%s what? Give MODEL.onnx and --data FILE", o->name);
        if ((o->set.n || o->at.n) && !is_formula(o->file))
            return usage(o, "--set and --at give values to the variables of a FILE.cr; %s has its own", o->file);
        if (!o->data) return usage(o, "%s needs data: --data FILE, or --data random", o->name);
        if (o->cotangent && o->loss != CR_LOSS_AUTO && o->loss != CR_LOSS_NONE)
            return usage(o, "--cotangent is instead of a loss: leave --loss out");
        if (!o->output && !o->json && o->command != CMD_DIAGNOSE)
            return usage(o, "%s needs a place for its results: -o FILE, or --json", o->name);
        return true;
    }
    if (!o->file && !o->expr) return usage(o, "%s what? Give FILE.cr, or -e EXPR with --let", o->name);
    if (o->expr && !o->wrt && o->command != CMD_EVAL)
        return usage(o, "%s -e needs --wrt: with respect to what?", o->name);
    if (o->command == CMD_EXPLAIN && (o->n_formats > 1 || (o->n_formats && o->format[0] & (CR_NUMPY | CR_C))))
        return usage(o, "explain writes one format: text, unicode or latex");
    if (o->wrt && !o->expr) return usage(o, "--wrt belongs to -e; a file says `wrt` in its statements");
    return true;
}

bool options_parse(options *o, int argc, char **argv)
{
    bool ended = false; /* after -- everything is a file */
    for (int i = 0; i < argc; i++) {
        const char *a = argv[i];
        if (!ended && !strcmp(a, "--")) {
            ended = true;
        } else if (!ended && a[0] == '-' && a[1]) {
            if (!strcmp(a, "-h"))
                o->help = true;
            else if (!take_argument(o, argc, argv, &i))
                return false;
        } else if (o->file) {
            return usage(o, "one file at a time: '%s' and '%s'", o->file, a);
        } else {
            o->file = a;
        }
    }
    return o->help || o->version || consistent(o);
}

const char *options_json(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "--json=", 7)) return argv[i] + 7;
        if (!strcmp(argv[i], "--json") && i + 1 < argc) return argv[i + 1];
    }
    return NULL;
}

/* ---- suggestions ------------------------------------------------------------------------------ */

enum { NEAR_MAX = 32 };

/* Edit distance with neighbours exchanged counted once; both shorter than NEAR_MAX. */
static unsigned distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned d[NEAR_MAX][NEAR_MAX];
    for (size_t i = 0; i <= n; i++) {
        for (size_t j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = (unsigned)(i + j);
                continue;
            }
            unsigned best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[n][m];
}

const char *nearest(const char *typed, const char *const *list)
{
    const char *best = NULL;
    size_t n = strlen(typed);
    unsigned least = n < 4 ? 2 : 3; /* at most one or two changes */
    for (; *list && n < NEAR_MAX; list++) {
        size_t m = strlen(*list);
        if (m >= NEAR_MAX || m < 3) continue;
        unsigned d = m > n && n > 4 && !strncmp(*list, typed, n) ? 1 : distance(typed, *list);
        if (d < least) {
            least = d;
            best = *list;
        }
    }
    return best;
}

/* ---- help ------------------------------------------------------------------------------------- */

static const char general[] =
    "chainrule: derivatives of formulas, exact, readable, and checked against numbers\n"
    "\n"
    "  chainrule derive FILE.cr | -e EXPR --let DECLS --wrt VARS    derivatives, and where they hold\n"
    "  chainrule eval   FILE.cr | -e EXPR --let DECLS --at VALUES   numbers\n"
    "  chainrule check  FILE.cr | -e EXPR --let DECLS --wrt VARS    derivatives against independent numbers\n"
    "  chainrule explain FILE.cr                                    why a deep gradient vanishes or explodes\n"
    "  chainrule run    MODEL.onnx --data DATA -o out.npz           a model of ONNX forward\n"
    "  chainrule grad   MODEL.onnx --data DATA -o grads.npz         gradients of a loss by parameters and inputs\n"
    "  chainrule diagnose MODEL.onnx --data DATA                    where the gradient goes, and why\n"
    "  chainrule export FILE.cr -o FILE.onnx                        a network of formulas as a model\n"
    "  chainrule COMMAND --help | --version\n"
    "\n"
    "FILE - is standard input. For example:\n"
    "\n"
    "  chainrule derive -e \"a'*relu(W*x + b)\" --let \"x : R^n, a : R^m, b : R^m, W : R^{m x n}\" --wrt \"x[j]\"\n"
    "\n"
    "Exit status: 0 done; 1 a finding (check); 2 usage; 3 bad input; 4 out of resources or internal fault.\n";

void options_help(FILE *f, unsigned command)
{
    static const char *const about[] = {
        [CMD_DERIVE] =
            "chainrule derive FILE.cr\nchainrule derive [FILE.cr] -e EXPR [--let DECLS] --wrt VARS\n\n"
            "The derivatives that the file's `derive` statements ask for, simplified, and where they hold.\n",
        [CMD_EVAL] =
            "chainrule eval FILE.cr\nchainrule eval [FILE.cr] -e EXPR [--let DECLS] [--wrt VARS] [--at VALUES]\n\n"
            "Values of the file's `eval` statements; if it has none, of its derivatives. In double precision with\n"
            "exponents that do not overflow; with --precision, --threads or --deterministic as a plan: compiled for\n"
            "these sizes and this machine, the way to evaluate what is large.\n",
        [CMD_CHECK] =
            "chainrule check FILE.cr\nchainrule check [FILE.cr] -e EXPR [--let DECLS] --wrt VARS [--at VALUES]\n\n"
            "Every derivative of the file against numbers that do not come from its formula: complex steps or\n"
            "differences at random points. At given values: does the derivative exist there, and does the formula\n"
            "give it? Exit status 1 if not.\n",
        [CMD_EXPLAIN] =
            "chainrule explain FILE.cr\nchainrule explain FILE.cr -e EXPR --wrt VARS\n\n"
            "Why the gradient of a network given by a recurrence (o[i] = sigma(s[i]) for i in 1..N) vanishes or\n"
            "explodes: the factor of each layer, its bound, the threshold of the weights, sizes by depth and by\n"
            "layer, what a skip connection changes, and architectures with short paths for every layer. Once for\n"
            "each network that the file derives through.\n",
        [CMD_RUN] =
            "chainrule run MODEL.onnx --data DATA -o out.npz\n\n"
            "The outputs of a model of ONNX, by their names. DATA holds a tensor for each input by its name; the only\n"
            "input may be called x. Where the first axis of all of them is as long, it counts samples.\n",
        [CMD_GRAD] =
            "chainrule grad MODEL.onnx --data DATA [--loss LOSS] -o grads.npz\n"
            "chainrule grad MODEL.onnx --data DATA --cotangent FILE -o grads.npz\n\n"
            "The gradient of the mean loss over the data, or the vector-Jacobian product of given cotangents, for\n"
            "every parameter and input of floats, by the names of the file. Labels are `label` or `y` in\n"
            "DATA, targets `target`, weights of classes `class_weight`.\n",
        [CMD_EXPORT] =
            "chainrule export FILE.cr -o FILE.onnx [--set \"N=50\"] [--at VALUES]\n\n"
            "The network that the first statement of FILE.cr derives or evaluates, as a model of ONNX. Its input is\n"
            "the variable x, or the first one; the others are parameters. What has no value is drawn by --seed.\n",
        [CMD_DIAGNOSE] =
            "chainrule diagnose MODEL.onnx --data DATA [--loss LOSS] [--fail-on LIST]\n\n"
            "Whether the gradient vanishes, explodes, dies, saturates or is healthy, in which layers, and which\n"
            "factor of the chain rule does it. DATA as for grad; they are measured as one batch.\n",
    };
    if (!command) {
        fputs(general, f);
        return;
    }
    fprintf(f, "%s\n", about[command]);
    for (int i = 0; i < N_ROWS; i++) {
        if (!(rows[i].commands & command)) continue;
        char left[40];
        snprintf(left, sizeof left, "%s %s", rows[i].name, rows[i].value ? rows[i].value : "");
        fprintf(f, "  %-20s %s\n", left, rows[i].help);
    }
}
