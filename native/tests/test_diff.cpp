// Gradients through the tape against differences of the forward pass; forward passes that the core
// composes itself against plain loops in double precision.
#include "adapter.h"
#include "support/backend.h"
#include "support/check.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

namespace {

std::shared_ptr<ri::Engine> engine;

using Build = std::function<ri::Var(ri::Graph &, const ri::Model &)>; // the loss

std::vector<float> values_of(const ggml_tensor *tensor) {
    std::vector<float> values(size_t(ggml_nelements(tensor)));
    ggml_backend_tensor_get(tensor, values.data(), 0, ggml_nbytes(tensor));
    return values;
}

// Numbers of magnitude 0.2 to 1.2 and either sign: no step of the differences crosses the kink of
// relu.
std::vector<float> draw(size_t n, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<float> values(n);
    for (float &value : values) {
        const float magnitude = 0.2f + float(random() >> 40) * 0x1p-24f;
        value = random() & 1 ? magnitude : -magnitude;
    }
    return values;
}

ri::Var leaf(ri::Graph &g, uint64_t seed, int64_t ne0, int64_t ne1 = 1, int64_t ne2 = 1, int64_t ne3 = 1) {
    return g.constant(g.input(draw(size_t(ne0 * ne1 * ne2 * ne3), seed), ne0, ne1, ne2, ne3));
}

// Any result as a loss: its mean squared distance from numbers that are all different.
ri::Var distance(ri::Graph &g, ri::Var y) {
    const int64_t *ne = y.value->ne;
    return mean_squared_error(g, y, leaf(g, 99, ne[0], ne[1], ne[2], ne[3]));
}

double loss_of(const ri::Model &model, const Build &build) {
    ri::Graph g(*engine, false);
    ri::Var loss = build(g, model);
    CHECK(loss.node == -1); // no tape was asked for
    g.output(loss.value);
    g.run();
    return g.scalar(loss.value);
}

// Every derivative of a loss with respect to a model of these tensors. The reference is the
// five-point difference with h = 1/16: a loss near 1 that is rounded to float (6e-8) makes it
// uncertain by 1e-6, its truncation, of order h^4 / 30, by less. The tolerance is ten times what is
// seen. A wrong formula is wrong by about the derivatives: 0.01 to 1.
constexpr double tolerance = 2e-5;

void check_gradient(const char *name, std::vector<ri::TensorSpec> specs, const Build &build) {
    const int failed = failed_checks();
    ri::Model model(engine, std::move(specs));
    for (size_t i = 0; i < model.n_tensors(); ++i) {
        ggml_tensor *tensor = model.tensor(i, RI_VALUE);
        const auto values = draw(size_t(ggml_nelements(tensor)), 1 + i);
        ggml_backend_tensor_set(tensor, values.data(), 0, ggml_nbytes(tensor));
    }
    auto backward = [&] {
        ri::Graph g(*engine, true);
        ri::Var loss = build(g, model);
        g.backward(loss);
        g.run();
        return g.scalar(loss.value);
    };
    CHECK_NEAR(backward(), loss_of(model, build), 1e-6);
    std::vector<std::vector<float>> gradients;
    for (size_t i = 0; i < model.n_tensors(); ++i) gradients.push_back(values_of(model.tensor(i, RI_GRADIENT)));
    for (size_t i = 0; i < model.n_tensors(); ++i) {
        const auto values = values_of(model.tensor(i, RI_VALUE));
        double largest = 0;
        for (size_t j = 0; j < values.size(); ++j) {
            auto moved = [&](float by) {
                const float x = values[j] + by;
                ggml_backend_tensor_set(model.tensor(i, RI_VALUE), &x, j * sizeof x, sizeof x);
                return loss_of(model, build);
            };
            const float h = 0x1p-4f;
            const double difference = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * double(h));
            moved(0);
            CHECK_NEAR(gradients[i][j], difference, tolerance);
            largest = std::max(largest, std::abs(difference));
        }
        CHECK(largest > 100 * tolerance); // or the comparison says nothing
    }
    backward(); // adds to what is there
    for (size_t i = 0; i < model.n_tensors(); ++i) {
        const auto twice = values_of(model.tensor(i, RI_GRADIENT));
        for (size_t j = 0; j < twice.size(); ++j) CHECK_NEAR(twice[j], 2 * gradients[i][j], 1e-6);
    }
    if (failed_checks() > failed) fprintf(stderr, "    in the gradient of %s\n", name);
}

// Shapes are row-major in models, and fastest first in graphs.
void test_arithmetic() {
    using namespace ri;
    auto pair = [](Var (*op)(Graph &, Var, Var)) {
        return [op](Graph &g, const Model &m) { return distance(g, op(g, m.use(g, "a"), m.use(g, "b"))); };
    };
    check_gradient("add", {{"a", {3, 4}}, {"b", {3, 4}}}, pair(add));
    check_gradient("add of a row", {{"a", {2, 3, 4}}, {"b", {4}}}, pair(add));
    check_gradient("mul", {{"a", {3, 4}}, {"b", {3, 4}}}, pair(mul));
    check_gradient("mul by a row", {{"a", {2, 3, 4}}, {"b", {4}}}, pair(mul));
    check_gradient("mul by a column", {{"a", {3, 4}}},
                   [](Graph &g, const Model &m) { return distance(g, mul(g, m.use(g, "a"), leaf(g, 7, 1, 3))); });
    check_gradient("scale", {{"a", {3, 4}}},
                   [](Graph &g, const Model &m) { return distance(g, scale(g, m.use(g, "a"), -1.5f)); });
    check_gradient("a value that is used three times", {{"a", {3, 4}}}, [](Graph &g, const Model &m) {
        Var a = m.use(g, "a");
        return distance(g, add(g, mul(g, a, a), m.use(g, "a"))); // twice the same leaf, once another of the same tensor
    });
    check_gradient("mul_mat", {{"a", {3, 4}}, {"b", {5, 4}}}, pair(mul_mat));
    check_gradient("mul_mat in batches", {{"a", {2, 2, 3, 4}}, {"b", {2, 2, 2, 4}}}, pair(mul_mat));
    check_gradient("mul_mat by a constant", {{"b", {2, 2, 2, 4}}}, [](Graph &g, const Model &m) {
        return distance(g, mul_mat(g, leaf(g, 7, 4, 3), m.use(g, "b"))); // repeated over the batches
    });
    check_gradient("mul_mat of a constant", {{"a", {3, 4}}},
                   [](Graph &g, const Model &m) { return distance(g, mul_mat(g, m.use(g, "a"), leaf(g, 7, 4, 2))); });
    check_gradient("mean_squared_error", {{"a", {3, 4}}},
                   [](Graph &g, const Model &m) { return distance(g, m.use(g, "a")); });
}

void test_shapes() {
    using namespace ri;
    check_gradient("reshape", {{"a", {2, 3, 4}}}, [](Graph &g, const Model &m) {
        return distance(g, mul(g, reshape(g, m.use(g, "a"), 2, 3, 2, 2), leaf(g, 7, 2, 3, 2, 2)));
    });
    const int orders[][4] = {{1, 0, 2, 3}, {0, 2, 1, 3}, {1, 2, 0, 3}, {2, 0, 1, 3}, {1, 2, 3, 0}, {3, 1, 0, 2}};
    for (const int *to : orders)
        check_gradient("permute", {{"a", {2, 3, 1, 4}}}, [to](Graph &g, const Model &m) {
            Var y = permute(g, m.use(g, "a"), to[0], to[1], to[2], to[3]);
            const int64_t *ne = y.value->ne;
            return distance(g, mul(g, y, leaf(g, 7, ne[0], ne[1], ne[2], ne[3])));
        });
    for (int first : {0, 1, 3}) // the start, the middle, the end of 5
        check_gradient("slice", {{"a", {2, 3, 5}}},
                       [first](Graph &g, const Model &m) { return distance(g, slice(g, m.use(g, "a"), first, 2)); });
    check_gradient("concat", {{"a", {2, 3, 2}}, {"b", {2, 3, 3}}},
                   [](Graph &g, const Model &m) { return distance(g, concat(g, m.use(g, "a"), m.use(g, "b"))); });
    check_gradient("concat to a constant", {{"b", {3, 3}}},
                   [](Graph &g, const Model &m) { return distance(g, concat(g, leaf(g, 7, 2, 3), m.use(g, "b"))); });
}

void test_functions() {
    using namespace ri;
    auto function = [](Var (*op)(Graph &, Var)) {
        return [op](Graph &g, const Model &m) { return distance(g, op(g, m.use(g, "a"))); };
    };
    check_gradient("relu", {{"a", {4, 5}}}, function(relu));
    check_gradient("gelu", {{"a", {4, 5}}}, function(gelu));
    check_gradient("swiglu", {{"a", {3, 8}}}, function(swiglu));
    check_gradient("layer_norm", {{"a", {3, 6}}, {"w", {6}}, {"b", {6}}}, [](Graph &g, const Model &m) {
        return distance(g, layer_norm(g, m.use(g, "a"), m.use(g, "w"), m.use(g, "b"), 0.1f)); // an eps that is seen
    });
    check_gradient("rms_norm", {{"a", {3, 6}}}, [](Graph &g, const Model &m) {
        return distance(g, rms_norm(g, m.use(g, "a"), leaf(g, 7, 6).value, 0.1f));
    });
    check_gradient("pick_rows", {{"a", {4, 3}}}, [](Graph &g, const Model &m) {
        Var picked = pick_rows(g, m.use(g, "a"), g.input(std::vector<int32_t>{2, 0, 0}, 3),
                               g.input(std::vector<int32_t>{1, 2, 0, 2}, 4));
        return distance(g, scale_rows(g, picked, g.input(std::vector<float>{1, 1, 0}, 1, 3))); // the last only fills up
    });
    // Where the gradient comes as a view, ggml may lay another operation's result over the softmax.
    check_gradient("softmax and a view", {{"a", {2, 6}}}, [](Graph &g, const Model &m) {
        return distance(g, reshape(g, softmax(g, m.use(g, "a"), nullptr, 1.5f), 4, 3));
    });
    check_gradient("softmax", {{"a", {2, 3, 5}}},
                   [](Graph &g, const Model &m) { return distance(g, softmax(g, m.use(g, "a"), nullptr, 1.5f)); });
    check_gradient("softmax with a mask", {{"a", {2, 3, 5}}}, [](Graph &g, const Model &m) {
        std::vector<float> mask(15); // causal, and a bias on what is left
        for (int row = 0; row < 3; ++row)
            for (int key = 0; key < 5; ++key)
                mask[size_t(row * 5 + key)] = key > row + 1 ? -INFINITY : 0.3f * float(key);
        return distance(g, softmax(g, m.use(g, "a"), g.input(std::move(mask), 5, 3), 1.5f));
    });
}

void test_rows_and_losses() {
    using namespace ri;
    check_gradient("get_rows", {{"a", {4, 3}}}, [](Graph &g, const Model &m) { // row 1 three times, row 3 never
        return distance(g, get_rows(g, m.use(g, "a"), g.input(std::vector<int32_t>{1, 0, 1, 2, 1}, 5)));
    });
    check_gradient("splice", {{"a", {2, 3}}}, [](Graph &g, const Model &m) {
        Var y = splice(g, leaf(g, 7, 3, 5).value, m.use(g, "a"), g.input(std::vector<int32_t>{3, 0}, 2));
        return distance(g, mul(g, y, leaf(g, 8, 3, 5)));
    });
    check_gradient("cross_entropy", {{"a", {3, 5}}}, [](Graph &g, const Model &m) {
        return cross_entropy(g, m.use(g, "a"), g.input(std::vector<int32_t>{4, 5 + 0, 10 + 2}, 3),
                             g.input(std::vector<float>{0.5f, 0.25f, 0.0f}, 3));
    });
}

std::vector<float> forward(const std::function<ggml_tensor *(ri::Graph &)> &build) {
    ri::Graph g(*engine, false);
    ggml_tensor *y = build(g);
    g.output(y);
    g.run();
    std::vector<float> values(size_t(ggml_nelements(y)));
    g.read(y, values.data());
    return values;
}

void test_values() {
    const std::vector<float> xs = {-30, -3, -1, -0.1f, 0, 0.1f, 1, 3, 30};
    const auto gelu = forward([&](ri::Graph &g) { return ri::gelu(g, g.constant(g.input(xs, 9))).value; });
    for (size_t i = 0; i < xs.size(); ++i) {
        const double x = xs[i], u = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
        // ggml's CUDA is compiled with fast mathematics.
        CHECK_NEAR(gelu[i], 0.5 * x * (1 + std::tanh(u)), bound(1e-6, 3e-6) * std::max(1.0, std::abs(x)));
    }
    // Rows 10, 11, 12 of the base, where 20 and 21 are inserted.
    const auto spliced = forward([](ri::Graph &g) {
        return splice(g, g.input(std::vector<float>{10, 11, 12}, 1, 3),
                      g.constant(g.input(std::vector<float>{20, 21}, 1, 2)), g.input(std::vector<int32_t>{2, 0}, 2))
            .value;
    });
    CHECK((spliced == std::vector<float>{21, 11, 20}));

    // Log-probabilities, the second of a class whose probability underflows: finite, and small.
    auto logprobs = [](std::vector<float> logits) {
        return forward([&](ri::Graph &g) {
            ggml_tensor *logp = nullptr;
            cross_entropy(g, g.constant(g.input(std::move(logits), 3, 2)), g.input(std::vector<int32_t>{1, 3 + 2}, 2),
                          g.input(std::vector<float>{1, 1}, 2), &logp);
            return logp;
        });
    };
    const auto logp = logprobs({1, 2, 3, 0, 0, -200});
    CHECK_NEAR(logp[0], 2 - std::log(std::exp(1.0) + std::exp(2.0) + std::exp(3.0)), 1e-6);
    CHECK(logp[1] < -80 && std::isfinite(logp[1]));
    // NaN must not become a probability.
    CHECK(std::isnan(logprobs({1, NAN, 3, 0, 0, 0})[0]));
    CHECK(std::isnan(logprobs({1, 2, INFINITY, 0, 0, 0})[0]));
}

void test_backward_from_a_constant() {
    ri_error err;
    CHECK_FAILS(ri::guard(&err,
                          [] {
                              ri::Graph g(*engine, true);
                              g.backward(distance(g, leaf(g, 1, 3)));
                          }),
                RI_INTERNAL, "constant");
}

} // namespace

// The gradient of a table whose rows are added up some thousands at a time: of the squares of rows
// that are looked up.
static void test_large_table() {
    ri::Model model(engine, {{"table", {9000, 1}}});
    const auto values = draw(9000, 1);
    ggml_backend_tensor_set(model.tensor(0, RI_VALUE), values.data(), 0, values.size() * sizeof(float));
    const std::vector<int32_t> ids = {8999, 4095, 4096, 4096, 0};
    ri::Graph g(*engine, true);
    ri::Var rows = get_rows(g, model.use(g, "table"), g.input(ids, 5));
    g.backward(ri::mean_squared_error(g, rows, g.constant(g.input(std::vector<float>(5), 1, 5))));
    g.run();
    std::vector<double> expected(values.size());
    for (int32_t id : ids) expected[size_t(id)] += 2.0 / 5 * values[size_t(id)];
    const auto gradient = values_of(model.tensor(0, RI_GRADIENT));
    for (size_t i = 0; i < expected.size(); ++i) CHECK_NEAR(gradient[i], expected[i], 1e-6);
}

static void test_composed(ggml_op op) {
    lacking = op;
    times_refused = 0;
    test_functions();
    test_rows_and_losses();
    test_large_table();
    CHECK(times_refused > 0);
}

int main(int argc, char **argv) {
    Cases cases(argc, argv);
    ri_engine_params params = ri_engine_params_default();
    params.backend = test_backend();
    params.n_threads = 1; // thousands of tiny graphs: waiting for a second thread would be most of the work
    engine = std::make_shared<ri::Engine>(params);
    CASE(test_arithmetic());
    CASE(test_shapes());
    CASE(test_functions());
    CASE(test_rows_and_losses());
    CASE(test_values());
    CASE(test_backward_from_a_constant());
    if (strcmp(params.backend, "made-up") == 0) // what such a GPU lacks is composed of other operations
        for (ggml_op op : {GGML_OP_GET_ROWS_BACK, GGML_OP_RMS_NORM_BACK}) CASE(test_composed(op));
    engine.reset(); // before the libraries that it runs on
    return cases.finish();
}
