#include "recommender.h"

namespace ri {

namespace {

// SplitMix64 (Steele, Lea and Flood 2014): a hash of seed and counter with good statistics.
uint64_t mix(uint64_t z) {
    z += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// The last state of each history as rows of encode()'s result.
ggml_tensor *last_positions(Graph &graph, const ri_histories &histories, int64_t n_positions) {
    std::vector<int32_t> rows(histories.n_sequences);
    for (size_t b = 0; b < rows.size(); ++b) rows[b] = int32_t(int64_t(b) * n_positions + histories.lengths[b] - 1);
    const int64_t n = int64_t(rows.size());
    return graph.input(std::move(rows), n);
}

} // namespace

Var Dropout::operator()(Graph &graph, Var x) {
    if (probability_ <= 0) return x;
    const uint64_t stream = mix(seed_++);
    const float kept = 1.0f / (1.0f - probability_);
    std::vector<float> mask(size_t(ggml_nelements(x.value)));
    for (size_t i = 0; i < mask.size(); ++i)
        mask[i] = float(mix(stream + i) >> 40) * 0x1p-24f < probability_ ? 0.0f : kept;
    const int64_t *ne = x.value->ne;
    return graph.mul(x, graph.constant(graph.input(std::move(mask), ne[0], ne[1], ne[2], ne[3])));
}

void Recommender::check(const ri_histories &h) const {
    if (h.n_sequences == 0) fail(RI_INVALID, "a batch needs at least one history");
    if (h.n_sequences > (1u << 24)) fail(RI_INVALID, "%zu histories in one batch; at most 2^24", h.n_sequences);
    require(h.items, "histories.items");
    require(h.lengths, "histories.lengths");
    for (size_t b = 0; b < h.n_sequences; ++b) {
        if (h.lengths[b] < 1 || h.lengths[b] > n_positions())
            fail(RI_INVALID, "history %zu has length %d; it must be 1 to %d", b, h.lengths[b], int(n_positions()));
        for (int64_t t = 0; t < n_positions(); ++t) {
            const int32_t item = h.items[int64_t(b) * n_positions() + t];
            if (t < h.lengths[b] ? item < 0 || item >= n_items() : item != n_items())
                fail(RI_INVALID, "history %zu, position %d: item %d; %s", b, int(t), item,
                     t < h.lengths[b] ? "the catalogue has no such item" : "what follows a history must be padding");
        }
    }
}

} // namespace ri

extern "C" {

ri_status ri_recommender_states(ri_model *handle, const ri_histories *histories, int32_t all_positions, float *dst,
                                ri_error *err) {
    return ri::guard(err, [&] {
        auto &model = ri::as<ri::Recommender>(handle, "a recommender");
        ri::require(histories, "histories");
        ri::require(dst, "dst");
        model.check(*histories);
        std::lock_guard<std::mutex> hold(model.engine().lock());
        ri::Graph graph(model.engine(), false);
        ri::Dropout none(0, 0);
        ri::Var states = model.encode(graph, *histories, none);
        if (!all_positions) states = graph.get_rows(states, ri::last_positions(graph, *histories, model.n_positions()));
        graph.output(states.value);
        graph.run();
        graph.read(states.value, dst);
        const int64_t width = model.width(), positions = model.n_positions();
        if (!all_positions) return;
        for (size_t b = 0; b < histories->n_sequences; ++b)
            for (int64_t t = histories->lengths[b]; t < positions; ++t)
                for (int64_t d = 0; d < width; ++d) dst[(int64_t(b) * positions + t) * width + d] = 0;
    });
}

ri_status ri_recommender_scores(ri_model *handle, const ri_histories *histories, float *dst, ri_error *err) {
    return ri::guard(err, [&] {
        auto &model = ri::as<ri::Recommender>(handle, "a recommender");
        ri::require(histories, "histories");
        ri::require(dst, "dst");
        model.check(*histories);
        std::lock_guard<std::mutex> hold(model.engine().lock());
        ri::Graph graph(model.engine(), false);
        ri::Dropout none(0, 0);
        ri::Var states = model.encode(graph, *histories, none);
        states = graph.get_rows(states, ri::last_positions(graph, *histories, model.n_positions()));
        ri::Var scores = model.scores(graph, states);
        graph.output(scores.value);
        graph.run();
        graph.read(scores.value, dst);
    });
}

ri_status ri_recommender_backward(ri_model *handle, const ri_recommender_batch *batch, double *loss, ri_error *err) {
    return ri::guard(err, [&] {
        auto &model = ri::as<ri::Recommender>(handle, "a recommender");
        ri::require(batch, "batch");
        ri::require(batch->targets, "targets");
        model.check(batch->histories);
        if (!(batch->dropout >= 0 && batch->dropout < 1))
            ri::fail(RI_INVALID, "dropout must be in [0, 1), not %g", double(batch->dropout));
        const int64_t positions = model.n_positions(), items = model.n_items();
        std::vector<int32_t> rows, targets;
        for (size_t b = 0; b < batch->histories.n_sequences; ++b)
            for (int64_t t = 0; t < positions; ++t) {
                const int64_t row = int64_t(b) * positions + t;
                const int32_t target = batch->targets[row];
                if (target == -1) continue;
                if (target < 0 || target >= items || t >= batch->histories.lengths[b])
                    ri::fail(RI_INVALID,
                             "history %zu, position %d: target %d; it must be an item of the catalogue, or -1 (and -1 "
                             "at padding)",
                             b, int(t), target);
                const int64_t flat = int64_t(targets.size()) * items + target;
                if (flat > INT32_MAX) ri::fail(RI_INVALID, "too many targets for one batch; use a smaller one");
                rows.push_back(int32_t(row));
                targets.push_back(int32_t(flat));
            }
        if (rows.empty()) ri::fail(RI_INVALID, "the batch has no target");
        const int64_t n = int64_t(rows.size());

        std::lock_guard<std::mutex> hold(model.engine().lock());
        ri::Graph graph(model.engine(), true);
        ri::Dropout dropout(batch->dropout, batch->seed);
        ri::Var states =
            graph.get_rows(model.encode(graph, batch->histories, dropout), graph.input(std::move(rows), n));
        ri::Var error = graph.cross_entropy(model.scores(graph, states), graph.input(std::move(targets), n),
                                            graph.input(std::vector<float>(size_t(n), 1.0f / float(n)), n));
        graph.backward(error);
        graph.run();
        if (loss) *loss = graph.scalar(error.value);
    });
}

} // extern "C"
