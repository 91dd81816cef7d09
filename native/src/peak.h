// The fastest that a CPU multiplies and adds: loops over registers that touch no memory.
#pragma once

#include <cstdint>

namespace ri::kernels {

// A loop of independent chains of multiply-adds, enough of them to hide each other's latency.
struct MultiplyAdds {
    float (*run)(
        int64_t rounds); // returns what the chains add up to, so that no compiler drops them; null: no such loop
    double flop;         // of one round
};

// The loops of the widest instructions that this processor has: in float32 (x86-64 and Arm), and of bfloat16 factors
// summed in float32, where the processor has an instruction for that.
MultiplyAdds float32_multiply_adds();
MultiplyAdds bfloat16_multiply_adds();

} // namespace ri::kernels
