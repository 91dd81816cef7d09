#include "support/every_graph.h"

#include "support/align.h"
#include "support/gpu.h"

#include "graph/graph.h"
#include "llm/arch/architecture.h"
#include "selection.h"

#include "ggml-backend.h"
#include "gguf.h"

#include <cstring>
#include <dlfcn.h>

namespace {

// The operations of the core's graphs, with the types of inputs and output.
const std::set<std::string> operations = {
    "ABS f32>f32",
    "ADD f32,f32>f32",
    "ARGMAX f32>i32",
    "ARGSORT f32>i32",
    "CLAMP f32>f32",
    "CONCAT f32,f32>f32",
    "CONT f32>f32",
    "CONT i32>i32",
    "CPY f32,f32>f32",
    "CPY i32,f32>f32",
    "DIV f32,f32>f32",
    "EXP f32>f32",
    "FILL f32>f32",
    "GELU_ERF f32>f32",
    "GET_ROWS f32,i32>f32",
    "GET_ROWS_BACK f32,i32>f32",
    "LOG f32>f32",
    "MEAN f32>f32",
    "MUL f32,f32>f32",
    "MUL_MAT bf16,f32>f32",
    "MUL_MAT f32,f32>f32",
    "NONE>f32",
    "NORM f32>f32",
    "OPT_STEP_ADAMW f32,f32,f32,f32,f32>f32",
    "PERMUTE f32>f32",
    "POOL_1D f32>f32",
    "RELU f32>f32",
    "RESHAPE f32>f32",
    "RESHAPE i32>i32",
    "RMS_NORM f32>f32",
    "RMS_NORM_BACK f32,f32>f32",
    "ROPE f32,i32,f32>f32",
    "ROPE f32,i32>f32",
    "ROPE_BACK f32,i32,f32>f32",
    "ROPE_BACK f32,i32>f32",
    "SCALE f32>f32",
    "SET_ROWS f32,i32,f32>f32",
    "SIGMOID f32>f32",
    "SILU f32>f32",
    "SILU_BACK f32,f32>f32",
    "SOFTPLUS f32>f32",
    "SOFT_MAX f32,f32>f32",
    "SOFT_MAX_BACK f32,f32>f32",
    "SOFT_MAX f32>f32",
    "SQR f32>f32",
    "SQRT f32>f32",
    "STEP f32>f32",
    "SUB f32,f32>f32",
    "SUM f32>f32",
    "SUM_ROWS f32>f32",
    "SWIGLU f32>f32",
    "TANH f32>f32",
    "TRANSPOSE f32>f32",
    "VIEW f32>f32",
    "VIEW i32>i32",
};

std::set<std::string> taken, refused, kernels; // by the GPU

std::string describe(const ggml_tensor *node) {
    std::string text = ggml_op_desc(node);
    for (int i = 0; i < GGML_MAX_SRC && node->src[i]; ++i)
        text += std::string(i ? "," : " ") + ggml_type_name(node->src[i]->type);
    return text + ">" + ggml_type_name(node->type);
}

} // namespace

// These stand in for ggml's own functions of the same names wherever the core calls them.
extern "C" bool ggml_backend_supports_op(ggml_backend_t, const ggml_tensor *operation) {
    const bool supported = gpu::supports(operation);
    (supported ? taken : refused).insert(describe(operation));
    return supported;
}

extern "C" ggml_status ggml_backend_graph_compute(ggml_backend_t backend, ggml_cgraph *graph) {
    static const auto real =
        reinterpret_cast<decltype(&ggml_backend_graph_compute)>(dlsym(RTLD_NEXT, "ggml_backend_graph_compute"));
    kernels.merge(gpu::kernels(graph));
    return real(backend, graph);
}

namespace {

ri_engine *engine = nullptr;

// Sizes as in use, and sizes that fit no vector.
struct Size {
    int32_t items, width, positions, heads, batch;
};
constexpr Size sizes[] = {{100, 64, 10, 2, 32}, {11, 6, 5, 1, 2}};

// Histories of all lengths, with what comes next at each position.
struct Data {
    std::vector<int32_t> items, lengths, targets, negatives;
    std::vector<float> vectors;
    std::vector<int64_t> times;
    explicit Data(const Size &s) : vectors(draw(size_t(s.width), 5)) {
        for (int32_t b = 0; b < s.batch; ++b) {
            lengths.push_back(1 + b % s.positions);
            for (int32_t t = 0; t < s.positions; ++t) {
                const bool inside = t < lengths.back();
                items.push_back(inside ? (3 * b + t) % s.items : s.items);
                targets.push_back(inside ? (b + t) % s.items : -1);
                negatives.insert(negatives.end(), {1, 2});
                times.push_back(int64_t(1) << t);
            }
        }
    }
    ri_histories histories() const { return {lengths.size(), items.data(), lengths.data(), nullptr, 0, times.data()}; }
};

void update(ri_model *model) {
    const ri_adamw params = adamw(1e-3f, 0.01f, 1);
    CHECK_OK(ri_model_update(model, &params, nullptr, &err));
}

// States, scores and a step of training with each loss.
void run_recommender(const char *what, ri_model *model, const Size &s, bool has_scores = true) {
    if (!CHECK(model)) return (void)fprintf(stderr, "%s\n", what);
    fill(model, 3, 0.2f);
    const Data data(s);
    ri_recommender_info info{};
    CHECK_OK(ri_recommender_describe(model, &info, &err));
    ri_histories histories = data.histories();
    std::vector<float> out(size_t(s.batch) * size_t(s.positions) * size_t(std::max(info.state_width, s.items)));
    for (int32_t all : {0, 1}) CHECK_OK(ri_recommender_states(model, &histories, all, out.data(), &err));
    std::vector<float> states(size_t(s.batch) * size_t(info.state_width), 0.1f);
    CHECK_OK(ri_recommender_score_states(model, states.data(), size_t(s.batch), out.data(), &err));
    std::vector<double> ranks(size_t(s.batch));
    const std::vector<int32_t> ranked(size_t(s.batch), 1);
    CHECK_OK(ri_recommender_rank(model, states.data(), size_t(s.batch), ranked.data(), ranks.data(), &err));
    auto items = data.items;
    items[0] = -1; // a vector in place of an item
    const ri_histories virtual_item{data.lengths.size(), items.data(), data.lengths.data(), data.vectors.data(), 1,
                                    data.times.data()};
    CHECK_OK(ri_recommender_states(model, &virtual_item, 0, out.data(), &err));
    if (!has_scores) return;
    CHECK_OK(ri_recommender_scores(model, &histories, out.data(), &err));
    for (size_t n_negatives : {size_t(0), size_t(2)}) {
        const ri_recommender_batch batch{histories,
                                         data.targets.data(),
                                         n_negatives ? data.negatives.data() : nullptr,
                                         n_negatives,
                                         0.1f,
                                         1,
                                         nullptr,
                                         nullptr,
                                         0};
        CHECK_OK(ri_recommender_backward(model, &batch, nullptr, &err));
        update(model);
    }
    const int32_t shared[] = {1, 2, 1};
    const float offsets[] = {0.5f, -0.5f, 0.5f};
    const ri_recommender_batch sampled{histories, data.targets.data(), nullptr, 0, 0.1f, 1, shared, offsets, 3};
    CHECK_OK(ri_recommender_backward(model, &sampled, nullptr, &err));
    update(model);
}

void run_recommenders(const Size &s) {
    for (const char *layout : {"authors", "recbole", "pmixer", "pmixer-norm-first", "pmixer-original"}) {
        ri_model *model =
            make_recommender(engine, "sasrec", layout, attention(s.items, s.width, s.positions, 2, s.heads, s.width));
        run_recommender("SASRec", model, s);
        ri_model_free(model);
    }
    Settings options = attention(s.items, s.width, s.positions, 2, s.heads, s.width);
    options.push_back({"norm_first", {1}});
    options.push_back({"rotary", {1}});
    ri_model *modern = make_recommender(engine, "sasrec", nullptr, options);
    run_recommender("SASRec, norm first and rotary", modern, s);
    ri_model_free(modern);
    ri_model *masked =
        make_recommender(engine, "bert4rec", nullptr, attention(s.items, s.width, s.positions, 2, s.heads, s.width));
    run_recommender("BERT4Rec", masked, s);
    ri_model_free(masked);
    const Settings sizes = {
        {"items", {double(s.items)}}, {"width", {double(s.width)}}, {"positions", {double(s.positions)}}};
    auto with = [&](const Settings &own) {
        Settings all = sizes;
        all.insert(all.end(), own.begin(), own.end());
        return all;
    };
    for (double times : {0, 1}) {
        ri_model *pointwise = make_recommender(
            engine, "hstu", nullptr, with({{"blocks", {2}}, {"heads", {double(s.heads)}}, {"times", {times}}}));
        run_recommender("HSTU", pointwise, s);
        ri_model_free(pointwise);
    }
    for (const char *layout : {"authors", "recbole"}) {
        ri_model *model =
            make_recommender(engine, "gru4rec", layout, with({{"hidden", {double(s.width)}}, {"layers", {2}}}));
        run_recommender("GRU4Rec", model, s);
        ri_model_free(model);
        Settings filters = with({{"horizontal", {4}}, {"vertical", {2}}});
        if (std::string(layout) == "authors") filters.push_back({"heights", {1, 2, 4}});
        model = make_recommender(engine, "caser", layout, filters);
        run_recommender("Caser", model, s);
        ri_model_free(model);
    }
}

void run_dreamrec(const Size &s, int denoiser_layers) {
    Settings settings = attention(s.items, s.width, s.positions, 1, s.heads, s.width);
    settings.push_back({"denoiser_layers", {double(denoiser_layers)}});
    settings.push_back({"betas", {0.05, 0.1, 0.2, 0.3}});
    settings.push_back({"rounding", {0.5}});
    ri_model *model = make_recommender(engine, "dreamrec", nullptr, settings);
    run_recommender("DreamRec", model, s, false);
    const Data data(s);
    const size_t n = size_t(s.batch), D = size_t(s.width);
    const std::vector<int32_t> targets(n, 1), steps(n, 2), unconditional(n, 1), all_steps = {3, 2, 1, 0};
    const auto noise = draw(n * D, 7);
    std::vector<float> out(n * D);
    const ri_diffusion_batch batch{
        data.histories(), targets.data(), steps.data(), noise.data(), unconditional.data(), 0.1f, 1};
    CHECK_OK(ri_diffusion_backward(model, &batch, nullptr, &err));
    update(model);
    for (const float *guidance : {noise.data(), static_cast<const float *>(nullptr)})
        CHECK_OK(ri_diffusion_denoise(model, noise.data(), steps.data(), guidance, n, out.data(), &err));
    for (int32_t deterministic : {0, 1}) {
        const ri_diffusion_sampling sampling{
            n, noise.data(), 2, all_steps.size(), all_steps.data(), deterministic, nullptr, 1, 0};
        CHECK_OK(ri_diffusion_sample(model, &sampling, out.data(), &err));
    }
    ri_model_free(model);
}

void run_probe(int32_t n_hidden) {
    const ri_probe_params params = probe_params(64, n_hidden, 100);
    ri_model *probe = nullptr;
    CHECK_OK(ri_probe_create(engine, &params, &probe, &err));
    fill(probe, 9, 0.2f);
    const auto inputs = draw(32 * 64, 10);
    const std::vector<int32_t> targets(32, 3);
    std::vector<float> scores(32 * 100);
    CHECK_OK(ri_probe_scores(probe, inputs.data(), 32, scores.data(), &err));
    for (size_t each : {1, 4}) // targets of an input
        CHECK_OK(ri_probe_backward(probe, inputs.data(), targets.data(), each, 32 / each, nullptr, &err));
    update(probe);
    ri_model_free(probe);
}

void run_adapters_through_llama(const TinyGguf &shape, ri_precision precision) {
    const std::string path = temporary_path("every_graph.gguf");
    write_tiny_gguf(path, shape);
    ri_gguf *gguf = nullptr;
    ri_gguf_info info{};
    ri_llm *llama = nullptr;
    CHECK_OK(ri_gguf_open(path.c_str(), &gguf, &err));
    CHECK_OK(ri_gguf_describe(gguf, &info, &err));
    CHECK_OK(ri_llm_create(engine, gguf, precision, &llama, &err));
    for (const char *kind : {"linear", "mlp", "memory", "retrieval", "mixture"}) {
        ri_adapter_params params = adapter_params(kind, n_in, n_tokens, info.n_embd);
        const bool entries = strcmp(kind, "memory") == 0 || strcmp(kind, "retrieval") == 0;
        params.n_hidden = entries || strcmp(kind, "mlp") == 0 ? 16 : 0;
        params.n_mixed = strcmp(kind, "mixture") == 0 ? n_in : 0;
        params.n_entries = entries ? 9 : 0;
        params.n_lookups = strcmp(kind, "retrieval") == 0 ? n_tokens : 0;
        ri_model *adapter = make_adapter(engine, params);
        fill(adapter, 4, 0.2f);
        const auto states = draw(8 * n_in, 5), targets = draw(8 * size_t(n_tokens) * size_t(info.n_embd), 6);
        std::vector<float> soft(targets.size());
        CHECK_OK(ri_adapter_forward(adapter, states.data(), 8, soft.data(), &err));
        CHECK_OK(ri_adapter_regress(adapter, states.data(), targets.data(), 8, nullptr, &err));
        update(adapter);
        for (size_t n_prefix : {size_t(0), size_t(40)}) {
            ri_prefix *prefix = nullptr;
            const auto tokens = random_tokens(n_prefix, 8);
            CHECK_OK(ri_prefix_create(llama, tokens.data(), n_prefix, &prefix, &err));
            const Samples samples = make_samples(3, 16);
            const ri_align_batch batch = samples.batch(0.1);
            std::vector<float> out(samples.n_targets() * size_t(info.n_vocab));
            CHECK_OK(ri_align_logprobs(llama, prefix, adapter, &batch, out.data(), &err));
            CHECK_OK(ri_align_logits(llama, prefix, adapter, &batch, out.data(), &err));
            CHECK_OK(ri_align_backward(llama, prefix, adapter, &batch, nullptr, &err));
            update(adapter);
            ri_prefix_free(prefix);
        }
        ri_model_free(adapter);
    }
    ri_llm_free(llama);
    ri_gguf_free(gguf);
    remove(path.c_str());
}

// Fails for each of `these` that is not among `those`.
void report(const char *what, const std::set<std::string> &these, const std::set<std::string> &those) {
    for (const std::string &name : these)
        if (!those.count(name)) check_that(false, (name + ": " + what).c_str(), __FILE__, __LINE__);
}

// Tokens chosen beside their logits, of many sequences.
void run_selection() {
    const std::vector<float> logits(256 * 300);
    const std::vector<int32_t> ids(8 * 300);
    ri::Graph graph(*engine->impl, false);
    ggml_tensor *table = ri::Selection::table(graph.ctx(), graph.input(GGML_TYPE_F32, logits.data(), 300, 256),
                                              graph.input(GGML_TYPE_I32, ids.data(), 8, 256));
    graph.output(table);
    graph.run();
}

void run_everything() {
    run_selection();
    for (const Size &s : sizes) {
        run_recommenders(s);
        for (int denoiser_layers : {1, 2}) run_dreamrec(s, denoiser_layers);
    }
    for (int32_t n_hidden : {0, 16}) run_probe(n_hidden);
    TinyGguf in_use, llama3; // heads of 64, wide enough for matrix products in blocks; untied, with scaled RoPE
    in_use.head_dim = 64;
    llama3.tied = false;
    llama3.rope_factors = true;
    std::vector<TinyGguf> shapes = {in_use, llama3};
    for (const ri::Architecture *const *a = ri::architectures; *a; ++a) {
        shapes.push_back(in_use);
        shapes.back().architecture = (*a)->name;
        shapes.back().edit = [](gguf_context *m) { // only those of the file's architecture are read
            for (const char *key : {"granite.embedding_scale", "granite.residual_scale", "granite.logit_scale"})
                gguf_set_val_f32(m, key, 2);
            gguf_set_val_u32(m, "gemma3.attention.sliding_window", 4);
            gguf_set_val_str(m, "mistral3.rope.scaling.type", "yarn");
            gguf_set_val_f32(m, "mistral3.rope.scaling.factor", 2);
        };
    }
    for (ri_precision precision : {RI_F32, RI_BF16})
        for (const TinyGguf &shape : shapes) run_adapters_through_llama(shape, precision);
}

} // namespace

int run_every_graph(const std::set<std::string> &lacking, const std::set<std::string> &instead) {
    ri_engine_params params = ri_engine_params_default();
    params.backend = "portable";
    params.n_threads = 1;
    CHECK_OK(ri_engine_create(&params, &engine, &err));
    run_everything();
    ri_engine_free(engine);

    auto expected = operations;
    expected.insert(instead.begin(), instead.end());
    for (const std::string &operation : lacking) expected.erase(operation);
    const auto defined = gpu::defined_kernels();
    CHECK(kernels.size() > 20 && defined.size() > kernels.size());
    report("used, and not in the list of what it has", taken, expected);
    report("in the list of what it has, and not used", expected, taken);
    report("refused, and not in the list of what it lacks", refused, lacking);
    report("in the list of what it lacks, and not refused", lacking, refused);
    report("not defined in the pinned source", kernels, defined);
    return finish();
}
