// Matrices of a GGUF file in the layout of a kernel set. Quantised ones whose blocks are as long as
// the layout's stay whole numbers with scales and offsets; others become bfloat16.
#pragma once

#include "ggml.h"
#include "kernels/packed_matrix.h"

namespace ri {

// Room for a matrix whose rows have the given type.
kernels::PackedMatrix packed_for(const kernels::KernelSet &set, ggml_type type, int64_t n_out, int64_t n_in);

// Sets its rows from `first` to `last` - 1 to those of a matrix of that type, whose rows begin at
// `rows`.
void pack_rows(ggml_type type, const void *rows, int64_t first, int64_t last, kernels::PackedMatrix &matrix);

// A block of a row: number i stands for scale * numbers[i] + offset.
struct Block {
    float scale, offset;
    int8_t numbers[kernels::block_inputs];
};

// What reads block `index` of a row of a type; null for a type without such blocks.
using BlockReader = Block (*)(const void *row, int64_t index);
BlockReader reader_of_blocks(ggml_type type);

} // namespace ri
