#include "support/made_up_gpu.h"

#include "ggml-backend-impl.h"

namespace {

ggml_backend_dev_t cpu() { return ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU); }

extern ggml_backend_buffer_type memory;
extern ggml_backend_device gpu;
extern ggml_backend_reg registry;

// ---- memory: the CPU's, of another type

ggml_backend_buffer_t allocate(ggml_backend_buffer_type_t, size_t size) {
    ggml_backend_buffer_t buffer = ggml_backend_buft_alloc_buffer(ggml_backend_dev_buffer_type(cpu()), size);
    if (buffer) buffer->buft = &memory;
    return buffer;
}

ggml_backend_buffer_type memory = {
    {[](ggml_backend_buffer_type_t) { return "made-up"; }, allocate,
     [](ggml_backend_buffer_type_t) { return ggml_backend_buft_get_alignment(ggml_backend_dev_buffer_type(cpu())); },
     nullptr, nullptr, [](ggml_backend_buffer_type_t) { return false; }},
    &gpu,
    nullptr};

// ---- the backend: the CPU's, in its context

ggml_backend_t inner(ggml_backend_t backend) { return static_cast<ggml_backend_t>(backend->context); }

ggml_backend_t start(ggml_backend_dev_t device, const char *) {
    auto *backend = new ggml_backend{};
    backend->iface.get_name = [](ggml_backend_t) { return "made-up"; };
    backend->iface.free = [](ggml_backend_t self) {
        ggml_backend_free(inner(self));
        delete self;
    };
    backend->iface.graph_compute = [](ggml_backend_t self, ggml_cgraph *graph) {
        return ggml_backend_graph_compute(inner(self), graph);
    };
    static uint8_t guid[16] = {7};
    backend->guid = &guid;
    backend->device = device;
    backend->context = ggml_backend_dev_init(cpu(), nullptr);
    return backend;
}

ggml_backend_device_i device_interface() {
    ggml_backend_device_i i{};
    i.get_name = i.get_description = [](ggml_backend_dev_t) { return "a made-up GPU"; };
    i.get_memory = [](ggml_backend_dev_t, size_t *free, size_t *total) { *free = *total = size_t(1) << 30; };
    i.get_type = [](ggml_backend_dev_t) { return GGML_BACKEND_DEVICE_TYPE_GPU; };
    i.get_props = [](ggml_backend_dev_t, ggml_backend_dev_props *props) {
        *props = {};
        props->name = props->description = "a made-up GPU";
        props->type = GGML_BACKEND_DEVICE_TYPE_GPU;
    };
    i.init_backend = start;
    i.get_buffer_type = [](ggml_backend_dev_t) { return &memory; };
    i.supports_op = [](ggml_backend_dev_t, const ggml_tensor *op) {
        return op->op != lacking && ggml_backend_dev_supports_op(cpu(), op);
    };
    i.supports_buft = [](ggml_backend_dev_t, ggml_backend_buffer_type_t type) { return type == &memory; };
    return i;
}

ggml_backend_device gpu = {device_interface(), &registry, nullptr};

ggml_backend_reg registry = {GGML_BACKEND_API_VERSION,
                             {[](ggml_backend_reg_t) { return "made-up"; },
                              [](ggml_backend_reg_t) { return size_t(1); },
                              [](ggml_backend_reg_t, size_t) { return &gpu; },
                              [](ggml_backend_reg_t, const char *) -> void * { return nullptr; }},
                             nullptr};

} // namespace

void register_made_up_gpu() { ggml_backend_register(&registry); }
