#include "peak.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the deliberately undefined vectors inside its own intrinsics for a mistake (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace ri::kernels {

namespace {

// Only unrolled loops keep each chain in a register.
#define RI_UNROLL _Pragma("GCC unroll 32")

// `chains` vectors, each of which becomes `step` of itself, x, and the factor a. Each chain starts with another number,
// so that no compiler merges two, and converges. A macro and not a template: GCC 12 lowers a template's vectors before
// it inlines the template into a function that has the instructions.
#define RI_MULTIPLY_ADDS(name, target, Vector, chains, factor, step)                                                   \
    target float name(int64_t rounds) {                                                                                \
        const auto a = factor;                                                                                         \
        Vector chain[chains];                                                                                          \
        RI_UNROLL for (int i = 0; i < chains; ++i) chain[i] = Vector{} + float(i);                                     \
        for (int64_t round = 0; round < rounds; ++round) {                                                             \
            RI_UNROLL for (int i = 0; i < chains; ++i) {                                                               \
                Vector &x = chain[i];                                                                                  \
                x = step;                                                                                              \
            }                                                                                                          \
        }                                                                                                              \
        Vector sum = Vector{};                                                                                         \
        RI_UNROLL for (int i = 0; i < chains; ++i) sum += chain[i];                                                    \
        return sum[0];                                                                                                 \
    }

// As many chains as fit: of 16 registers the generic loop needs one for a product, of 32 fewer are enough.
#if defined(__x86_64__)
RI_MULTIPLY_ADDS(sse2, , __m128, 12, _mm_set1_ps(0.5f), _mm_add_ps(_mm_mul_ps(x, a), a))
RI_MULTIPLY_ADDS(avx2, __attribute__((target("avx2,fma"))), __m256, 12, _mm256_set1_ps(0.5f), _mm256_fmadd_ps(x, a, a))
RI_MULTIPLY_ADDS(avx512, __attribute__((target("avx512f"))), __m512, 24, _mm512_set1_ps(0.5f), _mm512_fmadd_ps(x, a, a))
RI_MULTIPLY_ADDS(avx512bf16, __attribute__((target("avx512f,avx512bf16"))), __m512, 24,
                 (__m512bh)_mm512_set1_epi16(0x3f80), _mm512_dpbf16_ps(x, a, a)) // 1 in bfloat16
#elif defined(__aarch64__)
RI_MULTIPLY_ADDS(neon, , float32x4_t, 24, vdupq_n_f32(0.5f), vfmaq_f32(x, a, a))
#endif

} // namespace

MultiplyAdds float32_multiply_adds() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return {avx512, 2.0 * 16 * 24};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {avx2, 2.0 * 8 * 12};
    return {sse2, 2.0 * 4 * 12};
#elif defined(__aarch64__)
    return {neon, 2.0 * 4 * 24};
#else
    return {nullptr, 0};
#endif
}

MultiplyAdds bfloat16_multiply_adds() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bf16")) return {avx512bf16, 4.0 * 16 * 24};
#endif
    return {nullptr, 0};
}

} // namespace ri::kernels
