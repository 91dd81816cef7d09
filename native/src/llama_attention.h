// What the attention of all layers has in common in one graph.
#pragma once

#include "llama.h"

namespace ri {

struct Llama::AttentionPlan {
    int64_t prefix = 0; // P
    const SampleRows *rows = nullptr;
    float scale = 0;
    const RopeTable *rope = nullptr;       // by kernels
    ggml_tensor *rope_positions = nullptr; // composed: I32 [rows]
    ggml_tensor *mask = nullptr;           // composed: [P + S, group*S]
};

} // namespace ri
