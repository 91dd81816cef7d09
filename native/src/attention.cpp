// Rotary grouped-query attention of packed samples behind a shared prefix. The queries of some positions, of all heads
// that share keys, are the rows of one matrix, so that everything but the softmax is a product of small matrices.
#include "avx512.h"
#include "gemm.h"
#include "kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#if defined(__x86_64__)

namespace ri::kernels {

namespace {

constexpr int64_t most_rows = 48; // of one block of queries: whole tiles of gemm, and scores that stay in the cache

// Rotates pairs (2i, 2i+1) of a head by the position's angles; `sign` -1 rotates back.
RI_INLINE void rotate(const float *in, const float *cos, const float *sin, float sign, int64_t head_dim, float *out) {
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const __m512 signs = _mm512_mask_blend_ps(0x5555, _mm512_set1_ps(sign), _mm512_set1_ps(-sign));
    for (int64_t i = 0; i < head_dim; i += 16) {
        const __m512 x = _mm512_loadu_ps(in + i), swapped = _mm512_permute_ps(x, 0xb1);
        const __m512 c = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_loadu_ps(cos + i / 2)));
        const __m512 s = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_loadu_ps(sin + i / 2)));
        _mm512_storeu_ps(out + i, _mm512_fmadd_ps(x, c, _mm512_mul_ps(swapped, _mm512_mul_ps(s, signs))));
    }
}

// x = softmax(scale * x) over its first n numbers; what follows, up to `width`, becomes zero.
RI_INLINE void softmax_row(float *x, int64_t n, int64_t width, float scale) {
    const int64_t whole = n / 16 * 16;
    const __mmask16 rest = __mmask16((1u << (n - whole)) - 1);
    const __m512 low = _mm512_set1_ps(-INFINITY);
    __m512 most = _mm512_mask_loadu_ps(low, rest, x + whole);
    for (int64_t j = 0; j < whole; j += 16) most = _mm512_max_ps(most, _mm512_loadu_ps(x + j));
    const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(most)), factor = _mm512_set1_ps(scale);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < n; j += 16) {
        const __mmask16 mask = j < whole ? __mmask16(0xffff) : rest;
        const __m512 v = _mm512_mask_loadu_ps(top, mask, x + j);
        const __m512 e = _mm512_maskz_mov_ps(mask, exp16(_mm512_mul_ps(_mm512_sub_ps(v, top), factor)));
        _mm512_mask_storeu_ps(x + j, mask, e);
        sum = _mm512_add_ps(sum, e);
    }
    const float inverse = 1.0f / _mm512_reduce_add_ps(sum);
    for (int64_t j = 0; j < n; ++j) x[j] *= inverse;
    std::fill(x + n, x + width, 0.0f);
}

// ds = scale * p * (dp - sum of p dp), in place of dp, over n numbers.
RI_AVX512 void softmax_back_row(const float *p, int64_t n, float scale, float *ds) {
    __m512 dot = _mm512_setzero_ps();
    for (int64_t j = 0; j < n; j += 16) {
        const __mmask16 mask = __mmask16(n - j < 16 ? (1u << (n - j)) - 1 : 0xffff);
        dot = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, p + j), _mm512_maskz_loadu_ps(mask, ds + j), dot);
    }
    const float mean = _mm512_reduce_add_ps(dot);
    for (int64_t j = 0; j < n; ++j) ds[j] = scale * p[j] * (ds[j] - mean);
}

// One sample and key-value head: where its numbers lie in qkv (and in its gradient), and a thread's scratch memory.
class Task {
  public:
    Task(const Attention &a, const PrefixCache &prefix)
        : a_(a), prefix_(prefix), hd_(a.head_dim), group_(a.heads / a.heads_kv),
          width_((a.heads + 2 * a.heads_kv) * hd_), block_(std::max<int64_t>(1, most_rows / group_)),
          stride_(prefix.n + a.longest) {
        const int64_t keys = a.longest * hd_, rows = block_ * group_;
        float *memory = scratch(size_t(3 * keys + 3 * rows * hd_ + 2 * rows * stride_));
        for (float **part : {&k, &dk, &dv}) *part = memory, memory += keys;
        for (float **part : {&q, &o, &dq}) *part = memory, memory += rows * hd_;
        for (float **part : {&p, &ds}) *part = memory, memory += rows * stride_;
    }

    void choose(int64_t task) {
        kv_ = task % a_.heads_kv;
        first_ = a_.first[task / a_.heads_kv];
        positions = a_.first[task / a_.heads_kv + 1] - first_;
    }

    int64_t positions;  // S
    float *k, *dk, *dv; // [S, hd]
    float *q, *o, *dq;  // [rows of a block, hd]: queries, outputs or their gradients, gradients of queries
    float *p, *ds;      // [rows of a block, P + S]
    int64_t start, end; // the block's positions
    int64_t keys() const { return prefix_.n + end; }
    int64_t rows() const { return (end - start) * group_; }
    int64_t stride() const { return stride_; }

    const float *key(const float *qkv, int64_t s) const { return at(qkv, s, a_.heads + kv_); }
    const float *value(const float *qkv, int64_t s) const { return at(qkv, s, a_.heads + a_.heads_kv + kv_); }

    // Calls body with each block of positions, in order.
    template <typename Body> void each_block(Body &&body) {
        for (start = 0; start < positions; start = end) {
            end = std::min(positions, start + block_);
            body();
        }
    }

    RI_AVX512 void rotate_keys(const float *qkv) {
        for (int64_t s = 0; s < positions; ++s) rotate(key(qkv, s), cos(s), sin(s), 1.0f, hd_, k + s * hd_);
    }

    // q: the block's queries, rotated; p: their attention weights.
    RI_AVX512 void weights(const float *qkv) {
        for (int64_t r = 0; r < rows(); ++r) {
            const int64_t s = start + r / group_;
            rotate(at(qkv, s, kv_ * group_ + r % group_), cos(s), sin(s), 1.0f, hd_, q + r * hd_);
        }
        products(q, prefix_.k_t, {k, 1, hd_}, p);
        for (int64_t r = 0; r < rows(); ++r) {
            const int64_t s = start + r / group_;
            if (a_.parents) hide_others(p + r * stride_ + prefix_.n, s);
            softmax_row(p + r * stride_, prefix_.n + s + 1, keys(), a_.scale);
        }
    }

    // x [rows, hd] times the transposed keys or values of the prefix and of the sample -> [rows, P + end].
    void products(const float *x, const float *of_prefix, MatrixView own, float *y) const {
        const int64_t P = prefix_.n, columns = prefix_.stride;
        if (P)
            gemm(rows(), P, hd_, {x, hd_, 1}, {of_prefix + kv_ * hd_ * columns, columns, 1}, y, stride_, false, rows());
        gemm(rows(), end, hd_, {x, hd_, 1}, own, y + P, stride_, false, rows());
    }

    // Rows of keys or values of the prefix and of the sample, summed with weights w [rows, P + end] -> [rows, hd].
    void sums(const float *w, const float *of_prefix, MatrixView own, float *y) const {
        const int64_t P = prefix_.n;
        if (P) gemm(rows(), hd_, P, {w, stride_, 1}, {of_prefix + kv_ * P * hd_, hd_, 1}, y, hd_, false, rows());
        gemm(rows(), hd_, end, {w + P, stride_, 1}, own, y, hd_, P > 0, rows());
    }

    // Adds the sample's part of w^T x to y [end, hd].
    void add_outer(const float *w, const float *x, float *y) const {
        gemm(end, hd_, rows(), {w + prefix_.n, 1, stride_}, {x, hd_, 1}, y, hd_, true, end);
    }

    MatrixView values(const float *qkv) const { return {value(qkv, 0), width_, 1}; }

    // The block's rows in a matrix [rows of the batch, heads * hd].
    void gather(const float *matrix) {
        for (int64_t r = 0; r < rows(); ++r) memcpy(o + r * hd_, matrix + place(r), size_t(hd_) * sizeof(float));
    }
    void scatter(float *matrix) const {
        for (int64_t r = 0; r < rows(); ++r) memcpy(matrix + place(r), o + r * hd_, size_t(hd_) * sizeof(float));
    }

    // dq, dk and dv go to where q, k and v came from.
    RI_AVX512 void store_queries(float *dqkv) const {
        for (int64_t r = 0; r < rows(); ++r) {
            const int64_t s = start + r / group_;
            rotate(dq + r * hd_, cos(s), sin(s), -1.0f, hd_, at(dqkv, s, kv_ * group_ + r % group_));
        }
    }
    RI_AVX512 void store_keys_values(float *dqkv) const {
        for (int64_t s = 0; s < positions; ++s) {
            rotate(dk + s * hd_, cos(s), sin(s), -1.0f, hd_, at(dqkv, s, a_.heads + kv_));
            memcpy(at(dqkv, s, a_.heads + a_.heads_kv + kv_), dv + s * hd_, size_t(hd_) * sizeof(float));
        }
    }

  private:
    template <typename T> T *at(T *qkv, int64_t s, int64_t head) const {
        return qkv + (first_ + s) * width_ + head * hd_;
    }
    // Hides from position s what does not lead to it.
    void hide_others(float *own, int64_t s) const {
        for (int64_t before; s >= 0; s = before) {
            before = a_.parents[s];
            std::fill(own + before + 1, own + s, -INFINITY);
        }
    }
    int64_t place(int64_t r) const {
        return ((first_ + start + r / group_) * a_.heads + kv_ * group_ + r % group_) * hd_;
    }
    const float *cos(int64_t s) const { return a_.cos + s * hd_ / 2; }
    const float *sin(int64_t s) const { return a_.sin + s * hd_ / 2; }

    const Attention &a_;
    const PrefixCache &prefix_;
    const int64_t hd_, group_, width_, block_, stride_;
    int64_t kv_ = 0, first_ = 0;
};

} // namespace

bool attention_supported(int64_t head_dim) { return head_dim % 16 == 0; }

// Tasks are dealt out in turn: samples are ordered by length.
void attention(const Attention &a, const PrefixCache &prefix, const float *qkv, float *out, int ith, int nth) {
    Task t(a, prefix);
    for (int64_t task = ith; task < a.samples * a.heads_kv; task += nth) {
        t.choose(task);
        t.rotate_keys(qkv);
        t.each_block([&] {
            t.weights(qkv);
            t.sums(t.p, prefix.v, t.values(qkv), t.o);
            t.scatter(out);
        });
    }
}

void attention_back(const Attention &a, const PrefixCache &prefix, const float *qkv, const float *dout, float *dqkv,
                    int ith, int nth) {
    Task t(a, prefix);
    for (int64_t task = ith; task < a.samples * a.heads_kv; task += nth) {
        t.choose(task);
        t.rotate_keys(qkv);
        std::fill(t.dk, t.dk + t.positions * a.head_dim, 0.0f);
        std::fill(t.dv, t.dv + t.positions * a.head_dim, 0.0f);
        t.each_block([&] {
            t.weights(qkv);
            t.gather(dout);
            const MatrixView v = t.values(qkv);
            t.products(t.o, prefix.v_t, {v.data, v.column, v.row}, t.ds);
            for (int64_t r = 0; r < t.rows(); ++r)
                softmax_back_row(t.p + r * t.stride(), t.keys(), a.scale, t.ds + r * t.stride());
            t.sums(t.ds, prefix.k, {t.k, a.head_dim, 1}, t.dq);
            t.store_queries(dqkv);
            t.add_outer(t.ds, t.q, t.dk);
            t.add_outer(t.p, t.o, t.dv);
        });
        t.store_keys_values(dqkv);
    }
}

} // namespace ri::kernels

#else // other processors: never called, because kernels::available() says no

namespace ri::kernels {

bool attention_supported(int64_t) { return false; }
void attention(const Attention &, const PrefixCache &, const float *, float *, int, int) {}
void attention_back(const Attention &, const PrefixCache &, const float *, const float *, float *, int, int) {}

} // namespace ri::kernels

#endif
