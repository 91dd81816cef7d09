#include "tiny_gguf.h"

#include "llm/arch/architecture.h"

#include "ggml-cpp.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>
#include <unistd.h>
#include <vector>

namespace {

void save(const gguf_context *gguf, const std::string &path) {
    if (!gguf_write_to_file(gguf, path.c_str(), false)) throw std::runtime_error("cannot write " + path);
}

// A file in the making: weights are drawn in the order in which they are added.
class Writer {
  public:
    explicit Writer(uint64_t seed) : random_(seed) {}

    gguf_context *metadata() const { return gguf_.get(); }

    ggml_tensor *add(const std::string &name, ggml_type type, std::vector<int64_t> ne, float mean, float deviation) {
        ggml_tensor *t = ggml_new_tensor(ctx_.get(), type, int(ne.size()), ne.data());
        ggml_set_name(t, name.c_str());
        std::vector<float> values(size_t(ggml_nelements(t)));
        for (float &value : values) value = mean + deviation * normal();
        if (type == GGML_TYPE_F32)
            std::copy(values.begin(), values.end(), static_cast<float *>(t->data));
        else
            ggml_quantize_chunk(type, values.data(), t->data, 0, ggml_nrows(t), ne[0], nullptr);
        gguf_add_tensor(metadata(), t);
        return t;
    }

  private:
    float normal() { // Box and Muller's, so that the numbers are the same with every C++ library
        const double u = (double(random_() >> 11) + 0.5) / 9007199254740992.0,
                     v = double(random_() >> 11) / 9007199254740992.0;
        return float(std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979323846 * v));
    }

    std::mt19937_64 random_;
    ggml_context_ptr ctx_{ggml_init({size_t(64) << 20, nullptr, false})};
    gguf_context_ptr gguf_{gguf_init_empty()};
};

// GPT-2's printable stand-ins for the 256 bytes: bytes that print stand for themselves, the others
// for U+0100 onwards.
std::vector<std::string> byte_tokens() {
    std::vector<std::string> tokens;
    auto add = [&](int code) {
        if (code < 0x80)
            tokens.push_back(std::string(1, char(code)));
        else
            tokens.push_back({char(0xC0 | code >> 6), char(0x80 | (code & 0x3F))});
    };
    for (int byte = 0, next = 0x100; byte < 256; ++byte) {
        const bool prints = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
        add(prints ? byte : next++);
    }
    return tokens;
}

void add_tokenizer(gguf_context *m, int32_t n_vocab) {
    std::vector<std::string> tokens = byte_tokens();
    for (const char *special : {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>"}) tokens.push_back(special);
    while (int32_t(tokens.size()) < n_vocab) tokens.push_back("<unused" + std::to_string(tokens.size()) + ">");
    std::vector<const char *> texts;
    for (const std::string &token : tokens) texts.push_back(token.c_str());
    std::vector<int32_t> types(tokens.size(), 3); // control
    std::fill(types.begin(), types.begin() + 256, 1);
    const char *merge = "a b"; // llama.cpp wants the list; the token it would make does not exist
    gguf_set_val_str(m, "tokenizer.ggml.model", "gpt2");
    gguf_set_val_str(m, "tokenizer.ggml.pre", "gpt-2");
    gguf_set_arr_str(m, "tokenizer.ggml.tokens", texts.data(), texts.size());
    gguf_set_arr_data(m, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types.data(), types.size());
    gguf_set_arr_str(m, "tokenizer.ggml.merges", &merge, 1);
    gguf_set_val_u32(m, "tokenizer.ggml.bos_token_id", 256);
    gguf_set_val_u32(m, "tokenizer.ggml.eos_token_id", 258);
    gguf_set_val_u32(m, "tokenizer.ggml.unknown_token_id", 259);
    gguf_set_val_str(
        m, "tokenizer.chat_template",
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
        "'\n'}}{% endfor %}");
}

} // namespace

void write_tiny_gguf(const std::string &path, const TinyGguf &model) {
    const int64_t E = model.n_embd ? model.n_embd : model.n_head * model.head_dim;
    const int64_t Q = model.n_head * model.head_dim, K = model.n_head_kv * model.head_dim;
    Writer writer(model.seed);
    gguf_context *m = writer.metadata();
    const std::string prefix = model.architecture + ".";
    auto set = [&](const char *key, int32_t value) { gguf_set_val_u32(m, (prefix + key).c_str(), uint32_t(value)); };
    gguf_set_val_str(m, "general.architecture", model.architecture.c_str());
    gguf_set_val_str(m, "general.name", "tiny");
    set("block_count", model.n_layer);
    set("embedding_length", int32_t(E));
    set("attention.head_count", model.n_head);
    set("attention.head_count_kv", model.n_head_kv);
    set("attention.key_length", model.head_dim);
    set("attention.value_length", model.head_dim);
    set("rope.dimension_count", model.head_dim);
    set("feed_forward_length", model.n_ff);
    set("context_length", model.n_context);
    set("vocab_size", model.n_vocab);
    gguf_set_val_f32(m, (prefix + "attention.layer_norm_rms_epsilon").c_str(), 1e-5f);
    gguf_set_val_f32(m, (prefix + "rope.freq_base").c_str(), 10000.0f);
    if (model.tokenizer) add_tokenizer(m, model.n_vocab);

    auto matrix = [&](const std::string &name, int64_t columns, int64_t rows) {
        writer.add(name, model.type, {columns, rows}, 0, model.weight_scale / std::sqrt(float(columns)));
    };
    auto vector = [&](const std::string &name, int64_t n) { return writer.add(name, GGML_TYPE_F32, {n}, 1, 0.1f); };
    matrix("token_embd.weight", E, model.n_vocab);
    vector("output_norm.weight", E);
    if (!model.tied) matrix("output.weight", E, model.n_vocab);
    if (model.rope_factors) {
        auto *factors = static_cast<float *>(vector("rope_freqs.weight", model.head_dim / 2)->data);
        for (int32_t i = 0; i < model.head_dim / 2; ++i) factors[i] = 1.0f + float(i);
    }
    if (model.long_rope)
        for (const char *name : {"rope_factors_short.weight", "rope_factors_long.weight"})
            vector(name, model.head_dim / 2);
    const ri::Architecture *own = ri::find_architecture(model.architecture.c_str()); // null: like llama
    for (int32_t i = 0; i < model.n_layer; ++i) {
        const std::string at = "blk." + std::to_string(i) + ".";
        vector(at + "attn_norm.weight", E);
        if (own && own->fused_qkv) {
            matrix(at + "attn_qkv.weight", E, Q + 2 * K);
        } else {
            matrix(at + "attn_q.weight", E, Q);
            matrix(at + "attn_k.weight", E, K);
            matrix(at + "attn_v.weight", E, K);
        }
        matrix(at + "attn_output.weight", Q, E);
        if (own && own->qkv_biases)
            for (const auto &[name, n] : {std::pair("attn_q", Q), {"attn_k", K}, {"attn_v", K}})
                writer.add(at + name + ".bias", GGML_TYPE_F32, {n}, 0, 0.3f);
        if (own && own->head_norms)
            for (const char *name : {"attn_q_norm.weight", "attn_k_norm.weight"}) vector(at + name, model.head_dim);
        if (own && own->post_norms)
            for (const char *name : {"post_attention_norm.weight", "post_ffw_norm.weight"}) vector(at + name, E);
        vector(at + "ffn_norm.weight", E);
        const bool fused = own && own->fused_gate_up;
        if (!fused) matrix(at + "ffn_gate.weight", E, model.n_ff);
        matrix(at + "ffn_up.weight", E, fused ? 2 * model.n_ff : model.n_ff);
        matrix(at + "ffn_down.weight", model.n_ff, E);
    }
    if (model.edit) model.edit(m);
    save(m, path);
}

void write_undescribed_gguf(const std::string &path, const std::string &architecture) {
    const bool gemma2 = architecture == "gemma2", experts = architecture == "qwen3moe", mamba = architecture == "mamba";
    const bool gpt2 = architecture == "gpt2";
    const int64_t E = 64, Q = 80, K = 40, H = 20, F = 96, V = 288, L = gemma2 ? 4 : 2;
    Writer writer(7);
    gguf_context *m = writer.metadata();
    auto set = [&](const char *key, int64_t value) {
        gguf_set_val_u32(m, (architecture + "." + key).c_str(), uint32_t(value));
    };
    auto set_number = [&](const char *key, float value) {
        gguf_set_val_f32(m, (architecture + "." + key).c_str(), value);
    };
    gguf_set_val_str(m, "general.architecture", architecture.c_str());
    gguf_set_val_str(m, "tokenizer.ggml.model", "none");
    set("block_count", L);
    set("embedding_length", E);
    set("context_length", 512);
    set("vocab_size", V);
    set("feed_forward_length", mamba ? 0 : F);
    set("attention.head_count", mamba ? 0 : 4);
    set_number(gpt2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", 1e-5f);

    auto matrix = [&](const std::string &name, int64_t columns, int64_t rows) {
        writer.add(name, GGML_TYPE_F32, {columns, rows}, 0, 1 / std::sqrt(float(columns)));
    };
    auto norm = [&](const std::string &name, int64_t n) {
        writer.add(name + ".weight", GGML_TYPE_F32, {n}, 1, 0.1f);
        if (gpt2) writer.add(name + ".bias", GGML_TYPE_F32, {n}, 0, 0.1f);
    };
    matrix("token_embd.weight", E, V);
    norm("output_norm", E);
    if (mamba) {
        const int64_t D = 2 * E, S = 16, R = 4;
        set("ssm.conv_kernel", 4);
        set("ssm.inner_size", D);
        set("ssm.state_size", S);
        set("ssm.time_step_rank", R);
        for (int64_t i = 0; i < L; ++i) {
            const std::string at = "blk." + std::to_string(i) + ".";
            norm(at + "attn_norm", E);
            matrix(at + "ssm_in.weight", E, 2 * D);
            matrix(at + "ssm_conv1d.weight", 4, D);
            writer.add(at + "ssm_conv1d.bias", GGML_TYPE_F32, {D}, 0, 0.1f);
            matrix(at + "ssm_x.weight", D, R + 2 * S);
            matrix(at + "ssm_dt.weight", R, D);
            writer.add(at + "ssm_dt.bias", GGML_TYPE_F32, {D}, 0, 0.1f);
            writer.add(at + "ssm_a", GGML_TYPE_F32, {S, D}, -1, 0.1f);
            writer.add(at + "ssm_d", GGML_TYPE_F32, {D}, 1, 0.1f);
            matrix(at + "ssm_out.weight", D, E);
        }
        save(m, path);
        return;
    }
    const int64_t q = gpt2 ? E : Q, k = gpt2 ? E : K; // GPT-2's heads are as wide as an embedding, all together
    if (gpt2) {
        matrix("position_embd.weight", E, 512);
    } else {
        set("attention.head_count_kv", 2);
        set("attention.key_length", H);
        set("attention.value_length", H);
        set_number("rope.freq_base", 10000);
    }
    if (gemma2) {
        set("attention.sliding_window", 8);
        set_number("attn_logit_softcapping", 3);
        set_number("final_logit_softcapping", 5);
    }
    if (experts) {
        set("expert_count", 6);
        set("expert_used_count", 2);
        set("expert_feed_forward_length", F);
    }
    for (int64_t i = 0; i < L; ++i) {
        const std::string at = "blk." + std::to_string(i) + ".";
        auto layer = [&](const char *name, int64_t columns, int64_t rows) {
            matrix(at + name + ".weight", columns, rows);
            if (gpt2) writer.add(at + name + ".bias", GGML_TYPE_F32, {rows}, 0, 0.1f);
        };
        norm(at + "attn_norm", E);
        norm(at + "ffn_norm", E);
        if (gpt2) {
            layer("attn_qkv", E, q + 2 * k);
        } else {
            layer("attn_q", E, q);
            layer("attn_k", E, k);
            layer("attn_v", E, k);
        }
        layer("attn_output", q, E);
        if (gemma2)
            for (const char *name : {"post_attention_norm", "post_ffw_norm"}) norm(at + name, E);
        if (experts) {
            norm(at + "attn_q_norm", H);
            norm(at + "attn_k_norm", H);
            matrix(at + "ffn_gate_inp.weight", E, 6);
            for (const char *name : {"ffn_gate_exps", "ffn_up_exps"})
                writer.add(at + name + ".weight", GGML_TYPE_F32, {E, F, 6}, 0, 0.125f);
            writer.add(at + "ffn_down_exps.weight", GGML_TYPE_F32, {F, E, 6}, 0, 0.1f);
            continue;
        }
        if (!gpt2) layer("ffn_gate", E, F);
        layer("ffn_up", E, F);
        layer("ffn_down", F, E);
    }
    save(m, path);
}

namespace {

// A file with its tensors' data.
struct Whole {
    explicit Whole(const std::string &path) {
        ggml_context *data = nullptr;
        metadata.reset(gguf_init_from_file(path.c_str(), {false, &data}));
        if (!metadata) throw std::runtime_error("cannot read " + path);
        tensors.reset(data);
    }
    int64_t n() const { return gguf_get_n_tensors(metadata.get()); }
    ggml_tensor *tensor(int64_t i) const {
        return ggml_get_tensor(tensors.get(), gguf_get_tensor_name(metadata.get(), i));
    }
    gguf_context_ptr metadata;
    ggml_context_ptr tensors;
};

} // namespace

std::vector<std::string> split_gguf(const std::string &path, int32_t n_parts) {
    const Whole whole(path);
    std::vector<std::string> paths;
    for (int32_t part = 0; part < n_parts; ++part) {
        gguf_context_ptr gguf(gguf_init_empty());
        gguf_context *m = gguf.get();
        if (part == 0) gguf_set_kv(m, whole.metadata.get());
        const int64_t id = gguf_find_key(whole.metadata.get(), "general.architecture");
        gguf_set_val_str(m, "general.architecture", gguf_get_val_str(whole.metadata.get(), id));
        gguf_set_val_u16(m, "split.no", uint16_t(part));
        gguf_set_val_u16(m, "split.count", uint16_t(n_parts));
        gguf_set_val_i32(m, "split.tensors.count", int32_t(whole.n()));
        for (int64_t i = part * whole.n() / n_parts; i < (part + 1) * whole.n() / n_parts; ++i)
            gguf_add_tensor(m, whole.tensor(i));
        char name[32];
        snprintf(name, sizeof name, "-%05d-of-%05d.gguf", part + 1, n_parts);
        paths.push_back(path + name);
        save(m, paths.back());
    }
    return paths;
}

void write_float32_copy(const std::string &from, const std::string &to) {
    const Whole whole(from);
    gguf_context_ptr gguf(gguf_init_empty());
    gguf_set_kv(gguf.get(), whole.metadata.get());
    ggml_context_ptr data(ggml_init({size_t(256) << 20, nullptr, false}));
    for (int64_t i = 0; i < whole.n(); ++i) {
        const ggml_tensor *t = whole.tensor(i);
        ggml_tensor *copy = ggml_new_tensor(data.get(), GGML_TYPE_F32, ggml_n_dims(t), t->ne);
        ggml_set_name(copy, t->name);
        if (t->type == GGML_TYPE_F32)
            memcpy(copy->data, t->data, ggml_nbytes(t));
        else
            ggml_get_type_traits(t->type)->to_float(t->data, static_cast<float *>(copy->data), ggml_nelements(t));
        gguf_add_tensor(gguf.get(), copy);
    }
    save(gguf.get(), to);
}

std::string temporary_path(const std::string &name) {
    const char *folder = getenv("TMPDIR");
    return std::string(folder && *folder ? folder : P_tmpdir) + "/recint-" + std::to_string(getpid()) + "-" + name;
}
