/* Bytes of a file, in and out. A source is a file, or memory, that may be read anywhere; a stream reads a part of it
 * from the first to the last byte, as it is or unpacked, so that what is large goes to where it will stay at once. A
 * sink is the way out. Each keeps to `err`, the first error, in messages that begin with the path. */
#ifndef CR_DATA_STREAM_H
#define CR_DATA_STREAM_H

#include "data/data.h"

#include <zlib.h>

/* ---- source ----------------------------------------------------------------------------------- */

typedef struct source {
    const char *path; /* for messages */
    uint64_t size;
    FILE *f;                    /* or, */
    const unsigned char *bytes; /* if NULL: memory, */
    char *owned;                /* which is freed if it is the source's own */
    uint64_t limit, unpacked;   /* bytes that all unpacking may come to, and has */
    error *err;
} source;
/* A regular file is read where it lies; anything else ("-": standard input) is read whole, up to the limit. */
bool source_open(source *s, const char *path, uint64_t limit, error *err);
void source_open_bytes(source *s, const char *path, const void *bytes, size_t n, uint64_t limit, error *err);
void source_close(source *s);
bool source_read(source *s, uint64_t at, size_t n, void *to); /* CR_EVALUE: it ends before */
/* "PATH: MESSAGE"; gives false. */
bool source_fail(source *s, cr_status status, const char *fmt, ...) CR_PRINTF(3, 4);
bool source_oom(source *s);

/* ---- stream ----------------------------------------------------------------------------------- */

z_stream pack_state(void); /* for zlib, with the memory of base */

typedef enum packing { PACK_NONE, PACK_DEFLATE, PACK_GZIP } packing;

typedef struct stream {
    source *from;
    const char *part;    /* of the file, for messages: the member of an archive; "": all of it */
    uint64_t at, left;   /* what is not read yet of the part of the source */
    uint64_t room;       /* at most so many bytes are still to come, by what deflate can do */
    uint64_t came;       /* bytes */
    packing pack;
    bool ended;          /* deflate said so */
    bool sum;            /* crc is wanted, */
    uint32_t crc;        /* of what came */
    z_stream z;
    unsigned char *buffer; /* of packed bytes */
} stream;
/* part must live as long as the stream. Close it in any case. */
bool stream_open(stream *s, source *from, uint64_t at, uint64_t n, packing pack, const char *part);
void stream_close(stream *s);
/* The next n bytes, fewer only at the end (*got). false: an error. */
bool stream_some(stream *s, void *to, size_t n, size_t *got);
bool stream_read(stream *s, void *to, size_t n); /* all n: CR_EVALUE if it ends before */
/* Can n bytes still come? An error if not: before memory for them is asked for. */
bool stream_holds(stream *s, uint64_t n);
bool stream_end(stream *s); /* an error if there is anything behind */
/* All that is left, NUL-terminated besides; mem_free it. */
bool stream_all(stream *s, char **text, size_t *n);
bool stream_fail(stream *s, cr_status status, const char *fmt, ...) CR_PRINTF(3, 4);

/* Memory for a tensor of which the stream holds the entries, *count of them. false: an error. */
bool stream_tensor(stream *s, cr_type type, unsigned rank, const int64_t *dim, size_t *count, void **memory);

/* ---- sink ------------------------------------------------------------------------------------- */

typedef struct sink {
    file_out out;
    bool gzip;
    z_stream z;
    uint64_t at; /* bytes so far, unpacked */
    error *err;
} sink;
bool sink_open(sink *s, const char *path, bool gzip, error *err); /* close it in any case */
bool sink_fail(sink *s, cr_status status, const char *fmt, ...) CR_PRINTF(3, 4); /* "PATH: MESSAGE"; false */
void sink_put(sink *s, const void *bytes, size_t n); /* nothing after an error */
void sink_uint(sink *s, uint64_t v, unsigned bytes); /* little-endian */
/* The entries of a tensor, in little- or big-endian order. */
void sink_entries(sink *s, const cr_tensor *t, bool big_endian);
cr_status sink_close(sink *s); /* the file is there, or nothing of it */

/* ---- formats ---------------------------------------------------------------------------------- */
/* Read into d, which is empty, from a stream at its beginning, or from a source where the format says where things are.
 * A failure is in the err of the source or sink, and gives false. */

bool npy_read(stream *s, cr_data *d, const char *name);
bool npy_write(sink *k, const cr_data *d);
bool zip_read(source *s, cr_data *d);
/* Sizes and places from `large` on are written with 64 bits: UINT32_MAX, less in tests. */
bool zip_write(sink *k, const cr_data *d, uint64_t large);
bool idx_read(stream *s, cr_data *d);
bool idx_write(sink *k, const cr_data *d);
bool safetensors_read(source *s, cr_data *d);
bool safetensors_write(sink *k, const cr_data *d);
bool csv_read(stream *s, cr_data *d, const cr_data_options *o);
bool csv_write(sink *k, const cr_data *d);

/* An array as an .npy file: its header, then its entries, which are t's own or, where NumPy lacks the type, in `owned`
 * (mem_free). false: out of memory. */
typedef struct npy_image {
    char header[512];
    size_t n_header;
    const void *data;
    size_t n_data;
    void *owned;
} npy_image;
bool npy_image_of(const cr_tensor *t, npy_image *out);

#endif
