// Which files are a LLaMA as this core computes it: llama.cpp would abort on some that are not, and the training graph
// would compute something else than llama.cpp on others.
#include "gguf.h"

#include <cmath>
#include <cstring>
#include <set>
#include <vector>

namespace ri {

namespace {

// Keys below "llama." that are read, or that change nothing.
const std::set<std::string> known_keys = {
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "vocab_size",
    "tensor_data_layout",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "rope.scale_linear",
};
// Keys that are harmless at this value only.
const std::set<std::string> zero_keys = {"expert_count", "expert_used_count", "expert_group_count",
                                         "expert_group_used_count", "nextn_predict_layers"};

class Check {
  public:
    explicit Check(const Gguf &gguf) : gguf_(gguf), info_(gguf.info()), path_(gguf.path().c_str()) {}

    void architecture() const {
        if (strcmp(info_.architecture, "llama") != 0)
            fail(RI_UNSUPPORTED, "%s has architecture %s; only llama can be run", path_, info_.architecture);
    }

    void keys() const {
        const gguf_context *m = gguf_.metadata();
        for (int64_t i = 0; i < gguf_get_n_kv(m); ++i) {
            const std::string key = gguf_get_key(m, i);
            if (key.compare(0, 6, "llama.") != 0) continue;
            const std::string name = key.substr(6);
            if (known_keys.count(name)) {
                if (gguf_get_kv_type(m, i) == GGUF_TYPE_ARRAY)
                    fail(RI_UNSUPPORTED, "%s: %s differs from layer to layer", path_, key.c_str());
                continue;
            }
            if (zero_keys.count(name) && gguf_.integer(key) == 0) continue;
            if (name == "attention.causal" && gguf_.integer(key) == 1) continue;
            fail(RI_UNSUPPORTED, "%s: the key %s makes it another model than plain LLaMA", path_, key.c_str());
        }
    }

    void sizes() const {
        in_range("vocab_size (rows of token_embd.weight)", info_.n_vocab, 1, INT32_MAX);
        in_range("block_count", info_.n_layer, 1, 512);
        in_range("embedding_length", info_.n_embd, 1, 1 << 20);
        in_range("attention.head_count", info_.n_head, 1, 1 << 16);
        in_range("attention.head_count_kv", info_.n_head_kv, 1, info_.n_head);
        in_range("attention.key_length", info_.head_dim, 2, 1 << 16);
        in_range("feed_forward_length", info_.n_ff, 1, 1 << 24);
        in_range("context_length", info_.n_context, 1, INT32_MAX);
        if (info_.n_head % info_.n_head_kv != 0)
            fail(RI_FILE, "%s: %d heads cannot share %d key-value heads evenly", path_, info_.n_head, info_.n_head_kv);
        if (info_.head_dim % 2 != 0)
            fail(RI_FILE, "%s: a head of %d numbers cannot be rotated in pairs", path_, info_.head_dim);
        equal("attention.value_length", info_.head_dim);
        equal("rope.dimension_count", info_.head_dim);
        equal("vocab_size", info_.n_vocab);
        if (!(info_.rms_eps > 0 && info_.rms_eps < 1))
            fail(RI_FILE, "%s: llama.attention.layer_norm_rms_epsilon is missing or not between 0 and 1", path_);
        if (!(info_.rope_base > 0) || !std::isfinite(info_.rope_base))
            fail(RI_FILE, "%s: llama.rope.freq_base is %g", path_, double(info_.rope_base));
        const std::string scaling = gguf_.text("llama.rope.scaling.type").value_or("linear");
        if (scaling != "linear" && scaling != "none")
            fail(RI_UNSUPPORTED, "%s: RoPE scaling of type %s; only linear and Llama 3's can be run", path_,
                 scaling.c_str());
        const float scale = gguf_.rope_frequency_scale();
        if (!(scale > 0) || !std::isfinite(scale))
            fail(RI_FILE, "%s: the factor of RoPE scaling is not positive", path_);
    }

    void tensors() const {
        const int64_t E = info_.n_embd, F = info_.n_ff, V = info_.n_vocab;
        const int64_t Q = int64_t(info_.n_head) * info_.head_dim, K = int64_t(info_.n_head_kv) * info_.head_dim;
        std::set<std::string> expected;
        auto tensor = [&](const std::string &name, int64_t ne0, int64_t ne1) {
            expected.insert(name);
            shape(name, ne0, ne1);
        };
        if (gguf_.has("blk.0.attn_qkv.weight"))
            fail(RI_UNSUPPORTED, "%s has fused query, key and value matrices (attn_qkv); convert it with separate ones",
                 path_);
        tensor("token_embd.weight", E, V);
        tensor("output_norm.weight", E, 1);
        if (!info_.tied_head) tensor("output.weight", E, V);
        if (gguf_.has("rope_freqs.weight")) {
            tensor("rope_freqs.weight", info_.head_dim / 2, 1);
            std::vector<float> factors(size_t(info_.head_dim / 2));
            gguf_.dequantise_rows(gguf_.tensor("rope_freqs.weight"), 0, 1, factors.data());
            for (float factor : factors)
                if (!(factor > 0) || !std::isfinite(factor))
                    fail(RI_FILE, "%s: rope_freqs.weight holds %g", path_, double(factor));
        }
        for (int32_t i = 0; i < info_.n_layer; ++i) {
            const std::string at = "blk." + std::to_string(i) + ".";
            tensor(at + "attn_norm.weight", E, 1);
            tensor(at + "attn_q.weight", E, Q);
            tensor(at + "attn_k.weight", E, K);
            tensor(at + "attn_v.weight", E, K);
            tensor(at + "attn_output.weight", Q, E);
            tensor(at + "ffn_norm.weight", E, 1);
            tensor(at + "ffn_gate.weight", E, F);
            tensor(at + "ffn_up.weight", E, F);
            tensor(at + "ffn_down.weight", F, E);
        }
        for (const std::string &name : gguf_.tensor_names())
            if (!expected.count(name))
                fail(RI_UNSUPPORTED, "%s: the tensor %s has no place in a plain LLaMA", path_, name.c_str());
    }

  private:
    void in_range(const char *name, int64_t value, int64_t low, int64_t high) const {
        if (value < low || value > high)
            fail(RI_FILE, "%s: llama.%s is %lld, not %lld to %lld", path_, name, static_cast<long long>(value),
                 static_cast<long long>(low), static_cast<long long>(high));
    }

    // An optional key that can only have one value.
    void equal(const char *name, int64_t expected) const {
        const int64_t value = gguf_.integer(std::string("llama.") + name).value_or(expected);
        if (value != expected)
            fail(RI_UNSUPPORTED, "%s: llama.%s is %lld where %lld is expected", path_, name,
                 static_cast<long long>(value), static_cast<long long>(expected));
    }

    // A matrix of any type that can be read, or, with ne1 = 1, a float32 vector.
    void shape(const std::string &name, int64_t ne0, int64_t ne1) const {
        const TensorView t = gguf_.tensor(name);
        if (t.ne[0] != ne0 || t.ne[1] != ne1 || t.ne[2] != 1 || t.ne[3] != 1)
            fail(RI_FILE, "%s: %s has shape [%lld, %lld, %lld, %lld], not [%lld, %lld]", path_, name.c_str(),
                 static_cast<long long>(t.ne[0]), static_cast<long long>(t.ne[1]), static_cast<long long>(t.ne[2]),
                 static_cast<long long>(t.ne[3]), static_cast<long long>(ne0), static_cast<long long>(ne1));
        const bool readable = t.type == GGML_TYPE_F32 || (ne1 > 1 && ggml_get_type_traits(t.type)->to_float);
        if (!readable)
            fail(RI_UNSUPPORTED, "%s: %s has type %s, which cannot be used there", path_, name.c_str(),
                 ggml_type_name(t.type));
    }

    const Gguf &gguf_;
    const ri_gguf_info &info_;
    const char *path_;
};

} // namespace

void require_llama(const Gguf &gguf) {
    const Check check(gguf);
    check.architecture();
    check.keys();
    check.sizes();
    check.tensors();
}

} // namespace ri
