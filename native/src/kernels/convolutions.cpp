// Convolutions over the positions of histories.
#include "set.h"

#include <math.h>

namespace ri::kernels::RI_SET {

namespace {

RI_INLINE int64_t count_of(const Windows &s) { return s.positions - s.height + 1; }

// So many samples are enough rows of a product, one for each window of a sample.
constexpr int64_t many_samples = 32;

} // namespace

// ---- convolutions over positions

void windows(const Windows &s, const float *x, const float *w, const float *bias, float *y, int ith, int nth) {
    const int64_t k = s.height * s.width, F = s.filters;
    auto product = [&](int64_t rows, int64_t first, int64_t step) { // from a window on, each `step` positions later
        gemm(rows, F, k, {x + first * s.width, step * s.width, 1}, {w, 1, k}, y + first * F, step * F, false, ith, nth);
        const Block part = share_of_product(rows, F, ith, nth);
        add_bias(y + (first + part.first_row * step) * F + part.first_column, bias + part.first_column, part.rows,
                 part.columns, step * F);
    };
    if (s.samples < many_samples || s.height == 1)
        // All samples' positions as one: what lies across two samples is computed too, and not
        // looked at.
        return product(s.samples * s.positions - s.height + 1, 0, 1);
    for (int64_t t = 0; t < count_of(s); ++t) product(s.samples, t, s.positions);
}

void relu_max(const Windows &s, const float *y, float *out, int ith, int nth) {
    const Share part = share_of(s.samples, ith, nth);
    const int64_t F = s.filters;
    for (int64_t b = part.first; b < part.last; ++b) {
        float *most = out + b * F;
        for (int64_t f = 0; f < F; ++f) most[f] = 0;
        for (int64_t t = 0; t < count_of(s); ++t)
#pragma omp simd
            for (int64_t f = 0; f < F; ++f) {
                const float value = y[(b * s.positions + t) * F + f];
                most[f] = value > most[f] || value != value ? value : most[f]; // NaN shows: nothing is above it
            }
    }
}

namespace {

// The first window of a sample with a filter's largest output; -1 where none is above 0.
RI_INLINE int64_t largest_window(const Windows &s, const float *y, int64_t sample, int64_t filter) {
    float most = 0;
    int64_t at = -1;
    for (int64_t t = 0; t < count_of(s); ++t) {
        const float value = y[(sample * s.positions + t) * s.filters + filter];
        if (value > most) most = value, at = t;
    }
    return at;
}

RI_INLINE void add_scaled(const float *x, float factor, int64_t n, float *sum) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) sum[i] += factor * x[i];
}

} // namespace

void windows_max_back_input(const Windows &s, const float *y, const float *w, const float *dmost, float *dx, int ith,
                            int nth) {
    const Share part = share_of(s.samples, ith, nth);
    const int64_t k = s.height * s.width;
    for (int64_t b = part.first; b < part.last; ++b) {
        float *d = dx + b * s.positions * s.width;
        memset(d, 0, size_t(s.positions * s.width) * sizeof(float));
        for (int64_t f = 0; f < s.filters; ++f)
            if (const int64_t at = largest_window(s, y, b, f); at >= 0)
                add_scaled(w + f * k, dmost[b * s.filters + f], k, d + at * s.width);
    }
}

void windows_max_back_weight(const Windows &s, const float *y, const float *x, const float *dmost, float *dw, float *db,
                             int ith, int nth) {
    const Share part = share_of(s.filters, ith, nth);
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

void weigh_positions(const Windows &s, const float *x, const float *w, const float *bias, float *y, int ith, int nth) {
    const Share part = share_of(s.samples, ith, nth);
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

void weigh_positions_back_input(const Windows &s, const float *w, const float *dy, float *dx, int ith, int nth) {
    const Share part = share_of(s.samples, ith, nth);
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

void weigh_positions_back_weight(const Windows &s, const float *x, const float *dy, float *dw, float *db, int ith,
                                 int nth) {
    const Share positions = share_of(s.positions, ith, nth);
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

} // namespace ri::kernels::RI_SET
