// The layouts of other projects' recommenders through the C interface: what they are sized by and
// refuse, and a step of training with dropout on each kind of engine. Their numbers are compared
// with those projects' by the Go tests.
#include "support/models.h"

#include <algorithm>
#include <string>

namespace {

ri_error err;

constexpr int32_t V = 11, D = 8, T = 6, H = 12;

// Three histories: of one item, of some, and full.
const std::vector<int32_t> items = {4, V, V, V, V, V, /**/ 3, 0, 10, 3, V, V, /**/ 1, 2, 3, 4, 5, 6};
const std::vector<int32_t> lengths = {1, 4, T};
const std::vector<int64_t> times = {5, 5, 9, 30, 31, 1000, /**/ 0, 1, 1, 7, 8, 9, /**/ -4, -4, 0, 2, 90, 91};
const std::vector<int32_t> targets = {7, -1, -1, -1, -1, -1, /**/ 0, 10, -1, 5, -1, -1, /**/ 2, 3, 4, 5, 6, 0};

struct Layout {
    const char *what;
    const char *table; // the items', [V + 1, D] or more rows
    int32_t state_width;
    ri_model *(*create)(ri_engine *engine, const char *layout);
    const char *layout;
};

ri_model *sasrec(ri_engine *engine, const char *layout) {
    const int32_t inner = std::string(layout) == "recbole" ? 2 * D : D;
    return make_recommender(engine, "sasrec", layout, attention(V, D, T, 2, 2, inner));
}

template <int32_t norm_first, int32_t rotary> ri_model *modern(ri_engine *engine, const char *layout) {
    Settings settings = attention(V, D, T, 2, 2, D);
    settings.push_back({"norm_first", {norm_first}});
    settings.push_back({"rotary", {rotary}});
    return make_recommender(engine, "sasrec", layout, settings);
}

ri_model *bert4rec(ri_engine *engine, const char *layout) {
    return make_recommender(engine, "bert4rec", layout, attention(V, D, T, 2, 2, 2 * D));
}

Settings with_sizes(Settings own, double width = D, double positions = T) {
    own.insert(own.begin(), {{"items", {V}}, {"width", {width}}, {"positions", {positions}}});
    return own;
}

template <int32_t biases> ri_model *gru4rec(ri_engine *engine, const char *layout) {
    return make_recommender(engine, "gru4rec", layout,
                            with_sizes({{"hidden", {H}}, {"layers", {2}}, {"biases", {biases}}}));
}

ri_model *caser(ri_engine *engine, const char *layout) {
    return make_recommender(engine, "caser", layout, with_sizes({{"horizontal", {2}}, {"vertical", {3}}}));
}

template <int32_t times> ri_model *hstu(ri_engine *engine, const char *layout) {
    return make_recommender(engine, "hstu", layout, with_sizes({{"blocks", {2}}, {"heads", {2}}, {"times", {times}}}));
}

const Layout layouts[] = {
    {"SASRec, norm first", "item_embeddings.weight", D, modern<1, 0>, "authors"},
    {"SASRec, rotary", "item_embeddings.weight", D, modern<0, 1>, "authors"},
    {"SASRec, norm first and rotary", "item_embeddings.weight", D, modern<1, 1>, "authors"},
    {"RecBole SASRec", "item_embedding.weight", D, sasrec, "recbole"},
    {"RecBole BERT4Rec", "item_embedding.weight", D, bert4rec, "recbole"},
    {"HSTU", "item_embedding.weight", D, hstu<0>, "recint"},
    {"HSTU with times", "item_embedding.weight", D, hstu<1>, "recint"},
    {"RecBole GRU4Rec", "item_embedding.weight", D, gru4rec<0>, "recbole"},
    {"RecBole GRU4Rec with biases", "item_embedding.weight", D, gru4rec<1>, "recbole"},
    {"RecBole Caser", "item_embedding.weight", D, caser, "recbole"},
    {"pmixer", "item_emb.weight", D, sasrec, "pmixer"},
    {"pmixer norm-first", "item_emb.weight", D, sasrec, "pmixer-norm-first"},
    {"pmixer original", "item_emb.weight", D, sasrec, "pmixer-original"},
};

double backward(ri_model *model, float dropout, uint64_t seed) {
    const ri_recommender_batch batch{{lengths.size(), items.data(), lengths.data(), nullptr, 0, times.data()},
                                     targets.data(),
                                     nullptr,
                                     0,
                                     dropout,
                                     seed};
    double loss = NAN;
    CHECK_OK(ri_recommender_backward(model, &batch, &loss, &err));
    return loss;
}

void test_layout(const Layout &layout, ri_engine *engine) {
    ri_model *model = layout.create(engine, layout.layout);
    ri_recommender_info info{};
    CHECK_OK(ri_recommender_describe(model, &info, &err));
    CHECK(info.n_items == V && info.width == D && info.n_positions == T && info.state_width == layout.state_width);

    // Of zeros: every item is as likely as another, and no gradient is NaN, whatever the norms
    // divide by.
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
        CHECK(tensor.shape[0] >= V + 1 && tensor.shape[1] == D);
        const auto rows = read(model, i, RI_GRADIENT);
        CHECK(std::all_of(rows.begin() + V * D, rows.begin() + (V + 1) * D, [](float g) { return g == 0; }));
        CHECK(std::any_of(rows.begin(), rows.begin() + D, [](float g) { return g != 0; }));
    }
    ri_model_free(model);
}

void test_refused(ri_engine *engine) {
    ri_model *model = nullptr;
    auto refuse = [&](const char *name, const char *layout, const Settings &settings, const char *text) {
        CHECK_FAILS(create_recommender(engine, name, layout, settings, &model, &err), RI_INVALID, text);
    };
    const Settings plain = attention(V, D, T, 1, 1, D), gru = with_sizes({{"hidden", {H}}, {"layers", {1}}});
    auto filters = [](std::vector<double> heights, double positions = T) {
        return with_sizes({{"heights", heights}, {"horizontal", {2}}, {"vertical", {3}}}, D, positions);
    };
    refuse("gru", nullptr, gru,
           "no recommender is called \"gru\"; known are gru4rec, caser, sasrec, bert4rec, hstu, dreamrec");
    refuse("sasrec", "mine", plain, "sasrec has no layout \"mine\"; it has authors, recbole, pmixer,");
    refuse("sasrec", "recbole", attention(V, D, T, 1, 3, D), "heads is 3; it must be a divisor of width, 8");
    refuse("sasrec", "pmixer", attention(V, D, T, 65, 1, D), "blocks is 65; it must be a whole number from 1 to 64");
    refuse("sasrec", "pmixer-original", attention(V, D, T, 1, 1, 2 * D), "inner is 16; it must be the width, 8");
    refuse("sasrec", nullptr, attention(V, D, T, 1.5, 1, D), "blocks is 1.5; it must be a whole number");
    const Settings rotary = with_sizes({{"blocks", {1}}, {"heads", {8}}, {"rotary", {1}}});
    refuse("sasrec", nullptr, rotary, "heads is 8; it must be so many that the width of a head is even");
    refuse("sasrec", "recbole", rotary, "rotary is 1; it must be 0 in this layout");
    refuse("sasrec", nullptr, gru, "sasrec has no setting \"hidden\"; it has items, width, positions, blocks,");
    refuse("gru4rec", "pmixer", gru, "gru4rec has no layout \"pmixer\"; it has authors, recbole");
    refuse("gru4rec", nullptr, with_sizes({{"hidden", {0}}, {"layers", {1}}}), "hidden is 0; it must be");
    refuse("gru4rec", nullptr, with_sizes({{"layers", {1}}}), "hidden is missing; it must be");
    refuse("gru4rec", nullptr, with_sizes({{"layers", {1, 2}}}), "layers has 2 values; it must have 1 to 1");
    refuse("gru4rec", nullptr, with_sizes({{"layers", {1}}, {"layers", {1}}}), "layers is given twice");
    refuse("caser", "recbole", filters({1, 2}, 3), "heights is 1, 2; it must be 1 to 3 in this layout");
    refuse("caser", "recbole", filters({1, 3, 2}, 3), "heights is 1, 3, 2; it must be 1 to 3");
    refuse("caser", "recbole", filters({}, 129), "positions is 129; it must be 1 to 128 in this layout");
    refuse("caser", nullptr, filters({}), "it must be 1 to 16 heights");
    refuse("caser", nullptr, filters(std::vector<double>(17, 1)), "it must be 1 to 16 heights");
    refuse("caser", nullptr, filters({T + 1}), "heights is 7; it must be at most positions, 6");
    CHECK(model == nullptr);

    ri_model *timed = hstu<1>(engine, nullptr);
    const ri_histories without{lengths.size(), items.data(), lengths.data(), nullptr, 0};
    float untouched = -7;
    CHECK_FAILS(ri_recommender_states(timed, &without, 0, &untouched, &err), RI_INVALID, "histories.times");
    CHECK(untouched == -7);
    ri_model_free(timed);
}

// The largest graphs fit where operations are composed of ggml's.
void test_largest(ri_engine *engine) {
    ri_model *model = make_recommender(engine, "sasrec", "pmixer", attention(V, D, T, 64, 2, D));
    backward(model, 0.1f, 0);
    ri_model_free(model);

    model = make_recommender(engine, "caser", "recbole", with_sizes({{"horizontal", {1}}, {"vertical", {1}}}, 2, 128));
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
