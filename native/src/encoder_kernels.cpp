#include "encoder_kernels.h"

#include "gemm.h"
#include "random.h"
#include "simd.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace ri::kernels {

namespace {

// e^x, relative error below 2e-7: 2^n by its exponent, 2^f on [-1/2, 1/2] by a Taylor series in f ln 2.
RI_SIMD_INLINE float exponential(float x) {
    const float asked = x;
    x = x > -87.0f ? x : -87.0f; // NaN too: a power must be a number
    x = x < 88.0f ? x : 88.0f;
    const float n = __builtin_rintf(x * 1.44269504f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const int32_t bits = (int32_t(n) + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return asked == asked ? p * power : asked;
}

RI_SIMD_INLINE float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }
RI_SIMD_INLINE float tangent(float x) { return 1.0f - 2.0f / (1.0f + exponential(2.0f * x)); }

// erf on [-1, 1] by a polynomial in x^2, beyond by 1 - e^(-x q(x)); least-squares fits of ours, relative error 2e-8
// before rounding.
RI_SIMD_INLINE float error_function(float x) {
    const float a = std::fabs(x), s = x * x;
    float p = 7.8538577e-5f;
    p = p * s - 8.0101926e-4f;
    p = p * s + 5.1883276e-3f;
    p = p * s - 2.6853812e-2f;
    p = p * s + 1.12835851e-1f;
    p = p * s - 3.76126258e-1f;
    p = p * s + 1.12837917f;
    const float near = p * x;
    const float b = a > 4.0f ? 4.0f : a;
    float q = -3.5083954e-7f;
    q = q * b + 6.0030964e-6f;
    q = q * b - 2.5861656e-5f;
    q = q * b - 2.13445965e-4f;
    q = q * b + 3.48670999e-3f;
    q = q * b - 2.36954365e-2f;
    q = q * b + 1.06320925e-1f;
    q = q * b + 6.35042994e-1f;
    q = q * b + 1.12868395f;
    const float far = 1.0f - exponential(-b * q);
    return a <= 1.0f ? near : (x < 0 ? -far : far);
}

// Per-thread memory that is reused from call to call.
float *scratch(int64_t n) {
    static thread_local std::vector<float> memory;
    if (memory.size() < size_t(n)) memory.resize(size_t(n));
    return memory.data();
}

struct Moments {
    float mean, deviation; // sqrt(variance + eps)
};

RI_SIMD_INLINE Moments moments(const float *x, int64_t n, float eps) {
    float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) sum += x[i];
    const float mean = sum / float(n);
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
    return {mean, std::sqrt(squares / float(n) + eps)};
}

} // namespace

// ---- products and sums

RI_SIMD static void add_bias(float *y, const float *bias, int64_t rows, int64_t n, int64_t stride) {
    for (int64_t r = 0; r < rows; ++r)
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[r * stride + i] += bias[i];
}

void linear(const float *x, const float *w, const float *bias, int64_t rows, int64_t in, int64_t out, float *y, int ith,
            int nth) {
    gemm(rows, out, in, {x, in, 1}, {w, 1, in}, y, out, false, ith, nth);
    if (!bias) return;
    const Block part = share(rows, out, ith, nth);
    add_bias(y + part.first_row * out + part.first_column, bias + part.first_column, part.rows, part.columns, out);
}

void linear_back_input(const float *dy, const float *w, int64_t rows, int64_t in, int64_t out, float *dx, int ith,
                       int nth) {
    gemm(rows, in, out, {dy, out, 1}, {w, in, 1}, dx, in, false, ith, nth);
}

void linear_back_weight(const float *dy, const float *x, int64_t rows, int64_t in, int64_t out, float *dw, int ith,
                        int nth) {
    gemm(out, in, rows, {dy, 1, out}, {x, in, 1}, dw, in, false, ith, nth);
}

RI_SIMD void add(const float *x, int64_t n, float *sum, int ith, int nth) {
    const Share part(n, ith, nth, whole_vectors);
#pragma omp simd
    for (int64_t i = part.first; i < part.last; ++i) sum[i] += x[i];
}

RI_SIMD void sum_rows(const float *x, int64_t rows, int64_t n, float *sums, int ith, int nth) {
    const Share columns(n, ith, nth, whole_vectors);
    for (int64_t i = columns.first; i < columns.last; ++i) sums[i] = 0;
    for (int64_t r = 0; r < rows; ++r)
#pragma omp simd
        for (int64_t i = columns.first; i < columns.last; ++i) sums[i] += x[r * n + i];
}

// ---- LayerNorm

RI_SIMD void layer_norm(const float *x, const float *weight, const float *bias, float eps, int64_t rows, int64_t n,
                        float *y, int ith, int nth) {
    const Share part(rows, ith, nth);
    for (int64_t r = part.first; r < part.last; ++r) {
        const float *row = x + r * n;
        const Moments m = moments(row, n, eps);
        const float inverse = 1.0f / m.deviation;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[r * n + i] = (row[i] - m.mean) * inverse * weight[i] + bias[i];
    }
}

RI_SIMD void layer_norm_back(const float *x, const float *weight, const float *dy, float eps, int64_t rows, int64_t n,
                             float *dx, int ith, int nth) {
    // dx = (dn - mean(dn) - normalised * mean(dn * normalised)) / deviation, dn = dy * weight
    const Share part(rows, ith, nth);
    for (int64_t r = part.first; r < part.last; ++r) {
        const float *row = x + r * n, *d = dy + r * n;
        const Moments m = moments(row, n, eps);
        const float inverse = 1.0f / m.deviation;
        float sum = 0, product = 0;
#pragma omp simd reduction(+ : sum, product)
        for (int64_t i = 0; i < n; ++i) {
            const float dn = d[i] * weight[i];
            sum += dn;
            product += dn * (row[i] - m.mean) * inverse;
        }
        sum /= float(n);
        product /= float(n);
#pragma omp simd
        for (int64_t i = 0; i < n; ++i)
            dx[r * n + i] = (d[i] * weight[i] - sum - (row[i] - m.mean) * inverse * product) * inverse;
    }
}

RI_SIMD void layer_norm_back_weights(const float *x, const float *dy, float eps, int64_t rows, int64_t n, float *dw,
                                     float *db, int ith, int nth) {
    const Share columns(n, ith, nth, whole_vectors);
    for (int64_t i = columns.first; i < columns.last; ++i) dw[i] = db[i] = 0;
    for (int64_t r = 0; r < rows; ++r) {
        const float *row = x + r * n, *d = dy + r * n;
        const Moments m = moments(row, n, eps);
        const float inverse = 1.0f / m.deviation;
#pragma omp simd
        for (int64_t i = columns.first; i < columns.last; ++i) {
            dw[i] += d[i] * (row[i] - m.mean) * inverse;
            db[i] += d[i];
        }
    }
}

// ---- tables and losses

RI_SIMD void scatter_rows(const float *dy, const int32_t *ids, int64_t count, int64_t n, float *table, int64_t n_rows,
                          int ith, int nth) {
    const Share rows(n_rows, ith, nth);
    if (rows.last > rows.first) memset(table + rows.first * n, 0, size_t((rows.last - rows.first) * n) * sizeof(float));
    for (int64_t c = 0; c < count; ++c) {
        if (ids[c] < rows.first || ids[c] >= rows.last) continue;
        float *row = table + ids[c] * n;
        const float *d = dy + c * n;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) row[i] += d[i];
    }
}

RI_SIMD float sum_of_exponentials(const float *x, int64_t n, float most) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) sum += exponential(x[i] - most);
    return sum;
}

void negative_log(const float *p, const int32_t *targets, int64_t rows, float *loss, int ith, int nth) {
    const Share part(rows, ith, nth);
    // A probability that underflowed stays finite; NaN stays NaN.
    for (int64_t r = part.first; r < part.last; ++r)
        loss[r] = -std::log(p[targets[r]] < 1e-37f ? 1e-37f : p[targets[r]]);
}

RI_SIMD void softmax_loss_back(const float *p, const int32_t *targets, const float *weights, int64_t rows, int64_t n,
                               float *dlogits, int ith, int nth) {
    const Share part(rows, ith, nth);
    for (int64_t r = part.first; r < part.last; ++r) {
        const float weight = weights[r];
#pragma omp simd
        for (int64_t i = r * n; i < (r + 1) * n; ++i) dlogits[i] = p[i] * weight;
        dlogits[targets[r]] = (p[targets[r]] - 1.0f) * weight;
    }
}

// ---- GELU

RI_SIMD void gelu_erf(const float *x, int64_t n, float *y, int ith, int nth) {
    const Share part(n, ith, nth, whole_vectors);
#pragma omp simd
    for (int64_t i = part.first; i < part.last; ++i) y[i] = 0.5f * x[i] * (1.0f + error_function(x[i] * 0.707106781f));
}

RI_SIMD void gelu_erf_back(const float *x, const float *dy, int64_t n, float *dx, int ith, int nth) {
    // d/dx x Phi(x) = Phi(x) + x phi(x)
    const Share part(n, ith, nth, whole_vectors);
#pragma omp simd
    for (int64_t i = part.first; i < part.last; ++i) {
        const float cumulative = 0.5f * (1.0f + error_function(x[i] * 0.707106781f));
        dx[i] = dy[i] * (cumulative + x[i] * 0.398942280f * exponential(-0.5f * x[i] * x[i]));
    }
}

// ---- attention

namespace {

// The weights that query `last` of a head gives to positions 0..last.
RI_SIMD_INLINE void attend(const CausalAttention &s, const float *q, const float *k, int64_t last, float *weights) {
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

int64_t queries_of(const CausalAttention &s) { return s.lengths ? 1 : s.positions; }

} // namespace

RI_SIMD void causal_attention(const CausalAttention &s, const float *q, const float *k, const float *v,
                              const float *mask, float *out, int ith, int nth) {
    const int64_t T = s.positions, hd = s.head_dim, row = s.heads * hd, queries = queries_of(s);
    const Share part(s.samples, ith, nth);
    float *weights = scratch(T);
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

RI_SIMD void causal_attention_back(const CausalAttention &s, const float *q, const float *k, const float *v,
                                   const float *mask, const float *dout, float *dq, float *dk, float *dv, int ith,
                                   int nth) {
    const int64_t T = s.positions, hd = s.head_dim, row = s.heads * hd, queries = queries_of(s);
    const Share part(s.samples, ith, nth);
    float *weights = scratch(2 * T), *dweights = weights + T;
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

// ---- GRU

namespace {

struct Gates {
    float reset, update, fresh;
};

// One number of the cell: gates from the inputs and from the state before.
RI_SIMD_INLINE Gates cell(const float *input, const float *state, int64_t H, int64_t i) {
    Gates g;
    g.reset = sigmoid(input[i] + state[i]);
    g.update = sigmoid(input[H + i] + state[H + i]);
    g.fresh = tangent(input[2 * H + i] + g.reset * state[2 * H + i]);
    return g;
}

} // namespace

RI_SIMD void gru(const Recurrence &s, const float *gates, const float *w, const float *bias, float *h, float *cells,
                 int ith, int nth) {
    const int64_t T = s.positions, H = s.hidden;
    const Share part(s.samples, ith, nth);
    const int64_t rows = part.last - part.first;
    if (rows == 0) return;
    float *state = scratch(rows * 3 * H + 3 * H * H), *transposed = state + rows * 3 * H;
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

RI_SIMD void gru_back(const Recurrence &s, const float *w, const float *h, const float *cells, const float *dh,
                      float *dgates, float *drecurrent, int ith, int nth) {
    const int64_t T = s.positions, H = s.hidden;
    const Share part(s.samples, ith, nth);
    const int64_t rows = part.last - part.first;
    if (rows == 0) return;
    float *later = scratch(rows * 2 * H), *total = later + rows * H;
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

// ---- convolutions over positions

void windows(const Windows &s, const float *x, const float *w, const float *bias, float *y, int ith, int nth) {
    // All samples' positions as one: what lies across two samples is computed too, and not looked at.
    const int64_t rows = s.samples * s.positions - s.height + 1, k = s.height * s.width;
    gemm(rows, s.filters, k, {x, s.width, 1}, {w, 1, k}, y, s.filters, false, ith, nth);
    const Block part = share(rows, s.filters, ith, nth);
    add_bias(y + part.first_row * s.filters + part.first_column, bias + part.first_column, part.rows, part.columns,
             s.filters);
}

RI_SIMD void relu_max(const Windows &s, const float *y, float *out, int ith, int nth) {
    const Share part(s.samples, ith, nth);
    const int64_t F = s.filters;
    for (int64_t b = part.first; b < part.last; ++b) {
        float *most = out + b * F;
        for (int64_t f = 0; f < F; ++f) most[f] = 0;
        for (int64_t t = 0; t < s.count(); ++t)
#pragma omp simd
            for (int64_t f = 0; f < F; ++f) {
                const float value = y[(b * s.positions + t) * F + f];
                most[f] = value > most[f] || value != value ? value : most[f]; // NaN shows: nothing is above it
            }
    }
}

namespace {

// The first window of a sample with a filter's largest output; -1 where none is above 0.
RI_SIMD_INLINE int64_t largest_window(const Windows &s, const float *y, int64_t sample, int64_t filter) {
    float most = 0;
    int64_t at = -1;
    for (int64_t t = 0; t < s.count(); ++t) {
        const float value = y[(sample * s.positions + t) * s.filters + filter];
        if (value > most) most = value, at = t;
    }
    return at;
}

RI_SIMD_INLINE void add_scaled(const float *x, float factor, int64_t n, float *sum) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) sum[i] += factor * x[i];
}

} // namespace

RI_SIMD void windows_max_back_input(const Windows &s, const float *y, const float *w, const float *dmost, float *dx,
                                    int ith, int nth) {
    const Share part(s.samples, ith, nth);
    const int64_t k = s.height * s.width;
    for (int64_t b = part.first; b < part.last; ++b) {
        float *d = dx + b * s.positions * s.width;
        memset(d, 0, size_t(s.positions * s.width) * sizeof(float));
        for (int64_t f = 0; f < s.filters; ++f)
            if (const int64_t at = largest_window(s, y, b, f); at >= 0)
                add_scaled(w + f * k, dmost[b * s.filters + f], k, d + at * s.width);
    }
}

RI_SIMD void windows_max_back_weight(const Windows &s, const float *y, const float *x, const float *dmost, float *dw,
                                     float *db, int ith, int nth) {
    const Share part(s.filters, ith, nth);
    const int64_t k = s.height * s.width;
    for (int64_t f = part.first; f < part.last; ++f) {
        memset(dw + f * k, 0, size_t(k) * sizeof(float));
        db[f] = 0;
        for (int64_t b = 0; b < s.samples; ++b)
            if (const int64_t at = largest_window(s, y, b, f); at >= 0) {
                const float d = dmost[b * s.filters + f];
                add_scaled(x + (b * s.positions + at) * s.width, d, k, dw + f * k);
                db[f] += d;
            }
    }
}

RI_SIMD void weigh_positions(const Windows &s, const float *x, const float *w, const float *bias, float *y, int ith,
                             int nth) {
    const Share part(s.samples, ith, nth);
    for (int64_t b = part.first; b < part.last; ++b)
        for (int64_t f = 0; f < s.filters; ++f) {
            float *out = y + (b * s.filters + f) * s.width;
            for (int64_t i = 0; i < s.width; ++i) out[i] = bias[f];
            for (int64_t t = 0; t < s.positions; ++t) {
                const float weight = w[f * s.positions + t];
                const float *row = x + (b * s.positions + t) * s.width;
#pragma omp simd
                for (int64_t i = 0; i < s.width; ++i) out[i] += weight * row[i];
            }
        }
}

RI_SIMD void weigh_positions_back_input(const Windows &s, const float *w, const float *dy, float *dx, int ith,
                                        int nth) {
    const Share part(s.samples, ith, nth);
    for (int64_t b = part.first; b < part.last; ++b)
        for (int64_t t = 0; t < s.positions; ++t) {
            float *d = dx + (b * s.positions + t) * s.width;
            for (int64_t i = 0; i < s.width; ++i) d[i] = 0;
            for (int64_t f = 0; f < s.filters; ++f) {
                const float weight = w[f * s.positions + t];
                const float *row = dy + (b * s.filters + f) * s.width;
#pragma omp simd
                for (int64_t i = 0; i < s.width; ++i) d[i] += weight * row[i];
            }
        }
}

RI_SIMD void weigh_positions_back_weight(const Windows &s, const float *x, const float *dy, float *dw, float *db,
                                         int ith, int nth) {
    const Share positions(s.positions, ith, nth);
    for (int64_t f = 0; f < s.filters; ++f) {
        for (int64_t t = positions.first; t < positions.last; ++t) {
            double sum = 0;
            for (int64_t b = 0; b < s.samples; ++b) {
                const float *row = x + (b * s.positions + t) * s.width, *d = dy + (b * s.filters + f) * s.width;
                float dot = 0;
#pragma omp simd reduction(+ : dot)
                for (int64_t i = 0; i < s.width; ++i) dot += row[i] * d[i];
                sum += double(dot);
            }
            dw[f * s.positions + t] = float(sum);
        }
        if (ith != 0) continue;
        double sum = 0;
        for (int64_t b = 0; b < s.samples; ++b) {
            const float *d = dy + (b * s.filters + f) * s.width;
            float part = 0;
#pragma omp simd reduction(+ : part)
            for (int64_t i = 0; i < s.width; ++i) part += d[i];
            sum += double(part);
        }
        db[f] = float(sum);
    }
}

// ---- diffusion

RI_SIMD void scale_rows(const float *x, const float *factors, int64_t rows, int64_t n, float *y, int ith, int nth) {
    const Share part(rows, ith, nth);
    for (int64_t r = part.first; r < part.last; ++r) {
        const float factor = factors[r];
#pragma omp simd
        for (int64_t i = r * n; i < (r + 1) * n; ++i) y[i] = factor * x[i];
    }
}

void sampling_noise(const Sampling &s, int64_t draw, int64_t first, int64_t count, float *dst) {
    if (s.noise) {
        const float *from = s.noise + (draw * s.n + first) * s.width;
        std::copy(from, from + count * s.width, dst);
        return;
    }
    for (int64_t i = 0; i < count; ++i) {
        const uint64_t oracle = s.first_oracle + uint64_t(first + i);
        normal(mix(mix(mix(s.seed) + oracle) + uint64_t(draw)), s.width, dst + i * s.width, 0, 1);
    }
}

namespace {

// y += row, for each of `rows` rows of n.
RI_SIMD void add_step(float *y, const float *row, const float *given, int64_t rows, int64_t n) {
    for (int64_t r = 0; r < rows; ++r)
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[r * n + i] += row[i] + given[r * n + i];
}

RI_SIMD void mix_guided(float *y, const float *row, const float *given, const float *none, float strength, int64_t rows,
                        int64_t n) {
    for (int64_t r = 0; r < rows; ++r)
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            const float shared = y[r * n + i] + row[i];
            const float with = shared + given[r * n + i], without = shared + none[i];
            y[r * n + i] = (1.0f + strength) * 0.5f * with * (1.0f + error_function(with * 0.707106781f)) -
                           strength * 0.5f * without * (1.0f + error_function(without * 0.707106781f));
        }
}

RI_SIMD void move_on(float *x, const float *x0, const float *noise, const SamplingStep &s, int64_t n) {
    const SamplingStep c = s;
    if (c.deviation == 0.0f) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) x[i] = c.of_x0 * x0[i] + c.of_x * x[i];
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) x[i] = c.of_x0 * x0[i] + c.of_x * x[i] + c.deviation * noise[i];
}

} // namespace

void sample(const Sampling &s, float *dst, int ith, int nth) {
    // A block of oracles goes through all steps while it lies in the cache.
    constexpr int64_t block = 48;
    const int64_t D = s.width, H = s.hidden;
    const Share part(s.n, ith, nth);
    float *y = scratch(block * (H + 2 * D)), *x0 = y + block * H, *noise = x0 + block * D;
    for (int64_t first = part.first; first < part.last; first += block) {
        const int64_t rows = std::min(block, part.last - first);
        float *x = dst + first * D;
        const float *given = s.given + first * H;
        sampling_noise(s, 0, first, rows, x);
        for (int64_t i = 0; i < s.steps; ++i) {
            const SamplingStep &step = s.coefficients[size_t(i)];
            const float *by_step = s.by_step + i * H;
            float *result = y;
            gemm(rows, H, D, {x, D, 1}, {s.first, H, 1}, y, H, false, s.n);
            if (s.none) {
                mix_guided(y, by_step, given, s.none, s.strength, rows, H);
                gemm(rows, D, H, {y, H, 1}, {s.second, D, 1}, x0, D, false, s.n);
                add_bias(x0, s.second_bias, rows, D, D);
                result = x0;
            } else {
                add_step(y, by_step, given, rows, H);
            }
            if (step.deviation > 0) sampling_noise(s, i + 1, first, rows, noise);
            move_on(x, result, noise, step, rows * D);
        }
    }
}

} // namespace ri::kernels
