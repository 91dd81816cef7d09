// The core's kernels as a device of llama.cpp. llama.cpp hands a whole graph to this device; the
// device computes it on the engine's CPU backend, with matrix products and attention to the cache
// by the engine's kernel set. llama.cpp knows only the generators' devices that it is given
// (llama_model_params.devices), so that nothing in the process changes for anyone else.
#pragma once

#include "engine.h"
#include "kernels/packed_matrix.h"

#include "ggml-backend-impl.h"

#include <exception>
#include <unordered_map>
#include <vector>

namespace ri {

class KernelDevice {
  public:
    // For a model of n_parameters. The engine must have kernels.
    KernelDevice(Engine &engine, int64_t n_parameters);
    KernelDevice(const KernelDevice &) = delete;
    KernelDevice &operator=(const KernelDevice &) = delete;

    // Every model and context that was given it must be freed before.
    ggml_backend_dev_t device() { return &device_; }

    // How many nodes of llama.cpp's graphs the kernels have computed.
    int64_t products() const { return n_products_; }
    int64_t attentions() const { return n_attentions_; }

    // Throws what a graph failed with, past which llama.cpp hands only a number on.
    void rethrow() {
        if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
    }

  private:
    // A node in place of one of llama.cpp's: what that one is, and its matrix if it is a product.
    struct Work {
        Engine *engine;
        const ggml_tensor *op;
        const kernels::PackedMatrix *matrix;
    };

    static KernelDevice &of(ggml_backend_dev_t device) { return *static_cast<KernelDevice *>(device->context); }
    static ggml_backend_t start(ggml_backend_dev_t device, const char *params);
    bool is_product(const ggml_tensor *op) const;
    void pack(ggml_tensor *const *nodes, int n);
    ggml_tensor *substitute(ggml_tensor *op);
    ggml_status compute(ggml_cgraph *graph);

    Engine &engine_;
    const bool copies_; // whether F16 and quantised matrices are packed, too
    ggml_backend_device device_;
    std::unordered_map<const ggml_tensor *, kernels::PackedMatrix> matrices_; // of the model, packed at first use
    ggml_context_ptr nodes_;                                                  // ours in the graph that runs
    std::vector<Work> work_;                                                  // theirs
    int64_t n_products_ = 0, n_attentions_ = 0;
    std::exception_ptr thrown_;
};

} // namespace ri
