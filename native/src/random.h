// Random numbers from a counter: number i of a stream is a function of both, so that there is no
// state to keep and the work may be split in any way. Kernel sets make vectors of them
// (kernels/random.cpp).
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
