// A diffusion's sampling loop: a block of oracles goes through all steps while it lies in the
// cache.
#include "../random.h"
#include "set.h"

#include <math.h>

namespace ri::kernels::RI_SET {

void sampling_noise(const Sampling &s, int64_t draw, int64_t first, int64_t count, float *dst) {
    if (s.noise) {
        const float *from = s.noise + (draw * s.n + first) * s.width;
        copy(from, count * s.width, dst);
        return;
    }
    for (int64_t i = 0; i < count; ++i) {
        const uint64_t oracle = s.first_oracle + uint64_t(first + i);
        normal(mix(mix(mix(s.seed) + oracle) + uint64_t(draw)), s.width, dst + i * s.width, 0, 1);
    }
}

namespace {

// y += row, for each of `rows` rows of n.
void add_step(float *y, const float *row, const float *given, int64_t rows, int64_t n) {
    for (int64_t r = 0; r < rows; ++r)
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[r * n + i] += row[i] + given[r * n + i];
}

void mix_guided(float *y, const float *row, const float *given, const float *none, float strength, int64_t rows,
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

void move_on(float *x, const float *x0, const float *noise, const SamplingStep &s, int64_t n) {
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
    constexpr int64_t block = 48;
    const int64_t D = s.width, H = s.hidden;
    const Share part = share_of(s.n, ith, nth);
    float *y = scratch(size_t(block * (H + 2 * D))), *x0 = y + block * H, *noise = x0 + block * D;
    for (int64_t first = part.first; first < part.last; first += block) {
        const int64_t rows = least(block, part.last - first);
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

} // namespace ri::kernels::RI_SET
