// SASRec through the C interface, against what its definition implies. Its numbers are compared
// with an independent implementation by the Go tests.
#include "support/models.h"

#include <algorithm>

namespace {

ri_error err;
ri_engine *engine = nullptr;

constexpr int32_t V = 11, D = 8, T = 6;

// Three histories: of one item, of some, and full.
struct Batch {
    std::vector<int32_t> items = {4, V, V, V, V, V, /**/ 3, 0, 10, 3, V, V, /**/ 1, 2, 3, 4, 5, 6};
    std::vector<int32_t> lengths = {1, 4, T};
    std::vector<int32_t> targets = {7, -1, -1, -1, -1, -1, /**/ 0, 10, -1, 5, -1, -1, /**/ 2, 3, 4, 5, 6, 0};

    ri_histories histories() const { return {lengths.size(), items.data(), lengths.data(), nullptr, 0}; }
    ri_recommender_batch with(float dropout, uint64_t seed) const {
        return {histories(), targets.data(), nullptr, 0, dropout, seed};
    }
};

ri_model *sasrec(int32_t n_blocks, int32_t n_heads) {
    return make_recommender(engine, "sasrec", nullptr, attention(V, D, T, n_blocks, n_heads, D));
}

std::vector<float> states(ri_model *model, const Batch &batch, bool all) {
    std::vector<float> out(batch.lengths.size() * D * (all ? T : 1), NAN);
    const ri_histories histories = batch.histories();
    CHECK_OK(ri_recommender_states(model, &histories, all, out.data(), &err));
    return out;
}

std::vector<float> scores(ri_model *model, const Batch &batch) {
    std::vector<float> out(batch.lengths.size() * V, NAN);
    const ri_histories histories = batch.histories();
    CHECK_OK(ri_recommender_scores(model, &histories, out.data(), &err));
    return out;
}

struct Step {
    double loss = NAN;
    std::vector<float> gradient;
    bool operator==(const Step &other) const { return loss == other.loss && gradient == other.gradient; }
};

Step backward(ri_model *model, const Batch &batch, float dropout, uint64_t seed) {
    const ri_recommender_batch with = batch.with(dropout, seed);
    Step step;
    CHECK_OK(ri_recommender_backward(model, &with, &step.loss, &err));
    step.gradient = take_gradient(model);
    return step;
}

double log_sum_exp(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += std::exp(double(x[i]));
    return std::log(sum);
}

double largest_difference(const float *a, const float *b, size_t n) {
    double largest = 0;
    for (size_t i = 0; i < n; ++i) largest = std::max(largest, double(std::abs(a[i] - b[i])));
    return largest;
}

void test_zero_model() {
    ri_model *model = sasrec(1, 1);
    const Batch batch;
    CHECK(states(model, batch, true) == std::vector<float>(3 * T * D));
    CHECK(scores(model, batch) == std::vector<float>(3 * V));
    const Step step = backward(model, batch, 0, 0);
    CHECK_NEAR(step.loss, std::log(double(V)), 1e-6);
    // Nothing reaches beyond the output layer but its bias, the last tensor: 1/V less how often an
    // item is a target.
    const auto &g = step.gradient;
    CHECK(std::all_of(g.begin(), g.end() - V, [](float x) { return x == 0; }));
    const double n = 10;
    for (int32_t item = 0; item < V; ++item) {
        const auto times = std::count(batch.targets.begin(), batch.targets.end(), item);
        CHECK_NEAR(*(g.end() - V + item), 1.0 / V - double(times) / n, 1e-6);
    }
    ri_model_free(model);
}

void test_states(int32_t n_blocks, int32_t n_heads) {
    ri_model *model = sasrec(n_blocks, n_heads);
    fill(model, 3, 0.5f);
    const Batch batch;
    const auto all = states(model, batch, true), last = states(model, batch, false), ranked = scores(model, batch);
    CHECK(states(model, batch, true) == all && scores(model, batch) == ranked);
    double loss = 0;
    for (size_t b = 0; b < 3; ++b) {
        const size_t length = size_t(batch.lengths[b]);
        CHECK_NEAR(largest_difference(last.data() + b * D, all.data() + (b * T + length - 1) * D, D), 0, 1e-6);
        for (size_t i = (b * T + length) * D; i < (b + 1) * T * D; ++i) CHECK(all[i] == 0);
        // A state knows of the items up to its own and of nothing else: not of later ones, nor of
        // other histories.
        for (size_t t = 0; t < length; ++t) {
            Batch alone;
            alone.items.assign(batch.items.begin() + ptrdiff_t(b * T), batch.items.begin() + ptrdiff_t((b + 1) * T));
            std::fill(alone.items.begin() + ptrdiff_t(t) + 1, alone.items.end(), V);
            alone.lengths = {int32_t(t + 1)};
            const auto state = states(model, alone, false);
            CHECK_NEAR(largest_difference(state.data(), all.data() + (b * T + t) * D, D), 0, 1e-5);
            const auto score = scores(model, alone);
            if (t + 1 == length) CHECK_NEAR(largest_difference(score.data(), ranked.data() + b * V, V), 0, 1e-5);
            const int32_t target = batch.targets[b * T + t];
            if (target >= 0) loss += (log_sum_exp(score.data(), V) - double(score[size_t(target)])) / 10;
        }
    }
    const auto first = all.data() + 2 * T * D;
    CHECK(largest_difference(first, first + D, D) > 0.01); // the states do differ
    const Step step = backward(model, batch, 0, 0);
    CHECK_NEAR(step.loss, loss, 1e-5);
    CHECK(backward(model, batch, 0, 77) == step); // no dropout: the seed is nothing

    // Central differences of the loss along the gradient: its own square.
    double squares = 0, around[2];
    for (float g : step.gradient) squares += double(g) * g;
    const float h = 1e-2f / float(std::sqrt(squares));
    for (int side : {0, 1}) {
        size_t at = 0;
        for (size_t i = 0; i < ri_model_n_tensors(model); ++i) {
            auto values = draw(size_t(tensor_of(model, i).n_elements), 3 + i, 0.5f);
            for (float &x : values) x += (side ? h : -h) * step.gradient[at++];
            write(model, i, RI_VALUE, values);
        }
        around[side] = backward(model, batch, 0, 0).loss;
    }
    CHECK_NEAR((around[1] - around[0]) / (2 * double(h)), squares, 2e-3 * squares);
    ri_model_free(model);
}

void test_dropout() {
    ri_model *model = sasrec(2, 2);
    fill(model, 3, 0.5f);
    const Batch batch;
    const Step none = backward(model, batch, 0, 1), step = backward(model, batch, 0.3f, 1);
    CHECK(backward(model, batch, 0.3f, 1) == step);
    CHECK(!(step == none) && !(backward(model, batch, 0.3f, 2) == step) && !(backward(model, batch, 0.4f, 1) == step));
    // Masks are drawn by the counter alone: another engine with other threads has the same.
    ri_engine *kept = engine;
    engine = test_engine(2);
    ri_model *other = sasrec(2, 2);
    fill(other, 3, 0.5f);
    CHECK_NEAR(backward(other, batch, 0.3f, 1).loss, step.loss, 1e-6);
    ri_model_free(other);
    ri_engine_free(engine);
    engine = kept;
    ri_model_free(model);
}

void test_errors() {
    ri_model *model = sasrec(1, 2);
    fill(model, 3, 0.5f);
    float untouched = -7;
    double loss = -7;
    auto refuse = [&](void (*change)(Batch &), const char *text) {
        Batch batch;
        change(batch);
        const ri_histories histories = batch.histories();
        const ri_recommender_batch with = batch.with(0, 0);
        CHECK_FAILS(ri_recommender_states(model, &histories, 0, &untouched, &err), RI_INVALID, text);
        CHECK_FAILS(ri_recommender_scores(model, &histories, &untouched, &err), RI_INVALID, text);
        CHECK_FAILS(ri_recommender_backward(model, &with, &loss, &err), RI_INVALID, text);
    };
    refuse([](Batch &b) { b.lengths = {}; }, "at least one history");
    refuse([](Batch &b) { b.lengths[0] = 0; }, "history 0 has length 0");
    refuse([](Batch &b) { b.lengths[2] = T + 1; }, "history 2 has length 7; it must be 1 to 6");
    refuse([](Batch &b) { b.items[T] = -1; }, "history 1, position 0: item -1");
    refuse([](Batch &b) { b.items[T + 3] = V; }, "history 1, position 3: item 11; the catalogue has no such item");
    refuse([](Batch &b) { b.items[T + 4] = 2; },
           "history 1, position 4: item 2; what follows a history must be padding");

    auto refuse_targets = [&](void (*change)(Batch &), float dropout, const char *text) {
        Batch batch;
        change(batch);
        const ri_recommender_batch with = batch.with(dropout, 0);
        CHECK_FAILS(ri_recommender_backward(model, &with, &loss, &err), RI_INVALID, text);
    };
    refuse_targets([](Batch &b) { b.targets[0] = V; }, 0, "history 0, position 0: target 11");
    refuse_targets([](Batch &b) { b.targets[0] = -2; }, 0, "target -2");
    refuse_targets([](Batch &b) { b.targets[1] = 0; }, 0, "history 0, position 1: target 0"); // at padding
    refuse_targets([](Batch &b) { b.targets.assign(3 * T, -1); }, 0, "no target");
    refuse_targets([](Batch &) {}, 1, "dropout must be in [0, 1), not 1");
    refuse_targets([](Batch &) {}, -0.1f, "dropout");
    refuse_targets([](Batch &) {}, NAN, "dropout");

    const Batch batch;
    const ri_histories histories = batch.histories();
    const ri_recommender_batch with = batch.with(0, 0);
    ri_model *adapter = make_adapter(engine, adapter_params("linear", D, 1, 8));
    CHECK_FAILS(ri_recommender_states(adapter, &histories, 0, &untouched, &err), RI_INVALID, "not a recommender");
    CHECK_FAILS(ri_recommender_scores(adapter, &histories, &untouched, &err), RI_INVALID, "not a recommender");
    CHECK_FAILS(ri_recommender_backward(adapter, &with, &loss, &err), RI_INVALID, "not a recommender");
    ri_model_free(adapter);
    CHECK(untouched == -7 && loss == -7);
    const auto gradient = take_gradient(model);
    CHECK(gradient == std::vector<float>(gradient.size())); // no refused batch left a trace
    ri_model_free(model);
}

} // namespace

int main(int argc, char **argv) {
    Cases cases(argc, argv);
    engine = test_engine(1); // the graphs are too small to share
    CASE(test_zero_model());
    CASE(test_states(1, 1));
    CASE(test_states(2, 4));
    CASE(test_dropout());
    CASE(test_errors());
    ri_engine_free(engine);
    CHECK(ri_debug_live(RI_LIVE_MODEL) == 0 && ri_debug_live(RI_LIVE_ENGINE) == 0);
    return cases.finish();
}
