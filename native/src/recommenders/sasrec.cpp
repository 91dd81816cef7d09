// SASRec: self-attentive sequential recommendation (Kang and McAuley 2018, arXiv 1808.09781), in
// the layouts of three projects:
//   authors  the weights that the RecInterpreter authors published (github.com/ljy0ustc/LLaRA, rec_model/): the encoder
//            is attention_encoder.h's, with its options; scores come from a separate output layer, not from the item
//            embeddings.
//   recbole  RecBole 1.2 (github.com/RUCAIBox/RecBole, recbole/model/sequential_recommender/sasrec.py): the blocks of
//            BERT (Devlin et al. 2019), normalised after each residual, with an exact GELU; the embeddings are
//            normalised too, and the last block is not normalised again. Scores are products with the item embeddings.
//            Padding stands at the end and attention is causal: it is never seen.
//   pmixer   github.com/pmixer/SASRec.pytorch, model.py, in three forms; scores are products with the item embeddings,
//            which the input, and it alone, multiplies by sqrt(D):
//              pmixer             the default since commit 3e5bb0f: normalised after each residual
//              pmixer-norm-first  its --norm_first: normalised before attention and before the feed-forward layers
//              pmixer-original    before that commit: queries are normalised, keys and values are not; the residuals
//                                 add what is normalised; padding is set to zero after each block
//            Padding stands in front and is attended to, so that a state depends on how much of it there is: the state
//            after an earlier item is that of the history cut there. Positions count from the left edge: in the
//            original form from 0 (the table has T rows), in the others from 1, with row 0 for padding (T + 1 rows).
//            As theirs, the rows that stand for padding are not trained.
#include "attention_encoder.h"
#include "encoder_ops.h"

#include <cmath>

namespace ri {

namespace {

class SASRec : public Recommender {
  protected:
    SASRec(std::shared_ptr<Engine> engine, const AttentionSizes &p, std::vector<TensorSpec> specs)
        : Recommender(std::move(engine), std::move(specs), {p.n_items, p.width, p.width, p.n_positions, 0}), p_(p) {}

    AttentionSizes p_;
};

// ---- authors

class AuthorsSASRec final : public SASRec {
  public:
    AuthorsSASRec(std::shared_ptr<Engine> engine, const AttentionSizes &p) : SASRec(std::move(engine), p, layout(p)) {}

    Var encode(Graph &g, Source &source) const override { return attention_encode(*this, p_, g, source); }
    Head head(Graph &g) const override { return {use(g, "s_fc.weight"), use(g, "s_fc.bias")}; }

  private:
    static std::vector<TensorSpec> layout(const AttentionSizes &p) {
        std::vector<TensorSpec> specs = attention_encoder_layout(p, small_embeddings);
        add_output(specs, "s_fc", p.n_items, p.width);
        return specs;
    }
};

// ---- recbole

class RecBoleSASRec final : public SASRec {
  public:
    RecBoleSASRec(std::shared_ptr<Engine> engine, const AttentionSizes &p)
        : SASRec(std::move(engine), p, transformer_layout(p)) {}
    Var encode(Graph &g, Source &source) const override {
        return transformer_encode(*this, p_, g, source, source.all(), causal_attention);
    }
    Head head(Graph &graph) const override { return {use(graph, "item_embedding.weight"), {}}; }
};

// ---- pmixer

constexpr float pmixer_eps = 1e-8f;

std::string layer(const char *kind, int block) { return kind + ("." + std::to_string(block)); }

std::vector<TensorSpec> pmixer_layout(const AttentionSizes &p, bool original) {
    const int64_t d = p.width;
    std::vector<TensorSpec> specs = {item_table("item_emb.weight", p.n_items, d),
                                     table("pos_emb.weight", RI_ROLE_POSITIONS, p.n_positions + (original ? 0 : 1), d)};
    for (int block = 0; block < p.n_blocks; ++block) {
        const std::string attention = layer("attention_layers", block), forward = layer("forward_layers", block);
        add_norm(specs, layer("attention_layernorms", block), d);
        add_dense(specs, attention + ".in_proj_weight", attention + ".in_proj_bias", 3 * d, d);
        add_dense(specs, attention + ".out_proj", d, d);
        add_norm(specs, layer("forward_layernorms", block), d);
        add_dense(specs, forward + ".conv1", d, d, RI_ROLE_POINTWISE);
        add_dense(specs, forward + ".conv2", d, d, RI_ROLE_POINTWISE);
    }
    add_norm(specs, "last_layernorm", d);
    return specs;
}

class PmixerSASRec final : public SASRec { // in its three forms
  public:
    PmixerSASRec(std::shared_ptr<Engine> engine, const AttentionSizes &p, const std::string &form)
        : SASRec(std::move(engine), p, pmixer_layout(p, form == "pmixer-original")),
          original_(form == "pmixer-original"), norm_first_(form == "pmixer-norm-first") {}
    Var encode(Graph &graph, Source &source) const override;
    Head head(Graph &graph) const override { return {use(graph, "item_emb.weight"), {}}; }

  private:
    Var embed(Graph &graph, Source &samples) const;

    bool original_, norm_first_;
};

// Items and positions: [D, T * samples].
Var PmixerSASRec::embed(Graph &g, Source &samples) const {
    const int64_t D = p_.width, T = samples.positions(), N = samples.samples();
    Var x = scale(g, samples.items(g, use(g, "item_emb.weight")), std::sqrt(float(D)));
    const bool original = original_;
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
    x = add(g, x, get_rows(g, use(g, "pos_emb.weight"), places));
    return samples.drop(g, original ? x : freeze_padding(g, samples, x));
}

Var PmixerSASRec::encode(Graph &g, Source &source) const {
    Source samples = (source.all() ? source.prefixes() : source).padded_in_front();
    const int64_t D = p_.width;
    ggml_tensor *presence = samples.presence(g), *last_positions = samples.last_positions(g);
    Var x = embed(g, samples);
    if (original_) x = scale_rows(g, x, presence);
    for (int block = 0; block < p_.n_blocks; ++block) {
        const bool last = block == p_.n_blocks - 1; // needed at the last positions only
        auto at_queries = [&](Var y) { return last ? get_rows(g, y, last_positions) : y; };
        auto norm = [&](const char *kind, Var y) { return layer_norm(*this, g, layer(kind, block), y, pmixer_eps); };
        auto attend = [&](Var queries, Var keys) {
            const std::string at = layer("attention_layers", block);
            const std::vector<Var> w = split(g, reshape(g, use(g, at + ".in_proj_weight"), D, D, 3), 3),
                                   b = split(g, reshape(g, use(g, at + ".in_proj_bias"), D, 3), 3);
            return linear(*this, g, at + ".out_proj",
                          causal_attention(g, samples, linear(g, w[0], queries, b[0]), linear(g, w[1], keys, b[1]),
                                           linear(g, w[2], keys, b[2]), p_.n_heads, last));
        };
        auto forward = [&](Var y) {
            const std::string at = layer("forward_layers", block);
            y = relu(g, samples.drop(g, linear(*this, g, at + ".conv1", y)));
            return samples.drop(g, linear(*this, g, at + ".conv2", y));
        };
        if (!original_ && !norm_first_) {
            x = norm("attention_layernorms", add(g, attend(at_queries(x), x), at_queries(x)));
            x = norm("forward_layernorms", add(g, forward(x), x));
        } else if (norm_first_) {
            Var y = norm("attention_layernorms", x);
            x = add(g, attend(at_queries(y), y), at_queries(x));
            x = add(g, forward(norm("forward_layernorms", x)), x);
        } else {
            Var queries = norm("attention_layernorms", at_queries(x));
            x = norm("forward_layernorms", add(g, attend(queries, x), queries));
            x = add(g, forward(x), x);
            if (!last) x = scale_rows(g, x, presence);
        }
    }
    return layer_norm(*this, g, "last_layernorm", x, pmixer_eps);
}

// Settings of the authors' layout.
constexpr const char *norm_first = "norm_first", *rotary = "rotary";

std::unique_ptr<Recommender> create(std::shared_ptr<Engine> engine, const Settings &settings) {
    AttentionSizes p(settings);
    const std::string &layout = settings.layout();
    if (layout == "authors") {
        p.norm_first = settings.whole(norm_first);
        p.rotary = settings.whole(rotary);
        if (p.rotary && p.width / p.n_heads % 2) settings.refuse("heads", "so many that the width of a head is even");
        return std::make_unique<AuthorsSASRec>(std::move(engine), p);
    }
    for (const char *option : {norm_first, rotary})
        if (settings.whole(option)) settings.refuse(option, "0 in this layout");
    if (layout == "recbole") return std::make_unique<RecBoleSASRec>(std::move(engine), p);
    if (p.n_inner != p.width) settings.refuse("inner", "the width, " + std::to_string(p.width) + ", in this layout");
    return std::make_unique<PmixerSASRec>(std::move(engine), p, layout);
}

} // namespace

Entry sasrec() {
    std::vector<Setting> settings = attention_settings();
    for (const char *option : {norm_first, rotary}) settings.push_back(whole_number(option, 0, 1, 0));
    return {"sasrec",
            {"authors", "recbole", "pmixer", "pmixer-norm-first", "pmixer-original"},
            with_sizes(settings),
            create};
}

} // namespace ri
