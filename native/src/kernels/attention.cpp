// Rotary grouped-query attention of packed samples after a shared prefix. The queries of some
// positions, of all heads that share keys, are the rows of one matrix, so that everything but the
// softmax is a product of small matrices.
#include "set.h"

#include <math.h>

namespace ri::kernels::RI_SET {

namespace {

constexpr int64_t max_rows = 48; // of one block of queries: whole tiles of gemm, and scores that stay in the cache

// Rotates pairs (2i, 2i+1) of a head by the position's angles; `sign` -1 rotates back.
RI_INLINE void rotate(const float *in, const float *cos, const float *sin, float sign, int64_t head_dim, float *out) {
    int64_t i = 0;
    for (; i + lanes <= head_dim; i += lanes) {
        const Vector x = load(in + i);
        store(out + i, x * load(cos + i) + swap_pairs(x) * (sign * load(sin + i)));
    }
    for (; i < head_dim; i += 2) {
        const float x = in[i], y = in[i + 1];
        out[i] = x * cos[i] + y * (sign * sin[i]);
        out[i + 1] = y * cos[i + 1] + x * (sign * sin[i + 1]);
    }
}

// x = softmax(scale * x) over its first n numbers; what follows, up to `width`, becomes zero.
RI_INLINE void softmax_row(float *x, int64_t n, int64_t width, float scale) {
    const int64_t whole = n / lanes * lanes, rest = n - whole;
    Vector most = all<Vector>(-INFINITY);
    for (int64_t j = 0; j < whole; j += lanes) most = greater(load(x + j), most);
    if (rest) most = greater(load(x + whole, rest, -INFINITY), most);
    const float top = greatest(most);
    Vector total{};
    for (int64_t j = 0; j < whole; j += lanes) {
        const Vector e = exponential((load(x + j) - top) * scale);
        store(x + j, e);
        total += e;
    }
    if (rest) {
        const Vector e = exponential((load(x + whole, rest, -INFINITY) - top) * scale);
        store(x + whole, e, rest);
        total += e;
    }
    const float inverse = 1.0f / sum(total);
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) x[j] *= inverse;
    fill(x + n, width - n, 0.0f);
}

// ds = scale * p * (dp - sum of p dp), in place of dp, over n numbers.
RI_INLINE void softmax_back_row(const float *p, int64_t n, float scale, float *ds) {
    float mean = 0;
#pragma omp simd reduction(+ : mean)
    for (int64_t j = 0; j < n; ++j) mean += p[j] * ds[j];
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) ds[j] = scale * p[j] * (ds[j] - mean);
}

// One sample and key-value head: where its numbers lie in qkv (and in its gradient), and a thread's
// scratch memory.
class Task {
  public:
    Task(const Attention &a, const PrefixCache &prefix)
        : a_(a), prefix_(prefix), hd_(a.head_dim), group_(a.heads / a.heads_kv),
          width_((a.heads + 2 * a.heads_kv) * hd_), block_(most(1, max_rows / group_)), stride_(prefix.n + a.longest) {
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
            end = least(positions, start + block_);
            body();
        }
    }

    void rotate_keys(const float *qkv) {
        for (int64_t s = 0; s < positions; ++s) rotate(key(qkv, s), cos(s), sin(s), 1.0f, hd_, k + s * hd_);
    }

    // q: the block's queries, rotated; p: their attention weights.
    void weights(const float *qkv) {
        for (int64_t r = 0; r < rows(); ++r) {
            const int64_t s = start + r / group_;
            rotate(at(qkv, s, kv_ * group_ + r % group_), cos(s), sin(s), 1.0f, hd_, q + r * hd_);
        }
        products(q, prefix_.k_t, {k, 1, hd_}, p);
        for (int64_t r = 0; r < rows(); ++r) {
            const int64_t s = start + r / group_;
            if (a_.parents) hide_others(p + r * stride_ + prefix_.n, s);
            if (a_.window) hide_far(p + r * stride_, s);
            softmax_row(p + r * stride_, prefix_.n + s + 1, keys(), a_.scale);
        }
    }

    // x [rows, hd] times the transposed keys or values of the prefix and of the sample -> [rows, P
    // + end].
    void products(const float *x, const float *of_prefix, MatrixView own, float *y) const {
        const int64_t P = prefix_.n;
        if (P) gemm(rows(), P, hd_, {x, hd_, 1}, {of_prefix + kv_ * hd_ * P, P, 1}, y, stride_, false, rows());
        gemm(rows(), end, hd_, {x, hd_, 1}, own, y + P, stride_, false, rows());
    }

    // Rows of keys or values of the prefix and of the sample, summed with weights w [rows, P + end]
    // -> [rows, hd].
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
        for (int64_t r = 0; r < rows(); ++r) copy(matrix + place(r), hd_, o + r * hd_);
    }
    void scatter(float *matrix) const {
        for (int64_t r = 0; r < rows(); ++r) copy(o + r * hd_, hd_, matrix + place(r));
    }

    // dq, dk and dv go to where q, k and v came from.
    void store_queries(float *dqkv) const {
        for (int64_t r = 0; r < rows(); ++r) {
            const int64_t s = start + r / group_;
            rotate(dq + r * hd_, cos(s), sin(s), -1.0f, hd_, at(dqkv, s, kv_ * group_ + r % group_));
        }
    }
    void store_keys_values(float *dqkv) const {
        for (int64_t s = 0; s < positions; ++s) {
            rotate(dk + s * hd_, cos(s), sin(s), -1.0f, hd_, at(dqkv, s, a_.heads + kv_));
            copy(dv + s * hd_, hd_, at(dqkv, s, a_.heads + a_.heads_kv + kv_));
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
            fill(own + before + 1, s - before - 1, -INFINITY);
        }
    }
    // Hides from position s what lies before its window.
    void hide_far(float *row, int64_t s) const {
        int64_t seen = 0;
        for (; s >= 0 && seen < a_.window; ++seen) s = a_.parents ? a_.parents[s] : s - 1;
        if (s >= 0) fill(row + prefix_.n, s + 1, -INFINITY);
        if (prefix_.n > a_.window - seen) fill(row, prefix_.n - (a_.window - seen), -INFINITY);
    }
    int64_t place(int64_t r) const {
        return ((first_ + start + r / group_) * a_.heads + kv_ * group_ + r % group_) * hd_;
    }
    const float *cos(int64_t s) const { return a_.cos + s * hd_; }
    const float *sin(int64_t s) const { return a_.sin + s * hd_; }

    const Attention &a_;
    const PrefixCache &prefix_;
    const int64_t hd_, group_, width_, block_, stride_;
    int64_t kv_ = 0, first_ = 0;
};

} // namespace

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
        fill(t.dk, t.positions * a.head_dim, 0.0f);
        fill(t.dv, t.positions * a.head_dim, 0.0f);
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

} // namespace ri::kernels::RI_SET
