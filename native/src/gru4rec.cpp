// GRU4Rec: session-based recommendation with a recurrent network (Hidasi et al. 2016, arXiv 1511.06939), with the whole
// catalogue scored, in two layouts:
//   authors  the weights that the RecInterpreter authors published (github.com/ljy0ustc/LLaRA, rec_model/): a state is
//            that of the GRU, and an output layer scores it;
//   RecBole  1.2 (github.com/RUCAIBox/RecBole, recbole/model/sequential_recommender/gru4rec.py): the GRU has no
//            biases unless they are asked for; a dense layer brings its output to the width of the embeddings, and
//            products with these are the scores.
// Gates are stacked in the order reset, update, new. Tensors of layer i end in "_li".
#include "encoder_ops.h"

namespace ri {

namespace {

// What the layouts have in common: the GRU.
class GRU4Rec : public Recommender {
  protected:
    GRU4Rec(std::shared_ptr<Engine> engine, const ri_gru4rec_params &params, std::vector<TensorSpec> specs)
        : Recommender(std::move(engine), std::move(specs)), p_(params) {}

    // Outputs [H, B], or with source.all() [H, T * B], of the layers NAME over a table of embeddings. The bias that a
    // layer lacks is zero.
    Var outputs(Graph &g, Source &source, const char *table, const std::string &name, bool biases) const {
        if (!g.kernels() && int64_t(p_.n_layers) * source.positions() > 200)
            fail(RI_UNSUPPORTED,
                 "GRU4Rec: %d layers over %lld positions need more than 200 steps, which only the CPU takes",
                 p_.n_layers, static_cast<long long>(source.positions()));
        Var x = source.drop(g, source.items(g, use(g, table)));
        for (int layer = 0; layer < p_.n_layers; ++layer) {
            const std::string at = "_l" + std::to_string(layer);
            auto bias = [&](const char *of) {
                const int64_t n = 3 * int64_t(p_.n_hidden);
                return biases ? use(g, name + of + at) : g.constant(g.input(std::vector<float>(size_t(n)), n));
            };
            Var gates = g.linear(use(g, name + ".weight_ih" + at), x, bias(".bias_ih"));
            x = gru(g, source, gates, use(g, name + ".weight_hh" + at), bias(".bias_hh"));
        }
        return source.drop(g, source.all() ? x : g.get_rows(x, source.last_positions(g)));
    }

    static void check_sizes(const ri_gru4rec_params &p) {
        require_range("GRU4Rec", "n_items", p.n_items, 1 << 28);
        require_range("GRU4Rec", "width", p.width, 1 << 16);
        require_range("GRU4Rec", "n_positions", p.n_positions, 1 << 14);
        require_range("GRU4Rec", "n_hidden", p.n_hidden, 1 << 16);
        require_range("GRU4Rec", "n_layers", p.n_layers, 64);
    }

    static void add_layers(std::vector<TensorSpec> &specs, const ri_gru4rec_params &p, const std::string &name,
                           bool biases) {
        const int64_t h = p.n_hidden;
        for (int layer = 0; layer < p.n_layers; ++layer) {
            const std::string at = "_l" + std::to_string(layer);
            specs.push_back({name + ".weight_ih" + at, {3 * h, layer == 0 ? p.width : h}});
            specs.push_back({name + ".weight_hh" + at, {3 * h, h}});
            if (!biases) continue;
            specs.push_back({name + ".bias_ih" + at, {3 * h}});
            specs.push_back({name + ".bias_hh" + at, {3 * h}});
        }
    }

    ri_gru4rec_params p_;
};

class AuthorsGRU4Rec final : public GRU4Rec {
  public:
    AuthorsGRU4Rec(std::shared_ptr<Engine> engine, const ri_gru4rec_params &params)
        : GRU4Rec(std::move(engine), params, layout(params)) {}

    ri_recommender_info describe() const override { return {p_.n_items, p_.width, p_.n_hidden, p_.n_positions}; }
    Var encode(Graph &g, Source &source) const override {
        return outputs(g, source, "item_embeddings.weight", "gru", true);
    }
    Head head(Graph &g) const override { return {use(g, "s_fc.weight"), use(g, "s_fc.bias")}; }

  private:
    static std::vector<TensorSpec> layout(const ri_gru4rec_params &p) {
        check_sizes(p);
        std::vector<TensorSpec> specs = {{"item_embeddings.weight", {p.n_items + 1, p.width}}};
        add_layers(specs, p, "gru", true);
        add_layer(specs, "s_fc", {p.n_items, p.n_hidden});
        return specs;
    }
};

class RecBoleGRU4Rec final : public GRU4Rec {
  public:
    RecBoleGRU4Rec(std::shared_ptr<Engine> engine, const ri_gru4rec_params &params)
        : GRU4Rec(std::move(engine), params, layout(params)) {}

    ri_recommender_info describe() const override { return {p_.n_items, p_.width, p_.width, p_.n_positions}; }
    Var encode(Graph &g, Source &source) const override {
        return linear(*this, g, "dense", outputs(g, source, "item_embedding.weight", "gru_layers", p_.biases != 0));
    }
    Head head(Graph &g) const override { return {use(g, "item_embedding.weight"), {}}; }

  private:
    static std::vector<TensorSpec> layout(const ri_gru4rec_params &p) {
        check_sizes(p);
        std::vector<TensorSpec> specs = {{"item_embedding.weight", {p.n_items + 1, p.width}}};
        add_layers(specs, p, "gru_layers", p.biases != 0);
        add_layer(specs, "dense", {p.width, p.n_hidden});
        return specs;
    }
};

} // namespace

} // namespace ri

extern "C" ri_status ri_gru4rec_create(ri_engine *engine, const ri_gru4rec_params *params, ri_model **out,
                                       ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(params, "params");
        switch (ri::number_of(params->layout)) {
        case RI_LAYOUT_AUTHORS: return ri::create_model<ri::AuthorsGRU4Rec>(engine, params, out);
        case RI_LAYOUT_RECBOLE: return ri::create_model<ri::RecBoleGRU4Rec>(engine, params, out);
        default: ri::refuse_layout("GRU4Rec", params->layout);
        }
    });
}
