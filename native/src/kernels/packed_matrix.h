// A frozen matrix in the layout that a kernel set multiplies by (Packed).
#pragma once

#include "kernel_set.h"
#include "recint.h"

#include <memory>

namespace ri::kernels {

// What a precision's frozen matrices are made of.
inline Weights weights_of(ri_precision precision) { return precision == RI_BF16 ? Weights::bf16 : Weights::f32; }

class PackedMatrix {
  public:
    // The memory of such a matrix. Of whole numbers (q8), n_in is a multiple of block_inputs.
    static size_t n_bytes(const KernelSet &set, Weights weights, int64_t n_out, int64_t n_in);
    // Zeros, in memory of its own. Throws std::bad_alloc.
    PackedMatrix(const KernelSet &set, Weights weights, int64_t n_out, int64_t n_in);

    // Row `out` of the matrix [n_in] / column `in` of it [n_out]; bfloat16 weights are rounded to
    // nearest even.
    void set_row(int64_t out, const float *row);
    void set_column(int64_t in, const float *column);
    // Whole numbers: those of the inputs of a block, from block * block_inputs on, which stand for
    // scale * number + offset.
    void set_block(int64_t out, int64_t block, float scale, float offset, const int8_t numbers[block_inputs]);
    // y [rows, n_out] = x [rows, n_in] times the transposed matrix, the share of thread ith of nth.
    void multiply(const float *x, int64_t rows, float *y, int ith, int nth) const {
        set_->multiply({n_out_, n_in_, weights_, data_.get()}, x, rows, y, ith, nth);
    }

    int64_t n_out() const { return n_out_; }
    int64_t n_in() const { return n_in_; }

  private:
    template <typename Number> Number *at(int64_t out, int64_t in);
    void set(int64_t out, int64_t in, float value);

    struct Free {
        void operator()(char *p) const;
    };
    const KernelSet *set_;
    Weights weights_;
    int64_t n_out_, n_in_;
    std::unique_ptr<char, Free> data_;
};

} // namespace ri::kernels
