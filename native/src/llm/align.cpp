// The exported functions of the frozen LLM: checks of their arguments, and calls.
#include "llm.h"

namespace ri {

namespace {

// Checks the arguments that the functions on batches share, and runs `body` under the engine's
// lock. `depth` is how far samples that branch reach, else 0.
template <typename Body>
void with_batch(ri_llm *llm, ri_prefix *prefix, ri_model *adapter, const ri_align_batch *batch, size_t depth,
                Body &&body) {
    require(llm, "llm");
    require(prefix, "prefix");
    require(batch, "batch");
    auto &model = as<Adapter>(adapter, "an adapter");
    if (prefix->llm != llm->impl) fail(RI_INVALID, "the prefix was made by another LLM");
    if (&model.engine() != &llm->impl->engine()) fail(RI_INVALID, "the adapter and the LLM live on different engines");
    llm->impl->check(*prefix->impl, model, *batch, depth ? depth : batch->n_positions);
    std::lock_guard<std::mutex> hold(model.engine().lock());
    body(*llm->impl, *prefix->impl, model);
}

// Runs a batch and writes what is asked of its targets to dst.
void read_targets(ri_llm *llm, ri_prefix *prefix, ri_model *adapter, const ri_align_batch *batch, Asked asked,
                  float *dst) {
    require(dst, "dst");
    with_batch(llm, prefix, adapter, batch, 0, [&](const Llm &model, const Prefix &start, const Adapter &a) {
        const size_t width = asked == Asked::logits ? size_t(model.n_vocab()) : 1;
        model.run(start, a, *batch, asked, {}, [&](const Graph &graph, ggml_tensor *result, size_t n_targets) {
            graph.read(result, dst, n_targets * width);
        });
    });
}

// A sample that branches, as a batch: the target of a position is the first token that is asked
// about behind it.
class Branches {
  public:
    explicit Branches(const ri_branches &b, int64_t n_vocab) {
        require(b.parents, "branches.parents");
        require(b.asked_counts, "branches.asked_counts");
        require(b.asked, "branches.asked");
        std::vector<int32_t> &parents = branching.parents;
        parents.assign(b.parents, b.parents + b.n_positions);
        for (size_t s = 0; s < b.n_positions; ++s) {
            if (parents[s] < -1 || parents[s] >= int64_t(s))
                fail(RI_INVALID, "position %zu comes behind %d; that must be a position before it, or -1", s,
                     parents[s]);
            if (b.asked_counts[s] < 0)
                fail(RI_INVALID, "position %zu: %d tokens are asked about", s, b.asked_counts[s]);
            targets_.push_back(b.asked_counts[s] ? b.asked[rows.size()] : -1);
            for (int32_t i = 0; i < b.asked_counts[s]; ++i) {
                const int32_t token = b.asked[rows.size()];
                require_token(token, n_vocab, "asked", rows.size());
                rows.push_back(n_rows);
                branching.rows_asked.push_back(int32_t(n_rows * n_vocab + token));
            }
            n_rows += b.asked_counts[s] > 0;
        }
        const std::vector<int64_t> places = SampleRows({int64_t(b.n_positions)}, parents).places();
        for (int64_t place : places) depth = std::max(depth, size_t(place) + 1);
        batch = {1, b.n_positions, &b.n_states, b.tokens, targets_.data(), b.states, 1};
    }
    Branches(const Branches &) = delete;

    ri_align_batch batch;
    Llm::Branching branching;
    size_t depth = 0;
    std::vector<int64_t> rows; // of logits, of each token that is asked about
    int64_t n_rows = 0;

  private:
    std::vector<int32_t> targets_;
};

} // namespace

} // namespace ri

extern "C" {

ri_status ri_llm_create(ri_engine *engine, const ri_gguf *gguf, ri_precision precision, ri_llm **out, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(engine, "engine");
        ri::require(gguf, "gguf");
        ri::require(out, "out");
        ri::require_precision(precision);
        auto handle = std::make_unique<ri_llm>();
        std::lock_guard<std::mutex> hold(engine->impl->lock());
        handle->impl = std::make_shared<ri::Llm>(engine->impl, gguf->impl, precision);
        *out = handle.release();
    });
}

void ri_llm_free(ri_llm *llm) { delete llm; }

ri_status ri_prefix_create(ri_llm *llm, const int32_t *tokens, size_t n, ri_prefix **out, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(llm, "llm");
        if (n) ri::require(tokens, "tokens");
        ri::require(out, "out");
        auto handle = std::make_unique<ri_prefix>();
        std::lock_guard<std::mutex> hold(llm->impl->engine().lock());
        handle->llm = llm->impl;
        handle->impl = llm->impl->make_prefix(tokens, n);
        *out = handle.release();
    });
}

void ri_prefix_free(ri_prefix *prefix) { delete prefix; }

ri_status ri_align_backward(ri_llm *llm, ri_prefix *prefix, ri_model *adapter, const ri_align_batch *batch,
                            double *loss, ri_error *err) {
    return ri::guard(err, [&] {
        ri::with_batch(llm, prefix, adapter, batch, 0,
                       [&](const ri::Llm &model, const ri::Prefix &start, const ri::Adapter &a) {
                           model.run(start, a, *batch, ri::Asked::gradient, {},
                                     [&](const ri::Graph &graph, ggml_tensor *result, size_t) {
                                         if (loss) *loss = graph.scalar(result);
                                     });
                       });
    });
}

ri_status ri_align_step(ri_llm *llm, ri_prefix *prefix, ri_model *adapter, const ri_align_batch *batch,
                        const ri_adamw *params, double *loss, float *grad_norm, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require_settings(params);
        auto &trained = ri::as<ri::Adapter>(adapter, "an adapter");
        ri::with_batch(
            llm, prefix, adapter, batch, 0, [&](const ri::Llm &model, const ri::Prefix &start, const ri::Adapter &a) {
                const bool apart = model.engine().kernels();
                float result[2];
                a.set(*params);
                model.run(start, a, *batch, apart ? ri::Asked::gradient : ri::Asked::step, {},
                          [&](const ri::Graph &graph, ggml_tensor *value, size_t) { graph.read(value, result); });
                if (loss) *loss = result[0];
                const float norm = apart ? trained.update(*params) : ri::Model::require_norm(result[1]);
                if (grad_norm) *grad_norm = norm;
            });
    });
}

ri_status ri_align_logprobs(ri_llm *llm, ri_prefix *prefix, ri_model *adapter, const ri_align_batch *batch, float *dst,
                            ri_error *err) {
    return ri::guard(err, [&] { ri::read_targets(llm, prefix, adapter, batch, ri::Asked::logprobs, dst); });
}

ri_status ri_align_logits(ri_llm *llm, ri_prefix *prefix, ri_model *adapter, const ri_align_batch *batch, float *dst,
                          ri_error *err) {
    return ri::guard(err, [&] { ri::read_targets(llm, prefix, adapter, batch, ri::Asked::logits, dst); });
}

ri_status ri_align_branches(ri_llm *llm, ri_prefix *prefix, ri_model *adapter, const ri_branches *branches, float *dst,
                            ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(dst, "dst");
        ri::require(llm, "llm");
        ri::require(branches, "branches");
        const ri::Branches tree(*branches, llm->impl->n_vocab());
        const size_t n = tree.rows.size();
        std::vector<float> found(size_t(tree.n_rows) + n); // log-probabilities of first tokens, logits of all
        ri::with_batch(llm, prefix, adapter, &tree.batch, tree.depth,
                       [&](const ri::Llm &model, const ri::Prefix &start, const ri::Adapter &a) {
                           model.run(start, a, tree.batch, ri::Asked::branches, tree.branching,
                                     [&](const ri::Graph &graph, ggml_tensor *result, size_t) {
                                         graph.read(result, found.data(), found.size());
                                     });
                       });
        // Of one position, log-probabilities differ as logits do.
        const float *first = found.data(), *logits = first + tree.n_rows;
        for (size_t i = 0, row_start = 0; i < n; ++i) {
            if (tree.rows[i] != tree.rows[row_start]) row_start = i;
            dst[i] = first[tree.rows[i]] + (logits[i] - logits[row_start]);
        }
    });
}

} // extern "C"
