// Models: named float32 tensors with gradients and AdamW moments. Recommenders and adapters derive
// from Model.
#pragma once

#include "graph/losses.h"
#include "graph/operations.h"
#include "graph/program.h"

#include <array>
#include <string>

namespace ri {

// How a tensor's first values are drawn.
struct Initial {
    ri_initial kind = RI_INITIAL_ZERO;
    double scale = 0; // the deviation of normal numbers, the bound of uniform ones
};

struct TensorSpec {
    std::string name;
    std::vector<int64_t> shape; // row-major, as in PyTorch
    bool fixed = false;         // no gradient goes to it, and no update changes it
    ri_role role = RI_ROLE_OTHER;
    Initial initial = {};
    bool item_rows = false; // the first dimension counts items, and what comes after them
};

ri_tensor_info describe(const TensorSpec &spec);

class Model {
  public:
    Model(std::shared_ptr<Engine> engine, std::vector<TensorSpec> specs, Memory memory = Memory::taken);
    virtual ~Model() = default;

    Engine &engine() const { return *engine_; }
    unsigned long long number() const { return number_; } // of no other model of the engine
    size_t n_bytes() const { return engine_->n_bytes(values_.ctx.get()) + engine_->n_bytes(training_.ctx.get()); }
    size_t n_tensors() const { return specs_.size(); }
    const TensorSpec &spec(size_t index) const { return specs_.at(index); }
    ggml_tensor *tensor(size_t index, ri_slot slot) const { return tensors_.at(index)[slot]; }
    // Takes memory for gradients and moments, zero at first, unless there is some: a model that is
    // only used needs none. Under the engine's lock.
    void prepare_training() const;

    // The tensor as a leaf of a graph: trainable where the graph has gradients and it is not fixed.
    // Throws on an unknown name.
    Var use(Graph &graph, const std::string &name) const;

    // One AdamW step; returns the gradient's norm before clipping.
    float update(const ri_adamw &params);
    // The same as the end of a graph that may have gradients: its result is the norm [1]. Whenever
    // the graph runs it makes a step by what was set() last, unless the norm is not finite.
    ggml_tensor *add_update(Graph &graph) const;
    void set(const ri_adamw &params) const { settings_ = params; } // under the engine's lock
    // Throws unless it is finite.
    static float require_norm(float norm);

  private:
    struct Placed {
        ggml_context_ptr ctx;
        ggml_backend_buffer_ptr buffer; // null: not yet
    };
    void place(Placed &tensors, Memory memory) const;
    void zero_gradients();
    // All tensors that are not fixed, as the CPU's kernels see them.
    std::vector<kernels::Trained> trained(float decay) const;

    std::shared_ptr<Engine> engine_;
    unsigned long long number_;
    std::vector<TensorSpec> specs_;
    Placed values_;
    mutable Placed training_;
    std::vector<std::array<ggml_tensor *, 4>> tensors_; // by ri_slot
    mutable ri_adamw settings_{};                       // of the step under way
    Programs<int> updates_;
};

// Throws unless a step can be made with them.
void require_settings(const ri_adamw *params);

// Throws RI_NUMERIC when one of n numbers is NaN or infinite; `what` names them.
void require_finite(const float *x, size_t n, const char *what);

} // namespace ri

struct ri_model : ri::Counted<RI_LIVE_MODEL> {
    std::unique_ptr<ri::Model> impl;
};

namespace ri {

// The model behind a handle as a T; `what` names the kind in the error when it is another.
template <typename T> T &as(ri_model *model, const char *what) {
    require(model, "model");
    T *typed = dynamic_cast<T *>(model->impl.get());
    if (!typed) fail(RI_INVALID, "the model is not %s", what);
    return *typed;
}

// Makes a handle for a model of kind T.
template <typename T, typename Params> void create_model(ri_engine *engine, const Params *params, ri_model **out) {
    require(engine, "engine");
    require(params, "params");
    require(out, "out");
    auto handle = std::make_unique<ri_model>();
    std::lock_guard<std::mutex> hold(engine->impl->lock());
    handle->impl = std::make_unique<T>(engine->impl, *params);
    *out = handle.release();
}

} // namespace ri
