// Kernels enter as a type of CPU buffer, as ggml's own for other layouts of weights do. ggml asks each type in its list
// for the traits of an operation; traits compute it on the threads of the CPU backend.
#include "substitutes.h"

#include "kernels.h"

#include "ggml-backend-impl.h"
#include "traits.h"

#include <cstring>
#include <dlfcn.h>

// Of traits.h; ggml's own stand in a module that nothing is linked with.
ggml::cpu::tensor_traits::~tensor_traits() {}
ggml::cpu::extra_buffer_type::~extra_buffer_type() {}

namespace ri {

namespace {

ggml_backend_buffer_type_t packed_type();

// ggml's order of dimensions: ne[0] inputs of each of ne[1] outputs.
kernels::PackedMatrix matrix_of(const ggml_tensor *weight) {
    return kernels::PackedMatrix(weight->ne[1], weight->ne[0], weight->data);
}

bool is_product(const ggml_tensor *op) {
    if (op->op != GGML_OP_MUL_MAT || !op->src[0]->buffer || op->src[0]->buffer->buft != packed_type()) return false;
    const ggml_tensor *weight = op->src[0], *x = op->src[1];
    return weight->type == GGML_TYPE_BF16 && ggml_is_matrix(weight) && !weight->view_src && x->type == GGML_TYPE_F32 &&
           ggml_is_contiguous(x);
}

// Attention as a LLaMA has it: no biases by distance, no cap on scores, no sinks.
bool is_attention(const ggml_tensor *op) {
    if (op->op != GGML_OP_FLASH_ATTN_EXT) return false;
    const ggml_tensor *q = op->src[0], *k = op->src[1], *v = op->src[2], *mask = op->src[3];
    float params[3]; // scale, biases by distance, cap
    memcpy(params, op->op_params, sizeof params);
    return params[1] == 0 && params[2] == 0 && !op->src[4] && mask && mask->ne[2] == 1 && q->type == GGML_TYPE_F32 &&
           k->type == GGML_TYPE_F16 && v->type == GGML_TYPE_F16 && ggml_are_same_shape(k, v) &&
           q->ne[2] % k->ne[2] == 0 && (mask->ne[3] == 1 || mask->ne[3] == q->ne[3]) && q->nb[0] == sizeof(float) &&
           k->nb[0] == sizeof(ggml_fp16_t) && v->nb[0] == sizeof(ggml_fp16_t) &&
           kernels::cached_attention_supported(k->ne[0], k->ne[1]);
}

kernels::CachedAttention shape_of(const ggml_tensor *op) {
    const ggml_tensor *q = op->src[0], *k = op->src[1], *v = op->src[2], *mask = op->src[3];
    kernels::CachedAttention a{};
    a.streams = q->ne[3], a.heads = q->ne[2], a.heads_kv = k->ne[2], a.head_dim = q->ne[0];
    a.queries = q->ne[1], a.keys = k->ne[1];
    a.q = {static_cast<const char *>(q->data), q->nb[1], q->nb[2], q->nb[3]};
    a.k = {static_cast<const char *>(k->data), k->nb[1], k->nb[2], k->nb[3]};
    a.v = {static_cast<const char *>(v->data), v->nb[1], v->nb[2], v->nb[3]};
    a.mask = {static_cast<const char *>(mask->data), mask->nb[1], 0, mask->ne[3] == 1 ? 0 : mask->nb[3]};
    memcpy(&a.scale, op->op_params, sizeof a.scale);
    return a;
}

// What has fewer parts than threads is left to ggml, which shares out the keys as well.
bool enough_for(const ggml_tensor *op, int n_threads) {
    return kernels::cached_attention_parts(shape_of(op)) >= n_threads;
}

// Neither needs memory of ggml's.
struct ProductTraits : ggml::cpu::tensor_traits {
    bool work_size(int, const ggml_tensor *, size_t &n) override {
        n = 0;
        return true;
    }
    bool compute_forward(ggml_compute_params *thread, ggml_tensor *op) override {
        const ggml_tensor *x = op->src[1];
        matrix_of(op->src[0])
            .multiply(static_cast<const float *>(x->data), ggml_nrows(x), static_cast<float *>(op->data), thread->ith,
                      thread->nth);
        return true;
    }
};

struct AttentionTraits : ggml::cpu::tensor_traits {
    bool work_size(int n_threads, const ggml_tensor *op, size_t &n) override {
        n = 0;
        return enough_for(op, n_threads);
    }
    bool compute_forward(ggml_compute_params *thread, ggml_tensor *op) override {
        if (!enough_for(op, thread->nth)) return false;
        kernels::cached_attention(shape_of(op), static_cast<float *>(op->data), thread->ith, thread->nth);
        return true;
    }
};

class PackedType : public ggml::cpu::extra_buffer_type {
  public:
    bool supports_op(ggml_backend_dev_t, const ggml_tensor *op) override {
        return is_product(op) && (!op->src[1]->buffer || ggml_backend_buffer_is_host(op->src[1]->buffer));
    }
    ggml::cpu::tensor_traits *get_tensor_traits(const ggml_tensor *op) override {
        if (is_product(op)) return &product_;
        return is_attention(op) ? &attention_ : nullptr;
    }

  private:
    ProductTraits product_;
    AttentionTraits attention_;
};

void set_tensor(ggml_backend_buffer_t, ggml_tensor *tensor, const void *data, size_t offset, size_t n_bytes) {
    GGML_ASSERT(offset == 0 && n_bytes == ggml_nbytes(tensor)); // a loader's way: all of a matrix at once
    kernels::PackedMatrix matrix = matrix_of(tensor);
    memset(tensor->data, 0, kernels::PackedMatrix::size(matrix.n_out(), matrix.n_in()));
    for (int64_t out = 0; out < matrix.n_out(); ++out)
        matrix.set_row(out, static_cast<const uint16_t *>(data) + out * matrix.n_in());
}

// Ordinary memory that is written through set_tensor, and read by the kernel alone.
ggml_backend_buffer_t allocate(ggml_backend_buffer_type_t type, size_t n_bytes) {
    ggml_backend_buffer_t buffer = ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), n_bytes);
    if (!buffer) return nullptr;
    buffer->buft = type;
    buffer->iface.set_tensor = set_tensor;
    buffer->iface.get_tensor = nullptr;
    buffer->iface.cpy_tensor = nullptr;
    return buffer;
}

ggml_backend_buffer_type_t packed_type() {
    static auto *const context = new PackedType; // as long as the process: so is the list it is in
    static ggml_backend_buffer_type type = {
        {[](ggml_backend_buffer_type_t) { return "RECINT_PACKED"; }, allocate,
         [](ggml_backend_buffer_type_t) { return kernels::PackedMatrix::alignment; }, nullptr,
         [](ggml_backend_buffer_type_t, const ggml_tensor *tensor) {
             return kernels::PackedMatrix::size(ggml_nrows(tensor), tensor->ne[0]);
         },
         nullptr},
        ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU),
        static_cast<ggml::cpu::extra_buffer_type *>(context)};
    return &type;
}

} // namespace

void offer_kernels() {
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (!cpu || !kernels::available()) return;
    // The list is a function's of the CPU backend, which is a module: found through another function of it.
    ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(cpu);
    Dl_info module{};
    if (!dladdr(ggml_backend_reg_get_proc_address(registry, "ggml_backend_set_n_threads"), &module)) return;
    void *handle = dlopen(module.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    if (!handle) return;
    auto types = reinterpret_cast<decltype(&ggml_backend_cpu_get_extra_buffer_types)>(
        dlsym(handle, "_Z39ggml_backend_cpu_get_extra_buffer_typesv"));
    dlclose(handle); // it stays loaded: ggml holds it
    if (types) types().push_back(packed_type());
}

} // namespace ri
