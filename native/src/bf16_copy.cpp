#include "bf16_copy.h"

#include <cstring>
#include <vector>
#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace ri {

namespace {

File anonymous_file() {
#ifdef __linux__
    const int fd = memfd_create("recint-bf16", MFD_CLOEXEC);
    if (fd >= 0) {
        if (FILE *file = fdopen(fd, "w+b")) return File(file);
        close(fd);
    }
#endif
    return File(tmpfile());
}

// Whether a matrix is of a type for which ggml's CPU kernels are several times slower than BF16's on this machine: the
// quantised types that no register-tiled kernel exists for.
bool slow_on_cpu(ggml_type type) { return type == GGML_TYPE_Q4_1 || type == GGML_TYPE_Q5_1; }

// A BF16 copy takes 2 bytes a weight; larger models keep their own type.
constexpr int64_t most_parameters_to_copy = 2'000'000'000;

void write(FILE *file, const void *data, size_t n) {
    if (fwrite(data, 1, n, file) != n) fail(RI_MEMORY, "no memory for a BF16 copy of the weights; use a smaller model");
}

} // namespace

bool wants_bf16(const Engine &engine, const Gguf &gguf) {
    return engine.on_cpu() && engine.packed_kernel() && gguf.info().n_parameters <= most_parameters_to_copy &&
           slow_on_cpu(gguf.tensor("blk.0.ffn_up.weight").type);
}

File bf16_copy(const Gguf &gguf) {
    const std::vector<std::string> &names = gguf.tensor_names();
    gguf_context_ptr copy(gguf_init_empty());
    ggml_context_ptr ctx(ggml_init({ggml_tensor_overhead() * names.size(), nullptr, true}));
    if (!copy || !ctx) throw std::bad_alloc();
    gguf_set_kv(copy.get(), gguf.metadata());
    gguf_remove_key(copy.get(), "split.count"); // the copy is one file
    for (const std::string &name : names) {
        const TensorView view = gguf.tensor(name);
        ggml_tensor *t =
            ggml_new_tensor(ctx.get(), ggml_is_quantized(view.type) ? GGML_TYPE_BF16 : view.type, 4, view.ne);
        ggml_set_name(t, name.c_str());
        gguf_add_tensor(copy.get(), t);
    }
    File file = anonymous_file();
    if (!file) fail(RI_MEMORY, "no anonymous file for a BF16 copy of the weights: %s", strerror(errno));
    if (!gguf_write_to_file_ptr(copy.get(), file.get(), true))
        fail(RI_MEMORY, "no memory for a BF16 copy of the weights");
    const std::vector<char> zeros(gguf_get_alignment(copy.get()));
    std::vector<float> row;
    std::vector<ggml_bf16_t> rounded;
    for (size_t i = 0; i < names.size(); ++i) {
        const TensorView view = gguf.tensor(names[i]);
        if (ggml_is_quantized(view.type)) {
            row.resize(size_t(view.ne[0]));
            rounded.resize(row.size());
            for (int64_t r = 0; r < view.ne[1]; ++r) {
                gguf.dequantise_rows(view, r, 1, row.data());
                ggml_fp32_to_bf16_row(row.data(), rounded.data(), view.ne[0]);
                write(file.get(), rounded.data(), rounded.size() * sizeof rounded[0]);
            }
        } else {
            write(file.get(), view.data, view.n_bytes);
        }
        const size_t n = gguf_get_tensor_size(copy.get(), int64_t(i));
        write(file.get(), zeros.data(), GGML_PAD(n, zeros.size()) - n);
    }
    if (fflush(file.get()) != 0) fail(RI_MEMORY, "no memory for a BF16 copy of the weights; use a smaller model");
    rewind(file.get());
    return file;
}

} // namespace ri
