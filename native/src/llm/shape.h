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
    std::string rope_factors;        // a tensor that divides the frequencies, or none
    std::string rope_factors_unused; // a tensor for contexts longer than n_context, or none
    std::vector<LayerAttention> layers;

    int64_t width_q() const { return n_heads * head_dim; }
    int64_t width_kv() const { return n_heads_kv * head_dim; }
    int64_t width_qkv() const { return width_q() + 2 * width_kv(); }
    // In how many layers, from the first on, the matrices of the attention stay in float32 in either mode: a tenth.
    // What they round, all later layers amplify. Measured with SmolLM2-135M on the reference cases: with none, the
    // gradient of the adapter's bias is off by up to 4.8 % in length; with 3 of 30, by 1.6 %, no more than if the
    // feed-forward matrices of these layers, three quarters of the work, were in float32 too.
    int64_t n_exact_layers() const { return n_layer / 10; }
};

struct TensorShape {
    std::string name;
    int64_t n_in = 0, n_out = 0; // n_out = 1: a vector
};

// The tensors of a layer; those that its architecture does not have are empty. Parts of one matrix lie one after the
// other.
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
// The shape of a file's LLM. Throws unless the training graph computes it as llama.cpp does: each key known and sane,
// each tensor there, with the right shape, and no other. Keys that would change results silently are refused.
LlmShape llm_shape(const Gguf &gguf);

} // namespace ri
