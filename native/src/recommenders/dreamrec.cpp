// DreamRec: recommendation as guided diffusion (Yang et al. 2023, arXiv 2310.20453), laid out as in
// the authors' code (github.com/YangZhengyi98/DreamRec). A self-attention encoder turns the history
// into a guidance c. A denoiser predicts the embedding x0 of the ideal next item, the oracle, from
// a noised one x, the guidance and the step:
//     mlp1: Linear(3D -> D), mlp2: Linear(3D -> 2D), GELU, Linear(2D -> D), on (x, c, step embedding)
// where the step goes through sines and cosines, Linear(D -> 2D), GELU, Linear(2D -> D). GELU is
// exact (erf). Where the guidance is dropped, none_embedding stands in its place.
#include "attention_encoder.h"
#include "encoder_ops.h"
#include "random.h"

#include <algorithm>
#include <cmath>

namespace ri {

namespace {

// The noise of each step, and the share of the signal's variance that is left after it: alpha-bar
// of Ho et al. 2020, arXiv 2006.11239. Both are rounded to float32 and multiplied in it, as in the
// authors' code, whose weights know no other: where the first steps are small, 1 - alpha-bar holds
// but three digits, and oracles would differ from theirs in the fourth.
struct Schedule {
    std::vector<float> noise, left;

    explicit Schedule(const std::vector<double> &betas) {
        float product = 1;
        for (size_t t = 0; t < betas.size(); ++t) {
            if (!(betas[t] > 0 && betas[t] < 1))
                fail(RI_INVALID, "beta %zu is %g; it must lie between 0 and 1", t, betas[t]);
            noise.push_back(float(betas[t]));
            left.push_back(product *= 1.0f - noise.back());
        }
        if (!(left[0] < 1)) fail(RI_INVALID, "beta 0 is %g, too little for float32", betas[0]);
    }

    int32_t n_steps() const { return int32_t(noise.size()); }
};

class DreamRec final : public Diffusion {
  public:
    DreamRec(std::shared_ptr<Engine> engine, const Settings &settings)
        : DreamRec(std::move(engine), AttentionSizes(settings), settings) {}

    Var encode(Graph &g, Source &source) const override { return attention_encode(*this, p_, g, source); }
    Head head(Graph &g) const override { return {use(g, "item_embeddings.weight"), {}}; }

    double learn(const ri_diffusion_batch &batch) override;
    void denoise(const float *x, const int32_t *steps, const float *guidance, size_t n, float *dst) const override;
    void sample(const ri_diffusion_sampling &sampling, float *dst) override;

  private:
    DreamRec(std::shared_ptr<Engine> engine, const AttentionSizes &p, const Settings &settings)
        : Diffusion(std::move(engine), layout(p, settings), {p.n_items, p.width, p.width, p.n_positions, 1}), p_(p),
          one_layer_(settings.whole("denoiser_layers") == 1), rounding_(float(settings.number("rounding"))),
          schedule_(settings.list("betas")) {}

    static std::vector<TensorSpec> layout(const AttentionSizes &p, const Settings &settings);
    int64_t width() const { return p_.width; }
    int64_t n_first() const { return one_layer_ ? width() : 2 * width(); }
    void check_step(size_t i, int32_t step) const {
        if (step < 0 || step >= schedule_.n_steps())
            fail(RI_INVALID, "step %zu is %d; it must be 0 to %d", i, step, schedule_.n_steps() - 1);
    }

    // none_embedding n times over: [D, n].
    Var nothing(Graph &g, int64_t n) const {
        return get_rows(g, use(g, "none_embedding.weight"), g.input(std::vector<int32_t>(size_t(n)), n));
    }
    // Sines and cosines of n steps, which `steps` gives when the graph runs, through two layers:
    // [D, n].
    Var step_embedding(Graph &g, std::function<const int32_t *()> steps, int64_t n) const;
    // x0 from x, guidance and step embedding, all [D, n].
    Var predict(Graph &g, Var x, Var guidance, Var step) const;
    Var training_loss(Graph &g, Source &source) const;

    // What a Sampling points at.
    struct Memory {
        std::vector<std::vector<float>> matrices;
        std::vector<kernels::SamplingStep> coefficients;
    };
    kernels::Sampling prepare(const ri_diffusion_sampling &sampling, Memory &memory) const;
    void sample_by_graph(const kernels::Sampling &sampling, float *dst) const;

    AttentionSizes p_;
    bool one_layer_; // of the denoiser
    float rounding_; // weight of -log softmax(x0's products with all embeddings)[target] in the loss
    Schedule schedule_;
};

// Embeddings start with the variance of the noise that is added to them, 1.
std::vector<TensorSpec> DreamRec::layout(const AttentionSizes &p, const Settings &settings) {
    const int64_t d = p.width;
    if (d < 4 || d % 2) settings.refuse("width", "even and at least 4");
    std::vector<TensorSpec> specs = attention_encoder_layout(p, 1);
    specs.push_back(table("none_embedding.weight", RI_ROLE_EMBEDDING, 1, d, 1));
    add_dense(specs, "step_mlp.1", 2 * d, d);
    add_dense(specs, "step_mlp.3", d, 2 * d);
    const bool one_layer = settings.whole("denoiser_layers") == 1;
    add_dense(specs, "diffuser.0", one_layer ? d : 2 * d, 3 * d);
    if (!one_layer) add_dense(specs, "diffuser.2", d, 2 * d);
    return specs;
}

Var DreamRec::step_embedding(Graph &g, std::function<const int32_t *()> steps, int64_t n) const {
    const int64_t D = width(), half = D / 2;
    ggml_tensor *waves = g.input(
        GGML_TYPE_F32,
        [=](void *dst) {
            const int32_t *at = steps();
            for (int64_t i = 0; i < n; ++i)
                for (int64_t k = 0; k < half; ++k) {
                    const double phase = at[i] * std::pow(10000.0, -double(k) / double(half - 1));
                    static_cast<float *>(dst)[i * D + k] = float(std::sin(phase));
                    static_cast<float *>(dst)[i * D + half + k] = float(std::cos(phase));
                }
        },
        D, n);
    return linear(*this, g, "step_mlp.3", gelu_erf(g, linear(*this, g, "step_mlp.1", g.constant(waves))));
}

Var DreamRec::predict(Graph &g, Var x, Var guidance, Var step) const {
    Var y = linear(*this, g, "diffuser.0", concat(g, concat(g, x, guidance), step));
    return one_layer_ ? y : linear(*this, g, "diffuser.2", gelu_erf(g, y));
}

Var DreamRec::training_loss(Graph &g, Source &source) const {
    const int64_t D = width(), B = source.samples();
    const Batch *batch = &source.batch();
    auto per_sample = [&](auto value) {
        return g.input(
            GGML_TYPE_F32,
            [=](void *dst) {
                for (int64_t b = 0; b < B; ++b) static_cast<float *>(dst)[b] = value(b);
            },
            1, B);
    };
    ggml_tensor *kept = per_sample([=](int64_t b) { return batch->unconditional[b] ? 0.0f : 1.0f; });
    ggml_tensor *dropped = per_sample([=](int64_t b) { return batch->unconditional[b] ? 1.0f : 0.0f; });
    ggml_tensor *signal = per_sample([=](int64_t b) { return std::sqrt(schedule_.left[size_t(batch->steps[b])]); });
    ggml_tensor *targets = g.input(
        GGML_TYPE_I32, [=](void *dst) { std::copy(batch->targets, batch->targets + B, static_cast<int32_t *>(dst)); },
        B);
    ggml_tensor *noise = g.input(
        GGML_TYPE_F32,
        [=](void *dst) {
            for (int64_t i = 0; i < B * D; ++i)
                static_cast<float *>(dst)[i] =
                    batch->noise[i] * std::sqrt(1 - schedule_.left[size_t(batch->steps[i / D])]);
        },
        D, B);
    Var guidance = add(g, scale_rows(g, encode(g, source), kept), scale_rows(g, nothing(g, B), dropped));
    Var x0 = get_rows(g, use(g, "item_embeddings.weight"), targets);
    Var noised = add(g, scale_rows(g, x0, signal), g.constant(noise));
    Var step = step_embedding(
        g, [=] { return batch->steps; }, B);
    Var predicted = predict(g, noised, guidance, step);
    Var error = mean_squared_error(g, predicted, x0);
    if (rounding_ <= 0) return error;
    const int64_t V = p_.n_items;
    ggml_tensor *classes = g.input(
        GGML_TYPE_I32,
        [=](void *dst) {
            for (int64_t b = 0; b < B; ++b) static_cast<int32_t *>(dst)[b] = int32_t(b * V + batch->targets[b]);
        },
        B);
    ggml_tensor *weights = g.input(std::vector<float>(size_t(B), rounding_ / float(B)), B);
    Var scores = linear(g, first_rows(g, use(g, "item_embeddings.weight"), V), predicted, {});
    return sum_of_losses(g, error, cross_entropy(g, scores, classes, weights));
}

double DreamRec::learn(const ri_diffusion_batch &b) {
    check(b.histories, false);
    require(b.targets, "targets");
    require(b.steps, "steps");
    require(b.noise, "noise");
    require(b.unconditional, "unconditional");
    if (!(b.dropout >= 0 && b.dropout < 1)) fail(RI_INVALID, "dropout must be in [0, 1), not %g", double(b.dropout));
    const size_t n = b.histories.n_sequences;
    if (n > size_t(INT32_MAX) / size_t(p_.n_items))
        fail(RI_INVALID, "too many histories for one batch; use a smaller one");
    require_finite(b.noise, n * size_t(width()), "noise");
    for (size_t i = 0; i < n; ++i) {
        check_step(i, b.steps[i]);
        if (b.targets[i] < 0 || b.targets[i] >= p_.n_items)
            fail(RI_INVALID, "target %zu: item %d; the catalogue has no such item", i, b.targets[i]);
    }
    Batch batch;
    batch.histories = b.histories;
    batch.targets = b.targets;
    batch.seed = b.seed;
    batch.steps = b.steps;
    batch.noise = b.noise;
    batch.unconditional = b.unconditional;
    Shape shape;
    shape.n_sequences = n;
    shape.dropout = b.dropout;
    Program &p = program(for_training, shape, [this](Graph &g, Source &source) { return training_loss(g, source); });
    run(p, batch);
    return double(p.graph->scalar(p.result));
}

void DreamRec::denoise(const float *x, const int32_t *steps, const float *guidance, size_t n, float *dst) const {
    const int64_t D = width(), rows = int64_t(n);
    require_finite(x, n * size_t(D), "x");
    if (guidance) require_finite(guidance, n * size_t(D), "guidance");
    for (size_t i = 0; i < n; ++i) check_step(i, steps[i]);
    Graph g(engine(), false);
    Var by = guidance ? g.constant(g.input(GGML_TYPE_F32, guidance, D, rows)) : nothing(g, rows);
    Var step = step_embedding(
        g, [=] { return steps; }, rows);
    Var x0 = predict(g, g.constant(g.input(GGML_TYPE_F32, x, D, rows)), by, step);
    g.output(x0.value);
    g.run();
    g.read(x0.value, dst);
}

// ---- sampling

// The first layer is linear in (x, guidance, step), so that what the guidance and the step give to
// it is computed once. With one layer the two predictions that classifier-free guidance mixes
// differ by a constant; with two they share the rest.
kernels::Sampling DreamRec::prepare(const ri_diffusion_sampling &s, Memory &memory) const {
    const int64_t D = width(), n = int64_t(s.n_oracles), S = int64_t(s.n_steps);
    Graph g(engine(), false);
    Var first = use(g, "diffuser.0.weight"), bias = use(g, "diffuser.0.bias");
    Var by_guidance = slice(g, first, D, D);
    Var none = linear(g, by_guidance, nothing(g, 1), bias);
    Var given = linear(g, by_guidance, g.constant(g.input(GGML_TYPE_F32, s.guidance, D, n)), bias);
    if (one_layer_) given = add(g, scale(g, given, 1 + s.strength), reshape(g, scale(g, none, -s.strength), n_first()));
    Var step = linear(g, slice(g, first, 2 * D, D),
                      step_embedding(
                          g, [=] { return s.steps; }, S),
                      {});
    std::vector<Var> results = {permute(g, slice(g, first, 0, D), 1, 0, 2, 3), given, none, step};
    if (!one_layer_) {
        results.push_back(permute(g, use(g, "diffuser.2.weight"), 1, 0, 2, 3));
        results.push_back(use(g, "diffuser.2.bias"));
    }
    std::vector<ggml_tensor *> outputs;
    for (Var result : results) {
        outputs.push_back(ggml_cont(g.ctx(), result.value)); // a parameter is not the graph's to read
        g.output(outputs.back());
    }
    g.run();

    for (ggml_tensor *output : outputs) {
        memory.matrices.emplace_back(size_t(ggml_nelements(output)));
        g.read(output, memory.matrices.back().data());
    }
    kernels::Sampling k{};
    k.n = n;
    k.width = D;
    k.hidden = n_first();
    k.steps = S;
    k.first = memory.matrices[0].data();
    k.given = memory.matrices[1].data();
    k.by_step = memory.matrices[3].data();
    if (!one_layer_) {
        k.none = memory.matrices[2].data();
        k.second = memory.matrices[4].data();
        k.second_bias = memory.matrices[5].data();
    }
    k.strength = s.strength;
    k.noise = s.noise;
    k.seed = s.seed;
    k.first_oracle = s.first;
    // x' = of_x0 * x0 + of_x * x + deviation * noise, from a step to the next one
    for (int64_t i = 0; i < S; ++i) {
        const double left = schedule_.left[size_t(s.steps[i])], beta = schedule_.noise[size_t(s.steps[i])];
        const double next = i + 1 < S ? schedule_.left[size_t(s.steps[i + 1])] : 1.0;
        kernels::SamplingStep step_of;
        if (s.deterministic) { // Song et al. 2021, eq. 12 with sigma = 0
            const double noise_kept = std::sqrt((1 - next) / (1 - left));
            step_of = {float(std::sqrt(next) - noise_kept * std::sqrt(left)), float(noise_kept), 0.0f};
        } else { // Ho et al. 2020, eq. 6 and 7
            step_of = {float(std::sqrt(next) * beta / (1 - left)), float(std::sqrt(1 - beta) * (1 - next) / (1 - left)),
                       float(std::sqrt(beta * (1 - next) / (1 - left)))};
        }
        memory.coefficients.push_back(step_of);
    }
    k.coefficients = memory.coefficients.data();
    return k;
}

void DreamRec::sample_by_graph(const kernels::Sampling &k, float *dst) const {
    const int64_t D = k.width, n = k.n;
    std::vector<float> x(size_t(n * D)), noise(size_t(n * D));
    engine().host_kernels().sampling_noise(k, 0, 0, n, x.data());
    int64_t at = 0;
    Graph g(engine(), false, Graph::Life::kept);
    auto host = [&](const float *data, int64_t ne0, int64_t ne1) {
        return g.constant(g.input(GGML_TYPE_F32, data, ne0, ne1));
    };
    auto scalar = [&](float kernels::SamplingStep::*field) {
        return g.constant(g.input(
            GGML_TYPE_F32, [&k, &at, field](void *dst) { *static_cast<float *>(dst) = k.coefficients[at].*field; }, 1));
    };
    Var from = host(x.data(), D, n);
    Var by_step = g.constant(g.input(
        GGML_TYPE_F32,
        [&](void *dst) {
            const float *row = k.by_step + at * k.hidden;
            std::copy(row, row + k.hidden, static_cast<float *>(dst));
        },
        k.hidden));
    // `first` is stored the other way round.
    Var first = permute(g, host(k.first, k.hidden, D), 1, 0, 2, 3);
    Var y = add(g, mul_mat(g, first, from), by_step);
    Var x0 = add(g, y, host(k.given, k.hidden, n));
    if (k.none) {
        Var with = gelu_erf(g, x0), without = gelu_erf(g, add(g, y, reshape(g, host(k.none, k.hidden, 1), k.hidden)));
        Var mixed = add(g, scale(g, with, 1 + k.strength), scale(g, without, -k.strength));
        Var second = permute(g, host(k.second, D, k.hidden), 1, 0, 2, 3);
        x0 = add(g, mul_mat(g, second, mixed), reshape(g, host(k.second_bias, D, 1), D));
    }
    Var next =
        add(g, mul(g, x0, scalar(&kernels::SamplingStep::of_x0)), mul(g, from, scalar(&kernels::SamplingStep::of_x)));
    next = add(g, next, mul(g, host(noise.data(), D, n), scalar(&kernels::SamplingStep::deviation)));
    g.output(next.value);
    for (at = 0; at < k.steps; ++at) {
        if (k.coefficients[at].deviation > 0) engine().host_kernels().sampling_noise(k, at + 1, 0, n, noise.data());
        g.run();
        g.read(next.value, x.data());
    }
    std::copy(x.begin(), x.end(), dst);
}

void DreamRec::sample(const ri_diffusion_sampling &s, float *dst) {
    if (s.n_oracles > (1u << 20)) fail(RI_INVALID, "%zu oracles at once; at most 2^20", s.n_oracles);
    if (s.n_steps < 1 || s.n_steps > size_t(schedule_.n_steps()))
        fail(RI_INVALID, "%zu sampling steps; it must be 1 to %d", s.n_steps, schedule_.n_steps());
    if (!s.deterministic && s.n_steps != size_t(schedule_.n_steps()))
        fail(RI_INVALID, "DDPM takes all %d steps, not %zu; take fewer with DDIM", schedule_.n_steps(), s.n_steps);
    if (!std::isfinite(s.strength)) fail(RI_INVALID, "the guidance strength is not finite");
    for (size_t i = 0; i < s.n_steps; ++i) {
        check_step(i, s.steps[i]);
        if (i > 0 && s.steps[i] >= s.steps[i - 1])
            fail(RI_INVALID, "sampling steps must fall, as %d to %d does not", s.steps[i - 1], s.steps[i]);
    }
    const size_t numbers = s.n_oracles * size_t(width());
    require_finite(s.guidance, numbers, "guidance");
    if (s.noise) require_finite(s.noise, numbers * (s.deterministic ? 1 : s.n_steps), "noise");
    Memory memory;
    const kernels::Sampling k = prepare(s, memory);
    if (const KernelSet *kernels = engine().kernels())
        engine().parallel([&](int ith, int nth) { kernels->sample(k, dst, ith, nth); });
    else
        sample_by_graph(k, dst);
}

} // namespace

Entry dreamrec() {
    std::vector<Setting> settings = attention_settings();
    settings.push_back(whole_number("denoiser_layers", 1, 2));
    Setting betas = {"betas", 0, 1, false}; // variance of the noise that each step adds
    betas.most_count = 1 << 16;
    settings.push_back(betas);
    settings.push_back({"rounding", 0, 1e6, false, 0});
    return {"dreamrec", {"authors"}, with_sizes(settings), make<DreamRec>};
}

} // namespace ri
