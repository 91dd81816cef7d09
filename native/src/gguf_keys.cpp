// Metadata of GGUF files, read and written. ggml lays out the beginning of a new file and rounds
// its numbers; the caller writes both where it likes.
#include "gguf.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace ri {

namespace {

void add_key(gguf_context *m, const ri_gguf_key &key) {
    require(key.name, "a key's name");
    require(key.values, key.name);
    if (strcmp(key.name, GGUF_KEY_GENERAL_ALIGNMENT) == 0)
        fail(RI_INVALID, "the key %s cannot be set; tensors begin at multiples of 32 bytes", key.name);
    std::vector<const char *> texts;
    if (key.type == RI_GGUF_TEXT) {
        const char *text = static_cast<const char *>(key.values);
        for (size_t i = 0; i < key.n_values; ++i, text += strlen(text) + 1) texts.push_back(text);
    }
    if (key.list) {
        if (key.type == RI_GGUF_TEXT)
            gguf_set_arr_str(m, key.name, texts.data(), texts.size());
        else
            gguf_set_arr_data(m, key.name, gguf_type(key.type), key.values, key.n_values);
        return;
    }
    switch (key.type) {
    case RI_GGUF_U16: return gguf_set_val_u16(m, key.name, *static_cast<const uint16_t *>(key.values));
    case RI_GGUF_U32: return gguf_set_val_u32(m, key.name, *static_cast<const uint32_t *>(key.values));
    case RI_GGUF_I32: return gguf_set_val_i32(m, key.name, *static_cast<const int32_t *>(key.values));
    case RI_GGUF_F32: return gguf_set_val_f32(m, key.name, *static_cast<const float *>(key.values));
    case RI_GGUF_BOOL: return gguf_set_val_bool(m, key.name, *static_cast<const bool *>(key.values));
    default: return gguf_set_val_str(m, key.name, texts.at(0));
    }
}

void add_tensor(gguf_context *m, ggml_context *ctx, const ri_gguf_tensor &tensor) {
    require(tensor.name, "a tensor's name");
    if (strlen(tensor.name) >= GGML_MAX_NAME)
        fail(RI_INVALID, "a tensor's name has at most %d bytes: %s", GGML_MAX_NAME - 1, tensor.name);
    if (gguf_find_tensor(m, tensor.name) >= 0) fail(RI_INVALID, "there are two tensors %s", tensor.name);
    if (tensor.n_dims < 1 || tensor.n_dims > 4)
        fail(RI_INVALID, "%s has %d dimensions, not 1 to 4", tensor.name, tensor.n_dims);
    for (int32_t i = 0; i < tensor.n_dims; ++i)
        if (tensor.ne[i] < 1)
            fail(RI_INVALID, "%s has a dimension of %lld", tensor.name, static_cast<long long>(tensor.ne[i]));
    gguf_add_tensor(m,
                    ggml_set_name(ggml_new_tensor(ctx, ggml_type(tensor.type), tensor.n_dims, tensor.ne), tensor.name));
}

} // namespace

} // namespace ri

extern "C" {

int32_t ri_gguf_key_at(const ri_gguf *gguf, size_t index, ri_gguf_key *out) {
    const gguf_context *m = gguf->impl->metadata();
    const auto id = int64_t(index);
    if (id >= gguf_get_n_kv(m)) return 0;
    const bool list = gguf_get_kv_type(m, id) == GGUF_TYPE_ARRAY;
    const gguf_type type = list ? gguf_get_arr_type(m, id) : gguf_get_kv_type(m, id);
    *out = {gguf_get_key(m, id), int32_t(type), list, list ? gguf_get_arr_n(m, id) : 1, nullptr};
    if (type != GGUF_TYPE_STRING) out->values = list ? gguf_get_arr_data(m, id) : gguf_get_val_data(m, id);
    return 1;
}

const char *ri_gguf_text_at(const ri_gguf *gguf, size_t index, size_t text) {
    const gguf_context *m = gguf->impl->metadata();
    const auto id = int64_t(index);
    return gguf_get_kv_type(m, id) == GGUF_TYPE_ARRAY ? gguf_get_arr_str(m, id, text) : gguf_get_val_str(m, id);
}

ri_status ri_gguf_head(const ri_gguf_key *keys, size_t n_keys, const ri_gguf_tensor *tensors, size_t n_tensors,
                       char *dst, size_t capacity, size_t *n_bytes, ri_error *err) {
    return ri::guard(err, [&] {
        if (n_keys) ri::require(keys, "keys");
        if (n_tensors) ri::require(tensors, "tensors");
        ri::require(n_bytes, "n_bytes");
        const gguf_context_ptr gguf(gguf_init_empty());
        const ggml_context_ptr ctx(ggml_init({ggml_tensor_overhead() * (n_tensors + 1), nullptr, true}));
        if (!gguf || !ctx) throw std::bad_alloc();
        for (size_t i = 0; i < n_keys; ++i) ri::add_key(gguf.get(), keys[i]);
        for (size_t i = 0; i < n_tensors; ++i) ri::add_tensor(gguf.get(), ctx.get(), tensors[i]);
        *n_bytes = gguf_get_meta_size(gguf.get());
        if (*n_bytes > capacity) return;
        ri::require(dst, "dst");
        gguf_get_meta_data(gguf.get(), dst);
    });
}

void ri_gguf_encode(int32_t type, const float *values, size_t n, void *dst) {
    if (type == RI_GGUF_TENSOR_F16)
        ggml_fp32_to_fp16_row(values, static_cast<ggml_fp16_t *>(dst), int64_t(n));
    else if (type == RI_GGUF_TENSOR_BF16)
        ggml_fp32_to_bf16_row(values, static_cast<ggml_bf16_t *>(dst), int64_t(n));
    else
        std::copy(values, values + n, static_cast<float *>(dst));
}

} // extern "C"
