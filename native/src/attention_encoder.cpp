// Where the authors (github.com/ljy0ustc/LLaRA, rec_model/) depart from the paper:
//   - queries are layer-normalised, keys and values are not; the residual adds the normalised queries;
//   - the feed-forward layer carries its own residual and LayerNorm;
//   - histories are padded at the end.
// Block i > 0 (an extension) has the same tensors under the prefix "blocks.i.".
//
// Two options depart from theirs. With `norm_first` a block adds to its input what it makes of it,
// normalised (Xiong et al. 2020, arXiv 2002.04745): keys and values are of the normalised input,
// too, and the feed-forward layer has no LayerNorm of its own. With `rotary` positions have no
// embeddings but turn queries and keys.
//
// Attention is causal and padding stands at the end, so that no position of an item ever sees
// padding: nothing is masked.
#include "attention_encoder.h"

#include "encoder_ops.h"

namespace ri {

namespace {

constexpr float norm_eps = 1e-5f;

std::string prefix(int block) { return block == 0 ? "" : "blocks." + std::to_string(block) + "."; }

} // namespace

std::vector<Setting> attention_settings() {
    return {whole_number("blocks", 1, 64), whole_number("heads", 1, 1 << 10), whole_number("inner", 0, 1 << 18, 0)};
}

AttentionSizes::AttentionSizes(const Settings &s)
    : n_items(s.whole("items")), width(s.whole("width")), n_positions(s.whole("positions")),
      n_blocks(s.whole("blocks")), n_heads(s.whole("heads")), n_inner(s.whole("inner")) {
    if (width % n_heads) s.refuse("heads", "a divisor of width, " + std::to_string(width));
    if (n_inner == 0) n_inner = width;
}

std::vector<TensorSpec> attention_encoder_layout(const AttentionSizes &s, double deviation) {
    const int64_t d = s.width;
    std::vector<TensorSpec> specs = {item_table("item_embeddings.weight", s.n_items, d, deviation)};
    if (!s.rotary)
        specs.push_back(table("positional_embeddings.weight", RI_ROLE_POSITIONS, s.n_positions, d, deviation));
    for (int block = 0; block < s.n_blocks; ++block) {
        const std::string at = prefix(block);
        for (const char *name : {"ln_1", "ln_2"}) add_norm(specs, at + name, d);
        if (!s.norm_first) add_norm(specs, at + "feed_forward.layer_norm", d);
        for (const char *name : {"linear_q", "linear_k", "linear_v"}) add_dense(specs, at + "mh_attn." + name, d, d);
        add_dense(specs, at + "feed_forward.w_1", s.n_inner, d, RI_ROLE_POINTWISE);
        add_dense(specs, at + "feed_forward.w_2", d, s.n_inner, RI_ROLE_POINTWISE);
    }
    add_norm(specs, "ln_3", d);
    return specs;
}

namespace {

// What the queries [D, N] read from x [D, T * samples].
Var attend(const Model &m, const AttentionSizes &p, Graph &g, Source &source, const std::string &at, Var queries, Var x,
           bool last) {
    Var q = linear(m, g, at + "mh_attn.linear_q", queries);
    if (!last || p.n_heads > 1 || p.rotary) {
        Var k = linear(m, g, at + "mh_attn.linear_k", x), v = linear(m, g, at + "mh_attn.linear_v", x);
        if (p.rotary) q = rotate(g, source, q, p.n_heads, last), k = rotate(g, source, k, p.n_heads, false);
        return causal_attention(g, source, q, k, v, p.n_heads, last);
    }
    // With one query and one head, keys and values need not be computed at every position: q (K x +
    // b) = (q K) x + q b, of which the last term is the same at all positions and leaves the
    // softmax as it is, and the weighted sum of V x + b is V times that of x, + b. (Dropout then
    // falls on what is attended to, not on b.)
    Var by_key = linear(g, permute(g, m.use(g, at + "mh_attn.linear_k.weight"), 1, 0, 2, 3), q, {});
    return linear(m, g, at + "mh_attn.linear_v", causal_attention(g, source, by_key, x, x, 1, true));
}

} // namespace

Var attention_encode(const Model &m, const AttentionSizes &p, Graph &g, Source &source) {
    const int64_t D = p.width, T = source.positions(), B = source.samples();
    auto norm = [&](const std::string &name, Var x) { return layer_norm(m, g, name, x, norm_eps); };
    Var x = reshape(g, source.items(g, m.use(g, "item_embeddings.weight")), D * T, B);
    if (!p.rotary) x = add(g, x, reshape(g, m.use(g, "positional_embeddings.weight"), D * T));
    x = source.drop(g, reshape(g, x, D, T * B));
    for (int block = 0; block < p.n_blocks; ++block) {
        const std::string at = prefix(block);
        // Behind its keys and values the last block is needed at the last positions only.
        const bool last = block == p.n_blocks - 1 && !source.all();
        auto at_queries = [&](Var y) { return last ? get_rows(g, y, source.last_positions(g)) : y; };
        auto forward = [&](Var y) {
            Var inner = relu(g, linear(m, g, at + "feed_forward.w_1", y));
            return source.drop(g, linear(m, g, at + "feed_forward.w_2", inner));
        };
        if (p.norm_first) {
            Var y = norm(at + "ln_1", x);
            x = add(g, attend(m, p, g, source, at, at_queries(y), y, last), at_queries(x));
            x = add(g, forward(norm(at + "ln_2", x)), x);
        } else {
            Var queries = norm(at + "ln_1", at_queries(x));
            Var y = norm(at + "ln_2", add(g, attend(m, p, g, source, at, queries, x, last), queries));
            x = norm(at + "feed_forward.layer_norm", add(g, forward(y), y));
        }
    }
    return norm("ln_3", x);
}

// ---- RecBole's

namespace {

constexpr float transformer_eps = 1e-12f;

std::string transformer_prefix(int block) { return "trm_encoder.layer." + std::to_string(block) + "."; }

} // namespace

std::vector<TensorSpec> transformer_layout(const AttentionSizes &p) {
    const int64_t d = p.width;
    std::vector<TensorSpec> specs = {item_table("item_embedding.weight", p.n_items, d),
                                     table("position_embedding.weight", RI_ROLE_POSITIONS, p.n_positions, d)};
    add_norm(specs, "LayerNorm", d);
    for (int block = 0; block < p.n_blocks; ++block) {
        const std::string attention = transformer_prefix(block) + "multi_head_attention.",
                          forward = transformer_prefix(block) + "feed_forward.";
        for (const char *name : {"query", "key", "value", "dense"}) add_dense(specs, attention + name, d, d);
        add_norm(specs, attention + "LayerNorm", d);
        add_dense(specs, forward + "dense_1", p.n_inner, d);
        add_dense(specs, forward + "dense_2", d, p.n_inner);
        add_norm(specs, forward + "LayerNorm", d);
    }
    return specs;
}

Var transformer_encode(const Model &m, const AttentionSizes &p, Graph &g, Source &source, bool each,
                       Attention attention) {
    const int64_t D = p.width, T = source.positions(), B = source.samples();
    auto apply = [&](const std::string &name, Var x) { return linear(m, g, name, x); };
    // Normalises x + what a block's layers made of it.
    auto join = [&](const std::string &at, Var made, Var x) {
        return layer_norm(m, g, at + "LayerNorm", add(g, source.drop(g, made), x), transformer_eps);
    };
    Var x = reshape(g, source.items(g, m.use(g, "item_embedding.weight")), D * T, B);
    x = add(g, x, reshape(g, m.use(g, "position_embedding.weight"), D * T));
    x = source.drop(g, layer_norm(m, g, "LayerNorm", reshape(g, x, D, T * B), transformer_eps));
    for (int block = 0; block < p.n_blocks; ++block) {
        const std::string attend = transformer_prefix(block) + "multi_head_attention.",
                          forward = transformer_prefix(block) + "feed_forward.";
        const bool last = block == p.n_blocks - 1 && !each;
        Var at_queries = last ? get_rows(g, x, source.last_positions(g)) : x;
        Var attended = attention(g, source, apply(attend + "query", at_queries), apply(attend + "key", x),
                                 apply(attend + "value", x), p.n_heads, last);
        x = join(attend, apply(attend + "dense", attended), at_queries);
        x = join(forward, apply(forward + "dense_2", gelu_erf(g, apply(forward + "dense_1", x))), x);
    }
    return x;
}

} // namespace ri
