// Attention of generation: few queries, and keys and values in a cache of half precision. Queries that see the same
// keys and values are the rows of one matrix; keys are taken a block at a time, and the softmax is kept up to date on
// the way (Milakov and Gimelshein 2018, arXiv 1805.02867).
#include "avx512.h"
#include "gemm.h"
#include "kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#if defined(__x86_64__)

namespace ri::kernels {

namespace {

constexpr int64_t block = 32;        // keys
constexpr int64_t rows_at_once = 12; // queries of one matrix, unless more share a head
static_assert(block == 32, "the keys that a query sees are the bits of one number");

// Which of a block's keys a query sees, by the mask's numbers in half precision.
RI_AVX512 uint32_t visible(const char *mask) {
    const __m512 low = _mm512_set1_ps(-INFINITY);
    uint32_t bits = 0;
    for (int64_t half = 0; half < 2; ++half) {
        const __m512 m = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(mask) + half));
        bits |= uint32_t(_mm512_cmp_ps_mask(m, low, _CMP_GT_OQ)) << (16 * half);
    }
    return bits;
}

// Rows of n numbers in half precision. Those that nobody sees become zeros, whatever they hold. The next block is
// fetched meanwhile: rows of a cache lie too far apart for the processor to guess them.
RI_AVX512 void load_rows(const char *rows, size_t stride, uint32_t seen, int64_t n, float *out) {
    for (int64_t i = 0; i < block; ++i)
        for (int64_t d = 0; d < n; d += 16) {
            const auto *from = reinterpret_cast<const __m256i *>(rows + size_t(i) * stride) + d / 16;
            __builtin_prefetch(rows + size_t(i + block) * stride + size_t(d) * sizeof(uint16_t));
            _mm512_storeu_ps(out + i * n + d, seen >> i & 1 ? _mm512_cvtph_ps(_mm256_loadu_si256(from)) : __m512{});
        }
}

// The softmax of one query so far: the highest score, and the sum of the weights.
struct Softmax {
    float highest, sum;
};

// Positions of which the queries make up one matrix, and how many such parts a stream has for each head.
struct Parts {
    int64_t positions, of_head;
    explicit Parts(const CachedAttention &a)
        : positions(std::max<int64_t>(1, rows_at_once / (a.heads / a.heads_kv))),
          of_head((a.queries + positions - 1) / positions) {}
};

// Turns scores of a block into weights, and what went before, `out` [n], to the same scale.
RI_AVX512 void add_block(Softmax &softmax, float *scores, const char *mask, uint32_t sees, float scale, int64_t n,
                         float *out) {
    __m512 s[2], most = _mm512_set1_ps(softmax.highest);
    for (int64_t half = 0; half < 2; ++half) {
        const __m512 m = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(mask) + half));
        s[half] = _mm512_fmadd_ps(_mm512_loadu_ps(scores + 16 * half), _mm512_set1_ps(scale), m);
        most = _mm512_mask_max_ps(most, __mmask16(sees >> (16 * half)), most, s[half]);
    }
    const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    __m512 sum{};
    for (int64_t half = 0; half < 2; ++half) {
        s[half] = _mm512_maskz_mov_ps(__mmask16(sees >> (16 * half)), exp16(_mm512_sub_ps(s[half], top)));
        _mm512_storeu_ps(scores + 16 * half, s[half]);
        sum = _mm512_add_ps(sum, s[half]);
    }
    const __m512 shrink = exp16(_mm512_sub_ps(_mm512_set1_ps(softmax.highest), top)); // of nothing: it multiplies zeros
    softmax = {_mm512_cvtss_f32(top), softmax.sum * _mm512_cvtss_f32(shrink) + _mm512_reduce_add_ps(sum)};
    for (int64_t d = 0; d < n; d += 16) _mm512_storeu_ps(out + d, _mm512_mul_ps(_mm512_loadu_ps(out + d), shrink));
}

} // namespace

bool cached_attention_supported(int64_t head_dim, int64_t keys) { return head_dim % 16 == 0 && keys % block == 0; }

int64_t cached_attention_parts(const CachedAttention &a) { return a.streams * a.heads_kv * Parts(a).of_head; }

void cached_attention(const CachedAttention &a, float *out, int ith, int nth) {
    const Parts parts(a);
    const int64_t n = a.head_dim, group = a.heads / a.heads_kv, rows = parts.positions * group;
    float *memory = scratch(size_t(2 * rows * n + rows * block + 3 * block * n + 2 * rows));
    float *q = memory, *o = q + rows * n, *scores = o + rows * n;
    float *loaded = scores + rows * block, *keys = loaded + block * n, *values = keys + block * n;
    auto *softmax = reinterpret_cast<Softmax *>(values + block * n); // [rows]
    uint32_t sees[rows_at_once];
    for (int64_t task = ith; task < cached_attention_parts(a); task += nth) {
        const int64_t stream = task / parts.of_head / a.heads_kv, head = task / parts.of_head % a.heads_kv;
        const int64_t first = task % parts.of_head * parts.positions;
        const int64_t count = std::min(parts.positions, a.queries - first);
        for (int64_t r = 0; r < count * group; ++r)
            memcpy(q + r * n, a.q.at(first + r / group, head * group + r % group, stream), size_t(n) * sizeof(float));
        std::fill(o, o + count * group * n, 0.0f);
        std::fill(softmax, softmax + rows, Softmax{-INFINITY, 0});
        for (int64_t key = 0; key < a.keys; key += block) {
            auto mask = [&](int64_t i) { return a.mask.at(first + i, 0, stream) + size_t(key) * sizeof(uint16_t); };
            uint32_t seen = 0;
            for (int64_t i = 0; i < count; ++i) seen |= sees[i] = visible(mask(i));
            if (!seen) continue;
            load_rows(a.k.at(key, head, stream), a.k.position, seen, n, loaded);
            transpose(block, n, loaded, keys);
            load_rows(a.v.at(key, head, stream), a.v.position, seen, n, values);
            gemm(count * group, block, n, {q, n, 1}, {keys, block, 1}, scores, block, false, rows);
            for (int64_t r = 0; r < count * group; ++r) {
                const int64_t i = r / group;
                if (sees[i])
                    add_block(softmax[r], scores + r * block, mask(i), sees[i], a.scale, n, o + r * n);
                else
                    std::fill(scores + r * block, scores + (r + 1) * block, 0.0f);
            }
            gemm(count * group, n, block, {scores, block, 1}, {values, n, 1}, o, n, true, rows);
        }
        for (int64_t r = 0; r < count * group; ++r) {
            const float sum = softmax[r].sum, inverse = sum > 0 ? 1 / sum : 0;
            float *to = out + ((stream * a.queries + first + r / group) * a.heads + head * group + r % group) * n;
            for (int64_t d = 0; d < n; ++d) to[d] = o[r * n + d] * inverse;
        }
    }
}

} // namespace ri::kernels

#else // other processors: never called, because kernels::available() says no

namespace ri::kernels {

bool cached_attention_supported(int64_t, int64_t) { return false; }
int64_t cached_attention_parts(const CachedAttention &) { return 0; }
void cached_attention(const CachedAttention &, float *, int, int) {}

} // namespace ri::kernels

#endif
