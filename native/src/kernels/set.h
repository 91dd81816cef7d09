// What the files of a kernel set begin with. They are compiled once for each set, with the
// compiler's flags for its instructions and with RI_SET, the set's name, which is also its
// namespace. No inline function of a shared namespace or of the standard library may be used here
// (shapes.h says why; a test looks at the symbols).
#pragma once

#include "shapes.h"
#include "vector.h"

#ifndef RI_SET
#error "the files in this folder are compiled by kernels.cmake, once for each kernel set"
#endif

namespace ri::kernels {

// At least n numbers of this thread's memory, at a multiple of 64 bytes; the next call of the same
// thread may hand out the same.
float *scratch(size_t n);

namespace RI_SET {

#define RI_KERNEL(result, kernel, ...) result kernel(__VA_ARGS__);
#include "kernels.def"
#undef RI_KERNEL

RI_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
RI_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
RI_INLINE void fill(float *x, int64_t n, float value) {
    for (int64_t i = 0; i < n; ++i) x[i] = value;
}
RI_INLINE void copy(const float *from, int64_t n, float *to) { memcpy(to, from, size_t(n) * sizeof(float)); }

// The part [first, last) of n things that belongs to thread ith of nth. Where the things are
// numbers of one vector loop, whose rest is rounded otherwise than what goes through in vectors,
// shares are made of whole vectors, so that only the last one has such a rest.
struct Share {
    int64_t first, last;
};
RI_INLINE Share share_of(int64_t n, int ith, int nth, int64_t unit = 1) {
    const int64_t units = (n + unit - 1) / unit;
    return {least(n, unit * (units * ith / nth)), least(n, unit * (units * (ith + 1) / nth))};
}
constexpr int64_t whole_vectors = 64; // numbers

// The part of a product [m, n] that a thread computes: whole panels of columns of a wide one, else
// rows.
struct Block {
    int64_t first_row, rows, first_column, columns;
};
Block share_of_product(int64_t m, int64_t n, int ith, int nth);
// A product on one thread. Sums run in an order that depends on whether the rows are few: where
// they are a share, of_all says of how many.
void gemm(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float *c, int64_t c_row, bool accumulate,
          int64_t of_all);
// dst [columns, rows] from src [rows, columns].
void transpose(int64_t rows, int64_t columns, const float *src, float *dst);
void add_bias(float *y, const float *bias, int64_t rows, int64_t n, int64_t stride);

// Outputs of one panel of a packed matrix: with the rows beside it a tile that fills the registers.
constexpr int64_t panel_vectors = registers == 32 ? 3 : 2;
constexpr int64_t panel = panel_vectors * lanes;
constexpr int tile_rows = registers == 32 ? 8 : 6;

} // namespace RI_SET
} // namespace ri::kernels
