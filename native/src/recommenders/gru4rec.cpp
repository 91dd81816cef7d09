// GRU4Rec: session-based recommendation with a recurrent network (Hidasi et al. 2016, arXiv
// 1511.06939), with the whole catalogue scored, in two layouts:
//   authors  the weights that the RecInterpreter authors published (github.com/ljy0ustc/LLaRA, rec_model/): a state is
//            that of the GRU, and an output layer scores it;
//   recbole  RecBole 1.2 (github.com/RUCAIBox/RecBole, recbole/model/sequential_recommender/gru4rec.py): the GRU has no
//            biases unless they are asked for; a dense layer brings its output to the width of the embeddings, and
//            products with these are the scores.
// Gates are stacked in the order reset, update, new. Tensors of layer i end in "_li".
#include "encoder_ops.h"
#include "recommenders/registry.h"

#include <cmath>

namespace ri {

namespace {

struct Sizes {
    int32_t n_items, width, n_positions, n_hidden, n_layers;
    bool biases; // of the GRU in the layout recbole; the authors' always has them

    explicit Sizes(const Settings &s)
        : n_items(s.whole("items")), width(s.whole("width")), n_positions(s.whole("positions")),
          n_hidden(s.whole("hidden")), n_layers(s.whole("layers")), biases(s.whole("biases") != 0) {}
};

// What the layouts have in common: the GRU.
class GRU4Rec : public Recommender {
  protected:
    GRU4Rec(std::shared_ptr<Engine> engine, const Sizes &p, int32_t state_width, std::vector<TensorSpec> specs)
        : Recommender(std::move(engine), std::move(specs), {p.n_items, p.width, state_width, p.n_positions, 0}), p_(p) {
    }

    // Outputs [H, B], or with source.all() [H, T * B], of the layers NAME over a table of
    // embeddings. The bias that a layer lacks is zero.
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
            Var gates = linear(g, use(g, name + ".weight_ih" + at), x, bias(".bias_ih"));
            x = gru(g, source, gates, use(g, name + ".weight_hh" + at), bias(".bias_hh"));
        }
        return source.drop(g, source.all() ? x : get_rows(g, x, source.last_positions(g)));
    }

    static void add_layers(std::vector<TensorSpec> &specs, const Sizes &p, const std::string &name, bool biases) {
        const int64_t h = p.n_hidden;
        const Initial first = {RI_INITIAL_UNIFORM, 1 / std::sqrt(double(h))};
        for (int layer = 0; layer < p.n_layers; ++layer) {
            const std::string at = "_l" + std::to_string(layer);
            specs.push_back(
                {name + ".weight_ih" + at, {3 * h, layer == 0 ? p.width : h}, false, RI_ROLE_MATRIX, first});
            specs.push_back({name + ".weight_hh" + at, {3 * h, h}, false, RI_ROLE_MATRIX, first});
            if (!biases) continue;
            specs.push_back({name + ".bias_ih" + at, {3 * h}, false, RI_ROLE_BIAS, first});
            specs.push_back({name + ".bias_hh" + at, {3 * h}, false, RI_ROLE_BIAS, first});
        }
    }

    Sizes p_;
};

class AuthorsGRU4Rec final : public GRU4Rec {
  public:
    AuthorsGRU4Rec(std::shared_ptr<Engine> engine, const Sizes &p)
        : GRU4Rec(std::move(engine), p, p.n_hidden, layout(p)) {}

    Var encode(Graph &g, Source &source) const override {
        return outputs(g, source, "item_embeddings.weight", "gru", true);
    }
    Head head(Graph &g) const override { return {use(g, "s_fc.weight"), use(g, "s_fc.bias")}; }

  private:
    static std::vector<TensorSpec> layout(const Sizes &p) {
        std::vector<TensorSpec> specs = {item_table("item_embeddings.weight", p.n_items, p.width)};
        add_layers(specs, p, "gru", true);
        add_output(specs, "s_fc", p.n_items, p.n_hidden);
        return specs;
    }
};

class RecBoleGRU4Rec final : public GRU4Rec {
  public:
    RecBoleGRU4Rec(std::shared_ptr<Engine> engine, const Sizes &p)
        : GRU4Rec(std::move(engine), p, p.width, layout(p)) {}

    Var encode(Graph &g, Source &source) const override {
        return linear(*this, g, "dense", outputs(g, source, "item_embedding.weight", "gru_layers", p_.biases));
    }
    Head head(Graph &g) const override { return {use(g, "item_embedding.weight"), {}}; }

  private:
    static std::vector<TensorSpec> layout(const Sizes &p) {
        std::vector<TensorSpec> specs = {item_table("item_embedding.weight", p.n_items, p.width)};
        add_layers(specs, p, "gru_layers", p.biases);
        add_dense(specs, "dense", p.width, p.n_hidden);
        return specs;
    }
};

std::unique_ptr<Recommender> create(std::shared_ptr<Engine> engine, const Settings &settings) {
    if (settings.layout() == "authors") return std::make_unique<AuthorsGRU4Rec>(std::move(engine), Sizes(settings));
    return std::make_unique<RecBoleGRU4Rec>(std::move(engine), Sizes(settings));
}

} // namespace

Entry gru4rec() {
    return {"gru4rec",
            {"authors", "recbole"},
            with_sizes(
                {whole_number("hidden", 1, 1 << 16), whole_number("layers", 1, 64), whole_number("biases", 0, 1, 0)}),
            create};
}

} // namespace ri
