// CPU kernels for a frozen LLaMA, training through it and generation: large products in bfloat16 with weights packed
// once, and the operations between them fused. They need AVX512 with its BF16 extension (Zen 4, Cooper Lake, Sapphire
// Rapids and later); on every other machine the same graph is composed of ggml operations.
//
// Every function does the share of thread `ith` of `nth`; shares write disjoint outputs, so results do not depend on
// nth. Matrices are row-major: one row for each position.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace ri::kernels {

// Whether this processor can run them.
bool available();

// A frozen matrix [n_out, n_in] in bfloat16, in panels of 48 outputs with pairs of inputs side by side, which is the
// order in which vdpbf16ps consumes them. 2 bytes for each number.
class PackedMatrix {
  public:
    PackedMatrix(int64_t n_out, int64_t n_in);
    // The same in memory of somebody else: size() bytes at a multiple of `alignment`, zeros at first.
    PackedMatrix(int64_t n_out, int64_t n_in, void *memory);
    static constexpr size_t alignment = 64;
    static size_t size(int64_t n_out, int64_t n_in);
    // Rounds to nearest even. Row `out` of the matrix [n_in] / column `in` of it [n_out].
    void set_row(int64_t out, const float *row);
    void set_row(int64_t out, const uint16_t *row); // in bfloat16 already
    void set_column(int64_t in, const float *column);
    // y [rows, n_out] = x [rows, n_in] times the transposed matrix; x is rounded to bfloat16, sums are in float32.
    void multiply(const float *x, int64_t rows, float *y, int ith, int nth) const;

    int64_t n_out() const { return n_out_; }
    int64_t n_in() const { return n_in_; }

  private:
    int64_t n_out_, n_in_, pairs_, panels_;
    struct Free {
        void operator()(uint16_t *p) const;
    };
    std::unique_ptr<uint16_t[], Free> own_;
    uint16_t *data_;
};

// y = x / sqrt(mean(x^2) + eps) * weight, over rows of n (a multiple of 16), and dx given dy.
void rms_norm(const float *x, const float *weight, float eps, int64_t rows, int64_t n, float *y, int ith, int nth);
void rms_norm_back(const float *x, const float *weight, const float *dy, float eps, int64_t rows, int64_t n, float *dx,
                   int ith, int nth);

// y [rows, n] = silu(gate) * up from gate_up [rows, 2n] (n a multiple of 16), and d gate_up given dy.
void swiglu(const float *gate_up, int64_t rows, int64_t n, float *y, int ith, int nth);
void swiglu_back(const float *gate_up, const float *dy, int64_t rows, int64_t n, float *d_gate_up, int ith, int nth);

// log p(target) of rows of logits [rows, n], and (softmax - onehot) * weight. n is a multiple of 16; targets are flat:
// row * n + class.
void log_probability(const float *logits, const int32_t *targets, int64_t rows, int64_t n, float *logp, int ith,
                     int nth);
void cross_entropy_back(const float *logits, const int32_t *targets, const float *weights, int64_t rows, int64_t n,
                        float *dlogits, int ith, int nth);

// Keys and values of a shared prefix of one layer, in the orders that attention reads.
struct PrefixCache {
    int64_t n = 0;          // positions
    int64_t stride = 0;     // n rounded up to 16
    const float *k, *v;     // [heads_kv, n, head_dim], keys rotated
    const float *k_t, *v_t; // [heads_kv, head_dim, stride], zero beyond n
};

struct Attention {
    int64_t heads, heads_kv, head_dim; // head_dim a multiple of 16
    int64_t samples, longest;          // B, and the most rows of one
    const int64_t *first;              // [B + 1]: sample b has the rows first[b] to first[b + 1] - 1
    float scale;
    const float *cos, *sin; // [longest, head_dim / 2] at the suffix's positions
    const int32_t *parents; // [longest]: the row of the same sample that comes before, or -1; NULL: the one above
};
bool attention_supported(int64_t head_dim);
// qkv [rows, (heads + 2 heads_kv) * head_dim], before rotation -> out [rows, heads * head_dim]. Each position sees the
// whole prefix, and of its own sample itself and what comes before, parent by parent.
void attention(const Attention &shape, const PrefixCache &prefix, const float *qkv, float *out, int ith, int nth);
void attention_back(const Attention &shape, const PrefixCache &prefix, const float *qkv, const float *dout, float *dqkv,
                    int ith, int nth);

// Vectors of positions, heads and streams, strides in bytes, as ggml has them.
struct Strided {
    const char *data;
    size_t position, head, stream;
    const char *at(int64_t p, int64_t h, int64_t s) const {
        return data + size_t(p) * position + size_t(h) * head + size_t(s) * stream;
    }
};

// Queries of several streams, each with a cache of its own.
struct CachedAttention {
    int64_t streams, heads, heads_kv, head_dim; // heads a multiple of heads_kv
    int64_t queries, keys;                      // of a stream
    Strided q;                                  // F32
    Strided k, v;                               // F16
    Strided mask;                               // F16 [keys] for each query: added to its scores; -infinity hides a key
    float scale;
};
bool cached_attention_supported(int64_t head_dim, int64_t keys);
// How many threads can share it.
int64_t cached_attention_parts(const CachedAttention &shape);
// out [streams, queries, heads, head_dim]; zeros for a query that sees nothing.
void cached_attention(const CachedAttention &shape, float *out, int ith, int nth);

} // namespace ri::kernels
