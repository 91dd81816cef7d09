#include "encoder_ops.h"

#include <algorithm>
#include <cmath>

namespace ri {

namespace {

constexpr double rotary_base = 10000; // of the slowest angle, as in the paper

} // namespace

// ---- layers

TensorSpec item_table(const std::string &name, int64_t n_items, int64_t width, double deviation) {
    return {name, {n_items + 1, width}, false, RI_ROLE_ITEMS, {RI_INITIAL_NORMAL, deviation}, true};
}

TensorSpec table(const std::string &name, ri_role role, int64_t rows, int64_t width, double deviation) {
    return {name, {rows, width}, false, role, {RI_INITIAL_NORMAL, deviation}};
}

void add_dense(std::vector<TensorSpec> &specs, const std::string &weight, const std::string &bias, int64_t out,
               int64_t in, ri_role role) {
    const Initial uniform = {RI_INITIAL_UNIFORM, 1 / std::sqrt(double(in))};
    specs.push_back({weight, {out, in}, false, role, uniform});
    specs.push_back({bias, {out}, false, RI_ROLE_BIAS, uniform});
}

void add_dense(std::vector<TensorSpec> &specs, const std::string &name, int64_t out, int64_t in, ri_role role) {
    add_dense(specs, name + ".weight", name + ".bias", out, in, role);
}

void add_output(std::vector<TensorSpec> &specs, const std::string &name, int64_t n_items, int64_t in) {
    add_dense(specs, name, n_items, in);
    specs[specs.size() - 2].item_rows = specs.back().item_rows = true;
}

void add_norm(std::vector<TensorSpec> &specs, const std::string &name, int64_t width) {
    specs.push_back({name + ".weight", {width}, false, RI_ROLE_NORM_SCALE, {RI_INITIAL_ONE}});
    specs.push_back({name + ".bias", {width}, false, RI_ROLE_NORM_OFFSET});
}

void add_filters(std::vector<TensorSpec> &specs, const std::string &name, std::vector<int64_t> shape) {
    int64_t fan_in = 1;
    for (size_t i = 1; i < shape.size(); ++i) fan_in *= shape[i];
    const int64_t out = shape[0];
    specs.push_back({name + ".weight",
                     std::move(shape),
                     false,
                     RI_ROLE_FILTER,
                     {RI_INITIAL_UNIFORM, 1 / std::sqrt(double(fan_in))}});
    specs.push_back({name + ".bias", {out}, false, RI_ROLE_BIAS});
}

Var linear(const Model &model, Graph &g, const std::string &name, Var x) {
    return linear(g, model.use(g, name + ".weight"), x, model.use(g, name + ".bias"));
}

Var layer_norm(const Model &model, Graph &g, const std::string &name, Var x, float eps) {
    return layer_norm(g, x, model.use(g, name + ".weight"), model.use(g, name + ".bias"), eps);
}

Var freeze_padding(Graph &g, const Source &source, Var x) {
    ggml_tensor *presence = source.presence(g);
    return g.record(x.value, {x},
                    [=, &g](ggml_tensor *dy) { g.accumulate(x, scale_rows(g, g.constant(dy), presence).value); });
}

// ---- attention

Var rotate(Graph &g, const Source &source, Var x, int64_t H, bool last) {
    const int64_t D = x.value->ne[0], N = x.value->ne[1], T = source.positions(), half = D / H / 2;
    // The factors of a position's D numbers: those of the number itself, or of the one that it is
    // turned with.
    auto factors = [=](int64_t position, bool of_itself, float *dst) {
        for (int64_t i = 0; i < D; ++i) {
            const double angle = double(position) * std::pow(rotary_base, -double(i % half) / double(half));
            const double sign = i / half % 2 ? 1 : -1;
            dst[i] = float(of_itself ? std::cos(angle) : sign * std::sin(angle));
        }
    };
    auto times_factors = [&](Var y, bool of_itself) {
        if (last) {
            const Source leaves = source;
            auto fill = [=](void *dst) {
                for (int64_t b = 0; b < N; ++b) factors(leaves.last(b), of_itself, static_cast<float *>(dst) + b * D);
            };
            return mul(g, reshape(g, y, D, N), g.constant(g.input(GGML_TYPE_F32, fill, D, N)));
        }
        std::vector<float> all(static_cast<size_t>(T * D));
        for (int64_t t = 0; t < T; ++t) factors(t, of_itself, all.data() + t * D);
        return reshape(g, mul(g, reshape(g, y, D * T, N / T), g.constant(g.input(std::move(all), D * T))), D, N);
    };
    std::vector<int32_t> others;
    for (int64_t i = 0; i < 2 * H * N; ++i) others.push_back(int32_t(i ^ 1));
    ggml_tensor *other_halves = g.input(std::move(others), 2 * H * N);
    Var other = pick_rows(g, reshape(g, x, half, 2 * H * N), other_halves, other_halves);
    return add(g, times_factors(x, true), times_factors(other, false));
}

namespace {

// full: a position attends to all of its sample; else to those up to itself.
Var attention(Graph &g, Source &source, Var q, Var k, Var v, int64_t H, bool last, bool full) {
    const int64_t D = q.value->ne[0], T = source.positions(), B = source.samples(), hd = D / H;
    const int64_t queries = last ? 1 : T;
    const float scale = 1.0f / std::sqrt(float(hd));
    ggml_tensor *lengths = last || full ? source.lengths(g) : nullptr;
    ggml_tensor *dropped = source.mask(g, T, queries, H, B);
    const KernelSet *kernels = g.kernels();
    if (!kernels) {
        auto heads = [&](Var x, int64_t n) {
            return permute(g, reshape(g, x, hd, H, n, B), 0, 2, 1, 3);
        }; // [hd, n, H, B]
        const Source leaves = source;
        ggml_tensor *mask = g.input(
            GGML_TYPE_F32,
            [=](void *dst) {
                for (int64_t b = 0; b < B; ++b)
                    for (int64_t n = 0; n < queries; ++n) {
                        const int64_t end = last || full ? leaves.last(b) : n;
                        float *row = static_cast<float *>(dst) + (b * queries + n) * T;
                        for (int64_t t = 0; t < T; ++t) row[t] = t <= end ? 0.0f : -INFINITY;
                    }
            },
            T, queries, 1, B);
        Var weights = softmax(g, mul_mat(g, heads(k, T), heads(q, queries)), mask, scale); // [T, queries, H, B]
        if (dropped) weights = mul(g, weights, g.constant(dropped));
        Var values = permute(g, reshape(g, v, hd, H, T, B), 1, 2, 0, 3); // [T, hd, H, B]
        return reshape(g, permute(g, mul_mat(g, values, weights), 0, 2, 1, 3), D, queries * B);
    }
    std::vector<ggml_tensor *> inputs = {q.value, k.value, v.value};
    const int at_lengths = int(inputs.size());
    if (lengths) inputs.push_back(lengths);
    const int at_mask = int(inputs.size());
    if (dropped) inputs.push_back(dropped);
    auto shape = [=](ggml_tensor *dst) {
        return kernels::ShortAttention{
            B, T, H, hd, lengths ? ids(dst, at_lengths) : nullptr, last, dropped != nullptr, scale};
    };
    auto mask = [=](ggml_tensor *dst) { return dropped ? in(dst, at_mask) : nullptr; };
    ggml_tensor *y = g.kernel(D, queries * B, inputs, [=](ggml_tensor *dst, int ith, int nth) {
        kernels->short_attention(shape(dst), in(dst, 0), in(dst, 1), in(dst, 2), mask(dst), out(dst), ith, nth);
    });
    return g.record(y, {q, k, v}, [=, &g](ggml_tensor *dy) {
        std::vector<ggml_tensor *> with = inputs;
        const int at_dy = int(with.size());
        with.push_back(dy);
        // dq, dk and dv, one after the other.
        ggml_tensor *all = g.kernel(D, (queries + 2 * T) * B, with, [=](ggml_tensor *dst, int ith, int nth) {
            float *dq = out(dst), *dk = dq + D * queries * B, *dv = dk + D * T * B;
            kernels->short_attention_back(shape(dst), in(dst, 0), in(dst, 1), in(dst, 2), mask(dst), in(dst, at_dy), dq,
                                          dk, dv, ith, nth);
        });
        g.accumulate(q, g.part(all, 0, D, queries * B));
        g.accumulate(k, g.part(all, D * queries * B, D, T * B));
        g.accumulate(v, g.part(all, D * (queries + T) * B, D, T * B));
    });
}

} // namespace

Var causal_attention(Graph &g, Source &source, Var q, Var k, Var v, int64_t heads, bool last) {
    return attention(g, source, q, k, v, heads, last, false);
}

Var full_attention(Graph &g, Source &source, Var q, Var k, Var v, int64_t heads, bool last) {
    return attention(g, source, q, k, v, heads, last, true);
}

// ---- pointwise attention

namespace {

constexpr double bucket_width = 0.301; // of the logarithm of a time
constexpr int64_t last_bucket = 128;

int32_t time_bucket(int64_t a, int64_t b) {
    const uint64_t apart = a > b ? uint64_t(a) - uint64_t(b) : uint64_t(b) - uint64_t(a); // of any two times
    const auto bucket = int64_t(std::log(double(std::max<uint64_t>(apart, 1))) / bucket_width);
    return int32_t(std::min(bucket, last_bucket));
}

} // namespace

int64_t n_time_buckets() { return last_bucket + 1; }

ggml_tensor *time_buckets(Graph &g, const Source &source, bool last) {
    const int64_t T = source.positions(), B = source.samples(), queries = last ? 1 : T;
    const Source leaves = source;
    return g.input(
        GGML_TYPE_I32,
        [=](void *dst) {
            auto *bucket = static_cast<int32_t *>(dst);
            for (int64_t b = 0; b < B; ++b) {
                const int64_t *times = leaves.batch().histories.times + b * T;
                for (int64_t n = 0; n < queries; ++n)
                    for (int64_t t = 0, at = last ? leaves.last(b) : n; t < T; ++t)
                        *bucket++ = t <= at ? time_bucket(times[at], times[t]) : 0;
            }
        },
        T * queries * B);
}

namespace {

// The same composed: weights of all positions, of which those after a query are zero.
Var composed_pointwise(Graph &g, Source &source, Var q, Var k, Var v, Var bias, Var pairs, int64_t H, bool last) {
    const int64_t D = q.value->ne[0], T = source.positions(), B = source.samples(), hd = D / H;
    const int64_t queries = last ? 1 : T, count = T * queries * H * B;
    const Source leaves = source;
    // Calls set(index, distance) for all weights [T, queries, H, B]; distances are negative after a
    // query.
    auto each = [=](auto set) {
        for (int64_t i = 0; i < count; ++i) set(i, (last ? leaves.last(i / (T * H)) : i / T % T) - i % T);
    };
    ggml_tensor *distances = g.input(
        GGML_TYPE_I32,
        [=](void *dst) {
            each([=](int64_t i, int64_t distance) {
                static_cast<int32_t *>(dst)[i] = int32_t(std::max<int64_t>(distance, 0));
            });
        },
        count);
    ggml_tensor *visible = g.input(
        GGML_TYPE_F32,
        [=](void *dst) {
            each([=](int64_t i, int64_t distance) {
                static_cast<float *>(dst)[i] = distance < 0 ? 0.0f : 1.0f / float(T);
            });
        },
        T, queries, H, B);
    auto heads = [&](Var x, int64_t n) { return permute(g, reshape(g, x, hd, H, n, B), 0, 2, 1, 3); }; // [hd, n, H, B]
    Var biases = reshape(g, get_rows(g, reshape(g, bias, 1, T), distances), T, queries, H, B);
    if (pairs.value) {
        Var all = stack(g, std::vector<Var>(size_t(H), reshape(g, pairs, T * queries, B))); // [T * queries, B * H]
        all = permute(g, reshape(g, all, T * queries, B, H), 0, 2, 1, 3);
        biases = add(g, biases, reshape(g, all, T, queries, H, B));
    }
    Var weights = silu(g, add(g, mul_mat(g, heads(k, T), heads(q, queries)), biases));
    weights = mul(g, weights, g.constant(visible));
    Var values = permute(g, reshape(g, v, hd, H, T, B), 1, 2, 0, 3); // [T, hd, H, B]
    return reshape(g, permute(g, mul_mat(g, values, weights), 0, 2, 1, 3), D, queries * B);
}

} // namespace

Var pointwise_attention(Graph &g, Source &source, Var q, Var k, Var v, Var bias, Var pairs, int64_t H, bool last) {
    const KernelSet *kernels = g.kernels();
    if (!kernels) return composed_pointwise(g, source, q, k, v, bias, pairs, H, last);
    const int64_t D = q.value->ne[0], T = source.positions(), B = source.samples(), queries = last ? 1 : T;
    std::vector<ggml_tensor *> inputs = {q.value, k.value, v.value, bias.value};
    const int at_lengths = int(inputs.size());
    if (last) inputs.push_back(source.lengths(g));
    const int at_pairs = int(inputs.size());
    if (pairs.value) inputs.push_back(pairs.value);
    auto shape = [=](ggml_tensor *dst) {
        return kernels::ShortAttention{
            B, T, H, D / H, last ? ids(dst, at_lengths) : nullptr, last, false, 1.0f / float(T)};
    };
    auto of_pairs = [=](ggml_tensor *dst) { return pairs.value ? in(dst, at_pairs) : nullptr; };
    ggml_tensor *y = g.kernel(D, queries * B, inputs, [=](ggml_tensor *dst, int ith, int nth) {
        kernels->pointwise_attention(shape(dst), in(dst, 0), in(dst, 1), in(dst, 2), in(dst, 3), of_pairs(dst),
                                     out(dst), ith, nth);
    });
    return g.record(y, {q, k, v, bias, pairs}, [=, &g](ggml_tensor *dy) {
        std::vector<ggml_tensor *> with = inputs;
        const int at_dy = int(with.size());
        with.push_back(dy);
        // dq, dk, dv, each sample's db and the pairs', one after the other.
        const int64_t of_q = D * queries * B, of_k = D * T * B, of_bias = T * B;
        const int64_t to_pairs = of_q + 2 * of_k + of_bias, n_pairs = pairs.value ? T * queries * B : 0;
        ggml_tensor *all = g.kernel(to_pairs + n_pairs, 1, with, [=](ggml_tensor *dst, int ith, int nth) {
            float *dq = out(dst), *dk = dq + of_q, *dv = dk + of_k;
            kernels->pointwise_attention_back(shape(dst), in(dst, 0), in(dst, 1), in(dst, 2), in(dst, 3), of_pairs(dst),
                                              in(dst, at_dy), dq, dk, dv, dv + of_k, dq + to_pairs, ith, nth);
        });
        g.accumulate(q, g.part(all, 0, D, queries * B));
        g.accumulate(k, g.part(all, of_q, D, T * B));
        g.accumulate(v, g.part(all, of_q + of_k, D, T * B));
        g.accumulate(bias, sum_to_row(g, g.part(all, of_q + 2 * of_k, T, B)));
        if (pairs.value) g.accumulate(pairs, g.part(all, to_pairs, T, queries * B));
    });
}

// ---- GRU

namespace {

// The recurrence written out step by step.
Var gru_steps(Graph &g, Source &source, Var gates, Var w, Var bias) {
    const int64_t T = source.positions(), B = source.samples(), H = w.value->ne[0];
    const Source leaves = source;
    std::vector<Var> steps = split(g, permute(g, reshape(g, gates, 3 * H, T, B), 0, 2, 1, 3), T); // [3H, B] each
    Var state = g.constant(g.input(std::vector<float>(size_t(H * B)), H, B));
    std::vector<Var> states;
    for (int64_t t = 0; t < T; ++t) {
        Var x = reshape(g, steps[size_t(t)], 3 * H, B), before = linear(g, w, state, bias);
        Var reset = sigmoid(g, add(g, slice(g, x, 0, H), slice(g, before, 0, H)));
        Var update = sigmoid(g, add(g, slice(g, x, H, H), slice(g, before, H, H)));
        Var fresh = tanh(g, add(g, slice(g, x, 2 * H, H), mul(g, reset, slice(g, before, 2 * H, H))));
        // h = (1 - update) fresh + update h = h + (1 - update) (fresh - h), where the history still
        // goes on
        Var change = add(g, fresh, scale(g, state, -1.0f));
        change = add(g, change, scale(g, mul(g, update, change), -1.0f));
        ggml_tensor *goes_on = g.input(
            GGML_TYPE_F32,
            [=](void *dst) {
                for (int64_t b = 0; b < B; ++b) static_cast<float *>(dst)[b] = t < leaves.length(b) ? 1.0f : 0.0f;
            },
            1, B);
        state = add(g, state, mul(g, change, g.constant(goes_on)));
        states.push_back(state);
    }
    return reshape(g, permute(g, reshape(g, stack(g, states), H, B, T), 0, 2, 1, 3), H, T * B);
}

} // namespace

Var gru(Graph &g, Source &source, Var gates, Var w, Var bias) {
    const KernelSet *kernels = g.kernels();
    if (!kernels) return gru_steps(g, source, gates, w, bias);
    const int64_t T = source.positions(), B = source.samples(), H = w.value->ne[0];
    ggml_tensor *lengths = source.lengths(g);
    // Where gradients are asked for, h is followed by what they need.
    const bool back = gates.node >= 0 || w.node >= 0;
    ggml_tensor *all = g.kernel(back ? 5 * H : H, T * B, {gates.value, w.value, bias.value, lengths},
                                [=](ggml_tensor *dst, int ith, int nth) {
                                    kernels->gru({B, T, H, ids(dst, 3)}, in(dst, 0), in(dst, 1), in(dst, 2), out(dst),
                                                 back ? out(dst) + H * T * B : nullptr, ith, nth);
                                });
    ggml_tensor *h = back ? g.part(all, 0, H, T * B) : all;
    return g.record(h, {gates, w, bias}, [=, &g](ggml_tensor *dh) {
        ggml_tensor *both =
            g.kernel(3 * H, 2 * T * B, {w.value, all, dh, lengths}, [=](ggml_tensor *dst, int ith, int nth) {
                kernels->gru_back({B, T, H, ids(dst, 3)}, in(dst, 0), in(dst, 1), in(dst, 1) + H * T * B, in(dst, 2),
                                  out(dst), out(dst) + 3 * H * T * B, ith, nth);
            });
        g.accumulate(gates, g.part(both, 0, 3 * H, T * B));
        if (w.node < 0) return;
        // dw and db, one after the other.
        auto weights = [=](ggml_tensor *dst, int ith, int nth) {
            const float *dr = in(dst, 0) + 3 * H * T * B;
            for (int64_t t = 1; t < T; ++t)
                kernels->gemm(3 * H, H, B, {dr + t * 3 * H, 1, T * 3 * H}, {in(dst, 1) + (t - 1) * H, T * H, 1},
                              out(dst), H, t > 1, ith, nth);
            if (T == 1 && ith == 0) std::fill(out(dst), out(dst) + 3 * H * H, 0.0f);
            kernels->sum_rows(dr, T * B, 3 * H, out(dst) + 3 * H * H, ith, nth);
        };
        ggml_tensor *dw = g.kernel(3 * H * (H + 1), 1, {both, all}, weights);
        g.accumulate(w, g.part(dw, 0, H, 3 * H));
        g.accumulate(bias, g.part(dw, 3 * H * H, 3 * H));
    });
}

// ---- convolutions

Var windows_max(Graph &g, const Source &source, Var x, Var w, Var bias, int64_t height) {
    const int64_t D = x.value->ne[0], T = source.positions(), B = source.samples(), F = w.value->ne[1];
    const int64_t count = T - height + 1;
    const KernelSet *kernels = g.kernels();
    if (!kernels) {
        // Windows as rows of their own; then the largest as the sum over windows of y where y is
        // the largest.
        std::vector<int32_t> rows;
        for (int64_t b = 0; b < B; ++b)
            for (int64_t t = 0; t < count; ++t)
                for (int64_t j = 0; j < height; ++j) rows.push_back(int32_t(b * T + t + j));
        const int64_t n_rows = int64_t(rows.size());
        Var y = relu(
            g, linear(g, w, reshape(g, get_rows(g, x, g.input(std::move(rows), n_rows)), height * D, count * B), bias));
        y = permute(g, reshape(g, y, F, count, B), 1, 0, 2, 3); // [count, F, B]
        return reshape(g, largest(g, y), F, B);
    }
    const kernels::Windows shape{B, T, D, height, F};
    ggml_tensor *y = g.kernel(F, T * B, {x.value, w.value, bias.value}, [=](ggml_tensor *dst, int ith, int nth) {
        kernels->windows(shape, in(dst, 0), in(dst, 1), in(dst, 2), out(dst), ith, nth);
    });
    ggml_tensor *most = g.kernel(F, B, {y}, [=](ggml_tensor *dst, int ith, int nth) {
        kernels->relu_max(shape, in(dst, 0), out(dst), ith, nth);
    });
    return g.record(most, {x, w, bias}, [=, &g](ggml_tensor *dmost) {
        // dx, dw and db, one after the other.
        const int64_t of_x = D * T * B, of_w = height * D * F;
        auto back = [=](ggml_tensor *dst, int ith, int nth) {
            float *dx = out(dst), *dw = dx + of_x;
            if (x.node >= 0) kernels->windows_max_back_input(shape, in(dst, 0), in(dst, 1), in(dst, 3), dx, ith, nth);
            kernels->windows_max_back_weight(shape, in(dst, 0), in(dst, 2), in(dst, 3), dw, dw + of_w, ith, nth);
        };
        ggml_tensor *all = g.kernel(of_x + of_w + F, 1, {y, w.value, x.value, dmost}, back);
        g.accumulate(x, g.part(all, 0, D, T * B));
        g.accumulate(w, g.part(all, of_x, height * D, F));
        g.accumulate(bias, g.part(all, of_x + of_w, F));
    });
}

Var weigh_positions(Graph &g, const Source &source, Var x, Var w, Var bias) {
    const int64_t D = x.value->ne[0], T = source.positions(), B = source.samples(), F = w.value->ne[1];
    const KernelSet *kernels = g.kernels();
    if (!kernels) {
        Var by_position = reshape(g, permute(g, reshape(g, x, D, T, B), 1, 0, 2, 3), T, D * B);
        Var y = linear(g, w, by_position, bias); // [F, D * B]
        return reshape(g, permute(g, reshape(g, y, F, D, B), 1, 0, 2, 3), F * D, B);
    }
    const kernels::Windows shape{B, T, D, T, F};
    ggml_tensor *y = g.kernel(F * D, B, {x.value, w.value, bias.value}, [=](ggml_tensor *dst, int ith, int nth) {
        kernels->weigh_positions(shape, in(dst, 0), in(dst, 1), in(dst, 2), out(dst), ith, nth);
    });
    return g.record(y, {x, w, bias}, [=, &g](ggml_tensor *dy) {
        if (x.node >= 0)
            g.accumulate(x, g.kernel(D, T * B, {w.value, dy}, [=](ggml_tensor *dst, int ith, int nth) {
                kernels->weigh_positions_back_input(shape, in(dst, 0), in(dst, 1), out(dst), ith, nth);
            }));
        if (w.node < 0) return;
        ggml_tensor *both = g.kernel(T * F + F, 1, {x.value, dy}, [=](ggml_tensor *dst, int ith, int nth) {
            kernels->weigh_positions_back_weight(shape, in(dst, 0), in(dst, 1), out(dst), out(dst) + T * F, ith, nth);
        });
        g.accumulate(w, ggml_view_1d(g.ctx(), both, T * F, 0));
        g.accumulate(bias, ggml_view_1d(g.ctx(), both, F, size_t(T * F) * sizeof(float)));
    });
}

} // namespace ri
