// What every sequential recommender offers: a state after each item of a history, and scores of all
// items from a state. The models are in recommenders/.
#pragma once

#include "graph/program.h"
#include "model.h"

namespace ri {

// The inputs of one call. All pointers are borrowed from the caller.
struct Batch {
    ri_histories histories{};
    const int32_t *targets = nullptr;   // [B, T], or [B] of a diffusion
    const int32_t *negatives = nullptr; // [B, T, n_negatives]
    const int32_t *shared = nullptr;    // [n_shared]
    const float *shared_offsets = nullptr;
    uint64_t seed = 0;              // of dropout
    const int32_t *steps = nullptr; // the rest is for a diffusion
    const float *noise = nullptr;
    const int32_t *unconditional = nullptr;
};

// What a kept graph is built for. Another shape needs another graph.
struct Shape {
    size_t n_sequences = 0, n_vectors = 0, n_negatives = 0, n_shared = 0;
    bool all = false;    // a state after each item, not only after the last
    bool learns = false; // there are targets
    float dropout = 0, target_discount = 0;
    bool operator==(const Shape &o) const {
        return n_sequences == o.n_sequences && n_vectors == o.n_vectors && n_negatives == o.n_negatives &&
               n_shared == o.n_shared && all == o.all && learns == o.learns && dropout == o.dropout &&
               target_discount == o.target_discount;
    }
};

// The leaves of a recommender's graph. They read the batch anew whenever the graph runs.
class Source {
  public:
    Source(const Batch &batch, const Shape &shape, int64_t n_positions, int32_t padding)
        : batch_(&batch), shape_(shape), n_positions_(n_positions), padding_(padding) {}

    const Batch &batch() const { return *batch_; }
    int64_t samples() const { return prefixes_ ? n_histories() * n_positions_ : n_histories(); }
    int64_t positions() const { return n_positions_ + (masked_ ? 1 : 0); }
    bool all() const { return shape_.all; }
    bool learns() const { return shape_.learns; }
    int64_t n_negatives() const { return int64_t(shape_.n_negatives); }
    int64_t n_shared() const { return int64_t(shape_.n_shared); }
    float target_discount() const { return shape_.target_discount; }

    // The same, with a sample for each beginning of each history: number b * T + t is history b up
    // to position t.
    Source prefixes() const;
    // The same, with padding in front.
    Source padded_in_front() const;
    // The same, with a mask after the last item, and one in place of each item that is a target. A
    // mask is a row of the table of items. There is one position more: what follows item t stands
    // at position t + 1.
    Source masked(int32_t row) const;

    // Of a sample of the current batch: the number of its items and masks, where the last one
    // stands, where the others do.
    int32_t length(int64_t sample) const;
    int64_t last(int64_t sample) const { return (in_front_ ? positions() : length(sample)) - 1; }
    bool present(int64_t sample, int64_t position) const {
        return position <= last(sample) && position > last(sample) - length(sample);
    }

    // Embeddings of the items, vectors in their places: [D, T * samples].
    Var items(Graph &graph, Var table) const;
    // 1 for an item and 0 for padding: [1, T * samples].
    ggml_tensor *presence(Graph &graph) const;
    ggml_tensor *lengths(Graph &graph) const;        // I32 [samples], padding in front included
    ggml_tensor *last_positions(Graph &graph) const; // I32 [samples]: b * T + last
    // Zeroes numbers with the probability and scales the others by 1 / (1 - probability).
    Var drop(Graph &graph, Var x);
    // The factors of that; null where nothing is dropped.
    ggml_tensor *mask(Graph &graph, int64_t ne0, int64_t ne1 = 1, int64_t ne2 = 1, int64_t ne3 = 1);

  private:
    int64_t n_histories() const { return int64_t(shape_.n_sequences); }
    int32_t item(int64_t sample, int64_t position) const; // as the caller wrote it

    const Batch *batch_;
    Shape shape_;
    int64_t n_positions_;
    int32_t padding_;
    bool prefixes_ = false, in_front_ = false, masked_ = false;
    int32_t mask_row_ = 0;
    uint64_t n_masks_ = 0;
};

class Recommender : public Model {
  public:
    Recommender(std::shared_ptr<Engine> engine, std::vector<TensorSpec> specs, const ri_recommender_info &info)
        : Model(std::move(engine), std::move(specs)), info_(info) {}

    const ri_recommender_info &info() const { return info_; }
    // States [W, B], or with source.all() [W, T * B].
    virtual Var encode(Graph &graph, Source &source) const = 0;
    struct Head {
        Var weight; // [W, at least V]
        Var bias;   // [V], or without a value
    };
    virtual Head head(Graph &graph) const = 0;
    // Whether histories must come with the times of their items.
    virtual bool reads_times() const { return false; }

    void states(const ri_histories &histories, bool all, float *dst);
    void scores(const ri_histories &histories, float *dst);
    void score_states(const float *states, size_t n, float *dst);
    // The rank of each of n items from its state.
    void rank(const float *states, size_t n, const int32_t *items, double *ranks);
    double backward(const ri_recommender_batch &batch);

    // Throws unless every id and length is in range and what follows a history's end is padding.
    void check(const ri_histories &histories, bool vectors_allowed) const;

  protected:
    enum Purpose { for_states, for_all_states, for_scores, for_training, n_purposes };
    using Program = Programs<Shape>::Program;
    // The graph for a purpose and shape: the last one if it fits, else a new one. `build` gives its
    // result.
    using Build = std::function<Var(Graph &graph, Source &source)>;
    Program &program(Purpose purpose, const Shape &shape, const Build &build);
    // Runs it on a batch.
    void run(Program &program, const Batch &batch);

  private:
    Var all_scores(Graph &graph, Var states) const;
    // The scores that states [n] give to their own items, by the products that give all scores:
    // [n].
    std::vector<float> own_scores(const float *states, int64_t n, const int32_t *items);
    Var training_loss(Graph &graph, Source &source) const;
    // Where the state of row i of training stands in [B, T].
    using Place = std::function<int64_t(int64_t row)>;
    Var sampled_softmax(Graph &graph, Source &source, Var states, const Place &place, ggml_tensor *weights) const;

    ri_recommender_info info_;
    Batch current_;
    Programs<Shape> programs_[n_purposes];
};

// A recommender that generates oracles, vectors in the space of its item embeddings, by denoising.
class Diffusion : public Recommender {
  public:
    using Recommender::Recommender;

    // Adds the gradient of the denoising loss, and returns that loss.
    virtual double learn(const ri_diffusion_batch &batch) = 0;
    // The denoiser's prediction of n vectors.
    virtual void denoise(const float *x, const int32_t *steps, const float *guidance, size_t n, float *dst) const = 0;
    virtual void sample(const ri_diffusion_sampling &sampling, float *dst) = 0;
};

} // namespace ri
