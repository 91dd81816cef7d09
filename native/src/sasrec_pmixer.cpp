// SASRec as in github.com/pmixer/SASRec.pytorch, model.py, in three forms; scores are products with the item
// embeddings, which the input, and it alone, multiplies by sqrt(D):
//   pmixer             the default since commit 3e5bb0f: normalised behind each residual
//   pmixer norm-first  its --norm_first: normalised before attention and before the feed-forward layers
//   pmixer original    before that commit: queries are normalised, keys and values are not; the residuals add what is
//                      normalised; padding is set to zero behind each block
//
// Padding stands in front and is attended to, so that a state depends on how much of it there is: the state after an
// earlier item is that of the history cut there. Positions count from the left edge: in the original form from 0, in
// the others from 1, with row 0 for padding. As theirs, the rows that stand for padding are not trained.
#include "encoder_ops.h"
#include "sasrec.h"

#include <cmath>

namespace ri {

namespace {

constexpr float norm_eps = 1e-8f;

std::string layer(const char *kind, int block) { return kind + ("." + std::to_string(block)); }

std::vector<TensorSpec> layout(const ri_sasrec_params &p) {
    check_sizes(p);
    if (p.n_inner != p.width)
        fail(RI_INVALID, "SASRec: in pmixer's layouts n_inner is the width, %d, not %d", p.width, p.n_inner);
    const int64_t d = p.width, n_places = p.n_positions + (p.layout == RI_LAYOUT_PMIXER_ORIGINAL ? 0 : 1);
    std::vector<TensorSpec> specs = {{"item_emb.weight", {p.n_items + 1, d}}, {"pos_emb.weight", {n_places, d}}};
    for (int block = 0; block < p.n_blocks; ++block) {
        const std::string attention = layer("attention_layers", block), forward = layer("forward_layers", block);
        add_layer(specs, layer("attention_layernorms", block), {d});
        specs.push_back({attention + ".in_proj_weight", {3 * d, d}});
        specs.push_back({attention + ".in_proj_bias", {3 * d}});
        add_layer(specs, attention + ".out_proj", {d, d});
        add_layer(specs, layer("forward_layernorms", block), {d});
        add_layer(specs, forward + ".conv1", {d, d});
        add_layer(specs, forward + ".conv2", {d, d});
    }
    add_layer(specs, "last_layernorm", {d});
    return specs;
}

} // namespace

PmixerSASRec::PmixerSASRec(std::shared_ptr<Engine> engine, const ri_sasrec_params &params)
    : SASRec(std::move(engine), params, layout(params)) {}

// Items and positions: [D, T * samples].
Var PmixerSASRec::embed(Graph &g, Source &samples) const {
    const int64_t D = p_.width, T = samples.positions(), N = samples.samples();
    Var x = g.scale(samples.items(g, use(g, "item_emb.weight")), std::sqrt(float(D)));
    const bool original = p_.layout == RI_LAYOUT_PMIXER_ORIGINAL;
    const Source leaves = samples;
    ggml_tensor *places = g.input(
        GGML_TYPE_I32,
        [=](void *dst) {
            for (int64_t i = 0; i < T * N; ++i)
                static_cast<int32_t *>(dst)[i] = int32_t(original                       ? i % T
                                                         : leaves.present(i / T, i % T) ? i % T + 1
                                                                                        : 0);
        },
        T * N);
    x = g.add(x, g.get_rows(use(g, "pos_emb.weight"), places));
    return samples.drop(g, original ? x : freeze_padding(g, samples, x));
}

Var PmixerSASRec::encode(Graph &g, Source &source) const {
    Source samples = (source.all() ? source.prefixes() : source).padded_in_front();
    const int64_t D = p_.width;
    ggml_tensor *presence = samples.presence(g), *last_positions = samples.last_positions(g);
    Var x = embed(g, samples);
    if (p_.layout == RI_LAYOUT_PMIXER_ORIGINAL) x = g.scale_rows(x, presence);
    for (int block = 0; block < p_.n_blocks; ++block) {
        const bool last = block == p_.n_blocks - 1; // needed at the last positions only
        auto at_queries = [&](Var y) { return last ? g.get_rows(y, last_positions) : y; };
        auto norm = [&](const char *kind, Var y) { return layer_norm(*this, g, layer(kind, block), y, norm_eps); };
        auto attend = [&](Var queries, Var keys) {
            const std::string at = layer("attention_layers", block);
            const std::vector<Var> w = g.split(g.reshape(use(g, at + ".in_proj_weight"), D, D, 3), 3),
                                   b = g.split(g.reshape(use(g, at + ".in_proj_bias"), D, 3), 3);
            return linear(*this, g, at + ".out_proj",
                          causal_attention(g, samples, g.linear(w[0], queries, b[0]), g.linear(w[1], keys, b[1]),
                                           g.linear(w[2], keys, b[2]), p_.n_heads, last));
        };
        auto forward = [&](Var y) {
            const std::string at = layer("forward_layers", block);
            y = g.relu(samples.drop(g, linear(*this, g, at + ".conv1", y)));
            return samples.drop(g, linear(*this, g, at + ".conv2", y));
        };
        if (p_.layout == RI_LAYOUT_PMIXER) {
            x = norm("attention_layernorms", g.add(attend(at_queries(x), x), at_queries(x)));
            x = norm("forward_layernorms", g.add(forward(x), x));
        } else if (p_.layout == RI_LAYOUT_PMIXER_NORM_FIRST) {
            Var y = norm("attention_layernorms", x);
            x = g.add(attend(at_queries(y), y), at_queries(x));
            x = g.add(forward(norm("forward_layernorms", x)), x);
        } else {
            Var queries = norm("attention_layernorms", at_queries(x));
            x = norm("forward_layernorms", g.add(attend(queries, x), queries));
            x = g.add(forward(x), x);
            if (!last) x = g.scale_rows(x, presence);
        }
    }
    return layer_norm(*this, g, "last_layernorm", x, norm_eps);
}

} // namespace ri
