// The engine: ggml backends, the thread count, and the lock that serialises work on them.
#pragma once

#include "status.h"
#include "threads.h"

#include "kernels/kernel_set.h"

#include "ggml-cpp.h"

#include <exception>
#include <memory>
#include <mutex>
#include <utility>

namespace ri {

using kernels::KernelSet;

// Whether an object's memory is taken, or only counted for an estimate.
enum class Memory { taken, counted };

class Engine {
  public:
    explicit Engine(const ri_engine_params &params);

    ggml_backend_t backend() const { return backend_.get(); } // where models and graphs live
    ggml_backend_dev_t device() const { return ggml_backend_get_device(backend_.get()); }
    int n_threads() const { return n_threads_; }
    bool on_cpu() const { return ggml_backend_dev_type(device()) == GGML_BACKEND_DEVICE_TYPE_CPU; }
    // The kernels that graphs run on; null where they are composed of ggml operations alone: on a
    // GPU, and on the CPU as "portable".
    const KernelSet *kernels() const { return on_cpu() && !portable_ ? &host_kernels_ : nullptr; }
    // The same set for work on the host's memory, whatever the backend.
    const KernelSet &host_kernels() const { return host_kernels_; }
    bool strict() const { return strict_; } // nothing may run elsewhere
    ri_engine_info describe() const;
    // Gives the tensors of a graph that have no place one in the memory that all graphs share for
    // their activations, which grows to the largest. False: there is none left. Under lock().
    bool place_activations(ggml_cgraph *graph);
    // Changes when that memory moves, and with it every place given before.
    unsigned long long scratch_number() const { return scratch_number_; }
    size_t scratch_bytes() const { return scratch_bytes_; }

    // Memory for all tensors of a context; null when there is none left. Where it is only counted,
    // the tensors look placed to graphs, which can be built of them and measured but not run.
    ggml_backend_buffer_ptr place(ggml_context *tensors, Memory memory) const;
    size_t n_bytes(ggml_context *tensors) const; // that they take

    // Another one each time, under lock().
    unsigned long long next_number() { return ++numbers_; }

    // ggml's threads for graphs without kernels; null: there is one thread, or another backend.
    ggml_threadpool_t pool() const { return pool_.get(); }
    // Runs body(ith, nth) on all threads, or on the caller's alone. What it throws rethrow() does,
    // after all is done.
    template <typename Body> void share(bool alone, Body &&body) {
        auto guarded = [&](int ith, int nth) {
            try {
                body(ith, nth);
            } catch (...) {
                std::lock_guard<std::mutex> hold(thrown_mutex_);
                thrown_ = std::current_exception();
            }
        };
        if (alone || n_threads_ == 1) return guarded(0, 1);
        threads_->run([&](int i) { guarded(i, n_threads_); });
    }
    void rethrow() {
        if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
    }
    template <typename Body> void parallel(Body &&body) {
        share(false, body);
        rethrow();
    }

    // Held by every exported call that computes.
    std::mutex &lock() { return mutex_; }

  private:
    std::unique_ptr<ggml_threadpool, void (*)(ggml_threadpool *)> pool_{nullptr, nullptr}; // ggml's threads
    ggml_backend_ptr backend_;                                                             // uses them
    std::unique_ptr<Threads> threads_; // those of the kernels; null: there is one
    ggml_gallocr_ptr scratch_;
    size_t scratch_bytes_ = 0;
    unsigned long long scratch_number_ = 0;
    int n_threads_ = 1;
    unsigned long long numbers_ = 0;
    const KernelSet &host_kernels_;
    bool portable_ = false, strict_ = false;
    std::mutex mutex_, thrown_mutex_;
    std::exception_ptr thrown_;
};

// The folder that librecint, and with it its modules, lies in.
std::string library_folder();

// Loads the backend modules that lie beside librecint, once per process; thread-safe.
void load_backends();

} // namespace ri

struct ri_engine : ri::Counted<RI_LIVE_ENGINE> {
    std::shared_ptr<ri::Engine> impl;
};
