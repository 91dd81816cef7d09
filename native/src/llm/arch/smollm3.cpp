// SmolLM3: a LLaMA that does not rotate queries and keys in every fourth layer (Yang et al. 2025,
// arXiv 2501.18795).
#include "llm/shape.h"

namespace ri {

extern const Architecture smollm3;
const Architecture smollm3 = [] {
    Architecture a;
    a.name = "smollm3";
    a.read = [](const Gguf &, LlmShape &shape) {
        for (size_t layer = 3; layer < shape.layers.size(); layer += 4) shape.layers[layer].rotates = false;
    };
    return a;
}();

} // namespace ri
