// A frozen LLM that can be differentiated with respect to the soft tokens in its input.
#pragma once

#include "adapter.h"
#include "graph/losses.h"
#include "graph/operations.h"
#include "kernels/packed_matrix.h"
#include "shape.h"

namespace ri {

// A frozen matrix and its transpose, so that the gradient of its input is a second forward-speed product: in panels for
// a kernel set, or as two ggml tensors.
struct FrozenLinear {
    int64_t n_in = 0, n_out = 0;
    int64_t size() const { return n_in * n_out; }
    std::unique_ptr<kernels::PackedMatrix> packed, packed_transposed;
    ggml_tensor *weight = nullptr;     // [n_in, n_out]
    ggml_tensor *transposed = nullptr; // [n_out, n_in]
};

// Keys and values of the tokens that all samples start with.
class Prefix {
  public:
    struct Layer {
        ggml_tensor *k = nullptr, *v = nullptr;     // [hd, P, heads_kv], keys rotated
        ggml_tensor *k_t = nullptr, *v_t = nullptr; // [P, hd, heads_kv]
    };
    int64_t n = 0;
    std::vector<Layer> layers;
    ggml_context_ptr ctx;
    ggml_backend_buffer_ptr buffer;

    kernels::PrefixCache cache(size_t layer) const; // on the CPU
};

// Which rows of a batch belong to which sample: one behind the other, each as long as it is. One sample by itself may
// branch: its rows are then the nodes of a tree.
struct SampleRows {
    std::vector<int64_t> first;   // [B + 1]
    std::vector<int32_t> parents; // the row before, or -1; none: the one above
    explicit SampleRows(const std::vector<int64_t> &lengths, std::vector<int32_t> tree = {})
        : first(1), parents(std::move(tree)) {
        for (int64_t length : lengths) first.push_back(first.back() + length);
    }
    int64_t before(int64_t row) const { return parents.empty() ? row - 1 : parents[size_t(row)]; }
    int64_t samples() const { return int64_t(first.size()) - 1; }
    int64_t count() const { return first.back(); }
    int64_t longest() const {
        int64_t most = 0;
        for (size_t b = 1; b < first.size(); ++b) most = std::max(most, first[b] - first[b - 1]);
        return most;
    }
    // Of each row of the longest sample: its place behind the prefix.
    std::vector<int64_t> places() const {
        std::vector<int64_t> place(static_cast<size_t>(longest()));
        for (size_t row = 0; row < place.size(); ++row) {
            const int64_t parent = before(int64_t(row));
            place[row] = parent < 0 ? 0 : place[size_t(parent)] + 1;
        }
        return place;
    }
};

class Llm {
  public:
    // With memory that is only counted, passes can be built and measured, but not run.
    Llm(std::shared_ptr<Engine> engine, std::shared_ptr<const Gguf> gguf, ri_precision precision,
        Memory memory = Memory::taken);

    Engine &engine() const { return *engine_; }
    int64_t n_vocab() const { return shape_.n_vocab; }
    size_t weights_bytes() const { return matrices_bytes_ + engine_->n_bytes(ctx_.get()); }
    // Numbers in the matrices, for each position that passes them: at all positions, and at those with a target alone.
    struct Products {
        int64_t everywhere = 0, at_targets = 0;
    };
    Products products() const;

    std::unique_ptr<Prefix> make_prefix(const int32_t *tokens, size_t n) const;
    // A prefix without contents.
    std::unique_ptr<Prefix> empty_prefix(size_t n, Memory memory) const;
    // The graph that gives the queries, keys and values of each layer for `tokens`, before rotation.
    std::vector<ggml_tensor *> prefix_pass(Graph &graph, const int32_t *tokens, size_t n) const;

    // The graph of a batch up to the logits [n_vocab, targets], in the order of the targets.
    struct Pass {
        Var logits;
        ggml_tensor *flat_targets; // I32 [targets]: i * n_vocab + target
        int64_t n_targets;
    };
    Pass forward(Graph &graph, const Prefix &prefix, const Adapter &adapter, const ri_align_batch &batch,
                 std::vector<int32_t> parents = {}) const;
    // weight * sum of -log p(target); *logprobs [targets], if asked for.
    Var loss(Graph &graph, const Pass &pass, double weight, ggml_tensor **logprobs) const;
    // Throws unless the batch fits this model, the prefix and the adapter. Its samples reach `depth` positions after
    // the prefix.
    void check(const Prefix &prefix, const Adapter &adapter, const ri_align_batch &batch, size_t depth) const;

  private:
    // What the architecture does not have is null.
    struct Layer {
        FrozenLinear qkv, attention_out, gate_up, down;
        ggml_tensor *qkv_bias = nullptr;
        ggml_tensor *attention_norm = nullptr, *ffn_norm = nullptr; // [E]
        ggml_tensor *attention_post_norm = nullptr, *ffn_post_norm = nullptr;
        ggml_tensor *q_norm = nullptr, *k_norm = nullptr; // [head_dim]
    };
    struct RopeTable {
        std::vector<float> cos, sin; // [positions, head_dim]: see kernels::Attention
    };
    // What layers with the same kind of attention have in common in one graph.
    struct AttentionPlan {
        LayerAttention kind;
        int64_t prefix = 0; // P
        const SampleRows *rows = nullptr;
        const RopeTable *rope = nullptr;       // by kernels
        ggml_tensor *rope_positions = nullptr; // composed: I32 [rows]
        ggml_tensor *mask = nullptr;           // composed: [P + S, group*S]
    };
    class Loader;

    RopeTable rope_table(const LayerAttention &kind, int64_t first, const std::vector<int64_t> &places) const;
    Var linear(Graph &graph, const FrozenLinear &matrix, Var x) const;
    Var rms_norm(Graph &graph, Var x, ggml_tensor *weight) const;
    Var gated(Graph &graph, Var gate_up) const;                             // activation(gate) * up
    Var queries_keys_values(Graph &graph, const Layer &layer, Var x) const; // before rotation
    Var head_norms(Graph &graph, const Layer &layer, Var qkv) const;
    // Adds to x what attention or feed-forward layer gave.
    Var add_block(Graph &graph, Var x, Var given, ggml_tensor *post_norm) const;
    AttentionPlan plan_attention(Graph &graph, const LayerAttention &kind, int64_t prefix,
                                 const SampleRows &rows) const;
    Var attention(Graph &graph, const AttentionPlan &plan, const Prefix &prefix, size_t layer, Var qkv) const;
    Var attention_by_kernels(Graph &graph, const AttentionPlan &plan, const Prefix &prefix, size_t layer,
                             Var qkv) const;
    Var attention_composed(Graph &graph, const AttentionPlan &plan, const Prefix &prefix, size_t layer, Var qkv) const;
    // Normalised last hidden states of x [E, rows] at the rows `asked`, all different (at all if NULL); the qkv of each
    // layer on the way.
    Var hidden_states(Graph &graph, const Prefix &prefix, Var x, const SampleRows &rows,
                      const std::vector<int32_t> *asked, std::vector<ggml_tensor *> *qkv_of_layer) const;
    SampleRows rows_of(const ri_align_batch &batch, std::vector<int32_t> parents) const;

    std::shared_ptr<Engine> engine_;
    std::shared_ptr<const Gguf> gguf_;
    const LlmShape shape_;
    std::vector<float> rope_factors_; // [head_dim / 2], empty if the file has none
    std::vector<Layer> layers_;
    FrozenLinear head_;
    size_t matrices_bytes_ = 0; // of packed matrices
    ggml_tensor *output_norm_ = nullptr, *rope_factor_tensor_ = nullptr;
    ggml_context_ptr ctx_;
    ggml_backend_buffer_ptr buffer_;
};

} // namespace ri

struct ri_llm : ri::Counted<RI_LIVE_LLM> {
    std::shared_ptr<const ri::Llm> impl;
};

struct ri_prefix : ri::Counted<RI_LIVE_PREFIX> {
    std::shared_ptr<const ri::Llm> llm;
    std::unique_ptr<const ri::Prefix> impl;
};
