// The fastest that a CPU multiplies and adds: loops over registers that touch no memory.
#include "set.h"

namespace ri::kernels::RI_SET {

namespace {

// As many independent chains as hide each other's latency and fit the registers.
constexpr int64_t chains = registers == 32 ? 24 : 12;

// Each chain starts with another number, so that no compiler merges two.
template <typename Step> RI_INLINE float run(int64_t rounds, Step step) {
    Vector chain[chains];
#pragma GCC unroll 24
    for (int64_t i = 0; i < chains; ++i) chain[i] = all<Vector>(float(i));
    for (int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 24
        for (int64_t i = 0; i < chains; ++i) chain[i] = step(chain[i]);
    Vector total{};
#pragma GCC unroll 24
    for (int64_t i = 0; i < chains; ++i) total += chain[i];
    return sum(total);
}

} // namespace

double multiply_adds(Weights factors, int64_t rounds, float *result) {
    const double each = 2.0 * double(lanes * chains) * double(rounds);
#if defined(__AVX512BF16__)
    if (factors == Weights::bf16) {
        const __m512bh one = (__m512bh)_mm512_set1_epi16(0x3f80);
        *result = run(rounds, [&](Vector x) { return (Vector)_mm512_dpbf16_ps((__m512)x, one, one); });
        return 2 * each;
    }
#else
    (void)factors;
#endif
    const Vector half = all<Vector>(0.5f);
    *result = run(rounds, [&](Vector x) { return x * half + half; });
    return each;
}

} // namespace ri::kernels::RI_SET
