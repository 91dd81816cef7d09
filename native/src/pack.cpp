#include "pack.h"

#define GGML_COMMON_DECL_CPP
#include "ggml-common.h"

#include <cstring>
#include <type_traits>
#include <vector>

namespace ri {

namespace {

using kernels::block_inputs;
static_assert(block_inputs == QK4_0 && block_inputs == QK4_1 && block_inputs == QK5_0 && block_inputs == QK5_1 &&
              block_inputs == QK8_0);
constexpr int64_t of_superblock = QK_K / block_inputs;

float number(ggml_half half) { return ggml_fp16_to_fp32(half); }

// Numbers of 4 bits: the first half of them are the low halves of the bytes.
void unpack(const uint8_t bytes[block_inputs / 2], int8_t *numbers) {
    for (int i = 0; i < block_inputs / 2; ++i) {
        numbers[i] = int8_t(bytes[i] & 15);
        numbers[i + block_inputs / 2] = int8_t(bytes[i] >> 4);
    }
}

// A fifth bit for each number, from the lowest on.
void add_bits(const uint8_t bits[block_inputs / 8], int8_t *numbers) {
    for (int i = 0; i < block_inputs; ++i) numbers[i] = int8_t(numbers[i] | (bits[i / 8] >> i % 8 & 1) << 4);
}

void subtract(int8_t from_all, int8_t *numbers) {
    for (int i = 0; i < block_inputs; ++i) numbers[i] = int8_t(numbers[i] - from_all);
}

Block unpacked(const block_q4_0 &b) {
    Block block{number(b.d), 0, {}};
    unpack(b.qs, block.numbers);
    subtract(8, block.numbers);
    return block;
}

Block unpacked(const block_q4_1 &b) {
    Block block{number(b.data.data.d), number(b.data.data.m), {}};
    unpack(b.qs, block.numbers);
    return block;
}

Block unpacked(const block_q5_0 &b) {
    Block block{number(b.d), 0, {}};
    unpack(b.qs, block.numbers);
    add_bits(b.qh, block.numbers);
    subtract(16, block.numbers);
    return block;
}

Block unpacked(const block_q5_1 &b) {
    Block block{number(b.data.data.d), number(b.data.data.m), {}};
    unpack(b.qs, block.numbers);
    add_bits(b.qh, block.numbers);
    return block;
}

Block unpacked(const block_q8_0 &b) {
    Block block{number(b.d), 0, {}};
    memcpy(block.numbers, b.qs, sizeof block.numbers);
    return block;
}

// One of the blocks of a superblock of Q4_K or Q5_K: two of them share bytes, and scales and
// offsets have 6 bits, of which those of the last four blocks are in two places.
template <typename Superblock> Block of(const Superblock &b, int64_t index) {
    const uint8_t *packed = b.scales;
    const int64_t i = index % 4;
    int scale = packed[i] & 63, offset = packed[i + 4] & 63;
    if (index >= 4) {
        scale = (packed[i + 8] & 15) | packed[i] >> 6 << 4;
        offset = packed[i + 8] >> 4 | packed[i + 4] >> 6 << 4;
    }
    Block block{number(b.data.data.d) * float(scale), -(number(b.data.data.dmin) * float(offset)), {}};
    const uint8_t *bytes = b.qs + index / 2 * block_inputs;
    for (int j = 0; j < block_inputs; ++j) block.numbers[j] = int8_t(index % 2 ? bytes[j] >> 4 : bytes[j] & 15);
    if constexpr (std::is_same_v<Superblock, block_q5_K>)
        for (int j = 0; j < block_inputs; ++j)
            block.numbers[j] = int8_t(block.numbers[j] | (b.qh[j] >> index & 1) << 4);
    return block;
}

template <typename B> Block simple(const void *row, int64_t index) {
    return unpacked(static_cast<const B *>(row)[index]);
}
template <typename B> Block nested(const void *row, int64_t index) {
    return of(static_cast<const B *>(row)[index / of_superblock], index % of_superblock);
}

} // namespace

BlockReader reader_of_blocks(ggml_type type) {
    switch (type) {
    case GGML_TYPE_Q4_0: return simple<block_q4_0>;
    case GGML_TYPE_Q4_1: return simple<block_q4_1>;
    case GGML_TYPE_Q5_0: return simple<block_q5_0>;
    case GGML_TYPE_Q5_1: return simple<block_q5_1>;
    case GGML_TYPE_Q8_0: return simple<block_q8_0>;
    case GGML_TYPE_Q4_K: return nested<block_q4_K>;
    case GGML_TYPE_Q5_K: return nested<block_q5_K>;
    default: return nullptr;
    }
}

kernels::PackedMatrix packed_for(const kernels::KernelSet &set, ggml_type type, int64_t n_out, int64_t n_in) {
    return {set, reader_of_blocks(type) ? kernels::Weights::q8 : kernels::Weights::bf16, n_out, n_in};
}

void pack_row(ggml_type type, const void *row, int64_t out, kernels::PackedMatrix &matrix) {
    const int64_t n = matrix.n_in();
    if (const BlockReader read = reader_of_blocks(type)) {
        for (int64_t b = 0; b < n / block_inputs; ++b) {
            const Block block = read(row, b);
            matrix.set_block(out, b, block.scale, block.offset, block.numbers);
        }
        return;
    }
    std::vector<float> numbers(static_cast<size_t>(n));
    ggml_get_type_traits(type)->to_float(row, numbers.data(), n);
    matrix.set_row(out, numbers.data());
}

} // namespace ri
