// Probes through the C interface, against plain loops in double precision. Their gradients are
// compared with an independent implementation by the Go tests.
#include "support/models.h"

namespace {

ri_error err;
ri_engine *engine = nullptr;

constexpr int32_t n_in = 5, n_classes = 7;

ri_model *make_probe(int32_t n_hidden) {
    const ri_probe_params params = probe_params(n_in, n_hidden, n_classes);
    ri_model *probe = nullptr;
    CHECK_OK(ri_probe_create(engine, &params, &probe, &err));
    return probe;
}

// w x + b for each row of x, in double precision; w [out, in].
std::vector<double> linear(const std::vector<double> &x, const std::vector<float> &w, const std::vector<float> &b) {
    const size_t out = b.size(), in = w.size() / out, rows = x.size() / in;
    std::vector<double> y;
    for (size_t r = 0; r < rows; ++r)
        for (size_t o = 0; o < out; ++o) {
            double sum = double(b[o]);
            for (size_t i = 0; i < in; ++i) sum += double(w[o * in + i]) * x[r * in + i];
            y.push_back(sum);
        }
    return y;
}

void test_scores_and_loss(int32_t n_hidden) {
    ri_model *probe = make_probe(n_hidden);
    fill(probe, 1, 1);
    for (size_t n : {3, 1, 4, 4}) { // another number of inputs is another graph, the same one runs again
        const auto inputs = draw(n * n_in, n);
        std::vector<double> want(inputs.begin(), inputs.end());
        for (size_t i = 0; i < ri_model_n_tensors(probe); i += 2) {
            if (i > 0)
                for (double &x : want) x *= (1 + std::erf(x / std::sqrt(2.0))) / 2; // GELU
            want = linear(want, read(probe, i, RI_VALUE), read(probe, i + 1, RI_VALUE));
        }
        std::vector<float> scores(n * n_classes, NAN);
        CHECK_OK(ri_probe_scores(probe, inputs.data(), n, scores.data(), &err));
        std::vector<int32_t> targets;
        double loss = NAN, want_loss = 0;
        for (size_t i = 0; i < n; ++i) {
            targets.push_back(int32_t(n + i) % n_classes);
            double sum = 0;
            for (size_t k = 0; k < n_classes; ++k) {
                CHECK_NEAR(scores[i * n_classes + k], want[i * n_classes + k], 1e-5);
                sum += std::exp(want[i * n_classes + k]);
            }
            want_loss += (std::log(sum) - want[i * n_classes + size_t(targets[i])]) / double(n);
        }
        CHECK_OK(ri_probe_backward(probe, inputs.data(), targets.data(), 1, n, &loss, &err));
        CHECK_NEAR(loss, want_loss, 1e-5);
        const auto once = take_gradient(probe);
        for (int call = 0; call < 2; ++call)
            CHECK_OK(ri_probe_backward(probe, inputs.data(), targets.data(), 1, n, nullptr, &err));
        const auto twice = take_gradient(probe);
        for (size_t i = 0; i < once.size(); ++i) CHECK(twice[i] == 2 * once[i]); // it is added
    }
    CHECK_OK(ri_probe_scores(probe, nullptr, 0, nullptr, &err));
    ri_model_free(probe);
}

void test_several() {
    // Two targets of one input are as that input twice with one each; an input has as many as it
    // has.
    for (int32_t hidden : {0, 5}) {
        ri_model *probe = make_probe(hidden);
        fill(probe, 3, 1);
        const auto inputs = draw(2 * n_in, 4);
        std::vector<float> repeated(inputs.begin(), inputs.begin() + n_in);
        repeated.insert(repeated.end(), inputs.begin(), inputs.end());
        const int32_t several[] = {4, 1, 6, -1}, single[] = {4, 1, 6}, none[] = {4, 1, -1, 6};
        double loss = NAN, want = 0;
        CHECK_OK(ri_probe_backward(probe, inputs.data(), several, 2, 2, &loss, &err));
        const auto gradient = take_gradient(probe);
        CHECK_OK(ri_probe_backward(probe, repeated.data(), single, 1, 3, &want, &err));
        CHECK_NEAR(loss, want, 1e-6);
        const auto expected = take_gradient(probe);
        for (size_t i = 0; i < gradient.size(); ++i) CHECK_NEAR(gradient[i], expected[i], 1e-6);
        CHECK_FAILS(ri_probe_backward(probe, inputs.data(), none, 2, 2, &loss, &err), RI_INVALID,
                    "target 2 is class -1");
        CHECK_FAILS(ri_probe_backward(probe, inputs.data(), several, 0, 2, &loss, &err), RI_INVALID, "0 targets");
        ri_model_free(probe);
    }
}

// Zero weights prefer no class: the loss is log C, and the gradient of a class's bias is 1/C less
// its share of targets.
void test_zero() {
    ri_model *probe = make_probe(0);
    const auto inputs = draw(2 * n_in, 1);
    const int32_t targets[] = {6, 0};
    double loss = NAN;
    CHECK_OK(ri_probe_backward(probe, inputs.data(), targets, 1, 2, &loss, &err));
    CHECK_NEAR(loss, std::log(double(n_classes)), 1e-6);
    const auto bias = read(probe, 1, RI_GRADIENT);
    for (int32_t k = 0; k < n_classes; ++k)
        CHECK_NEAR(bias[size_t(k)], 1.0 / n_classes - (k == 0 || k == 6 ? 0.5 : 0), 1e-6);
    ri_model_free(probe);
}

void test_errors() {
    auto refuse = [](ri_probe_params params, const char *text) {
        ri_model *none = nullptr;
        CHECK_FAILS(ri_probe_create(engine, &params, &none, &err), RI_INVALID, text);
        CHECK(none == nullptr);
    };
    refuse({0, 1, 1}, "probe: n_in must be 1 to 1048576, not 0");
    refuse({1, -1, 1}, "probe: n_hidden must be 0 to 1048576, not -1");
    refuse({1, 0, 0}, "probe: n_classes must be 1 to 268435456, not 0");

    ri_model *probe = make_probe(3), *adapter = make_adapter(engine, adapter_params("linear", n_in, 1, n_classes));
    fill(probe, 1, 1);
    auto inputs = draw(2 * n_in, 1);
    const int32_t good[] = {0, 6}, high[] = {0, 7}, low[] = {-1, 0};
    float untouched = -7;
    double loss = -7;
    const float *x = inputs.data();
    CHECK_FAILS(ri_probe_backward(probe, x, high, 1, 2, &loss, &err), RI_INVALID,
                "target 1 is class 7; it must be 0 to 6");
    CHECK_FAILS(ri_probe_backward(probe, x, low, 1, 2, &loss, &err), RI_INVALID, "target 0 is class -1");
    CHECK_FAILS(ri_probe_backward(probe, x, good, 1, 0, &loss, &err), RI_INVALID, "at least one input");
    CHECK_FAILS(ri_probe_backward(probe, nullptr, good, 1, 2, &loss, &err), RI_INVALID, "inputs is NULL");
    CHECK_FAILS(ri_probe_backward(probe, x, nullptr, 1, 2, &loss, &err), RI_INVALID, "targets is NULL");
    CHECK_FAILS(ri_probe_backward(probe, x, good, 1, size_t(1) << 40, &loss, &err), RI_INVALID,
                "too many for one call");
    CHECK_FAILS(ri_probe_backward(adapter, x, good, 1, 2, &loss, &err), RI_INVALID, "not a probe");
    CHECK_FAILS(ri_probe_backward(nullptr, x, good, 1, 2, &loss, &err), RI_INVALID, "model is NULL");
    CHECK_FAILS(ri_probe_scores(adapter, x, 2, &untouched, &err), RI_INVALID, "not a probe");
    CHECK_FAILS(ri_probe_scores(probe, x, 2, nullptr, &err), RI_INVALID, "dst is NULL");
    CHECK_FAILS(ri_probe_scores(probe, x, size_t(1) << 40, &untouched, &err), RI_INVALID, "too many for one call");
    inputs[6] = NAN;
    CHECK_FAILS(ri_probe_backward(probe, x, good, 1, 2, &loss, &err), RI_NUMERIC, "inputs: number 6 is NaN");
    CHECK_FAILS(ri_probe_scores(probe, x, 2, &untouched, &err), RI_NUMERIC, "inputs: number 6 is NaN");
    CHECK(untouched == -7 && loss == -7);
    const auto gradient = take_gradient(probe);
    CHECK(gradient == std::vector<float>(gradient.size())); // no refused call left a trace
    ri_model_free(probe);
    ri_model_free(adapter);
}

} // namespace

int main(int argc, char **argv) {
    Cases cases(argc, argv);
    engine = test_engine(1);
    CASE(test_scores_and_loss(0));
    CASE(test_scores_and_loss(3));
    CASE(test_several());
    CASE(test_zero());
    CASE(test_errors());
    ri_engine_free(engine);
    CHECK(ri_debug_live(RI_LIVE_MODEL) == 0 && ri_debug_live(RI_LIVE_ENGINE) == 0);
    return cases.finish();
}
