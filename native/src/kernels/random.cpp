// Random numbers from a counter (../random.h).
#include "../random.h"

#include "set.h"

#include <math.h>

namespace ri::kernels::RI_SET {

void dropout_mask(uint64_t stream, float probability, int64_t n, float *mask, int ith, int nth) {
    const Share part = share_of(n, ith, nth, whole_vectors);
    const float kept = 1.0f / (1.0f - probability);
    const int32_t limit = int32_t(probability * 0x1p24f);
#pragma omp simd
    for (int64_t i = part.first; i < part.last; ++i)
        mask[i] = int32_t(mix(stream + uint64_t(i)) >> 40) < limit ? 0.0f : kept;
}

namespace {

constexpr int64_t deviates = 64; // in a block

// Block `block` of a stream. Box and Muller 1958: two deviates from two numbers. ln by the exponent
// and a series, sin and cos of a turn by its nearest quarter and a polynomial; fits of ours,
// relative error below 1e-7.
RI_INLINE void normal_block(uint64_t stream, int64_t block, float *dst) {
    constexpr int64_t pairs = deviates / 2;
    int32_t first[pairs], second[pairs]; // 24 bits each
#pragma omp simd
    for (int64_t i = 0; i < pairs; ++i) {
        const uint64_t bits = mix(stream + uint64_t(block * pairs + i));
        first[i] = int32_t(bits >> 40);
        second[i] = int32_t(uint32_t(bits) >> 8);
    }
#pragma omp simd
    for (int64_t i = 0; i < pairs; ++i) {
        const float u = float(first[i] + 1) * 0x1p-24f; // (0, 1]
        const float turn = float(second[i]) * 0x1p-24f;

        int32_t pattern;
        memcpy(&pattern, &u, sizeof pattern);
        int32_t exponent = (pattern >> 23) - 127;
        pattern = (pattern & 0x7fffff) | 0x3f800000;
        float mantissa;
        memcpy(&mantissa, &pattern, sizeof mantissa);
        const bool above = mantissa > 1.41421356f;
        mantissa = above ? 0.5f * mantissa : mantissa;
        exponent = above ? exponent + 1 : exponent;
        const float f = mantissa - 1.0f;
        float l = 7.03572043e-2f;
        l = l * f - 1.15140382e-1f;
        l = l * f + 1.16773980e-1f;
        l = l * f - 1.24202343e-1f;
        l = l * f + 1.42492961e-1f;
        l = l * f - 1.66680534e-1f;
        l = l * f + 2.00007154e-1f;
        l = l * f - 2.49999940e-1f;
        l = l * f + 3.33333312e-1f;
        const float logarithm = float(exponent) * 0.693147181f + (f - 0.5f * f * f + f * f * f * l);
        const float square = -2.0f * logarithm;
        const float radius = sqrtf(square < 0.0f ? 0.0f : square);

        const float quarter = __builtin_rintf(4.0f * turn);
        const float r = turn - 0.25f * quarter, s = r * r;
        const float sine = r * (6.28318529f + s * (-41.3416615f + s * (81.5923536f + s * -75.3935627f)));
        const float cosine = 0.99999997f + s * (-19.7391466f + s * (64.9203063f + s * -83.5525907f));
        const int32_t q = int32_t(quarter);
        const float across = q & 1 ? sine : cosine, up = q & 1 ? cosine : sine;
        dst[i] = (q + 1) & 2 ? -radius * across : radius * across;
        dst[pairs + i] = q & 2 ? -radius * up : radius * up;
    }
}

} // namespace

void normal(uint64_t stream, int64_t n, float *dst, int ith, int nth) {
    const Share part = share_of((n + deviates - 1) / deviates, ith, nth);
    for (int64_t block = part.first; block < part.last; ++block) {
        const int64_t count = least(deviates, n - block * deviates);
        float whole[deviates], *out = count == deviates ? dst + block * deviates : whole;
        normal_block(stream, block, out);
        if (out == whole) memcpy(dst + block * deviates, whole, size_t(count) * sizeof(float));
    }
}

} // namespace ri::kernels::RI_SET
