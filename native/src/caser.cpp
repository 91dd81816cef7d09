// Caser: convolutional sequence embedding (Tang and Wang 2018, arXiv 1809.07426). Filters of several heights slide over
// the positions (relu, largest over time); vertical filters weigh the positions. In two layouts:
//   authors  the weights that the RecInterpreter authors published (github.com/ljy0ustc/LLaRA, rec_model/), without a
//            user's own embedding. Vertical filters have a relu as well. The state is all that side by side: the
//            horizontal ones by height, then the vertical ones filter by filter; an output layer scores it. Padding is
//            zero.
//   RecBole  1.2 (github.com/RUCAIBox/RecBole, recbole/model/sequential_recommender/caser.py): heights 1 to T; vertical
//            filters come first. fc1 brings that to the width of the embeddings (relu), and fc2 (relu) joins it with
//            the user, here the mean user, to a state; scores are products with the embeddings. Padding is a row of the
//            table, which counts as any other and, as theirs, is not trained.
#include "encoder_ops.h"

namespace ri {

namespace {

// What the layouts have in common: the filters.
class Caser : public Recommender {
  public:
    Var encode(Graph &g, Source &source) const override {
        // The state after an earlier item is that of the history cut there.
        Source samples = source.all() ? source.prefixes() : source;
        return encode_whole(g, samples);
    }

  protected:
    Caser(std::shared_ptr<Engine> engine, const ri_caser_params &params, std::vector<int32_t> heights,
          std::vector<TensorSpec> specs)
        : Recommender(std::move(engine), std::move(specs)), p_(params), heights_(std::move(heights)) {}

    // States [W, samples].
    virtual Var encode_whole(Graph &g, Source &samples) const = 0;

    // Of the filters NAME.0, NAME.1, … by height: x [D, T * samples] -> [heights * F, samples].
    Var horizontal(Graph &g, const Source &samples, const std::string &name, Var x) const {
        Var all;
        for (size_t i = 0; i < heights_.size(); ++i) {
            const std::string at = name + "." + std::to_string(i);
            Var w = g.reshape(use(g, at + ".weight"), int64_t(heights_[i]) * p_.width, p_.n_horizontal);
            Var y = windows_max(g, samples, x, w, use(g, at + ".bias"), heights_[i]);
            all = i > 0 ? g.concat(all, y) : y;
        }
        return all;
    }

    // x [D, T * samples] -> [F * D, samples].
    Var vertical(Graph &g, const Source &samples, const std::string &name, Var x) const {
        Var w = g.reshape(use(g, name + ".weight"), p_.n_positions, p_.n_vertical);
        return weigh_positions(g, samples, x, w, use(g, name + ".bias"));
    }

    static int32_t n_filtered(const ri_caser_params &p, size_t n_heights) {
        return int32_t(n_heights) * p.n_horizontal + p.n_vertical * p.width;
    }

    static void check_sizes(const ri_caser_params &p) {
        require_range("Caser", "n_items", p.n_items, 1 << 28);
        require_range("Caser", "width", p.width, 1 << 14);
        require_range("Caser", "n_positions", p.n_positions, 1 << 14);
        require_range("Caser", "n_horizontal", p.n_horizontal, 1 << 14);
        require_range("Caser", "n_vertical", p.n_vertical, 1 << 10);
    }

    static void add_filters(std::vector<TensorSpec> &specs, const ri_caser_params &p,
                            const std::vector<int32_t> &heights, const std::string &horizontal,
                            const std::string &vertical) {
        for (size_t i = 0; i < heights.size(); ++i)
            add_layer(specs, horizontal + "." + std::to_string(i), {p.n_horizontal, 1, heights[i], p.width});
        add_layer(specs, vertical, {p.n_vertical, 1, p.n_positions, 1});
    }

    ri_caser_params p_;
    std::vector<int32_t> heights_;
};

class AuthorsCaser final : public Caser {
  public:
    AuthorsCaser(std::shared_ptr<Engine> engine, const ri_caser_params &params)
        : Caser(std::move(engine), params, heights(params), layout(params)) {}

    ri_recommender_info describe() const override {
        return {p_.n_items, p_.width, n_filtered(p_, heights_.size()), p_.n_positions};
    }
    Head head(Graph &g) const override { return {use(g, "s_fc.weight"), use(g, "s_fc.bias")}; }

  private:
    Var encode_whole(Graph &g, Source &samples) const override {
        Var x = g.scale_rows(samples.items(g, use(g, "item_embeddings.weight")), samples.presence(g));
        x = samples.drop(g, x);
        Var state = horizontal(g, samples, "horizontal_cnn", x);
        return samples.drop(g, g.concat(state, g.relu(vertical(g, samples, "vertical_cnn", x))));
    }

    static std::vector<int32_t> heights(const ri_caser_params &p) {
        require_range("Caser", "n_heights", p.n_heights, 16);
        for (int i = 0; i < p.n_heights; ++i) require_range("Caser", "a height", p.heights[i], p.n_positions);
        return {p.heights, p.heights + p.n_heights};
    }

    static std::vector<TensorSpec> layout(const ri_caser_params &p) {
        check_sizes(p);
        std::vector<TensorSpec> specs = {{"item_embeddings.weight", {p.n_items + 1, p.width}}};
        add_filters(specs, p, heights(p), "horizontal_cnn", "vertical_cnn");
        add_layer(specs, "s_fc", {p.n_items, n_filtered(p, heights(p).size())});
        return specs;
    }
};

class RecBoleCaser final : public Caser {
  public:
    RecBoleCaser(std::shared_ptr<Engine> engine, const ri_caser_params &params)
        : Caser(std::move(engine), params, heights(params), layout(params)) {}

    ri_recommender_info describe() const override { return {p_.n_items, p_.width, p_.width, p_.n_positions}; }
    Head head(Graph &g) const override { return {use(g, "item_embedding.weight"), {}}; }

  private:
    Var encode_whole(Graph &g, Source &samples) const override {
        const int64_t N = samples.samples();
        Var x = freeze_padding(g, samples, samples.items(g, use(g, "item_embedding.weight")));
        Var filtered = g.concat(vertical(g, samples, "conv_v", x), horizontal(g, samples, "conv_h", x));
        Var z = g.relu(linear(*this, g, "fc1", samples.drop(g, filtered)));
        Var user = g.get_rows(use(g, "user_embedding.weight"), g.input(std::vector<int32_t>(size_t(N)), N));
        return g.relu(linear(*this, g, "fc2", g.concat(z, user)));
    }

    // One after the other up to T, and that they are may be said or not.
    static std::vector<int32_t> heights(const ri_caser_params &p) {
        require_range("Caser", "n_positions in RecBole's layout", p.n_positions, 128);
        std::vector<int32_t> all;
        for (int32_t height = 1; height <= p.n_positions; ++height) all.push_back(height);
        if (p.n_heights != 0 &&
            (p.n_heights < 0 || p.n_heights > 16 || std::vector<int32_t>(p.heights, p.heights + p.n_heights) != all))
            fail(RI_INVALID, "Caser: in RecBole's layout the heights are 1 to %d; n_heights may be 0", p.n_positions);
        return all;
    }

    static std::vector<TensorSpec> layout(const ri_caser_params &p) {
        check_sizes(p);
        const int64_t d = p.width;
        std::vector<TensorSpec> specs = {{"user_embedding.weight", {1, d}},
                                         {"item_embedding.weight", {p.n_items + 1, d}}};
        add_filters(specs, p, heights(p), "conv_h", "conv_v");
        add_layer(specs, "fc1", {d, n_filtered(p, heights(p).size())});
        add_layer(specs, "fc2", {d, 2 * d});
        return specs;
    }
};

} // namespace

} // namespace ri

extern "C" ri_status ri_caser_create(ri_engine *engine, const ri_caser_params *params, ri_model **out, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(params, "params");
        switch (ri::number_of(params->layout)) {
        case RI_LAYOUT_AUTHORS: return ri::create_model<ri::AuthorsCaser>(engine, params, out);
        case RI_LAYOUT_RECBOLE: return ri::create_model<ri::RecBoleCaser>(engine, params, out);
        default: ri::refuse_layout("Caser", params->layout);
        }
    });
}
