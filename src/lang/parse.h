/* The parser, room-internal: recursive descent straight to expressions of the graph.
 *
 * Convention: a function that returns cr_ref, cr_dim or bool returns CR_NONE, 0 or false only after the graph's error
 * has been set with its place. Recursion is bounded by MAX_NESTING in every path that text can drive. */
#ifndef CR_PARSE_H
#define CR_PARSE_H

#include "lang/lang.h"
#include "lang/lexer.h"

enum {
    MAX_NESTING = 500,         /* brackets in brackets, and calls in calls */
    MAX_CALL_DEPTH = 64,       /* functions that call functions */
    MAX_EXPANSION = 8000000,   /* bytes of function bodies that are read again for calls, in one text */
    MAX_FREE = 64,             /* free indices of one statement */
    MAX_ORDER = 16,            /* f'''... */
    MAX_ARGUMENTS = 64,
    MAX_TEXT = 16 * 1024 * 1024
};

/* ---- names ------------------------------------------------------------------------------------ */

typedef enum name_kind {
    NAME_NONE,
    NAME_VARIABLE,
    NAME_INTEGER,
    NAME_DEFINITION,
    NAME_FUNCTION,
    NAME_FAMILY
} name_kind;

/* What a name means everywhere in the program. A built-in function and a variable may share a name (`e`, `I`): a
 * function's name is followed by `(`. */
typedef struct global_name {
    uint8_t kind;      /* name_kind */
    uint8_t implicit;  /* an integer known only from its use as a size */
    uint16_t builtin;  /* 1 + number of the built-in function of that name; 0: none */
    /* variable: number in lang_program.variable; definition: its ref; function, family: number in .function, .family */
    uint32_t index;
    uint32_t line;     /* of the declaration ... */
    const source *src; /* ... in this text */
} global_name;

/* fun: unknown (fun != 0, no text), known and closed (fun != 0 with text), or to be read again at each call. */
typedef struct user_function {
    cr_fun fun;
    bool elementwise;  /* products in the body are element by element, as for a function of scalars */
    uint32_t line;
    unsigned n_params;
    const dim_sym *param;
    const source *src; /* the body is src->text[start..end) */
    size_t start, end;
} user_function;

/* A part of a text. */
typedef struct text_place {
    const source *src;
    size_t start, end;
} text_place;

/* def o[i] = body for i in lo..hi; the body is read when a query needs it. */
typedef struct family_rule {
    dim_sym index; /* 0: one index only, lo == hi */
    cr_dim lo, hi;
    text_place body;
    uint32_t line;
} family_rule;

/* A family of expressions. Queries see the rules so far: each version of them is a family of the graph of its own. */
typedef struct lang_family {
    dim_sym name;
    family_rule *rule; /* in the order of the text */
    size_t n_rules, rule_cap;
    cr_family made;    /* for rules up to .version ... */
    unsigned version;  /* ... of lang_program.version */
    bool busy;         /* its shape is being found */
    bool defined;      /* the rules have been put into `made` */
} lang_family;

struct lang_program {
    cr_graph *g;
    arena mem; /* texts, statements */
    global_name *global; /* by dim_sym */
    size_t global_cap;
    lang_variable *variable;
    size_t n_variables, variable_cap;
    user_function *function;
    size_t n_functions, function_cap;
    lang_family *family;
    size_t n_families, family_cap;
    unsigned version; /* goes up with every rule */
    lang_statement *statement;
    size_t n_statements, statement_cap;
};

/* ---- parser state ------------------------------------------------------------------------------ */

/* A name that means something in a part of the text only: an index of sum(i=1..n, ...), a parameter of a function. */
typedef struct local_name {
    dim_sym name;
    cr_ref value;
    dim_sym symbol; /* index: the symbol that stands for it; 0 for a parameter */
    cr_dim lo, hi;  /* index: its range */
    bool downwards; /* index: written hi..-1..lo */
} local_name;

/* A free index. Each use as x[name + c] on an axis of size s demands 1 <= name + c <= s. */
typedef struct free_name {
    dim_sym name;
    cr_dim size; /* CR_NONE: not yet used as an index */
    cr_dim family_lo, family_hi; /* of a family that it is an index of: its range if nothing else says it; or CR_NONE */
    int64_t least, most; /* c over all uses */
    unsigned axis;
    text_place first, indexed; /* the name's first place; what it indexed first */
} free_name;

/* A body being read in place of a call. */
typedef struct call_frame {
    const struct call_frame *caller;
    dim_sym function;
    text_place call;    /* src NULL: not a call, the body is tried at its definition */
    size_t first_local; /* locals below belong to the caller and are not seen */
    unsigned depth;
} call_frame;

typedef struct parser {
    lang_program *p;
    cr_graph *g;
    lexer lx;
    token tok;       /* the next token, not yet taken */
    size_t prev_end; /* where the one before it ended */
    unsigned depth;
    size_t expansion; /* what is left of MAX_EXPANSION */
    const call_frame *frame;
    local_name *local;
    size_t n_local, local_cap;
    cr_ref *stack; /* operands of sums, calls and literals being read */
    size_t n_stack, stack_cap;
    free_name free_index[MAX_FREE];
    size_t n_free;
    calc_wrt *wrt;
    size_t n_wrt, wrt_cap;
    bool allow_free;    /* inside derive, eval, check */
    bool size_mode;     /* undeclared names are sizes */
    bool settled;       /* second reading: what is not known of a free index now stays so */
    unsigned in_integer; /* > 0: an integer is read */
    unsigned in_index;  /* > 0: as an index: undeclared names are free indices */
    unsigned in_branch; /* > 0: inside if(...): an index may be guarded by the condition */
    bool elementwise;   /* products are element by element */
    bool deferred;      /* the error is that a family's shape was asked for while it is being found */
    bool delta_open;    /* a delta was met before the range of its indices was known */
} parser;

void parser_init(parser *ps, lang_program *p);
void parser_free(parser *ps);
void parser_start(parser *ps, const source *src, size_t at, uint32_t line); /* reads from there on */

void advance(parser *ps);
static inline bool at(const parser *ps, token_kind k) { return ps->tok.kind == k; }
bool accept(parser *ps, token_kind k);
bool expect(parser *ps, token_kind k, const char *what);
bool expect_close(parser *ps, token_kind k, const token *open);
bool expect_name(parser *ps, const char *what, token *name);
token peek(parser *ps); /* the token after the next */
bool end_of_statement(parser *ps);
bool push(parser *ps, cr_ref r);

/* ---- errors (parse_error.c) -------------------------------------------------------------------- */

/* Sets the graph's error: place, message, the line of text and a caret. An earlier error stays. Returns CR_NONE. */
cr_ref fail_at(parser *ps, text_place w, cr_status status, const char *fmt, ...) CR_PRINTF(4, 5);
cr_ref fail_token(parser *ps, const token *t, cr_status status, const char *fmt, ...) CR_PRINTF(4, 5);
cr_ref unexpected(parser *ps, const char *wanted); /* the next token is not `wanted` */
cr_ref unknown_name(parser *ps, const token *t, const char *what, bool function);
/* Result of a builder for the text from `start` to the last token taken: if it failed, its message gets the place. */
cr_ref built(parser *ps, cr_ref r, size_t start);
text_place place(const parser *ps, size_t start); /* from there to the last token taken */
/* `text` without comments, white space folded; more than `limit` characters are cut (0: never). */
void fold_text(strbuf *b, text_place w, size_t limit);
/* As fold_text, for messages: the buffer of slot 0..3 is used. */
const char *excerpt(text_place w, int slot);
const char *size_text(cr_graph *g, cr_dim d, int slot);

/* ---- expressions ------------------------------------------------------------------------------- */

cr_ref parse_expression(parser *ps);
cr_dim parse_integer(parser *ps, const char *what); /* an integer expression, in the mode that is set */
bool parse_indices(parser *ps, cr_ref of, size_t start, cr_dim *index); /* after `[`; as many as `of` has axes */
cr_ref parse_bracket(parser *ps); /* [1,2;3,4] or [i=1..n : expr] */
cr_ref parse_call(parser *ps, const token *name);
cr_ref parse_if(parser *ps);
cr_ref parse_window(parser *ps, const char *name, size_t start); /* conv and its kin, at `(` */
cr_ref parse_user_call(parser *ps, const token *name, unsigned order);
bool parse_arguments(parser *ps, unsigned *n); /* after `(`: pushes them on the stack */
/* i=1..n, j=1..m, `end`: pushes the indices as locals. */
bool parse_binders(parser *ps, token_kind end, size_t *first);
cr_ref bind_indices(parser *ps, cr_bind_kind kind, size_t first, cr_ref body, size_t start); /* and pops them */

/* ---- names and indices ------------------------------------------------------------------------- */

global_name *global_of(lang_program *p, dim_sym s); /* NULL: out of memory, error set */
const local_name *find_local(const parser *ps, dim_sym s);
free_name *find_free(parser *ps, dim_sym s);
cr_ref parse_name(parser *ps, const token *name); /* a name that is not called */
bool declare(parser *ps, const token *name, name_kind kind, uint32_t index);
bool note_index(parser *ps, cr_dim d, cr_dim size, unsigned axis, text_place index, text_place indexed);
cr_ref build_delta(parser *ps, cr_dim i, cr_dim j);
bool index_ranges(parser *ps, lang_free_index *out, bool all); /* of all free indices; all: each must have one */

/* ---- families ---------------------------------------------------------------------------------- */

bool parse_range(parser *ps, cr_dim *lo, cr_dim *hi); /* after `[`: 1..N], sizes */
bool parse_family_rule(parser *ps, const token *name); /* after `def o`, at `[` */
cr_ref parse_member(parser *ps, const token *name);    /* of a family of expressions, at `[` */
/* At `[`: k] of a family of variables; the index, as a position from 1, to *position if that is not NULL. */
cr_ref parse_pick(parser *ps, cr_ref w, size_t start, cr_dim *position);
/* Puts the rules of all families that were met into the graph and checks them; `at`: the place for messages. */
bool finish_families(parser *ps, size_t start);
bool check_members(parser *ps, cr_ref r, size_t start); /* does r ask for members that there are, as far as one sees? */

/* ---- functions --------------------------------------------------------------------------------- */

const char *builtin_name(unsigned i); /* NULL past the last */
bool builtin_is_elementwise(unsigned id); /* id as in global_name.builtin */
cr_ref builtin_constant(parser *ps, const token *name, bool *found); /* pi */
bool is_constant_name(const char *s);
bool parse_function(parser *ps); /* after `fun` */

/* ---- statements -------------------------------------------------------------------------------- */

bool parse_statements(parser *ps);
bool parse_let_list(parser *ps);    /* x : R^n, W : R^{m x n}, n = 3 */
bool parse_assignments(parser *ps, bool declares); /* x = [1,2]; n = 3 */
/* EXPR [wrt ...] from the next token on; wrt, if not NULL, is a text of its own for the variables. Reads twice if a
 * free
 * index was needed before its range was known. `query` is left to the caller. */
bool parse_query(parser *ps, lang_kind kind, const source *wrt, lang_statement *st);
bool append_statement(parser *ps, const lang_statement *st);
/* Copies the free indices to st; all: each must have a range. */
bool finish_indices(parser *ps, lang_statement *st, bool all);
char *keep_text(parser *ps, strbuf *b); /* into the program's memory, emptying b; NULL: error set */

#endif
