#include "support/made_up_gpu.h"

#include "ggml-backend-impl.h"
#include "ggml-cpu.h"

#include <cstring>
#include <map>
#include <mutex>
#include <sys/mman.h>

namespace {

ggml_backend_dev_t cpu() { return ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU); }

extern ggml_backend_buffer_type memory;
extern ggml_backend_device gpu;
extern ggml_backend_reg registry;

// ---- memory, which can be reached while an Access lives

// Never destroyed: an engine may be so only when the program ends.
auto &blocks = *new std::map<void *, size_t>; // by address: bytes
auto &in_use = *new std::mutex;

struct Access {
    Access() { all(PROT_READ | PROT_WRITE); }
    ~Access() { all(PROT_NONE); }

  private:
    static void all(int protection) {
        if (device_idles()) return; // who counts measures time, too
        for (const auto &[address, size] : blocks) mprotect(address, size, protection);
    }
    std::lock_guard<std::mutex> hold_{in_use};
};

char *data(const ggml_tensor *tensor, size_t offset) { return static_cast<char *>(tensor->data) + offset; }

ggml_backend_buffer_i buffer_interface() {
    ggml_backend_buffer_i i{};
    i.free_buffer = [](ggml_backend_buffer_t buffer) {
        std::lock_guard<std::mutex> hold(in_use);
        munmap(buffer->context, buffer->size);
        blocks.erase(buffer->context);
    };
    i.get_base = [](ggml_backend_buffer_t buffer) { return buffer->context; };
    i.memset_tensor = [](ggml_backend_buffer_t, ggml_tensor *tensor, uint8_t value, size_t offset, size_t size) {
        Access access;
        if (watcher) watcher->copied(DeviceWatcher::on_device, size);
        memset(data(tensor, offset), value, size);
    };
    i.set_tensor = [](ggml_backend_buffer_t, ggml_tensor *tensor, const void *from, size_t offset, size_t size) {
        Access access;
        if (watcher) watcher->copied(DeviceWatcher::to_device, size);
        memcpy(data(tensor, offset), from, size);
    };
    i.get_tensor = [](ggml_backend_buffer_t, const ggml_tensor *tensor, void *to, size_t offset, size_t size) {
        Access access;
        if (watcher) watcher->copied(DeviceWatcher::to_host, size);
        if (device_idles() && size <= 64) { // a loss or a norm
            memset(to, 0, size);
            return;
        }
        memcpy(to, data(tensor, offset), size);
    };
    i.clear = [](ggml_backend_buffer_t buffer, uint8_t value) {
        Access access;
        if (device_idles() && value == 0) return; // fresh memory is zero
        memset(buffer->context, value, buffer->size);
    };
    return i;
}

ggml_backend_buffer_t allocate(ggml_backend_buffer_type_t type, size_t size) {
    void *address =
        mmap(nullptr, size, device_idles() ? PROT_READ | PROT_WRITE : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED) return nullptr;
    std::lock_guard<std::mutex> hold(in_use);
    blocks[address] = size;
    return ggml_backend_buffer_init(type, buffer_interface(), address, size);
}

ggml_backend_buffer_type memory = {
    {[](ggml_backend_buffer_type_t) { return "made-up"; }, allocate,
     [](ggml_backend_buffer_type_t) { return ggml_backend_buft_get_alignment(ggml_backend_dev_buffer_type(cpu())); },
     nullptr, nullptr, [](ggml_backend_buffer_type_t) { return false; }},
    &gpu,
    nullptr};

// ---- the backend: the CPU's, on one thread, in its context

ggml_backend_t inner(ggml_backend_t backend) { return static_cast<ggml_backend_t>(backend->context); }

ggml_backend_t start(ggml_backend_dev_t device, const char *) {
    auto *backend = new ggml_backend{};
    backend->iface.get_name = [](ggml_backend_t) { return "made-up"; };
    backend->iface.free = [](ggml_backend_t self) {
        if (watcher) watcher->ended();
        ggml_backend_free(inner(self));
        delete self;
    };
    backend->iface.graph_compute = [](ggml_backend_t self, ggml_cgraph *graph) {
        Access access;
        if (watcher) watcher->run(graph);
        if (device_idles()) return GGML_STATUS_SUCCESS;
        return ggml_backend_graph_compute(inner(self), graph);
    };
    static uint8_t guid[16] = {7};
    backend->guid = &guid;
    backend->device = device;
    backend->context = ggml_backend_dev_init(cpu(), nullptr);
    void *set_threads =
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu()), "ggml_backend_set_n_threads");
    reinterpret_cast<ggml_backend_set_n_threads_t>(set_threads)(inner(backend), 1);
    return backend;
}

ggml_backend_device_i device_interface() {
    ggml_backend_device_i i{};
    i.get_name = i.get_description = [](ggml_backend_dev_t) { return "a made-up GPU"; };
    i.get_memory = [](ggml_backend_dev_t, size_t *free, size_t *total) {
        *free = *total = size_t(device_idles() ? 80 : 1) << 30;
    };
    i.get_type = [](ggml_backend_dev_t) { return GGML_BACKEND_DEVICE_TYPE_GPU; };
    i.get_props = [](ggml_backend_dev_t, ggml_backend_dev_props *props) {
        *props = {};
        props->name = props->description = "a made-up GPU";
        props->type = GGML_BACKEND_DEVICE_TYPE_GPU;
    };
    i.init_backend = start;
    i.get_buffer_type = [](ggml_backend_dev_t) { return &memory; };
    i.supports_op = [](ggml_backend_dev_t, const ggml_tensor *op) {
        times_refused += op->op == lacking;
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

ggml_backend_reg_t made_up_gpu() { return &registry; }

void register_made_up_gpu() {
    static std::once_flag once;
    std::call_once(once, [] { ggml_backend_register(&registry); });
}
