#include "kernels.h"

#include "avx512.h"
#include "simd.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__x86_64__)

namespace ri::kernels {

namespace {

constexpr int64_t panel = 48;       // outputs of one panel: 3 vectors
constexpr int64_t block_in = 1536;  // inputs of one pass over a panel: what stays in the first two cache levels
constexpr int64_t block_rows = 192; // rows converted at a time

uint16_t to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t(bits >> 16) | 64; // NaN stays NaN
    return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

RI_INLINE __m512 sigmoid16(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    return _mm512_div_ps(one, _mm512_add_ps(one, exp16(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

// ---- products

// Rows of bfloat16 pairs [rows, pairs] from float rows of n numbers, n odd or even; the missing half of a pair is zero.
RI_AVX512 void convert_rows(const float *x, int64_t stride, int64_t rows, int64_t n, uint32_t *dst, int64_t pairs) {
    for (int64_t r = 0; r < rows; ++r) {
        auto *out = reinterpret_cast<uint16_t *>(dst + r * pairs);
        const float *in = x + r * stride;
        int64_t i = 0;
        for (; i + 16 <= n; i += 16)
            _mm256_storeu_si256(reinterpret_cast<__m256i *>(out + i),
                                (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(in + i)));
        for (; i < n; ++i) out[i] = to_bf16(in[i]);
        if (n & 1) out[n] = 0;
    }
}

// ROWS x 48 outputs of a product over `pairs` pairs of inputs; added to what y holds when `add` is set.
template <int ROWS>
RI_AVX512 void micro_kernel(const uint32_t *a, int64_t a_stride, const uint16_t *b, int64_t pairs, float *y,
                            int64_t y_stride, int64_t columns, bool add) {
    __m512 sum[ROWS][3];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 3
        for (int c = 0; c < 3; ++c) sum[r][c] = _mm512_setzero_ps();
    for (int64_t p = 0; p < pairs; ++p, b += 2 * panel) {
        const __m512bh b0 = (__m512bh)_mm512_load_si512(b);
        const __m512bh b1 = (__m512bh)_mm512_load_si512(b + 32);
        const __m512bh b2 = (__m512bh)_mm512_load_si512(b + 64);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            const __m512bh x = (__m512bh)_mm512_set1_epi32(int(a[r * a_stride + p]));
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], b0, x);
            sum[r][1] = _mm512_dpbf16_ps(sum[r][1], b1, x);
            sum[r][2] = _mm512_dpbf16_ps(sum[r][2], b2, x);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 3
        for (int c = 0; c < 3; ++c) {
            const int64_t left = std::min<int64_t>(16, columns - 16 * c);
            if (left <= 0) continue;
            const __mmask16 mask = __mmask16((1u << left) - 1);
            float *out = y + r * y_stride + 16 * c;
            const __m512 old = add ? _mm512_maskz_loadu_ps(mask, out) : _mm512_setzero_ps();
            _mm512_mask_storeu_ps(out, mask, _mm512_add_ps(sum[r][c], old));
        }
}

using MicroKernel = void (*)(const uint32_t *, int64_t, const uint16_t *, int64_t, float *, int64_t, int64_t, bool);
constexpr MicroKernel micro_kernels[] = {nullptr,         micro_kernel<1>, micro_kernel<2>,
                                         micro_kernel<3>, micro_kernel<4>, micro_kernel<5>,
                                         micro_kernel<6>, micro_kernel<7>, micro_kernel<8>};

} // namespace

bool available() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bf16");
}

void PackedMatrix::Free::operator()(uint16_t *p) const { std::free(p); }

PackedMatrix::PackedMatrix(int64_t n_out, int64_t n_in, void *memory)
    : n_out_(n_out), n_in_(n_in), pairs_((n_in + 1) / 2), panels_((n_out + panel - 1) / panel),
      data_(static_cast<uint16_t *>(memory)) {}

PackedMatrix::PackedMatrix(int64_t n_out, int64_t n_in)
    : PackedMatrix(n_out, n_in, std::aligned_alloc(alignment, size(n_out, n_in))) {
    own_.reset(data_);
    if (!data_) throw std::bad_alloc();
    memset(data_, 0, size(n_out, n_in));
}

// Panels are whole cache lines: 192 bytes a pair.
size_t PackedMatrix::size(int64_t n_out, int64_t n_in) {
    return size_t((n_out + panel - 1) / panel * ((n_in + 1) / 2) * panel * 2) * sizeof(uint16_t);
}

void PackedMatrix::set_row(int64_t out, const float *row) {
    uint16_t *base = data_ + (out / panel) * pairs_ * panel * 2 + (out % panel) * 2;
    for (int64_t i = 0; i < n_in_; ++i) base[(i / 2) * panel * 2 + i % 2] = to_bf16(row[i]);
}

void PackedMatrix::set_row(int64_t out, const uint16_t *row) {
    uint16_t *base = data_ + (out / panel) * pairs_ * panel * 2 + (out % panel) * 2;
    for (int64_t p = 0; p < n_in_ / 2; ++p) memcpy(base + p * panel * 2, row + 2 * p, 2 * sizeof *row);
    if (n_in_ & 1) base[(pairs_ - 1) * panel * 2] = row[n_in_ - 1];
}

void PackedMatrix::set_column(int64_t in, const float *column) {
    uint16_t *base = data_ + (in / 2) * panel * 2 + in % 2;
    for (int64_t o = 0; o < n_out_; ++o) base[(o / panel) * pairs_ * panel * 2 + (o % panel) * 2] = to_bf16(column[o]);
}

void PackedMatrix::multiply(const float *x, int64_t rows, float *y, int ith, int nth) const {
    // Threads share the rows where there are enough for all, else the outputs. Each converts the rows it needs by
    // itself, which needs no barrier.
    const bool by_row = rows >= 32 * nth;
    const Share my_rows(rows, by_row ? ith : 0, by_row ? nth : 1, 8);
    const Share my_panels(panels_, by_row ? 0 : ith, by_row ? 1 : nth);
    const int64_t block_pairs = std::min(pairs_, block_in / 2);
    auto *converted = reinterpret_cast<uint32_t *>(scratch(size_t(block_rows * block_pairs)));
    for (int64_t pair = 0; pair < pairs_; pair += block_pairs) {
        const int64_t pairs = std::min(block_pairs, pairs_ - pair);
        const int64_t inputs = std::min(n_in_ - 2 * pair, 2 * pairs);
        for (int64_t row = my_rows.first; row < my_rows.last; row += block_rows) {
            const int64_t n_rows = std::min(block_rows, my_rows.last - row);
            convert_rows(x + row * n_in_ + 2 * pair, n_in_, n_rows, inputs, converted, pairs);
            for (int64_t p = my_panels.first; p < my_panels.last; ++p) {
                const uint16_t *b = data_ + (p * pairs_ + pair) * panel * 2;
                for (int64_t r = 0; r < n_rows; r += 8)
                    micro_kernels[std::min<int64_t>(8, n_rows - r)](converted + r * pairs, pairs, b, pairs,
                                                                    y + (row + r) * n_out_ + p * panel, n_out_,
                                                                    n_out_ - p * panel, pair > 0);
            }
        }
    }
}

// ---- RMSNorm

namespace {

RI_INLINE float inverse_rms(const float *x, int64_t n, float eps) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        const __m512 v = _mm512_loadu_ps(x + i);
        sum = _mm512_fmadd_ps(v, v, sum);
    }
    return 1.0f / __builtin_sqrtf(_mm512_reduce_add_ps(sum) / float(n) + eps);
}

} // namespace

RI_AVX512 void rms_norm(const float *x, const float *weight, float eps, int64_t rows, int64_t n, float *y, int ith,
                        int nth) {
    const Share mine(rows, ith, nth);
    for (int64_t r = mine.first; r < mine.last; ++r) {
        const float *in = x + r * n;
        const __m512 factor = _mm512_set1_ps(inverse_rms(in, n, eps));
        for (int64_t i = 0; i < n; i += 16)
            _mm512_storeu_ps(y + r * n + i, _mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(in + i), factor),
                                                          _mm512_loadu_ps(weight + i)));
    }
}

RI_AVX512 void rms_norm_back(const float *x, const float *weight, const float *dy, float eps, int64_t rows, int64_t n,
                             float *dx, int ith, int nth) {
    const Share mine(rows, ith, nth);
    for (int64_t row = mine.first; row < mine.last; ++row) {
        const float *in = x + row * n, *grad = dy + row * n;
        const float r = inverse_rms(in, n, eps);
        __m512 dot = _mm512_setzero_ps(); // sum of dn x, dn = dy weight
        for (int64_t i = 0; i < n; i += 16) {
            const __m512 dn = _mm512_mul_ps(_mm512_loadu_ps(grad + i), _mm512_loadu_ps(weight + i));
            dot = _mm512_fmadd_ps(dn, _mm512_loadu_ps(in + i), dot);
        }
        // dx = r (dn - x r^2 mean(dn x))
        const __m512 pull = _mm512_set1_ps(r * r * _mm512_reduce_add_ps(dot) / float(n)), factor = _mm512_set1_ps(r);
        for (int64_t i = 0; i < n; i += 16) {
            const __m512 dn = _mm512_mul_ps(_mm512_loadu_ps(grad + i), _mm512_loadu_ps(weight + i));
            _mm512_storeu_ps(dx + row * n + i,
                             _mm512_mul_ps(factor, _mm512_fnmadd_ps(pull, _mm512_loadu_ps(in + i), dn)));
        }
    }
}

// ---- SwiGLU

RI_AVX512 void swiglu(const float *gate_up, int64_t rows, int64_t n, float *y, int ith, int nth) {
    const Share mine(rows, ith, nth);
    for (int64_t r = mine.first; r < mine.last; ++r) {
        const float *gate = gate_up + r * 2 * n, *up = gate + n;
        for (int64_t i = 0; i < n; i += 16) {
            const __m512 g = _mm512_loadu_ps(gate + i);
            _mm512_storeu_ps(y + r * n + i, _mm512_mul_ps(_mm512_mul_ps(g, sigmoid16(g)), _mm512_loadu_ps(up + i)));
        }
    }
}

RI_AVX512 void swiglu_back(const float *gate_up, const float *dy, int64_t rows, int64_t n, float *d_gate_up, int ith,
                           int nth) {
    const Share mine(rows, ith, nth);
    const __m512 one = _mm512_set1_ps(1.0f);
    for (int64_t r = mine.first; r < mine.last; ++r) {
        const float *gate = gate_up + r * 2 * n, *up = gate + n;
        float *d_gate = d_gate_up + r * 2 * n, *d_up = d_gate + n;
        for (int64_t i = 0; i < n; i += 16) {
            const __m512 g = _mm512_loadu_ps(gate + i), d = _mm512_loadu_ps(dy + r * n + i);
            const __m512 s = sigmoid16(g);
            const __m512 slope = _mm512_mul_ps(s, _mm512_fmadd_ps(g, _mm512_sub_ps(one, s), one)); // silu'
            _mm512_storeu_ps(d_gate + i, _mm512_mul_ps(_mm512_mul_ps(d, _mm512_loadu_ps(up + i)), slope));
            _mm512_storeu_ps(d_up + i, _mm512_mul_ps(d, _mm512_mul_ps(g, s)));
        }
    }
}

// ---- cross-entropy

namespace {

RI_INLINE float row_max(const float *x, int64_t n) {
    __m512 m = _mm512_loadu_ps(x);
    for (int64_t i = 16; i < n; i += 16) m = _mm512_max_ps(m, _mm512_loadu_ps(x + i));
    return _mm512_reduce_max_ps(m);
}

} // namespace

RI_AVX512 void log_probability(const float *logits, const int32_t *targets, int64_t rows, int64_t n, float *logp,
                               int ith, int nth) {
    const Share mine(rows, ith, nth);
    for (int64_t r = mine.first; r < mine.last; ++r) {
        const float *row = logits + r * n;
        const float most = row_max(row, n);
        __m512 sum = _mm512_setzero_ps();
        for (int64_t i = 0; i < n; i += 16)
            sum = _mm512_add_ps(sum, exp16(_mm512_sub_ps(_mm512_loadu_ps(row + i), _mm512_set1_ps(most))));
        logp[r] = logits[targets[r]] - most - __builtin_logf(_mm512_reduce_add_ps(sum));
    }
}

RI_AVX512 void cross_entropy_back(const float *logits, const int32_t *targets, const float *weights, int64_t rows,
                                  int64_t n, float *dlogits, int ith, int nth) {
    const Share mine(rows, ith, nth);
    for (int64_t r = mine.first; r < mine.last; ++r) {
        const float *row = logits + r * n;
        float *d = dlogits + r * n;
        const __m512 most = _mm512_set1_ps(row_max(row, n));
        __m512 sum = _mm512_setzero_ps();
        for (int64_t i = 0; i < n; i += 16) {
            const __m512 e = exp16(_mm512_sub_ps(_mm512_loadu_ps(row + i), most));
            _mm512_storeu_ps(d + i, e);
            sum = _mm512_add_ps(sum, e);
        }
        const __m512 factor = _mm512_set1_ps(weights[r] / _mm512_reduce_add_ps(sum));
        for (int64_t i = 0; i < n; i += 16) _mm512_storeu_ps(d + i, _mm512_mul_ps(_mm512_loadu_ps(d + i), factor));
        dlogits[targets[r]] -= weights[r];
    }
}

} // namespace ri::kernels

#else // other processors: never called, because available() says no

#include <cstdlib>

namespace ri::kernels {

bool available() { return false; }
void PackedMatrix::Free::operator()(uint16_t *p) const { std::free(p); }
PackedMatrix::PackedMatrix(int64_t n_out, int64_t n_in) : PackedMatrix(n_out, n_in, nullptr) {}
PackedMatrix::PackedMatrix(int64_t n_out, int64_t n_in, void *)
    : n_out_(n_out), n_in_(n_in), pairs_(0), panels_(0), data_(nullptr) {}
size_t PackedMatrix::size(int64_t, int64_t) { return 0; }
void PackedMatrix::set_row(int64_t, const float *) {}
void PackedMatrix::set_row(int64_t, const uint16_t *) {}
void PackedMatrix::set_column(int64_t, const float *) {}
void PackedMatrix::multiply(const float *, int64_t, float *, int, int) const {}
void rms_norm(const float *, const float *, float, int64_t, int64_t, float *, int, int) {}
void rms_norm_back(const float *, const float *, const float *, float, int64_t, int64_t, float *, int, int) {}
void swiglu(const float *, int64_t, int64_t, float *, int, int) {}
void swiglu_back(const float *, const float *, int64_t, int64_t, float *, int, int) {}
void log_probability(const float *, const int32_t *, int64_t, int64_t, float *, int, int) {}
void cross_entropy_back(const float *, const int32_t *, const float *, int64_t, int64_t, float *, int, int) {}

} // namespace ri::kernels

#endif
