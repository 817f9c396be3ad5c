/* lang_print_c: one C99 file with a function that computes several expressions together. cemit_plan.c decides how each
 * node is written, cemit_expr.c, cemit_einsum.c and cemit_loop.c write it, in the words of cemit_text.c. */
#include "lang/cemit.h"

#include <stdlib.h>
#include <string.h>

/* ---- functions of the user ---------------------------------------------------------------------- */

static void refuse_symbol(void *user, dim_sym s)
{
    ce *w = user;
    if (!ce_bit(w, s)) ce_fail(w, CR_EUNSUPPORTED, "C: a function whose body holds sizes or integers");
}

static bool write_user_functions(ce *w, strbuf *out)
{
    cr_graph *g = w->g;
    for (size_t i = 0; i < w->n_functions; i++) {
        ce_function *f = &w->function[i];
        const char *name = name_text(g->dims, g->fun[f->f].name);
        f->name = f->order ? ce_format(w, "%s_%s_%u", w->what->function, name, f->order)
                           : ce_format(w, "%s_%s", w->what->function, name);
        sb_printf(out, "static double %s(double z);\n%s", f->name, i + 1 == w->n_functions ? "\n" : "");
    }
    for (size_t i = 0; i < w->n_functions && !ce_failed(w); i++) {
        const ce_function *f = &w->function[i];
        cr_ref arg = g->fun[f->f].arg;
        size_t n, scratch = w->n_scratch;
        cr_ref *cone = graph_cone(g, 1, &f->body, &n);
        bool uses = false;
        for (size_t k = 0; cone && k < n; k++) {
            uses = uses || cone[k] == arg;
            graph_node_dims(g, cone[k], refuse_symbol, w);
            if (op_of(g, cone[k]) == CR_OP_PARAM && cone[k] != arg)
                ce_fail(w, CR_EUNSUPPORTED, "C: a function whose body holds other variables than its argument");
        }
        mem_free(cone);
        ce_block(w, f->body, 1ull << CE_ARGUMENT);
        ce_text value = ce_scalar(w, f->body);
        if (w->n_scratch > scratch || w->fails)
            ce_fail(w, CR_EUNSUPPORTED, "C: a function that takes arrays to compute");
        sb_printf(out, "static double %s(double z)\n{\n%s%s    return %s;\n}\n\n", f->name,
                  uses ? "" : "    (void)z;\n", sb_str(&w->lines), value.s ? value.s : "");
        sb_free(&w->lines);
        memset(w->v, 0, w->n * sizeof *w->v);
    }
    return !ce_failed(w);
}

/* ---- outputs ----------------------------------------------------------------------------------- */

static void write_output(ce *w, unsigned i, uint64_t scope)
{
    cr_graph *g = w->g;
    cr_ref r = w->root[i];
    const cr_shape *s = shape_of(g, r);
    const char *name = w->what->name[i];
    ce_text index[CR_MAX_RANK];
    ce_open(w, "if (%s)", name);
    w->target = w->v[r].array ? CR_NONE : r;
    w->target_name = name;
    ce_block(w, r, scope);
    w->target = CR_NONE;
    if (s->rank == 0) {
        ce_text t = ce_scalar(w, r);
        ce_line(w, "*%s = %s;", name, t.s ? t.s : "");
    } else if (!w->v[r].array || strcmp(w->v[r].array, name) != 0) {
        unsigned loops = ce_loops(w, s->rank, s->dim, index);
        ce_text t = ce_entry(w, r, index);
        ce_line(w, "%s[%s] = %s;", name, ce_flat(w, s->rank, s->dim, index).s, t.s ? t.s : "");
        ce_loops_end(w, loops);
    }
    ce_close(w);
}

/* What several outputs need comes first; what one alone needs is computed if the caller asks for that one. */
static bool write_outputs(ce *w)
{
    const uint64_t scope = 1ull << CE_MEMBERS;
    bool *shared = mem_zalloc(w->n, sizeof *shared), *seen = mem_zalloc(w->n, sizeof *seen);
    ce_value *before = mem_alloc(w->n * sizeof *before);
    if (!shared || !seen || !before) ce_fail(w, CR_ENOMEM, "out of memory");
    for (unsigned i = 0; i < w->n_outputs && !ce_failed(w); i++) {
        size_t n;
        cr_ref *cone = graph_cone(w->g, 1, &w->root[i], &n);
        for (size_t k = 0; cone && k < n; k++) {
            shared[cone[k]] = shared[cone[k]] || seen[cone[k]];
            seen[cone[k]] = true;
        }
        mem_free(cone);
    }
    w->only = shared;
    for (unsigned i = 0; i < w->n_outputs && w->n_outputs > 1 && !ce_failed(w); i++) ce_block(w, w->root[i], scope);
    w->only = NULL;
    if (!ce_failed(w)) memcpy(before, w->v, w->n * sizeof *before);
    for (unsigned i = 0; i < w->n_outputs && !ce_failed(w); i++) {
        write_output(w, i, scope);
        memcpy(w->v, before, w->n * sizeof *before); /* the names of a block end with it */
    }
    mem_free(shared);
    mem_free(seen);
    mem_free(before);
    return !ce_failed(w);
}

/* ---- the file ---------------------------------------------------------------------------------- */

static void argument(strbuf *b, const char *kind, const char *name)
{
    enum { WIDTH = 100 };
    const char *text = sb_str(b), *line = strrchr(text, '\n');
    size_t width = b->n - (line ? (size_t)(line - text) : 0) + strlen(kind) + strlen(name);
    sb_printf(b, "%s%s%s", !b->n ? "" : width > WIDTH ? ",\n    " : ", ", kind, name);
}

/* `m x n doubles, row-major` */
static void put_shape(ce *w, strbuf *doc, unsigned rank, const cr_dim *dim)
{
    for (unsigned k = 0; k < rank; k++) {
        sb_puts(doc, k ? " x " : "");
        if (rank > 1 && dim_is_sum(w->g->dims, dim[k])) sb_putc(doc, '(');
        dim_print(w->g->dims, dim[k], doc, NULL, NULL);
        if (rank > 1 && dim_is_sum(w->g->dims, dim[k])) sb_putc(doc, ')');
    }
    sb_puts(doc, rank > 1 ? " doubles, row-major" : " doubles");
}

static void put_parameter(ce *w, cr_ref r, strbuf *arguments, strbuf *doc)
{
    cr_graph *g = w->g;
    const cr_shape *s = shape_of(g, r);
    const char *name = ce_name_of(w, attr_of(g, r, 0))->c;
    argument(arguments, s->rank ? "const double *" : "double ", name);
    sb_printf(doc, "%s: ", name);
    if (s->rank == 0) {
        sb_puts(doc, "a number");
    } else if (family_first(g, r)) {
        sb_puts(doc, "members ");
        dim_print(g->dims, family_first(g, r), doc, NULL, NULL);
        sb_puts(doc, "..");
        dim_print(g->dims, family_last(g, r), doc, NULL, NULL);
        sb_puts(doc, s->rank > 1 ? ", one after the other, each " : ", one after the other: ");
        if (s->rank > 1) put_shape(w, doc, s->rank - 1u, s->dim + 1);
        else put_shape(w, doc, 1, s->dim);
    } else {
        put_shape(w, doc, s->rank, s->dim);
    }
    sb_putc(doc, '\n');
}

static void put_arguments(ce *w, strbuf *arguments, strbuf *doc)
{
    cr_graph *g = w->g;
    for (size_t i = 0; i < w->n_cone; i++)
        if (op_of(g, w->cone[i]) == CR_OP_PARAM && !(w->depends[w->cone[i]] >> CE_ARGUMENT & 1))
            put_parameter(w, w->cone[i], arguments, doc);
    for (size_t i = 0; i < w->what->n_free; i++) {
        const lang_free_index *f = &w->what->free_index[i];
        ce_name *n = ce_name_of(w, f->name);
        argument(arguments, "ptrdiff_t ", n->c);
        n->used = false; /* is among the arguments */
        sb_printf(doc, "%s: an index, ", n->c);
        dim_print(g->dims, f->from, doc, NULL, NULL);
        sb_puts(doc, "..");
        dim_print(g->dims, f->to, doc, NULL, NULL);
        sb_putc(doc, '\n');
    }
    for (size_t i = 0; i < w->n_name; i++) {
        if (!w->name[i].used) continue;
        argument(arguments, "ptrdiff_t ", w->name[i].c);
        sb_printf(doc, "%s: %s\n", w->name[i].c, w->name[i].size ? "a size" : "an integer");
    }
    for (size_t i = 1; i < g->n_fun; i++) {
        bool called = false;
        for (size_t k = 0; k < w->n_cone && !g->fun[i].body; k++)
            called = called || (op_of(g, w->cone[k]) == CR_OP_CALL && attr_of(g, w->cone[k], 0) == i);
        if (!called) continue;
        const char *c = ce_name_of(w, g->fun[i].name)->c;
        argument(arguments, ce_format(w, "double (*%s)(unsigned order, double z)", c), "");
        sb_printf(doc, "%s: a function; its derivative of that order at z (order 0: itself)\n", c);
    }
    for (unsigned i = 0; i < w->n_outputs; i++) {
        const cr_shape *s = shape_of(g, w->root[i]);
        argument(arguments, "double *", w->what->name[i]);
        sb_printf(doc, "%s: out, ", w->what->name[i]);
        if (s->rank) put_shape(w, doc, s->rank, s->dim);
        else sb_puts(doc, "a number");
        sb_puts(doc, "; NULL: not asked for\n");
    }
}

/* Lines of a comment; what would end it, or begin another, is taken apart. */
static void put_comment(strbuf *out, const char *lines)
{
    while (*lines) {
        size_t n = strcspn(lines, "\n");
        sb_puts(out, n ? " * " : " *");
        for (size_t i = 0; i < n; i++) {
            sb_putc(out, lines[i]);
            if ((lines[i] == '*' && lines[i + 1] == '/') || (lines[i] == '/' && lines[i + 1] == '*')) sb_putc(out, ' ');
        }
        sb_putc(out, '\n');
        lines += n + (lines[n] == '\n');
    }
}

/* Arrays of the function: small ones of known size on the stack, all others in one piece. */
static void put_scratch(const ce *w, strbuf *out)
{
    enum { ON_STACK = 4096 };
    int64_t left = ON_STACK;
    strbuf total, names;
    sb_init(&total);
    sb_init(&names);
    const char *before = "work", *before_size = NULL;
    for (size_t i = 0; i < w->n_scratch; i++) {
        const ce_scratch *s = &w->scratch[i];
        if (s->n >= 0 && s->n <= left) {
            sb_printf(out, "    double %s[%lld];\n", s->name, (long long)(s->n ? s->n : 1));
            left -= s->n;
            continue;
        }
        sb_printf(&total, "%s%s", total.n ? " + " : "", s->size);
        if (before_size) sb_printf(&names, ", *%s = %s + %s", s->name, before, before_size);
        else sb_printf(&names, "    double *%s = %s", s->name, before);
        before = s->name;
        before_size = s->size;
    }
    if (total.n)
        sb_printf(out, "    double *work = calloc((size_t)(%s) + 1, sizeof *work);\n    if (!work) return 1;\n%s;\n",
                  sb_str(&total), sb_str(&names));
    if (total.status || names.status) out->status = CR_ENOMEM;
    sb_free(&total);
    sb_free(&names);
}

static bool has_work(const strbuf *scratch) { return strstr(sb_str(scratch), "calloc") != NULL; }

static void write_file(ce *w, const strbuf *functions, const strbuf *ends, strbuf *out)
{
    strbuf arguments, doc, scratch, checks;
    sb_init(&arguments);
    sb_init(&doc);
    sb_init(&scratch);
    sb_init(&checks);
    for (size_t i = 0; i < w->n_name; i++)
        if (w->name[i].supposed) {
            sb_printf(&checks, "    if (%s < 1) return 2;\n", w->name[i].c);
            w->name[i].used = true;
        }
    put_arguments(w, &arguments, &doc);
    put_scratch(w, &scratch);
    bool work = has_work(&scratch);
    size_t start = out->n;
    put_comment(out, w->what->comment ? w->what->comment : w->what->function);
    sb_puts(out, " *\n");
    put_comment(out, sb_str(&doc));
    if (out->status == CR_OK) out->s[start] = '/'; /* of the first line, " * ": the comment begins */
    sb_puts(out, " *\n * Returns 0; 1: out of memory; 2: a size or an index out of range. */\n");
    sb_puts(out, "#include <math.h>\n#include <stddef.h>\n#include <stdlib.h>\n#include <string.h>\n\n");
    ce_helpers_write(w, out);
    sb_puts(out, sb_str(functions));
    sb_printf(out, "int %s(%s)\n{\n", w->what->function, sb_str(&arguments));
    sb_puts(out, sb_str(&checks));
    sb_puts(out, sb_str(&w->checks));
    sb_puts(out, sb_str(ends));
    if (w->fails) sb_puts(out, "    int status = 1;\n");
    sb_puts(out, sb_str(&scratch));
    sb_puts(out, sb_str(&w->lines));
    if (w->fails) sb_puts(out, "    status = 0;\nend:\n");
    if (work) sb_puts(out, "    free(work);\n");
    sb_puts(out, w->fails ? "    return status;\n}\n" : "    return 0;\n}\n");
    if (arguments.status || doc.status || scratch.status || checks.status || out->status == CR_ENOMEM)
        ce_fail(w, CR_ENOMEM, "out of memory");
    sb_free(&arguments);
    sb_free(&doc);
    sb_free(&scratch);
    sb_free(&checks);
}

static bool begin(ce *w)
{
    for (unsigned i = 0; i < w->what->n; i++) {
        if (!valid(w->g, w->what->out[i])) return ce_fail(w, CR_EARG, "an invalid expression"), false;
        if (!VEC_RESERVE(w->root, w->root_cap, w->n_roots + 1u)) return ce_fail(w, CR_ENOMEM, "out of memory"), false;
        w->root[w->n_roots++] = w->what->out[i];
    }
    w->n_outputs = w->n_roots;
    for (size_t i = 0; i < w->what->n_free; i++) {
        const lang_free_index *f = &w->what->free_index[i];
        if (!ce_name_add(w, f->name, false) || !ce_range_push(w, f->name, f->from, f->to)) return false;
    }
    return ce_plan(w);
}

/* Free indices are looked at first: what is proved of entries rests on their ranges. */
static void check_indices(ce *w)
{
    for (size_t i = 0; i < w->what->n_free; i++) {
        const lang_free_index *f = &w->what->free_index[i];
        const char *c = ce_name_of(w, f->name)->c;
        sb_printf(&w->checks, "    if (%s < %s || %s > %s) return 2;\n", c, ce_dim_in(w, f->from, CE_ADD), c,
                  ce_dim_in(w, f->to, CE_ADD));
    }
}

cr_status lang_print_c(cr_graph *g, const lang_c *what, strbuf *b)
{
    if (g->err.status != CR_OK) return g->err.status;
    ce w = {.g = g, .what = what};
    strbuf functions, ends, out;
    sb_init(&w.lines);
    sb_init(&w.checks);
    sb_init(&functions);
    sb_init(&ends);
    sb_init(&out);
    if (begin(&w) && write_user_functions(&w, &functions)) {
        check_indices(&w);
        ce_windows_check(&w);
        if (ce_families_write(&w, &ends) && write_outputs(&w)) write_file(&w, &functions, &ends, &out);
    }
    if (functions.status || ends.status || w.checks.status) ce_fail(&w, CR_ENOMEM, "out of memory");
    if (g->err.status == CR_OK) {
        sb_write(b, sb_str(&out), out.n);
        if (b->status != CR_OK) graph_fail(g, b->status, "out of memory");
    }
    sb_free(&w.lines);
    sb_free(&w.checks);
    sb_free(&functions);
    sb_free(&ends);
    sb_free(&out);
    mem_free(w.root);
    mem_free(w.cone);
    mem_free(w.v);
    mem_free(w.scan);
    mem_free(w.uses);
    mem_free(w.depends);
    mem_free(w.place);
    mem_free(w.want);
    mem_free(w.guarded);
    mem_free(w.family);
    mem_free(w.lo);
    mem_free(w.hi);
    mem_free(w.name);
    mem_free(w.range);
    mem_free(w.scratch);
    mem_free(w.function);
    arena_free(&w.mem);
    return g->err.status;
}

cr_status cr_emit_c(cr_graph *g, const char *name, unsigned n, const cr_ref *out, const char *const *out_name,
                    char **text)
{
    strbuf b;
    sb_init(&b);
    *text = NULL;
    if (n == 0) return graph_fail(g, CR_EARG, "a C function without a result"), CR_EARG;
    cr_status s = lang_print_c(g, &(lang_c){.function = name, .n = n, .out = out, .name = out_name}, &b);
    if (s == CR_OK && !(*text = sb_take(&b))) graph_fail(g, s = CR_ENOMEM, "out of memory");
    sb_free(&b);
    return s;
}

void cr_string_free(char *s) { mem_free(s); }
