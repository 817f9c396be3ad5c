/* The parser's state: tokens taken one by one, the stack of operands, names in scope. */
#include "lang/parse.h"

#include <string.h>

void parser_init(parser *ps, lang_program *p)
{
    *ps = (parser){.p = p, .g = p->g, .expansion = MAX_EXPANSION};
}

void parser_free(parser *ps)
{
    mem_free(ps->local);
    mem_free(ps->stack);
    mem_free(ps->wrt);
}

void parser_start(parser *ps, const source *src, size_t at_byte, uint32_t line)
{
    ps->lx = (lexer){.src = src, .at = at_byte, .line = line};
    ps->prev_end = at_byte;
    lex_next(&ps->lx, ps->g->dims, &ps->tok);
}

void advance(parser *ps)
{
    ps->prev_end = ps->tok.end;
    lex_next(&ps->lx, ps->g->dims, &ps->tok);
}

bool accept(parser *ps, token_kind k)
{
    if (!at(ps, k)) return false;
    advance(ps);
    return true;
}

bool expect(parser *ps, token_kind k, const char *what)
{
    if (accept(ps, k)) return true;
    unexpected(ps, what);
    return false;
}

/* A bracket that is never closed swallows the lines after it: then its own place is what helps. */
bool expect_close(parser *ps, token_kind k, const token *open)
{
    if (accept(ps, k)) return true;
    if (at(ps, TOK_END) || token_starts_statement(ps->tok.kind)) {
        fail_token(ps, open, CR_ESYNTAX, "`%s` is never closed", token_text(open->kind));
    } else {
        char wanted[32] = "an operator or `";
        strcat(strcat(wanted, token_text(k)), "`");
        unexpected(ps, wanted);
    }
    return false;
}

bool expect_name(parser *ps, const char *what, token *name)
{
    *name = ps->tok;
    return expect(ps, TOK_NAME, what);
}

token peek(parser *ps)
{
    lexer ahead = ps->lx;
    token t;
    lex_next(&ahead, ps->g->dims, &t);
    return t;
}

bool end_of_statement(parser *ps)
{
    if (token_ends_statement(ps->tok.kind)) return true;
    unexpected(ps, "an operator or the end of the statement");
    return false;
}

static bool no_memory(parser *ps)
{
    graph_fail(ps->g, CR_ENOMEM, "out of memory");
    return false;
}

bool push(parser *ps, cr_ref r)
{
    if (!VEC_RESERVE(ps->stack, ps->stack_cap, ps->n_stack + 1)) return no_memory(ps);
    ps->stack[ps->n_stack++] = r;
    return true;
}

/* ---- names ------------------------------------------------------------------------------------- */

global_name *global_of(lang_program *p, dim_sym s)
{
    size_t old = p->global_cap;
    if (s >= old) {
        if (!VEC_RESERVE(p->global, p->global_cap, (size_t)s + 1)) {
            graph_fail(p->g, CR_ENOMEM, "out of memory");
            return NULL;
        }
        memset(p->global + old, 0, (p->global_cap - old) * sizeof *p->global);
    }
    return &p->global[s];
}

const local_name *find_local(const parser *ps, dim_sym s)
{
    size_t first = ps->frame ? ps->frame->first_local : 0;
    for (size_t i = ps->n_local; i > first; i--)
        if (ps->local[i - 1].name == s) return &ps->local[i - 1];
    return NULL;
}

free_name *find_free(parser *ps, dim_sym s)
{
    for (size_t i = 0; i < ps->n_free && ps->allow_free && !ps->frame; i++)
        if (ps->free_index[i].name == s) return &ps->free_index[i];
    return NULL;
}

static const char *kind_text(const global_name *e)
{
    switch ((name_kind)e->kind) {
    case NAME_VARIABLE: return "a variable";
    case NAME_INTEGER: return e->implicit ? "a size" : "an integer";
    case NAME_DEFINITION: return "a definition";
    case NAME_FUNCTION: return "a function";
    case NAME_FAMILY: return "a family";
    default: return "unknown";
    }
}

bool declare(parser *ps, const token *name, name_kind kind, uint32_t index)
{
    const char *s = name_text(ps->g->dims, name->name);
    global_name *e = global_of(ps->p, name->name);
    if (!e) return false;
    if (e->kind != NAME_NONE) {
        fail_token(ps, name, CR_ENAME, "`%s` is already %s, declared at %s:%u", s, kind_text(e), e->src->name, e->line);
        return false;
    }
    if (is_constant_name(s) || (kind == NAME_FUNCTION && e->builtin)) {
        fail_token(ps, name, CR_ENAME, "`%s` is built in; choose another name", s);
        return false;
    }
    e->kind = (uint8_t)kind;
    e->index = index;
    e->line = name->line;
    e->src = ps->lx.src;
    return true;
}

/* `name` stands where an index may, but is not declared. */
static free_name *add_free(parser *ps, const token *name)
{
    if (ps->n_free == MAX_FREE) {
        fail_token(ps, name, CR_ELIMIT, "more than %d free indices in one statement", MAX_FREE);
        return NULL;
    }
    free_name *f = &ps->free_index[ps->n_free++];
    *f = (free_name){.name = name->name, .first = {ps->lx.src, name->start, name->end}};
    return f;
}

/* Is `s` an index later in this statement? Looks for it inside the brackets of x[...], e(...) and delta(...), so that
 * `i*x[i]` means what `x[i]*i` does. */
static bool is_index_ahead(parser *ps, dim_sym s)
{
    lexer lx = ps->lx;
    uint64_t index_bit = 0; /* by nesting level (of the first 63): an index bracket? */
    unsigned level = 0;
    token t = ps->tok, before = {.kind = TOK_NAME};
    for (; !token_starts_statement(t.kind); lex_next(&lx, ps->g->dims, &t)) {
        if (t.kind == TOK_END || (token_ends_statement(t.kind) && lx.nest == 0)) break;
        bool opens = t.kind == TOK_LPAREN || t.kind == TOK_LBRACKET || t.kind == TOK_LBRACE;
        if (opens && ++level < 64) {
            bool after_value = before.kind == TOK_NAME || before.kind == TOK_RPAREN || before.kind == TOK_RBRACKET ||
                               before.kind == TOK_QUOTE;
            const char *f = before.kind == TOK_NAME ? name_text(ps->g->dims, before.name) : "";
            bool index = t.kind == TOK_LBRACKET ? after_value : !strcmp(f, "delta") || !strcmp(f, "e");
            index_bit = index ? index_bit | (uint64_t)1 << level : index_bit & ~((uint64_t)1 << level);
        } else if ((t.kind == TOK_RPAREN || t.kind == TOK_RBRACKET || t.kind == TOK_RBRACE) && level) {
            level--;
        } else if (t.kind == TOK_NAME && t.name == s) {
            if (index_bit & (((uint64_t)2 << (level < 63 ? level : 63)) - 1)) return true;
        }
        before = t;
    }
    return false;
}

/* A size that is used without `let n : Z` is declared by that. */
static bool add_size(parser *ps, const token *name)
{
    lang_program *p = ps->p;
    if (!declare(ps, name, NAME_INTEGER, (uint32_t)p->n_variables)) return false;
    if (!VEC_RESERVE(p->variable, p->variable_cap, p->n_variables + 1)) return no_memory(ps);
    p->variable[p->n_variables++] = (lang_variable){.name = name->name};
    p->global[name->name].implicit = 1;
    return true;
}

static cr_ref symbol(parser *ps, dim_sym s) { return cr_int(ps->g, dim_symbol(ps->g->dims, s)); }

static cr_ref needs_argument(parser *ps, const token *name)
{
    const char *s = name_text(ps->g->dims, name->name);
    return fail_token(ps, name, CR_ESYNTAX, "`%s` is a function; it needs an argument: %s(...)", s, s);
}

cr_ref parse_name(parser *ps, const token *name)
{
    const local_name *l = find_local(ps, name->name);
    if (l) return l->value;
    if (find_free(ps, name->name)) return built(ps, symbol(ps, name->name), name->start);
    global_name *e = global_of(ps->p, name->name);
    if (!e) return CR_NONE;
    const char *s = name_text(ps->g->dims, name->name);
    bool integer_only = ps->size_mode || ps->in_index;
    switch ((name_kind)e->kind) {
    case NAME_VARIABLE:
        if (integer_only)
            return fail_token(ps, name, CR_ENAME, "`%s` is a variable, declared at %s:%u; it cannot be %s", s,
                              e->src->name, e->line,
                              ps->size_mode ? "a size" : "an index");
        return ps->p->variable[e->index].param;
    case NAME_INTEGER: return built(ps, symbol(ps, name->name), name->start);
    case NAME_DEFINITION: return e->index;
    case NAME_FUNCTION: return needs_argument(ps, name);
    case NAME_FAMILY:
        return fail_token(ps, name, CR_ESYNTAX, "`%s` is a family; it needs an index: %s[...]", s, s);
    case NAME_NONE: break;
    }
    bool found;
    cr_ref c = builtin_constant(ps, name, &found);
    if (found) return built(ps, c, name->start);
    if (ps->size_mode) return add_size(ps, name) ? built(ps, symbol(ps, name->name), name->start) : CR_NONE;
    if (ps->allow_free && !ps->frame && (ps->in_index || is_index_ahead(ps, name->name)))
        return add_free(ps, name) ? built(ps, symbol(ps, name->name), name->start) : CR_NONE;
    if (e->builtin) return needs_argument(ps, name);
    if (ps->in_index && !ps->allow_free)
        return fail_token(ps, name, CR_ENAME, "unknown index `%s`; free indices stand in derive, eval and check only",
                          s);
    return unknown_name(ps, name, "name", false);
}
