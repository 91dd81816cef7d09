#include "gguf.h"

#include "llm/shape.h"

#include "llama-cpp.h" // not "llama.h", which is our own

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace ri {

// ---- the file

Gguf::Mapping::Mapping(const std::string &path) {
    const int fd =
        ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a pipe must not block; it is refused below
    if (fd < 0) fail(RI_FILE, "%s: %s", path.c_str(), strerror(errno));
    struct stat status {};
    const bool known = fstat(fd, &status) == 0, regular = known && S_ISREG(status.st_mode);
    if (regular && status.st_size > 0) {
        void *address = mmap(nullptr, size_t(status.st_size), PROT_READ, MAP_SHARED, fd, 0);
        if (address != MAP_FAILED) {
            data = static_cast<const char *>(address);
            size = size_t(status.st_size);
        }
    }
    const int error = errno;
    ::close(fd);
    if (known && S_ISDIR(status.st_mode))
        fail(RI_FILE, "%s is a directory; name the GGUF file inside it", path.c_str());
    if (!regular) fail(RI_FILE, "%s is not a regular file", path.c_str());
    if (status.st_size == 0) fail(RI_FILE, "%s is empty; fetch it again", path.c_str());
    if (!data) fail(RI_FILE, "%s cannot be mapped: %s", path.c_str(), strerror(error));
}

Gguf::Mapping::~Mapping() {
    if (data) munmap(const_cast<char *>(data), size);
}

Gguf::Part::Part(const std::string &name) : path(name), file(name) {
    if (file.size < 4 || memcmp(file.data, "GGUF", 4) != 0)
        fail(RI_FILE, "%s is not a GGUF file: it does not start with the letters GGUF", path.c_str());
    forget_logged_error();
    metadata.reset(gguf_init_from_buffer(file.data, file.size, {true, nullptr}));
    if (!metadata)
        fail(RI_FILE, "%s is cut short or malformed (%s); fetch it again", path.c_str(), logged_error().c_str());
}

Gguf::Gguf(const std::string &path) : path_(path) {
    silence_logs();
    parts_.push_back(std::make_unique<Part>(path));
    open_parts();
    index_tensors();
    describe();
    load_vocabulary();
}

Gguf::~Gguf() = default;

// Opens the other parts of a split file, which are in the same folder under llama.cpp's names.
void Gguf::open_parts() {
    const int64_t count = integer("split.count").value_or(1), number = integer("split.no").value_or(0);
    if (count <= 1) return;
    std::vector<char> prefix(path_.size() + 1), name(path_.size() + 64);
    if (count > 99999 || number < 0 || number >= count ||
        !llama_split_prefix(prefix.data(), prefix.size(), path_.c_str(), int32_t(number), int32_t(count)))
        fail(RI_FILE, "%s is part %lld of %lld of a split file; its name must end in -%05lld-of-%05lld.gguf",
             path_.c_str(), static_cast<long long>(number + 1), static_cast<long long>(count),
             static_cast<long long>(number + 1), static_cast<long long>(count));
    std::vector<std::unique_ptr<Part>> parts;
    for (int32_t i = 0; i < int32_t(count); ++i) {
        llama_split_path(name.data(), name.size(), prefix.data(), i, int32_t(count));
        if (access(name.data(), F_OK) != 0)
            fail(RI_FILE, "%s, part %d of %lld of a split file, is missing; fetch all parts into one folder",
                 name.data(), i + 1, static_cast<long long>(count));
        parts.push_back(std::make_unique<Part>(name.data()));
    }
    parts_ = std::move(parts);
    path_ = parts_.front()->path;
}

void Gguf::index_tensors() {
    for (const auto &part : parts_) {
        const gguf_context *m = part->metadata.get();
        const char *path = part->path.c_str();
        if (gguf_get_alignment(m) % sizeof(float) != 0)
            fail(RI_FILE, "%s: general.alignment is %zu, not a multiple of 4", path, gguf_get_alignment(m));
        const size_t start = gguf_get_data_offset(m), size = part->file.size;
        for (int64_t i = 0; i < gguf_get_n_tensors(m); ++i) {
            const size_t offset = gguf_get_tensor_offset(m, i), n_bytes = gguf_get_tensor_size(m, i);
            if (start > size || offset > size - start || n_bytes > size - start - offset)
                fail(RI_FILE, "%s is cut short: needs %.0f bytes for %s, has %zu; fetch it again", path,
                     double(start) + double(offset) + double(n_bytes), gguf_get_tensor_name(m, i), size);
            names_.push_back(gguf_get_tensor_name(m, i));
            if (!tensors_.emplace(names_.back(), std::pair(part.get(), i)).second)
                fail(RI_FILE, "%s: the tensor %s is in another part, too; fetch all parts again", path,
                     names_.back().c_str());
        }
    }
    const auto n = int64_t(names_.size()), whole = integer("split.tensors.count").value_or(n);
    if (parts_.size() > 1 && n != whole)
        fail(RI_FILE, "%s: its parts hold %lld tensors, not %lld; fetch all parts again", path_.c_str(),
             static_cast<long long>(n), static_cast<long long>(whole));
}

bool Gguf::has(const std::string &tensor) const { return tensors_.count(tensor) != 0; }

TensorView Gguf::tensor(const std::string &name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) fail(RI_FILE, "%s has no tensor %s", path_.c_str(), name.c_str());
    const auto &[part, id] = found->second;
    const gguf_context *m = part->metadata.get();
    const int64_t *ne = gguf_get_tensor_ne(m, id);
    return {gguf_get_tensor_type(m, id),
            {ne[0], ne[1], ne[2], ne[3]},
            part->file.data + gguf_get_data_offset(m) + gguf_get_tensor_offset(m, id),
            gguf_get_tensor_size(m, id)};
}

void Gguf::dequantise_rows(const TensorView &view, int64_t first, int64_t n, float *dst) const {
    const size_t row_bytes = ggml_row_size(view.type, view.ne[0]);
    const char *src = static_cast<const char *>(view.data) + size_t(first) * row_bytes;
    if (view.type == GGML_TYPE_F32) {
        memcpy(dst, src, size_t(n) * row_bytes);
        return;
    }
    const ggml_to_float_t to_float = ggml_get_type_traits(view.type)->to_float;
    if (!to_float)
        fail(RI_UNSUPPORTED, "%s: weights of type %s cannot be read", path_.c_str(), ggml_type_name(view.type));
    to_float(src, dst, n * view.ne[0]);
}

void Gguf::let_go(const TensorView &view) const {
    const auto page = uintptr_t(sysconf(_SC_PAGESIZE)), start = reinterpret_cast<uintptr_t>(view.data);
    const uintptr_t first = (start + page - 1) / page * page, end = (start + view.n_bytes) / page * page;
    if (first < end) madvise(reinterpret_cast<void *>(first), end - first, MADV_DONTNEED); // a hint: it may fail
}

void require_token(int32_t value, int64_t n_vocab, const char *what, size_t index) {
    if (value < 0 || value >= n_vocab)
        fail(RI_INVALID, "%s %zu is %d; the vocabulary has ids 0 to %lld", what, index, value,
             static_cast<long long>(n_vocab - 1));
}

float Gguf::token_scale() const {
    const Architecture *architecture = find_architecture(info_.architecture);
    return architecture && architecture->scales_tokens ? std::sqrt(float(info_.n_embd)) : 1;
}

void Gguf::embed(const int32_t *tokens, size_t n, float *dst) const {
    const TensorView table = tensor("token_embd.weight");
    if (table.ne[0] != info_.n_embd)
        fail(RI_FILE, "%s: token_embd.weight is %lld wide, %s.embedding_length is %d", path_.c_str(),
             static_cast<long long>(table.ne[0]), info_.architecture, info_.n_embd);
    for (size_t i = 0; i < n; ++i) require_token(tokens[i], table.ne[1], "token", i);
    const float scale = token_scale();
    for (size_t i = 0; i < n; ++i) dequantise_rows(table, tokens[i], 1, dst + i * size_t(table.ne[0]));
    for (size_t i = 0; scale != 1 && i < n * size_t(table.ne[0]); ++i) dst[i] *= scale;
}

// ---- the metadata

std::optional<int64_t> Gguf::integer(const std::string &key) const {
    const gguf_context *m = metadata();
    const int64_t id = gguf_find_key(m, key.c_str());
    if (id < 0) return std::nullopt;
    switch (gguf_get_kv_type(m, id)) {
    case GGUF_TYPE_UINT8: return gguf_get_val_u8(m, id);
    case GGUF_TYPE_INT8: return gguf_get_val_i8(m, id);
    case GGUF_TYPE_UINT16: return gguf_get_val_u16(m, id);
    case GGUF_TYPE_INT16: return gguf_get_val_i16(m, id);
    case GGUF_TYPE_UINT32: return gguf_get_val_u32(m, id);
    case GGUF_TYPE_INT32: return gguf_get_val_i32(m, id);
    case GGUF_TYPE_INT64: return gguf_get_val_i64(m, id);
    case GGUF_TYPE_BOOL: return gguf_get_val_bool(m, id);
    case GGUF_TYPE_UINT64:
        if (gguf_get_val_u64(m, id) <= INT64_MAX) return int64_t(gguf_get_val_u64(m, id));
        [[fallthrough]];
    default:
        fail(RI_FILE, "%s: key %s has type %s where an integer belongs", path_.c_str(), key.c_str(),
             gguf_type_name(gguf_get_kv_type(m, id)));
    }
}

std::optional<double> Gguf::number(const std::string &key) const {
    const gguf_context *m = metadata();
    const int64_t id = gguf_find_key(m, key.c_str());
    if (id < 0) return std::nullopt;
    if (gguf_get_kv_type(m, id) == GGUF_TYPE_FLOAT32) return gguf_get_val_f32(m, id);
    if (gguf_get_kv_type(m, id) == GGUF_TYPE_FLOAT64) return gguf_get_val_f64(m, id);
    fail(RI_FILE, "%s: key %s has type %s where a float belongs", path_.c_str(), key.c_str(),
         gguf_type_name(gguf_get_kv_type(m, id)));
}

std::optional<std::string> Gguf::text(const std::string &key) const {
    const gguf_context *m = metadata();
    const int64_t id = gguf_find_key(m, key.c_str());
    if (id < 0) return std::nullopt;
    if (gguf_get_kv_type(m, id) == GGUF_TYPE_STRING) return std::string(gguf_get_val_str(m, id));
    fail(RI_FILE, "%s: key %s has type %s where a string belongs", path_.c_str(), key.c_str(),
         gguf_type_name(gguf_get_kv_type(m, id)));
}

std::optional<int64_t> Gguf::repeated(const std::string &key) const {
    const gguf_context *m = metadata();
    const int64_t id = gguf_find_key(m, key.c_str());
    if (id < 0 || gguf_get_kv_type(m, id) != GGUF_TYPE_ARRAY) return std::nullopt;
    const gguf_type type = gguf_get_arr_type(m, id);
    const size_t n = gguf_get_arr_n(m, id);
    if ((type != GGUF_TYPE_INT32 && type != GGUF_TYPE_UINT32) || n == 0 || n != size_t(info_.n_layer))
        return std::nullopt;
    const auto *values = static_cast<const int32_t *>(gguf_get_arr_data(m, id));
    if (!std::equal(values + 1, values + n, values)) return std::nullopt;
    return type == GGUF_TYPE_INT32 ? values[0] : int64_t(uint32_t(values[0]));
}

namespace {

// Root mean square of a table, 0 where it cannot be computed.
float root_mean_square(const Gguf &gguf, const TensorView &table) {
    const bool readable = table.type == GGML_TYPE_F32 || ggml_get_type_traits(table.type)->to_float;
    const int64_t n_rows = table.ne[1] * table.ne[2] * table.ne[3];
    if (!readable || table.ne[0] == 0 || n_rows == 0) return 0;
    std::vector<float> row(size_t(table.ne[0]));
    double sum = 0;
    for (int64_t r = 0; r < n_rows; ++r) {
        gguf.dequantise_rows(table, r, 1, row.data());
        float squares = 0;
        for (float x : row) squares += x * x;
        sum += squares;
    }
    const double rms = std::sqrt(sum / double(n_rows) / double(table.ne[0]));
    return std::isfinite(rms) ? float(rms) : 0;
}

} // namespace

void Gguf::describe() {
    const gguf_context *m = metadata();
    const std::string architecture = text("general.architecture").value_or("");
    if (architecture.empty()) fail(RI_FILE, "%s: the key general.architecture is missing", path_.c_str());
    snprintf(info_.architecture, sizeof info_.architecture, "%s", architecture.c_str());
    snprintf(info_.name, sizeof info_.name, "%s", text("general.name").value_or("").c_str());
    for (const auto &part : parts_) info_.n_bytes += int64_t(part->file.size);

    std::map<ggml_type, int64_t> elements;
    for (const std::string &name : names_) {
        const TensorView view = tensor(name);
        const int64_t n = view.ne[0] * view.ne[1] * view.ne[2] * view.ne[3];
        elements[view.type] += n;
        info_.n_parameters += n;
    }
    int64_t most = 0;
    for (const auto &[type, n] : elements) {
        if (n <= most) continue;
        most = n;
        snprintf(info_.file_type, sizeof info_.file_type, "%s", ggml_type_name(type));
    }
    for (char *c = info_.file_type; *c; ++c) *c = char(toupper(static_cast<unsigned char>(*c)));

    // Other architectures keep one value for each layer under some of these keys; such a key is
    // described as 0.
    auto size = [&](const char *suffix, int64_t otherwise) {
        const std::string key = architecture + "." + suffix;
        const int64_t id = gguf_find_key(m, key.c_str());
        if (id < 0) return int32_t(otherwise);
        const bool list = gguf_get_kv_type(m, id) == GGUF_TYPE_ARRAY;
        const int64_t value = list ? repeated(key).value_or(0) : *integer(key);
        if (value < 0 || value > INT32_MAX)
            fail(RI_FILE, "%s: %s is %lld", path_.c_str(), key.c_str(), static_cast<long long>(value));
        return int32_t(value);
    };
    info_.n_layer = size("block_count", 0);
    info_.n_embd = size("embedding_length", 0);
    info_.n_head = size("attention.head_count", 0);
    info_.n_head_kv = size("attention.head_count_kv", info_.n_head);
    info_.n_ff = size("feed_forward_length", 0);
    info_.n_context = info_.n_context_named = size("context_length", 0);
    info_.head_dim = size("attention.key_length", info_.n_head > 0 ? info_.n_embd / info_.n_head : 0);
    info_.rope_base = float(number(architecture + ".rope.freq_base").value_or(10000.0));
    info_.rms_eps = float(number(architecture + ".attention.layer_norm_rms_epsilon").value_or(0.0));
    info_.tied_head = !has("output.weight");
    if (has("token_embd.weight")) {
        const TensorView table = tensor("token_embd.weight");
        if (table.ne[1] > INT32_MAX) fail(RI_FILE, "%s: the embedding table has too many rows", path_.c_str());
        info_.n_vocab = int32_t(table.ne[1]);
        info_.embd_rms = token_scale() * root_mean_square(*this, table);
        let_go(table);
    }
    try {
        info_.n_context = int32_t(llm_shape(*this).n_context);
    } catch (const Error &) { // training refuses it; what else can be done with it, llama.cpp says
    }
}

float Gguf::rope_frequency_scale() const {
    const std::string prefix = std::string(info_.architecture) + ".rope.";
    if (text(prefix + "scaling.type").value_or("linear") == "none") return 1;
    double factor = number(prefix + "scaling.factor").value_or(0);
    if (factor == 0) factor = number(prefix + "scale_linear").value_or(0);
    return factor == 0 ? 1.0f : float(1.0 / factor);
}

} // namespace ri

extern "C" {

ri_status ri_gguf_open(const char *path, ri_gguf **out, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(path, "path");
        ri::require(out, "out");
        auto handle = std::make_unique<ri_gguf>();
        handle->impl = std::make_shared<const ri::Gguf>(path);
        *out = handle.release();
    });
}

ri_status ri_gguf_describe(const ri_gguf *gguf, ri_gguf_info *out, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(gguf, "gguf");
        ri::require(out, "out");
        *out = gguf->impl->info();
    });
}

ri_status ri_gguf_check(const ri_gguf *gguf, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(gguf, "gguf");
        ri::llm_shape(*gguf->impl);
    });
}

void ri_gguf_free(ri_gguf *gguf) { delete gguf; }

ri_status ri_gguf_embed(const ri_gguf *gguf, const int32_t *tokens, size_t n_tokens, float *dst, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(gguf, "gguf");
        if (n_tokens) ri::require(tokens, "tokens");
        if (n_tokens) ri::require(dst, "dst");
        gguf->impl->embed(tokens, n_tokens, dst);
    });
}

} // extern "C"
