// Granite 3 and 4, dense (IBM): a LLaMA with four scales, of embeddings, scores, residual branches
// and logits.
#include "llm/shape.h"

#include <cmath>

namespace ri {

namespace {

// The number under a key, or `otherwise`; throws unless it is finite and positive.
float positive(const Gguf &gguf, const char *key, float otherwise) {
    const float value = float(gguf.number(key).value_or(otherwise));
    if (!(value > 0) || !std::isfinite(value))
        fail(RI_FILE, "%s: %s is %g, not a positive number", gguf.path().c_str(), key, double(value));
    return value;
}

} // namespace

extern const Architecture granite;
const Architecture granite = [] {
    Architecture a;
    a.name = "granite";
    // llama.cpp's converter describes dense models of Granite 4 with all keys of the hybrid ones,
    // whose layers they lack: llama.cpp does not read the sizes of state spaces, nor, without
    // experts, that of the shared expert.
    a.keys = {"embedding_scale", "attention.scale",        "residual_scale",
              "logit_scale",     "rope.scaling.finetuned", "expert_shared_feed_forward_length",
              "ssm.conv_kernel", "ssm.state_size",         "ssm.group_count",
              "ssm.inner_size",  "ssm.time_step_rank"};
    a.read = [](const Gguf &gguf, LlmShape &shape) {
        if (!gguf.number("granite.logit_scale"))
            fail(RI_FILE, "%s: the key granite.logit_scale is missing", gguf.path().c_str());
        shape.input_scale = positive(gguf, "granite.embedding_scale", 1);
        shape.attention_scale = positive(gguf, "granite.attention.scale", shape.attention_scale);
        shape.residual_scale = positive(gguf, "granite.residual_scale", 1);
        shape.logit_scale = 1 / positive(gguf, "granite.logit_scale", 1);
        // llama.cpp reads this key as the switch of rotation.
        const bool rotates = gguf.integer("granite.rope.scaling.finetuned").value_or(1) != 0;
        for (LayerAttention &layer : shape.layers) layer.rotates = rotates;
    };
    return a;
}();

} // namespace ri
