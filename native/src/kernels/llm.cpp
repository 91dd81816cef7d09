// What a frozen LLM computes between its products, and its gradients.
#include "set.h"

#include <math.h>

namespace ri::kernels::RI_SET {

namespace {

// Calls body(i, n) for the vectors of `count` numbers: n is `lanes`, and less for what is left
// over.
template <typename Body> RI_INLINE void each_vector(int64_t count, Body body) {
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) body(i, lanes);
    if (i < count) body(i, count - i);
}
RI_INLINE Vector load_part(const float *p, int64_t n, float rest = 0) {
    return n == lanes ? load(p) : load(p, n, rest);
}
RI_INLINE void store_part(float *p, Vector v, int64_t n) { n == lanes ? store(p, v) : store(p, v, n); }

} // namespace

// ---- RMSNorm

namespace {

RI_INLINE float inverse_rms(const float *x, int64_t n, float eps) {
    Vector squares{};
    each_vector(n, [&](int64_t i, int64_t m) {
        const Vector v = load_part(x + i, m);
        squares += v * v;
    });
    return 1.0f / sqrtf(sum(squares) / float(n) + eps);
}

} // namespace

void rms_norm(const float *x, const float *weight, float eps, int64_t rows, int64_t n, float *y, int ith, int nth) {
    const Share mine = share_of(rows, ith, nth);
    for (int64_t r = mine.first; r < mine.last; ++r) {
        const float *in = x + r * n;
        const float factor = inverse_rms(in, n, eps);
        each_vector(n, [&](int64_t i, int64_t m) {
            store_part(y + r * n + i, load_part(in + i, m) * factor * load_part(weight + i, m), m);
        });
    }
}

void rms_norm_back(const float *x, const float *weight, const float *dy, float eps, int64_t rows, int64_t n, float *dx,
                   int ith, int nth) {
    const Share mine = share_of(rows, ith, nth);
    for (int64_t row = mine.first; row < mine.last; ++row) {
        const float *in = x + row * n, *grad = dy + row * n;
        const float r = inverse_rms(in, n, eps);
        Vector dot{}; // sum of dn x, dn = dy weight
        each_vector(n, [&](int64_t i, int64_t m) {
            dot += load_part(grad + i, m) * load_part(weight + i, m) * load_part(in + i, m);
        });
        // dx = r (dn - x r^2 mean(dn x))
        const float pull = r * r * sum(dot) / float(n);
        each_vector(n, [&](int64_t i, int64_t m) {
            const Vector dn = load_part(grad + i, m) * load_part(weight + i, m);
            store_part(dx + row * n + i, r * (dn - pull * load_part(in + i, m)), m);
        });
    }
}

// ---- SwiGLU

void swiglu(const float *gate_up, int64_t rows, int64_t n, float *y, int ith, int nth) {
    const Share mine = share_of(rows, ith, nth);
    for (int64_t r = mine.first; r < mine.last; ++r) {
        const float *gate = gate_up + r * 2 * n, *up = gate + n;
        each_vector(n, [&](int64_t i, int64_t m) {
            const Vector g = load_part(gate + i, m);
            store_part(y + r * n + i, g * sigmoid(g) * load_part(up + i, m), m);
        });
    }
}

void swiglu_back(const float *gate_up, const float *dy, int64_t rows, int64_t n, float *d_gate_up, int ith, int nth) {
    const Share mine = share_of(rows, ith, nth);
    for (int64_t r = mine.first; r < mine.last; ++r) {
        const float *gate = gate_up + r * 2 * n, *up = gate + n;
        float *d_gate = d_gate_up + r * 2 * n, *d_up = d_gate + n;
        each_vector(n, [&](int64_t i, int64_t m) {
            const Vector g = load_part(gate + i, m), d = load_part(dy + r * n + i, m), s = sigmoid(g);
            const Vector slope = s * (g * (1.0f - s) + 1.0f); // silu'
            store_part(d_gate + i, d * load_part(up + i, m) * slope, m);
            store_part(d_up + i, d * (g * s), m);
        });
    }
}

// ---- cross-entropy

namespace {

RI_INLINE float row_max(const float *x, int64_t n) {
    Vector top = all<Vector>(-INFINITY);
    each_vector(n, [&](int64_t i, int64_t m) { top = greater(load_part(x + i, m, -INFINITY), top); });
    return greatest(top);
}

RI_INLINE Vector exponentials(const float *x, int64_t n, float most) {
    return exponential(load_part(x, n, -INFINITY) - most);
}

} // namespace

float sum_of_exponentials(const float *x, int64_t n, float most) {
    Vector total{};
    each_vector(n, [&](int64_t i, int64_t m) { total += exponentials(x + i, m, most); });
    return sum(total);
}

void log_probability(const float *logits, const int32_t *targets, int64_t rows, int64_t n, float *logp, int ith,
                     int nth) {
    const Share mine = share_of(rows, ith, nth);
    for (int64_t r = mine.first; r < mine.last; ++r) {
        const float *row = logits + r * n;
        const float most = row_max(row, n);
        logp[r] = logits[targets[r]] - most - logf(sum_of_exponentials(row, n, most));
    }
}

void cross_entropy_back(const float *logits, const int32_t *targets, const float *weights, int64_t rows, int64_t n,
                        float *dlogits, int ith, int nth) {
    const Share mine = share_of(rows, ith, nth);
    for (int64_t r = mine.first; r < mine.last; ++r) {
        const float *row = logits + r * n;
        float *d = dlogits + r * n;
        const float most = row_max(row, n);
        Vector total{};
        each_vector(n, [&](int64_t i, int64_t m) {
            const Vector e = exponentials(row + i, m, most);
            store_part(d + i, e, m);
            total += e;
        });
        const float factor = weights[r] / sum(total);
        each_vector(n, [&](int64_t i, int64_t m) { store_part(d + i, load_part(d + i, m) * factor, m); });
        dlogits[targets[r]] -= weights[r];
    }
}

} // namespace ri::kernels::RI_SET
