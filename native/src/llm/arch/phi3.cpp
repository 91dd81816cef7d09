// Phi-3 (Abdin et al. 2024, arXiv 2404.14219), Phi-3.5 mini and Phi-4: a LLaMA whose projections
// are fused. Of LongRoPE (Ding et al. 2024, arXiv 2402.13753) the factors for short contexts are
// used, and longer ones are refused.
#include "llm/shape.h"

#include <algorithm>
#include <cmath>

namespace ri {

extern const Architecture phi3;
const Architecture phi3 = [] {
    Architecture a;
    a.name = "phi3";
    a.rope_pairs = RopePairs::halves;
    a.square_attention = a.fused_qkv = a.fused_gate_up = a.long_rope = true;
    // llama.cpp does not use the window.
    a.keys = {"attention.sliding_window", "rope.scaling.attn_factor"};
    a.read = [](const Gguf &gguf, LlmShape &shape) {
        shape.rope_attention_factor = float(gguf.number("phi3.rope.scaling.attn_factor").value_or(1));
        if (!(shape.rope_attention_factor > 0) || !std::isfinite(shape.rope_attention_factor))
            fail(RI_FILE, "%s: phi3.rope.scaling.attn_factor is %g, not a positive number", gguf.path().c_str(),
                 double(shape.rope_attention_factor));
        if (!gguf.has("rope_factors_long.weight")) return;
        shape.rope_factors = "rope_factors_short.weight";
        shape.rope_factors_unused = "rope_factors_long.weight";
        shape.n_context = std::min(shape.n_context,
                                   gguf.integer("phi3.rope.scaling.original_context_length").value_or(shape.n_context));
    };
    return a;
}();

} // namespace ri
