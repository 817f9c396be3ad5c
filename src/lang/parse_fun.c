/* The user's functions. `fun sigma : R -> R` is unknown. A known function of one argument whose body is
 * element-wise and closed becomes a function of the graph, whose calls survive the derivative; any other is read again
 * at each call, with the arguments in place of its parameters. */
#include "lang/parse.h"

#include <string.h>

static bool no_memory(parser *ps)
{
    graph_fail(ps->g, CR_ENOMEM, "out of memory");
    return false;
}

static bool push_parameter(parser *ps, dim_sym name, cr_ref value)
{
    if (!VEC_RESERVE(ps->local, ps->local_cap, ps->n_local + 1)) return no_memory(ps);
    ps->local[ps->n_local++] = (local_name){.name = name, .value = value};
    return true;
}

/* Reads the body of f with its parameters bound to arg. Names of the place of the call are not seen, nor is its
 * mode. */
static cr_ref read_body(parser *ps, const user_function *f, dim_sym name, const cr_ref *arg, text_place call)
{
    call_frame frame = {ps->frame, name, call, ps->n_local, ps->frame ? ps->frame->depth + 1 : 1};
    if (frame.depth > MAX_CALL_DEPTH)
        return fail_at(ps, call, CR_ELIMIT, "more than %d calls in each other; does `%s` call itself?", MAX_CALL_DEPTH,
                       name_text(ps->g->dims, name));
    if (ps->expansion < f->end - f->start)
        return fail_at(ps, call, CR_ELIMIT, "the calls of functions expand to more than %d bytes of text",
                       MAX_EXPANSION);
    ps->expansion -= f->end - f->start;
    lexer lx = ps->lx;
    token tok = ps->tok;
    size_t prev_end = ps->prev_end;
    unsigned in_integer = ps->in_integer, in_index = ps->in_index;
    bool size_mode = ps->size_mode, elementwise = ps->elementwise;

    for (unsigned i = 0; i < f->n_params; i++)
        if (!push_parameter(ps, f->param[i], arg[i])) return CR_NONE;
    ps->frame = &frame;
    ps->in_integer = ps->in_index = 0;
    ps->size_mode = false;
    ps->elementwise = f->elementwise;
    parser_start(ps, f->src, f->start, f->line);
    cr_ref r = parse_expression(ps);
    if (r && ps->tok.start < f->end && !end_of_statement(ps)) r = CR_NONE;

    ps->elementwise = elementwise;
    ps->size_mode = size_mode;
    ps->in_index = in_index;
    ps->in_integer = in_integer;
    ps->frame = frame.caller;
    ps->n_local = frame.first_local;
    ps->lx = lx;
    ps->tok = tok;
    ps->prev_end = prev_end;
    return r;
}

cr_ref parse_user_call(parser *ps, const token *name, unsigned order)
{
    size_t base = ps->n_stack;
    uint32_t number = ps->p->global[name->name].index;
    const char *s = name_text(ps->g->dims, name->name);
    unsigned n;
    if (!parse_arguments(ps, &n)) return CR_NONE;
    user_function f = ps->p->function[number];
    text_place w = place(ps, name->start);
    if (n != f.n_params)
        return fail_at(ps, w, CR_EARG, "`%s` takes %u argument%s, not %u", s, f.n_params, f.n_params == 1 ? "" : "s",
                       n);
    const cr_ref *arg = ps->stack + base;
    if (f.fun) {
        ps->n_stack = base;
        return built(ps, cr_call(ps->g, f.fun, order, arg[0]), name->start);
    }
    if (order)
        return fail_at(ps, w, CR_EUNSUPPORTED,
                       "`'` means the derivative of a function of one argument that acts element by element; `%s` is "
                       "not known as one, use derive ... wrt", s);
    cr_ref own[MAX_ARGUMENTS]; /* the stack may move while the body is read */
    memcpy(own, arg, n * sizeof *own);
    cr_ref r = read_body(ps, &f, name->name, own, w);
    ps->n_stack = base;
    return r;
}

/* ---- definitions ------------------------------------------------------------------------------- */

/* Moves to the end of the body and says whether all in it acts element by element: no transpose, index or literal, no
 * function of a whole vector. Counts its tokens. */
static bool skip_body(parser *ps, bool *elementwise)
{
    token open = ps->tok;
    uint32_t nest = 0;
    bool after_function = false; /* f'' then ( : a derivative, not a transpose */
    *elementwise = true;
    for (; !(token_ends_statement(ps->tok.kind) && ps->lx.nest == 0); advance(ps)) {
        token t = ps->tok;
        if (t.kind == TOK_BAD || at(ps, TOK_END) || token_starts_statement(t.kind)) {
            if (nest && t.kind != TOK_BAD) expect_close(ps, TOK_RPAREN, &open);
            else unexpected(ps, "an operator or the end of the statement");
            return false;
        }
        if (nest == 0 && ps->lx.nest) open = t;
        nest = ps->lx.nest;
        if (t.kind == TOK_NAME) {
            const global_name *e = global_of(ps->p, t.name);
            if (!e) return false;
            token_kind next = peek(ps).kind;
            const user_function *f = e->kind == NAME_FUNCTION ? &ps->p->function[e->index] : NULL;
            after_function = f || e->builtin;
            if (next == TOK_LPAREN || (next == TOK_QUOTE && after_function)) {
                if (f && !f->fun && !f->elementwise) *elementwise = false;
                if (!f && e->builtin && !builtin_is_elementwise(e->builtin)) *elementwise = false;
            }
        } else if (t.kind == TOK_LBRACKET || (t.kind == TOK_QUOTE && !after_function)) {
            *elementwise = false;
        } else if (t.kind != TOK_QUOTE) {
            after_function = false;
        }
    }
    return true;
}

/* Does r depend on nothing but z and numbers? */
static bool is_closed(parser *ps, cr_ref r, cr_ref z, bool *closed)
{
    size_t n;
    cr_ref *cone = graph_cone(ps->g, 1, &r, &n);
    if (!cone) return false;
    *closed = true;
    for (size_t i = 0; i < n; i++) {
        cr_op op = op_of(ps->g, cone[i]);
        if ((op == CR_OP_PARAM && cone[i] != z) || op == CR_OP_INT || op == CR_OP_BIND ||
            op == CR_OP_MEMBER)
            *closed = false;
    }
    mem_free(cone);
    return true;
}

/* Tries f as a function of a scalar. What is wrong with the text itself is an error; a body that only makes sense for
 * tensors is not: it will be read at each call. */
static bool try_scalar(parser *ps, user_function *f, const token *name)
{
    cr_graph *g = ps->g;
    const char *s = name_text(g->dims, name->name);
    dim_sym arg = fresh_symbol(g, s);
    cr_ref z = arg ? cr_param(g, name_text(g->dims, arg), 0, NULL, 0) : CR_NONE;
    if (!z) return no_memory(ps);
    size_t n_stack = ps->n_stack, n_local = ps->n_local;
    unsigned depth = ps->depth;
    lexer lx = ps->lx;
    token tok = ps->tok;
    size_t prev_end = ps->prev_end;

    ps->elementwise = false;
    /* a product with a tensor of the program is a matrix product: then this is no function of scalars */
    f->elementwise = false;
    cr_ref body = read_body(ps, f, name->name, &z, (text_place){0});
    if (!body) {
        cr_status status = g->err.status;
        if (status != CR_ESHAPE && status != CR_EARG && status != CR_EUNSUPPORTED) return false;
        cr_graph_clear_error(g);
        *ps = (parser){.p = ps->p, .g = g, .lx = lx, .tok = tok, .prev_end = prev_end, .depth = depth,
                       .expansion = ps->expansion, .local = ps->local, .n_local = n_local, .local_cap = ps->local_cap,
                       .stack = ps->stack, .n_stack = n_stack, .stack_cap = ps->stack_cap, .wrt = ps->wrt,
                       .wrt_cap = ps->wrt_cap};
        return true;
    }
    if (cr_rank(g, body) != 0 || cr_dtype_of(g, body) != CR_REAL) return true;
    f->elementwise = true;
    bool closed;
    if (!is_closed(ps, body, z, &closed)) return false;
    if (closed) f->fun = cr_fun_known(g, s, z, body);
    return !closed || f->fun || built(ps, CR_NONE, name->start);
}

static bool parse_known(parser *ps, user_function *f, const token *name)
{
    dim_sym param[MAX_ARGUMENTS];
    token open = ps->tok;
    advance(ps);
    do {
        token t;
        if (!expect_name(ps, "the name of a parameter", &t)) return false;
        for (unsigned i = 0; i < f->n_params; i++)
            if (param[i] == t.name) {
                fail_token(ps, &t, CR_ENAME, "two parameters of the name `%s`", name_text(ps->g->dims, t.name));
                return false;
            }
        if (f->n_params == MAX_ARGUMENTS) {
            fail_token(ps, &t, CR_ELIMIT, "more than %d parameters", MAX_ARGUMENTS);
            return false;
        }
        param[f->n_params++] = t.name;
    } while (accept(ps, TOK_COMMA));
    if (!expect_close(ps, TOK_RPAREN, &open) || !expect(ps, TOK_ASSIGN, "`=`")) return false;
    dim_sym *own = arena_alloc(&ps->p->mem, f->n_params * sizeof *own);
    if (!own) return no_memory(ps);
    memcpy(own, param, f->n_params * sizeof *own);
    f->param = own;
    f->src = ps->lx.src;
    f->start = ps->tok.start;
    f->line = ps->tok.line;
    if (token_ends_statement(ps->tok.kind)) return unexpected(ps, "an expression");
    bool elementwise;
    if (!skip_body(ps, &elementwise)) return false;
    f->end = ps->prev_end;
    return f->n_params != 1 || !elementwise || try_scalar(ps, f, name);
}

bool parse_function(parser *ps)
{
    lang_program *p = ps->p;
    token name, r;
    user_function f = {.n_params = 0};
    if (!expect_name(ps, "the name of a function", &name)) return false;
    const global_name *e = global_of(p, name.name);
    if (!e) return false;
    if (e->kind != NAME_NONE || e->builtin) return declare(ps, &name, NAME_FUNCTION, 0); /* says what it is already */
    if (at(ps, TOK_LPAREN)) {
        if (!parse_known(ps, &f, &name)) return false;
    } else if (accept(ps, TOK_COLON)) {
        for (int i = 0; i < 2; i++) {
            if (i && !expect(ps, TOK_ARROW, "`->`, as in fun sigma : R -> R")) return false;
            if (!expect_name(ps, "`R`", &r)) return false;
            if (strcmp(name_text(ps->g->dims, r.name), "R") || at(ps, TOK_CARET)) {
                fail_token(ps, &r, CR_EUNSUPPORTED, "an unknown function is R -> R, and acts element by element");
                return false;
            }
        }
        f.n_params = 1;
        f.fun = cr_fun_unknown(ps->g, name_text(ps->g->dims, name.name));
        if (!f.fun) return built(ps, CR_NONE, name.start);
    } else {
        return unexpected(ps, "`: R -> R` or a parameter, as in fun f(z) = z*exp(z)");
    }
    if (!VEC_RESERVE(p->function, p->function_cap, p->n_functions + 1)) return no_memory(ps);
    p->function[p->n_functions] = f;
    return declare(ps, &name, NAME_FUNCTION, (uint32_t)p->n_functions++);
}
