// The sizes, scales and tensors of one file's LLM: its architecture, with what the metadata says.
#pragma once

#include "arch/architecture.h"
#include "gguf.h"

namespace ri {

// What the attention of a layer has of its own.
struct LayerAttention {
    bool rotates = true; // queries and keys are
    float rope_base = 0;
    float rope_frequency_scale = 1;
    int64_t window = 0; // positions seen, the own one included; 0: all
    bool operator==(const LayerAttention &other) const {
        return rotates == other.rotates && rope_base == other.rope_base &&
               rope_frequency_scale == other.rope_frequency_scale && window == other.window;
    }
};

// Scaling of rotations by YaRN (Peng et al. 2023, arXiv 2309.00071): a layer's frequency scale is
// for pairs that turn less than beta_slow times within the context of n_context positions before
// scaling, none for those that turn more than beta_fast times, and a mixture in between.
struct Yarn {
    int64_t n_context = 0; // 0: there is no such scaling
    float beta_fast = 32, beta_slow = 1;

    // How much of the frequency of pair i stays as it is, with ggml's rounding of the bounds.
    double unscaled(int64_t i, int64_t head_dim, double rope_base) const;
    // What rotated queries and keys are multiplied by; ggml does so of its own accord.
    static float attention_factor(float frequency_scale);
};

struct LlmShape {
    const Architecture *architecture = nullptr;
    int64_t n_layer = 0, n_embd = 0, n_heads = 0, n_heads_kv = 0, head_dim = 0, n_ff = 0, n_vocab = 0, n_context = 0;
    bool fused_qkv = false, tied_head = false;
    float rms_eps = 0;
    float attention_scale = 0;       // of scores
    float input_scale = 1;           // of all input vectors, soft tokens included
    float residual_scale = 1;        // of what attention and feed-forward layer add
    float logit_scale = 1;           // of logits
    float rope_attention_factor = 1; // of rotated queries and keys
    Yarn yarn;
    std::string rope_factors;        // a tensor that divides the frequencies, or none
    std::string rope_factors_unused; // a tensor for contexts longer than n_context, or none
    std::vector<LayerAttention> layers;

    int64_t width_q() const { return n_heads * head_dim; }
    int64_t width_kv() const { return n_heads_kv * head_dim; }
    int64_t width_qkv() const { return width_q() + 2 * width_kv(); }
    // In how many layers, from the first on, the matrices of the attention stay in float32 in
    // either mode: a tenth. What they round, all later layers amplify. Measured with SmolLM2-135M
    // on the reference cases: with none, the gradient of the adapter's bias is off by up to 4.8 %
    // in length; with 3 of 30, by 1.6 %, no more than if the feed-forward matrices of these layers,
    // three quarters of the work, were in float32 too.
    int64_t n_exact_layers() const { return n_layer / 10; }
};

struct TensorShape {
    std::string name;
    int64_t n_in = 0, n_out = 0; // n_out = 1: a vector
};

// The tensors of a layer; those that its architecture does not have are empty. Parts of one matrix
// lie one after the other.
struct LayerTensors {
    std::vector<TensorShape> qkv, qkv_bias, gate_up;
    TensorShape attention_out, down;
    TensorShape attention_norm, q_norm, k_norm, attention_post_norm, ffn_norm, ffn_post_norm;
};
LayerTensors layer_tensors(const LlmShape &shape, int64_t layer);
// The matrix that gives the logits.
TensorShape head_tensor(const LlmShape &shape);
// All tensors of such a file.
std::vector<TensorShape> all_tensors(const LlmShape &shape);

// An LLM of such sizes, in the form that new files have.
LlmShape llm_shape(const ri_llm_sizes &sizes);
// The shape of a file's LLM. Throws unless the training graph computes it as llama.cpp does: each
// key known and sane, each tensor there, with the right shape, and no other. Keys that would change
// results silently are refused.
LlmShape llm_shape(const Gguf &gguf);

} // namespace ri
