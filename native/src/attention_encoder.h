// The self-attention encoder of the RecInterpreter authors' weights (Kang and McAuley 2018, arXiv
// 1808.09781), which more than one recommender uses.
#pragma once

#include "recommenders/registry.h"

namespace ri {

// The settings of models with attention blocks, and their values.
std::vector<Setting> attention_settings();

struct AttentionSizes {
    int32_t n_items, width, n_positions, n_blocks, n_heads, n_inner;
    // Of the authors' encoder: blocks normalise what they read, not what they give; positions turn
    // queries and keys and have no embeddings.
    bool norm_first = false, rotary = false;

    explicit AttentionSizes(const Settings &settings);
};

// Its tensors, with embeddings whose first values have that deviation.
std::vector<TensorSpec> attention_encoder_layout(const AttentionSizes &sizes, double deviation);
// Its states [D, B], or with source.all() [D, T * B].
Var attention_encode(const Model &model, const AttentionSizes &sizes, Graph &graph, Source &source);

// The encoder of RecBole 1.2's attention models (recbole/model/layers.py, TransformerEncoder): the
// blocks of BERT (Devlin et al. 2019), normalised after each residual, with an exact GELU; the
// embeddings are normalised too.
std::vector<TensorSpec> transformer_layout(const AttentionSizes &sizes);
using Attention = Var (*)(Graph &graph, Source &source, Var q, Var k, Var v, int64_t heads, bool last);
// Its states at each position [D, T * samples], or at the last ones [D, samples].
Var transformer_encode(const Model &model, const AttentionSizes &sizes, Graph &graph, Source &source, bool each,
                       Attention attention);

} // namespace ri
