// What kernels are told about the shapes they work on. Plain data: a kernel set's code is compiled
// for instructions that this processor may lack, so nothing it shares with other code may be an
// inline function (the linker keeps one copy of those, whichever it finds first).
#pragma once

#include <cstddef>
#include <cstdint>

namespace ri::kernels {

// q8: whole numbers of 8 bits, with a scale and an offset for every `block_inputs` inputs of an
// output.
enum class Weights { f32, bf16, q8 };
constexpr int64_t block_inputs = 32;

// A frozen matrix [n_out, n_in] in panels of the set's width, so that a product reads it from front
// to back. Float32 panels hold one row of outputs for each input; bfloat16 panels hold pairs of
// inputs side by side, which is the order that vdpbf16ps reads and that widens to float32 by one
// shift or mask. Panels of whole numbers hold for each block of inputs the scales of all outputs
// and their offsets, in float32, and then the numbers, in pairs if the set rounds its input.
struct Packed {
    int64_t n_out, n_in;
    Weights weights;
    const void *data; // at a multiple of 64 bytes
};

// A matrix seen through strides, counted in floats: element (i, j) is data[i * row + j * column].
// Rows may overlap, as the windows of a convolution do.
struct MatrixView {
    const float *data;
    int64_t row, column;
};

// Keys and values of a shared prefix of one layer, in the orders that attention reads.
struct PrefixCache {
    int64_t n;              // positions
    const float *k, *v;     // [heads_kv, n, head_dim], keys rotated
    const float *k_t, *v_t; // [heads_kv, head_dim, n]
};

// Rotary grouped-query attention of packed samples after a shared prefix.
struct Attention {
    int64_t heads, heads_kv, head_dim; // head_dim is even
    int64_t samples, longest;          // B, and the most rows of one
    const int64_t *first;              // [B + 1]: sample b has the rows first[b] to first[b + 1] - 1
    float scale;
    int64_t window; // positions that one sees, itself included; 0: all that come before
    // [longest, head_dim] at the suffix's positions: each angle's cosine twice, and its sine twice,
    // the first negated.
    const float *cos, *sin;
    const int32_t *parents; // [longest]: the row of the same sample that comes before, or -1; NULL: the one above
};

// Vectors of positions, heads and streams, strides in bytes, as ggml has them.
struct Strided {
    const char *data;
    size_t position, head, stream;
};

// Queries of several streams, each with a cache of its own.
struct CachedAttention {
    int64_t streams, heads, heads_kv, head_dim; // heads a multiple of heads_kv
    int64_t queries, keys;                      // of a stream
    Strided q;                                  // F32
    Strided k, v;                               // F16
    Strided mask;                               // F16 [keys] for each query: added to its scores; -infinity hides a key
    float scale;
};

// Attention within each of `samples` histories of T positions.
struct ShortAttention {
    int64_t samples, positions, heads, head_dim;
    const int32_t *lengths; // [samples]: queries attend to so many positions; null: to those up to their own
    bool at_last;           // one query for each sample, at its last position, which needs lengths; else one at each
    bool has_mask;          // dropout of the weights: [samples, heads, queries, T]
    float scale;
};

// A GRU layer (Cho et al. 2014) over samples of T positions: gates [samples * T, 3H] in the order
// reset, update, new, from the inputs; w [3H, H] and bias [3H] for the state before. h [samples *
// T, H]; after a sample's length the last state stays.
struct Recurrence {
    int64_t samples, positions, hidden;
    const int32_t *lengths; // [samples]
};

// Convolution over windows of `height` positions: y [samples * T, filters] from x [samples * T,
// width] and w [filters, height * width]. Row b * T + t is the window of sample b that begins at t,
// where t <= T - height; other rows mean nothing.
struct Windows {
    int64_t samples, positions, width, height, filters;
};

// One step of a diffusion sampler: x' = of_x0 * x0 + of_x * x + deviation * noise.
struct SamplingStep {
    float of_x0, of_x, deviation;
};
// What sampling needs: x0 = first * x + given + by_step with one layer (none is null); with two, x0
// = second * mix + second_bias, mix = (1 + strength) gelu(y + given) - strength gelu(y + none), y =
// first * x + by_step.
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
    const SamplingStep *coefficients; // [steps]
};

// What AdamW needs of one tensor; all four of n numbers.
struct Trained {
    float *value, *gradient, *moment1, *moment2;
    int64_t n;
    float decay; // decoupled
};
struct AdamW {
    float learning_rate, beta1, beta2, epsilon, correction1, correction2, gradient_factor;
};

} // namespace ri::kernels
