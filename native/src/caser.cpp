// Caser: convolutional sequence embedding (Tang and Wang 2018, arXiv 1809.07426), without a user's own embedding.
// Filters of several heights slide over the positions (relu, largest over time); vertical filters weigh the positions
// (relu). The state is all that side by side: the horizontal ones by height, then the vertical ones filter by filter.
// Padding is zero.
#include "encoder_ops.h"

namespace ri {

namespace {

class Caser : public Recommender {
  public:
    Caser(std::shared_ptr<Engine> engine, const ri_caser_params &params)
        : Recommender(std::move(engine), layout(params)), p_(params) {}

    ri_recommender_info describe() const override { return {p_.n_items, p_.width, state_width(p_), p_.n_positions}; }

    Var encode(Graph &g, Source &source) const override {
        // The state after an earlier item is that of the history cut there.
        Source samples = source.all() ? source.prefixes() : source;
        const int64_t D = p_.width;
        Var x = samples.items(g, use(g, "item_embeddings.weight"));
        x = g.scale_rows(x, samples.presence(g));
        Var state;
        for (int i = 0; i < p_.n_heights; ++i) {
            const std::string name = "horizontal_cnn." + std::to_string(i);
            Var w = g.reshape(use(g, name + ".weight"), p_.heights[i] * D, p_.n_horizontal);
            Var y = windows_max(g, samples, x, w, use(g, name + ".bias"), p_.heights[i]);
            state = state.value ? g.concat(state, y) : y;
        }
        Var w = g.reshape(use(g, "vertical_cnn.weight"), p_.n_positions, p_.n_vertical);
        Var y = g.relu(weigh_positions(g, samples, x, w, use(g, "vertical_cnn.bias")));
        return samples.drop(g, g.concat(state, y));
    }

    Head head(Graph &g) const override { return {use(g, "s_fc.weight"), use(g, "s_fc.bias")}; }

  private:
    static int32_t state_width(const ri_caser_params &p) {
        return p.n_heights * p.n_horizontal + p.n_vertical * p.width;
    }

    static std::vector<TensorSpec> layout(const ri_caser_params &p) {
        require_range("Caser", "n_items", p.n_items, 1 << 28);
        require_range("Caser", "width", p.width, 1 << 14);
        require_range("Caser", "n_positions", p.n_positions, 1 << 14);
        require_range("Caser", "n_heights", p.n_heights, 16);
        require_range("Caser", "n_horizontal", p.n_horizontal, 1 << 14);
        require_range("Caser", "n_vertical", p.n_vertical, 1 << 10);
        std::vector<TensorSpec> specs = {{"item_embeddings.weight", {p.n_items + 1, p.width}}};
        for (int i = 0; i < p.n_heights; ++i) {
            require_range("Caser", "a height", p.heights[i], p.n_positions);
            const std::string name = "horizontal_cnn." + std::to_string(i);
            specs.push_back({name + ".weight", {p.n_horizontal, 1, p.heights[i], p.width}});
            specs.push_back({name + ".bias", {p.n_horizontal}});
        }
        specs.push_back({"vertical_cnn.weight", {p.n_vertical, 1, p.n_positions, 1}});
        specs.push_back({"vertical_cnn.bias", {p.n_vertical}});
        specs.push_back({"s_fc.weight", {p.n_items, state_width(p)}});
        specs.push_back({"s_fc.bias", {p.n_items}});
        return specs;
    }

    ri_caser_params p_;
};

} // namespace

} // namespace ri

extern "C" ri_status ri_caser_create(ri_engine *engine, const ri_caser_params *params, ri_model **out, ri_error *err) {
    return ri::guard(err, [&] { ri::create_model<ri::Caser>(engine, params, out); });
}
