// LLaMA (Touvron et al. 2023, arXiv 2302.13971), Llama 2 and 3, Mistral 7B, SmolLM2, TinyLlama:
// RMSNorm, rotary grouped-query attention, SwiGLU.
#include "architecture.h"

namespace ri {

extern const Architecture llama;
const Architecture llama = [] {
    Architecture a;
    a.name = "llama";
    return a;
}();

} // namespace ri
