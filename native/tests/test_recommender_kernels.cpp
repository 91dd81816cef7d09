// The kernels of encoders, diffusion and AdamW, of every kernel set that this processor supports,
// against formulas in double precision. Gradients come from the same formulas by the complex step:
// Im f(x + ih) / h for a tiny h.
#include "support/kernel_sets.h"

#include <algorithm>
#include <complex>
#include <functional>
#include <random>
#include <vector>

namespace {

using namespace ri::kernels;
using Complex = std::complex<double>;
using Floats = std::vector<float>;
template <typename T> using Inputs = std::vector<std::vector<T>>;

std::mt19937_64 generator(11);

Floats draw(int64_t n, float factor = 1) {
    Floats values(static_cast<size_t>(n));
    for (float &value : values) value = factor * (float(generator() >> 40) * 0x1p-23f - 1);
    return values;
}

double real(double x) { return x; }
double real(Complex x) { return x.real(); }

// Compares results with a reference. Each is a sum of at most `terms` rounded numbers, none larger
// than the largest result by more than a factor of 4, and the functions in it are within 8
// roundings.
void compare(const Floats &got, const std::vector<double> &want, int64_t terms, const char *what) {
    double largest = 0;
    for (double value : want) largest = std::max(largest, std::fabs(value));
    const double allowed = 4 * double(terms + 8) * 0x1p-24 * std::max(largest, 1e-3);
    double worst = 0;
    CHECK(got.size() == want.size());
    for (size_t i = 0; i < std::min(got.size(), want.size()); ++i)
        worst = std::max(worst, std::isfinite(got[i]) ? std::fabs(double(got[i]) - want[i]) : INFINITY);
    if (!CHECK(worst <= allowed)) fprintf(stderr, "    %s: %.3g, allowed %.3g\n", what, worst, allowed);
}

// The gradient of the sum of dy * f(inputs) with regard to each input.
template <typename Formula>
Inputs<double> gradients(const Formula &formula, const std::vector<Floats> &inputs, const Floats &dy) {
    Inputs<Complex> x;
    for (const Floats &input : inputs) x.emplace_back(input.begin(), input.end());
    Inputs<double> result(inputs.size());
    const double h = 1e-30;
    for (size_t j = 0; j < x.size(); ++j)
        for (Complex &value : x[j]) {
            value += Complex(0, h);
            const std::vector<Complex> y = formula(x);
            double sum = 0;
            for (size_t i = 0; i < y.size(); ++i) sum += double(dy[i]) * y[i].imag();
            result[j].push_back(sum / h);
            value -= Complex(0, h);
        }
    return result;
}

template <typename Formula> std::vector<double> values(const Formula &formula, const std::vector<Floats> &inputs) {
    Inputs<double> x;
    for (const Floats &input : inputs) x.emplace_back(input.begin(), input.end());
    return formula(x);
}

// Runs a kernel on one thread and on three: the results must be the same bits.
void shared(Floats &result, const std::function<void(float *result, int ith, int nth)> &kernel) {
    std::fill(result.begin(), result.end(), NAN);
    Floats three = result;
    kernel(result.data(), 0, 1);
    for (int ith = 0; ith < 3; ++ith) kernel(three.data(), ith, 3);
    CHECK(memcmp(result.data(), three.data(), result.size() * sizeof(float)) == 0);
}

template <typename T> T sigmoid(T x) { return 1.0 / (1.0 + std::exp(-x)); }

// ---- attention

// Inputs q, k, v and, for the pointwise form, bias [T] and pairs [samples, queries, T], which may
// be missing; mask is a constant.
template <typename T>
std::vector<T> attention(const ShortAttention &s, bool pointwise, const Floats &mask, const Inputs<T> &in) {
    const int64_t row = s.heads * s.head_dim, queries = s.at_last ? 1 : s.positions;
    std::vector<T> out(in[0].size());
    for (int64_t b = 0; b < s.samples; ++b)
        for (int64_t n = 0; n < queries; ++n)
            for (int64_t h = 0; h < s.heads; ++h) {
                const int64_t seen = s.lengths ? s.lengths[b] : n + 1;
                const size_t at = size_t((b * queries + n) * row + h * s.head_dim);
                auto key = [&](int64_t t, int64_t i) {
                    return size_t((b * s.positions + t) * row + h * s.head_dim + i);
                };
                std::vector<T> weights;
                T total = 0;
                for (int64_t t = 0; t < seen; ++t) {
                    T dot = 0;
                    for (int64_t i = 0; i < s.head_dim; ++i) dot += in[0][at + size_t(i)] * in[1][key(t, i)];
                    if (pointwise) {
                        T score = dot + in[3][size_t(seen - 1 - t)];
                        if (in.size() > 4) score += in[4][size_t((b * queries + n) * s.positions + t)];
                        weights.push_back(score * sigmoid(score) * double(s.scale));
                    } else {
                        weights.push_back(std::exp(dot * double(s.scale)));
                        total += weights.back();
                    }
                }
                for (int64_t t = 0; t < seen; ++t) {
                    T weight = pointwise ? weights[size_t(t)] : weights[size_t(t)] / total;
                    if (s.has_mask) weight *= double(mask[size_t(((b * s.heads + h) * queries + n) * s.positions + t)]);
                    for (int64_t i = 0; i < s.head_dim; ++i) out[at + size_t(i)] += weight * in[2][key(t, i)];
                }
            }
    return out;
}

void test_attention(bool pointwise, bool paired, bool lengths, bool at_last, bool masked, int64_t heads,
                    int64_t head_dim) {
    const int32_t own[] = {1, 5, 3, 4};
    const int64_t samples = 4, T = 5, queries = at_last ? 1 : T, row = heads * head_dim, terms = T * (head_dim + 2);
    const ShortAttention s{samples, T, heads, head_dim, lengths ? own : nullptr, at_last, masked, 0.4f};
    std::vector<Floats> in{draw(samples * queries * row), draw(samples * T * row), draw(samples * T * row)};
    if (pointwise) in.push_back(draw(T));
    if (paired) in.push_back(draw(samples * queries * T));
    Floats mask = masked ? draw(samples * heads * queries * T) : Floats();
    for (float &value : mask) value = value > 0 ? 1.25f : 0.0f;
    const Floats dy = draw(samples * queries * row);
    auto formula = [&](const auto &x) { return attention(s, pointwise, mask, x); };
    const float *q = in[0].data(), *k = in[1].data(), *v = in[2].data(), *pairs = paired ? in[4].data() : nullptr;
    Floats out(in[0].size()), dq(in[0].size()), dk(in[1].size()), dv(in[2].size());
    shared(out, [&](float *y, int ith, int nth) {
        if (pointwise)
            set->pointwise_attention(s, q, k, v, in[3].data(), pairs, y, ith, nth);
        else
            set->short_attention(s, q, k, v, mask.data(), y, ith, nth);
    });
    compare(out, values(formula, in), terms, "attention");
    Floats all(dq.size() + dk.size() + dv.size() + size_t(pointwise ? samples * T : 0) + (paired ? in[4].size() : 0));
    shared(all, [&](float *d, int ith, int nth) {
        float *of_k = d + dq.size(), *of_v = of_k + dk.size(), *of_bias = of_v + dv.size();
        if (pointwise)
            set->pointwise_attention_back(s, q, k, v, in[3].data(), pairs, dy.data(), d, of_k, of_v, of_bias,
                                          paired ? of_bias + samples * T : nullptr, ith, nth);
        else
            set->short_attention_back(s, q, k, v, mask.data(), dy.data(), d, of_k, of_v, ith, nth);
    });
    const Inputs<double> want = gradients(formula, in, dy);
    auto from = all.begin();
    for (size_t j = 0; j < 3; ++j, from += std::ptrdiff_t(in[j - 1].size()))
        compare(Floats(from, from + std::ptrdiff_t(in[j].size())), want[j], 3 * terms,
                j == 0   ? "dq"
                : j == 1 ? "dk"
                         : "dv");
    if (!pointwise) return;
    Floats dbias(static_cast<size_t>(T));
    for (int64_t b = 0; b < samples; ++b)
        for (int64_t t = 0; t < T; ++t) dbias[size_t(t)] += *from++;
    compare(dbias, want[3], 3 * terms * samples, "dbias");
    if (paired) compare(Floats(from, all.end()), want[4], 3 * terms * heads, "dpairs");
}

// ---- GRU

// Inputs gates [B * T, 3H], w [3H, H], bias [3H].
template <typename T> std::vector<T> recurrence(const Recurrence &s, const Inputs<T> &in) {
    const int64_t H = s.hidden;
    std::vector<T> h(size_t(s.samples * s.positions * H));
    for (int64_t b = 0; b < s.samples; ++b)
        for (int64_t t = 0; t < s.positions; ++t)
            for (int64_t i = 0; i < H; ++i) {
                auto before = [&](int64_t j) { return t > 0 ? h[size_t((b * s.positions + t - 1) * H + j)] : T(0); };
                T part[3];
                for (int64_t g = 0; g < 3; ++g) {
                    part[g] = in[2][size_t(g * H + i)];
                    for (int64_t j = 0; j < H; ++j) part[g] += in[1][size_t((g * H + i) * H + j)] * before(j);
                }
                const size_t at = size_t((b * s.positions + t) * 3 * H + i);
                const T reset = sigmoid(in[0][at] + part[0]), update = sigmoid(in[0][at + size_t(H)] + part[1]);
                const T fresh = std::tanh(in[0][at + size_t(2 * H)] + reset * part[2]);
                h[size_t((b * s.positions + t) * H + i)] =
                    t < s.lengths[b] ? (1.0 - update) * fresh + update * before(i) : before(i);
            }
    return h;
}

void test_gru(int64_t H) {
    const int32_t lengths[] = {4, 1, 3, 2, 4};
    const int64_t B = 5, T = 4, terms = T * (3 * H + 4);
    const Recurrence s{B, T, H, lengths};
    const std::vector<Floats> in{draw(B * T * 3 * H), draw(3 * H * H, 0.5f), draw(3 * H)};
    const Floats dh = draw(B * T * H);
    Floats h(size_t(B * T * H)), cells(size_t(B * T * 4 * H));
    shared(h, [&](float *y, int ith, int nth) {
        set->gru(s, in[0].data(), in[1].data(), in[2].data(), y, nullptr, ith, nth);
    });
    compare(h, values([&](const auto &x) { return recurrence(s, x); }, in), terms, "h");
    Floats again(h.size());
    set->gru(s, in[0].data(), in[1].data(), in[2].data(), again.data(), cells.data(), 0, 1);
    compare(again, std::vector<double>(h.begin(), h.end()), 1, "h with cells");
    const int64_t n = B * T * 3 * H;
    Floats d(size_t(2 * n));
    shared(d, [&](float *y, int ith, int nth) {
        set->gru_back(s, in[1].data(), h.data(), cells.data(), dh.data(), y, y + n, ith, nth);
    });
    const Inputs<double> want = gradients([&](const auto &x) { return recurrence(s, x); }, in, dh);
    compare(Floats(d.begin(), d.begin() + n), want[0], 4 * terms, "dgates");
    Floats dw(in[1].size()), dbias(in[2].size());
    for (int64_t r = 0; r < B * T; ++r)
        for (int64_t g = 0; g < 3 * H; ++g) {
            const float own = d[size_t(n + r * 3 * H + g)];
            dbias[size_t(g)] += own;
            if (r % T > 0)
                for (int64_t j = 0; j < H; ++j) dw[size_t(g * H + j)] += own * h[size_t((r - 1) * H + j)];
        }
    compare(dw, want[1], 4 * terms * B, "dw");
    compare(dbias, want[2], 4 * terms * B, "dbias");
}

// ---- convolutions

// Inputs x [B * T, width], w [filters, height * width], bias [filters] -> the largest of relu(y),
// [B, filters].
template <typename T> std::vector<T> largest(const Windows &s, const Inputs<T> &in) {
    std::vector<T> out(size_t(s.samples * s.filters));
    const int64_t k = s.height * s.width;
    for (int64_t b = 0; b < s.samples; ++b)
        for (int64_t f = 0; f < s.filters; ++f)
            for (int64_t t = 0; t + s.height <= s.positions; ++t) {
                T y = in[2][size_t(f)];
                for (int64_t i = 0; i < k; ++i)
                    y += in[0][size_t((b * s.positions + t) * s.width + i)] * in[1][size_t(f * k + i)];
                T &most = out[size_t(b * s.filters + f)];
                if (real(y) > real(most)) most = y;
            }
    return out;
}

void test_windows(int64_t B, int64_t width, int64_t height, int64_t filters) {
    const int64_t T = 5, terms = height * width * B;
    const Windows s{B, T, width, height, filters};
    const std::vector<Floats> in{draw(B * T * width), draw(filters * height * width), draw(filters)};
    const Floats dmost = draw(B * filters);
    const float *x = in[0].data(), *w = in[1].data();
    Floats y(size_t(B * T * filters), 0), most(size_t(B * filters)), dx(in[0].size());
    for (int ith = 0; ith < 3; ++ith) set->windows(s, x, w, in[2].data(), y.data(), ith, 3);
    shared(most, [&](float *out, int ith, int nth) { set->relu_max(s, y.data(), out, ith, nth); });
    auto formula = [&](const auto &inputs) { return largest(s, inputs); };
    compare(most, values(formula, in), terms, "largest");
    const Inputs<double> want = gradients(formula, in, dmost);
    shared(dx,
           [&](float *d, int ith, int nth) { set->windows_max_back_input(s, y.data(), w, dmost.data(), d, ith, nth); });
    compare(dx, want[0], terms * filters, "dx");
    Floats d(in[1].size() + in[2].size());
    shared(d, [&](float *dw, int ith, int nth) {
        set->windows_max_back_weight(s, y.data(), x, dmost.data(), dw, dw + in[1].size(), ith, nth);
    });
    compare(Floats(d.begin(), d.begin() + std::ptrdiff_t(in[1].size())), want[1], terms, "dw");
    compare(Floats(d.begin() + std::ptrdiff_t(in[1].size()), d.end()), want[2], terms, "db");
}

// Inputs x [B * T, width], w [filters, T], bias [filters] -> [B, filters * width].
template <typename T> std::vector<T> weighed(const Windows &s, const Inputs<T> &in) {
    std::vector<T> out;
    for (int64_t b = 0; b < s.samples; ++b)
        for (int64_t f = 0; f < s.filters; ++f)
            for (int64_t i = 0; i < s.width; ++i) {
                T y = in[2][size_t(f)];
                for (int64_t t = 0; t < s.positions; ++t)
                    y += in[1][size_t(f * s.positions + t)] * in[0][size_t((b * s.positions + t) * s.width + i)];
                out.push_back(y);
            }
    return out;
}

void test_weigh_positions(int64_t width, int64_t filters) {
    const int64_t B = 3, T = 5;
    const Windows s{B, T, width, 1, filters};
    const std::vector<Floats> in{draw(B * T * width), draw(filters * T), draw(filters)};
    const Floats dy = draw(B * filters * width);
    Floats y(dy.size()), dx(in[0].size()), d(in[1].size() + in[2].size());
    shared(y, [&](float *out, int ith, int nth) {
        set->weigh_positions(s, in[0].data(), in[1].data(), in[2].data(), out, ith, nth);
    });
    auto formula = [&](const auto &inputs) { return weighed(s, inputs); };
    compare(y, values(formula, in), T, "y");
    const Inputs<double> want = gradients(formula, in, dy);
    shared(dx, [&](float *out, int ith, int nth) {
        set->weigh_positions_back_input(s, in[1].data(), dy.data(), out, ith, nth);
    });
    compare(dx, want[0], filters, "dx");
    shared(d, [&](float *dw, int ith, int nth) {
        set->weigh_positions_back_weight(s, in[0].data(), dy.data(), dw, dw + in[1].size(), ith, nth);
    });
    compare(Floats(d.begin(), d.begin() + std::ptrdiff_t(in[1].size())), want[1], B * width, "dw");
    compare(Floats(d.begin() + std::ptrdiff_t(in[1].size()), d.end()), want[2], B * width, "db");
}

// ---- norms and tables

// Inputs x [rows, n], weight [n], bias [n].
template <typename T> std::vector<T> normalised(int64_t rows, int64_t n, double eps, const Inputs<T> &in) {
    std::vector<T> out;
    for (int64_t r = 0; r < rows; ++r) {
        T mean = 0, variance = 0;
        for (int64_t i = 0; i < n; ++i) mean += in[0][size_t(r * n + i)] / double(n);
        for (int64_t i = 0; i < n; ++i) {
            const T difference = in[0][size_t(r * n + i)] - mean;
            variance += difference * difference / double(n);
        }
        for (int64_t i = 0; i < n; ++i)
            out.push_back((in[0][size_t(r * n + i)] - mean) / std::sqrt(variance + eps) * in[1][size_t(i)] +
                          in[2][size_t(i)]);
    }
    return out;
}

void test_layer_norm(int64_t rows, int64_t n) {
    const float eps = 1e-3f;
    const std::vector<Floats> in{draw(rows * n), draw(n), draw(n)};
    const Floats dy = draw(rows * n);
    const float *x = in[0].data(), *w = in[1].data();
    Floats y(dy.size()), dx(dy.size()), d(size_t(2 * n));
    shared(y, [&](float *out, int ith, int nth) { set->layer_norm(x, w, in[2].data(), eps, rows, n, out, ith, nth); });
    auto formula = [&](const auto &inputs) { return normalised(rows, n, double(eps), inputs); };
    compare(y, values(formula, in), n, "y");
    const Inputs<double> want = gradients(formula, in, dy);
    shared(dx,
           [&](float *out, int ith, int nth) { set->layer_norm_back(x, w, dy.data(), eps, rows, n, out, ith, nth); });
    compare(dx, want[0], 4 * n, "dx");
    shared(d, [&](float *out, int ith, int nth) {
        set->layer_norm_back_weights(x, dy.data(), eps, rows, n, out, out + n, ith, nth);
    });
    compare(Floats(d.begin(), d.begin() + n), want[1], rows * n, "dw");
    compare(Floats(d.begin() + n, d.end()), want[2], rows, "db");
}

void test_rows(int64_t n) {
    const int64_t n_rows = 7;
    const std::vector<int32_t> ids{3, 0, 3, 6, 1, 3};
    const int64_t count = int64_t(ids.size());
    const Floats table = draw(n_rows * n), dy = draw(count * n);
    Floats rows(dy.size()), sums(table.size());
    shared(rows,
           [&](float *y, int ith, int nth) { set->gather_rows(table.data(), ids.data(), count, n, y, ith, nth); });
    for (int64_t r = 0; r < count; ++r)
        CHECK(memcmp(&rows[size_t(r * n)], &table[size_t(ids[size_t(r)] * n)], size_t(n) * sizeof(float)) == 0);
    shared(sums, [&](float *y, int ith, int nth) {
        set->scatter_rows(dy.data(), ids.data(), count, n, y, n_rows, ith, nth);
    });
    std::vector<double> want(table.size());
    for (int64_t r = 0; r < count; ++r)
        for (int64_t i = 0; i < n; ++i) want[size_t(ids[size_t(r)] * n + i)] += double(dy[size_t(r * n + i)]);
    compare(sums, want, count, "scatter_rows");
}

// ---- diffusion

void test_sample(bool guided) {
    const int64_t n = 51, D = 9, H = guided ? 20 : D, steps = 3;
    const Floats first = draw(D * H, 0.5f), given = draw(n * H), by_step = draw(steps * H), none = draw(H);
    const Floats second = draw(H * D, 0.5f), second_bias = draw(D), noise = draw(steps * n * D);
    const SamplingStep coefficients[] = {{0.5f, 0.4f, 0.3f}, {0.7f, 0.2f, 0.1f}, {1, 0, 0}};
    const float strength = 1.5f;
    const Sampling s{n,
                     D,
                     H,
                     steps,
                     first.data(),
                     given.data(),
                     by_step.data(),
                     guided ? none.data() : nullptr,
                     guided ? second.data() : nullptr,
                     guided ? second_bias.data() : nullptr,
                     strength,
                     noise.data(),
                     0,
                     0,
                     coefficients};
    Floats oracles(size_t(n * D));
    shared(oracles, [&](float *y, int ith, int nth) { set->sample(s, y, ith, nth); });
    auto gelu = [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2))); };
    std::vector<double> want;
    for (int64_t r = 0; r < n; ++r) {
        std::vector<double> x(noise.begin() + r * D, noise.begin() + (r + 1) * D);
        for (int64_t t = 0; t < steps; ++t) {
            std::vector<double> y(static_cast<size_t>(H)), x0(static_cast<size_t>(D));
            for (int64_t i = 0; i < H; ++i) {
                double sum = double(by_step[size_t(t * H + i)]);
                for (int64_t j = 0; j < D; ++j) sum += x[size_t(j)] * double(first[size_t(j * H + i)]);
                const double with = sum + double(given[size_t(r * H + i)]), without = sum + double(none[size_t(i)]);
                y[size_t(i)] = guided ? (1 + double(strength)) * gelu(with) - double(strength) * gelu(without) : with;
            }
            for (int64_t i = 0; i < D; ++i) {
                x0[size_t(i)] = guided ? double(second_bias[size_t(i)]) : y[size_t(i)];
                for (int64_t j = 0; guided && j < H; ++j)
                    x0[size_t(i)] += y[size_t(j)] * double(second[size_t(j * D + i)]);
            }
            const SamplingStep &c = coefficients[t];
            for (int64_t i = 0; i < D; ++i) {
                const double drawn = t + 1 < steps ? double(noise[size_t(((t + 1) * n + r) * D + i)]) : 0;
                x[size_t(i)] =
                    double(c.of_x0) * x0[size_t(i)] + double(c.of_x) * x[size_t(i)] + double(c.deviation) * drawn;
            }
        }
        want.insert(want.end(), x.begin(), x.end());
    }
    compare(oracles, want, steps * (D + H), "oracles");
}

// ---- AdamW

void test_adamw() {
    const AdamW s{0.01f, 0.9f, 0.99f, 1e-8f, 10, 100, 0.5f};
    std::vector<Trained> tensors;
    std::vector<Floats> numbers;
    for (int64_t n : {1, 77, 20000})
        for (int i = 0; i < 4; ++i) numbers.push_back(draw(n));
    for (size_t i = 3; i < numbers.size(); i += 4)
        for (float &moment2 : numbers[i]) moment2 = std::fabs(moment2) + 0.1f;
    std::vector<double> values_after, moments_after, squares;
    for (size_t i = 0; i < numbers.size(); i += 4) {
        const double decay = i == 4 ? 0.1 : 0;
        double sum = 0;
        for (size_t j = 0; j < numbers[i].size(); ++j) {
            const double g = double(numbers[i + 1][j]) * 0.5;
            const double m = 0.9 * double(numbers[i + 2][j]) + 0.1 * g,
                         v = 0.99 * double(numbers[i + 3][j]) + 0.01 * g * g;
            values_after.push_back(double(numbers[i][j]) * (1 - 0.01 * decay) -
                                   0.01 * (10 * m) / (std::sqrt(100 * v) + 1e-8));
            moments_after.push_back(m), moments_after.push_back(v);
            sum += double(numbers[i + 1][j]) * double(numbers[i + 1][j]);
        }
        squares.push_back(sum);
        tensors.push_back({numbers[i].data(), numbers[i + 1].data(), numbers[i + 2].data(), numbers[i + 3].data(),
                           int64_t(numbers[i].size()), float(decay)});
    }
    const int64_t pieces = set->n_pieces(tensors.data(), tensors.size());
    std::vector<double> sums(static_cast<size_t>(pieces), NAN);
    for (int ith = 0; ith < 3; ++ith) set->squares(tensors.data(), tensors.size(), sums.data(), ith, 3);
    double total = 0, want = 0;
    for (double sum : sums) total += sum;
    for (double sum : squares) want += sum;
    CHECK_NEAR(total, want, 1e-12 * want);
    for (int ith = 0; ith < 3; ++ith) set->adamw(tensors.data(), tensors.size(), s, ith, 3);
    Floats got, moments;
    for (const Trained &t : tensors) {
        got.insert(got.end(), t.value, t.value + t.n);
        for (int64_t i = 0; i < t.n; ++i) {
            moments.push_back(t.moment1[i]), moments.push_back(t.moment2[i]);
            CHECK(t.gradient[i] == 0);
        }
    }
    compare(got, values_after, 4, "values");
    compare(moments, moments_after, 2, "moments");
}

void test_set() {
    for (int64_t head_dim : {3, 16, 21})
        for (int64_t heads : {1, 2}) {
            for (bool masked : {false, true}) {
                test_attention(false, false, false, false, masked, heads, head_dim);
                test_attention(false, false, true, true, masked, heads, head_dim);
                test_attention(false, false, true, false, masked, heads,
                               head_dim); // sees the whole history from everywhere
            }
            for (bool paired : {false, true}) {
                test_attention(true, paired, false, false, false, heads, head_dim);
                test_attention(true, paired, true, true, false, heads, head_dim);
            }
        }
    for (int64_t hidden : {1, 7, 16}) test_gru(hidden);
    for (int64_t width : {1, 5, 16})
        for (int64_t filters : {1, 6, 17}) {
            for (int64_t height : {1, 2, 5}) test_windows(3, width, height, filters);
            test_weigh_positions(width, filters);
        }
    for (int64_t height : {1, 2, 5}) test_windows(33, 5, height, 6); // so many that each window is a product
    for (int64_t n : {3, 16, 67}) { // of one or two numbers LayerNorm leaves only signs
        test_layer_norm(4, n);
        test_rows(n);
    }
    test_sample(false);
    test_sample(true);
    test_adamw();
}

} // namespace

int main() { return for_each_set(test_set); }
