/* chainrule: derive, run, diagnose and repair the gradients of neural networks.
 *
 * A network and a formula are the same thing, an expression; its derivative is another expression.
 * Expressions live in a graph (cr_graph). A cr_ref names one of them; equal expressions have equal
 * refs. Builders take refs and return refs, so they nest; an invalid ref (CR_NONE) in gives an invalid
 * ref out, and the graph keeps the first error with its message, so that one check at the end is enough:
 *
 *     cr_graph *g = cr_graph_new();
 *     cr_dim n = cr_dim_symbol(g, "n"), m = cr_dim_symbol(g, "m");
 *     cr_ref W = cr_param(g, "W", 2, (cr_dim[]){m, n}, 0), x = cr_param(g, "x", 1, &n, 0);
 *     cr_ref loss = cr_sum(g, cr_map(g, CR_OP_TANH, cr_matmul(g, W, x)));
 *     cr_ref grad = cr_simplify(g, cr_derivative(g, loss, W));
 *     if (cr_graph_status(g) != CR_OK) puts(cr_graph_message(g));
 *     cr_graph_free(g);
 *
 * A graph is used by one thread at a time; different graphs are independent. The library never prints,
 * exits or aborts on user data. Refs and dims belong to their graph and die with it.
 */
#ifndef CHAINRULE_H
#define CHAINRULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CR_API __attribute__((visibility("default")))
#else
#define CR_API
#endif

typedef enum cr_status {
    CR_OK = 0,
    CR_EARG,      /* a call that makes no sense: wrong argument, index out of range */
    CR_ESHAPE,    /* sizes that disagree */
    CR_ENAME,     /* unknown or doubly declared name */
    CR_ESYNTAX,   /* text that is not in the language */
    CR_EVALUE,    /* a value is missing, or not of the declared size or attribute */
    CR_EUNSUPPORTED, /* sensible, but not (yet) possible; the message says what is */
    CR_ELIMIT,    /* input beyond a stated limit (nesting, length) */
    CR_EIO,       /* file cannot be read or written */
    CR_ENOMEM,    /* out of memory */
    CR_EINTERNAL  /* a fault of this library */
} cr_status;

typedef struct cr_graph cr_graph;
typedef uint32_t cr_ref; /* an expression; 0 is none */
typedef uint32_t cr_dim; /* an integer polynomial in named symbols: a size, an index, an exponent; 0 is none */
#define CR_NONE 0u
#define CR_MAX_RANK 16 /* axes of a tensor */

typedef enum cr_dtype { CR_REAL, CR_BOOL } cr_dtype;

/* Facts about a parameter, a bit set. */
enum {
    CR_SYMMETRIC = 1,  /* square; entries [i,j] and [j,i] move together */
    CR_DIAGONAL = 2,   /* square; only the diagonal moves, the rest is 0 */
    CR_POSITIVE = 4,   /* every entry > 0 */
    CR_DEFINITE = 8,   /* symmetric positive definite (implies CR_SYMMETRIC, CR_INVERTIBLE) */
    CR_INVERTIBLE = 16, /* square of full rank */
    CR_PROBABILITY = 32 /* entries >= 0 that sum to 1 (over all entries) */
};

/* Operators. chainrule_ops.def is the one list; it is included here for the enumeration only. */
typedef enum cr_op {
    CR_OP_NONE = 0,
#define CR_OP(name, spelling, arity, kind) CR_OP_##name,
#include "chainrule_ops.def"
#undef CR_OP
    CR_OP_COUNT
} cr_op;

/* ---- graph ------------------------------------------------------------------------------------ */

CR_API cr_graph *cr_graph_new(void);        /* NULL: out of memory */
CR_API void cr_graph_free(cr_graph *g);     /* ends every ref and dim of g; g may be NULL */
CR_API cr_status cr_graph_status(const cr_graph *g);    /* of the first error, CR_OK if none */
CR_API const char *
cr_graph_message(const cr_graph *g); /* of the first error, "" if none; lives until cleared or freed */
CR_API void cr_graph_clear_error(cr_graph *g);
/* At most n expressions in g (2^32 - 1 if not called); more is CR_ELIMIT. A bound on time and memory for texts from
 * others. */
CR_API void cr_graph_limit(cr_graph *g, uint32_t n);
CR_API const char *cr_version(void);

/* ---- dimensions and integers ------------------------------------------------------------------- */

CR_API cr_dim cr_dim_const(cr_graph *g, int64_t v);
CR_API cr_dim cr_dim_symbol(cr_graph *g, const char *name); /* same name, same symbol */
CR_API cr_dim cr_dim_add(cr_graph *g, cr_dim a, cr_dim b);
CR_API cr_dim cr_dim_sub(cr_graph *g, cr_dim a, cr_dim b);
CR_API cr_dim cr_dim_mul(cr_graph *g, cr_dim a, cr_dim b);
CR_API cr_dim cr_dim_floordiv(cr_graph *g, cr_dim a, cr_dim b); /* floor(a/b); b == 0 is an error */
CR_API bool cr_dim_value(const cr_graph *g, cr_dim d, int64_t *v); /* true and *v if d is a number */

/* ---- leaves ------------------------------------------------------------------------------------ */

/* Parameter of the given shape. The same name with another shape or attributes is an error. */
CR_API cr_ref cr_param(cr_graph *g, const char *name, unsigned rank, const cr_dim *shape, unsigned attributes);
CR_API cr_ref cr_const(cr_graph *g, double v);           /* scalar; hashed by bit pattern */
CR_API cr_ref cr_bool(cr_graph *g, bool v);
CR_API cr_ref cr_int(cr_graph *g, cr_dim d);             /* integer polynomial as a number */
CR_API cr_ref cr_onehot(cr_graph *g, cr_dim i, cr_dim n); /* e(i,n) in R^n: 1 at i (counted from 1) */
CR_API cr_ref cr_identity(cr_graph *g, cr_dim n);         /* I(n) */
CR_API cr_ref cr_iota(cr_graph *g, cr_dim n);             /* 1, 2, ..., n in R^n */
CR_API cr_ref cr_full(cr_graph *g, cr_ref scalar, unsigned rank, const cr_dim *shape); /* broadcast */

/* ---- shape of an expression -------------------------------------------------------------------- */

CR_API unsigned cr_rank(const cr_graph *g, cr_ref a);
CR_API cr_dim cr_size(const cr_graph *g, cr_ref a, unsigned axis);
CR_API cr_dtype cr_dtype_of(const cr_graph *g, cr_ref a);

/* ---- arithmetic -------------------------------------------------------------------------------- */
/* Element-wise builders take equal shapes; a scalar operand is broadcast. */

CR_API cr_ref cr_add(cr_graph *g, cr_ref a, cr_ref b);
CR_API cr_ref cr_add_n(cr_graph *g, unsigned n, const cr_ref *terms);
CR_API cr_ref cr_sub(cr_graph *g, cr_ref a, cr_ref b);
CR_API cr_ref cr_neg(cr_graph *g, cr_ref a);
CR_API cr_ref cr_mul(cr_graph *g, cr_ref a, cr_ref b); /* element-wise */
CR_API cr_ref cr_div(cr_graph *g, cr_ref a, cr_ref b); /* element-wise */
CR_API cr_ref cr_pow(cr_graph *g, cr_ref a, cr_ref b); /* element-wise */
CR_API cr_ref cr_map(cr_graph *g, cr_op op, cr_ref a); /* element-wise function of one argument */
CR_API cr_ref cr_leaky_relu(cr_graph *g, cr_ref a, double slope); /* a where a > 0, else slope*a */
CR_API cr_ref cr_map2(cr_graph *g, cr_op op, cr_ref a, cr_ref b); /* MAX2 MIN2 MOD LT LE EQ NE AND OR */
CR_API cr_ref cr_select(cr_graph *g, cr_ref cond, cr_ref a,
                        cr_ref b); /* cond ? a : b; the other branch is never multiplied in */

/* The one multiply-and-sum. labels: for each operand in turn one label per axis. Labels 0..rank-1 are the
 * axes of the result, in order, with sizes `shape`; any label >= rank (< 64) is summed. A result label that
 * no operand has is broadcast. cr_einsum(g, 2, {W, x}, {0,1, 1}, 1, {m}) is W*x. */
CR_API cr_ref cr_einsum(cr_graph *g, unsigned n, const cr_ref *operands, const uint8_t *labels, unsigned rank,
                        const cr_dim *shape);

/* Linear algebra. A vector R^n is a column; matrices are rank 2. The rules of the language (interface.md):
 * a 1 x 1 product is a scalar, scalars multiply anything. */
CR_API cr_ref cr_matmul(cr_graph *g, cr_ref a, cr_ref b);
CR_API cr_ref cr_transpose(cr_graph *g, cr_ref a); /* vector -> R^{1 x n}; scalar -> itself */
CR_API cr_ref cr_sum(cr_graph *g, cr_ref a);       /* all entries */
CR_API cr_ref cr_mean(cr_graph *g, cr_ref a);
CR_API cr_ref cr_trace(cr_graph *g, cr_ref a);
CR_API cr_ref cr_diag(cr_graph *g, cr_ref a); /* vector -> diagonal matrix; matrix -> its diagonal */
CR_API cr_ref cr_kron(cr_graph *g, cr_ref a, cr_ref b);
CR_API cr_ref cr_vec(cr_graph *g, cr_ref a); /* columns stacked */
CR_API cr_ref cr_reshape(cr_graph *g, cr_ref a, unsigned rank, const cr_dim *shape); /* row-major order */
CR_API cr_ref cr_stack(cr_graph *g, unsigned n, const cr_ref *scalars, unsigned rank,
                       const cr_dim *shape); /* numeric shape, row-major */
/* Entries of an axis (counted from 0) of a by their indices, which are values 1, 2, ... as in cr_index: the axes of
 * `index` stand in place of that one. Any other value is an error of evaluation. */
CR_API cr_ref cr_gather(cr_graph *g, cr_ref a, cr_ref index, unsigned axis);
/* Its transpose: zeros, with n entries on the axis, to which the parts of a (whose axes from `axis` on are those of
 * `index`) are added where index says. */
CR_API cr_ref cr_scatter(cr_graph *g, cr_ref a, cr_ref index, unsigned axis, cr_dim n);
CR_API cr_ref
cr_reduce(cr_graph *g, cr_op op, cr_ref a,
          unsigned keep); /* MAXR MINR PRODR ALLR ANYR NORM1 NORM2 NORM_INF over the axes from `keep` on */
CR_API cr_ref cr_softmax(cr_graph *g, cr_ref a, unsigned axis);
CR_API cr_ref cr_logsoftmax(cr_graph *g, cr_ref a, unsigned axis);
CR_API cr_ref cr_linalg(cr_graph *g, cr_op op, cr_ref a); /* DET LOGDET INV PINV ADJ */
CR_API cr_ref cr_matpow(cr_graph *g, cr_ref a, cr_dim k); /* A^k; k < 0: inverse */
CR_API cr_ref cr_index(cr_graph *g, cr_ref a, unsigned n, const cr_dim *index); /* a[i,j,...], from 1; n == rank */

/* ---- windows ----------------------------------------------------------------------------------- */
/* A window moves over the last axes of a tensor x; entry `position` of the result and entry `tap` of the window meet
 * the entry of x at stride*position + dilation*tap - low, counted from 0, on every such axis. Outside of x there is
 * nothing: it counts as 0. Every part may be a symbol; one that is 0 (CR_NONE) has its default. */
typedef struct cr_window {
    unsigned axes; /* how many there are; a convolution knows it by its operands. 0: all behind the first two,
                      or all of a vector or matrix */
    cr_dim size[CR_MAX_RANK]; /* of the window; a convolution knows it by its operands */
    cr_dim stride[CR_MAX_RANK], dilation[CR_MAX_RANK]; /* 1; not below */
    cr_dim low[CR_MAX_RANK], high[CR_MAX_RANK];        /* pads, in front and behind: 0; negative ones cut off */
    cr_dim groups; /* of a convolution: 1 */
    cr_dim result[CR_MAX_RANK]; /* sizes of the result, in place of those that follow from the others; `high` only
                                   serves to find them */
} cr_window;

/* Convolution (a correlation, as in every library for networks): x is N x C x D1 x ..., w is O x C/groups x K1 x ...,
 * the result N x O x P1 x ... with P = floor((D + low + high - dilation*(K-1) - 1)/stride) + 1:
 *
 *     y[n, g*O' + o, p] = sum over c, t of  x[n, g*C' + c, stride*p + dilation*t - low] * w[g*O' + o, c, t],
 *
 * g counting groups, C' = C/groups and O' = O/groups, which must be whole (for a symbol C: groups C itself, or 1).
 * NULL: all defaults. The other two are its derivatives, contracted with y: what is multiplied with x, and with w, in
 * the sum of y[n,o,p] times the result of cr_conv. */
CR_API cr_ref cr_conv(cr_graph *g, cr_ref x, cr_ref w, const cr_window *window);
/* "Transposed convolution": N x C x D1 x ... from y and w; D = stride*(P-1) + dilation*(K-1) + 1 - low - high. */
CR_API cr_ref cr_conv_transpose(cr_graph *g, cr_ref y, cr_ref w, const cr_window *window);
/* O x C/groups x K1 x ... from x and y; K = floor((D + low + high - stride*(P-1) - 1)/dilation) + 1. */
CR_API cr_ref cr_conv_weights(cr_graph *g, cr_ref x, cr_ref y, const cr_window *window);

/* Pooling over the last window->axes axes of x, of which there must be as many; the size of the result on each is as in
 * cr_conv, K being window->size. Pads never win a maximum, and a window without any entry of x gives -inf. Where
 * entries tie, the derivative of a maximum is shared equally. */
typedef enum cr_pool_kind {
    CR_POOL_MAX,
    CR_POOL_SUM,
    CR_POOL_MEAN,       /* of the entries of x in the window */
    CR_POOL_MEAN_PADDED /* pads count as entries that are 0 */
} cr_pool_kind;
CR_API cr_ref cr_pool(cr_graph *g, cr_pool_kind kind, cr_ref x, const cr_window *window);

/* Entries first, first + step, ... (counted from 0; `size` of them) of each axis of a. What lies outside of a, on
 * either side, is 0. step NULL: 1; a step is at least 1. */
CR_API cr_ref cr_slice(cr_graph *g, cr_ref a, const cr_dim *first, const cr_dim *step, const cr_dim *size);
/* Its transpose: zeros of the shape `size`, with a at first, first + step, ... of each axis, which makes `first` the
 * low pad and step - 1 the interior one. What lies outside is cut off. */
CR_API cr_ref cr_place(cr_graph *g, cr_ref a, const cr_dim *first, const cr_dim *step, const cr_dim *size);
/* One behind the other along an axis (counted from 0); the other sizes are equal. */
CR_API cr_ref cr_concat(cr_graph *g, unsigned n, const cr_ref *parts, unsigned axis);

/* sum(i=lo..hi, body) and its kin. `symbol` is the name used for the index inside body (through
 * cr_dim_symbol); it is bound by this call. kind: CR_BIND_*. STACK gives a new leading axis. */
typedef enum cr_bind_kind {
    CR_BIND_SUM,
    CR_BIND_PROD,
    CR_BIND_STACK,
    CR_BIND_ALL,
    CR_BIND_ANY,
    CR_BIND_MAX,
    CR_BIND_MIN,
    CR_BIND_CHAIN /* matrix product of square matrices, the factor of the highest index leftmost; empty: I */
} cr_bind_kind;
CR_API cr_ref cr_bind(cr_graph *g, cr_bind_kind kind, const char *symbol, cr_dim lo, cr_dim hi, cr_ref body);

/* ---- functions --------------------------------------------------------------------------------- */

typedef uint32_t cr_fun; /* a function R -> R, applied element by element; 0 is none */
CR_API cr_fun cr_fun_unknown(cr_graph *g, const char *name); /* no body; assumed as often differentiable as needed */
/* Function with a body: a scalar expression in the scalar parameter `arg`. */
CR_API cr_fun cr_fun_known(cr_graph *g, const char *name, cr_ref arg, cr_ref body);
CR_API cr_ref cr_call(cr_graph *g, cr_fun f, unsigned order, cr_ref a); /* f, f', f'', ... of a */

/* ---- families ---------------------------------------------------------------------------------- */
/* What there is for each index of a range of symbolic length: parameters w[1..N], and expressions given by a
 * recurrence, o[0] = x, o[i] = sigma(w[i]*o[i-1]) for i in 1..N. */

/* Parameters name[lo..hi], each of the given shape: a parameter of shape (hi-lo+1) x shape. */
CR_API cr_ref cr_param_family(cr_graph *g, const char *name, cr_dim lo, cr_dim hi, unsigned rank, const cr_dim *shape,
                              unsigned attributes);
/* Its member. An index out of range is an error of evaluation, and none behind a choice that leaves it out. */
CR_API cr_ref cr_pick(cr_graph *g, cr_ref family, cr_dim index);

typedef uint32_t cr_family; /* expressions name[i]; 0 is none */
/* A family without definitions yet; its members have the given shape. */
CR_API cr_family cr_family_new(cr_graph *g, const char *name, unsigned rank, const cr_dim *shape);
/* name[symbol] = body for symbol in lo..hi. Stands above earlier definitions where they overlap. A body may refer to
 * members of any family of the graph, so long as in the end each rests on earlier indices only; cr_family_check says
 * whether, and so does whatever first uses it: a value, a derivative, cr_substitute. From then on the family, and what
 * it rests on, has no further definitions: CR_EARG. */
CR_API cr_status cr_family_define(cr_graph *g, cr_family f, const char *symbol, cr_dim lo, cr_dim hi, cr_ref body);
CR_API cr_status cr_family_check(cr_graph *g, cr_family f);
CR_API cr_ref cr_member(cr_graph *g, cr_family f, cr_dim index); /* name[index] */

/* ---- derivatives ------------------------------------------------------------------------------- */

/* d y / d x, shape(y) x shape(x); x is a parameter. Zero is a zero tensor. Entries of an attributed x
 * (symmetric, diagonal) move together as interface.md says. */
CR_API cr_ref cr_derivative(cr_graph *g, cr_ref y, cr_ref x);
/* Reverse mode: out[i] = cotangent of wrt[i], shape K x shape(wrt[i]), for ybar of shape K x shape(y), any
 * leading K. out[i] == CR_NONE: structurally zero. Attributes are not applied. CR_EUNSUPPORTED if y
 * rests on one of wrt through a recurrence, in forward mode, too: cr_derivative goes through them, and cr_unroll writes
 * them out. */
CR_API cr_status cr_reverse(cr_graph *g, cr_ref y, cr_ref ybar, unsigned n, const cr_ref *wrt, cr_ref *out);
/* Forward mode: directional derivative K x shape(y) for tangents K x shape(wrt[i]); CR_NONE: zero. */
CR_API cr_ref cr_forward(cr_graph *g, cr_ref y, unsigned n, const cr_ref *wrt, const cr_ref *tangent);
/* Hessian times vectors, forward over reverse: out[i] = sum over j of d^2 f / d wrt[i] d wrt[j] * tangent[j], of shape
 * K x shape(wrt[i]), for a scalar f and tangents K x shape(wrt[j]), any leading K (tangent[j] CR_NONE: zero). out[i] ==
 * CR_NONE: structurally zero. Attributes are not applied. It costs a few gradients for each of the K (Pearlmutter
 * 1994). */
CR_API cr_status cr_hessian_product(cr_graph *g, cr_ref f, unsigned n, const cr_ref *wrt, const cr_ref *tangent,
                                    cr_ref *out);
/* Rewrites that hold over the reals, for printing; never needed for running. */
CR_API cr_ref cr_simplify(cr_graph *g, cr_ref a);
CR_API cr_status cr_simplify_n(cr_graph *g, unsigned n, const cr_ref *in, cr_ref *out);

/* ---- substitution ------------------------------------------------------------------------------ */

/* roots[i] rebuilt with from[j] replaced by to[j] (equal shapes), through the builders. Definitions of recurrences stay
 * as they are. */
CR_API cr_status cr_rebuild(cr_graph *g, unsigned n_roots, const cr_ref *roots, unsigned n_map, const cr_ref *from,
                            const cr_ref *to, cr_ref *out);
/* a with every member of a family written out, down to its start; the depths must be numbers (cr_substitute). */
CR_API cr_ref cr_unroll(cr_graph *g, cr_ref a);
/* Symbol `name` replaced by d in every size, index and exponent of a, in families too. */
CR_API cr_ref cr_substitute(cr_graph *g, cr_ref a, const char *name, cr_dim d);
/* A new graph that holds the cones of roots only; out[i] are their refs there. NULL: out of memory. */
CR_API cr_graph *cr_compact(const cr_graph *g, unsigned n_roots, const cr_ref *roots, cr_ref *out);
/* CR_OK, or CR_EINTERNAL with a message in msg if an invariant of the graph is broken. */
CR_API cr_status cr_verify(const cr_graph *g, char *msg, size_t msg_size);

/* ---- plans: running at the speed of the machine ------------------------------------------------- */
/* A plan is made once from expressions whose sizes are known, and run often: an order of steps, a place in one piece
 * of memory (the slab) for every value, fused loops in between. It holds nothing of its graph, which may be freed. One
 * plan may be run by several threads at a time, each with a slab of its own; a run allocates nothing. The same bits
 * come out of every run. docs/plan.md has examples. */

typedef struct cr_plan cr_plan;
typedef struct cr_slab cr_slab;
typedef enum cr_precision { CR_F32, CR_F64 } cr_precision;
typedef struct cr_size_value { const char *symbol; int64_t value; } cr_size_value;

/* A function without a body: its order-th derivative at z. It is called from the threads of the run. */
typedef struct cr_function_value {
    cr_fun function;
    double (*call)(void *user, unsigned order, double z);
    void *user;
} cr_function_value;

CR_API unsigned cr_processors(void); /* that this program may use */

/* What a plan keeps of a recurrence until its derivative goes back through it. Bits are the same in any case.
 *
 * A recurrence is kept in checkpoints if all that goes through its members together is one pass, from the last to the
 * first, that looks a constant number of them back: chains of element-wise layers, of numbers or arrays, several of
 * them coupled, and the derivative of their end by a parameter w[k] of each layer. (Single members may be used by
 * whatever is not differentiated through them.) If nothing goes back through it, as without a derivative, it keeps what
 * it looks back at itself. Any other recurrence is kept whole: derivatives of layers with matrices, through skips over
 * layers, or by the input alone. */
typedef enum cr_checkpoints {
    CR_STORE_ALL,       /* every member */
    CR_CHECKPOINT_SQRT, /* of N members one in about sqrt(N), and as many at a time, computed again from there */
    CR_CHECKPOINT_BYTES /* as many at a time as fit into checkpoint_bytes, for each recurrence. CR_ELIMIT, which names
                           it and the least that it needs, if even that is more */
} cr_checkpoints;

/* All zero: the defaults. */
typedef struct cr_plan_options {
    cr_precision precision; /* of all arithmetic, of inputs and outputs */
    unsigned threads;       /* at most, up to 256; 0: cr_processors() */
    bool deterministic;     /* the same bits for every number of threads, too */
    size_t max_bytes;       /* of a slab; 0: the memory of the machine. More is CR_ELIMIT, which says how much */
    unsigned level;         /* instructions: 0 the best of this machine, 1 plain C, 2 AVX2, 3 AVX-512 at most */
    unsigned n_functions;
    const cr_function_value *function;
    cr_checkpoints checkpoints;
    size_t checkpoint_bytes;
} cr_plan_options;

/* The plan of out[0..n-1] for the sizes given; options may be NULL. Errors (CR_EVALUE names a size without a value) are
 * the graph's. The graph may grow by what is built on the way. *plan is the caller's. */
CR_API cr_status cr_plan_new(cr_graph *g, unsigned n, const cr_ref *out, unsigned n_sizes, const cr_size_value *size,
                             const cr_plan_options *options, cr_plan **plan);
CR_API void cr_plan_free(cr_plan *p); /* p may be NULL */

/* Inputs are the parameters that the outputs depend on, in an order of the plan's; shapes as in the graph, row-major.
 * cr_plan_input: the number of the one of this name, -1 if there is none. *_shape: the rank; dim has room for
 * CR_MAX_RANK. */
CR_API unsigned cr_plan_inputs(const cr_plan *p);
CR_API unsigned cr_plan_outputs(const cr_plan *p);
CR_API int cr_plan_input(const cr_plan *p, const char *name);
CR_API const char *cr_plan_input_name(const cr_plan *p, unsigned i);
CR_API size_t cr_plan_input_count(const cr_plan *p, unsigned i); /* entries */
CR_API size_t cr_plan_output_count(const cr_plan *p, unsigned i);
CR_API unsigned cr_plan_input_shape(const cr_plan *p, unsigned i, int64_t *dim);
CR_API unsigned cr_plan_output_shape(const cr_plan *p, unsigned i, int64_t *dim);
CR_API size_t cr_plan_bytes(const cr_plan *p); /* of a slab */
CR_API size_t cr_plan_steps(const cr_plan *p);
/* For reading: inputs, outputs, and the steps with their operations. NULL: out of memory; else the caller's
 * (cr_string_free). How it is written may change. */
CR_API char *cr_plan_text(const cr_plan *p);

CR_API cr_slab *cr_slab_new(const cr_plan *p); /* for runs of p, one at a time; NULL: out of memory */
CR_API void cr_slab_free(cr_slab *s);          /* s may be NULL */
/* in[i] points to input i, out[i] to room for output i, as float or double by the precision. No output may overlap an
 * input or another output. CR_EARG: the slab is too small for p; CR_EVALUE: an index of cr_gather or cr_scatter is none
 * (what depends on it is not to be used). */
CR_API cr_status cr_run(const cr_plan *p, cr_slab *s, const void *const *in, void *const *out);
/* ---- singular values of a Jacobian --------------------------------------------------------------- */
/* Of the matrix J of d y / d x, with a row for every entry of y and a column for every entry of x (entries of an x
 * with attributes count as independent). A small one is computed whole, in forward or reverse mode, and decomposed by
 * LAPACK (bidiagonal form, then QR: Golub and Kahan 1965). Of a large one only products J v and J' u are computed, a
 * block of vectors at a time, and the values found in the Krylov space of a random block (Golub, Luk and Overton 1981;
 * that few steps are enough: Musco and Musco 2015), with every block made orthogonal to all before.
 *
 * Everything is planned once; runs allocate nothing. As with plans, several threads may run one spectrum at a time,
 * each with a slab of its own, and the same bits come out of every run. */

typedef struct cr_spectrum cr_spectrum;

/* All zero: the defaults. */
typedef struct cr_spectrum_options {
    unsigned k; /* so many of the largest values; 0, or more than there are: all, which has the matrix computed whole */
    unsigned whole; /* the matrix is computed whole if its smaller side is not above this, or k asks for all values; 0:
                       512, or 4*k where that is more. 1: never, but for k */
    unsigned block; /* vectors at a time; 0: 8 */
    unsigned steps; /* at most so many products with J and as many with J', of a block each; 0: what is enough where
                       values decay, 8*k/block, 16 at least. Memory grows with it: block*steps vectors as long as x,
                       and as long as y, are kept */
    double tolerance; /* steps end when every bound is below this times the largest value; 0: 1e-6 */
    uint64_t seed;    /* of the random start */
    const cr_plan_options *plan; /* NULL: the defaults */
} cr_spectrum_options;

/* x is a parameter; sizes and options as for cr_plan_new; options may be NULL. Errors are the graph's: those of
 * cr_plan_new; CR_EUNSUPPORTED without OpenBLAS, and for a large Jacobian through a recurrence that is not written out
 * (cr_unroll). *s is the caller's; it holds nothing of the graph, but leaves expressions in it. */
CR_API cr_status cr_spectrum_new(cr_graph *g, cr_ref y, cr_ref x, unsigned n_sizes, const cr_size_value *size,
                                 const cr_spectrum_options *options, cr_spectrum **s);
CR_API void cr_spectrum_free(cr_spectrum *s); /* s may be NULL */
CR_API size_t cr_spectrum_rows(const cr_spectrum *s);    /* entries of y */
CR_API size_t cr_spectrum_columns(const cr_spectrum *s); /* entries of x */
CR_API size_t cr_spectrum_count(const cr_spectrum *s);   /* of values: k, or min(rows, columns) */
CR_API bool cr_spectrum_whole(const cr_spectrum *s);     /* is the matrix computed whole? */
/* Inputs, as those of a plan: the parameters that J depends on. x itself is none where J is the same for all x. */
CR_API unsigned cr_spectrum_inputs(const cr_spectrum *s);
CR_API int cr_spectrum_input(const cr_spectrum *s, const char *name);
CR_API const char *cr_spectrum_input_name(const cr_spectrum *s, unsigned i);
CR_API size_t cr_spectrum_input_count(const cr_spectrum *s, unsigned i);
CR_API cr_slab *cr_spectrum_slab(const cr_spectrum *s); /* for its runs; cr_slab_free. NULL: out of memory */
/* value: cr_spectrum_count singular values, descending; the last is the smallest if the count is min(rows, columns).
 * bound (NULL: not asked for): of each, how far off a singular value of J is at most: the norm of the residual, from
 * steps, and one rounding of the largest value. What rounding does to J itself, as to any derivative, comes on top.
 * That no value was passed over is certain for a whole matrix, and otherwise true with high probability. CR_EVALUE: J
 * is not finite (values are NaN); CR_EARG: the slab is too small; CR_EINTERNAL: LAPACK did not converge. */
CR_API cr_status cr_spectrum_run(const cr_spectrum *s, cr_slab *slab, const void *const *in, double *value,
                                 double *bound);

/* ---- source ------------------------------------------------------------------------------------ */

/* One dependency-free C99 file with the function `int NAME(...)` that computes n expressions together, what they share
 * once. Its arguments, described in the comment that the file begins with: the variables by name (a number as
 * double, anything else as const double *, row-major), the sizes and integers that it needs as ptrdiff_t, unknown
 * functions as double (*)(unsigned order, double z), then for each expression `double *` of its output's name, NULL:
 * not asked for. Kinks stay branches. Outputs must not overlap inputs. The text is the caller's: cr_string_free. */
CR_API cr_status cr_emit_c(cr_graph *g, const char *name, unsigned n, const cr_ref *out, const char *const *out_name,
                           char **text);
CR_API void cr_string_free(char *s);

/* ---- data -------------------------------------------------------------------------------------- */
/* Tensors by name, from files and to files: NPY, NPZ, CSV, IDX and safetensors. A call that fails says why in
 * cr_data_message; a cr_data keeps its first error until cr_data_clear_error. */

typedef enum cr_type {
    CR_TYPE_F32, CR_TYPE_F64, CR_TYPE_F16, CR_TYPE_BF16, CR_TYPE_I8, CR_TYPE_I16, CR_TYPE_I32, CR_TYPE_I64,
    CR_TYPE_U8, CR_TYPE_U16, CR_TYPE_U32, CR_TYPE_U64, CR_TYPE_BOOL, /* a byte, 0 or 1 */
    CR_TYPE_COUNT
} cr_type;
CR_API size_t cr_type_size(cr_type t);      /* bytes of an entry */
CR_API const char *cr_type_name(cr_type t); /* "float32", "bfloat16", "uint8", "bool" */

typedef struct cr_tensor {
    const char *name;
    cr_type type;
    unsigned rank;
    int64_t dim[CR_MAX_RANK];
    size_t count;     /* product of dim; 1 for rank 0 */
    const void *data; /* row-major, in the byte order of the machine, aligned for its type; not NULL */
} cr_tensor;

/* n entries from entry `first` on, counted from 0, in another type: 16-bit floats and bools exactly, anything that does
 * not fit rounded to nearest. false: the range is beyond the tensor; of cr_tensor_i64 also: an entry is no whole number
 * of 64 bits. */
CR_API bool cr_tensor_f32(const cr_tensor *t, size_t first, size_t n, float *out);
CR_API bool cr_tensor_f64(const cr_tensor *t, size_t first, size_t n, double *out);
CR_API bool cr_tensor_i64(const cr_tensor *t, size_t first, size_t n, int64_t *out);

typedef struct cr_data cr_data;
CR_API cr_data *cr_data_new(void); /* NULL: out of memory */
CR_API void cr_data_free(cr_data *d);
CR_API cr_status cr_data_status(const cr_data *d);
CR_API const char *cr_data_message(const cr_data *d);
CR_API void cr_data_clear_error(cr_data *d);

typedef struct cr_data_options {
    const char *label; /* CSV: the column of labels, by its name in the header, by its number from 1, or "last";
                          NULL: there is none */
    uint64_t limit;    /* bytes that what is compressed, or comes through a pipe, may become; 0: 4 GiB */
} cr_data_options;

/* Adds what a file holds, or nothing if it fails; a tensor replaces one of its name. The format is told by the first
 * bytes, or else by the ending; gzip is unpacked. NPZ and safetensors have names. The others hold one tensor, named
 * `x`; of "a,b" (images.idx,labels.idx) that of a is `x` and that of b `label`. CSV: a row for each line behind the
 * header, if there is one; x is float64 of rank 2; with options->label, that column is `label` of rank 1, int64 if all
 * its entries are whole. options NULL: all defaults. */
CR_API cr_status cr_data_read(cr_data *d, const char *path, const cr_data_options *options);

CR_API size_t cr_data_count(const cr_data *d);
/* Tensor i, in the order in which they came, or that of a name; false: there is none. What *t points at is d's, until a
 * tensor of that name is added. */
CR_API bool cr_data_at(const cr_data *d, size_t i, cr_tensor *t);
CR_API bool cr_data_find(const cr_data *d, const char *name, cr_tensor *t);
/* Copies name and data; replaces the tensor of that name. count is not read. */
CR_API cr_status cr_data_add(cr_data *d, const cr_tensor *t);

/* Writes all tensors in the format that path ends with, whole or not at all (a file of that name is replaced at the
 * end): .npz; .safetensors; .npy, of a single tensor; .idx, of a single tensor of uint8, int8, int16, int32, float32 or
 * float64; .csv, with a header: one or two tensors of rank 1 or 2 with equally many rows, side by side. .idx.gz and
 * .csv.gz are packed. bfloat16 is written to .npy and .npz, which do not know it, as float32. */
CR_API cr_status cr_data_write(cr_data *d, const char *path);

/* ---- models ------------------------------------------------------------------------------------ */
/* A network from a file of ONNX, run forward and backward without what made it. A call that fails says why in
 * cr_model_message; a model keeps its first error until cr_model_clear_error. */

typedef struct cr_model cr_model;
typedef enum cr_model_part { CR_MODEL_INPUTS, CR_MODEL_OUTPUTS, CR_MODEL_PARAMETERS } cr_model_part;

CR_API cr_model *cr_model_new(void); /* NULL: out of memory */
CR_API void cr_model_free(cr_model *m);
CR_API cr_status cr_model_status(const cr_model *m);
CR_API const char *cr_model_message(const cr_model *m);
CR_API void cr_model_clear_error(cr_model *m);

typedef struct cr_model_options {
    bool allow_links; /* external data may be symbolic links that lead out of the model's folder */
} cr_model_options;

/* Reads a file, once; its external data stay open. options NULL: all defaults. */
CR_API cr_status cr_model_read(cr_model *m, const char *path, const cr_model_options *options);

typedef struct cr_program cr_program;
/* Instead of a file: the network that the program's first statement derives or evaluates. Its input is the variable
 * `x`, or the first that is declared, with samples as first axis; the others are parameters, members of families
 * each by its own name (`w[3]`). Sizes need values; parameters without are drawn by the seed, normal with variance
 * 1/n for R^n and R^{m x n}, those that are only added 0, which a notice says ("drawn"). Written, it is a file of
 * ONNX. p may end before the model. */
CR_API cr_status cr_model_from_program(cr_model *m, cr_program *p, uint64_t seed);

/* Writes the file that was read, byte by byte as it is; external data beside it, if path is in another folder. */
CR_API cr_status cr_model_write(cr_model *m, const char *path);

CR_API size_t cr_model_count(const cr_model *m, cr_model_part part);
/* Input, output or parameter i: its name in the file, its type; its shape as text, with symbols: "N x 1 x 28 x 28".
 * They live as long as the model. */
CR_API const char *cr_model_name(const cr_model *m, cr_model_part part, size_t i);
CR_API cr_type cr_model_type(const cr_model *m, cr_model_part part, size_t i);
CR_API const char *cr_model_shape(const cr_model *m, cr_model_part part, size_t i);

/* What the export has done to the parameters: kind is "tied" (a parameter in several places), "merged" (equal ones made
 * one), "transposed", "fused-norm", "stored-norm", "names-lost" or "drawn"; text a sentence with names. */
CR_API size_t cr_model_notices(const cr_model *m);
CR_API const char *cr_model_notice_kind(const cr_model *m, size_t i);
CR_API const char *cr_model_notice_text(const cr_model *m, size_t i);

typedef enum cr_loss {
    CR_LOSS_AUTO, /* by how the network ends (softmax and log-softmax: ce; sigmoid: bce; one number: that), else by the
                     labels (classes: ce; else mse) */
    CR_LOSS_CE,   /* cross-entropy, of logits; of a network that ends in a softmax, from its input */
    CR_LOSS_MSE,
    CR_LOSS_BCE,  /* binary cross-entropy, of logits, or from the input of a sigmoid */
    CR_LOSS_L1,
    CR_LOSS_NONE  /* the output, a single number */
} cr_loss;

/* Of the gradient of a loss, and of running; all zero: the defaults. */
typedef struct cr_model_run_options {
    const cr_plan_options *plan; /* NULL: f32, all processors */
    size_t batch;                /* samples at a time; 0: as the file has it, or all */
    cr_loss loss;
    const char *output;          /* that the loss is taken from; NULL: the first of floats */
    bool ignores;                /* labels that are ignore_index do not count (ce) */
    int64_t ignore_index;
    bool standardize; /* inputs of floats: every entry of a sample to mean 0 and deviation 1 over all samples */
    double scale;     /* and then times this; 0: 1 */
    void (*progress)(void *user, size_t done, size_t of); /* samples; NULL: nobody is told */
    void *user;
} cr_model_run_options;

/* What a run had to do with; strings live until the model's next call. */
typedef struct cr_model_report {
    size_t samples, batches, batch; /* that were run */
    size_t left_out;                /* samples that filled no batch, where the file fixes its size */
    double loss;                    /* NaN: none was asked for */
    cr_loss kind;
    const char *said;               /* which loss was chosen, and why */
    const char *cut;                /* "", or sentences about what was not done as the file or the options say */
    const char *nonfinite; /* NULL: all results are finite numbers. Else which input or parameter holds NaN or an
                              infinity, or which node was the first to make one, and from what */
} cr_model_report;

/* Data for a model: a tensor for each input, by its name; a single input may be called `x`. Labels are `label` or `y`,
 * targets `target` (or the same), weights of classes `class_weight`. Where the first axis of all of them is as long, it
 * counts samples, which are run in batches. Results are added to out by the names of the file: outputs of cr_model_run,
 * gradients of parameters and inputs of cr_model_grad and cr_model_pull, in float32 or float64 as the precision is;
 * outputs of integers as int64, of booleans as bool. A gradient that the network gives no path to is 0. options and
 * report may be NULL. CR_EUNSUPPORTED lists every operator that is not known, with its nodes. */
CR_API cr_status cr_model_run(cr_model *m, const cr_data *data, const cr_model_run_options *options, cr_data *out,
                              cr_model_report *report);
/* Adds random data for a model: normal numbers for inputs of floats, 0 and 1 for the others, n samples where a size is
 * a symbol (n 0: 16); with a loss that needs them, `label` (classes) or `target` to match. */
CR_API cr_status cr_model_random(cr_model *m, size_t n, uint64_t seed, cr_loss loss, cr_data *data);
/* Of the mean loss over all samples (ce: by the weights of their classes). */
CR_API cr_status cr_model_grad(cr_model *m, const cr_data *data, const cr_model_run_options *options, cr_data *out,
                               cr_model_report *report);
/* Vector-Jacobian product: cotangents of outputs, by their names, pulled back to parameters and inputs. */
CR_API cr_status cr_model_pull(cr_model *m, const cr_data *data, const cr_data *cotangents,
                               const cr_model_run_options *options, cr_data *out, cr_model_report *report);

/* ---- diagnosis ---------------------------------------------------------------------------------- */
/* Where the gradient of a model's loss goes, block by block, and which factor of the chain rule sends it there.
 * Definitions and rule: docs/flow.md. Logarithms are natural and have no bounds: a gradient of 1e-400 is a number like
 * any other. */

typedef enum cr_flow_factor {
    CR_FLOW_SLOPE,  /* activations */
    CR_FLOW_WEIGHT, /* products with parameters */
    CR_FLOW_NORM,   /* normalisations */
    CR_FLOW_SKIP,   /* where paths join */
    CR_FLOW_REST,
    CR_FLOW_FACTORS
} cr_flow_factor;

/* What a parameter of a block got: logarithms of the norms of its gradient and of itself, the cosine between them. */
typedef struct cr_flow_gradient { const char *parameter; double ln_norm, ln_weight_norm, cosine; } cr_flow_gradient;

/* What mean-field theory says of a block: of wide networks with random weights of these variances. */
typedef struct cr_flow_theory {
    double ln_gain, low, high; /* the band: 95 % of networks of this width */
    double weight_variance, bias_variance; /* fan-in times the weights' variance; the biases' variance */
    double length, chi;     /* variance of what the activation is applied to; squared gain */
    const char *activation; /* operator; NULL: there is none */
} cr_flow_theory;

/* From one boundary, through which all paths pass, to the next: one affine operator with all up to the next, or a
 * fork-join region. NaN: there is no such number. */
typedef struct cr_flow_layer {
    const char *name, *op;   /* of its affine operator */
    double lambda;           /* ln of the effect of its output on the loss, relative to the network's output */
    double ln_in, ln_out;    /* norms of the cotangents at its input and output */
    double ln_gain;          /* ln_in - ln_out; the factors add up to it. NaN: a cotangent is exactly 0 */
    double factor[CR_FLOW_FACTORS];
    double slope_square;     /* of its activation: mean of the squared slope */
    double saturated, dead;  /* shares of entries, of units */
    double mean, deviation;  /* of its output */
    size_t n_gradients;
    const cr_flow_gradient *gradient;
    size_t steps; /* operators in it */
    const char *zero_because; /* a cotangent is exactly 0: "no_path", "loss_fitted", "dead", "closed_gate". NULL: none
                                 is */
    const struct cr_flow_spectrum *spectrum; /* of its Jacobian; NULL: not computed */
    size_t n_children; /* of a region of paths that fork and join: its operators, which add up to the factors */
    const struct cr_flow_child *child;
    const struct cr_flow_layer *after; /* behind a closed gate: the same after one small step on it; else NULL */
    const cr_flow_theory *theory;         /* NULL: none applies, because: */
    const char *no_theory;                /* a sentence; NULL: there is one */
    double sampling_error, redraw_spread; /* of lambda: standard error over the samples, deviation over re-draws */
} cr_flow_layer;

/* A recurrent layer, one direction of it: the gradient through its steps, from what the loss asks of the last state
 * back. The state is all that a step hands on, together. */
typedef struct cr_flow_time {
    const char *name, *op, *direction; /* "forward", "reverse" */
    size_t steps;
    double ln_gain;   /* of steps - 1 steps. NaN: the loss asks nothing of the last state */
    double low, high; /* extremes of ln of a state's effect on the loss, relative to the last one's */
    double slope, weight, gate, rest; /* factors of the gain: they add up to it. NaN: this kind of layer has none */
    const double *curve;              /* ln |g| of the state i steps before the last, relative to the last one's */
} cr_flow_time;

/* An operator of a region, with what it adds to the region's factors. */
typedef struct cr_flow_child { const char *name, *op; double factor[CR_FLOW_FACTORS]; } cr_flow_child;

/* Singular values of the Jacobian of a sample, rows x columns, over some samples, as logarithms. NaN: not known;
 * -INFINITY: exactly 0. Not exact: the largest only, from products. */
enum { CR_FLOW_QUANTILES = 5 /* 5, 25, 50, 75, 95 % */ };
typedef struct cr_flow_spectrum {
    size_t rows, columns;
    double ln_largest, ln_smallest, ln_quantile[CR_FLOW_QUANTILES];
    bool exact;
} cr_flow_spectrum;

/* What of the input's cotangent g came through exactly k branches of x + F(x), k = 0 .. n - 1: v_k, and in it the share
 * <v_k, g>/|g|^2 (they add up to 1 with the remainder, what came through more, and may be negative) and the energy
 * |v_k|^2/|g_y|^2, g_y the output's cotangent. */
typedef struct cr_flow_paths {
    size_t blocks, samples, n; /* blocks with a skip: 0 if there is none */
    const double *share, *energy;
    double remainder, effective_depth; /* mean number of branches by shares */
    bool exact;                        /* all shares are listed */
    const char *said;                  /* "", or why they are not */
} cr_flow_paths;

/* A number format: scales of the loss (as logarithms) between which fewer than 0.1 % of the non-zero cotangents
 * underflow and none overflows; none if smallest > largest. */
typedef struct cr_flow_format {
    const char *name; /* "float32", "float16", "bfloat16" */
    double ln_smallest, ln_largest;
    double underflow;     /* share of them without scaling */
    const char *fails_at; /* layer at which it gives up without scaling; NULL: at none */
} cr_flow_format;
enum { CR_FLOW_FORMATS = 3 };

/* What the rule looked at, and what stands beside it: threshold NaN, no rule rests on it. NULL: there is none. */
typedef struct cr_flow_evidence {
    const char *quantity, *source, *where, *text;
    double value, threshold;
} cr_flow_evidence;
typedef struct cr_flow_threshold { const char *name, *source; double value; } cr_flow_threshold;

/* Parameters with the least and the most ln(|gradient|/|weight|); NULL: no parameter has both. */
typedef struct cr_flow_balance { const char *low, *high; double ln_low, ln_high; } cr_flow_balance;

typedef struct cr_flow_finding { const char *status, *text, *where; double value, threshold; } cr_flow_finding;

/* The network as the gradient sees it: an operator a node, in an order of computation, with what they read in front and
 * the loss behind; a tensor that carries the signal from one to another an edge, with the part of the gradient that
 * comes back along it. */
typedef struct cr_flow_node {
    const char *name, *op; /* "Input" and "Loss" are the ends */
    size_t layer;          /* that it belongs to; SIZE_MAX: it is an end */
} cr_flow_node;
typedef struct cr_flow_edge {
    size_t from, to; /* nodes, from < to */
    const char *tensor;
    double ln_cotangent; /* of its norm; -INFINITY: it is exactly 0, NaN: no number */
} cr_flow_edge;
typedef struct cr_flow_graph {
    size_t n_nodes, n_edges;
    const cr_flow_node *node;
    const cr_flow_edge *edge;
} cr_flow_graph;

/* Whose statistics batch norms used. */
typedef enum cr_norms { CR_NORMS_NONE /* there are none */, CR_NORMS_BATCH, CR_NORMS_STORED } cr_norms;

/* Are the weights as they were drawn? */
typedef struct cr_weights_evidence { const char *text; bool fits; } cr_weights_evidence;
typedef struct cr_weights_state {
    const char *state; /* "initialisation", "trained", "unknown" */
    bool given;        /* by the caller */
    size_t n_evidence;
    const cr_weights_evidence *evidence; /* of what was found, also where the caller says otherwise */
} cr_weights_state;

/* The variances at which the theory's gain of an activation is 1: n pairs bias variance, weight variance. */
typedef struct cr_critical_line { const char *activation; size_t n; const double (*pair)[2]; } cr_critical_line;

/* Mean-field theory of the network. NaN: there is no such number; INFINITY: at the critical point. */
typedef struct cr_theory {
    bool applies;     /* the weights are at initialisation, and some layer has a theory */
    const char *said; /* what it is worth, in a sentence */
    double gradient, correlation, length; /* depth scales: layers in which each changes by a factor of e */
    size_t n_critical;
    const cr_critical_line *critical;
} cr_theory;

/* Gradients of the loss by the input, at samples x and at x' near them. cosine NaN: not measured, because of `why`. */
typedef struct cr_shattering {
    double cosine, input_cosine; /* of the gradients, of x and x'; means */
    double output_cosine;        /* of the gradients by the network's output */
    double theory;               /* of the cosine, given that one; NaN: there is none */
    double neighbours, neighbours_input; /* the same of each sample and the next */
    size_t pairs;
    const char *why;
} cr_shattering;

typedef struct cr_diagnosis {
    const char *status;   /* "healthy", "vanishing", "exploding", "dying", "saturated", "shattered", "non-finite" */
    const char *sentence;
    double low, high;     /* extremes of lambda */
    size_t n_findings;
    const cr_flow_finding *finding;
    size_t n_layers;
    const cr_flow_layer *layer; /* in forward order */
    size_t n_times;
    const cr_flow_time *time;
    cr_flow_graph graph;
    size_t n_gates; /* closed ones: parameters that are 0 in every entry and let no gradient pass before they move */
    const char *const *gate;
    cr_norms norms;
    bool has_dropout;
    double loss;
    cr_loss kind;
    const char *said, *cut; /* as in cr_model_report */
    const char *kept;       /* "", or which parameters a checkpoint does not have */
    size_t samples, left_out;
    double confidence; /* that another batch and other weights of the same law give the same status; NaN: unknown */
    size_t redraws;    /* of the weights, that it rests on */
    cr_weights_state weights;
    cr_theory theory;
    cr_shattering shattering;
    const char *skipped; /* "", or sentences, one a line, about what was left out for time */
    cr_flow_paths paths;
    cr_flow_spectrum spectrum; /* from the front of the network to its output; 0 rows: there is none */
    size_t spectrum_samples;
    const char *spectrum_said; /* "", or what was left out */
    cr_flow_format format[CR_FLOW_FORMATS];
    double updates_lost, learning_rate; /* bfloat16: share of the non-zero updates that move no weight */
    cr_flow_balance balance;
    size_t n_evidence, n_thresholds;
    const cr_flow_evidence *evidence;
    const cr_flow_threshold *threshold;
} cr_diagnosis;

typedef enum cr_weights_are { CR_WEIGHTS_TESTED, CR_WEIGHTS_INITIAL, CR_WEIGHTS_TRAINED } cr_weights_are;

/* Whether something that may take long is done. */
typedef enum cr_flow_effort { CR_FLOW_CHEAP /* if it takes little */, CR_FLOW_OFF, CR_FLOW_ON } cr_flow_effort;

/* All zero: the defaults. */
typedef struct cr_diagnose_options {
    const cr_model_run_options *run; /* NULL: all defaults */
    bool stored_norms;  /* batch norms use the statistics of the file; else those of the batch, as in training */
    bool dropout;       /* drops entries; else it is the identity */
    uint64_t seed;      /* of what is dropped, and of the re-draws */
    double loss_scale;  /* by which the file multiplies its loss; gradients are divided by it. 0: 1 */
    cr_flow_effort paths, spectrum;
    bool redact;        /* numbers in place of the names of the file, in all texts */
    const cr_data *weights; /* a checkpoint: values by the names of parameters, in place of the file's. Those that it
                               does not have stay (`kept` of the result); none of them, or another shape: an error */
    cr_weights_are state; /* of the weights: at initialisation, trained; or as tests of them say */
    int redraws;            /* of weights at initialisation; 0: as many as are cheap, at most 5; -1: none */
    double budget;          /* seconds for all of it; 0: verdict and theory whatever they take, the rest if cheap */
} cr_diagnose_options;

/* Of one batch: the first `batch` samples (0: as the file has it, else at most 512). options may be NULL; *d is the
 * caller's. */
CR_API cr_status cr_model_diagnose(cr_model *m, const cr_data *data, const cr_diagnose_options *options,
                                   cr_diagnosis **d);
CR_API void cr_diagnosis_free(cr_diagnosis *d);

/* ---- programs ---------------------------------------------------------------------------------- */
/* A text of the formula language, its statements turned into results. Results are the caller's (free them with the
 * function named beside each) and stay valid after the program; every string in them is UTF-8. A call that fails says
 * why in cr_program_message; the program keeps its first error until cr_program_clear_error. */

typedef enum cr_query_kind { CR_QUERY_DERIVE, CR_QUERY_EVAL, CR_QUERY_CHECK } cr_query_kind;

CR_API cr_program *cr_program_new(void); /* NULL: out of memory */
CR_API void cr_program_free(cr_program *p);
CR_API cr_graph *cr_program_graph(cr_program *p); /* the program's, ends with it */
CR_API cr_status cr_program_status(const cr_program *p);
CR_API const char *cr_program_message(const cr_program *p);
/* Place of the error in its text, counted from 1; 0 where it has none. */
CR_API void cr_program_position(const cr_program *p, unsigned *line, unsigned *column);
CR_API void cr_program_clear_error(cr_program *p);

CR_API cr_status cr_program_read(cr_program *p, const char *path); /* appends a .cr file; "-": standard input */
CR_API cr_status cr_program_parse(cr_program *p, const char *name, const char *text, size_t n);
CR_API cr_status cr_program_declare(cr_program *p, const char *text); /* as after `let`: "x : R^n, W : R^{m x n}" */
/* As `derive EXPR wrt WRT` in a file would be; wrt NULL: none. */
CR_API cr_status cr_program_query(cr_program *p, cr_query_kind kind, const char *expr, const char *wrt);
CR_API cr_status cr_program_assign(cr_program *p, const char *text); /* "x = [1,2]; n = 3"; a later value replaces */
CR_API cr_status cr_program_define(cr_program *p,
                                   const char *text); /* the same, and declares names that are not known */
CR_API cr_status cr_program_load(cr_program *p, const char *path);   /* values by name: a .npz or .safetensors file */

/* Gives the symbolic depth of the program's recurrences, N in `for i in 1..N`, the value n: for numbers, and for
 * cr_program_derive, whose results are then those for this depth, with short products written out. An error if there is
 * no recurrence, or several depths. */
CR_API cr_status cr_program_depth(cr_program *p, int64_t n);

CR_API size_t cr_program_count(const cr_program *p); /* of statements */
CR_API cr_query_kind cr_program_kind(const cr_program *p, size_t i);
CR_API const char *cr_program_query_text(const cr_program *p, size_t i); /* as written, white space folded */

/* What to make of a derivative: a set of bits. */
enum {
    CR_TEXT = 1,    /* in the language; parses back */
    CR_UNICODE = 2, /* for reading on a terminal */
    CR_LATEX = 4,
    CR_NUMPY = 8,   /* source of a Python function */
    CR_STEPS = 16,  /* rule by rule */
    CR_GRADIENT = 32, /* symmetric variables: (G + G')/2, the gradient in the space of symmetric matrices */
    CR_C = 64        /* source of a C99 function */
};
typedef enum cr_form { CR_FORM_AUTO, CR_FORM_COMPONENT, CR_FORM_MATRIX } cr_form;

typedef struct cr_index_range { const char *name, *from, *to; } cr_index_range;
/* All conditions must hold. existence: it says exactly where the derivative exists, where the others say where the
 * formula gives it. */
typedef struct cr_condition { const char *text, *unicode, *latex; bool sufficient, existence; } cr_condition;
/* One line of the derivation. Inner expressions are named y, u1, u2, ...; dy, du1, ... are their partial derivatives,
 * or differentials where a whole variable moves. The last step is the result. */
typedef struct cr_step { const char *rule, *text, *unicode, *latex; } cr_step;

typedef struct cr_formula { const char *text, *unicode, *latex; } cr_formula;

typedef struct cr_derivation {
    const char *query;
    const char *text, *unicode, *latex, *numpy, *c; /* NULL: not asked for */
    size_t rank;
    const char *const *shape; /* sizes as text: numbers or expressions of symbols */
    size_t n_free;
    const cr_index_range *free_index;
    size_t n_assumes;
    const char *const *assumes; /* what the query supposes: "n >= 5", "sigma is differentiable" */
    size_t n_defined;
    const cr_condition *defined; /* where the derivative exists and the formula holds: all of these; none: everywhere */
    size_t n_recursion; /* the derivative as a recursion: where the formula uses it, or beside a closed form that
                           stands for it (several lags) */
    const cr_formula *recursion; /* definitions: `do_dw[i] = ... for i in 1..N` */
    size_t n_steps;
    const cr_step *step;
} cr_derivation;

/* Derivative of statement i (one with `wrt`). */
CR_API cr_status cr_program_derive(cr_program *p, size_t i, unsigned flags, cr_form form, cr_derivation **out);
CR_API void cr_derivation_free(cr_derivation *d);

/* Numbers, row-major. */
typedef struct cr_array {
    unsigned rank;
    int64_t dim[CR_MAX_RANK];
    size_t n;
    const double *value; /* booleans as 0 and 1 */
    bool boolean;
    bool f32; /* the entries were computed as floats, and have their values */
    /* Of values beyond the range of a double, from cr_program_eval: sign (-1, 0, 1) and log10 of the size of every
     * entry; NULL: value says all. A value that is 0 or infinite then is not, unless they say so too. */
    const double *sign, *log10_abs;
} cr_array;

/* Value of statement i in f64: of its expression, or of its derivative if it has `wrt`. CR_EVALUE names every value
 * that is missing. */
CR_API cr_status cr_program_eval(cr_program *p, size_t i, cr_array *out);
/* The same at the speed of the machine, through a plan, in the precision of the options (NULL: f32): values beyond its
 * range are 0 or infinite. */
CR_API cr_status cr_program_run(cr_program *p, size_t i, const cr_plan_options *options, cr_array *out);
/* That plan, for many runs: of the sizes that the program's values give or tell; the values themselves need not be
 * there. Its inputs are the variables by their names. */
CR_API cr_status cr_program_plan(cr_program *p, size_t i, const cr_plan_options *options, cr_plan **plan);
CR_API void cr_array_free(cr_array *a);

typedef enum cr_answer { CR_NO, CR_YES, CR_UNDECIDED } cr_answer;

/* One entry of the derivative at one point. */
typedef struct cr_check_entry {
    const char *name;     /* "x[2]"; "[3] / x[2]" for entry 3 of a vector; "" if there is only one */
    cr_answer exists;     /* the derivative at this point */
    cr_answer agrees;     /* the formula with it */
    double formula, numeric;
    double left, right;   /* one-sided derivatives; NaN where not asked for or undecided */
    double tolerance;     /* of |formula - numeric| */
    bool joint; /* the partial derivatives exist, but along the direction in `name` the slope is `right`, where they
                   add up to `left`: there is no derivative by the variable as a whole */
    unsigned order;       /* 1 .. number of variables in `wrt`: which derivative of the chain this is */
} cr_check_entry;

typedef struct cr_named_array { const char *name; cr_array array; } cr_named_array;

/* One point with one choice of the free indices. */
typedef struct cr_check_case {
    size_t n_index;
    const cr_named_array *index; /* free indices and their values, scalars */
    cr_array formula, numeric;
    cr_array left, right; /* one-sided derivatives; value NULL if not asked for */
    cr_answer exists, agrees;
    cr_check_entry worst;
    size_t on_kink, near_kink; /* element operations that sat on a kink, or within rounding of one */
} cr_check_case;

typedef struct cr_check {
    const char *query;
    bool given;               /* at a given point: differentiability is decided there */
    cr_answer exists, agrees; /* over all points and indices */
    size_t n_points, n_entries; /* points tried; entries compared in all */
    const char *method;       /* "complex step", "central differences", "one-sided series" */
    size_t n_unrolled;        /* recurrences: points at which reverse mode on the network written out was asked too */
    cr_answer unrolled_agrees; /* the formula with it, to 1e-10; undecided: not asked */
    double unrolled_difference; /* the largest */
    size_t n_cases;
    const cr_check_case *cases; /* given: every choice of the free indices; random: the worst one */
    size_t worst;               /* index into cases */
    size_t n_point;
    const cr_named_array *point; /* the values at the worst case */
    size_t n_findings;
    const cr_check_entry *finding; /* entries that do not exist or disagree, at most 100 */
    size_t on_kink, near_kink;
} cr_check;

typedef struct cr_check_options {
    uint64_t seed;
    unsigned points; /* random points; 0: the default, 5 */
    unsigned flags;  /* CR_GRADIENT */
} cr_check_options;

/* Derivative of statement i against independent numbers, at random points or at the given one. Finding a disagreement
 * is not an error: the status is CR_OK. */
CR_API cr_status cr_program_check(cr_program *p, size_t i, const cr_check_options *o, cr_check **out);
CR_API void cr_check_free(cr_check *c);

/* ---- explanation ------------------------------------------------------------------------------- */
/* Why the gradient of a recurrence vanishes or explodes, layer by layer, and what a skip connection changes. */

typedef enum cr_block_kind {
    CR_BLOCK_TITLE,    /* text */
    CR_BLOCK_TEXT,     /* text: sentences; formulas in them stand between backquotes */
    CR_BLOCK_FORMULA,  /* formula; text: what it is */
    CR_BLOCK_TABLE,    /* text: caption; cells */
    CR_BLOCK_PLOT      /* text: caption; series of points */
} cr_block_kind;
typedef struct cr_series { const char *name; size_t n; const double *x, *y; } cr_series; /* y NaN: no point */
typedef struct cr_block {
    cr_block_kind kind;
    const char *text;
    cr_formula formula;
    size_t n_rows, n_columns;
    const char *const *cell; /* row by row, the head first */
    size_t n_series;
    const cr_series *series;
} cr_block;

/* An architecture that gives layers short paths, on scalar data with the activation of the network. */
typedef struct cr_architecture {
    const char *name, *rules; /* rules: definitions in the language */
    cr_formula gradient;      /* d o[N] / d w[j] */
    const double *log10_layer; /* |d o[N] / d w[j]| for j = 1..n_layers of the explanation; -inf: zero */
    double worst;             /* least of them */
} cr_architecture;

typedef struct cr_explanation {
    const char *query;
    size_t n_blocks;
    const cr_block *block; /* to be read from the first to the last */
    /* the same in numbers; NaN where there is none */
    const char *activation; /* its name; NULL: there is none, or several */
    double slope_min, slope_max; /* of its derivative, over the real line */
    double slope_at;          /* where it is largest in size */
    double threshold; /* every |w| below: the gradient vanishes whatever the input; above: it can explode */
    size_t n_depths;
    const int64_t *depth;
    const double *log10_gradient, *log10_bound; /* of the first layer that has the variable, by depth: measured, and
                                                   the largest possible at the same weights */
    size_t n_layers; /* of the network measured layer by layer */
    const double *log10_layer;
    size_t n_architectures;
    const cr_architecture *architecture;
} cr_explanation;

/* A number for the network that statement i derives through: equal for statements about one network; 0: none. */
CR_API unsigned cr_program_network(cr_program *p, size_t i);
/* Explains statement i, a derivative through a recurrence; CR_EUNSUPPORTED with the reason if it is none.
 * architectures: compares those that give every layer a short path, too. */
CR_API cr_status cr_program_explain(cr_program *p, size_t i, bool architectures, cr_explanation **out);
CR_API void cr_explanation_free(cr_explanation *e);

#ifdef __cplusplus
}
#endif
#endif
