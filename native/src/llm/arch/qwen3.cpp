// Qwen3, dense (Yang et al. 2025, arXiv 2505.09388): a LLaMA that normalises the heads of queries
// and keys.
#include "architecture.h"

namespace ri {

extern const Architecture qwen3;
const Architecture qwen3 = [] {
    Architecture a;
    a.name = "qwen3";
    a.yarn = true;
    a.rope_pairs = RopePairs::halves;
    a.head_norms = true;
    return a;
}();

} // namespace ri
