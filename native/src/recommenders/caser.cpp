// Caser: convolutional sequence embedding (Tang and Wang 2018, arXiv 1809.07426). Filters of
// several heights slide over the positions (relu, largest over time); vertical filters weigh the
// positions. In two layouts:
//   authors  the weights that the RecInterpreter authors published (github.com/ljy0ustc/LLaRA, rec_model/), without a
//            user's own embedding. Vertical filters have a relu as well. The state is all that side by side: the
//            horizontal ones by height, then the vertical ones filter by filter; an output layer scores it. Padding is
//            zero.
//   recbole  RecBole 1.2 (github.com/RUCAIBox/RecBole, recbole/model/sequential_recommender/caser.py): heights 1 to T;
//   vertical
//            filters come first. fc1 brings that to the width of the embeddings (relu), and fc2 (relu) joins it with
//            the user, here the mean user, to a state; scores are products with the embeddings. Padding is a row of the
//            table, which counts as any other and, as theirs, is not trained.
#include "encoder_ops.h"
#include "recommenders/registry.h"

namespace ri {

namespace {

struct Sizes {
    int32_t n_items, width, n_positions, n_horizontal, n_vertical;
    std::vector<int32_t> heights;

    explicit Sizes(const Settings &s)
        : n_items(s.whole("items")), width(s.whole("width")), n_positions(s.whole("positions")),
          n_horizontal(s.whole("horizontal")), n_vertical(s.whole("vertical")) {
        const std::vector<double> &given = s.list("heights");
        heights.assign(given.begin(), given.end());
        if (s.layout() != "authors") { // one after the other up to T, and that they are may be said or not
            if (n_positions > 128) s.refuse("positions", "1 to 128 in this layout");
            heights.clear();
            for (int32_t height = 1; height <= n_positions; ++height) heights.push_back(height);
            if (!given.empty() && std::vector<double>(heights.begin(), heights.end()) != given)
                s.refuse("heights", "1 to " + std::to_string(n_positions) + " in this layout, or left out");
        } else if (given.empty() || given.size() > 16) {
            s.refuse("heights", "1 to 16 heights");
        }
        for (int32_t height : heights)
            if (height > n_positions) s.refuse("heights", "at most positions, " + std::to_string(n_positions));
    }

    int32_t n_filtered() const { return int32_t(heights.size()) * n_horizontal + n_vertical * width; }
};

// What the layouts have in common: the filters.
class Caser : public Recommender {
  public:
    Var encode(Graph &g, Source &source) const override {
        // The state after an earlier item is that of the history cut there.
        Source samples = source.all() ? source.prefixes() : source;
        return encode_whole(g, samples);
    }

  protected:
    Caser(std::shared_ptr<Engine> engine, const Sizes &p, int32_t state_width, std::vector<TensorSpec> specs)
        : Recommender(std::move(engine), std::move(specs), {p.n_items, p.width, state_width, p.n_positions, 0}), p_(p) {
    }

    // States [W, samples].
    virtual Var encode_whole(Graph &g, Source &samples) const = 0;

    // Of the filters NAME.0, NAME.1, … by height: x [D, T * samples] -> [heights * F, samples].
    Var horizontal(Graph &g, const Source &samples, const std::string &name, Var x) const {
        Var all;
        for (size_t i = 0; i < p_.heights.size(); ++i) {
            const std::string at = name + "." + std::to_string(i);
            Var w = reshape(g, use(g, at + ".weight"), int64_t(p_.heights[i]) * p_.width, p_.n_horizontal);
            Var y = windows_max(g, samples, x, w, use(g, at + ".bias"), p_.heights[i]);
            all = i > 0 ? concat(g, all, y) : y;
        }
        return all;
    }

    // x [D, T * samples] -> [F * D, samples].
    Var vertical(Graph &g, const Source &samples, const std::string &name, Var x) const {
        Var w = reshape(g, use(g, name + ".weight"), p_.n_positions, p_.n_vertical);
        return weigh_positions(g, samples, x, w, use(g, name + ".bias"));
    }

    static void add_all_filters(std::vector<TensorSpec> &specs, const Sizes &p, const std::string &horizontal,
                                const std::string &vertical) {
        for (size_t i = 0; i < p.heights.size(); ++i)
            add_filters(specs, horizontal + "." + std::to_string(i), {p.n_horizontal, 1, p.heights[i], p.width});
        add_filters(specs, vertical, {p.n_vertical, 1, p.n_positions, 1});
    }

    Sizes p_;
};

class AuthorsCaser final : public Caser {
  public:
    AuthorsCaser(std::shared_ptr<Engine> engine, const Sizes &p)
        : Caser(std::move(engine), p, p.n_filtered(), layout(p)) {}

    Head head(Graph &g) const override { return {use(g, "s_fc.weight"), use(g, "s_fc.bias")}; }

  private:
    Var encode_whole(Graph &g, Source &samples) const override {
        Var x = scale_rows(g, samples.items(g, use(g, "item_embeddings.weight")), samples.presence(g));
        x = samples.drop(g, x);
        Var state = horizontal(g, samples, "horizontal_cnn", x);
        return samples.drop(g, concat(g, state, relu(g, vertical(g, samples, "vertical_cnn", x))));
    }

    static std::vector<TensorSpec> layout(const Sizes &p) {
        std::vector<TensorSpec> specs = {item_table("item_embeddings.weight", p.n_items, p.width)};
        add_all_filters(specs, p, "horizontal_cnn", "vertical_cnn");
        add_output(specs, "s_fc", p.n_items, p.n_filtered());
        return specs;
    }
};

class RecBoleCaser final : public Caser {
  public:
    RecBoleCaser(std::shared_ptr<Engine> engine, const Sizes &p) : Caser(std::move(engine), p, p.width, layout(p)) {}

    Head head(Graph &g) const override { return {use(g, "item_embedding.weight"), {}}; }

  private:
    Var encode_whole(Graph &g, Source &samples) const override {
        const int64_t N = samples.samples();
        Var x = freeze_padding(g, samples, samples.items(g, use(g, "item_embedding.weight")));
        Var filtered = concat(g, vertical(g, samples, "conv_v", x), horizontal(g, samples, "conv_h", x));
        Var z = relu(g, linear(*this, g, "fc1", samples.drop(g, filtered)));
        Var user = get_rows(g, use(g, "user_embedding.weight"), g.input(std::vector<int32_t>(size_t(N)), N));
        return relu(g, linear(*this, g, "fc2", concat(g, z, user)));
    }

    static std::vector<TensorSpec> layout(const Sizes &p) {
        const int64_t d = p.width;
        std::vector<TensorSpec> specs = {table("user_embedding.weight", RI_ROLE_EMBEDDING, 1, d),
                                         item_table("item_embedding.weight", p.n_items, d)};
        add_all_filters(specs, p, "conv_h", "conv_v");
        add_dense(specs, "fc1", d, p.n_filtered());
        add_dense(specs, "fc2", d, 2 * d);
        return specs;
    }
};

std::unique_ptr<Recommender> create(std::shared_ptr<Engine> engine, const Settings &settings) {
    if (settings.layout() == "authors") return std::make_unique<AuthorsCaser>(std::move(engine), Sizes(settings));
    return std::make_unique<RecBoleCaser>(std::move(engine), Sizes(settings));
}

} // namespace

Entry caser() {
    Setting heights = whole_number("heights", 1, 1 << 14);
    heights.least_count = 0;
    heights.most_count = 128;
    return {
        "caser",
        {"authors", "recbole"},
        with_sizes({heights, whole_number("horizontal", 1, 1 << 14), whole_number("vertical", 1, 1 << 10)}, 1 << 14),
        create};
}

} // namespace ri
