// The products, functions and random numbers of recommenders and adapters, of every kernel set that
// this processor supports, against plain loops and against the statistics of random numbers.
// test_recommender_kernels.cpp compares the kernels of encoders with formulas, and so do the Go
// tests, through the models that use them.
#include "status.h"
#include "support/kernel_sets.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

namespace {

using namespace ri::kernels;

std::mt19937_64 generator(5);

std::vector<float> draw(int64_t n) {
    std::vector<float> values(static_cast<size_t>(n));
    for (float &value : values) value = float(generator() >> 40) * 0x1p-23f - 1;
    return values;
}

// All shapes around the sizes of tiles, both orders of either matrix, and several threads.
void test_gemm() {
    for (int64_t m : {1, 2, 5, 7, 8, 9, 13, 70})
        for (int64_t n : {1, 3, 15, 16, 17, 63, 65, 300})
            for (int64_t k : {1, 2, 16, 31, 64, 130, 260})
                for (int layout = 0; layout < 4; ++layout) {
                    const auto a = draw(m * k), b = draw(k * n), before = draw(m * n);
                    const MatrixView of_a = layout & 1 ? MatrixView{a.data(), 1, m} : MatrixView{a.data(), k, 1};
                    const MatrixView of_b = layout & 2 ? MatrixView{b.data(), 1, k} : MatrixView{b.data(), n, 1};
                    std::vector<double> want(static_cast<size_t>(m * n));
                    for (int64_t i = 0; i < m; ++i)
                        for (int64_t j = 0; j < n; ++j)
                            for (int64_t p = 0; p < k; ++p)
                                want[size_t(i * n + j)] += double(of_a.data[i * of_a.row + p * of_a.column]) *
                                                           double(of_b.data[p * of_b.row + j * of_b.column]);
                    for (bool accumulate : {false, true})
                        for (int nth : {1, 3}) {
                            const int64_t stride = n + 2; // what lies between rows is not to be touched
                            std::vector<float> c(size_t(m * stride), -9.0f);
                            for (int64_t i = 0; i < m; ++i)
                                if (accumulate) std::copy_n(before.data() + i * n, n, c.data() + i * stride);
                            for (int ith = 0; ith < nth; ++ith)
                                set->gemm(m, n, k, of_a, of_b, c.data(), stride, accumulate, ith, nth);
                            double worst = 0;
                            for (int64_t i = 0; i < m; ++i) {
                                for (int64_t j = 0; j < n; ++j) {
                                    const double start = accumulate ? double(before[size_t(i * n + j)]) : 0;
                                    const double got = double(c[size_t(i * stride + j)]);
                                    worst = std::max(worst, std::fabs(got - start - want[size_t(i * n + j)]));
                                }
                                for (int64_t j = n; j < stride; ++j) CHECK(c[size_t(i * stride + j)] == -9.0f);
                            }
                            CHECK(worst < 1e-6 * double(k + 8));
                        }
                }
}

// Mean, variance, kurtosis, tails, and no connection between neighbours, halves of a block, or
// streams.
void test_normal() {
    constexpr int64_t n = 1 << 20;
    std::vector<float> x(n), y(n), shared(n + 7);
    set->normal(7, n, x.data(), 0, 1);
    set->normal(uint64_t(8) << 32, n, y.data(), 0, 1);
    double sum = 0, squares = 0, fourth = 0, far = 0, next = 0, half = 0, other = 0;
    for (size_t i = 0; i < n; ++i) {
        const double v = double(x[i]);
        sum += v, squares += v * v, fourth += v * v * v * v, far += std::fabs(v) > 3;
        next += v * double(x[(i + 1) % n]), half += v * double(x[(i + 32) % n]), other += v * double(y[i]);
    }
    // Five standard deviations of each figure.
    CHECK_NEAR(sum / n, 0, 5.0 / 1024);
    CHECK_NEAR(squares / n, 1, 5 * 1.4142 / 1024);
    CHECK_NEAR(fourth / n, 3, 5 * 9.8 / 1024);
    CHECK_NEAR(far / n, 0.0026998, 5 * 0.052 / 1024);
    for (double product : {next, half, other}) CHECK_NEAR(product / n, 0, 5.0 / 1024);
    // However it is shared, and whatever the length: the same numbers, and no more.
    for (int nth : {1, 2, 5})
        for (int64_t count : {int64_t(1), int64_t(63), int64_t(64), int64_t(200), n}) {
            std::fill(shared.begin(), shared.end(), 77.0f);
            for (int ith = 0; ith < nth; ++ith) set->normal(7, count, shared.data(), ith, nth);
            CHECK(memcmp(shared.data(), x.data(), size_t(count) * sizeof(float)) == 0);
            CHECK(shared[size_t(count)] == 77.0f);
        }
}

void test_dropout_mask() {
    constexpr int64_t n = 1 << 20;
    std::vector<float> mask(n);
    for (float probability : {0.1f, 0.5f, 0.9f}) {
        set->dropout_mask(3, probability, n, mask.data(), 0, 1);
        const auto dropped = std::count(mask.begin(), mask.end(), 0.0f);
        CHECK_NEAR(double(dropped) / n, double(probability), 5 * 0.5 / 1024);
        CHECK(std::count(mask.begin(), mask.end(), 1 / (1 - probability)) == n - dropped);
    }
}

// Scores of candidates, which may be drawn more than once, and their gradients; on any number of
// threads the same bits.
void test_candidates() {
    constexpr int64_t items = 9;
    for (int64_t n : {1, 5, 64})
        for (int64_t count : {1, 7})
            for (bool biased : {false, true}) {
                constexpr int64_t rows = 4;
                const auto x = draw(rows * n), table = draw(items * n), bias = draw(items), dy = draw(rows * count);
                std::vector<int32_t> ids;
                for (int64_t i = 0; i < rows * count; ++i) ids.push_back(int32_t(generator() % items));
                std::vector<float> y(size_t(rows * count)), dx(size_t(rows * n)), dtable(size_t(items * n)),
                    dbias(items);
                std::vector<std::vector<float>> first;
                for (int nth : {1, 2, 5}) {
                    for (int ith = 0; ith < nth; ++ith) {
                        set->candidate_scores(x.data(), table.data(), biased ? bias.data() : nullptr, ids.data(), rows,
                                              count, n, y.data(), ith, nth);
                        set->candidate_scores_back_input(dy.data(), table.data(), ids.data(), rows, count, n, dx.data(),
                                                         ith, nth);
                        set->candidate_scores_back_table(dy.data(), x.data(), ids.data(), rows, count, n, items,
                                                         dtable.data(), biased ? dbias.data() : nullptr, ith, nth);
                    }
                    if (first.empty()) first = {y, dx, dtable, dbias};
                    CHECK((first == std::vector<std::vector<float>>{y, dx, dtable, dbias}));
                }
                std::vector<double> of_x(dx.size()), of_table(dtable.size()), of_bias(items);
                for (int64_t i = 0; i < rows * count; ++i) {
                    const int64_t r = i / count, id = ids[size_t(i)];
                    double score = biased ? double(bias[size_t(id)]) : 0;
                    const double d = double(dy[size_t(i)]);
                    of_bias[size_t(id)] += biased ? d : 0;
                    for (int64_t j = 0; j < n; ++j) {
                        const double own = double(x[size_t(r * n + j)]), row = double(table[size_t(id * n + j)]);
                        score += own * row;
                        of_x[size_t(r * n + j)] += d * row;
                        of_table[size_t(id * n + j)] += d * own;
                    }
                    CHECK_NEAR(double(y[size_t(i)]), score, 1e-5);
                }
                for (size_t i = 0; i < dx.size(); ++i) CHECK_NEAR(double(dx[i]), of_x[i], 1e-5);
                for (size_t i = 0; i < dtable.size(); ++i) CHECK_NEAR(double(dtable[i]), of_table[i], 1e-5);
                for (size_t i = 0; i < dbias.size(); ++i) CHECK_NEAR(double(dbias[i]), of_bias[i], 1e-5);
            }
}

// Rows of softmax, GELU, SiLU and the squared error, and their gradients, from formulas in double
// precision; on any number of threads the same bits.
void test_functions() {
    for (int64_t rows : {1, 7})
        for (int64_t n : {1, 5, 64, 131}) {
            const int64_t count = rows * n;
            auto x = draw(count), dy = draw(count);
            for (float &value : x) value *= 6;
            const size_t size = size_t(count);
            std::vector<float> p(size), dp(size), y(size), dx(size), d(size), sums(static_cast<size_t>(rows));
            std::vector<float> gated(size), dgated(size);
            std::vector<std::vector<float>> first;
            for (int nth : {1, 2, 5}) {
                for (int ith = 0; ith < nth; ++ith) {
                    set->softmax(x.data(), 1.5f, rows, n, p.data(), ith, nth);
                    set->softmax_back(p.data(), dy.data(), 1.5f, rows, n, dp.data(), ith, nth);
                    set->gelu_tanh(x.data(), count, y.data(), ith, nth);
                    set->gelu_tanh_back(x.data(), dy.data(), count, dx.data(), ith, nth);
                    set->silu(x.data(), count, gated.data(), ith, nth);
                    set->silu_back(x.data(), dy.data(), count, dgated.data(), ith, nth);
                    set->squared_error(x.data(), dy.data(), 0.5f, rows, n, d.data(), sums.data(), ith, nth);
                }
                if (first.empty()) first = {p, dp, y, dx, d, sums, gated, dgated};
                CHECK((first == std::vector<std::vector<float>>{p, dp, y, dx, d, sums, gated, dgated}));
            }
            for (int64_t r = 0; r < rows; ++r) {
                double total = 0, dot = 0, squares = 0;
                auto at = [&](const std::vector<float> &values, int64_t i) {
                    return double(values[size_t(r * n + i)]);
                };
                for (int64_t i = 0; i < n; ++i) total += std::exp(1.5 * at(x, i));
                for (int64_t i = 0; i < n; ++i) dot += std::exp(1.5 * at(x, i)) / total * at(dy, i);
                for (int64_t i = 0; i < n; ++i) {
                    const double v = at(x, i), g = at(dy, i), probability = std::exp(1.5 * v) / total;
                    CHECK_NEAR(at(p, i), probability, 3e-6 * probability + 1e-30);
                    CHECK_NEAR(at(dp, i), 1.5 * probability * (g - dot), 2e-6);
                    const double c = std::sqrt(2 / M_PI), t = std::tanh(c * (v + 0.044715 * v * v * v));
                    CHECK_NEAR(at(y, i), 0.5 * v * (1 + t), 4e-6);
                    const double gate = 1 / (1 + std::exp(-v));
                    CHECK_NEAR(at(gated, i), v * gate, 4e-6);
                    CHECK_NEAR(at(dgated, i), g * gate * (1 + v * (1 - gate)), 4e-6);
                    const double slope = c * (1 + 3 * 0.044715 * v * v) * (1 - t * t);
                    CHECK_NEAR(at(dx, i), g * 0.5 * (1 + t + v * slope), 4e-6);
                    CHECK_NEAR(at(d, i), 0.5 * (v - g), 1e-6);
                    squares += (v - g) * (v - g);
                }
                CHECK_NEAR(sums[size_t(r)], squares, 1e-6 * squares);
            }
        }
}

void test_set() {
    test_gemm();
    test_functions();
    test_candidates();
    test_normal();
    test_dropout_mask();
}

// Without a name the fastest supported set; a name is taken or refused.
void test_select() {
    const Candidate *fastest = nullptr;
    for (const Candidate &c : candidates()) {
        if (c.supported() && !fastest) fastest = &c;
        try {
            CHECK(&select(c.set->name) == c.set && c.supported());
        } catch (const ri::Error &e) {
            CHECK(!c.supported() && e.code == RI_UNSUPPORTED && strstr(e.what(), c.missing.c_str()));
        }
    }
    for (const char *none : {static_cast<const char *>(nullptr), ""}) CHECK(&select(none) == fastest->set);
    bool refused = false;
    try {
        select("AVX2");
    } catch (const ri::Error &e) {
        refused = e.code == RI_INVALID && strstr(e.what(), "RECINT_KERNELS is AVX2") && strstr(e.what(), "generic");
    }
    CHECK(refused);
}

} // namespace

int main() {
    test_select();
    return for_each_set(test_set);
}
