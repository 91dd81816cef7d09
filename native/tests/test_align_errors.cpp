// What the training LLaMA refuses, and that nothing is written when it does.
#include "support/align.h"

#include "gguf.h"

#include <cstring>
#include <functional>
#include <limits>

namespace {

const float inf = std::numeric_limits<float>::infinity();

// One sample of a batch changed; what it says, and that neither outputs nor the adapter's gradient
// change.
void test_batches() {
    AlignFixture f;
    ri_prefix *prefix = f.prefix({1, 2, 3});
    auto refuse = [&](ri_status code, const char *text,
                      const std::function<void(Samples &, ri_align_batch &)> &change) {
        Samples samples = make_samples(2, 8);
        ri_align_batch batch = samples.batch(1);
        change(samples, batch);
        double loss = -7;
        std::vector<float> out(16 * 288, -7);
        CHECK_FAILS(ri_align_backward(f.llama, prefix, f.adapter, &batch, &loss, &err), code, text);
        CHECK_FAILS(ri_align_logprobs(f.llama, prefix, f.adapter, &batch, out.data(), &err), code, text);
        CHECK_FAILS(ri_align_logits(f.llama, prefix, f.adapter, &batch, out.data(), &err), code, text);
        CHECK(loss == -7 && out == std::vector<float>(out.size(), -7));
        const auto gradient = take_gradient(f.adapter);
        CHECK(gradient == std::vector<float>(gradient.size()));
    };
    // Sample 1 starts at 8; its soft tokens 0, 1, 2 and 3 stand at 9, 12, 10 and 8, token 11 is one
    // of the vocabulary.
    refuse(RI_INVALID, "sample 1: soft token 1 is missing", [](Samples &s, ri_align_batch &) { s.tokens[12] = 5; });
    refuse(RI_INVALID, "sample 1, position 4: soft token 0; each of 0 to 3 must stand there once",
           [](Samples &s, ri_align_batch &) { s.tokens[12] = -1; });
    refuse(RI_INVALID, "position 3: soft token 4", [](Samples &s, ri_align_batch &) { s.tokens[11] = -5; });
    refuse(RI_INVALID, "soft token 2147483647", [](Samples &s, ri_align_batch &) { s.tokens[11] = INT32_MIN; });
    refuse(RI_INVALID, "sample 1, position 3: token 288", [](Samples &s, ri_align_batch &) { s.tokens[11] = 288; });
    refuse(RI_INVALID, "sample 0, position 1: target 288", [](Samples &s, ri_align_batch &) { s.targets[1] = 288; });
    refuse(RI_INVALID, "target -2", [](Samples &s, ri_align_batch &) { s.targets[1] = -2; });
    refuse(RI_INVALID, "no target",
           [](Samples &s, ri_align_batch &) { std::fill(s.targets.begin(), s.targets.end(), -1); });
    refuse(RI_NUMERIC, "states: number 7 is NaN", [](Samples &s, ri_align_batch &) { s.states[7] = NAN; });
    refuse(RI_NUMERIC, "states: number 0 is infinite", [](Samples &s, ri_align_batch &) { s.states[0] = -inf; });
    refuse(RI_INVALID, "got 0, 8", [](Samples &, ri_align_batch &b) { b.n_samples = 0; });
    refuse(RI_INVALID, "got 2, 0", [](Samples &, ri_align_batch &b) { b.n_positions = 0; });
    refuse(RI_INVALID, "sample 1 has 0 states", [](Samples &, ri_align_batch &b) {
        static const int32_t counts[] = {2, 0};
        b.n_states = counts;
    });
    refuse(RI_INVALID, "sample 0: 5 states of 2 soft tokens do not fit 8 positions", [](Samples &, ri_align_batch &b) {
        static const int32_t counts[] = {5, 2};
        b.n_states = counts;
    });
    refuse(RI_INVALID, "n_states is NULL", [](Samples &, ri_align_batch &b) { b.n_states = nullptr; });
    refuse(RI_INVALID, "3 and 254 positions do not fit a context of 256",
           [](Samples &, ri_align_batch &b) { b.n_positions = 254; });
    refuse(RI_INVALID, "do not fit", [](Samples &, ri_align_batch &b) { b.n_positions = SIZE_MAX; });
    refuse(RI_INVALID, "too large", [](Samples &, ri_align_batch &b) { b.n_samples = SIZE_MAX / 2; });
    refuse(RI_INVALID, "tokens is NULL", [](Samples &, ri_align_batch &b) { b.tokens = nullptr; });
    refuse(RI_INVALID, "targets is NULL", [](Samples &, ri_align_batch &b) { b.targets = nullptr; });
    refuse(RI_INVALID, "states is NULL", [](Samples &, ri_align_batch &b) { b.states = nullptr; });
    refuse(RI_INVALID, "must be finite", [](Samples &, ri_align_batch &b) { b.weight = NAN; });
    // Exactly full is not too full.
    const Samples full = make_samples(1, 253);
    for (float p : logprobs(f, prefix, full)) CHECK(std::isfinite(p));
    ri_prefix_free(prefix);
}

void test_objects() {
    AlignFixture f;
    const Samples samples = make_samples(1, 8);
    const ri_align_batch batch = samples.batch(1);
    ri_prefix *prefix = f.prefix({1, 2, 3});
    double loss = -7;
    auto refuse = [&](ri_llm *llama, ri_prefix *start, ri_model *adapter, const char *text) {
        CHECK_FAILS(ri_align_backward(llama, start, adapter, &batch, &loss, &err), RI_INVALID, text);
        CHECK(loss == -7);
    };
    refuse(nullptr, prefix, f.adapter, "llm is NULL");
    refuse(f.llama, nullptr, f.adapter, "prefix is NULL");
    refuse(f.llama, prefix, nullptr, "model is NULL");

    ri_llm *other = nullptr;
    CHECK_OK(ri_llm_create(f.engine, f.gguf, RI_F32, &other, &err));
    CHECK(ri_debug_live(RI_LIVE_LLM) == 2 && ri_debug_live(RI_LIVE_PREFIX) == 1);
    refuse(other, prefix, f.adapter, "the prefix was made by another LLM");
    ri_llm_free(other);

    ri_model *wrong = make_adapter(f.engine, adapter_params("linear", n_in, n_tokens, 65));
    refuse(f.llama, prefix, wrong, "soft tokens of width 65, this LLM reads 64");
    ri_model_free(wrong);
    wrong = make_recommender(f.engine, "sasrec", nullptr, attention(9, 8, 4, 1, 1, 8));
    refuse(f.llama, prefix, wrong, "not an adapter");
    ri_model_free(wrong);
    ri_engine *elsewhere = test_engine(1);
    wrong = make_adapter(elsewhere, adapter_params("linear", n_in, n_tokens, 64));
    refuse(f.llama, prefix, wrong, "different engines");
    ri_model_free(wrong);
    ri_engine_free(elsewhere);

    ri_prefix *none = nullptr;
    const auto long_start = random_tokens(256, 7);
    CHECK_FAILS(ri_prefix_create(f.llama, long_start.data(), 256, &none, &err), RI_INVALID, "256 tokens does not fit");
    const int32_t outside[] = {1, 288}, negative[] = {-1};
    CHECK_FAILS(ri_prefix_create(f.llama, outside, 2, &none, &err), RI_INVALID, "prefix token 1 is 288");
    CHECK_FAILS(ri_prefix_create(f.llama, negative, 1, &none, &err), RI_INVALID, "prefix token 0 is -1");
    CHECK_FAILS(ri_prefix_create(f.llama, nullptr, 1, &none, &err), RI_INVALID, "tokens is NULL");
    CHECK_FAILS(ri_llm_create(f.engine, f.gguf, ri_precision(2), &other, &err), RI_INVALID, "no precision 2");
    CHECK(none == nullptr && ri_debug_live(RI_LIVE_LLM) == 1 && ri_debug_live(RI_LIVE_PREFIX) == 1);

    // A prefix keeps alive what it stands on.
    ri_llm_free(f.llama);
    f.llama = nullptr;
    ri_gguf_free(f.gguf);
    f.gguf = nullptr;
    ri_prefix_free(prefix);
    CHECK(ri_debug_live(RI_LIVE_LLM) == 0 && ri_debug_live(RI_LIVE_PREFIX) == 0);
}

// Files that are whole and hold no numbers.
void test_damaged_weights() {
    const std::string path = temporary_path("damaged.gguf");
    ri_engine *engine = test_engine(2);
    ri_model *adapter = make_adapter(engine, adapter_params("linear", n_in, n_tokens, 64));
    TinyGguf model;
    auto open = [&] {
        write_tiny_gguf(path, model);
        ri_gguf *gguf = nullptr;
        CHECK_OK(ri_gguf_open(path.c_str(), &gguf, &err));
        return gguf;
    };
    ri_llm *llama = nullptr;
    model.weight_scale = inf;
    ri_gguf *gguf = open();
    for (ri_precision precision : {RI_F32, RI_BF16}) {
        CHECK_FAILS(ri_llm_create(engine, gguf, precision, &llama, &err), RI_NUMERIC, "weight: number");
        CHECK(llama == nullptr && ri_debug_live(RI_LIVE_LLM) == 0);
    }
    ri_gguf_free(gguf);

    // Only row 9 of an embedding table that is not the head: the model loads, and works without
    // that token.
    model.weight_scale = 1;
    model.tied = false;
    model.edit = [](gguf_context *m) {
        static std::vector<float> table = draw(288 * 64, 1, 0.2f);
        table[9 * 64 + 5] = NAN;
        gguf_set_tensor_data(m, "token_embd.weight", table.data());
    };
    gguf = open();
    CHECK_OK(ri_llm_create(engine, gguf, RI_F32, &llama, &err));
    ri_prefix *prefix = nullptr;
    const int32_t bad[] = {1, 9};
    CHECK_FAILS(ri_prefix_create(llama, bad, 2, &prefix, &err), RI_NUMERIC, "is NaN");
    CHECK_OK(ri_prefix_create(llama, bad, 1, &prefix, &err));
    Samples samples = make_samples(1, 8);
    std::replace(samples.tokens.begin(), samples.tokens.end(), 9, 10);
    std::vector<float> logp(samples.n_targets());
    const ri_align_batch batch = samples.batch(1);
    CHECK_OK(ri_align_logprobs(llama, prefix, adapter, &batch, logp.data(), &err));
    samples.tokens[6] = 9;
    double loss = -7;
    CHECK_FAILS(ri_align_backward(llama, prefix, adapter, &batch, &loss, &err), RI_NUMERIC, "is NaN");
    CHECK_FAILS(ri_align_logprobs(llama, prefix, adapter, &batch, logp.data(), &err), RI_NUMERIC, "is NaN");
    CHECK(loss == -7);
    ri_prefix_free(prefix);
    ri_llm_free(llama);
    ri_gguf_free(gguf);

    // An adapter that overflows: never a probability.
    model = {};
    gguf = open();
    for (ri_precision precision : {RI_F32, RI_BF16}) {
        CHECK_OK(ri_llm_create(engine, gguf, precision, &llama, &err));
        CHECK_OK(ri_prefix_create(llama, nullptr, 0, &prefix, &err));
        fill(adapter, 1, 3e38f);
        samples = make_samples(1, 8);
        for (float &x : samples.states) x = 4;
        const ri_align_batch large = samples.batch(1);
        std::fill(logp.begin(), logp.end(), 0.0f);
        if (ri_align_logprobs(llama, prefix, adapter, &large, logp.data(), &err) == RI_OK)
            CHECK(std::isnan(logp.back()));
        ri_prefix_free(prefix);
        ri_llm_free(llama);
    }
    ri_gguf_free(gguf);
    ri_model_free(adapter);
    ri_engine_free(engine);
    remove(path.c_str());
}

// Products and multiply-adds are timed in both precisions, with and without the core's own kernels.
void test_speed() {
    for (const char *backend : {"cpu", "portable"}) {
        const ri_engine_params params = engine_params(backend);
        ri_engine *engine = nullptr;
        CHECK_OK(ri_engine_create(&params, &engine, &err));
        for (ri_precision precision : {RI_F32, RI_BF16}) {
            double speed = 0;
            CHECK_OK(ri_engine_product_speed(engine, precision, &speed, &err));
            CHECK(speed > 1e7 && speed < 1e15);
            CHECK_OK(ri_engine_peak(engine, precision, &speed, &err));
            CHECK(speed > 1e7 && speed < 1e15);
        }
        double speed = -7;
        CHECK_FAILS(ri_engine_product_speed(engine, ri_precision(2), &speed, &err), RI_INVALID, "no precision 2");
        CHECK_FAILS(ri_engine_peak(engine, ri_precision(2), &speed, &err), RI_INVALID, "no precision 2");
        CHECK(speed == -7);
        ri_engine_free(engine);
    }
}

// A tree that reaches further than the context, or is none; and one that has more positions than
// the context, side by side.
void test_branches() {
    AlignFixture f;
    ri_prefix *prefix = f.prefix({1, 2, 3});
    const Samples samples = make_samples(1, 6);
    auto score = [&](size_t n, const std::function<void(std::vector<int32_t> &, std::vector<int32_t> &,
                                                        std::vector<int32_t> &, ri_branches &)> &change) {
        auto tokens = samples.tokens;
        tokens.resize(n, 9);
        std::vector<int32_t> parents(n, 5), counts(n, 1), asked(n, 7);
        for (size_t s = 0; s < 6; ++s) parents[s] = int32_t(s) - 1;
        ri_branches tree{
            n, tokens.data(), parents.data(), counts.data(), asked.data(), int32_t(n_states), samples.states.data()};
        change(parents, counts, asked, tree);
        std::vector<float> out(n, -7);
        const ri_status status = ri_align_branches(f.llama, prefix, f.adapter, &tree, out.data(), &err);
        CHECK((status == RI_OK) == (out != std::vector<float>(n, -7)));
        return status;
    };
    using Ids = std::vector<int32_t>;
    CHECK_OK(score(300, [](Ids &, Ids &, Ids &, ri_branches &) {}));
    CHECK_FAILS(score(300,
                      [](Ids &parents, Ids &, Ids &, ri_branches &) {
                          for (size_t s = 6; s < 300; ++s) parents[s] = int32_t(s) - 1;
                      }),
                RI_INVALID, "3 and 300 positions do not fit a context of 256");
    CHECK_FAILS(score(8, [](Ids &parents, Ids &, Ids &, ri_branches &) { parents[7] = 7; }), RI_INVALID,
                "position 7 comes behind 7");
    CHECK_FAILS(score(8, [](Ids &parents, Ids &, Ids &, ri_branches &) { parents[0] = -2; }), RI_INVALID,
                "position 0 comes behind -2");
    CHECK_FAILS(score(8, [](Ids &, Ids &counts, Ids &, ri_branches &) { counts[3] = -1; }), RI_INVALID,
                "position 3: -1 tokens");
    CHECK_FAILS(score(8, [](Ids &, Ids &, Ids &asked, ri_branches &) { asked[4] = 288; }), RI_INVALID, "asked 4");
    CHECK_FAILS(score(8, [](Ids &, Ids &counts, Ids &, ri_branches &) { counts.assign(8, 0); }), RI_INVALID,
                "no target");
    CHECK_FAILS(score(8, [](Ids &, Ids &, Ids &, ri_branches &b) { b.parents = nullptr; }), RI_INVALID,
                "parents is NULL");
    CHECK_FAILS(score(8, [](Ids &, Ids &, Ids &, ri_branches &b) { b.n_states = 0; }), RI_INVALID, "0 states");
    ri_prefix_free(prefix);
}

} // namespace

int main(int argc, char **argv) {
    Cases cases(argc, argv);
    CASE(test_speed());
    CASE(test_batches());
    CASE(test_branches());
    CASE(test_objects());
    CASE(test_damaged_weights());
    for (int kind = 0; kind < RI_LIVE_KINDS; ++kind) CHECK(ri_debug_live(ri_live_kind(kind)) == 0);
    return cases.finish();
}
