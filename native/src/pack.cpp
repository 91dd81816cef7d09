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

// A block of such numbers, from all of which `zero` is subtracted; `fifth`, unless it is null, has
// a fifth bit for each.
Block block_of(float scale, float offset, const uint8_t *bytes, const uint8_t *fifth, int zero) {
    Block block{scale, offset, {}};
    unpack(bytes, block.numbers);
    for (int i = 0; i < block_inputs; ++i) {
        const int high = fifth ? (fifth[i / 8] >> i % 8 & 1) << 4 : 0;
        block.numbers[i] = int8_t((block.numbers[i] | high) - zero);
    }
    return block;
}

Block unpacked(const block_q4_0 &b) { return block_of(number(b.d), 0, b.qs, nullptr, 8); }
Block unpacked(const block_q4_1 &b) { return block_of(number(b.data.data.d), number(b.data.data.m), b.qs, nullptr, 0); }
Block unpacked(const block_q5_0 &b) { return block_of(number(b.d), 0, b.qs, b.qh, 16); }
Block unpacked(const block_q5_1 &b) { return block_of(number(b.data.data.d), number(b.data.data.m), b.qs, b.qh, 0); }

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

void pack_rows(ggml_type type, const void *rows, int64_t first, int64_t last, kernels::PackedMatrix &matrix) {
    const int64_t n = matrix.n_in();
    const BlockReader read = reader_of_blocks(type);
    std::vector<float> numbers(read ? 0 : size_t(n));
    for (int64_t out = first; out < last; ++out) {
        const char *row = static_cast<const char *>(rows) + size_t(out) * ggml_row_size(type, n);
        if (!read) {
            ggml_get_type_traits(type)->to_float(row, numbers.data(), n);
            matrix.set_row(out, numbers.data());
            continue;
        }
        for (int64_t b = 0; b < n / block_inputs; ++b) {
            const Block block = read(row, b);
            matrix.set_block(out, b, block.scale, block.offset, block.numbers);
        }
    }
}

} // namespace ri
