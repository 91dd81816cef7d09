#include "engine.h"

#include "gguf.h"

#include "ggml-cpu.h"

#include <algorithm>
#include <cstring>
#include <dlfcn.h>
#include <sched.h>
#include <string>
#include <thread>

#ifndef RI_LLAMA_COMMIT
#define RI_LLAMA_COMMIT "unknown"
#endif
#ifndef RI_BUILD_FLAGS
#define RI_BUILD_FLAGS ""
#endif

namespace ri {

std::string library_folder() {
    Dl_info self{};
    if (dladdr(reinterpret_cast<const void *>(&ri_abi_version), &self) && self.dli_fname) {
        const std::string path = self.dli_fname;
        const size_t slash = path.rfind('/');
        if (slash != std::string::npos) return path.substr(0, slash);
    }
    return ".";
}

void load_backends() {
    static std::once_flag once;
    std::call_once(once, [] {
        silence_logs();
        ggml_backend_load_all_from_path(library_folder().c_str());
    });
}

namespace {

int available_cpus() {
#ifdef __linux__ // what this process may use
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
    return std::max(1, int(std::thread::hardware_concurrency()));
}

const char *family(ggml_backend_dev_t device) {
    if (ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU) return "cpu";
    const char *name = ggml_backend_reg_name(ggml_backend_dev_backend_reg(device));
    if (strncmp(name, "CUDA", 4) == 0) return "cuda";
    if (strncmp(name, "MTL", 3) == 0 || strncmp(name, "Metal", 5) == 0) return "metal";
    return name;
}

std::string devices_found() {
    std::string list;
    for (size_t i = 0; i < ggml_backend_dev_count(); ++i)
        list += std::string(i ? ", " : "") + family(ggml_backend_dev_get(i));
    return list.empty() ? "none" : list;
}

ggml_backend_dev_t choose_device(const std::string &wanted, bool strict) {
    ggml_backend_dev_t cpu = nullptr, gpu = nullptr;
    for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        const auto type = ggml_backend_dev_type(device);
        if (wanted == family(device)) return device;
        if (type == GGML_BACKEND_DEVICE_TYPE_CPU && !cpu) cpu = device;
        if (type == GGML_BACKEND_DEVICE_TYPE_GPU && !gpu) gpu = device;
    }
    if (wanted != "auto") {
        const char *how = wanted == "cuda"    ? "build it with `make cuda`; it needs an NVIDIA GPU and its driver"
                          : wanted == "metal" ? "build it with `make RECINT_METAL=1`"
                                              : "known are auto, cpu, cuda, metal and portable";
        fail(RI_BACKEND, "no %s backend was found beside librecint (found: %s); %s", wanted.c_str(),
             devices_found().c_str(), how);
    }
    if (!gpu && strict)
        fail(RI_BACKEND,
             "no GPU was found (found: %s), and the strict engine lets no CPU stand in for it; ask for the CPU, "
             "or build with `make cuda` or `make RECINT_METAL=1`",
             devices_found().c_str());
    if (!gpu && !cpu) fail(RI_BACKEND, "no compute backend was found beside librecint; run `make`");
    return gpu ? gpu : cpu;
}

} // namespace

Engine::Engine(const ri_engine_params &params) : host_kernels_(kernels::select(getenv("RECINT_KERNELS"))) {
    if (params.n_threads < 0 || params.n_threads > GGML_MAX_N_THREADS)
        fail(RI_INVALID, "threads must be 0 (one for each core) to %d, not %d", GGML_MAX_N_THREADS, params.n_threads);
    load_backends();
    const std::string wanted = params.backend && *params.backend ? params.backend : "auto";
    portable_ = wanted == "portable";
    strict_ = params.strict != 0;
    ggml_backend_dev_t device = choose_device(portable_ ? "cpu" : wanted, strict_);
    backend_.reset(ggml_backend_dev_init(device, nullptr));
    if (!backend_) fail(RI_BACKEND, "the backend %s did not start", ggml_backend_dev_name(device));
    scratch_.reset(ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend_.get())));
    n_threads_ = params.n_threads > 0 ? params.n_threads : std::min(available_cpus(), GGML_MAX_N_THREADS);
    ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(device);
    auto find = [&](const char *name) { return ggml_backend_reg_get_proc_address(registry, name); };
    if (!on_cpu()) return;
    // Where kernels compute, ggml has one thread, and its custom nodes call those of the engine:
    // ggml's own spin as long as they wait, which is most of the time when other programs run.
    if (n_threads_ > 1) threads_ = std::make_unique<Threads>(n_threads_);
    const int n_ggml = kernels() ? 1 : n_threads_;
    reinterpret_cast<ggml_backend_set_n_threads_t>(find("ggml_backend_set_n_threads"))(backend_.get(), n_ggml);
    if (n_ggml == 1) return;
    ggml_threadpool_params params_of_pool = ggml_threadpool_params_default(n_ggml);
    params_of_pool.poll = 1; // some milliseconds, then they sleep
    pool_ = {reinterpret_cast<decltype(&ggml_threadpool_new)>(find("ggml_threadpool_new"))(&params_of_pool),
             reinterpret_cast<decltype(&ggml_threadpool_free)>(find("ggml_threadpool_free"))};
    if (!pool_) fail(RI_MEMORY, "%d threads could not be started", n_ggml);
    reinterpret_cast<decltype(&ggml_backend_cpu_set_threadpool)>(find("ggml_backend_cpu_set_threadpool"))(
        backend_.get(), pool_.get());
}

bool Engine::place_activations(ggml_cgraph *graph) {
    const bool placed = ggml_gallocr_alloc_graph(scratch_.get(), graph);
    const size_t n = placed ? ggml_gallocr_get_buffer_size(scratch_.get(), 0) : 0;
    if (n != std::exchange(scratch_bytes_, n)) ++scratch_number_;
    return placed;
}

ggml_backend_buffer_ptr Engine::place(ggml_context *tensors, Memory memory) const {
    if (memory == Memory::taken)
        return ggml_backend_buffer_ptr(ggml_backend_alloc_ctx_tensors(tensors, backend_.get()));
    ggml_backend_buffer_ptr nothing(
        ggml_backend_buft_alloc_buffer(ggml_backend_get_default_buffer_type(backend_.get()), 0));
    for (ggml_tensor *t = ggml_get_first_tensor(tensors); t; t = ggml_get_next_tensor(tensors, t))
        t->buffer = nothing.get();
    return nothing;
}

size_t Engine::n_bytes(ggml_context *tensors) const {
    ggml_backend_buffer_type_t type = ggml_backend_get_default_buffer_type(backend_.get());
    size_t n = 0;
    for (ggml_tensor *t = ggml_get_first_tensor(tensors); t; t = ggml_get_next_tensor(tensors, t))
        n += GGML_PAD(ggml_backend_buft_get_alloc_size(type, t), ggml_backend_buft_get_alignment(type));
    return n;
}

ri_engine_info Engine::describe() const {
    ri_engine_info info{};
    snprintf(info.backend, sizeof info.backend, "%s", portable_ ? "portable" : family(device()));
    snprintf(info.device, sizeof info.device, "%s", ggml_backend_dev_description(device()));
    size_t free = 0, total = 0;
    ggml_backend_dev_memory(device(), &free, &total);
    info.memory_free = int64_t(free);
    info.memory_total = int64_t(total);
    info.n_threads = n_threads_;
    snprintf(info.kernels, sizeof info.kernels, "%s", kernels() ? kernels()->name : "");
    return info;
}

} // namespace ri

extern "C" {

int32_t ri_abi_version(void) { return RI_ABI_VERSION; }

int64_t ri_debug_live(ri_live_kind kind) {
    const int n = ri::number_of(kind);
    return n >= 0 && n < RI_LIVE_KINDS ? ri::live_objects[n].load() : 0;
}

ri_engine_params ri_engine_params_default(void) { return {}; }

ri_status ri_engine_create(const ri_engine_params *params, ri_engine **out, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(params, "params");
        ri::require(out, "out");
        auto handle = std::make_unique<ri_engine>();
        handle->impl = std::make_shared<ri::Engine>(*params);
        *out = handle.release();
    });
}

ri_status ri_engine_describe(const ri_engine *engine, ri_engine_info *out, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(engine, "engine");
        ri::require(out, "out");
        *out = engine->impl->describe();
    });
}

void ri_engine_free(ri_engine *engine) { delete engine; }

ri_status ri_system_describe(char *dst, size_t capacity, size_t *length, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(length, "length");
        if (capacity) ri::require(dst, "dst");
        ri::load_backends();
        auto quoted = [](const std::string &text) {
            std::string out = "\"";
            for (char c : text) {
                if (c == '"' || c == '\\') out += '\\';
                if (static_cast<unsigned char>(c) >= 0x20) out += c;
            }
            return out + "\"";
        };
        std::string json = "{\"compiler\":" + quoted(__VERSION__) + ",\"build_flags\":" + quoted(RI_BUILD_FLAGS) +
                           ",\"llama_cpp_commit\":" + quoted(RI_LLAMA_COMMIT) +
                           ",\"ggml_version\":" + quoted(ggml_version()) +
                           ",\"cpus\":" + std::to_string(ri::available_cpus()) + ",\"kernel_sets\":[";
        for (const ri::kernels::Candidate &c : ri::kernels::candidates())
            json += std::string(&c == &ri::kernels::candidates()[0] ? "" : ",") + "{\"name\":" + quoted(c.set->name) +
                    ",\"missing\":" + quoted(c.missing) + "}";
        json += "],\"devices\":[";
        std::string features;
        for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
            ggml_backend_dev_t device = ggml_backend_dev_get(i);
            size_t free = 0, total = 0;
            ggml_backend_dev_memory(device, &free, &total);
            json += std::string(i ? "," : "") + "{\"backend\":" + quoted(ri::family(device)) +
                    ",\"device\":" + quoted(ggml_backend_dev_description(device)) +
                    ",\"memory_total\":" + std::to_string(total) + ",\"memory_free\":" + std::to_string(free) + "}";
            auto get_features = reinterpret_cast<ggml_backend_get_features_t>(
                ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_get_features"));
            if (!get_features || ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_CPU) continue;
            for (auto *f = get_features(ggml_backend_dev_backend_reg(device)); f->name; ++f)
                if (strcmp(f->value, "0") != 0) features += (features.empty() ? "" : ",") + quoted(f->name);
        }
        json += "],\"cpu_features\":[" + features + "]}";
        *length = json.size();
        if (capacity) snprintf(dst, capacity, "%s", json.c_str());
    });
}

} // extern "C"
