#define _DEFAULT_SOURCE /* madvise */
#include "onnx/file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIPE_LIMIT_GIB = 4 };

static cr_status no_memory(error *e)
{
    err_set(e, CR_ENOMEM, "out of memory");
    return CR_ENOMEM;
}

/* ---- maps ---------------------------------------------------------------------------------------- */

cr_status map_open(const char *path, map *m, error *e)
{
    struct stat st;
    *m = (map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        err_set(e, CR_EIO, "%s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return CR_EIO;
    }
    cr_status status = CR_OK;
    if (S_ISDIR(st.st_mode)) {
        err_set(e, CR_EIO, "%s is a folder", path);
        status = CR_EIO;
    } else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            err_set(e, CR_EIO, "%s: %s", path, strerror(errno));
            status = CR_EIO;
        } else {
            *m = (map){p, (size_t)st.st_size, true};
        }
    }
    close(fd);
    return status;
}

void map_close(map *m)
{
    if (m->mapped) {
        munmap((void *)(uintptr_t)m->bytes, m->n);
    } else {
        mem_free((void *)(uintptr_t)m->bytes);
    }
    *m = (map){0};
}

static void release(const map *m, const unsigned char *bytes, size_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)bytes + page - 1) / page * page;
    uintptr_t to = ((uintptr_t)bytes + n) / page * page;
    if (m->mapped && bytes >= m->bytes && bytes + n <= m->bytes + m->n && from < to) {
        madvise((void *)from, to - from, MADV_DONTNEED);
    }
}

void onnx_file_release(onnx_file *f, const unsigned char *bytes, size_t n)
{
    release(&f->map, bytes, n);
    for (size_t i = 0; i < f->n_external; i++) release(&f->external[i].map, bytes, n);
}

/* ---- unpacking ------------------------------------------------------------------------------------ */

typedef struct taker {
    arena *mem;
    bool failed;
} taker;

static void *take(void *user, size_t n)
{
    taker *t = user;
    void *p = arena_alloc(t->mem, n);
    t->failed |= p == NULL;
    return p;
}

static void keep(void *user, void *p) { (void)user, (void)p; } /* the arena ends with the file */

/* Goes through all messages by protobuf-c's own tables: puts the bytes of raw_data in place of their numbers, and a
 * name where there is none. */
typedef struct mender {
    onnx_file *f;
    const scan_raws *raws;
    error *e;
} mender;

static bool mend(mender *m, ProtobufCMessage *message);

static bool mend_field(mender *m, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    char *at = (char *)message;
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) return true;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t n = *(size_t *)(void *)(at + field->quantifier_offset);
        ProtobufCMessage **child = *(ProtobufCMessage ***)(void *)(at + field->offset);
        for (size_t i = 0; i < n; i++) {
            if (!mend(m, child[i])) return false;
        }
        return true;
    }
    bool oneof = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
    if (oneof && *(uint32_t *)(void *)(at + field->quantifier_offset) != field->id) return true;
    ProtobufCMessage *child = *(ProtobufCMessage **)(void *)(at + field->offset);
    return !child || mend(m, child);
}

static bool mend_tensor(mender *m, Onnx__TensorProto *t)
{
    uint64_t token = 0;
    if (!t->name) t->name = (char *)(uintptr_t) "";
    if (!t->has_raw_data || t->raw_data.len == 0) return true;
    for (size_t i = 0; i < 8 && i < t->raw_data.len; i++) token |= (uint64_t)t->raw_data.data[i] << (8 * i);
    if (t->raw_data.len != 8 || token >= m->raws->n) {
        err_set(m->e, CR_EINTERNAL, "%s: a tensor without its bytes", m->f->path);
        return false;
    }
    const scan_raw *raw = &m->raws->of[token];
    t->raw_data.data = (uint8_t *)(uintptr_t)(m->f->map.bytes + raw->at);
    t->raw_data.len = raw->n;
    return true;
}

static bool mend(mender *m, ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *d = message->descriptor;
    if (d == &onnx__tensor_proto__descriptor && !mend_tensor(m, (Onnx__TensorProto *)message)) return false;
    if (d == &onnx__value_info_proto__descriptor) {
        Onnx__ValueInfoProto *v = (Onnx__ValueInfoProto *)message;
        if (!v->name) v->name = (char *)(uintptr_t) "";
    }
    if (d == &onnx__node_proto__descriptor && !((Onnx__NodeProto *)message)->op_type) {
        err_set(m->e, CR_ESYNTAX, "%s: a node without an operator", m->f->path);
        return false;
    }
    for (unsigned i = 0; i < d->n_fields; i++) {
        if (!mend_field(m, message, &d->fields[i])) return false;
    }
    return true;
}

static cr_status unpack(onnx_file *f, error *e)
{
    strbuf skeleton;
    scan_raws raws = {0};
    sb_init(&skeleton);
    cr_status status = scan_model(f->path, f->map.bytes, f->map.n, &skeleton, &raws, e);
    if (status == CR_OK) {
        taker t = {&f->mem, false};
        ProtobufCAllocator allocator = {take, keep, &t};
        f->model = onnx__model_proto__unpack(&allocator, skeleton.n, (const uint8_t *)skeleton.s);
        if (t.failed) {
            err_set(e, CR_ENOMEM, "out of memory");
            status = CR_ENOMEM;
        } else if (!f->model) {
            err_set(e, CR_ESYNTAX, "%s is no model of ONNX: its messages cannot be unpacked", f->path);
            status = CR_ESYNTAX;
        } else if (!f->model->graph) {
            err_set(e, CR_ESYNTAX, "%s has no graph: it is no model of ONNX", f->path);
            status = CR_ESYNTAX;
        } else if (!mend(&(mender){f, &raws, e}, &f->model->base)) {
            status = e->status;
        }
    }
    sb_free(&skeleton);
    mem_free(raws.of);
    return status;
}

/* ---- opening ------------------------------------------------------------------------------------- */

static onnx_file *make(const char *path, const onnx_file_options *o)
{
    onnx_file *f = mem_zalloc(1, sizeof *f);
    if (!f) return NULL;
    f->path = mem_strdup(path);
    if (o) f->options = *o;
    if (f->path) return f;
    mem_free(f);
    return NULL;
}

static cr_status finish(onnx_file *f, cr_status status, onnx_file **out, error *e)
{
    if (status == CR_OK) status = unpack(f, e);
    if (status == CR_OK) {
        *out = f;
    } else {
        onnx_file_free(f);
    }
    return status;
}

cr_status onnx_file_open(const char *path, const onnx_file_options *o, onnx_file **out, error *e)
{
    *out = NULL;
    onnx_file *f = make(path, o);
    if (!f) return no_memory(e);
    cr_status status;
    if (strcmp(path, "-") == 0) {
        char *bytes = NULL;
        size_t limit = f->options.limit ? f->options.limit : (size_t)PIPE_LIMIT_GIB << 30;
        status = file_read(path, limit, &bytes, &f->map.n, e);
        f->map.bytes = (const unsigned char *)bytes;
    } else {
        status = map_open(path, &f->map, e);
    }
    return finish(f, status, out, e);
}

cr_status onnx_file_of_bytes(const char *path, const void *bytes, size_t n, const onnx_file_options *o, onnx_file **out,
                             error *e)
{
    *out = NULL;
    onnx_file *f = make(path, o);
    if (!f) return no_memory(e);
    f->map = (map){bytes, n, false};
    f->foreign = true;
    return finish(f, CR_OK, out, e);
}

void onnx_file_free(onnx_file *f)
{
    if (!f) return;
    for (size_t i = 0; i < f->n_external; i++) {
        map_close(&f->external[i].map);
        mem_free(f->external[i].location);
    }
    mem_free(f->external);
    arena_free(&f->mem);
    if (!f->foreign) map_close(&f->map);
    mem_free(f->path);
    mem_free(f);
}

const char *onnx_file_path(const onnx_file *f) { return f->path; }
const Onnx__ModelProto *onnx_file_model(const onnx_file *f) { return f->model; }
