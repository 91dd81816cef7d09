// Random numbers from a counter: number i of a stream is a function of both, so that there is no state to keep and the
// work may be split in any way.
#pragma once

#include <cstdint>

namespace ri {

// SplitMix64 (Steele, Lea and Flood 2014): a hash of seed and counter with good statistics.
inline __attribute__((always_inline)) uint64_t mix(uint64_t z) {
    z += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

} // namespace ri

namespace ri::kernels {

// Masks of dropout: 0 with the probability, else 1 / (1 - probability). The share of thread `ith` of `nth`, as below.
void dropout_mask(uint64_t stream, float probability, int64_t n, float *mask, int ith, int nth);
// Normal deviates, number i of the stream at dst[i].
void normal(uint64_t stream, int64_t n, float *dst, int ith, int nth);

} // namespace ri::kernels
