/* Tokens of the formula language, made one at a time: nothing is stored, so that a text of any length costs no memory
 * and a function's body can be read again from its place. */
#ifndef CR_LEXER_H
#define CR_LEXER_H

#include "graph/dim.h"

typedef struct source {
    const char *name; /* for messages: task1.cr */
    const char *text; /* valid UTF-8 without NUL bytes; not NUL-terminated */
    size_t n;
} source;

/* X(NAME, "as written"). The order matters: keywords are contiguous. */
#define TOKENS(X)                                                                                                      \
    X(END, "the end of the text")                                                                                      \
    X(NEWLINE, "the end of the line")                                                                                  \
    X(BAD, "")                                                                                                         \
    X(NAME, "a name")                                                                                                  \
    X(NUMBER, "a number")                                                                                              \
    X(LPAREN, "(") X(RPAREN, ")") X(LBRACKET, "[") X(RBRACKET, "]") X(LBRACE, "{") X(RBRACE, "}")                      \
    X(COMMA, ",") X(SEMICOLON, ";") X(COLON, ":") X(ASSIGN, "=") X(DOTDOT, "..") X(ARROW, "->")                        \
    X(PLUS, "+") X(MINUS, "-") X(STAR, "*") X(SLASH, "/") X(CARET, "^")                                                \
    X(DOT_STAR, ".*") X(DOT_SLASH, "./") X(DOT_CARET, ".^") X(QUOTE, "'")                                              \
    X(EQ, "==") X(NE, "!=") X(LT, "<") X(LE, "<=") X(GT, ">") X(GE, ">=")                                              \
    X(LET, "let") X(DEF, "def") X(FUN, "fun") X(DERIVE, "derive") X(EVAL, "eval") X(CHECK, "check")                    \
    X(WRT, "wrt") X(FOR, "for") X(IN, "in")                                                                            \
    X(AND, "and") X(OR, "or") X(NOT, "not") X(TRUE, "true") X(FALSE, "false") X(IF, "if")

typedef enum token_kind {
#define X(name, text) TOK_##name,
    TOKENS(X)
#undef X
    TOK_COUNT
} token_kind;

typedef struct token {
    token_kind kind;
    uint32_t line;     /* from 1 */
    size_t start, end; /* bytes of the source */
    union {
        dim_sym name;    /* TOK_NAME */
        double number;   /* TOK_NUMBER */
        const char *why; /* TOK_BAD: what is wrong with it; NULL: it is not in the language */
    };
} token;

typedef struct lexer {
    const source *src;
    size_t at;
    uint32_t line; /* of `at` */
    uint32_t nest; /* open brackets: inside them a line end is white space */
} lexer;

const char *token_text(token_kind kind); /* "the end of the line", ")" */
static inline bool token_is_keyword(token_kind k) { return k >= TOK_LET; }
static inline bool token_starts_statement(token_kind k) { return k >= TOK_LET && k <= TOK_CHECK; }
static inline bool token_ends_statement(token_kind k) { return k == TOK_END || k == TOK_NEWLINE || k == TOK_SEMICOLON; }

/* The next token; TOK_END for ever at the end. Names are interned in `names`; no memory for that gives TOK_BAD. */
void lex_next(lexer *lx, dim_table *names, token *t);

#endif
