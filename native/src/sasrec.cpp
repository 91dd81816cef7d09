// SASRec: self-attentive sequential recommendation (Kang and McAuley 2018, arXiv 1808.09781), laid out as in the
// weights that the RecInterpreter authors published (github.com/ljy0ustc/LLaRA, rec_model/). Where it departs from the
// paper:
//   - queries are layer-normalised, keys and values are not; the residual adds the normalised queries;
//   - the feed-forward layer carries its own residual and LayerNorm;
//   - scores come from a separate output layer, not from the item embeddings;
//   - histories are padded at the end.
// Block i > 0 (an extension) has the same tensors under the prefix "blocks.i.".
#include "recommender.h"

#include <cmath>

namespace ri {

namespace {

constexpr float norm_eps = 1e-5f;

std::string prefix(int block) { return block == 0 ? "" : "blocks." + std::to_string(block) + "."; }

std::vector<TensorSpec> layout(const ri_sasrec_params &p) {
    auto in_range = [](const char *name, int32_t value, int32_t most) {
        if (value < 1 || value > most) fail(RI_INVALID, "SASRec: %s must be 1 to %d, not %d", name, most, value);
    };
    in_range("n_items", p.n_items, 1 << 28);
    in_range("width", p.width, 1 << 16);
    in_range("n_positions", p.n_positions, 1 << 14);
    in_range("n_blocks", p.n_blocks, 64);
    in_range("n_heads", p.n_heads, 1 << 10);
    if (p.width % p.n_heads) fail(RI_INVALID, "SASRec: width %d is not a multiple of n_heads %d", p.width, p.n_heads);
    const int64_t d = p.width;
    std::vector<TensorSpec> specs = {{"item_embeddings.weight", {p.n_items + 1, d}},
                                     {"positional_embeddings.weight", {p.n_positions, d}}};
    for (int block = 0; block < p.n_blocks; ++block) {
        auto add = [&](const char *name, std::vector<int64_t> shape) {
            specs.push_back({prefix(block) + name, shape});
        };
        for (const char *norm : {"ln_1", "ln_2", "feed_forward.layer_norm"}) {
            add((std::string(norm) + ".weight").c_str(), {d});
            add((std::string(norm) + ".bias").c_str(), {d});
        }
        for (const char *linear :
             {"mh_attn.linear_q", "mh_attn.linear_k", "mh_attn.linear_v", "feed_forward.w_1", "feed_forward.w_2"}) {
            add((std::string(linear) + ".weight").c_str(), {d, d});
            add((std::string(linear) + ".bias").c_str(), {d});
        }
    }
    specs.push_back({"ln_3.weight", {d}});
    specs.push_back({"ln_3.bias", {d}});
    specs.push_back({"s_fc.weight", {p.n_items, d}});
    specs.push_back({"s_fc.bias", {p.n_items}});
    return specs;
}

class SASRec : public Recommender {
  public:
    SASRec(std::shared_ptr<Engine> engine, const ri_sasrec_params &params)
        : Recommender(std::move(engine), layout(params)), p_(params) {}

    int64_t n_items() const override { return p_.n_items; }
    int64_t width() const override { return p_.width; }
    int64_t n_positions() const override { return p_.n_positions; }

    Var encode(Graph &g, const ri_histories &h, Dropout &dropout) const override {
        const int64_t D = p_.width, T = p_.n_positions, B = int64_t(h.n_sequences);
        std::vector<float> present(size_t(T * B)), attended(size_t(T * T * B));
        for (int64_t b = 0; b < B; ++b)
            for (int64_t q = 0; q < T; ++q) {
                present[size_t(b * T + q)] = q < h.lengths[b] ? 1.0f : 0.0f;
                for (int64_t k = 0; k < T; ++k)
                    attended[size_t((b * T + q) * T + k)] = k <= q && k < h.lengths[b] ? 0.0f : -INFINITY;
            }
        Var presence = g.constant(g.input(std::move(present), 1, T * B));
        ggml_tensor *mask = g.input(std::move(attended), T, T, 1, B);

        Var items = g.get_rows(use(g, "item_embeddings.weight"), g.input(GGML_TYPE_I32, h.items, T * B)); // [D, T*B]
        Var x = g.reshape(items, D * T, B);
        x = g.add(x, g.reshape(use(g, "positional_embeddings.weight"), D * T));
        x = dropout(g, g.mul(g.reshape(x, D, T * B), presence));
        for (int block = 0; block < p_.n_blocks; ++block) {
            const std::string at = prefix(block);
            Var queries = norm(g, at + "ln_1", x);
            Var y = g.add(attention(g, at + "mh_attn", queries, x, mask, B, dropout), queries);
            y = norm(g, at + "ln_2", y);
            Var inner = g.relu(linear(g, at + "feed_forward.w_1", y));
            inner = dropout(g, linear(g, at + "feed_forward.w_2", inner));
            x = g.mul(norm(g, at + "feed_forward.layer_norm", g.add(inner, y)), presence);
        }
        return norm(g, "ln_3", x);
    }

    Var scores(Graph &g, Var states) const override { return linear(g, "s_fc", states); }

  private:
    Var linear(Graph &g, const std::string &name, Var x) const {
        return g.add(g.mul_mat(use(g, name + ".weight"), x), use(g, name + ".bias"));
    }
    Var norm(Graph &g, const std::string &name, Var x) const {
        return g.layer_norm(x, use(g, name + ".weight"), use(g, name + ".bias"), norm_eps);
    }
    // Causal attention of queries [D, T*B] over keys and values from x [D, T*B] -> [D, T*B].
    Var attention(Graph &g, const std::string &name, Var queries, Var x, ggml_tensor *mask, int64_t B,
                  Dropout &dropout) const {
        const int64_t H = p_.n_heads, hd = p_.width / H, T = p_.n_positions;
        auto heads = [&](Var v) { return g.reshape(v, hd, H, T, B); };
        Var q = g.permute(heads(linear(g, name + ".linear_q", queries)), 0, 2, 1, 3); // [hd, T, H, B]
        Var k = g.permute(heads(linear(g, name + ".linear_k", x)), 0, 2, 1, 3);       // [hd, T, H, B]
        Var v = g.permute(heads(linear(g, name + ".linear_v", x)), 1, 2, 0, 3);       // [T, hd, H, B]
        Var weights = g.softmax(g.mul_mat(k, q), mask, 1.0f / std::sqrt(float(hd)));  // [T keys, T queries, H, B]
        Var mixed = g.mul_mat(v, dropout(g, weights));                                // [hd, T, H, B]
        return g.reshape(g.permute(mixed, 0, 2, 1, 3), p_.width, T * B);
    }

    ri_sasrec_params p_;
};

} // namespace

} // namespace ri

extern "C" ri_status ri_sasrec_create(ri_engine *engine, const ri_sasrec_params *params, ri_model **out,
                                      ri_error *err) {
    return ri::guard(err, [&] { ri::create_model<ri::SASRec>(engine, params, out); });
}
