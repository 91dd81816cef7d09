// Vectors of floats as wide as the instruction set's registers, and functions of them. Compilers
// turn the operators of their vector extension into instructions of whatever set a file is compiled
// for; what has no operator is below.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the deliberately undefined vectors inside its own intrinsics for a mistake (GCC bug
// 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#define RI_INLINE static inline __attribute__((always_inline))

namespace ri::kernels::RI_SET {

#if defined(__AVX512F__)
constexpr int64_t lanes = 16, registers = 32;
#elif defined(__AVX2__)
constexpr int64_t lanes = 8, registers = 16;
#elif defined(__aarch64__)
constexpr int64_t lanes = 4, registers = 32;
#else
constexpr int64_t lanes = 4, registers = 16;
#endif

typedef float Vector __attribute__((vector_size(4 * lanes)));
typedef uint32_t Words __attribute__((vector_size(4 * lanes)));

// ---- memory

RI_INLINE Vector load(const float *p) {
    Vector v;
    memcpy(&v, p, sizeof v);
    return v;
}
RI_INLINE void store(float *p, Vector v) { memcpy(p, &v, sizeof v); }

// The first n numbers, 0 < n < lanes; the others are `rest`, or stay as they are.
RI_INLINE Vector load(const float *p, int64_t n, float rest = 0) {
#if defined(__AVX512F__)
    return (Vector)_mm512_mask_loadu_ps(_mm512_set1_ps(rest), __mmask16((1u << n) - 1), p);
#else
    float all[lanes];
    for (int64_t i = 0; i < lanes; ++i) all[i] = i < n ? p[i] : rest;
    return load(all);
#endif
}
RI_INLINE void store(float *p, Vector v, int64_t n) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), (__m512)v);
#else
    for (int64_t i = 0; i < n; ++i) p[i] = v[i];
#endif
}

// Numbers in half precision, `lanes` of them.
RI_INLINE Vector load_half(const void *p) {
#if defined(__AVX512F__)
    return (Vector)_mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i *>(p)));
#elif defined(__AVX2__)
    return (Vector)_mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i *>(p)));
#elif defined(__aarch64__)
    return (Vector)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(static_cast<const uint16_t *>(p))));
#else
    uint16_t half[lanes];
    memcpy(half, p, sizeof half);
    Words bits;
    for (int64_t i = 0; i < lanes; ++i) bits[i] = half[i];
    // The exponent moves to its place and is scaled by 2^112, which makes numbers of subnormal
    // ones, too; infinity and NaN keep all ones.
    const Words sign = (bits & 0x8000) << 16, magnitude = (bits & 0x7fff) << 13;
    Vector scaled = (Vector)magnitude * 0x1p112f;
    const Words special = (Words)((bits & 0x7c00) == 0x7c00);
    return (Vector)(((Words)scaled & ~special) | ((magnitude | 0x7f800000u) & special) | sign);
#endif
}

// Whole numbers of 8 bits, `lanes` of them.
RI_INLINE Vector load_whole(const int8_t *p) {
#if defined(__AVX512F__)
    return (Vector)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))));
#elif defined(__AVX2__)
    return (Vector)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p))));
#else
    typedef int8_t Bytes __attribute__((vector_size(lanes)));
    Bytes bytes;
    memcpy(&bytes, p, sizeof bytes);
    return __builtin_convertvector(bytes, Vector);
#endif
}

// ---- functions, of one float or of a vector of them

template <typename T> RI_INLINE T all(float x) { return x - T{}; } // x + 0 would not be x for -0, and costs a sum
RI_INLINE float nearest(float x) { return __builtin_rintf(x); }
// For |x| < 2^22.
RI_INLINE Vector nearest(Vector x) { return (x + 0x1.8p23f) - 0x1.8p23f; }
// For whole n from -127 to 127: 127 + n lies in the lowest bits of 2^23 + 127 + n. Of -127 it is
// zero.
RI_INLINE float power_of_two(float n) {
    const float sum = n + (0x1p23f + 127.0f);
    uint32_t bits;
    memcpy(&bits, &sum, sizeof bits);
    bits <<= 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return power;
}
RI_INLINE Vector power_of_two(Vector n) { return (Vector)((Words)(n + (0x1p23f + 127.0f)) << 23); }

// e^x, relative error below 2e-7: 2^n by its exponent, 2^f on [-1/2, 1/2] by a Taylor series in f
// ln 2. Where that is no normal number, below -87.7, it is zero; above 88 it stays as it is there;
// NaN stays NaN.
template <typename T> RI_INLINE T exponential(T x) {
    x = x < all<T>(-88.0f) ? all<T>(-88.0f) : x; // in this order NaN passes
    x = x > all<T>(88.0f) ? all<T>(88.0f) : x;
    const T n = nearest(x * 1.44269504f);
    const T r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    T p = all<T>(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * power_of_two(n);
}

template <typename T> RI_INLINE T sigmoid(T x) { return 1.0f / (1.0f + exponential(-x)); }
template <typename T> RI_INLINE T tangent(T x) { return 1.0f - 2.0f / (1.0f + exponential(2.0f * x)); }

// erf on [-1, 1] by a polynomial in x^2, beyond by 1 - e^(-x q(x)); least-squares fits of ours,
// relative error 2e-8 before rounding.
RI_INLINE float error_function(float x) {
    const float a = __builtin_fabsf(x), s = x * x;
    float p = 7.8538577e-5f;
    p = p * s - 8.0101926e-4f;
    p = p * s + 5.1883276e-3f;
    p = p * s - 2.6853812e-2f;
    p = p * s + 1.12835851e-1f;
    p = p * s - 3.76126258e-1f;
    p = p * s + 1.12837917f;
    const float near = p * x;
    const float b = a > 4.0f ? 4.0f : a;
    float q = -3.5083954e-7f;
    q = q * b + 6.0030964e-6f;
    q = q * b - 2.5861656e-5f;
    q = q * b - 2.13445965e-4f;
    q = q * b + 3.48670999e-3f;
    q = q * b - 2.36954365e-2f;
    q = q * b + 1.06320925e-1f;
    q = q * b + 6.35042994e-1f;
    q = q * b + 1.12868395f;
    const float far = 1.0f - exponential(-b * q);
    return a <= 1.0f ? near : (x < 0 ? -far : far);
}

// ---- across lanes

// Of two vectors cut into blocks of `distance`: the even blocks of a with those of b between them,
// or the odd ones.
template <int distance, bool odd, int... I>
RI_INLINE Vector interleave(Vector a, Vector b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, ((I & distance ? int(lanes) + (I ^ distance) : I) + (odd ? distance : 0))...);
}
using EachLane = std::make_integer_sequence<int, int(lanes)>;

template <int distance> RI_INLINE void exchange(Vector v[lanes]) {
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) {
        if (i & distance) continue;
        const Vector a = v[i], b = v[i + distance];
        v[i] = interleave<distance, false>(a, b, EachLane{});
        v[i + distance] = interleave<distance, true>(a, b, EachLane{});
    }
}

// Rows become columns, in steps that exchange ever smaller blocks.
RI_INLINE void transpose(Vector v[lanes]) {
    if constexpr (lanes > 8) exchange<8>(v);
    if constexpr (lanes > 4) exchange<4>(v);
    exchange<2>(v);
    exchange<1>(v);
}

// Neighbours change places.
template <int... I> RI_INLINE Vector swap_pairs(Vector v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, v, (I ^ 1)...);
}
RI_INLINE Vector swap_pairs(Vector v) { return swap_pairs(v, EachLane{}); }

RI_INLINE float sum(Vector v) {
#pragma GCC unroll 4
    for (int64_t half = lanes / 2; half > 0; half /= 2)
        for (int64_t i = 0; i < half; ++i) v[i] += v[i + half];
    return v[0];
}
RI_INLINE Vector greater(Vector a, Vector b) { return a > b ? a : b; }
RI_INLINE float greatest(Vector v) {
    float most = v[0];
    for (int64_t i = 1; i < lanes; ++i) most = v[i] > most ? v[i] : most;
    return most;
}

} // namespace ri::kernels::RI_SET
