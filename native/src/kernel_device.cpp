#include "kernel_device.h"

#include "pack.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace ri {

namespace {

// Packed, a weight takes 1.25 bytes (whole numbers) or 2 in addition to those in the mapped file.
// Of larger models only BF16 matrices are packed.
constexpr int64_t most_parameters_to_copy = 2'000'000'000;

// Attention with a mask, and without biases by distance, a cap on scores, and sinks.
bool is_attention(const ggml_tensor *op) {
    if (op->op != GGML_OP_FLASH_ATTN_EXT) return false;
    const ggml_tensor *q = op->src[0], *k = op->src[1], *v = op->src[2], *mask = op->src[3];
    float params[3]; // scale, biases by distance, cap
    memcpy(params, op->op_params, sizeof params);
    return params[1] == 0 && params[2] == 0 && !op->src[4] && mask && mask->ne[2] == 1 && q->type == GGML_TYPE_F32 &&
           k->type == GGML_TYPE_F16 && v->type == GGML_TYPE_F16 && ggml_are_same_shape(k, v) &&
           q->ne[2] % k->ne[2] == 0 && q->ne[3] == k->ne[3] && (mask->ne[3] == 1 || mask->ne[3] == q->ne[3]) &&
           q->nb[0] == sizeof(float) && k->nb[0] == sizeof(ggml_fp16_t) && v->nb[0] == sizeof(ggml_fp16_t);
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

const char *name_of_device(ggml_backend_dev_t) { return "RecInt"; }
const char *name_of_backend(ggml_backend_t) { return "RecInt"; }

} // namespace

KernelDevice::KernelDevice(Engine &engine, int64_t n_parameters)
    : engine_(engine), copies_(n_parameters <= most_parameters_to_copy), device_{} {
    device_.context = this;
    ggml_backend_device_i &device = device_.iface;
    device.get_name = name_of_device;
    device.get_description = [](ggml_backend_dev_t) { return "the core's kernels beside ggml's on the CPU"; };
    device.get_memory = [](ggml_backend_dev_t d, size_t *free, size_t *total) {
        ggml_backend_dev_memory(of(d).engine_.device(), free, total);
    };
    device.get_type = [](ggml_backend_dev_t) { return GGML_BACKEND_DEVICE_TYPE_ACCEL; };
    device.get_props = [](ggml_backend_dev_t d, ggml_backend_dev_props *props) {
        ggml_backend_dev_get_props(of(d).engine_.device(), props); // the same memory, and the same maps of files
        props->name = ggml_backend_dev_name(d);
        props->description = ggml_backend_dev_description(d);
        props->type = ggml_backend_dev_type(d);
        props->caps.buffer_from_host_ptr = false; // this device has no such function
    };
    device.init_backend = start;
    device.get_buffer_type = [](ggml_backend_dev_t d) { return ggml_backend_dev_buffer_type(of(d).engine_.device()); };
    device.supports_op = [](ggml_backend_dev_t d, const ggml_tensor *op) {
        return ggml_backend_dev_supports_op(of(d).engine_.device(), op);
    };
    device.supports_buft = [](ggml_backend_dev_t d, ggml_backend_buffer_type_t type) {
        return ggml_backend_dev_supports_buft(of(d).engine_.device(), type);
    };
}

ggml_backend_t KernelDevice::start(ggml_backend_dev_t device, const char *) {
    static ggml_guid guid = {0x52, 0x65, 0x63, 0x49, 0x6e, 0x74, 0x20, 0x6b, 0x65, 0x72, 0x6e, 0x65, 0x6c, 0x73, 0, 1};
    auto *backend = new (std::nothrow) ggml_backend{&guid, {}, device, &of(device)};
    if (!backend) return nullptr;
    backend->iface.get_name = name_of_backend;
    backend->iface.free = [](ggml_backend_t b) { delete b; };
    backend->iface.graph_compute = [](ggml_backend_t b, ggml_cgraph *graph) {
        return static_cast<KernelDevice *>(b->context)->compute(graph);
    };
    return backend;
}

// A product with a matrix of the model that is stored as in the file, in a type that packing makes
// faster (docs/results.md, Speed). Where ggml has laid a matrix out for a kernel of its own, in a
// type of buffer of its own, it keeps it: of Q4_0 one sequence got 343 tokens a second from ggml
// and 169 packed in bfloat16, 32 sequences 1320 and 1530 (SmolLM2-135M, 2 CPUs of an AMD EPYC, Zen
// 5, AVX512-BF16). F32 stays exact.
bool KernelDevice::is_product(const ggml_tensor *op) const {
    if (op->op != GGML_OP_MUL_MAT) return false;
    const ggml_tensor *weight = op->src[0], *x = op->src[1];
    const bool copied = ggml_is_quantized(weight->type) || weight->type == GGML_TYPE_F16;
    return (weight->type == GGML_TYPE_BF16 || (copies_ && copied)) && ggml_get_type_traits(weight->type)->to_float &&
           weight->buffer && ggml_backend_buffer_get_usage(weight->buffer) == GGML_BACKEND_BUFFER_USAGE_WEIGHTS &&
           ggml_backend_buffer_is_host(weight->buffer) && !weight->view_src && ggml_is_matrix(weight) &&
           x->type == GGML_TYPE_F32 && ggml_is_contiguous(x);
}

// Packs the matrices of a graph that no graph before had, on all threads.
void KernelDevice::pack(ggml_tensor *const *nodes, int n) {
    std::unordered_map<const ggml_tensor *, kernels::PackedMatrix> fresh;
    for (int i = 0; i < n; ++i) {
        if (!is_product(nodes[i])) continue;
        const ggml_tensor *weight = nodes[i]->src[0]; // ggml's order: ne[0] inputs of each of ne[1] outputs
        if (!matrices_.count(weight))
            fresh.try_emplace(weight, packed_for(*engine_.kernels(), weight->type, weight->ne[1], weight->ne[0]));
    }
    if (fresh.empty()) return;
    engine_.parallel([&](int ith, int nth) {
        for (auto &[weight, matrix] : fresh)
            pack_rows(weight->type, weight->data, weight->ne[1] * ith / nth, weight->ne[1] * (ith + 1) / nth, matrix);
    });
    matrices_.merge(fresh);
}

// Our node for one of llama.cpp's, or null. It writes where that one would.
ggml_tensor *KernelDevice::substitute(ggml_tensor *op) {
    const bool product = is_product(op), attention = !product && is_attention(op);
    if (!product && !attention) return nullptr;
    work_.push_back({&engine_, op, product ? &matrices_.at(op->src[0]) : nullptr});
    auto run = [](ggml_tensor *, int, int, void *user) {
        const Work &work = *static_cast<const Work *>(user);
        work.engine->share(false, [&](int ith, int nth) {
            auto *out = static_cast<float *>(work.op->data);
            if (!work.matrix) return work.engine->kernels()->cached_attention(shape_of(work.op), out, ith, nth);
            const ggml_tensor *x = work.op->src[1];
            work.matrix->multiply(static_cast<const float *>(x->data), ggml_nrows(x), out, ith, nth);
        });
    };
    ggml_tensor *node = ggml_custom_4d(nodes_.get(), op->type, op->ne[0], op->ne[1], op->ne[2], op->ne[3], nullptr, 0,
                                       run, 1, &work_.back());
    node->data = op->data;
    node->flags = op->flags;
    ++(product ? n_products_ : n_attentions_);
    return node;
}

ggml_status KernelDevice::compute(ggml_cgraph *graph) {
    // llama.cpp runs a graph more than once: it gets its nodes back.
    struct Restore {
        ggml_tensor **nodes;
        std::vector<ggml_tensor *> originals;
        ~Restore() { std::copy(originals.begin(), originals.end(), nodes); }
    };
    try {
        const int n = ggml_graph_n_nodes(graph);
        ggml_tensor **nodes = ggml_graph_nodes(graph);
        pack(nodes, n);
        if (size_t(n) > work_.capacity()) { // the nodes point into it
            work_.reserve(size_t(n));
            nodes_.reset(ggml_init({size_t(n) * ggml_tensor_overhead(), nullptr, true}));
            if (!nodes_) throw std::bad_alloc();
        }
        work_.clear();
        ggml_reset(nodes_.get());
        const Restore restore{nodes, {nodes, nodes + n}};
        for (int i = 0; i < n; ++i)
            if ((nodes[i]->flags & GGML_TENSOR_FLAG_COMPUTE) != 0)
                if (ggml_tensor *node = substitute(nodes[i])) nodes[i] = node;
        const ggml_status status = ggml_backend_graph_compute(engine_.backend(), graph);
        engine_.rethrow();
        return status;
    } catch (...) {
        thrown_ = std::current_exception();
        return GGML_STATUS_FAILED;
    }
}

} // namespace ri
