/* Which format a file is, read and written: one table. */
#include "data/stream.h"

#include <string.h>
#include <unistd.h>

#define LIMIT ((uint64_t)4 << 30)

enum { START = 16 }; /* bytes that a format is told by */

/* What is read: the source, and a stream over all of it, unpacked. */
typedef struct input {
    source *s;
    stream *t;
    const cr_data_options *o;
} input;

static bool read_npy(input *in, cr_data *d) { return npy_read(in->t, d, "x"); }
static bool read_idx(input *in, cr_data *d) { return idx_read(in->t, d); }
static bool read_csv(input *in, cr_data *d) { return csv_read(in->t, d, in->o); }

static bool in_place(input *in)
{
    return in->t->pack == PACK_NONE ||
           source_fail(in->s, CR_EUNSUPPORTED, "is packed by gzip as a whole; unpack it first");
}

static bool read_npz(input *in, cr_data *d) { return in_place(in) && zip_read(in->s, d); }
static bool read_safetensors(input *in, cr_data *d) { return in_place(in) && safetensors_read(in->s, d); }
static bool write_npz(sink *k, const cr_data *d) { return zip_write(k, d, UINT32_MAX); }

static bool is_npy(const unsigned char *p, size_t n) { return n >= 6 && memcmp(p, "\x93NUMPY", 6) == 0; }
static bool is_safetensors(const unsigned char *p, size_t n) { return n > 8 && p[8] == '{' && !(p[5] | p[6] | p[7]); }

static bool is_npz(const unsigned char *p, size_t n)
{
    return n >= 4 && (memcmp(p, "PK\3\4", 4) == 0 || memcmp(p, "PK\5\6", 4) == 0);
}

static bool is_idx(const unsigned char *p, size_t n)
{
    return n >= 4 && !p[0] && !p[1] && p[2] >= 8 && p[2] <= 14 && p[3] <= CR_MAX_RANK;
}

static bool is_text(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] == 127 || (p[i] < 32 && !memchr("\t\r\n", p[i], 3))) return false;
    return n > 0;
}

static const struct format {
    const char *ending, *others; /* what it is written by, and other endings that it is read by */
    bool named;                  /* its tensors have names */
    bool columns;                /* one of which may be the label */
    bool packs;                  /* .gz may follow */
    bool (*is)(const unsigned char *p, size_t n); /* by its first bytes */
    bool (*read)(input *in, cr_data *d);
    bool (*write)(sink *k, const cr_data *d);
} formats[] = {
    {".npz", "", true, false, false, is_npz, read_npz, write_npz},
    {".npy", "", false, false, false, is_npy, read_npy, npy_write},
    {".safetensors", "", true, false, false, is_safetensors, read_safetensors, safetensors_write},
    {".idx", "", false, false, true, is_idx, read_idx, idx_write},
    {".csv", ".tsv .txt", false, true, true, NULL, read_csv, csv_write},
};
enum { N_FORMATS = sizeof formats / sizeof *formats };
static const struct format *const csv = &formats[N_FORMATS - 1];
#define WRITTEN ".npz, .npy, .safetensors, .idx, .idx.gz, .csv and .csv.gz"

/* Files of others that are known by sight, to say what can be done. */
static const struct foreign {
    const char *start, *endings, *what;
} foreign[] = {
    {"\x80\2", ".pt .pth .ckpt .pkl .pickle",
     "a checkpoint of PyTorch or a pickle, which is not read (it would run code)"},
    {"\x89HDF", ".h5 .hdf5 .keras", "an HDF5 file or a model of Keras, which is not read"},
};
enum { N_FOREIGN = sizeof foreign / sizeof *foreign };

/* ---- which ------------------------------------------------------------------------------------ */

/* Does path, of n bytes, end with one of the words? */
static bool ends_with(const char *path, size_t n, const char *words)
{
    while (*words) {
        size_t len = strcspn(words, " ");
        if (n > len && len && memcmp(path + n - len, words, len) == 0) return true;
        words += len + strspn(words + len, " ");
    }
    return false;
}

/* Length of path without .gz. */
static size_t unpacked_name(const char *path)
{
    size_t n = strlen(path);
    return ends_with(path, n, ".gz") ? n - 3 : n;
}

static const struct format *by_ending(const char *path, bool writing)
{
    size_t n = unpacked_name(path);
    for (const struct format *f = formats; f < formats + N_FORMATS; f++)
        if (ends_with(path, n, f->ending) || (!writing && ends_with(path, n, f->others))) return f;
    return NULL;
}

/* NULL with the error set: none that is read. */
static const struct format *which(source *s, const unsigned char *start, size_t n)
{
    for (const struct format *f = formats; f < formats + N_FORMATS; f++)
        if (f->is && f->is(start, n)) return f;
    for (const struct foreign *f = foreign; f < foreign + N_FOREIGN; f++)
        if (ends_with(s->path, strlen(s->path), f->endings) ||
            (n >= strlen(f->start) && memcmp(start, f->start, strlen(f->start)) == 0)) {
            source_fail(s, CR_EUNSUPPORTED, "%s; convert it: %s", f->what, DATA_CONVERT);
            return NULL;
        }
    const struct format *f = by_ending(s->path, false);
    if (!f && is_text(start, n)) f = csv;
    if (!f) source_fail(s, CR_EUNSUPPORTED, "of no format that is read: " WRITTEN);
    return f;
}

/* ---- reading ---------------------------------------------------------------------------------- */

/* The first bytes, unpacked. */
static bool peek(source *s, packing pack, unsigned char *start, size_t *n)
{
    stream t;
    bool ok = stream_open(&t, s, 0, s->size, pack, "") && stream_some(&t, start, START, n);
    stream_close(&t);
    s->unpacked = 0;
    return ok;
}

/* One file into d, which is empty. */
static bool read_source(source *s, cr_data *d, const cr_data_options *o, bool named)
{
    unsigned char start[START];
    size_t n;
    if (s->size == 0) return source_fail(s, CR_EVALUE, "is empty");
    if (!peek(s, PACK_NONE, start, &n)) return false;
    bool packed = ends_with(s->path, strlen(s->path), ".gz") || (n >= 2 && start[0] == 0x1F && start[1] == 0x8B);
    packing pack = packed ? PACK_GZIP : PACK_NONE;
    if (packed && !peek(s, pack, start, &n)) return false;
    const struct format *f = which(s, start, n);
    if (!f) return false;
    if (named && !f->named)
        return source_fail(s, CR_EVALUE, "the array of a %s file has no name; values come from a .npz or .safetensors "
                           "file", f->ending);
    if (o->label && !f->columns)
        return source_fail(s, CR_EARG, "has no columns, of which `%s` could be the label; a .csv file has", o->label);
    stream t;
    bool ok = stream_open(&t, s, 0, s->size, pack, "") && f->read(&(input){s, &t, o}, d);
    stream_close(&t);
    return ok;
}

static uint64_t limit_of(const cr_data_options *o) { return o->limit ? o->limit : LIMIT; }

/* The file into `fresh`, whose err has what went wrong. */
static bool read_file(cr_data *fresh, const char *path, const cr_data_options *o, bool named)
{
    source s;
    bool ok = source_open(&s, path, limit_of(o), &fresh->err) && read_source(&s, fresh, o, named);
    source_close(&s);
    return ok;
}

/* The only tensor of a file, under another name. */
static bool read_single(cr_data *fresh, const char *path, size_t n_path, const cr_data_options *o, const char *name)
{
    cr_data one = {0};
    strbuf part;
    sb_init(&part);
    sb_write(&part, path, n_path);
    bool ok = part.status == CR_OK;
    if (!ok) data_oom(fresh);
    if (ok && !read_file(&one, sb_str(&part), o, false)) {
        fresh->err = one.err;
        one.err = (error){0};
        ok = false;
    }
    if (ok && one.n != 1) {
        data_fail(fresh, CR_EVALUE, "%s: holds %zu arrays, and one is wanted as `%s`", sb_str(&part), one.n, name);
        ok = false;
    }
    if (ok) {
        cr_tensor t = one.tensor[0];
        one.tensor[0].data = NULL;
        ok = data_take(fresh, name, t.type, t.rank, t.dim, (void *)(uintptr_t)t.data) == CR_OK;
    }
    data_clear(&one);
    sb_free(&part);
    return ok;
}

/* Moves what was read, or its error, to d. */
static cr_status finish(cr_data *d, cr_data *fresh, bool ok)
{
    cr_status s = fresh->err.status;
    if (ok)
        s = data_move(d, fresh);
    else
        data_fail(d, s, "%s", err_message(&fresh->err));
    data_clear(fresh);
    return s;
}

static const cr_data_options defaults;

cr_status data_read(cr_data *d, const char *path, const cr_data_options *options, bool named)
{
    const cr_data_options *o = options ? options : &defaults;
    cr_data fresh = {0};
    const char *comma = strchr(path, ',');
    bool ok;
    if (comma && !named && access(path, F_OK) != 0) /* unless it is a file with a comma in its name */
        ok = read_single(&fresh, path, (size_t)(comma - path), o, "x") &&
             read_single(&fresh, comma + 1, strlen(comma + 1), o, "label");
    else
        ok = read_file(&fresh, path, o, named);
    return finish(d, &fresh, ok);
}

cr_status data_read_bytes(cr_data *d, const char *path, const void *bytes, size_t n, const cr_data_options *options)
{
    const cr_data_options *o = options ? options : &defaults;
    cr_data fresh = {0};
    source s;
    source_open_bytes(&s, path, bytes, n, limit_of(o), &fresh.err);
    return finish(d, &fresh, read_source(&s, &fresh, o, false));
}

cr_status cr_data_read(cr_data *d, const char *path, const cr_data_options *options)
{
    return data_read(d, path, options, false);
}

/* ---- writing ---------------------------------------------------------------------------------- */

cr_status cr_data_write(cr_data *d, const char *path)
{
    const struct format *f = by_ending(path, true);
    bool packed = unpacked_name(path) < strlen(path);
    if (!f || (packed && !f->packs))
        return data_fail(d, CR_EUNSUPPORTED, "%s: its ending is none that is written: " WRITTEN, path);
    error err = {0};
    sink k;
    if (sink_open(&k, path, packed, &err)) f->write(&k, d);
    cr_status s = sink_close(&k);
    if (s != CR_OK) data_fail(d, s, "%s", err_message(&err));
    err_clear(&err);
    return s;
}
