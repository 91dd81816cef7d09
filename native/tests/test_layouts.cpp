// The layouts of other projects' recommenders through the C interface: what they are sized by and refuse, and a step of
// training with dropout on each kind of engine. Their numbers are compared with those projects' by the Go tests.
#include "support/models.h"

#include <algorithm>
#include <string>

namespace {

ri_error err;

constexpr int32_t V = 11, D = 8, T = 6, H = 12;

// Three histories: of one item, of some, and full.
const std::vector<int32_t> items = {4, V, V, V, V, V, /**/ 3, 0, 10, 3, V, V, /**/ 1, 2, 3, 4, 5, 6};
const std::vector<int32_t> lengths = {1, 4, T};
const std::vector<int32_t> targets = {7, -1, -1, -1, -1, -1, /**/ 0, 10, -1, 5, -1, -1, /**/ 2, 3, 4, 5, 6, 0};

struct Layout {
    const char *what;
    const char *table; // the items', [V + 1, D]
    int32_t state_width;
    ri_model *(*create)(ri_engine *engine);
};

template <ri_layout layout> ri_model *sasrec(ri_engine *engine) {
    const int32_t inner = layout == RI_LAYOUT_RECBOLE ? 2 * D : D;
    const ri_sasrec_params params{layout, V, D, T, 2, 2, inner};
    ri_model *model = nullptr;
    CHECK_OK(ri_sasrec_create(engine, &params, &model, &err));
    return model;
}

template <int32_t biases> ri_model *gru4rec(ri_engine *engine) {
    const ri_gru4rec_params params{RI_LAYOUT_RECBOLE, V, D, T, H, 2, biases};
    ri_model *model = nullptr;
    CHECK_OK(ri_gru4rec_create(engine, &params, &model, &err));
    return model;
}

ri_model *caser(ri_engine *engine) {
    const ri_caser_params params{RI_LAYOUT_RECBOLE, V, D, T, 0, {}, 2, 3};
    ri_model *model = nullptr;
    CHECK_OK(ri_caser_create(engine, &params, &model, &err));
    return model;
}

const Layout layouts[] = {
    {"RecBole SASRec", "item_embedding.weight", D, sasrec<RI_LAYOUT_RECBOLE>},
    {"RecBole GRU4Rec", "item_embedding.weight", D, gru4rec<0>},
    {"RecBole GRU4Rec with biases", "item_embedding.weight", D, gru4rec<1>},
    {"RecBole Caser", "item_embedding.weight", D, caser},
    {"pmixer", "item_emb.weight", D, sasrec<RI_LAYOUT_PMIXER>},
    {"pmixer norm-first", "item_emb.weight", D, sasrec<RI_LAYOUT_PMIXER_NORM_FIRST>},
    {"pmixer original", "item_emb.weight", D, sasrec<RI_LAYOUT_PMIXER_ORIGINAL>},
};

double backward(ri_model *model, float dropout, uint64_t seed) {
    const ri_recommender_batch batch{
        {lengths.size(), items.data(), lengths.data(), nullptr, 0}, targets.data(), nullptr, 0, dropout, seed};
    double loss = NAN;
    CHECK_OK(ri_recommender_backward(model, &batch, &loss, &err));
    return loss;
}

void test_layout(const Layout &layout, ri_engine *engine) {
    ri_model *model = layout.create(engine);
    ri_recommender_info info{};
    CHECK_OK(ri_recommender_describe(model, &info, &err));
    CHECK(info.n_items == V && info.width == D && info.n_positions == T && info.state_width == layout.state_width);

    // Of zeros: every item is as likely as another, and no gradient is NaN, whatever the norms divide by.
    CHECK_NEAR(backward(model, 0, 0), std::log(double(V)), 1e-6);
    const auto nothing = take_gradient(model);
    CHECK(std::all_of(nothing.begin(), nothing.end(), [](float g) { return std::isfinite(g); }));

    fill(model, 3, 0.5f);
    const double loss = backward(model, 0.3f, 1);
    const auto gradient = take_gradient(model);
    CHECK(backward(model, 0.3f, 1) == loss && take_gradient(model) == gradient); // the same seed
    CHECK(backward(model, 0.3f, 2) != loss && backward(model, 0, 1) != loss);
    take_gradient(model);

    // Padding's row stays as it is, the first item's does not.
    backward(model, 0, 0);
    for (size_t i = 0; i < ri_model_n_tensors(model); ++i) {
        const ri_tensor_info tensor = tensor_of(model, i);
        if (std::string(tensor.name) != layout.table) continue;
        CHECK(tensor.shape[0] == V + 1 && tensor.shape[1] == D);
        const auto rows = read(model, i, RI_GRADIENT);
        CHECK(std::all_of(rows.end() - D, rows.end(), [](float g) { return g == 0; }));
        CHECK(std::any_of(rows.begin(), rows.begin() + D, [](float g) { return g != 0; }));
    }
    ri_model_free(model);
}

void test_refused(ri_engine *engine) {
    ri_model *model = nullptr;
    // As a caller in C may have it: out of the enum's range.
    auto number = [](auto params, int32_t layout) {
        memcpy(&params.layout, &layout, sizeof layout);
        return params;
    };
    auto refuse_sasrec = [&](const ri_sasrec_params &params, const char *text) {
        CHECK_FAILS(ri_sasrec_create(engine, &params, &model, &err), RI_INVALID, text);
    };
    refuse_sasrec(number(ri_sasrec_params{RI_LAYOUT_AUTHORS, V, D, T, 1, 1, D}, 5), "there is no layout 5");
    refuse_sasrec(number(ri_sasrec_params{RI_LAYOUT_AUTHORS, V, D, T, 1, 1, D}, -1), "there is no layout -1");
    refuse_sasrec({RI_LAYOUT_RECBOLE, V, D, T, 1, 3, D}, "not a multiple of n_heads 3");
    refuse_sasrec({RI_LAYOUT_PMIXER, V, D, T, 65, 1, D}, "n_blocks must be 1 to 64");
    refuse_sasrec({RI_LAYOUT_PMIXER_ORIGINAL, V, D, T, 1, 1, 2 * D}, "n_inner is the width, 8, not 16");

    auto refuse_gru4rec = [&](const ri_gru4rec_params &params, const char *text) {
        CHECK_FAILS(ri_gru4rec_create(engine, &params, &model, &err), RI_INVALID, text);
    };
    refuse_gru4rec({RI_LAYOUT_PMIXER, V, D, T, H, 1}, "GRU4Rec has no pmixer layout");
    refuse_gru4rec(number(ri_gru4rec_params{RI_LAYOUT_AUTHORS, V, D, T, H, 1}, 99), "there is no layout 99");
    refuse_gru4rec({RI_LAYOUT_RECBOLE, V, D, T, 0, 1}, "n_hidden must be 1");

    auto refuse_caser = [&](const ri_caser_params &params, const char *text) {
        CHECK_FAILS(ri_caser_create(engine, &params, &model, &err), RI_INVALID, text);
    };
    refuse_caser({RI_LAYOUT_PMIXER_NORM_FIRST, V, D, T, 1, {1}, 2, 3}, "Caser has no pmixer norm-first layout");
    refuse_caser({RI_LAYOUT_RECBOLE, V, D, 3, 2, {1, 2}, 2, 3}, "the heights are 1 to 3");
    refuse_caser({RI_LAYOUT_RECBOLE, V, D, 3, 3, {1, 3, 2}, 2, 3}, "the heights are 1 to 3");
    refuse_caser({RI_LAYOUT_RECBOLE, V, D, 3, 17, {}, 2, 3}, "the heights are 1 to 3");
    refuse_caser({RI_LAYOUT_RECBOLE, V, D, 3, -1, {}, 2, 3}, "the heights are 1 to 3");
    refuse_caser({RI_LAYOUT_RECBOLE, V, D, 129, 0, {}, 2, 3}, "n_positions in RecBole's layout must be 1 to 128");
    refuse_caser({RI_LAYOUT_AUTHORS, V, D, T, 0, {}, 2, 3}, "n_heights must be 1 to 16");

    const double betas[] = {0.1, 0.2};
    const ri_dreamrec_params guided{{RI_LAYOUT_RECBOLE, V, D, T, 1, 1, D}, RI_DENOISER_MLP1, 2, betas};
    CHECK_FAILS(ri_dreamrec_create(engine, &guided, &model, &err), RI_INVALID, "the guidance has the authors' layout");
    CHECK(model == nullptr);
}

// The largest graphs fit where operations are composed of ggml's.
void test_largest(ri_engine *engine) {
    const ri_sasrec_params deep{RI_LAYOUT_PMIXER, V, D, T, 64, 2, D};
    ri_model *model = nullptr;
    CHECK_OK(ri_sasrec_create(engine, &deep, &model, &err));
    backward(model, 0.1f, 0);
    ri_model_free(model);

    const ri_caser_params tall{RI_LAYOUT_RECBOLE, V, 2, 128, 0, {}, 1, 1};
    CHECK_OK(ri_caser_create(engine, &tall, &model, &err));
    std::vector<int32_t> history(128, V), next(128, -1);
    history[0] = 1;
    next[0] = 2;
    const int32_t length = 1;
    const ri_recommender_batch batch{{1, history.data(), &length, nullptr, 0}, next.data(), nullptr, 0, 0.1f, 0};
    double loss = NAN;
    CHECK_OK(ri_recommender_backward(model, &batch, &loss, &err));
    ri_model_free(model);
}

} // namespace

int main(int argc, char **argv) {
    Cases cases(argc, argv);
    for (const char *backend : {"cpu", "portable"}) {
        ri_engine_params params = ri_engine_params_default();
        params.backend = backend;
        params.n_threads = 1; // the graphs are too small to share
        ri_engine *engine = nullptr;
        CHECK_OK(ri_engine_create(&params, &engine, &err));
        for (const Layout &layout : layouts) CASE(test_layout(layout, engine));
        CASE(test_refused(engine));
        CASE(test_largest(engine));
        ri_engine_free(engine);
    }
    CHECK(ri_debug_live(RI_LIVE_MODEL) == 0 && ri_debug_live(RI_LIVE_ENGINE) == 0);
    return cases.finish();
}
