// Float32 matrix products on the CPU for the small and narrow matrices of recommenders, in every orientation that
// forward and backward passes need, without transposing anything beforehand.
#pragma once

#include <cstdint>

namespace ri {

// A matrix seen through strides, counted in floats: element (i, j) is data[i * row + j * column]. Rows may overlap, as
// the windows of a convolution do.
struct MatrixView {
    const float *data;
    int64_t row, column;
};

// Writes, or with `accumulate` adds to, the rows of c [m, n] (row-major, c_row floats apart): a [m, k] times b [k, n].
// Sums run in an order that depends on whether the rows are few: where they are a share, of_all says of how many.
void gemm(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float *c, int64_t c_row, bool accumulate,
          int64_t of_all);

// The part of a product [m, n] that thread ith of nth computes: whole panels of columns of a wide one, else rows.
struct Block {
    int64_t first_row, rows, first_column, columns;
};
Block share(int64_t m, int64_t n, int ith, int nth);

// Thread ith of nth's share of gemm.
void gemm(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float *c, int64_t c_row, bool accumulate,
          int ith, int nth);

// dst [columns, rows] from src [rows, columns].
void transpose(int64_t rows, int64_t columns, const float *src, float *dst);

} // namespace ri
