#include "gemm.h"

#include "simd.h"

#include <algorithm>
#include <cstring>

namespace ri {

namespace {

typedef float Vector __attribute__((vector_size(64)));
typedef int32_t Lanes __attribute__((vector_size(64)));
constexpr int64_t lanes = 16;
constexpr int64_t few = 8;     // rows of a for which b is better read where it lies
constexpr int64_t depth = 128; // rows of b that are packed at a time: a panel stays in the first cache level

// Vectors go in and out by reference: passed by value, their place would depend on the instruction set.
RI_SIMD_INLINE void load(Vector &v, const float *p) { memcpy(&v, p, sizeof v); }
RI_SIMD_INLINE void store(float *p, const Vector &v) { memcpy(p, &v, sizeof v); }

// Rows become columns, in four steps that exchange blocks of 8, 4, 2 and 1.
RI_SIMD_INLINE void transpose(Vector v[lanes]) {
    const Lanes low[4] = {{0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23},
                          {0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27},
                          {0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29},
                          {0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30}};
#pragma GCC unroll 4
    for (int step = 0; step < 4; ++step) {
        const int distance = 8 >> step;
        const Lanes high = low[step] + distance;
#pragma GCC unroll 16
        for (int i = 0; i < lanes; ++i) {
            if (i & distance) continue;
            const Vector a = v[i], b = v[i + distance];
            v[i] = __builtin_shuffle(a, b, low[step]);
            v[i + distance] = __builtin_shuffle(a, b, high);
        }
    }
}

// A tile of c, R rows and V vectors wide, held in registers while k runs. Only `width` of its numbers exist in memory.
template <int R, int V>
RI_SIMD_INLINE void tile(int64_t k, const float *a, int64_t a_row, int64_t a_column, const float *b, int64_t b_row,
                         float *c, int64_t c_row, bool accumulate, int64_t width) {
    Vector sum[R][V];
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) sum[r][v] = Vector{};
    for (int64_t i = 0; i < k; ++i) {
        Vector y[V];
        for (int v = 0; v < V; ++v) load(y[v], b + i * b_row + v * lanes);
        for (int r = 0; r < R; ++r) {
            const Vector x = a[r * a_row + i * a_column] - Vector{}; // in every lane
            for (int v = 0; v < V; ++v) sum[r][v] += x * y[v];
        }
    }
    for (int r = 0; r < R; ++r) {
        float *row = c + r * c_row;
        for (int v = 0; v < V; ++v) {
            const int64_t count = std::min<int64_t>(lanes, width - v * lanes);
            if (count == lanes) {
                Vector before{};
                if (accumulate) load(before, row + v * lanes);
                store(row + v * lanes, before + sum[r][v]);
            } else {
                for (int64_t j = 0; j < count; ++j)
                    row[v * lanes + j] = (accumulate ? row[v * lanes + j] : 0.0f) + sum[r][v][j];
            }
        }
    }
}

// Columns [0, V * lanes) of b, `k` rows of it, side by side; zero beyond `width`.
template <int V> RI_SIMD_INLINE void pack(MatrixView b, int64_t k, int64_t width, float *panel) {
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
                if (j + l < width)
                    load(block[l], b.data + (j + l) * b.column + i);
                else
                    block[l] = Vector{};
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
RI_SIMD_INLINE void product(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float *c, int64_t c_row,
                            bool accumulate) {
    alignas(64) float panel[depth * V * lanes];
    for (int64_t j = 0; j < n; j += V * lanes) {
        const int64_t width = std::min(n - j, V * lanes);
        for (int64_t p = 0; p < k; p += depth) {
            const int64_t part = std::min(k - p, depth);
            const float *block = b.data + p * b.row + j * b.column;
            int64_t block_row = b.row;
            const bool packed = b.column == 1 && width == V * lanes && (m <= few || b.row == width);
            if (!packed) {
                pack<V>({block, b.row, b.column}, part, width, panel);
                block = panel;
                block_row = V * lanes;
            }
            const bool add = accumulate || p > 0;
            for (int64_t i = 0; i < m;) {
                const float *rows = a.data + i * a.row + p * a.column;
                float *out = c + i * c_row + j;
                switch (std::min<int64_t>(m - i, 6)) {
                case 6:
                    tile<6, V>(part, rows, a.row, a.column, block, block_row, out, c_row, add, width), i += 6;
                    break;
                case 5:
                    tile<5, V>(part, rows, a.row, a.column, block, block_row, out, c_row, add, width), i += 5;
                    break;
                case 4:
                    tile<4, V>(part, rows, a.row, a.column, block, block_row, out, c_row, add, width), i += 4;
                    break;
                case 3:
                    tile<3, V>(part, rows, a.row, a.column, block, block_row, out, c_row, add, width), i += 3;
                    break;
                case 2:
                    tile<2, V>(part, rows, a.row, a.column, block, block_row, out, c_row, add, width), i += 2;
                    break;
                default:
                    tile<1, V>(part, rows, a.row, a.column, block, block_row, out, c_row, add, width), i += 1;
                    break;
                }
            }
        }
    }
}

// The same for so few rows that packing b would cost more than it saves, where b is a transposed row-major matrix
// (b.row == 1): dot products of rows, 16 at a time.
RI_SIMD void dots(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float *c, int64_t c_row,
                  bool accumulate) {
    for (int64_t j = 0; j < n; j += lanes) {
        const int64_t count = std::min(lanes, n - j);
        for (int64_t i = 0; i < m; ++i) {
            const float *x = a.data + i * a.row, *y = b.data + j * b.column;
            Vector sums[lanes];
#pragma GCC unroll 16
            for (int64_t l = 0; l < lanes; ++l) {
                sums[l] = Vector{};
                const float *row = y + std::min(l, count - 1) * b.column;
                for (int64_t p = 0; p + lanes <= k; p += lanes) {
                    Vector u, v;
                    load(u, x + p);
                    load(v, row + p);
                    sums[l] += u * v;
                }
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

// Panels of 4 vectors, and what is left over in one of as few as hold it.
RI_SIMD void wide(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float *c, int64_t c_row,
                  bool accumulate) {
    const int64_t rest = n % (4 * lanes), whole = rest > 2 * lanes ? n : n - rest;
    const MatrixView last = {b.data + whole * b.column, b.row, b.column};
    product<4>(m, whole, k, a, b, c, c_row, accumulate);
    if (n - whole > lanes)
        product<2>(m, n - whole, k, a, last, c + whole, c_row, accumulate);
    else
        product<1>(m, n - whole, k, a, last, c + whole, c_row, accumulate);
}

RI_SIMD void narrow(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float *c, int64_t c_row,
                    bool accumulate) {
    product<1>(m, n, k, a, b, c, c_row, accumulate);
}

bool has_32_registers() {
#if defined(__x86_64__)
    static const bool avx512 = __builtin_cpu_supports("avx512f");
    return avx512;
#else
    return true;
#endif
}

} // namespace

void gemm(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float *c, int64_t c_row, bool accumulate,
          int64_t of_all) {
    if (of_all <= few && b.row == 1 && a.column == 1)
        dots(m, n, k, a, b, c, c_row, accumulate);
    else if (has_32_registers() && n > lanes)
        wide(m, n, k, a, b, c, c_row, accumulate);
    else
        narrow(m, n, k, a, b, c, c_row, accumulate);
}

Block share(int64_t m, int64_t n, int ith, int nth) {
    constexpr int64_t panel = 4 * lanes;
    if (n >= 4 * panel && n > m) {
        const Share part((n + panel - 1) / panel, ith, nth);
        const int64_t first = part.first * panel;
        return {0, m, first, std::max<int64_t>(0, std::min(part.last * panel, n) - first)};
    }
    const Share rows(m, ith, nth);
    return {rows.first, rows.last - rows.first, 0, n};
}

void gemm(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float *c, int64_t c_row, bool accumulate,
          int ith, int nth) {
    const Block part = share(m, n, ith, nth);
    if (part.rows == 0 || part.columns == 0) return;
    gemm(part.rows, part.columns, k, {a.data + part.first_row * a.row, a.row, a.column},
         {b.data + part.first_column * b.column, b.row, b.column}, c + part.first_row * c_row + part.first_column,
         c_row, accumulate, m);
}

RI_SIMD void transpose(int64_t rows, int64_t columns, const float *src, float *dst) {
    int64_t i = 0;
    for (; i + lanes <= columns; i += lanes) {
        int64_t j = 0;
        for (; j + lanes <= rows; j += lanes) {
            Vector block[lanes];
#pragma GCC unroll 16
            for (int64_t l = 0; l < lanes; ++l) load(block[l], src + (j + l) * columns + i);
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

} // namespace ri
