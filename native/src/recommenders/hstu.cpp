// HSTU: hierarchical sequential transduction units (Zhai et al. 2024, arXiv 2402.17152), with the
// dense layers of the authors' research code (github.com/meta-recsys/generative-recommenders): item
// embeddings are multiplied by sqrt(D); a block normalises its input, makes of it gates, values,
// queries and keys, each by a SiLU, attends pointwise, normalises what is attended to, gates it,
// and adds its projection to the input. The bias of attention is one number for each distance
// between positions and, with `times`, one for each bucket of the time between two items (that code
// takes the time until the next item instead of a query's own); the heads share both. The last
// output is normalised, and scores are products with the item embeddings.
#include "encoder_ops.h"
#include "recommenders/registry.h"

#include <cmath>

namespace ri {

namespace {

constexpr float norm_eps = 1e-6f;

class HSTU final : public Recommender {
  public:
    HSTU(std::shared_ptr<Engine> engine, const Settings &s)
        : HSTU(std::move(engine), {s.whole("items"), s.whole("width"), s.whole("width"), s.whole("positions"), 0},
               s.whole("blocks"), s.whole("heads"), s.whole("times") != 0) {
        if (info().width % n_heads_) s.refuse("heads", "a divisor of width, " + std::to_string(info().width));
    }

    Var encode(Graph &g, Source &source) const override {
        const int64_t D = info().width, T = source.positions(), B = source.samples();
        Var x = ri::scale(g, source.items(g, use(g, "item_embedding.weight")), std::sqrt(float(D)));
        x = add(g, reshape(g, x, D * T, B), reshape(g, use(g, "position_embedding.weight"), D * T));
        x = source.drop(g, reshape(g, x, D, T * B));
        ggml_tensor *buckets = nullptr;
        for (int block = 0; block < n_blocks_; ++block) {
            const std::string at = prefix(block);
            // After its keys and values the last block is needed at the last positions only.
            const bool last = block == n_blocks_ - 1 && !source.all();
            auto at_queries = [&](Var y) { return last ? get_rows(g, y, source.last_positions(g)) : y; };
            Var everywhere = layer_norm(*this, g, at + "norm", x, norm_eps), there = at_queries(everywhere);
            const std::vector<Var> w = split(g, reshape(g, use(g, at + "uvqk.weight"), D, D, 4), 4);
            auto apply = [&](int part, Var y) { return silu(g, linear(g, w[size_t(part)], y, {})); };
            Var pairs;
            if (times_) {
                if (last || block == 0) buckets = time_buckets(g, source, last);
                Var biases = reshape(g, use(g, at + "time_bias"), 1, n_time_buckets());
                pairs = reshape(g, get_rows(g, biases, buckets), T, last ? B : T * B);
            }
            Var attended = pointwise_attention(g, source, apply(2, there), apply(3, everywhere), apply(1, everywhere),
                                               use(g, at + "distance_bias"), pairs, n_heads_, last);
            Var gated = mul(g, layer_norm(*this, g, at + "attended_norm", attended, norm_eps), apply(0, there));
            x = add(g, ri::linear(*this, g, at + "output", source.drop(g, gated)), at_queries(x));
        }
        return layer_norm(*this, g, "last_norm", x, norm_eps);
    }
    Head head(Graph &g) const override { return {use(g, "item_embedding.weight"), {}}; }
    bool reads_times() const override { return times_; }

  private:
    HSTU(std::shared_ptr<Engine> engine, const ri_recommender_info &info, int n_blocks, int n_heads, bool times)
        : Recommender(std::move(engine), layout(info, n_blocks, times), info), n_blocks_(n_blocks), n_heads_(n_heads),
          times_(times) {}

    static std::string prefix(int block) { return "blocks." + std::to_string(block) + "."; }

    static std::vector<TensorSpec> layout(const ri_recommender_info &info, int n_blocks, bool times) {
        const int64_t d = info.width, T = info.n_positions;
        std::vector<TensorSpec> specs = {item_table("item_embedding.weight", info.n_items, d),
                                         table("position_embedding.weight", RI_ROLE_POSITIONS, T, d)};
        for (int block = 0; block < n_blocks; ++block) {
            const std::string at = prefix(block);
            add_norm(specs, at + "norm", d);
            specs.push_back({at + "uvqk.weight", {4 * d, d}, false, RI_ROLE_MATRIX, {RI_INITIAL_NORMAL, 0.02}});
            specs.push_back({at + "distance_bias", {T}, false, RI_ROLE_BIAS, {RI_INITIAL_NORMAL, 0.02}});
            if (times)
                specs.push_back({at + "time_bias", {n_time_buckets()}, false, RI_ROLE_BIAS, {RI_INITIAL_NORMAL, 0.02}});
            add_norm(specs, at + "attended_norm", d);
            add_dense(specs, at + "output", d, d);
        }
        add_norm(specs, "last_norm", d);
        return specs;
    }

    int n_blocks_, n_heads_;
    bool times_;
};

} // namespace

Entry hstu() {
    return {
        "hstu",
        {"recint"},
        with_sizes({whole_number("blocks", 1, 64), whole_number("heads", 1, 1 << 10), whole_number("times", 0, 1, 0)}),
        make<HSTU>};
}

} // namespace ri
