#include "kernels.h"

#include "simd.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>

// GCC 12 takes the deliberately undefined vectors inside its own intrinsics for a mistake (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

// Functions, not files, are compiled for AVX512: the rest of the library must run anywhere.
#define RI_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")))
#define RI_INLINE RI_AVX512 inline __attribute__((always_inline))

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

// Per-thread memory that is reused from call to call.
float *scratch(size_t n) {
    static thread_local std::vector<float> memory;
    if (memory.size() < n) memory.resize(n);
    return memory.data();
}

// e^x, relative error below 2e-7: 2^n by scalef, 2^f on [-1/2, 1/2] by its Taylor series.
RI_INLINE __m512 exp16(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-104.0f), x); // in this order a NaN stays one
    const __m512 t = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
    const __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
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

PackedMatrix::PackedMatrix(int64_t n_out, int64_t n_in)
    : n_out_(n_out), n_in_(n_in), pairs_((n_in + 1) / 2), panels_((n_out + panel - 1) / panel) {
    const size_t bytes = size_t(panels_ * pairs_ * panel * 2) * sizeof(uint16_t);
    data_.reset(
        static_cast<uint16_t *>(std::aligned_alloc(64, bytes))); // panels are whole cache lines: 192 bytes a pair
    if (!data_) throw std::bad_alloc();
    memset(data_.get(), 0, bytes);
}

void PackedMatrix::set_row(int64_t out, const float *row) {
    uint16_t *base = data_.get() + (out / panel) * pairs_ * panel * 2 + (out % panel) * 2;
    for (int64_t i = 0; i < n_in_; ++i) base[(i / 2) * panel * 2 + i % 2] = to_bf16(row[i]);
}

void PackedMatrix::set_column(int64_t in, const float *column) {
    uint16_t *base = data_.get() + (in / 2) * panel * 2 + in % 2;
    for (int64_t o = 0; o < n_out_; ++o) base[(o / panel) * pairs_ * panel * 2 + (o % panel) * 2] = to_bf16(column[o]);
}

void PackedMatrix::multiply(const float *x, int64_t rows, float *y, int ith, int nth) const {
    // Threads share the outputs when there are panels enough for all, else the rows. Each then converts the rows it
    // needs by itself: a hundredth of the work of the product, and no barrier.
    const bool by_panel = panels_ % nth == 0 || panels_ >= 8 * nth;
    const Share my_panels(by_panel ? panels_ : 1, by_panel ? ith : 0, by_panel ? nth : 1);
    const int64_t first_panel = by_panel ? my_panels.first : 0, last_panel = by_panel ? my_panels.last : panels_;
    const Share my_rows(rows, by_panel ? 0 : ith, by_panel ? 1 : nth);
    const int64_t block_pairs = std::min(pairs_, block_in / 2);
    auto *converted = reinterpret_cast<uint32_t *>(scratch(size_t(block_rows * block_pairs)));
    for (int64_t pair = 0; pair < pairs_; pair += block_pairs) {
        const int64_t pairs = std::min(block_pairs, pairs_ - pair);
        const int64_t inputs = std::min(n_in_ - 2 * pair, 2 * pairs);
        for (int64_t row = my_rows.first; row < my_rows.last; row += block_rows) {
            const int64_t n_rows = std::min(block_rows, my_rows.last - row);
            convert_rows(x + row * n_in_ + 2 * pair, n_in_, n_rows, inputs, converted, pairs);
            for (int64_t p = first_panel; p < last_panel; ++p) {
                const uint16_t *b = data_.get() + (p * pairs_ + pair) * panel * 2;
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

// ---- attention

namespace {

// Rotates pairs (2i, 2i+1) of a head by the position's angle; `sign` -1 rotates back.
void rotate(const float *in, const float *cos, const float *sin, float sign, int64_t head_dim, float *out) {
    for (int64_t i = 0; i < head_dim / 2; ++i) {
        const float a = in[2 * i], b = in[2 * i + 1], s = sign * sin[i];
        out[2 * i] = a * cos[i] - b * s;
        out[2 * i + 1] = a * s + b * cos[i];
    }
}

// dst[j] = sum_d x[d] * columns[d * stride + j] for j in [0, n rounded up to 16).
RI_INLINE void row_times_columns(const float *x, const float *columns, int64_t head_dim, int64_t stride, int64_t n,
                                 float *dst) {
    for (int64_t j = 0; j < n; j += 16) {
        __m512 sum0 = _mm512_setzero_ps(), sum1 = _mm512_setzero_ps();
        for (int64_t d = 0; d < head_dim; d += 2) {
            sum0 = _mm512_fmadd_ps(_mm512_set1_ps(x[d]), _mm512_loadu_ps(columns + d * stride + j), sum0);
            sum1 = _mm512_fmadd_ps(_mm512_set1_ps(x[d + 1]), _mm512_loadu_ps(columns + (d + 1) * stride + j), sum1);
        }
        _mm512_storeu_ps(dst + j, _mm512_add_ps(sum0, sum1));
    }
}

// dst += sum_j weights[j] * rows[j * stride + :], VECTORS * 16 wide.
template <int VECTORS>
RI_INLINE void add_weighted_rows(const float *weights, const float *rows, int64_t stride, int64_t n, __m512 *dst) {
    for (int64_t j = 0; j < n; ++j) {
        const __m512 w = _mm512_set1_ps(weights[j]);
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; ++i)
            dst[i] = _mm512_fmadd_ps(w, _mm512_loadu_ps(rows + j * stride + 16 * i), dst[i]);
    }
}

// Softmax over the first n numbers of a row padded to 16; the padding becomes zero.
RI_INLINE void softmax_row(float *x, int64_t n, float scale) {
    const int64_t padded = (n + 15) / 16 * 16;
    for (int64_t j = n; j < padded; ++j) x[j] = -INFINITY;
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (int64_t j = 0; j < padded; j += 16) most = _mm512_max_ps(most, _mm512_loadu_ps(x + j));
    const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(most)), factor = _mm512_set1_ps(scale);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < padded; j += 16) {
        const __m512 v = _mm512_loadu_ps(x + j);
        const __mmask16 real = _mm512_cmp_ps_mask(v, _mm512_set1_ps(-INFINITY), _CMP_NEQ_UQ);
        const __m512 e = _mm512_maskz_mov_ps(real, exp16(_mm512_mul_ps(_mm512_sub_ps(v, top), factor)));
        _mm512_storeu_ps(x + j, e);
        sum = _mm512_add_ps(sum, e);
    }
    const __m512 inverse = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(sum));
    for (int64_t j = 0; j < padded; j += 16) _mm512_storeu_ps(x + j, _mm512_mul_ps(_mm512_loadu_ps(x + j), inverse));
}

// What one sample and key-value head need, in a thread's scratch memory.
struct HeadBuffers {
    float *k, *k_t, *v_t; // [S, hd], [hd, S16], [hd, S16]
    float *dk, *dv;       // [S, hd]
    float *p, *ds;        // [P16 + S16]: the prefix's scores, then the suffix's
    int64_t stride;       // S16
    HeadBuffers(const Attention &a, const PrefixCache &prefix) {
        stride = (a.longest + 15) / 16 * 16;
        const int64_t rows = a.longest * a.head_dim, columns = a.head_dim * stride, scores = prefix.stride + stride;
        float *memory = scratch(size_t(3 * rows + 2 * columns + 2 * scores));
        k = memory;
        dk = k + rows;
        dv = dk + rows;
        k_t = dv + rows;
        v_t = k_t + columns;
        p = v_t + columns;
        ds = p + scores;
    }
};

// Keys of a sample of so many positions rotated, as rows and as columns, and values as columns.
void gather_keys_values(const Attention &a, int64_t positions, const float *k, const float *v, int64_t width,
                        HeadBuffers &h) {
    for (int64_t s = 0; s < positions; ++s) {
        float *row = h.k + s * a.head_dim;
        rotate(k + s * width, a.cos + s * a.head_dim / 2, a.sin + s * a.head_dim / 2, 1.0f, a.head_dim, row);
        for (int64_t d = 0; d < a.head_dim; ++d) {
            h.k_t[d * h.stride + s] = row[d];
            h.v_t[d * h.stride + s] = v[s * width + d];
        }
    }
    for (int64_t d = 0; d < a.head_dim; ++d)
        for (int64_t s = positions; s < h.stride; ++s) h.k_t[d * h.stride + s] = h.v_t[d * h.stride + s] = 0;
}

// Attention weights of one rotated query at suffix position s, over the prefix and positions 0..s.
RI_INLINE void attention_row(const Attention &a, const PrefixCache &prefix, const HeadBuffers &h, int64_t head_kv,
                             const float *q, int64_t s) {
    if (prefix.n > 0)
        row_times_columns(q, prefix.k_t + head_kv * a.head_dim * prefix.stride, a.head_dim, prefix.stride, prefix.n,
                          h.p);
    for (int64_t j = prefix.n; j < prefix.stride; ++j) h.p[j] = -INFINITY;
    row_times_columns(q, h.k_t, a.head_dim, h.stride, s + 1, h.p + prefix.stride);
    softmax_row(h.p, prefix.stride + s + 1, a.scale);
}

template <int VECTORS>
RI_AVX512 void attention_heads(const Attention &a, const PrefixCache &prefix, const float *qkv, float *out, int ith,
                               int nth) {
    const int64_t hd = a.head_dim, group = a.heads / a.heads_kv, width = (a.heads + 2 * a.heads_kv) * hd;
    HeadBuffers h(a, prefix);
    float q[128];
    for (int64_t task = ith; task < a.samples * a.heads_kv; task += nth) { // in turn: samples are ordered by length
        const int64_t b = task / a.heads_kv, kv = task % a.heads_kv, first = a.first[b], S = a.first[b + 1] - first;
        const float *sample = qkv + first * width;
        const float *values = sample + (a.heads + a.heads_kv + kv) * hd;
        gather_keys_values(a, S, sample + (a.heads + kv) * hd, values, width, h);
        for (int64_t s = 0; s < S; ++s)
            for (int64_t head = kv * group; head < (kv + 1) * group; ++head) {
                rotate(sample + s * width + head * hd, a.cos + s * hd / 2, a.sin + s * hd / 2, 1.0f, hd, q);
                attention_row(a, prefix, h, kv, q, s);
                __m512 sum[VECTORS];
                for (int i = 0; i < VECTORS; ++i) sum[i] = _mm512_setzero_ps();
                add_weighted_rows<VECTORS>(h.p, prefix.v + kv * prefix.n * hd, hd, prefix.n, sum);
                add_weighted_rows<VECTORS>(h.p + prefix.stride, values, width, s + 1, sum);
                float *to = out + ((first + s) * a.heads + head) * hd;
                for (int i = 0; i < VECTORS; ++i) _mm512_storeu_ps(to + 16 * i, sum[i]);
            }
    }
}

template <int VECTORS>
RI_AVX512 void attention_heads_back(const Attention &a, const PrefixCache &prefix, const float *qkv, const float *dout,
                                    float *dqkv, int ith, int nth) {
    const int64_t hd = a.head_dim, group = a.heads / a.heads_kv, width = (a.heads + 2 * a.heads_kv) * hd;
    HeadBuffers h(a, prefix);
    float q[128], dq[128];
    for (int64_t task = ith; task < a.samples * a.heads_kv; task += nth) {
        const int64_t b = task / a.heads_kv, kv = task % a.heads_kv, first = a.first[b], S = a.first[b + 1] - first;
        const float *sample = qkv + first * width;
        float *d_sample = dqkv + first * width;
        gather_keys_values(a, S, sample + (a.heads + kv) * hd, sample + (a.heads + a.heads_kv + kv) * hd, width, h);
        std::fill(h.dk, h.dk + S * hd, 0.0f);
        std::fill(h.dv, h.dv + S * hd, 0.0f);
        for (int64_t s = 0; s < S; ++s)
            for (int64_t head = kv * group; head < (kv + 1) * group; ++head) {
                const float *cos = a.cos + s * hd / 2, *sin = a.sin + s * hd / 2;
                rotate(sample + s * width + head * hd, cos, sin, 1.0f, hd, q);
                attention_row(a, prefix, h, kv, q, s);
                // dp = dout . v, ds = scale p (dp - sum p dp)
                const float *grad = dout + ((first + s) * a.heads + head) * hd;
                if (prefix.n > 0)
                    row_times_columns(grad, prefix.v_t + kv * hd * prefix.stride, hd, prefix.stride, prefix.n, h.ds);
                row_times_columns(grad, h.v_t, hd, h.stride, s + 1, h.ds + prefix.stride);
                const int64_t n = prefix.stride + (s + 16) / 16 * 16; // p is zero at padding
                __m512 dot = _mm512_setzero_ps();
                for (int64_t j = 0; j < n; j += 16)
                    dot = _mm512_fmadd_ps(_mm512_loadu_ps(h.p + j), _mm512_loadu_ps(h.ds + j), dot);
                const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(dot)), scale = _mm512_set1_ps(a.scale);
                for (int64_t j = 0; j < n; j += 16) {
                    const __m512 centred = _mm512_sub_ps(_mm512_loadu_ps(h.ds + j), mean);
                    _mm512_storeu_ps(h.ds + j, _mm512_mul_ps(_mm512_mul_ps(scale, _mm512_loadu_ps(h.p + j)), centred));
                }
                __m512 sum[VECTORS], query[VECTORS], outer[VECTORS];
                for (int i = 0; i < VECTORS; ++i) {
                    sum[i] = _mm512_setzero_ps();
                    query[i] = _mm512_loadu_ps(q + 16 * i);
                    outer[i] = _mm512_loadu_ps(grad + 16 * i);
                }
                add_weighted_rows<VECTORS>(h.ds, prefix.k + kv * prefix.n * hd, hd, prefix.n, sum);
                for (int64_t j = 0; j <= s; ++j) {
                    const __m512 ds = _mm512_set1_ps(h.ds[prefix.stride + j]),
                                 p = _mm512_set1_ps(h.p[prefix.stride + j]);
                    float *dk = h.dk + j * hd, *dv = h.dv + j * hd;
#pragma GCC unroll 8
                    for (int i = 0; i < VECTORS; ++i) {
                        sum[i] = _mm512_fmadd_ps(ds, _mm512_loadu_ps(h.k + j * hd + 16 * i), sum[i]);
                        _mm512_storeu_ps(dk + 16 * i, _mm512_fmadd_ps(ds, query[i], _mm512_loadu_ps(dk + 16 * i)));
                        _mm512_storeu_ps(dv + 16 * i, _mm512_fmadd_ps(p, outer[i], _mm512_loadu_ps(dv + 16 * i)));
                    }
                }
                for (int i = 0; i < VECTORS; ++i) _mm512_storeu_ps(dq + 16 * i, sum[i]);
                rotate(dq, cos, sin, -1.0f, hd, d_sample + s * width + head * hd);
            }
        for (int64_t s = 0; s < S; ++s) {
            rotate(h.dk + s * hd, a.cos + s * hd / 2, a.sin + s * hd / 2, -1.0f, hd,
                   d_sample + s * width + (a.heads + kv) * hd);
            memcpy(d_sample + s * width + (a.heads + a.heads_kv + kv) * hd, h.dv + s * hd, size_t(hd) * sizeof(float));
        }
    }
}

} // namespace

bool attention_supported(int64_t head_dim) { return head_dim == 32 || head_dim == 64 || head_dim == 128; }

void attention(const Attention &a, const PrefixCache &prefix, const float *qkv, float *out, int ith, int nth) {
    switch (a.head_dim) {
    case 32: return attention_heads<2>(a, prefix, qkv, out, ith, nth);
    case 64: return attention_heads<4>(a, prefix, qkv, out, ith, nth);
    case 128: return attention_heads<8>(a, prefix, qkv, out, ith, nth);
    }
}

void attention_back(const Attention &a, const PrefixCache &prefix, const float *qkv, const float *dout, float *dqkv,
                    int ith, int nth) {
    switch (a.head_dim) {
    case 32: return attention_heads_back<2>(a, prefix, qkv, dout, dqkv, ith, nth);
    case 64: return attention_heads_back<4>(a, prefix, qkv, dout, dqkv, ith, nth);
    case 128: return attention_heads_back<8>(a, prefix, qkv, dout, dqkv, ith, nth);
    }
}

} // namespace ri::kernels

#else // other processors: never called, because available() says no

#include <cstdlib>

namespace ri::kernels {

bool available() { return false; }
void PackedMatrix::Free::operator()(uint16_t *p) const { std::free(p); }
PackedMatrix::PackedMatrix(int64_t n_out, int64_t n_in) : n_out_(n_out), n_in_(n_in), pairs_(0), panels_(0) {}
void PackedMatrix::set_row(int64_t, const float *) {}
void PackedMatrix::set_column(int64_t, const float *) {}
void PackedMatrix::multiply(const float *, int64_t, float *, int, int) const {}
void rms_norm(const float *, const float *, float, int64_t, int64_t, float *, int, int) {}
void rms_norm_back(const float *, const float *, const float *, float, int64_t, int64_t, float *, int, int) {}
void swiglu(const float *, int64_t, int64_t, float *, int, int) {}
void swiglu_back(const float *, const float *, int64_t, int64_t, float *, int, int) {}
void log_probability(const float *, const int32_t *, int64_t, int64_t, float *, int, int) {}
void cross_entropy_back(const float *, const int32_t *, const float *, int64_t, int64_t, float *, int, int) {}
bool attention_supported(int64_t) { return false; }
void attention(const Attention &, const PrefixCache &, const float *, float *, int, int) {}
void attention_back(const Attention &, const PrefixCache &, const float *, const float *, float *, int, int) {}

} // namespace ri::kernels

#endif
