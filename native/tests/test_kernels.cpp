// The CPU kernels against plain loops in double precision, and against themselves on more threads: the same bits.
#include "engine.h"
#include "kernel_device.h"
#include "support/check.h"

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

// What all threads write together, with nth = 1. Every number must be written, and the same with other numbers of
// threads, also more than there are rows; nothing beyond the end may be.
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

void test_multiply(int64_t rows, int64_t n_out, int64_t n_in) {
    const auto weight = draw(size_t(n_out * n_in)), x = draw(size_t(rows * n_in));
    PackedMatrix by_row(n_out, n_in), by_column(n_out, n_in);
    CHECK(by_row.n_out() == n_out && by_row.n_in() == n_in);
    for (int64_t o = 0; o < n_out; ++o) by_row.set_row(o, weight.data() + o * n_in);
    std::vector<float> column(static_cast<size_t>(n_out));
    for (int64_t i = 0; i < n_in; ++i) {
        for (int64_t o = 0; o < n_out; ++o) column[size_t(o)] = weight[size_t(o * n_in + i)];
        by_column.set_column(i, column.data());
    }
    auto product = [&](const PackedMatrix &matrix) {
        return run(size_t(rows * n_out),
                   [&](float *y, int ith, int nth) { matrix.multiply(x.data(), rows, y, ith, nth); });
    };
    const auto y = product(by_row);
    CHECK(product(by_column) == y);
    for (int64_t r = 0; r < rows; ++r) { // by itself as among others
        std::vector<float> alone(static_cast<size_t>(n_out));
        by_row.multiply(x.data() + r * n_in, 1, alone.data(), 0, 1);
        if (!CHECK(std::equal(alone.begin(), alone.end(), y.begin() + r * n_out))) return;
    }
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t o = 0; o < n_out; ++o) {
            double sum = 0, size = 0;
            for (int64_t i = 0; i < n_in; ++i) {
                const double term = rounded(x[size_t(r * n_in + i)]) * rounded(weight[size_t(o * n_in + i)]);
                sum += term;
                size += std::abs(term);
            }
            // Sums of up to a few thousand terms in float: far below 2^-18 of their absolute sum.
            if (!CHECK_NEAR(y[size_t(r * n_out + o)], sum, 4e-6 * size)) return;
        }
}

// A product with a model's matrix, as llama.cpp hands it to the device: the numbers of multiply. Other products are
// ggml's.
void test_device(ggml_type type, int64_t rows, int64_t n_out, int64_t n_in) {
    ri_engine_params params = ri_engine_params_default();
    params.backend = "cpu";
    ri::Engine engine(params);
    ri::KernelDevice device(engine, n_out * n_in);
    ggml_backend_ptr backend(ggml_backend_dev_init(device.device(), nullptr));

    const auto x = draw(size_t(rows * n_in)), numbers = draw(size_t(n_out * n_in));
    std::vector<char> weight(ggml_row_size(type, n_in) * size_t(n_out));
    ggml_quantize_chunk(type, numbers.data(), weight.data(), 0, n_out, n_in, nullptr);
    std::vector<float> row(static_cast<size_t>(n_in));
    PackedMatrix matrix(n_out, n_in);
    for (int64_t o = 0; o < n_out; ++o) {
        ggml_get_type_traits(type)->to_float(weight.data() + size_t(o) * ggml_row_size(type, n_in), row.data(), n_in);
        matrix.set_row(o, row.data());
    }
    std::vector<float> expected(size_t(rows * n_out)), got(expected.size());
    matrix.multiply(x.data(), rows, expected.data(), 0, 1);

    const ggml_init_params without_data{1 << 16, nullptr, true};
    ggml_context_ptr weights(ggml_init(without_data)), graph_ctx(ggml_init(without_data));
    ggml_tensor *w = ggml_new_tensor_2d(weights.get(), type, n_in, n_out);
    ggml_backend_buffer_ptr buffer(ggml_backend_alloc_ctx_tensors(weights.get(), backend.get()));
    ggml_backend_tensor_set(w, weight.data(), 0, ggml_nbytes(w));
    ggml_tensor *in = ggml_new_tensor_2d(graph_ctx.get(), GGML_TYPE_F32, n_in, rows);
    ggml_tensor *y = ggml_mul_mat(graph_ctx.get(), w, in);
    ggml_backend_buffer_ptr activations(ggml_backend_alloc_ctx_tensors(graph_ctx.get(), backend.get()));
    ggml_backend_tensor_set(in, x.data(), 0, ggml_nbytes(in));
    ggml_cgraph *graph = ggml_new_graph_custom(graph_ctx.get(), 8, false);
    ggml_build_forward_expand(graph, y);
    auto taken = [&] { // the graph is as before each time
        const int64_t before = device.products();
        CHECK(ggml_graph_node(graph, -1) == y && ggml_backend_supports_op(backend.get(), y));
        CHECK(ggml_backend_graph_compute(backend.get(), graph) == GGML_STATUS_SUCCESS);
        ggml_backend_tensor_get(y, got.data(), 0, ggml_nbytes(y));
        return device.products() - before;
    };
    CHECK(taken() == 0); // its memory is not a model's
    ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    for (int time = 0; time < 2; ++time) {
        CHECK(taken() == 1);
        CHECK(got == expected);
    }
}

// `count` numbers agree with what a function of the index says, to a tolerance relative to the larger of 1 and it.
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
        rms_norm(x.data(), weight.data(), eps, rows, n, out, ith, nth);
    });
    const auto dx = run(x.size(), [&](float *out, int ith, int nth) {
        rms_norm_back(x.data(), weight.data(), dy.data(), eps, rows, n, out, ith, nth);
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
    const auto y = run(dy.size(), [&](float *out, int ith, int nth) { swiglu(x.data(), rows, n, out, ith, nth); });
    const auto dx =
        run(x.size(), [&](float *out, int ith, int nth) { swiglu_back(x.data(), dy.data(), rows, n, out, ith, nth); });
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
    logits[size_t(targets.back())] = -300; // its probability underflows, its logarithm must not
    auto log_sum = [&](size_t row) {
        double most = -INFINITY, sum = 0;
        for (size_t i = 0; i < size_t(n); ++i) most = std::max(most, double(logits[row * size_t(n) + i]));
        for (size_t i = 0; i < size_t(n); ++i) sum += std::exp(logits[row * size_t(n) + i] - most);
        return most + std::log(sum);
    };
    auto logprobs = [&] {
        return run(size_t(rows), [&](float *out, int ith, int nth) {
            log_probability(logits.data(), targets.data(), rows, n, out, ith, nth);
        });
    };
    check_all(
        logprobs(), [&](size_t r) { return logits[size_t(targets[r])] - log_sum(r); }, 2e-6);
    const auto d = run(logits.size(), [&](float *out, int ith, int nth) {
        cross_entropy_back(logits.data(), targets.data(), weights.data(), rows, n, out, ith, nth);
    });
    check_all(
        d,
        [&](size_t i) {
            const size_t r = i / size_t(n);
            return (std::exp(logits[i] - log_sum(r)) - (size_t(targets[r]) == i)) * double(weights[r]);
        },
        1e-6);
    logits[3] = NAN; // never a probability
    CHECK(std::isnan(logprobs()[0]));
}

// One sample's attention in double precision: qkv [S, width] before rotation -> out [S, heads * hd].
std::vector<double> naive_attention(const Attention &a, const PrefixCache &prefix, const std::vector<double> &qkv) {
    const int64_t hd = a.head_dim, width = (a.heads + 2 * a.heads_kv) * hd, P = prefix.n,
                  S = int64_t(qkv.size()) / width;
    std::vector<double> out(size_t(S * a.heads * hd)), rotated = qkv;
    for (int64_t s = 0; s < S; ++s)
        for (int64_t pair = 0; pair < (a.heads + a.heads_kv) * hd / 2; ++pair) {
            const double c = a.cos[s * hd / 2 + pair % (hd / 2)], z = a.sin[s * hd / 2 + pair % (hd / 2)];
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
            for (int64_t j = 0; j < P + s + 1; ++j) {
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

// Sample b has `positions` rows, less b.
void test_attention(int64_t heads, int64_t heads_kv, int64_t hd, int64_t samples, int64_t positions, int64_t P) {
    const int64_t width = (heads + 2 * heads_kv) * hd, stride = (P + 15) / 16 * 16;
    std::vector<int64_t> first(1);
    for (int64_t b = 0; b < samples; ++b) first.push_back(first.back() + positions - b);
    const int64_t rows = first.back();
    std::vector<float> cos(size_t(positions * hd / 2)), sin(cos.size());
    for (size_t i = 0; i < cos.size(); ++i) {
        cos[i] = std::cos(0.37f * float(i));
        sin[i] = std::sin(0.37f * float(i));
    }
    const Attention a{heads,      heads_kv,  hd, samples, positions, first.data(), 1 / std::sqrt(float(hd)),
                      cos.data(), sin.data()};
    const auto k = draw(size_t(heads_kv * P * hd)), v = draw(k.size());
    std::vector<float> k_t(size_t(heads_kv * hd * stride)), v_t(k_t.size());
    for (int64_t h = 0; h < heads_kv; ++h)
        for (int64_t p = 0; p < P; ++p)
            for (int64_t d = 0; d < hd; ++d) {
                k_t[size_t((h * hd + d) * stride + p)] = k[size_t((h * P + p) * hd + d)];
                v_t[size_t((h * hd + d) * stride + p)] = v[size_t((h * P + p) * hd + d)];
            }
    const PrefixCache prefix{P, stride, k.data(), v.data(), k_t.data(), v_t.data()};
    const auto qkv = draw(size_t(rows * width), 2);
    const auto dout = draw(size_t(rows * heads * hd));

    const auto out =
        run(dout.size(), [&](float *to, int ith, int nth) { attention(a, prefix, qkv.data(), to, ith, nth); });
    std::vector<std::vector<double>> inputs;
    for (size_t b = 0; b < size_t(samples); ++b) {
        inputs.emplace_back(qkv.begin() + first[b] * width, qkv.begin() + first[b + 1] * width);
        const auto expected = naive_attention(a, prefix, inputs[b]);
        check_all(
            {out.begin() + first[b] * heads * hd, out.begin() + first[b + 1] * heads * hd},
            [&](size_t i) { return expected[i]; }, 5e-6);
    }

    // The gradient of sum(out * dout) by central differences in double precision, at some of the inputs.
    const auto d = run(qkv.size(), [&](float *to, int ith, int nth) {
        attention_back(a, prefix, qkv.data(), dout.data(), to, ith, nth);
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

// Against plain loops; keys and values that no query sees are NaN. `keys` of each stream are visible, fewer for its
// earlier queries, the rest of the cache is not.
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
    CHECK(cached_attention_supported(hd, cache));
    const auto out = run(q.size(), [&](float *to, int ith, int nth) { cached_attention(a, to, ith, nth); });
    for (int64_t i = 0; i < queries; ++i) { // by itself as among others
        CachedAttention one = a;
        one.streams = one.queries = 1;
        one.q.data = a.q.at(i, 0, streams - 1), one.mask.data = a.mask.at(i, 0, streams - 1);
        one.k.data = a.k.at(0, 0, streams - 1), one.v.data = a.v.at(0, 0, streams - 1);
        std::vector<float> alone(size_t(heads * hd));
        cached_attention(one, alone.data(), 0, 1);
        if (!CHECK(std::equal(alone.begin(), alone.end(), out.end() - (queries - i) * heads * hd))) return;
    }
    for (int64_t s = 0; s < streams; ++s)
        for (int64_t i = 0; i < queries; ++i)
            for (int64_t h = 0; h < heads; ++h) {
                const int64_t kv = h / (heads / heads_kv);
                std::vector<double> weights, sum(static_cast<size_t>(hd));
                double total = 0;
                for (int64_t j = 0; j < cache; ++j) {
                    double score = ggml_fp16_to_fp32(mask[size_t((s * queries + i) * cache + j)]);
                    for (int64_t d = 0; d < hd && std::isfinite(score); ++d)
                        score += double(a.scale) * q[size_t(((s * heads + h) * queries + i) * hd + d)] *
                                 ggml_fp16_to_fp32(k[size_t(((s * cache + j) * heads_kv + kv) * hd + d)]);
                    weights.push_back(std::exp(score));
                    total += weights.back();
                }
                for (int64_t j = 0; j < cache; ++j)
                    for (int64_t d = 0; d < hd && weights[size_t(j)] > 0; ++d)
                        sum[size_t(d)] += weights[size_t(j)] / total *
                                          ggml_fp16_to_fp32(v[size_t(((s * cache + j) * heads_kv + kv) * hd + d)]);
                for (int64_t d = 0; d < hd; ++d)
                    if (!CHECK_NEAR(out[size_t(((s * queries + i) * heads + h) * hd + d)], sum[size_t(d)], 2e-6))
                        return;
            }
}

} // namespace

int main() {
    if (!available()) {
        printf("skipped: this processor has no AVX512 with BF16, which the kernels need\n");
        return 77;
    }
    const int64_t products[][3] = {{1, 1, 1},   {7, 5, 3},     {8, 48, 16},   {9, 49, 17},
                                   {3, 95, 34}, {200, 97, 31}, {5, 50, 1537}, {2, 48 * 17, 3100}};
    for (const auto &p : products) test_multiply(p[0], p[1], p[2]);
    test_device(GGML_TYPE_BF16, 1, 50, 34);
    test_device(GGML_TYPE_BF16, 200, 97, 31);
    test_device(GGML_TYPE_Q4_1, 5, 48, 64);
    for (int64_t rows : {1, 7}) {
        for (int64_t n : {16, 48, 576}) {
            test_rms_norm(rows, n);
            test_swiglu(rows, n);
            test_cross_entropy(rows, n);
        }
    }
    for (int64_t hd : {16, 32, 64, 80, 128}) CHECK(attention_supported(hd));
    CHECK(!attention_supported(24));
    test_attention(4, 4, 32, 2, 5, 0);
    test_attention(4, 2, 32, 2, 5, 7);
    test_attention(6, 2, 64, 1, 17, 16);
    test_attention(3, 3, 128, 1, 18, 21);
    test_attention(8, 1, 64, 3, 4, 40);
    test_attention(2, 1, 32, 1, 20, 1);
    test_attention(2, 1, 32, 3, 3, 5);    // the last sample is one row
    test_attention(9, 3, 64, 2, 40, 115); // several blocks of queries
    test_attention(2, 2, 48, 2, 6, 70);
    test_attention(2, 1, 80, 2, 9, 33);
    test_attention(60, 1, 16, 1, 3, 20); // a group of more heads than a block has rows
    test_cached_attention(1, 1, 1, 16, 1, 1, 32);
    test_cached_attention(3, 9, 3, 64, 1, 190, 256);
    test_cached_attention(2, 9, 3, 64, 13, 202, 256);
    test_cached_attention(2, 4, 4, 128, 5, 33, 64);
    test_cached_attention(1, 40, 2, 48, 2, 64, 64); // a group of more heads than rows of one matrix
    CHECK(!cached_attention_supported(24, 64) && !cached_attention_supported(64, 40));
    return finish();
}
