// Plain loops compiled for several instruction sets at once; the loader picks the one that the processor has. Unlike
// kernels.cpp, which needs AVX512-BF16, what is built with this runs anywhere.
#pragma once

#include <algorithm>
#include <cstdint>

#if defined(__x86_64__) && defined(__ELF__) && defined(__GNUC__) && !defined(__clang__)
#define RI_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define RI_SIMD
#endif
// For what RI_SIMD functions call: it becomes part of them, and is compiled as they are.
#define RI_SIMD_INLINE inline __attribute__((always_inline))

namespace ri {

// The part [first, last) of n things that belongs to thread ith of nth. Where the things are numbers of one vector
// loop, whose rest is rounded otherwise than what goes through in vectors, shares are made of whole vectors, so that
// only the last one has such a rest.
struct Share {
    int64_t first, last;
    Share(int64_t n, int ith, int nth, int64_t unit = 1) {
        const int64_t units = (n + unit - 1) / unit;
        first = std::min(n, unit * (units * ith / nth));
        last = std::min(n, unit * (units * (ith + 1) / nth));
    }
};
constexpr int64_t whole_vectors = 64; // numbers

} // namespace ri
