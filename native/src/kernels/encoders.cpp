// Attention over short histories, with a softmax and pointwise, and the GRU with its recurrence.
#include "set.h"

#include <math.h>

namespace ri::kernels::RI_SET {

// ---- attention

namespace {

// The weights that query `last` of a head gives to positions 0..last.
RI_INLINE void attend(const ShortAttention &s, const float *q, const float *k, int64_t last, float *weights) {
    const int64_t row = s.heads * s.head_dim, hd = s.head_dim;
    float most = -INFINITY;
    for (int64_t t = 0; t <= last; ++t) {
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t i = 0; i < hd; ++i) dot += q[i] * k[t * row + i];
        weights[t] = dot * s.scale;
        most = most > weights[t] ? most : weights[t];
    }
    float total = 0;
    for (int64_t t = 0; t <= last; ++t) total += weights[t] = exponential(weights[t] - most);
    for (int64_t t = 0; t <= last; ++t) weights[t] /= total;
}

int64_t queries_of(const ShortAttention &s) { return s.at_last ? 1 : s.positions; }

} // namespace

void short_attention(const ShortAttention &s, const float *q, const float *k, const float *v, const float *mask,
                     float *out, int ith, int nth) {
    const int64_t T = s.positions, hd = s.head_dim, row = s.heads * hd, queries = queries_of(s);
    const Share part = share_of(s.samples, ith, nth);
    float *weights = scratch(size_t(T));
    for (int64_t b = part.first; b < part.last; ++b)
        for (int64_t n = 0; n < queries; ++n) {
            const int64_t last = s.lengths ? s.lengths[b] - 1 : n;
            for (int64_t h = 0; h < s.heads; ++h) {
                const int64_t at = (b * queries + n) * row + h * hd;
                const float *keys = k + b * T * row + h * hd, *values = v + b * T * row + h * hd;
                attend(s, q + at, keys, last, weights);
                if (s.has_mask)
                    for (int64_t t = 0; t <= last; ++t) weights[t] *= mask[((b * s.heads + h) * queries + n) * T + t];
                float *y = out + at;
#pragma omp simd
                for (int64_t i = 0; i < hd; ++i) y[i] = 0;
                for (int64_t t = 0; t <= last; ++t)
#pragma omp simd
                    for (int64_t i = 0; i < hd; ++i) y[i] += weights[t] * values[t * row + i];
            }
        }
}

void short_attention_back(const ShortAttention &s, const float *q, const float *k, const float *v, const float *mask,
                          const float *dout, float *dq, float *dk, float *dv, int ith, int nth) {
    const int64_t T = s.positions, hd = s.head_dim, row = s.heads * hd, queries = queries_of(s);
    const Share part = share_of(s.samples, ith, nth);
    float *weights = scratch(size_t(2 * T)), *dweights = weights + T;
    for (int64_t b = part.first; b < part.last; ++b) {
        memset(dk + b * T * row, 0, size_t(T * row) * sizeof(float));
        memset(dv + b * T * row, 0, size_t(T * row) * sizeof(float));
        for (int64_t n = 0; n < queries; ++n) {
            const int64_t last = s.lengths ? s.lengths[b] - 1 : n;
            for (int64_t h = 0; h < s.heads; ++h) {
                const int64_t at = (b * queries + n) * row + h * hd, from = b * T * row + h * hd;
                const float *query = q + at, *d = dout + at;
                attend(s, query, k + from, last, weights);
                float inner = 0; // sum over t of weight * dweight
                for (int64_t t = 0; t <= last; ++t) {
                    const float kept = s.has_mask ? mask[((b * s.heads + h) * queries + n) * T + t] : 1.0f;
                    const float w = weights[t] * kept;
                    const float *value = v + from + t * row;
                    float *dvalue = dv + from + t * row, dot = 0;
#pragma omp simd reduction(+ : dot)
                    for (int64_t i = 0; i < hd; ++i) {
                        dot += d[i] * value[i];
                        dvalue[i] += w * d[i];
                    }
                    dweights[t] = dot * kept;
                    inner += weights[t] * dweights[t];
                }
                float *dquery = dq + at;
#pragma omp simd
                for (int64_t i = 0; i < hd; ++i) dquery[i] = 0;
                for (int64_t t = 0; t <= last; ++t) {
                    const float dscore = weights[t] * (dweights[t] - inner) * s.scale;
                    const float *key = k + from + t * row;
                    float *dkey = dk + from + t * row;
#pragma omp simd
                    for (int64_t i = 0; i < hd; ++i) {
                        dquery[i] += dscore * key[i];
                        dkey[i] += dscore * query[i];
                    }
                }
            }
        }
    }
}

// ---- pointwise attention

namespace {

// The scores that query `last` of a head gives to positions 0..last.
RI_INLINE void score(const ShortAttention &s, const float *q, const float *k, const float *bias, int64_t last,
                     float *scores) {
    const int64_t row = s.heads * s.head_dim, hd = s.head_dim;
    for (int64_t t = 0; t <= last; ++t) {
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t i = 0; i < hd; ++i) dot += q[i] * k[t * row + i];
        scores[t] = dot + bias[last - t];
    }
}

} // namespace

void pointwise_attention(const ShortAttention &s, const float *q, const float *k, const float *v, const float *bias,
                         float *out, int ith, int nth) {
    const int64_t T = s.positions, hd = s.head_dim, row = s.heads * hd, queries = queries_of(s);
    const Share part = share_of(s.samples, ith, nth);
    float *scores = scratch(size_t(T));
    for (int64_t b = part.first; b < part.last; ++b)
        for (int64_t n = 0; n < queries; ++n) {
            const int64_t last = s.lengths ? s.lengths[b] - 1 : n;
            for (int64_t h = 0; h < s.heads; ++h) {
                const int64_t at = (b * queries + n) * row + h * hd, from = b * T * row + h * hd;
                score(s, q + at, k + from, bias, last, scores);
#pragma omp simd
                for (int64_t t = 0; t <= last; ++t) scores[t] *= sigmoid(scores[t]) * s.scale;
                float *y = out + at;
#pragma omp simd
                for (int64_t i = 0; i < hd; ++i) y[i] = 0;
                for (int64_t t = 0; t <= last; ++t)
#pragma omp simd
                    for (int64_t i = 0; i < hd; ++i) y[i] += scores[t] * v[from + t * row + i];
            }
        }
}

void pointwise_attention_back(const ShortAttention &s, const float *q, const float *k, const float *v,
                              const float *bias, const float *dout, float *dq, float *dk, float *dv, float *dbias,
                              int ith, int nth) {
    const int64_t T = s.positions, hd = s.head_dim, row = s.heads * hd, queries = queries_of(s);
    const Share part = share_of(s.samples, ith, nth);
    float *scores = scratch(size_t(3 * T)), *weights = scores + T, *slopes = weights + T;
    for (int64_t b = part.first; b < part.last; ++b) {
        memset(dk + b * T * row, 0, size_t(T * row) * sizeof(float));
        memset(dv + b * T * row, 0, size_t(T * row) * sizeof(float));
        memset(dbias + b * T, 0, size_t(T) * sizeof(float));
        for (int64_t n = 0; n < queries; ++n) {
            const int64_t last = s.lengths ? s.lengths[b] - 1 : n;
            for (int64_t h = 0; h < s.heads; ++h) {
                const int64_t at = (b * queries + n) * row + h * hd, from = b * T * row + h * hd;
                const float *query = q + at, *d = dout + at;
                score(s, query, k + from, bias, last, scores);
#pragma omp simd
                for (int64_t t = 0; t <= last; ++t) {
                    const float gate = sigmoid(scores[t]);
                    weights[t] = scores[t] * gate * s.scale;
                    slopes[t] = gate * (1.0f + scores[t] * (1.0f - gate)) * s.scale;
                }
                float *dquery = dq + at;
#pragma omp simd
                for (int64_t i = 0; i < hd; ++i) dquery[i] = 0;
                for (int64_t t = 0; t <= last; ++t) {
                    const float *value = v + from + t * row, *key = k + from + t * row;
                    float *dvalue = dv + from + t * row, *dkey = dk + from + t * row, dot = 0;
#pragma omp simd reduction(+ : dot)
                    for (int64_t i = 0; i < hd; ++i) {
                        dot += d[i] * value[i];
                        dvalue[i] += weights[t] * d[i];
                    }
                    const float dscore = dot * slopes[t];
                    dbias[b * T + last - t] += dscore;
#pragma omp simd
                    for (int64_t i = 0; i < hd; ++i) {
                        dquery[i] += dscore * key[i];
                        dkey[i] += dscore * query[i];
                    }
                }
            }
        }
    }
}

// ---- GRU

namespace {

struct Gates {
    float reset, update, fresh;
};

// One number of the cell: gates from the inputs and from the state before.
RI_INLINE Gates cell(const float *input, const float *state, int64_t H, int64_t i) {
    Gates g;
    g.reset = sigmoid(input[i] + state[i]);
    g.update = sigmoid(input[H + i] + state[H + i]);
    g.fresh = tangent(input[2 * H + i] + g.reset * state[2 * H + i]);
    return g;
}

} // namespace

void gru(const Recurrence &s, const float *gates, const float *w, const float *bias, float *h, float *cells, int ith,
         int nth) {
    const int64_t T = s.positions, H = s.hidden;
    const Share part = share_of(s.samples, ith, nth);
    const int64_t rows = part.last - part.first;
    if (rows == 0) return;
    float *state = scratch(size_t(rows * 3 * H + 3 * H * H)), *transposed = state + rows * 3 * H;
    transpose(3 * H, H, w, transposed);
    for (int64_t t = 0; t < T; ++t) {
        if (t > 0)
            gemm(rows, 3 * H, H, {h + (part.first * T + t - 1) * H, T * H, 1}, {transposed, 3 * H, 1}, state, 3 * H,
                 false, s.samples);
        for (int64_t b = 0; b < rows; ++b) {
            const int64_t at = (part.first + b) * T + t;
            float *own = h + at * H, *before = own - H, *from = state + b * 3 * H;
            if (t >= s.lengths[part.first + b]) {
                memcpy(own, before, size_t(H) * sizeof(float));
                continue;
            }
            if (t == 0)
                memcpy(from, bias, size_t(3 * H) * sizeof(float));
            else
#pragma omp simd
                for (int64_t i = 0; i < 3 * H; ++i) from[i] += bias[i];
            const float *input = gates + at * 3 * H;
            if (float *kept = cells ? cells + at * 4 * H : nullptr) {
#pragma omp simd
                for (int64_t i = 0; i < H; ++i) {
                    const Gates g = cell(input, from, H, i);
                    own[i] = (1.0f - g.update) * g.fresh + (t > 0 ? g.update * before[i] : 0.0f);
                    kept[i] = g.reset;
                    kept[H + i] = g.update;
                    kept[2 * H + i] = g.fresh;
                    kept[3 * H + i] = from[2 * H + i];
                }
            } else {
#pragma omp simd
                for (int64_t i = 0; i < H; ++i) {
                    const Gates g = cell(input, from, H, i);
                    own[i] = (1.0f - g.update) * g.fresh + (t > 0 ? g.update * before[i] : 0.0f);
                }
            }
        }
    }
}

void gru_back(const Recurrence &s, const float *w, const float *h, const float *cells, const float *dh, float *dgates,
              float *drecurrent, int ith, int nth) {
    const int64_t T = s.positions, H = s.hidden;
    const Share part = share_of(s.samples, ith, nth);
    const int64_t rows = part.last - part.first;
    if (rows == 0) return;
    float *later = scratch(size_t(rows * 2 * H)), *total = later + rows * H;
    memset(later, 0, size_t(rows * H) * sizeof(float));
    for (int64_t t = T - 1; t >= 0; --t) {
        for (int64_t b = 0; b < rows; ++b) {
            const int64_t at = (part.first + b) * T + t;
            float *d = total + b * H, *next = later + b * H;
            float *dg = dgates + at * 3 * H, *dr = drecurrent + at * 3 * H;
#pragma omp simd
            for (int64_t i = 0; i < H; ++i) d[i] = dh[at * H + i] + next[i];
            if (t >= s.lengths[part.first + b]) { // the state was passed on
                memcpy(next, d, size_t(H) * sizeof(float));
                memset(dg, 0, size_t(3 * H) * sizeof(float));
                memset(dr, 0, size_t(3 * H) * sizeof(float));
                continue;
            }
            const float *reset = cells + at * 4 * H, *update = reset + H, *fresh = update + H, *recurrent = fresh + H;
            const float *before = h + (at - 1) * H;
#pragma omp simd
            for (int64_t i = 0; i < H; ++i) {
                const float previous = t > 0 ? before[i] : 0.0f;
                const float dfresh = d[i] * (1.0f - update[i]) * (1.0f - fresh[i] * fresh[i]);
                const float dupdate = d[i] * (previous - fresh[i]) * update[i] * (1.0f - update[i]);
                const float dreset = dfresh * recurrent[i] * reset[i] * (1.0f - reset[i]);
                dg[i] = dr[i] = dreset;
                dg[H + i] = dr[H + i] = dupdate;
                dg[2 * H + i] = dfresh;
                dr[2 * H + i] = dfresh * reset[i];
                next[i] = d[i] * update[i];
            }
        }
        // Where the state was passed on, drecurrent is zero and adds nothing.
        if (t > 0)
            gemm(rows, H, 3 * H, {drecurrent + (part.first * T + t) * 3 * H, T * 3 * H, 1}, {w, H, 1}, later, H, true,
                 s.samples);
    }
}

} // namespace ri::kernels::RI_SET
