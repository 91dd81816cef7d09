// What the kernels that need AVX512 with its BF16 extension have in common.
#pragma once

#if defined(__x86_64__)
#include <cstddef>
#include <immintrin.h>
#include <vector>

// GCC 12 takes the deliberately undefined vectors inside its own intrinsics for a mistake (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

// Functions, not files, are compiled for AVX512: the rest of the library must run anywhere.
#define RI_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")))
#define RI_INLINE RI_AVX512 inline __attribute__((always_inline))

namespace ri::kernels {

// Per-thread memory of one caller that is reused from call to call.
inline float *scratch(size_t n) {
    static thread_local std::vector<float> memory;
    if (memory.size() < n) memory.resize(n);
    return memory.data();
}

// e^x, relative error below 2e-7: 2^n by scalef, 2^f on [-1/2, 1/2] by its Taylor series.
RI_INLINE __m512 exp16(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-104.0f), x); // in this order a NaN stays one
    const __m512 t = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
    const __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

} // namespace ri::kernels
#endif
