// Reverse-mode differentiation over ggml graphs.
//
// ggml's own autodiff has no rule for LayerNorm, tanh, concat and others and its gradient through a
// frozen weight is an outer product that only some backends have. Here each operation records a
// vector-Jacobian rule that is itself composed of ggml operations, forward ones where CPU, CUDA and
// Metal have no other in common. On the CPU the heavy ones run on a kernel set instead (kernels/);
// the "portable" backend is the CPU without them.
//
// Where a kernel set runs the LLM, its graph is built, run once and thrown away: batches differ in
// shape, and building costs a millisecond where a step costs hundreds. All other graphs are kept
// and run again with other inputs (program.h). Dimensions in comments are in ggml's order, fastest
// first: [E, N] is a row-major N x E matrix.
#pragma once

#include "engine.h"

#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace ri {

// A value in a graph, and its place on the tape if a gradient flows to it.
struct Var {
    ggml_tensor *value = nullptr;
    int node = -1; // -1: a constant
};

class Graph {
  public:
    // A kept graph is placed in memory once and can then be run again at no cost. Its inputs have
    // memory of their own, so that they are uploaded together.
    enum class Life { once, kept };
    // `gradients` = false builds no tape: parameters are constants.
    Graph(Engine &engine, bool gradients, Life life = Life::once);

    ggml_context *ctx() const { return ctx_.get(); }
    Engine &engine() const { return engine_; }
    const KernelSet *kernels() const { return engine_.kernels(); } // null: only ggml operations
    // Whether the backend has the operation on tensors of these shapes.
    bool supported(const ggml_tensor *node) const { return ggml_backend_supports_op(engine_.backend(), node); }

    // ---- leaves
    // A tensor filled from `data` when the graph runs; the data must stay in place until then.
    ggml_tensor *input(ggml_type type, const void *data, int64_t ne0, int64_t ne1 = 1, int64_t ne2 = 1,
                       int64_t ne3 = 1);
    // The same, but the graph keeps the data, and uploads it only once if it is kept itself.
    ggml_tensor *input(std::vector<float> data, int64_t ne0, int64_t ne1 = 1, int64_t ne2 = 1, int64_t ne3 = 1);
    ggml_tensor *input(std::vector<int32_t> data, int64_t ne0);
    // A tensor that `fill` writes before every run: to nbytes of host memory.
    using Fill = std::function<void(void *dst)>;
    ggml_tensor *input(ggml_type type, Fill fill, int64_t ne0, int64_t ne1 = 1, int64_t ne2 = 1, int64_t ne3 = 1);
    Var constant(ggml_tensor *value) const { return {value, -1}; }
    bool has_gradients() const { return gradients_; }
    // A trainable tensor, whose gradient is added to `gradient` (same shape).
    Var parameter(ggml_tensor *value, ggml_tensor *gradient);

    // ---- for operations (operations.h)
    using Rule = std::function<void(ggml_tensor *gradient)>;
    Var record(ggml_tensor *value, const std::vector<Var> &inputs, Rule rule);
    void accumulate(Var input, ggml_tensor *gradient);
    // A node that runs a kernel on the threads of the engine. Inputs, at most most_inputs, are
    // dst->src[i], and contiguous.
    static constexpr size_t most_inputs = 9;
    using Kernel = std::function<void(ggml_tensor *dst, int ith, int nth)>;
    ggml_tensor *kernel(int64_t ne0, int64_t ne1, std::vector<ggml_tensor *> inputs, Kernel kernel);
    // ne0 * ne1 numbers of such a node's output, from number `first` on, as a matrix.
    ggml_tensor *part(ggml_tensor *a, int64_t first, int64_t ne0, int64_t ne1 = 1);
    // Keeps an object that a custom operation points at until the graph is gone.
    template <typename T> T *keep(std::shared_ptr<T> object) {
        kept_.push_back(object);
        return object.get();
    }

    // Builds the gradients of `loss`, one of losses.h.
    void backward(Var loss);
    // Computes `loss`, and its gradient as far as `of`, before all that the graph is given later,
    // so that the memory of what lies between them is free by then.
    void settle(Var loss, Var of);
    // A parameter's gradient after what backward() has added to it; where there are no kernels.
    ggml_tensor *gradient(ggml_tensor *of_parameter) const;
    // Asks for a tensor's value after the run.
    void output(ggml_tensor *value);
    // The memory that running everything asked for would take. The graph cannot be run afterwards.
    size_t n_bytes();
    // Runs everything asked for. Refuses, before any work, an operation that the backend does not
    // have.
    void run();
    // Keeps kernels to the calling thread, where there is too little work to share.
    void stay_on_one_thread() { alone_ = true; }
    // A value after run(), or its first n numbers.
    void read(ggml_tensor *value, float *dst) const { read(value, dst, size_t(ggml_nelements(value))); }
    void read(ggml_tensor *value, float *dst, size_t n) const;
    float scalar(ggml_tensor *value) const;

  private:
    struct Node {
        Rule rule;
        ggml_tensor *gradient = nullptr; // summed so far
        ggml_tensor *parameter_gradient = nullptr;
    };
    struct Upload {
        ggml_tensor *tensor;
        Fill fill;
        bool fixed;
    };
    ggml_tensor *add_input(Upload upload);
    void place();
    void place_inputs();
    void upload();

    struct Addition {
        ggml_tensor *sum, *term;
    };
    void add_up(std::vector<Addition> &additions); // and empties them
    void propagate(int first, int last);           // the gradients of these nodes, last to first

    Engine &engine_;
    bool gradients_;
    ggml_context_ptr ctx_;
    Life life_;
    bool placed_ = false;
    unsigned long long scratch_number_ = 0; // when it was placed
    // Of a kept graph: the memory of all inputs, those that change first.
    ggml_context_ptr inputs_ctx_;
    ggml_backend_buffer_ptr inputs_buffer_;
    ggml_tensor *inputs_ = nullptr;
    size_t changing_bytes_ = 0;
    bool alone_ = false;
    std::vector<uint8_t> staging_;
    ggml_cgraph *graph_;
    std::vector<Node> nodes_;
    std::vector<Upload> uploads_;
    std::map<const ggml_tensor *, ggml_tensor *> sums_; // gradients of parameters, by where they are added to
    std::vector<std::shared_ptr<void>> kept_;
};

// The data of a kernel's inputs and output.
inline const float *in(const ggml_tensor *dst, int i) { return static_cast<const float *>(dst->src[i]->data); }
inline const int32_t *ids(const ggml_tensor *dst, int i) { return static_cast<const int32_t *>(dst->src[i]->data); }
inline float *out(ggml_tensor *dst) { return static_cast<float *>(dst->data); }

} // namespace ri
