// The kernels of a frozen LLM, of every set that this processor supports, against plain loops in
// double precision, and against themselves on more threads: the same bits.
#include "kernels/packed_matrix.h"
#include "support/kernel_sets.h"

#include "ggml.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

namespace {

using namespace ri::kernels;

std::mt19937_64 generator(11);

// Uniform in (-scale, scale).
std::vector<float> draw(size_t n, float scale = 1) {
    std::vector<float> values(n);
    for (float &value : values) value = scale * (float(generator() >> 40) * 0x1p-23f - 1);
    return values;
}

// What all threads write together, with nth = 1. Every number must be written, and the same with
// other numbers of threads, also more than there are rows; nothing beyond the end may be.
std::vector<float> run(size_t n, const std::function<void(float *out, int ith, int nth)> &kernel) {
    const float guard = 12345.5f;
    std::vector<float> first;
    for (int nth : {1, 2, 3, 5}) {
        std::vector<float> out(n, NAN);
        out.resize(n + 64, guard);
        for (int ith = nth - 1; ith >= 0; --ith) kernel(out.data(), ith, nth);
        CHECK(std::all_of(out.begin() + ptrdiff_t(n), out.end(), [&](float x) { return x == guard; }));
        out.resize(n);
        if (first.empty()) first = out;
        CHECK(memcmp(first.data(), out.data(), n * sizeof(float)) == 0);
    }
    return first;
}

double rounded(float x) { return ggml_bf16_to_fp32(ggml_fp32_to_bf16(x)); }

// The error of a sum of n terms in float32 is a random walk: 4 standard deviations of it (Higham
// and Mary 2019, SIAM J. Sci. Comput. 41, theorem 2.4), relative to the sum of the terms' absolute
// values.
double bound_of_sum(int64_t n) { return 4 * 0x1p-24 * (2 + std::sqrt(double(n))); }

// Products with a matrix whose weights are `weight`, [n_out, n_in].
std::vector<float> check_products(const PackedMatrix &matrix, Weights weights, const std::vector<float> &weight,
                                  const std::vector<float> &x, int64_t rows) {
    const int64_t n_out = matrix.n_out(), n_in = matrix.n_in();
    const auto y = run(size_t(rows * n_out),
                       [&](float *out, int ith, int nth) { matrix.multiply(x.data(), rows, out, ith, nth); });
    for (int64_t r = 0; r < rows; ++r) { // by itself as among others
        const auto alone = run(size_t(n_out), [&](float *out, int ith, int nth) {
            matrix.multiply(x.data() + r * n_in, 1, out, ith, nth);
        });
        if (!CHECK(std::equal(alone.begin(), alone.end(), y.begin() + r * n_out))) return y;
    }
    const bool rounds_input = weights != Weights::f32 && set->rounds_input;
    const bool rounds_weight = weights == Weights::bf16 || rounds_input;
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t o = 0; o < n_out; ++o) {
            double sum = 0, size = 0;
            for (int64_t i = 0; i < n_in; ++i) {
                const float a = x[size_t(r * n_in + i)], b = weight[size_t(o * n_in + i)];
                const double term = (rounds_input ? rounded(a) : a) * (rounds_weight ? rounded(b) : b);
                sum += term;
                size += std::abs(term);
            }
            if (!CHECK_NEAR(y[size_t(r * n_out + o)], sum, bound_of_sum(n_in) * size)) return y;
        }
    return y;
}

void test_multiply(Weights weights, int64_t rows, int64_t n_out, int64_t n_in) {
    const auto weight = draw(size_t(n_out * n_in)), x = draw(size_t(rows * n_in));
    PackedMatrix by_row(*set, weights, n_out, n_in), by_column(*set, weights, n_out, n_in);
    CHECK(by_row.n_out() == n_out && by_row.n_in() == n_in);
    for (int64_t o = 0; o < n_out; ++o) by_row.set_row(o, weight.data() + o * n_in);
    std::vector<float> column(static_cast<size_t>(n_out));
    for (int64_t i = 0; i < n_in; ++i) {
        for (int64_t o = 0; o < n_out; ++o) column[size_t(o)] = weight[size_t(o * n_in + i)];
        by_column.set_column(i, column.data());
    }
    CHECK(check_products(by_row, weights, weight, x, rows) == check_products(by_column, weights, weight, x, rows));
}

// Scales and offsets are multiples of 2^-11, so that float32 holds what a number stands for
// exactly.
void test_multiply_whole(int64_t rows, int64_t n_out, int64_t n_in) {
    const auto x = draw(size_t(rows * n_in));
    std::vector<float> weight(size_t(n_out * n_in));
    PackedMatrix matrix(*set, Weights::q8, n_out, n_in);
    for (int64_t o = 0; o < n_out; ++o)
        for (int64_t b = 0; b < n_in / block_inputs; ++b) {
            const float scale = float(int64_t(generator() % 63)) * 0x1p-11f;
            const float offset = float(int64_t(generator() % 4095) - 2047) * 0x1p-11f;
            int8_t numbers[block_inputs];
            for (int64_t i = 0; i < block_inputs; ++i) {
                numbers[i] = int8_t(generator());
                weight[size_t(o * n_in + b * block_inputs + i)] = scale * float(numbers[i]) + offset;
            }
            matrix.set_block(o, b, scale, offset, numbers);
        }
    check_products(matrix, Weights::q8, weight, x, rows);
}

// `count` numbers agree with what a function of the index says, to a tolerance relative to the
// larger of 1 and it.
void check_all(const std::vector<float> &got, const std::function<double(size_t)> &expected, double tolerance) {
    for (size_t i = 0; i < got.size(); ++i) {
        const double e = expected(i);
        if (!CHECK_NEAR(got[i], e, tolerance * std::max(1.0, std::abs(e)))) return;
    }
}

void test_rms_norm(int64_t rows, int64_t n) {
    const float eps = 1e-2f; // large enough to be seen
    const auto x = draw(size_t(rows * n)), weight = draw(size_t(n), 2), dy = draw(size_t(rows * n));
    const auto y = run(x.size(), [&](float *out, int ith, int nth) {
        set->rms_norm(x.data(), weight.data(), eps, rows, n, out, ith, nth);
    });
    const auto dx = run(x.size(), [&](float *out, int ith, int nth) {
        set->rms_norm_back(x.data(), weight.data(), dy.data(), eps, rows, n, out, ith, nth);
    });
    auto root = [&](size_t row) {
        double squares = 0;
        for (size_t i = 0; i < size_t(n); ++i) squares += std::pow(double(x[row * size_t(n) + i]), 2);
        return std::sqrt(squares / double(n) + eps);
    };
    check_all(
        y, [&](size_t i) { return x[i] / root(i / size_t(n)) * weight[i % size_t(n)]; }, 2e-6);
    check_all(
        dx,
        [&](size_t i) {
            const size_t row = i / size_t(n) * size_t(n);
            double dot = 0;
            for (size_t j = 0; j < size_t(n); ++j) dot += double(dy[row + j]) * weight[j] * x[row + j];
            const double r = root(row / size_t(n));
            return (dy[i] * double(weight[i - row]) - x[i] * dot / double(n) / (r * r)) / r;
        },
        5e-6);
}

void test_swiglu(int64_t rows, int64_t n) {
    auto x = draw(size_t(rows * 2 * n), 6);
    const float extremes[] = {0, -0.0f, 100, -100, 1000, -1000, 87.5f, -87.5f, -104.5f};
    std::copy(std::begin(extremes), std::end(extremes), x.begin());
    const auto dy = draw(size_t(rows * n));
    const auto y = run(dy.size(), [&](float *out, int ith, int nth) { set->swiglu(x.data(), rows, n, out, ith, nth); });
    const auto dx = run(
        x.size(), [&](float *out, int ith, int nth) { set->swiglu_back(x.data(), dy.data(), rows, n, out, ith, nth); });
    const size_t width = size_t(n);
    auto sigmoid = [](double g) { return 1 / (1 + std::exp(-g)); };
    check_all(
        y,
        [&](size_t i) {
            const double gate = x[i / width * 2 * width + i % width], up = x[i / width * 2 * width + width + i % width];
            return gate * sigmoid(gate) * up;
        },
        2e-6);
    check_all(
        dx,
        [&](size_t i) {
            const size_t row = i / (2 * width), at = i % width;
            const double gate = x[row * 2 * width + at], up = x[row * 2 * width + width + at], d = dy[row * width + at];
            const double s = sigmoid(gate);
            return i % (2 * width) < width ? d * up * s * (1 + gate * (1 - s)) : d * gate * s;
        },
        2e-6);
}

void test_cross_entropy(int64_t rows, int64_t n) {
    auto logits = draw(size_t(rows * n), 8);
    for (int64_t i = 0; i < n; ++i) logits[size_t(i)] += 5000; // as exp() would overflow
    std::vector<int32_t> targets(static_cast<size_t>(rows));
    const auto weights = draw(size_t(rows));
    for (int64_t r = 0; r < rows; ++r) targets[size_t(r)] = int32_t(r * n + int64_t(generator() % uint64_t(n)));
    logits[size_t(targets.back())] = n > 1 ? -300 : 5000; // its probability underflows, its logarithm must not
    auto log_sum = [&](size_t row) {
        double most = -INFINITY, sum = 0;
        for (size_t i = 0; i < size_t(n); ++i) most = std::max(most, double(logits[row * size_t(n) + i]));
        for (size_t i = 0; i < size_t(n); ++i) sum += std::exp(logits[row * size_t(n) + i] - most);
        return most + std::log(sum);
    };
    auto logprobs = [&] {
        return run(size_t(rows), [&](float *out, int ith, int nth) {
            set->log_probability(logits.data(), targets.data(), rows, n, out, ith, nth);
        });
    };
    check_all(
        logprobs(), [&](size_t r) { return logits[size_t(targets[r])] - log_sum(r); }, 2e-6);
    const auto d = run(logits.size(), [&](float *out, int ith, int nth) {
        set->cross_entropy_back(logits.data(), targets.data(), weights.data(), rows, n, out, ith, nth);
    });
    check_all(
        d,
        [&](size_t i) {
            const size_t r = i / size_t(n);
            return (std::exp(logits[i] - log_sum(r)) - (size_t(targets[r]) == i)) * double(weights[r]);
        },
        1e-6);
    logits[0] = NAN; // never a probability
    CHECK(std::isnan(logprobs()[0]));
}

// One sample's attention in double precision: qkv [S, width] before rotation -> out [S, heads *
// hd].
std::vector<double> naive_attention(const Attention &a, const PrefixCache &prefix, const std::vector<double> &qkv) {
    const int64_t hd = a.head_dim, width = (a.heads + 2 * a.heads_kv) * hd, P = prefix.n,
                  S = int64_t(qkv.size()) / width;
    std::vector<double> out(size_t(S * a.heads * hd)), rotated = qkv;
    for (int64_t s = 0; s < S; ++s)
        for (int64_t pair = 0; pair < (a.heads + a.heads_kv) * hd / 2; ++pair) {
            const int64_t odd = s * hd + 2 * (pair % (hd / 2)) + 1;
            const double c = a.cos[odd], z = a.sin[odd];
            double *x = rotated.data() + s * width + 2 * pair;
            const double first = x[0], second = x[1];
            x[0] = first * c - second * z;
            x[1] = first * z + second * c;
        }
    for (int64_t s = 0; s < S; ++s)
        for (int64_t head = 0; head < a.heads; ++head) {
            const int64_t kv = head / (a.heads / a.heads_kv);
            const double *q = rotated.data() + s * width + head * hd;
            double total = 0, *to = out.data() + (s * a.heads + head) * hd;
            std::vector<int64_t> seen; // from s backwards, those of the prefix last
            for (int64_t own = s; own >= 0; own = a.parents ? a.parents[own] : own - 1) seen.push_back(P + own);
            for (int64_t j = P - 1; j >= 0; --j) seen.push_back(j);
            if (a.window && int64_t(seen.size()) > a.window) seen.resize(size_t(a.window));
            for (int64_t j : seen) {
                const double *own = rotated.data() + (j - P) * width + (a.heads + kv) * hd;
                double score = 0;
                for (int64_t d = 0; d < hd; ++d) score += q[d] * (j < P ? prefix.k[(kv * P + j) * hd + d] : own[d]);
                const double p = std::exp(score * a.scale); // scores are small here: no maximum is needed
                total += p;
                for (int64_t d = 0; d < hd; ++d)
                    to[d] += p * (j < P ? prefix.v[(kv * P + j) * hd + d] : own[a.heads_kv * hd + d]);
            }
            for (int64_t d = 0; d < hd; ++d) to[d] /= total;
        }
    return out;
}

// Sample b has `positions` rows, less b; the rows of a tree come after any of the three before
// them, or after none.
void test_attention(int64_t heads, int64_t heads_kv, int64_t hd, int64_t samples, int64_t positions, int64_t P,
                    int64_t window = 0, bool tree = false) {
    const int64_t width = (heads + 2 * heads_kv) * hd;
    std::vector<int64_t> first(1);
    for (int64_t b = 0; b < samples; ++b) first.push_back(first.back() + positions - b);
    const int64_t rows = first.back();
    std::vector<float> cos(size_t(positions * hd)), sin(cos.size());
    for (size_t i = 0; i < cos.size(); i += 2) {
        cos[i] = cos[i + 1] = std::cos(0.37f * float(i / 2));
        sin[i + 1] = std::sin(0.37f * float(i / 2));
        sin[i] = -sin[i + 1];
    }
    Attention a{};
    a.heads = heads, a.heads_kv = heads_kv, a.head_dim = hd;
    a.samples = samples, a.longest = positions, a.first = first.data();
    a.scale = 1 / std::sqrt(float(hd));
    a.window = window;
    std::vector<int32_t> parents;
    for (int64_t s = 0; tree && s < positions; ++s)
        parents.push_back(int32_t(s - 1 - int64_t(generator() % uint64_t(std::min(s + 1, int64_t(3))))));
    a.parents = tree ? parents.data() : nullptr;
    a.cos = cos.data(), a.sin = sin.data();
    const auto k = draw(size_t(heads_kv * P * hd)), v = draw(k.size());
    std::vector<float> k_t(size_t(heads_kv * hd * P)), v_t(k_t.size());
    for (int64_t h = 0; h < heads_kv; ++h)
        for (int64_t p = 0; p < P; ++p)
            for (int64_t d = 0; d < hd; ++d) {
                k_t[size_t((h * hd + d) * P + p)] = k[size_t((h * P + p) * hd + d)];
                v_t[size_t((h * hd + d) * P + p)] = v[size_t((h * P + p) * hd + d)];
            }
    const PrefixCache prefix{P, k.data(), v.data(), k_t.data(), v_t.data()};
    const auto qkv = draw(size_t(rows * width), 2);
    const auto dout = draw(size_t(rows * heads * hd));

    const auto out =
        run(dout.size(), [&](float *to, int ith, int nth) { set->attention(a, prefix, qkv.data(), to, ith, nth); });
    std::vector<std::vector<double>> inputs;
    for (size_t b = 0; b < size_t(samples); ++b) {
        inputs.emplace_back(qkv.begin() + first[b] * width, qkv.begin() + first[b + 1] * width);
        const auto expected = naive_attention(a, prefix, inputs[b]);
        check_all(
            {out.begin() + first[b] * heads * hd, out.begin() + first[b + 1] * heads * hd},
            [&](size_t i) { return expected[i]; }, 5e-6);
    }

    // The gradient of sum(out * dout) by central differences in double precision, at some of the
    // inputs.
    const auto d = run(qkv.size(), [&](float *to, int ith, int nth) {
        set->attention_back(a, prefix, qkv.data(), dout.data(), to, ith, nth);
    });
    auto objective = [&](size_t b) {
        const auto y = naive_attention(a, prefix, inputs[b]);
        double sum = 0;
        for (size_t i = 0; i < y.size(); ++i) sum += y[i] * dout[size_t(first[b] * heads * hd) + i];
        return sum;
    };
    const double h = 1e-5;
    for (int n = 0; n < 120; ++n) {
        const size_t i = generator() % qkv.size();
        size_t b = 0;
        while (int64_t(i) >= first[b + 1] * width) ++b;
        double &x = inputs[b][i - size_t(first[b] * width)];
        const double kept = x;
        x = kept + h;
        const double above = objective(b);
        x = kept - h;
        const double below = objective(b);
        x = kept;
        if (!CHECK_NEAR(d[i], (above - below) / (2 * h), 2e-5)) return;
    }
}

// Against plain loops; keys and values that no query sees are NaN. `keys` of each stream are
// visible, fewer for its earlier queries, the rest of the cache is not.
void test_cached_attention(int64_t streams, int64_t heads, int64_t heads_kv, int64_t hd, int64_t queries, int64_t keys,
                           int64_t cache) {
    auto halves = [&](size_t n) {
        std::vector<ggml_fp16_t> out(n);
        const auto values = draw(n);
        ggml_fp32_to_fp16_row(values.data(), out.data(), int64_t(n));
        return out;
    };
    const auto q = draw(size_t(streams * queries * heads * hd), 3);
    auto k = halves(size_t(streams * cache * heads_kv * hd)), v = halves(k.size());
    std::vector<ggml_fp16_t> mask(size_t(streams * queries * cache), ggml_fp32_to_fp16(-INFINITY));
    for (int64_t s = 0; s < streams; ++s) {
        for (int64_t i = 0; i < queries; ++i)
            for (int64_t j = 0; j < keys - (queries - 1 - i); ++j)
                if ((j + s) % 7 != 3)
                    mask[size_t((s * queries + i) * cache + j)] = ggml_fp32_to_fp16(j % 5 == 0 ? -0.5f : 0.0f);
        for (int64_t j = 0; j < cache; ++j)
            if (j >= keys || (j + s) % 7 == 3)
                for (int64_t d = 0; d < heads_kv * hd; ++d)
                    k[size_t((s * cache + j) * heads_kv * hd + d)] = v[size_t((s * cache + j) * heads_kv * hd + d)] =
                        ggml_fp32_to_fp16(NAN);
    }
    auto bytes = [](const auto &x) { return reinterpret_cast<const char *>(x.data()); };
    CachedAttention a{};
    a.streams = streams, a.heads = heads, a.heads_kv = heads_kv, a.head_dim = hd, a.queries = queries, a.keys = cache;
    a.scale = 0.3f;
    a.q = {bytes(q), size_t(hd) * 4, size_t(queries * hd) * 4, size_t(heads * queries * hd) * 4};
    a.k = {bytes(k), size_t(heads_kv * hd) * 2, size_t(hd) * 2, size_t(cache * heads_kv * hd) * 2};
    a.v = {bytes(v), a.k.position, a.k.head, a.k.stream};
    a.mask = {bytes(mask), size_t(cache) * 2, 0, size_t(queries * cache) * 2};
    const auto out = run(q.size(), [&](float *to, int ith, int nth) { set->cached_attention(a, to, ith, nth); });
    for (int64_t i = 0; i < queries; ++i) { // by itself as among others
        CachedAttention one = a;
        one.streams = one.queries = 1;
        for (Strided CachedAttention::*part : {&CachedAttention::q, &CachedAttention::mask})
            (one.*part).data += size_t(i) * (a.*part).position + size_t(streams - 1) * (a.*part).stream;
        for (Strided CachedAttention::*part : {&CachedAttention::k, &CachedAttention::v})
            (one.*part).data += size_t(streams - 1) * (a.*part).stream;
        std::vector<float> alone(size_t(heads * hd));
        set->cached_attention(one, alone.data(), 0, 1);
        if (!CHECK(std::equal(alone.begin(), alone.end(), out.end() - (queries - i) * heads * hd))) return;
    }
    for (int64_t s = 0; s < streams; ++s)
        for (int64_t i = 0; i < queries; ++i)
            for (int64_t h = 0; h < heads; ++h) {
                const int64_t kv = h / (heads / heads_kv);
                std::vector<double> weights, sum(static_cast<size_t>(hd));
                double total = 0, size = 0; // of the largest score's terms: its error scales a weight
                for (int64_t j = 0; j < cache; ++j) {
                    double score = ggml_fp16_to_fp32(mask[size_t((s * queries + i) * cache + j)]);
                    double terms = 0;
                    for (int64_t d = 0; d < hd && std::isfinite(score); ++d) {
                        const double term = double(a.scale) * q[size_t(((s * heads + h) * queries + i) * hd + d)] *
                                            ggml_fp16_to_fp32(k[size_t(((s * cache + j) * heads_kv + kv) * hd + d)]);
                        score += term;
                        terms += std::abs(term);
                    }
                    size = std::max(size, terms);
                    weights.push_back(std::exp(score));
                    total += weights.back();
                }
                for (int64_t j = 0; j < cache; ++j)
                    for (int64_t d = 0; d < hd && weights[size_t(j)] > 0; ++d)
                        sum[size_t(d)] += weights[size_t(j)] / total *
                                          ggml_fp16_to_fp32(v[size_t(((s * cache + j) * heads_kv + kv) * hd + d)]);
                for (int64_t d = 0; d < hd; ++d)
                    if (!CHECK_NEAR(out[size_t(((s * queries + i) * heads + h) * hd + d)], sum[size_t(d)],
                                    bound_of_sum(hd) * size + bound_of_sum(keys)))
                        return;
            }
}

void test_set() {
    const int64_t products[][3] = {{1, 1, 1},   {7, 5, 3},     {8, 48, 16},   {9, 49, 17},
                                   {3, 95, 34}, {200, 97, 31}, {5, 50, 1537}, {2, 48 * 17, 3100}};
    for (Weights weights : {Weights::f32, Weights::bf16})
        for (const auto &p : products) test_multiply(weights, p[0], p[1], p[2]);
    const int64_t whole[][3] = {{1, 1, 32},  {1, 48 * 3, 64}, {2, 49, 96},
                                {9, 97, 32}, {70, 33, 64},    {3, 50, 1536 + 64}};
    for (const auto &p : whole) test_multiply_whole(p[0], p[1], p[2]);
    for (int64_t rows : {1, 7}) {
        for (int64_t n : {5, 16, 48, 99, 576}) {
            test_rms_norm(rows, n);
            test_swiglu(rows, n);
            test_cross_entropy(rows, n);
        }
    }
    test_attention(4, 4, 32, 2, 5, 0);
    test_attention(4, 2, 32, 2, 5, 7);
    test_attention(6, 2, 64, 1, 17, 16);
    test_attention(3, 3, 128, 1, 18, 21);
    test_attention(8, 1, 64, 3, 4, 40);
    test_attention(2, 1, 32, 1, 20, 1);
    test_attention(2, 1, 32, 3, 3, 5);    // the last sample is one row
    test_attention(9, 3, 64, 2, 40, 115); // several blocks of queries
    test_attention(2, 2, 48, 2, 6, 70);
    test_attention(4, 2, 6, 2, 5, 3);
    test_attention(4, 2, 20, 3, 7, 9);
    test_attention(2, 1, 80, 2, 9, 33);
    test_attention(60, 1, 16, 1, 3, 20); // a group of more heads than a block has rows
    for (int64_t window : {1, 5, 20, 70}) test_attention(4, 2, 18, 2, 40, 21, window); // within samples, and before
    test_attention(4, 1, 32, 2, 9, 0, 3);
    for (int64_t window : {0, 1, 5, 20, 70}) test_attention(4, 2, 18, 1, 40, 21, window, true);
    test_attention(6, 2, 32, 1, 30, 0, 4, true);
    test_cached_attention(1, 1, 1, 16, 1, 1, 32);
    test_cached_attention(3, 9, 3, 64, 1, 190, 256);
    test_cached_attention(2, 9, 3, 64, 13, 202, 256);
    test_cached_attention(2, 4, 4, 128, 5, 33, 64);
    test_cached_attention(1, 40, 2, 48, 2, 64, 64); // a group of more heads than rows of one matrix
    test_cached_attention(2, 4, 2, 24, 3, 30, 40);  // neither the head nor the cache fills blocks
    test_cached_attention(1, 2, 1, 6, 1, 5, 7);
}

} // namespace

int main() { return for_each_set(test_set); }
