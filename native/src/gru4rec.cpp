// GRU4Rec: session-based recommendation with a recurrent network (Hidasi et al. 2016, arXiv 1511.06939), with the whole
// catalogue scored. Gates are stacked in the order reset, update, new. Layer i > 0 has tensors that end in "_li".
#include "encoder_ops.h"

namespace ri {

namespace {

class GRU4Rec : public Recommender {
  public:
    GRU4Rec(std::shared_ptr<Engine> engine, const ri_gru4rec_params &params)
        : Recommender(std::move(engine), layout(params)), p_(params) {}

    ri_recommender_info describe() const override { return {p_.n_items, p_.width, p_.n_hidden, p_.n_positions}; }

    Var encode(Graph &g, Source &source) const override {
        Var x = source.drop(g, source.items(g, use(g, "item_embeddings.weight")));
        for (int layer = 0; layer < p_.n_layers; ++layer) {
            const std::string at = "_l" + std::to_string(layer);
            Var gates = g.linear(use(g, "gru.weight_ih" + at), x, use(g, "gru.bias_ih" + at));
            x = gru(g, source, gates, use(g, "gru.weight_hh" + at), use(g, "gru.bias_hh" + at));
        }
        return source.all() ? x : g.get_rows(x, source.last_positions(g));
    }

    Head head(Graph &g) const override { return {use(g, "s_fc.weight"), use(g, "s_fc.bias")}; }

  private:
    static std::vector<TensorSpec> layout(const ri_gru4rec_params &p) {
        require_range("GRU4Rec", "n_items", p.n_items, 1 << 28);
        require_range("GRU4Rec", "width", p.width, 1 << 16);
        require_range("GRU4Rec", "n_positions", p.n_positions, 1 << 14);
        require_range("GRU4Rec", "n_hidden", p.n_hidden, 1 << 16);
        require_range("GRU4Rec", "n_layers", p.n_layers, 64);
        const int64_t h = p.n_hidden;
        std::vector<TensorSpec> specs = {{"item_embeddings.weight", {p.n_items + 1, p.width}}};
        for (int layer = 0; layer < p.n_layers; ++layer) {
            const std::string at = "_l" + std::to_string(layer);
            specs.push_back({"gru.weight_ih" + at, {3 * h, layer == 0 ? p.width : h}});
            specs.push_back({"gru.weight_hh" + at, {3 * h, h}});
            specs.push_back({"gru.bias_ih" + at, {3 * h}});
            specs.push_back({"gru.bias_hh" + at, {3 * h}});
        }
        specs.push_back({"s_fc.weight", {p.n_items, h}});
        specs.push_back({"s_fc.bias", {p.n_items}});
        return specs;
    }

    ri_gru4rec_params p_;
};

} // namespace

} // namespace ri

extern "C" ri_status ri_gru4rec_create(ri_engine *engine, const ri_gru4rec_params *params, ri_model **out,
                                       ri_error *err) {
    return ri::guard(err, [&] { ri::create_model<ri::GRU4Rec>(engine, params, out); });
}
