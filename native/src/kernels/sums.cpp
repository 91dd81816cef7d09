// Sums, LayerNorm, look-up tables, the squared error, softmax and activations of recommenders and
// adapters.
#include "set.h"

#include <math.h>

namespace ri::kernels::RI_SET {

namespace {

struct Moments {
    float mean, deviation; // sqrt(variance + eps)
};

RI_INLINE Moments moments(const float *x, int64_t n, float eps) {
    float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) sum += x[i];
    const float mean = sum / float(n);
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
    return {mean, sqrtf(squares / float(n) + eps)};
}

} // namespace

// ---- sums

void add(const float *x, int64_t n, float *sum, int ith, int nth) {
    const Share part = share_of(n, ith, nth, whole_vectors);
#pragma omp simd
    for (int64_t i = part.first; i < part.last; ++i) sum[i] += x[i];
}

namespace {

// Calls body(first, last, of_b) for the pieces of a share of n numbers beside which b does not
// start anew.
template <typename Body> RI_INLINE void each_repetition(int64_t n, int64_t n_b, int ith, int nth, Body body) {
    const Share part = share_of(n, ith, nth, whole_vectors);
    for (int64_t i = part.first, end; i < part.last; i = end) {
        end = least(part.last, (i / n_b + 1) * n_b);
        body(i, end, i % n_b);
    }
}

} // namespace

void plus(const float *a, int64_t n, const float *b, int64_t n_b, float *y, int ith, int nth) {
    each_repetition(n, n_b, ith, nth, [=](int64_t first, int64_t last, int64_t of_b) {
#pragma omp simd
        for (int64_t i = first; i < last; ++i) y[i] = a[i] + b[of_b + i - first];
    });
}

void times(const float *a, int64_t n, const float *b, int64_t n_b, float *y, int ith, int nth) {
    each_repetition(n, n_b, ith, nth, [=](int64_t first, int64_t last, int64_t of_b) {
#pragma omp simd
        for (int64_t i = first; i < last; ++i) y[i] = a[i] * b[of_b + i - first];
    });
}

void sum_rows(const float *x, int64_t rows, int64_t n, float *sums, int ith, int nth) {
    const Share columns = share_of(n, ith, nth, whole_vectors);
    for (int64_t i = columns.first; i < columns.last; ++i) sums[i] = 0;
    for (int64_t r = 0; r < rows; ++r)
#pragma omp simd
        for (int64_t i = columns.first; i < columns.last; ++i) sums[i] += x[r * n + i];
}

void scale_rows(const float *x, const float *factors, int64_t rows, int64_t n, float *y, int ith, int nth) {
    const Share part = share_of(rows, ith, nth);
    for (int64_t r = part.first; r < part.last; ++r) {
        const float factor = factors[r];
#pragma omp simd
        for (int64_t i = r * n; i < (r + 1) * n; ++i) y[i] = factor * x[i];
    }
}

// ---- LayerNorm

void layer_norm(const float *x, const float *weight, const float *bias, float eps, int64_t rows, int64_t n, float *y,
                int ith, int nth) {
    const Share part = share_of(rows, ith, nth);
    for (int64_t r = part.first; r < part.last; ++r) {
        const float *row = x + r * n;
        const Moments m = moments(row, n, eps);
        const float inverse = 1.0f / m.deviation;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[r * n + i] = (row[i] - m.mean) * inverse * weight[i] + bias[i];
    }
}

void layer_norm_back(const float *x, const float *weight, const float *dy, float eps, int64_t rows, int64_t n,
                     float *dx, int ith, int nth) {
    // dx = (dn - mean(dn) - normalised * mean(dn * normalised)) / deviation, dn = dy * weight
    const Share part = share_of(rows, ith, nth);
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

void layer_norm_back_weights(const float *x, const float *dy, float eps, int64_t rows, int64_t n, float *dw, float *db,
                             int ith, int nth) {
    const Share columns = share_of(n, ith, nth, whole_vectors);
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

// ---- tables and the squared error

void gather_rows(const float *table, const int32_t *ids, int64_t count, int64_t n, float *y, int ith, int nth) {
    const Share part = share_of(count, ith, nth);
    for (int64_t i = part.first; i < part.last; ++i) copy(table + ids[i] * n, n, y + i * n);
}

void scatter_rows(const float *dy, const int32_t *ids, int64_t count, int64_t n, float *table, int64_t n_rows, int ith,
                  int nth) {
    const Share rows = share_of(n_rows, ith, nth);
    if (rows.last > rows.first) memset(table + rows.first * n, 0, size_t((rows.last - rows.first) * n) * sizeof(float));
    for (int64_t c = 0; c < count; ++c) {
        if (ids[c] < rows.first || ids[c] >= rows.last) continue;
        float *row = table + ids[c] * n;
        const float *d = dy + c * n;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) row[i] += d[i];
    }
}

void candidate_scores(const float *x, const float *table, const float *bias, const int32_t *ids, int64_t rows,
                      int64_t count, int64_t n, float *y, int ith, int nth) {
    const Share part = share_of(rows, ith, nth);
    for (int64_t r = part.first; r < part.last; ++r)
        for (int64_t c = 0; c < count; ++c) {
            const int64_t id = ids[r * count + c];
            const float *own = x + r * n, *row = table + id * n;
            float dot = 0;
#pragma omp simd reduction(+ : dot)
            for (int64_t i = 0; i < n; ++i) dot += own[i] * row[i];
            y[r * count + c] = bias ? dot + bias[id] : dot;
        }
}

void candidate_scores_back_input(const float *dy, const float *table, const int32_t *ids, int64_t rows, int64_t count,
                                 int64_t n, float *dx, int ith, int nth) {
    const Share part = share_of(rows, ith, nth);
    for (int64_t r = part.first; r < part.last; ++r) {
        float *own = dx + r * n;
        fill(own, n, 0.0f);
        for (int64_t c = 0; c < count; ++c) {
            const float *row = table + ids[r * count + c] * n, d = dy[r * count + c];
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) own[i] += d * row[i];
        }
    }
}

void candidate_scores_back_table(const float *dy, const float *x, const int32_t *ids, int64_t rows, int64_t count,
                                 int64_t n, int64_t n_rows, float *dtable, float *dbias, int ith, int nth) {
    const Share part = share_of(n_rows, ith, nth);
    if (part.last > part.first)
        memset(dtable + part.first * n, 0, size_t((part.last - part.first) * n) * sizeof(float));
    for (int64_t r = part.first; dbias && r < part.last; ++r) dbias[r] = 0;
    for (int64_t at = 0; at < rows * count; ++at) {
        const int64_t id = ids[at];
        if (id < part.first || id >= part.last) continue;
        const float *own = x + at / count * n, d = dy[at];
        float *row = dtable + id * n;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) row[i] += d * own[i];
        if (dbias) dbias[id] += d;
    }
}

void squared_error(const float *a, const float *b, float factor, int64_t rows, int64_t n, float *d, float *sums,
                   int ith, int nth) {
    const Share part = share_of(rows, ith, nth);
    for (int64_t r = part.first; r < part.last; ++r) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = r * n; i < (r + 1) * n; ++i) {
            const float difference = a[i] - b[i];
            d[i] = difference * factor;
            sum += difference * difference;
        }
        sums[r] = sum;
    }
}

// ---- softmax

void softmax(const float *x, float factor, int64_t rows, int64_t n, float *y, int ith, int nth) {
    const Share part = share_of(rows, ith, nth);
    for (int64_t r = part.first; r < part.last; ++r) {
        const float *row = x + r * n;
        float *p = y + r * n, total = 0;
        Vector largest = all<Vector>(-INFINITY);
        int64_t whole = 0;
        for (; whole + lanes <= n; whole += lanes) largest = greater(load(row + whole) * factor, largest);
        if (whole < n) largest = greater(load(row + whole, n - whole, row[whole]) * factor, largest);
        const float most = greatest(largest);
#pragma omp simd reduction(+ : total)
        for (int64_t i = 0; i < n; ++i) total += p[i] = exponential(factor * row[i] - most);
        const float inverse = 1.0f / total;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) p[i] *= inverse;
    }
}

void softmax_back(const float *y, const float *dy, float factor, int64_t rows, int64_t n, float *dx, int ith, int nth) {
    // dx = y * (dy - sum(y * dy)) * factor
    const Share part = share_of(rows, ith, nth);
    for (int64_t r = part.first; r < part.last; ++r) {
        const float *p = y + r * n, *d = dy + r * n;
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t i = 0; i < n; ++i) dot += p[i] * d[i];
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) dx[r * n + i] = p[i] * (d[i] - dot) * factor;
    }
}

// ---- GELU

namespace {

// x (1 + tanh u) / 2 = x sigmoid(2u), 2u = c (x + b x^3); c = 2 sqrt(2 / pi).
constexpr float c = 1.59576912f, b = 0.044715f;

} // namespace

void gelu_tanh(const float *x, int64_t n, float *y, int ith, int nth) {
    const Share part = share_of(n, ith, nth, whole_vectors);
#pragma omp simd
    for (int64_t i = part.first; i < part.last; ++i) y[i] = x[i] * sigmoid(c * x[i] * (1.0f + b * x[i] * x[i]));
}

void gelu_tanh_back(const float *x, const float *dy, int64_t n, float *dx, int ith, int nth) {
    // sigmoid' = sigmoid (1 - sigmoid)
    const Share part = share_of(n, ith, nth, whole_vectors);
#pragma omp simd
    for (int64_t i = part.first; i < part.last; ++i) {
        const float square = x[i] * x[i], s = sigmoid(c * x[i] * (1.0f + b * square));
        dx[i] = dy[i] * (s + x[i] * s * (1.0f - s) * c * (1.0f + 3.0f * b * square));
    }
}

void silu(const float *x, int64_t n, float *y, int ith, int nth) {
    const Share part = share_of(n, ith, nth, whole_vectors);
#pragma omp simd
    for (int64_t i = part.first; i < part.last; ++i) y[i] = x[i] * sigmoid(x[i]);
}

void silu_back(const float *x, const float *dy, int64_t n, float *dx, int ith, int nth) {
    const Share part = share_of(n, ith, nth, whole_vectors);
#pragma omp simd
    for (int64_t i = part.first; i < part.last; ++i) {
        const float s = sigmoid(x[i]);
        dx[i] = dy[i] * s * (1.0f + x[i] * (1.0f - s));
    }
}

void gelu_erf(const float *x, int64_t n, float *y, int ith, int nth) {
    const Share part = share_of(n, ith, nth, whole_vectors);
#pragma omp simd
    for (int64_t i = part.first; i < part.last; ++i) y[i] = 0.5f * x[i] * (1.0f + error_function(x[i] * 0.707106781f));
}

void gelu_erf_back(const float *x, const float *dy, int64_t n, float *dx, int ith, int nth) {
    // d/dx x Phi(x) = Phi(x) + x phi(x)
    const Share part = share_of(n, ith, nth, whole_vectors);
#pragma omp simd
    for (int64_t i = part.first; i < part.last; ++i) {
        const float cumulative = 0.5f * (1.0f + error_function(x[i] * 0.707106781f));
        dx[i] = dy[i] * (cumulative + x[i] * 0.398942280f * exponential(-0.5f * x[i] * x[i]));
    }
}

void count_above(const float *x, int64_t n, float bound, int64_t *above, int64_t *equal) {
    int64_t below = 0, same = 0;
    for (int64_t first = 0; first < n; first += 1 << 12) { // within the range of 32 bits, which vectors count in
        int32_t lower = 0, as_much = 0;
#pragma omp simd reduction(+ : lower, as_much)
        for (int64_t i = first; i < least(first + (1 << 12), n); ++i) {
            lower += x[i] < bound ? 1 : 0;
            as_much += x[i] == bound ? 1 : 0;
        }
        below += lower;
        same += as_much;
    }
    *above = n - below - same;
    *equal = same;
}

} // namespace ri::kernels::RI_SET
