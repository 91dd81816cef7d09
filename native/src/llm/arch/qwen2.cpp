// Qwen2 and Qwen2.5 (Yang et al. 2024, arXiv 2407.10671): a LLaMA whose queries, keys and values
// have biases.
#include "architecture.h"

namespace ri {

extern const Architecture qwen2;
const Architecture qwen2 = [] {
    Architecture a;
    a.name = "qwen2";
    a.yarn = true;
    a.rope_pairs = RopePairs::halves;
    a.qkv_biases = true;
    a.square_attention = true;
    return a;
}();

} // namespace ri
