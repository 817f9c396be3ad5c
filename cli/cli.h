/* The command line: options in, library calls, text or JSON out. Sees the public header only. */
#ifndef CLI_H
#define CLI_H

#include "chainrule.h"

#include <jansson.h>
#include <stdio.h>

#if defined(__GNUC__)
#define CLI_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define CLI_PRINTF(f, a)
#endif

/* Exit statuses, as the contract (docs/chainrule.1, EXIT STATUS) has them. */
enum { EXIT_DONE = 0, EXIT_FINDING = 1, EXIT_USAGE = 2, EXIT_INPUT = 3, EXIT_FAULT = 4 };

/* ---- options ---------------------------------------------------------------------------------- */

enum {
    CMD_DERIVE = 1, CMD_EVAL = 2, CMD_CHECK = 4, CMD_EXPLAIN = 8,
    CMD_RUN = 16, CMD_GRAD = 32, CMD_DIAGNOSE = 64, CMD_EXPORT = 128,
    CMD_PROGRAM = 15, /* those of formulas */
    CMD_MODEL = 112,  /* those of models */
    CMD_ALL = 255
};
enum { MAX_TEXTS = 64 }; /* repeatable options: at most so many of each */

typedef struct text_list {
    const char *item[MAX_TEXTS];
    size_t n;
} text_list;

typedef struct options {
    unsigned command; /* CMD_* */
    const char *name; /* of the command */
    const char *file, *expr, *wrt;
    text_list let, at, set;
    unsigned format[8]; /* CR_TEXT ..., in the order asked for */
    size_t n_formats;   /* 0: by the terminal */
    cr_form form;
    bool gradient, steps, quiet, deterministic, plan, help, version, has_depth, has_seed;
    unsigned long points, threads, depth;
    uint64_t seed;
    const char *json, *html, *precision;
    const char *data, *label, *output, *head, *cotangent, *fail_on, *against; /* of models */
    cr_flow_effort paths, spectrum;
    text_list weights;
    cr_loss loss;
    bool standardize, links, has_ignore, stored_norms, dropout, redact;
    double scale, loss_scale;
    unsigned long batch;
    cr_weights_are weights_are; /* diagnose */
    int redraws;
    double budget;
    int64_t ignore;
    char message[512]; /* of a usage error */
} options;

/* Reads the arguments after the command. False with a message: usage error. */
bool options_parse(options *o, int argc, char **argv);
/* Path given with --json anywhere in the arguments, NULL if none: for errors in the arguments themselves. */
const char *options_json(int argc, char **argv);
bool is_formula(const char *path); /* FILE.cr: a network may be one */
void options_help(FILE *f, unsigned command);
/* The name in list (ended by NULL) nearest to what was typed, NULL if none is near. */
const char *nearest(const char *typed, const char *const *list);

/* ---- commands --------------------------------------------------------------------------------- */

/* One run of a command: the program read, and which of its statements are meant. */
typedef struct session {
    const options *o;
    cr_program *p; /* commands of formulas: NULL for those of models */
    size_t *statement;
    size_t n;
    cr_model *m; /* commands of models, with their data */
    cr_data *data;
    json_t *doc; /* NULL without --json */
} session;

int cmd_derive(session *s);
int cmd_eval(session *s);
int cmd_check(session *s);
int cmd_explain(session *s);
int cmd_run(session *s);
int cmd_grad(session *s);
int cmd_diagnose(session *s);
int cmd_export(session *s);
/* What the options say of running a model; plan outlives the result. */
cr_plan_options model_plan_options(const options *o);
cr_model_run_options model_run_options(const options *o, const cr_plan_options *plan);

/* Opens the session: reads FILE, --let, -e, --set and --at, picks the statements. EXIT_DONE or the exit status. */
int session_open(session *s, const options *o);
/* The same for a command of models: reads FILE and --data, if it is given. */
int session_open_model(session *s, const options *o);
/* Another model, for the same data (random ones: of its own), without a document. End it with session_close_other. */
int session_open_other(session *s, const session *first, const options *o);
void session_close_other(session *s, const session *first);
/* The exit status for an error of the model or of data; reports it. */
int session_model_fail(session *s);
int session_data_fail(session *s, const cr_data *d);
/* Writes the document, ends the session. `exit_status` is what the command returned; a failed write changes it. */
int session_close(session *s, int exit_status);
/* Reports the program's error (stderr, and in the document); the exit status for it. */
int session_fail(session *s);
int fail_with(session *s, int exit_status, const char *fmt, ...) CLI_PRINTF(3, 4);

/* ---- JSON ------------------------------------------------------------------------------------- */

json_t *json_document(const options *o); /* schema, version, command, inputs */
void json_set_error(json_t *doc, const char *message, unsigned line, unsigned column);
json_t *json_text(const char *s);         /* null for NULL; bytes that are not UTF-8 become '?' */
json_t *json_size(const char *s);         /* a number if the text is one */
json_t *json_array_of(const cr_array *a); /* nested lists; null where not finite */
json_t *json_finite(double v);            /* null where not finite */
json_t *json_answer(cr_answer a);
/* value, sign, log10_abs, and nonfinite where needed */
void json_put_value(json_t *to, const cr_array *a);
bool json_write(json_t *doc, const char *path, char *message, size_t size);
/* What `put` writes, as the file path or, for "-", to standard output; false with a message. */
bool file_write(const char *path, bool (*put)(void *user, FILE *f), void *user, char *message, size_t size);
/* The document of diagnose as a page to look at. */
bool html_write(json_t *doc, const char *path, char *message, size_t size);

/* ---- terminal --------------------------------------------------------------------------------- */

typedef enum ink { INK_PLAIN, INK_QUERY, INK_RESULT, INK_LABEL, INK_GOOD, INK_BAD, INK_UNSURE } ink;
bool term_colour(FILE *f);
bool term_unicode(void); /* standard output is a terminal in a UTF-8 locale */
void term_put(ink colour, const char *s);
void term_printf(ink colour, const char *fmt, ...) CLI_PRINTF(2, 3);
void term_query(const char *query, bool first); /* heading of a result; an empty line between two */
void term_label(const char *label);             /* start of an indented line */
void term_lines(ink colour, const char *text,
                unsigned indent); /* text whose further lines are indented, newline added */
void term_cases(ink colour, const char *text, unsigned indent,
                unsigned width); /* the same; if(...) that is longer than a line has one line for each case */
void term_array(const cr_array *a, unsigned indent);
void number_text(double v, char out[32]); /* shortest that reads back */
double plain(double v); /* NaN and 0 without a sign: nobody's, but printed */

#endif
