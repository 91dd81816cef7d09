#include "packed_matrix.h"

#include "ggml.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace ri::kernels {

namespace {

constexpr size_t alignment = 64;

// Inputs that a panel has room for: bfloat16 ones lie in pairs.
int64_t padded(Weights weights, int64_t n_in) { return weights == Weights::bf16 ? (n_in + 1) / 2 * 2 : n_in; }

size_t number_size(Weights weights) { return weights == Weights::bf16 ? sizeof(ggml_bf16_t) : sizeof(float); }

// The bytes of a block of whole numbers of one panel.
size_t block_size(int64_t panel) { return size_t(panel) * (2 * sizeof(float) + block_inputs); }

size_t panel_size(Weights weights, int64_t panel, int64_t n_in) {
    if (weights == Weights::q8) return size_t(n_in / block_inputs) * block_size(panel);
    return size_t(padded(weights, n_in) * panel) * number_size(weights);
}

} // namespace

void PackedMatrix::Free::operator()(char *p) const { std::free(p); }

size_t PackedMatrix::n_bytes(const KernelSet &set, Weights weights, int64_t n_out, int64_t n_in) {
    const int64_t panels = (n_out + set.panel - 1) / set.panel;
    const size_t n = size_t(panels) * panel_size(weights, set.panel, n_in);
    return (n + alignment - 1) / alignment * alignment;
}

PackedMatrix::PackedMatrix(const KernelSet &set, Weights weights, int64_t n_out, int64_t n_in)
    : set_(&set), weights_(weights), n_out_(n_out), n_in_(n_in) {
    const size_t n = n_bytes(set, weights, n_out, n_in);
    data_.reset(static_cast<char *>(std::aligned_alloc(alignment, n)));
    if (!data_) throw std::bad_alloc();
    memset(data_.get(), 0, n);
}

template <typename Number> Number *PackedMatrix::at(int64_t out, int64_t in) {
    const int64_t panel = set_->panel, first = out / panel * padded(weights_, n_in_) * panel, column = out % panel;
    auto *numbers = reinterpret_cast<Number *>(data_.get());
    if (weights_ == Weights::bf16) return numbers + first + in / 2 * 2 * panel + 2 * column + in % 2;
    return numbers + first + in * panel + column;
}

void PackedMatrix::set(int64_t out, int64_t in, float value) {
    if (weights_ == Weights::bf16)
        *at<ggml_bf16_t>(out, in) = ggml_fp32_to_bf16(value);
    else
        *at<float>(out, in) = value;
}

void PackedMatrix::set_block(int64_t out, int64_t block, float scale, float offset, const int8_t *numbers) {
    const int64_t panel = set_->panel, column = out % panel, together = set_->rounds_input ? 2 : 1;
    char *first =
        data_.get() + size_t(out / panel) * panel_size(weights_, panel, n_in_) + size_t(block) * block_size(panel);
    auto *scales = reinterpret_cast<float *>(first);
    scales[column] = scale;
    scales[panel + column] = offset;
    auto *bytes = reinterpret_cast<int8_t *>(scales + 2 * panel);
    for (int64_t i = 0; i < block_inputs; ++i)
        bytes[i / together * together * panel + column * together + i % together] = numbers[i];
}

void PackedMatrix::set_row(int64_t out, const float *row) {
    for (int64_t i = 0; i < n_in_; ++i) set(out, i, row[i]);
}

void PackedMatrix::set_column(int64_t in, const float *column) {
    for (int64_t o = 0; o < n_out_; ++o) set(o, in, column[o]);
}

} // namespace ri::kernels
