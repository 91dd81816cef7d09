// Chooses tokens on the device that computes their logits, so that no table of logits goes to the
// host.
//
// llama.cpp has a sampler for each sequence add operations to its graph. Those of one context build
// one table together: for each sequence its likeliest token, that token's logit and probability,
// and the logits of the tokens asked about.
#pragma once

#include "llama.h"

#include <cstdint>
#include <vector>

namespace ri {

class Selection {
  public:
    // For sequences 1 to n of a context, of each of which up to `most_asked` tokens are asked
    // about.
    Selection(llama_context *context, int32_t n, int64_t n_vocab, int32_t most_asked);
    ~Selection();
    Selection(const Selection &) = delete;
    Selection &operator=(const Selection &) = delete;

    int32_t most_asked() const { return most_asked_; }
    // The tokens that the next call asks of a sequence about.
    void ask(llama_seq_id sequence, const int32_t *tokens, size_t n);

    // Whether a device has the operations.
    static bool supported(ggml_backend_dev_t device);

    // What a sequence's row holds, as llama_get_sampled_probs_ith gives it.
    enum Column { token, logit, probability, asked };

    // The table for logits [n_vocab, rows]: [asked + most_asked, rows]. `ids` [most_asked, rows]
    // are the tokens asked about; null: none are.
    static ggml_tensor *table(ggml_context *ctx, ggml_tensor *logits, ggml_tensor *ids);

  private:
    struct Sequence {
        Selection *of;
        int64_t row = 0;     // in the graph at hand
        bool active = false; // it is computed
        std::vector<int32_t> asked;
        llama_sampler *sampler = nullptr;
    };
    static void apply(llama_sampler *sampler, ggml_context *ctx, ggml_cgraph *graph, llama_sampler_data *data);
    static void set_input(llama_sampler *sampler);

    llama_context *context_;
    int64_t n_vocab_;
    int32_t most_asked_;
    std::vector<Sequence> sequences_;
    ggml_tensor *table_ = nullptr, *ids_ = nullptr; // of the graph at hand
    int64_t n_active_ = 0;
};

} // namespace ri
