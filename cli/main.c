/* chainrule: the command line. */
#include "cli.h"

#include <string.h>

static const struct command {
    const char *name;
    unsigned bit;
    int (*run)(session *s);
} commands[] = {{"derive", CMD_DERIVE, cmd_derive},
                {"eval", CMD_EVAL, cmd_eval},
                {"check", CMD_CHECK, cmd_check},
                {"explain", CMD_EXPLAIN, cmd_explain},
                {"run", CMD_RUN, cmd_run},
                {"grad", CMD_GRAD, cmd_grad},
                {"diagnose", CMD_DIAGNOSE, cmd_diagnose},
                {"export", CMD_EXPORT, cmd_export}};

/* Names of the contract that later versions fill. */
static const char *const planned[] = {"repair", "train", NULL};

/* A usage error: on standard error, and as a document where JSON was asked for. */
static int misuse(const options *o, const char *json)
{
    fprintf(stderr, "chainrule: %s\n", o->message);
    json_t *doc = json ? json_document(o) : NULL;
    if (doc) {
        char message[512];
        json_set_error(doc, o->message, 0, 0);
        if (!json_write(doc, json, message, sizeof message)) fprintf(stderr, "chainrule: %s\n", message);
        json_decref(doc);
    }
    return EXIT_USAGE;
}

static int unknown_command(options *o, const char *typed, const char *json)
{
    const char *names[] = {"derive", "eval", "check", "explain", "run", "grad", "diagnose", "export", NULL};
    const char *near = typed[0] == '-' ? NULL : nearest(typed, names);
    for (const char *const *p = planned; *p; p++) {
        if (strcmp(typed, *p)) continue;
        snprintf(o->message, sizeof o->message, "'%s' is not available in this version", typed);
        return misuse(o, json);
    }
    if (near)
        snprintf(o->message, sizeof o->message, "unknown command '%s'; did you mean %s?", typed, near);
    else
        snprintf(o->message, sizeof o->message, "unknown %s '%.100s'; see chainrule --help",
                 typed[0] == '-' ? "option" : "command", typed);
    return misuse(o, json);
}

static int flushed(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    fputs("chainrule: standard output could not be written\n", stderr);
    return EXIT_FAULT;
}

static int run(const struct command *c, options *o, int argc, char **argv)
{
    o->command = c->bit;
    o->name = c->name;
    if (!options_parse(o, argc, argv)) return misuse(o, options_json(argc, argv));
    if (o->help || o->version) {
        if (o->help)
            options_help(stdout, c->bit);
        else
            printf("chainrule %s\n", cr_version());
        return EXIT_DONE;
    }
    session s;
    int status = c->bit & (CMD_MODEL | CMD_EXPORT) ? session_open_model(&s, o) : session_open(&s, o);
    if (status == EXIT_DONE) status = c->run(&s);
    return session_close(&s, status);
}

int main(int argc, char **argv)
{
    options o = {.name = "chainrule"};
    if (argc < 2) {
        options_help(stderr, 0);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--version")) {
        printf("chainrule %s\n", cr_version());
        return flushed(EXIT_DONE);
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        options_help(stdout, 0);
        return flushed(EXIT_DONE);
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(name, commands[i].name)) continue;
        return flushed(run(&commands[i], &o, argc - 2, argv + 2));
    }
    return flushed(unknown_command(&o, name, options_json(argc - 1, argv + 1)));
}
