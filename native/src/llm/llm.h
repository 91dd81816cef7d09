// A frozen LLM that can be differentiated with respect to the soft tokens in its input.
#pragma once

#include "adapter.h"
#include "graph/losses.h"
#include "graph/operations.h"
#include "graph/program.h"
#include "shape.h"

#include <set>

namespace ri {

// Which rows of a batch belong to which sample: one behind the other, each as long as it is. One
// sample by itself may branch: its rows are then the nodes of a tree.
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

// What a pass of a batch through the LLM is asked for.
enum class Asked { gradient, step, logprobs, logits, branches };

// The sizes of a pass. Those of passes that are composed are rounded up, so that few programs do
// for all batches.
struct PassShape {
    Asked asked = Asked::gradient;
    unsigned long long adapter = 0; // its number
    int64_t samples = 0, positions = 0, states = 0, targets = 0;
    int64_t rows = 0;                         // one sample behind the other, each as long as it is, or all equally long
    int64_t at_once = 0;                      // targets whose logits are in memory together
    std::vector<int32_t> parents, rows_asked; // of a sample that branches; see SampleRows and Branches
    bool packed() const { return rows < samples * positions; }
    SampleRows side_by_side() const { return SampleRows(std::vector<int64_t>(size_t(samples), positions), parents); }
    bool operator==(const PassShape &o) const {
        return asked == o.asked && adapter == o.adapter && samples == o.samples && positions == o.positions &&
               states == o.states && targets == o.targets && rows == o.rows && parents == o.parents &&
               rows_asked == o.rows_asked;
    }
};

// What differs from batch to batch of one shape.
struct PassInputs {
    std::vector<int32_t> tokens; // [rows], 0 where there is a soft token
    std::vector<int32_t> places; // [states * soft tokens of each]: rows of the soft tokens
    std::vector<int32_t> asked;  // [targets]: rows with a target
    std::vector<int32_t> went;   // [rows]: the place of each row among `asked`, or one without a weight
    // Where attention takes samples of one length: [samples * positions], the row that stands at
    // each place, and [rows], the place of each row. What only fills up stands for all that has
    // none.
    std::vector<int32_t> aside, back;
    std::vector<int32_t> targets; // [targets]: i * n_vocab + target, i from 0 in each at_once of them
    std::vector<float> weights;   // [targets]
    std::vector<float> states;
    size_t n_targets = 0; // without those that only fill up
};

// Keys and values of the tokens that all samples start with.
class Prefix {
  public:
    static constexpr size_t most_programs = 24;
    struct Layer {
        ggml_tensor *k = nullptr, *v = nullptr;     // [hd, P, heads_kv], keys rotated
        ggml_tensor *k_t = nullptr, *v_t = nullptr; // [P, hd, heads_kv]
    };
    int64_t n = 0;
    std::vector<Layer> layers;
    ggml_context_ptr ctx;
    ggml_backend_buffer_ptr buffer;
    // Of composed passes, under the engine's lock.
    mutable Programs<PassShape> programs{most_programs};
    mutable PassInputs inputs; // of the pass under way

    kernels::PrefixCache cache(size_t layer) const; // on the CPU
};

class Llm {
  public:
    // With memory that is only counted, passes can be built and measured, but not run.
    Llm(std::shared_ptr<Engine> engine, std::shared_ptr<const Gguf> gguf, ri_precision precision,
        Memory memory = Memory::taken);

    Engine &engine() const { return *engine_; }
    int64_t n_vocab() const { return shape_.n_vocab; }
    size_t weights_bytes() const { return matrices_bytes_ + engine_->n_bytes(ctx_.get()); }
    // Numbers in the matrices, for each position that passes them: at all positions, and at those
    // with a target alone.
    struct Products {
        int64_t everywhere = 0, at_targets = 0;
    };
    Products products() const;

    std::unique_ptr<Prefix> make_prefix(const int32_t *tokens, size_t n) const;
    // A prefix without contents.
    std::unique_ptr<Prefix> empty_prefix(size_t n, Memory memory) const;
    // The graph that puts the keys and values of tokens, as many as the prefix has, into it. By
    // kernels it gives queries, keys and values of each layer instead, before rotation.
    std::vector<ggml_tensor *> prefix_pass(Graph &graph, const Prefix &prefix, const int32_t *tokens) const;

    // Runs a batch and gives what is asked of it to `read`: the loss (the gradient is added to the
    // adapter's, and of a composed step the result is the loss and the gradient's norm, behind an
    // update by what the adapter was set() to), the log-probabilities or logits of the targets, or
    // of `branches` first the log-probabilities of the targets and then the logits at
    // branches.rows_asked.
    using Read = std::function<void(const Graph &graph, ggml_tensor *result, size_t n_targets)>;
    struct Branching {
        std::vector<int32_t> parents, rows_asked; // i * n_vocab + token, of the rows of logits
    };
    void run(const Prefix &prefix, const Adapter &adapter, const ri_align_batch &batch, Asked asked,
             const Branching &branching, const Read &read) const;
    // The memory that a batch's gradient takes.
    size_t gradient_bytes(const Prefix &prefix, const Adapter &adapter, const ri_align_batch &batch) const;
    // Throws unless the batch fits this model, the prefix and the adapter. Its samples reach
    // `depth` positions after the prefix.
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
    Var norm(Graph &graph, Var x, ggml_tensor *weight) const { return rms_norm(graph, x, weight, shape_.rms_eps); }
    Var gated(Graph &graph, Var gate_up) const;                             // activation(gate) * up
    Var queries_keys_values(Graph &graph, const Layer &layer, Var x) const; // before rotation
    // Adds to x what attention or feed-forward layer gave.
    Var add_block(Graph &graph, Var x, Var given, ggml_tensor *post_norm) const;
    AttentionPlan plan_attention(Graph &graph, const LayerAttention &kind, int64_t prefix,
                                 const SampleRows &rows) const;
    Var attention(Graph &graph, const AttentionPlan &plan, const Prefix &prefix, size_t layer, Var qkv) const;
    Var attention_by_kernels(Graph &graph, const AttentionPlan &plan, const Prefix &prefix, size_t layer,
                             Var qkv) const;
    Var attention_composed(Graph &graph, const AttentionPlan &plan, const Prefix &prefix, size_t layer, Var qkv) const;
    // Queries and keys [head_dim, heads, rows] after rotation; by ggml_rope_ext_back the gradient
    // before it.
    ggml_tensor *rotated(Graph &graph, const AttentionPlan &plan, ggml_tensor *x,
                         decltype(ggml_rope_ext) *rope = ggml_rope_ext) const;
    // Puts a layer's keys and values among `qkv` into a prefix, without leaving the device.
    void store(Graph &graph, const AttentionPlan &plan, const Prefix::Layer &layer, ggml_tensor *qkv) const;
    // The rows of a pass as attention takes them, and, of PassInputs, what is asked for, and where
    // rows are to stand for attention; null: as they are.
    struct Rows {
        SampleRows attended;
        ggml_tensor *asked = nullptr, *went = nullptr, *aside = nullptr, *back = nullptr;
    };
    // Normalised last hidden states of x [E, rows], at the rows asked for if there are any. On the
    // way `each`, if given, sees the queries, keys and values of a layer.
    using EachLayer = std::function<void(size_t layer, const AttentionPlan &plan, ggml_tensor *qkv)>;
    Var hidden_states(Graph &graph, const Prefix &prefix, Var x, const Rows &rows, const EachLayer &each) const;
    SampleRows rows_of(const ri_align_batch &batch, const PassShape &shape) const;
    PassShape shape_of(const Adapter &adapter, const ri_align_batch &batch, Asked asked,
                       const Branching &branching) const;
    PassInputs inputs_of(const Adapter &adapter, const ri_align_batch &batch, const SampleRows &rows,
                         const PassShape &shape) const;
    // The graph of a pass: what is asked for, of inputs that are read whenever it runs. By kernels
    // attention takes the rows as they stand.
    Var pass(Graph &graph, const Prefix &prefix, const Adapter &adapter, const SampleRows &rows, const PassShape &shape,
             const PassInputs &inputs) const;
    // Embeddings of tokens [rows], which are read whenever the graph runs.
    ggml_tensor *embeddings(Graph &graph, const std::vector<int32_t> &tokens, int64_t rows) const;

    std::shared_ptr<Engine> engine_;
    std::shared_ptr<const Gguf> gguf_;
    const LlmShape shape_;
    std::vector<float> rope_factors_; // [head_dim / 2], empty if the file has none
    std::vector<Layer> layers_;
    FrozenLinear head_;
    size_t matrices_bytes_ = 0; // of packed matrices
    ggml_tensor *output_norm_ = nullptr, *rope_factor_tensor_ = nullptr;
    ggml_tensor *embeddings_ = nullptr; // the table, where passes are composed
    std::set<int32_t> damaged_tokens_;  // of which the table has a number that is not finite
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
