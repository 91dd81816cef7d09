// SASRec as in RecBole 1.2 (github.com/RUCAIBox/RecBole, recbole/model/sequential_recommender/sasrec.py): the blocks of
// BERT (Devlin et al. 2019), normalised behind each residual, with an exact GELU; the embeddings are normalised too,
// and the last block is not normalised again. Scores are products with the item embeddings.
//
// Padding stands at the end and attention is causal: it is never seen.
#include "encoder_ops.h"
#include "sasrec.h"

namespace ri {

namespace {

constexpr float norm_eps = 1e-12f;

std::string prefix(int block) { return "trm_encoder.layer." + std::to_string(block) + "."; }

std::vector<TensorSpec> layout(const ri_sasrec_params &p) {
    check_sizes(p);
    const int64_t d = p.width, inner = p.n_inner;
    std::vector<TensorSpec> specs = {{"item_embedding.weight", {p.n_items + 1, d}},
                                     {"position_embedding.weight", {p.n_positions, d}}};
    add_layer(specs, "LayerNorm", {d});
    for (int block = 0; block < p.n_blocks; ++block) {
        const std::string attention = prefix(block) + "multi_head_attention.",
                          forward = prefix(block) + "feed_forward.";
        for (const char *name : {"query", "key", "value", "dense"}) add_layer(specs, attention + name, {d, d});
        add_layer(specs, attention + "LayerNorm", {d});
        add_layer(specs, forward + "dense_1", {inner, d});
        add_layer(specs, forward + "dense_2", {d, inner});
        add_layer(specs, forward + "LayerNorm", {d});
    }
    return specs;
}

} // namespace

RecBoleSASRec::RecBoleSASRec(std::shared_ptr<Engine> engine, const ri_sasrec_params &params)
    : SASRec(std::move(engine), params, layout(params)) {}

Var RecBoleSASRec::encode(Graph &g, Source &source) const {
    const int64_t D = p_.width, T = source.positions(), B = source.samples();
    auto apply = [&](const std::string &name, Var x) { return linear(*this, g, name, x); };
    // Normalises x + what a block's layers made of it.
    auto join = [&](const std::string &at, Var made, Var x) {
        return layer_norm(*this, g, at + "LayerNorm", g.add(source.drop(g, made), x), norm_eps);
    };
    Var x = g.reshape(source.items(g, use(g, "item_embedding.weight")), D * T, B);
    x = g.add(x, g.reshape(use(g, "position_embedding.weight"), D * T));
    x = source.drop(g, layer_norm(*this, g, "LayerNorm", g.reshape(x, D, T * B), norm_eps));
    for (int block = 0; block < p_.n_blocks; ++block) {
        const std::string attention = prefix(block) + "multi_head_attention.",
                          forward = prefix(block) + "feed_forward.";
        const bool last = block == p_.n_blocks - 1 && !source.all();
        Var at_queries = last ? g.get_rows(x, source.last_positions(g)) : x;
        Var attended = causal_attention(g, source, apply(attention + "query", at_queries), apply(attention + "key", x),
                                        apply(attention + "value", x), p_.n_heads, last);
        x = join(attention, apply(attention + "dense", attended), at_queries);
        x = join(forward, apply(forward + "dense_2", g.gelu_erf(apply(forward + "dense_1", x))), x);
    }
    return x;
}

} // namespace ri
