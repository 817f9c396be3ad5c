/* Families: `let w[1..N] : R` declares variables, `def o[i] = ... for i in 1..N` expressions.
 *
 * A rule of a family may use families that are defined later, itself above all, so rules are kept as text and read when
 * a query needs them. Shapes come first: that of a family is that of its first rule that can be read without asking for
 * it, its start. Then all rules of all families that were met are read, and put into the graph. */
#include "lang/parse.h"

#include <string.h>

static bool no_memory(parser *ps)
{
    graph_fail(ps->g, CR_ENOMEM, "out of memory");
    return false;
}

static const char *name_of(const parser *ps, dim_sym s) { return name_text(ps->g->dims, s); }

/* ---- declarations ------------------------------------------------------------------------------- */

static cr_dim parse_size(parser *ps, const char *what)
{
    bool size_mode = ps->size_mode;
    ps->size_mode = true; /* N is declared by its use */
    cr_dim d = parse_integer(ps, what);
    ps->size_mode = size_mode;
    return d;
}

static bool range_ends(parser *ps, cr_dim *lo, cr_dim *hi)
{
    size_t start = ps->tok.start;
    int64_t n;
    if (!(*lo = parse_size(ps, "the start of a range")) || !expect(ps, TOK_DOTDOT, "`..`, as in 1..N") ||
        !(*hi = parse_size(ps, "the end of a range")))
        return false;
    cr_dim gap = dim_sub(ps->g->dims, *hi, *lo);
    if (!gap) return false;
    if (!dim_value(ps->g->dims, gap, &n) || n >= 0) return true;
    fail_at(ps, place(ps, start), CR_EARG, "an empty range");
    return false;
}

bool parse_range(parser *ps, cr_dim *lo, cr_dim *hi)
{
    return range_ends(ps, lo, hi) && expect(ps, TOK_RBRACKET, "`]`");
}

/* ---- rules -------------------------------------------------------------------------------------- */

static lang_family *family_named(parser *ps, const token *name)
{
    lang_program *p = ps->p;
    const global_name *e = global_of(p, name->name);
    if (!e) return NULL;
    if (e->kind == NAME_FAMILY) return &p->family[e->index];
    if (!declare(ps, name, NAME_FAMILY, (uint32_t)p->n_families)) return NULL;
    if (!VEC_RESERVE(p->family, p->family_cap, p->n_families + 1)) return no_memory(ps), NULL;
    p->family[p->n_families] = (lang_family){.name = name->name};
    return &p->family[p->n_families++];
}

/* Moves to `for` or the end of the statement. */
static bool skip_rule(parser *ps)
{
    token open = ps->tok;
    uint32_t nest = 0;
    if (token_ends_statement(ps->tok.kind) || at(ps, TOK_FOR)) return unexpected(ps, "an expression");
    for (; !((token_ends_statement(ps->tok.kind) || at(ps, TOK_FOR)) && ps->lx.nest == 0); advance(ps)) {
        if (at(ps, TOK_BAD) || at(ps, TOK_END) || token_starts_statement(ps->tok.kind)) {
            if (nest && !at(ps, TOK_BAD)) return expect_close(ps, TOK_RPAREN, &open);
            return unexpected(ps, "an operator, `for` or the end of the statement");
        }
        if (nest == 0 && (at(ps, TOK_RPAREN) || at(ps, TOK_RBRACKET)))
            return unexpected(ps, "an operator, `for` or the end of the statement");
        if (nest == 0 && ps->lx.nest) open = ps->tok;
        nest = ps->lx.nest;
    }
    return true;
}

bool parse_family_rule(parser *ps, const token *name)
{
    family_rule rule = {0};
    token open = ps->tok, inner;
    advance(ps);
    lexer lx = ps->lx; /* to come back to the index, once it is known whether there is a `for` */
    inner = ps->tok;
    bool plain = at(ps, TOK_NAME) && peek(ps).kind == TOK_RBRACKET;
    while (!at(ps, TOK_RBRACKET) || ps->lx.nest) {
        if (at(ps, TOK_END) || at(ps, TOK_BAD) || token_starts_statement(ps->tok.kind))
            return expect_close(ps, TOK_RBRACKET, &open);
        advance(ps);
    }
    advance(ps);
    if (at(ps, TOK_LBRACKET)) {
        fail_token(ps, &ps->tok, CR_EUNSUPPORTED,
                   "a definition gives a whole member; write its entries as [i=1..n : ...]");
        return false;
    }
    if (!expect(ps, TOK_ASSIGN, "`=`")) return false;
    rule.body = (text_place){ps->lx.src, ps->tok.start, 0};
    rule.line = ps->tok.line;
    if (!skip_rule(ps)) return false;
    rule.body.end = ps->prev_end;
    if (accept(ps, TOK_FOR)) {
        token index;
        if (!expect_name(ps, "an index", &index) || !expect(ps, TOK_IN, "`in`, as in for i in 1..N") ||
            !range_ends(ps, &rule.lo, &rule.hi))
            return false;
        if (!plain || inner.name != index.name) {
            fail_token(ps, &inner, CR_ESYNTAX, "with `for %s` the left side is %s[%s]", name_of(ps, index.name),
                       name_of(ps, name->name), name_of(ps, index.name));
            return false;
        }
        const global_name *e = global_of(ps->p, index.name);
        if (!e) return false;
        if (e->kind == NAME_VARIABLE) {
            fail_token(ps, &index, CR_ENAME, "`%s` is in use; choose another name for the index",
                       name_of(ps, index.name));
            return false;
        }
        rule.index = index.name;
    } else {
        lexer end_lx = ps->lx;
        token end = ps->tok;
        size_t prev_end = ps->prev_end;
        const global_name *e = plain ? global_of(ps->p, inner.name) : NULL;
        if (plain && e && e->kind == NAME_NONE) {
            fail_token(ps, &end, CR_ESYNTAX, "`for %s in ...` is missing: over what does the index `%s` run?",
                       name_of(ps, inner.name), name_of(ps, inner.name));
            return false;
        }
        ps->lx = lx;
        ps->tok = inner;
        if (!(rule.lo = rule.hi = parse_size(ps, "an index")) || !expect(ps, TOK_RBRACKET, "one index and `]`"))
            return false;
        ps->lx = end_lx;
        ps->tok = end;
        ps->prev_end = prev_end;
    }
    lang_family *f = family_named(ps, name);
    if (!f) return false;
    if (!VEC_RESERVE(f->rule, f->rule_cap, f->n_rules + 1)) return no_memory(ps);
    f->rule[f->n_rules++] = rule;
    ps->p->version++;
    return true;
}

/* ---- reading rules ------------------------------------------------------------------------------- */

/* The right side of a rule, in the symbol *index. The parser is as before afterwards, unless there is an error. */
static cr_ref read_rule(parser *ps, const lang_family *f, const family_rule *rule, dim_sym *index)
{
    call_frame frame = {ps->frame, f->name, {0}, ps->n_local, ps->frame ? ps->frame->depth + 1 : 1};
    if (frame.depth > MAX_CALL_DEPTH || ps->expansion < rule->body.end - rule->body.start)
        return fail_at(ps, rule->body, CR_ELIMIT, "the definitions of families expand to too much text");
    ps->expansion -= rule->body.end - rule->body.start;
    parser before = *ps;
    *index = fresh_symbol(ps->g, rule->index ? name_of(ps, rule->index) : "i");
    cr_ref value = *index ? cr_int(ps->g, dim_symbol(ps->g->dims, *index)) : CR_NONE;
    if (!value) return CR_NONE;
    ps->frame = &frame;
    if (rule->index) {
        if (!VEC_RESERVE(ps->local, ps->local_cap, ps->n_local + 1)) return no_memory(ps), CR_NONE;
        ps->local[ps->n_local++] = (local_name){rule->index, value, *index, rule->lo, rule->hi, false};
    }
    ps->in_integer = ps->in_index = ps->in_branch = 0;
    ps->size_mode = ps->elementwise = false;
    parser_start(ps, rule->body.src, rule->body.start, rule->line);
    cr_ref r = parse_expression(ps);
    if (r && ps->tok.start < rule->body.end && !end_of_statement(ps)) r = CR_NONE;
    if (r && cr_dtype_of(ps->g, r) != CR_REAL)
        r = fail_at(ps, rule->body, CR_ESHAPE, "a member of `%s` must be a number, not a condition",
                    name_of(ps, f->name));
    if (!r) return CR_NONE;
    ps->in_integer = before.in_integer;
    ps->in_index = before.in_index;
    ps->in_branch = before.in_branch;
    ps->size_mode = before.size_mode;
    ps->elementwise = before.elementwise;
    ps->frame = before.frame;
    ps->n_local = before.n_local;
    ps->lx = before.lx;
    ps->tok = before.tok;
    ps->prev_end = before.prev_end;
    return r;
}

/* Makes the family of the graph for the rules so far. */
static bool find_shape(parser *ps, size_t number, const token *name)
{
    lang_program *p = ps->p;
    lang_family *f = &p->family[number];
    if (f->made && f->version == p->version) return true;
    if (f->busy) {
        ps->deferred = true;
        fail_token(ps, name, CR_EARG, "`%s` has no start value: each of its definitions refers to the family itself",
                   name_of(ps, f->name));
        return false;
    }
    f->busy = true;
    bool ok = false, failed = false;
    for (size_t i = 0; i < p->family[number].n_rules && !ok && !failed; i++) {
        dim_sym index;
        family_rule rule = p->family[number].rule[i];
        parser before = *ps;
        cr_ref r = read_rule(ps, &p->family[number], &rule, &index);
        if (r) {
            const cr_shape *s = shape_of(ps->g, r);
            f = &p->family[number];
            f->made = cr_family_new(ps->g, name_of(ps, f->name), s->rank, s->dim);
            f->version = p->version;
            f->defined = false;
            ok = f->made != 0;
            failed = !ok;
        } else if (ps->deferred && i + 1 < p->family[number].n_rules) { /* the next rule may be the start */
            cr_graph_clear_error(ps->g);
            before.local = ps->local, before.local_cap = ps->local_cap;
            before.stack = ps->stack, before.stack_cap = ps->stack_cap;
            before.expansion = ps->expansion;
            *ps = before;
            ps->deferred = false;
        } else {
            failed = true;
        }
    }
    p->family[number].busy = false;
    return ok;
}

/* The last rule that may have become the piece at fault. */
static const family_rule *rule_at_fault(const lang_program *p, const family_fault *fault)
{
    for (size_t i = 0; i < p->n_families && fault->f; i++) {
        const lang_family *f = &p->family[i];
        if (f->made != fault->f) continue;
        for (size_t k = f->n_rules; k-- > 0;) {
            bool ends = f->rule[k].lo == fault->piece.lo || f->rule[k].hi == fault->piece.hi;
            if (ends && (f->rule[k].index != 0 || fault->piece.lo == fault->piece.hi)) return &f->rule[k];
        }
    }
    return NULL;
}

bool finish_families(parser *ps, size_t start)
{
    lang_program *p = ps->p;
    bool again = true;
    while (again) { /* reading rules may bring in more families */
        again = false;
        for (size_t i = 0; i < p->n_families; i++) {
            if (p->family[i].version != p->version || !p->family[i].made || p->family[i].defined) continue;
            again = p->family[i].defined = true;
            for (size_t k = 0; k < p->family[i].n_rules; k++) {
                dim_sym index;
                family_rule rule = p->family[i].rule[k];
                cr_ref r = read_rule(ps, &p->family[i], &rule, &index);
                lang_family *f = &p->family[i];
                if (!r) return false;
                if (node(ps->g, r)->type != ps->g->family[f->made].type) {
                    cr_ref like = cr_member(ps->g, f->made, rule.lo);
                    fail_at(ps, rule.body, CR_ESHAPE, "the members of `%s` are %s, this one is %s",
                            name_of(ps, f->name), shape_text(ps->g, like, 0), shape_text(ps->g, r, 1));
                    return false;
                }
                if (cr_family_define(ps->g, f->made, name_of(ps, index), rule.lo, rule.hi, r) != CR_OK) {
                    parser_start(ps, rule.body.src, rule.body.start, rule.line);
                    ps->prev_end = rule.body.end;
                    return built(ps, CR_NONE, rule.body.start) != CR_NONE;
                }
            }
        }
    }
    for (size_t i = 0; i < p->n_families; i++) {
        const lang_family *f = &p->family[i];
        if (f->version != p->version || !f->made || ps->g->family[f->made].checked) continue;
        family_fault fault;
        if (family_check(ps->g, f->made, &fault) == CR_OK) continue;
        const family_rule *rule = rule_at_fault(p, &fault);
        if (!rule) return built(ps, CR_NONE, start) != CR_NONE;
        parser_start(ps, rule->body.src, rule->body.start, rule->line);
        ps->prev_end = rule->body.end;
        return built(ps, CR_NONE, rule->body.start) != CR_NONE;
    }
    return true;
}

bool check_members(parser *ps, cr_ref r, size_t start)
{
    cr_graph *g = ps->g;
    size_t n;
    if (g->n_family == 1) return true;
    cr_ref *cone = graph_cone(g, 1, &r, &n);
    bool *guarded = cone ? graph_guarded(g, 1, &r) : NULL;
    for (size_t i = 0; guarded && i < n && g->err.status == CR_OK; i++) {
        if (op_of(g, cone[i]) != CR_OP_MEMBER || guarded[cone[i]]) continue;
        const family *f = &g->family[attr_of(g, cone[i], 0)];
        cr_dim at = attr_of(g, cone[i], 1);
        int64_t low, high;
        if ((dim_value(g->dims, dim_sub(g->dims, at, f->piece[0].lo), &low) && low < 0) ||
            (dim_value(g->dims, dim_sub(g->dims, f->piece[f->n_pieces - 1].hi, at), &high) && high < 0))
            fail_at(ps, place(ps, start), CR_EARG, "`%s[%s]` has no definition", name_of(ps, f->name),
                    size_text(g, at, 0));
    }
    mem_free(guarded);
    mem_free(cone);
    return g->err.status == CR_OK;
}

/* ---- members ------------------------------------------------------------------------------------- */

static cr_dim parse_one_index(parser *ps, const char *of)
{
    ps->in_index++;
    cr_dim d = parse_integer(ps, "an index");
    ps->in_index--;
    if (d && at(ps, TOK_COMMA)) {
        fail_token(ps, &ps->tok, CR_ESYNTAX, "a family takes one index; entries of a member come after it: %s[k][i,j]",
                   of);
        return 0;
    }
    return d;
}

cr_ref parse_pick(parser *ps, cr_ref w, size_t start, cr_dim *position)
{
    cr_graph *g = ps->g;
    token open = ps->tok;
    text_place indexed = {ps->lx.src, start, ps->prev_end};
    advance(ps);
    size_t at_byte = ps->tok.start;
    cr_dim d = parse_one_index(ps, name_of(ps, attr_of(g, w, 0)));
    if (!d) return CR_NONE;
    cr_dim from_one = dim_add(g->dims, dim_sub(g->dims, d, family_first(g, w)), dim_const(g->dims, 1));
    if (!from_one || !note_index(ps, from_one, cr_size(g, w, 0), 0, place(ps, at_byte), indexed) ||
        !expect_close(ps, TOK_RBRACKET, &open))
        return CR_NONE;
    if (position) *position = from_one;
    return built(ps, cr_pick(g, w, d), start);
}

/* A free index of a family runs over all of it, if nothing else says what it runs over. */
static void note_range(parser *ps, const lang_family *f, cr_dim d)
{
    dim_sym s;
    free_name *i = dim_is_symbol(ps->g->dims, d, &s) ? find_free(ps, s) : NULL;
    if (!i || i->family_lo) return;
    cr_dim lo = f->rule[0].lo, hi = f->rule[0].hi;
    for (size_t k = 1; k < f->n_rules; k++) {
        int64_t least;
        if (family_least(ps->g, dim_sub(ps->g->dims, lo, f->rule[k].lo), &least) && least >= 0) lo = f->rule[k].lo;
        if (family_least(ps->g, dim_sub(ps->g->dims, f->rule[k].hi, hi), &least) && least >= 0) hi = f->rule[k].hi;
    }
    i->family_lo = lo;
    i->family_hi = hi;
}

/* o[i-k] with `let k = 2` is o[i-2]: how far a recurrence looks back decides its form. Other integers stay symbols. */
static cr_dim with_given_lag(parser *ps, cr_dim d)
{
    dim_table *t = ps->g->dims;
    bool of_rule = false;
    for (size_t i = 0; i < ps->n_local; i++) of_rule |= ps->local[i].symbol && dim_uses(t, d, ps->local[i].symbol);
    for (size_t i = 0; i < ps->p->n_variables && of_rule && d; i++) {
        const lang_variable *v = &ps->p->variable[i];
        cr_dim value;
        if (!v->param && v->has_value && dim_uses(t, d, v->name) && as_dim(ps->g, v->value, &value))
            d = dim_substitute(t, d, v->name, value);
    }
    return d;
}

cr_ref parse_member(parser *ps, const token *name)
{
    size_t number = global_of(ps->p, name->name)->index;
    token open = ps->tok;
    if (!find_shape(ps, number, name)) return CR_NONE;
    advance(ps);
    cr_dim d = parse_one_index(ps, name_of(ps, name->name));
    if (d) d = with_given_lag(ps, d);
    if (!d || !expect_close(ps, TOK_RBRACKET, &open)) return CR_NONE;
    note_range(ps, &ps->p->family[number], d);
    return built(ps, cr_member(ps->g, ps->p->family[number].made, d), name->start);
}
