// Which files hold an LLM as this core computes it: llama.cpp would abort on some that do not, and
// the training graph would compute something else than llama.cpp on others.
#include "shape.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

namespace ri {

namespace {

// What a file's description and the sizes of a new one have in common.
template <typename Sizes> void take_sizes(const Sizes &sizes, LlmShape &shape) {
    shape.n_layer = sizes.n_layer;
    shape.n_embd = sizes.n_embd;
    shape.n_heads = sizes.n_head;
    shape.n_heads_kv = sizes.n_head_kv;
    shape.head_dim = sizes.head_dim;
    shape.n_ff = sizes.n_ff;
    shape.n_vocab = sizes.n_vocab;
    shape.tied_head = sizes.tied_head != 0;
}

// Keys below the architecture's name that are read for all architectures, or that change nothing.
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
// Those that llama.cpp also reads as a list with an entry for each layer.
const std::set<std::string> listed_keys = {"feed_forward_length", "attention.head_count", "attention.head_count_kv"};
// Keys that are harmless at this value only.
const std::set<std::string> zero_keys = {"expert_count", "expert_used_count", "expert_group_count",
                                         "expert_group_used_count", "nextn_predict_layers"};

class Check {
  public:
    explicit Check(const Gguf &gguf) : gguf_(gguf), info_(gguf.info()), path_(gguf.path().c_str()) {}

    LlmShape shape() {
        LlmShape shape;
        shape.architecture = architecture();
        keys(*shape.architecture);
        sizes(shape);
        if (shape.architecture->read) shape.architecture->read(gguf_, shape);
        tensors(shape);
        return shape;
    }

  private:
    const Architecture *architecture() const {
        const Architecture *a = find_architecture(info_.architecture);
        const char *kind = other_kind(a);
        if (!a || kind)
            fail(RI_UNSUPPORTED, "%s has architecture %s%s; adapters can be trained through dense models of %s", path_,
                 info_.architecture, kind ? kind : "", architecture_names().c_str());
        return a;
    }

    // What kind of model other than a dense transformer the metadata describe; null for none. Keys
    // that an architecture understands say nothing of it.
    const char *other_kind(const Architecture *architecture) const {
        const gguf_context *m = gguf_.metadata();
        const std::string prefix = key("");
        for (int64_t i = 0; i < gguf_get_n_kv(m); ++i) {
            const std::string name = gguf_get_key(m, i);
            for (const char *part : {"ssm.", "wkv.", "time_mix_", "shortconv."})
                if (name.compare(0, prefix.size() + strlen(part), prefix + part) == 0 &&
                    !(architecture && understands(*architecture, name.substr(prefix.size()))))
                    return info_.n_head > 0 ? ", a state-space model or a hybrid with one" : ", a state-space model";
        }
        const int64_t experts = gguf_find_key(m, key("expert_count").c_str());
        if (experts < 0) return nullptr;
        return gguf_get_kv_type(m, experts) == GGUF_TYPE_ARRAY || *gguf_.integer(key("expert_count")) > 0
                   ? ", a mixture of experts"
                   : nullptr;
    }

    static bool understands(const Architecture &architecture, const std::string &name) {
        return std::count(architecture.keys.begin(), architecture.keys.end(), name) > 0;
    }

    std::string key(const char *name) const { return std::string(info_.architecture) + "." + name; }

    void keys(const Architecture &architecture) const {
        const gguf_context *m = gguf_.metadata();
        const std::string prefix = key("");
        for (int64_t i = 0; i < gguf_get_n_kv(m); ++i) {
            const std::string key = gguf_get_key(m, i);
            if (key.compare(0, prefix.size(), prefix) != 0) continue;
            const std::string name = key.substr(prefix.size());
            if (understands(architecture, name)) continue;
            if (known_keys.count(name)) {
                const bool list = gguf_get_kv_type(m, i) == GGUF_TYPE_ARRAY;
                if (list && !(listed_keys.count(name) && gguf_.repeated(key)))
                    fail(RI_UNSUPPORTED, "%s: %s must be one number, the same from layer to layer", path_, key.c_str());
                continue;
            }
            if (zero_keys.count(name) && gguf_.integer(key) == 0) continue;
            if (name == "attention.causal" && gguf_.integer(key) == 1) continue;
            fail(RI_UNSUPPORTED, "%s: the key %s makes it another model than a plain one of architecture %s", path_,
                 key.c_str(), info_.architecture);
        }
    }

    void sizes(LlmShape &shape) const {
        in_range("vocab_size (rows of token_embd.weight)", info_.n_vocab, 1, INT32_MAX);
        in_range("block_count", info_.n_layer, 1, 512);
        in_range("embedding_length", info_.n_embd, 1, 1 << 20);
        in_range("attention.head_count", info_.n_head, 1, 1 << 16);
        in_range("attention.head_count_kv", info_.n_head_kv, 1, info_.n_head);
        in_range("attention.key_length", info_.head_dim, 2, 1 << 16);
        in_range("feed_forward_length", info_.n_ff, 1, 1 << 24);
        in_range("context_length", info_.n_context_named, 1, INT32_MAX);
        if (info_.n_head % info_.n_head_kv != 0)
            fail(RI_FILE, "%s: %d heads cannot share %d key-value heads evenly", path_, info_.n_head, info_.n_head_kv);
        if (info_.head_dim % 2 != 0)
            fail(RI_FILE, "%s: a head of %d numbers cannot be rotated in pairs", path_, info_.head_dim);
        equal("rope.dimension_count", info_.head_dim);
        if (shape.architecture->square_attention && int64_t(info_.n_head) * info_.head_dim != info_.n_embd)
            fail(RI_FILE, "%s: %d heads of %d numbers are not as wide as an embedding, %d", path_, info_.n_head,
                 info_.head_dim, info_.n_embd);
        equal("attention.value_length", info_.head_dim);
        equal("vocab_size", info_.n_vocab);
        if (!(info_.rms_eps > 0 && info_.rms_eps < 1))
            fail(RI_FILE, "%s: %s is missing or not between 0 and 1", path_,
                 key("attention.layer_norm_rms_epsilon").c_str());
        if (!(info_.rope_base > 0) || !std::isfinite(info_.rope_base))
            fail(RI_FILE, "%s: %s is %g", path_, key("rope.freq_base").c_str(), double(info_.rope_base));
        const std::string scaling = gguf_.text(key("rope.scaling.type")).value_or("linear");
        if (scaling != "linear" && scaling != "none" && !(scaling == "longrope" && shape.architecture->long_rope) &&
            !(scaling == "yarn" && shape.architecture->yarn))
            fail(RI_UNSUPPORTED, "%s: RoPE scaling of type %s cannot be run with architecture %s", path_,
                 scaling.c_str(), info_.architecture);
        LayerAttention layer;
        layer.rope_base = info_.rope_base;
        layer.rope_frequency_scale = gguf_.rope_frequency_scale();
        if (!(layer.rope_frequency_scale > 0) || !std::isfinite(layer.rope_frequency_scale))
            fail(RI_FILE, "%s: the factor of RoPE scaling is not positive", path_);
        if (scaling == "yarn") {
            shape.yarn.n_context =
                gguf_.integer(key("rope.scaling.original_context_length")).value_or(info_.n_context_named);
            in_range("rope.scaling.original_context_length", shape.yarn.n_context, 1, INT32_MAX);
            if (layer.rope_frequency_scale > 1)
                fail(RI_FILE, "%s: the factor of YaRN scaling is smaller than 1", path_);
            shape.rope_attention_factor = Yarn::attention_factor(layer.rope_frequency_scale);
        }

        take_sizes(info_, shape);
        shape.n_context = info_.n_context_named;
        shape.rms_eps = info_.rms_eps;
        shape.attention_scale = 1.0f / std::sqrt(float(info_.head_dim));
        shape.fused_qkv = gguf_.has("blk.0.attn_qkv.weight");
        if (gguf_.has("rope_freqs.weight")) shape.rope_factors = "rope_freqs.weight";
        shape.layers.assign(size_t(shape.n_layer), layer);
    }

    void tensors(const LlmShape &shape) const {
        std::set<std::string> expected;
        for (const TensorShape &t : all_tensors(shape)) {
            expected.insert(t.name);
            check(t);
        }
        if (!shape.rope_factors.empty()) {
            std::vector<float> factors(size_t(shape.head_dim / 2));
            gguf_.dequantise_rows(gguf_.tensor(shape.rope_factors), 0, 1, factors.data());
            for (float factor : factors)
                if (!(factor > 0) || !std::isfinite(factor))
                    fail(RI_FILE, "%s: %s holds %g", path_, shape.rope_factors.c_str(), double(factor));
        }
        for (const std::string &name : gguf_.tensor_names())
            if (!expected.count(name))
                fail(RI_UNSUPPORTED, "%s: the tensor %s has no place in a plain model of architecture %s", path_,
                     name.c_str(), info_.architecture);
    }

    void in_range(const char *name, int64_t value, int64_t low, int64_t high) const {
        if (value < low || value > high)
            fail(RI_FILE, "%s: %s is %lld, not %lld to %lld", path_, key(name).c_str(), static_cast<long long>(value),
                 static_cast<long long>(low), static_cast<long long>(high));
    }

    // An optional key that can only have one value.
    void equal(const char *name, int64_t expected) const {
        const int64_t value = gguf_.integer(key(name)).value_or(expected);
        if (value != expected)
            fail(RI_UNSUPPORTED, "%s: %s is %lld where %lld is expected", path_, key(name).c_str(),
                 static_cast<long long>(value), static_cast<long long>(expected));
    }

    // A matrix of any type that can be read, or a float32 vector.
    void check(const TensorShape &expected) const {
        const char *name = expected.name.c_str();
        const TensorView t = gguf_.tensor(expected.name);
        if (t.ne[0] != expected.n_in || t.ne[1] != expected.n_out || t.ne[2] != 1 || t.ne[3] != 1)
            fail(RI_FILE, "%s: %s has shape [%lld, %lld, %lld, %lld], not [%lld, %lld]", path_, name,
                 static_cast<long long>(t.ne[0]), static_cast<long long>(t.ne[1]), static_cast<long long>(t.ne[2]),
                 static_cast<long long>(t.ne[3]), static_cast<long long>(expected.n_in),
                 static_cast<long long>(expected.n_out));
        const bool readable = t.type == GGML_TYPE_F32 || (expected.n_out > 1 && ggml_get_type_traits(t.type)->to_float);
        if (!readable)
            fail(RI_UNSUPPORTED, "%s: %s has type %s, which cannot be used there", path_, name, ggml_type_name(t.type));
    }

    const Gguf &gguf_;
    const ri_gguf_info &info_;
    const char *path_;
};

} // namespace

double Yarn::unscaled(int64_t i, int64_t head_dim, double rope_base) const {
    auto pair_that_turns = [&](double times) { // within n_context positions
        return double(head_dim) * std::log(double(n_context) / (2 * M_PI * times)) / (2 * std::log(rope_base));
    };
    const double low = std::max(0.0, std::floor(pair_that_turns(beta_fast))),
                 high = std::min(double(head_dim - 1), std::ceil(pair_that_turns(beta_slow)));
    return 1 - std::min(1.0, std::max(0.0, (double(i) - low) / std::max(0.001, high - low)));
}

float Yarn::attention_factor(float frequency_scale) { return 1 - 0.1f * std::log(frequency_scale); }

LayerTensors layer_tensors(const LlmShape &s, int64_t layer) {
    const std::string at = "blk." + std::to_string(layer) + ".";
    const int64_t E = s.n_embd, F = s.n_ff, Q = s.width_q(), K = s.width_kv();
    LayerTensors t;
    for (const auto &[name, n] :
         s.fused_qkv ? std::vector<std::pair<const char *, int64_t>>{{"attn_qkv", Q + 2 * K}}
                     : std::vector<std::pair<const char *, int64_t>>{{"attn_q", Q}, {"attn_k", K}, {"attn_v", K}}) {
        t.qkv.push_back({at + name + ".weight", E, n});
        if (s.architecture->qkv_biases) t.qkv_bias.push_back({at + name + ".bias", n, 1});
    }
    if (s.architecture->fused_gate_up)
        t.gate_up = {{at + "ffn_up.weight", E, 2 * F}};
    else
        t.gate_up = {{at + "ffn_gate.weight", E, F}, {at + "ffn_up.weight", E, F}};
    t.attention_out = {at + "attn_output.weight", Q, E};
    t.down = {at + "ffn_down.weight", F, E};
    t.attention_norm = {at + "attn_norm.weight", E, 1};
    t.ffn_norm = {at + "ffn_norm.weight", E, 1};
    if (s.architecture->head_norms) {
        t.q_norm = {at + "attn_q_norm.weight", s.head_dim, 1};
        t.k_norm = {at + "attn_k_norm.weight", s.head_dim, 1};
    }
    if (s.architecture->post_norms) {
        t.attention_post_norm = {at + "post_attention_norm.weight", E, 1};
        t.ffn_post_norm = {at + "post_ffw_norm.weight", E, 1};
    }
    return t;
}

TensorShape head_tensor(const LlmShape &s) {
    return {s.tied_head ? "token_embd.weight" : "output.weight", s.n_embd, s.n_vocab};
}

std::vector<TensorShape> all_tensors(const LlmShape &s) {
    std::vector<TensorShape> all = {{"token_embd.weight", s.n_embd, s.n_vocab}};
    for (const std::string &factors : {s.rope_factors, s.rope_factors_unused})
        if (!factors.empty()) all.push_back({factors, s.head_dim / 2, 1});
    for (int64_t layer = 0; layer < s.n_layer; ++layer) {
        const LayerTensors t = layer_tensors(s, layer);
        auto add = [&](const TensorShape &one) {
            if (!one.name.empty()) all.push_back(one);
        };
        auto add_parts = [&](const std::vector<TensorShape> &parts) {
            all.insert(all.end(), parts.begin(), parts.end());
        };
        add(t.attention_norm);
        add_parts(t.qkv);
        add_parts(t.qkv_bias);
        add(t.q_norm);
        add(t.k_norm);
        add(t.attention_out);
        add(t.attention_post_norm);
        add(t.ffn_norm);
        add_parts(t.gate_up);
        add(t.down);
        add(t.ffn_post_norm);
    }
    all.push_back({"output_norm.weight", s.n_embd, 1});
    if (!s.tied_head) all.push_back(head_tensor(s));
    return all;
}

LlmShape llm_shape(const ri_llm_sizes &sizes) {
    require(sizes.architecture, "architecture");
    LlmShape s;
    s.architecture = find_architecture(sizes.architecture);
    if (!s.architecture)
        fail(RI_UNSUPPORTED, "there is no description of the architecture %s; there are %s", sizes.architecture,
             architecture_names().c_str());
    for (const auto &[name, value] : {std::pair("n_layer", sizes.n_layer),
                                      {"n_embd", sizes.n_embd},
                                      {"n_head", sizes.n_head},
                                      {"n_head_kv", sizes.n_head_kv},
                                      {"head_dim", sizes.head_dim},
                                      {"n_ff", sizes.n_ff},
                                      {"n_vocab", sizes.n_vocab}})
        if (value < 1) fail(RI_INVALID, "an LLM needs a positive %s, not %d", name, value);
    if (sizes.head_dim % 2 != 0 || sizes.n_head % sizes.n_head_kv != 0)
        fail(RI_INVALID, "%d heads of %d numbers, %d of them for keys and values, make no LLM", sizes.n_head,
             sizes.head_dim, sizes.n_head_kv);
    take_sizes(sizes, s);
    s.fused_qkv = s.architecture->fused_qkv;
    return s;
}

LlmShape llm_shape(const Gguf &gguf) { return Check(gguf).shape(); }

} // namespace ri
