// Models and adapters through the C interface. AdamW, soft tokens and losses against plain loops in
// double precision.
#include "support/models.h"

#include <algorithm>
#include <cstring>

#ifdef __linux__
#include <unistd.h>
#endif

namespace {

ri_error err;
ri_engine *engine = nullptr;

ri_adapter_params mlp_of(int32_t n_in, int32_t n_hidden, int32_t n_tokens, int32_t n_embd) {
    ri_adapter_params params = adapter_params("mlp", n_in, n_tokens, n_embd);
    params.n_hidden = n_hidden;
    return params;
}

ri_adapter_params retrieval_of(int32_t n_in, int32_t n_hidden, int32_t n_entries, int32_t n_lookups, int32_t n_tokens,
                               int32_t n_embd) {
    ri_adapter_params params = adapter_params("retrieval", n_in, n_tokens, n_embd);
    params.n_hidden = n_hidden;
    params.n_entries = n_entries;
    params.n_lookups = n_lookups;
    return params;
}

#ifdef __linux__
// The memory that this process really has, in bytes.
int64_t resident() {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%*d %ld", &pages) == 1);
    if (f) fclose(f);
    return int64_t(pages) * sysconf(_SC_PAGESIZE);
}

// Gradients and moments take memory from the first time that they are needed.
void test_untrained() {
    const int64_t n = 4096 * 4096, before = resident();
    ri_model *model = make_adapter(engine, mlp_of(64, 4096, 2, 2048));
    CHECK(resident() - before < 2 * n * int64_t(sizeof(float)));
    CHECK(read(model, 2, RI_GRADIENT) == std::vector<float>(size_t(n)));
    CHECK(resident() - before > 3 * n * int64_t(sizeof(float)));
    ri_model_free(model);
}
#endif

void test_slots() {
    ri_model *model = make_adapter(engine, mlp_of(3, 4, 2, 5));
    CHECK(ri_debug_live(RI_LIVE_MODEL) == 1 && ri_model_n_tensors(model) == 4);
    const char *names[] = {"w1", "b1", "w2", "b2"};
    const int64_t shapes[][2] = {{4, 3}, {4, 1}, {10, 4}, {10, 1}};
    const ri_slot slots[] = {RI_VALUE, RI_GRADIENT, RI_MOMENT1, RI_MOMENT2};
    for (size_t i = 0; i < 4; ++i) {
        const ri_tensor_info info = tensor_of(model, i);
        CHECK(strcmp(info.name, names[i]) == 0 && info.n_dims == (i % 2 ? 1 : 2));
        CHECK(info.shape[0] == shapes[i][0] && info.shape[1] == shapes[i][1] && info.shape[2] == 1 &&
              info.shape[3] == 1);
        CHECK(info.n_elements == shapes[i][0] * shapes[i][1]);
        for (ri_slot slot : slots) CHECK(read(model, i, slot) == std::vector<float>(size_t(info.n_elements)));
    }
    for (size_t i = 0; i < 4; ++i)
        for (ri_slot slot : slots) write(model, i, slot, draw(read(model, i, slot).size(), 10 * i + slot));
    for (size_t i = 0; i < 4; ++i)
        for (ri_slot slot : slots) CHECK(read(model, i, slot) == draw(read(model, i, slot).size(), 10 * i + slot));

    std::vector<float> values(12, 7);
    ri_tensor_info info{};
    CHECK_FAILS(ri_model_tensor(model, 4, &info, &err), RI_INVALID, "tensor 4 of a model with 4");
    CHECK_FAILS(ri_model_read(model, 4, RI_VALUE, values.data(), 12, &err), RI_INVALID, "tensor 4");
    CHECK_FAILS(ri_model_read(model, 0, RI_VALUE, values.data(), 11, &err), RI_INVALID, "w1 has 12 numbers, not 11");
    CHECK_FAILS(ri_model_read(model, 0, ri_slot(4), values.data(), 12, &err), RI_INVALID, "slot 4");
    CHECK(values == std::vector<float>(12, 7));
    CHECK_FAILS(ri_model_write(model, 0, RI_VALUE, values.data(), 13, &err), RI_INVALID, "not 13");
    values[5] = NAN;
    CHECK_FAILS(ri_model_write(model, 0, RI_VALUE, values.data(), 12, &err), RI_NUMERIC, "w1: number 5 is NaN");
    values[5] = INFINITY;
    CHECK_FAILS(ri_model_write(model, 0, RI_GRADIENT, values.data(), 12, &err), RI_NUMERIC, "number 5 is infinite");
    CHECK(read(model, 0, RI_VALUE) == draw(12, 0) && read(model, 0, RI_GRADIENT) == draw(12, 1));
    ri_model_free(model);
    CHECK(ri_debug_live(RI_LIVE_MODEL) == 0);
}

// Two steps by the formulas of Loshchilov and Hutter 2019, in double precision.
void test_adamw(float max_norm) {
    ri_model *model = make_adapter(engine, adapter_params("linear", 3, 2, 2));
    fill(model, 5, 1);
    ri_adamw p = adamw(0.1f, 0.2f, max_norm);
    p.beta2 = 0.99f;
    p.epsilon = 1e-3f;
    p.step = 0;
    std::vector<double> x[2], m[2], v[2];
    for (size_t i = 0; i < 2; ++i) {
        const auto start = read(model, i, RI_VALUE);
        x[i].assign(start.begin(), start.end());
        m[i].resize(start.size());
        v[i].resize(start.size());
    }
    for (p.step = 1; p.step <= 2; ++p.step) {
        double squares = 0;
        std::vector<float> gradient[2];
        for (size_t i = 0; i < 2; ++i) {
            gradient[i] = draw(x[i].size(), uint64_t(40 * p.step) + i, 3);
            write(model, i, RI_GRADIENT, gradient[i]);
            for (float g : gradient[i]) squares += double(g) * g;
        }
        const double norm = std::sqrt(squares), factor = max_norm > 0 && norm > max_norm ? max_norm / norm : 1;
        CHECK(max_norm == 0 || factor < 0.5); // clipping is seen where it is asked for
        float reported = 0;
        CHECK_OK(ri_model_update(model, &p, &reported, &err));
        CHECK_NEAR(reported, norm, 1e-6 * norm);
        for (size_t i = 0; i < 2; ++i) {
            for (size_t j = 0; j < x[i].size(); ++j) {
                const double g = gradient[i][j] * factor, decay = i == 0 ? p.weight_decay : 0; // 1: the bias
                m[i][j] = p.beta1 * m[i][j] + (1 - p.beta1) * g;
                v[i][j] = p.beta2 * v[i][j] + (1 - p.beta2) * g * g;
                const double mean = m[i][j] / (1 - std::pow(p.beta1, p.step));
                const double square = v[i][j] / (1 - std::pow(p.beta2, p.step));
                x[i][j] -= p.learning_rate * (mean / (std::sqrt(square) + p.epsilon) + decay * x[i][j]);
            }
            const auto value = read(model, i, RI_VALUE), m1 = read(model, i, RI_MOMENT1),
                       m2 = read(model, i, RI_MOMENT2);
            for (size_t j = 0; j < x[i].size(); ++j) {
                CHECK_NEAR(value[j], x[i][j], 2e-6);
                CHECK_NEAR(m1[j], m[i][j], 1e-6);
                CHECK_NEAR(m2[j], v[i][j], 1e-6);
            }
            CHECK(read(model, i, RI_GRADIENT) == std::vector<float>(x[i].size()));
        }
    }

    // A gradient whose norm is not finite: the step is skipped, and the gradient gone.
    std::vector<float> before[2][4];
    for (size_t i = 0; i < 2; ++i)
        for (int slot = 0; slot < 4; ++slot) before[i][slot] = read(model, i, ri_slot(slot));
    write(model, 0, RI_GRADIENT, draw(12, 1));
    write(model, 1, RI_GRADIENT, {1, -3e38f, 3e38f, 3});
    float untouched = -1;
    CHECK_FAILS(ri_model_update(model, &p, &untouched, &err), RI_NUMERIC, "not finite");
    CHECK(untouched == -1);
    for (size_t i = 0; i < 2; ++i)
        for (int slot = 0; slot < 4; ++slot) CHECK(before[i][slot] == read(model, i, ri_slot(slot)));

    auto refuse = [&](void (*change)(ri_adamw &), ri_status code, const char *text) {
        ri_adamw changed = p;
        change(changed);
        CHECK_FAILS(ri_model_update(model, &changed, nullptr, &err), code, text);
    };
    refuse([](ri_adamw &a) { a.step = 0; }, RI_INVALID, "step starts at 1, not 0");
    refuse([](ri_adamw &a) { a.beta1 = 1; }, RI_INVALID, "beta < 1");
    refuse([](ri_adamw &a) { a.epsilon = 0; }, RI_INVALID, "epsilon > 0");
    refuse([](ri_adamw &a) { a.learning_rate = -1; }, RI_INVALID, "learning_rate >= 0");
    refuse([](ri_adamw &a) { a.weight_decay = NAN; }, RI_NUMERIC, "number 4 is NaN");
    ri_model_free(model);
}

// y [n, n_out] = x [n, n_in] W^T + b, with the weight and bias at `index` of the model.
std::vector<double> naive_linear(ri_model *model, size_t index, const std::vector<double> &x) {
    const auto weight = read(model, index, RI_VALUE), bias = read(model, index + 1, RI_VALUE);
    const size_t n_out = bias.size(), n_in = weight.size() / n_out;
    std::vector<double> y(x.size() / n_in * n_out);
    for (size_t i = 0; i < y.size(); ++i) {
        y[i] = bias[i % n_out];
        for (size_t k = 0; k < n_in; ++k) y[i] += x[i / n_out * n_in + k] * weight[i % n_out * n_in + k];
    }
    return y;
}

// Entries [n_out, n_entries] times the softmax of how well each fits [n, n_entries].
std::vector<double> naive_lookup(const std::vector<float> &entries, const std::vector<double> &fit, size_t n) {
    const size_t n_entries = fit.size() / n, n_out = entries.size() / n_entries;
    std::vector<double> y(n * n_out);
    for (size_t i = 0; i < n; ++i) {
        double sum = 0;
        for (size_t k = 0; k < n_entries; ++k) sum += std::exp(fit[i * n_entries + k]);
        for (size_t o = 0; o < n_out; ++o)
            for (size_t k = 0; k < n_entries; ++k)
                y[i * n_out + o] += entries[o * n_entries + k] * std::exp(fit[i * n_entries + k]) / sum;
    }
    return y;
}

// The entries [n_entries, n_out / n_lookups] that fit best [n, n_entries], each plus `sure` times e
// to how far its score is below the best.
std::vector<double> naive_retrieval(const std::vector<float> &entries, const std::vector<float> &sure,
                                    const std::vector<double> &fit, size_t n, size_t n_lookups) {
    const size_t n_entries = fit.size() / n, width = entries.size() / n_entries;
    std::vector<double> y;
    for (size_t i = 0; i < n; ++i) {
        const double *scores = fit.data() + i * n_entries;
        std::vector<size_t> order(n_entries);
        std::iota(order.begin(), order.end(), size_t(0));
        std::sort(order.begin(), order.end(), [=](size_t a, size_t b) { return scores[a] > scores[b]; });
        for (size_t k = 0; k < n_lookups; ++k)
            for (size_t o = 0; o < width; ++o)
                y.push_back(entries[order[k] * width + o] + sure[o] * std::exp(scores[order[k]] - scores[order[0]]));
    }
    return y;
}

void test_adapter(const std::string &kind) {
    const bool mixture = kind == "mixture", retrieval = kind == "retrieval", entries = kind == "memory" || retrieval;
    const bool hidden = kind == "mlp" || entries;
    const size_t n = 7, width = 3, n_in = mixture ? 4 * width : width, n_out = 2 * 5;
    ri_adapter_params params = adapter_params(kind.c_str(), int32_t(n_in), 2, 5);
    params.n_hidden = hidden ? 6 : 0;
    params.n_mixed = mixture ? 4 : 0;
    params.n_entries = entries ? 9 : 0;
    params.n_lookups = retrieval ? 2 : 0;
    ri_model *model = make_adapter(engine, params);
    std::vector<ri_tensor_info> infos(10);
    size_t n_tensors = 0; // the layout is that of the model
    CHECK_OK(ri_adapter_layout(&params, infos.data(), infos.size(), &n_tensors, &err));
    CHECK(n_tensors == ri_model_n_tensors(model));
    for (size_t i = 0; i < n_tensors; ++i) {
        const ri_tensor_info made = tensor_of(model, i);
        CHECK(std::string(infos[i].name) == made.name && infos[i].n_elements == made.n_elements);
        CHECK(std::equal(made.shape, made.shape + 4, infos[i].shape) && infos[i].n_dims == made.n_dims);
    }
    fill(model, 20, 1);
    const auto states = draw(n * n_in, 30, 2), targets = draw(n * n_out, 31);
    std::vector<double> inputs(states.begin(), states.end());
    if (mixture) {
        const auto mix = read(model, 0, RI_VALUE);
        inputs.assign(n * width, 0);
        for (size_t i = 0; i < states.size(); ++i)
            inputs[i / n_in * width + i % width] += mix[i % n_in / width] * states[i];
    }
    std::vector<double> expected;
    if (kind == "bias") {
        const auto bias = read(model, 0, RI_VALUE);
        for (size_t i = 0; i < n; ++i) expected.insert(expected.end(), bias.begin(), bias.end());
    } else {
        expected = naive_linear(model, mixture, inputs);
    }
    if (hidden) {
        for (double &x : expected)
            x *= retrieval ? 0.5 * (1 + std::erf(x / std::sqrt(2)))
                           : 0.5 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
        expected = naive_linear(model, 2, expected);
    }
    if (entries) {
        const size_t last = ri_model_n_tensors(model) - 1;
        const auto table = read(model, 4, RI_VALUE), sure = read(model, 5, RI_VALUE);
        const auto turn = read(model, last - 1, RI_VALUE), bias = read(model, last, RI_VALUE);
        const auto found = retrieval ? naive_retrieval(table, sure, expected, n, 2) : naive_lookup(table, expected, n);
        expected.assign(n * n_out, 0);
        for (size_t i = 0; i < expected.size(); ++i) {
            expected[i] = bias[i % n_out];
            for (size_t k = 0; k < 5; ++k) expected[i] += turn[i % 5 * 5 + k] * found[i / 5 * 5 + k];
        }
    }
    std::vector<float> soft(n * n_out);
    CHECK_OK(ri_adapter_forward(model, states.data(), n, soft.data(), &err));
    double squares = 0;
    for (size_t i = 0; i < soft.size(); ++i) {
        CHECK_NEAR(soft[i], expected[i], bound(5e-6, 5e-5));
        squares += std::pow(expected[i] - targets[i], 2);
    }
    double loss = 0;
    CHECK_OK(ri_adapter_regress(model, states.data(), targets.data(), n, &loss, &err));
    CHECK_NEAR(loss, squares / double(n * n_out), bound(1e-6, 1e-5));
    if (entries) { // whose gradient the conformance tests see to
        ri_model_free(model);
        return;
    }
    // The gradient of the last bias is that of the mean square itself.
    const size_t last = ri_model_n_tensors(model) - 1;
    const auto gradient = read(model, last, RI_GRADIENT);
    for (size_t o = 0; o < n_out; ++o) {
        double sum = 0;
        for (size_t r = 0; r < n; ++r) sum += 2 * (expected[r * n_out + o] - targets[r * n_out + o]);
        CHECK_NEAR(gradient[o], sum / double(n * n_out), 1e-6);
    }
    CHECK_OK(ri_adapter_regress(model, states.data(), targets.data(), n, nullptr, &err)); // is added
    for (size_t o = 0; o < n_out; ++o) CHECK(read(model, last, RI_GRADIENT)[o] == 2 * gradient[o]);

    CHECK_OK(ri_adapter_forward(model, nullptr, 0, nullptr, &err));
    auto bad = states;
    bad[4] = NAN;
    std::vector<float> untouched(n * n_out, 7);
    loss = -1;
    CHECK_FAILS(ri_adapter_forward(model, bad.data(), n, untouched.data(), &err), RI_NUMERIC,
                "states: number 4 is NaN");
    CHECK_FAILS(ri_adapter_regress(model, bad.data(), targets.data(), n, &loss, &err), RI_NUMERIC, "states: number 4");
    auto bad_targets = targets;
    bad_targets[9] = -INFINITY;
    CHECK_FAILS(ri_adapter_regress(model, states.data(), bad_targets.data(), n, &loss, &err), RI_NUMERIC,
                "targets: number 9");
    CHECK_FAILS(ri_adapter_regress(model, states.data(), targets.data(), 0, &loss, &err), RI_INVALID, "at least one");
    CHECK(untouched == std::vector<float>(n * n_out, 7) && loss == -1);
    for (size_t o = 0; o < n_out; ++o) CHECK(read(model, last, RI_GRADIENT)[o] == 2 * gradient[o]);
    ri_model_free(model);
}

// The loss, and what is refused; conformance tests see to the gradient.
void test_classify() {
    const size_t n = 3, n_words = 4, embd = 5, n_soft = 2 * n;
    ri_model *model = make_adapter(engine, adapter_params("linear", 3, 2, int32_t(embd)));
    fill(model, 20, 1);
    const auto states = draw(n * 3, 30, 2), words = draw(n_words * embd, 31);
    const std::vector<int32_t> targets = {0, 3, 1, 1, 2, 0};
    std::vector<float> soft(n_soft * embd);
    CHECK_OK(ri_adapter_forward(model, states.data(), n, soft.data(), &err));
    double expected = 0;
    for (size_t i = 0; i < n_soft; ++i) {
        double scores[n_words] = {}, sum = 0;
        for (size_t w = 0; w < n_words; ++w) {
            for (size_t k = 0; k < embd; ++k) scores[w] += double(soft[i * embd + k]) * words[w * embd + k];
            sum += std::exp(scores[w]);
        }
        expected += (std::log(sum) - scores[targets[i]]) / double(n_soft);
    }
    double loss = 0;
    auto classify = [&](size_t count, const std::vector<int32_t> &to) {
        return ri_adapter_classify(model, states.data(), words.data(), count, to.data(), n, &loss, &err);
    };
    CHECK_OK(classify(n_words, targets));
    CHECK_NEAR(loss, expected, bound(1e-6, 1e-5));
    CHECK_FAILS(classify(3, targets), RI_INVALID, "target 1 is word 3; it must be 0 to 2");
    CHECK_FAILS(classify(n_words, {0, 0, 0, 0, 0, -1}), RI_INVALID, "target 5 is word -1");
    CHECK_FAILS(classify(0, targets), RI_INVALID, "0 words for 6 soft tokens");
    ri_model_free(model);
}

// What looks entries up stays as it is in an update that decays all else.
void test_fixed() {
    const size_t n = 7, n_in = 3, n_out = 2 * 5;
    ri_model *model = make_adapter(engine, retrieval_of(n_in, 6, 9, 2, 2, 5));
    fill(model, 20, 1);
    std::vector<std::vector<float>> before;
    for (size_t t = 0; t < 8; ++t) before.push_back(read(model, t, RI_VALUE));
    const auto states = draw(n * n_in, 30, 2), targets = draw(n * n_out, 31);
    CHECK_OK(ri_adapter_regress(model, states.data(), targets.data(), n, nullptr, &err));
    const ri_adamw optimiser = adamw(0.01f, 0.5f, 1);
    float norm = 0;
    CHECK_OK(ri_model_update(model, &optimiser, &norm, &err));
    for (size_t t = 0; t < 8; ++t) CHECK((read(model, t, RI_VALUE) == before[t]) == (t < 4));
    ri_model_free(model);
}

void test_creation() {
    ri_model *model = nullptr;
    ri_tensor_info first{};
    size_t count = 99;
    auto refuse_adapter = [&](ri_adapter_params p, const char *text) {
        CHECK_FAILS(ri_adapter_create(engine, &p, &model, &err), RI_INVALID, text);
        CHECK_FAILS(ri_adapter_layout(&p, &first, 1, &count, &err), RI_INVALID, text);
    };
    auto with = [](ri_adapter_params p, int32_t ri_adapter_params::*size, int32_t value) {
        p.*size = value;
        return p;
    };
    const ri_adapter_params linear = adapter_params("linear", 8, 1, 8), mixture = adapter_params("mixture", 8, 1, 8),
                            memory = with(adapter_params("memory", 8, 1, 8), &ri_adapter_params::n_hidden, 4);
    refuse_adapter(with(linear, &ri_adapter_params::n_in, 0), "n_in must be 1");
    refuse_adapter(with(linear, &ri_adapter_params::n_tokens, 0), "n_tokens must be 1");
    refuse_adapter(with(linear, &ri_adapter_params::n_embd, -8), "n_embd must be 1");
    refuse_adapter(with(linear, &ri_adapter_params::n_hidden, 3), "n_hidden must be 0 for the kind linear, not 3");
    refuse_adapter(with(linear, &ri_adapter_params::n_mixed, 1), "n_mixed must be 0");
    refuse_adapter(with(linear, &ri_adapter_params::n_entries, 1), "n_entries must be 0");
    refuse_adapter(with(memory, &ri_adapter_params::n_lookups, 1), "n_entries must be 1");
    refuse_adapter(mlp_of(8, 0, 1, 8), "n_hidden must be 1");
    refuse_adapter(memory, "n_entries must be 1");
    refuse_adapter(mixture, "n_mixed must be 1");
    refuse_adapter(with(mixture, &ri_adapter_params::n_mixed, 9), "n_in (8) must be a multiple of n_mixed (9)");
    refuse_adapter(with(mixture, &ri_adapter_params::n_mixed, 3), "n_in (8) must be a multiple of n_mixed (3)");
    refuse_adapter(retrieval_of(8, 4, 9, 0, 4, 8), "n_lookups must be 1");
    refuse_adapter(retrieval_of(8, 4, 3, 4, 4, 8), "n_lookups (4) must be at most n_entries (3)");
    refuse_adapter(retrieval_of(8, 4, 9, 3, 4, 8), "n_tokens (4) must be a multiple of n_lookups (3)");
    refuse_adapter(adapter_params("dictionary", 8, 1, 8), "no adapter kind \"dictionary\"; known are linear, mlp");
    refuse_adapter(adapter_params(nullptr, 8, 1, 8), "kind is NULL");
    CHECK(count == 99);
    ri_adapter_params two = retrieval_of(8, 4, 9, 2, 4, 8);
    CHECK_OK(ri_adapter_layout(&two, &first, 1, &count, &err)); // no more than there is room for
    CHECK(count == 8 && strcmp(first.name, "w1") == 0);
    CHECK_FAILS(ri_adapter_layout(&two, nullptr, 1, &count, &err), RI_INVALID, "dst is NULL");
    CHECK_OK(ri_adapter_layout(&two, nullptr, 0, &count, &err));
    auto refuse_sasrec = [&](const Settings &settings, const char *text) {
        CHECK_FAILS(create_recommender(engine, "sasrec", nullptr, settings, &model, &err), RI_INVALID, text);
    };
    refuse_sasrec(attention(0, 8, 4, 1, 1, 8), "sasrec: items is 0; it must be a whole number from 1");
    refuse_sasrec(attention(9, 0, 4, 1, 1, 8), "width is 0; it must be");
    refuse_sasrec(attention(9, 8, 0, 1, 1, 8), "positions is 0; it must be");
    refuse_sasrec(attention(9, 8, 4, 65, 1, 8), "blocks is 65; it must be a whole number from 1 to 64");
    refuse_sasrec(attention(9, 8, 4, 1, 3, 8), "heads is 3; it must be a divisor of width, 8");
    CHECK(model == nullptr && ri_debug_live(RI_LIVE_MODEL) == 0);
}

// A recommender is no adapter.
void test_kinds() {
    ri_model *model = make_recommender(engine, "sasrec", nullptr, attention(9, 8, 4, 1, 1, 8));
    float x[8] = {}, y[8] = {};
    double loss = 0;
    CHECK_FAILS(ri_adapter_forward(model, x, 1, y, &err), RI_INVALID, "not an adapter");
    CHECK_FAILS(ri_adapter_regress(model, x, y, 1, &loss, &err), RI_INVALID, "not an adapter");
    const int32_t target = 0;
    CHECK_FAILS(ri_adapter_classify(model, x, y, 1, &target, 1, &loss, &err), RI_INVALID, "not an adapter");
    ri_model_free(model);
}

// A model keeps its engine alive.
void test_lifetime() {
    ri_engine *own = test_engine(1);
    ri_model *model = make_adapter(own, adapter_params("linear", 1, 1, 1));
    ri_engine_free(own);
    write(model, 0, RI_VALUE, {2});
    write(model, 1, RI_VALUE, {0.5f});
    const float x = 3;
    float y = 0;
    CHECK_OK(ri_adapter_forward(model, &x, 1, &y, &err));
    CHECK(y == 6.5f);
    ri_model_free(model);
}

} // namespace

int main(int argc, char **argv) {
    Cases cases(argc, argv);
    engine = test_engine(1); // the graphs are too small to share
#ifdef __linux__
    CASE(test_untrained());
#endif
    CASE(test_slots());
    CASE(test_adamw(0));
    CASE(test_adamw(1.5f));
    for (const char *kind : {"linear", "mlp", "mixture", "memory", "retrieval", "bias"})
        cases.run((std::string("test_adapter ") + kind).c_str(), [&] { test_adapter(kind); });
    CASE(test_classify());
    CASE(test_fixed());
    CASE(test_creation());
    CASE(test_kinds());
    CASE(test_lifetime());
    ri_engine_free(engine);
    return cases.finish();
}
