// Reverse-mode differentiation over ggml graphs.
//
// ggml's own autodiff has no rule for LayerNorm, tanh, concat and others and its gradient through a frozen weight is an
// outer product that only some backends have. Here each operation records a vector-Jacobian rule that is itself
// composed of ggml operations, forward ones where CPU, CUDA and Metal have no other in common. On the CPU the heavy
// ones run on a kernel set instead (kernels/); the "portable" backend is the CPU without them.
//
// A graph for the large LLM is built, run once and thrown away: batches differ in shape, and building costs a
// millisecond where a step costs hundreds. A recommender's graph is kept and run again with other inputs. Dimensions in
// comments are in ggml's order, fastest first: [E, N] is a row-major N x E matrix.
#pragma once

#include "engine.h"

#include <functional>
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
    enum class Life { once, kept }; // kept: own memory for activations, so that it can be run again at no cost
    // `gradients` = false builds no tape: parameters are constants.
    Graph(Engine &engine, bool gradients, Life life = Life::once);

    ggml_context *ctx() const { return ctx_.get(); }
    Engine &engine() const { return engine_; }
    const KernelSet *kernels() const { return engine_.kernels(); } // null: only ggml operations

    // ---- leaves
    // A tensor filled from `data` when the graph runs; the data must stay in place until then.
    ggml_tensor *input(ggml_type type, const void *data, int64_t ne0, int64_t ne1 = 1, int64_t ne2 = 1,
                       int64_t ne3 = 1);
    // The same, but the graph keeps the data.
    ggml_tensor *input(std::vector<float> data, int64_t ne0, int64_t ne1 = 1, int64_t ne2 = 1, int64_t ne3 = 1);
    ggml_tensor *input(std::vector<int32_t> data, int64_t ne0);
    // A tensor that `fill` writes before every run: to nbytes of host memory.
    using Fill = std::function<void(void *dst)>;
    ggml_tensor *input(ggml_type type, Fill fill, int64_t ne0, int64_t ne1 = 1, int64_t ne2 = 1, int64_t ne3 = 1);
    Var constant(ggml_tensor *value) const { return {value, -1}; }
    // A trainable tensor, whose gradient is added to `gradient` (same shape).
    Var parameter(ggml_tensor *value, ggml_tensor *gradient);

    // ---- operations; b of add and mul may be one row [n] that is repeated
    Var add(Var a, Var b);
    Var mul(Var a, Var b);
    Var scale(Var a, float factor);
    Var scale_rows(Var a, ggml_tensor *factors); // a [n, N], one constant for each of N: factors [1, N]
    Var largest(Var a);                          // over dimension 0; equal ones share the gradient alike
    Var mul_mat(Var a,
                Var b); // a [k, m, ..], b [k, n, ..] -> [m, n, ..]; a may be repeated over b's batches if constant
    // w x + b for w [in, out] and x [in, N]; a bias without a value is none.
    Var linear(Var w, Var x, Var bias);
    Var reshape(Var a, int64_t ne0, int64_t ne1 = 1, int64_t ne2 = 1, int64_t ne3 = 1);
    Var permute(Var a, int axis0, int axis1, int axis2, int axis3); // as ggml_permute, made contiguous
    Var slice(Var a, int64_t first, int64_t count);                 // of dimension 0, made contiguous
    Var concat(Var a, Var b);                                       // along dimension 0
    Var first_rows(Var a, int64_t count);                           // of a matrix
    std::vector<Var> split(Var a, int64_t count); // along the last dimension; the first part must take part in the loss
    Var stack(const std::vector<Var> &parts);     // matrices side by side along dimension 1
    Var relu(Var a);
    Var sigmoid(Var a);
    Var tanh(Var a);
    Var gelu(Var a);                                        // tanh form
    Var gelu_erf(Var a);                                    // exact form
    Var layer_norm(Var a, Var weight, Var bias, float eps); // over dimension 0
    Var rms_norm(Var a, ggml_tensor *weight, float eps);    // over dimension 0; the weight is frozen
    Var swiglu(Var gate_up);                                // [2n, N] -> [n, N]: silu(first half) * second half
    Var softmax(Var a, ggml_tensor *mask, float factor);    // softmax(factor * a + mask) over dimension 0
    // Rows of a table [n, rows] by ids I32 [count] -> [n, count].
    Var get_rows(Var table, ggml_tensor *ids);
    // The same of ids that are all different, so that its gradient is a gather, too.
    Var pick_rows(Var table, const std::vector<int32_t> &ids);
    // Columns of `base` [n, N] where index[i] < N, else of `inserted` [n, M]: out[i] = index[i] < N ? base : inserted.
    // places [M] says where each inserted column went, so that its gradient is a gather.
    Var splice(ggml_tensor *base, Var inserted, ggml_tensor *index, ggml_tensor *places);

    // ---- losses: scalars from which backward() starts
    // sum_i weight[i] * -log softmax(logits[:, i])[target[i]]; logits [V, N], flat_targets I32 [N] holds i*V + target.
    // *logprobs, if asked for, is log p(target) [N].
    Var cross_entropy(Var logits, ggml_tensor *flat_targets, ggml_tensor *weights, ggml_tensor **logprobs = nullptr);
    // Sum of weight[i] * (softplus of scores, negated in row 0, over column i); scores [1 + negatives, N].
    Var binary_cross_entropy(Var scores, ggml_tensor *weights);
    Var mean_squared_error(Var a, Var target);
    Var sum_of_losses(Var a, Var b);

    // ---- for operations defined elsewhere
    using Rule = std::function<void(ggml_tensor *gradient)>;
    Var record(ggml_tensor *value, const std::vector<Var> &inputs, Rule rule);
    void accumulate(Var input, ggml_tensor *gradient);
    // The gradient of y = softmax(factor * x) by x.
    ggml_tensor *softmax_back(ggml_tensor *dy, ggml_tensor *y, float factor);
    // A node that runs a kernel on the threads of the engine. Inputs, at most most_inputs, are dst->src[i], and
    // contiguous.
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

    // Builds the gradients of `loss`, one of the losses above.
    void backward(Var loss);
    // Asks for a tensor's value after the run.
    void output(ggml_tensor *value);
    // The memory that running everything asked for would take.
    size_t n_bytes();
    // Runs everything asked for. Refuses, before any work, an operation that the backend does not have.
    void run();
    // Keeps kernels to the calling thread, where there is too little work to share.
    void stay_on_one_thread() { alone_ = true; }
    // A value after run().
    void read(ggml_tensor *value, float *dst) const;
    float scalar(ggml_tensor *value) const;

  private:
    // y = function(a), number by number, and the kernel that gives da.
    Var activation(Var a, decltype(KernelSet::gelu_erf) function, decltype(KernelSet::gelu_erf_back) back);

    struct Node {
        Rule rule;
        ggml_tensor *gradient = nullptr; // summed so far
        ggml_tensor *parameter_gradient = nullptr;
    };
    struct Upload {
        ggml_tensor *tensor;
        Fill fill;
    };

    struct Addition {
        ggml_tensor *sum, *term;
    };
    void add_up(std::vector<Addition> &additions); // and empties them

    bool supported(const ggml_tensor *node) const { return ggml_backend_supports_op(engine_.backend(), node); }
    // a + b, a * b; b may repeat along a.
    ggml_tensor *plus(ggml_tensor *a, ggml_tensor *b);
    ggml_tensor *times(ggml_tensor *a, ggml_tensor *b);
    bool repeats(const ggml_tensor *a, const ggml_tensor *b) const;
    ggml_tensor *elementwise(ggml_tensor *a, ggml_tensor *b, decltype(KernelSet::plus) function);
    ggml_tensor *sum_to_row(ggml_tensor *a); // [n, ...] -> [n]
    ggml_tensor *row_mean(ggml_tensor *a) { return ggml_mean(ctx(), a); }

    Engine &engine_;
    bool gradients_;
    ggml_context_ptr ctx_;
    ggml_gallocr_ptr own_memory_; // of a kept graph
    bool ready_ = false;          // a kept graph's tensors have their places
    bool alone_ = false;
    std::vector<uint8_t> staging_;
    ggml_cgraph *graph_;
    std::vector<Node> nodes_;
    std::vector<Upload> uploads_;
    std::vector<std::shared_ptr<void>> kept_;
};

// The data of a kernel's inputs and output.
inline const float *in(const ggml_tensor *dst, int i) { return static_cast<const float *>(dst->src[i]->data); }
inline const int32_t *ids(const ggml_tensor *dst, int i) { return static_cast<const int32_t *>(dst->src[i]->data); }
inline float *out(ggml_tensor *dst) { return static_cast<float *>(dst->data); }

} // namespace ri
