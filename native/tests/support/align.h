// A tiny LLM with an adapter, and samples for it.
#pragma once

#include "support/models.h"
#include "support/tiny_gguf.h"

#include <algorithm>
#include <string>

inline ri_error err; // of the last call

constexpr int32_t n_in = 3, n_tokens = 2; // of the adapters: K = 2 soft tokens from 3 numbers
constexpr size_t n_states = 2;            // of each sample, so four soft tokens
inline const std::vector<int32_t> states_of_each(64, int32_t(n_states));

inline ri_adapter_params linear_adapter(const ri_gguf_info &llm) {
    return adapter_params("linear", n_in, n_tokens, llm.n_embd);
}

struct AlignFixture {
    std::string path;
    ri_engine *engine;
    ri_gguf *gguf = nullptr;
    ri_gguf_info info{};
    ri_llm *llama = nullptr;
    ri_model *adapter = nullptr;

    explicit AlignFixture(const TinyGguf &model = {}, ri_precision precision = RI_F32, int32_t n_threads = 1)
        : AlignFixture(written(model), precision, n_threads) {}
    // Of a file that is there; it is removed in the end.
    AlignFixture(const std::string &file, ri_precision precision, int32_t n_threads)
        : path(file), engine(test_engine(n_threads)) {
        CHECK_OK(ri_gguf_open(path.c_str(), &gguf, &err));
        CHECK_OK(ri_gguf_describe(gguf, &info, &err));
        CHECK_OK(ri_llm_create(engine, gguf, precision, &llama, &err));
        adapter = make_adapter(engine, linear_adapter(info));
        fill(adapter, 50, 0.2f); // soft tokens of the size of this file's embeddings
    }
    ~AlignFixture() {
        ri_model_free(adapter);
        ri_llm_free(llama);
        ri_gguf_free(gguf);
        ri_engine_free(engine);
        remove(path.c_str());
    }
    static std::string written(const TinyGguf &model) {
        const std::string path = temporary_path("align.gguf");
        write_tiny_gguf(path, model);
        return path;
    }
    ri_prefix *prefix(const std::vector<int32_t> &tokens) const {
        ri_prefix *out = nullptr;
        CHECK_OK(ri_prefix_create(llama, tokens.data(), tokens.size(), &out, &err));
        return out;
    }
};

struct Samples {
    size_t n, positions;
    std::vector<int32_t> tokens, targets;
    std::vector<float> states;

    ri_align_batch batch(double weight) const {
        return {n, positions, states_of_each.data(), tokens.data(), targets.data(), states.data(), weight};
    }
    size_t n_targets() const {
        return size_t(std::count_if(targets.begin(), targets.end(), [](int32_t t) { return t >= 0; }));
    }
    // One of them, without what follows its first `length` positions.
    Samples only(size_t sample, size_t length) const {
        auto part = [&](const auto &all, size_t stride, size_t count) {
            return std::decay_t<decltype(all)>(all.begin() + ptrdiff_t(sample * stride),
                                               all.begin() + ptrdiff_t(sample * stride + count));
        };
        return {1, length, part(tokens, positions, length), part(targets, positions, length),
                part(states, n_states * n_in, n_states * n_in)};
    }
};

inline std::vector<int32_t> random_tokens(size_t n, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<int32_t> tokens(n);
    for (int32_t &token : tokens) token = int32_t(random() % 288);
    return tokens;
}

// Soft tokens in no order among the others; a target at each position, or at two of three.
inline Samples make_samples(size_t n, size_t positions, bool all_targets = false) {
    Samples s{n, positions, random_tokens(n * positions, 60), random_tokens(n * positions, 61),
              draw(n * n_states * n_in, 62)};
    for (size_t b = 0; b < n; ++b)
        for (size_t j = 0; j < n_states * n_tokens; ++j)
            s.tokens[b * positions + (j * 3 + b) % 5] = -1 - int32_t(j); // positions 0-4: one stays a token
    for (size_t i = 0; i < s.targets.size() && !all_targets; i += 3) s.targets[i] = -1;
    return s;
}

inline std::vector<float> logprobs(const AlignFixture &f, ri_prefix *prefix, const Samples &samples) {
    std::vector<float> out(samples.n_targets(), NAN);
    const ri_align_batch batch = samples.batch(1);
    CHECK_OK(ri_align_logprobs(f.llama, prefix, f.adapter, &batch, out.data(), &err));
    return out;
}

struct Step {
    double loss = NAN;
    std::vector<float> gradient;
};

inline Step backward(const AlignFixture &f, ri_prefix *prefix, const Samples &samples, double weight) {
    Step step;
    const ri_align_batch batch = samples.batch(weight);
    CHECK_OK(ri_align_backward(f.llama, prefix, f.adapter, &batch, &step.loss, &err));
    step.gradient = take_gradient(f.adapter);
    return step;
}
