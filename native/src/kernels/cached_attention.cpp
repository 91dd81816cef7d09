// Attention of generation: few queries, and keys and values in a cache of half precision. Queries
// that see the same keys and values are the rows of one matrix; keys are taken a block at a time,
// and the softmax is kept up to date on the way (Milakov and Gimelshein 2018, arXiv 1805.02867).
#include "set.h"

#include <math.h>

namespace ri::kernels::RI_SET {

namespace {

constexpr int64_t block = 32;        // keys
constexpr int64_t rows_at_once = 12; // queries of one matrix, unless more share a head
static_assert(block == 32, "the keys that a query sees are the bits of one number");

RI_INLINE const char *at(const Strided &s, int64_t position, int64_t head, int64_t stream) {
    return s.data + size_t(position) * s.position + size_t(head) * s.head + size_t(stream) * s.stream;
}

// `count` numbers in half precision, 0 < count <= lanes; the others are `rest`.
RI_INLINE Vector load_halves(const char *p, int64_t count, float rest) {
    if (count == lanes) return load_half(p);
    uint16_t halves[lanes] = {};
    memcpy(halves, p, size_t(count) * sizeof *halves);
    Vector v = load_half(halves);
    for (int64_t i = count; i < lanes; ++i) v[i] = rest;
    return v;
}

// The mask's numbers of a block with n keys; the others are hidden.
RI_INLINE void load_mask(const char *mask, int64_t n, float *out) {
    for (int64_t i = 0; i < block; i += lanes)
        store(out + i, i < n ? load_halves(mask + i * int64_t(sizeof(uint16_t)), least(lanes, n - i), -INFINITY)
                             : all<Vector>(-INFINITY));
}

// Which keys a query sees.
RI_INLINE uint32_t visible(const float *mask) {
    uint32_t bits = 0;
    for (int64_t i = 0; i < block; ++i) bits |= uint32_t(mask[i] > -INFINITY) << i;
    return bits;
}

// Rows of n numbers in half precision. Those that nobody sees become zeros, whatever they hold. The
// next block is fetched meanwhile: rows of a cache lie too far apart for the processor to guess
// them.
RI_INLINE void load_rows(const char *rows, size_t stride, uint32_t seen, int64_t n, float *out) {
    for (int64_t i = 0; i < block; ++i) {
        const char *row = rows + size_t(i) * stride;
        float *to = out + i * n;
        if (!(seen >> i & 1)) {
            fill(to, n, 0.0f);
            continue;
        }
        int64_t d = 0;
        for (; d + lanes <= n; d += lanes) {
            __builtin_prefetch(row + size_t(block) * stride + size_t(d) * sizeof(uint16_t));
            store(to + d, load_half(row + size_t(d) * sizeof(uint16_t)));
        }
        if (d < n) store(to + d, load_halves(row + size_t(d) * sizeof(uint16_t), n - d, 0), n - d);
    }
}

// The softmax of one query so far: the highest score, and the sum of the weights.
struct Softmax {
    float highest, sum;
};

// Positions of which the queries make up one matrix, and how many such parts a stream has for each
// head.
struct Parts {
    int64_t positions, of_head;
};
RI_INLINE Parts parts_of(const CachedAttention &a) {
    const int64_t positions = most(1, rows_at_once / (a.heads / a.heads_kv));
    return {positions, (a.queries + positions - 1) / positions};
}

// Turns scores of a block into weights, and what went before, `out` [n], to the same scale. A
// hidden key's mask is -infinity, and so is its score, for any finite key.
RI_INLINE void add_block(Softmax &softmax, float *scores, const float *mask, float scale, int64_t n, float *out) {
    Vector s[block / lanes], highest = all<Vector>(softmax.highest);
    for (int64_t i = 0; i < block / lanes; ++i) {
        s[i] = load(scores + i * lanes) * scale + load(mask + i * lanes);
        highest = greater(s[i], highest);
    }
    const float top = greatest(highest);
    Vector total{};
    for (int64_t i = 0; i < block / lanes; ++i) {
        s[i] = exponential(s[i] - top);
        store(scores + i * lanes, s[i]);
        total += s[i];
    }
    const float shrink = exponential(softmax.highest - top); // of nothing: it multiplies zeros
    softmax = {top, softmax.sum * shrink + sum(total)};
#pragma omp simd
    for (int64_t d = 0; d < n; ++d) out[d] *= shrink;
}

// How many threads can share the work.
int64_t n_parts(const CachedAttention &a) { return a.streams * a.heads_kv * parts_of(a).of_head; }

} // namespace

void cached_attention(const CachedAttention &a, float *out, int ith, int nth) {
    const Parts parts = parts_of(a);
    const int64_t n = a.head_dim, group = a.heads / a.heads_kv, rows = parts.positions * group;
    float *memory = scratch(size_t(2 * rows * n + rows * block + 3 * block * n + 2 * rows + parts.positions * block));
    float *q = memory, *o = q + rows * n, *scores = o + rows * n;
    float *loaded = scores + rows * block, *keys = loaded + block * n, *values = keys + block * n;
    auto *softmax = reinterpret_cast<Softmax *>(values + block * n); // [rows]
    float *masks = values + block * n + 2 * rows;                    // [positions, block]
    uint32_t sees[rows_at_once];
    for (int64_t task = ith; task < n_parts(a); task += nth) {
        const int64_t stream = task / parts.of_head / a.heads_kv, head = task / parts.of_head % a.heads_kv;
        const int64_t first = task % parts.of_head * parts.positions;
        const int64_t count = least(parts.positions, a.queries - first);
        for (int64_t r = 0; r < count * group; ++r)
            memcpy(q + r * n, at(a.q, first + r / group, head * group + r % group, stream), size_t(n) * sizeof(float));
        fill(o, count * group * n, 0.0f);
        for (int64_t r = 0; r < rows; ++r) softmax[r] = {-INFINITY, 0};
        for (int64_t key = 0; key < a.keys; key += block) {
            const int64_t present = least(block, a.keys - key);
            uint32_t seen = 0;
            for (int64_t i = 0; i < count; ++i) {
                load_mask(at(a.mask, first + i, 0, stream) + size_t(key) * sizeof(uint16_t), present,
                          masks + i * block);
                seen |= sees[i] = visible(masks + i * block);
            }
            if (!seen) continue;
            load_rows(at(a.k, key, head, stream), a.k.position, seen, n, loaded);
            transpose(block, n, loaded, keys);
            load_rows(at(a.v, key, head, stream), a.v.position, seen, n, values);
            gemm(count * group, block, n, {q, n, 1}, {keys, block, 1}, scores, block, false, rows);
            for (int64_t r = 0; r < count * group; ++r) {
                const int64_t i = r / group;
                if (sees[i])
                    add_block(softmax[r], scores + r * block, masks + i * block, a.scale, n, o + r * n);
                else
                    fill(scores + r * block, block, 0.0f);
            }
            gemm(count * group, n, block, {scores, block, 1}, {values, n, 1}, o, n, true, rows);
        }
        for (int64_t r = 0; r < count * group; ++r) {
            const float total = softmax[r].sum, inverse = total > 0 ? 1 / total : 0;
            float *to = out + ((stream * a.queries + first + r / group) * a.heads + head * group + r % group) * n;
            for (int64_t d = 0; d < n; ++d) to[d] = o[r * n + d] * inverse;
        }
    }
}

} // namespace ri::kernels::RI_SET
