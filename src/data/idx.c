/* IDX, the format of MNIST: 0, 0, a type, the number of axes, their sizes, the entries; all big-endian. */
#include "data/stream.h"

static const struct code {
    uint8_t code;
    cr_type type;
} codes[] = {{0x08, CR_TYPE_U8},  {0x09, CR_TYPE_I8},  {0x0B, CR_TYPE_I16},
             {0x0C, CR_TYPE_I32}, {0x0D, CR_TYPE_F32}, {0x0E, CR_TYPE_F64}};
enum { N_CODES = sizeof codes / sizeof *codes };

bool idx_read(stream *s, cr_data *d)
{
    unsigned char bytes[4 * CR_MAX_RANK];
    int64_t dim[CR_MAX_RANK];
    if (!stream_read(s, bytes, 4)) return false;
    if (bytes[0] || bytes[1]) return stream_fail(s, CR_EVALUE, "not an IDX file, which begins with two zero bytes");
    const struct code *c = codes;
    while (c < codes + N_CODES && c->code != bytes[2]) c++;
    if (c == codes + N_CODES)
        return stream_fail(s, CR_EVALUE, "an IDX file of entries of the unknown type %u", bytes[2]);
    unsigned rank = bytes[3];
    if (rank > CR_MAX_RANK)
        return stream_fail(s, CR_EUNSUPPORTED, "an IDX file of %u axes, more than %d", rank, CR_MAX_RANK);
    if (!stream_read(s, bytes, 4 * (size_t)rank)) return false;
    byte_reader r = reader_of(bytes, 4 * (size_t)rank);
    for (unsigned i = 0; i < rank; i++) dim[i] = reader_u32_big(&r);
    size_t count;
    void *memory;
    if (!stream_tensor(s, c->type, rank, dim, &count, &memory)) return false;
    size_t size = cr_type_size(c->type);
    if (!stream_read(s, memory, count * size) || !stream_end(s)) {
        mem_free(memory);
        return false;
    }
    if (!data_big_endian()) data_swap(memory, count, size);
    return data_take(d, "x", c->type, rank, dim, memory) == CR_OK || source_oom(s->from);
}

bool idx_write(sink *k, const cr_data *d)
{
    if (d->n != 1) return sink_fail(k, CR_EARG, "an IDX file holds one array, not %zu", d->n);
    const cr_tensor *t = &d->tensor[0];
    const struct code *c = codes;
    while (c < codes + N_CODES && c->type != t->type) c++;
    if (c == codes + N_CODES)
        return sink_fail(k, CR_EUNSUPPORTED, "IDX has no %s, which `%s` is; .npy has", cr_type_name(t->type), t->name);
    sink_put(k, (unsigned char[]){0, 0, c->code, (unsigned char)t->rank}, 4);
    for (unsigned i = 0; i < t->rank; i++) {
        uint64_t v = (uint64_t)t->dim[i];
        if (v > UINT32_MAX) return sink_fail(k, CR_EUNSUPPORTED, "`%s` is too large for IDX; .npy is not", t->name);
        sink_put(k, (unsigned char[]){(unsigned char)(v >> 24), (unsigned char)(v >> 16), (unsigned char)(v >> 8),
                                      (unsigned char)v}, 4);
    }
    sink_entries(k, t, true);
    return k->err->status == CR_OK;
}
