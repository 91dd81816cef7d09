// Tiny models of every architecture that training knows.
#pragma once

#include "support/tiny_gguf.h"

#include <vector>

inline TinyGguf with_heads_of(int32_t head_dim) {
    TinyGguf model;
    model.head_dim = head_dim;
    return model;
}

// Every architecture but llama, with heads that fill no vector, tied and untied.
inline std::vector<TinyGguf> other_architectures() {
    TinyGguf model;
    model.n_layer = 5;
    model.n_head = 6;
    model.head_dim = 10;
    std::vector<TinyGguf> models;
    auto add = [&](const char *name, void (*edit)(gguf_context *) = nullptr) {
        model.architecture = name;
        model.tied = !model.tied;
        model.edit = edit;
        models.push_back(model);
    };
    add("qwen2");
    add("qwen2");
    add("smollm3");
    add("granite", [](gguf_context *m) {
        gguf_set_val_f32(m, "granite.embedding_scale", 1.5f);
        gguf_set_val_f32(m, "granite.attention.scale", 0.2f);
        gguf_set_val_f32(m, "granite.residual_scale", 0.7f);
        gguf_set_val_f32(m, "granite.logit_scale", 2.5f);
    });
    model.long_rope = true;
    model.n_context = 512;
    model.n_head_kv = 3;
    add("phi3", [](gguf_context *m) {
        gguf_set_val_str(m, "phi3.rope.scaling.type", "longrope");
        gguf_set_val_u32(m, "phi3.rope.scaling.original_context_length", 256);
        gguf_set_val_f32(m, "phi3.rope.scaling.attn_factor", 1.2f);
        gguf_set_val_u32(m, "phi3.attention.sliding_window", 4); // which llama.cpp leaves out
    });
    model.long_rope = false;
    model.n_context = 256;
    model.n_head_kv = 2;
    add("phi3");
    add("granite", [](gguf_context *m) {
        gguf_set_val_f32(m, "granite.logit_scale", 2);
        gguf_set_val_bool(m, "granite.rope.scaling.finetuned", false); // llama.cpp does not rotate then
    });
    add("granite", [](gguf_context *m) { // as llama.cpp's converter describes dense models of Granite 4
        const std::vector<int32_t> heads_kv(gguf_get_val_u32(m, gguf_find_key(m, "granite.block_count")), 2);
        gguf_set_arr_data(m, "granite.attention.head_count_kv", GGUF_TYPE_INT32, heads_kv.data(), heads_kv.size());
        gguf_set_val_f32(m, "granite.logit_scale", 2);
        gguf_set_val_bool(m, "granite.rope.scaling.finetuned", true);
        for (const auto &[key, value] : {std::pair("expert_count", 0),
                                         {"expert_used_count", 0},
                                         {"expert_shared_feed_forward_length", 96},
                                         {"ssm.conv_kernel", 4},
                                         {"ssm.state_size", 256},
                                         {"ssm.group_count", 1},
                                         {"ssm.inner_size", 120},
                                         {"ssm.time_step_rank", 128}})
            gguf_set_val_u32(m, (std::string("granite.") + key).c_str(), uint32_t(value));
        for (const char *key : {"granite.attention.key_length", "granite.attention.value_length"})
            gguf_remove_key(m, key); // a head is as wide as an embedding divided by the heads
    });
    model.n_embd = 52; // not as wide as the heads together
    model.n_head_kv = 3;
    add("qwen3");
    add("qwen3", [](gguf_context *m) {
        gguf_set_val_str(m, "qwen3.rope.scaling.type", "yarn");
        gguf_set_val_f32(m, "qwen3.rope.scaling.factor", 4);
        gguf_set_val_u32(m, "qwen3.rope.scaling.original_context_length", 64);
    });
    model.n_context = 512;
    add("mistral3", [](gguf_context *m) {
        gguf_set_val_str(m, "mistral3.rope.scaling.type", "yarn");
        gguf_set_val_f32(m, "mistral3.rope.scaling.factor", 16);
        gguf_set_val_u32(m, "mistral3.rope.scaling.original_context_length", 256);
        gguf_set_val_f32(m, "mistral3.rope.scaling.yarn_beta_fast", 24);
        gguf_set_val_f32(m, "mistral3.rope.scaling.yarn_beta_slow", 2);
        gguf_set_val_f32(m, "mistral3.rope.scaling.yarn_log_multiplier", 0.7f);
        gguf_set_val_f32(m, "mistral3.attention.temperature_scale", 0.1f);
    });
    model.n_context = 256;
    model.n_layer = 7; // the sixth sees everything
    add("gemma3", [](gguf_context *m) {
        gguf_set_val_u32(m, "gemma3.attention.sliding_window", 4);
        gguf_set_val_f32(m, "gemma3.rope.freq_base", 1e6f);
        gguf_set_val_f32(m, "gemma3.rope.freq_base_swa", 1e4f);
    });
    add("gemma3");
    add("gemma3", [](gguf_context *m) { // from 4B on, the layers that see everything have their positions scaled
        gguf_set_val_u32(m, "gemma3.attention.sliding_window", 4);
        gguf_set_val_str(m, "gemma3.rope.scaling.type", "linear");
        gguf_set_val_f32(m, "gemma3.rope.scaling.factor", 8);
    });
    return models;
}
