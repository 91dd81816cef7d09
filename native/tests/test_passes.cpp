// What a GPU is told to do for a pass: one upload, one graph, one read, and the same graph again
// for the same shape. The made-up GPU is watched and computes nothing.
#include "support/align.h"

#include <tuple>

namespace {

// A graph, by its tensors: two are equal if a CUDA graph of the one could be replayed for the
// other.
struct Seen {
    std::vector<char> tensors;
    int adamw = 0;
    // Of the products with the widest matrix: its width, their most rows, and their number.
    int64_t widest = 0, most_rows = 0;
    int count = 0;
    explicit Seen(ggml_cgraph *graph) {
        for (int i = 0; i < ggml_graph_n_nodes(graph); ++i) {
            const ggml_tensor *t = ggml_graph_node(graph, i);
            const auto *bytes = reinterpret_cast<const char *>(t);
            tensors.insert(tensors.end(), bytes, bytes + sizeof *t);
            adamw += t->op == GGML_OP_OPT_STEP_ADAMW;
            if (t->op != GGML_OP_MUL_MAT || t->src[0]->type != GGML_TYPE_BF16) continue;
            if (t->src[0]->ne[1] > widest) count = 0;
            count += t->src[0]->ne[1] >= widest;
            std::tie(widest, most_rows) =
                std::max(std::tuple(widest, most_rows), std::tuple(t->src[0]->ne[1], t->ne[1]));
        }
    }
};

class Watcher : public DeviceWatcher {
  public:
    int uploads = 0, reads = 0, late = 0; // late: uploads behind the first graph
    size_t read = 0;                      // bytes
    std::vector<Seen> graphs;
    void copied(Direction direction, size_t bytes) override {
        uploads += direction == to_device;
        late += direction == to_device && !graphs.empty();
        reads += direction == to_host;
        read += direction == to_host ? bytes : 0;
    }
    void run(ggml_cgraph *graph) override { graphs.emplace_back(graph); }
    void ended() override {}
};

// What `call` has the device do.
template <typename Call> Watcher watched(Call &&call, bool idles = true) {
    Watcher seen;
    seen.idles = idles;
    watcher = &seen;
    call();
    watcher = nullptr;
    return seen;
}

// One graph with one upload before it and one read behind it, and the same graph when it is called
// again. It is called twice before: to build the graph, and because the memory of all graphs may
// have grown.
template <typename Call> Seen is_one_replayed_graph(const char *what, Call &&call) {
    for (int i = 0; i < 2; ++i) watched(call);
    const Watcher first = watched(call), again = watched(call);
    for (const Watcher &w : {first, again})
        if (!(CHECK(w.graphs.size() == 1) & CHECK(w.uploads == 1) & CHECK(w.late == 0) & CHECK(w.reads == 1)))
            fprintf(stderr, "    %s: %zu graphs, %d uploads, %d of them late, %d reads\n", what, w.graphs.size(),
                    w.uploads, w.late, w.reads);
    if (!CHECK(first.graphs[0].tensors == again.graphs[0].tensors)) fprintf(stderr, "    %s\n", what);
    return again.graphs[0];
}

// Samples of these lengths, with a target at each position behind the fourth.
Samples samples_of(const std::vector<size_t> &lengths) {
    const size_t longest = *std::max_element(lengths.begin(), lengths.end());
    Samples s = make_samples(lengths.size(), longest, true);
    for (size_t i = 0; i < s.targets.size(); ++i)
        if (i % longest < 4 || i % longest >= lengths[i / longest]) s.targets[i] = -1;
    return s;
}

void test_passes_of_an_llm() {
    TinyGguf wide;
    wide.n_ff = 512; // wider than the vocabulary, so that its matrix is the widest
    AlignFixture f(wide, RI_BF16);
    ri_prefix *prefix = nullptr;
    const auto start = random_tokens(5, 7);
    const Watcher made =
        watched([&] { CHECK_OK(ri_prefix_create(f.llama, start.data(), start.size(), &prefix, &err)); });
    CHECK(made.graphs.size() == 1 && made.uploads == 1 && made.reads == 0);

    const std::vector<size_t> lengths{24, 7, 9, 8, 7, 10, 8, 9}; // 82 rows of 192
    const Samples samples = samples_of(lengths);
    const ri_align_batch batch = samples.batch(0.1);
    const ri_adamw adamw_params = adamw(1e-3f, 0.01f, 1);
    std::vector<float> out(samples.n_targets() * size_t(f.info.n_vocab));
    double loss = 0;
    float norm = 0;
    const Seen step = is_one_replayed_graph("an update", [&] {
        CHECK_OK(ri_align_step(f.llama, prefix, f.adapter, &batch, &adamw_params, &loss, &norm, &err));
    });
    CHECK(step.adamw == int(ri_model_n_tensors(f.adapter))); // of each tensor of the adapter
    // Products take the samples' positions one behind the other, and few that only fill up.
    const int64_t rows = ri_engine_pass_rows(f.engine, lengths.size(), 24, 82);
    CHECK(rows > 82 && rows < 96);
    CHECK(step.widest == 2 * wide.n_ff && step.most_rows == rows);
    const Seen gradient = is_one_replayed_graph(
        "a gradient", [&] { CHECK_OK(ri_align_backward(f.llama, prefix, f.adapter, &batch, &loss, &err)); });
    CHECK(gradient.adamw == 0);
    is_one_replayed_graph("log-probabilities",
                          [&] { CHECK_OK(ri_align_logprobs(f.llama, prefix, f.adapter, &batch, out.data(), &err)); });
    is_one_replayed_graph("logits",
                          [&] { CHECK_OK(ri_align_logits(f.llama, prefix, f.adapter, &batch, out.data(), &err)); });
    const Samples sample = make_samples(1, 6);
    const std::vector<int32_t> parents{-1, 0, 1, 2, 3, 3}, counts{0, 0, 0, 2, 1, 1}, asked{11, 12, 3, 4};
    const ri_branches branches{
        6, sample.tokens.data(), parents.data(), counts.data(), asked.data(), int32_t(n_states), sample.states.data()};
    is_one_replayed_graph(
        "all titles", [&] { CHECK_OK(ri_align_branches(f.llama, prefix, f.adapter, &branches, out.data(), &err)); });

    // Another batch of about the same size replays the same graph.
    const Samples other = samples_of({22, 8, 8, 9, 8, 9, 8, 10});
    const ri_align_batch other_batch = other.batch(0.1);
    auto backward = [&](const ri_align_batch &b) {
        return watched([&] { CHECK_OK(ri_align_backward(f.llama, prefix, f.adapter, &b, &loss, &err)); })
            .graphs[0]
            .tensors;
    };
    CHECK(backward(other_batch) == backward(batch));
    ri_prefix_free(prefix);
}

// A loss of many targets is in few blocks, since ggml aborts where free memory is in more than 256
// pieces.
void test_blocks() {
    TinyGguf thin;
    thin.n_head = thin.n_head_kv = thin.n_ff = 1; // 16 numbers, by which there would be 112 blocks
    AlignFixture f(thin, RI_BF16);
    ri_prefix *prefix = f.prefix(random_tokens(5, 7));
    const Samples samples = make_samples(64, 24, true);
    const ri_align_batch batch = samples.batch(0.1);
    const Watcher seen =
        watched([&] { CHECK_OK(ri_align_backward(f.llama, prefix, f.adapter, &batch, nullptr, &err)); });
    CHECK(seen.graphs[0].widest == f.info.n_vocab && seen.graphs[0].count == 16);
    ri_prefix_free(prefix);
}

void test_encoders() {
    ri_engine *engine = test_engine(1);
    ri_model *model = make_recommender(engine, "sasrec", nullptr, attention(30, 16, 6, 2, 2, 16));
    const std::vector<int32_t> items{1, 2, 3, 4, 5, 6}, lengths{6};
    const ri_histories history{1, items.data(), lengths.data(), nullptr, 0, nullptr};
    std::vector<float> state(16);
    is_one_replayed_graph("a recommender's state",
                          [&] { CHECK_OK(ri_recommender_states(model, &history, 0, state.data(), &err)); });
    ri_model_free(model);
    ri_engine_free(engine);
}

// Generation: the prompts of all sequences of a context are one graph, and the device gives 12
// bytes for each sequence, and 4 for each token asked about, but no logits. Further tokens are the
// same graph again. This GPU computes.
void test_generation() {
    ri_engine *engine = test_engine(1);
    const std::string path = AlignFixture::written({});
    ri_gguf *gguf = nullptr;
    CHECK_OK(ri_gguf_open(path.c_str(), &gguf, &err));
    constexpr int32_t n = 256, prompt = 30; // 128 sequences in each of two contexts
    const ri_generator_params params = generator_params(n, 48);
    ri_generator *generator = nullptr;
    CHECK_OK(ri_generator_create(engine, gguf, &params, &generator, &err));
    std::vector<int32_t> slots, ones(n, 1), prompts(n, prompt), asked_counts(n, 4), tokens(n);
    for (int32_t i = 0; i < n; ++i) slots.push_back(i);
    const std::vector<int32_t> words = random_tokens(n * prompt, 3), asked = random_tokens(4 * n, 4);
    std::vector<float> logprobs(n), of_asked(4 * n);
    auto decoded = [&](const std::vector<int32_t> &counts, const int32_t *next, bool grammar) {
        const ri_decode_batch batch{n,
                                    slots.data(),
                                    counts.data(),
                                    nullptr,
                                    next,
                                    grammar ? asked_counts.data() : nullptr,
                                    grammar ? asked.data() : nullptr};
        const ri_decode_result result{tokens.data(), logprobs.data(), grammar ? of_asked.data() : nullptr, nullptr};
        return watched([&] { CHECK_OK(ri_generator_decode(generator, &batch, &result, &err)); }, false);
    };
    const Watcher first = decoded(prompts, words.data(), false);
    CHECK(first.graphs.size() == 2 && first.read == 12 * n);
    for (const bool grammar : {false, true}) {
        std::vector<std::vector<char>> before;
        for (int times = 0; times < 3; ++times) {
            const std::vector<int32_t> next = tokens;
            const Watcher token = decoded(ones, next.data(), grammar);
            if (!(CHECK(token.graphs.size() == 2) & CHECK(token.read == (grammar ? 12 + 8 * 4 : 12) * n)))
                fprintf(stderr, "    %zu graphs, %zu bytes read\n", token.graphs.size(), token.read);
            std::vector<std::vector<char>> now; // the graphs of the contexts, which may come in any order
            for (const Seen &graph : token.graphs) now.push_back(graph.tensors);
            std::sort(now.begin(), now.end());
            if (times == 2) CHECK(now == before);
            before = std::move(now);
        }
    }
    ri_generator_free(generator);
    ri_gguf_free(gguf);
    ri_engine_free(engine);
    remove(path.c_str());
}

} // namespace

int main(int argc, char **argv) {
    setenv("RECINT_BACKEND", "made-up", 1);
    Cases cases(argc, argv);
    CASE(test_passes_of_an_llm());
    CASE(test_blocks());
    CASE(test_encoders());
    CASE(test_generation());
    return cases.finish();
}
