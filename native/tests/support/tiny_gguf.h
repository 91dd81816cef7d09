// Small LLMs with random weights, written as GGUFs, for tests.
#pragma once

#include "ggml.h"

#include <cstdint>
#include <string>
#include <vector>

struct gguf_context;

struct TinyGguf {
    int32_t n_layer = 2, n_head = 4, n_head_kv = 2, head_dim = 16, n_ff = 96, n_context = 256;
    int32_t n_embd = 0;             // 0: n_head * head_dim
    int32_t n_vocab = 288;          // at least 260 with a tokenizer: 256 bytes and four special tokens
    bool tied = true;               // no output.weight
    bool rope_factors = false;      // rope_freqs.weight, as in Llama 3
    bool long_rope = false;         // factors for short and for long contexts, as in Phi-3
    bool tokenizer = true;          // BPE of bytes, no merges; ids 0-255 are bytes in GPT-2's order
    float weight_scale = 1;         // of matrices drawn with variance 1 / columns
    ggml_type type = GGML_TYPE_F32; // of the matrices; vectors are always F32
    uint64_t seed = 1;
    std::string architecture = "llama";
    void (*edit)(gguf_context *metadata) = nullptr; // last change to the keys before writing, for malformed files
};

// The special tokens: bos <|endoftext|> = 256, <|im_start|> = 257, eos and eot <|im_end|> = 258,
// <unk> = 259.
void write_tiny_gguf(const std::string &path, const TinyGguf &model = {});

// A model of an architecture that llama.cpp runs and that has no description here: gemma2 (soft
// caps), qwen3moe (experts), gpt2 (embeddings of positions) or mamba (a state in place of
// attention). 288 tokens, no tokenizer, 512 positions.
void write_undescribed_gguf(const std::string &path, const std::string &architecture);

// Cuts a file into parts as llama-gguf-split does, beside it, and gives their paths.
std::vector<std::string> split_gguf(const std::string &path, int32_t n_parts);

// A copy of a file with all its numbers in float32.
void write_float32_copy(const std::string &from, const std::string &to);

// A path in the folder for temporary files, unique to this process and name.
std::string temporary_path(const std::string &name);
