// BERT4Rec: sequential recommendation with bidirectional attention (Sun et al. 2019, arXiv
// 1904.06690), in the layout of RecBole 1.2 (github.com/RUCAIBox/RecBole,
// recbole/model/sequential_recommender/bert4rec.py).
//
// The state after item t is what the encoder gives at position t + 1, where a mask hides the item
// that follows. A mask is the row after padding in the table of items. In training the items that
// are targets are hidden together, as in the paper; otherwise each history is encoded with one mask
// at its end, so that no state has seen what follows. RecBole cuts the first item off to make room
// for the mask: its state after a history is ours without that item.
#include "attention_encoder.h"
#include "encoder_ops.h"

namespace ri {

namespace {

constexpr float norm_eps = 1e-12f;

class BERT4Rec final : public Recommender {
  public:
    BERT4Rec(std::shared_ptr<Engine> engine, const Settings &settings)
        : BERT4Rec(std::move(engine), AttentionSizes(settings)) {}

    Var encode(Graph &g, Source &source) const override {
        const bool together = source.all() && source.learns();
        Source slots = (source.all() && !together ? source.prefixes() : source).masked(p_.n_items + 1);
        AttentionSizes sizes = p_;
        ++sizes.n_positions;
        Var x = transformer_encode(*this, sizes, g, slots, together, full_attention);
        if (together) x = get_rows(g, x, next_positions(g, source));
        return layer_norm(*this, g, "output_ln", gelu_erf(g, linear(*this, g, "output_ffn", x)), norm_eps);
    }
    Head head(Graph &g) const override { return {use(g, "item_embedding.weight"), use(g, "output_bias")}; }

  private:
    BERT4Rec(std::shared_ptr<Engine> engine, const AttentionSizes &p)
        : Recommender(std::move(engine), layout(p), {p.n_items, p.width, p.width, p.n_positions, 0}), p_(p) {}

    static std::vector<TensorSpec> layout(AttentionSizes p) {
        ++p.n_positions;
        std::vector<TensorSpec> specs = transformer_layout(p);
        ++specs.front().shape.front(); // the mask
        add_dense(specs, "output_ffn", p.width, p.width);
        add_norm(specs, "output_ln", p.width);
        TensorSpec bias = {"output_bias", {p.n_items}, false, RI_ROLE_BIAS};
        bias.item_rows = true;
        specs.push_back(bias);
        return specs;
    }

    // For each position of each sample the next one, of T + 1.
    static ggml_tensor *next_positions(Graph &g, const Source &source) {
        const int64_t T = source.positions(), count = T * source.samples();
        return g.input(
            GGML_TYPE_I32,
            [=](void *dst) {
                for (int64_t i = 0; i < count; ++i) static_cast<int32_t *>(dst)[i] = int32_t(i + i / T + 1);
            },
            count);
    }

    AttentionSizes p_;
};

} // namespace

Entry bert4rec() { return {"bert4rec", {"recbole"}, with_sizes(attention_settings()), make<BERT4Rec>}; }

} // namespace ri
