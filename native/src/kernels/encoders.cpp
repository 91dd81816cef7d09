// Attention over short histories, with a softmax and pointwise, and the GRU with its recurrence.
#include "set.h"

#include <math.h>

namespace ri::kernels::RI_SET {

// ---- attention

namespace {

// A query of a head, which attends to positions 0..last of its sample.
struct Query {
    int64_t last;
    int64_t at;              // of its numbers among the queries', and of its output's
    int64_t from;            // of its head's numbers at the sample's first position among the keys' and the values'
    int64_t sample, weights; // of its weights in a mask: [samples, heads, queries, T]
    int64_t pairs;           // of its biases, which the heads share: [samples, queries, T]
    bool first;              // of its sample
};

// Calls body with each query of the thread's samples.
template <typename Body> RI_INLINE void each_query(const ShortAttention &s, int ith, int nth, Body body) {
    const int64_t T = s.positions, hd = s.head_dim, row = s.heads * hd, queries = s.at_last ? 1 : T;
    const Share part = share_of(s.samples, ith, nth);
    for (int64_t b = part.first; b < part.last; ++b)
        for (int64_t n = 0; n < queries; ++n)
            for (int64_t h = 0; h < s.heads; ++h)
                body(Query{s.lengths ? s.lengths[b] - 1 : n, (b * queries + n) * row + h * hd, b * T * row + h * hd, b,
                           ((b * s.heads + h) * queries + n) * T, (b * queries + n) * T, n == 0 && h == 0});
}

// The products of a query with the keys that it attends to.
RI_INLINE void score(const ShortAttention &s, const Query &at, const float *q, const float *k, float *scores) {
    const int64_t row = s.heads * s.head_dim, hd = s.head_dim;
    const float *query = q + at.at, *keys = k + at.from;
    for (int64_t t = 0; t <= at.last; ++t) {
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t i = 0; i < hd; ++i) dot += query[i] * keys[t * row + i];
        scores[t] = dot;
    }
}

// weights = softmax(scale * weights) of a query.
RI_INLINE void softmax_of(const ShortAttention &s, const Query &at, float *weights) {
    float most = -INFINITY, total = 0;
    for (int64_t t = 0; t <= at.last; ++t) {
        weights[t] *= s.scale;
        most = most > weights[t] ? most : weights[t];
    }
    for (int64_t t = 0; t <= at.last; ++t) total += weights[t] = exponential(weights[t] - most);
    for (int64_t t = 0; t <= at.last; ++t) weights[t] /= total;
}

// The sums of values with the weights that `weigh` makes of a query's scores.
template <typename Weigh>
RI_INLINE void attend(const ShortAttention &s, const float *q, const float *k, const float *v, float *out, int ith,
                      int nth, Weigh weigh) {
    const int64_t hd = s.head_dim, row = s.heads * hd;
    float *weights = scratch(size_t(s.positions));
    each_query(s, ith, nth, [&](const Query &at) {
        score(s, at, q, k, weights);
        weigh(at, weights);
        float *y = out + at.at;
#pragma omp simd
        for (int64_t i = 0; i < hd; ++i) y[i] = 0;
        for (int64_t t = 0; t <= at.last; ++t)
#pragma omp simd
            for (int64_t i = 0; i < hd; ++i) y[i] += weights[t] * v[at.from + t * row + i];
    });
}

// Its gradient. `weigh` also keeps what `back` needs to turn gradients of weights into those of
// scores.
template <typename Weigh, typename Back>
RI_INLINE void attend_back(const ShortAttention &s, const float *q, const float *k, const float *v, const float *dout,
                           float *dq, float *dk, float *dv, int ith, int nth, Weigh weigh, Back back) {
    const int64_t T = s.positions, hd = s.head_dim, row = s.heads * hd;
    float *weights = scratch(size_t(3 * T)), *kept = weights + T, *gradients = kept + T;
    each_query(s, ith, nth, [&](const Query &at) {
        if (at.first) {
            memset(dk + at.from, 0, size_t(T * row) * sizeof(float));
            memset(dv + at.from, 0, size_t(T * row) * sizeof(float));
        }
        score(s, at, q, k, weights);
        weigh(at, weights, kept);
        const float *query = q + at.at, *d = dout + at.at;
        for (int64_t t = 0; t <= at.last; ++t) {
            const float w = weights[t], *value = v + at.from + t * row;
            float *dvalue = dv + at.from + t * row, dot = 0;
#pragma omp simd reduction(+ : dot)
            for (int64_t i = 0; i < hd; ++i) {
                dot += d[i] * value[i];
                dvalue[i] += w * d[i];
            }
            gradients[t] = dot;
        }
        back(at, kept, gradients);
        float *dquery = dq + at.at;
#pragma omp simd
        for (int64_t i = 0; i < hd; ++i) dquery[i] = 0;
        for (int64_t t = 0; t <= at.last; ++t) {
            const float dscore = gradients[t], *key = k + at.from + t * row;
            float *dkey = dk + at.from + t * row;
#pragma omp simd
            for (int64_t i = 0; i < hd; ++i) {
                dquery[i] += dscore * key[i];
                dkey[i] += dscore * query[i];
            }
        }
    });
}

} // namespace

void short_attention(const ShortAttention &s, const float *q, const float *k, const float *v, const float *mask,
                     float *out, int ith, int nth) {
    attend(s, q, k, v, out, ith, nth, [&](const Query &at, float *weights) {
        softmax_of(s, at, weights);
        if (s.has_mask)
            for (int64_t t = 0; t <= at.last; ++t) weights[t] *= mask[at.weights + t];
    });
}

void short_attention_back(const ShortAttention &s, const float *q, const float *k, const float *v, const float *mask,
                          const float *dout, float *dq, float *dk, float *dv, int ith, int nth) {
    auto weigh = [&](const Query &at, float *weights, float *probabilities) {
        softmax_of(s, at, weights);
        for (int64_t t = 0; t <= at.last; ++t) {
            probabilities[t] = weights[t];
            if (s.has_mask) weights[t] *= mask[at.weights + t];
        }
    };
    auto back = [&](const Query &at, const float *probabilities, float *gradients) {
        float inner = 0; // the sum of probabilities times their gradients
        for (int64_t t = 0; t <= at.last; ++t) {
            if (s.has_mask) gradients[t] *= mask[at.weights + t];
            inner += probabilities[t] * gradients[t];
        }
        for (int64_t t = 0; t <= at.last; ++t) gradients[t] = probabilities[t] * (gradients[t] - inner) * s.scale;
    };
    attend_back(s, q, k, v, dout, dq, dk, dv, ith, nth, weigh, back);
}

namespace {

// Adds to a query's scores the biases of distances and of pairs.
RI_INLINE void add_biases(const Query &at, const float *bias, const float *pairs, float *scores) {
    for (int64_t t = 0; t <= at.last; ++t) scores[t] += bias[at.last - t];
    if (!pairs) return;
#pragma omp simd
    for (int64_t t = 0; t <= at.last; ++t) scores[t] += pairs[at.pairs + t];
}

} // namespace

void pointwise_attention(const ShortAttention &s, const float *q, const float *k, const float *v, const float *bias,
                         const float *pairs, float *out, int ith, int nth) {
    attend(s, q, k, v, out, ith, nth, [&](const Query &at, float *weights) {
        add_biases(at, bias, pairs, weights);
#pragma omp simd
        for (int64_t t = 0; t <= at.last; ++t) weights[t] *= sigmoid(weights[t]) * s.scale;
    });
}

void pointwise_attention_back(const ShortAttention &s, const float *q, const float *k, const float *v,
                              const float *bias, const float *pairs, const float *dout, float *dq, float *dk, float *dv,
                              float *dbias, float *dpairs, int ith, int nth) {
    const int64_t T = s.positions, of_sample = (s.at_last ? 1 : T) * T;
    auto weigh = [&](const Query &at, float *weights, float *slopes) {
        if (at.first) {
            memset(dbias + at.sample * T, 0, size_t(T) * sizeof(float));
            if (pairs) memset(dpairs + at.sample * of_sample, 0, size_t(of_sample) * sizeof(float));
        }
        add_biases(at, bias, pairs, weights);
#pragma omp simd
        for (int64_t t = 0; t <= at.last; ++t) {
            const float gate = sigmoid(weights[t]);
            slopes[t] = gate * (1.0f + weights[t] * (1.0f - gate)) * s.scale;
            weights[t] = weights[t] * gate * s.scale;
        }
    };
    auto back = [&](const Query &at, const float *slopes, float *gradients) {
        for (int64_t t = 0; t <= at.last; ++t) {
            gradients[t] *= slopes[t];
            dbias[at.sample * T + at.last - t] += gradients[t];
        }
        if (!pairs) return;
#pragma omp simd
        for (int64_t t = 0; t <= at.last; ++t) dpairs[at.pairs + t] += gradients[t];
    };
    attend_back(s, q, k, v, dout, dq, dk, dv, ith, nth, weigh, back);
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
