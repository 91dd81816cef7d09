// CPU kernels for recommenders: what lies between the products, fused, and threaded without a barrier inside. On other
// backends, and on the "portable" one, the same operations are composed of ggml's.
//
// Every function does the share of thread `ith` of `nth`; shares write disjoint outputs and sum in a fixed order, so
// results do not depend on nth. Matrices are row-major: one row for each position, item or sample.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ri::kernels {

// y [rows, out] = x [rows, in] times the transposed w [out, in], plus bias [out] unless it is null.
void linear(const float *x, const float *w, const float *bias, int64_t rows, int64_t in, int64_t out, float *y, int ith,
            int nth);
// dx [rows, in] and dw [out, in] given dy [rows, out].
void linear_back_input(const float *dy, const float *w, int64_t rows, int64_t in, int64_t out, float *dx, int ith,
                       int nth);
void linear_back_weight(const float *dy, const float *x, int64_t rows, int64_t in, int64_t out, float *dw, int ith,
                        int nth);
// sum += x, n numbers.
void add(const float *x, int64_t n, float *sum, int ith, int nth);
// sums [n] = the sum of x's rows [rows, n].
void sum_rows(const float *x, int64_t rows, int64_t n, float *sums, int ith, int nth);

// y = (x - mean) / sqrt(variance + eps) * weight + bias over rows of n; dx given dy; and the sums of dy * normalised x
// and of dy over all rows: dw [n], db [n].
void layer_norm(const float *x, const float *weight, const float *bias, float eps, int64_t rows, int64_t n, float *y,
                int ith, int nth);
void layer_norm_back(const float *x, const float *weight, const float *dy, float eps, int64_t rows, int64_t n,
                     float *dx, int ith, int nth);
void layer_norm_back_weights(const float *x, const float *dy, float eps, int64_t rows, int64_t n, float *dw, float *db,
                             int ith, int nth);

// table [n_rows, n] = the sums of the rows of dy [count, n] that were gathered from each.
void scatter_rows(const float *dy, const int32_t *ids, int64_t count, int64_t n, float *table, int64_t n_rows, int ith,
                  int nth);

// The sum of e^(x - most) over n numbers.
float sum_of_exponentials(const float *x, int64_t n, float most);
// -log p of flat targets (row * n + class) given p [rows, n]; and (p - onehot) * weight.
void negative_log(const float *p, const int32_t *targets, int64_t rows, float *loss, int ith, int nth);
void softmax_loss_back(const float *p, const int32_t *targets, const float *weights, int64_t rows, int64_t n,
                       float *dlogits, int ith, int nth);

// GELU in its exact form, x * Phi(x), and its gradient.
void gelu_erf(const float *x, int64_t n, float *y, int ith, int nth);
void gelu_erf_back(const float *x, const float *dy, int64_t n, float *dx, int ith, int nth);

// Causal attention within each of `samples` histories of T positions.
struct CausalAttention {
    int64_t samples, positions, heads, head_dim;
    const int32_t
        *lengths;  // [samples]: one query for each sample, at its last position; null: a query at each position
    bool has_mask; // dropout of the weights: [samples, heads, queries, T]
    float scale;
};
// q [queries, heads * head_dim], k and v [samples * T, heads * head_dim] -> out like q.
void causal_attention(const CausalAttention &shape, const float *q, const float *k, const float *v, const float *mask,
                      float *out, int ith, int nth);
// dq like q, dk and dv like k.
void causal_attention_back(const CausalAttention &shape, const float *q, const float *k, const float *v,
                           const float *mask, const float *dout, float *dq, float *dk, float *dv, int ith, int nth);

// A GRU layer (Cho et al. 2014) over samples of T positions: gates [samples * T, 3H] in the order reset, update, new,
// from the inputs; w [3H, H] and bias [3H] for the state before. h [samples * T, H]; behind a sample's length the last
// state stays.
struct Recurrence {
    int64_t samples, positions, hidden;
    const int32_t *lengths; // [samples]
};
// cells [samples * T, 4H], or null: what the gradient needs; reset, update and new, and what the state before gave to
// new.
void gru(const Recurrence &shape, const float *gates, const float *w, const float *bias, float *h, float *cells,
         int ith, int nth);
// Gradients of the gates, and of what w and bias gave to them; both [samples * T, 3H].
void gru_back(const Recurrence &shape, const float *w, const float *h, const float *cells, const float *dh,
              float *dgates, float *drecurrent, int ith, int nth);

// Convolution over windows of `height` positions: y [samples * T, filters] from x [samples * T, width] and w [filters,
// height * width]. Row b * T + t is the window of sample b that begins at t, where t < count(); other rows mean
// nothing.
struct Windows {
    int64_t samples, positions, width, height, filters;
    int64_t count() const { return positions - height + 1; }
};
void windows(const Windows &shape, const float *x, const float *w, const float *bias, float *y, int ith, int nth);
// The largest of relu(y) over the windows of each sample: [samples, filters]. Its gradient goes to the first of equals:
// dx like x, dw like w, db [filters].
void relu_max(const Windows &shape, const float *y, float *out, int ith, int nth);
void windows_max_back_input(const Windows &shape, const float *y, const float *w, const float *dmost, float *dx,
                            int ith, int nth);
void windows_max_back_weight(const Windows &shape, const float *y, const float *x, const float *dmost, float *dw,
                             float *db, int ith, int nth);
// Sums over positions: y [samples, filters * width] from x [samples * T, width], w [filters, T], one bias a filter.
void weigh_positions(const Windows &shape, const float *x, const float *w, const float *bias, float *y, int ith,
                     int nth);
void weigh_positions_back_input(const Windows &shape, const float *w, const float *dy, float *dx, int ith, int nth);
void weigh_positions_back_weight(const Windows &shape, const float *x, const float *dy, float *dw, float *db, int ith,
                                 int nth);

// y = x scaled by one number for each row.
void scale_rows(const float *x, const float *factors, int64_t rows, int64_t n, float *y, int ith, int nth);

// One step of a diffusion sampler: x' = of_x0 * x0 + of_x * x + deviation * noise.
struct SamplingStep {
    float of_x0, of_x, deviation;
};
// What sampling needs: x0 = first * x + given + by_step with one layer (none is null); with two,
// x0 = second * mix + second_bias, mix = (1 + strength) gelu(y + given) - strength gelu(y + none), y = first * x +
// by_step.
struct Sampling {
    int64_t n, width, hidden, steps;
    const float *first;                // [width, hidden]
    const float *given;                // [n, hidden]
    const float *by_step;              // [steps, hidden]
    const float *none;                 // [hidden]
    const float *second, *second_bias; // [hidden, width], [width]
    float strength;
    const float *noise; // [1 + steps - 1, n, width], or null: drawn from the seed
    uint64_t seed, first_oracle;
    std::vector<SamplingStep> coefficients; // [steps]
};
// Draw number `draw` for oracles [first, first + count): dst [count, width].
void sampling_noise(const Sampling &sampling, int64_t draw, int64_t first, int64_t count, float *dst);
void sample(const Sampling &sampling, float *dst, int ith, int nth);

} // namespace ri::kernels
