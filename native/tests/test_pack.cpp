// Blocks of quantised rows stand for the numbers that ggml makes of the rows.
#include "pack.h"
#include "support/check.h"

#include <cmath>
#include <random>
#include <vector>

namespace {

void test_type(ggml_type type, ri::BlockReader read) {
    constexpr int64_t n = 512, rows = 8;
    std::mt19937_64 generator(7);
    std::vector<float> drawn(n * rows), expected(n);
    for (size_t i = 0; i < drawn.size(); ++i) // rows of other sizes; in one, numbers far from 0
        drawn[i] = std::ldexp(float(generator() >> 40) * 0x1p-23f - 1, int(i / n) - 4) + (i / n == 5 ? 3.0f : 0.0f);
    const size_t row_size = ggml_row_size(type, n);
    std::vector<char> bytes(row_size * rows);
    ggml_quantize_chunk(type, drawn.data(), bytes.data(), 0, rows, n, nullptr);
    for (int64_t r = 0; r < rows; ++r) {
        const char *row = bytes.data() + size_t(r) * row_size;
        ggml_get_type_traits(type)->to_float(row, expected.data(), n);
        for (int64_t i = 0; i < n; ++i) {
            const ri::Block block = read(row, i / ri::kernels::block_inputs);
            const double term = double(block.scale) * block.numbers[i % ri::kernels::block_inputs];
            // ggml rounds the product and the sum.
            const double error = 0x1p-23 * (std::abs(term) + std::abs(double(block.offset)));
            if (!CHECK_NEAR(expected[size_t(i)], term + block.offset, error)) return;
        }
    }
}

} // namespace

int main() {
    int n = 0;
    for (int t = 0; t < GGML_TYPE_COUNT; ++t)
        if (const ri::BlockReader read = ri::reader_of_blocks(ggml_type(t))) {
            test_type(ggml_type(t), read);
            ++n;
        }
    CHECK(n == 7);
    CHECK(!ri::reader_of_blocks(GGML_TYPE_F16) && !ri::reader_of_blocks(GGML_TYPE_Q6_K));
    return finish();
}
