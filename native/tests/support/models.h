// Shorthand for models behind the C interface, for tests that fill and compare their tensors.
#pragma once

#include "recint.h"
#include "support/backend.h"
#include "support/check.h"
#include "support/params.h"

#include <random>
#include <string>
#include <utility>
#include <vector>

// Uniform in (-scale, scale), the same for the same seed.
inline std::vector<float> draw(size_t n, uint64_t seed, float scale = 1) {
    std::mt19937_64 random(seed);
    std::vector<float> values(n);
    for (float &value : values) value = scale * (float(random() >> 40) * 0x1p-23f - 1);
    return values;
}

inline ri_engine *test_engine(int32_t n_threads) {
    ri_error err;
    ri_engine_params params = ri_engine_params_default();
    params.backend = test_backend();
    params.n_threads = n_threads;
    ri_engine *engine = nullptr;
    CHECK_OK(ri_engine_create(&params, &engine, &err));
    return engine;
}

// Parameters of an adapter of a kind; optional sizes are set by name.
inline ri_adapter_params adapter_params(const char *kind, int32_t n_in, int32_t n_tokens, int32_t n_embd) {
    ri_adapter_params params = ri_adapter_params_default();
    params.kind = kind;
    params.n_in = n_in;
    params.n_tokens = n_tokens;
    params.n_embd = n_embd;
    return params;
}

inline ri_model *make_adapter(ri_engine *engine, const ri_adapter_params &params) {
    ri_error err;
    ri_model *model = nullptr;
    CHECK_OK(ri_adapter_create(engine, &params, &model, &err));
    return model;
}

// Settings of a recommender, by name.
using Settings = std::vector<std::pair<std::string, std::vector<double>>>;

inline ri_status create_recommender(ri_engine *engine, const char *name, const char *layout, const Settings &settings,
                                    ri_model **out, ri_error *err) {
    std::vector<ri_setting> all;
    for (const auto &setting : settings)
        all.push_back({setting.first.c_str(), setting.second.size(), setting.second.data()});
    return ri_recommender_create(engine, name, layout, all.data(), all.size(), out, err);
}

inline ri_model *make_recommender(ri_engine *engine, const char *name, const char *layout, const Settings &settings) {
    ri_error err;
    ri_model *model = nullptr;
    CHECK_OK(create_recommender(engine, name, layout, settings, &model, &err));
    return model;
}

// Settings of a model with attention blocks.
inline Settings attention(double items, double width, double positions, double blocks, double heads, double inner) {
    return {{"items", {items}},   {"width", {width}}, {"positions", {positions}},
            {"blocks", {blocks}}, {"heads", {heads}}, {"inner", {inner}}};
}

inline ri_tensor_info tensor_of(ri_model *model, size_t index) {
    ri_error err;
    ri_tensor_info info{};
    CHECK_OK(ri_model_tensor(model, index, &info, &err));
    return info;
}

inline std::vector<float> read(ri_model *model, size_t index, ri_slot slot) {
    ri_error err;
    std::vector<float> values(size_t(tensor_of(model, index).n_elements));
    CHECK_OK(ri_model_read(model, index, slot, values.data(), values.size(), &err));
    return values;
}

inline void write(ri_model *model, size_t index, ri_slot slot, const std::vector<float> &values) {
    ri_error err;
    CHECK_OK(ri_model_write(model, index, slot, values.data(), values.size(), &err));
}

// Random values in every tensor.
inline void fill(ri_model *model, uint64_t seed, float scale) {
    for (size_t i = 0; i < ri_model_n_tensors(model); ++i)
        write(model, i, RI_VALUE, draw(size_t(tensor_of(model, i).n_elements), seed + i, scale));
}

// The gradients of all tensors, one after the other, which are zero afterwards.
inline std::vector<float> take_gradient(ri_model *model) {
    std::vector<float> all;
    for (size_t i = 0; i < ri_model_n_tensors(model); ++i) {
        const auto gradient = read(model, i, RI_GRADIENT);
        all.insert(all.end(), gradient.begin(), gradient.end());
        write(model, i, RI_GRADIENT, std::vector<float>(gradient.size()));
    }
    return all;
}
