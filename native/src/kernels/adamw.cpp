// AdamW over all tensors of a model, in pieces that threads share.
#include "set.h"

#include <math.h>

namespace ri::kernels::RI_SET {

namespace {

constexpr int64_t piece = 1 << 14; // numbers summed or stepped at a time

// Calls body(tensor, first, last, index) for the pieces of thread ith of nth.
template <typename Body>
RI_INLINE void each_piece(const Trained *tensors, size_t n_tensors, int ith, int nth, Body body) {
    const Share part = share_of(n_pieces(tensors, n_tensors), ith, nth);
    int64_t index = 0;
    for (const Trained *t = tensors; t < tensors + n_tensors; ++t)
        for (int64_t first = 0; first < t->n; first += piece, ++index)
            if (index >= part.first && index < part.last) body(*t, first, least(first + piece, t->n), index);
}

double sum_of_squares(const float *x, int64_t n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) sum += double(x[i]) * double(x[i]);
    return sum;
}

void step(const Trained &t, const AdamW &s, int64_t first, int64_t last) {
    const float kept = 1.0f - s.learning_rate * t.decay;
    float *value = t.value, *gradient = t.gradient, *moment1 = t.moment1, *moment2 = t.moment2;
#pragma omp simd
    for (int64_t i = first; i < last; ++i) {
        const float g = gradient[i] * s.gradient_factor;
        const float m = moment1[i] * s.beta1 + g * (1.0f - s.beta1);
        const float v = moment2[i] * s.beta2 + g * g * (1.0f - s.beta2);
        moment1[i] = m;
        moment2[i] = v;
        gradient[i] = 0;
        value[i] = value[i] * kept - s.learning_rate * (m * s.correction1) / (sqrtf(v * s.correction2) + s.epsilon);
    }
}

} // namespace

int64_t n_pieces(const Trained *tensors, size_t n_tensors) {
    int64_t n = 0;
    for (const Trained *t = tensors; t < tensors + n_tensors; ++t) n += (t->n + piece - 1) / piece;
    return n;
}

void squares(const Trained *tensors, size_t n_tensors, double *sums, int ith, int nth) {
    each_piece(tensors, n_tensors, ith, nth, [&](const Trained &t, int64_t first, int64_t last, int64_t index) {
        sums[index] = sum_of_squares(t.gradient + first, last - first);
    });
}

void adamw(const Trained *tensors, size_t n_tensors, const AdamW &settings, int ith, int nth) {
    each_piece(tensors, n_tensors, ith, nth,
               [&](const Trained &t, int64_t first, int64_t last, int64_t) { step(t, settings, first, last); });
}

} // namespace ri::kernels::RI_SET
