// The engine: ggml backends, the thread count, and the lock that serialises work on them.
#pragma once

#include "status.h"

#include "ggml-cpp.h"

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace ri {

// A thread of its own that does work for others, who wait for it.
class Leader {
  public:
    Leader();
    ~Leader();
    // Does the work; what it throws is thrown here.
    void run(const std::function<void()> &work);

  private:
    void serve();

    std::mutex mutex_;
    std::condition_variable changed_;
    const std::function<void()> *work_ = nullptr;
    std::exception_ptr thrown_;
    bool ended_ = false;
    std::thread thread_; // the last member: it uses the others
};

class Engine {
  public:
    explicit Engine(const ri_engine_params &params);

    ggml_backend_t backend() const { return backend_.get(); } // where models and graphs live
    ggml_backend_dev_t device() const { return ggml_backend_get_device(backend_.get()); }
    int n_threads() const { return n_threads_; }
    bool on_cpu() const { return ggml_backend_dev_type(device()) == GGML_BACKEND_DEVICE_TYPE_CPU; }
    // On the CPU the core's own kernels stand in for compositions of ggml operations, unless "portable" was asked for.
    bool own_kernels() const { return own_kernels_; }
    bool packed_kernel() const { return packed_kernel_; } // on the CPU with AVX512-BF16
    ri_engine_info describe() const;
    // Where graphs put their activations; grows to the largest and is used by one graph at a time, under lock().
    ggml_gallocr_t scratch() const { return scratch_.get(); }

    // How many CPU threads the next graph runs on; 0: all of the engine's.
    void use_threads(int n);
    // Does work that may start the CPU backend's threads, always on the same thread. ggml starts them with OpenMP,
    // where they belong to the thread that asks for them: Go's calls come from ever other threads, each of which would
    // get its own.
    void lead(const std::function<void()> &work);
    // Runs body(ith, nth) on the threads of the CPU backend; only with own_kernels().
    void parallel(const std::function<void(int ith, int nth)> &body);

    // Held by every exported call that computes.
    std::mutex &lock() { return mutex_; }

  private:
    ggml_backend_ptr backend_;
    ggml_gallocr_ptr scratch_;
    int n_threads_ = 1;
    int threads_in_use_ = 0;
    ggml_backend_set_n_threads_t set_threads_ = nullptr;
    bool portable_ = false, own_kernels_ = false, packed_kernel_ = false;
    std::mutex mutex_;
    void share(const std::function<void(int ith, int nth)> &body);
    // Started when there is work for more than one thread. The second never works. OpenMP lets threads that wait for
    // each other spin for milliseconds while it has no more of them than there are processors, else for microseconds.
    // The former gains little on a quiet machine, and on a busy one takes a hundred times as long.
    std::unique_ptr<Leader> leader_, idle_;
};

// Loads the backend modules that lie beside librecint, once per process; thread-safe.
void load_backends();

} // namespace ri

struct ri_engine : ri::Counted<RI_LIVE_ENGINE> {
    std::shared_ptr<ri::Engine> impl;
};
