#include "tiny_gguf.h"

#include "llm/arch/architecture.h"

#include "ggml-cpp.h"

#include <cmath>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <unistd.h>
#include <vector>

namespace {

// GPT-2's printable stand-ins for the 256 bytes: bytes that print stand for themselves, the others for U+0100 onwards.
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
    ggml_context_ptr ctx(ggml_init({size_t(64) << 20, nullptr, false}));
    gguf_context_ptr gguf(gguf_init_empty());
    gguf_context *m = gguf.get();
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

    std::mt19937_64 random(model.seed);
    auto normal = [&] { // Box and Muller's, so that the numbers are the same with every C++ library
        const double u = (double(random() >> 11) + 0.5) / 9007199254740992.0,
                     v = double(random() >> 11) / 9007199254740992.0;
        return float(std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979323846 * v));
    };
    auto add = [&](const std::string &name, ggml_type type, int64_t ne0, int64_t ne1, float mean, float deviation) {
        ggml_tensor *t =
            ne1 > 1 ? ggml_new_tensor_2d(ctx.get(), type, ne0, ne1) : ggml_new_tensor_1d(ctx.get(), type, ne0);
        ggml_set_name(t, name.c_str());
        std::vector<float> values(size_t(ne0 * ne1));
        for (float &value : values) value = mean + deviation * normal();
        if (type == GGML_TYPE_F32)
            std::copy(values.begin(), values.end(), static_cast<float *>(t->data));
        else
            ggml_quantize_chunk(type, values.data(), t->data, 0, ne1, ne0, nullptr);
        gguf_add_tensor(m, t);
        return t;
    };
    auto matrix = [&](const std::string &name, int64_t columns, int64_t rows) {
        add(name, model.type, columns, rows, 0, model.weight_scale / std::sqrt(float(columns)));
    };
    auto vector = [&](const std::string &name, int64_t n) { return add(name, GGML_TYPE_F32, n, 1, 1, 0.1f); };
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
                add(at + name + ".bias", GGML_TYPE_F32, n, 1, 0, 0.3f);
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
    if (!gguf_write_to_file(m, path.c_str(), false)) throw std::runtime_error("cannot write " + path);
}

std::string temporary_path(const std::string &name) {
    const char *folder = getenv("TMPDIR");
    return std::string(folder && *folder ? folder : P_tmpdir) + "/recint-" + std::to_string(getpid()) + "-" + name;
}
