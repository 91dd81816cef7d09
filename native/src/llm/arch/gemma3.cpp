// Gemma 3, text (Gemma Team 2025, arXiv 2503.19786): scaled tokens, GeGLU, norms before and after
// each block and of the heads of queries and keys, and a sliding window with a RoPE base of its own
// in most layers.
#include "llm/shape.h"

#include <cmath>

namespace ri {

extern const Architecture gemma3;
const Architecture gemma3 = [] {
    Architecture a;
    a.name = "gemma3";
    a.rope_pairs = RopePairs::halves;
    a.activation = Activation::gelu_tanh;
    a.head_norms = a.post_norms = a.scales_tokens = true;
    a.keys = {"attention.sliding_window", "attention.sliding_window_pattern", "rope.freq_base_swa"};
    a.read = [](const Gguf &gguf, LlmShape &shape) {
        const char *path = gguf.path().c_str();
        if (shape.n_layer == 62) // llama.cpp tells the 27B model, whose scores have another scale, by its layers
            shape.attention_scale = 1 / std::sqrt(float(shape.n_embd / shape.n_heads));
        const int64_t window = gguf.integer("gemma3.attention.sliding_window").value_or(0);
        const int64_t every = gguf.integer("gemma3.attention.sliding_window_pattern").value_or(6);
        const float base = float(gguf.number("gemma3.rope.freq_base_swa").value_or(10000));
        if (window < 0 || every < 1 || !(base > 0) || !std::isfinite(base))
            fail(RI_FILE,
                 "%s: a window of %lld positions in all but every %lld. layer, with RoPE base %g, is impossible", path,
                 static_cast<long long>(window), static_cast<long long>(every), double(base));
        for (int64_t i = 0; window > 0 && i < shape.n_layer; ++i)
            if (i % every < every - 1) { // linear scaling is for the other layers
                shape.layers[size_t(i)].window = window;
                shape.layers[size_t(i)].rope_base = base;
                shape.layers[size_t(i)].rope_frequency_scale = 1;
            }
    };
    return a;
}();

} // namespace ri
