/* Room data: tensors by name, from files and to files. Nothing in a file is trusted: an offset, a size or a product of
 * sizes is checked against the bytes that are there before it is used, and before memory is asked for.
 *
 *     type.c set.c       types of entries; the set of tensors
 *     stream.h           bytes of a file one after the other, plain or unpacked; and out again
 *     npy.c zip.c csv.c idx.c safetensors.c      a format each
 *     format.c           which of them a file is; cr_data_read and cr_data_write */
#ifndef CR_DATA_H
#define CR_DATA_H

#include "base/base.h"

/* ---- types ------------------------------------------------------------------------------------ */

/* n entries of a type, at from (aligned or not), to another type; as cr_tensor_f32 and its kin. */
void data_to_f32(cr_type type, const void *from, size_t n, float *to);
void data_to_f64(cr_type type, const void *from, size_t n, double *to);
/* How many entries were whole numbers of 64 bits: n, or the index of the first that was not. */
size_t data_to_i64(cr_type type, const void *from, size_t n, int64_t *to);
/* Reverses the bytes of each of n entries of `size` bytes. */
void data_swap(void *entries, size_t n, size_t size);
bool data_big_endian(void); /* this machine */

/* Product of the sizes; false if one is negative or the bytes (of `size` each) do not fit PTRDIFF_MAX. A size of 0 does
 * not excuse the others. */
bool data_product(unsigned rank, const int64_t *dim, size_t size, size_t *count);
/* "2 x 3", "a scalar"; for messages. */
void data_shape(strbuf *b, unsigned rank, const int64_t *dim);

/* How a file that only Python can read becomes one that is read here; for messages. */
#define DATA_CONVERT                                                                                                  \
    "in Python, np.savez(\"weights.npz\", **{k: v.numpy() for k, v in model.state_dict().items()}), or " \
    "safetensors.torch.save_file"

/* ---- the set ---------------------------------------------------------------------------------- */

struct cr_data {
    cr_tensor *tensor; /* names and data are owned */
    size_t n, cap;
    uint32_t *slot; /* by hash of the name: index + 1, 0 is empty; a power of two of them, at most half full */
    size_t n_slots;
    error err;
};

/* Keeps the first error; returns its status, for `return data_fail(...)`. */
cr_status data_fail(cr_data *d, cr_status status, const char *fmt, ...) CR_PRINTF(3, 4);
cr_status data_oom(cr_data *d);
/* Adds a tensor of which `memory` (from mem_alloc) is the data: it is d's from here on, freed on failure, too. */
cr_status data_take(cr_data *d, const char *name, cr_type type, unsigned rank, const int64_t *dim, void *memory);
/* Moves all tensors of `from` into d, or none (CR_ENOMEM). */
cr_status data_move(cr_data *d, cr_data *from);
void data_clear(cr_data *d); /* no tensors, no error, no memory */
/* As cr_data_read; named: refuses formats whose tensors have no names of their own. */
cr_status data_read(cr_data *d, const char *path, const cr_data_options *options, bool named);
/* The same of n bytes in memory; path is the name for messages and endings. */
cr_status data_read_bytes(cr_data *d, const char *path, const void *bytes, size_t n, const cr_data_options *options);

#endif
