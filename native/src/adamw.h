// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) on the CPU: every function does the share of thread `ith` of
// `nth`.
#pragma once

#include <cstdint>
#include <vector>

namespace ri::kernels {

// What AdamW needs of one tensor; all four of n numbers.
struct Trained {
    float *value, *gradient, *moment1, *moment2;
    int64_t n;
    float decay; // decoupled
};
struct AdamW {
    float learning_rate, beta1, beta2, epsilon, correction1, correction2, gradient_factor;
};
// The sum of squares of all gradients, in pieces: one number for each, to be summed in order.
int64_t n_pieces(const std::vector<Trained> &tensors);
void squares(const std::vector<Trained> &tensors, double *sums, int ith, int nth);
// One step, after which the gradients are zero.
void adamw(const std::vector<Trained> &tensors, const AdamW &settings, int ith, int nth);

} // namespace ri::kernels
