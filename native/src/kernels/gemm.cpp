// Float32 matrix products for the small and narrow matrices of recommenders and of attention, in
// every orientation that forward and backward passes need, without transposing anything beforehand.
#include "set.h"

namespace ri::kernels::RI_SET {

namespace {

constexpr int64_t few = 8;     // rows of a for which b is better read where it lies
constexpr int64_t depth = 128; // rows of b that are packed at a time: a panel stays in the first cache level
constexpr int64_t widest = registers == 32 ? 4 : 2; // vectors of a tile of 6 rows: its sums fill the registers

// A tile of c, R rows and V vectors wide, held in registers while k runs. Only `width` of its
// numbers exist in memory. A function of its own: inside a larger one the compiler keeps constants
// in registers that the sums need.
template <int R, int V>
__attribute__((noinline)) void tile(int64_t k, const float *a, int64_t a_row, int64_t a_column, const float *b,
                                    int64_t b_row, float *c, int64_t c_row, bool accumulate, int64_t width) {
    Vector sum[R][V] = {};
    for (int64_t i = 0; i < k; ++i) {
        Vector y[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) y[v] = load(b + i * b_row + v * lanes);
#pragma GCC unroll 12
        for (int r = 0; r < R; ++r) {
            const Vector x = all<Vector>(a[r * a_row + i * a_column]);
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) sum[r][v] += x * y[v];
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
            float *out = c + r * c_row + v * lanes;
            const int64_t left = width - v * lanes;
            if (left >= lanes)
                store(out, accumulate ? load(out) + sum[r][v] : sum[r][v]);
            else if (left > 0)
                store(out, accumulate ? load(out, left) + sum[r][v] : sum[r][v], left);
        }
}

// Columns [0, V * lanes) of b, `k` rows of it, side by side; zero beyond `width`.
template <int V> RI_INLINE void pack(MatrixView b, int64_t k, int64_t width, float *panel) {
    constexpr int64_t n = V * lanes;
    if (b.column == 1) {
        for (int64_t i = 0; i < k; ++i) {
            const float *row = b.data + i * b.row;
            if (width == n)
                memcpy(panel + i * n, row, n * sizeof(float));
            else
                for (int64_t j = 0; j < n; ++j) panel[i * n + j] = j < width ? row[j] : 0.0f;
        }
        return;
    }
    for (int64_t j = 0; j < n; j += lanes) {
        int64_t i = 0;
        for (; b.row == 1 && i + lanes <= k; i += lanes) {
            Vector block[lanes];
#pragma GCC unroll 16
            for (int64_t l = 0; l < lanes; ++l)
                block[l] = j + l < width ? load(b.data + (j + l) * b.column + i) : Vector{};
            transpose(block);
#pragma GCC unroll 16
            for (int64_t l = 0; l < lanes; ++l) store(panel + (i + l) * n + j, block[l]);
        }
        for (; i < k; ++i)
            for (int64_t l = j; l < j + lanes; ++l)
                panel[i * n + l] = l < width ? b.data[i * b.row + l * b.column] : 0.0f;
    }
}

template <int V>
void product(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float *c, int64_t c_row, bool accumulate) {
    alignas(64) float panel[depth * V * lanes];
    for (int64_t j = 0; j < n; j += V * lanes) {
        const int64_t width = least(n - j, V * lanes);
        for (int64_t p = 0; p < k; p += depth) {
            const int64_t part = least(k - p, depth);
            const float *block = b.data + p * b.row + j * b.column;
            int64_t block_row = b.row;
            const bool packed = b.column == 1 && width == V * lanes && (m <= few || b.row == width);
            if (!packed) {
                pack<V>({block, b.row, b.column}, part, width, panel);
                block = panel;
                block_row = V * lanes;
            }
            const bool add = accumulate || p > 0;
            int64_t i = 0;
#define RI_TILE(R)                                                                                                     \
    tile<R, V>(part, a.data + i * a.row + p * a.column, a.row, a.column, block, block_row, c + i * c_row + j, c_row,   \
               add, width)
            if constexpr (V == 1) // six sums would wait for each other
                for (; i + 12 <= m; i += 12) RI_TILE(12);
            for (; i < m; i += 6) {
                switch (least(m - i, 6)) {
                case 6: RI_TILE(6); break;
                case 5: RI_TILE(5); break;
                case 4: RI_TILE(4); break;
                case 3: RI_TILE(3); break;
                case 2: RI_TILE(2); break;
                default: RI_TILE(1); break;
                }
#undef RI_TILE
            }
        }
    }
}

// The same for so few rows that packing b would cost more than it saves, where b is a transposed
// row-major matrix (b.row == 1): dot products of rows, as many at a time as a vector has lanes.
void dots(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float *c, int64_t c_row, bool accumulate) {
    for (int64_t j = 0; j < n; j += lanes) {
        const int64_t count = least(lanes, n - j);
        for (int64_t i = 0; i < m; ++i) {
            const float *x = a.data + i * a.row, *y = b.data + j * b.column;
            Vector sums[lanes];
#pragma GCC unroll 16
            for (int64_t l = 0; l < lanes; ++l) {
                sums[l] = Vector{};
                const float *row = y + least(l, count - 1) * b.column;
                for (int64_t p = 0; p + lanes <= k; p += lanes) sums[l] += load(x + p) * load(row + p);
            }
            transpose(sums);
#pragma GCC unroll 16
            for (int64_t l = 1; l < lanes; ++l) sums[0] += sums[l];
            float *out = c + i * c_row + j;
            for (int64_t l = 0; l < count; ++l) {
                float sum = sums[0][l];
                for (int64_t p = k / lanes * lanes; p < k; ++p) sum += x[p] * y[l * b.column + p];
                out[l] = (accumulate ? out[l] : 0.0f) + sum;
            }
        }
    }
}

} // namespace

void gemm(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float *c, int64_t c_row, bool accumulate,
          int64_t of_all) {
    if (of_all <= few && b.row == 1 && a.column == 1) return dots(m, n, k, a, b, c, c_row, accumulate);
    // Panels as wide as a tile may be, and what is left over in one of as few vectors as hold it.
    constexpr int64_t wide = widest * lanes;
    const int64_t rest = n % wide, whole = rest > wide / 2 ? n : n - rest;
    product<int(widest)>(m, whole, k, a, b, c, c_row, accumulate);
    const MatrixView last = {b.data + whole * b.column, b.row, b.column};
    if (widest > 2 && n - whole > lanes)
        product<2>(m, n - whole, k, a, last, c + whole, c_row, accumulate);
    else
        product<1>(m, n - whole, k, a, last, c + whole, c_row, accumulate);
}

Block share_of_product(int64_t m, int64_t n, int ith, int nth) {
    constexpr int64_t unit = 64; // columns: whole panels of every set
    if (n >= 4 * unit && n > m) {
        const Share part = share_of((n + unit - 1) / unit, ith, nth);
        const int64_t first = part.first * unit;
        return {0, m, first, most(0, least(part.last * unit, n) - first)};
    }
    const Share rows = share_of(m, ith, nth);
    return {rows.first, rows.last - rows.first, 0, n};
}

void gemm(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float *c, int64_t c_row, bool accumulate,
          int ith, int nth) {
    const Block part = share_of_product(m, n, ith, nth);
    if (part.rows == 0 || part.columns == 0) return;
    gemm(part.rows, part.columns, k, {a.data + part.first_row * a.row, a.row, a.column},
         {b.data + part.first_column * b.column, b.row, b.column}, c + part.first_row * c_row + part.first_column,
         c_row, accumulate, m);
}

void transpose(int64_t rows, int64_t columns, const float *src, float *dst) {
    int64_t i = 0;
    for (; i + lanes <= columns; i += lanes) {
        int64_t j = 0;
        for (; j + lanes <= rows; j += lanes) {
            Vector block[lanes];
#pragma GCC unroll 16
            for (int64_t l = 0; l < lanes; ++l) block[l] = load(src + (j + l) * columns + i);
            transpose(block);
#pragma GCC unroll 16
            for (int64_t l = 0; l < lanes; ++l) store(dst + (i + l) * rows + j, block[l]);
        }
        for (; j < rows; ++j)
            for (int64_t l = 0; l < lanes; ++l) dst[(i + l) * rows + j] = src[j * columns + i + l];
    }
    for (; i < columns; ++i)
        for (int64_t j = 0; j < rows; ++j) dst[i * rows + j] = src[j * columns + i];
}

void add_bias(float *y, const float *bias, int64_t rows, int64_t n, int64_t stride) {
    for (int64_t r = 0; r < rows; ++r)
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[r * stride + i] += bias[i];
}

void linear(const float *x, const float *w, const float *bias, int64_t rows, int64_t in, int64_t out, float *y, int ith,
            int nth) {
    gemm(rows, out, in, {x, in, 1}, {w, 1, in}, y, out, false, ith, nth);
    if (!bias) return;
    const Block part = share_of_product(rows, out, ith, nth);
    add_bias(y + part.first_row * out + part.first_column, bias + part.first_column, part.rows, part.columns, out);
}

void linear_back_input(const float *dy, const float *w, int64_t rows, int64_t in, int64_t out, float *dx, int ith,
                       int nth) {
    gemm(rows, in, out, {dy, out, 1}, {w, in, 1}, dx, in, false, ith, nth);
}

void linear_back_weight(const float *dy, const float *x, int64_t rows, int64_t in, int64_t out, float *dw, int ith,
                        int nth) {
    gemm(out, in, rows, {dy, 1, out}, {x, in, 1}, dw, in, false, ith, nth);
}

} // namespace ri::kernels::RI_SET
