// Ministral 3 and Mistral Small 3.1 (Mistral AI): a LLaMA whose rotation is scaled by YaRN. From
// the end of the context before scaling on, queries grow with their positions, as in Llama 4; such
// positions are refused.
#include "llm/shape.h"

#include <algorithm>
#include <cmath>

namespace ri {

extern const Architecture mistral3;
const Architecture mistral3 = [] {
    Architecture a;
    a.name = "mistral3";
    a.yarn = true;
    a.keys = {"attention.temperature_scale", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
              "rope.scaling.yarn_log_multiplier"};
    a.read = [](const Gguf &gguf, LlmShape &shape) {
        auto read = [&](const char *key, double otherwise) {
            const double value = gguf.number(std::string("mistral3.") + key).value_or(otherwise);
            if (!(value >= 0) || !std::isfinite(value))
                fail(RI_FILE, "%s: mistral3.%s is %g, not a number from 0 on", gguf.path().c_str(), key, value);
            return float(value);
        };
        shape.yarn.beta_fast = read("rope.scaling.yarn_beta_fast", shape.yarn.beta_fast);
        shape.yarn.beta_slow = read("rope.scaling.yarn_beta_slow", shape.yarn.beta_slow);
        const float multiplier = read("rope.scaling.yarn_log_multiplier", 0);
        if (shape.yarn.n_context) // of the logarithm that queries and keys are multiplied by
            shape.rope_attention_factor /= 1 - multiplier * 0.1f * std::log(shape.layers.front().rope_frequency_scale);
        if (read("attention.temperature_scale", 0) > 0)
            shape.n_context =
                std::min(shape.n_context,
                         gguf.integer("mistral3.rope.scaling.original_context_length").value_or(shape.n_context));
    };
    return a;
}();

} // namespace ri
