#include "onnx/file.h"
#include <string.h>
struct onnx_file {
    char *data;
    size_t n;
    Onnx__ModelProto *m;
};
cr_status onnx_file_open(const char *path, const onnx_file_options *o, onnx_file **f, error *e)
{
    (void)o;
    *f = mem_zalloc(1, sizeof **f);
    cr_status s = file_read(path, (size_t)1 << 40, &(*f)->data, &(*f)->n, e);
    if (s) return s;
    (*f)->m = onnx__model_proto__unpack(NULL, (*f)->n, (const uint8_t *)(*f)->data);
    if (!(*f)->m) {
        err_set(e, CR_EVALUE, "not an ONNX file");
        return CR_EVALUE;
    }
    return CR_OK;
}
void onnx_file_free(onnx_file *f)
{
    if (f) {
        if (f->m) onnx__model_proto__free_unpacked(f->m, NULL);
        mem_free(f->data);
        mem_free(f);
    }
}
const Onnx__ModelProto *onnx_file_model(const onnx_file *f) { return f->m; }
bool onnx_type_of(int t, cr_type *out)
{
    static const signed char of[] = {-1,          CR_TYPE_F32, CR_TYPE_U8, CR_TYPE_I8,   CR_TYPE_U16, CR_TYPE_I16,
                                     CR_TYPE_I32, CR_TYPE_I64, -1,         CR_TYPE_BOOL, CR_TYPE_F16, CR_TYPE_F64,
                                     CR_TYPE_U32, CR_TYPE_U64, -1,         -1,           CR_TYPE_BF16};
    if (t < 0 || t > 16 || of[t] < 0) return false;
    *out = (cr_type)of[t];
    return true;
}
cr_status onnx_tensor_read(onnx_file *f, const Onnx__TensorProto *t, cr_tensor *out, error *e)
{
    (void)f;
    *out = (cr_tensor){.name = t->name ? t->name : ""};
    if (!onnx_type_of(t->data_type, &out->type)) {
        err_set(e, CR_EVALUE, "type");
        return CR_EVALUE;
    }
    out->rank = (unsigned)t->n_dims;
    out->count = 1;
    for (unsigned i = 0; i < out->rank; i++) out->count *= (size_t)(out->dim[i] = t->dims[i]);
    size_t z = cr_type_size(out->type), n = out->count;
    char *d = mem_alloc(n * z + 1);
    if (t->raw_data.len)
        memcpy(d, t->raw_data.data, t->raw_data.len < n * z ? t->raw_data.len : n * z);
    else
        for (size_t i = 0; i < n; i++) switch (out->type) {
            case CR_TYPE_F32:
                ((float *)d)[i] = t->float_data[i];
                break;
            case CR_TYPE_F64:
                ((double *)d)[i] = t->double_data[i];
                break;
            case CR_TYPE_I64:
                ((int64_t *)d)[i] = t->int64_data[i];
                break;
            default:
                memcpy(d + i * z, t->int32_data + i, z);
                break;
            }
    out->data = d;
    return CR_OK;
}
