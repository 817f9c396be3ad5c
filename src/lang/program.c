/* Programs of the formula language: texts in, declarations and statements out. */
#include "lang/parse.h"

#include <string.h>

lang_program *lang_new(cr_graph *g)
{
    lang_program *p = mem_zalloc(1, sizeof *p);
    if (!p) return NULL;
    p->g = g;
    const char *s;
    for (unsigned i = 0; (s = builtin_name(i)) != NULL; i++) {
        if (strchr(s, '\'')) continue; /* sigmoid' is read as a derivative of sigmoid */
        dim_sym sym = name_intern(g->dims, s, strlen(s));
        global_name *e = sym ? global_of(p, sym) : NULL;
        if (!e) {
            lang_free(p);
            return NULL;
        }
        e->builtin = (uint16_t)(i + 1);
    }
    return p;
}

void lang_free(lang_program *p)
{
    if (!p) return;
    arena_free(&p->mem);
    mem_free(p->global);
    mem_free(p->variable);
    mem_free(p->function);
    for (size_t i = 0; i < p->n_families; i++) mem_free(p->family[i].rule);
    mem_free(p->family);
    mem_free(p->statement);
    mem_free(p);
}

/* ---- texts ------------------------------------------------------------------------------------- */

/* Copies a text into the program: functions are read again, and errors show lines of it. Checks what the lexer relies
 * on. */
static const source *add_source(parser *ps, const char *name, const char *text, size_t n)
{
    arena *mem = &ps->p->mem;
    if (ps->g->err.status != CR_OK) return NULL;
    if (n > MAX_TEXT) {
        graph_fail(ps->g, CR_ELIMIT, "%s: a text of %zu bytes; at most %d MiB are read", name, n, MAX_TEXT >> 20);
        return NULL;
    }
    size_t n_name = strlen(name) + 1;
    source *src = arena_alloc(mem, sizeof *src);
    char *own_name = arena_alloc(mem, n_name), *own = arena_alloc(mem, n + 1);
    if (!src || !own_name || !own) {
        graph_fail(ps->g, CR_ENOMEM, "out of memory");
        return NULL;
    }
    memcpy(own_name, name, n_name);
    memcpy(own, text, n);
    own[n] = '\0';
    *src = (source){own_name, own, n};
    const char *nul = memchr(own, '\0', n);
    size_t good = utf8_check(own, nul ? (size_t)(nul - own) : n);
    if (good == n) return src;
    src->n = good; /* the error shows the line up to there */
    if (own[good] == '\0') fail_at(ps, (text_place){src, good, good}, CR_ESYNTAX, "a NUL byte; is this a text file?");
    else
        fail_at(ps, (text_place){src, good, good}, CR_ESYNTAX, "the byte 0x%02X is not UTF-8 text",
                (unsigned char)own[good]);
    return NULL;
}

static bool start(parser *ps, lang_program *p, const char *name, const char *text, size_t n)
{
    parser_init(ps, p);
    const source *src = add_source(ps, name, text, n);
    if (!src) return false;
    size_t mark = n >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3) ? 3 : 0; /* byte order mark */
    parser_start(ps, src, mark, 1);
    return true;
}

/* The state of a failed parse is inconsistent in nothing that outlives it. */
static cr_status finish(parser *ps)
{
    parser_free(ps);
    return ps->g->err.status;
}

static bool expect_end(parser *ps)
{
    while (accept(ps, TOK_NEWLINE) || accept(ps, TOK_SEMICOLON)) {}
    return at(ps, TOK_END) || unexpected(ps, "an operator or the end of the text");
}

cr_status lang_parse(lang_program *p, const char *name, const char *text, size_t n)
{
    parser ps;
    if (start(&ps, p, name, text, n)) parse_statements(&ps);
    return finish(&ps);
}

cr_status lang_declare(lang_program *p, const char *name, const char *text)
{
    parser ps;
    if (start(&ps, p, name, text, strlen(text))) {
        accept(&ps, TOK_LET);
        if (parse_let_list(&ps)) expect_end(&ps);
    }
    return finish(&ps);
}

cr_status lang_assign(lang_program *p, const char *name, const char *text, bool declares)
{
    parser ps;
    if (start(&ps, p, name, text, strlen(text))) parse_assignments(&ps, declares);
    return finish(&ps);
}

/* ---- queries ------------------------------------------------------------------------------------ */

cr_status lang_query(lang_program *p, lang_kind kind, const char *expr, const char *wrt)
{
    static const char *const word[] = {[LANG_DERIVE] = "derive ", [LANG_EVAL] = "eval ", [LANG_CHECK] = "check "};
    parser ps;
    lang_statement st = {.line = 1};
    if (start(&ps, p, "expression", expr, strlen(expr))) {
        const source *of = ps.lx.src, *by = NULL;
        bool ok = !wrt || (by = add_source(&ps, "--wrt", wrt, strlen(wrt))) != NULL;
        if (ok && parse_query(&ps, kind, by, &st) && expect_end(&ps)) {
            strbuf b;
            sb_init(&b);
            sb_puts(&b, word[kind]);
            fold_text(&b, (text_place){of, 0, of->n}, 0);
            if (by) {
                sb_puts(&b, " wrt ");
                fold_text(&b, (text_place){by, 0, by->n}, 0);
            }
            st.query = keep_text(&ps, &b);
            if (st.query) append_statement(&ps, &st);
        }
    }
    return finish(&ps);
}

cr_status lang_expression(lang_program *p, const char *name, const char *text, lang_statement *st)
{
    parser ps;
    lang_statement out = {.kind = LANG_EVAL, .line = 1};
    if (start(&ps, p, name, text, strlen(text))) {
        const source *src = ps.lx.src;
        bool ok = true;
        ps.allow_free = true;
        for (size_t i = 0; i < st->n_free && i < MAX_FREE; i++) { /* known ranges: as if x[i] had been read */
            const lang_free_index *f = &st->free_index[i];
            free_name *own = &ps.free_index[ps.n_free++];
            *own = (free_name){.name = f->name, .size = f->to, .first = {src, 0, 0}, .indexed = {src, 0, 0}};
            if (cr_dim_value(ps.g, f->from, &own->least)) own->least = 1 - own->least;
        }
        lexer lx = ps.lx;
        token tok = ps.tok;
        do { /* again if a range was needed before it was known */
            ps.settled = ps.delta_open;
            ps.delta_open = false;
            ps.lx = lx;
            ps.tok = tok;
            ok = (out.expr = parse_expression(&ps)) != CR_NONE && expect_end(&ps) && finish_families(&ps, 0);
        } while (ok && ps.delta_open && !ps.settled);
        strbuf b;
        sb_init(&b);
        fold_text(&b, (text_place){src, 0, src->n}, 0);
        if (ok && (out.query = keep_text(&ps, &b)) != NULL && finish_indices(&ps, &out, false)) *st = out;
        sb_free(&b);
    }
    return finish(&ps);
}

/* ---- reading ------------------------------------------------------------------------------------ */

size_t lang_n_statements(const lang_program *p) { return p->n_statements; }
const lang_statement *lang_statement_at(const lang_program *p, size_t i) { return &p->statement[i]; }
size_t lang_n_variables(const lang_program *p) { return p->n_variables; }
const lang_variable *lang_variable_at(const lang_program *p, size_t i) { return &p->variable[i]; }

bool lang_definition_at(const lang_program *p, size_t i, dim_sym *name, cr_ref *value)
{
    if (i >= p->global_cap) return false;
    *name = (dim_sym)i;
    *value = p->global[i].kind == NAME_DEFINITION ? p->global[i].index : CR_NONE;
    return true;
}
