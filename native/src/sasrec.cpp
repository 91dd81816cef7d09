// SASRec with the weights that the RecInterpreter authors published (github.com/ljy0ustc/LLaRA, rec_model/), and the
// choice among the layouts. Where the authors depart from the paper:
//   - queries are layer-normalised, keys and values are not; the residual adds the normalised queries;
//   - the feed-forward layer carries its own residual and LayerNorm;
//   - scores come from a separate output layer, not from the item embeddings;
//   - histories are padded at the end.
// Block i > 0 (an extension) has the same tensors under the prefix "blocks.i.".
//
// Attention is causal and padding stands at the end, so that no position of an item ever sees padding: nothing is
// masked.
#include "sasrec.h"

#include "encoder_ops.h"

namespace ri {

namespace {

constexpr float norm_eps = 1e-5f;

std::string prefix(int block) { return block == 0 ? "" : "blocks." + std::to_string(block) + "."; }

} // namespace

void check_sizes(const ri_sasrec_params &p) {
    require_range("SASRec", "n_items", p.n_items, 1 << 28);
    require_range("SASRec", "width", p.width, 1 << 16);
    require_range("SASRec", "n_positions", p.n_positions, 1 << 14);
    require_range("SASRec", "n_blocks", p.n_blocks, 64);
    require_range("SASRec", "n_heads", p.n_heads, 1 << 10);
    require_range("SASRec", "n_inner", p.n_inner, 1 << 18);
    if (p.width % p.n_heads) fail(RI_INVALID, "SASRec: width %d is not a multiple of n_heads %d", p.width, p.n_heads);
}

std::vector<TensorSpec> sasrec_encoder_layout(const ri_sasrec_params &p) {
    check_sizes(p);
    const int64_t d = p.width, inner = p.n_inner;
    std::vector<TensorSpec> specs = {{"item_embeddings.weight", {p.n_items + 1, d}},
                                     {"positional_embeddings.weight", {p.n_positions, d}}};
    for (int block = 0; block < p.n_blocks; ++block) {
        const std::string at = prefix(block);
        for (const char *name : {"ln_1", "ln_2", "feed_forward.layer_norm"}) add_layer(specs, at + name, {d});
        for (const char *name : {"linear_q", "linear_k", "linear_v"}) add_layer(specs, at + "mh_attn." + name, {d, d});
        add_layer(specs, at + "feed_forward.w_1", {inner, d});
        add_layer(specs, at + "feed_forward.w_2", {d, inner});
    }
    add_layer(specs, "ln_3", {d});
    return specs;
}

namespace {

// What the queries [D, N] read from x [D, T * samples].
Var attend(const Model &m, const ri_sasrec_params &p, Graph &g, Source &source, const std::string &at, Var queries,
           Var x, bool last) {
    Var q = linear(m, g, at + "mh_attn.linear_q", queries);
    if (!last || p.n_heads > 1)
        return causal_attention(g, source, q, linear(m, g, at + "mh_attn.linear_k", x),
                                linear(m, g, at + "mh_attn.linear_v", x), p.n_heads, last);
    // With one query and one head, keys and values need not be computed at every position: q (K x + b) = (q K) x + q b,
    // of which the last term is the same at all positions and leaves the softmax as it is, and the weighted sum of V x
    // + b is V times that of x, + b. (Dropout then falls on what is attended to, not on b.)
    Var by_key = g.linear(g.permute(m.use(g, at + "mh_attn.linear_k.weight"), 1, 0, 2, 3), q, {});
    return linear(m, g, at + "mh_attn.linear_v", causal_attention(g, source, by_key, x, x, 1, true));
}

} // namespace

Var sasrec_encode(const Model &m, const ri_sasrec_params &p, Graph &g, Source &source) {
    const int64_t D = p.width, T = source.positions(), B = source.samples();
    auto norm = [&](const std::string &name, Var x) { return layer_norm(m, g, name, x, norm_eps); };
    Var x = g.reshape(source.items(g, m.use(g, "item_embeddings.weight")), D * T, B);
    x = g.add(x, g.reshape(m.use(g, "positional_embeddings.weight"), D * T));
    x = source.drop(g, g.reshape(x, D, T * B));
    for (int block = 0; block < p.n_blocks; ++block) {
        const std::string at = prefix(block);
        // Behind its keys and values the last block is needed at the last positions only.
        const bool last = block == p.n_blocks - 1 && !source.all();
        Var queries = norm(at + "ln_1", last ? g.get_rows(x, source.last_positions(g)) : x);
        Var y = norm(at + "ln_2", g.add(attend(m, p, g, source, at, queries, x, last), queries));
        Var inner = g.relu(linear(m, g, at + "feed_forward.w_1", y));
        inner = source.drop(g, linear(m, g, at + "feed_forward.w_2", inner));
        x = norm(at + "feed_forward.layer_norm", g.add(inner, y));
    }
    return norm("ln_3", x);
}

namespace {

class AuthorsSASRec final : public SASRec {
  public:
    AuthorsSASRec(std::shared_ptr<Engine> engine, const ri_sasrec_params &params)
        : SASRec(std::move(engine), params, layout(params)) {}

    Var encode(Graph &g, Source &source) const override { return sasrec_encode(*this, p_, g, source); }
    Head head(Graph &g) const override { return {use(g, "s_fc.weight"), use(g, "s_fc.bias")}; }

  private:
    static std::vector<TensorSpec> layout(const ri_sasrec_params &p) {
        std::vector<TensorSpec> specs = sasrec_encoder_layout(p);
        add_layer(specs, "s_fc", {p.n_items, p.width});
        return specs;
    }
};

} // namespace

} // namespace ri

extern "C" ri_status ri_sasrec_create(ri_engine *engine, const ri_sasrec_params *params, ri_model **out,
                                      ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(params, "params");
        switch (ri::number_of(params->layout)) {
        case RI_LAYOUT_AUTHORS: return ri::create_model<ri::AuthorsSASRec>(engine, params, out);
        case RI_LAYOUT_RECBOLE: return ri::create_model<ri::RecBoleSASRec>(engine, params, out);
        case RI_LAYOUT_PMIXER:
        case RI_LAYOUT_PMIXER_NORM_FIRST:
        case RI_LAYOUT_PMIXER_ORIGINAL: return ri::create_model<ri::PmixerSASRec>(engine, params, out);
        default: ri::refuse_layout("SASRec", params->layout);
        }
    });
}
